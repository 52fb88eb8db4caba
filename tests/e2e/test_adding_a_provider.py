"""The guide to adding a provider ends with a DAG that runs."""

from pathlib import Path

import pytest

from tests.checkouts import checkout, run
from tests.documents import blocks
from tools.setup.environments import AIRFLOW, AWS, DEFINITIONS


@pytest.mark.slow
def test_the_provider_of_the_guide_runs(tmp_path: Path) -> None:
    copy = checkout(tmp_path, DEFINITIONS, AIRFLOW, AWS)
    add = next(block for block in blocks("adding-a-provider.md", "sh") if "new provider cwr/big" in block.text)
    (trigger,) = blocks("adding-a-provider.md", "sh e2e")

    done = run(copy, "sh", "-eu", "-c", add.text + trigger.text)

    assert done.returncode == 0, done.stdout
    assert "cwr-big_dag_sony" in done.stdout
