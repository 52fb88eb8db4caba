"""Where a deploy goes: the objects of a folder of the DAGs folder, listed, read, written, copied and deleted."""

from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from hashlib import sha256
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Tuple

from tools.deploying.cloud import CloudError, explain_errors, in_parallel

BUCKET = "vm-data-provisioning-{}"
DAGS = "airflow/dags/"
# A path is below the folder; one that begins with a slash, as no object of ours does there, is below the bucket.
REQUIREMENTS = "/airflow/requirements.txt"
SHARED_IGNORE = f"/{DAGS}.airflowignore"  # of the version before
MAX_BYTES = 16 * 1024 * 1024  # of an object that is read; ours are much smaller
CONNECTIONS = 10  # as many as a boto3 client keeps
VERBS = {"get": "read", "head": "read", "put": "written", "copy": "copied", "delete": "deleted"}
CHANGED = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey")  # S3's answers to a condition

Files = Dict[str, bytes]  # contents by path


class Refused(Exception):
    """It is not deployed; the text says why, and what to do."""


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

    @property
    def prefixes(self) -> List[str]:
        """What is listed; a sandbox leaves what all folders share alone."""
        return [self.prefix] + [SHARED_IGNORE[1:], REQUIREMENTS[1:]] * (not self.is_sandbox)

    def key(self, path: str) -> str:
        """Return the key of a path."""
        return path[1:] if path.startswith("/") else self.prefix + path

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


class Entry(NamedTuple):
    """An object, as a listing has it."""

    size: int
    written_at: datetime


class Listing(NamedTuple):
    """The objects of a target by path, at a time of S3's clock."""

    objects: Dict[str, Entry]
    odd: List[str]  # keys that are no path, such as etl/../x, which nobody should follow
    now: datetime


class Folder:
    """The objects of a target; raises CloudError where AWS refuses."""

    def __init__(self, s3: Any, target: Target) -> None:
        self.s3, self.target = s3, target
        self.known: Files = {}  # contents by SHA-256, which need not be read

    def know(self, contents: Iterable[bytes]) -> None:
        """Remember contents."""
        self.known.update({sha256(content).hexdigest(): content for content in contents})

    def list(self) -> Listing:
        """Return what is there."""
        objects: Dict[str, Entry] = {}
        odd = []
        with explain_errors(f"{self.target} cannot be read"):
            for prefix in self.target.prefixes:
                for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.target.bucket, Prefix=prefix):
                    now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
                    for entry in page.get("Contents", ()):
                        key, is_below = entry["Key"], prefix == self.target.prefix
                        if key.endswith("/") or not (is_below or key == prefix):
                            continue  # it marks a folder, or is called almost like ours
                        path = key[len(prefix) :] if is_below else f"/{key}"
                        if is_below and {"", ".", ".."} & set(path.split("/")):
                            odd.append(key)
                        else:
                            objects[path] = Entry(entry["Size"], entry["LastModified"])
        return Listing(objects, odd, now)

    def call(self, verb: str, path: str, **arguments: Any) -> Any:
        """Return the answer of an operation on an object."""
        with explain_errors(f"{self.name(path)} cannot be {VERBS[verb]}"):
            operation = getattr(self.s3, f"{verb}_object")
            answer = operation(Bucket=self.target.bucket, Key=self.target.key(path), **arguments)
            return {**answer, "Body": answer["Body"].read(MAX_BYTES)} if verb == "get" else answer

    def read(self, path: str) -> Tuple[bytes, str]:
        """Return the content of an object, and its ETag."""
        answer = self.call("get", path)
        return answer["Body"], answer["ETag"]

    def read_all(self, paths: Iterable[str]) -> Files:
        """Return the contents of objects by path."""
        paths = list(paths)
        answers = in_parallel([partial(self.read, path) for path in paths], CONNECTIONS, "reading")
        return {path: content for path, (content, _) in zip(paths, answers)}

    def write_all(self, contents: Files, copies: Mapping[str, str]) -> Dict[str, str]:
        """Write objects, and copy others inside S3 from the paths that are given; return all versions by path."""
        calls = [partial(self.call, "put", path, Body=content) for path, content in contents.items()]
        for path, source in copies.items():  # without its tags, which would need a permission
            where = {"Bucket": self.target.bucket, "Key": self.target.key(source)}
            calls.append(partial(self.call, "copy", path, CopySource=where, TaggingDirective="REPLACE"))
        versions = [answer.get("VersionId", "") for answer in in_parallel(calls, CONNECTIONS, "writing")]
        return dict(zip([*contents, *copies], versions))

    def replace(self, path: str, content: bytes, etag: str) -> bool:
        """Write an object if it has this ETag, "" for none; return whether it had."""
        condition: Dict[str, Any] = {"If-Match": etag} if etag else {"If-None-Match": "*"}

        def add_condition(params: Any, **_: Any) -> None:  # this botocore does not know it
            params["headers"].update(condition)

        self.s3.meta.events.register("before-call.s3.PutObject", add_condition)
        try:
            self.call("put", path, Body=content)
        except CloudError as error:
            if getattr(error.__cause__, "response", {}).get("Error", {}).get("Code") not in CHANGED:
                raise
            return False
        finally:
            self.s3.meta.events.unregister("before-call.s3.PutObject", add_condition)
        return True

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects."""
        in_parallel([partial(self.call, "delete", path) for path in paths], CONNECTIONS, "deleting")

    def name(self, path: str) -> str:
        """Return the address of an object for a person."""
        return f"s3://{self.target.bucket}/{display_key(self.target.key(path))}"


def display_key(key: str) -> str:
    """Return a key, which may be anybody's, on one line."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in key)
