"""The net behind the counted limits: a file that takes too long is left out, and all others are there.

No definition is known that takes so long: counted limits refuse these. A function stands in for one.
"""

import signal
import sys
import threading
import time
from itertools import chain, repeat
from pathlib import Path
from types import FunctionType
from typing import Any, Callable, Iterable, List

import pytest
from airflow.exceptions import AirflowTaskTimeout
from orchestrator import loading
from orchestrator.time_limits import in_time

from tests.trees import SMALL, dag_bag, import_error, limit_import, tree

TIMEOUT = 4  # seconds, of the import
FOR_EVER = repeat(60)  # seconds that each attempt would take
TOO_LONG = "takes too much of the scheduler's time [internal]"


def use_processor(seconds: float) -> None:
    """Use the processor for seconds of its time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


# As code of the package that the factory loads: work is broken off there.
spin = FunctionType(use_processor.__code__, {"time": time, "__package__": "orchestrator_etl"})


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that makes a tree whose files with a certain name take so many seconds in one place."""

    def make(
        folder: Path, names: List[str], place: str = "loading.read_pipeline", seconds: Iterable[float] = FOR_EVER
    ) -> Path:
        root = tree(folder, {f"cwr/{name}.yaml": SMALL for name in names})
        dag_bag(root)  # which imports the package, for Airflow's process keeps it; on a busy machine, in more time
        limit_import(monkeypatch, TIMEOUT)
        module, function = place.split(".")
        owner: Any = sys.modules[f"orchestrator_etl.{module}"]
        *holder, function = function.split(":")
        owner = getattr(owner, holder[0]) if holder else owner
        real = getattr(owner, function)
        attempts = iter(seconds)

        def slowed(*arguments: Any, **more: Any) -> Any:
            given = chain.from_iterable(each if isinstance(each, list) else [each] for each in arguments)
            if any("slow" in str(getattr(each, "path", "")) for each in given):
                spin(next(attempts))
            return real(*arguments, **more)

        monkeypatch.setattr(owner, function, slowed)
        return root

    monkeypatch.setenv("AIRFLOW__ETL__ENVIRONMENT", "development")
    return make


def dags_of(names: List[str]) -> List[str]:
    return sorted(f"cwr-{name}_dag_{provider}" for name in names for provider in ("un", "wcm"))


def parse(root: Path) -> Any:
    """Parse a tree; check that the process is left as it was."""
    before = signal.getsignal(signal.SIGPROF)
    bag = dag_bag(root)
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGPROF) is before
    return bag


@pytest.mark.parametrize("place", ["loading.read_pipeline", "dags.Builder:build"])
@pytest.mark.parametrize(
    "names",
    [
        ["a_slow", "b", "c"],
        ["a", "b_slow", "c"],
        ["a", "b", "c_slow"],
        ["a_slow", "b_slow", "c"],
        ["a", "b_slow", "c_slow"],
    ],
    ids=" ".join,
)
def test_the_other_files_are_there_in_every_order(
    names: List[str], place: str, slow: Callable[..., Path], tmp_path: Path
) -> None:
    root = slow(tmp_path, names, place)

    bag = parse(root)

    healthy = [name for name in names if "slow" not in name]
    assert sorted(bag.dags) == dags_of(healthy)
    assert import_error(bag).count(TOO_LONG) == len(names) - len(healthy)
    for name in set(names) - set(healthy):
        assert f"/cwr/{name}.yaml:1:1: {TOO_LONG}" in import_error(bag)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["loading.read_pipeline", "dags.Builder:build"])
