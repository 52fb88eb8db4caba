"""Problems: what is wrong in a definition, where, and what to write instead."""

import difflib
import logging
import textwrap
import traceback
from datetime import date
from itertools import islice
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

KeyPath = Tuple[Any, ...]  # keys and list indexes that lead from the top of a file to a value

# To compare two names takes difflib 10 us, and of 50 characters up to 0.3 ms; a banner holds some hundred problems.
MAX_PROBLEMS = 5000  # of a file: one takes 30 us, and nobody reads as many
MAX_SUGGESTIONS = 100  # of a file
MAX_COMPARISONS = 5000  # of a file
MAX_COMPARED = 1000  # names
MAX_COMPARED_LENGTH = 50  # characters
LIKENESS = 0.6  # of two names, from which one may be meant by the other: difflib's own default
MAX_LISTED = 20  # names in "known: ..."
MAX_MESSAGE = 1000  # characters of a message or a hint, which may quote what a file holds
MAX_NAMED = 3  # providers or DAGs that share a mistake


class Location(NamedTuple):
    """A place in a file.

    ``path`` starts at the DAGs folder; ``line`` and ``column`` count from 1, in characters; ``source`` is the text
    of that line and ``width`` the number of characters to mark in it.
    """

    path: str
    line: int = 1
    column: int = 1
    source: str = ""
    width: int = 1

    @property
    def marked(self) -> str:
        """The text that is marked."""
        return self.source[self.column - 1 : self.column - 1 + self.width]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"  # as editors open it


class Problem(NamedTuple):
    """A mistake in a definition, for the person who made it.

    ``names`` are the keys and names that the problem is about: without them there would be no such problem.
    ``provider`` is the one that has the problem, if it may be that others do not; see :func:`name_providers`.
    """

    location: Location
    message: str
    hint: str = ""
    rule: str = "schema"
    names: Tuple[str, ...] = ()
    provider: str = ""

    def __str__(self) -> str:
        before, marked, after = self._excerpt
        return self._report(f"{before}{marked}{after}", f"{' ' * len(before)}{'^' * max(1, len(marked))}")

    @property
    def for_web_page(self) -> str:
        """The same for a font of letters that differ in width, such as the banner's: carets would stand elsewhere."""
        before, marked, after = self._excerpt
        return self._report(f"{before}>>{marked}<<{after}")

    @property
    def _excerpt(self) -> Tuple[str, str, str]:
        """What stands before the marked text in its line, that text, and what comes after; some 120 characters."""
        _, _, column, source, width = self.location
        start, first, last = max(0, column - 80), column - 1, column - 1 + width
        end = start + 120
        return source[start:first], source[first : min(last, end)], source[last:end]

    def _report(self, *excerpt: str) -> str:
        """Return the text of the problem, with the line that it is about, and what stands below that line."""
        lines = [f"{self.location}: {self.message} [{self.rule}]"]
        if self.location.source:
            lines += [f"   {margin:>4} | {text}" for margin, text in zip((self.location.line, ""), excerpt)]
        if self.hint:
            # The web page's banner cuts a line that is longer than the page is wide.
            lines += textwrap.wrap(self.hint, 110, initial_indent="        = ", subsequent_indent="          ")
        # PostgreSQL stores neither NUL nor half a surrogate pair; one of them would keep every DAG of the file out.
        return "\n".join("".join(c if c.isprintable() else " " for c in line) for line in lines)

    def __repr__(self) -> str:
        return str(self)  # pytest prints it, and ``names`` may quote what a report does not


class Rejected(Exception):
    """A file that gives no definition at all; the arguments are its problems."""


