"""Every contender at every size, in turns: noise of the machine meets all of them alike."""

import json
import statistics
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type, Union

from tools import ROOT
from tools.bench.contenders import CONTENDERS, ENVIRONMENT, PARSES, PASSES, Layout
from tools.bench.databases import Postgres, Sqlite
from tools.local.engine import inherited

IMPORT_TIMEOUT = 30  # seconds; core.dagbag_import_timeout of MWAA
PASS_TIMEOUT = 50  # seconds; core.dag_file_processor_timeout of MWAA
ENOUGH = 20.0  # seconds of CPU of a case, after which it is not repeated
MEMORY = Path("/dev/shm")  # a disk's delays are no CPU time, and yet have us wait


Database = Union[Sqlite, Postgres]


class BenchError(Exception):
    """It cannot be measured; the text says why."""


class Case(NamedTuple):
    """What is measured: a row of ``contenders.PARSES`` or ``PASSES``."""

    number: int
    contender: str
    row: str


class Figures(NamedTuple):
    """What was measured: answers of ``tools.bench.measure``, and why there is none."""

    answers: Dict[Case, List[Dict[str, Any]]]
    left_out: Dict[Case, str]

    def median(self, case: Case, key: str = "cpu") -> Optional[float]:
        """Return the median, or None if it was left out."""
        values = [answer[key] for answer in self.answers.get(case, ())]
        return statistics.median(values) if values else None


# ----------------------------------------------------------------------------------------------------- the process


class Measurer:
    """The process of ``tools.bench.measure``, with an Airflow home and a database of its own.

    Args:
        python: The interpreter of an environment with Airflow.
        home: A folder for it.
        database: An empty one.
        options: More Airflow options.
    """

    def __init__(self, python: Path, home: Path, database: Database, options: Mapping[str, str]) -> None:
        self.python = python
        self.home = home
        self.database = database
        self.is_database_made = False
        self.environ = {
            **inherited(),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__SQL_ALCHEMY_CONN": database.url,
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "1000",  # the time is ours to take
            # A pass as it is once its DAGs have been unchanged for longer than this.
            "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
            "AIRFLOW__ETL__ENVIRONMENT": ENVIRONMENT,
            **options,
        }
        self.process = subprocess.Popen(
            [str(python), "-m", "tools.bench.measure"],
            env=self.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Measurer":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        self.process.kill()  # it may have inherited that a SIGTERM is ignored
        self.process.wait()

    def empty_database(self) -> None:
        """Begin anew, with the tables that Airflow makes; raise BenchError."""
        if self.is_database_made:
            self.database.bring_back("empty")
            return
        log = self.home / "db-init.log"
        with open(log, "w") as file:
            command = [str(self.python), "-m", "airflow", "db", "init"]
            if subprocess.run(command, env=self.environ, stdout=file, stderr=file).returncode != 0:
                raise BenchError(f"Airflow cannot make its database:\n{log.read_text()}")
        self.database.keep("empty")
        self.is_database_made = True

    def ask(self, **job: Any) -> Dict[str, Any]:
        """Run a job; raise BenchError."""
        print(json.dumps(job), file=self.process.stdin, flush=True)
        line = next(iter(self.process.stdout or ()), "")
        if not line:
            raise BenchError("the process that measures has died, see above")
        answer: Dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BenchError(f"{job['file']}: {answer['error']}")
        return answer


# -------------------------------------------------------------------------------------------------------- the race


def race(
    python: Path,
    sizes: Sequence[int],
    contenders: Sequence[str],
    repeats: int,
    notify: Callable[[str], None],
    rows: Sequence[str] = (*PARSES, *PASSES),
    postgres: Optional[Database] = None,
    options: Optional[Mapping[str, str]] = None,
    patience: int = PASS_TIMEOUT,
) -> Figures:
    """Measure every contender at every size; raise BenchError.

    Args:
        python: The interpreter of an environment that has all contenders.
        sizes: Numbers of providers, the smallest first.
        contenders: Keys of ``CONTENDERS``.
        repeats: Rounds; a case that takes long is left out of the later ones.
        notify: Is called with what is being measured.
        rows: What is measured.
        postgres: A database, if not SQLite's.
        options: Airflow's, as variables of the environment.
        patience: Seconds of CPU that a pass may take.
    """
    figures = Figures({}, {})
    with scratch_folder() as folder:
        database = postgres or Sqlite(folder)
        with Measurer(python, folder / "home", database, options or {}) as measurer:
            course = Course(folder, measurer, figures, patience)
            for turn in range(repeats):
                for number in sizes:
                    for contender in contenders:
                        notify(f"round {turn + 1} of {repeats}: {number:,} providers, {CONTENDERS[contender].title}")
                        for row in CONTENDERS[contender].rows:
                            if row in rows:
                                course.run(Case(number, contender, row))
    return figures


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Return a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="etl-bench-", dir=str(MEMORY) if MEMORY.is_dir() else None) as folder:
        (Path(folder) / "home").mkdir()
        yield Path(folder)


