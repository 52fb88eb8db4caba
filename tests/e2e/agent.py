"""A client of the endpoint that controls the emulated AWS; see ``tools.local.faults``."""

import json
import urllib.error
import urllib.request
from typing import Any, Dict, List, Union

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class AgentRefuses(Exception):
    """The agent refused a setting; the text says why."""


class Agent:
    """The agent of the emulated AWS at ``address``."""

    def __init__(self, address: str) -> None:
        self.url = f"{address}/_agent"

    def set(self, **what: Any) -> None:
        """Change settings, such as seconds, ends or faults; raises AgentRefuses."""
        try:
            DIRECT.open(urllib.request.Request(self.url, json.dumps(what).encode()), timeout=60).close()
        except urllib.error.HTTPError as error:
            raise AgentRefuses(error.read().decode()) from error

    def add_fault(self, operation: str, kind: Union[int, str], **more: Any) -> None:
        """Add a fault; ``more`` is its family, after, times and seconds."""
        self.set(faults=[{"operation": operation, "kind": kind, **more}])

    def clear_faults(self) -> None:
        """Remove all faults."""
        self.set(faults=None)

    def tasks(self, family: str) -> List[Dict[str, Any]]:
        """Return all ECS tasks of a family that were ever started."""
        return [task for task in self.all_tasks() if task["family"] == family]

    def all_tasks(self) -> List[Dict[str, Any]]:
        """Return all ECS tasks that were ever started."""
        tasks: List[Dict[str, Any]] = self._get(self.url)
        return tasks

    def requests(self, operation: str) -> List[Dict[str, Any]]:
        """Return the last requests for an operation."""
        return [request for request in self._get(f"{self.url}/requests") if request["operation"] == operation]

    def _get(self, url: str) -> Any:
        with DIRECT.open(url, timeout=60) as response:
            return json.load(response)
