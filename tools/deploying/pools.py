"""Asking the Airflow of an MWAA environment whether it has the pools that the definitions name.

A task whose pool does not exist is never scheduled, and only a line of the scheduler's log says so. Pools are in
Airflow's database, which AWS's own calls do not reach: MWAA runs ``airflow pools list`` in its web server.
"""

import base64
import json
import os
import re
from typing import Any, Dict, Iterable, Iterator, List, Optional
from urllib.error import URLError
from urllib.request import Request, urlopen

from botocore.exceptions import ClientError
from orchestrator import Problem, did_you_mean

from tools.deploying import cloud
from tools.deploying.lookup import REFUSED, code_of
from tools.deploying.named import Place, Use

PERMISSION = "airflow:CreateCliToken"  # what IAM calls it
PATIENCE = 60  # seconds; the web server starts an Airflow for the command


def check_pools(uses: Iterable[Use], region: str, mwaa: str) -> Iterator[Problem]:
    """Report the pools that the tasks name and Airflow does not have.

    Args:
        uses: What the tasks name.
        region: That of the environment.
        mwaa: The name of the MWAA environment.

    Raises:
        CloudError: Airflow cannot be asked.
    """
    places: Dict[str, List[Place]] = {}
    for use in uses:
        if use.planned.task.pool is not None:
            places.setdefault(use.planned.task.pool, []).append(Place(use.planned.layers, ("pool",)))
    existing = existing_pools(region, mwaa) if places else []
    for pool, of_pool in places.items():
        for place in {place.location: place for place in of_pool}.values():
            if existing is None:
                yield place.problem(f"the pool '{pool}' cannot be looked at: these credentials need {PERMISSION}")
            elif pool not in existing:
                hint = did_you_mean(pool, existing)
                yield place.problem(f"there is no pool '{pool}' in {mwaa}", f"tasks of it never run; {hint}")


def existing_pools(region: str, mwaa: str) -> Optional[List[str]]:
    """Return the names of Airflow's pools; None where the credentials may not ask. Raise CloudError."""
    what = f"asking the Airflow of {mwaa} for its pools"
    with cloud.explain_errors(what):
        try:
            token = cloud.client("mwaa", region).create_cli_token(Name=mwaa)
        except ClientError as error:
            if REFUSED.search(code_of(error)):
                return None
            raise
    # https://docs.aws.amazon.com/mwaa/latest/userguide/call-mwaa-apis-cli.html; an emulated AWS has no certificate.
    scheme = os.environ.get("AWS_ENDPOINT_URL", "https:").partition(":")[0]
    headers = {"Authorization": f"Bearer {token['CliToken']}", "Content-Type": "text/plain"}
    request = Request(f"{scheme}://{token['WebServerHostname']}/aws_mwaa/cli", b"pools list --output json", headers)
    try:
        with urlopen(request, timeout=PATIENCE) as response:
            answer = json.loads(response.read().decode())
            printed = base64.b64decode(answer["stdout"]).decode()
    except (URLError, OSError, ValueError, KeyError) as error:
        hint = "a private web server can be asked only in its VPC"
        raise cloud.CloudError(f"{what}: {cloud.describe(error)}; {hint}") from error
    # The lines before may be of Airflow's log.
    tables: List[Any] = re.findall(r"^\[\{.*\}\]\s*$", printed, re.MULTILINE)
    if not tables:
        raise cloud.CloudError(f"{what}: it answers {printed[:200]!r}")
    return [row["pool"] for row in json.loads(tables[-1])]
