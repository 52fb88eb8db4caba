"""``./etl upgrade-test``: what it compares, and what it reports."""

import json
import shutil
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from tests.trees import COMPANY, SMALL, tree
from tools.checkout import load_all
from tools.commands import upgrade_test
from tools.setup import environments
from tools.upgrade.compare import Finding, Report, compare
from tools.upgrade.differences import DIFFERENCES, differences
from tools.upgrade.report import print_report

REQUEST = {"taskDefinition": "loader", "overrides": {"containerOverrides": [{"command": ["load", "2022-01-05"]}]}}
RUN = ["2022-01-05T00:00:00+00:00", "2022-01-06T00:00:00+00:00", "2022-01-06T00:00:00+00:00"]
SEEN: Dict[str, Any] = {
    "problems": [],
    "dags": {
        "cwr-big_dag_un": {"runs": [RUN], "requests": {"scheduled": {"load": REQUEST}, "triggered": {"load": REQUEST}}},
        "cwr-big_dag_wcm": {"runs": [], "requests": {"triggered": {"load": REQUEST}}},
    },
}


def changed() -> Dict[str, Any]:
    """Return a copy to change, no part of which is there twice."""
    seen: Dict[str, Any] = json.loads(json.dumps(SEEN))
    return seen


def findings(after: Dict[str, Any]) -> List[List[str]]:
    """Return the details of what is found when this is what a newer Airflow makes of the definitions."""
    return [finding.details for finding in compare("staging", SEEN, after)]


def test_equal_answers_have_no_details() -> None:
    found = list(compare("staging", SEEN, changed()))
    assert [finding.answer for finding in found] == ["2 of 2", "3 of 3", "1 of 1 schedule"]
    assert not any(finding.details for finding in found)


def test_a_request_that_differs_is_shown_where_it_does() -> None:
    after = changed()
    requests = after["dags"]["cwr-big_dag_un"]["requests"]["scheduled"]
    requests["load"]["overrides"]["containerOverrides"][0]["command"][1] = "2022-01-06"
    text = '"2022-01-05" now, and would be "2022-01-06"'
    assert findings(after) == [
        [],
        [f"cwr-big_dag_un load, scheduled: overrides.containerOverrides[0].command[1] is {text}"],
        [],
    ]


def test_requests_that_differ_in_their_order_are_not_identical() -> None:
    after = changed()
    requests = after["dags"]["cwr-big_dag_wcm"]["requests"]["triggered"]
    requests["load"] = dict(reversed(list(requests["load"].items())))
    _, (detail,), _ = findings(after)
    assert detail.startswith("cwr-big_dag_wcm load, triggered: is {")


def test_a_dag_that_is_missing_and_a_new_problem_are_reported() -> None:
    after = changed()
    del after["dags"]["cwr-big_dag_wcm"]
    after["problems"] = ["dags/etl/pipelines/cwr/big.yaml:1:1: unknown"]
    assert findings(after)[0] == ["dags/etl/pipelines/cwr/big.yaml:1:1: unknown", "cwr-big_dag_wcm"]


def test_runs_at_another_moment_are_reported() -> None:
    after = changed()
    after["dags"]["cwr-big_dag_un"]["runs"][0][2] = "2022-01-07T00:00:00+00:00"
    _, _, (detail,) = findings(after)
    assert detail == f'cwr-big_dag_un: [0][2] is "{RUN[2]}" now, and would be "2022-01-07T00:00:00+00:00"'


def test_people_are_told_only_what_concerns_their_definitions() -> None:
    definitions = [each for result in load_all(COMPANY).values() for each in result.definitions]
    without = [each for each in definitions if each.pipeline != "medium"]  # the one with an SLA
    assert [each for each in differences("3", definitions) if each not in differences("3", without)] == [
        each for each in DIFFERENCES if each.what == "`sla`"
    ]
    assert {each.since for each in differences("2.11")} == {"2.11"}


@pytest.mark.parametrize(
    ("break_tree", "detail"),
    [
        (lambda etl: shutil.rmtree(etl / "configs"), "there is no environment"),
        (lambda etl: shutil.rmtree(etl / "pipelines"), "cannot be read: No such file or directory"),
        (lambda etl: shutil.rmtree(etl / "pipelines" / "cwr"), "no environment has one"),
    ],
    ids=["configs", "pipelines", "definitions"],
)
def test_where_nothing_is_built_an_upgrade_is_not_said_to_change_nothing(
    break_tree: Callable[[Path], None],
    detail: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    etl = tree(tmp_path, {"cwr/big.yaml": SMALL})
    break_tree(etl)
    monkeypatch.setattr(environments, "ensure", lambda environment: None)  # it needs no newer Airflow
    monkeypatch.setattr("tools.upgrade.compare.probe", lambda *_: {"problems": [], "dags": {}})

    assert upgrade_test.main(["3", "--dags", str(etl.parent)]) == 1

    answer = capsys.readouterr().out
    assert detail in answer
    assert "Nothing has to change" not in answer


@pytest.mark.parametrize("kind", ["text", "markdown", "json"])
def test_a_report_has_every_finding_and_change(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("3", [Finding("do all load", "3 of 4", ["ddex-x_dag_y"]), Finding("else", "yes", [])], DIFFERENCES)
    print_report(report, kind)
    text = capsys.readouterr().out
    if kind == "json":
        answer = json.loads(text)
        assert answer["is_equal"] is False
        assert answer["findings"][0]["details"] == ["ddex-x_dag_y"]
        assert len(answer["changes"]) == len(DIFFERENCES)
        return
    assert "look at 1 of 2 answers" in text
    assert "ddex-x_dag_y" in text
    assert all(difference.what in text for difference in DIFFERENCES)


def test_an_unknown_generation_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        upgrade_test.parse(["4"])
    assert ended.value.code == 2
    assert "2.11" in capsys.readouterr().err
