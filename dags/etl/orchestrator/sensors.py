"""The delivery sensor. A module of its own: only a DAG that waits imports it, which takes a tenth of a small parse."""

from datetime import timedelta
from typing import Any, Mapping

from airflow.exceptions import AirflowSensorTimeout
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from .generations import s3_key_sensor
from .models import Param
from .operators import render_with_params

S3KeySensor: Any = s3_key_sensor()


class DeliverySensor(S3KeySensor):  # type: ignore[misc]  # its module differs
    """Waits for a provider's delivery on S3."""

    typed_params: Mapping[str, Param] = {}

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """Fill the templates in, with what a person typed at the trigger."""
        super().render_template_fields(context, render_with_params(self, context, jinja_env))

    def poke(self, context: Any) -> bool:
        """Look for a key that fits; the provider's sensor takes any key with the part before the first wildcard."""
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
        except AirflowSensorTimeout:
            length = timedelta(seconds=self.timeout)
            raise AirflowSensorTimeout(f"Not delivered within {length}: {', '.join(self.bucket_key)}") from None
