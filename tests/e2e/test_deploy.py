"""``./etl deploy`` and ``./etl releases`` against an emulated S3: what is in the bucket, and what counts when."""

import io
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Set

import pytest
from botocore.client import BaseClient
from botocore.response import StreamingBody

from tests import checkouts
from tests.e2e.emulated import REGION, Emulated
from tools import checkout
from tools.commands import deploy, releases
from tools.deploying import bucket
from tools.deploying import deploy as deploying

BUCKET, ETL, REQUIREMENTS = "vm-data-provisioning-staging", "airflow/dags/etl/", "airflow/requirements.txt"
BIG, MEDIUM, WORKS, MORE = (
    f"dags/etl/pipelines/{name}.yaml" for name in ("cwr/big", "cwr/medium", "vi/works", "vi/more")
)
LOADING = "dags/etl/orchestrator/loading.py"
# What others have in the bucket, some of it with names that are much like ours.
FOREIGN = {
    "airflow/dags/other_team/x.py": b"x = 1\n",
    "airflow/dags/other_team/factory.py": b"x = 2\n",
    "airflow/dags/etl_other/y": b"\x00\xff",
    "airflow/dags/.airflowignore.bak": b"x",
    "airflow/plugins/plugins.zip": b"PK",
    "airflow/requirements.txt.bak": b"x",
}
# Before these names begin: the kinds of writes of a deploy, in its order.
KINDS = ("copy", "put releases", "put releases/[^/]*/manifest.json", "put current", "put factory.py", "delete releases")
Objects = Dict[str, bytes]

PARSE = """\
import json, sys
from airflow.models.dagbag import DagBag
for folder in json.load(sys.stdin):
    bag = DagBag(folder, include_examples=False)
    dags = {dag.dag_id: [dag.schedule_interval, dag.tags, dag.doc_md] for dag in bag.dags.values()}
    print("bag", json.dumps({"dags": dags, "errors": list(bag.import_errors.values())}))
"""


class Killed(BaseException):
    """A kill -9, as far as S3 can see: no request comes after it."""


