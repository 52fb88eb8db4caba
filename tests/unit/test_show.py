"""``./etl show``: the table of all DAGs, and the merged definition and requests of one."""

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, Optional

import pendulum
import pytest
import yaml
from orchestrator import load, started_by
from orchestrator.dags import Builder
from orchestrator.vocabulary import NAMES

from tests.trees import COMPANY, REPOSITORY, folder_tree, tree
from tools.commands import show
from tools.deploying.named import uses_of
from tools.local.inventory import inventory
from tools.views import confinement, effective, rendering, schedules

CONFIG = """\
region: eu-west-1
variables: {bucket: data, shards: 4}
clusters:
  default: {cluster: etl, launch_type: FARGATE, subnets: [subnet-1], logs: {group: /ecs/etl, prefix: etl}}
  spot: {cluster: etl-spot, capacity_provider_strategy: [{capacity_provider: spot, weight: 1}]}
  unused: {cluster: unused}
defaults: {retries: 1, environment: {A: env, B: env}}
"""
PIPELINE = """\
description: All of it.
schedule: "0 3 * * *"
start_date: 2022-01-01
end_date: 2032-01-01T12:00:00+01:00
tags: [b, a]
params: {full: {type: boolean, default: false}}
defaults: {retry_delay: 90m, environment: {B: pipeline}}
tasks:
  fetch:
    task_definition: fetcher:3
    command:
    - "{{ provider.name }} {{ params.full }} {{ env.shards + 1 }}"
    - |
      {{ ds }} {{ data_interval_end | ts }}
  left: {task_definition: lefter, depends_on: [fetch], cluster: spot}
  right: {task_definition: righter, depends_on: [fetch]}
  join: {task_definition: joiner, depends_on: [right, left]}
providers:
  un: {}
  wcm:
    owner: me
    schedule: "@weekly"
    variables: {territory: world}
    defaults: {retries: 2}
    tasks:
      fetch: {environment: {A: null, B: "{{ provider.territory }}"}}
      join: {retries: null}
"""


# Of a dict.
METHODS = "clear copy count fromkeys get items keys pop popitem setdefault update values".split()


@pytest.fixture
def etl(tmp_path: Path) -> Path:
    """Make a tree with two environments, of which development has no schedules."""
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "development.yaml").write_text(f"{CONFIG}schedules: false\n")
    (configs / "staging.yaml").write_text(CONFIG)
    return tree(tmp_path, {"cwr/big.yaml": PIPELINE}, configs=configs)