class Course:
    """The folders of all cases, and what has been measured in them."""

    def __init__(self, folder: Path, measurer: Measurer, figures: Figures, patience: int) -> None:
        self.folder = folder
        self.measurer = measurer
        self.figures = figures
        self.patience = patience
        self.layouts: Dict[Tuple[str, int], Layout] = {}
        self.spent: Dict[Case, float] = {}  # seconds of CPU
        self.shape = ""

    def run(self, case: Case) -> None:
        """Measure a case once, unless it takes too long; raise BenchError."""
        if case in self.figures.left_out or self.spent.get(case, 0.0) > ENOUGH:
            return
        limit = self.patience if case.row in PASSES else IMPORT_TIMEOUT
        reason = self.foresee(case, limit)
        if reason:
            self.figures.left_out[case] = reason
            return
        layout = self.layout(case.contender, case.number)
        after_first = f"{case.contender}-{case.number}"
        if case.row == "first":
            self.measurer.empty_database()
        elif case.row == "steady":
            self.measurer.database.bring_back(after_first)
        of_server = self.measurer.database.cpu()
        answer = self.measurer.ask(
            row=case.row,
            file=str(layout.file),
            dag_id=layout.dag_id,
            limit=limit,
            warm_up=str(self.layout(case.contender, 1).file),
        )
        if case.row == "first":
            self.measurer.database.keep(after_first)
        if "timeout" in answer:
            self.figures.left_out[case] = f"> {limit} s"
            return
        answer["cpu"] += self.measurer.database.cpu() - of_server
        self.spent[case] = self.spent.get(case, 0.0) + answer["cpu"]
        self.check(case, layout, answer)
        if case.row != "task":  # a scheduler parses every file, a task its own
            answer["cpu"] *= layout.copies
        self.figures.answers.setdefault(case, []).append(answer)

    def foresee(self, case: Case, limit: int) -> str:
        """Return why a case need not be tried, or nothing."""
        if case in self.spent or CONTENDERS[case.contender].is_one_of_many:
            return ""
        if case.row == "steady" and case._replace(row="first") in self.figures.left_out:
            return "no first pass"
        smaller = [other for other in self.spent if other[1:] == case[1:] and other.number < case.number]
        largest = max(smaller, default=None)
        cost = (largest and self.figures.median(largest)) or 0.0
        # Below a second it is imports more than providers.
        is_too_long = largest and cost > 1 and cost * case.number / largest.number > limit
        beyond = [other for other in self.figures.left_out if other[1:] == case[1:] and other.number < case.number]
        return f"> {limit} s" if is_too_long or beyond else ""

    def layout(self, contender: str, number: int) -> Layout:
        """Return the folder of a contender's DAGs, and write it if it is not there yet."""
        key = (contender, number)
        if key not in self.layouts:
            folder = self.folder / f"{contender}-{number}"
            folder.mkdir()
            self.layouts[key] = CONTENDERS[contender].write(folder, number)
        return self.layouts[key]

    def check(self, case: Case, layout: Layout, answer: Dict[str, Any]) -> None:
        """Check that all do the same work; raise BenchError if one made other DAGs than the first did."""
        wanted = (layout.dags, 1) if case.row == "task" else (layout.dags,)
        if answer["dags"] not in wanted:
            raise BenchError(f"{case.contender} made {answer['dags']} DAGs instead of {layout.dags}")
        self.shape = self.shape or answer["shape"]
        if answer["shape"] != self.shape:
            raise BenchError(f"{case.contender} made another DAG:\n{answer['shape']}\nThe first was:\n{self.shape}")
