"""``./etl plan``: how the DAGs of the working tree differ from those of a commit."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from tests.checkouts import begin_history, commit, git
from tests.trees import REPOSITORY, tree
from tools.commands import plan
from tools.views.comparison import contents

CONFIG = """\
region: eu-west-1
variables: {bucket: data, other: x}
pools: [big]
clusters:
  default: {cluster: etl, launch_type: FARGATE, subnets: [subnet-1], logs: {group: /ecs/etl, prefix: etl}}
  spot: {cluster: spot}
defaults: {retries: 1}
"""
BIG = """\
schedule: "0 3 * * *"
start_date: 2022-01-01
tags: [a, b]
tasks:
  fetch: {task_definition: fetcher, command: ["{{ env.bucket }}", "{{ provider.name }}"]}
  load: {task_definition: loader, depends_on: [fetch]}
providers:
  un: {}
  wcm: {}
"""
SMALL = """\
start_date: 2022-01-01
tasks: {run: {task_definition: runner, cluster: spot}}
providers: {un: {}}
"""


class Repository:
    """A git repository whose first commit, on main, holds two environments and two pipelines."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.capsys = root, capsys
        configs = root / "configs"
        configs.mkdir()
        (configs / "development.yaml").write_text(CONFIG)
        (configs / "staging.yaml").write_text(CONFIG)
        etl = tree(root, {"cwr/big.yaml": BIG, "cwr/small.yaml": SMALL}, configs=configs)
        shutil.rmtree(str(etl / "configs"))
        (etl / "configs").symlink_to("../../configs")
        begin_history(root)

    def git(self, *arguments: str) -> None:
        """Run git."""
        git(self.root, *arguments)

    def commit(self) -> None:
        """Commit the working tree."""
        commit(self.root)

    def path(self, name: str) -> Path:
        """Return the path of a definition such as ``cwr/big`` or of an environment such as ``staging``."""
        return self.root / (f"dags/etl/pipelines/{name}.yaml" if "/" in name else f"configs/{name}.yaml")

    def write(self, name: str, text: str) -> None:
        """Write a definition or an environment."""
        self.path(name).write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace text in a definition or an environment."""
        text = self.path(name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def plan(self, *arguments: str) -> str:
        """Run the command; return its output."""
        self.status = plan.main(list(arguments), self.root)
        out, self.err = self.capsys.readouterr()
        return out

    def changes(self, environment: str = "staging") -> List[Dict[str, Any]]:
        """Return the changed DAGs of an environment, without their empty fields."""
        dags = json.loads(self.plan("--format", "json"))["environments"][environment]
        return [{key: value for key, value in dag.items() if value and key != "path"} for dag in dags]


@pytest.fixture
def repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Repository:
    return Repository(tmp_path, capsys)


def field(path: str, old: Any, new: Any) -> Dict[str, Any]:
    return {"field": path, "old": old, "new": new}


def fields(change: Dict[str, Any]) -> List[str]:
    return [item["field"] for item in change.get("fields", [])]


# --------------------------------------------------------------------------------------------------- no change


def reformat(repository: Repository) -> None:
    repository.edit("cwr/big", 'schedule: "0 3 * * *"', "# why\nschedule:   '0 3 * * *'  # nightly")


def move_to_another_layer(repository: Repository) -> None:
    repository.edit("staging", "defaults: {retries: 1}\n", "")
    repository.edit("cwr/big", "tasks:", "defaults: {retries: 1}\ntasks:")
    repository.edit("cwr/small", "runner,", "runner, retries: 1,")
    repository.edit("development", "defaults: {retries: 1}", "defaults: {retries: 7}")  # which no task uses


def write_defaults_out(repository: Repository) -> None:
    repository.edit("cwr/big", "tags:", "owner: airflow\ncatchup: false\nmax_active_runs: 1\ntags:")
    repository.edit("cwr/big", "fetcher,", "fetcher, container: fetcher, cluster: default, retries: 1,")


def reorder(repository: Repository) -> None:
    repository.edit("cwr/big", "[a, b]", "[b, a, a]")


def add_an_unused_variable(repository: Repository) -> None:
    repository.edit("staging", "other: x", "other: y, new: z")
    repository.edit("cwr/big", "wcm: {}", "wcm: {variables: {territory: world}}")


def add_an_unused_cluster(repository: Repository) -> None:
    repository.edit("staging", "clusters:", "clusters:\n  new: {cluster: new}")


@pytest.mark.parametrize(
    "edit",
    [reformat, move_to_another_layer, write_defaults_out, reorder, add_an_unused_variable, add_an_unused_cluster],
)
def test_an_edit_without_effect_is_no_change(repository: Repository, edit: Callable[[Repository], None]) -> None:
    edit(repository)
    assert repository.plan("--exit-code").splitlines()[1:] == ["", "development: no changes", "", "staging: no changes"]
    assert repository.status == 0


# ----------------------------------------------------------------------------------------------------- changes


def test_a_new_provider_is_one_added_dag(repository: Repository) -> None:
    repository.edit("cwr/big", "wcm: {}", "wcm: {}\n  prs: {}")

    added = {"dag_id": "cwr-big_dag_prs", "kind": "added", "tasks_after": ["fetch", "load"]}
    assert repository.changes("development") == repository.changes("staging") == [added]
    assert repository.plan().splitlines()[-2:] == [
        "staging: 1 added",
        "  + cwr-big_dag_prs  (dags/etl/pipelines/cwr/big.yaml)",
    ]


def test_removed_dags(repository: Repository) -> None:
    repository.edit("cwr/big", "  un: {}\n", "")
    repository.path("cwr/small").unlink()

    assert repository.changes() == [
        {"dag_id": "cwr-big_dag_un", "kind": "removed"},
        {"dag_id": "cwr-small_dag_un", "kind": "removed"},
    ]
    assert repository.status == 0


def test_a_dag_can_be_removed_from_one_environment(repository: Repository) -> None:
    repository.edit("cwr/big", "wcm: {}", "wcm: {environments: [development]}")

    assert repository.changes("development") == []
    assert repository.changes("staging") == [{"dag_id": "cwr-big_dag_wcm", "kind": "removed"}]


def test_dags_of_a_new_or_deleted_environment_are_added_or_removed(repository: Repository) -> None:
    repository.path("development").rename(repository.path("production"))

    assert {dag["kind"] for dag in repository.changes("development")} == {"removed"}
    assert {dag["kind"] for dag in repository.changes("production")} == {"added"}
    assert repository.changes("staging") == []


def test_changed_fields_and_tasks_of_a_dag(repository: Repository) -> None:
    text = """\
