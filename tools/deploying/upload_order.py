"""The order in which a deploy is harmless: whatever part of it has arrived, no DAG is away that was there and stays.

S3 takes object by object, MWAA copies object by object, and the scheduler parses whatever it finds. Every state on the
way is therefore read before anything is written, each by the factory that it holds itself.
"""

import json
import os
import subprocess
import sys
import tempfile
import textwrap
from contextlib import contextmanager
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Dict, FrozenSet, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

from orchestrator import load

from tools import ETL

Tree = Mapping[str, bytes]  # a folder of the DAGs folder: content by path


class Step(NamedTuple):
    """What is written at the same time; the paths begin with the stage's name.

    Definitions do not depend on one another, and neither do environments: within their steps, any order is as harmless
    as any other. The modules of the package do depend on one another: until all are copied, a parse may fail.
    """

    stage: str
    deletes: bool = False

    def __str__(self) -> str:
        return f"deleted {self.stage}" if self.deletes else self.stage


# The package is there before the factory that loads it. A new factory reads old definitions more often than an old one
# reads new ones. The other way round is right for the first deploy, since nothing is parsed before the factory is
# there, and for taking a feature of the language back. An environment goes last, for as long as a definition may name
# it.
ORDERS = (
    (
        *(Step("orchestrator"), Step("factory.py"), Step("configs"), Step("pipelines")),
        *(Step("pipelines", True), Step("configs", True), Step("orchestrator", True)),
    ),
    (
        *(Step("pipelines"), Step("pipelines", True), Step("configs"), Step("orchestrator"), Step("factory.py")),
        *(Step("configs", True), Step("orchestrator", True)),
    ),
)

# What a factory finds in its folder, without Airflow. The first version's was a single file, and a problem had a path.
PARSE = """\
import json, pathlib, sys
root = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(root))
if b"orchestrator" in (root / "factory.py").read_bytes():
    from orchestrator import load
else:
    from factory import load
found = load(root, sys.argv[2])
dags = {definition.dag_id: definition.path for definition in found.definitions}
problems = [[getattr(problem, "location", problem).path, str(problem)] for problem in found.problems]
print(json.dumps([dags, problems]))
"""


class Refused(Exception):
    """It is not deployed; the text says why, and what to do."""


class Place(NamedTuple):
    """For whom a tree is read: the folder's name is part of a sandbox's DAG ids."""

    folder: str
    environment: str


class Parsed(NamedTuple):
    """What a scheduler makes of a tree."""

    dags: Dict[str, str]  # the paths of their definitions, as problems show them, by id
    problems: List[Tuple[str, str]]  # their paths and texts
    error: str = ""  # why its factory does not start


class Order(NamedTuple):
    """The paths to write or delete, step by step."""

    steps: List[List[str]]
    matters: bool  # in another order, a DAG would be away


def upload_order(before: Tree, after: Tree, place: Place) -> Order:
    """Return a harmless order of writing what differs; raise Refused where there is none."""
    refusals = []
    for order in ORDERS:
        steps = [step for step in order if paths_of(step, before, after)]
        harms = (harm_of(steps[:number], before, after, place) for number in range(1, len(steps) + 1))
        harm = next((harm for harm in harms if any(harm)), None)
        if harm is None:
            some = (part for number in range(1, len(steps)) for part in combinations(steps, number))
            matters = any(harm_of(part, before, after, place).away for part in some)
            return Order([paths_of(step, before, after) for step in steps], matters)
        refusals.append(f"{', '.join(map(str, steps))}: {harm}")
    raise Refused(
        "there is no harmless order of uploading this, and MWAA copies object by object:\n\n"
        + "\n".join(refusals)
        + "\nDeploy it in two steps: first what goes with the old and with the new, such as a value under both of its"
        " names,\nand then the rest; or file by file with --only. Nothing was written."
    )


def paths_of(step: Step, before: Tree, after: Tree) -> List[str]:
    """Return what a step writes or deletes."""
    paths = sorted(path for path in {*before, *after} if path.split("/")[0] == step.stage)
    return [path for path in paths if before.get(path) != after.get(path) and (path not in after) == step.deletes]


class Harm(NamedTuple):
    """The harm when some of the steps are done, and the others not yet."""

    done: str  # steps; "" for no harm
    away: str  # DAGs that were there and will be
    problems: str  # that nothing had before

    def __str__(self) -> str:
        what = f"away would be: {self.away}" if self.away else "there would be a new problem:"
        return f"after {self.done},\n  {what}\n{textwrap.indent(self.problems, '  ')}\n"


def harm_of(steps: Sequence[Step], before: Tree, after: Tree, place: Place) -> Harm:
    """Return the harm when these steps are done, and the others not yet."""
    tree = dict(before)
    for path in (path for step in steps for path in paths_of(step, before, after)):
        tree.pop(path, None)
        tree.update({path: after[path]} if path in after else {})
    old, now, new = parse_tree(before, place), parse_tree(tree, place), parse_tree(after, place)
    paths_before = {path for path, _ in old.problems}
    away = sorted(set(old.dags) & set(new.dags) - set(now.dags))
    texts = [text for path, text in now.problems if path not in paths_before] + [now.error] * bool(now.error)
    done = ", ".join(map(str, steps)) if away or texts else ""
    return Harm(done, ", ".join(away), "\n".join(texts[:3]))


# -------------------------------------------------------------------------------------------------------- parsing


def parse_tree(tree: Tree, place: Place) -> Parsed:
    """Read a tree with its own factory, in a process of its own; without a factory there is nothing to parse."""
    return parse_items(frozenset(tree.items()), place)


@lru_cache(maxsize=None)
def parse_items(items: FrozenSet[Tuple[str, bytes]], place: Place) -> Parsed:
    """Read a tree that is given as its items."""
    tree = dict(items)
    if "factory.py" not in tree:
        return Parsed({}, [])
    with write_tree(tree, place.folder) as etl:
        if code_of(tree) == code_of({name: (ETL / name).read_bytes() for name in code_files(ETL)}):  # as is usual
            found = load(etl, place.environment)
            dags = {definition.dag_id: definition.path for definition in found.definitions}
            return Parsed(dags, [(problem.location.path, str(problem)) for problem in found.problems])
        # It is code from the bucket: it gets neither the credentials of this process nor its home.
        done = subprocess.run(
            [sys.executable, "-I", "-B", "-c", PARSE, str(etl), place.environment],
            env={"PATH": os.defpath, "HOME": str(etl)},
            cwd=str(etl),
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
    try:
        dags, problems = json.loads(done.stdout)
        return Parsed(dags, problems)
    except ValueError:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return Parsed({}, [], f"factory.py does not start here: {''.join(last)}")


def code_files(etl: Path) -> List[str]:
    """Return the paths of the code in a folder: the factory and its package."""
    modules = sorted(file.name for file in etl.glob("orchestrator/*.py") if file.is_file())  # no lock of an editor
    return ["factory.py", *(f"orchestrator/{name}" for name in modules)]


def code_of(tree: Tree) -> Tree:
    """Return the part of a tree that is code."""
    return {path: content for path, content in tree.items() if path.endswith(".py")}


@contextmanager
def write_tree(tree: Tree, folder: str) -> Iterator[Path]:
    """Return a folder that holds the tree for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="etl-") as above:
        etl = Path(above) / "dags" / folder
        for name in ("configs", "orchestrator", "pipelines"):
            (etl / name).mkdir(parents=True)
        for path, content in tree.items():
            (etl / path).parent.mkdir(exist_ok=True)
            (etl / path).write_bytes(content)
        yield etl
