"""./etl deploy ENV: copy the definitions and the factory of this checkout to where an environment's MWAA reads them."""

import argparse
import re
import sys
from pathlib import Path
from typing import Callable, List, Optional

from tools.terminal import help_texts, print_status

SUMMARY = "make a release of this checkout count in an environment's MWAA, or one from before"
EXAMPLES = {
    "./etl deploy staging --dry-run": "what would change, of the DAGs and in the bucket",
    "./etl deploy staging": "everything",
    "./etl deploy staging --only dags/etl/pipelines/cwr/big.yaml": "one file",
    "./etl deploy development --sandbox test_merge": "a sandbox beside the real folder; none of its DAGs is scheduled",
    "./etl deploy staging --rollback": "back to the release before; --to RELEASE for another of ./etl releases",
    "./etl deploy development --sandbox test_merge --remove": "the end of a sandbox",
    "./etl deploy staging --preflight": "whether the account has what the definitions name",
}
NOTES = """\
The files go to s3://vm-data-provisioning-ENV/airflow/dags/FOLDER/, with the credentials that the AWS CLI would take;
FOLDER is etl, or the name of the sandbox. What counts changes all at once, at the end; running an interrupted deploy
again finishes it.

exit status: 0, also if there is nothing to do; 1 if it is refused or fails; 2 wrong use"""
NO_SANDBOX = "etl|configs|orchestrator|pipelines|releases"
SANDBOX = re.compile(rf"(?!(?:{NO_SANDBOX})$)[A-Za-z0-9][A-Za-z0-9_-]{{0,63}}")
ROLE = re.compile(r"arn:[a-z-]+:iam::[0-9]{12}:role/.+")


def new_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    description = "Write a release of this checkout to where the MWAA of an environment reads it, and make it count."
    parser = argparse.ArgumentParser(prog="./etl deploy", **help_texts(description, EXAMPLES, NOTES))
    parser.add_argument("environment", metavar="ENV", help="one that has a file in configs/")
    parser.add_argument("--sandbox", metavar="NAME", help="a folder of its own beside the real one, etl")
    parser.add_argument("--only", metavar="PATH", help="deploy this file alone, or its deletion")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and write nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask (without a terminal, nobody is asked)")
    parser.add_argument("--rollback", action="store_true", help="make the release before count again")
    parser.add_argument("--to", metavar="RELEASE", help="make this release count, which the bucket has")
    parser.add_argument("--remove", action="store_true", help="remove a sandbox")
    parser.add_argument("--preflight", action="store_true", help="ask AWS whether it has what the definitions name")
    parser.add_argument(
        "--role", metavar="ARN", help="with --preflight: MWAA's execution role, whose permissions are checked"
    )
    return parser


def parse(arguments: List[str]) -> argparse.Namespace:
    """Return the parsed command line; exit with status 2 if it makes no sense."""
    parser = new_parser()
    options = parser.parse_args(arguments)
    for name in ("only", "to"):  # a variable of a script that is not set must not deploy everything
        if getattr(options, name) == "":
            parser.error(f"--{name} '' names nothing")
    check_sandbox(parser, options.sandbox)
    if options.remove and (options.sandbox is None or options.only is not None):
        parser.error("--remove takes a whole sandbox; name one, such as: --sandbox test_merge --remove")
    back = options.rollback or options.to is not None
    if back and (options.remove or options.only is not None):
        parser.error("--rollback and --to take a whole release, without --only and --remove")
    others = (options.remove, options.only is not None, options.dry_run, options.sandbox is not None, back)
    if options.preflight and any(others):
        parser.error("--preflight only asks; of the other options it takes --role")
    if options.role is not None and not options.preflight:
        parser.error("--role goes with --preflight")
    if options.role is not None and not ROLE.fullmatch(options.role):  # "" too, of a script's variable that is not set
        parser.error(f"--role {options.role!r} is no ARN of a role, such as arn:aws:iam::000000000000:role/mwaa")
    return options


def check_sandbox(parser: argparse.ArgumentParser, name: Optional[str]) -> None:
    """Exit with status 2 if this is no name for a sandbox."""
    if name is not None and not SANDBOX.fullmatch(name):
        parser.error(f"--sandbox {name!r} is no name for a sandbox; one is test_merge (letters, digits, _, -)")


def main(arguments: List[str]) -> int:
    """Deploy; return the exit status."""
    options = parse(arguments)
    return run(options, new_parser(), check_account if options.preflight else change)


def run(
    options: argparse.Namespace,
    parser: argparse.ArgumentParser,
    act: Callable[[Path, argparse.Namespace], int],
) -> int:
    """Do something with what an environment has; report what is in the way, and return the exit status."""
    from tools import checkout
    from tools.checks.definitions import UsageError
    from tools.deploying.bucket import Refused
    from tools.deploying.cloud import CloudError

    etl = checkout.ETL
    names = checkout.environments(etl)
    if options.environment not in names:
        from orchestrator import did_you_mean

        parser.error(f"there is no configs/{options.environment}.yaml; {did_you_mean(options.environment, names)}")
    program = parser.prog[2:]
    try:
        return act(etl, options)
    except UsageError as error:
        print_status(str(error), program)
        return 2
    except (Refused, CloudError, checkout.RevisionError) as error:
        print_status(str(error), program)
        return 1
    except KeyboardInterrupt:
        print_status("interrupted; what is there does no harm, and running it again finishes", program)
        return 130


def change(etl: Path, options: argparse.Namespace) -> int:
    """Deploy, go back or remove; return the exit status."""
    from tools.deploying.deploy import deploy, remove
    from tools.deploying.rollback import roll_back
    from tools.deploying.sources import open_folder

    folder = open_folder(etl, options)
    if options.remove:
        return remove(folder, options)
    return (roll_back if options.rollback or options.to is not None else deploy)(folder, etl, options)


def check_account(etl: Path, options: argparse.Namespace) -> int:
    """Check the definitions, and then whether the account has what they name; return the exit status."""
    from tools.checks.definitions import check_definitions
    from tools.deploying.preflight import preflight
    from tools.views.problems import print_report

    report = check_definitions(etl)
    if not report.problems:
        problems = preflight(etl, options.environment, options.role)
        report = report._replace(problems=problems, environments=1)
    print_report(report, "text")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
