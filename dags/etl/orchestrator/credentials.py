"""Credentials: what looks like one, and where one is written down. Of a file that has one, problems quote nothing."""

import re
from typing import Any, Iterator, NamedTuple, Optional, Tuple

import yaml

from .problems import KeyPath

# What is filled in later. In an address or at the end of a name it stands for a word.
FILLED = r"(?:\{\{[^{}\n]*\}\}|\{%[^{}\n]*%\}|\$\{[^{}\n]*(?:\$\{[^{}\n]*\}[^{}\n]*){0,9}\})"
# What cannot be anything else. `./etl check` looks for more. Every pattern here takes linear time: no repeat can
# start at each character of what another start has walked over.
CREDENTIAL = re.compile(
    r"\b(?P<AWS_access_key>(?:AKIA|ASIA)[0-9A-Z]{16})\b"
    r"|(?P<private_key>-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----)"
    r"|\b(?P<token>gh[pousr]_\w{36,}|github_pat_\w{22,}|xox[abprs]-[\w-]{10,}"
    r"|(?<![\w-])eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-])"
    r"|(?i:\bauthorization)[\"']?:[ ]?[\"']?(?i:basic|bearer|digest|token)[ ]"
    r"(?=[\w.~+/-]{0,99}[0-9]|[\w.~+/-]{16})(?P<authorization>[\w.~+/-]{8,})"
    # It ends behind ://, so what stands in an address is found as well if its password is none, such as $DB_PASSWORD.
    rf"|://(?=[^\s/:@'\"?#{{}}]*(?:{FILLED}[^\s/:@'\"?#{{}}]*){{0,9}}"
    rf":(?!(?:\d{{1,5}}|\$\w+|{FILLED})[?#;,])(?P<password_in_a_URL>[^\s/@'\"{{}}]*(?:{FILLED}[^\s/@'\"{{}}]*){{0,9}})@)"
)
WORD = (
    r"(?:passwords?|passwd|passphrase|pwd|secret|token"
    r"|(?:api|access|private|secret|encryption|fernet)[._ -]?key"
    r"|creds|credentials?|(?:db|pg|ftp|smtp|user|admin)[_-]?(?:pass|pw))"
)
# One for each environment.
ENDING = rf"(?:_(?:prod|production|dev|development|stag(?:e|ing)|test|uat|qa))?(?:_?{FILLED}){{0,3}}[0-9_]{{0,4}}"
# What a file has that has one: a text may be escaped ("\u0070assword"), and a line may end within a name.
GATE = re.compile(WORD.replace("[._ -]?", r"[._\s-]*") + r"|\\[uUx/\s]", re.I)
NAME = re.compile(rf"(?P<word>{WORD}){ENDING}\s{{0,9}}$", re.I)
OPTION = re.compile(rf"(?:^|\s)--?(?!-?no-)[\w.-]{{0,50}}?(?P<word>{WORD}){ENDING}$", re.I)
QUOTE, SPACES = r"\\?[\"']?", r"[ \t]{0,9}"
# Commands that only repeat what is written; echo "$X" | jq -r .y reads it.
SAID = r"\s*(?:echo|printf)\s+(?:-\w{1,3}\s+|[\"']?%s(?:\\n)?[\"']?\s+)?[\"']?(?=[^\s\"'$%{`-])"
# Not "+": Python keeps 150 bytes for each repeat of a group, and 76 MB of them take ten times as long as 38.
VALUE = (
    rf"(?P<value>(?:\"[^\"\n]*\"|'[^'\n]*'|{FILLED}|\$\((?={SAID})[^()\n]*\)|`(?={SAID})[^`\n]*`"
    r"|[^\s,;&|\"'`(){}<>\[\]]|[\"'][^\s>|]*){1,999})"
)
# A name and its value within a text: of a shell, of JSON, of a comment, of YAML that cannot be read.
NAMED = re.compile(
    rf"(?P<word>{WORD}){ENDING}(?:{QUOTE}=(?!=)|{QUOTE}\]{SPACES}=(?!=){SPACES}|:[-=]|(?P<colon>:(?=\w))"
    rf"|\\?[\"']{SPACES}:{SPACES}"
    rf"(?:\[{SPACES}(?=\\?[\"'{{])|\{{{SPACES}{QUOTE}(?:value|default){QUOTE}{SPACES}:{SPACES}){{0,3}}"
    rf"|(?P<prose>{SPACES}:[ \t]{{1,9}}|[ \t]{{1,9}}=[ \t]{{1,9}})"
    rf"|{QUOTE}{SPACES}(?:,|\r?\n){SPACES}(?:\n[ \t]{{0,99}})?{QUOTE}value{QUOTE}{SPACES}:{SPACES}){VALUE}"
    rf"|(?<![\w-])--?(?!-?no-)[\w.-]{{0,50}}?(?P<option>{WORD}){ENDING}"
    rf"(?:(?:[ \t]|\\\r?\n){{1,9}}|{QUOTE}{SPACES}(?:,|\r?\n[ \t]{{0,99}}-){SPACES}{QUOTE})(?!--|-\w?(?!\S))"
    rf"{VALUE.replace('value', 'argument')}",
    re.I,
)
# What follows a value in prose: "the token: see below" has none, nor has a test of a shell, [ $TOKEN = x ].
END = re.compile(r"[\\\"']{0,2}(?:[ \t]{0,9}(?:[,;)}\]]|\{\{|$)|(?<=[\"'])[ \t]{0,9}[>|]|[^\s\\\"'])", re.M)
TESTED = re.compile(r"\$\{?\w*$")  # before a name that a shell reads
HEADER = r"(?:-\w{0,9}H|--header)"  # curl's
QUOTE_BEFORE = re.compile(rf"(?<!\S){HEADER}[ =]{{0,9}}([\"'])[\w.-]*$")  # before the name of a header in a shell
COLON_NAME = re.compile(r"(?:^|[\s{,\[\"'])[\w.-]*$")  # before NAME:value; arn:aws:...:secret:x is no name
CAPITALS = r"(?:PASSWORD|SECRET|TOKEN|(?:API|ACCESS|SECRET)_KEY)"
# What a program says of a value, and not a value: password=os.environ['PASSWORD'], password=args.db_password.
CODE = re.compile(
    r"[A-Za-z_][\w.]*(?:\([^()\n]{0,200}\)|\[[^\[\]\n]{0,200}\])"
    rf"|(?:(?:[a-z_]{{0,50}}\.){{1,9}}[a-z_]{{0,50}}?{WORD}|(?:[A-Za-z_]{{1,50}}\.){{1,9}}[A-Z_]{{0,50}}?{CAPITALS})"
    r"(?=[\s,;)}\]'\"|&<>]|::|$)"  # and nothing else of a value
)
TEMPLATE = re.compile(r"\{\{[^{}]*\}\}|\{%[^{}]*%\}")
TEXT = r"(?:\"[^\"]*\"|'[^']*')"
# A template may give each text in quotes that it has, but for these: there are too many ways to give one.
GIVEN = re.compile(
    r"\bfor\b[\w\s,]{1,99}?\bin\b"  # whose list is not compared
    # Arguments that are all names or formats, or only the first.
    r"|(?:\.(?:xcom_pull|str[fp]time|ds_format|format|in_timezone|in_tz|start_of|end_of|r?split|replace|[lr]?strip"
    r"|startswith|endswith|find|count)|\|\s*(?:replace|trim|map))"
    rf"\((?:(?:[^()\"']|\([^()\"']{{0,99}}\)){{0,99}}{TEXT}){{1,9}}"
    r"|(?:\.get\(\s*(?:(?:item|key)\s*=)?|(?<=[\w)\]])(?<!\bor)(?<!\band)(?<!\belse)(?<!\bin)\[)"  # x['a'], no list
    rf"(?:[^()\[\]\"',=]{{0,99}}{TEXT}){{1,9}}"
    rf"|(?:[=!]=|[<>]=?|\bin\b)\s*(?:{TEXT}|[\[(]\s*{TEXT}(?:\s*,\s*{TEXT}){{0,99}})"
    rf"|{TEXT}\s*(?:[=!]=|[<>]|(?:not\s+)?in\b)"
    r"|(?P<quote>[\"'])(?:\\[nrt]|(?!(?P=quote))\W){0,9}(?P=quote)"  # between others
    r"|[\"'](?P<text>(?<=\")[^\"]*|(?<=')[^']*)[\"']?"
)
REFERENCE = re.compile(  # ${X/a/b} has a short text at most
    r"\$\{\w+(?::?-+|:?\?[^{}]*|[%#][^{}]*|//?[^{}/]*(?:/[^{}]{0,4})?)?\}|\$\w+|<[\w -]{1,40}>"
    rf"|\$\((?!{SAID})[^()]*\)|`(?!{SAID})[^`]*`"
)
PLACE = re.compile(  # where it is; ECS has etl/db:password:: as well
    rf"{QUOTE}(?:/[a-z0-9_.-]+|/?(?:[a-z0-9_.-]+/){{1,99}}[a-z0-9_.-]+(?::[\w.-]*:[\w-]*:(?:[0-9a-f-]{{36}})?)?"
    rf"|(?:file://)?/[\w/.-]+\.[a-z0-9]{{1,8}}|s3://[\w/.-]+|ssm:[\w/.-]+){QUOTE}"
)
# SQL's are %s, and %(x)s without what VALUE leaves out.
HARMLESS = re.compile(r"[01]|%s?|true|false|yes|no|on|off|null|none|str(?:ing)?|token|arn:\S*", re.I)
PRAGMA = re.compile("# *pragma: ?(allow|white)list[ -]secret")  # as detect-secrets has it, in linear time
NAMED_IN_ECS = "name it under 'secrets' in the ECS task definition"
HINT = f"keep it in AWS Secrets Manager, and {NAMED_IN_ECS}; if it is no credential, rename it"

