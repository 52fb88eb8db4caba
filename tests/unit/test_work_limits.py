"""What bounds the work that a file asks for: what lies at a limit is built, and one beyond is reported."""

from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest
from orchestrator import dags, load, pages
from orchestrator.dags import build

from tests.trees import late_alarm, tree

HEAD = "start_date: 2022-01-01\n"
LOAD = "tasks: {load: {task_definition: a}}\n"
UN = "providers: {un: {}}\n"

ZONES = [f"Etc/GMT{sign}{hours}" for sign, last in (("-", 14), ("+", 12)) for hours in range(1, last + 1)]
ZONES += [f"Europe/{city}" for city in "London Paris Madrid Rome Berlin Vienna Oslo Athens Malta Minsk Riga".split()]
ZONES += [
    f"Asia/{city}" for city in "Tokyo Seoul Dubai Kabul Dhaka Hanoi Macau Amman Baku Gaza Oral Aden Manila".split()
]
ZONES.remove("Asia/Hanoi")
ZONES += ["Africa/Cairo", "Africa/Tunis"]

ITEMS = ", ".join(map(str, range(100)))


@pytest.fixture(autouse=True)
def _time_enough() -> Iterator[None]:
    with late_alarm():  # so that only counts decide
        yield


def lines(pattern: str, number: int) -> str:
    return "".join(pattern.format(n) for n in range(number))


def providers(number: int, override: str = "") -> str:
    return "providers:\n" + "".join(f"  p{n}: {override.replace('#', str(n))}\n" for n in range(number))


def templated(number: int, length: int = 4096) -> str:
    """Return a task with a template of so many characters, unlike those of other tasks."""
    text = ("{{ ds }}" + str(number)).ljust(length, "x")
    return f"  t{number}: {{task_definition: a, command: ['{text}']}}\n"


