"""The configuration that ``./etl run`` writes before it starts Airflow."""

import subprocess
from pathlib import Path

from tools.local import engine
from tools.setup.environments import AIRFLOW

KEYS = (
    "from airflow.configuration import conf; print(conf.get('core', 'fernet_key'), conf.get('webserver', 'secret_key'))"
)


def keys(home: Path) -> str:
    command = [str(AIRFLOW.python), "-c", KEYS]
    return subprocess.run(command, env=engine.base_environ(home), check=True, stdout=subprocess.PIPE, text=True).stdout


def test_the_configuration_is_written_once_and_its_keys_are_kept(tmp_path: Path) -> None:
    home = tmp_path / "home"
    engine.prepare_config(home)
    file = home / "airflow.cfg"
    text = file.read_text()

    first = keys(home)
    engine.prepare_config(home)  # as the next ./etl run does

    assert file.read_text() == text
    assert keys(home) == first
    assert all(len(key) > 30 and key in text for key in first.split())
