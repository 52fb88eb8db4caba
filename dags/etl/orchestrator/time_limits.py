"""The processor time that each file may take: the net behind the limits that are counted."""

import signal
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

PASS_SECONDS = 30  # where no alarm limits the pass: Airflow's and MWAA's core.dagbag_import_timeout
FRACTION = 4  # a file gets a quarter of what is left at first: 3 s to be read, and 10,000 providers need 0.4 s
TICK = 0.01  # seconds of processor time between two looks at the clocks
OTHERS = 4  # times as long as its processor time may an item take, as long as all get their shares
LEAST = 0.05  # seconds, for some 200 providers, which all files after it are left, or an eighth of the time


class OutOfTime(BaseException):
    """A file takes too long. It is no Exception: a library on the way may handle these."""


def in_time(
    items: Sequence[Item], work: Callable[[Item], Result], part: float, size: Callable[[Item], int]
) -> List[Optional[Result]]:
    """Return the result of ``work`` for each item; None for one that takes too long, whose work is broken off.

    The smallest items come first, so that many large ones cost no other its result. An item that exceeds a fraction of
    the time left is tried again after all others, which so get theirs in any order: a share for each of them is kept
    back, and all shares together are an eighth of the time at most, as other processes may have the processor. For the
    same reason, no item takes more than half of what is not kept back at first. The late ones share what is left then.
    The timer is that of the process's processor time, as Airflow uses the other one, and its signal is seen between two
    bytecodes. Without a main thread, or with a profiler that uses the timer, nothing is limited.

    Args:
        items: What the work is for, such as files.
        work: It may be called twice for an item.
        part: The part of the time until Airflow's alarm that all items together may take.
        size: About how much work an item is, compared to others.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_PROF)[0]:
        return [work(item) for item in items]
    alarm = signal.getitimer(signal.ITIMER_REAL)[0]
    clock = time.monotonic if alarm else time.process_time  # the alarm also rings when others have the processor
    total = part * (alarm or PASS_SECONDS)
    end, share = clock() + total, min(LEAST, total / 8 / max(len(items), 1))
    results: Dict[int, Result] = {}
    late: List[int] = []
    used = passed = 0.0  # when an attempt ends: the processor time, and what the clock says

    def ring(*_: Any) -> None:
        if time.process_time() >= used or clock() >= passed:
            signal.setitimer(signal.ITIMER_PROF, 1, 1)  # and each second after, if a destructor swallows it
            raise OutOfTime

    def attempt(index: int, seconds: float, at_most: float) -> None:
        nonlocal used, passed
        used, passed = time.process_time() + seconds, clock() + at_most
        try:
            try:
                signal.setitimer(signal.ITIMER_PROF, min(TICK, seconds), TICK)
                results[index] = work(items[index])
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
        except OutOfTime:
            signal.setitimer(signal.ITIMER_PROF, 0)  # it may have rung in "finally"
            late.append(index)

    before = signal.signal(signal.SIGPROF, ring)
    try:
        for number, index in enumerate(sorted(range(len(items)), key=lambda index: size(items[index]))):
            free = end - clock() - share * (len(items) - number)
            attempt(index, max(free / FRACTION, share / OTHERS), max(free / 2, share))
        again, late = late, []
        for number, index in enumerate(again):
            left = end - clock()
            if left > 0:
                attempt(index, left / (len(again) - number), left)
    finally:
        signal.signal(signal.SIGPROF, before or signal.SIG_DFL)
    return [results.get(index) for index in range(len(items))]
