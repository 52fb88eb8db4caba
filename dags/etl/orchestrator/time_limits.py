"""The processor time that each file may take: the net behind the limits that are counted."""

import signal
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

PASS_SECONDS = 30  # where no alarm limits the pass: Airflow's and MWAA's core.dagbag_import_timeout
LEAST = 0.001  # seconds that an attempt makes sense with
TICK = 0.004  # seconds of processor time between two looks at the clock
GRACE = 1  # second after which work is broken off in the code of other packages, too


class OutOfTime(BaseException):
    """A file takes too long. It is no Exception: a library on the way may handle these."""


def in_time(items: Sequence[Item], work: Callable[[Item], Result], part: float) -> List[Optional[Result]]:
    """Return the result of ``work`` for each item; None for one that takes too long, whose work is broken off.

    Each item may take an equal share of the time, whatever its size and its place among the others. Those that take
    longer are tried again with an equal share of what is left, which is longer, as most others need little of theirs;
    and so on, as long as it grows. The timer is that of the process's processor time, as Airflow uses the other one,
    and its signal is seen between two bytecodes. It breaks work off in our own code: that of others may just have taken
    a lock and would keep it for ever, as Jinja's does for each template. Without a main thread, or with a profiler that
    uses the timer, nothing is limited.

    Args:
        items: What the work is for, such as files.
        work: It may be called several times for an item.
        part: The part of the time until Airflow's alarm that all items together may take.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_PROF)[0]:
        return [work(item) for item in items]
    alarm = signal.getitimer(signal.ITIMER_REAL)[0]
    clock = time.monotonic if alarm else time.process_time  # the alarm also rings when others have the processor
    end = clock() + part * (alarm or PASS_SECONDS)
    results: Dict[int, Result] = {}
    late = list(range(len(items)))
    share = 0.0
    until = 0.0  # what the clock says when an attempt ends

    def ring(_: int, frame: Any) -> None:
        is_over = alarm and not signal.getitimer(signal.ITIMER_REAL)[0]  # Airflow's alarm has rung, and rings only once
        is_ours = frame.f_globals.get("__package__") == __package__
        if clock() >= until + (0 if is_ours else GRACE) and not is_over:
            signal.setitimer(signal.ITIMER_PROF, 1, 1)  # and each second after, if a destructor swallows it
            raise OutOfTime

    def share_of(number: int) -> float:
        return max((end - clock()) / number, LEAST)

    def attempt(index: int, seconds: float) -> None:
        nonlocal until
        until = clock() + seconds
        if clock() >= end:
            late.append(index)
            return
        try:
            try:
                signal.setitimer(signal.ITIMER_PROF, TICK, TICK)
                results[index] = work(items[index])
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
        except OutOfTime:
            signal.setitimer(signal.ITIMER_PROF, 0)  # it may have rung in "finally"
            late.append(index)

    before = signal.signal(signal.SIGPROF, ring)
    try:
        while late and share_of(len(late)) > share:
            share = share_of(len(late))
            again, late = late, []
            for number, index in enumerate(again):
                attempt(index, share_of(len(again) - number))
    finally:
        signal.signal(signal.SIGPROF, before or signal.SIG_DFL)
    return [results.get(index) for index in range(len(items))]
