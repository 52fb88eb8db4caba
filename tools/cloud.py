"""AWS as a person's or CodeBuild's credentials see it."""

import os
from contextlib import contextmanager
from typing import Any, Iterator

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

RETRIES = Config(retries={"mode": "standard", "max_attempts": 3})


class CloudError(Exception):
    """AWS refuses or cannot be reached; the text says which call failed and why."""


def client(service: str, region: str) -> Any:
    """Give a boto3 client; ``AWS_ENDPOINT_URL`` leads it to another address, as newer boto3 do by themselves."""
    address = os.environ.get("AWS_ENDPOINT_URL")
    try:
        return boto3.client(service, region_name=region, endpoint_url=address, config=RETRIES)
    except (BotoCoreError, ValueError) as error:  # such as a profile that is not there, or an address that is none
        raise CloudError(f"there is no way to AWS: {error}") from error


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn what AWS and boto3 raise into a CloudError that begins with what was tried."""
    try:
        yield
    except (BotoCoreError, ClientError, HTTPError) as error:  # HTTPError: the connection broke while a body was read
        raise CloudError(f"{what}: {error}") from error
