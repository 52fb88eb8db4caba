"""AWS as a person's or CodeBuild's credentials see it."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List, Sequence, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from tools.terminal import with_progress

T = TypeVar("T")
RETRIES = Config(retries={"mode": "standard", "max_attempts": 3})


class CloudError(Exception):
    """AWS refuses or cannot be reached; the text says which call failed and why."""


def describe(error: Exception) -> str:
    """Return an error's text; of a proxy or another address in it, user and password are masked."""
    return re.sub(r"://\S+@", "://***@", str(error))


def client(service: str, region: str) -> Any:
    """Return a boto3 client; ``AWS_ENDPOINT_URL`` leads it to another address, as newer boto3 do by themselves."""
    address = os.environ.get("AWS_ENDPOINT_URL")
    if address and not re.fullmatch(r"https?://([^\s/?#]+@)?[\w.:\[\]-]+/?", address):  # or boto3 names all of it
        hint = "write http://host:port; in a user or password, / is %2F"
        raise CloudError(f"AWS_ENDPOINT_URL is no address; {hint}")
    try:
        config = RETRIES.merge(Config(inject_host_prefix=not address))  # mwaa's is env., which an address has not
        return boto3.client(service, region_name=region, endpoint_url=address, config=config)
    except (BotoCoreError, ValueError) as error:  # such as a profile that is not there, or an address that is none
        raise CloudError(f"there is no way to AWS: {describe(error)}") from error


@contextmanager
def explain_errors(what: str) -> Iterator[None]:
    """Turn what AWS and boto3 raise into a CloudError that begins with what was tried."""
    try:
        yield
    except (BotoCoreError, ClientError, HTTPError) as error:  # HTTPError: the connection broke while a body was read
        raise CloudError(f"{what}: {describe(error)}") from error


def in_parallel(calls: Sequence[Callable[[], T]], number: int, doing: str) -> List[T]:
    """Return the results of calls, made that many at a time; when one fails, those not begun are not made."""
    with ThreadPoolExecutor(number) as pool:
        futures = [pool.submit(call) for call in calls]
        try:
            answers = []
            for future in with_progress(futures, doing):  # a comprehension would leave the bar beside an error's text
                answers.append(future.result())
            return answers
        finally:
            for future in futures:
                future.cancel()