class Place:
    """A checkout, and the bucket that it is deployed to."""

    def __init__(self, emulated: Emulated, root: Path, folder: Path) -> None:
        self.s3, self.root, self.folder = emulated.client("s3"), root, folder
        self.environ = {"AWS_ENDPOINT_URL": emulated.address, "ETL_FOLDER": str(root)}
        self.environ.update({"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"})

    def deploy(self, *arguments: str, status: int = 0, main: Any = deploy.main, **environ: str) -> str:
        """Run the command in this process, where only the checkout's files differ; return what it prints."""
        output = io.StringIO()
        with redirect_stdout(output), redirect_stderr(output):
            ended = self.main(main, *arguments, **environ)
        assert ended == status, output.getvalue()
        return output.getvalue()

    def main(self, main: Any, *arguments: str, **environ: str) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkout, "ETL", self.root / "dags" / "etl")
            for name, value in {**self.environ, **environ}.items():
                patch.setenv(name, value)
            return int(main(["staging", *arguments] if "production" not in arguments else [*arguments]))

    def writes(self, *arguments: str, **environ: str) -> List[str]:
        """Run the command; return what it writes, in order."""
        written: List[str] = []
        with self.meddling(written.append):
            self.deploy(*arguments, status=0, **environ)
        return written

    def refused(self, *arguments: str, status: int = 1) -> str:
        """Run the command, and see that it writes nothing."""
        with self.meddling(lambda write: pytest.fail(write)):
            return self.deploy(*arguments, status=status)

    @contextmanager
    def meddling(self, meddle: Callable[[str], Any]) -> Iterator[None]:
        """Call a function after each write of the command, such as "put factory.py"; its own do not count."""
        call, meddles = BaseClient._make_api_call, threading.local()

        def call_and_meddle(client: Any, operation: str, parameters: Any) -> Any:
            answer = call(client, operation, parameters)
            if operation in ("PutObject", "CopyObject", "DeleteObject") and not getattr(meddles, "now", False):
                meddles.now = True
                try:
                    meddle(f"{operation[:-6].lower()} {parameters['Key'].replace(ETL, '')}")
                finally:
                    meddles.now = False
            return answer

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(BaseClient, "_make_api_call", call_and_meddle)
            yield

    def killed(self, kind: str, *arguments: str) -> None:
        """Run the command, and kill it at its first write of a kind."""
        dead: List[str] = []

        def kill(write: str) -> None:
            if dead or re.match(kind, write):  # what is under way then may arrive
                dead.append(write)
                raise Killed

        with self.meddling(kill), pytest.raises(Killed):
            self.deploy(*arguments)

    def during(self, kind: str, meddle: Callable[[], Any], *arguments: str, status: int) -> str:
        """Run the command, and do something at its first write of a kind; return what the command prints."""
        once = [meddle]
        with self.meddling(lambda write: once.pop()() if once and re.match(kind, write) else None):
            return self.deploy(*arguments, status=status)

    def edit(self, path: str, old: str, new: str) -> str:
        """Replace text in a file, and commit that; return the commit."""
        text = (self.root / path).read_text()
        assert old in text
        (self.root / path).write_text(text.replace(old, new))
        return self.commit()

    def rename_task(self, number: int = 0) -> str:
        """Change what the DAGs of one definition do, each time in another way."""
        text = re.sub(r"cwr-fetch\w*", f"cwr-fetch{number or time.time_ns()}", (self.root / BIG).read_text())
        (self.root / BIG).write_text(text)
        return self.commit()

    def commit(self) -> str:
        checkouts.git(self.root, "add", "--all")
        checkouts.git(self.root, "commit", "--quiet", "--allow-empty", "--message=x")
        return self.head()

    def head(self) -> str:
        return checkouts.git(self.root, "rev-parse", "HEAD").strip()

    def files(self, *patterns: str) -> Objects:
        etl = self.root / "dags" / "etl"
        paths = [path for pattern in patterns for path in etl.glob(pattern)]
        return {path.relative_to(etl).as_posix(): path.read_bytes() for path in paths}

    def put(self, objects: Mapping[str, bytes], **metadata: str) -> None:
        for key, content in objects.items():
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=content, Metadata=metadata)

    def empty(self) -> None:
        """Delete everything, in one request."""
        while self.keys():
            objects = [{"Key": key} for key in self.keys()]
            self.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": objects})

    def delete(self, *keys: str) -> None:
        for key in keys:
            self.s3.delete_object(Bucket=BUCKET, Key=key)

    def etags(self, prefix: str = "") -> Dict[str, str]:
        """What tells whether anything in the bucket is another one."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return {entry["Key"]: entry["ETag"] for page in pages for entry in page.get("Contents", ())}

    def keys(self, prefix: str = "") -> List[str]:
        return list(self.etags(prefix))

    def get(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body

    def bucket(self, prefix: str) -> Objects:
        return {key: self.get(key) for key in self.keys(prefix)}

    def activations(self, folder: str = "etl") -> List[Any]:
        return list(json.loads(self.get(f"airflow/dags/{folder}/current"))["activations"])

    def ids(self) -> Set[str]:
        above = f"{ETL}releases/"
        return {key[len(above) :].split("/")[0] for key in self.keys(above)}

    def counts(self, folder: str = "etl") -> Objects:
        """The files of the release that counts, which is whole."""
        release = self.activations(folder)[0]["release"]
        above = f"airflow/dags/{folder}/releases/{release}/"
        files = {key[len(above) :]: content for key, content in self.bucket(above).items()}
        manifest = json.loads(files.pop("manifest.json"))
        shas = {path: sha256(content).hexdigest() for path, content in files.items()}
        assert manifest["files"] == {path: [len(files[path]), shas[path]] for path in files}
        assert list(manifest["files"]) == sorted(files)
        lines = "".join(f"{shas[path]}  {path}\n" for path in sorted(files))
        assert release == sha256(lines.encode()).hexdigest()[:16]
        return files

    def old_layout(self) -> Objects:
        """Deploy as the version before did."""
        files = self.files("factory.py", "orchestrator/*.py", "configs/*.yaml", "pipelines/*/*.yaml")
        old = {f"{ETL}{path}": content for path, content in {**files, "commit.txt": b"1" * 40 + b"\n"}.items()}
        old.update({f"{ETL}orchestrator/module_{number}.py": b"" for number in range(20)})
        old["airflow/dags/.airflowignore"] = b"/configs$\n"
        old[f"{ETL}factory.py"] = b"# the factory of the version before\n"
        self.put(old, commit="1" * 40)
        return old


@pytest.fixture(scope="module")
def emulated() -> Iterator[Emulated]:
    emulated = Emulated(MOTO_S3_DEFAULT_MAX_KEYS="12")  # so that every listing has pages
    emulated.seed({"region": REGION, "buckets": [BUCKET]})
    versioned = {"Bucket": BUCKET, "VersioningConfiguration": {"Status": "Enabled"}}
    emulated.client("s3").put_bucket_versioning(**versioned)
    yield emulated
    emulated.end()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with three pipelines, whose last commit has hardly any package: it is not what reads them here."""
    copy = checkouts.checkout(tmp_path_factory.mktemp("deploy"))
    for family in ("3rd_party", "ddex", "testing"):
        shutil.rmtree(str(copy / "dags" / "etl" / "pipelines" / family))
    checkouts.git(copy, "config", "user.email", "anna@example.com")
    checkouts.commit(copy)
    for module in (copy / "dags" / "etl" / "orchestrator").glob("*.py"):
        if module.name not in ("__init__.py", "loading.py"):
            module.unlink()
    checkouts.commit(copy)
    return copy