schedule: "@weekly"
start_date: 2022-01-01
tags: [a, b]
params: {full: {type: boolean, default: true}}
tasks:
  fetch: {task_definition: fetcher, command: [all], memory: 512, cpu: 256, environment: {A: "1"}}
  clean: {task_definition: cleaner}
"""
    repository.write("cwr/big", text + "providers: {un: {owner: me}, wcm: {schedule: '0 3 * * *'}}\n")

    un, wcm = repository.changes()
    assert un["fields"] == [
        field("owner", "airflow", "me"),
        field("schedule", "0 3 * * *", "@weekly"),
        field("variables.env.bucket", "data", None),
        field("variables.provider.name", "un", None),
        field("params.full.type", None, "boolean"),
        field("params.full.default", None, True),
    ]
    fetch, clean, load = un["tasks"]
    assert (fetch["task_id"], fetch["kind"]) == ("fetch", "changed")
    assert fetch["fields"] == [
        field("command", ["{{ env.bucket }}", "{{ provider.name }}"], ["all"]),
        field("environment.A", None, "1"),
        field("cpu", None, 256),
        field("memory", None, 512),
    ]
    assert (clean["task_id"], clean["kind"]) == ("clean", "added")
    assert field("task_definition", None, "cleaner") in clean["fields"]
    assert load == {"task_id": "load", "kind": "removed", "fields": []}
    assert "schedule" not in fields(wcm)
    assert wcm["tasks"] == un["tasks"]


def test_a_change_of_an_environment_changes_the_dags_that_use_it(repository: Repository) -> None:
    repository.edit("staging", "subnet-1", "subnet-2")
    repository.edit("staging", "bucket: data", "bucket: moved")

    changes = [
        field("variables.env.bucket", "data", "moved"),
        field("clusters.default.subnets", ["subnet-1"], ["subnet-2"]),
    ]
    assert repository.changes("development") == []
    big = [{"dag_id": dag_id, "fields": changes} for dag_id in ("cwr-big_dag_un", "cwr-big_dag_wcm")]
    assert [{key: dag[key] for key in ("dag_id", "fields")} for dag in repository.changes()] == big


def test_defaults_of_an_environment_change_every_task(repository: Repository) -> None:
    repository.edit("staging", "defaults: {retries: 1}", "defaults: {retries: 2}\nschedules: false")

    un, _, small = repository.changes()
    assert [task["fields"] for task in un["tasks"]] == [[field("retries", 1, 2)]] * 2
    assert un["fields"] == [field("schedule", "0 3 * * *", None)]
    assert small["tasks"][0]["task_id"] == "run"


def test_the_template_of_a_key_uses_its_variable(repository: Repository) -> None:
    repository.edit("cwr/small", "runner,", "runner, environment: {'{{ env.other }}': x},")
    repository.commit()
    repository.edit("staging", "other: x", "other: y")

    assert [(dag["dag_id"], fields(dag)) for dag in repository.changes()] == [
        ("cwr-small_dag_un", ["variables.env.other"])
    ]


def test_true_differs_from_1(repository: Repository) -> None:
    repository.edit("cwr/small", "tasks:", "params: {x: {default: 1}}\ntasks:")
    repository.commit()
    repository.edit("cwr/small", "default: 1", "default: true")

    (small,) = repository.changes()
    assert small["fields"] == [field("params.x.default", 1, True)]


def test_dags_with_the_same_changes_are_grouped(repository: Repository) -> None:
    repository.edit("cwr/big", "fetcher,", "fetcher, retries: 3, pool: big,")
    repository.edit("cwr/small", "runner,", "runner, command: [go],")

    text = repository.plan()
    assert (
        text[text.index("\nstaging") + 1 :]
        == """\
