"""./etl bench: what the factory costs beside a hand-written loop, its peers, and one file a DAG."""

import argparse
import importlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Dict, List

from rich.console import Console

from tools.bench import ceiling, plot, report
from tools.bench.contenders import CONTENDERS
from tools.bench.race import BenchError, race
from tools.environments import PEERS, ROOT, SetupError, is_current, say
from tools.local.processes import Died

DOCUMENT = ROOT / "docs" / "performance.md"
PICTURE = "images/performance.svg"  # beside the document
PARTS = ("peers", "ceiling")
SIZES = (1, 10, 100, 1000, 10_000)
QUICK = (1, 10, 100)
EPILOG = """\
examples:
  ./etl bench                                                 everything, some 20 minutes; writes docs/performance.md
  ./etl bench --quick                                         a minute, only printed
  ./etl bench --contenders loop,factory --sizes 1000          one comparison, only printed
  ./etl bench fuzz --minutes 30                               definitions at random: ./etl bench fuzz --help

Exit status: 0 measured, 1 it cannot be measured, 2 wrong use."""


def main(arguments: List[str]) -> int:
    """Measure, print and write; gives the exit status."""
    if arguments[:1] == ["fuzz"]:
        return int(importlib.import_module("tools.fuzzing.trials").main(arguments[1:]))
    options = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left in memory
    started = time.monotonic()
    texts: Dict[str, str] = {}
    try:
        with Console(stderr=True).status("") as status:
            if "peers" in options.parts:
                python = PEERS.python if is_current(PEERS) else Path(sys.executable)
                figures = race(python, options.sizes, options.contenders, options.repeats, status.update)
                texts["peers"] = report.report(figures, options.sizes, options.contenders)
            if "ceiling" in options.parts:
                texts["ceiling"] = ceiling.report(ceiling.measure(status.update, options.postgresql))
    except (BenchError, SetupError, Died) as error:
        print(f"etl bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("etl bench: interrupted; nothing is written", file=sys.stderr)
        return 130
    print("\n\n".join(texts.values()))
    say(f"measured in {(time.monotonic() - started) / 60:.0f} minutes")
    if options.output:
        for part, text in texts.items():
            report.put(options.output, part, text)
        if "peers" in texts:
            picture = options.output.parent / PICTURE
            picture.parent.mkdir(exist_ok=True)
            picture.write_text(plot.svg(figures), encoding="utf-8")
        say(f"wrote {options.output}")
    return 0


def parse(arguments: List[str]) -> argparse.Namespace:
    """Give what was typed; exits with status 2 where it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="./etl bench",
        description="Measure what the factory costs beside others that make the same DAGs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", metavar="PART", nargs="*", help=f"{' or '.join(PARTS)}; default: both")
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
    options = parser.parse_args(arguments)
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    if options.repeats is not None and options.repeats < 1:
        parser.error("there is at least one round: --repeats 1")
    is_less = options.quick or options.sizes or options.contenders or options.repeats
    if options.output is None and not is_less:
        options.output = DOCUMENT
    options.parts = options.parts or (PARTS[:1] if is_less else PARTS)
    options.sizes = options.sizes or (QUICK if options.quick else SIZES)
    options.repeats = options.repeats or (1 if options.quick else 5)
    options.contenders = options.contenders or list(CONTENDERS)
    return options


def numbers(text: str) -> List[int]:
    """Read numbers of providers, the smallest first."""
    found = sorted({int(number) for number in text.split(",")})
    if found[0] < 1:
        raise ValueError
    return found


def names(text: str) -> List[str]:
    """Read names of contenders."""
    unknown = set(text.split(",")) - set(CONTENDERS)
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}; known: {', '.join(CONTENDERS)}")
    return [name for name in CONTENDERS if name in text.split(",")]


def typed_path(text: str) -> Path:
    """Read a path, which is relative to where it was typed: ./etl changes to the checkout."""
    return Path(os.environ.get("ETL_FOLDER", os.curdir)) / text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