@pytest.fixture
def place(emulated: Emulated, copy: Path, tmp_path: Path) -> Iterator[Place]:
    place = Place(emulated, copy, tmp_path)
    start = place.head()
    place.put(FOREIGN)
    yield place
    assert {key: place.get(key) for key in FOREIGN} == FOREIGN  # whatever was done
    (copy / ".git" / "index").unlink()
    checkouts.git(copy, "reset", "--quiet", "--hard", start)
    checkouts.git(copy, "clean", "--quiet", "-fd", "dags", "configs")
    place.empty()


def test_the_bucket_has_the_release_of_the_checkout(place: Place) -> None:
    output = place.deploy()

    files, held = place.files("orchestrator/*.py", "configs/*.yaml", "pipelines/*/*.yaml"), place.counts()
    compiled = {path for path in held if path.endswith(".cpython-37.pyc")}
    files["requirements.txt"] = (place.root / "requirements.txt").read_bytes()
    assert {path: content for path, content in held.items() if path not in compiled} == files
    modules = [path for path in files if path.endswith(".py")]
    assert compiled == {re.sub(r"/(\w+).py", r"/__pycache__/\1.cpython-37.pyc", path) for path in modules}
    (activation,) = place.activations()
    assert activation["commits"] == {"": place.head()}
    assert activation["by"] == "anna@example.com"
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", activation["at"])
    beside = {key[len(ETL) :] for key in place.keys(ETL) if not key.startswith(f"{ETL}releases/")}
    assert beside == {"current", "factory.py", "problems.py", ".airflowignore"}
    assert place.get(f"{ETL}factory.py") == (place.root / "dags/etl/factory.py").read_bytes()
    for key in (f"{ETL}.airflowignore", REQUIREMENTS):
        assert place.get(key) == (place.root / key.split("/")[-1]).read_bytes()
    version = place.s3.head_object(Bucket=BUCKET, Key=REQUIREMENTS)["VersionId"]
    command = f"aws mwaa update-environment --name <your MWAA environment> --requirements-s3-path {REQUIREMENTS}"
    assert f"{command} --requirements-s3-object-version {version}" in output
    assert f"It is at commit {place.head()}" in output


