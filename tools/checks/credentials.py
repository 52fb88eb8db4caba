"""Credentials in the text of a definition, by detect-secrets: what the factory's own exact set does not know.

Nothing is verified: that would send it over the network. Names (``PASSWORD: hunter2``) are the factory's,
which knows what a template is; of those in comments it only says where they are.
"""

import re
from itertools import accumulate, groupby
from pathlib import Path
from typing import Iterable, Iterator, List, NamedTuple, Pattern, Tuple

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
from orchestrator import HIDDEN, MAX_FILE_BYTES, PRAGMA, Location, Problem, display_path, find_in_comments

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
# Some detectors take minutes for a line of 500,000 characters, so a long one is looked at in pieces that overlap.
PIECE, OVERLAP = 2000, 500
RANDOM = "Random Text"
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
    """A credential in a text: line and column, counted from 1, and what it seems to be."""

    line: int
    column: int
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
        Credential(number, start + 1, kind)
        for number, line in enumerate(lines, 1)
        if not PRAGMA.search(line)
        for start, kind in credentials_in(line, suspects)
    ]


def find_all(text: str) -> List[Credential]:
    """Return the same, and the credentials in comments by their names, which the factory does not report."""
    found = find_credentials(text)
    known = {credential.line for credential in found}
    return found + [
        Credential(line + 1, column + 1, message.rpartition(": ")[2])
        for line, column, message in find_in_comments(text)
        if line + 1 not in known
    ]


def pieces(line: str) -> Iterator[Tuple[int, str]]:
    """Yield the parts of a line that are looked at, each with where it begins."""
    for start in range(0, max(1, len(line) - OVERLAP), PIECE - OVERLAP):
        yield start, line[start : start + PIECE]


def credentials_in(line: str, suspects: Iterable[Tuple[str, Pattern[str]]]) -> List[Tuple[int, str]]:
    """Return start and kind of the credentials in a line, among what looks like one; of two that overlap the first."""
    found = sorted(
        (offset + match.start(), -offset - match.end(), kind)
        for kind, pattern in suspects
        for offset, piece in pieces(line)
        for match in pattern.finditer(piece)
        if is_credential(kind, match.group(), piece[: match.start()])
    )
    ends = [0, *accumulate((-end for _, end, _ in found), max)]
    return [(start, kind) for (start, _, kind), end in zip(found, ends) if start >= end]


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


def with_credentials(problems: List[Problem], etl: Path, files: Iterable[Path]) -> List[Problem]:
    """Add the credentials in files to the problems; another problem that may quote one says only place and rule."""
    # What the package reports there; a block's text begins below the place of the value.
    reported = {(p.location.path, p.location.line + below) for p in problems if p.rule == "secret" for below in (0, 1)}
    paths = {display_path(etl, file): file for file in files}
    texts = {path: read_text(file) for path, file in paths.items()}
    found = [(path, credential) for path, text in texts.items() for credential in find_all(text)]
    if not found:
        return problems
    # A problem at a value of the environment may quote a pipeline's, and the other way round.
    hidden, shared = {path for path, _ in found}, {path for path in paths if "/configs/" in path}
    hidden |= {problem.location.path for problem in problems} if hidden & shared else shared
    return [
        *(without_values(problem) if problem.location.path in hidden else problem for problem in problems),
        *(
            Problem(Location(path, line, column), f"{MESSAGE}: {kind}", HINT, "secret")
            for path, (line, column, kind) in found
            if (path, line) not in reported
        ),
    ]


def without_values(problem: Problem) -> Problem:
    """Return a problem with only its place and rule, unless it is a credential's own, which quotes nothing."""
    path, line, column, _, _ = problem.location
    return problem if problem.rule == "secret" else Problem(Location(path, line, column), *HIDDEN, problem.rule)


def read_text(file: Path) -> str:
    """Return the text of a file, even if it is no valid definition; "" where the factory would not read it either."""
    try:
        if file.is_symlink() or not file.is_file():  # a pipe would be read for ever
            return ""
        with file.open("rb") as stream:
            return stream.read(MAX_FILE_BYTES).decode("utf-8-sig", errors="replace")
    except OSError:
        return ""
