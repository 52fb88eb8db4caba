"""What a person or a test may do to the emulated AWS, over HTTP at its address.

``POST /_agent`` takes a JSON object with any of these:

``outcomes``
    By the family of a task definition, what becomes of the next RunTask calls, in turn: an exit code; the name of an
    error, and perhaps its message, such as ``ThrottlingException: Rate exceeded``; ``TaskFailedToStart``;
    ``AnswerLost``, which starts the task and drops the connection; or ``RESOURCE:MEMORY`` or any other reason, which
    ECS reports as a failure. Afterwards all is as usual.
``seconds``
    By the family, how long its tasks run, those that run now included. 0 ends them.
``away``
    For how many seconds all of AWS drops its connections.
``denied``
    By the operation, such as ``DescribeClusters`` or ``HeadBucket``, the code of the error that answers it as long as
    this is set. The other operations are answered as usual.

``GET /_agent`` gives the ECS tasks that were ever started, a list of objects with arn, family, status and stop_code.
"""

from __future__ import annotations

import io
import json
import re
import socket
import time
from contextlib import suppress
from typing import Any, Callable, Dict, Iterable

PATH = "/_agent"
RUN_TASK = "AmazonEC2ContainerServiceV20141113.RunTask"
FAILED_TO_START = "TaskFailedToStart"
ANSWER_LOST = "AnswerLost"
BEHIND = "behind-the-scenes"  # in the user agent of the requests that AWS itself makes, and that never fail

Application = Callable[[Dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Faults:
    """A WSGI application around the emulated AWS that interferes when it is asked to.

    Args:
        aws: The emulated AWS.
        list_tasks: Gives the ECS tasks that were ever started.
    """

    def __init__(self, aws: Application, list_tasks: Callable[[], list[dict[str, Any]]]) -> None:
        self.aws = aws
        self.list_tasks = list_tasks
        self.seconds: dict[str, float] = {}  # by family
        self.fates: dict[str, int | str] = {}  # exit code or TaskFailedToStart, by task ARN
        self._outcomes: dict[str, list[int | str]] = {}
        self._denied: dict[str, str] = {}  # code of the error, by operation
        self._back = 0.0  # when AWS is there again, on the monotonic clock

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == PATH:
            return self._serve(environ, start_response)
        if time.monotonic() < self._back and BEHIND not in environ.get("HTTP_USER_AGENT", ""):
            return drop(environ)
        operation = operation_of(environ) if self._denied else ""
        if operation in self._denied:
            return deny(environ, start_response, self._denied[operation])
        if environ.get("HTTP_X_AMZ_TARGET") == RUN_TASK:
            return self._run_task(environ, start_response)
        return self.aws(environ, start_response)

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["REQUEST_METHOD"] == "GET":
            return answer(start_response, "200 OK", self.list_tasks())
        try:
            self._set(json.loads(read_body(environ)))
        except (TypeError, ValueError, AttributeError) as error:
            return answer(start_response, "400 Bad Request", {"message": str(error)})
        return answer(start_response, "200 OK", {})

    def _set(self, values: dict[str, Any]) -> None:
        unknown = set(values) - {"outcomes", "seconds", "away", "denied"}
        if unknown:
            raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
        self._outcomes.update({family: list(outcomes) for family, outcomes in values.get("outcomes", {}).items()})
        self.seconds.update({family: float(seconds) for family, seconds in values.get("seconds", {}).items()})
        self._back = time.monotonic() + float(values["away"]) if "away" in values else self._back
        self._denied = dict(values.get("denied", self._denied))

    def _run_task(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        body = read_body(environ)
        outcomes = self._outcomes.get(family_of(json.loads(body)["taskDefinition"]))
        outcome = outcomes.pop(0) if outcomes else None
        code, _, message = str(outcome).partition(": ")
        if code.endswith("Exception"):
            return answer(start_response, "400 Bad Request", {"__type": code, "message": message or "injected"})
        if isinstance(outcome, str) and outcome not in (FAILED_TO_START, ANSWER_LOST):
            failures = [{"arn": "emulated", "reason": outcome}]
            return answer(start_response, "200 OK", {"tasks": [], "failures": failures})
        environ["wsgi.input"] = io.BytesIO(body)
        response = b"".join(self.aws(environ, start_response))
        if outcome == ANSWER_LOST:
            return drop(environ)
        if outcome is not None:
            self.fates.update({task["taskArn"]: outcome for task in json.loads(response).get("tasks", [])})
        return [response]


def drop(environ: dict[str, Any]) -> list[bytes]:
    """Drop the connection instead of answering."""
    with suppress(OSError):
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return []


def family_of(task_definition: str) -> str:
    """Return the family that family, family:revision or ARN names."""
    return task_definition.split("/")[-1].split(":")[0]


def operation_of(environ: dict[str, Any]) -> str:
    """Return the operation of a request in AWS's JSON or query protocol, or HeadBucket; "" for any other."""
    target: str = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:
        return target.split(".")[-1]
    if environ["REQUEST_METHOD"] == "HEAD" and environ["PATH_INFO"].strip("/").count("/") == 0:
        return "HeadBucket"
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        body = read_body(environ)
        environ["wsgi.input"] = io.BytesIO(body)
        found = re.search(rb"(?:^|&)Action=(\w+)", body)
        return found.group(1).decode() if found else ""
    return ""


def deny(environ: dict[str, Any], start_response: Callable[..., Any], code: str) -> list[bytes]:
    """Answer with an error, in the protocol of the request."""
    if environ.get("HTTP_X_AMZ_TARGET"):
        return answer(start_response, "400 Bad Request", {"__type": code, "message": "injected"})
    start_response("403 Forbidden", [("Content-Type", "text/xml")])
    error = f"<Error><Code>{code}</Code><Message>injected</Message></Error>"
    if "/ec2/" in environ.get("HTTP_AUTHORIZATION", ""):
        error = f"<Errors>{error}</Errors>"
    return [f"<ErrorResponse>{error}<RequestId>emulated</RequestId></ErrorResponse>".encode()]


def read_body(environ: dict[str, Any]) -> bytes:
    """Return the body of a request."""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return body


def answer(start_response: Callable[..., Any], status: str, value: Any) -> list[bytes]:
    """Answer with JSON, as ECS does."""
    start_response(status, [("Content-Type", "application/x-amz-json-1.1")])
    return [json.dumps(value).encode()]
