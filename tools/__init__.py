"""Everything behind ./etl; nothing of it is deployed.

Importing it needs the standard library alone, and makes the package of the factory importable as ``orchestrator``.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ETL = ROOT / "dags" / "etl"

if str(ETL) not in sys.path:
    sys.path.insert(0, str(ETL))
