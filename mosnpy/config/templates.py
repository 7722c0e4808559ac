"""Texts with attributes in them: "%client_ip%:%listener%", and what a rewrite needs to know of a route's match."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mosnpy.config.attributes import Scope
    from mosnpy.config.predicate import Predicate

__all__ = ["TemplateError", "highest_group", "matched_prefix", "parse_template"]

_PART = re.compile(r"%([^%]*)(%?)")
_GROUP = re.compile(r"\\(.?)", re.DOTALL)


class TemplateError(ValueError):
    """offset: characters from the start of the text to what is wrong."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def parse_template(text: str, scope: Scope) -> str | list[Any]:
    """The plan's form: the text itself, or a list of texts and {"attr": name}. Raises TemplateError."""
    if "%" not in text:
        return text
    parts: list[Any] = []
    at = 0
    literal = ""
    for match in _PART.finditer(text):
        literal += text[at : match.start()]
        at = match.end()
        if not match[2]:
            raise TemplateError("this % begins no %attribute%: write %% for a percent sign", match.start())
        if not match[1]:
            literal += "%"
            continue
        try:
            info = scope.find(match[1])
        except ValueError as error:
            raise TemplateError(f"{error} (write %% for a percent sign)", match.start() + 1) from None
        if literal:
            parts.append(literal)
            literal = ""
        parts.append({"attr": info.name})
    literal += text[at:]
    if not parts:
        return literal
    return [*parts, literal] if literal else parts


def highest_group(replacement: str) -> int:
    r"""The highest \N in the replacement of a regular expression. Raises TemplateError for a \ before anything else."""
    highest = 0
    for match in _GROUP.finditer(replacement):
        if match[1].isdecimal() and match[1].isascii():
            highest = max(highest, int(match[1]))
        elif match[1] != "\\":
            raise TemplateError(r"\ stands before the number of a group, such as \1, or another \ ", match.start())
    return highest


def matched_prefix(predicate: Predicate, attribute: str) -> str | None:
    """The prefix (or the exact value) of an attribute that a message must have for the predicate to hold; of several the longest."""
    parts = predicate[1:] if predicate[0] == "and" else (predicate,)
    found = [part[2] for part in parts if part[0] in ("prefix", "eq") and part[1] == attribute]
    return max(found, key=len) if found else None