def test_hundreds_of_slow_files_before_a_healthy_one(
    place: str, slow: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = slow(tmp_path, [*(f"a{number}_slow" for number in range(100)), "z"], place)
    limit_import(monkeypatch, 30)  # Airflow's default

    bag = parse(root)

    assert sorted(bag.dags) == dags_of(["z"])
    assert import_error(bag).count(TOO_LONG) == 100


@pytest.mark.slow
@pytest.mark.parametrize("comment", ["", f"# {'a' * 100_000}\n"], ids=["small", "large"])
def test_many_files_that_each_take_a_second_cost_one_of_a_thousand_providers_nothing(
    comment: str, slow: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"a{number}_slow" for number in range(20)]
    root = slow(tmp_path, names, seconds=repeat(1))
    for name in names:
        (root / "pipelines" / "cwr" / f"{name}.yaml").write_text(SMALL + comment)
    (root / "pipelines" / "cwr" / "large.yaml").write_text(SMALL + "".join(f"  p{n}: {{}}\n" for n in range(1000)))
    limit_import(monkeypatch, 30)  # Airflow's default

    assert sum("large" in dag_id for dag_id in parse(root).dags) == 1002


def test_what_takes_long_to_await_costs_a_dag_nothing_but_its_sensor(slow: Callable[..., Path], tmp_path: Path) -> None:
    root = slow(tmp_path, ["a_slow", "b"], "waiting.OtherDags:resolve")
    with (root / "pipelines" / "cwr" / "a_slow.yaml").open("a", encoding="utf-8") as file:
        file.write("  sacem: {wait_for: {pipeline: cwr/b, provider: un}}\n")

    bag = parse(root)

    assert sorted(bag.dags) == sorted([*dags_of(["a_slow", "b"]), "cwr-a_slow_dag_sacem"])
    assert "/cwr/a_slow.yaml:1:1: it takes too much of the scheduler's time to read what" in import_error(bag)
    (sensor,) = (task for task in bag.dags["cwr-a_slow_dag_sacem"].tasks if task.task_id.startswith("wait"))
    assert (sensor.awaited.dag_id, sensor.awaited.is_known) == ("cwr-b_dag_un", False)


def test_a_file_that_takes_long_is_tried_again_after_the_others(slow: Callable[..., Path], tmp_path: Path) -> None:
    root = slow(tmp_path, ["a_slow", "b", "c"], seconds=chain([60], repeat(0)))  # then no clock decides

    bag = parse(root)

    assert (sorted(bag.dags), bag.import_errors) == (dags_of(["a_slow", "b", "c"]), {})


def test_no_handler_on_the_way_swallows_it(slow: Callable[..., Path], tmp_path: Path) -> None:
    root = slow(tmp_path, ["a_slow", "b"])
    loading: Any = sys.modules["orchestrator_etl.loading"]
    stuck = loading.read_pipeline

    def handled(*arguments: Any) -> Any:
        try:
            return stuck(*arguments)
        except Exception as error:
            raise AssertionError from error

    loading.read_pipeline = handled

    assert sorted(parse(root).dags) == dags_of(["b"])


def test_airflows_own_alarm_ends_the_pass(slow: Callable[..., Path], tmp_path: Path) -> None:
    root = slow(tmp_path, ["a", "b"])
    loading: Any = sys.modules["orchestrator_etl.loading"]
    loading.read_pipeline = lambda *_: time.sleep(2 * TIMEOUT)  # which takes no processor time

    bag = parse(root)

    assert bag.dags == {}
    assert AirflowTaskTimeout.__name__ in import_error(bag)


def test_airflows_alarm_counts_also_after_a_call_that_no_signal_breaks() -> None:
    class Alarm(BaseException):
        pass

    def ring(*_: Any) -> None:
        raise Alarm

    numbers = list(range(20_000_000))
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(Alarm):
            in_time(["a", "b"], lambda _: sum(numbers), 0.5)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_share_that_is_too_short_to_measure_is_enough_for_what_takes_hardly_any_time() -> None:
    assert in_time(range(20_000), str, 0.1) == list(map(str, range(20_000)))


def test_the_code_of_others_is_broken_off_a_second_later_as_it_may_have_taken_a_lock() -> None:
    lock = threading.Lock()

    def take_lock(seconds: float) -> None:
        lock.acquire()
        use_processor(seconds)  # where a library has no "try" yet
        lock.release()

    in_time([0.3], take_lock, 0.003)  # of 30 s, and of the processor's time, as there is no alarm
    assert not lock.locked()
    assert in_time([60], use_processor, 0.003) == [None]


def test_an_environment_that_takes_too_long_is_a_problem_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_slowly(*_: Any) -> None:
        while True:
            pass

    monkeypatch.setattr(loading, "read_context", read_slowly)
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 2)
    try:
        (problem,) = loading.load(tree(tmp_path, {"cwr/big.yaml": SMALL}), "development").problems
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert str(problem).startswith(f"dags/etl/configs/development.yaml:1:1: {TOO_LONG}")


def test_without_a_main_thread_or_beside_a_profiler_nothing_is_limited(
    slow: Callable[..., Path], tmp_path: Path
) -> None:
    root = slow(tmp_path, ["a_slow", "b"], seconds=repeat(TIMEOUT / 8))
    bags: List[Any] = []
    thread = threading.Thread(target=lambda: bags.append(dag_bag(root)))
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGPROF, lambda *_: None)
    signal.setitimer(signal.ITIMER_PROF, 100)
    bags.append(dag_bag(root))
    left = signal.setitimer(signal.ITIMER_PROF, 0)[0]
    signal.signal(signal.SIGPROF, before)

    assert 0 < left < 100
    assert [sorted(bag.dags) for bag in bags] == [dags_of(["a_slow", "b"])] * 2
