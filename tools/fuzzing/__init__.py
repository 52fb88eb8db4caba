"""Definitions made by chance, and what has to hold of each of them."""

import os

from tools.environments import LOCAL

os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(LOCAL / "hypothesis"))  # before it is imported
