"""Credentials: what looks like one, where one is written down, and how to hide it."""

import re
from typing import Any, Iterator, NamedTuple, Union

import yaml

from .problems import KeyPath

# What cannot be anything else. `./etl check` looks for more.
CREDENTIAL = re.compile(
    r"\b(?P<AWS_access_key>(?:AKIA|ASIA)[0-9A-Z]{16})\b"
    r"|(?P<private_key>-----BEGIN [A-Z ]*PRIVATE KEY-----(?:.*?-----END [A-Z ]*PRIVATE KEY-----|.*))"
    r"|\b(?P<token>gh[pousr]_\w{36,}|xox[abprs]-[\w-]{10,}|(?<!-)eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+)"
    r"|://(?P<password_in_a_URL>[^\s/:@'\"{}]*:[^\s/@'\"{}]+)@",
    re.DOTALL,
)
WORD = r"(?:password|passwd|pwd|secret|token|api[_-]?key|(?:access|private)[_-]?key|credentials?)"
NAME = re.compile(WORD + "$", re.I)
HARMLESS = re.compile(r"|true|false|yes|no|null|~|arn:.*|.*\{\{.*", re.I | re.DOTALL)
# A value behind such a name, in text that may not be YAML. The spaces are bounded: a pattern that can go back over a
# whole file can take hours.
NAMED = re.compile(
    WORD + r"""["']?[ \t]{0,9}(?:[:=,]|\n[ \t]{0,99}-)[ \t]{0,9}\n?[ \t]{0,99}"""
    r"""(?P<value>"[^"\n]*"|'[^'\n]*'|[^\s,}\]\[{|>&][^\s,}\]]*)""",
    re.I,
)
NOT_A_LINE_END = r"[^\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]"  # by str.splitlines()
HINT = "keep it in AWS Secrets Manager, and name it under 'secrets' in the ECS task definition"


class Credential(NamedTuple):
    """A credential in a YAML document: the path of its value, the node that holds it, and what to report."""

    path: KeyPath
    node: yaml.Node
    message: str


def may_have_credentials(text: str) -> bool:
    """Return whether it is worth looking for credentials: most files name nothing that could be one."""
    return bool(CREDENTIAL.search(text) or re.search(WORD, text, re.I))


def find_credentials(node: Any, path: KeyPath = (), name: str = "") -> Iterator[Credential]:
    """Yield each credential at or below a YAML node whose key is ``name``."""
    if isinstance(node, yaml.ScalarNode):
        match = CREDENTIAL.search(node.value)
        if match:
            kind = str(match.lastgroup).replace("_", " ")
            yield Credential(path, node, f"a credential is written down: {kind}")
        elif NAME.search(name) and not HARMLESS.fullmatch(node.value):
            yield Credential(path, node, literal_value(name))
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            part = key.value if isinstance(key, yaml.ScalarNode) else ""
            yield from find_credentials(key, (*path, part), "")
            yield from find_credentials(value, (*path, part), name if part == "default" else str(part))
    elif isinstance(node, yaml.SequenceNode):
        flag = ""  # such as --password, whose value is the next item
        for index, item in enumerate(node.value):
            yield from find_credentials(item, (*path, index), flag)
            text = item.value if isinstance(item, yaml.ScalarNode) else ""
            option, _, value = text.partition("=")
            flag = option if option.startswith("-") and not value else ""
            if value and NAME.search(option) and not HARMLESS.fullmatch(value):
                yield Credential((*path, index), item, literal_value(option))


def literal_value(name: str) -> str:
    """Return the message for a literal value under the name of a credential."""
    return f"a credential is written down: '{name}' has a literal value"


def hide_credentials(text: str) -> str:
    """Replace by asterisks what looks like a credential, or is the value behind the name of one."""
    for pattern in (CREDENTIAL, NAMED):
        text = pattern.sub(lambda match: mask(match, match.lastgroup or 0), text)
    return text


def mask(match: Any, group: Union[str, int]) -> str:
    """Return the text of a match with one group of it in asterisks; ends of lines stay."""
    whole, start, end = match.group(), match.start(group) - match.start(), match.end(group) - match.start()
    if group == "value" and HARMLESS.fullmatch(match.group(group).strip("\"'")):
        return str(whole)
    return str(whole[:start] + re.sub(NOT_A_LINE_END, "*", whole[start:end]) + whole[end:])
