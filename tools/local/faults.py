"""What a person or a test may do to the emulated AWS, over HTTP at its address.

``POST /_agent`` takes a JSON object with any of these:

``outcomes``
    By the family of a task definition, what becomes of the next RunTask calls, in turn: an exit code; the name of an
    error, and perhaps its message, such as ``ThrottlingException: Rate exceeded``; ``TaskFailedToStart``;
    ``AnswerLost``, which starts the task and drops the connection; or ``RESOURCE:MEMORY`` or any other reason, which
    ECS tells as a failure. Afterwards all is as usual.
``seconds``
    By the family, how long its tasks run, those that run now included. 0 ends them.
``away``
    For how many seconds all of AWS drops its connections.

``GET /_agent`` gives the ECS tasks that were ever started, a list of objects with arn, family, status and stop_code.
"""

from __future__ import annotations

import io
import json
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
    """A WSGI application around the emulated AWS that interferes when it is told to.

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
        self._back = 0.0  # when AWS is there again, on the monotonic clock

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == PATH:
            return self._serve(environ, start_response)
        if time.monotonic() < self._back and BEHIND not in environ.get("HTTP_USER_AGENT", ""):
            return drop(environ)
        if environ.get("HTTP_X_AMZ_TARGET") == RUN_TASK:
            return self._run_task(environ, start_response)
        return self.aws(environ, start_response)

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["REQUEST_METHOD"] == "GET":
            return answer(start_response, "200 OK", self.list_tasks())
        try:
            self._tell(json.loads(read_body(environ)))
        except (TypeError, ValueError, AttributeError) as error:
            return answer(start_response, "400 Bad Request", {"message": str(error)})
        return answer(start_response, "200 OK", {})

    def _tell(self, told: dict[str, Any]) -> None:
        unknown = set(told) - {"outcomes", "seconds", "away"}
        if unknown:
            raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
        self._outcomes.update({family: list(outcomes) for family, outcomes in told.get("outcomes", {}).items()})
        self.seconds.update({family: float(seconds) for family, seconds in told.get("seconds", {}).items()})
        self._back = time.monotonic() + float(told["away"]) if "away" in told else self._back

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
    """The family that family, family:revision or ARN names."""
    return task_definition.split("/")[-1].split(":")[0]


def read_body(environ: dict[str, Any]) -> bytes:
    """The body of a request."""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return body


def answer(start_response: Callable[..., Any], status: str, value: Any) -> list[bytes]:
    """Answer with JSON, as ECS does."""
    start_response(status, [("Content-Type", "application/x-amz-json-1.1")])
    return [json.dumps(value).encode()]
