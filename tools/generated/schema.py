"""What editors know of the definitions: JSON Schemas, from the factory's models and the names in ``configs/``.

Draft 7 is what the YAML language server understands. pydantic's own ``schema()`` is not used: it drops that a
value may be null, which takes away what a layer below says, and what the keys of a mapping look like.
"""

import json
from pathlib import Path
from typing import Any, Dict, Iterator, Type

from orchestrator import Cron, Duration, Environment, Moment, Pipeline, Scalar, Shape, TaskId, Text
from orchestrator.compat import (
    SHAPE_DICT,
    SHAPE_LIST,
    SHAPE_SINGLETON,
    BaseModel,
    ConstrainedInt,
    ModelField,
    StrictBool,
)
from orchestrator.vocabulary import MAX_VARIABLE
from typing_extensions import Literal

from tools import ETL
from tools.generated.names import Names, add_names, names_of

Schema = Dict[str, Any]

FOLDER = Path("configs") / "schema"
DRAFT = "http://json-schema.org/draft-07/schema#"

# The numbers of each field of a cron expression, as regular expressions; leading zeros are allowed.
CRON_NUMBERS = ("[0-5]?[0-9]", "1?[0-9]|2[0-3]", "[1-9]|[12][0-9]|3[01]", "[1-9]|1[0-2]", "[0-7]")

# What a regular expression and a type can say of the shapes that are no text.
SHAPES: Dict[Type[Shape], Schema] = {
    Moment: {
        "type": "string",
        "pattern": r"^(19[7-9]\d|20\d\d|2100)-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d)?(\.\d+)? ?(Z|[+-]\d\d:\d\d))?$",
    },
    Duration: {
        "type": ["integer", "string"],
        "minimum": 1,
        "maximum": 2**31 - 1,
        "pattern": f"^(?=.*[1-9]){Duration.pattern.pattern}$",
    },
    Scalar: {"type": ["string", "number", "boolean"], "maxLength": MAX_VARIABLE},
}


def files(etl: Path = ETL) -> Dict[Path, str]:
    """Return the schemas' texts by their paths in the repository; raise Rejected for an environment with problems."""
    documents = {"pipeline": pipeline_document(names_of(etl)), "environment": document(Environment)}
    return {
        FOLDER / f"{name}.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in documents.items()
    }


def pipeline_document(names: Names) -> Schema:
    """Return the whole schema of pipelines, which knows the names in ``configs/``."""
    schema = document(Pipeline)
    add_names(schema, names)
    return schema


def document(model: Type[BaseModel]) -> Schema:
    """Return the whole schema of files that hold this model."""
    others = sorted(set(models_below(model)), key=lambda other: other.__name__)
    definitions = {other.__name__: model_schema(other) for other in others}
    definitions["Task"]["properties"]["depends_on"]["items"] = shape_schema(TaskId)  # of other tasks: the factory knows
    return {"$schema": DRAFT, **model_schema(model), "definitions": definitions}


def models_below(model: Type[BaseModel]) -> Iterator[Type[BaseModel]]:
    """Yield the models that the fields of a model hold, at any depth."""
    for field in model.__fields__.values():
        held = model_of(field)
        if held is not None:
            yield held
            yield from models_below(held)


def model_of(field: ModelField) -> Any:
    """Return the model that a field holds, or a list or mapping of it; None if it is none."""
    inner = field.sub_fields[0].type_ if field.sub_fields else field.type_
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def model_schema(model: Type[BaseModel]) -> Schema:
    """Return the schema of a mapping with known keys."""
    return {
        "title": model.__name__,
        "description": first_line(model),
        "type": "object",
        "properties": {name: property_schema(field) for name, field in model.__fields__.items()},
        "required": [name for name, field in model.__fields__.items() if field.required],
        "additionalProperties": False,
    }


def first_line(thing: Any) -> str:
    """Return the first line of a docstring."""
    return (thing.__doc__ or "").splitlines()[0]


