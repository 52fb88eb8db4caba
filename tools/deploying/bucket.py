"""The objects of a folder in the bucket of an environment: listing, reading, writing and deleting them."""

from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from hashlib import sha256
from typing import Any, Dict, Iterable, Mapping, NamedTuple

from tools.deploying.cloud import CloudError, explain_errors, in_parallel
from tools.terminal import printable

BUCKET = "vm-data-provisioning-{}"
DAGS = "airflow/dags/"
# A path is relative to the folder, or to the bucket if it begins with a slash.
REQUIREMENTS = "/airflow/requirements.txt"
SHARED_IGNORE = f"/{DAGS}.airflowignore"  # of the version before
MAX_BYTES = 16 * 1024 * 1024  # of an object that is read; ours are much smaller
CONNECTIONS = 10  # as many as a boto3 client keeps
VERBS = {"get": "read", "head": "read", "put": "written", "copy": "copied", "delete": "deleted"}
CHANGED = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey")  # S3's answers to a condition

Files = Dict[str, bytes]  # contents by path


class Refused(Exception):
    """A command refuses to go on; the text says why, and what to do."""


class Listing(NamedTuple):
    """The objects of a folder by path, as boto3 lists them, and the time of S3's clock."""

    objects: Dict[str, Any]
    now: datetime


class Folder:
    """A folder of the DAGs folder of an environment; its methods raise CloudError where AWS refuses."""

    def __init__(self, s3: Any, environment: str, name: str) -> None:
        self.s3, self.environment, self.name = s3, environment, name
        self.bucket, self.prefix, self.is_sandbox = BUCKET.format(environment), f"{DAGS}{name}/", name != "etl"

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def key(self, path: str) -> str:
        """Return the key of a path."""
        return path[1:] if path.startswith("/") else self.prefix + path

    def address(self, path: str) -> str:
        """Return the address of an object for a person."""
        return f"s3://{self.bucket}/{printable(self.key(path), keep='')}"

    def list(self) -> Listing:
        """Return the objects, without the markers of folders; print the keys that are not a path and are left alone."""
        found: Dict[str, Any] = {}
        with explain_errors(f"{self} cannot be read"):
            for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix):
                now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
                found.update({entry["Key"][len(self.prefix) :]: entry for entry in page.get("Contents", ())})
            odd = {path for path in found if {"", ".", ".."} & {*path.rstrip("/").split("/")}}
            objects = {path: found[path] for path in found if path not in odd and not path.endswith("/")}
            for path in () if self.is_sandbox else (SHARED_IGNORE, REQUIREMENTS):  # a sandbox leaves them alone
                page = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=self.key(path), MaxKeys=1)
                for entry in page.get("Contents", ()):
                    if entry["Key"] == self.key(path):
                        objects[path] = entry
        for path in sorted(odd - {""}):
            print(f"left alone, since it is no path: {printable(self.prefix + path, keep='')}")
        return Listing(objects, now)

    def call(self, verb: str, path: str, **arguments: Any) -> Any:
        """Return the answer of an operation on an object."""
        with explain_errors(f"{self.address(path)} cannot be {VERBS[verb]}"):
            answer = getattr(self.s3, f"{verb}_object")(Bucket=self.bucket, Key=self.key(path), **arguments)
            if verb == "get":
                answer["Body"] = answer["Body"].read(MAX_BYTES)
                if len(answer["Body"]) != answer["ContentLength"]:  # which botocore does not notice
                    raise CloudError(f"{self.address(path)} was not read whole: the connection broke; run it again")
            return answer

    def read(self, paths: Iterable[str]) -> Files:
        """Return the contents of objects."""
        paths = list(paths)
        answers = in_parallel([partial(self.call, "get", path) for path in paths], CONNECTIONS, "reading")
        return {path: answer["Body"] for path, answer in zip(paths, answers)}

    def store(self, shas: Mapping[str, str], contents: Files, copies: Mapping[str, str]) -> None:
        """Write objects, and read them back.

        Args:
            shas: The SHA-256 of each object, by path.
            contents: Contents that are at hand, by SHA-256.
            copies: Paths of objects to copy inside S3, by SHA-256.

        Raises:
            Refused: An object does not have its SHA-256 afterwards.
        """

        def is_stored(path: str, sha: str) -> bool:
            return sha256(self.call("get", path)["Body"]).hexdigest() == sha

        def store_one(path: str, sha: str) -> None:
            if sha in copies:  # without tags, which would need a permission
                where = {"Bucket": self.bucket, "Key": self.key(copies[sha])}
                self.call("copy", path, CopySource=where, TaggingDirective="REPLACE")
                if is_stored(path, sha):  # or else somebody has changed what was copied
                    return
            if sha in contents:
                self.call("put", path, Body=contents[sha])
            if not is_stored(path, sha):
                raise Refused(f"{self.address(path)} is not what it should be: somebody else writes there; ask who")

        in_parallel([partial(store_one, path, sha) for path, sha in shas.items()], CONNECTIONS, "writing")

    def replace(self, path: str, content: bytes, etag: str) -> bool:
        """Write an object if it still has this ETag ("" for none); return whether it was written."""

        def add_condition(params: Any, **_: Any) -> None:  # put_object of this botocore has no such argument
            params["headers"].update({"If-Match": etag} if etag else {"If-None-Match": "*"})

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
