"""A YAML file -> its data, and the place of each value in the file."""

import os
import re
import stat
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, Iterable, Iterator, List, Optional, Set, Tuple

import yaml
from yaml.composer import Composer, ComposerError
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.cyaml import CParser  # type: ignore[attr-defined]
from yaml.resolver import Resolver

from .credentials import HINT, find_credentials, find_in_broken, find_in_comments, may_have_credentials
from .problems import (
    MAX_COMPARED,
    MAX_COMPARISONS,
    MAX_MESSAGE,
    MAX_SUGGESTIONS,
    AmbiguousInteger,
    KeyPath,
    Location,
    Problem,
    Rejected,
    describe,
    did_you_mean,
    non_text_key,
)
from .syntax import NOTICED_LATE, describe_syntax

# libyaml reads about 0.5 MB/s, and a file is read every 30 s: 512 KiB are some 10,000 providers.
MAX_FILE_BYTES = 512 * 1024

# ------------------------------------------------------------------------------------------------- text -> data

MAX_DEPTH = 50
MAX_VALUES = 30_000  # keys and values as they are written: 10,000 providers of 3 tasks fit
MAX_NUMBER = 100  # characters: reading a number takes the square of them
MAX_TEMPLATES = 2**16  # characters of different texts with a brace: to parse and check them takes 0.5 s
MAX_HANDLES = 10  # of tags: libyaml compares each with all before it, in one call
MAX_NUMBER_KEYS = 100  # of a mapping: numbers with the same hash are compared with one another
MAX_SEARCHED = 2**21  # characters, for the places of names within templates: 0.3 us each
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
TEXT = "tag:yaml.org,2002:str"
MERGE, VALUE = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:value"  # of << and = without quotes


class Loader(Composer, CParser, SafeConstructor, Resolver):
    """Plain data of one YAML document, from libyaml's events.

    Not ``yaml.CSafeLoader``: its composer recurses in C, and 50,000 brackets end the process with a segmentation
    fault (measured with libyaml 0.2.5). This one also finds duplicate keys, and takes 1.5 times as long: 25 ms instead
    of 17 for 1,000 providers.
    """

    def __init__(self, text: str) -> None:
        CParser.__init__(self, text)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        self.depth = self.values = 0
        self.templates: Set[str] = set()
        self.templated = 0  # characters of them
        self.mistakes: List[Tuple[yaml.Node, str, str]] = []  # keys, each with message and hint

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node, but neither an alias, nor one with a tag, nor one beyond the limits."""
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent):  # 9 lines of them can stand for a billion values
            raise ComposerError(None, None, "aliases (*) are not part of the language", event.start_mark)
        if event.tag is not None:  # PyYAML raises KeyError, IndexError and others for !!bool maybe, !!int '' and so on
            raise ComposerError(None, None, "tags (!) are not part of the language", event.start_mark)
        if self.depth == MAX_DEPTH:
            raise ComposerError(None, None, f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
        if self.values == MAX_VALUES:
            raise ComposerError(None, None, f"more than {MAX_VALUES} keys and values", event.start_mark)
        self.depth += 1
        self.values += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(node, yaml.ScalarNode) and "{" in node.value and node.value not in self.templates:
            self.templates.add(node.value)
            self.templated += len(node.value)
            if self.templated > MAX_TEMPLATES:
                message = f"more than {MAX_TEMPLATES} characters of templates"
                raise ComposerError(None, None, message, node.start_mark)
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Construct a value; one that cannot be, such as the date 2022-13-45, is an error of YAML."""
        if len(node.value) > MAX_NUMBER and node.tag in NUMBERS:
            raise ConstructorError(None, None, f"a number of more than {MAX_NUMBER} characters", node.start_mark)
        try:
            return super().construct_object(node, deep)  # type: ignore[no-untyped-call]
        except (ValueError, OverflowError) as error:
            raise ConstructorError(None, None, str(error), node.start_mark) from error

    def flatten_mapping(self, node: Any) -> None:
        """Refuse more keys that are numbers than there may be, and to merge a mapping, which only aliases need."""
        numbers = 0
        for key, _ in node.value:
            if key.tag == TEXT:
                continue
            if key.tag == MERGE:
                raise ConstructorError(None, None, "merging (<<) is not part of the language", key.start_mark)
            numbers += key.tag in NUMBERS
            if numbers > MAX_NUMBER_KEYS:
                raise ConstructorError(None, None, f"more than {MAX_NUMBER_KEYS} keys are numbers", key.start_mark)

    def construct_mapping(self, node: Any, deep: bool = False) -> Dict[Any, Any]:
        """Construct a mapping and note the keys that stand twice, or have nothing behind them."""
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            seen = set()
            for key, _ in node.value:
                if (key.tag, key.value) in seen:
                    message = f"duplicate key '{key.value[:60]}'"
                    self.mistakes.append((key, message, "YAML would take the last one silently"))
                seen.add((key.tag, key.value))
        for key, value in node.value if None in mapping.values() else ():
            is_empty = key.end_mark.index == value.end_mark.index
            if is_empty and ":" in key.value and not key.style:  # as YAML reads {a:b}
                self.mistakes.append((key, "a key without a value", "write a blank behind the colon"))
        return mapping

    def construct_yaml_int(self, node: Any) -> Any:
        """Construct an int, or an AmbiguousInteger if people read it otherwise than YAML 1.1."""
        value = super().construct_yaml_int(node)
        return value if re.fullmatch(r"-?(0|[1-9][0-9]*)", node.value) else AmbiguousInteger(value)


Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)  # type: ignore[type-var]
for tag in (MERGE, VALUE):  # text, as in YAML 1.2
    Loader.add_constructor(tag, Loader.construct_yaml_str)  # type: ignore[type-var]