def test_airflow_finds_the_dags_of_the_checkout_in_the_bucket(place: Place) -> None:
    checkouts.git(place.root, "reset", "--quiet", "--hard", "HEAD~1")  # with the whole package
    place.deploy()
    place.deploy("--sandbox", "test_merge")
    commit = place.rename_task()
    place.deploy("--only", BIG)
    for key, content in place.bucket("airflow/dags/").items():  # as MWAA does
        (place.folder / key).parent.mkdir(parents=True, exist_ok=True)
        (place.folder / key).write_bytes(content)

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PARSE],
        input=json.dumps([str(place.root / "dags"), str(place.folder / "airflow" / "dags")]),
        env={**os.environ, "AIRFLOW__ETL__ENVIRONMENT": "staging"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )

    mine, deployed = (json.loads(line[4:]) for line in done.stdout.splitlines() if line.startswith("bag "))
    assert not mine["errors"] + deployed["errors"]
    sandbox = {dag_id for dag_id in deployed["dags"] if dag_id.startswith("test_merge.")}
    assert set(mine["dags"]) == set(deployed["dags"]) - sandbox
    assert sandbox == {f"test_merge.{dag_id}" for dag_id in mine["dags"]}
    for dag_id, (schedule, tags, _) in mine["dags"].items():
        assert deployed["dags"][dag_id][:2] == [schedule, tags]
        assert deployed["dags"][f"test_merge.{dag_id}"][0] is None
    assert f"Commit **{commit[:12]}**" in deployed["dags"]["cwr-big_dag_un"][2]


def test_a_second_deploy_writes_nothing_and_another_commit_only_current(place: Place) -> None:
    place.deploy()

    assert "nothing to deploy" in place.refused(status=0)
    assert "there is no release to go back to; deploy the commit" in place.refused("--rollback")
    commit = place.commit()
    manifest, written = place.writes(CODEBUILD_BUILD_ID="etl-deploy:1")
    assert manifest.endswith("/manifest.json")  # so that the release is one that was touched
    assert written == "put current"
    assert [place.activations()[0][key] for key in ("commits", "by")] == [{"": commit}, "etl-deploy:1"]
    assert len(place.activations()) == 1


def test_a_change_is_copied_inside_s3_and_a_dry_run_writes_nothing(place: Place) -> None:
    place.deploy()
    place.rename_task()
    size, output = len(place.counts()), place.refused("--dry-run", status=0)
    assert "~ cwr-big_dag_un" in output
    assert re.search(rf"release [0-9a-f]{{16}}: 1 file new, {size - 1} copied inside S3\n", output)

    written = [re.sub("[0-9a-f]{16}", "ID", write) for write in place.writes()]
    assert sorted(written[:size])[-1] == "put releases/ID/pipelines/cwr/big.yaml"
    assert sum(write.startswith("copy releases/ID/") for write in written[:size]) == size - 1
    assert written[size:] == ["put releases/ID/manifest.json", "put current"]
    assert place.counts()["pipelines/cwr/big.yaml"] == (place.root / BIG).read_bytes()


def test_requests_are_made_ten_at_a_time_and_a_few_for_each_file(place: Place) -> None:
    call, under_way, requests = BaseClient._make_api_call, set(), []  # type: Any, Set[int], List[int]

    def count(*arguments: Any) -> Any:
        under_way.add(threading.get_ident())
        requests.append(len(under_way))
        time.sleep(0.01)
        answer = call(*arguments)
        under_way.remove(threading.get_ident())
        return answer

    place.deploy()
    place.rename_task()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", count)
        place.deploy()

    assert max(requests) == 10
    assert requests.count(1) < 30  # the listings' pages, and what goes alone
    assert len(requests) <= 2 * len(place.counts()) + 5 + requests.count(1)


