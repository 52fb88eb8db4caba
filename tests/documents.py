"""The blocks of code in the documentation."""

import re
import textwrap
from typing import List, NamedTuple, Optional

from tests.trees import REPOSITORY

DOCS = REPOSITORY / "docs"


class Block(NamedTuple):
    """A block of code: the heading it is under, the word right before it ("" for none), its language, its text."""

    heading: str
    word: str
    language: str
    text: str


def blocks(name: str, language: Optional[str] = None) -> List[Block]:
    """Return the blocks of a document in order, or only those of a language (the text behind the backquotes)."""
    result = []
    for section in re.split(r"^#+ ", (DOCS / name).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        heading = section.splitlines()[0]
        for match in re.finditer(r"(?:^(\w+):\n\n)?^( *)```(.*?)\n(.*?)^\2```$", section, re.MULTILINE | re.DOTALL):
            word, _, kind, text = match.groups()
            result.append(Block(heading, word or "", kind, textwrap.dedent(text)))
    return [block for block in result if language in (None, block.language)]
