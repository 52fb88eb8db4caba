"""The docs of a DAG say where its YAML is: a link to the deployed commit, where an environment has one."""

import re
from pathlib import Path
from typing import List, Mapping

import pytest
from orchestrator import SourceUrl, load
from orchestrator.dags import build

from tests.trees import SMALL, tree

COMMIT = "0123456789abcdef" * 2 + "01234567"
HOSTS = {
    "https://github.com/acme/etl/blob/{commit}/{path}#L{line}": "blob/COMMIT/dags/etl/pipelines/cwr/big_1.yaml#L6",
    "https://gitlab.com/acme/etl/-/blob/{commit}/{path}#L{line}": "-/blob/COMMIT/dags/etl/pipelines/cwr/big_1.yaml#L6",
    "https://bitbucket.org/acme/etl/src/{commit}/{path}#lines-{line}": "yaml#lines-6",
    "https://git.acme.com:8443/browse/{commit}/--/{path}?region=eu-west-1&lines={line}-{line}": "&lines=6-6",
    "https://git.acme.com/~etl/{path}?at={commit}": "/~etl/dags/etl/pipelines/cwr/big_1.yaml?at=COMMIT",
}


def page(folder: Path, url: str, commits: Mapping[str, str], name: str = "etl") -> str:
    """Return the docs of the second provider's DAG."""
    root = tree(folder, {"cwr/big_1.yaml": SMALL}, name)
    with (root / "configs" / "development.yaml").open("a") as file:
        file.write(f'source_url: "{url}"\n' if url else "")
    dags, problems = build(load(root, "development"), commits)
    assert not problems
    return str(next(dag.doc_md for dag_id, dag in dags.items() if dag_id.endswith("wcm")))


def links(text: str) -> List[str]:
    """Return the links of a page of Markdown."""
    return re.findall(r"\]\(([^)\s]*)\)", text)


@pytest.mark.parametrize("url", HOSTS)
def test_the_page_links_to_the_line_of_the_provider(url: str, tmp_path: Path) -> None:
    (link,) = links(page(tmp_path, url, {"": "f" * 40, "pipelines/cwr/big_1.yaml": COMMIT}))

    assert link.startswith(url.partition("{")[0])
    assert link.endswith(HOSTS[url].replace("COMMIT", COMMIT))
    assert COMMIT in link


def test_the_link_is_one_in_the_web_page(tmp_path: Path) -> None:
    utils = pytest.importorskip("airflow.www.utils")
    (url, *_) = [url for url in HOSTS if "&" in url]

    html = str(utils.wrapped_markdown(page(tmp_path, url, {"": COMMIT})))

    (href,) = re.findall('<a href="([^"]*)"', html)
    assert href.replace("&amp;", "&").endswith("/big_1.yaml?region=eu-west-1&lines=6-6")
    assert "pipelines/cwr/big_1.yaml:6</a>" in re.sub("&#(95|58);", lambda match: chr(int(match[1])), html)


def test_a_sandbox_links_to_the_folder_that_it_is_a_copy_of(tmp_path: Path) -> None:
    (link,) = links(page(tmp_path, next(iter(HOSTS)), {"": COMMIT}, "test_merge"))

    assert link.endswith(f"{COMMIT}/dags/etl/pipelines/cwr/big_1.yaml#L6")


@pytest.mark.parametrize(
    ("url", "commit"),
    [(next(iter(HOSTS)), ""), (next(iter(HOSTS)), f"{COMMIT} with uncommitted changes"), ("", COMMIT)],
)
def test_without_a_link_or_a_commit_that_has_the_file_there_are_path_and_line(
    url: str, commit: str, tmp_path: Path
) -> None:
    text = page(tmp_path, url, {"": commit} if commit else {})

    assert links(text) == []
    assert "dags/etl/pipelines/cwr/big&#95;1.yaml:6 in environment" in text


@pytest.mark.parametrize(
    "url",
    [
        "http://github.com/acme/etl/blob/{commit}/{path}",
        "javascript://x/{commit}/{path}",
        "https://user@github.com/{commit}/{path}",
        "https://github.com/acme/etl/blob/main/{path}",
        "https://github.com/acme/etl/blob/{commit}",
        "https://github.com/acme/etl/blob/{commit}/{path}#{column}",
        "https://github.com/acme/etl/blob/{commit.__class__}/{commit}/{path}",
        "https://github.com/acme/etl/blob/{commit}/{path}{",
        "https://github.com/{commit}/{path}) [x](https://elsewhere",
        "https://github.com/{commit}/{path}'><script>",
        "https://{path}/{commit}/{path}",
        "https://github.com/{commit}/{path}" + "x" * 500,
    ],
)
def test_other_addresses_are_refused_with_their_place(url: str, tmp_path: Path) -> None:
    root = tree(tmp_path, {"cwr/big.yaml": SMALL})
    with (root / "configs" / "development.yaml").open("a") as file:
        file.write(f'source_url: "{url}"\n')

    first = load(root, "development").problems[0]

    assert (first.location.path, first.location.line, first.location.column) == (
        "dags/etl/configs/development.yaml",
        7,
        13,
    )
    assert SourceUrl.what() in first.message
