"""A client of the endpoint that controls the emulated AWS; see ``tools.local.faults``."""

import json
import urllib.error
import urllib.request
from typing import Any, Dict, List

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class AgentRefuses(Exception):
    """The agent refused a setting; the text says why."""


class Agent:
    """The agent of the emulated AWS at ``address``."""

    def __init__(self, address: str) -> None:
        self.url = f"{address}/_agent"

    def set(self, **what: Any) -> None:
        """Set outcomes, seconds, away or denied; raises AgentRefuses."""
        try:
            DIRECT.open(urllib.request.Request(self.url, json.dumps(what).encode()), timeout=10).close()
        except urllib.error.HTTPError as error:
            raise AgentRefuses(error.read().decode()) from error

    def tasks(self, family: str) -> List[Dict[str, Any]]:
        """Return all ECS tasks of a family that were ever started."""
        with DIRECT.open(self.url, timeout=10) as response:
            return [task for task in json.load(response) if task["family"] == family]
