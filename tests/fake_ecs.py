"""The emulated ECS and CloudWatch Logs in the process of a test, over HTTP.

``with FakeEcs() as ecs:`` serves on a free port of 127.0.0.1. Airflow reaches it with
``monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", ecs.connection)``, boto3 with ``ecs.client("ecs")``. There is the
cluster ``etl``, and the task definition ``loader`` with one container of the same name, which logs to ``/ecs/etl``,
stream ``etl/loader/<task id>``. Unless the test says otherwise, a task takes no time and ends with 0:

    FakeEcs(seconds={"*": 3600})                         tasks run until the test ends them
    FakeEcs(definitions={"loader": ("main", "side")})    two containers
    ecs.set(ends={"loader": [3, "CannotPullContainerError: no such image"]})     the next two tasks
    ecs.set(stop_seconds={"*": 5}, lag={"*": 2}, forget=["loader"], crowd={"loader": ["etl", 5000]})
    ecs.faults.add("RunTask", "ThrottlingException: Rate exceeded", times=2)
    ecs.faults.add("*", 503, seconds=1, after=1)
    ecs.faults.clear()
    ecs.finish(arn, {"main": 0, "side": 143})            ends a task now; an exit code, or one for each container
    ecs.log(arn, "a line", "another")                    writes to the log of a task's first container
    ecs.tasks()                                          every task that was ever started
    ecs.requests, ecs.operations()                       every request, with its parameters; their names alone

``tools/local/tasks.py`` describes the settings, ``tools/local/faults.py`` the faults, the tasks and the requests.
"""

import io
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple
from urllib.parse import quote

import boto3
from botocore.config import Config

from tools.local.ecs import Ecs, Refusal
from tools.local.faults import Faults, answer, read_request
from tools.local.tasks import Container, Definition, End, Tasks

REGION = "eu-west-1"
ACCOUNT = f"arn:aws:ecs:{REGION}:000000000000"
LOG_GROUP, LOG_PREFIX = "/ecs/etl", "etl"
MAX_PAGE = 1 << 20  # bytes of the events in an answer of GetLogEvents
QUICK = {"seconds": {"*": 0}, "starting": {"*": 0}, "ending": {"*": 0}}


class FakeEcs:
    """The server; leaving the context ends it.

    Args:
        clusters: Names of clusters.
        definitions: Names of containers by the family of a task definition.
        settings: What becomes of tasks.
    """

    def __init__(
        self,
        clusters: Sequence[str] = ("etl",),
        definitions: Optional[Mapping[str, Sequence[str]]] = None,
        **settings: Any,
    ) -> None:
        self.clusters = list(clusters)
        self.definitions = dict(definitions or {"loader": ("loader",)})
        self.logs = Logs()
        self._tasks = Tasks(self._find_cluster, self._find_definition, self.logs.write)
        self._tasks.set(**{**QUICK, **settings})
        self.faults = Faults(self.logs, Ecs(self._tasks))
        self.requests = self.faults.requests
        self.set = self._tasks.set
        self.tasks = self._tasks.listing
        self.logs.look = self._tasks.look

    def __enter__(self) -> "FakeEcs":
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.application = self.faults
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        """Where it serves."""
        return "http://{}:{}".format(*self._server.server_address)

    @property
    def connection(self) -> str:
        """The URI of Airflow's connection to it."""
        address = quote(self.address, safe="")  # in host before Airflow 2.11
        return f"aws://emulated:emulated-secret@/?region_name={REGION}&host={address}&endpoint_url={address}"

    def client(self, service: str) -> Any:
        """Return a boto3 client that retries nothing."""
        keys = {"aws_access_key_id": "emulated", "aws_secret_access_key": "emulated-secret"}
        once = Config(retries={"max_attempts": 0})
        return boto3.client(service, region_name=REGION, endpoint_url=self.address, config=once, **keys)

    def operations(self) -> List[str]:
        """Return the operations that were asked for, in turn."""
        return [request["operation"] for request in self.requests]

    def finish(self, arn: str, end: End = 0) -> None:
        """End a task."""
        self._tasks.finish(arn, end)

    def log(self, arn: str, *lines: str) -> None:
        """Write to the log of the first container of a task."""
        task = self._tasks.by_arn[arn]
        self._tasks.log(task, task.definition.containers[0].name, lines)

    def _find_cluster(self, name: str) -> str:
        return f"{ACCOUNT}:cluster/{name}" if name in self.clusters else ""

    def _find_definition(self, name: str) -> Optional[Definition]:
        family, _, revision = name.split("/")[-1].partition(":")
        if family not in self.definitions or revision not in ("", "1"):
            return None
        containers = tuple(Container(container, LOG_GROUP, LOG_PREFIX) for container in self.definitions[family])
        return Definition(f"{ACCOUNT}:task-definition/{family}:1", containers)


