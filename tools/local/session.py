"""A session of ./etl run: Airflow and the emulated AWS, started together and ended together."""

import argparse
import fcntl
import itertools
import shutil
import signal
import socket
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, NoReturn, Tuple

from tools.local import distributed, engine
from tools.local.generations import AIRFLOW
from tools.local.processes import Died, Processes
from tools.local.servers import free_port
from tools.setup.environments import LOCAL, SetupError
from tools.terminal import print_status

LOOK = 0.5  # seconds between two looks at the processes and the definitions


class Interrupted(Exception):
    """A person or the system asks us to end, by the signal ``number``."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run(options: argparse.Namespace) -> int:
    """Run until Ctrl-C, or with --trigger until the DAG run has ended; return the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        if options.trigger:
            return trigger(options)
        serve(options)
    except Interrupted as interrupted:
        print_status("stopped")
        # Ctrl-C is how a web page is meant to end, and a trigger is not.
        return 128 + interrupted.number if options.trigger else 0
    except (Died, SetupError, engine.Failed) as error:
        print_status(str(error))
        return 1


def interrupt(number: int, _frame: object) -> NoReturn:
    """Stop the work by an exception; the contexts end what was started."""
    raise Interrupted(number)


def serve(options: argparse.Namespace) -> NoReturn:
    """Run scheduler and web page until a signal asks for the end."""
    started = time.monotonic()
    if port_is_taken(options.port):
        raise engine.Failed(f"port {options.port} is taken; choose another: ./etl run --port {options.port + 1}")
    home_of = kept_home(options) if options.dags == engine.DAGS else free_home("dags")
    with home_of as home, running(home / "processes") as processes:
        cloud, environ = start(processes, home, options, options.port)
        engine.start_webserver(processes, environ)
        engine.wait_until_healthy(processes, options.port)
        print_status(f"running after {time.monotonic() - started:.0f} s")
        print(
            f"\n  http://127.0.0.1:{options.port}   {AIRFLOW.login}   (Ctrl-C stops it)\n",
            flush=True,
        )
        print_status(f"the emulated AWS is at {cloud.address}")
        while True:
            processes.check()
            refresh(cloud)
            time.sleep(LOOK)


def trigger(options: argparse.Namespace) -> int:
    """Run one DAG once, with a database of its own; return the exit status of ``tools.local.trigger``."""
    with free_home("trigger") as home, running(home / "processes") as processes:
        cloud, environ = start(processes, home, options, free_port())
        print_status(f"the emulated AWS is at {cloud.address}")
        waiting = processes.start(
            "trigger",
            engine.python(["tools.local.trigger", options.trigger, options.conf or "{}"]),
            {**environ, "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING"},
            stdout=None,
            stderr=None,
        )
        while waiting.popen.poll() is None:
            processes.check(besides=waiting)
            time.sleep(LOOK)
        return waiting.popen.returncode


def start(
    processes: Processes, home: Path, options: argparse.Namespace, port: int
) -> Tuple[engine.Cloud, Dict[str, str]]:
    """Start all that tasks need; return the emulated AWS and Airflow's environment variables."""
    distributes = options.executor == "celery"
    print_status(f"starting the emulated AWS for {options.environment}")
    cloud = engine.Cloud(processes, options.environment, options.dags)
    environ = engine.airflow_environ(home, options.environment, cloud, port)
    if distributes:
        environ = distributed.prepare(processes, home, environ)
    else:
        engine.prepare_database(processes, home)
    print_status(f"starting Airflow {AIRFLOW.version}; logs are in {home}")
    engine.start_scheduler(processes, environ)
    if distributes:
        distributed.start_workers(processes, home, environ)
    return cloud, environ


def refresh(cloud: engine.Cloud) -> None:
    """Make in the emulated AWS what changed definitions name."""
    try:
        if cloud.refresh():
            print_status("the definitions have changed; the emulated AWS follows")
    except engine.Failed as error:
        print_status(f"the definitions have changed, and cannot be read:\n{error}")


@contextmanager
def running(logs: Path) -> Iterator[Processes]:
    """Provide processes that all end when the block is left."""
    with Processes(logs) as processes:
        try:
            yield processes
        except Interrupted:
            print_status("stopping")
            raise


@contextmanager
def kept_home(options: argparse.Namespace) -> Iterator[Path]:
    """Provide the AIRFLOW_HOME of this checkout's DAGs in an environment, with what ran there before."""
    parts = [options.environment]
    parts += [options.executor] if options.executor != "sequential" else []
    parts += [f"airflow-{options.airflow}"] if options.airflow != "2.2.2" else []
    name = "-".join(parts)
    home = LOCAL / "home" / name
    with hold(home):
        yield home


@contextmanager
def free_home(kind: str) -> Iterator[Path]:
    """Provide an empty AIRFLOW_HOME that no other ``./etl run`` uses.

    An earlier run's must not be in the way of the next one; its logs stay until then.
    """
    for number in itertools.count(1):
        home = LOCAL / "home" / f"{kind}-{number}"
        try:
            with hold(home):
                shutil.rmtree(home, ignore_errors=True)
                yield home
                return
        except InUse:
            continue


class InUse(engine.Failed):
    """Another ``./etl run`` has this AIRFLOW_HOME."""


@contextmanager
def hold(home: Path) -> Iterator[None]:
    """Keep other ``./etl run`` out of an AIRFLOW_HOME; the system lets go when we end.

    Raises:
        InUse: Another one has it.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    with open(home.with_suffix(".lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(
                f"another ./etl run serves the environment {home.name} in this checkout; stop it with Ctrl-C first"
            ) from None
        yield


def port_is_taken(port: int) -> bool:
    """Return whether another process listens on 127.0.0.1 there."""
    with socket.socket() as probe:
        # As web servers do: connections of an earlier one that linger are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
