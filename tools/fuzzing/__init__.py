"""Random definitions, and what has to hold of each of them."""

import os

from tools.setup.environments import LOCAL

os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(LOCAL / "hypothesis"))  # before it is imported
