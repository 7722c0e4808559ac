"""The operational log: one line per event on stderr or in a file, from all processes.

A line is written by one write() on a descriptor opened with O_APPEND, so lines of several processes don't mix. The log
file, if there is one, takes the place of descriptor 2: what the interpreter or a library prints lands there too.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence

log = logging.getLogger("mosnpy")


class _Format(logging.Formatter):
    def __init__(self, role: str) -> None:
        super().__init__()
        self.role = role

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(record.created))
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        level = record.levelname.lower()
        return f"{clock}.{int(record.msecs):03d} {level:<7} {self.role}[{os.getpid()}] {text}"


class _Descriptor(logging.Handler):
    """Writes to descriptor 2, whatever file that is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            os.write(2, (self.format(record) + "\n").encode("utf-8", "replace"))
        except OSError:
            pass  # a full disk or a closed terminal must not end a proxy


def start(role: str, level: str = "info") -> None:
    """Also called again after each fork, with the child's role."""
    handler = _Descriptor()
    handler.setFormatter(_Format(role))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    log.setLevel(level.upper())


def line(level: str, text: str) -> None:
    """What the core has to say."""
    log.log(logging.getLevelNamesMapping()[level.upper()], "%s", text)


def open_file(path: str) -> None:
    """Puts the file in the place of descriptor 2. Called again after the file was moved away."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def plain(texts: Sequence[str]) -> None:
    """Faults as `mosnpy check` shows them, several lines each with a caret under the place: without time and role."""
    if texts:
        os.write(2, ("\n".join(texts) + "\n").encode("utf-8", "replace"))
