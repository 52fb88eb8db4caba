"""./etl bench: what the factory costs beside a hand-written loop, its peers, and one file a DAG."""

import argparse
import math
import signal
import sys
import time
from pathlib import Path
from typing import Dict, List

from tools import ROOT
from tools.bench.contenders import CONTENDERS, PARSES, PASSES
from tools.setup.environments import add_airflow
from tools.terminal import help_texts, print_status, run_command, typed_path

SUMMARY = "measure what the factory costs beside a hand-written loop and its peers"
EXAMPLES = {
    "./etl bench": "everything, some 20 minutes; writes docs/performance.md",
    "./etl bench --quick": "a minute, only printed",
    "./etl bench ceiling --postgresql": "how many providers one DAG file can carry, on PostgreSQL as well",
    "./etl bench check": "what ./etl check of a thousand DAGs takes, beside reading their YAML",
    "./etl bench --contenders loop,factory --sizes 1000": "one comparison, only printed",
    "./etl bench --airflow 3 --sizes 1000": "parses of a newer Airflow, only printed",
    "./etl bench fuzz --minutes 30": "definitions at random: ./etl bench fuzz --help",
}
NOTES = "exit status: 0 measured, 1 it cannot be measured, 2 wrong use"
FUZZ_EXAMPLES = {
    "./etl bench fuzz --minutes 30": "half an hour of new definitions",
    "./etl bench fuzz --minutes 1 --seed 7": "the same definitions each time",
}
FUZZ_NOTES = "exit status: 0 nothing failed, 1 something did, 2 wrong use"
DOCUMENT = ROOT / "docs" / "performance.md"
PICTURE = "images/performance.svg"  # beside the document
PARTS = ("peers", "ceiling", "check")
SIZES = (1, 10, 100, 1000, 10_000)
QUICK = (1, 10, 100)


def parse(arguments: List[str]) -> argparse.Namespace:
    """Return the parsed command line; exit with status 2 if it makes no sense."""
    if arguments[:1] == ["fuzz"]:
        return parse_fuzz(arguments[1:])
    description = "Measure what the factory costs beside others that make the same DAGs."
    parser = argparse.ArgumentParser(prog="./etl bench", **help_texts(description, EXAMPLES, NOTES))
    parser.add_argument("parts", metavar="PART", nargs="*", help=f"{' or '.join(PARTS)} (default: all), or fuzz")
    parser.add_argument("--sizes", type=numbers, help="numbers of providers; default: 1,10,100,1000,10000")
    parser.add_argument("--contenders", type=names, help=f"some of {','.join(CONTENDERS)}; default: all")
    parser.add_argument("--repeats", type=int, help="rounds, of which the median counts; default: 5")
    parser.add_argument("--quick", action="store_true", help="one round of 1, 10 and 100 providers")
    parser.add_argument(
        "--postgresql", action="store_true", help="the ceiling on PostgreSQL as well, from Debian's package"
    )
    parser.add_argument(
        "--output",
        type=typed_path,
        metavar="FILE",
        help="document to write the figures into; default: docs/performance.md for everything, none for less",
    )
    add_airflow(parser)
    options = parser.parse_args(arguments)
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    if options.repeats is not None and options.repeats < 1:
        parser.error("there is at least one round: --repeats 1")
    is_newer = options.airflow != "2.2.2"
    is_less = options.quick or options.sizes or options.contenders or options.repeats or is_newer
    if options.output is None and not is_less:
        options.output = DOCUMENT
    options.parts = options.parts or (PARTS[:1] if is_less else PARTS)
    options.sizes = options.sizes or (QUICK if options.quick else SIZES)
    options.repeats = options.repeats or (1 if options.quick else 5)
    if is_newer and options.parts != PARTS[:1]:
        parser.error("of a newer Airflow, only parses are measured: ./etl bench peers --airflow 3")
    options.rows = PARSES if is_newer else (*PARSES, *PASSES)
    everybody = [name for name, contender in CONTENDERS.items() if not (is_newer and contender.is_peer)]
    options.contenders = options.contenders or everybody
    return options


def parse_fuzz(arguments: List[str]) -> argparse.Namespace:
    """Return the parsed command line of ./etl bench fuzz; exit with status 2 if it makes no sense."""
    description = (
        "Try random definitions: valid ones, which must become just the DAGs that a simple model of the layers has,"
        " and broken ones, which may disable nothing but themselves; and templates, which Airflow renders if they are"
        " allowed, and which must reach nothing but their values. What fails is kept in tests/data/fuzz/, which"
        " ./etl test tries again."
    )
    parser = argparse.ArgumentParser(prog="./etl bench fuzz", **help_texts(description, FUZZ_EXAMPLES, FUZZ_NOTES))
    parser.add_argument("--minutes", type=float, default=5, help="how long (default: 5)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="to repeat a run (default: the time)")
    options = parser.parse_args(arguments)
    if not 0 < options.minutes < math.inf:  # nan is neither
        parser.error("it takes some time: --minutes 1")
    return options


def numbers(text: str) -> List[int]:
    """Return numbers of providers, the smallest first; as an argparse type."""
    sizes = sorted({int(number) for number in text.split(",")})
    if sizes[0] < 1:
        raise ValueError
    return sizes


def names(text: str) -> List[str]:
    """Return names of contenders; as an argparse type."""
    unknown = set(text.split(",")) - set(CONTENDERS)
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}; known: {', '.join(CONTENDERS)}")
    return [name for name in CONTENDERS if name in text.split(",")]


def main(arguments: List[str]) -> int:
    """Measure, print and write; return the exit status."""
    options = parse(arguments)
    if arguments[:1] == ["fuzz"]:
        from tools.fuzzing import trials

        return trials.run(options.minutes, options.seed)
    return measure(options)


def measure(options: argparse.Namespace) -> int:
    """Compare the contenders and find the ceiling; return the exit status."""
    from rich.console import Console

    from tools.bench import ceiling, checking, plot, report
    from tools.bench.race import BenchError, race
    from tools.local.processes import Died
    from tools.setup.environments import PEERS, SetupError, is_current

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left in memory
    started = time.monotonic()
    texts: Dict[str, str] = {}
    try:
        with Console(stderr=True).status("") as status:
            if "peers" in options.parts:
                is_ours = options.airflow == "2.2.2" and is_current(PEERS)
                python = PEERS.python if is_ours else Path(sys.executable)
                wanted = options.sizes, options.contenders, options.repeats
                figures = race(python, *wanted, status.update, options.rows)
                texts["peers"] = report.report(figures, options.sizes, options.contenders)
            if "ceiling" in options.parts:
                texts["ceiling"] = ceiling.report(ceiling.measure(status.update, options.postgresql))
            if "check" in options.parts:
                texts["check"] = checking.report(checking.measure(status.update, options.repeats))
    except (BenchError, SetupError, Died) as error:
        print_status(str(error), "etl bench")
        return 1
    except KeyboardInterrupt:
        print_status("interrupted; nothing is written", "etl bench")
        return 130
    print("\n\n".join(texts.values()))
    print_status(f"measured in {(time.monotonic() - started) / 60:.0f} minutes")
    if options.output:
        for part, text in texts.items():
            report.put(options.output, part, text)
        if "peers" in texts:
            picture = options.output.parent / PICTURE
            picture.parent.mkdir(exist_ok=True)
            picture.write_text(plot.svg(figures), encoding="utf-8")
        print_status(f"wrote {options.output}")
    return 0


if __name__ == "__main__":
    run_command(main)
