"""./etl deploy ENV: deploy this checkout to an environment's MWAA, or go back to an earlier release."""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping

from tools.terminal import help_texts, print_status, run_command

SUMMARY = "deploy this checkout to an environment's MWAA, or go back to an earlier release"
EXAMPLES = {
    "./etl deploy staging --dry-run": "what would change, of the DAGs and in the bucket",
    "./etl deploy staging": "everything",
    "./etl deploy staging --only dags/etl/pipelines/cwr/big.yaml": "one file",
    "./etl deploy development --sandbox test_merge": "a sandbox beside the real folder; none of its DAGs is scheduled",
    "./etl deploy staging --rollback": "back to the previous release; --to RELEASE for another one of ./etl releases",
    "./etl deploy development --sandbox test_merge --remove": "the end of a sandbox",
    "./etl deploy staging --preflight": "whether the account has what the definitions name",
}
NOTES = """\
The files go to s3://vm-data-provisioning-ENV/airflow/dags/FOLDER/, with the credentials that the AWS CLI would take;
FOLDER is etl, or the name of the sandbox. The new release takes effect all at once, at the end. Run an interrupted
deploy again to finish it.

exit status: 0, also if there is nothing to do; 1 if it is refused or fails; 2 wrong use"""
SANDBOX = r"(?!(etl|configs|orchestrator|pipelines|releases)$)[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
MWAA = r"[A-Za-z][A-Za-z0-9_-]{0,79}"
ROLE = r"arn:[a-z-]+:iam::[0-9]{12}:role/.+"


def matching(pattern: str, what: str) -> Callable[[str], str]:
    """Return a type for argparse that accepts texts of a pattern; "" may be a variable of a script that is not set."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"{text!r} is no {what}")
        return text

    return check


def new_parser(name: str, description: str, examples: Mapping[str, str], notes: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments that choose a folder: the environment and the sandbox."""
    parser = argparse.ArgumentParser(prog=f"./etl {name}", **help_texts(description, examples, notes))
    parser.add_argument("environment", metavar="ENV", help="one that has a file in configs/")
    sandbox = matching(SANDBOX, "name for a sandbox; one is test_merge (letters, digits, _, -)")
    parser.add_argument("--sandbox", metavar="NAME", type=sandbox, help="a folder of its own beside the real one, etl")
    return parser


def parse(arguments: List[str]) -> argparse.Namespace:
    """Return the parsed command line; exit with status 2 if it makes no sense."""
    description = "Write a release of this checkout to where the MWAA of an environment reads it, and activate it."
    parser = new_parser("deploy", description, EXAMPLES, NOTES)
    add = parser.add_argument
    flag: Dict[str, Any] = {"action": "store_true"}
    add("--only", metavar="PATH", type=matching(".+", "file"), help="deploy this file alone, or its deletion")
    add("--dry-run", **flag, help="show what would be done, and write nothing")
    add("--yes", **flag, help="do not ask (without a terminal, nobody is asked)")
    add("--rollback", **flag, help="go back to the previous release")
    add("--to", metavar="RELEASE", type=matching(".+", "release"), help="go back to this release of the bucket")
    add("--remove", **flag, help="remove a sandbox")
    add("--preflight", **flag, help="ask AWS whether it has what the definitions name")
    role = matching(ROLE, "ARN of a role, such as arn:aws:iam::000000000000:role/mwaa")
    add("--role", metavar="ARN", type=role, help="with --preflight: MWAA's execution role, to see what it may do")
    mwaa = matching(MWAA, "name of an MWAA environment")
    add("--mwaa", metavar="NAME", type=mwaa, help="with --preflight: the MWAA environment, to see its Airflow's pools")
    options = parser.parse_args(arguments)
    options.rollback |= options.to is not None
    if options.remove and (options.sandbox is None or options.only is not None):
        parser.error("--remove takes a whole sandbox; name one, such as: --sandbox test_merge --remove")
    if options.rollback and (options.remove or options.only is not None):
        parser.error("--rollback and --to take a whole release, without --only and --remove")
    others = (options.remove, options.only, options.dry_run, options.sandbox, options.rollback)
    if options.preflight and any(others):
        parser.error("--preflight only asks; of the other options it takes --role and --mwaa")
    if options.role is not None and not options.preflight:
        parser.error("--role goes with --preflight")
    if options.mwaa is not None and not options.preflight:
        parser.error("--mwaa goes with --preflight")
    return options


def main(arguments: List[str]) -> int:
    """Deploy; return the exit status."""
    options = parse(arguments)
    return run("deploy", check_account if options.preflight else change, options)


def run(name: str, act: Callable[[Path, argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a command for an environment, report what refuses it, and return the exit status."""
    from tools import checkout
    from tools.checks.definitions import UsageError
    from tools.deploying.bucket import Refused
    from tools.deploying.cloud import CloudError

    try:
        missing = checkout.no_environment(checkout.ETL)
        if missing:
            raise Refused("\n".join(map(str, missing)))
        names = checkout.environments(checkout.ETL)
        if options.environment not in names:
            from orchestrator import did_you_mean

            hint = did_you_mean(options.environment, names)
            raise UsageError(f"there is no configs/{options.environment}.yaml; {hint}")
        return act(checkout.ETL, options)
    except (UsageError, Refused, CloudError, checkout.RevisionError) as error:
        print_status(str(error), f"etl {name}")
        return 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:  # `| head`; the signal would also end it for a broken connection to AWS
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print_status("interrupted; what was written does no harm; run it again to finish", f"etl {name}")
        return 130


def change(etl: Path, options: argparse.Namespace) -> int:
    """Deploy, go back or remove; return the exit status."""
    from tools.deploying.deploy import deploy, remove, roll_back
    from tools.deploying.sources import open_folder

    folder = open_folder(etl, options)
    act = roll_back if options.rollback else remove if options.remove else deploy
    return act(folder, etl, options)


def check_account(etl: Path, options: argparse.Namespace) -> int:
    """Check the definitions, and then whether the account has what they name; return the exit status."""
    from tools.checks.definitions import check_definitions
    from tools.deploying.preflight import preflight
    from tools.views.problems import print_report

    report = check_definitions(etl)
    if not report.problems:
        problems = preflight(etl, options.environment, options.role, options.mwaa)
        report = report._replace(problems=problems, environments=1)
    print_report(report, "text")
    return 1 if report.problems else 0


if __name__ == "__main__":
    run_command(main)