class Logs:
    """CloudWatch Logs, of which it has GetLogEvents; a WSGI application."""

    def __init__(self) -> None:
        self.limit = 10_000  # events of an answer
        self.look: Callable[[], object] = list  # called before each answer: the tasks may have written meanwhile
        self._streams: Dict[Tuple[str, str], List[Dict[str, Any]]] = {}

    def write(self, group: str, stream: str, lines: Iterable[str]) -> None:
        """Write to a log stream, which need not exist yet."""
        now = int(time.time() * 1000)
        events = [{"timestamp": now, "ingestionTime": now, "message": line} for line in lines]
        self._streams.setdefault((group, stream), []).extend(events)

    def __call__(self, environ: Dict[str, Any], start_response: Any) -> List[bytes]:
        operation, parameters = read_request(environ)
        try:
            if operation != "GetLogEvents":
                raise Refusal("UnknownOperationException", f"{operation} is not emulated")
            self.look()
            return answer(start_response, 200, self._get_log_events(parameters or {}))
        except Refusal as refusal:
            return answer(start_response, 400, refusal.answer)

    def _get_log_events(self, parameters: Dict[str, Any]) -> Dict[str, Any]:
        group, stream = parameters["logGroupName"], parameters["logStreamName"]
        if group != LOG_GROUP:
            raise Refusal("ResourceNotFoundException", "The specified log group does not exist.")
        if (group, stream) not in self._streams:
            raise Refusal("ResourceNotFoundException", "The specified log stream does not exist.")
        events = [
            event
            for event in self._streams[group, stream]
            if parameters.get("startTime", 0) <= event["timestamp"] < parameters.get("endTime", float("inf"))
        ]
        limit = min(parameters.get("limit", self.limit), self.limit)
        direction, _, place = parameters.get("nextToken", "").partition("/")
        if (direction, place.isdecimal()) not in (("", False), ("f", True), ("b", True)):
            raise Refusal("InvalidParameterException", "The specified nextToken is invalid.")
        begin = int(place or 0)
        if direction == "b" or not (direction or parameters.get("startFromHead")):
            begin = max((begin if direction else len(events)) - limit, 0)
        page: List[Dict[str, Any]] = []
        size = 0
        for event in events[begin : begin + limit]:
            size += len(event["message"].encode("utf-8", "replace"))
            if page and size > MAX_PAGE:
                break
            page.append(event)
        # At the end of the stream, the token is the one that was sent.
        end = begin + len(page)
        return {"events": page, "nextForwardToken": f"f/{end:056d}", "nextBackwardToken": f"b/{begin:056d}"}


class Server(socketserver.ThreadingTCPServer):
    """A server with a thread for each connection."""

    daemon_threads = True
    application: Any


class Handler(BaseHTTPRequestHandler):
    """Hands requests to the WSGI application of the server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # it would hold the second part of an answer back for 40 ms
    server: Server

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "0")
        environ = {
            "REQUEST_METHOD": self.command,
            "PATH_INFO": self.path,
            "CONTENT_LENGTH": length,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_X_AMZ_TARGET": self.headers.get("X-Amz-Target", ""),
            "HTTP_USER_AGENT": self.headers.get("User-Agent", ""),
            "werkzeug.socket": self.connection,
            "wsgi.input": io.BytesIO(self.rfile.read(int(length))),
        }
        try:
            body = b"".join(self.server.application(environ, self.start_response))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:  # dropped by a fault, or by the client
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST  # noqa: N815

    def start_response(self, status: str, headers: List[Tuple[str, str]]) -> None:
        """Begin an answer; see PEP 3333."""
        self.send_response(int(status.split()[0]))
        for name, value in headers:
            if name != "Content-Length":
                self.send_header(name, value)

    def log_message(self, *_: object) -> None:
        """Print nothing."""
