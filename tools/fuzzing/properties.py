"""What has to hold of every definition, valid or broken; each check raises AssertionError with the reason."""

import json
import os
import re
import time
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import yaml
from orchestrator import Cron, display_path, load, parse_template, read_context, read_file, repeated_work
from orchestrator.dags import dags_of_folder
from orchestrator.pages import MAX_SHOWN

from tools.fuzzing import model
from tools.fuzzing.rendered import Renderer
from tools.fuzzing.valid import TOPICS, World

ENVIRONMENT: Dict[str, Any] = {
    "region": "eu-west-1",
    "variables": {"bucket": "b", "shards": 4},
    "clusters": {
        "default": {"cluster": "etl", "launch_type": "FARGATE", "subnets": ["subnet-1"]},
        "spot": {"cluster": "etl", "logs": {"group": "/ecs/etl", "prefix": "etl"}},
    },
    "alerts": TOPICS,
    "defaults": {"retries": 1, "cluster": "spot"},
}
HEALTHY: Dict[str, Any] = {
    "start_date": "2022-01-01",
    "schedule": "@daily",
    "params": {"full": {"type": "boolean", "default": False}},
    "wait_for": {"s3": "s3://{{ env.name }}/{{ provider.name }}/{{ ds }}"},
    "tasks": {"fetch": {"task_definition": "fetch"}, "load": {"task_definition": "load", "depends_on": ["fetch"]}},
    "providers": {"un": None, "wcm": {"tasks": {"load": {"command": ["{{ params.full }}"]}}}},
}
# A file may take this many times as long as a valid one of its size, and this much (a parse has a fixed cost).
TIMES_AS_LONG = 10
LEAST_BYTES = 2048


class Parse(NamedTuple):
    """What Airflow has after one parse."""

    dags: Dict[str, Any]  # as it stores them
    objects: Dict[str, Any]
    problems: List[Any]


class Folder:
    """A DAGs folder with healthy definitions and room for one that is on trial."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "dags" / "etl"
        for path in ("configs", "pipelines/healthy", "pipelines/trial"):
            (self.root / path).mkdir(parents=True)
        for name in ("development", "staging"):
            self.config(name).write_text(yaml.safe_dump(ENVIRONMENT))
        (self.root / "pipelines" / "healthy" / "works.yaml").write_text(yaml.safe_dump(HEALTHY))
        self.healthy = self.parse("staging").dags
        assert sorted(self.healthy) == ["healthy-works_dag_un", "healthy-works_dag_wcm"]
        self.costs: Dict[int, float] = {}
        self.renderer = Renderer(folder / "templates")

    def config(self, name: str) -> Path:
        """Return the file of an environment."""
        return self.root / "configs" / f"{name}.yaml"

    def trial(self, family: str = "trial", stem: str = "case") -> Path:
        """Return the file of the pipeline that is on trial."""
        return self.root / "pipelines" / family / f"{stem}.yaml"

    def bag(self, environment: str) -> Tuple[Any, List[str]]:
        """Register and bag everything as DagBag does, without importing the factory again; return the names."""
        from airflow.models.dagbag import DagBag

        module = ModuleType("trial")
        module.__file__ = str(self.root / "factory.py")
        os.environ["AIRFLOW__ETL__ENVIRONMENT"] = environment
        try:
            vars(module).update(dags_of_folder(self.root))
        finally:
            del os.environ["AIRFLOW__ETL__ENVIRONMENT"]
        bag: Any = DagBag(os.devnull, include_examples=False, read_dags_from_db=False)
        bag._process_modules(module.__file__, [module], None)
        return bag, [name for name in vars(module) if not name.startswith("__")]

    def parse(self, environment: str) -> Parse:
        """Parse as Airflow does; all that was registered has to be there."""
        bag, registered = self.bag(environment)
        problems = load(self.root, environment).problems
        is_reported = "etl_problems" in registered
        dag_ids = [name for name in registered if name != "etl_problems"]
        assert list(bag.dags) == dag_ids, f"{set(dag_ids) ^ set(bag.dags)} cannot be bagged: {bag.import_errors}"
        assert len(bag.import_errors) == is_reported == bool(problems), (bag.import_errors, problems)
        report = "".join(bag.import_errors.values())
        assert all(problem.for_web_page in report for problem in problems[:MAX_SHOWN]), report
        return Parse(stored(bag), bag.dags, problems)


def stored(bag: Any) -> Dict[str, Any]:
    """Return the DAGs of a bag as Airflow stores them."""
    from airflow.serialization.serialized_objects import SerializedDAG

    dags = {dag_id: SerializedDAG.to_dict(dag) for dag_id, dag in bag.dags.items()}
    text = json.dumps(dags, allow_nan=False, ensure_ascii=False)
    text.encode()  # half a surrogate raises UnicodeEncodeError
    assert not re.search(r"(?<!\\)(\\\\)*\\u0000", text), "a NUL reaches the database"
    for dag in bag.dags.values():
        check_columns(dag)
    return dags


def check_columns(dag: Any) -> None:
    """Check that Airflow's columns of text and of 32 bits hold what a DAG brings."""
    from airflow.models import DagModel, DagTag, TaskInstance
    from airflow.models.xcom import XCom

    def check(text: str, column: Any) -> None:
        assert len(text) <= column.type.length, f"{column} takes {column.type.length} characters: {text}"

    check(f"DAG:{dag.dag_id}", DagModel.dag_id)  # flask_appbuilder has as many for the permission
    check(dag.owner, DagModel.owners)
    for tag in dag.tags:
        check(tag, DagTag.name)
    for task in dag.tasks:
        check(f"{task.task_id}_task_arn", XCom.task_id)  # the operator's note
        check(task.pool, TaskInstance.pool)
        numbers = task.priority_weight_total, task.retries, dag.max_active_runs, dag.max_active_tasks
        assert max(numbers) < 2**31, numbers


