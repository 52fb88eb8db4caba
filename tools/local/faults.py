"""What a person or a test may do to the emulated AWS, over HTTP at its address.

``POST /_agent`` takes a JSON object with any of the settings of ``tools.local.tasks``, which say what becomes of ECS
tasks, and ``faults``, a list of faults to add, or null to remove all of them. A fault is an object with:

``operation``
    Such as ``RunTask``, ``GetLogEvents`` or ``HeadBucket``; ``*`` is every request to AWS.
``kind``
    What happens to it: a number, the HTTP status of an answer without a body, such as 503; ``drop``, the connection
    ends before the request is handled; ``lost``, it is handled, and the connection ends instead of the answer;
    ``slow: 5``, it is handled, and answered after 5 seconds; ``held: 5``, it is handled after 5 seconds, whether the
    client is still there or not; ``failure: RESOURCE:MEMORY``, RunTask starts nothing and answers with the failure; or
    the code of an error, and perhaps its message, such as ``ThrottlingException: Rate exceeded``.
``family``
    Only requests about tasks of this family, the reading of their logs included.
``after``, ``times``, ``seconds``
    So many requests are let through first; so many meet the fault; the first that meets it begins so many seconds. With
    neither ``times`` nor ``seconds``, the fault stays.

A request meets the first fault that is for it and not over.

``GET /_agent`` gives the ECS tasks that were ever started, a list of objects with arn, family, status, stop_code,
reason, startedBy and clientToken.

``GET /_agent/requests`` gives the last requests to AWS, those included that are not yet answered, a list of objects
with time, operation, parameters (of a JSON request) and fault, the kind of the one that it met or null.
"""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Callable, Dict, Iterable

from tools.local.ecs import Ecs, Refusal

PATH = "/_agent"
REQUESTS = "/_agent/requests"
BEHIND = "behind-the-scenes"  # in the user agent of the requests that AWS itself makes, and that never fail
KEPT = 10_000  # requests
SERVER_ERRORS = {"InternalFailure": 500, "ServerException": 500, "ServiceUnavailableException": 503}

StartResponse = Callable[..., Any]
Application = Callable[[Dict[str, Any], StartResponse], Iterable[bytes]]


class Fault:
    """A fault that requests may meet; see above."""

    def __init__(
        self,
        operation: str,
        kind: int | str,
        family: str = "*",
        after: int = 0,
        times: float = float("inf"),
        seconds: float = float("inf"),
    ) -> None:
        self.word, _, self.detail = str(kind).partition(": ")
        if self.word == "failure" and operation != "RunTask":
            raise ValueError(f"{kind!r} is for RunTask only")
        if self.word in ("slow", "held"):
            float(self.detail)
        elif isinstance(kind, int):
            HTTPStatus(kind)
        self.operation, self.kind, self.family = operation, kind, family
        self.after, self.times, self.seconds = int(after), float(times), float(seconds)
        self.end = 0.0  # on the monotonic clock; 0 before the first request met it

    def hits(self, operation: str, families: set[str]) -> bool:
        """Count a request; return whether it meets the fault."""
        if self.operation not in ("*", operation) or self.family not in ("*", *families):
            return False
        now = time.monotonic()
        if not self.times or (self.end and now >= self.end):
            return False
        if self.after:
            self.after -= 1
            return False
        self.end = self.end or now + self.seconds
        self.times -= 1
        return True