MAPPINGS = {"environment", "variables", "tags", "params"}  # where NAME:value can only be a key and its value
THINGS = {"tasks", "providers", "clusters", "params"}  # have keys that people make up, for mappings that are no values
# Keys of a param that have no value of it; those that are mistyped may have.
ABOUT = {"type", "title", "description", "minimum", "maximum", "minLength", "maxLength", "format"}


class Credential(NamedTuple):
    """A credential in a YAML document: the path of its value, the node that holds it, and what to report."""

    path: KeyPath
    node: yaml.Node
    message: str


def may_have_credentials(text: str) -> bool:
    """Return whether it is worth looking for credentials: most files name nothing that could be one."""
    return bool(CREDENTIAL.search(text) or GATE.search(text))


def find_credentials(node: Any, path: KeyPath = (), word: str = "") -> Iterator[Credential]:
    """Yield each credential at or below a YAML node; below a secret's name is the ``word`` in it that says so."""
    if isinstance(node, yaml.ScalarNode):
        found = find_in_text(node.value)
        word = word or (word_without_blank(node.value) if path[-1:] and path[-1] in MAPPINGS else "")
        if found or (word and is_literal(node.value)):
            yield Credential(path, node, found[1] if found else literal(word))
    elif isinstance(node, yaml.MappingNode):
        texts = [(key.value if isinstance(key, yaml.ScalarNode) else "", key, value) for key, value in node.value]
        words = (word_of(value.value) for part, _, value in texts if part.lower() in ("name", "key"))
        named = next(filter(None, words), "")
        for part, key, value in texts:
            below = word or word_of(part)
            if part not in ABOUT and path[-2:-1] == ("params",):
                below = below or word_of(str(path[-1]))
            elif part.lower() == "value":
                below = below or named
            elif path[-1:] and path[-1] in THINGS and isinstance(value, yaml.MappingNode):
                below = word
            is_set = isinstance(value, yaml.ScalarNode) and not value.value  # whose values are its keys
            yield from find_credentials(key, (*path, part), word or word_without_blank(part) if is_set else "")
            yield from find_credentials(value, (*path, part), below)
    elif isinstance(node, yaml.SequenceNode):
        option, is_header = "", False  # such as --password and -H, whose value is the next item
        for index, item in enumerate(node.value):
            text = item.value if isinstance(item, yaml.ScalarNode) else ""
            is_option = re.match(r"--|-\w?$", text)
            before = word_without_blank(text) if is_header else option  # what the item before says of this one
            yield from find_credentials(item, (*path, index), word or ("" if is_option else before))
            match, is_header = OPTION.search(text), bool(re.fullmatch(HEADER, text))
            option = match.group("word") if match else ""


