"""Everything behind ./etl; nothing of it is deployed.

Importing it needs the standard library alone, and makes the factory importable by its own name, as Airflow does.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ETL = ROOT / "dags" / "etl"

if str(ETL) not in sys.path:
    sys.path.insert(0, str(ETL))
