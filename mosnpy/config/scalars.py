"""Scalars of the document: YAML 1.2 core types, and what `${…}` stands for. Also the choice of YAML parser.

A scalar's type is decided after substitution: `workers: ${N}` with N=4 is the number 4, `"${N}"` the text. A substituted
value is only ever a scalar, so what stands in an environment variable can't add keys to the document.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, TextIO

import yaml
from yaml.composer import Composer
from yaml.nodes import Node, ScalarNode
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PLAIN", "QUOTED", "UnresolvedError", "compose_pure", "composer", "resolve", "substitute"]

PLAIN = "?"
"""Tag of a scalar whose type its text decides."""
QUOTED = "!"
"""Tag of everything else without an explicit tag."""

_DEEPEST = 100  # nesting; libyaml's composer recurses in C and would run off its stack at about 25,000
_LARGEST_SECRET = 1 << 20  # bytes of a ${file:…}


class _Resolver(BaseResolver):
    """Marks nodes as PLAIN or QUOTED instead of guessing YAML 1.1 types, and bounds the depth."""

    depth = 0

    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> str:
        return PLAIN if kind is ScalarNode and implicit[0] else QUOTED

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        self.depth += 1
        if self.depth > _DEEPEST:
            mark = current_node.start_mark if current_node is not None else None
            raise yaml.MarkedYAMLError(None, None, f"nested deeper than {_DEEPEST} levels", mark)

    def ascend_resolver(self) -> None:
        self.depth -= 1


class _PureLoader(Reader, Scanner, Parser, Composer, _Resolver):
    def __init__(self, stream: TextIO) -> None:
        Reader.__init__(self, stream)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        _Resolver.__init__(self)


def compose_pure(stream: TextIO) -> Node | None:
    """Nodes of the only document of `stream`, by PyYAML's Python parser. Raises yaml.YAMLError."""
    node: Node | None = _PureLoader(stream).get_single_node()
    return node


try:
    from yaml._yaml import CParser

    class _FastLoader(CParser, _Resolver):
        def __init__(self, stream: TextIO) -> None:
            CParser.__init__(self, stream)
            _Resolver.__init__(self)

    def composer(stream: TextIO) -> Node | None:
        """Nodes of the only document of `stream`, None when it is empty. Raises yaml.YAMLError."""
        node: Node | None = _FastLoader(stream).get_single_node()
        return node

except ImportError:  # PyYAML built without libyaml
    composer = compose_pure


_WORDS: dict[str, Any] = {"": None, "~": None}
for _word, _value in (("null", None), ("true", True), ("false", False)):
    _WORDS |= dict.fromkeys((_word, _word.capitalize(), _word.upper()), _value)
_NUMERIC = frozenset("0123456789+-.")
_INT = re.compile(r"[-+]?[0-9]{1,40}")
_OCTAL = re.compile(r"0o[0-7]{1,40}")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,40}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,3})?")
_INFINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def resolve(text: str) -> Any:
    """The value of a plain scalar by YAML 1.2's core schema (10.3.2): None, bool, int, float, else the text."""
    if text[:1] not in _NUMERIC or not text:
        return _WORDS.get(text, text)
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _HEX.fullmatch(text):
        return int(text, 16)
    if _OCTAL.fullmatch(text):
        return int(text, 8)
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


class UnresolvedError(ValueError):
    """A `${…}` stands for nothing. offset: characters into the scalar; name: the variable, "" if that isn't the trouble."""

    def __init__(self, message: str, offset: int, name: str = "") -> None:
        super().__init__(message)
        self.offset = offset
        self.name = name


_REFERENCE = re.compile(r"(\$?)\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def substitute(text: str, env: Mapping[str, str]) -> str:
    """`text` with `${VAR}`, `${VAR:-default}` and `${file:/path}` replaced; `$${` is a plain `${`.

    The default also stands in for an empty variable, as in a shell. A file's last newline is dropped. Raises UnresolvedError.
    """

    def value(match: re.Match[str]) -> str:
        escaped, inner, closed = match.groups()
        if escaped:
            return match[0][1:]
        if not closed:
            raise UnresolvedError("'${' without '}': write $${ for the characters themselves", match.start())
        if inner.startswith("file:"):
            return _secret(inner[5:], match.start())
        name, has_default, default = inner.partition(":-")
        if not _NAME.fullmatch(name):
            raise UnresolvedError(
                f"{match[0]!r} is neither ${{VAR}}, ${{VAR:-default}} nor ${{file:/path}}", match.start()
            )
        found = env.get(name, "")
        if found or (name in env and not has_default):
            return found
        if not has_default:
            raise UnresolvedError(
                f"environment variable {name!r} is not set, and there is no default", match.start(), name
            )
        return default

    return _REFERENCE.sub(value, text)


def _secret(path: str, offset: int) -> str:
    if not os.path.isabs(path):
        raise UnresolvedError(f"${{file:{path}}}: the path must be absolute", offset)
    try:
        with open(path, "rb") as file:
            raw = file.read(_LARGEST_SECRET + 1)
    except OSError as error:
        raise UnresolvedError(f"can't read {path}: {error.strerror or error}", offset) from None
    if len(raw) > _LARGEST_SECRET:
        raise UnresolvedError(f"{path} is larger than {_LARGEST_SECRET >> 20} MiB", offset)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise UnresolvedError(f"{path} is not UTF-8 text", offset) from None
    return text.removesuffix("\n").removesuffix("\r")
