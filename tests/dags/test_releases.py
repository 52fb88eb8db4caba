"""factory.py picks a release: whatever of a deploy a container has, the DAGs are those of one release, whole."""

import importlib
import json
import logging
import pickle
import random
import signal
import sys
from itertools import product
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

import pytest
from orchestrator.generations import IS_2_2, IS_3

from tests.releases import (
    ABSENT,
    HALF,
    NEW,
    OLD,
    WHOLE,
    current,
    empty_home,
    pass_time,
    put,
    put_two,
    real_files,
    with_manifest,
    write,
)
from tests.trees import ETL, REPOSITORY, SMALL, dag_bag, import_error, limit_import, python

FACTORY = compile((ETL / "factory.py").read_bytes(), "factory.py", "exec")
# A package of a few lines: its "DAGs" are texts that name the release of each file that they are made of.
STUB = {
    "orchestrator/__init__.py": "# {release}",
    "orchestrator/code.py": "CODE = 'of {release}'\n",
    "orchestrator/dags.py": """\
from .code import CODE

def dags_of_folder(root, activation, sizes, reports):
    for path, size in sizes.items():
        if not (root / path).is_file() or (root / path).stat().st_size != size:
            raise FileNotFoundError(path)
    config = (root / "configs/staging.yaml").read_text()
    dags = {{path.stem: CODE + config + path.read_text() for path in root.glob("pipelines/*/*.yaml")}}
    return {{**dags, "release": "{release}", "reports": reports}}
""",
    "configs/staging.yaml": "of {release}",
}


def files_of(release: str, *names: str, **others: str) -> Dict[str, bytes]:
    """Return the files of a release of the stub with these definitions; ``others`` by the stem of a module."""
    texts = {**STUB, **{f"pipelines/cwr/{name}.yaml": "of {release}" for name in names}}
    files = {path: text.format(release=release).encode() for path, text in texts.items()}
    return {**files, **{f"orchestrator/{name}.py": text.encode() for name, text in others.items()}}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return empty_home(tmp_path)


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AIRFLOW__ETL__ENVIRONMENT", "development")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield
    for name in {name for name in sys.modules if name.startswith("orchestrator_")} - before:
        del sys.modules[name]


def run(home: Path) -> Dict[str, Any]:
    """Run factory.py as Airflow does, without its bag; return what it registers."""
    scope: Dict[str, Any] = {"__name__": "unusual_prefix_factory", "__file__": str(home / "factory.py")}
    known = set(scope)
    exec(FACTORY, scope)
    own = {name for name in scope if name in FACTORY.co_names} | known | {"__builtins__", "__doc__"}
    return {name: value for name, value in scope.items() if name not in own}


# ---------------------------------------------------------------------------------------- every subset of a deploy


