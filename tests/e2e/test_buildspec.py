"""The commands of .aws/buildspec.yml, run phase by phase as CodeBuild does, and the contents of the buckets after."""

import json
import os
import subprocess
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Set
from xml.etree import ElementTree

import pytest
import yaml

from tests.checkouts import checkout, commit, git
from tests.e2e.emulated import REGION, Emulated
from tests.trees import COMPANY, REPOSITORY
from tools.checkout import environments
from tools.setup.environments import AIRFLOW, AWS, DEFINITIONS

BUILDSPEC = yaml.safe_load((REPOSITORY / ".aws" / "buildspec.yml").read_text(encoding="utf-8"))
ENVIRONMENTS = environments(COMPANY)
PHASES = ["install", "pre_build", "build", "post_build"]
DEFINITION = Path("dags") / "etl" / "pipelines" / "testing" / "smoke.yaml"
# Replace the tests of this project, which include this one, to see what a build does with tests that pass or fail.
PASSES = "import pytest\n\n\n@pytest.mark.unit\ndef test_it():\n    pass\n"
FAILS = PASSES.replace("pass\n", "assert False\n")
TESTS = Path("tests") / "test_it.py"
EVIL = (
    "x$(touch${IFS}injected)`touch${IFS}injected`;touch${IFS}injected"  # git and GitHub accept such a name for a branch
)


class Build(NamedTuple):
    """The result of a build: the phases that succeeded, and the output."""

    succeeded: List[str]
    log: str