class Output:
    """The exit status and output of the command."""

    def __init__(self, etl: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        self.status = show.main(list(arguments), etl)
        self.out, self.err = capsys.readouterr()


def dag_in_json(etl: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> Dict[str, Any]:
    """Return the one DAG that the command prints as JSON."""
    output = Output(etl, capsys, *arguments, "--environment", "staging", "--format", "json")
    assert output.status == 0
    (dag,) = json.loads(output.out)
    assert isinstance(dag, dict)
    return dag


def set_task(etl: Path, fields: str) -> None:
    """Replace the pipeline with one of a single task."""
    text = f"start_date: 2022-01-01\nschedule: '@daily'\ntasks: {{load: {{task_definition: loader, {fields}}}}}\n"
    (etl / "pipelines" / "cwr" / "big.yaml").write_text(f"{text}providers: {{un: {{}}}}\n")


# ---------------------------------------------------------------------------------------------------- all DAGs


def test_each_dag_of_each_environment_has_a_row(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(etl, capsys)

    assert (output.status, output.err) == (0, "")
    assert [line.split()[:2] for line in output.out.splitlines()[1:]] == [
        ["cwr-big_dag_un", "development"],
        ["cwr-big_dag_un", "staging"],
        ["cwr-big_dag_wcm", "development"],
        ["cwr-big_dag_wcm", "staging"],
    ]
    _, off, _, _, on = output.out.splitlines()
    assert "only when triggered (0 3 * * * is off in development)" in off
    assert "@weekly" in on
    assert "At 00:00, only on Sunday" in on
    assert on.split()[-2:] == ["4", "dags/etl/pipelines/cwr/big.yaml"]


def test_the_table_as_json(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(Output(etl, capsys, "--format", "json", "--environment", "staging").out)

    next_run = rows[0].pop("next_run")
    assert next_run.endswith("T03:00:00+00:00")
    assert rows[0].pop("next_runs") == [next_run]
    assert rows[0] == {
        "dag_id": "cwr-big_dag_un",
        "environment": "staging",
        "path": "dags/etl/pipelines/cwr/big.yaml",
        "schedule": "0 3 * * *",
        "timezone": "UTC",
        "in_words": "At 03:00",
        "waits_for": [],
        "tasks": ["fetch", "left", "right", "join"],
    }


def test_the_table_refers_to_check_when_definitions_have_problems(
    etl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (etl / "pipelines" / "cwr" / "bad.yaml").write_text("tasks: 3\n")
    output = Output(etl, capsys)

    assert output.status == 1
    assert "cwr-big_dag_un" in output.out
    assert "./etl check reports them" in output.err


@pytest.mark.parametrize("arguments", [[], ["cwr"], ["cwr-big_dag_un"], ["--environment", "staging"]], ids=" ".join)
def test_without_an_environment_nothing_is_displayed(
    arguments: List[str], etl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(etl / "configs")
    output = Output(etl, capsys, *arguments)
    assert (output.status, output.out) == (1, "")
    assert "dags/etl/configs:1:1: there is no environment" in output.err


def test_an_unknown_environment_suggests_the_nearest(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(etl, capsys, "--environment", "stagin")
    assert (output.status, output.err) == (2, "etl: there is no environment 'stagin'; did you mean 'staging'?\n")


# -------------------------------------------------------------------------------------------------- definition


def test_the_definition_is_the_merge_of_all_layers(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    definition = dag_in_json(etl, capsys, "cwr-big_dag_wcm")["definition"]
    tasks, clusters = definition.pop("tasks"), definition.pop("clusters")

    assert definition == {
        "description": "All of it.",
        "owner": "me",
        "schedule": "@weekly",
        "timezone": "UTC",
        "start_date": "2022-01-01",
        "end_date": "2032-01-01T12:00:00+01:00",
        "catchup": False,
        "max_active_runs": 1,
        "tags": ["a", "b"],
        "params": {"full": {"type": "boolean", "default": False}},
        "variables": {
            "env": {"bucket": "data", "shards": 4, "name": "staging"},
            "provider": {"territory": "world", "name": "wcm"},
        },
        "region": "eu-west-1",
        "aws_conn_id": "aws_default",
    }
    assert list(clusters) == ["default", "spot"]
    assert tasks["fetch"]["environment"] == {"B": "{{ provider.territory }}"}
    assert tasks["join"] == {
        "task_definition": "joiner",
        "container": "joiner",
        "cluster": "default",
        "environment": {"A": "env", "B": "pipeline"},
        "depends_on": ["left", "right"],
        "retry_delay": "1h30m",
    }


def test_the_definition_as_text_is_yaml_with_the_same_values(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = Output(etl, capsys, "cwr-big_dag_wcm", "--origin", "--environment", "staging").out
    block = text[text.index("description:") : text.index("\nTasks\n")]

    assert yaml.safe_load(block) == dag_in_json(etl, capsys, "cwr-big_dag_wcm")["definition"]
    assert all("# " in line or line.endswith(":") for line in block.splitlines() if line)


def test_the_origin_of_a_value_is_the_last_layer_that_sets_it(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    origins = dag_in_json(etl, capsys, "cwr-big_dag_wcm", "--origin")["origins"]
    lines = dict(enumerate(PIPELINE.splitlines(), 1))
    config, pipeline = "dags/etl/configs/staging.yaml", "dags/etl/pipelines/cwr/big.yaml"

    def line(path: str) -> str:
        file, _, number = origins[path].rpartition(":")
        assert file == pipeline
        return lines[int(number)].strip()

    assert line("owner") == "owner: me"
    assert line("schedule") == 'schedule: "@weekly"'
    assert line("tags") == "tags: [b, a]"
    assert line("variables.provider.territory") == "variables: {territory: world}"
    assert line("tasks.fetch.retries") == "defaults: {retries: 2}"
    assert line("tasks.fetch.retry_delay").startswith("defaults: {retry_delay")
    assert line("tasks.fetch.environment.B").startswith("fetch: {environment: {A: null")
    assert line("tasks.left.depends_on").startswith("left:")
    assert origins["tasks.join.environment.A"] == f"{config}:7"
    assert origins["variables.env.bucket"] == f"{config}:2"
    assert origins["clusters.spot.cluster"] == f"{config}:5"
    assert origins["region"] == f"{config}:1"
    assert {origins[path] for path in ("catchup", "aws_conn_id", "tasks.join.container", "variables.env.name")} == {
        "default"
    }


def test_the_origin_of_a_disabled_schedule_is_the_environment(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(etl, capsys, "cwr-big_dag_un", "--environment", "development", "--format", "json", "--origin")
    (dag,) = json.loads(output.out)

    assert (dag["definition"]["schedule"], dag["next_run"]) == (None, None)
    assert dag["origins"]["schedule"] == "dags/etl/configs/development.yaml:8"


def test_displayed_defaults_are_those_of_the_dag(etl: Path) -> None:
    (etl / "pipelines" / "cwr" / "big.yaml").write_text(
        "start_date: 2022-01-01\ntasks: {load: {task_definition: loader}}\nproviders: {un: {}}\n"
    )
    (definition,) = load(etl, "staging").definitions
    dag, fields = Builder().build(definition), effective.effective(definition)

    assert (dag.catchup, dag.max_active_runs, dag.schedule_interval) == (
        fields["catchup"],
        fields["max_active_runs"],
        fields["schedule"],
    )
    assert dag.get_task("load").owner == fields["owner"]


def test_without_an_environment_the_dag_is_displayed_for_each(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(etl, capsys, "cwr-big_dag_un")
    headings = [line for line in output.out.splitlines() if line.startswith("cwr-big_dag_un")]
    assert headings == ["cwr-big_dag_un in development", "cwr-big_dag_un in staging"]


def test_a_task_with_two_upstream_tasks_is_below_each_and_expanded_once(
    etl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (etl / "pipelines" / "cwr" / "big.yaml").read_text()
    more = "  last: {task_definition: laster, depends_on: [join]}\n  alone: {task_definition: aloner}\nproviders:"
    (etl / "pipelines" / "cwr" / "big.yaml").write_text(text.replace("providers:", more))
    output = Output(etl, capsys, "cwr-big_dag_un", "--environment", "staging").out

    assert output[output.index("\nTasks\n") : output.index("\nRunTask")].splitlines()[2:] == [
        "fetch",
        "├── left",
        "│   └── join",
        "│       └── last",
        "└── right",
        "    └── join (see above)",
        "alone",
    ]


# ---------------------------------------------------------------------------------------------------- requests


def command(dag: Dict[str, Any], task_id: str = "fetch") -> List[str]:
    (override,) = dag["requests"][task_id]["overrides"]["containerOverrides"]
    return list(override["command"])


def test_requests_are_rendered_for_a_date_of_the_schedule(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dag = dag_in_json(etl, capsys, "cwr-big_dag_un", "--date", "2022-01-05")

    assert dag["run"] == {
        "run_id": "scheduled__2022-01-05T03:00:00+00:00",
        "is_scheduled": True,
        "logical_date": "2022-01-05T03:00:00+00:00",
        "data_interval_start": "2022-01-05T03:00:00+00:00",
        "data_interval_end": "2022-01-06T03:00:00+00:00",
    }
    assert command(dag) == ["un False 5", "2022-01-05 2022-01-06T03:00:00+00:00"]
    assert dag["requests"]["left"] == {
        "cluster": "etl-spot",
        "taskDefinition": "lefter",
        "overrides": {
            "containerOverrides": [
                {
                    "name": "lefter",
                    "environment": [{"name": "A", "value": "env"}, {"name": "B", "value": "pipeline"}],
                }
            ]
        },
        "startedBy": started_by("airflow", dag["dag_id"], "left", dag["run"]["run_id"]),
        "capacityProviderStrategy": [{"capacityProvider": "spot", "weight": 1}],
    }


def test_without_a_date_the_first_run_is_rendered(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dag_in_json(etl, capsys, "cwr-big_dag_un")["run"]["run_id"] == "scheduled__2022-01-01T03:00:00+00:00"
    assert dag_in_json(etl, capsys, "cwr-big_dag_wcm")["run"]["run_id"] == "scheduled__2022-01-02T00:00:00+00:00"


def test_a_date_without_a_scheduled_run_is_rendered_as_a_manual_run(
    etl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = dag_in_json(etl, capsys, "cwr-big_dag_wcm", "--date", "2022-01-05")["run"]  # a Wednesday; it runs on Sundays

    assert run["run_id"] == "manual__2022-01-05T00:00:00+00:00"
    assert (run["data_interval_start"][:10], run["data_interval_end"][:10]) == ("2021-12-26", "2022-01-02")


def test_a_date_may_have_a_time_and_an_offset(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dag = dag_in_json(etl, capsys, "cwr-big_dag_un", "--date", "2022-01-05T04:00+01:00")
    assert dag["run"]["run_id"] == "scheduled__2022-01-05T03:00:00+00:00"
    dag = dag_in_json(etl, capsys, "cwr-big_dag_un", "--date", "2022-01-05T04:00Z")
    assert dag["run"]["run_id"] == "manual__2022-01-05T04:00:00+00:00"


def test_names_that_only_a_run_knows_stay_templates(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mixed, statement = '{{ ds }} {{ ti.try_number }} {"a": {{ env.shards }}}', "{% if var.value.x %}{{ ds }}{% endif %}"
    set_task(etl, f"command: {json.dumps([mixed, statement])}")
    dag = dag_in_json(etl, capsys, "cwr-big_dag_un", "--date", "2022-01-05")

    assert command(dag, "load") == ['2022-01-05 {{ ti.try_number }} {"a": 4}', statement]
    assert dag["not_rendered"]["load"] == {
        "{{ ti.try_number }}": "ti: only a run knows",
        statement: "var: only a run knows",
    }
    assert "not rendered: '{{ ti.try_number }}' (ti: only a run knows)" in Output(etl, capsys, "cwr-big_dag_un").out


def test_a_failing_template_is_reported(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_task(etl, 'command: ["{{ 1 // 0 }}"]')
    dag = dag_in_json(etl, capsys, "cwr-big_dag_un")

    assert command(dag, "load") == ["{{ 1 // 0 }}"]
    assert dag["not_rendered"]["load"] == {"{{ 1 // 0 }}": "fails: integer division or modulo by zero"}


def test_a_template_that_takes_too_long_or_too_much_memory_is_reported(
    etl: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No template that is allowed does."""
    render = rendering.render

    def endless(text: str, names: Any) -> Any:
        while text == "lefter":
            names = dict(names)
        return ("x" * 10**11, {}) if text == "righter" else render(text, names)

    monkeypatch.setattr(rendering, "render", endless)
    monkeypatch.setattr(confinement, "SECONDS", 1)
    dag = dag_in_json(etl, capsys, "cwr-big_dag_un")
    reason = "fails: it takes more than 1 s or 2048 MB"

    assert dag["not_rendered"] == {"left": {"left": reason}, "right": {"right": reason}}
    assert [request["taskDefinition"] for request in dag["requests"].values()] == [
        "fetcher:3",
        "lefter",
        "righter",
        "joiner",
    ]
    assert command(dag, "fetch")[0] == "un False 5"


def test_a_lower_limit_of_the_shell_is_kept() -> None:
    code = (
        "import resource; from tools.views.confinement import confined;"
        "resource.setrlimit(resource.RLIMIT_CPU, (3, 3));"  # as ulimit -t 3 does
        "print(confined([lambda: resource.getrlimit(resource.RLIMIT_CPU)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=str(REPOSITORY), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[((3, 3), '')]\n", "")


def test_ctrl_c_while_templates_are_rendered_is_one_sentence(etl: Path) -> None:
    code = (
        "import os, pathlib, signal, time; from tools.commands import show; from tools.terminal import run_command;"
        "from tools.views import rendering;"
        "rendering.render = lambda *_: [os.killpg(0, signal.SIGINT), time.sleep(10)];"  # as a terminal does
        "run_command(lambda arguments: show.main(['cwr-big_dag_un'], pathlib.Path(arguments[0])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(etl)], cwd=str(REPOSITORY), capture_output=True, start_new_session=True
    )
    assert (done.returncode, done.stderr) == (130, b"etl: interrupted\n")


def test_what_a_deploy_and_the_emulated_aws_ask_for_is_rendered_within_the_same_limits(
    etl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(text: str, names: Any) -> Any:
        while text == "lefter":
            names = dict(names)
        return f"<{text}>", {}

    monkeypatch.setattr(rendering, "render", endless)
    monkeypatch.setattr(confinement, "SECONDS", 1)
    definitions = [each for each in load(etl, "development").definitions if each.dag_id == "cwr-big_dag_un"]

    names = [use.names["task_definition"] for use in uses_of(definitions)]
    seeded = inventory("development", etl)["task_definitions"]

    assert names == ["<fetcher:3>", "lefter", "<righter>", "<joiner>"]
    assert set(names) <= set(seeded)


def test_a_template_that_gives_more_than_ecs_takes_is_reported(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    template = "{{ ds | replace('-', '" + "x" * 4500 + "') }}"
    set_task(etl, f"command: [{json.dumps(template)}]")
    dag = dag_in_json(etl, capsys, "cwr-big_dag_un")

    assert command(dag, "load") == [template]
    (why,) = dag["not_rendered"]["load"].values()
    assert why.startswith("fails: it gives ")
    assert why.endswith(" characters; ECS takes 8192 of a task")


def test_a_param_called_as_a_method_is_the_param(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [f"{{{{ params.{name} }}}}" for name in METHODS]
    params = {name: {"type": "string", "default": f"x{name}"} for name in METHODS}
    set_task(etl, f"command: {json.dumps([*texts, '{{ params | tojson }}'])}")
    file = etl / "pipelines" / "cwr" / "big.yaml"
    file.write_text(f"{file.read_text()}params: {json.dumps(params)}\n")
    *values, whole = command(dag_in_json(etl, capsys, "cwr-big_dag_un"), "load")

    assert values == [f"x{name}" for name in METHODS]
    assert json.loads(whole) == {name: f"x{name}" for name in METHODS}


@pytest.mark.parametrize("option", [[], ["--origin"]], ids=" ".join)
def test_characters_of_values_that_do_not_print_are_escaped(
    option: List[str], etl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_task(etl, r'command: ["a\u202ec\u200bd\u2028e"]')
    out = Output(etl, capsys, "cwr-big_dag_un", *option).out

    assert set(out) - {"\n"} == {c for c in out if c.isprintable()}
    assert r'"a\u202ec\u200bd\u2028e"' in out


def test_lines_are_not_wrapped_in_a_pipe(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_task(etl, f"command: [{'x' * 300}, '[red]']")
    out = Output(etl, capsys, "cwr-big_dag_un", "--environment", "staging").out

    assert f'"{"x" * 300}"' in out
    assert '"[red]"' in out
    assert "\x1b" not in out


# -------------------------------------------------------------------------------------------- usage errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cwr-bigg_dag_un"], "etl: there is no DAG 'cwr-bigg_dag_un'; did you mean 'cwr-big_dag_un'?\n"),
        (["cwr-big_dag_unn"], "etl: there is no DAG 'cwr-big_dag_unn'; did you mean 'cwr-big_dag_un'?\n"),
        (["zzz"], "etl: there is no DAG, family or pipeline 'zzz'; ./etl show lists all DAGs\n"),
    ],
)
def test_an_unknown_id_suggests_the_nearest(
    etl: Path, capsys: pytest.CaptureFixture[str], arguments: List[str], message: str
) -> None:
    (etl / "pipelines" / "cwr" / "bad.yaml").write_text("tasks: 3\n")  # which must not matter
    output = Output(etl, capsys, *arguments)
    assert (output.status, output.out, output.err) == (2, "", message)


def test_an_id_of_another_environment_names_that_environment(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = etl / "pipelines" / "cwr" / "big.yaml"
    file.write_text(file.read_text().replace("un: {}", "un: {environments: [staging]}"))
    output = Output(etl, capsys, "cwr-big_dag_un", "--environment", "development")

    assert (output.status, output.err) == (2, "etl: 'cwr-big_dag_un' is not in development; it is in staging\n")


def test_the_problems_of_the_dag_are_reported(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = etl / "pipelines" / "cwr" / "big.yaml"
    file.write_text(file.read_text().replace("un: {}", "un: {retrys: 3}"))
    output = Output(etl, capsys, "cwr-big_dag_un")

    assert (output.status, output.out) == (1, "")
    assert output.err.count("unknown key 'retrys'") == 1  # though both environments have it
    assert Output(etl, capsys, "cwr-big_dag_wcm").status == 0


@pytest.mark.parametrize(
    "arguments", [["cwr", "--date", "2022-01-05"], ["cwr/big", "--origin"], ["--origin"], ["--date", "2022-01-05"]]
)
def test_an_option_of_one_dag_is_a_usage_error_for_a_table(
    arguments: List[str], etl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = Output(etl, capsys, *arguments)

    assert (output.status, output.out) == (2, "")
    assert output.err.startswith("etl: --date and --origin are for one DAG")


def test_an_invalid_date_is_a_usage_error(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        Output(etl, capsys, "cwr-big_dag_un", "--date", "tomorrow")
    assert error.value.code == 2
    assert "'tomorrow' is not a date" in capsys.readouterr().err


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "9999-12-31T23:59-14:00", "0001-01-01T00:00+14:00"])
def test_a_date_to_which_no_interval_can_be_added_is_a_usage_error(
    day: str, etl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        Output(etl, capsys, "cwr-big_dag_un", "--date", day)
    assert error.value.code == 2
    assert "a date lies between 1970 and 2100" in capsys.readouterr().err


@pytest.mark.parametrize("day", ["1970-01-01", "2100-12-31", "2100-12-31T23:59-14:00"])
def test_the_first_and_the_last_date_are_rendered(day: str, etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for dag_id in ("cwr-big_dag_un", "cwr-big_dag_wcm"):
        assert Output(etl, capsys, dag_id, "--date", day).status == 0


def test_show_runs_in_any_folder_and_without_airflow(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from tools.commands import plan, show;"
        "show.main(['testing-smoke_dag_smoke'], pathlib.Path(sys.argv[1])); print('airflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder_tree(tmp_path, COMPANY))],
        cwd=str(tmp_path),
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert "dags/etl/pipelines/testing/smoke.yaml" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


# --------------------------------------------------------------------------------------------- as Airflow does

SCHEDULES = [
    "0 3 * * *",
    "@hourly",
    "@weekly",
    "@quarterly",
    "30 */6 * * *",
    "0 0 31 12 *",
    "*/7 1-5 * * mon",
    "@once",
    None,
]


def scheduled(
    etl: Path, schedule: Optional[str], start: str = "2022-01-01T01:30:00+02:00", zone: str = "Etc/GMT-2"
) -> Any:
    """Return the definition of a DAG with a schedule."""
    start = f"{start}\ntimezone: {zone}"
    text = f"start_date: {start}\nschedule: {json.dumps(schedule)}\ntasks: {{load: {{task_definition: loader}}}}\n"
    (etl / "pipelines" / "cwr" / "big.yaml").write_text(f"{text}providers: {{un: {{}}}}\n")
    (definition,) = load(etl, "staging").definitions
    return definition


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_intervals_of_a_manual_run_equal_those_of_airflow(etl: Path, schedule: Optional[str]) -> None:
    definition = scheduled(etl, schedule)
    timetable = Builder().build(definition).timetable
    for minute in range(0, 60 * 24 * 9, 397):
        moment = pendulum.datetime(2022, 2, 25).add(minutes=minute, seconds=1)  # which no schedule matches
        run, interval = schedules.run_at(definition, moment), timetable.infer_manual_data_interval(run_after=moment)
        assert not run.is_scheduled
        assert (run.data_interval_start, run.data_interval_end) == (interval.start, interval.end)


@pytest.mark.parametrize("zone", ["Europe/London", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("schedule", [*SCHEDULES[:-2], "30 1 * * *", "30 2 * * *", "0 7,19 * * *"])
def test_runs_across_the_change_of_clocks_equal_those_of_airflow(etl: Path, schedule: str, zone: str) -> None:
    definition = scheduled(etl, schedule, "2022-01-01", zone)
    timetable = Builder().build(definition).timetable
    for first in (pendulum.datetime(2022, 3, 10), pendulum.datetime(2022, 4, 1), pendulum.datetime(2022, 10, 28)):
        for minute in range(0, 60 * 24 * 20, 397):
            moment = first.add(minutes=minute, seconds=1)
            run, interval = schedules.run_at(definition, moment), timetable.infer_manual_data_interval(run_after=moment)
            assert (run.data_interval_start, run.data_interval_end) == (interval.start, interval.end)


@pytest.mark.parametrize("schedule", SCHEDULES[:-1])
def test_the_first_run_equals_that_of_airflow(etl: Path, schedule: str) -> None:
    from airflow.timetables.base import TimeRestriction

    definition = scheduled(etl, schedule)
    dag: Any = Builder().build(definition)
    restriction = TimeRestriction(pendulum.instance(dag.start_date), None, True)
    info = dag.timetable.next_dagrun_info(last_automated_data_interval=None, restriction=restriction)
    run = schedules.run_at(definition, None)

    assert run.is_scheduled
    assert (run.data_interval_start, run.data_interval_end) == (info.data_interval.start, info.data_interval.end)
    assert run.run_id == f"scheduled__{info.logical_date.isoformat()}"
    before = datetime(2000, 1, 1, tzinfo=timezone.utc)
    assert schedules.next_run(definition, before) == info.run_after


@pytest.mark.parametrize(
    ("schedule", "now", "expected"),
    [
        ("0 3 * * *", "2022-05-05T02:59:00", "2022-05-05T03:00:00"),
        ("0 3 * * *", "2022-05-05T03:00:00", "2022-05-06T03:00:00"),
        ("0 3 * * *", "2021-05-05T03:00:00", "2022-01-02T03:00:00"),  # the first interval ends a day after the start
        ("0 3 * * *", "2040-01-01T00:00:00", None),  # after the end
        ("@once", "2021-01-01T00:00:00", "2022-01-01T00:00:00"),
        ("@once", "2022-01-02T00:00:00", None),
        (None, "2022-01-02T00:00:00", None),
    ],
)
def test_the_next_run(etl: Path, schedule: Optional[str], now: str, expected: Optional[str]) -> None:
    definition = scheduled(etl, schedule, "2022-01-01\nend_date: 2032-01-01", "UTC")
    next_run = schedules.next_run(definition, datetime.fromisoformat(f"{now}+00:00"))
    assert (next_run and next_run.isoformat()) == (expected and f"{expected}+00:00")


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("0 3 * * *", "At 03:00, Etc/GMT-2"),
        ("0 5 * * 1-5", "At 05:00, Monday through Friday, Etc/GMT-2"),
        ("@hourly", "Every hour, Etc/GMT-2"),
        ("@once", "once"),
        (None, "only when triggered"),
    ],
)
def test_schedules_in_words(etl: Path, schedule: Optional[str], words: str) -> None:
    assert schedules.in_words(scheduled(etl, schedule)) == words


def test_filters_and_macros_equal_those_of_airflow() -> None:
    from airflow import macros
    from airflow.templates import FILTERS

    moment = pendulum.datetime(2022, 1, 5, 3, 4, 5)
    assert set(rendering.FILTERS) == set(FILTERS)
    for name, function in rendering.FILTERS.items():
        assert function(moment) == FILTERS[name](moment)  # type: ignore[no-untyped-call]
    for name, arguments in (("ds_add", ("2022-01-31", 1)), ("ds_format", ("2022-01-05", "%Y-%m-%d", "%d.%m.%y"))):
        assert getattr(rendering.MACROS, name)(*arguments) == getattr(macros, name)(*arguments)


def test_templates_render_as_in_airflow(etl: Path) -> None:
    wcm = load(etl, "staging").definitions[1]
    run = schedules.run_at(wcm, None)
    task: Any = Builder().build(wcm).get_task("fetch")
    names = rendering.template_names(wcm, "fetch", run)
    task.render_template_fields({name: value for name, value in names.items() if name not in ("env", "provider")})

    rendered = rendering.render_request(wcm, "fetch", run)
    assert (rendered.request["overrides"], rendered.left) == (task.overrides, {})


def test_an_item_of_a_param_is_no_method_of_it_as_in_airflow(tmp_path: Path) -> None:
    texts = ["{{ params.x['a'] }} {{ params.x.get('update', 'none') }} {{ env['name'] }} {{ params['t'][0] }}"]
    others = ("params.x['update']", "params.t['upper']", "params.x.b['real']", "([(1, 2)] | first)['index']")
    texts += [f"{{{{ {text} is defined }}}}" for text in others]
    pipeline = f"""\
start_date: 2022-01-01
params: {{x: {{type: object, default: {{a: 1, b: 2}}}}, t: {{default: text}}}}
tasks: {{load: {{task_definition: loader, command: {json.dumps(texts)}}}}}
providers: {{un: {{}}}}
"""
    (definition,), problems = load(tree(tmp_path, {"cwr/big.yaml": pipeline}), "development")
    task: Any = Builder().build(definition).get_task("load")
    task.render_template_fields({})

    rendered = rendering.render_request(definition, "load", schedules.run_at(definition, None))
    assert problems == []
    assert (rendered.request["overrides"], rendered.left) == (task.overrides, {})
    (container,) = task.overrides["containerOverrides"]
    assert container["command"] == ["1 none development t", *["False"] * len(others)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("schedule", SCHEDULES[:-1])
def test_the_dates_beside_that_of_a_scheduled_run_equal_those_of_airflow(etl: Path, schedule: str) -> None:
    definition = scheduled(etl, schedule)
    dag: Any = Builder().build(definition)
    run = schedules.run_at(definition, None)
    names = rendering.template_names(definition, "load", run)

    # What get_template_context() of a task instance calls for a run that no person has triggered.
    others = {"next": dag.following_schedule(run.logical_date), "prev": dag.previous_schedule(run.logical_date)}
    for when, date in others.items():
        assert names[f"{when}_execution_date"] == date
        assert names[f"{when}_ds"] == (date and f"{date:%Y-%m-%d}")
        assert names[f"{when}_ds_nodash"] == (date and f"{date:%Y%m%d}")


def test_the_run_of_once_has_no_date_beside_its_own(etl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_task(etl, """command: ["{{ next_ds }} {{ prev_ds_nodash }}", "{{ next_execution_date | ds }}"]""")
    file = etl / "pipelines" / "cwr" / "big.yaml"
    file.write_text(file.read_text().replace("@daily", "@once"))

    dag = dag_in_json(etl, capsys, "cwr-big_dag_un")
    assert command(dag, "load") == ["None None", "{{ next_execution_date | ds }}"]
    assert "has no attribute 'strftime'" in dag["not_rendered"]["load"]["{{ next_execution_date | ds }}"]

    by_hand = dag_in_json(etl, capsys, "cwr-big_dag_un", "--date", "2022-01-05")
    assert command(by_hand, "load") == ["2022-01-05 20220105", "2022-01-05"]


def test_template_names_equal_those_of_airflow(etl: Path) -> None:
    definition = scheduled(etl, "@daily", "2022-01-01", "UTC")
    run = schedules.run_at(definition, None)
    names = rendering.template_names(definition, "load", run)

    assert set(names) <= {name.split(".")[0] for name in NAMES}
    assert {
        name: names[name] for name in names if name.startswith(("prev_ds", "next_ds", "tomorrow", "yesterday"))
    } == {
        "prev_ds": "2021-12-31",
        "prev_ds_nodash": "20211231",
        "next_ds": "2022-01-02",
        "next_ds_nodash": "20220102",
        "tomorrow_ds": "2022-01-02",
        "tomorrow_ds_nodash": "20220102",
        "yesterday_ds": "2021-12-31",
        "yesterday_ds_nodash": "20211231",
    }
