"""Hosts one core in a process of its own, with a main thread that can be told to burn Python: `python -m bench.macro.host CONFIG`.

This is a worker without its family (no supervisor, no controller), for measurements that need to know exactly which thread
does what: the data thread runs the core on the core of the proxy, the main thread waits for signals on its own.

  USR1  start burning: 10 ms of pure Python out of every 20 ms, the load a busy controller would be
  USR2  stop burning
  TERM  end
With --apart a forked child burns instead: what that costs the data thread is the price of the core alone. (A child, not any
process: the scheduler may share cores out by session first.)
"""

from __future__ import annotations

import argparse
import mmap
import os
import selectors
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mosnpy.core import Core

BURN_S, PERIOD_S = 0.010, 0.020
SLOTS = 65_536  # u64 each: the row of statistics, as in a real worker
HEALTH_SLOTS = 4_096


class Burner:
    """The main thread's life: asleep, or burning in a fixed rhythm."""

    def __init__(self) -> None:
        self.burning = False
        self.ending = False
        self.substitute = 0  # pid of the process that burns in our place
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told)

    def _told(self, number: int, _frame: FrameType | None) -> None:
        if self.substitute:
            os.kill(self.substitute, number)
            self.ending = number in (signal.SIGTERM, signal.SIGINT)
            return
        self.burning = number == signal.SIGUSR1
        self.ending = number in (signal.SIGTERM, signal.SIGINT)

    def burn_once(self) -> None:
        """One period. Pure bytecode holds the GIL except for the interpreter's own 5 ms switch interval."""
        begun = time.perf_counter()
        total = 0
        while time.perf_counter() - begun < BURN_S:
            for i in range(100):
                total += i * i
        time.sleep(max(PERIOD_S - (time.perf_counter() - begun), 0))

    def stand_in(self, core: int | None) -> None:
        """Forks the process that burns in our place, on `core`. Before any thread is started."""
        self.substitute = os.fork()
        if not self.substitute:
            if core is not None:
                os.sched_setaffinity(0, {core})
            self.run()
            os._exit(0)

    def run(self) -> None:
        while not self.ending:
            if self.burning:
                self.burn_once()
            else:
                time.sleep(
                    0.2
                )  # a signal ends it early only by its handler running; the period is all the delay there is


def _listen(entry: dict[str, object]) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((str(entry["host"]), int(str(entry["port"]))))
    sock.listen(4096)
    sock.setblocking(False)
    return sock


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--apart", action="store_true", help="burn in a child process, not in the main thread")
    parser.add_argument("--inline", action="store_true", help="run the core in the main thread, between the burning")
    parser.add_argument("--main-core", type=int, help="core of the main thread")
    chosen = parser.parse_args()
    burner = Burner()
    if chosen.apart:
        burner.stand_in(chosen.main_core)

    from mosnpy.config import LocalRegistry, compile_config, load
    from mosnpy.core import Core, block_sizes

    compiled = compile_config(load(chosen.config), LocalRegistry(block_sizes()), 1)
    row = memoryview(mmap.mmap(-1, SLOTS * 8)).cast("Q")
    core = Core(row, memoryview(bytearray(HEALTH_SLOTS)))
    sockets = {int(entry["id"]): _listen(entry) for entry in compiled.listeners}
    core.post_plan(compiled.plan, {number: sock.fileno() for number, sock in sockets.items()})
    if chosen.inline:
        _run_inline(core, burner)
    else:
        data = threading.Thread(target=core.run, name="data")
        data.start()
        if chosen.main_core is not None:
            os.sched_setaffinity(0, {chosen.main_core})  # of this thread alone
        burner.run()
        core.post_stop()
        data.join()
    core.close()
    if burner.substitute:
        os.waitpid(burner.substitute, 0)
    return 0


def _run_inline(core: Core, burner: Burner) -> None:
    """One thread for both: what the design avoids, measured to show why."""
    turns = selectors.DefaultSelector()
    turns.register(core.fileno(), selectors.EVENT_READ)
    due = time.perf_counter()
    while not burner.ending:
        if burner.burning and time.perf_counter() >= due:
            begun = time.perf_counter()
            due = begun + PERIOD_S
            while time.perf_counter() - begun < BURN_S:
                sum(i * i for i in range(100))
        if turns.select(0.001 if burner.burning else 0.2):
            core.poll(0)


if __name__ == "__main__":
    sys.exit(main())
