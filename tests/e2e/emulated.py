"""An emulated AWS for tests: the one of ``./etl run``, in a process of its own, with an HTTP endpoint."""

import json
import subprocess
from typing import Any, Dict

import boto3
from botocore.config import Config

from tools import ROOT
from tools.setup.environments import AWS

REGION = "eu-west-1"


def aws_client(address: str, service: str, **options: Any) -> Any:
    """Return a boto3 client for the emulated AWS at an address."""
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return boto3.client(service, region_name=REGION, endpoint_url=address, **keys, **options)


class Emulated:
    """The process, and the protocol over its standard input and output."""

    def __init__(self, **environ: str) -> None:
        self.popen = subprocess.Popen(
            [str(AWS.python), "-m", "tools.local.aws"],
            cwd=ROOT,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = self.answer()

    def answer(self) -> str:
        return next(iter(self.popen.stdout or ())).strip()

    def seed(self, inventory: Dict[str, Any]) -> None:
        print(json.dumps(inventory), file=self.popen.stdin, flush=True)
        assert self.answer() == "seeded"

    def client(self, service: str) -> Any:
        """Return a boto3 client that retries nothing."""
        return aws_client(self.address, service, config=Config(retries={"max_attempts": 0}))

    def end(self) -> int:
        if self.popen.stdin:
            self.popen.stdin.close()
        return self.popen.wait(timeout=10)
