"""The line of a task's log that ``./etl run --trigger`` prints."""

import pytest

from tools.local.trigger import last_line, unknown

START = "[2022-01-01, 00:00:00 UTC] {taskinstance.py:1427} INFO - Executing <Task(EcsOperator): fetch>\n"
CONTAINER = (
    "[2022-01-01, 00:00:01 UTC] {ecs.py:153} INFO - [2022-01-01 00:00:01,123] reading\n"
    "[2022-01-01, 00:00:02 UTC] {ecs.py:153} INFO - [2022-01-01 00:00:02,123] 12 works loaded\n"
    "[2022-01-01, 00:00:03 UTC] {ecs.py:465} INFO - ECS Task stopped, check status: {}\n"
)
ERROR = (
    "[2022-01-01, 00:00:03 UTC] {taskinstance.py:1703} ERROR - Task failed with exception\n"
    "Traceback (most recent call last):\n"
    '  File "ecs.py", line 1, in execute\n'
    "ClusterNotFoundException: Cluster not found.\n"
)
END = "[2022-01-01, 00:00:04 UTC] {local_task_job.py:154} INFO - Task exited with return code 1\n"


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("", ""),
        (START + CONTAINER + END, "12 works loaded"),
        (START + CONTAINER + ERROR + END, "12 works loaded"),
        (START + ERROR + END, "ClusterNotFoundException: Cluster not found."),
        (START + END, END.rstrip()),
    ],
    ids=["no log", "success", "failed container", "no container", "neither"],
)
def test_the_most_informative_line_is_chosen(log: str, line: str) -> None:
    assert last_line(log) == line


def test_an_unknown_dag_suggests_the_nearest() -> None:
    assert unknown("cwr-big_dag_u", ["cwr-big_dag_un", "vi-works_dag_x"]).endswith("did you mean cwr-big_dag_un?")


def test_without_a_similar_dag_all_dags_are_listed() -> None:
    assert unknown("xyzzy", ["b", "a"]) == "there is no DAG 'xyzzy'; there are: a, b"
