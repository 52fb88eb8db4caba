"""Where a deploy goes: its keys, and reading and writing the objects there."""

import re
import time
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from orchestrator import MAX_FILE_BYTES

from tools.deploying.cloud import explain_errors, in_parallel
from tools.deploying.upload_order import Refused

BUCKET = "vm-data-provisioning-{}"
DAGS = "airflow/dags/"
IGNORE = DAGS + ".airflowignore"
REQUIREMENTS = "airflow/requirements.txt"
COMMIT = "commit.txt"  # which commit is there; the factory shows it in the web page
DIRTY = " with uncommitted changes"
# What a folder of the DAGs folder holds of ours.
NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}"
OURS = re.compile(
    rf"factory\.py|orchestrator/{NAME}\.py|commit\.txt|configs/{NAME}\.yaml|pipelines/{NAME}/{NAME}\.yaml"
)
MAX_BYTES = 2 * MAX_FILE_BYTES  # of an object that is read; ours are smaller
CONNECTIONS = 10  # as many as a boto3 client keeps


class Target(NamedTuple):
    """Where it goes."""

    environment: str
    folder: str
    region: str

    @property
    def bucket(self) -> str:
        """The bucket of the environment's MWAA."""
        return BUCKET.format(self.environment)

    @property
    def prefix(self) -> str:
        """What our keys begin with."""
        return f"{DAGS}{self.folder}/"

    @property
    def is_sandbox(self) -> bool:
        """Whether it is beside the real folder."""
        return self.folder != "etl"

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


class Deployed(NamedTuple):
    """What the bucket has where we deploy to."""

    files: Dict[str, bytes]  # content by key, of what is called like ours
    others: List[str]  # keys below our folder that are not
    odd: List[str]  # keys there that are no path, such as etl/../x, which nobody should follow
    ages: Dict[str, float]  # seconds since each key was written, by S3's clock


class Change(NamedTuple):
    """What is written: step after step, and what is of one step in any order."""

    steps: List[Dict[str, Optional[bytes]]]  # by key; None is deleted
    waits: Dict[str, int]  # keys before which MWAA gets this many seconds to copy what is there

    @property
    def writes(self) -> Dict[str, Optional[bytes]]:
        """All steps in one."""
        return {key: content for step in self.steps for key, content in step.items()}


def tree(target: Target, files: Mapping[str, bytes]) -> Dict[str, bytes]:
    """Return what a scheduler parses of it: what stands below our folder, by path."""
    below = {key[len(target.prefix) :]: content for key, content in files.items() if key.startswith(target.prefix)}
    return {path: content for path, content in below.items() if path != COMMIT}


def stage(target: Target, key: str) -> str:
    """Return what a key begins with below our folder: factory.py, orchestrator, configs, pipelines or commit.txt."""
    return key[len(target.prefix) :].split("/")[0]


def display_key(key: str) -> str:
    """Return a key, which may be anybody's, on one line."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in key)


def read(s3: Any, target: Target) -> Deployed:
    """Read all that the bucket has where we deploy to."""
    found: Dict[str, float] = {}
    with explain_errors(f"{target} cannot be read"):
        for prefix in [target.prefix] + [IGNORE, REQUIREMENTS] * (not target.is_sandbox):
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=target.bucket, Prefix=prefix):
                now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
                written_at = {entry["Key"]: entry["LastModified"] for entry in page.get("Contents", ())}
                found.update({key: (now - then).total_seconds() for key, then in written_at.items()})
    keys = [key for key in found if key.startswith(target.prefix) and not key.endswith("/")]  # which marks a folder
    names = {key: key[len(target.prefix) :] for key in keys}
    odd = [key for key, name in names.items() if {"", ".", ".."} & set(name.split("/"))]
    ours = [key for key, name in names.items() if OURS.fullmatch(name)]
    others = sorted(set(keys) - {*odd, *ours})
    ours += [key for key in found if key in (IGNORE, REQUIREMENTS)]
    contents = in_parallel([partial(content, s3, target, key) for key in ours], CONNECTIONS, "reading")
    return Deployed(dict(zip(ours, contents)), others, odd, found)


def content(s3: Any, target: Target, key: str) -> bytes:
    """Return the content of an object."""
    with explain_errors(f"s3://{target.bucket}/{key} cannot be read"):
        body: bytes = s3.get_object(Bucket=target.bucket, Key=key)["Body"].read(MAX_BYTES)
        return body


def refuse_foreign(s3: Any, target: Target, deployed: Deployed) -> None:
    """Refuse a sandbox's folder that somebody else filled: a deploy would delete what is there."""
    if not target.is_sandbox or not (deployed.files or deployed.others or deployed.odd):
        return
    # All that a deploy writes says its commit; before the factory comes and after it has gone, the other files show it.
    factories = [key for key in deployed.files if key == target.prefix + "factory.py"]
    for key in factories or sorted(deployed.files)[:1]:
        with explain_errors(f"s3://{target.bucket}/{key} cannot be read"):
            if "commit" in s3.head_object(Bucket=target.bucket, Key=key)["Metadata"]:
                return
    raise Refused(
        f"{target} was not written by ./etl deploy; name another --sandbox, or if it is yours, empty it:"
        f"\n  aws s3 rm --recursive {target}"
    )


def write(s3: Any, target: Target, change: Change, commit: str) -> str:
    """Write or delete step after step; return the version that requirements.txt has now, "" if none."""

    def put(key: str, content: Optional[bytes]) -> str:
        where = {"Bucket": target.bucket, "Key": key}
        with explain_errors(
            f"s3://{target.bucket}/{display_key(key)} cannot be written; once that is fixed, run it again"
        ):
            if content is None:
                s3.delete_object(**where)
                return ""
            return str(s3.put_object(Body=content, Metadata={"commit": commit}, **where).get("VersionId", ""))

    versions: Dict[str, str] = {}
    for step in change.steps:
        for key in change.waits.keys() & step.keys():
            print(f"waiting {change.waits[key]} s for MWAA to copy what is there", flush=True)
            time.sleep(change.waits[key])
        calls = [partial(put, *item) for item in step.items()]
        versions.update(zip(step, in_parallel(calls, CONNECTIONS, "writing")))
    version = versions.get(REQUIREMENTS, "")
    return "" if version == "null" else version  # of a bucket whose versioning is suspended


def verify(s3: Any, target: Target, after: Mapping[str, bytes], whole: bool) -> None:
    """Read everything back; raise Refused where it is not byte for byte what was meant."""
    now = read(s3, target)
    differs = [key for key in sorted({*after, *now.files}) if after.get(key) != now.files.get(key)]
    differs += now.others if whole else []
    if differs:
        listed = "".join(f"\n  {display_key(key)}" for key in differs)
        raise Refused(f"somebody else has written there meanwhile; find out who, then run it again. Different:{listed}")
