"""./etl deploy ENV: copy the definitions and the factory of this checkout to where an environment's MWAA reads them."""

import argparse
import re
import sys
from pathlib import Path
from typing import List

from tools.terminal import help_texts, print_status

SUMMARY = "copy definitions and factory to where an environment's MWAA reads them"
EXAMPLES = {
    "./etl deploy staging --dry-run": "what would change, of the DAGs and in the bucket",
    "./etl deploy staging": "everything",
    "./etl deploy staging --only dags/etl/pipelines/cwr/big.yaml": "one file",
    "./etl deploy development --sandbox test_merge": "a sandbox beside the real folder; none of its DAGs is scheduled",
    "./etl deploy development --sandbox test_merge --remove": "the end of a sandbox",
    "./etl deploy staging --preflight": "whether the account has what the definitions name",
}
NOTES = """\
The files go to s3://vm-data-provisioning-ENV/airflow/dags/FOLDER/, with the credentials that the AWS CLI would take;
FOLDER is etl, or the name of the sandbox. An interrupted deploy does no harm; running it again finishes it.

exit status: 0, also if there is nothing to do; 1 if it is refused or fails; 2 wrong use"""
HIDDEN = "configs|orchestrator|pipelines"  # by .airflowignore
SANDBOX = re.compile(rf"(?!(?:{HIDDEN})$)[A-Za-z0-9][A-Za-z0-9_-]{{0,63}}")
ROLE = re.compile(r"arn:[a-z-]+:iam::[0-9]{12}:role/.+")


def new_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    description = "Copy the definitions and the factory to where the MWAA of an environment reads them."
    parser = argparse.ArgumentParser(prog="./etl deploy", **help_texts(description, EXAMPLES, NOTES))
    parser.add_argument("environment", metavar="ENV", help="one that has a file in configs/")
    parser.add_argument("--sandbox", metavar="NAME", help="a folder of its own beside the real one, etl")
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
    if options.only == "":  # a variable of a script that is not set must not deploy everything
        parser.error("--only '' names no file")
    if options.pause < 0:
        parser.error("--pause takes no negative number")
    if options.sandbox is not None and (not SANDBOX.fullmatch(options.sandbox) or options.sandbox == "etl"):
        parser.error(
            f"--sandbox {options.sandbox!r} is no name for a sandbox; one is test_merge (letters, digits, _, -)"
        )
    if options.remove and (options.sandbox is None or options.only is not None):
        parser.error("--remove takes a whole sandbox; name one, such as: --sandbox test_merge --remove")
    others = (options.remove, options.only is not None, options.dry_run, options.sandbox is not None)
    if options.preflight and any(others):
        parser.error("--preflight only asks; of the other options it takes --role")
    if options.role is not None and not options.preflight:
        parser.error("--role goes with --preflight")
    if options.role is not None and not ROLE.fullmatch(options.role):  # "" too, of a script's variable that is not set
        parser.error(f"--role {options.role!r} is no ARN of a role, such as arn:aws:iam::000000000000:role/mwaa")
    return options


def main(arguments: List[str]) -> int:
    """Deploy; return the exit status."""
    options = parse(arguments)
    from tools import checkout
    from tools.checks.definitions import UsageError
    from tools.deploying.bucket import Target
    from tools.deploying.cloud import CloudError, client
    from tools.deploying.deploy import deploy, remove
    from tools.deploying.sources import region
    from tools.deploying.upload_order import Refused

    etl = checkout.ETL
    names = checkout.environments(etl)
    if options.environment not in names:
        from orchestrator import did_you_mean

        hint = did_you_mean(options.environment, names)
        new_parser().error(f"there is no configs/{options.environment}.yaml; {hint}")
    try:
        if options.preflight:
            return check_account(etl, options)
        target = Target(options.environment, options.sandbox or "etl", region(etl, options.environment))
        s3 = client("s3", target.region)
        return remove(s3, target, options) if options.remove else deploy(s3, target, etl, options)
    except UsageError as error:
        print_status(str(error), "etl deploy")
        return 2
    except (Refused, CloudError, checkout.RevisionError) as error:
        print_status(str(error), "etl deploy")
        return 1
    except KeyboardInterrupt:
        print_status("interrupted; what is there does no harm, and running it again finishes", "etl deploy")
        return 130


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
