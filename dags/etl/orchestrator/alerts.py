"""Alerts: what is published to SNS when a task fails, a run times out or an SLA is missed."""

import logging
import time
from functools import partialmethod
from typing import Any, Callable, Mapping

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from botocore.config import Config
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.exceptions import HTTPClientError

from .generations import is_over, number_of_try
from .models import Environment

# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
MAX_SUBJECT = 99  # characters
PUBLISHING = 10.0  # seconds that all alerts of a process take: Airflow ends a pass, which is that of all DAGs, after 50
MAX_MISSES = 50  # of SLAs, in an alert
MAX_FIELD = 10_000  # characters; a reason holds lines of a container, and a message takes 256 KiB


class Publisher:
    """Publishes alerts to an environment's topics, for as long as the DAGs of a parse live."""

    def __init__(self, environment: Environment) -> None:
        self.environment, self.seconds_left = environment, PUBLISHING
        self.client: Any = None

    def publish(self, topic: str, provider: str, subject: str, fields: Mapping[str, Any]) -> None:
        """Publish an alert; log a failure to do so, which changes nothing of the run."""
        lines = (f"{name}: {str(value)[:MAX_FIELD]}" for name, value in {"Provider": provider, **fields}.items())
        message = "\n".join(lines)
        log = logging.getLogger(__name__)  # Airflow's own for tasks is silent in a parse, where lost workers are found
        if self.seconds_left <= 0:
            log.error("The alert was not published, as %s did not answer in time before:\n%s", topic, message)
            return
        started = time.monotonic()
        try:
            self.client = self.client or self.connect()
            self.client.publish(TopicArn=topic, Subject=subject[:MAX_SUBJECT], Message=message)
        except Exception as error:
            if isinstance(error, (BotoConnectionError, HTTPClientError)):
                self.seconds_left = 0
            log.exception("The alert could not be published to %s:\n%s", topic, message)
        self.seconds_left -= time.monotonic() - started

    def connect(self) -> Any:
        """Return a client of SNS. By default botocore tries for 5 minutes."""
        config = Config(connect_timeout=2, read_timeout=5, retries={"max_attempts": 1})
        connection, region = self.environment.aws_conn_id, self.environment.region
        return AwsBaseHook(connection, client_type="sns", region_name=region, config=config).get_conn()


class FailureAlert:
    """Tells of a task that has failed and has no retries left: what the task calls with the context of its end.

    Airflow 2.2.2 stores the source of each task's callback with its DAG, and takes 0.6 ms to find it, four times as
    long as for all else of a task, at every pass. Of a partialmethod, it finds none.
    """

    def __init__(self, tell: Any) -> None:
        self.tell = tell

    def report(self, context: Any) -> None:
        """Publish the alert."""
        ti = context["task_instance"]
        number = number_of_try(ti)
        if not context.get("exception") and number <= ti.max_tries:
            return  # Airflow 3 calls this for every lost worker, also before another try
        if context.get("exception") and is_over(ti, logging.getLogger(__name__)):
            return
        fields = {
            "Run": context["run_id"],
            "Try": f"{number} of {ti.max_tries + 1}",
            "Reason": context.get("exception") or "none is known: its process was killed, or its worker went away",
            "Log": ti.log_url,
        }
        self.tell(f"{ti.dag_id} {ti.task_id} failed", {"DAG": ti.dag_id, "Task": ti.task_id, **fields})

    __call__: Callable[..., None] = partialmethod(report)  # type: ignore[assignment]


def alert_timeout(publish: Any, context: Any) -> None:
    """Report a run that has exceeded its dagrun_timeout: Airflow skips its tasks, so that none of them fails."""
    if context["reason"] == "timed_out":
        dag, reason = context["dag"], f"it took longer than {context['dag'].dagrun_timeout}"
        publish(f"{dag.dag_id} timed out", {"DAG": dag.dag_id, "Run": context["run_id"], "Reason": reason})


def alert_sla_miss(publish: Any, dag: Any, task_list: Any, blocking: Any, slas: Any, blocking_tis: Any) -> None:
    """Report the tasks that have not succeeded in their time, all of a DAG in one alert."""
    late = [sla for sla in slas if dag.has_task(sla.task_id)]  # Airflow asks again and again for one that is gone
    misses = [
        f"{sla.task_id} of the run of {sla.execution_date}: {dag.get_task(sla.task_id).sla} after its planned start"
        for sla in late[:MAX_MISSES]
    ]
    if misses:
        more = [f"and {len(late) - MAX_MISSES} more"] if len(late) > MAX_MISSES else []
        fields = {"DAG": dag.dag_id, "Not succeeded in time": "\n".join(["", *misses, *more])}
        publish(f"{dag.dag_id} missed its SLA", fields)


def tell_nobody(*_: Any) -> None:
    """Report missed SLAs to nobody: without a callback, Airflow 2.2.2 reads all of them again at each look."""
