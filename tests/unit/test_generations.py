"""The environments of the newer generations of Airflow have what MWAA's images have."""

import re
from typing import Dict

import pytest

from tests.trees import DATA, REPOSITORY

IMAGES = {"2.11": "2.11.2", "3": "3.2.1"}


def pins(text: str) -> Dict[str, str]:
    """Return the versions by name of a list such as `pip freeze` prints."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE))


@pytest.mark.parametrize(("generation", "version"), IMAGES.items())
def test_the_constraints_are_the_images_versions(generation: str, version: str) -> None:
    constraints = pins((REPOSITORY / f"constraints-{generation}.txt").read_text(encoding="utf-8"))
    image = pins((DATA / f"mwaa-{version}.freeze").read_text(encoding="utf-8"))
    assert len(image) > 30
    assert constraints["apache-airflow"] == version
    assert {name: constraints.get(name) for name in image} == image


@pytest.mark.parametrize("generation", IMAGES)
def test_the_requirements_pin_nothing_that_the_image_decides_on(generation: str) -> None:
    requirements = (REPOSITORY / f"requirements-{generation}.txt").read_text(encoding="utf-8")
    assert pins(requirements) == {"apache-airflow": IMAGES[generation]}
    # MWAA forces its own constraints only on a list that names none, in a comment neither.
    assert not re.search(r"-c |--constraint ", requirements)
