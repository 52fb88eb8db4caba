"""The RunTask request that each task of a DAG makes, and what botocore's own model of the API says of it."""

from functools import lru_cache
from typing import Any, Dict, Iterable, Iterator, List, Optional, Set, Tuple

from tools.checkout import factory


def run_task_request(definition: factory.Definition, task_id: str, run_id: str = "") -> Dict[str, Any]:
    """Return the parameters of ``ecs.run_task`` for a task's first attempt, with its templates as they are written.

    It is what ``EcsOperator._start_task`` of the amazon provider sends for the arguments that the factory gives the
    operator; a test holds the two together.
    """
    operator = definition.plan.tasks[task_id].operator
    owner = definition.settings.owner or factory.SETTING_DEFAULTS["owner"]
    request: Dict[str, Any] = {
        "cluster": operator["cluster"],
        "taskDefinition": operator["task_definition"],
        "overrides": operator["overrides"],
        "startedBy": factory.started_by(owner, definition.dag_id, task_id, run_id, "1.1"),
    }
    if operator.get("capacity_provider_strategy"):
        request["capacityProviderStrategy"] = operator["capacity_provider_strategy"]
    elif operator["launch_type"]:
        request["launchType"] = operator["launch_type"]
    if operator["platform_version"] is not None:
        request["platformVersion"] = operator["platform_version"]
    if "network_configuration" in operator:
        request["networkConfiguration"] = operator["network_configuration"]
    if operator["tags"] is not None:
        request["tags"] = [{"key": key, "value": value} for key, value in operator["tags"].items()]
    return request


@lru_cache(maxsize=1)
def run_task_shape() -> Any:
    """Return botocore's model of a RunTask request: its own file, as a botocore session would take twice as long."""
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    return ServiceModel(Loader().load_service_model("ecs", "service-2")).operation_model("RunTask").input_shape


def request_errors(request: Dict[str, Any]) -> List[str]:
    """Return what botocore would refuse in a RunTask request: unknown members and wrong types, in its own words."""
    from botocore.validate import ParamValidator

    report = ParamValidator().validate(request, run_task_shape())
    return str(report.generate_report()).splitlines() if report.has_errors() else []


def check_requests(definitions: Iterable[factory.Definition]) -> Iterator[factory.Problem]:
    """Yield a problem for each task whose request botocore would refuse; what providers share is asked once."""
    asked: Set[Tuple[int, Optional[str]]] = set()
    for definition in definitions:
        for task_id, planned in definition.plan.tasks.items():
            key = id(planned), definition.settings.owner
            if key not in asked:
                asked.add(key)
                for error in request_errors(run_task_request(definition, task_id)):
                    message, hint = f"not a RunTask request: {error}", "ECS would refuse to run the task"
                    yield factory.problem_in(planned.layers, (), message, hint, "ecs")