class Faults:
    """A WSGI application around the emulated AWS: it answers for the tasks of ECS, and interferes when it is asked to.

    Args:
        aws: The rest of the emulated AWS.
        ecs: The tasks of ECS.
    """

    def __init__(self, aws: Application, ecs: Ecs) -> None:
        self.aws, self.ecs = aws, ecs
        self.requests: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, operation: str, kind: int | str, **more: Any) -> None:
        """Add a fault; ``more`` is its family, after, times and seconds."""
        with self._lock:
            self._faults.append(Fault(operation, kind, **more))

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults = []

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] in (PATH, REQUESTS):
            return self._serve(environ, start_response)
        if BEHIND in environ.get("HTTP_USER_AGENT", ""):
            return self.aws(environ, start_response)
        operation, parameters = read_request(environ)
        fault = self._meet(operation, parameters)
        word, detail = (fault.word, fault.detail) if fault else ("", "")
        if word == "drop":
            return drop(environ)
        if word.isdecimal():
            start_response(status_line(int(word)), [("Content-Length", "0")])
            return [b""]
        if word == "failure":
            return answer(start_response, 200, {"tasks": [], "failures": [{"arn": "emulated", "reason": detail}]})
        if word not in ("", "lost", "slow", "held"):
            return refuse(environ, start_response, word, detail or "injected")
        if word == "held":
            time.sleep(float(detail))
        answered = self._handle(environ, start_response, operation, parameters)
        if word == "lost":
            return drop(environ)
        if word == "slow":
            time.sleep(float(detail))
        return answered

    def _meet(self, operation: str, parameters: dict[str, Any] | None) -> Fault | None:
        """Note a request; return the fault that it meets."""
        with self._lock:
            families = self.ecs.families(parameters or {}) if self._faults else set()
            fault = next((fault for fault in self._faults if fault.hits(operation, families)), None)
            request = {"time": time.time(), "operation": operation, "parameters": parameters}
            self.requests.append({**request, "fault": fault.kind if fault else None})
        return fault

    def _handle(
        self, environ: dict[str, Any], start_response: StartResponse, operation: str, parameters: dict[str, Any] | None
    ) -> Iterable[bytes]:
        if parameters is None or not self.ecs.has(operation):
            return self.aws(environ, start_response)
        try:
            return answer(start_response, 200, self.ecs.call(operation, parameters))
        except Refusal as refusal:
            return answer(start_response, 400, refusal.answer)

    def _serve(self, environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        if environ["PATH_INFO"] == REQUESTS:
            with self._lock:
                return answer(start_response, 200, list(self.requests))
        if environ["REQUEST_METHOD"] == "GET":
            return answer(start_response, 200, self.ecs.tasks.listing())
        try:
            settings = json.loads(read_body(environ))
            faults = settings.pop("faults", ())
            if faults is None:
                self.clear()
            for fault in faults or ():
                self.add(**fault)
            self.ecs.tasks.set(**settings)
        except (TypeError, ValueError, AttributeError) as error:
            return answer(start_response, 400, {"message": str(error)})
        return answer(start_response, 200, {})


def drop(environ: dict[str, Any]) -> list[bytes]:
    """Drop the connection instead of answering."""
    with suppress(OSError):
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("as it was asked to")  # the server then writes nothing


def read_request(environ: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """Return the operation of a request in AWS's JSON or query protocol, or HeadBucket, and JSON parameters.

    The operation of any other request is "".
    """
    target: str = environ.get("HTTP_X_AMZ_TARGET", "")
    form = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
    if target or form:
        body = read_body(environ)
        environ["wsgi.input"] = io.BytesIO(body)
        if target:
            return target.split(".")[-1], json.loads(body or b"{}")
        found = re.search(rb"(?:^|&)Action=(\w+)", body)
        return found.group(1).decode() if found else "", None
    if environ["REQUEST_METHOD"] == "HEAD" and environ["PATH_INFO"].strip("/").count("/") == 0:
        return "HeadBucket", None
    return "", None


def refuse(environ: dict[str, Any], start_response: StartResponse, code: str, message: str) -> list[bytes]:
    """Answer with an error, in the protocol of the request."""
    if environ.get("HTTP_X_AMZ_TARGET"):
        return answer(start_response, SERVER_ERRORS.get(code, 400), {"__type": code, "message": message})
    start_response("403 Forbidden", [("Content-Type", "text/xml")])
    error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    if "/ec2/" in environ.get("HTTP_AUTHORIZATION", ""):
        error = f"<Errors>{error}</Errors>"
    return [f"<ErrorResponse>{error}<RequestId>emulated</RequestId></ErrorResponse>".encode()]


def read_body(environ: dict[str, Any]) -> bytes:
    """Return the body of a request."""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return body


def answer(start_response: StartResponse, status: int, value: Any) -> list[bytes]:
    """Answer with JSON, as ECS does; bytes are JSON already."""
    start_response(status_line(status), [("Content-Type", "application/x-amz-json-1.1")])
    return [value if isinstance(value, bytes) else json.dumps(value).encode()]


def status_line(status: int) -> str:
    """Return what WSGI wants of a status."""
    return f"{status} {HTTPStatus(status).phrase}"
