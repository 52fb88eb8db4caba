"""The sensors. A module of its own: only a DAG that waits imports it, which takes a tenth of a small parse."""

from datetime import timedelta
from typing import Any, List, Mapping, Optional, Tuple

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from .definitions import Awaited
from .generations import BaseSensorOperator, exceptions
from .models import Param
from .operators import IN_TASK, check_rendered, render_with_params
from .runs import awaited_date, find_run


class Sensor(BaseSensorOperator):
    """Waits; when the time is over, it says for what."""

    ui_color = "#e6f1f2"
    in_task = IN_TASK
    typed_params: Mapping[str, Param] = {}

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """Fill the templates in, with what a person typed at the trigger."""
        super().render_template_fields(context, render_with_params(self, context, jinja_env))
        check_rendered(self)

    def execute(self, context: Any, **others: Any) -> Any:
        """Wait; name what is missing when the time is over."""
        try:
            return super().execute(context, **others)
        except exceptions.AirflowSensorTimeout:
            length = timedelta(seconds=self.timeout)
            raise exceptions.AirflowSensorTimeout(f"{self.missing()} within {length}") from None

    def missing(self) -> str:
        """Return what has not happened, for a message."""
        raise NotImplementedError


class DeliverySensor(Sensor):
    """Waits for a provider's delivery on S3.

    Args:
        bucket_key: Addresses that have to be there, s3://bucket/key; a key may have the wildcards * and ?.
        aws_conn_id: Airflow's connection; None for the worker's role.
        others: Arguments of every sensor.
    """

    template_fields = ("in_task", "bucket_key")

    def __init__(self, *, bucket_key: List[str], aws_conn_id: Optional[str] = None, **others: Any) -> None:
        super().__init__(**others)
        self.bucket_key, self.aws_conn_id = bucket_key, aws_conn_id

    def poke(self, context: Any) -> bool:
        """Return whether all have arrived."""
        return all(self.has_arrived(url) for url in self.bucket_key)

    def has_arrived(self, url: str) -> bool:
        """Look for one s3:// address, with wildcards."""
        bucket, _, key = url.partition("://")[2].partition("/")
        self.log.info("Looking for s3://%s/%s", bucket, key)
        # The hook knows [abc] as a wildcard, too; in a definition that is part of the name.
        return bool(S3Hook(self.aws_conn_id).check_for_wildcard_key(key.replace("[", "[[]"), bucket))

    def missing(self) -> str:
        """Return that the delivery has not arrived."""
        return f"{', '.join(self.bucket_key)} was not delivered"


class RunSensor(Sensor):
    """Waits for another DAG: for the success of a run, or of tasks in it.

    A scheduled run waits for the other's last scheduled one whose data interval ends no later than its own; a run that
    a person triggers, for the other's newest one. It goes on waiting for one that fails: somebody may clear that.
    """

    template_fields = ("external_dag_id",)  # only for the web page, which shows these
    external_dag_id = ""
    awaited = Awaited("")
    seen = "nothing is known of it"

    def poke(self, context: Any) -> bool:
        """Return whether it has succeeded."""
        if self.awaited.mistake:
            raise exceptions.AirflowFailException(f"{self.awaited.dag_id} cannot be awaited: {self.awaited.mistake}")
        is_done, self.seen = self.look(context) if self.awaited.is_known else (False, "its definition has problems")
        self.log.info("Waiting for DAG %s: %s", self.awaited.dag_id, self.seen)
        return is_done

    def look(self, context: Any) -> Tuple[bool, str]:
        """Return whether the run has succeeded, and in words how it is doing."""
        date, kind = None, context["dag_run"].run_type
        if str(getattr(kind, "value", kind)) != "manual":
            end = context["data_interval_end"]
            date = awaited_date(self.awaited, end)
            if date is None:
                raise exceptions.AirflowFailException(
                    f"{self.awaited.dag_id} has no scheduled run that ends by {end.isoformat()}: the first one is later"
                    ". To go on without it, mark this task as success"
                )
        run = find_run(context["ti"], self.awaited, date)
        if run is None:
            which = "no run" if date is None else f"no run of {date.isoformat()}"
            return False, f"there is {which} yet; is the DAG switched on?"
        states = {name: str(state or "not started") for name, state in run.states.items()}
        # A task that is skipped is done with, as for the run that it is in.
        is_done = bool(states) and all(state in ("success", "skipped") for state in states.values())
        words = ", ".join(f"{name} is {state}" if name else f"it is {state}" for name, state in states.items())
        return is_done, f"run {run.run_id}: {words or 'it has no such task'}"

    def missing(self) -> str:
        """Return that the run has not succeeded, and what was seen of it."""
        return f"{self.awaited.dag_id} has not succeeded ({self.seen})"
