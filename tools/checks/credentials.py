"""Credentials in the text of a definition, by detect-secrets: what the factory's own exact set does not know.

Nothing is verified: that would send it over the network. Names (``PASSWORD: hunter2``) are the factory's,
which knows what a template is.
"""

import difflib
import re
from itertools import groupby
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, NamedTuple, Pattern, Sequence, Set, Tuple

from detect_secrets.filters.heuristic import is_templated_secret
from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.plugins.basic_auth import BasicAuthDetector
from detect_secrets.plugins.discord import DiscordBotTokenDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.high_entropy_strings import Base64HighEntropyString, HexHighEntropyString
from detect_secrets.plugins.mailchimp import MailchimpDetector
from detect_secrets.plugins.npm import NpmDetector
from detect_secrets.plugins.openai import OpenAIDetector
from detect_secrets.plugins.private_key import PrivateKeyDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.stripe import StripeDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.plugins.twilio import TwilioKeyDetector
from orchestrator import MAX_FILE_BYTES, Location, Problem, display_path, hide_credentials

# Shapes that an issuer gives its credentials and nothing else has. Left out is what ordinary definitions look like:
# public IP addresses, Artifactory's ("APAC2022..."), and IBM's, which are short names followed by anything.
# The factory has JSON Web Tokens.
DETECTORS: Tuple[RegexBasedDetector, ...] = (
    PrivateKeyDetector(),
    AWSKeyDetector(),
    AzureStorageKeyDetector(),
    BasicAuthDetector(),
    DiscordBotTokenDetector(),
    GitHubTokenDetector(),
    GitLabTokenDetector(),
    MailchimpDetector(),
    NpmDetector(),
    OpenAIDetector(),
    PypiTokenDetector(),
    SendGridDetector(),
    SlackDetector(),
    SquareOAuthDetector(),
    StripeDetector(),
    TelegramBotTokenDetector(),
    TwilioKeyDetector(),
)
# Random text, by detect-secrets' measure and limits: 4.5 bits a character are what 32 characters of Base64 have.
# It looks between quotes, which YAML does not need; these are the words to look at instead.
RANDOM_BASE64, RANDOM_HEX = Base64HighEntropyString(limit=4.5), HexHighEntropyString(limit=3.0)
WORD = re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/_-]{24,}={0,2}(?![\w+/=-])")
HEX = re.compile(r"[0-9a-f]{32,}|[0-9A-F]{32,}")
# Paths and class names of 60 characters reach 4.5 bits too, but change less often between small, capital and digit:
# 0.2 times a character, random Base64 0.6 times.
MIN_CHANGES = 0.4
CHECKSUM = re.compile(r"(?:sha\d*|md5|digest|checksum|commit|revision)\W{1,4}$", re.I)  # before a word
# As detect-secrets has it, whose own takes seconds for a line of blanks.
ALLOWED = re.compile("# *pragma: ?(allow|white)list[ -]secret")
# Some detectors take minutes for a line of 500,000 characters, so a long one is looked at in pieces that overlap.
PIECE, OVERLAP = 2000, 500
MIN_COMMON = 6  # what a message has in common with a secret by chance is shorter
RANDOM = "Random Text"
PRIVATE_KEY = re.compile("|".join(pattern.pattern for pattern in PrivateKeyDetector.denylist))
SHAPES: Tuple[Tuple[str, Pattern[str]], ...] = (
    *((detector.secret_type, pattern) for detector in DETECTORS for pattern in detector.denylist),
    (RANDOM, WORD),
)
MESSAGE = "this looks like a credential"
HINT = (
    "keep it in AWS Secrets Manager, and name it under 'secrets' in the ECS task definition;"
    " if it is none, end the line with '# pragma: allowlist secret'"
)


class Credential(NamedTuple):
    """A credential in a text: the line, counted from 0, where in it, what stands there and what it seems to be."""

    line: int
    start: int
    end: int
    text: str
    kind: str


def find_credentials(text: str) -> List[Credential]:
    """Return the credentials in a text, by their place.

    A line that ends in ``# pragma: allowlist secret`` has none: detect-secrets' own way to say that it is mistaken.
    """
    lines = text.splitlines()
    # Most texts have nothing that looks like one; asking once for all lines is what makes this fast.
    joined = "\n".join(piece for line in lines for _, piece in pieces(line))
    suspects = [(kind, pattern) for kind, pattern in SHAPES if pattern.search(joined)]
    if not suspects:
        return []
    return [
        Credential(number, start, end, line[start:end], kind)
        for number, line in enumerate(lines)
        if not ALLOWED.search(line)
        for start, end, kind in credentials_in(line, suspects)
    ]