# --------------------------------------------------------------------------------------------- data and places


HIDDEN = "not shown while a credential is written down", "remove the credential first"  # message and hint


class Document:
    """A YAML file that was read: path, text and data. It computes the place of a value only when asked.

    Attributes:
        path: From the DAGs folder's name on, as people know the file.
        text: The file's content.
        data: What YAML reads there, a mapping whose keys at the top are text.
        problems: The keys that stand twice, or have nothing behind them.
        credentials: The problem of each credential that is written down, by the path of its value.
    """

    def __init__(self, path: str, text: str) -> None:
        self.path, self.text = path, text
        self.problems: List[Problem] = []
        self.credentials: Dict[KeyPath, Problem] = {}
        self._to_search = MAX_SEARCHED
        self._suggestions, self._comparisons = MAX_SUGGESTIONS, MAX_COMPARISONS
        self._marks: Dict[Tuple[int, str, bool], Any] = {}
        self._lines: List[str] = []
        self._root: Any = None
        self._children: Dict[int, Dict[Any, Tuple[Any, Any]]] = {}
        self._is_quoted = True  # whether problems show lines
        self._secret_line = 0  # of a credential: with one, problems show only a place and a rule
        loader = Loader(text)
        try:
            if len(re.findall("(?:^|[\r\n\x85\u2028\u2029])%TAG", text)) > MAX_HANDLES:  # all line ends of YAML
                raise yaml.YAMLError("tag handle")
            self._root = loader.get_single_node()
            self._find_credentials()
            self.data: Any = loader.construct_document(self._root) if self._root else None  # type: ignore[no-untyped-call]
        except yaml.YAMLError as error:
            if self._root is None:
                self._find_credentials()
            raise self._rejected(self._syntax_problem(error)) from None  # it quotes the text
        if not isinstance(self.data, dict):
            raise self._rejected(self.problem((), f"expected a mapping, got {describe(self.data)}"))
        odd = [key for key in self.data if not isinstance(key, str)]
        if odd:
            raise self._rejected(*(self.problem((key,), *non_text_key(key), at_key=True) for key in odd))
        for key, message, hint in loader.mistakes:
            self.problems.append(self._problem_at(self._location_of(key), message, hint))

    @property
    def lines(self) -> List[str]:
        """The lines of the file."""
        if not self._lines:
            self._lines = self.text.splitlines() or [""]
        return self._lines

    def did_you_mean(self, name: Any, known: Iterable[str]) -> str:
        """Return the hint for an unknown name, for the first of the file; after these ""."""
        if self._suggestions <= 0 or self._comparisons <= 0:
            return ""
        names = list(islice(known, MAX_COMPARED))
        self._suggestions -= 1
        self._comparisons -= len(names)
        return did_you_mean(name, names)

    def location(self, path: KeyPath, at_key: bool = False, within: str = "", in_template: bool = False) -> Location:
        """Return the place of a value, or of the nearest one above it if there is none.

        Args:
            path: Leads to the value.
            at_key: Return the place of its key instead.
            within: Return the place of this text in the value instead, if it is there.
            in_template: Look for ``within`` inside of templates first: it may also be a word beside one.
        """
        key, value = None, self._root
        for part in path:
            pair = self._child(value, part)
            if pair is None:
                at_key = True
                break
            key, value = pair
        is_text = isinstance(value, yaml.ScalarNode) and value.value
        node = key if key is not None and (at_key or not is_text) else value
        if within and node is value and is_text:
            key_of_mark = id(node), within, in_template
            if key_of_mark not in self._marks:  # thousands of providers may have the same mistake
                mark = self._find(node, within, in_template=True) if in_template else None
                self._marks[key_of_mark] = mark or self._find(node, within)
            if self._marks[key_of_mark]:
                return self._location(self._marks[key_of_mark], len(within))
        return self._location_of(node)

    def provider_lines(self) -> Dict[str, int]:
        """Return the line of each provider: to find the places of thousands one by one takes 10 us each."""
        _, node = self._child(self._root, "providers") or (None, None)
        return {key.value: key.start_mark.line + 1 for key, _ in node.value} if node else {}

    def problem(
        self,
        path: KeyPath,
        message: str,
        hint: str = "",
        rule: str = "schema",
        at_key: bool = False,
        within: str = "",
        names: Iterable[str] = (),
    ) -> Problem:
        """Return the problem of a value; see :meth:`location`. ``{source}`` in the hint becomes the text marked."""
        location = self.location(path, at_key, within, in_template=rule == "template")
        return self._problem_at(location, message, hint, rule, names)

    def _problem_at(
        self, location: Location, message: str, hint: str = "", rule: str = "schema", names: Iterable[str] = ()
    ) -> Problem:
        """Return a problem; of a file with a credential, another one is only a place and a rule."""
        if self._secret_line and rule != "secret":
            return Problem(location, HIDDEN[0], f"{HIDDEN[1]}, in line {self._secret_line}", rule, tuple(names))
        if "{source}" in hint:
            # A value with quotes or a tag, or of several lines is not what to write.
            is_plain = re.fullmatch(r"[\w.:+ -]+", location.marked)
            hint = hint.replace("{source}", location.marked[:60]) if is_plain else hint.partition(":")[0]
        message, hint = (f"{text[:MAX_MESSAGE]}..." if len(text) > MAX_MESSAGE else text for text in (message, hint))
        return Problem(location, message, hint, rule, tuple(names))

    def _find(self, node: Any, text: str, in_template: bool = False) -> Any:
        """Return the mark of a text in the first line of a node that has it, or has it in a template; None if none."""
        is_inside = False  # a template may be several lines long
        for line, start, end in self._spans(node) if self._to_search > 0 else ():
            self._to_search -= end - start
            if in_template:
                column, is_inside = find_in_template(self.lines[line], text, start, end, is_inside)
            else:
                column = self.lines[line].find(text, start, end)
            if column >= 0:
                return SimpleNamespace(line=line, column=column)
        return None

    def _spans(self, node: Any) -> Iterator[Tuple[int, int, int]]:
        """Yield the lines of a node, each with the column where the node begins in it and the one before which it ends.

        Lines and columns count from 0.
        """
        first, last = node.start_mark, node.end_mark
        for line in range(first.line, min(last.line + 1, len(self.lines))):
            start = first.column if line == first.line else 0
            yield line, start, last.column if line == last.line else len(self.lines[line])

    def _location_of(self, node: Any) -> Location:
        """Return the place of a node, or of the file's start for None."""
        if isinstance(node, yaml.ScalarNode) and node.end_mark.line == node.start_mark.line:
            return self._location(node.start_mark, node.end_mark.column - node.start_mark.column)
        return self._location(node and node.start_mark)

    def _location(self, mark: Any, width: int = 1) -> Location:
        """Return the place of a mark of YAML's, whose line and column count from 0."""
        line = min(mark.line, len(self.lines) - 1) if mark else 0
        column = min(mark.column, len(self.lines[line])) if mark else 0
        return Location(self.path, line + 1, column + 1, self.lines[line] if self._is_quoted else "", width)

    def _find_credentials(self) -> None:
        """Find the credentials, and show no line if there is one, or could be one in what YAML cannot read.

        One in a comment is for `./etl check` to report: it is not in the DAG, and only sounds like one at times.
        """
        if not may_have_credentials(self.text):
            return
        self._is_quoted = False
        found = [(path, self._location_of(node), text) for path, node, text in find_credentials(self._root)]
        for line, column, text in () if self._root else find_in_broken(self.text):
            found.append(((line,), self._location(SimpleNamespace(line=line, column=column)), text))
        for path, location, message in found:
            self.credentials[path] = Problem(location, message, HINT, "secret")
        in_comments = (line + 1 for line, _, _ in find_in_comments(self.text))
        self._secret_line = found[0][1].line if found else next(in_comments, 0)
        self._is_quoted = bool(self._root) and not self._secret_line

    def _rejected(self, *problems: Problem) -> Rejected:
        return Rejected(*self.credentials.values(), *problems)

    def _child(self, node: Any, part: Any) -> Optional[Tuple[Any, Any]]:
        """Return the nodes of key and value below a node; a list's item has None for a key."""
        if isinstance(node, yaml.MappingNode):
            if id(node) not in self._children:  # a mapping of thousands may have thousands of problems
                loader, pairs = Loader(""), [pair for pair in node.value if isinstance(pair[0], yaml.ScalarNode)]
                self._children[id(node)] = {loader.construct_object(key): (key, value) for key, value in pairs}
            return self._children[id(node)].get(part)
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            return None, node.value[part]
        return None

    def _syntax_problem(self, error: yaml.YAMLError) -> Problem:
        for number, of_git in enumerate(self.lines):
            if re.match(r"(?:<{7}|={7}|>{7})(?: |$)", of_git):
                place = self._location(SimpleNamespace(line=number, column=0))
                hint = "keep one side, and delete the lines <<<<<<<, ======= and >>>>>>>"
                return self._problem_at(place, "not YAML: a conflict of Git's", hint)
        mark, begin = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
        said = ", ".join(
            part for part in (getattr(error, "context", ""), getattr(error, "problem", str(error))) if part
        )
        if isinstance(error, yaml.reader.ReaderError):  # its position counts bytes
            before = self.text.encode()[: error.position].decode(errors="replace")
            line, column = end_of(before)
            said, mark = error.reason, SimpleNamespace(line=line - 1, column=column - 1)
        place = self._location(mark)
        line_text = self.lines[place.line - 1]
        message, hint = describe_syntax(said, line_text, place.column - 1, begin.line + 1 if begin else place.line)
        if message in NOTICED_LATE and begin:
            place = self._location(begin)
        return self._problem_at(place, f"not YAML: {message}", hint)