class AmbiguousInteger:
    """An integer that YAML 1.1 reads otherwise than people do: ``010`` is 8, ``1:30`` is 90, ``1_000`` is 1000."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:  # it may be a key, which is looked up
        return isinstance(other, AmbiguousInteger) and other.value == self.value

    def __hash__(self) -> int:
        return hash(("AmbiguousInteger", self.value))


def in_order(problems: Iterable[Problem]) -> List[Problem]:
    """Return problems in the order of files and places, each once."""
    return sorted(set(problems), key=lambda problem: (problem.location[:3], problem[1:], problem.location))


def name_providers(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Merge the problem that several providers have into one that names them, at the place of the first."""
    merged: Dict[Any, Tuple[Problem, Dict[str, None]]] = {}
    for problem in problems:
        # Providers share the place of a template; of what else names a provider, each has its own.
        place = problem.location if problem.rule == "template" or not problem.provider else None
        merged.setdefault((problem.message, problem.rule, place), (problem, {}))[1][problem.provider] = None
    for problem, providers in merged.values():
        message = problem.message
        if problem.provider and (len(providers) > 1 or problem.rule == "template"):
            noun, names = "provider" if len(providers) == 1 else "providers", [f"'{name[:60]}'" for name in providers]
            message += f", for {noun} {listed(names)}"
        yield problem._replace(message=message, provider="")


def listed(names: Sequence[str], limit: int = MAX_NAMED) -> str:
    """Name them, or the first of many and how many more there are."""
    more = len(names) - limit
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:limit])} and {more} more"


def describe(value: Any) -> str:
    """Return how a message names a value that YAML has read."""
    if value is None:
        return "nothing"
    if isinstance(value, AmbiguousInteger):
        return f"what YAML 1.1 reads as the number {value.value}"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {str(value)[:40]}"
    if isinstance(value, date):
        return f"the date {value}"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    return {"dict": "a mapping", "list": "a list"}.get(type(value).__name__, f"a {type(value).__name__}")


def closest(name: Any, known: Iterable[str], likeness: float = LIKENESS) -> Optional[str]:
    """Return the known name that was probably meant, or None if none is close; ``likeness`` is difflib's ratio."""
    if len(str(name)) > MAX_COMPARED_LENGTH:
        return None
    names = sorted(each for each in islice(known, MAX_COMPARED) if len(each) <= MAX_COMPARED_LENGTH)
    return next(iter(difflib.get_close_matches(str(name), names, 1, likeness)), None)


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    """Return a hint: the known name that was probably meant, or else the known names; "" if there are none."""
    names = sorted(islice(known, MAX_COMPARED))
    meant = closest(name, names)
    if meant is not None:
        return f"did you mean '{meant}'?"
    return f"known: {listed(names, MAX_LISTED)}" if names else ""


def non_text_key(key: Any) -> Tuple[str, str]:
    """Return message and hint for a key that is not text."""
    return f"expected text as a key, got {describe(key)}", "quote it, or leave it out"


def internal_error(path: str, error: Exception, is_quoted: bool = True) -> Problem:
    """Return the problem for an exception of our own code, which must not disable other DAGs; log its traceback.

    Args:
        path: The file's.
        error: The exception.
        is_quoted: Whether its text can be shown: it may hold any value of the file.

    Raises:
        Exception: ``error`` itself, if it is Airflow's import timeout: its alarm comes only once, and half the DAGs
            of a parse must not pass for all of them.
    """
    if type(error).__name__ == "AirflowTaskTimeout":  # by name: nothing here imports Airflow
        raise error
    message = f"the factory failed: {type(error).__name__}" + (f": {error}" if is_quoted else "")
    trace = "".join(traceback.format_tb(error.__traceback__))
    logging.getLogger(__name__).error("%s: %s\n%s", path, message, trace)
    return Problem(Location(path), message, "this is an error of the factory; the log has its traceback", "internal")


def takes_too_long(path: str) -> Problem:
    """Return the problem of a file that is left out of a pass, as it would take the time of all others."""
    hint = "split it into several pipelines; if it is a small file, this is an error of the factory"
    return Problem(Location(path), "takes too much of the scheduler's time", hint, "internal")