def find_in_text(text: str, is_yaml: bool = False) -> Optional[Tuple[int, str]]:
    """Return the index of the first credential in a text, and what to report; ``is_yaml`` if it is one of a file."""
    for match in CREDENTIAL.finditer(text):
        kind = str(match.lastgroup)
        if kind != "password_in_a_URL" or is_literal(match.group(kind)):
            return match.start(), f"a credential is written down: {kind.replace('_', ' ')}"
    for match in NAMED.finditer(text):
        before = text[max(0, match.start() - 60) : match.start()]
        opened = (match.group("prose") or match.group("colon")) and QUOTE_BEFORE.search(before)
        is_quoted = opened and opened[1] in text[match.end() - 1 : match.end() + 1]  # a value may end with its quote
        is_prose = match.group("prose") and not is_yaml and not is_quoted and not END.match(text, match.end())
        is_scope = match.group("colon") and not opened and not is_name(before, match)
        is_code = CODE.match(text, match.start("value")) if match.group("value") else None
        is_tested = match.group("prose") and TESTED.search(before)
        value = match.group("value") or match.group("argument")
        # As a program passes it on: f(api_token=api_token).
        is_same = (before + match.group(0)).endswith((f"({value}={value}", f" {value}={value}", f",{value}={value}"))
        if not (is_prose or is_code or is_tested or is_scope or is_same) and is_literal(value):
            return match.start(), literal(match.group("word") or match.group("option"))
    return None


