"""What a supervisor is started with, and what its processes are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line uses Options too, and has to be quick
    from mosnpy.observe.layout import Layout
    from mosnpy.observe.slots import SlotRegistry
    from mosnpy.server.channel import Channel
    from mosnpy.server.messages import Faulty, Loaded, Status
    from mosnpy.server.shared import SharedMemory


@dataclass(frozen=True, slots=True)
class Options:
    sources: list[str]  # configuration files or folders
    workers: int | None = None  # None: as configured
    host: str = "thread"  # where the core runs in a worker: on a thread of its own, or "inline" in the event loop
    pid_file: str = ""
    log_file: str = ""  # "": stderr
    log_level: str = "info"


@dataclass(frozen=True, slots=True)
class Parts:
    """The programs of the children and what they need to know of the core; tests put other ones in."""

    layout: Layout
    load: Callable[[Options, int, SlotRegistry], Loaded | Faulty]  # in the loader; the number is the new generation
    worker: Callable[[Channel, memoryview, memoryview, str], int]  # own row, health table, host
    controller: Callable[[Channel, SharedMemory, Layout, Loaded, Status, int], int]  # the admin socket, or -1
    preload: Callable[[], None]  # imports what workers need, before the first of them is forked
