"""YAML's own errors in words: what is wrong, and what to write instead."""

import re
from typing import Tuple

KEYS_ALIKE = "here or before: indent keys alike, each with a colon and a blank behind it; quote a text as a whole"
QUOTE_COLON = "quote a text that holds ': '"
QUOTE_STAR = 'quote a text that starts with * or &, such as "* * * * *"; otherwise write the value itself'
NO_MERGE = "write the keys themselves, or put what is shared under 'defaults:'"
QUOTE_TEMPLATE = 'a template is quoted: "{{ ds }}"'
NO_TAG = "leave the tag out; text is quoted"

# What libyaml or the Loader says, or a part of it; message and hint, or "" for what libyaml says. The first one counts.
SYNTAX = (
    (
        "found character that cannot start any token",
        "a text without quotes cannot start with {character!r}",
        "quote it",
    ),
    ("did not find expected node content", "a text without quotes cannot start with {character!r}", "quote it"),
    ("a tab character", "a line cannot be indented with a tab", "indent with spaces"),
    ("while scanning an alias", "aliases (*) are not part of the language", QUOTE_STAR),
    ("while scanning an anchor", "anchors (&) are not part of the language", QUOTE_STAR),
    ("aliases (*)", "", QUOTE_STAR),
    ("tags (!)", "", NO_TAG),
    ("tag handle", "tags (!) are not part of the language", NO_TAG),
    ("merging (<<)", "", NO_MERGE),
    ("found unexpected ':'", "a colon without a blank", "write a blank behind the colon, or quote the text"),
    ("keys are numbers", "", "quote them, as in '1': {}"),
    ("mapping values are not allowed", "a key cannot stand here", KEYS_ALIKE),
    ("while parsing a block mapping, did not find expected key", "expected a key", KEYS_ALIKE),
    ("could not find expected ':'", "a key without ':'", "write it as 'key: value', with a blank behind the colon"),
    (
        "did not find expected ',' or ']'",
        "no ',' or ']' in the list of line {begin}",
        f"close it with ]; {QUOTE_COLON}",
    ),
    (
        "did not find expected ',' or '}'",
        "no ',' or '}}' in the mapping of line {begin}",
        f"close it with }}; {QUOTE_COLON}",
    ),
    ("block sequence entries are not allowed", "a list cannot begin here", "write it as [one, two], or as lines below"),
    ("did not find expected '-' indicator", "a key among the items of a list", "begin each item with '- '"),
    ("while scanning a quoted scalar", "a text in quotes has no end", "close it with the quote that it begins with"),
    (
        "invalid Unicode character escape code",  # half of a pair, as JSON writes an emoji
        "what follows the \\ is no character",
        "write the character itself",
    ),
    (
        "unknown escape character",
        "what follows the \\ is no escape",
        "write \\\\ for a backslash, or use single quotes",
    ),
    (
        "while scanning a block scalar",
        "the text of | or > begins in the next line",
        "quote a text that starts with | or >",
    ),
    ("unhashable", "a list or mapping cannot be a key", QUOTE_TEMPLATE),
    ("but found another document", "a second definition in the file", "leave out '---': one file is one definition"),
)
NOTICED_LATE = ("a key without ':'", "a text in quotes has no end")  # in a line below the one where it began


def describe_syntax(text: str, line: str, column: int, begin: int) -> Tuple[str, str]:
    """Return message and hint for an error of YAML.

    Args:
        text: What YAML says.
        line: The line in which YAML stopped.
        column: Where, from 0.
        begin: The line, from 1, in which began what YAML was reading.
    """
    message, hint = next((words for part, *words in SYNTAX if part in text), ["", ""])
    character = line[column : column + 1]
    if message.startswith("a text without") and character == "\t":
        message, hint = "a line cannot be indented with a tab", "indent with spaces"
    elif message == "a key cannot stand here" and re.search(":[ \t]", line[:column]):
        message, hint = "a second ': ' in a line", QUOTE_COLON
    elif hint == QUOTE_STAR and re.search(r"(^|[ \t{,])<<[ \t]*:", line[:column]):  # <<: *shared
        hint = NO_MERGE
    # One within a text without quotes ends it, and one at its beginning is a mapping.
    is_within = QUOTE_COLON in hint and re.search(r"\{[{%]", line[: column + 2])
    if is_within or (hint != NO_TAG and re.search(r"(^|[:,\[-])[ \t]*\{[{%]", line[: column + 1])):
        hint = QUOTE_TEMPLATE
    return message.format(character=character, begin=begin) or text, hint
