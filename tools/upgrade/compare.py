"""Builds the definitions in two generations of Airflow, compares the results, and tries two runs in the newer one."""

import json
import os
import subprocess
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from orchestrator import Definition, environment_names, load

from tools import ROOT
from tools.checkout import load_all, no_environment
from tools.checks.definitions import read_contexts
from tools.checks.generations import check_contexts, check_definitions_for
from tools.setup.environments import GENERATIONS
from tools.terminal import count, print_status
from tools.upgrade.differences import Difference, differences

NOW = "2.2.2"
MAX_SHOWN = 20  # differences of one kind in an environment
TIMEOUT = 600  # seconds for one process


class Finding(NamedTuple):
    """One question to the newer generation and its answer; nothing in ``details`` is as it should be."""

    question: str
    answer: str
    details: List[str]


class Report(NamedTuple):
    """What an upgrade changes."""

    generation: str
    findings: List[Finding]
    changes: List[Difference]

    @property
    def is_equal(self) -> bool:
        """Return whether nothing is to be done."""
        return not any(finding.details for finding in self.findings)


class Unusable(Exception):
    """A generation says nothing about the definitions; the text says why."""


def examine(dags: Path, generation: str, with_runs: bool) -> Report:
    """Return what an upgrade to a generation changes for the definitions of a DAGs folder."""
    etl = dags / "etl"
    now = datetime.now(timezone.utc).replace(microsecond=0).isoformat()
    definitions: List[Definition] = []
    findings = [Finding("is there an environment", "no", [str(problem)]) for problem in no_environment(etl)]
    for environment, result in load_all(etl).items():
        if result.problems and not result.definitions:
            findings.append(Finding(f"do all DAGs of {environment} load", "no", list(map(str, result.problems))))
            continue
        print_status(f"building the DAGs of {environment} in Airflow {NOW} and {generation}")
        definitions += result.definitions
        try:
            findings += compare(environment, *(probe(each, etl, environment, now) for each in (NOW, generation)))
        except Unusable as error:
            findings.append(Finding(f"do all DAGs of {environment} load", "no", [str(error)]))
    if not definitions:
        findings.append(Finding("is there a DAG to compare", "no", ["no environment has one"]))
        return Report(generation, findings, [])
    findings.append(gone(etl, generation, definitions))
    if with_runs:
        findings += try_runs(dags, generation)
    return Report(generation, findings, list(differences(generation, definitions)))