TOKENS = re.compile(r"\{[{%]|[%}]\}|\w+|\S")  # of a template


def find_in_template(line: str, name: str, start: int, end: int, is_inside: bool) -> Tuple[int, bool]:
    """Return the column of a name inside of a template of a line, or -1, and whether a template goes on after it.

    Args:
        line: The line.
        name: The name.
        start: The column to begin with.
        end: The one to end before.
        is_inside: Whether a template of the lines before goes on at ``start``.
    """
    for match in TOKENS.finditer(line, start, end):
        token, after = match.group(), match.start() + len(name)
        if is_inside and line.startswith(name, match.start()) and not re.match(r"\w", line[after : after + 1]):
            return match.start(), True
        is_inside = token in ("{{", "{%") or (is_inside and token not in ("}}", "%}"))
    return -1, is_inside


def end_of(text: str) -> Tuple[int, int]:
    """Return line and column, from 1, of what comes after a text; YAML knows more line ends than LF."""
    lines = f"{text}|".splitlines()
    return len(lines), len(lines[-1])


def value_at(data: Any, path: KeyPath) -> Any:
    """Return the value at a path of plain data.

    Raises:
        LookupError, TypeError: There is none.
    """
    for part in path:
        data = data[part]
    return data


def has_value(data: Any, path: KeyPath) -> bool:
    """Return whether there is a value at a path of plain data."""
    try:
        value_at(data, path)
    except (LookupError, TypeError):
        return False
    return True