staging: 3 changed
  ~ cwr-big_dag_un  (dags/etl/pipelines/cwr/big.yaml)
  ~ cwr-big_dag_wcm  (dags/etl/pipelines/cwr/big.yaml)
      ~ task fetch
          retries: 1 -> 3
          pool: (none) -> big
  ~ cwr-small_dag_un  (dags/etl/pipelines/cwr/small.yaml)
      ~ task run
          command: (none) -> [go]
"""
    )


# ------------------------------------------------------------------------------------------------------ broken


def test_a_broken_dag_is_not_removed(repository: Repository) -> None:
    repository.edit("cwr/big", "un: {}", "un: {retrys: 3}")
    repository.write("cwr/small", "tasks: [")

    text = repository.plan()
    assert repository.status == 1
    assert "  ! cwr-big_dag_un is broken  (dags/etl/pipelines/cwr/big.yaml)" in text
    assert "  ! cwr-small_dag_un is broken" in text
    assert text.count("unknown key 'retrys'") == 1  # though both environments have it
    assert "removed" not in text
    assert "wcm" not in text


def test_a_removed_provider_beside_a_broken_one_is_removed(repository: Repository) -> None:
    repository.edit("cwr/big", "  un: {}\n  wcm: {}", "  gema: {}\n  wcm: {retrys: 3}")

    assert [(dag["dag_id"], dag["kind"]) for dag in repository.changes()] == [
        ("cwr-big_dag_gema", "added"),
        ("cwr-big_dag_un", "removed"),
        ("cwr-big_dag_wcm", "broken"),
    ]


def test_a_change_that_takes_from_others_what_they_wait_for_is_told(repository: Repository) -> None:
    repository.edit("cwr/small", "start_date: 2022-01-01", "start_date: 2022-01-01\nwait_for: {pipeline: cwr/big}")
    repository.commit()
    assert repository.changes() == []

    repository.edit("cwr/big", "  un: {}\n", "  gema: {}\n")
    text = repository.plan("HEAD")
    assert repository.status == 1
    assert "  - cwr-big_dag_un" in text
    assert "cwr/small.yaml" in text
    assert "'cwr/big' has no DAG here for provider 'un'" in text
    assert "small_dag_un is" not in text


def test_a_broken_environment_breaks_all_its_dags(repository: Repository) -> None:
    repository.write("staging", "region: [")

    assert {dag["kind"] for dag in repository.changes()} == {"broken"}
    assert repository.changes("development") == []


def test_a_family_that_vanishes_meanwhile_is_absent(repository: Repository) -> None:
    folder = repository.path("other/big").parent
    come_and_go = "import os, sys\nwhile True:\n  os.mkdir(sys.argv[1])\n  os.rmdir(sys.argv[1])"
    with subprocess.Popen([sys.executable, "-c", come_and_go, str(folder)]) as process:
        try:
            found = [len(contents(folder.parent.parent, "pipelines/*/*.yaml")) for _ in range(1000)]
        finally:
            process.kill()
    assert set(found) == {2}


def test_dags_without_any_environment_are_broken_and_not_removed(repository: Repository) -> None:
    link = repository.root / "dags" / "etl" / "configs"
    link.unlink()
    link.write_text("../../configs")  # as Git writes it with core.symlinks=false

    assert {dag["kind"] for dag in repository.changes()} == {"broken"}
    assert "there is no environment" in repository.plan()
    assert repository.status == 1


def test_a_dag_that_was_broken_is_repaired(repository: Repository) -> None:
    repository.edit("cwr/big", "un: {}", "un: {retrys: 3}")
    repository.commit()
    repository.edit("cwr/big", "un: {retrys: 3}", "un: {}\n  prs: {}")

    assert [(dag["dag_id"], dag["kind"]) for dag in repository.changes()] == [
        ("cwr-big_dag_prs", "added"),
        ("cwr-big_dag_un", "repaired"),
    ]
    assert repository.status == 0


# --------------------------------------------------------------------------------------------------- exit code


@pytest.mark.parametrize(
    ("text", "without", "with_exit_code"),
    [(BIG, 0, 0), (BIG.replace("fetcher", "other"), 0, 2), (BIG.replace("un: {}", "un: {a: b}"), 1, 1)],
    ids=["none", "changes", "broken"],
)
def test_exit_codes(repository: Repository, text: str, without: int, with_exit_code: int) -> None:
    repository.write("cwr/big", text)
    code = "import sys; from pathlib import Path; from tools.commands.plan import main; "
    code += "sys.exit(main(sys.argv[2:], Path(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(repository.root)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    more: List[List[str]] = [[], ["--exit-code"]]
    done = [subprocess.run([*command, *last], cwd="/", env=environment, stdout=subprocess.PIPE) for last in more]
    assert [process.returncode for process in done] == [without, with_exit_code]


@pytest.mark.parametrize("form", ["text", "markdown", "json"])
def test_control_characters_of_names_and_values_are_escaped(form: str, repository: Repository) -> None:
    repository.write("\x1b[31m", CONFIG)
    repository.edit("cwr/big", '"{{ env.bucket }}"', r'"a\u202eb{{ env.bucket }}"')

    text = repository.plan("--format", form)

    assert set(text) - {"\n"} == {c for c in text if c.isprintable()}
    assert "u001b" in text
    assert "u202e" in text


def test_a_usage_error_has_not_the_status_of_changes(repository: Repository) -> None:
    with pytest.raises(SystemExit) as error:
        repository.plan("--format", "html")
    assert error.value.code == 1


# ----------------------------------------------------------------------------------------------------- commits


def test_the_default_commit_is_where_the_branch_left_main(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "-b", "work")
    repository.edit("cwr/big", "fetcher", "other")
    repository.commit()
    repository.git("checkout", "--quiet", "main")
    repository.path("cwr/small").unlink()
    repository.commit()
    repository.git("checkout", "--quiet", "work")

    assert [dag["dag_id"] for dag in repository.changes()] == ["cwr-big_dag_un", "cwr-big_dag_wcm"]
    assert "no changes" in repository.plan("HEAD")
    assert "cwr-small_dag_un" in repository.plan("main")


def test_a_commit_without_definitions_has_no_dags(repository: Repository) -> None:
    shutil.rmtree(str(repository.root / "dags"))
    shutil.rmtree(str(repository.root / "configs"))
    (repository.root / "README").touch()
    repository.commit()
    repository.git("checkout", "HEAD~1", "--", "dags", "configs")

    assert {dag["kind"] for dag in repository.changes()} == {"added"}


def test_an_unknown_commit_is_reported(repository: Repository) -> None:
    for revision in ("nope", "--upload-pack=x", "HEAD:dags"):
        assert repository.plan("--", revision) == ""
        assert repository.status == 1
        assert repository.err == f"etl: there is no commit '{revision}'\n"


def test_a_commit_without_a_folder_to_unpack_it_in_is_reported(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(repository.root / "missing"))

    assert repository.plan("HEAD") == ""
    assert repository.status == 1
    assert "a commit cannot be unpacked into a temporary folder: No such file or directory" in repository.err


def test_without_a_main_branch_a_commit_is_required(repository: Repository) -> None:
    repository.git("branch", "--move", "trunk")

    assert repository.plan() == ""
    assert (repository.status, repository.err) == (
        1,
        "etl: there is no main branch here that this one comes from; "
        "name a commit, such as HEAD, or fetch all of main: git fetch --unshallow\n",
    )
    assert "no changes" in repository.plan("HEAD")


def test_a_missing_repository_and_a_missing_git_are_reported(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository.root / ".git" / "HEAD").write_text("broken")
    assert repository.plan() == ""
    assert "not a git repository" in repository.err

    shutil.rmtree(str(repository.root / ".git"))
    assert repository.plan() == ""
    assert "not a git repository" in repository.err

    monkeypatch.setenv("PATH", str(repository.root))
    assert repository.plan() == ""
    assert "git is not installed" in repository.err

    (repository.root / "git").write_text("")
    assert repository.plan() == ""
    assert "git cannot be started: Permission denied" in repository.err


# ---------------------------------------------------------------------------------------------------- Markdown


def test_markdown_has_a_heading_per_environment_and_a_table_per_change(repository: Repository) -> None:
    repository.edit("cwr/big", "fetcher,", "fetcher, retries: 3,")
    repository.edit("cwr/small", "providers: {un: {}}", "providers: {un: {}, prs: {}}")

    text = repository.plan("--format", "markdown")
    assert (
        text[text.index("### <code>staging") :]
        == """\
