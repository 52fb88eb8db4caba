"""./etl deploy ENV: the definitions and the factory of this checkout, to where an environment's MWAA reads them.

It reads top to bottom as a deploy goes: what this checkout has -> what the bucket has -> what changes -> writing in a
harmless order -> reading back. Running it again is always right: it writes what differs, and nothing else.
"""

import argparse
import math
import os
import re
import sys
import time
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set

from tools import check, definitions, plan
from tools.cloud import CloudError, at_once, client, explained
from tools.definitions import RevisionError, factory, git
from tools.upload_order import Place, Refused, parsed, upload_order, written

BUCKET = "vm-data-provisioning-{}"
DAGS = "airflow/dags/"
IGNORE = DAGS + ".airflowignore"
REQUIREMENTS = "airflow/requirements.txt"
COMMIT = "commit.txt"  # which commit is there; the factory shows it in the web page
DIRTY = " with uncommitted changes"
# What a folder of the DAGs folder holds of ours.
NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}"
OURS = re.compile(rf"factory\.py|commit\.txt|configs/{NAME}\.yaml|pipelines/{NAME}/{NAME}\.yaml")
SANDBOX = re.compile(r"(?!(?:configs|pipelines)$)[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # .airflowignore hides the two
ROLE = re.compile(r"arn:[a-z-]+:iam::[0-9]{12}:role/.+")
MAX_BYTES = 2 * factory.MAX_FILE_BYTES  # of an object that is read; ours are smaller
CONNECTIONS = 10  # as many as a boto3 client keeps

DESCRIPTION = "Copy the definitions and the factory to where the MWAA of an environment reads them."
EPILOG = """\
examples:
  ./etl deploy staging --dry-run                       what would change, in the DAGs and in the bucket
  ./etl deploy staging
  ./etl deploy staging --only dags/etl/pipelines/cwr/big.yaml
  ./etl deploy development --folder test_merge         a sandbox beside the real folder, nothing of it scheduled
  ./etl deploy development --folder test_merge --remove
  ./etl deploy staging --preflight                     whether the account has what the definitions name

It goes to s3://vm-data-provisioning-ENV/airflow/dags/FOLDER/, with the credentials that the AWS CLI would take.
An interrupted deploy has done no harm; running it again finishes it.

exit status: 0, also if there is nothing to do; 1 if it is refused or fails; 2 wrong use"""


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


def main(arguments: List[str]) -> int:
    """Deploy; give the exit status."""
    etl = definitions.ETL
    options = parse(arguments, definitions.environments(etl))
    try:
        if options.preflight:
            return preflight(etl, options)
        target = Target(options.environment, options.folder, region(etl, options.environment))
        s3 = client("s3", target.region)
        return remove(s3, target, options) if options.remove else deploy(s3, target, etl, options)
    except check.UsageError as error:
        print(f"etl deploy: {error}", file=sys.stderr)
        return 2
    except (Refused, CloudError, RevisionError) as error:
        print(f"etl deploy: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("etl deploy: interrupted; what is there does no harm, and running it again finishes", file=sys.stderr)
        return 130


def parse(arguments: List[str], environments: List[str]) -> argparse.Namespace:
    """Give what was typed; exits with status 2 where it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="./etl deploy",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("environment", metavar="ENV", help="one that has a file in configs/")
    parser.add_argument("--folder", metavar="NAME", default="etl", help="a sandbox in the DAGs folder; default: etl")
    parser.add_argument("--only", metavar="PATH", help="deploy this file alone, or its deletion")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and write nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask (without a terminal, nobody is asked)")
    parser.add_argument(
        "--pause",
        metavar="SECONDS",
        type=int,
        default=60,
        help="for MWAA to copy, where the order matters; default: 60",
    )
    parser.add_argument("--remove", action="store_true", help="take a sandbox away")
    parser.add_argument("--preflight", action="store_true", help="ask AWS whether what the definitions name is there")
    parser.add_argument(
        "--role", metavar="ARN", help="with --preflight: MWAA's execution role, which must be allowed it"
    )
    options = parser.parse_args(arguments)
    if options.only == "":  # a variable of a script that is not set must not deploy everything
        parser.error("--only '' names no file")
    if options.pause < 0:
        parser.error("--pause takes no negative number")
    if options.environment not in environments:
        hint = factory.nearest(options.environment, environments)
        parser.error(f"there is no configs/{options.environment}.yaml; {hint}")
    if not SANDBOX.fullmatch(options.folder):
        parser.error(f"--folder {options.folder!r} is no name for a sandbox; one is test_merge (letters, digits, _, -)")
    if options.remove and (options.folder == "etl" or options.only is not None):
        parser.error("--remove takes a whole sandbox away; name one, such as: --folder test_merge --remove")
    if options.preflight and (options.remove or options.only is not None or options.dry_run or options.folder != "etl"):
        parser.error("--preflight only asks; of the other options it takes --role")
    if options.role is not None and not options.preflight:
        parser.error("--role goes with --preflight")
    if options.role is not None and not ROLE.fullmatch(options.role):  # "" too, of a script's variable that is not set
        parser.error(f"--role {options.role!r} is no ARN of a role, such as arn:aws:iam::000000000000:role/mwaa")
    return options


def preflight(etl: Path, options: argparse.Namespace) -> int:
    """Check the definitions, and then whether the account has what they name; give the exit status."""
    report = check.check(etl, None, None)
    if not report.problems:
        from tools.preflight import preflight as ask

        problems = ask(etl, options.environment, options.role)
        report = report._replace(problems=problems, environments=1)
    check.print_report(report, "text")
    return 1 if report.problems else 0


def region(etl: Path, environment: str) -> str:
    """Give the AWS region of an environment; raises Refused where its file is broken."""
    try:
        return str(factory.read_context(etl, environment).environment.region)
    except factory.Rejected as rejected:
        raise Refused("\n\n".join(["the environment is broken:", *map(str, rejected.args)])) from None


# --------------------------------------------------------------------------------------------------- the checkout


def sources(etl: Path, target: Target) -> Dict[str, Path]:
    """Give the files of this checkout that are deployed, by key; raises Refused where one is missing."""
    files = {file.relative_to(etl).as_posix(): file for file in [etl / "factory.py", *check.definition_files(etl)]}
    found = {target.prefix + name: file for name, file in files.items() if OURS.fullmatch(name)}
    if not target.is_sandbox:  # a sandbox leaves what all folders share alone
        found.update({key: source(etl, target, key) for key in (IGNORE, REQUIREMENTS)})
    for file in found.values():
        if not file.is_file():
            raise Refused(
                f"there is no {file.name} in this checkout, which MWAA needs; take it back from git's history"
            )
    return found


def source(etl: Path, target: Target, key: str) -> Path:
    """Give where a key's file stands in a checkout that has it."""
    shared = {IGNORE: etl.parent / ".airflowignore", REQUIREMENTS: etl.parent.parent / "requirements.txt"}
    return shared.get(key) or etl / key[len(target.prefix) :]


def chosen(path: str, etl: Path, target: Target, keys: Iterable[str]) -> str:
    """Give the one of these keys whose file a person means; "" if none is."""
    typed = check.real_path(Path(os.environ.get("ETL_FOLDER", os.curdir)) / path)
    for key in keys:
        file = source(etl, target, key)
        if typed in (check.real_path(file), Path(os.path.realpath(str(file)))):
            return key
    return ""


def refuse_problems(etl: Path, selected: Optional[Set[Path]]) -> None:
    """Refuse what ./etl check finds fault with, in all definitions or in those selected."""
    report = check.check(etl, selected, None)
    if report.problems:
        check.print_report(report, "text")
        raise Refused("nothing is deployed while there are problems")


def refuse_hiding(patterns: str) -> None:
    """Refuse an .airflowignore by which Airflow would not find our DAGs, or none of anybody's."""
    for pattern in filter(None, (re.sub(r"\s*#.*", "", line) for line in patterns.split("\n"))):
        try:
            found = re.search(pattern, "./etl") or re.search(pattern, "./etl/factory.py")
        except re.error as error:
            text = f".airflowignore: {pattern!r} is no regular expression ({error}), and with it Airflow finds no DAG"
            raise Refused(text) from None
        if found:
            raise Refused(f".airflowignore: {pattern!r} hides etl/factory.py from Airflow, and with it every DAG")


def commit_of(etl: Path, target: Target, keys: Iterable[str], whole: bool) -> str:
    """Give the commit of what is deployed; raises Refused where that is not what the commit has.

    Compared are contents, and not what git's index remembers of them: ignored files and those that a sparse checkout
    leaves out count too. ``whole``: what the commit has besides must not be missing.
    """
    root = Path(os.path.realpath(str(etl.parent.parent)))
    try:
        sha = git("rev-parse", "--verify", "HEAD", root=root).decode().strip()
    except RevisionError as error:
        raise Refused(f"a deploy tells its commit, and there is none here; deploy from a clone. {error}") from None
    listed = git("ls-tree", "-r", "-z", sha, "--", "dags", "configs", ".airflowignore", "requirements.txt", root=root)
    rows = (row.split("\t", 1) for row in os.fsdecode(listed).split("\0") if row)
    committed = {path: row.split()[2] for row, path in rows}
    wanted = {os.path.relpath(os.path.realpath(str(source(etl, target, key))), str(root)) for key in keys}
    if whole:
        wanted |= {path for path in committed if OURS.fullmatch(re.sub("^dags/etl/", "", path))}
    there = sorted(path for path in wanted if (root / path).is_file())
    hashes = git("hash-object", "--", *there, root=root).decode().split() if there else []
    now = dict(zip(there, hashes))
    changed = sorted(path for path in wanted if now.get(path) != committed.get(path))
    if changed and not target.is_sandbox:
        shown = "".join(f"\n  {path}" for path in changed)
        raise Refused(f"this is not what commit {sha[:12]} has; commit it, or deploy a sandbox with --folder:{shown}")
    return sha + DIRTY * bool(changed)


# ----------------------------------------------------------------------------------------------------- the bucket


def read(s3: Any, target: Target) -> Deployed:
    """Read all that the bucket has where we deploy to."""
    found: Dict[str, float] = {}
    with explained(f"{target} cannot be read"):
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
    contents = at_once([partial(content, s3, target, key) for key in ours], CONNECTIONS, "reading")
    return Deployed(dict(zip(ours, contents)), others, odd, found)


def content(s3: Any, target: Target, key: str) -> bytes:
    """Give the content of an object."""
    with explained(f"s3://{target.bucket}/{key} cannot be read"):
        body: bytes = s3.get_object(Bucket=target.bucket, Key=key)["Body"].read(MAX_BYTES)
        return body


def refuse_foreign(s3: Any, target: Target, deployed: Deployed) -> None:
    """Refuse a sandbox's folder that somebody else filled: a deploy would delete what is there."""
    if not target.is_sandbox or not (deployed.files or deployed.others or deployed.odd):
        return
    # All that a deploy writes says its commit; before the factory comes and after it has gone, the others tell.
    factories = [key for key in deployed.files if key == target.prefix + "factory.py"]
    for key in factories or sorted(deployed.files)[:1]:
        with explained(f"s3://{target.bucket}/{key} cannot be read"):
            if "commit" in s3.head_object(Bucket=target.bucket, Key=key)["Metadata"]:
                return
    raise Refused(
        f"{target} is not of ./etl deploy; name another --folder, or if it is yours, empty it:"
        f"\n  aws s3 rm --recursive {target}"
    )


# ---------------------------------------------------------------------------------------------------- the changes


def tree(target: Target, files: Mapping[str, bytes]) -> Dict[str, bytes]:
    """Give what a scheduler parses of it: what stands below our folder, by path."""
    below = {key[len(target.prefix) :]: content for key, content in files.items() if key.startswith(target.prefix)}
    return {path: content for path, content in below.items() if path != COMMIT}


def after_deploy(
    target: Target, deployed: Deployed, new: Mapping[str, bytes], only: str, commit: str
) -> Dict[str, bytes]:
    """Give what the bucket is to have, by key; ``only`` is the key that goes alone, or "" for all."""
    files = {key: content for key, content in deployed.files.items() if key != only} if only else {}
    files.update({key: content for key, content in new.items() if key == (only or key)})
    key = target.prefix + COMMIT
    before = deployed.files.get(key, b"").decode("ascii", "replace")
    files[key] = commit_text(before, commit, only.replace(target.prefix, ""), only in new).encode()
    return files


def commit_text(before: str, commit: str, path: str, is_there: bool) -> str:
    """Write which commit is deployed: one for all, and one for each file that was deployed alone since."""
    if not path:
        return f"{commit}\n"
    first, *others = before.splitlines() or [""]
    others = [line for line in others if not line.endswith(f" {path}")]
    own = [f"{commit} {path}"] if is_there and commit != first else []
    return "\n".join([first, *sorted(others + own)]) + "\n"


def changes(target: Target, deployed: Deployed, after: Mapping[str, bytes], only: str, pause: int) -> Change:
    """Give what to write, in a harmless order; raises Refused where there is none, or where DAGs go unseen."""
    before, new = tree(target, deployed.files), tree(target, after)
    place = Place(target.folder, target.environment)
    if any(map(is_definition, before)) and not any(map(is_definition, new)):
        raise Refused("there is no definition in dags/etl/pipelines, and all that are deployed would go")
    was, will_be = parsed(before, place), parsed(new, place)
    if was.error:
        print(f"What is deployed cannot be told from its own factory: {was.error}\n")
    known = {path for path, _ in was.problems} if only else set()
    found = [text for path, text in will_be.problems if path not in known] + [will_be.error] * bool(will_be.error)
    if found:
        raise Refused("\n\n".join([f"{target} would have problems:", *found]))
    print_plan(target, before, new)
    others = [] if only else deployed.others
    # An interrupted deploy tells of the requirements, and does not call itself this commit, until it is finished.
    order = upload_order(before, new, place)
    steps = [[target.prefix + path for path in step] for step in order.steps]
    all_steps = [[IGNORE], *steps, others, [REQUIREMENTS], [target.prefix + COMMIT]]
    differs = {*others, *(key for key in {*deployed.files, *after} if deployed.files.get(key) != after.get(key))}
    waits = {step[0]: pause for step in steps[1:]} if order.matters else {}
    first = pause - age_of_the_rest(target, deployed, [key for step in steps for key in step])
    if first > 0 and "factory.py" in before:  # without it, nothing is parsed
        waits[steps[0][0]] = math.ceil(first)
    writes = [{key: after.get(key) for key in step if key in differs} for step in all_steps]
    return Change([step for step in writes if step], waits)


def age_of_the_rest(target: Target, deployed: Deployed, keys: Sequence[str]) -> float:
    """Give how many seconds ago anything was written that these keys may need: what is of another stage.

    MWAA may not have copied it, as when a deploy was interrupted between two steps and is run again at once.
    """
    stages = {stage(target, key) for key in keys}
    there = {key: stage(target, key) for key in deployed.files if key.startswith(target.prefix)}
    ages = [deployed.ages[key] for key, of in there.items() if of != COMMIT and stages - {of}]
    return min(ages, default=math.inf)


def stage(target: Target, key: str) -> str:
    """Give what a key begins with below our folder: factory.py, configs, pipelines or commit.txt."""
    return key[len(target.prefix) :].split("/")[0]


def is_definition(path: str) -> bool:
    """Whether a path below our folder is a pipeline's."""
    return path.startswith("pipelines/")


def print_plan(target: Target, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> None:
    """Print what happens to the DAGs of the environment; raises Refused where one would go that nobody removes.

    ./etl plan reads both sides with today's factory. A DAG that only the deployed one reads goes too.
    """
    with written(before, target.folder) as old, written(after, target.folder) as new:
        comparison = plan.compare(str(target), old, new)
    dags = comparison.environments.get(target.environment, [])
    place = Place(target.folder, target.environment)
    there, stays = parsed(before, place).dags, parsed(after, place).dags
    unseen = {dag_id: there[dag_id] for dag_id in sorted({*there} - {*stays, *(dag.dag_id for dag in dags)})}
    files = {dag_id: path.split("/", 2)[-1] for dag_id, path in unseen.items()}  # below our folder
    kept = [dag_id for dag_id, file in files.items() if before.get(file) == after.get(file)]
    dags += [plan.DagChange(dag_id, path, "removed", [], [], []) for dag_id, path in unseen.items()]
    plan.print_text(comparison._replace(environments={target.environment: dags}, problems=[]))
    if kept:
        raise Refused(
            f"the new factory.py would no longer give {', '.join(kept)}, though the definition stays as it is"
        )


def print_change(change: Change) -> None:
    """Print what is to be written, in its order."""
    print()
    for key, content in change.writes.items():
        if key in change.waits:
            print(f"  wait {change.waits[key]} s for MWAA to copy what is there, before")
        print(f"  delete  {shown(key)}" if content is None else f"  upload  {key}  {len(content):,} bytes")


def shown(key: str) -> str:
    """Write a key that anybody may have made up on one line."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in key)


# -------------------------------------------------------------------------------------------------------- writing


def deploy(s3: Any, target: Target, etl: Path, options: argparse.Namespace) -> int:
    """Make what the bucket has what this checkout has; give the exit status."""
    files = sources(etl, target)
    only = "" if options.only is None else chosen(options.only, etl, target, files)
    # A definition that goes alone answers for itself; so does the deletion of one.
    alone = {files[only]} if only else set()
    refuse_problems(etl, alone if options.only is not None and alone <= set(check.definition_files(etl)) else None)
    deployed = read(s3, target)
    refuse_foreign(s3, target, deployed)
    if options.only is not None and not only:
        below = [target.prefix + path for path in tree(target, deployed.files)]
        only = chosen(options.only, etl, target, below)
        if not only:
            raise check.UsageError(f"{options.only} is neither a file that is deployed nor one that is at {target}")
    new = {key: file.read_bytes() for key, file in files.items() if key == (only or key)}
    refuse_hiding(new.get(IGNORE, b"").decode(errors="replace"))
    commit = commit_of(etl, target, [only] if only else new, whole=not only)
    after = after_deploy(target, deployed, new, only, commit)
    change = changes(target, deployed, after, only, options.pause)
    for key in deployed.odd:
        print(f"left alone, since it is no path: {shown(key)}")
    if not change.writes:
        print(f"\nnothing to deploy: {target} is as commit {commit} has it")
        return 0
    print_change(change)
    warn_of_requirements(deployed, change)
    if options.dry_run:
        print("\nnothing was written: this is a dry run")
        return 0
    if not (options.yes or confirmed(f"\nDeploy commit {commit[:12]}{commit[40:]} to {target}?")):
        print("nothing was written")
        return 1
    version = write(s3, target, change, commit)
    try:
        verify(s3, target, after, whole=not only)
        deleted = list(change.writes.values()).count(None)
        print(f"\nuploaded {len(change.writes) - deleted}, deleted {deleted}; read back, {target} is what was meant.")
        is_at = "is gone, as in" if only and only not in after else "is at"
        print(f"{options.only or 'It'} {is_at} commit {commit}.")
        print("MWAA copies it within about 30 s; do not trigger a DAG for a minute.")
    finally:  # when it is run again, the file is no change any more
        if REQUIREMENTS in change.writes:
            print(requirements_note(version))
    return 0


def confirmed(question: str) -> bool:
    """Ask the person at the terminal; where there is none, the command line has said it all."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return True
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def write(s3: Any, target: Target, change: Change, commit: str) -> str:
    """Write or delete step after step; give the version that requirements.txt has now, "" if none."""

    def put(key: str, content: Optional[bytes]) -> str:
        where = {"Bucket": target.bucket, "Key": key}
        with explained(f"s3://{target.bucket}/{shown(key)} cannot be written; once that is mended, run it again"):
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
        versions.update(zip(step, at_once(calls, CONNECTIONS, "writing")))
    version = versions.get(REQUIREMENTS, "")
    return "" if version == "null" else version  # of a bucket whose versioning is suspended


def verify(s3: Any, target: Target, after: Mapping[str, bytes], whole: bool) -> None:
    """Read everything back; raises Refused where it is not byte for byte what was meant."""
    now = read(s3, target)
    differs = [key for key in sorted({*after, *now.files}) if after.get(key) != now.files.get(key)]
    differs += now.others if whole else []
    if differs:
        listed = "".join(f"\n  {shown(key)}" for key in differs)
        raise Refused(f"somebody else has written there meanwhile; find out who, then run it again. Different:{listed}")


def warn_of_requirements(deployed: Deployed, change: Change) -> None:
    """Warn of a factory that comes before the packages that it may need."""
    together = [key for key in change.writes if key == REQUIREMENTS or key.endswith("/factory.py")]
    if REQUIREMENTS in together and len(together) == 2 and all(key in deployed.files for key in together):
        print(
            "\nIf factory.py needs what requirements.txt brings: deploy --only requirements.txt, let MWAA install it,"
        )
        print("and deploy the rest then. A factory that cannot import takes every DAG away.")


def requirements_note(version: str) -> str:
    """Tell how MWAA comes to use the requirements.txt that was uploaded."""
    if not version:
        return (
            "\nrequirements.txt changed, but the bucket is not versioned, which MWAA requires:"
            "\n  aws s3api put-bucket-versioning --versioning-configuration Status=Enabled --bucket <bucket>"
        )
    return (
        "\nrequirements.txt changed. MWAA installs it, and restarts for some 20 minutes, when it is told to:"
        "\n  aws mwaa update-environment --name <your MWAA environment>"
        f" --requirements-s3-path {REQUIREMENTS} --requirements-s3-object-version {version}"
    )


# ------------------------------------------------------------------------------------------------------- removing


def remove(s3: Any, target: Target, options: argparse.Namespace) -> int:
    """Take a sandbox away; give the exit status."""
    deployed = read(s3, target)
    refuse_foreign(s3, target, deployed)
    for key in deployed.odd:
        print(f"left alone, since it is no path: {shown(key)}")
    keys = [*deployed.files, *deployed.others]
    if not keys:
        print(f"there is nothing at {target}")
        return 0
    before = tree(target, deployed.files)
    dags = list(parsed(before, Place(target.folder, target.environment)).dags)
    print("\n".join([f"{target}: {check.count(len(keys), 'object')}, {check.count(len(dags), 'DAG')}", *dags]))
    if options.dry_run:
        print("\nnothing was removed: this is a dry run")
        return 0
    if not (options.yes or confirmed("\nRemove it all?")):
        print("nothing was removed")
        return 1
    # Without its environment, a factory tells of a problem: it goes before that.
    stages = ("pipelines", "factory.py", "configs", COMMIT)
    ours = [[key for key in deployed.files if stage(target, key) == name] for name in stages]
    write(s3, target, Change([dict.fromkeys(step) for step in [deployed.others, *ours]], {}), "")
    left = read(s3, target)
    if left.files or left.others:
        raise Refused(f"somebody else has written to {target} meanwhile; run it again")
    print(f"\nremoved {check.count(len(keys), 'object')}. Airflow lists its DAGs as inactive; delete them there.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