def description_of(field: ModelField) -> str:
    """Return what a field is for; of one that holds a single model, that may be the model's own words."""
    held = model_of(field)
    own = field.field_info.description or ""
    return own or (first_line(held) if held is not None and field.shape == SHAPE_SINGLETON else "")


def property_schema(field: ModelField) -> Schema:
    """Return the schema of a key's value, with what an editor shows of it."""
    value = or_null(value_schema(field), field.allow_none)
    if "$ref" in value:  # draft 7 ignores what stands beside a $ref
        value = {"allOf": [value]}
    extra = field.field_info.extra  # JSON Schema's own words for what the factory checks by itself
    schema: Schema = {"title": field.name.replace("_", " "), "description": description_of(field), **value, **extra}
    if isinstance(field.default, (str, bool, int)):
        schema["default"] = field.default
    return schema


def value_schema(field: ModelField) -> Schema:
    """Return the schema of a value that is not null."""
    inner = field.sub_fields or []
    if field.shape == SHAPE_LIST:
        return {"type": "array", "items": element_schema(inner[0])}
    if field.shape == SHAPE_DICT:
        keys = type_schema(field.key_field.type_) if field.key_field else {}
        return {"type": "object", "propertyNames": keys, "additionalProperties": element_schema(inner[0])}
    if inner:
        return {"anyOf": [element_schema(one) for one in inner]}
    return type_schema(field.type_)


def element_schema(field: ModelField) -> Schema:
    """Return the schema of what stands in a list or mapping."""
    return or_null(value_schema(field), field.allow_none)


def or_null(schema: Schema, allowed: bool) -> Schema:
    """Allow null beside a schema."""
    if not allowed or not schema:  # {} takes everything
        return schema
    if "type" in schema:
        enum = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        return {**schema, **enum, "type": [*types, "null"]}
    return {"anyOf": [*schema.get("anyOf", [schema]), {"type": "null"}]}


def type_schema(type_: Any) -> Schema:
    """Return the schema of one of the factory's types; raise TypeError for one that is unknown here."""
    if type_ is Any:
        return {}
    if getattr(type_, "__origin__", None) is Literal:
        return {"type": "string", "enum": list(type_.__args__)}
    if issubclass(type_, BaseModel):
        return {"$ref": f"#/definitions/{type_.__name__}"}
    if issubclass(type_, StrictBool):
        return {"type": "boolean"}
    if issubclass(type_, ConstrainedInt):
        return {"type": "integer", "minimum": type_.ge, "maximum": type_.le}
    if issubclass(type_, Shape):
        return shape_schema(type_)
    raise TypeError(f"no schema for {type_}")


def shape_schema(shape: Type[Shape]) -> Schema:
    """Return what a shape of the factory says of itself, with words in place of the regular expression."""
    schema: Schema = dict(SHAPES.get(shape, {}))
    if issubclass(shape, Text):
        schema = {"type": "string", "pattern": f"^(?:{shape.pattern.pattern})$"}
    if shape is Cron:
        schema["pattern"] = cron_pattern()
    if "pattern" in schema:  # the YAML language server's own keyword, of VS Code's JSON
        schema["patternErrorMessage"] = f"this is not {in_sentence(first_line(shape))}"
    return schema


def in_sentence(text: str) -> str:
    """Return a docstring's sentence as the end of another."""
    return text[0].lower() + text[1:].rstrip(".").replace("``", "")


def cron_pattern() -> str:
    """Return a regular expression for schedules.

    It takes all that the factory takes, and of the rest refuses what a regular expression can see: an unknown
    preset, a number of fields other than five, a number that its field does not have.
    """
    # R and H alone are croniter's random values, which the factory refuses.
    words = r"/[0-9]+|(?!\b[RrHh]\b)[A-Za-z]|[*,#-]"
    fields = [rf"(?:0*(?:{numbers})(?![0-9])|{words})+" for numbers in CRON_NUMBERS]
    return "^(?:" + "|".join([*Cron.presets, r"\s*" + r"\s+".join(fields) + r"\s*"]) + ")$"