def check_valid(folder: Folder, world: World) -> None:
    """Check that a valid definition gives just the DAGs that the model has."""
    environment, pipeline = world.texts
    config, file = folder.config(world.name), folder.trial(world.family, world.stem)
    before = config.read_bytes()
    file.parent.mkdir(exist_ok=True)
    try:
        config.write_bytes(environment.encode())
        file.write_bytes(pipeline.encode())
        parse = folder.parse(world.name)
        assert not parse.problems, "\n".join(map(str, parse.problems))
        expected = model.dags(world.name, world.environment, world.family, world.stem, world.pipeline)
        built = [dag_id for dag_id in parse.objects if dag_id not in folder.healthy]
        assert built == list(expected), f"{built} are not {list(expected)}"
        for dag_id, dag in expected.items():
            found = as_model(parse.objects[dag_id])
            differences = {key: (found[key], value) for key, value in dag.items() if found[key] != value}
            assert not differences, f"{dag_id}: (built, expected) {differences}"
    finally:
        file.unlink()
        config.write_bytes(before)


def as_model(dag: Any) -> Dict[str, Any]:
    """Return a DAG in the words of the model."""
    sensor = dag.task_dict.get("wait_for_delivery")
    tasks = {task_id: task for task_id, task in dag.task_dict.items() if task is not sensor}
    fields = "task_definition cluster overrides aws_conn_id region_name launch_type platform_version tags".split()
    fields += "capacity_provider_strategy network_configuration awslogs_group awslogs_stream_prefix".split()
    fields += ["awslogs_region", "propagate_tags", "enable_execute_command", *model.AIRFLOW]
    settings = "description schedule_interval start_date end_date catchup max_active_runs max_active_tasks"
    (owner,) = {task.owner for task in dag.tasks}
    return {
        **{key: getattr(dag, key) for key in [*settings.split(), "dagrun_timeout"]},
        "timezone": dag.timezone.name,
        "owner": owner,
        "tags": dag.tags,
        "params": dag.params.dump(),
        "variables": {name: vars(value) for name, value in dag.user_defined_macros.items()},
        "upstream": {task_id: sorted(task.upstream_task_ids) for task_id, task in dag.task_dict.items()},
        "tasks": {task_id: {key: getattr(task, key) for key in fields} for task_id, task in tasks.items()},
        "groups": {task_id: groups for task_id, groups in groups_of(dag.task_group) if task_id in tasks},
        "items": {task_id: task.item for task_id, task in tasks.items()},
        "topic": topic_of(next(iter(tasks.values()))),
        "sensor": sensor
        and {"bucket_key": sensor.bucket_key, "timeout": sensor.timeout, "poke_interval": sensor.poke_interval},
    }


def groups_of(group: Any, around: Tuple[str, ...] = ()) -> Iterator[Tuple[str, List[str]]]:
    """Yield each task of a group with the groups that it is drawn in, the outermost first."""
    for name, child in group.children.items():
        if hasattr(child, "children"):
            yield from groups_of(child, (*around, name))
        else:
            yield name, list(around)


