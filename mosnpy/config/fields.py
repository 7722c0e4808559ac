"""What the models are built from: their base, types of values with their sentences, short forms."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    StringConstraints,
    WithJsonSchema,
    field_validator,
)

from mosnpy.config.address import PATTERN as ADDRESS_PATTERN
from mosnpy.config.address import Address, bind_address, endpoint_address
from mosnpy.config.report import shown
from mosnpy.config.units import Between, Duration, Size

__all__ = [
    "Bind",
    "Count",
    "Model",
    "Name",
    "Secret",
    "Target",
    "Text",
    "Workers",
    "between",
    "duration",
    "expanded",
    "listed",
    "size",
]


class Model(BaseModel):
    """Base of every part: strict types, no unknown keys, descriptions from the texts below the fields."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, validate_default=False)

    @field_validator("*", mode="before")
    @classmethod
    def _something(cls, value: object) -> object:
        # `health:` with nothing behind it: off, or on with its defaults? Most often it is a slip of indentation.
        if value is None:
            raise ValueError(
                "nothing stands here: give a value ({} for all defaults of a mapping) or leave the key out"
            )
        return value


def duration(text: str) -> Any:
    """A default of type Duration."""
    return Duration.parse(text)


def size(text: str) -> Any:
    """A default of type Size."""
    return Size.parse(text)


def between(low: str, high: str) -> Between:
    """Bounds of a size."""
    return Between(Size.parse(low), Size.parse(high))


def _workers(value: object) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1024:
        raise ValueError(f"a number from 1 to 1024, or auto, is expected here, not {shown(value)}")
    return value


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


listed = BeforeValidator(_listed)
"""A list, or its only item."""


def expanded(key: str) -> BeforeValidator:
    """A short form: a text or number stands for a mapping with that one key."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, (str, int, float)) else value)


_NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"
Name = Annotated[str, StringConstraints(pattern=_NAME_PATTERN)]
Text = Annotated[str, StringConstraints(min_length=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Secret = Annotated[SecretStr, Field(strict=False, min_length=1)]
Workers = Annotated[
    int | Literal["auto"],
    PlainValidator(_workers),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 1024}, {"const": "auto"}]}),
]
Bind = Annotated[
    Address,
    PlainValidator(bind_address),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{ADDRESS_PATTERN}$", "examples": ["127.0.0.1:6380", ":6380"]}),
]
Target = Annotated[
    Address,
    PlainValidator(endpoint_address),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{ADDRESS_PATTERN}$", "examples": ["127.0.0.1:6379"]}),
]