### <code>staging</code>: 1 added, 2 changed

<details><summary>added: <code>cwr-small_dag_prs</code></summary>

<code>dags/etl/pipelines/cwr/small.yaml</code>, tasks <code>run</code>

</details>

<details><summary>changed: <code>cwr-big_dag_un</code> and 1 more</summary>

<code>cwr-big_dag_un</code> <code>cwr-big_dag_wcm</code>

| Task | Field | Before | After |
| --- | --- | --- | --- |
| changed: <code>fetch</code> | <code>retries</code> | <code>1</code> | <code>3</code> |

</details>
"""
    )


def test_markdown_in_a_value_is_escaped(repository: Repository) -> None:
    evil = "a|b`c <img src=x> **bold** @all [x](y) _z_ \\n</details>"
    repository.edit("cwr/small", "runner,", f'runner, environment: {{A: "{evil}"}},')

    text = repository.plan("--format", "markdown")
    (row,) = {line for line in text.splitlines() if "environment.A" in line}
    assert row.count("|") == 5
    cell = row.split("|")[4]
    assert not set(cell.replace("<code>", "").replace("</code>", "")) & set("`<>*@[]()_\\\\")
    assert "a&#124;b&#96;c &#60;img" in cell


def test_markdown_too_long_for_a_comment_is_reduced_to_headings(repository: Repository) -> None:
    providers = [f"p{n}: {{tasks: {{run: {{command: [{'x' * 5000}, p{n}]}}}}}}" for n in range(21)]
    repository.edit("cwr/small", "{un: {}}", f"{{{', '.join(providers)}}}")
    repository.commit()
    repository.edit("cwr/small", "xxx,", "xx,")

    text = repository.plan("--format", "markdown")
    assert len(text) <= 65_536
    assert "### <code>staging</code>: 21 changed" in text
    assert "`./etl plan` shows it all" in text


def test_problems_are_in_the_markdown(repository: Repository) -> None:
    repository.edit("cwr/big", "un: {}", "un: {'</pre>': 3}")

    text = repository.plan("--format", "markdown")
    assert "### 1 problem\n" in text
    assert "dags/etl/pipelines/cwr/big.yaml:8:8: unknown key" in text
    assert text.count("</pre>") == 1


def test_problems_are_in_the_json(repository: Repository) -> None:
    repository.edit("cwr/big", "un: {}", "un: {retrys: 3}")

    (problem,) = json.loads(repository.plan("--format", "json"))["problems"]
    assert {key: problem[key] for key in ("path", "line", "column", "rule")} == {
        "path": "dags/etl/pipelines/cwr/big.yaml",
        "line": 8,
        "column": 8,
        "rule": "schema",
    }
    assert set(problem) == {"path", "line", "column", "message", "hint", "rule"}