def probe(generation: str, etl: Path, environment: str, now: str) -> Dict[str, Any]:
    """Return what ``tools.upgrade.probe`` prints in a generation.

    Raises:
        Unusable: It fails.
    """
    command = [str(GENERATIONS[generation].python), "-W", "ignore", "-m", "tools.upgrade.probe"]
    with tempfile.TemporaryDirectory(prefix="etl-") as home:
        done = subprocess.run(
            [*command, str(etl), environment, now],
            cwd=str(ROOT),
            env={**os.environ, "AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
    if done.returncode:
        raise Unusable(f"Airflow {generation} fails:\n{done.stderr.strip()}")
    answer: Dict[str, Any] = json.loads(done.stdout.splitlines()[-1])  # Airflow may print before it
    return answer


def compare(environment: str, before: Dict[str, Any], after: Dict[str, Any]) -> Iterator[Finding]:
    """Yield the findings about an environment."""
    missing = sorted(set(before["dags"]) ^ set(after["dags"]))
    new = [problem for problem in after["problems"] if problem not in before["problems"]]
    loaded = f"{len(after['dags'])} of {len(before['dags'])}"
    yield Finding(f"do all DAGs of {environment} load", loaded, [*new, *missing])
    common = [dag_id for dag_id in before["dags"] if dag_id in after["dags"]]
    requests, different = 0, []
    for dag_id in common:
        for name, task_id, one, other in pairs(before["dags"][dag_id], after["dags"][dag_id]):
            requests += 1
            if text_of(one) != text_of(other):
                different.append(f"{dag_id} {task_id}, {name}: {first_difference(one, other)}")
    equal = f"{requests - len(different)} of {requests}"
    yield Finding(f"are the requests of {environment} byte-identical", equal, different)
    moved = [dag_id for dag_id in common if before["dags"][dag_id]["runs"] != after["dags"][dag_id]["runs"]]
    scheduled = sum(bool(before["dags"][dag_id]["runs"]) for dag_id in common)
    details = [f"{each}: {first_difference(*(d['dags'][each]['runs'] for d in (before, after)))}" for each in moved]
    same = f"{scheduled - len(moved)} of {count(scheduled, 'schedule')}"
    yield Finding(f"are the next ten runs of {environment} the same", same, details)


def pairs(before: Dict[str, Any], after: Dict[str, Any]) -> Iterator[Tuple[str, str, Any, Any]]:
    """Yield run, task and both requests of a DAG."""
    for name in sorted({*before["requests"], *after["requests"]}):
        tasks = [each["requests"].get(name, {}) for each in (before, after)]
        for task_id in sorted({*tasks[0], *tasks[1]}):
            yield name, task_id, tasks[0].get(task_id), tasks[1].get(task_id)


def text_of(request: Any) -> str:
    """Return a request as text, in the order in which it was made."""
    return json.dumps(request)


def first_difference(before: Any, after: Any, path: str = "") -> str:
    """Return where two values of JSON first differ, and what they are there."""
    if isinstance(before, dict) and isinstance(after, dict) and list(before) == list(after):
        keys = [key for key in before if text_of(before[key]) != text_of(after[key])]
        return first_difference(before[keys[0]], after[keys[0]], f"{path}.{keys[0]}")
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        places = [place for place, each in enumerate(before) if text_of(each) != text_of(after[place])]
        return first_difference(before[places[0]], after[places[0]], f"{path}[{places[0]}]")
    return f"{path.lstrip('.')} is {text_of(before)} now, and would be {text_of(after)}".lstrip()


def gone(etl: Path, generation: str, definitions: List[Definition]) -> Finding:
    """Return what definitions use that the generation no longer has."""
    contexts, _ = read_contexts(etl, environment_names(etl))  # what cannot be read is a finding of its own
    problems = [*check_contexts(contexts, generation), *check_definitions_for(definitions, generation)]
    details = list(dict.fromkeys(map(str, problems)))
    answer = f"{count(len(details), 'place')}: ./etl check --airflow {generation}" if details else "nothing"
    return Finding("what do definitions use that is gone", answer, details)


# ------------------------------------------------------------------------------------------------------- two runs


def try_runs(dags: Path, generation: str) -> Iterator[Finding]:
    """Yield the findings about a run that succeeds and one that fails, on the real scheduler of the generation."""
    definition = smallest(dags / "etl")
    if definition is None:
        yield Finding("does a DAG run on its scheduler", "not tried: each waits for a delivery", [])
        return
    last = list(definition.plan.tasks.values())[-1]
    family = str(last.task.task_definition).split("/")[-1].split(":")[0]
    for question, fails, status in (
        ("does a run succeed on its scheduler", "", 0),
        ("does a run fail when its task fails", f"{family}:3", 1),
    ):
        print_status(f"running {definition.dag_id} on Airflow {generation}{', to fail' if fails else ''}")
        done = run_once(dags, generation, definition, fails)
        seen = done.returncode == status and (not fails or "exited with code 3" in done.stdout)
        details = [] if seen else [f"exit status {done.returncode}", *done.stdout.splitlines()[-MAX_SHOWN:]]
        yield Finding(question, f"yes: {definition.dag_id}" if seen else "no", details)


def smallest(etl: Path) -> Optional[Definition]:
    """Return the definition with the fewest tasks that waits for no delivery and renders no task definition."""
    environment = environment_names(etl)[0]
    usable = [
        definition
        for definition in load(etl, environment).definitions
        if not definition.settings.wait_for
        and not any("{" in str(planned.task.task_definition) for planned in definition.plan.tasks.values())
    ]
    return min(usable, key=lambda definition: len(definition.plan.tasks)) if usable else None


def run_once(dags: Path, generation: str, definition: Definition, fails: str) -> "subprocess.CompletedProcess[str]":
    """Run a DAG once, by ``./etl run --trigger``; the output has both streams."""
    command = [str(GENERATIONS[generation].python), "-m", "tools.commands.run", "--airflow", generation]
    command += ["--dags", str(dags), "--environment", definition.context.name, "--trigger", definition.dag_id]
    return subprocess.run(
        command,
        cwd=str(ROOT),
        env={**os.environ, "ECS_LOCAL_SECONDS": "0.1", "ECS_LOCAL_FAIL": fails},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
    )
