"""Where a deploy goes: the objects of a folder of the DAGs folder, listed, read, written, copied and deleted."""

from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from hashlib import sha256
from typing import Any, Dict, Iterable, Mapping, NamedTuple, Tuple

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
    """The objects of a folder by path, and what it is by S3's clock."""

    objects: Dict[str, Any]  # as boto3 lists them
    now: datetime


class Folder:
    """The objects of a folder of an environment; its methods raise CloudError where AWS refuses."""

    def __init__(self, s3: Any, environment: str, name: str) -> None:
        self.s3, self.environment, self.name = s3, environment, name
        self.bucket, self.prefix, self.is_sandbox = BUCKET.format(environment), f"{DAGS}{name}/", name != "etl"
        # A sandbox leaves what all folders share alone.
        self.prefixes = [self.prefix] + [SHARED_IGNORE[1:], REQUIREMENTS[1:]] * (not self.is_sandbox)
        self.known: Files = {}  # contents by SHA-256, which need not be read

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def key(self, path: str) -> str:
        return path[1:] if path.startswith("/") else self.prefix + path

    def address(self, path: str) -> str:
        """Return the address of an object for a person."""
        return f"s3://{self.bucket}/{display_key(self.key(path))}"

    def know(self, contents: Iterable[bytes]) -> None:
        self.known.update({sha256(content).hexdigest(): content for content in contents})

    def list(self) -> Listing:
        """Return what is there, without what marks folders; print the keys that are no path and left alone."""
        objects: Dict[str, Any] = {}
        with explain_errors(f"{self} cannot be read"):
            for prefix in self.prefixes:
                for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                    now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
                    objects.update({entry["Key"]: entry for entry in page.get("Contents", ())})
        below = {key[len(self.prefix) :]: key for key in objects if key.startswith(self.prefix) and key[-1] != "/"}
        shared = {f"/{key}": key for key in self.prefixes[1:] if key in objects}  # and nothing that is almost called so
        odd = {path for path in below if {"", ".", ".."} & set(path.split("/"))}  # which nobody should follow
        for path in sorted(odd):
            print(f"left alone, since it is no path: {display_key(self.prefix + path)}")
        return Listing({path: objects[key] for path, key in {**below, **shared}.items() if path not in odd}, now)

    def call(self, verb: str, path: str, **arguments: Any) -> Any:
        """Return the answer of an operation on an object."""
        with explain_errors(f"{self.address(path)} cannot be {VERBS[verb]}"):
            answer = getattr(self.s3, f"{verb}_object")(Bucket=self.bucket, Key=self.key(path), **arguments)
            return {**answer, "Body": answer["Body"].read(MAX_BYTES)} if verb == "get" else answer

    def read(self, path: str) -> Tuple[bytes, str]:
        """Return the content of an object, and its ETag."""
        answer = self.call("get", path)
        return answer["Body"], answer["ETag"]

    def read_all(self, paths: Iterable[str]) -> Files:
        paths = list(paths)
        answers = in_parallel([partial(self.read, path) for path in paths], CONNECTIONS, "reading")
        return {path: content for path, (content, _) in zip(paths, answers)}

    def write_all(self, contents: Files, copies: Mapping[str, str]) -> Dict[str, str]:
        """Write objects, and copy others inside S3 from the paths that are given; return all versions by path."""
        calls = [partial(self.call, "put", path, Body=content) for path, content in contents.items()]
        for path, source in copies.items():  # without its tags, which would need a permission
            where = {"Bucket": self.bucket, "Key": self.key(source)}
            calls.append(partial(self.call, "copy", path, CopySource=where, TaggingDirective="REPLACE"))
        versions = [answer.get("VersionId", "") for answer in in_parallel(calls, CONNECTIONS, "writing")]
        return dict(zip([*contents, *copies], versions))

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
        in_parallel([partial(self.call, "delete", path) for path in paths], CONNECTIONS, "deleting")


def display_key(key: str) -> str:
    """Return a key, which may be anybody's, on one line."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in key)
