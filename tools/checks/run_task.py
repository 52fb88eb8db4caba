"""What botocore's own model of the API says of the RunTask request of each task."""

from functools import lru_cache
from typing import Any, Dict, Iterable, Iterator, List, Optional, Set, Tuple

from orchestrator import Definition, Problem, run_task_request


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


def check_requests(definitions: Iterable[Definition]) -> Iterator[Problem]:
    """Yield a problem for each task whose request botocore would refuse; what providers share is asked once."""
    asked: Set[Tuple[int, Optional[str]]] = set()
    for definition in definitions:
        for task_id, planned in definition.plan.tasks.items():
            key = id(planned), definition.settings.owner
            if key not in asked:
                asked.add(key)
                for error in request_errors(run_task_request(definition, task_id)):
                    message, hint = f"not a RunTask request: {error}", "ECS would refuse to run the task"
                    yield planned.layers.problem((), message, hint, "ecs")
