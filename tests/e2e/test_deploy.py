"""``./etl deploy`` against an emulated S3: what is in the bucket, and what a scheduler makes of it at every moment."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

import pytest

from tests import checkouts
from tests.e2e.emulated import REGION, Emulated
from tools import checkout
from tools.commands import deploy
from tools.deploying import bucket
from tools.deploying import deploy as deploying
from tools.setup.environments import DEFINITIONS

ETL = "airflow/dags/etl/"
BIG, MEDIUM, WORKS, MORE = (
    f"dags/etl/pipelines/{name}.yaml" for name in ("cwr/big", "cwr/medium", "vi/works", "vi/more")
)
# What others have in the bucket, some of it with names that are much like ours.
FOREIGN = {
    "airflow/dags/other_team/x.py": b"x = 1\n",
    "airflow/dags/other_team/factory.py": b"x = 2\n",
    "airflow/dags/etl_other/y": b"\x00\xff",
    "airflow/dags/.airflowignore.bak": b"x",
    "airflow/plugins/plugins.zip": b"PK",
    "airflow/requirements.txt.bak": b"x",
}
MODELS, LOADING = (f"dags/etl/orchestrator/{name}.py" for name in ("models", "loading"))
NICKNAME = ("    sla: Optional[Duration]", "    nickname: Optional[Text] = Field(None)\n    sla: Optional[Duration]")
WRITES = re.compile(r"^  (upload|delete)  (\S+)", re.MULTILINE)
Bag = Dict[str, Any]

# Runs the command, and does something at the n-th object that it has written: kill -9, or another person's write.
MEDDLING = """\
import itertools, os, signal, sys
from botocore.client import BaseClient
from tools.commands import deploy
number, what, *arguments = sys.argv[1:]
call, written = BaseClient._make_api_call, itertools.count(1)
def meddle(self, operation, parameters):
    answer = call(self, operation, parameters)
    if operation in ("PutObject", "DeleteObject") and next(written) == int(number):
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        call(self, "PutObject", {**parameters, "Body": b"of somebody else"})
    return answer
BaseClient._make_api_call = meddle
sys.exit(deploy.main(arguments))
"""

PARSE = """\
import json, os, sys
from airflow.models.dagbag import DagBag
for environment, folder in json.load(sys.stdin):
    os.environ["AIRFLOW__ETL__ENVIRONMENT"] = environment
    bag = DagBag(folder, include_examples=False)
    dags = {dag.dag_id: [dag.schedule_interval, dag.tags, dag.doc_md] for dag in bag.dags.values()}
    print("bag", json.dumps({"dags": dags, "errors": list(bag.import_errors.values())}))
