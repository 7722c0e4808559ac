"""What pydantic found, in words for operators."""

from __future__ import annotations

import re
import types
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from mosnpy.config.report import did_you_mean, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

__all__ = ["is_about_key", "sentence"]

_PATTERNS = {
    r"(\*\.)?": "a host name, or one with `*.` in front, is expected here, such as *.example.com",
    "{0,251}": "a host name is expected here, such as www.example.com",
    "!#$%&'": "the name of a proxy in Via has no spaces or separators",
    r"^/[^": "a path begins with '/', and has no spaces or control characters",
    r"^[^\x00-\x20": "a host is expected here, perhaps with :port",
    "A-Za-z0-9_.]*": "the name of a gRPC service has letters, digits, '_' and '.'",
    "A-Za-z0-9_": "a name has letters, digits, '_', '.' and '-', at most 64, and starts with a letter, digit or '_'",
    "x00": "the text can't contain line breaks or other control characters",
    "0-7": 'permissions are written in octal and in quotes, such as "0660"',
}


def is_about_key(error: ErrorDetails) -> bool:
    """Whether the key is at fault, not the value behind it."""
    return error["type"] in ("extra_forbidden", "missing") or error["loc"][-1:] == ("[key]",)


def sentence(error: ErrorDetails, model: type[BaseModel], siblings: Iterable[type[BaseModel]] = ()) -> str:
    """The fault in one sentence.

    model: what was validated, the error's path starts there. siblings: the same part in other protocols: a key that is
    unknown here but known there deserves better than "unknown".
    """
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    loc = error["loc"]
    if kind == "extra_forbidden":
        return _unknown_key(str(loc[-1]), model, loc[:-1], siblings)
    if kind == "missing":
        return f"{loc[-1]!r} is missing"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", context["expected"])
        if not known:
            return f"{context['expected']} is expected here, not {shown(value)}"
        return f"unknown value {shown(value)}{did_you_mean(value, known) or ': known are ' + ', '.join(known)}"
    if kind in ("string_type", "string_sub_type"):
        quotes = f', write "{shown(value)}" in quotes' if isinstance(value, (int, float)) else ""
        return f"text is expected here, not {shown(value)}{quotes}"
    if kind.startswith("int_"):
        return f"a whole number is expected here, not {shown(value)}"
    if kind.startswith("bool_"):
        return f"true or false is expected here, not {shown(value)}"
    if kind in ("dict_type", "model_type", "model_attributes_type", "mapping_type"):
        return f"a mapping is expected here, not {shown(value)}"
    if kind == "list_type":
        return f"a list is expected here, not {shown(value)}"
    if kind == "string_pattern_mismatch":
        return next((text for mark, text in _PATTERNS.items() if mark in context["pattern"]), error["msg"])
    if kind in ("too_short", "string_too_short"):
        return "this text is empty" if isinstance(value, str) else "at least one is needed here"
    if kind == "too_long":
        return f"at most {context['max_length']} are possible here, not {context['actual_length']}"
    if kind == "string_too_long":
        return f"at most {context['max_length']} characters are possible here"
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = context.get("ge", context.get("le"))
        least = "at least" if kind == "greater_than_equal" else "at most"
        return f"{least} {bound} is expected here, not {shown(value)}"
    return str(error["msg"])


def _unknown_key(
    key: str, model: type[BaseModel], path: tuple[int | str, ...], siblings: Iterable[type[BaseModel]]
) -> str:
    here = _model_at(model, path)
    known = [*here.model_fields, *getattr(here, "more_keys", ())] if here else []
    for sibling in siblings:
        there = _model_at(sibling, path)
        if there is not None and there is not here and key in there.model_fields:
            protocol = _protocol(sibling)
            return f"{key!r} is only for {protocol}" if protocol else f"{key!r} has no meaning for this protocol"
    return f"unknown key {key!r}{did_you_mean(key, known) or (': known are ' + ', '.join(known) if known else '')}"


def _protocol(model: type[BaseModel]) -> str:
    """The protocol a model is for, the first of those it takes."""
    if hasattr(model, "speaks"):
        return str(model.speaks)
    found = model.model_fields.get("protocol")
    values: tuple[Any, ...] = (found.annotation,) if found else ()
    while values and not isinstance(values[0], str):
        values = get_args(values[0])
    return values[0] if values else ""


def _model_at(model: type[BaseModel] | None, path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model whose fields stand at `path` of `model`."""
    for step in path:
        if model is None:
            return None
        if isinstance(step, int):
            continue  # an item of the list whose field was the step before
        found = model.model_fields.get(step)
        if found is not None:
            model = _model_in(found.annotation)
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside Optional, Annotated, list and dict."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Annotated, Union, types.UnionType, list, dict):
        return next((found for each in get_args(annotation) if (found := _model_in(each))), None)
    return None