def pieces(line: str) -> Iterator[Tuple[int, str]]:
    """Yield the parts of a line that are looked at, each with where it begins."""
    for start in range(0, max(1, len(line) - OVERLAP), PIECE - OVERLAP):
        yield start, line[start : start + PIECE]


def credentials_in(line: str, suspects: Iterable[Tuple[str, Pattern[str]]]) -> List[Tuple[int, int, str]]:
    """Return start, end and kind of the credentials in a line, among what looks like one."""
    found: Dict[int, Tuple[int, str]] = {}
    for kind, pattern in suspects:
        for offset, piece in pieces(line):
            for match in pattern.finditer(piece):
                if is_credential(kind, match.group(), piece[: match.start()]):
                    start, end = word_around(line, offset + match.start(), offset + match.end())
                    found.setdefault(start, (end, kind))
    return [(start, end, kind) for start, (end, kind) in sorted(found.items())]


def is_credential(kind: str, text: str, before: str) -> bool:
    """Return whether what looks like a credential is one, and not a template or a checksum."""
    if kind == RANDOM:
        return is_random(text) and not CHECKSUM.search(before)
    return "{{" not in text and not is_templated_secret(text.rpartition(":")[2].strip("@"))


def is_random(word: str) -> bool:
    """Return whether nobody would write such a word by hand."""
    if HEX.fullmatch(word):
        return bool(RANDOM_HEX.calculate_shannon_entropy(word) > RANDOM_HEX.entropy_limit)
    runs = len(list(groupby(word, key=lambda c: (c.isupper(), c.islower(), c.isdigit()))))
    entropy = RANDOM_BASE64.calculate_shannon_entropy(word)
    return runs >= MIN_CHANGES * len(word) and bool(entropy > RANDOM_BASE64.entropy_limit)


def word_around(line: str, start: int, end: int) -> Tuple[int, int]:
    """Widen a match to the whole word: a detector may need no more of a credential than its first characters."""
    start -= len(re.split(r"[\s'\"\[\]{}(),=]", line[:start])[-1])
    if PRIVATE_KEY.search(line, start, end):  # it goes on after spaces
        return start, len(line)
    return start, end + len(re.split(r"[\s'\"\[\]{}(),]", line[end:])[0])


def hide(text: str, secret: str) -> str:
    """Replace whatever a text shows of a secret by asterisks, even if it is only a part."""
    while True:
        match = difflib.SequenceMatcher(None, text, secret, autojunk=False).find_longest_match(
            0, len(text), 0, len(secret)
        )
        if match.size < MIN_COMMON:
            return text
        text = text[: match.a] + "*" * match.size + text[match.a + match.size :]


def with_credentials(problems: List[Problem], etl: Path, file: Path) -> List[Problem]:
    """Add the credentials in a file to the problems, unless the factory reports them, and show them in none."""
    path, text = display_path(etl, file), read_text(file)
    credentials = find_credentials(text)
    if not credentials:
        return problems
    reported = {p.location.line - 1 for p in problems if p.location.path == path and p.rule == "secret"}
    covered = covered_lines(text.splitlines(), reported)
    sources = hide_credentials(text).splitlines()
    for line, start, end, _, _ in credentials:
        sources[line] = sources[line][:start] + "*" * (end - start) + sources[line][end:]
    new = [
        Problem(Location(path, line + 1, start + 1, sources[line], end - start), f"{MESSAGE}: {kind}", HINT, "secret")
        for line, start, end, _, kind in credentials
        if line not in covered
    ]
    return [hide_in(problem, credentials) if problem.location.path == path else problem for problem in problems] + new


def hide_in(problem: Problem, credentials: Iterable[Credential]) -> Problem:
    """Show no part of the credentials in a problem."""
    message, hint, source = problem.message, problem.hint, problem.location.source
    for credential in credentials:
        message, hint, source = (
            hide(message, credential.text),
            hide(hint, credential.text),
            hide(source, credential.text),
        )
    return problem._replace(message=message, hint=hint, location=problem.location._replace(source=source))


def read_text(file: Path) -> str:
    """Return the text of a file, even if it is no valid definition; "" where the factory would not read it either."""
    try:
        if file.is_symlink() or not file.is_file():  # a pipe would be read for ever
            return ""
        with file.open("rb") as stream:
            return stream.read(MAX_FILE_BYTES).decode("utf-8-sig", errors="replace")
    except OSError:
        return ""


def covered_lines(lines: Sequence[str], starts: Iterable[int]) -> Set[int]:
    """Return the numbers of the lines that the values starting at these lines stand in: theirs, and the deeper ones."""

    def depth(line: str) -> int:
        return len(line) - len(line.lstrip(" "))

    covered = set()
    for start in starts:
        covered.add(start)
        for number in range(start + 1, len(lines)):
            if lines[number].strip() and depth(lines[number]) <= depth(lines[start]):
                break
            covered.add(number)
    return covered