"""


class Place:
    """A checkout, and the buckets that it is deployed to."""

    def __init__(self, emulated: Emulated, root: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.s3, self.root, self.folder, self.capsys = emulated.client("s3"), root, folder, capsys
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "PYTHONUNBUFFERED": "x"}
        self.environ = {**os.environ, **keys, "AWS_ENDPOINT_URL": emulated.address, "ETL_FOLDER": str(root)}
        self.python = str(root / ".local" / "definitions" / "bin" / "python")
        self.trees = 0

    # --------------------------------------------------------------------------------------------- the command

    def run(self, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """Run Python in the checkout."""
        return subprocess.run(
            [self.python, *arguments],
            cwd=self.root,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def deploy(self, *arguments: str, status: int = 0, **environ: str) -> str:
        """Run the command; give what it prints."""
        done = self.run("-m", "tools.commands.deploy", "--pause", "0", *arguments, **environ)
        assert done.returncode == status, done.stdout
        return done.stdout

    def here(self, *arguments: str, status: int = 0) -> str:
        """Run the command in this process, where only the checkout's definitions differ; give what it prints."""
        self.capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkout, "ETL", self.root / "dags" / "etl")
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "ETL_FOLDER"):
                patch.setenv(name, self.environ[name])
            ended = deploy.main(["--pause", "0", *arguments])
        out, err = self.capsys.readouterr()
        assert ended == status, out + err
        return out + err

    def refused(self, *arguments: str, status: int = 1) -> str:
        """Run the command in this process, and see that it writes nothing."""
        before = self.bucket()
        output = self.here(*arguments, status=status)
        assert self.bucket() == before
        return output

    # -------------------------------------------------------------------------------------------- the checkout

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=Test", "-c", "user.email=test@example.invalid")
        return subprocess.run(["git", *who, *arguments], cwd=self.root, check=True, stdout=-1, text=True).stdout.strip()

    def edit(self, path: str, *replacements: Tuple[str, str]) -> None:
        text = (self.root / path).read_text()
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        (self.root / path).write_text(text)

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=x")
        return self.git("rev-parse", "HEAD")

    def files(self, folder: str = "etl") -> Dict[str, bytes]:
        """What a deploy of the checkout puts into a bucket, without the commit."""
        patterns = ("factory.py", "orchestrator/*.py", "configs/*.yaml", "pipelines/*/*.yaml")
        etl = self.root / "dags" / "etl"
        paths = [path for pattern in patterns for path in etl.glob(pattern)]
        found = {f"airflow/dags/{folder}/{path.relative_to(etl)}": path.read_bytes() for path in paths}
        if folder == "etl":
            found["airflow/dags/.airflowignore"] = (self.root / ".airflowignore").read_bytes()
            found["airflow/requirements.txt"] = (self.root / "requirements.txt").read_bytes()
        return found

    # ---------------------------------------------------------------------------------------------- the bucket

    def put(self, objects: Mapping[str, bytes], environment: str = "staging", **metadata: str) -> None:
        for key, content in objects.items():
            bucket = f"vm-data-provisioning-{environment}"
            self.s3.put_object(Bucket=bucket, Key=key, Body=content, Metadata=metadata)

    def bucket(self, environment: str = "staging") -> Dict[str, bytes]:
        """All that a bucket holds."""
        name = f"vm-data-provisioning-{environment}"
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=name)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return {key: self.s3.get_object(Bucket=name, Key=key)["Body"].read() for key in keys}

    def versions(self, environment: str = "staging") -> int:
        """How often anything was written or deleted in a bucket."""
        pages = self.s3.get_paginator("list_object_versions").paginate(Bucket=f"vm-data-provisioning-{environment}")
        return sum(len(page.get("Versions", ())) + len(page.get("DeleteMarkers", ())) for page in pages)

    def deployed(self, environment: str = "staging", folder: str = "etl") -> Dict[str, bytes]:
        """Deploy without the command, as somebody did long ago."""
        files = {
            **self.files(folder),
            f"airflow/dags/{folder}/commit.txt": self.git("rev-parse", "HEAD").encode() + b"\n",
        }
        self.put(files, environment, commit="x")
        return files

    def empty(self) -> None:
        for environment in ("development", "staging"):
            name = f"vm-data-provisioning-{environment}"
            for key in self.bucket(environment):
                self.s3.delete_object(Bucket=name, Key=key)

    # ------------------------------------------------------------------------------------------------- Airflow

    def synced(self, objects: Mapping[str, bytes]) -> Path:
        """Make a DAGs folder of a bucket's objects, as MWAA does."""
        self.trees += 1
        dags = self.folder / str(self.trees) / "dags"
        dags.mkdir(parents=True)
        for key, content in objects.items():
            if key.startswith("airflow/dags/"):
                path = dags / key[len("airflow/dags/") :]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        return dags

    def parsed(self, *folders: Path, environments: Sequence[str] = ("staging",)) -> List[Bag]:
        """What Airflow finds in DAGs folders, in each of the environments."""
        asked = json.dumps([[environment, str(folder)] for environment in environments for folder in folders])
        command = [sys.executable, "-W", "ignore", "-c", PARSE]
        done = subprocess.run(command, input=asked, stdout=subprocess.PIPE, check=True, text=True)
        return [json.loads(line[4:]) for line in done.stdout.splitlines() if line.startswith("bag ")]

    def moments(self, before: Mapping[str, bytes], output: str) -> List[Dict[str, bytes]]:
        """What the bucket has held of ours after each of the writes that a deploy says it has made."""
        states, now = [dict(before)], self.bucket()
        for verb, key in WRITES.findall(output):
            states.append({**states[-1], key: now.get(key, b"")})
            if verb == "delete":
                del states[-1][key]
        assert states[-1] == {key: content for key, content in now.items() if key not in FOREIGN}
        return states[1:]


