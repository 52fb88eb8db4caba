"""Print what the definitions of an environment name in AWS, as JSON.

    python -m tools.local.inventory development dags/etl

The emulated AWS is seeded with it. Keys: region; clusters, log_groups, buckets and topics are lists of names;
task_definitions maps what a task says (family, family:revision or ARN)
to its containers, log group and log prefix. Definitions with problems are left out; Airflow's web page reports them.
"""

import json
import sys
from pathlib import Path
from typing import Any, Dict, List

from orchestrator import Rejected, load, read_context

from tools.views.rendering import fill_in


def inventory(environment: str, etl: Path) -> Dict[str, Any]:
    """Return the names; raise SystemExit with the problems where there is no such environment."""
    try:
        context = read_context(etl, environment)
    except Rejected as rejected:
        raise SystemExit("\n".join(map(str, rejected.args))) from None
    names: Dict[str, Any] = {
        "region": context.environment.region,
        "task_definitions": {},
        "buckets": [str(value) for name, value in context.environment.variables.items() if "bucket" in name],
        "topics": [alerts.sns_topic_arn for alerts in context.environment.alerts.values()],
    }
    clusters: List[str] = []
    log_groups: List[str] = []
    definitions = load(etl, environment).definitions
    tasks = [(definition, planned) for definition in definitions for planned in definition.plan.tasks.values()]
    texts = [(each, [task.operator["cluster"], task.operator["task_definition"]], task.item) for each, task in tasks]
    for operator, (cluster, name) in zip((task.operator for _, task in tasks), fill_in(texts)):
        clusters.append(cluster)
        container = operator["overrides"]["containerOverrides"][0]["name"]
        seeded = names["task_definitions"].setdefault(name, {"containers": []})
        if container not in seeded["containers"]:
            seeded["containers"].append(container)
        if "awslogs_group" in operator:
            log_groups.append(operator["awslogs_group"])
            seeded["log_group"] = operator["awslogs_group"]
            seeded["log_prefix"] = operator["awslogs_stream_prefix"].rpartition("/")[0]
    return {**names, "clusters": sorted(set(clusters)), "log_groups": sorted(set(log_groups))}


if __name__ == "__main__":
    print(json.dumps(inventory(sys.argv[1], Path(sys.argv[2])), indent=2))
