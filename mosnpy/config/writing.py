"""Plain data as YAML that our loader reads back the same. PyYAML's own writer takes minutes for 100,000 routes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from mosnpy.config.scalars import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["to_yaml"]

_BARE = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*(:[A-Za-z0-9_./-]+)*|[0-9]+(\.[0-9]+){3}:[0-9]+|:[0-9]+")


def to_yaml(data: Mapping[str, Any]) -> str:
    """Mappings, lists, texts, numbers, booleans and None, in the order given. A text is quoted wherever YAML 1.2 would take
    it for something else."""
    lines: list[str] = []
    _mapping(data, "", lines)
    return "\n".join(lines) + "\n" if lines else "{}\n"


def _mapping(data: Mapping[str, Any], indent: str, lines: list[str]) -> None:
    for key, value in data.items():
        _value(f"{indent}{_scalar(str(key))}:", value, indent, lines)


def _value(head: str, value: Any, indent: str, lines: list[str]) -> None:
    """`head` is what stands before the value, on the same line."""
    if isinstance(value, dict) and value:
        lines.append(head)
        _mapping(value, indent + "  ", lines)
    elif isinstance(value, (list, tuple)) and value:
        lines.append(head)
        for item in value:
            _item(item, indent, lines)
    else:
        lines.append(f"{head} {_leaf(value)}")


def _item(item: Any, indent: str, lines: list[str]) -> None:
    if isinstance(item, dict) and item:
        first = len(lines)
        _mapping(item, indent + "  ", lines)
        lines[first] = f"{indent}- {lines[first][len(indent) + 2 :]}"
    elif isinstance(item, (list, tuple)) and item:
        first = len(lines)
        for each in item:
            _item(each, indent + "  ", lines)
        lines[first] = f"{indent}- {lines[first][len(indent) + 2 :]}"
    else:
        lines.append(f"{indent}- {_leaf(item)}")


def _leaf(value: Any) -> str:
    if isinstance(value, str):
        return _scalar(value)
    if isinstance(value, (dict, list, tuple)):
        return "{}" if isinstance(value, dict) else "[]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value) if isinstance(value, float) else str(value)


def _scalar(text: str) -> str:
    if _BARE.fullmatch(text) and isinstance(resolve(text), str):
        return text
    quoted = json.dumps(text, ensure_ascii=False)  # its escapes are YAML's
    return quoted if text.isprintable() else "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)