@pytest.fixture(scope="module")
def emulated() -> Iterator[Emulated]:
    emulated = Emulated(MOTO_S3_DEFAULT_MAX_KEYS="6")  # so that every listing has pages
    emulated.seed(
        {"region": REGION, "buckets": [f"vm-data-provisioning-{name}" for name in ("development", "staging")]}
    )
    versioned = {"Bucket": "vm-data-provisioning-staging", "VersioningConfiguration": {"Status": "Enabled"}}
    emulated.client("s3").put_bucket_versioning(**versioned)
    yield emulated
    emulated.end()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with three pipelines, which are faster to parse than all."""
    copy = checkouts.checkout(tmp_path_factory.mktemp("deploy"), DEFINITIONS)
    for family in ("3rd_party", "ddex", "testing"):
        shutil.rmtree(str(copy / "dags" / "etl" / "pipelines" / family))
    author = ("-c", "user.name=Test", "-c", "user.email=test@example.invalid")
    subprocess.run(["git", *author, "commit", "--quiet", "--all", "--amend", "--no-edit"], cwd=copy, check=True)
    return copy


@pytest.fixture
def place(emulated: Emulated, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Place]:
    place = Place(emulated, copy, tmp_path, capsys)
    start = place.git("rev-parse", "HEAD")
    place.put(FOREIGN)
    yield place
    held = place.bucket()
    assert {key: held.get(key) for key in FOREIGN} == FOREIGN  # whatever was done
    (copy / ".git" / "index").unlink()
    place.git("reset", "--quiet", "--hard", start)
    place.git("clean", "--quiet", "-fd", "dags", "configs")
    place.empty()


# ------------------------------------------------------------------------------------------------ the real folder


def test_the_bucket_gives_the_dags_of_the_checkout(place: Place) -> None:
    commit = place.git("rev-parse", "HEAD")
    outputs = {environment: place.deploy(environment) for environment in ("development", "staging")}

    for environment, output in outputs.items():
        held = place.bucket(environment)
        expected = {**place.files(), f"{ETL}commit.txt": f"{commit}\n".encode()}
        assert {key: content for key, content in held.items() if key not in FOREIGN} == expected
        assert f"It is at commit {commit}" in output
    assert "requirements.txt changed, but the bucket is not versioned" in outputs["development"]
    folders = place.root / "dags", place.synced(held)
    bags = place.parsed(*folders, environments=("development", "staging"))
    assert not [bag["errors"] for bag in bags if bag["errors"]]
    for mine, deployed in (bags[:2], bags[2:]):
        for dag_id, (schedule, tags, _) in mine["dags"].items():
            assert deployed["dags"][dag_id][:2] == [schedule, tags]
            assert f"Commit **{commit[:12]}**" in deployed["dags"][dag_id][2]
        assert set(mine["dags"]) == set(deployed["dags"])
    assert "cwr-big_dag_un" in bags[0]["dags"]


def test_a_second_deploy_writes_nothing(place: Place) -> None:
    place.deployed()
    versions = place.versions()

    assert "nothing to deploy" in place.refused("staging", status=0)
    assert place.versions() == versions


def test_a_dry_run_writes_nothing(place: Place) -> None:
    output = place.refused("staging", "--dry-run", status=0)

    assert "+ cwr-big_dag_un" in output
    assert f"upload  {ETL}factory.py" in output


def test_what_mwaa_has_to_do_about_new_requirements_is_told(place: Place) -> None:
    place.deployed()
    place.edit("requirements.txt", ("# What MWAA", "# All that MWAA"))
    place.edit("dags/etl/orchestrator/__init__.py", ("The DAG factory:", "The factory of DAGs:"))
    place.commit()

    output = place.deploy("staging")

    version = place.s3.head_object(Bucket="vm-data-provisioning-staging", Key="airflow/requirements.txt")["VersionId"]
    command = (
        "aws mwaa update-environment --name <your MWAA environment> --requirements-s3-path airflow/requirements.txt"
    )
    assert f"{command} --requirements-s3-object-version {version}" in output
    assert "deploy --only requirements.txt, let MWAA install it" in output


# -------------------------------------------------------------------------------------------- at every moment of it


def new_language(place: Place) -> None:
    """A factory that reads more, and definitions that make use of it; one that goes, and an environment's change."""
    place.edit(MODELS, NICKNAME)
    place.edit(BIG, ("    task_definition: cwr-fetch", "    nickname: x\n    task_definition: cwr-fetch"))
    place.edit("configs/staging.yaml", ("variables:", "variables:\n  other: x"))
    (place.root / MORE).write_text((place.root / BIG).read_text())
    (place.root / WORKS).unlink()
    place.commit()


