"""pydantic 1's models, wherever this environment has them: pydantic 2 keeps them as ``pydantic.v1``."""

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
    "validator",
]