# The text by how much of it there is; how much is built; a part of what is reported of one more.
LIMITS: Dict[str, Tuple[Callable[[int], str], int, str]] = {
    "characters of a schedule": (
        lambda n: f"{HEAD}schedule: '{('0,' * 30 + '0 * * * *').ljust(n)}'\n{LOAD}{UN}",
        70,
        "a schedule of 71 characters; it has at most 70",
    ),
    "values of a field": (
        lambda n: f"{HEAD}schedule: 0-29,30-{n - 1 if n <= 60 else '59,5-5'} * * * *\n{LOAD}{UN}",
        60,
        "the ranges of '0-29,30-59,5-5' overlap",
    ),
    "schedules": (
        lambda n: (
            HEAD
            + LOAD
            + "providers:\n"
            + "".join(f"  p{i}: {{schedule: {i % 60} {i // 60} * * *}}\n" for i in range(n))
        ),
        1000,
        "1001 different schedules; a file has at most 1000",
    ),
    "runs a day": (
        lambda n: f"{HEAD}schedule: '* * * * *'\n{LOAD}{providers(n // 1440 + n % 1440)}",
        172_800,
        "the DAGs could need 174240 runs a day; those of a file at most 172800",
    ),
    "runs that end soon": (
        lambda n: (
            f"{HEAD}schedule: '@daily'\ncatchup: true\ndagrun_timeout: 15s\nmax_active_runs: 10\n{LOAD}{providers(n)}"
        ),
        3,
        "the DAGs could need 230400 runs a day; those of a file at most 172800",
    ),
    "tasks a day": (
        lambda n: (
            f"{HEAD}schedule: '* * * * *'\ndefaults: {{task_definition: x}}\n"
            + "tasks:\n"
            + lines("  t{}: {{}}\n", 500)
            + providers(n)
        ),
        12,
        "the DAGs could need 9360000 tasks a day; those of a file at most 8640000",
    ),
    "items of a template's lists": (
        lambda n: (
            f"{HEAD}params: {{x: {{default: x}}}}\n"
            + "tasks: {load: {task_definition: a, command: ['{{ ["
            + ", ".join(["params.x.split() | length"] * n)
            + "] | join }}']}}\n"
            + UN
        ),
        128,
        "the lists of the template could have",
    ),
    "runs that catch up": (
        lambda n: (
            f"{HEAD}schedule: '@daily'\ncatchup: true\n{LOAD}{providers(1, '{max_active_runs: 50}')}"
            + lines("  q{}: {{max_active_runs: 2}}\n", n % 50)
            + lines("  r{}:\n", 1000)
        ),
        50,
        "the DAGs could catch up with 52 runs at once; those of a file at most 50",
    ),
    "DAGs that catch up with many runs": (
        lambda n: (
            f"{HEAD}schedule: '@daily'\ncatchup: true\n{LOAD}{providers(n, '{max_active_runs: 3}')}"
            + lines("  q{}: {{max_active_runs: 2}}\n", 11)
            + lines("  r{}: {{max_active_runs: 3, catchup: false}}\n", 30)
        ),
        8,
        "the DAGs with catchup and max_active_runs of 3 or more are 9; those of a file at most 8",
    ),
    "tags of all DAGs": (
        lambda n: (
            f"{HEAD}{LOAD}tags: [{lines('t{}, ', 50)}]\n{providers(n // 50)}" + lines("  q{}: {{tags: [t]}}\n", n % 50)
        ),
        20_000,
        "20001 tags of 401 providers; a file has at most 20000",
    ),
    "awaited DAGs": (
        lambda n: (
            f"{HEAD}{LOAD}wait_for: [{lines('{{pipeline: cwr/big, provider: q{}}}, ', 10)}]\n{providers(n // 10)}"
            + lines("  q{}: {{wait_for: null}}\n", 10)
            + lines("  r{}: {{wait_for: {{pipeline: cwr/big, provider: q0}}}}\n", n % 10)
        ),
        10_000,
        "the DAGs wait for other DAGs 10001 times; those of a file at most 10000",
    ),
    "time zones": (
        lambda n: HEAD + LOAD + "providers:\n" + "".join(f"  p{i}: {{timezone: {ZONES[i]}}}\n" for i in range(n)),
        50,
        "51 different time zones; a file has at most 50",
    ),
    "tasks": (
        lambda n: f"{HEAD}tasks: {{{lines('t{}: {{task_definition: a}}, ', 3)}}}\n{providers(n // 3 + n % 3)}",
        30_000,
        "30003 tasks (10001 providers of 3); a file has at most 30000",
    ),
    "tasks of items": (
        lambda n: (
            f"{HEAD}tasks:\n{lines('  t{}: {{task_definition: a, for_each: [' + ITEMS + ']}}' + chr(10), 3)}"
            + providers(n // 300 + n % 300)
        ),
        30_000,
        "30300 tasks (101 providers of 300); a file has at most 30000",
    ),
    "tasks of a provider's items": (
        lambda n: (
            f"{HEAD}tasks: {{a: {{task_definition: a}}}}\n"
            + providers(n // 100 + n % 100, f"{{tasks: {{a: {{for_each: [{ITEMS}]}}}}}}")
        ),
        4000,
        "4100 tasks that differ (41 providers that change some of 1); a file has at most 4000",
    ),
    "dependencies of items": (
        lambda n: (
            f"{HEAD}tasks:\n  a: {{task_definition: a, for_each: [{ITEMS}]}}\n"
            f"  b: {{task_definition: a, for_each: [{ITEMS}], depends_on: [a]}}\n" + providers(n // 10_000 + n % 10_000)
        ),
        200_000,
        "210000 dependencies (21 providers of 10000); a file has at most 200000",
    ),
    "tasks of a DAG": (
        lambda n: (
            f"{HEAD}tasks:\n{lines('  t{}: {{task_definition: a, for_each: [' + ITEMS + ']}}' + chr(10), 5)}"
            + ("  more: {task_definition: a}\n" if n > 500 else "")
            + UN
        ),
        500,
        "501 tasks; a DAG has at most 500",
    ),
    "tasks and deliveries": (
        lambda n: f"{HEAD}wait_for: [{{s3: s3://a/b}}, {{s3: s3://a/c}}]\n{LOAD}{providers(n // 3 + n % 3)}",
        30_000,
        "30003 tasks (10001 providers of 1 and wait_for); a file has at most 30000",
    ),
    "tasks that differ": (
        lambda n: (
            HEAD + "tasks:\n" + lines("  t{}: {{task_definition: a}}\n", 500) + providers(8 + n % 2, "{tasks: {}}")
        ),
        4000,
        "4500 tasks that differ (9 providers that change some of 500); a file has at most 4000",
    ),
    "params": (
        lambda n: f"{HEAD}params: {{{lines('p{}: {{default: 1}}, ', 50)}}}\n{LOAD}{providers(n // 50 + n % 50)}",
        50_000,
        "50050 values of params of 1001 providers; a file has at most 50000",
    ),
    "values of a param": (
        lambda n: (
            f"{HEAD}params: {{p: {{default: [{lines('{{}}, ', 400)}[{lines('{{}}, ', 98)}]]}}}}\n"
            f"{LOAD}{providers(n // 500 + n % 500)}"
        ),
        50_000,
        "50500 values of params of 101 providers; a file has at most 50000",
    ),
    "dependencies": (
        lambda n: (
            f"{HEAD}defaults: {{task_definition: a}}\ntasks:\n"
            + "  r: {}\n"
            + lines("  a{}: {{depends_on: [r]}}\n", 100)
            + lines(f"  b{{}}: {{{{depends_on: [{lines('a{}, ', 100)}]}}}}\n", 199)
            + lines("  c: {{depends_on: [a0]}}\n", n % 200_000)
            + providers(10)
        ),
        200_000,
        "200010 dependencies (10 providers of 20001); a file has at most 200000",
    ),
    "dependencies of a DAG": (
        lambda n: (
            f"{HEAD}defaults: {{task_definition: a}}\ntasks:\n"
            + "  r: {}\n"
            + lines("  a{}: {{depends_on: [r]}}\n", 100)
            + lines(f"  b{{}}: {{{{depends_on: [{lines('a{}, ', 100)}]}}}}\n", 249)
            + lines("  c: {{depends_on: [a0]}}\n", n % 25_000)
            + UN
        ),
        25_000,
        "25001 dependencies between tasks and items; a DAG has at most 25000",
    ),
    "templates": (
        lambda n: f"{HEAD}tasks:\n{''.join(map(templated, range(15)))}{templated(15, n - 15 * 4096)}{UN}",
        2**16,
        "not YAML: more than 65536 characters of templates",
    ),
    "growth of a task's templates": (
        lambda n: (
            f"{HEAD}tasks:\n  load:\n    task_definition: a\n    command:\n"
            + lines('    - \'{{{{ var.value.t | replace("a", "bbbbbbbbb") }}}}\'\n', n)
            + UN
        ),
        24,
        "the templates of the task could write 138,063,950 characters; at most 134,217,728 are allowed",
    ),
    "tags": (
        lambda n: f"{HEAD}tags: [{lines('t{}, ', n)} t0]\n{LOAD}{UN}",
        50,
        "51 tags; a DAG has at most 50",
    ),
    "looks at what is awaited": (
        lambda n: (
            f"{HEAD}schedule: '@daily'\n{LOAD}wait_for: [{lines('{{s3: s3://b/{}, poke_interval: 6s}}, ', 10)}]\n"
            + providers(5)
            + ("  q: {wait_for: {s3: s3://b/x, poke_interval: 1m}}\n" if n > 500 else "")
        ),
        500,
        "the DAGs could look 501 times a minute at what they wait for; those of a file at most 500",
    ),
    "providers": (lambda n: f"{HEAD}{LOAD}{providers(n)}", 10_000, "10001 providers; a file has at most 10000"),
    "DAGs with a schedule": (
        lambda n: (
            f"{HEAD}schedule: '@daily'\n{LOAD}{providers(1500)}"
            + lines("  q{}: {{schedule: '@once'}}\n", n - 1500)
            + lines("  r{}: {{schedule: null}}\n", 100)
        ),
        2000,
        "the DAGs with a schedule are 2001; those of a file at most 2000",
    ),
    "looks of many runs": (
        lambda n: (
            f"{HEAD}schedule: '@daily'\n{LOAD}wait_for: {{s3: s3://b/x, poke_interval: 6s}}\nmax_active_runs: {n}\n{UN}"
        ),
        50,
        "the DAGs could look 510 times a minute at what they wait for; those of a file at most 500",
    ),
    "tasks that depend on the past": (
        lambda n: (
            f"{HEAD}schedule: '@daily'\ndefaults: {{task_definition: a, depends_on_past: true}}\n"
            f"tasks:\n{lines('  t{}: {{}}' + chr(10), n)}{providers(60)}"
        ),
        50,
        "51 tasks with depends_on_past; a DAG has at most 50",
    ),
    "tasks that providers leave out": (
        lambda n: (
            f"{HEAD}defaults: {{task_definition: a}}\ntasks:\n{lines('  t{}: {{}}' + chr(10), n)}"
            f"providers: {{un: {{tasks: {{{lines('t{}: null, ', 500)}}}}}}}\n"
        ),
        1000,
        "1001 tasks; a file has at most 1000, and a DAG 500",
    ),
    "templates outside of lists": (
        lambda n: (
            f"{HEAD}defaults: {{task_definition: a, task_role_arn: '{'{{ ds }}'.ljust(3200, 'x')}'}}\n"
            f"tasks:\n{lines('  t{}: {{}}' + chr(10), 499 + n)}{UN}"
        ),
        1,
        "100200 arguments, variables, tags and dependencies of all tasks; a file has at most 100000",
    ),
    "items": (
        lambda n: (
            f"{HEAD}defaults: {{task_definition: a, command: [{'x, ' * 250}]}}\n"
            f"tasks:\n{lines('  t{}: {{}}' + chr(10), 400 + n % 1000)}{UN}"
        ),
        100_000,
        "100250 arguments, variables, tags and dependencies of all tasks; a file has at most 100000",
    ),
    "keys": (
        lambda n: (
            f"{HEAD}defaults:\n  task_definition: a\n  command: [{'x, ' * 10}]\n  environment:\n"
            f"{lines('    ? ' + 'k' * 1024 + '{}' + chr(10) + '    : x' + chr(10), 7)}"
            f"tasks:\n{lines('  t{}: {{}}' + chr(10), 450)}{providers(n, '{defaults: {}}')}"
        ),
        6,
        "111600 arguments, variables, tags and dependencies of all tasks; a file has at most 100000",
    ),
    "tasks of the page Tree": (
        lambda n: (
            f"{HEAD}defaults: {{task_definition: a}}\ntasks:\n  a: {{for_each: [{lines('{}, ', 100)}]}}\n"
            f"  b: {{depends_on: [a]}}\n  c: {{depends_on: [b], for_each: [{lines('{}, ', 100)}]}}\n"
            f"  d: {{depends_on: [b], for_each: [{lines('{}, ', n)}]}}\n{UN}"
        ),
        18,
        "too many tasks come after 100 that wait for none",
    ),
    "characters of tasks": (
        lambda n: (
            f"{HEAD}defaults: {{task_definition: a, command: [{'x' * 7600}]}}\n"
            f"tasks:\n{lines('  t{}: {{}}' + chr(10), 500)}{providers(n)}"
        ),
        9,
        "more than 40000000 characters of the tasks of all DAGs",
    ),
}


@pytest.mark.parametrize("name", LIMITS)
def test_what_lies_at_a_limit_is_built_and_one_beyond_is_reported(name: str, tmp_path: Path) -> None:
    text, limit, message = LIMITS[name]

    def messages(number: int) -> List[str]:
        root = tree(tmp_path / str(number), {"cwr/big.yaml": text(number)})
        return [problem.message for problem in load(root, "development").problems]

    assert messages(limit) == []
    (reported,) = messages(limit + 1)
    assert message in reported


def test_a_provider_whose_tasks_ask_too_much_of_the_scheduler_loses_only_its_own_dag(tmp_path: Path) -> None:
    tasks = f"defaults: {{task_definition: a}}\ntasks: {{{lines('t{}: {{}}, ', 51)}}}\n"
    own = "providers:\n  un: {}\n  wcm: {defaults: {depends_on_past: true}}\n"
    result = load(tree(tmp_path, {"cwr/big.yaml": HEAD + tasks + own}), "development")
    assert [definition.provider for definition in result.definitions] == ["un"]
    (problem,) = result.problems
    assert "51 tasks with depends_on_past" in problem.message
    assert "depends_on_past: true" in problem.location.source


def test_the_names_that_templates_look_up_are_counted(tmp_path: Path) -> None:
    def messages(number: int, provider: str = "", command: str = "", subnet: str = "") -> List[str]:
        tasks = f"tasks: {{load: {{task_definition: a, command: ['{command}']}}}}\n"
        root = tree(tmp_path / str(number), {"cwr/big.yaml": HEAD + tasks + providers(number, provider)})
        variables = f"variables: {{{lines('a{}: 1, ', 500)}}}\n"
        cluster = f"{{cluster: etl, subnets: [{', '.join([repr(subnet)] * 10)}]}}" if subnet else "{cluster: etl}"
        configs = f"region: eu-west-1\n{variables}clusters: {{default: {cluster}}}\n"
        (root / "configs" / "development.yaml").write_text(configs)
        return [problem.message for problem in load(root, "development").problems]

    too_many = "more than 1000000 names of env, provider and params in the templates of all DAGs"
    command = lines("{{{{env.a{}}}}}", 500)
    assert messages(1999, command=command) == []  # and once in the plan of all
    assert messages(2000, command=command) == [too_many]
    subnet = lines("{{{{env.a{}}}}}", 100)  # 10 times in each provider's own plan
    assert messages(909, "{tasks: {}}", subnet=subnet) == []
    assert messages(910, "{tasks: {}}", subnet=subnet) == [too_many]


def test_a_dag_page_has_the_beginning_of_what_is_long(tmp_path: Path) -> None:
    days = f"{{day: {{default: {'c' * 300}, description: {'<' * 200}}}}}"
    text = f"{HEAD}defaults: {{command: [{'a' * 256}zz]}}\nparams: {days}\n{LOAD}{UN}"

    page = str(build(load(tree(tmp_path, {"cwr/big.yaml": text}), "development"))[0]["cwr-big_dag_un"].doc_md)

    assert "a" * 256 + "..." in page
    assert "c" * 255 + "..." in page  # after the quote of JSON
    assert "zz" not in page
    assert "c" * 256 not in page
    assert page.count("&#60;") == 102  # 512 characters, and no part of one that is escaped
    assert "&#60;..." in page


def test_a_mistake_that_all_tasks_inherit_is_reported_once_and_soon(tmp_path: Path) -> None:
    command, after = "'{{x}}{{y}}{{z}}', " * 190, "nope, " * 190
    for number, defaults in enumerate((f"command: [{command}]", f"depends_on: [{after}]")):
        text = f"{HEAD}defaults: {{task_definition: a, {defaults}}}\ntasks:\n{lines('  t{}: {{}}' + chr(10), 500)}{UN}"

        problems = load(tree(tmp_path / str(number), {"cwr/big.yaml": text}), "development").problems

        places = {problem.location.column for problem in problems[:-1]}
        assert len(places) == (570, 190)[number], problems[-1]
        assert "more than 5000 problems" in problems[-1].message


def test_a_long_name_is_not_compared_and_not_printed_in_full(tmp_path: Path) -> None:
    names = "".join(f"t{n}{'ab' * 50}: {{task_definition: a}}, " for n in range(499))
    text = f"{HEAD}tasks: {{{names} z: {{task_definition: a, depends_on: [{'ba' * 4000}]}}}}\n{UN}"

    (problem,) = load(tree(tmp_path, {"cwr/big.yaml": text}), "development").problems

    assert problem.message.startswith("unknown task 'baba")
    assert len(str(problem)) < 3000
    assert "did you mean" not in problem.hint


def test_the_names_compared_in_a_file_are_counted(tmp_path: Path) -> None:
    tasks = "".join(f"task{n}: {{task_definition: a}}, " for n in range(499))
    wrong = ", ".join(f"tusk{n}" for n in range(20))
    text = f"{HEAD}tasks: {{{tasks} z: {{task_definition: a, depends_on: [{wrong}]}}}}\n{UN}"

    problems = load(tree(tmp_path, {"cwr/big.yaml": text}), "development").problems

    assert len(problems) == 20
    # Of 499 names each; the last begins below 5,000.
    assert sum("did you mean" in problem.hint for problem in problems) == 11


def test_mistakes_that_thousands_of_providers_have_end_the_reading_of_a_file(tmp_path: Path) -> None:
    wrong = lines("'{{{{ provider.a{} }}}}', ", 20)
    text = f"{HEAD}tasks: {{load: {{task_definition: a, command: [{wrong}]}}}}\n{providers(2000)}"

    definitions, problems = load(tree(tmp_path, {"cwr/big.yaml": text}), "development")

    assert definitions == []
    assert len(problems) == 20 + 1  # each names its providers
    (last,) = (problem for problem in problems if "more than 5000 problems" in problem.message)
    assert last.location.marked == "p250"


SHARED = f"""\
{HEAD}tags: [a]
params:
  day: {{default: [1]}}
  full: {{default: false, type: boolean}}
  old: {{default: 1}}
{LOAD}providers:
  un: {{}}
  wcm: {{tags: null, owner: wcm, params: {{full: {{default: true}}, old: null, new: {{default: 2}}}}}}
  prs: {{params: null}}
  gema: {{params: {{}}, catchup: true}}
"""


def test_providers_share_the_params_that_they_do_not_change(tmp_path: Path) -> None:
    result = load(tree(tmp_path, {"cwr/big.yaml": SHARED}), "development")
    assert not result.problems
    un, wcm, prs, gema = (definition.settings for definition in result.definitions)

    assert {name: param.default for name, param in wcm.effective_params.items()} == {"day": [1], "full": True, "new": 2}
    assert wcm.effective_params["full"].type == "boolean"
    assert wcm.effective_params["day"] is un.effective_params["day"] is gema.effective_params["day"]
    assert (prs.effective_params, list(gema.effective_params)) == ({}, ["day", "full", "old"])
    assert (un.tags, wcm.tags, wcm.owner, gema.catchup) == (["a"], None, "wcm", True)


def test_each_dag_has_its_own_record_of_a_param_for_what_is_typed(tmp_path: Path) -> None:
    built: Dict[str, Any] = build(load(tree(tmp_path, {"cwr/big.yaml": SHARED}), "development"))[0]
    un, wcm = built["cwr-big_dag_un"], built["cwr-big_dag_wcm"]

    un.params["day"] = [2]  # as Airflow does with a run's configuration

    assert (un.params["day"], wcm.params["day"], built["cwr-big_dag_gema"].params["day"]) == ([2], [1], [1])
    assert (un.get_task("load").owner, wcm.get_task("load").owner) == ("airflow", "wcm")


def test_what_providers_share_is_neither_copied_nor_escaped_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 1,500 providers that gives a param with a large default another title took 5 ms."""
    text = f"{HEAD}params: {{day: {{default: [1, 2], description: long}}}}\n{LOAD}"
    own = ["{}", "{owner: a}", "{params: {day: {title: b}}}", "{wait_for: {s3: s3://a/b}}"]
    text += "providers:\n" + "".join(f"  p{n}: {override}\n" for n, override in enumerate(own))
    result = load(tree(tmp_path, {"cwr/big.yaml": text}), "development")
    params = [definition.settings.effective_params["day"] for definition in result.definitions]
    escaped: List[str] = []

    def markdown(text: str) -> str:
        escaped.append(text)
        return text

    monkeypatch.setattr(pages, "markdown", markdown)

    dags.build(result)

    assert all(param.default is params[0].default for param in params)
    assert [param.title for param in params] == [None, None, "b", None]
    assert escaped.count("long") == 2  # once for each param that is another one
