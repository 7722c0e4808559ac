"""Child processes of the bench: pinned to a core, with their whole process tree's CPU time and memory.

Everything here is read from /proc by pid; nothing is found by name, and only what was started here is ever ended.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_PORTS = range(20_000, 32_000)  # below the kernel's ephemeral range, so that no outgoing connection sits on one of them


def free_port() -> int:
    """A TCP port of 127.0.0.1 nobody listens on right now."""
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port found between 20000 and 32000")


@dataclass(frozen=True)
class Cores:
    """Which core the proxies run on and which one everything else (load, backend, this program)."""

    proxy: int
    load: int

    @classmethod
    def choose(cls) -> Cores:
        """The first two cores we may use; with a single one both shares it, and figures mean little."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[0], allowed[1] if len(allowed) > 1 else allowed[0])


@dataclass(frozen=True)
class Cpu:
    """Time of a set of processes since they began: running, and ready but waiting for a core (ns)."""

    run: int
    wait: int

    def __sub__(self, earlier: Cpu) -> Cpu:
        return Cpu(self.run - earlier.run, self.wait - earlier.wait)


class Child:
    """A program started for the bench, with whatever it forks.

    It gets a process group of its own, so that Ctrl-C reaches only the bench, but stays in our session: Linux may share out
    a core by session first (autogroup), and load and backend, which yield to each other, must be one party.

    Some peers (Envoy from PyPI) ask the kernel to end them when the *thread* that started them ends: start children from
    the main thread only.
    """

    def __init__(self, command: list[str], core: int, log: Path, *, directory: Path, env: dict[str, str] | None = None):
        def prepare() -> None:
            os.sched_setaffinity(0, {core})
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

        self.command = command
        self.log = log
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={**os.environ, **(env or {})},
                preexec_fn=prepare,
                process_group=0,
            )

    def alive(self) -> bool:
        return self.process.poll() is None

    def pids(self) -> list[int]:
        """This process and all that descend from it."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text()
                except OSError:
                    continue
                children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
        found = [self.process.pid]
        for pid in found:
            found.extend(children.get(pid, ()))
        return found

    def stop(self) -> None:
        """TERM, and KILL for the whole group when that does not help within 3 s."""
        pids = self.pids() if self.alive() else []
        if self.alive():
            self.process.terminate()
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            pass
        for pid in pids:
            try:
                if os.getpgid(pid) == self.process.pid:
                    os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()

    def tail(self, lines: int = 6) -> str:
        text = self.log.read_text(errors="replace").strip()
        return "\n".join(text.splitlines()[-lines:])


def cpu(pids: list[int]) -> Cpu:
    """Summed over all threads of these processes (a process's own schedstat shows only its first thread)."""
    run = wait = 0
    for pid in pids:
        for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                fields = stat.read_text().split()
            except OSError:
                continue
            run += int(fields[0])
            wait += int(fields[1])
    return Cpu(run, wait)


def wait_until_settled(child: Child, seconds: float) -> None:
    """Returns when the whole process tree has gone quiet: some answer before all of their processes have started, and what
    those still do would be counted as the cost of the first requests. Gives up waiting after `seconds`."""
    give_up = time.monotonic() + seconds
    quiet = 0
    before = cpu(child.pids())
    while quiet < 2 and time.monotonic() < give_up and child.alive():
        time.sleep(0.1)  # a window to look at, not a guess at how long starting takes
        now = cpu(child.pids())
        spent = now - before
        quiet = quiet + 1 if spent.run + spent.wait < 2_000_000 else 0
        before = now


def rss_kib(pid: int) -> int:
    """Resident memory of a process, 0 when it has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")), 0)


def pss_kib(pids: list[int]) -> int:
    """Memory of several processes together, pages they share counted once (they do share: workers are forked)."""
    total = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return total


def redis_answers(port: int) -> str:
    """Asks for a PONG. "" when it came, else what came instead."""
    with socket.create_connection(("127.0.0.1", port), 1) as conn:
        conn.sendall(b"*1\r\n$4\r\nPING\r\n")
        reply = conn.recv(64)
    return "" if reply == b"+PONG\r\n" else f"answered {reply!r}"


def wait_for_answer(port: int, child: Child, seconds: float, ask: Callable[[int], str] = redis_answers) -> None:
    """Returns once what `ask` sends to `port` is answered. RuntimeError with the child's last words otherwise."""
    give_up = time.monotonic() + seconds
    last = "nobody listens"
    while time.monotonic() < give_up and child.alive():
        try:
            last = ask(port)
        except OSError as problem:
            last = str(problem)
        if not last:
            return
        time.sleep(0.02)  # polling another program's start-up; nothing is measured yet
    state = "still runs" if child.alive() else f"ended with code {child.process.returncode}"
    raise RuntimeError(f"{child.command[0]} {state}, {last}; its last words:\n{child.tail()}")
