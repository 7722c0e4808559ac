"""Files that a plan was made of, beside the configuration: certificates and keys. When one of them changes, a new plan is due.

Polled, not inotify: certificates often arrive as links into mounted folders that are swapped whole (Kubernetes secrets), on file
systems that don't tell.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

POLL = 1.0  # seconds between looks


def signature(path: str) -> list[int]:
    """What changes with the contents, links followed; empty: the file can't be looked at."""
    try:
        found = os.stat(path)
    except OSError:
        return []
    return [found.st_mtime_ns, found.st_ino, found.st_dev, found.st_size]


def signatures(paths: Iterable[str]) -> dict[str, list[int]]:
    return {path: signature(path) for path in paths}


class FileWatch:
    """Notices changes against what the files were when they were read.

    `changed` is true once per change, and not before the files have rested for one look: a certificate and its key are
    replaced one after the other.
    """

    def __init__(self, known: Mapping[str, list[int]]) -> None:
        self._known = dict(known)
        self._seen = self._known

    def changed(self) -> bool:
        now = signatures(self._known)
        rested, self._seen = now == self._seen, now
        if now == self._known or not rested:
            return False
        self._known = now
        return True
