"""Runs functions in a process that can neither fill the machine nor hold it for ever."""

import multiprocessing
import resource
import signal
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Callable, List, Optional, Sequence, Tuple, TypeVar

SECONDS = 5  # of processor time for one function; the slowest template that is allowed takes some 0.1
MEGABYTES = 2048  # of addresses, with those of the command itself, which has some 300

T = TypeVar("T")


def confined(functions: Sequence[Callable[[], T]]) -> List[Tuple[Optional[T], str]]:
    """Call functions in a child process, and in another one after each that ends it.

    Args:
        functions: They return something that can be pickled, and raise nothing but MemoryError.

    Returns:
        For each function what it returned, or None and why there is nothing.
    """
    fork = multiprocessing.get_context("fork")  # it has what the functions need already
    results: List[Tuple[Optional[T], str]] = []
    while len(results) < len(functions):
        receiver, sender = fork.Pipe(duplex=False)
        child = fork.Process(target=call_all, args=(functions[len(results) :], sender), daemon=True)
        child.start()
        sender.close()  # so that the child's end is the end
        with receiver:
            try:
                while len(results) < len(functions):
                    results.append((receiver.recv(), ""))
            except EOFError:
                results.append((None, f"it takes more than {SECONDS} s or {MEGABYTES} MB"))
        child.join()
    return results


def call_all(functions: Sequence[Callable[[], T]], sender: "Connection") -> None:
    """Call functions within limits, and send what each returns."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a Ctrl-C ends it without a word: that is its parent's
    with suppress(ValueError, OSError):  # macOS knows no limit of addresses
        resource.setrlimit(resource.RLIMIT_AS, (MEGABYTES << 20, MEGABYTES << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_CPU)  # `ulimit -t` may have set one that is lower
    with suppress(MemoryError):  # the parent sees that there is no more
        for function in functions:
            seconds = int(time.process_time()) + SECONDS
            lower = seconds if most == resource.RLIM_INFINITY else min(seconds, most)
            resource.setrlimit(resource.RLIMIT_CPU, (lower, most))
            sender.send(function())
