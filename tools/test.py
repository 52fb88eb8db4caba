"""./etl test [unit|dags|e2e] [pytest arguments]: the tests, which include the static checks."""

import os
import sys
from typing import List

PARTS = ("unit", "dags", "e2e")


def main(arguments: List[str]) -> int:
    """Become pytest, so that its summary is the last line and its exit status ours."""
    if arguments and arguments[0] in PARTS:
        part, *rest = arguments
        arguments = ["-m", part, *rest]
    return os.execv(sys.executable, [sys.executable, "-m", "pytest", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
