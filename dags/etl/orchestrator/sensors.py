"""The delivery sensor. A module of its own: only a DAG that waits imports it, which takes a tenth of a small parse."""

from datetime import timedelta
from typing import Any, List, Mapping, Optional

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from .generations import BaseSensorOperator, exceptions
from .models import Param
from .operators import render_with_params


class DeliverySensor(BaseSensorOperator):
    """Waits for a provider's delivery on S3.

    Args:
        bucket_key: Addresses that have to be there, s3://bucket/key; a key may have the wildcards * and ?.
        aws_conn_id: Airflow's connection; None for the worker's role.
        others: Arguments of every sensor.
    """

    template_fields = ("bucket_key",)
    ui_color = "#e6f1f2"
    typed_params: Mapping[str, Param] = {}

    def __init__(self, *, bucket_key: List[str], aws_conn_id: Optional[str] = None, **others: Any) -> None:
        super().__init__(**others)
        self.bucket_key, self.aws_conn_id = bucket_key, aws_conn_id

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """Fill the templates in, with what a person typed at the trigger."""
        super().render_template_fields(context, render_with_params(self, context, jinja_env))

    def poke(self, context: Any) -> bool:
        """Return whether all have arrived."""
        return all(self.has_arrived(url) for url in self.bucket_key)

    def has_arrived(self, url: str) -> bool:
        """Look for one s3:// address, with wildcards."""
        bucket, _, key = url.partition("://")[2].partition("/")
        self.log.info("Looking for s3://%s/%s", bucket, key)
        # The hook knows [abc] as a wildcard, too; in a definition that is part of the name.
        return bool(S3Hook(self.aws_conn_id).check_for_wildcard_key(key.replace("[", "[[]"), bucket))

    def execute(self, context: Any, **others: Any) -> Any:
        """Wait; name the delivery when the time is over."""
        try:
            return super().execute(context, **others)
        except exceptions.AirflowSensorTimeout:
            length = timedelta(seconds=self.timeout)
            raise exceptions.AirflowSensorTimeout(
                f"Not delivered within {length}: {', '.join(self.bucket_key)}"
            ) from None
