"""The pid file of a supervisor, for init scripts and logrotate."""

from __future__ import annotations

import os


def write(path: str) -> None:
    if path:
        with open(path, "w") as file:
            file.write(f"{os.getpid()}\n")


def remove(path: str) -> None:
    """Unless a successor has written its own there."""
    try:
        with open(path) as file:
            ours = file.read().strip() == str(os.getpid())
        if ours:
            os.unlink(path)
    except OSError:
        pass  # "" or gone: nothing to do
