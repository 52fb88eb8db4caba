"""What the commands share of the command line and the terminal: parsers, status lines, progress, colours."""

import argparse
import errno
import os
import signal
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Mapping, NoReturn, Sequence, TypeVar

if TYPE_CHECKING:  # the help texts need the standard library alone
    from rich.console import Console

T = TypeVar("T")
PATIENCE = 1.0  # seconds until a person sees a progress bar
HELP_WIDTH = 100


def help_texts(description: str, examples: Mapping[str, str], notes: str = "") -> Dict[str, Any]:
    """Return the texts of a command's help, as arguments of an ArgumentParser.

    Args:
        description: What the command does, in one or two sentences.
        examples: What each command line does.
        notes: What to know besides; its lines are kept.
    """
    width = max(map(len, examples))
    lines = [f"  {example:<{width}}  {purpose}".rstrip() for example, purpose in examples.items()]
    return {
        "description": textwrap.fill(description, HELP_WIDTH),
        "epilog": "\n".join(["examples:", *lines, *(["", notes.strip()] if notes else [])]),
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }


def typed_path(text: str) -> Path:
    """Return a path that is relative to where it was typed: ./etl changes to the checkout."""
    return Path(os.environ.get("ETL_FOLDER", os.curdir)) / text


def printable(text: str, keep: str = "\n\t") -> str:
    r"""Return a text for a person with whatever does not print written as \u202e.

    Anybody may have written a name or a value: control characters would change what a terminal or the log of a build
    shows of everything else, and those of right-to-left writing what a line seems to say.
    """
    others = {c for c in text if not c.isprintable()} - {*keep}
    return text.translate({ord(c): f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}" for c in others})


def print_status(text: str, program: str = "etl") -> None:
    """Print a line about progress or failure; the standard output holds the answer alone."""
    print(f"{program}: {printable(text)}", file=sys.stderr, flush=True)


def run_command(main: Callable[[List[str]], int]) -> NoReturn:
    """Run a command with this process's arguments, and exit.

    An output that cannot be written and Ctrl-C are no tracebacks; a command that can say more of Ctrl-C does so itself.
    """
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # one of the time of the imports arrives here
        status = main(sys.argv[1:])
        if sys.stdout:
            sys.stdout.flush()
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EDQUOT):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python tries once more at its end
        if error.errno != errno.EPIPE:  # `| head` is no error
            print_status(f"the output cannot be written: {error.strerror}")
        status = 1
    except KeyboardInterrupt:
        print_status("interrupted")
        status = 130
    sys.exit(status)


def console() -> "Console":
    """Return the standard output: in colours and no wider than a terminal; a file or pipe gets unfolded lines."""
    from rich.console import Console

    plain = Console(highlight=False, markup=False, emoji=False)
    return plain if plain.is_terminal else Console(highlight=False, markup=False, emoji=False, width=10_000)


def with_progress(items: Sequence[T], activity: str) -> Iterator[T]:
    """Yield the items one by one; after a second, show the progress on a terminal."""
    started, progress, bar = time.monotonic(), None, None
    try:
        for number, item in enumerate(items):
            if progress is None and sys.stderr.isatty() and time.monotonic() - started > PATIENCE:
                from rich.console import Console
                from rich.progress import Progress

                progress = Progress(console=Console(stderr=True), transient=True)
                progress.start()
                bar = progress.add_task(activity, total=len(items))
            if progress is not None and bar is not None:
                progress.update(bar, completed=number)
            yield item
    finally:
        if progress is not None:
            progress.stop()


def confirm(question: str) -> bool:
    """Ask the person at the terminal; without a terminal, the command line has given the answer already."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return True
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def count(number: int, noun: str) -> str:
    """Return '1 file' or '2 files'."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
