"""Where a deploy goes: the objects of a folder of the DAGs folder, listed, read, written and deleted."""

from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from hashlib import sha256
from typing import Any, Dict, Iterable, Mapping, NamedTuple

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


class Listing(NamedTuple):
    """The objects of a folder by path, as boto3 lists them, and what time it is by S3's clock."""

    objects: Dict[str, Any]
    now: datetime


class Folder:
    """The objects of a folder of an environment; its methods raise CloudError where AWS refuses."""

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
        return f"s3://{self.bucket}/{display_key(self.key(path))}"

    def list(self) -> Listing:
        """Return what is there, without what marks folders; print the keys that are no path and left alone."""
        objects: Dict[str, Any] = {}
        shared = [] if self.is_sandbox else [SHARED_IGNORE, REQUIREMENTS]  # which a sandbox leaves alone
        with explain_errors(f"{self} cannot be read"):
            for path in ["", *shared]:
                for page in self.s3.get_paginator("list_objects_v2").paginate(
                    Bucket=self.bucket, Prefix=self.key(path)
                ):
                    now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
                    found = {entry["Key"]: entry for entry in page.get("Contents", ())}
                    ours = {path: self.key(path)} if path else {key[len(self.prefix) :]: key for key in found}
                    objects.update({name: found[key] for name, key in ours.items() if key in found})
        odd = [path for path in objects if path not in shared and {"", ".", ".."} & {*path.rstrip("/").split("/")}]
        for path in filter(None, sorted(odd)):  # which nobody should follow
            print(f"left alone, since it is no path: {display_key(self.prefix + path)}")
        return Listing({path: e for path, e in objects.items() if path not in odd and path[-1] != "/"}, now)

    def call(self, verb: str, path: str, **arguments: Any) -> Any:
        """Return the answer of an operation on an object."""
        with explain_errors(f"{self.address(path)} cannot be {VERBS[verb]}"):
            answer = getattr(self.s3, f"{verb}_object")(Bucket=self.bucket, Key=self.key(path), **arguments)
            return {**answer, "Body": answer["Body"].read(MAX_BYTES)} if verb == "get" else answer

    def read(self, paths: Iterable[str]) -> Files:
        """Return the contents of objects."""
        paths = list(paths)
        answers = in_parallel([partial(self.call, "get", path) for path in paths], CONNECTIONS, "reading")
        return {path: answer["Body"] for path, answer in zip(paths, answers)}

    def store(self, shas: Mapping[str, str], contents: Files, copies: Mapping[str, str]) -> Dict[str, str]:
        """Write objects, read them back, and return their versions by path.

        Args:
            shas: What they should be, by path: the SHA-256.
            contents: What is at hand, by SHA-256.
            copies: Where the bucket has a content already, by SHA-256: it is copied inside S3.

        Raises:
            Refused: One is not what it should be.
        """

        def store_one(path: str, sha: str) -> str:
            where = {"Bucket": self.bucket, "Key": self.key(copies.get(sha, ""))}
            # A copy without its tags, which would need a permission. It may be of what was changed by hand.
            ways = [partial(self.call, "copy", path, CopySource=where, TaggingDirective="REPLACE")] * (sha in copies)
            for write in [*ways, *(partial(self.call, "put", path, Body=contents[sha]) for _ in {sha} & {*contents})]:
                version = write().get("VersionId", "")
                if sha256(self.call("get", path)["Body"]).hexdigest() == sha:
                    return str(version)
            raise Refused(f"{self.address(path)} is not what it should be: somebody else writes there; find out who")

        calls = [partial(store_one, path, sha) for path, sha in shas.items()]
        return dict(zip(shas, in_parallel(calls, CONNECTIONS, "writing")))

    def replace(self, path: str, content: bytes, etag: str) -> bool:
        """Write an object if it has this ETag, "" for none; return whether it had."""

        def add_condition(params: Any, **_: Any) -> None:  # this botocore does not know it
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


def display_key(key: str) -> str:
    """Return a key, which may be anybody's, on one line."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in key)
