"""The sensors. A module of its own: only a DAG that waits imports it, which takes a tenth of a small parse."""

import re
from datetime import timedelta
from typing import Any, Iterable, List, Mapping, Optional, Tuple

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from .definitions import Awaited
from .generations import BaseSensorOperator, exceptions
from .models import Param
from .operators import IN_TASK, growth_bounded, render_with_params
from .runs import awaited_date, find_run

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
MAX_KEY = 1024  # bytes


def is_among(keys: Iterable[str], pattern: str) -> bool:
    """Return whether one of the keys is as a pattern with the wildcards * and ? says.

    fnmatch, which Airflow's hook takes, tries all ways to share a key out among the stars: with nine, it does not end.
    Here, each part between two of them takes the first place where it fits. [abc] is part of the name.
    """
    parts = [re.escape(part).replace(r"\?", ".") for part in pattern.split("*")]
    parts[-1] += r"\Z"
    first, *others = [re.compile(part, re.DOTALL) for part in parts]
    for key in keys:
        found = first.match(key)
        for part in others:
            found = found and part.search(key, found.end())
        if found:
            return True
    return False


class Sensor(BaseSensorOperator):
    """Waits; when the time is over, it says for what."""

    ui_color = "#e6f1f2"
    in_task = IN_TASK
    typed_params: Mapping[str, Param] = {}

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """Fill the templates in, with what a person typed at the trigger."""
        with growth_bounded(self):
            super().render_template_fields(context, render_with_params(self, context, jinja_env))

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
        if len(key.encode()) > MAX_KEY:
            raise exceptions.AirflowFailException(f"a key of S3 has at most {MAX_KEY} bytes, not {len(key.encode())}")
        self.log.info("Looking for s3://%s/%s", bucket, key)
        # Page by page, which are 1,000 keys: all keys of a bucket of a million would take 370 MB of the worker.
        pages = S3Hook(self.aws_conn_id).get_conn().get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=bucket, Prefix=re.split("[*?]", key, maxsplit=1)[0])
        return is_among((each["Key"] for page in found for each in page.get("Contents", ())), key)

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
        unknown = False, "its definition has problems, or takes too long to read"
        is_done, self.seen = self.look(context) if self.awaited.is_known else unknown
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