@pytest.fixture
def _quiet() -> Iterator[None]:
    """Log nothing: it takes as long as all the rest."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Container:
    """A container of MWAA that has some of the objects of a deploy."""

    def __init__(self, home: Path, old: Mapping[str, bytes], new: Mapping[str, bytes]) -> None:
        self.home = home
        self.objects = {
            (release, path): content for release, of in ((OLD, old), (NEW, new)) for path, content in of.items()
        }
        self.states = dict.fromkeys(self.objects, ABSENT)
        self.current: Optional[bytes] = None

    def set(self, key: Tuple[str, str], state: str) -> None:
        if self.states[key] != state:
            self.states[key] = state
            write(self.home / "releases" / key[0] / key[1], self.objects[key], state)

    def set_current(self, content: Optional[bytes]) -> None:
        self.current = content
        write(self.home / "current", content)

    def has(self, release: str) -> bool:
        return {state for (of, _), state in self.states.items() if of == release} == {WHOLE}

    def check(self, expected: Mapping[str, Mapping[str, Any]]) -> str:
        """Check that the DAGs are those of the release that they have to be of, or that nothing is registered."""
        try:
            listed = [activation["release"] for activation in json.loads(self.current or b"{}")["activations"]]
        except (ValueError, KeyError):
            listed = []
        release = next(filter(self.has, listed), "")
        try:
            registered = run(self.home)
        except SystemExit:
            assert not release, self.states
            return ""
        assert registered == {**expected[release], "reports": []}, self.states
        return release


def expected_dags(objects: Mapping[str, bytes], release: str) -> Dict[str, Any]:
    names = [Path(path).stem for path in objects if path.startswith("pipelines/")]
    return {**dict.fromkeys(names, f"of {release}" * 3), "release": release}


CURRENTS = (None, current(OLD), current(NEW, OLD), current(NEW, OLD)[:70], b"")


@pytest.mark.slow
@pytest.mark.usefixtures("_quiet")
def test_every_subset_of_a_small_deploy(home: Path) -> None:
    """Package, config and definitions change, and one definition goes: 2 ** 11 subsets, each with every ``current``.

    Where both releases are whole, each object is also cut in half.
    """
    module = STUB["orchestrator/dags.py"].replace("from .code import CODE\n", "CODE = 'of {release}'\n")
    both = {}
    for release, names in ((OLD, ("kept", "gone")), (NEW, ("kept",))):
        files = files_of(release, *names, dags=module.format(release=release))
        both[release] = with_manifest({path: text for path, text in files.items() if not path.endswith("code.py")})
    container = Container(home, both[OLD], both[NEW])
    expected = {release: expected_dags(objects, release) for release, objects in both.items()}
    seen = []
    for states in product((ABSENT, WHOLE), repeat=len(container.objects)):
        for key, state in zip(container.objects, states):
            container.set(key, state)
        for content in CURRENTS:
            container.set_current(content)
            seen.append(container.check(expected))
    for key, content in product(container.objects, CURRENTS):  # both releases are whole now
        container.set_current(content)
        container.set(key, HALF)
        seen.append(container.check(expected))
        container.set(key, WHOLE)
    assert min(seen.count(release) for release in ("", OLD, NEW)) > 50


@pytest.mark.slow
@pytest.mark.usefixtures("_quiet")
def test_random_subsets_of_a_large_deploy(home: Path) -> None:
    """10,000 containers, each with some objects more, less or cut than the one before."""
    chance = random.Random(10)
    old = with_manifest(files_of(OLD, *(f"d{number}" for number in range(20))))
    new = with_manifest(files_of(NEW, *(f"d{number}" for number in range(5, 25))))
    container = Container(home, old, new)
    expected = {OLD: expected_dags(old, OLD), NEW: expected_dags(new, NEW)}
    keys = list(container.objects)
    seen = []
    for _ in range(10_000):
        wanted = chance.choice((OLD, NEW))
        for key in keys:  # most containers have nearly all of a release: others are all alike
            if key[0] == wanted:
                container.set(key, WHOLE)
        for key in chance.sample(keys, chance.choice((0, 1, 2, 10))):
            container.set(key, chance.choice((ABSENT, HALF, WHOLE)))
        container.set_current(chance.choice(CURRENTS))
        seen.append(container.check(expected))
    assert min(seen.count(release) for release in ("", OLD, NEW)) > 500


# --------------------------------------------------------------------------------------------- a release that fails


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Dict[str, bytes]:
    return real_files(tmp_path_factory.mktemp("real"), {"cwr/big.yaml": SMALL, "vi/works.yaml": SMALL})


DAGS = {"cwr-big_dag_un", "cwr-big_dag_wcm", "vi-works_dag_un", "vi-works_dag_wcm"}
NEVER_ENDS = "import time\nwhile True:\n    try:\n        time.sleep(0.1)\n    except Exception:\n        pass\n"
FAILS = {
    "raises": ("1 / 0\n", "ZeroDivisionError: division by zero"),
    "lacks a requirement": ("import not_installed\n", "ModuleNotFoundError: No module named 'not_installed'"),
    "has a mistake of syntax": ("def f(:\n", "SyntaxError: invalid syntax"),
    "exits": ("import sys\nsys.exit('not here')\n", "SystemExit: not here"),
    "raises no Exception": ("raise GeneratorExit('x')\n", "GeneratorExit: x"),
    "cannot say why": ("class E(Exception):\n    def __str__(self): 1 / 0\nraise E\n", "E: <exception str() failed>"),
    "is of another interface": ("", "ImportError: cannot import name"),
    "never ends": (NEVER_ENDS, "SystemExit: the import takes more than 8 s"),
}


@pytest.mark.parametrize("case", FAILS)
def test_a_package_that_does_not_work_is_reported_and_the_release_before_runs(
    case: str, home: Path, real: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_import(monkeypatch, 16)
    code, reason = FAILS[case]
    put_two(home, with_manifest(real), with_manifest({**real, "orchestrator/operators.py": code.encode()}))

    bag = dag_bag(home)

    assert set(bag.dags) == DAGS
    error = import_error(bag)
    assert f"dags/etl/current:1:1: release {NEW}: " in error
    assert reason in error
    assert f"release {OLD} runs instead; deploy again, or go back: ./etl deploy development --rollback" in error
    put(home, NEW, with_manifest(real))
    bag = dag_bag(home)
    assert (set(bag.dags), bag.import_errors) == (DAGS, {})
    assert {type(task).__module__ for dag in bag.dags.values() for task in dag.tasks} == {"orchestrator_etl.operators"}


# As Airflow's DagFileProcessorManager stops its passes, whose handler they have inherited.
STOPS = "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n"


@pytest.mark.parametrize("place", ["while it is imported", "while it reads"])
def test_a_process_that_is_told_to_stop_does_so_and_tries_no_other_release(
    place: str, home: Path, real: Mapping[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    module = real["orchestrator/dags.py"]
    code = f"def build(*_):\n    {STOPS.replace(chr(10), chr(10) + '    ')}\n" if place == "while it reads" else STOPS
    put_two(
        home, with_manifest(real), with_manifest({**real, "orchestrator/dags.py": module + b"\n\n" + code.encode()})
    )

    def stop(*_: Any) -> None:
        sys.exit(0)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(SystemExit) as ended:
            dag_bag(home)
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, before)

    assert ended.value.code == 0
    assert "passed over" not in caplog.text


def test_a_bug_that_concerns_all_dags_is_reported_and_the_release_before_runs(
    home: Path, real: Mapping[str, bytes]
) -> None:
    module = real["orchestrator/dags.py"] + b"\n\ndef build(*_):\n    raise RuntimeError('a bug')\n"
    put_two(home, with_manifest(real), with_manifest({**real, "orchestrator/dags.py": module}))

    bag = dag_bag(home)

    assert set(bag.dags) == DAGS
    assert f"release {NEW}: RuntimeError: a bug" in import_error(bag)


def test_a_package_that_only_some_definitions_need_is_imported_before_any_is_built(
    home: Path, real: Mapping[str, bytes]
) -> None:
    waiting = SMALL.encode() + b"wait_for: {s3: 's3://bucket/key'}\n"
    put_two(
        home,
        with_manifest({**real, "pipelines/vi/works.yaml": waiting}),
        with_manifest({**real, "pipelines/vi/works.yaml": waiting, "orchestrator/sensors.py": b"1 / 0"}),
    )

    bag = dag_bag(home)

    assert set(bag.dags) == DAGS
    assert f"release {NEW}: ZeroDivisionError" in import_error(bag)


def test_a_protocol_that_factory_py_does_not_know_is_left_alone(home: Path, real: Mapping[str, bytes]) -> None:
    put_two(home, with_manifest(real), with_manifest({**real, "orchestrator/dags.py": b"1 / 0"}, protocol=2))

    bag = dag_bag(home)

    assert set(bag.dags) == DAGS
    assert f"release {NEW}: ValueError: this factory.py does not know its protocol, 2" in import_error(bag)


def test_a_mistake_in_a_definition_is_no_reason_to_fall_back(home: Path, real: Mapping[str, bytes]) -> None:
    put_two(
        home,
        with_manifest(real),
        with_manifest({**real, "pipelines/cwr/big.yaml": b"tasks: [", "pipelines/vi/more.yaml": SMALL.encode()}),
    )

    bag = dag_bag(home)

    assert set(bag.dags) == {f"vi-{name}_dag_{provider}" for name in ("works", "more") for provider in ("un", "wcm")}
    assert import_error(bag).startswith("1 problem in the definitions:\n\ndags/etl/pipelines/cwr/big.yaml:1:")


def test_a_release_that_stays_incomplete_is_reported_after_five_minutes(
    home: Path, real: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    new = with_manifest({**real, "pipelines/vi/works.yaml": SMALL.encode() + b"  prs: {}\n"})
    put_two(home, with_manifest(real), {**new, "pipelines/vi/works.yaml": b"start_date: "})
    bag = dag_bag(home)
    assert (set(bag.dags), bag.import_errors) == (DAGS, {})

    pass_time(monkeypatch)

    bag = dag_bag(home)
    assert set(bag.dags) == DAGS
    size = len(new["pipelines/vi/works.yaml"])
    reason = f"release {NEW}: FileNotFoundError: pipelines/vi/works.yaml is not whole: it has to have {size} bytes"
    assert reason in import_error(bag)
    put(home, NEW, new)
    bag = dag_bag(home)
    assert (set(bag.dags), bag.import_errors) == ({*DAGS, "vi-works_dag_prs"}, {})


@pytest.mark.skipif(IS_3, reason="there, a process that exits disables the DAGs, too: all is an import error at once")
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"activations": 1}', b'{"activations": [{}]}', b"\xff", b"[" * 99_999],
    ids=["empty", "cut", "a list", "a number", "no release", "not UTF-8", "deep"],
)
def test_a_malformed_current_changes_nothing_and_is_reported_after_five_minutes(
    content: bytes, home: Path, real: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(home, OLD, with_manifest(real))
    write(home / "current", content)
    with pytest.raises(SystemExit, match=r"there is no release that works; (?s:.)*current: "):
        dag_bag(home)

    pass_time(monkeypatch)

    bag = dag_bag(home)
    assert bag.dags == {}
    assert "ImportError: there is no release that works; deploy one with ./etl deploy\ncurrent: " in import_error(bag)


def test_a_third_release_is_there_for_two_that_fail(home: Path, real: Mapping[str, bytes]) -> None:
    put(home, NEW, with_manifest({**real, "orchestrator/operators.py": b"1 / 0"}))
    put(home, OLD, with_manifest(real))
    write(home / "current", current("2" * 16, NEW, OLD))  # the first has not arrived at all

    bag = dag_bag(home)

    assert set(bag.dags) == DAGS
    assert f"release {NEW}: ZeroDivisionError" in import_error(bag)


# --------------------------------------------------------------------------------------------- Airflow's own timeout


@pytest.mark.slow
def test_the_timeout_of_airflow_is_not_swallowed(
    home: Path, real: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:

    sleeps = b"import time\n\ndef load(*_):\n    time.sleep(60)\n"
    put_two(
        home,
        with_manifest(real),
        with_manifest({**real, "orchestrator/dags.py": real["orchestrator/dags.py"] + sleeps}),
    )
    limit_import(monkeypatch, 9)

    bag = dag_bag(home)

    assert bag.dags == {}
    assert "DagBag import timeout" in import_error(bag)


# ---------------------------------------------------------------------------------------------- what a process needs


@pytest.mark.skipif(not IS_2_2, reason="it starts processes with the command lines of 2.2.2")
def test_a_worker_needs_the_package_the_environments_and_its_own_file(home: Path, real: Mapping[str, bytes]) -> None:
    objects = with_manifest({**real, "pipelines/vi/works.yaml": SMALL.encode() + b"schedule: '@daily'\n"})
    put_two(home, with_manifest(real), objects)
    (home / "releases" / NEW / "pipelines" / "cwr" / "big.yaml").unlink()
    code = (
        "import sys; file = sys.argv.pop(1); from airflow.models.dagbag import DagBag\n"
        "bag = DagBag(file, include_examples=False); assert not bag.import_errors, bag.import_errors\n"
        "print(sorted((dag.dag_id, dag.schedule_interval) for dag in bag.dags.values()))"
    )
    seen = []
    for words in (
        ["tasks", "run", "vi-works_dag_un", "load"],
        ["tasks", "run", "cwr-big_dag_un", "load"],
        ["scheduler"],
    ):
        done = python(code, str(home / "factory.py"), *words, environment={"AIRFLOW__ETL__ENVIRONMENT": "staging"})
        assert done.returncode == 0, done.stderr
        seen.append(done.stdout.splitlines()[-1])

    assert seen == [
        "[('vi-works_dag_un', '@daily')]",
        "[('cwr-big_dag_un', None)]",  # of the release before: its own file is missing
        str(sorted((dag_id, None) for dag_id in DAGS)),
    ]


def test_a_process_that_parses_two_releases_does_not_mix_their_classes(home: Path) -> None:
    failed = "class Failed(Exception):\n    release = '{release}'\n"
    for release in (OLD, NEW):
        module = (STUB["orchestrator/code.py"] + failed).format(release=release)
        put(home, release, with_manifest(files_of(release, "big", code=module)))
    write(home / "current", current(OLD))
    run(home)
    old = importlib.import_module("orchestrator_etl.code").Failed("old")
    run(home)
    assert type(pickle.loads(pickle.dumps(old))) is type(old)

    write(home / "current", current(NEW, OLD))

    assert run(home)["release"] == NEW
    code, dags = (importlib.import_module(f"orchestrator_etl.{name}") for name in ("code", "dags"))
    assert (code.Failed.release, dags.CODE) == (NEW, f"of {NEW}")
    assert old.release == OLD
    assert not isinstance(old, code.Failed)


# --------------------------------------------------------------------------------------------- what people are told


def test_the_docs_of_a_dag_name_its_commit(home: Path, real: Mapping[str, bytes]) -> None:
    commits = {"": "a" * 40 + " with uncommitted changes", "pipelines/vi/works.yaml": "b" * 40}
    put(home, NEW, with_manifest(real))
    write(home / "current", json.dumps({"activations": [{"release": NEW, "commits": commits}]}).encode())

    docs = {dag_id: dag.doc_md for dag_id, dag in dag_bag(home).dags.items()}

    assert f"Commit **{'a' * 12} with uncommitted changes**." in docs["cwr-big_dag_un"]
    assert f"Commit **{'b' * 12}**." in docs["vi-works_dag_un"]
    assert "dags/etl/pipelines/cwr/big.yaml" in docs["cwr-big_dag_un"]
    write(home / "current", json.dumps({"activations": [{"release": NEW}]}).encode())
    assert not [dag for dag in dag_bag(home).dags.values() if "Commit" in dag.doc_md]


def test_definitions_beside_current_are_reported(home: Path, real: Mapping[str, bytes]) -> None:
    for path, content in real.items():  # as aws s3 cp --recursive does
        write(home / path, content)
    bag = dag_bag(home)
    assert (set(bag.dags), bag.import_errors) == (DAGS, {})
    put(home, NEW, with_manifest({**real, "pipelines/vi/more.yaml": SMALL.encode()}))

    write(home / "current", current(NEW))

    bag = dag_bag(home)
    assert set(bag.dags) == {*DAGS, "vi-more_dag_un", "vi-more_dag_wcm"}
    message = f"release {NEW} is read, and not the folders beside it: configs, orchestrator, pipelines"
    assert message in import_error(bag)
    assert "./etl deploy makes a release, and deletes them; to run the folders, delete current" in import_error(bag)
    for path in real:
        (home / path).unlink()  # and a copy leaves the folders
    assert dag_bag(home).import_errors == {}


def test_a_sandbox_has_releases_of_its_own(home: Path, real: Mapping[str, bytes]) -> None:
    from airflow.models.dagbag import DagBag

    sandbox = home.parent / "test_merge"
    write(sandbox / "factory.py", (ETL / "factory.py").read_bytes())
    for folder, release in ((home, OLD), (sandbox, NEW)):
        put(folder, release, with_manifest(real))
        write(folder / "current", current(release))
        write(folder / ".airflowignore", (REPOSITORY / ".airflowignore").read_bytes())

    bag = DagBag(str(home.parent), include_examples=False)

    assert bag.import_errors == {}
    assert set(bag.dags) == DAGS | {f"test_merge.{dag_id}" for dag_id in DAGS}


def test_airflowignore_hides_what_is_ours_in_each_folder_and_nothing_else(home: Path) -> None:
    """Search with Airflow's own function; the file is in each folder of ours, and holds for that folder."""
    from airflow.utils.file import list_py_file_paths

    dags = home.parent
    code = b"import airflow  # dag"
    for folder in ("etl", "test_merge"):
        write(dags / folder / ".airflowignore", (REPOSITORY / ".airflowignore").read_bytes())
        for path in ("factory.py", "orchestrator/dags.py", f"releases/{OLD}/orchestrator/dags.py", "configs/x.py"):
            write(dags / folder / path, code)
    others = [f"other/{path}" for path in ("factory.py", "orchestrator/x.py", "releases/x.py", "configs/x.py")]
    others += ["releases/x.py", "orchestrator/x.py", "etl_other/releases/x.py", "x_releases/x.py"]
    for path in others:
        write(dags / path, code)

    found = {str(Path(path).relative_to(dags)) for path in list_py_file_paths(str(dags))}

    read_by_3 = ["etl/problems.py"] if IS_3 else []
    assert found == {"etl/factory.py", "test_merge/factory.py", *read_by_3, *others}