def is_name(before: str, match: Any) -> bool:
    """Return whether NAME:value has a value, and is no scope (token:read), type (TOKEN:string) or part of an ARN."""
    word, value = match.group("word"), match.group("value")
    is_secret = word.isupper() or word.lower().startswith("pass")
    return is_secret and bool(COLON_NAME.search(before)) and any(character.isdigit() for character in value)


def find_in_comments(text: str) -> Iterator[Tuple[int, int, str]]:
    """Yield line and column, from 0, of a credential in each comment, and what to report."""
    for number, line in enumerate(text.splitlines()):
        comment = None if PRAGMA.search(line) else re.search(r"(?:^|[ \t])#", line)
        found = find_in_text(line[comment.end() :]) if comment else None
        if comment and found:
            yield number, comment.end() + found[0], found[1]


def find_in_broken(text: str) -> Iterator[Tuple[int, int, str]]:
    """Yield the same of the first credential in a text that is no YAML: nothing else of it is read, anyway."""
    found = find_in_text(text, is_yaml=True)
    if found:
        before = f"{text[: found[0]]}|".splitlines()
        yield len(before) - 1, len(before[-1]) - 1, found[1]


def is_literal(value: str) -> bool:
    """Return whether a value says something itself, and not where it is to be had."""
    plain = TEMPLATE.sub("", value)
    is_place = PLACE.fullmatch(value) or (plain != value and "/" in plain)  # as etl/{{ env.name }}/db, a secret's name
    outer = REFERENCE.sub("-", plain)  # as ${X:--} of ${X:-$(cat x)}
    rest = REFERENCE.sub("", outer).strip(" \t\r\n:/.,?@_*~$\\\"'-")
    given = (match.group("text") for template in TEMPLATE.findall(value) for match in GIVEN.finditer(template))
    return bool(rest and not is_place and not HARMLESS.fullmatch(rest)) or any(is_literal(text or "") for text in given)


def word_of(name: Any) -> str:
    """Return the word by which a text is the name of a secret; "" if it is none."""
    match = NAME.search(name) if isinstance(name, str) else None
    return match.group("word") if match else ""


def word_without_blank(text: str) -> str:
    """Return the word by which NAME:value, meant as a key and its value, has one of a secret; "" if it has none."""
    name, _, value = text.partition(":")
    return word_of(name) if is_literal(value) else ""


def literal(word: str) -> str:
    """Return the message for a literal value; of its name it has no more than the word."""
    return f"a credential is written down: a literal {word.lower()}"