# ------------------------------------------------------------------------------------------------ file -> text


RELEASE = re.compile("[0-9a-f]{16}")


def home_of(root: Path) -> Path:
    """Return the folder of the DAGs folder that a root is, or that it is a release of: ``<home>/releases/<id>``."""
    return root.parents[1] if root.parent.name == "releases" and RELEASE.fullmatch(root.name) else root


def display_path(root: Path, file: Path) -> str:
    """Return the path by which people know a file: as in a checkout, from the DAGs folder's name on."""
    home = home_of(root)
    path = Path(home.parent.name, home.name) / file.relative_to(root)
    return os.fsencode(str(path)).decode(errors="replace")


def open_regular(path: str, flags: int) -> int:
    """Open as an opener of open(): no link, which may lead anywhere, and a pipe without waiting for its writer."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)


def read_document(root: Path, file: Path) -> Document:
    """Read a definition: a regular file (no link, pipe or device) of UTF-8, at most 512 KiB.

    Raises:
        Rejected: There is no such file, or it holds no mapping.
    """
    path = display_path(root, file)

    def rejected(message: str, hint: str) -> Rejected:
        return Rejected(Problem(Location(path), message, hint))

    if os.path.islink(file):
        raise rejected("is a link", "put the definition itself here")
    try:
        with open(str(file), "rb", opener=open_regular) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise rejected("is not a regular file", "a definition is a file that ends in .yaml")
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise rejected(f"cannot be read: {error.strerror}", "a definition is a file that ends in .yaml") from error
    if len(content) > MAX_FILE_BYTES:
        raise rejected(f"is larger than {MAX_FILE_BYTES // 1024} KiB", "split it into several pipelines")
    try:
        return Document(path, content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line, column = end_of(error.object[: error.start].decode())  # which has no byte order mark, as content may
        raise Rejected(Problem(Location(path, line, column), "is not UTF-8", "save the file as UTF-8")) from error
