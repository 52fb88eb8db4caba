"""Names that moved between versions: pydantic 1's models, which pydantic 2 keeps as ``pydantic.v1``; pendulum's."""

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

try:
    from pendulum.tz.exceptions import InvalidTimezone  # type: ignore[attr-defined]
except ImportError:  # pendulum 2
    from pendulum.tz.zoneinfo.exceptions import InvalidTimezone

__all__ = [
    "SHAPE_DICT",
    "SHAPE_LIST",
    "SHAPE_SINGLETON",
    "BaseModel",
    "ConstrainedInt",
    "DictError",
    "Field",
    "InvalidTimezone",
    "ModelField",
    "PydanticValueError",
    "StrictBool",
    "ValidationError",
    "validator",
]
