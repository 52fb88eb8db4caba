"""What moved in libraries: pydantic 1's models, which pydantic 2 keeps as ``pydantic.v1``; pendulum's time zones."""

from functools import lru_cache
from typing import Any, Collection

import pendulum

try:
    from pydantic import BaseModel, ConstrainedInt, Field, PydanticValueError, StrictBool, ValidationError, validator
    from pydantic.errors import DictError
    from pydantic.fields import SHAPE_DICT, SHAPE_LIST, SHAPE_SINGLETON, ModelField
except ImportError:
    from pydantic.v1 import (  # type: ignore[no-redef]
        BaseModel,
        ConstrainedInt,
        Field,
        PydanticValueError,
        StrictBool,
        ValidationError,
        validator,
    )
    from pydantic.v1.errors import DictError  # type: ignore[no-redef]
    from pydantic.v1.fields import SHAPE_DICT, SHAPE_LIST, SHAPE_SINGLETON, ModelField  # type: ignore[no-redef]

__all__ = [
    "SHAPE_DICT",
    "SHAPE_LIST",
    "SHAPE_SINGLETON",
    "BaseModel",
    "ConstrainedInt",
    "DictError",
    "Field",
    "ModelField",
    "PydanticValueError",
    "StrictBool",
    "ValidationError",
    "is_time_zone",
    "time_zones",
    "validator",
]


@lru_cache(maxsize=1)
def time_zones() -> Collection[str]:
    """Return the names of all time zones; pendulum 2 has them, pendulum 3 a function that looks for 60 ms."""
    names: Any = pendulum.timezones
    return frozenset(names() if callable(names) else names)


def is_time_zone(value: Any) -> bool:
    """Return whether a value is the name of a time zone."""
    return isinstance(value, str) and value in time_zones()