def a_fourth_release(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deploy three releases, and make a fourth deploy of many kinds of writes, by which the first is outdated."""
    for number in (1, 2, 3):
        place.rename_task(number)
        place.deploy()
    later(monkeypatch)
    place.edit("dags/etl/factory.py", '"""Registers', '"""Now registers')
    place.rename_task(4)


def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let S3's clock say that it is two hours later."""
    parse = bucket.parsedate_to_datetime
    monkeypatch.setattr(bucket, "parsedate_to_datetime", lambda text: parse(text) + timedelta(hours=2))


def test_a_killed_deploy_changes_nothing_by_halves(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    a_fourth_release(place, monkeypatch)
    first, last = place.activations()[-1]["release"], place.keys()

    for number, kind in enumerate(KINDS):
        place.killed(kind)
        is_active = number >= KINDS.index("put current")
        assert (b"cwr-fetch4" in place.counts()["pipelines/cwr/big.yaml"]) == is_active
        if kind == "put factory.py":
            assert place.get(f"{ETL}factory.py").startswith(b'"""Now')
    assert f"{ETL}releases/{first}/manifest.json" not in {*place.keys()}
    assert len(place.ids()) == 4
    place.deploy()

    assert first not in place.ids()
    assert len(place.ids()) == 3
    assert place.refused(status=0).count("nothing to deploy") == 1
    assert {path for path in last if first not in path} < {*place.keys()}


def test_of_two_deploys_or_rollbacks_at_once_one_is_refused(place: Place) -> None:
    place.deploy()
    commits = [place.rename_task(number) for number in (1, 2)]

    def deploy_the_other() -> None:
        checkouts.git(place.root, "checkout", "--quiet", commits[1])
        place.deploy()

    checkouts.git(place.root, "checkout", "--quiet", commits[0])
    output = place.during("copy", deploy_the_other, status=1)

    winner, first = place.activations()
    assert f"anna@example.com has activated release {winner['release']} at {winner['at']} meanwhile; the" in output
    assert winner["commits"] == {"": commits[1]}
    assert b"cwr-fetch2" in place.counts()["pipelines/cwr/big.yaml"]
    assert len(place.ids()) == 3  # the loser's is new enough to be one that goes on

    place.rename_task(3)
    output = place.during("put releases", lambda: place.deploy("--rollback"), status=1)
    assert "has activated release" in output
    assert [a["release"] for a in place.activations()] == [first["release"], winner["release"]]
    place.counts()


def test_what_is_deleted_meanwhile_or_written_over_is_found(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    a_fourth_release(place, monkeypatch)

    def delete() -> None:
        newest = place.activations()[0]["release"]
        place.delete(f"{ETL}releases/{newest}/configs/staging.yaml")

    output = place.during("put current", delete, status=1)
    assert re.search(r"releases/[0-9a-f]{16}/configs/staging.yaml was deleted or changed; deploy again", output)
    assert len(place.ids()) == 4
    place.deploy()
    place.counts()

    place.rename_task(5)
    current = place.get(f"{ETL}current")
    output = place.during("put current", lambda: place.put({f"{ETL}current": current}), status=0)
    assert "somebody else is deploying, too: nothing is deleted" in output


def test_a_write_of_current_whose_answer_is_lost_has_arrived(place: Place) -> None:
    """Botocore repeats it, and S3 then refuses what it has just written."""
    send = bucket.Folder.call

    def call_twice(folder: Any, verb: str, path: str, **arguments: Any) -> Any:
        answer = send(folder, verb, path, **arguments)
        return send(folder, verb, path, **arguments) if (verb, path) == ("put", "current") else answer

    for _ in range(2):  # the first time there is none
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bucket.Folder, "call", call_twice)
            assert "and counts" in place.deploy()
        place.rename_task()
    place.counts()


def test_a_release_that_was_changed_by_hand_is_found_and_repaired(place: Place) -> None:
    place.deploy()
    good, release = place.counts(), place.activations()[0]["release"]
    file = f"{ETL}releases/{release}/pipelines/cwr/big.yaml"
    place.put({file: good["pipelines/cwr/big.yaml"].replace(b"cwr-fetch", b"cwr-hctef")})
    place.put({f"{ETL}releases/{release}/pipelines/cwr/other.yaml": b"x"})

    assert "1 file new" in place.deploy()
    assert place.counts() == good

    place.put({file: b"x" * len(good["pipelines/cwr/big.yaml"])})
    place.edit(MEDIUM, "@hourly", "@daily")
    place.deploy("--only", MEDIUM)  # what is copied is read back, too
    assert place.counts()["pipelines/cwr/big.yaml"] == good["pipelines/cwr/big.yaml"]

    for paths in (["configs/staging.yaml", "manifest.json"], ["manifest.json"]):
        place.delete(*(f"{ETL}releases/{place.activations()[0]['release']}/{path}" for path in paths))
        place.deploy()
        place.counts()
    place.put({f"{ETL}releases/{place.activations()[0]['release']}/manifest.json": b"{"})
    place.deploy()
    place.counts()


def test_rolling_back_writes_current_alone(place: Place) -> None:
    commits, ids = [], []
    for number in (1, 2, 3):
        commits.append(place.rename_task(number))
        place.deploy()
        ids.append(place.activations()[0]["release"])

    assert "~ cwr-big_dag_un" in place.refused("--rollback", "--dry-run", status=0)
    assert place.writes("--rollback") == ["put current"]
    assert [a["release"] for a in place.activations()] == [ids[1], ids[2], ids[0]]
    assert place.activations()[0]["commits"] == {"": commits[1]}
    assert place.writes("--to", ids[0][:6]) == ["put current"]
    assert b"cwr-fetch1" in place.counts()["pipelines/cwr/big.yaml"]
    assert f"release {ids[0]} counts already" in place.refused("--to", ids[0], status=0)
    assert "0 releases begin with 'nothing'" in place.refused("--to", "nothing")

    table = [line.split() for line in place.deploy(main=releases.main).splitlines()]
    assert [(row[0], row[2], row[3], row[-1]) for row in table[1:]] == [
        (ids[0], "anna@example.com", commits[0], "counts"),
        (ids[1], "anna@example.com", commits[1], "fallback"),
        (ids[2], "anna@example.com", commits[2], "fallback"),
    ]
    place.delete(f"{ETL}releases/{ids[1]}/requirements.txt")
    assert re.search(rf"{ids[1]} .*incomplete", place.deploy(main=releases.main))
    assert f"release {ids[1]} is incomplete: releases/{ids[1]}/requirements.txt" in place.refused("--rollback")


def test_three_releases_and_what_is_recent_stay(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2, 3, 4):
        place.rename_task(number)
        place.deploy()
    ids = [activation["release"] for activation in place.activations()]
    assert place.ids() == {*ids}
    later(monkeypatch)
    assert "nothing to deploy" in place.refused(status=0)  # what current names stays
    place.commit()

    _, _, *deleted = place.writes()  # after the manifest and current

    assert [write for write in deleted if not write.startswith(f"delete releases/{ids[3]}/")] == []
    assert deleted[0] == f"delete releases/{ids[3]}/manifest.json"
    assert place.ids() == {activation["release"] for activation in place.activations()} == {*ids[:3]}


def test_a_bucket_of_the_version_before_is_moved_over(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    old = place.old_layout()
    waits: List[float] = []
    monkeypatch.setattr(deploying, "WAIT", 0.25)
    monkeypatch.setattr(time, "sleep", waits.append)
    assert "deploy everything, without --only" in place.refused("--only", BIG)
    (place.root / WORKS).unlink()
    place.commit()
    assert "- vi-works_dag_prs" in place.refused("--dry-run", status=0)

    place.killed("put factory.py")  # which comes after current
    assert [a["release"] for a in place.activations()][1:] == [""]
    assert {*old} < {*place.keys()}
    place.killed("delete")
    assert waits == [0.25]
    output = place.deploy()

    assert waits == [0.25, 0.25]
    assert "files of the version before" in output
    place.counts()
    beside = {key[len(ETL) :].split("/")[0] for key in place.keys(ETL)}
    assert beside == {"releases", "current", "factory.py", "problems.py", ".airflowignore"}
    assert "airflow/dags/.airflowignore" not in {*place.keys()}
    assert "nothing to deploy" in place.refused(status=0)
    assert "there is no release to go back to" in place.refused("--rollback")
    place.commit()
    place.deploy()
    assert (len(place.activations()), len(waits)) == (1, 2)


def no_definitions(place: Place) -> None:
    checkouts.git(place.root, "rm", "-rq", "dags/etl/pipelines")
    (place.root / "dags/etl/pipelines").mkdir(exist_ok=True)
    place.commit()


def not_committed(place: Place) -> None:
    """One file is changed, one is ignored by git, one is left out by a sparse checkout."""
    (place.root / "dags/etl/pipelines/.gitignore").write_text("more.yaml\n")
    place.commit()
    (place.root / BIG).write_text((place.root / BIG).read_text().replace("cwr-fetch", "cwr-fetcher"))
    (place.root / MORE).write_text((place.root / BIG).read_text())
    checkouts.git(place.root, "update-index", "--skip-worktree", WORKS)
    (place.root / WORKS).unlink()


REFUSED: Dict[str, Callable[[Place], Any]] = {
    r"unknown key 'retrys'(?s:.*)nothing is deployed while": lambda place: place.edit(BIG, "retries", "retrys"),
    r"there is no definition in dags/etl/pipelines, and all that are deployed would go": no_definitions,
    r"there is no requirements\.txt in this checkout": lambda place: (place.root / "requirements.txt").unlink(),
    rf"this is not what commit [0-9a-f]{{12}} has; .*:\n  {BIG}\n  {MORE}\n  {WORKS}\n$": not_committed,
}


def test_it_is_refused_with_nothing_written(place: Place) -> None:
    place.deploy()
    start = place.head()
    for text, prepare in REFUSED.items():
        prepare(place)

        output = place.refused()

        assert re.search(text, output), output
        (place.root / ".git" / "index").unlink()
        checkouts.git(place.root, "reset", "--quiet", "--hard", start)
        checkouts.git(place.root, "clean", "--quiet", "-fdx", "dags")


def test_a_package_that_gives_less_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.deploy()
    load = deploying.releases.load_staged

    def load_less(*arguments: Any) -> Any:
        found = load(*arguments)
        return found._replace(definitions=found.definitions[1:])

    monkeypatch.setattr(deploying.releases, "load_staged", load_less)
    place.edit(MEDIUM, "@hourly", "@daily")

    assert re.search("the new package would no longer build cwr-big_dag_un, though the definition", place.refused())


def test_trouble_with_aws_is_one_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.deploy()
    read = StreamingBody.read
    monkeypatch.setattr(StreamingBody, "read", lambda body, *amount: read(body, *amount)[:-1])
    cut = place.refused()
    (place.root / "configs" / "production.yaml").write_text((place.root / "configs" / "staging.yaml").read_text())

    no_bucket = place.refused("production")

    assert "was not read whole: the connection broke; run it again" in cut
    assert [len(cut.splitlines()), len(no_bucket.splitlines())] == [1, 1]
    assert "etl deploy: s3://vm-data-provisioning-production/airflow/dags/etl/ cannot be read: " in no_bucket
    assert "NoSuchBucket" in no_bucket


def test_one_file_goes_alone(place: Place) -> None:
    place.deploy()
    first = place.head()
    before = place.counts()
    (place.root / WORKS).unlink()
    place.edit(MEDIUM, "@hourly", "@daily")
    commit = place.rename_task()

    place.deploy("--only", "big.yaml", ETL_FOLDER=str((place.root / BIG).parent))
    gone = place.deploy("--only", WORKS)

    assert f"{WORKS} is gone, as in commit {commit}." in gone
    assert place.activations()[0]["commits"] == {"": first, "pipelines/cwr/big.yaml": commit}
    expected = {**before, "pipelines/cwr/big.yaml": (place.root / BIG).read_bytes()}
    del expected["pipelines/vi/works.yaml"]
    assert place.counts() == expected
    for path in ("README.md", WORKS):
        output = place.refused("--only", path, status=2)
        assert f"{path} is neither a file that is deployed nor one that is at s3://" in output
    for path in (LOADING, ".airflowignore", "dags/etl/factory.py"):
        assert f"{path} is not deployed alone" in place.refused("--only", path, status=2)

    place.edit("requirements.txt", "# What MWAA", "# All that MWAA")
    place.edit(LOADING, '"""A folder', '"""One folder')
    assert "has another orchestrator/ than this checkout" in place.refused("--only", MEDIUM)
    assert f"start from its commit, {first}, or deploy everything" in place.refused("--only", MEDIUM)
    place.deploy("--only", "requirements.txt")
    assert place.counts() == {**expected, "requirements.txt": place.get(REQUIREMENTS)}
    assert place.get(REQUIREMENTS).startswith(b"# All")
    copied = f"s3://{BUCKET}/{ETL}releases/{place.activations()[1]['release']}/requirements.txt"
    assert f"aws s3 cp {copied} s3://{BUCKET}/{REQUIREMENTS}\n" in place.deploy("--rollback")
    place.deploy()
    assert place.activations()[0]["commits"] == {"": place.head()}


def test_a_sandbox_is_beside_the_real_folder_until_it_is_removed(place: Place) -> None:
    place.deploy()
    before = place.etags()
    (place.root / BIG).write_text((place.root / BIG).read_text().replace("cwr-fetch", "cwr-fetcher"))
    sandbox = ("--sandbox", "test_merge")

    place.deploy(*sandbox)

    assert place.counts("test_merge")["pipelines/cwr/big.yaml"] == (place.root / BIG).read_bytes()
    assert place.activations("test_merge")[0]["commits"] == {"": place.head() + " with uncommitted changes"}
    assert {key: etag for key, etag in place.etags().items() if "/test_merge/" not in key} == before

    assert "test_merge.cwr-big_dag_un" in place.refused(*sandbox, "--remove", "--dry-run", status=0)
    place.killed("delete airflow/dags/test_merge/releases", *sandbox, "--remove")
    left = {key.split("/")[3] for key in place.keys("airflow/dags/test_merge/")}
    # factory.py goes first, and then ten at a time; 2.2.2 passes over problems.py.
    assert {"current"} <= left <= {".airflowignore", "current", "problems.py", "releases"}
    assert "removed" in place.deploy(*sandbox, "--remove")
    assert place.etags() == before
    assert "0 objects, 0 DAGs" in place.deploy(*sandbox, "--remove")


def test_somebody_elses_folder_is_no_sandbox(place: Place) -> None:
    address = f"s3://{BUCKET}/airflow/dags/other_team/"
    for key in ("factory.py", "pipelines/cwr/x.py", "current"):  # which look like ours
        place.put({f"airflow/dags/other_team/{key}": FOREIGN["airflow/dags/other_team/factory.py"]})
        for option in ("--yes", "--remove", "--rollback"):
            output = place.refused("--sandbox", "other_team", option)
            assert f"{address} was not written by ./etl deploy" in output
            assert f"\n  aws s3 rm --recursive {address}\n" in output


def test_keys_that_lead_elsewhere_are_left_alone_and_other_leftovers_deleted(place: Place) -> None:
    leftovers = ["pipelines/cwr", "pipelines/cwr/big.yaml/below", "releases/red\x1b[31m.yaml", "releases/x"]
    leftovers += ["factory.py/below", "\u2028.yaml", "tests/x.py"]
    odd = ["../x", "../../../../tmp/x", "/tmp/x", "releases/./x.yaml", "releases/../../x.yaml"]
    place.deploy()
    real = place.keys()
    kept = {**{f"{ETL}{name}": b"x" for name in odd}, ETL: b"", f"{ETL}pipelines/": b""}  # a console marks folders
    place.put({**{f"{ETL}{name}": b"x" for name in leftovers}, **kept})

    output = place.deploy()

    assert {*place.keys()} == {*real, *kept}
    assert output.count("left alone, since it is no path: ") >= len(odd)
    assert r"red\u001b[31m.yaml" in output


def test_a_malformed_current_is_replaced_and_somebody_elses_patterns_stay(place: Place) -> None:
    patterns = "airflow/dags/.airflowignore"
    place.put({f"{ETL}current": b"{", patterns: b"theirs"})

    assert place.writes()[-2:] == ["put current", "put factory.py"]
    place.counts()
    place.put({f"{ETL}current": b"[" * 99_999})
    place.deploy()
    place.counts()
    assert place.get(patterns) == b"theirs"


@pytest.mark.parametrize(
    ("typed", "status", "said"), [(b"n\n", 1, "nothing was written"), (b"\x03", 130, "interrupted")]
)
def test_a_person_is_asked(typed: bytes, status: int, said: str, place: Place) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115 (not pytest's)
        with suppress(BaseException):
            os._exit(place.main(deploy.main))
        os._exit(99)
    output = b""
    while b"[y/N]" not in output:
        output += os.read(terminal, 4096)
    with suppress(OSError):  # it has ended
        for _ in range(12):
            if said.encode() not in output:  # a second Ctrl-C would end it in the middle of its own end
                os.write(terminal, typed)
            # Python does not see a Ctrl-C between its question and its wait for a line: then it is typed once more.
            while select.select([terminal], [], [], 5)[0]:
                output += os.read(terminal, 4096)
        os.kill(pid, signal.SIGKILL)
    _, ended = os.waitpid(pid, 0)

    assert os.WIFEXITED(ended) and os.WEXITSTATUS(ended) == status, output.decode()  # noqa: PT018
    assert said in output.decode().splitlines()[-1]
    assert {*place.keys()} == {*FOREIGN}
