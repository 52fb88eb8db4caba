"""Definitions made by chance, and what has to hold of each of them."""

from hypothesis.configuration import set_hypothesis_home_dir

from tools.environments import LOCAL

set_hypothesis_home_dir(str(LOCAL / "hypothesis"))  # type: ignore[no-untyped-call]