def topic_of(task: Any) -> Any:
    """Return the topic that learns of a task's failure, if any."""
    callback = task.on_failure_callback
    return callback and callback.tell.args[0]


def check_mutant(folder: Folder, text: bytes) -> None:
    """Check that a pipeline, whatever its file holds, disables nothing but itself."""
    file = folder.trial()
    try:
        file.write_bytes(text)
        parse = folder.parse("staging")
        check_report(folder, parse.problems, {file: text})
        healthy = {dag_id: dag for dag_id, dag in parse.dags.items() if dag_id in folder.healthy}
        assert healthy == folder.healthy, "a healthy DAG is another one"
        check_repeats(folder, parse)
        check_cost(folder, file, text)
    finally:
        file.unlink()


def check_environment(folder: Folder, text: bytes) -> None:
    """Check that a broken environment is reported where it is broken, whatever its file holds."""
    file = folder.config("staging")
    before = file.read_bytes()
    works = folder.root / "pipelines" / "healthy" / "works.yaml"
    try:
        file.write_bytes(text)
        parse = folder.parse("staging")
        check_report(folder, parse.problems, {file: text, works: works.read_bytes()})
        assert parse.dags or parse.problems, "there are no DAGs, and nothing reports why"
        check_repeats(folder, parse)
    finally:
        file.write_bytes(before)


def check_report(folder: Folder, problems: List[Any], texts: Dict[Path, bytes]) -> None:
    """Check that every problem has its place in a file that can have it, and prints."""
    lines = {}
    for file, text in texts.items():
        lines[display_path(folder.root, file)] = text.decode("utf-8-sig", errors="replace").splitlines() or [""]
    for problem in problems:
        assert problem.rule != "internal", problem
        assert problem.location.path in lines, f"{problem.location.path} is another file"
        report = str(problem)
        assert "{source}" not in report, report
        report.encode()
        assert all(character.isprintable() for line in report.split("\n") for character in line), repr(report)
        assert 1 <= problem.location.line <= len(lines[problem.location.path]), (
            f"line {problem.location.line} is none of the file's"
        )
        line = lines[problem.location.path][problem.location.line - 1]
        assert 1 <= problem.location.column <= len(line) + 1, f"column {problem.location.column} is none of the line's"
        assert len(problem.location.source) in (0, len(line)), "the line shown is another one"


def check_repeats(folder: Folder, parse: Parse) -> None:
    """Check that a second parse gives the same in the same order."""
    again = folder.parse("staging")
    assert list(again.dags.items()) == list(parse.dags.items()), "a second parse gives other DAGs"
    assert list(map(str, again.problems)) == list(map(str, parse.problems)), "a second parse reports other problems"


def check_cost(folder: Folder, file: Path, text: bytes) -> None:
    """Check that a file takes about as long as a valid one of its size; both are measured side by side."""
    size = max(len(text), LEAST_BYTES).bit_length()
    sound = folder.trial(stem="sound")
    limit = folder.costs.get(size, 0) * TIMES_AS_LONG
    if limit and cost(folder, file) <= limit:
        return
    try:
        sound.write_bytes(sound_text(1 << size))
        for _ in range(3):  # the machine may have been busy
            folder.costs[size] = min(folder.costs.get(size, 9.0), cost(folder, sound))
            took = cost(folder, file)
            if took <= folder.costs[size] * TIMES_AS_LONG:
                return
    finally:
        sound.unlink()
    raise AssertionError(f"it takes {took:.3f} s, a sound file of its size {folder.costs[size]:.3f} s")


def cost(folder: Folder, file: Path) -> float:
    """Return the seconds of CPU that reading and checking a file takes."""
    cached: List[Any] = [parse_template, repeated_work, Cron.mistake_in]
    for function in cached:
        function.cache_clear()
    context = read_context(folder.root, "staging")
    start = time.process_time()
    read_file(folder.root, file, context)
    return time.process_time() - start


def sound_text(size: int) -> bytes:
    """Return a valid definition of about that many bytes."""
    head = yaml.safe_dump({**HEALTHY, "providers": {}}).replace("providers: {}\n", "") + "providers:\n"
    lines = [f"  p{number}: {{variables: {{territory: world}}}}\n" for number in range((size - len(head)) // 42)]
    return (head + "".join(lines or ["  un: {}\n"])).encode()
