"""Faults of a configuration and how they are shown.

A fault knows its place in the file, so that `mosnpy check` prints one line editors can jump to, the source line and a caret:

    mosnpy.yaml:8:28: error: unknown key 'timout', did you mean 'timeout'?  [listeners.cache.routes.0.timout]
         8 |         to: {cluster: api, timout: 1s}
           |                            ^^^^^^
"""

from __future__ import annotations

import difflib
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Fault", "did_you_mean", "ordered", "render", "shown"]

_WIDEST_LINE = 160  # columns of source shown; longer lines are cut around the caret


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong (or, as a warning, doubtful) with a configuration.

    line, column: 1-based, 0 = not known; width: characters the caret covers; source: the line itself; path: place in the
    document; file: as the operator named it.
    """

    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    width: int = 1
    source: str = ""
    path: str = ""
    severity: Literal["error", "warning"] = "error"

    def render(self) -> str:
        """The fault as text of one to three lines, without a newline at the end."""
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        head = f"{place}: " if place else ""
        path = f"  [{self.path}]" if self.path else ""
        text = f"{head}{self.severity}: {self.message}{path}"
        if not self.line or not self.source.strip():
            return text
        source, column = _cut(self.source, self.column)
        lead = "".join(_blank(c) for c in source[: column - 1])
        under = source[column - 1 : column - 1 + self.width] or "^"
        carets = "^" * max(1, sum(_columns(c) for c in under))
        return f"{text}\n{self.line:6} | {source}\n       | {lead}{carets}"

    def as_dict(self) -> dict[str, Any]:
        """The fault for `check -o json`."""
        names = ("severity", "message", "file", "line", "column", "path")
        return {name: getattr(self, name) for name in names}


def _cut(source: str, column: int) -> tuple[str, int]:
    if len(source) <= _WIDEST_LINE:
        return source, column
    start = max(0, column - 1 - _WIDEST_LINE // 2)
    end = start + _WIDEST_LINE
    text = ("…" if start else "") + source[start:end] + ("…" if end < len(source) else "")
    return text, column - start + (1 if start else 0)


def _columns(char: str) -> int:
    return 2 if unicodedata.east_asian_width(char) in "WF" else 0 if unicodedata.combining(char) else 1


def _blank(char: str) -> str:
    return "\t" if char == "\t" else " " * _columns(char)


def ordered(faults: Iterable[Fault]) -> list[Fault]:
    """Faults by place, each once; those without a place last. Files stand in the order in which they first occur."""
    unique = list(dict.fromkeys(faults))
    files: dict[str, int] = {}
    for fault in unique:
        if fault.line:
            files.setdefault(fault.file, len(files))
    return sorted(unique, key=lambda f: (not f.line, files.get(f.file, 0), f.line, f.column, f.severity))


def render(faults: Iterable[Fault]) -> str:
    """All faults, and a last line that counts them."""
    listed = list(faults)
    errors = sum(f.severity == "error" for f in listed)
    warnings = len(listed) - errors
    counts = [f"{n} {word}{'s' if n != 1 else ''}" for n, word in ((errors, "error"), (warnings, "warning")) if n]
    return "\n".join([*(f.render() for f in listed), ", ".join(counts)]) if listed else ""


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """ ", did you mean 'x'?" when a known word is close, else ""."""
    if not isinstance(word, str):
        return ""
    names = list(known)
    folded = {name.lower(): name for name in reversed(names)}
    close = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return f", did you mean {folded[close[0]]!r}?" if close else ""


def shown(value: object) -> str:
    """A value of the document as the operator wrote it, roughly, and short: for messages."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"