def test_at_no_moment_of_a_deploy_or_of_its_rollback_is_a_dag_away(place: Place) -> None:
    start = place.git("rev-parse", "HEAD")
    states = [place.deployed()]
    new_language(place)
    states += place.moments(states[-1], place.deploy("staging"))
    there = len(states)
    place.git("reset", "--quiet", "--hard", start)
    rollback = place.deploy("staging")
    states += place.moments(states[-1], rollback)

    # Both times in an order of its own, and as it was said.
    changes = [sorted(set(old.items()) ^ set(new.items())) for old, new in zip(states, states[1:])]
    assert [changed[0][0][len(ETL) :] for changed in changes] == [
        *("orchestrator/models.py", "configs/staging.yaml", "pipelines/cwr/big.yaml", "pipelines/vi/more.yaml"),
        *("pipelines/vi/works.yaml", "commit.txt"),
        *("pipelines/cwr/big.yaml", "pipelines/vi/works.yaml", "pipelines/vi/more.yaml", "configs/staging.yaml"),
        *("orchestrator/models.py", "commit.txt"),
    ]
    # Today's factory does not read what goes; it is told nevertheless.
    assert "- vi-more_dag_un  (dags/etl/pipelines/vi/more.yaml)" in rollback
    bags = place.parsed(*map(place.synced, states))
    for part in (bags[:there], bags[there - 1 :]):
        stay = set(part[0]["dags"]) & set(part[-1]["dags"])
        assert "cwr-big_dag_un" in stay
        assert not [bag["errors"] for bag in part if bag["errors"]]
        assert not [stay - set(bag["dags"]) for bag in part if stay - set(bag["dags"])]
    assert ("vi-works_dag_prs" in bags[0]["dags"], "vi-works_dag_prs" in bags[there - 1]["dags"]) == (True, False)


