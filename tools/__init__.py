"""Everything behind ./etl; nothing of it is deployed.

Importing it needs the standard library alone, and makes the package of the factory importable as ``orchestrator``.
"""

import os
import sys
from io import TextIOWrapper
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ETL = ROOT / "dags" / "etl"

if str(ETL) not in sys.path:
    sys.path.insert(0, str(ETL))

if sys.stdout is None:  # closed, as by >&-
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (as long as the process)
if isinstance(sys.stdout, TextIOWrapper):  # a terminal or pipe of ASCII gets \u2603 for a snowman, and no traceback
    sys.stdout.reconfigure(errors="backslashreplace")