class Project:
    """A CodeBuild project: a clone of a repository, in which each build runs."""

    def __init__(self, folder: Path, address: str) -> None:
        self.clone = checkout(folder, DEFINITIONS, AIRFLOW, AWS)
        self.address = address
        origin = folder / "origin.git"
        self.git("init", "--quiet", "--bare", str(origin))
        self.git("remote", "add", "origin", str(origin))
        self.first = self.commit({TESTS: PASSES})
        self.push("main")

    def git(self, *arguments: str) -> str:
        """Run git in the clone; return its output without the newline at its end."""
        return git(self.clone, *arguments).strip()

    def commit(self, files: Dict[Path, str]) -> str:
        """Commit files on top of the checked-out commit, text by path; return the new commit."""
        for path, text in files.items():
            (self.clone / path).parent.mkdir(exist_ok=True)
            (self.clone / path).write_text(text, encoding="utf-8")
        commit(self.clone)
        return self.git("rev-parse", "HEAD")

    def push(self, *branches: str) -> None:
        """Push the checked-out commit as the head of branches."""
        self.git("push", "--quiet", "--force", "origin", *(f"HEAD:refs/heads/{branch}" for branch in branches))

    def run(self, command: str, **webhook: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of a build; ``webhook`` has the variables without the prefix CODEBUILD_WEBHOOK_."""
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CODEBUILD_")},
            **{f"CODEBUILD_WEBHOOK_{name.upper()}": value for name, value in webhook.items()},
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        return subprocess.run(
            ["sh", "-c", command],
            cwd=str(self.clone),
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def build(self, **webhook: str) -> Build:
        """Build the checked-out commit."""
        succeeded, log = [], ""
        for phase in PHASES:
            failed = False
            for command in BUILDSPEC["phases"].get(phase, {}).get("commands", []):
                done = self.run(command, **webhook)
                log += f"[{phase}] {command}\n{done.stdout}"
                failed = done.returncode != 0
                if failed:
                    break
            if not failed:
                succeeded.append(phase)
            elif phase != "build":  # after which post_build runs all the same
                break
        return Build(succeeded, log)


@pytest.fixture(scope="module")
def emulated() -> Iterator[Emulated]:
    emulated = Emulated()
    emulated.seed({"region": REGION, "buckets": [bucket(environment) for environment in ENVIRONMENTS]})
    yield emulated
    emulated.end()


@pytest.fixture(scope="module")
def repository(emulated: Emulated, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"), emulated.address)


@pytest.fixture
def project(repository: Project, emulated: Emulated) -> Project:
    """Return a project with the main branch checked out and nothing deployed."""
    repository.git("checkout", "--quiet", "--force", "--detach", repository.first)
    s3 = emulated.client("s3")
    for environment in ENVIRONMENTS:
        for key in keys(emulated, environment):
            s3.delete_object(Bucket=bucket(environment), Key=key)
    return repository


def bucket(environment: str) -> str:
    return f"vm-data-provisioning-{environment}"


def keys(emulated: Emulated, environment: str) -> Set[str]:
    contents = emulated.client("s3").list_objects_v2(Bucket=bucket(environment)).get("Contents", [])
    return {item["Key"] for item in contents}


def deployed(emulated: Emulated) -> Dict[str, str]:
    """Return the deployed commit of each environment that has one."""
    commits = {}
    for environment in ENVIRONMENTS:
        if keys(emulated, environment):
            key = {"Bucket": bucket(environment), "Key": "airflow/dags/etl/current"}
            current = json.loads(emulated.client("s3").get_object(**key)["Body"].read())
            commits[environment] = current["activations"][0]["commits"][""]
    return commits


@pytest.mark.parametrize("branch", ENVIRONMENTS)
def test_a_push_to_the_branch_of_an_environment_is_deployed_to_it(
    project: Project, emulated: Emulated, branch: str
) -> None:
    commit = project.commit({Path("NOTES"): branch})
    project.push(branch)

    build = project.build(event="PUSH", head_ref=f"refs/heads/{branch}")

    assert build.succeeded == PHASES, build.log
    assert deployed(emulated) == {branch: commit}
    beside = {f"airflow/dags/etl/{name}" for name in (".airflowignore", "current", "factory.py", "problems.py")}
    assert {*beside, "airflow/requirements.txt"} <= keys(emulated, branch)
    assert "no problems in" in build.log
    assert "1 passed" in build.log
    assert "Python 3.7." in build.log


@pytest.mark.parametrize("webhook", [{}, {"event": "PUSH", "head_ref": f"refs/heads/{EVIL}"}], ids=["none", "evil"])
def test_other_builds_are_only_checked_and_tested(
    project: Project, emulated: Emulated, webhook: Dict[str, str]
) -> None:
    project.push("staging", EVIL)

    build = project.build(**webhook)

    assert build.succeeded == PHASES, build.log
    assert deployed(emulated) == {}
    assert "no problems in" in build.log
    assert "1 passed" in build.log
    assert not (project.clone / "injected").exists()


@pytest.mark.parametrize(
    ("event", "head_ref"),
    [
        ("PUSH", "refs/heads/staging-2"),
        ("PUSH", "refs/heads/feature/staging"),
        ("PUSH", "refs/heads/main"),
        ("PUSH", "refs/tags/staging"),
        ("PUSH", "staging"),
        ("PUSH", ""),
        ("PULL_REQUEST_CREATED", "refs/heads/staging"),
        ("PULL_REQUEST_MERGED", "refs/heads/staging"),
        ("", "refs/heads/staging"),
    ],
)
def test_no_other_webhook_deploys(project: Project, emulated: Emulated, event: str, head_ref: str) -> None:
    project.push("staging")

    done = project.run(".aws/deploy", event=event, head_ref=head_ref, base_ref="refs/heads/staging")

    assert (done.returncode, done.stdout) == (0, "Not deployed: this is no push to development or staging.\n")
    assert deployed(emulated) == {}


def test_a_pull_request_is_planned_and_not_deployed(project: Project, emulated: Emulated) -> None:
    project.push("staging")
    text = (project.clone / DEFINITION).read_text(encoding="utf-8")
    project.commit({DEFINITION: f"{text}  sony: {{}}\n"})
    project.git("push", "--quiet", "--force", "origin", "HEAD:refs/pull/12/head")
    # The clone has neither a history nor the branch that the pull request merges into.
    (project.clone / ".git" / "shallow").write_text(project.git("rev-parse", "HEAD") + "\n")
    project.git("update-ref", "-d", "refs/remotes/origin/staging")

    build = project.build(event="PULL_REQUEST_CREATED", head_ref="refs/heads/sony", base_ref="refs/heads/staging")

    assert build.succeeded == PHASES, build.log
    assert deployed(emulated) == {}
    assert "+ testing-smoke_dag_sony" in build.log
    assert "1 passed" in build.log


def test_a_pull_request_is_compared_with_the_branch_that_it_merges_into(project: Project) -> None:
    base = (project.clone / DEFINITION).read_text(encoding="utf-8")
    project.commit({DEFINITION: base.replace("tasks:\n", "tasks:\n  extra: {task_definition: smoke}\n")})
    project.push("development")  # main does not have the task
    project.commit({DEFINITION: base})

    webhook = {"event": "PULL_REQUEST_UPDATED", "head_ref": "refs/heads/x", "base_ref": "refs/heads/development"}
    build = project.build(**webhook)

    assert build.succeeded == ["install"], build.log
    assert "task 'extra' is gone" in build.log


def test_a_broken_definition_is_not_deployed(project: Project, emulated: Emulated) -> None:
    project.commit({DEFINITION: "providers: [\n"})
    project.push("staging")

    build = project.build(event="PUSH", head_ref="refs/heads/staging")

    assert "build" not in build.succeeded
    assert f"{DEFINITION}:" in build.log
    assert deployed(emulated) == {}


def test_a_failed_test_is_reported_and_nothing_is_deployed(project: Project, emulated: Emulated) -> None:
    project.commit({TESTS: FAILS})
    project.push("staging")

    build = project.build(event="PUSH", head_ref="refs/heads/staging")

    assert "build" not in build.succeeded
    assert "1 failed" in build.log
    assert deployed(emulated) == {}
    report = BUILDSPEC["reports"]["tests"]
    assert report["file-format"] == "JUNITXML"
    (file,) = report["files"]
    suite = ElementTree.parse(str(project.clone / report["base-directory"] / file)).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")


def test_an_older_build_does_not_undo_a_newer_one(project: Project, emulated: Emulated) -> None:
    older = project.git("rev-parse", "HEAD")
    project.commit({Path("NOTES"): "newer"})
    project.push("staging")
    project.git("checkout", "--quiet", "--detach", older)

    done = project.run(".aws/deploy", event="PUSH", head_ref="refs/heads/staging")

    assert done.returncode == 0, done.stdout
    assert "staging has moved on" in done.stdout
    assert deployed(emulated) == {}


def test_without_the_origin_nothing_is_deployed(project: Project, emulated: Emulated) -> None:
    project.git("remote", "rename", "origin", "elsewhere")
    try:
        done = project.run(".aws/deploy", event="PUSH", head_ref="refs/heads/staging")
    finally:
        project.git("remote", "rename", "elsewhere", "origin")

    assert done.returncode != 0, done.stdout
    assert deployed(emulated) == {}