def test_mwaa_has_time_to_copy_where_the_order_matters(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It copies in an order of its own."""
    before = place.deployed()
    for name in ("development", "staging"):
        place.edit(f"configs/{name}.yaml", ("variables:", "variables:\n  other: x"))
    place.edit(BIG, ("command: [", 'command: ["{{ env.other }}", '))
    place.commit()
    waited: List[Tuple[int, Dict[str, bytes]]] = []

    def interrupted(seconds: int) -> None:
        waited.append((seconds, place.bucket()))
        if len(waited) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(bucket.time, "sleep", interrupted)
    outputs = [place.here("staging", "--pause", "10000", status=status) for status in (130, 0)]

    configs = {key: content for key, content in place.files().items() if "/configs/" in key}
    half = {**FOREIGN, **before, **configs}
    # What is there was itself written just now; and what the interrupted one has written needs its time, too.
    assert [held for _, held in waited] == [{**FOREIGN, **before}, half, half]
    assert [9000 < seconds <= 10000 for seconds, _ in waited] == [True] * 3
    assert waited[1][0] == 10000
    for output, file in zip(outputs, ["configs/development.yaml", "pipelines/cwr/big.yaml"]):
        assert re.search(rf"  wait \d+ s for MWAA to copy what is there, before\n  upload  {ETL}{file}", output)
    assert "\nwaiting 10000 s for MWAA to copy what is there\n" in outputs[0]


def test_what_is_of_one_kind_needs_no_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Definitions do not depend on one another; and the others have been there for a day."""
    place.deployed()
    place.edit(BIG, ("cwr-fetch", "cwr-fetcher"))
    place.commit()
    read = bucket.read

    def aged(s3: Any, target: bucket.Target) -> bucket.Deployed:
        deployed = read(s3, target)
        ages = {key: age + 86400 * ("pipelines" not in key) for key, age in deployed.ages.items()}
        return deployed._replace(ages=ages)

    monkeypatch.setattr(deploying, "read", aged)

    assert "wait" not in place.here("staging", "--dry-run", "--pause", "10000")


def test_an_interrupted_deploy_has_done_no_harm_and_is_finished_by_the_next(place: Place) -> None:
    killed = place.run("-c", MEDDLING, "6", "kill", "staging")

    assert killed.returncode == -signal.SIGKILL
    planned = [key for _, key in WRITES.findall(killed.stdout)]
    held = place.bucket()
    assert set(held) == {*FOREIGN, *planned[:6]}
    assert f"{ETL}factory.py" not in held  # without which there is nothing to parse
    output = place.deploy("staging")
    assert [key for _, key in WRITES.findall(output)] == planned[6:]
    held = place.bucket()
    assert held.pop(f"{ETL}commit.txt")
    assert held == {**FOREIGN, **place.files()}


def test_what_somebody_else_writes_meanwhile_is_found(place: Place) -> None:
    place.deployed()
    place.edit(BIG, ("cwr-fetch", "cwr-fetcher"))
    place.edit("requirements.txt", ("# What MWAA", "# All that MWAA"))
    place.commit()

    done = place.run("-c", MEDDLING, "1", "write", "staging", "--pause", "0")

    assert done.returncode == 1, done.stdout
    assert (
        f"somebody else has written there meanwhile; find out who, then run it again. Different:\n  {ETL}"
        in done.stdout
    )
    assert "cwr/big.yaml" in done.stdout.splitlines()[-1]
    assert "requirements.txt changed" in done.stdout  # which no other run would tell


# ------------------------------------------------------------------------------------------------------- refusals


def mistake(place: Place) -> None:
    place.edit(BIG, ("retries", "retrys"))
    place.commit()


def no_definitions(place: Place) -> None:
    place.deployed()
    place.git("rm", "-rq", "dags/etl/pipelines")
    (place.root / "dags/etl/pipelines").mkdir(exist_ok=True)
    place.commit()


def unreadable_definitions(place: Place) -> None:
    place.deployed()
    place.git("rm", "-rq", "dags/etl/pipelines")
    place.commit()


def not_committed(place: Place) -> None:
    """One file is changed, one is ignored by git, one is left out by a sparse checkout."""
    (place.root / "dags/etl/pipelines/.gitignore").write_text("more.yaml\n")
    place.commit()
    place.edit(BIG, ("cwr-fetch", "cwr-fetcher"))
    (place.root / MORE).write_text((place.root / BIG).read_text())
    place.git("update-index", "--skip-worktree", WORKS)
    (place.root / WORKS).unlink()


def no_requirements(place: Place) -> None:
    place.git("rm", "-q", "requirements.txt")
    place.commit()


def no_ignored(place: Place) -> None:
    """What dags/.airflowignore leads to is away."""
    place.git("rm", "-q", ".airflowignore")
    place.commit()


def hiding(place: Place) -> None:
    place.edit(".airflowignore", ("/configs$", "/etl$"))
    place.commit()


REFUSED = {
    mistake: r"unknown key 'retrys'(?s:.*)nothing is deployed while there are problems",
    no_definitions: r"there is no definition in dags/etl/pipelines, and all that are deployed would go",
    unreadable_definitions: r"cannot be read: No such file",
    no_requirements: r"there is no requirements\.txt in this checkout, which MWAA needs; ",
    no_ignored: r"there is no \.airflowignore in this checkout, which MWAA needs; ",
    hiding: r"\.airflowignore: '.*/etl\$.*' hides etl/factory\.py from Airflow, and with it every DAG",
    not_committed: rf"this is not what commit [0-9a-f]{{12}} has; .*:\n  {BIG}\n  {MORE}\n  {WORKS}\n$",
}


@pytest.mark.parametrize("prepare", REFUSED, ids=lambda prepare: str(prepare.__name__))
def test_it_is_refused_with_nothing_written(prepare: Any, place: Place) -> None:
    prepare(place)

    output = place.refused("staging")

    assert re.search(REFUSED[prepare], output), output


def test_a_change_for_which_no_order_is_harmless_is_refused(place: Place) -> None:
    """A field gets another name: the old factory reads the old name only, and the new one the new."""
    place.edit(BIG, ("\ntasks:", "\nretired_tasks: [old]\ntasks:"))
    place.commit()
    before = place.deployed()
    place.edit(MODELS, ("retired_tasks", "former_tasks"))
    place.edit(BIG, ("retired_tasks", "former_tasks"))
    place.commit()

    output = place.deploy("staging", status=1)

    assert "there is no harmless order of uploading this" in output
    assert "after orchestrator,\n  away would be: cwr-big_dag_un, cwr-big_dag_wcm\n" in output
    assert "unknown key 'retired_tasks'" in output
    assert "after pipelines,\n  away would be: cwr-big_dag_un, cwr-big_dag_wcm\n" in output
    assert "Deploy it in two steps" in output
    assert place.bucket() == {**FOREIGN, **before}


def test_a_factory_that_gives_less_is_refused(place: Place) -> None:
    before = place.deployed()
    place.edit(LOADING, ("definitions += result.definitions\n", "definitions += result.definitions[1:]\n"))
    place.commit()

    output = place.deploy("staging", status=1)

    dags = "cwr-big_dag_un, cwr-medium_dag_un, vi-works_dag_sacem"
    assert f"the new factory.py would no longer give {dags}, though the definition stays" in output
    assert place.bucket() == {**FOREIGN, **before}


def test_trouble_with_aws_is_one_line(place: Place) -> None:
    home = {
        "HOME": str(place.folder),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": "",
        "AWS_SECRET_ACCESS_KEY": "",
    }
    without = place.deploy("staging", status=1, **home)
    assert without.splitlines()[-1].endswith("airflow/dags/etl/ cannot be read: Unable to locate credentials")
    (place.root / "configs" / "production.yaml").write_text((place.root / "configs" / "staging.yaml").read_text())

    no_bucket = place.refused("production")

    assert len(no_bucket.splitlines()) == 1
    assert "etl deploy: s3://vm-data-provisioning-production/airflow/dags/etl/ cannot be read: " in no_bucket
    assert "NoSuchBucket" in no_bucket


# --------------------------------------------------------------------------------------------------- one file alone


def test_one_file_goes_alone(place: Place) -> None:
    before, first = place.deployed(), place.git("rev-parse", "HEAD")
    place.edit(BIG, ("cwr-fetch", "cwr-fetcher"))
    place.edit(MEDIUM, ("@hourly", "@daily"))
    (place.root / WORKS).unlink()
    commit = place.commit()

    place.deploy("staging", "--only", "big.yaml", ETL_FOLDER=str((place.root / BIG).parent))
    gone = place.deploy("staging", "--only", WORKS)

    assert f"{WORKS} is gone, as in commit {commit}." in gone
    held = place.bucket()
    assert held[f"{ETL}commit.txt"].decode().splitlines() == [first, f"{commit} pipelines/cwr/big.yaml"]
    expected = {**before, f"{ETL}pipelines/cwr/big.yaml": (place.root / BIG).read_bytes(), **FOREIGN}
    del expected[f"{ETL}pipelines/vi/works.yaml"]
    del expected[f"{ETL}commit.txt"], held[f"{ETL}commit.txt"]
    assert held == expected
    (bag,) = place.parsed(place.synced(place.bucket()))
    assert f"Commit **{commit[:12]}**" in bag["dags"]["cwr-big_dag_un"][2]
    assert f"Commit **{first[:12]}**" in bag["dags"]["cwr-medium_dag_wcm"][2]
    for path in ("README.md", WORKS):
        output = place.refused("staging", "--only", path, status=2)
        assert f"{path} is neither a file that is deployed nor one that is at s3://" in output


def test_one_file_that_does_not_go_with_what_is_deployed_is_refused(place: Place) -> None:
    place.deployed()
    new_language(place)
    before = place.bucket()

    output = place.deploy("staging", "--only", BIG, status=1)

    assert re.search(r"would have problems:\n\ndags/etl/pipelines/cwr/big.yaml:\d+:\d+: unknown key 'nickname'", output)
    assert place.bucket() == before


# ------------------------------------------------------------------------------------------------------- sandboxes


def test_a_sandbox_is_beside_the_real_folder_until_it_is_removed(place: Place) -> None:
    place.deployed()
    before = place.bucket()
    place.edit(BIG, ("cwr-fetch", "cwr-fetcher"))
    place.edit(".airflowignore", ("/configs$", "configs$"))

    place.deploy("staging", "--sandbox", "test_merge")

    commit = place.git("rev-parse", "HEAD") + " with uncommitted changes"
    added = {**place.files("test_merge"), "airflow/dags/test_merge/commit.txt": f"{commit}\n".encode()}
    assert place.bucket() == {**before, **added}
    there = place.synced(place.bucket())

    killed = place.run("-c", MEDDLING, "4", "kill", "staging", "--sandbox", "test_merge", "--remove")

    assert killed.returncode == -signal.SIGKILL
    left = {key[len("airflow/dags/test_merge/") :] for key in set(place.bucket()) - set(before)}
    modules = {f"orchestrator/{path.name}" for path in (place.root / "dags/etl/orchestrator").glob("*.py")}
    # A factory alone would report that it has no environment.
    assert left == {"configs/development.yaml", "configs/staging.yaml", "commit.txt", *modules}
    bag, going = place.parsed(there, place.synced(place.bucket()))
    real = {dag_id for dag_id in bag["dags"] if not dag_id.startswith("test_merge.")}
    assert set(bag["dags"]) == real | {f"test_merge.{dag_id}" for dag_id in real}
    assert bag["dags"]["cwr-big_dag_un"][0] is not None
    schedule, tags, docs = bag["dags"]["test_merge.cwr-big_dag_un"]
    assert schedule is None
    assert "test_merge" in tags
    assert f"Commit **{commit[:12]} with uncommitted changes**" in docs

    assert (set(going["dags"]), going["errors"]) == (real, [])
    assert "removed" in place.deploy("staging", "--sandbox", "test_merge", "--remove")
    assert place.bucket() == before


@pytest.mark.parametrize("option", [[], ["--remove"]], ids=["deployed over", "removed"])
def test_somebody_elses_folder_is_not(option: List[str], place: Place) -> None:
    output = place.refused("staging", "--sandbox", "other_team", *option)

    address = "s3://vm-data-provisioning-staging/airflow/dags/other_team/"
    assert f"{address} was not written by ./etl deploy" in output
    assert f"\n  aws s3 rm --recursive {address}\n" in output


# ----------------------------------------------------------------------------------------------------- odd buckets


def test_keys_that_lead_elsewhere_are_left_alone_and_other_leftovers_deleted(place: Place) -> None:
    leftovers = [
        "pipelines/cwr",
        "pipelines/cwr/big.yaml/below",
        "pipelines/cwr/red\x1b[31m.yaml",
        "factory.py/below",
        "configs/\u2028.yaml",
        "pipelines/cwr/" + "x" * 300 + ".yaml",
        "tests/x.py",
    ]
    odd = ["../x", "../../../../tmp/x", "/tmp/x", "pipelines/./x.yaml", "pipelines/../../x.yaml"]
    real = place.deployed()
    place.put({f"{ETL}{name}": b"x" for name in [*leftovers, *odd]})
    place.put({ETL: b"", f"{ETL}pipelines/": b""})  # as the web console marks folders

    output = place.deploy("staging")

    kept = {f"{ETL}{name}": b"x" for name in odd}
    assert place.bucket() == {**FOREIGN, **real, **kept, ETL: b"", f"{ETL}pipelines/": b""}
    assert output.count("left alone, since it is no path: ") == len(odd)
    assert r"red\x1b[31m.yaml" in output


def test_a_deployed_factory_that_does_not_start_is_replaced(place: Place) -> None:
    files = place.deployed()
    code = b"import os\nraise SystemExit(f\"not here, with {[name for name in os.environ if 'AWS' in name]}\")"
    place.put({f"{ETL}factory.py": code})

    output = place.deploy("staging")

    why = "factory.py does not start here: not here, with []"  # it is code of a bucket: no credentials for it
    assert f"cannot be read with their own factory: {why}" in output
    assert place.bucket() == {**FOREIGN, **files}


# --------------------------------------------------------------------------------------------------- at a terminal


@pytest.mark.parametrize(
    ("typed", "status", "said"), [(b"n\n", 1, "nothing was written"), (b"\x03", 130, "interrupted")]
)
def test_a_person_is_asked(typed: bytes, status: int, said: str, place: Place) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(str(place.root))
        os.execve(place.python, [place.python, "-m", "tools.commands.deploy", "staging"], place.environ)
    output = b""
    while b"[y/N]" not in output:
        output += os.read(terminal, 4096)
    try:
        for _ in range(12):
            if said.encode() not in output:  # a second Ctrl-C would end it in the middle of its own end
                os.write(terminal, typed)
            # Python does not see a Ctrl-C between its question and its wait for a line: then it is typed once more.
            while select.select([terminal], [], [], 5)[0]:
                output += os.read(terminal, 4096)
        os.kill(pid, signal.SIGKILL)
    except OSError:  # it has ended
        pass
    _, ended = os.waitpid(pid, 0)

    assert os.WIFEXITED(ended), output.decode()
    assert os.WEXITSTATUS(ended) == status
    assert said in output.decode().splitlines()[-1]
    assert place.bucket() == FOREIGN
