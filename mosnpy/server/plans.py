"""Plans on their way: a configuration is loaded in a child, its plan goes to every worker, and the reload is done when
all have it and nobody holds a removed listener's socket any more.

All or nothing: faults, or an address that can't be listened on, leave everything as it was. Reloads come one after the
other; what is asked for while one runs is answered by one more load after it, for the files may have changed since.
"""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mosnpy.server import log, sockets
from mosnpy.server.channel import Channel
from mosnpy.server.children import Child, how_it_ended
from mosnpy.server.log import log as out
from mosnpy.server.messages import Faulty, Loaded, Reloaded
from mosnpy.server.reactor import Reactor, Timer

if TYPE_CHECKING:
    from mosnpy.server.supervisor import Supervisor

TIMEOUT = 15.0  # seconds for all workers to take a plan
PATIENCE = 120.0  # seconds for a configuration to be loaded; 10,000 routes take about two


@dataclass(slots=True)
class Change:
    """Done when every worker that lived at its start has the plan or is dead, and nobody holds a removed listener's
    socket any more; then `done` is called with what went wrong (nothing, mostly)."""

    generation: int
    tickets: list[int]  # whom to answer
    waiting: set[int]  # workers without the new plan
    removed: dict[int, set[int]]  # listener id: workers that still have its socket
    close: Callable[[int], None]  # a listener nobody has any more
    done: Callable[[Change], None]
    faults: list[str] = field(default_factory=list)
    _timer: Timer | None = None
    _over: bool = False

    def start(self, reactor: Reactor) -> None:
        self._timer = reactor.later(TIMEOUT, self._late)
        self._check()

    def applied(self, worker: int, generation: int) -> None:
        if generation >= self.generation:
            self.waiting.discard(worker)
            self._check()

    def refuse(self, worker: int, reason: str) -> None:
        self.faults.append(f"worker {worker}: {reason}")
        self.waiting.discard(worker)
        self._check()

    def released(self, worker: int, ids: Iterable[int]) -> None:
        for id in ids:
            if id in self.removed:
                self.removed[id].discard(worker)
        self._check()

    def died(self, worker: int, ids: Iterable[int]) -> None:
        """Its successor starts with the new plan."""
        self.waiting.discard(worker)
        self.released(worker, ids)

    def _check(self) -> None:
        if self._over:
            return
        for id in [id for id, holders in self.removed.items() if not holders]:
            del self.removed[id]
            self.close(id)
        if not self.waiting and not self.removed:
            self._finish()

    def _late(self) -> None:
        if self.waiting:
            self.faults.append(f"worker {sorted(self.waiting)} has not taken the plan within {TIMEOUT:g} s")
        for id in list(self.removed):
            self.close(id)
        self._finish()

    def _finish(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        self.done(self)


class Plans:
    """The supervisor's part about loading: the first configuration and every later one."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._loading: list[int] | None = None  # tickets of the load under way
        self._asked: list[int] = []  # tickets of reloads to come
        self._change: Change | None = None
        self._patience: Timer
        self.said: Loaded | Faulty | None = None  # by the loader
        self.latest: dict[str, Any] = {"ok": True, "time": time.time(), "faults": []}

    # -- loading --

    def load(self, tickets: list[int]) -> None:
        supervisor = self._supervisor
        self._loading, self.said = tickets, None
        generation = supervisor.loaded.generation + 1 if supervisor.loaded is not None else 1

        def load(channel: Channel) -> int:
            gc.disable()  # the process ends with its answer: looking for garbage once is a tenth of a large load
            channel.send_and_wait(supervisor.parts.load(supervisor.options, generation, supervisor.registry))
            return 0

        try:
            loader = supervisor.family.start("loader", 0, load)
        except OSError as error:
            self._loading = None
            self._failed(tickets, [f"error: no process to load the configuration in: {error}"])
            return
        self._patience = supervisor.reactor.later(PATIENCE, lambda: loader.kill(signal.SIGKILL))

    def loader_ended(self, status: int) -> None:
        tickets, self._loading = self._loading or [], None
        self._patience.cancel()
        answer = self.said or Faulty([f"error: the process that loads the configuration {how_it_ended(status)}"])
        supervisor = self._supervisor
        if supervisor.draining:
            self._answer(tickets, False, ["the proxy is shutting down"])
        elif isinstance(answer, Loaded):
            if supervisor.loaded is None:
                supervisor.begin(answer)
            else:
                self._adopt(answer, tickets)
        else:
            self._failed(tickets, answer.faults)

    def _failed(self, tickets: list[int], faults: list[str]) -> None:
        if self._supervisor.loaded is None:
            log.plain(faults)
            self._supervisor.give_up("the configuration has faults")
        else:
            self._keep(tickets, faults)

    def ask(self, ticket: int) -> None:
        """A reload. `ticket`: whom to answer; 0 for a signal."""
        if self._supervisor.draining:
            self._answer([ticket], False, ["the proxy is shutting down"])
        else:
            self._asked.append(ticket)
            self.next()

    def next(self) -> None:
        """Starts the next reload, unless one is under way or the proxy isn't ready yet."""
        if self._asked and self._loading is None and self._change is None and self._supervisor.running:
            tickets, self._asked = self._asked, []
            out.info("reload of %s", ", ".join(self._supervisor.options.sources))
            self.load(tickets)

    # -- a new plan --

    def _adopt(self, loaded: Loaded, tickets: list[int]) -> None:
        supervisor = self._supervisor
        before, wanted = set(supervisor.listening), {spec.id for spec in loaded.specs}
        try:
            new = [spec for spec in loaded.specs if spec.id not in before]
            opened = sockets.listen_all(new, len(supervisor.workers))
        except sockets.BindError as error:
            self._keep(tickets, [f"error: {error}"])
            return
        self._warn_of_what_stays(loaded)
        supervisor.listening |= opened
        for each in opened.values():
            out.info("listener %s on %s", each.spec.name, each.address)
        if supervisor.memory is not None:
            supervisor.memory.zero_blocks((base, size) for base, size in loaded.zero)
        supervisor.take(loaded)
        living = [worker for worker in supervisor.workers if worker is not None]
        removed = {id: {worker.index for worker in living if id in worker.sockets} for id in before - wanted}
        waiting = {worker.index for worker in living}
        self._change = change = Change(loaded.generation, tickets, waiting, removed, self._close, self._changed)
        for worker in living:
            supervisor.send_plan(worker, loaded)
        if supervisor.controller is not None:
            supervisor.family.send(supervisor.controller, loaded)
        else:
            supervisor.start_controller()
        change.start(supervisor.reactor)

    def _warn_of_what_stays(self, loaded: Loaded) -> None:
        supervisor = self._supervisor
        running = len(supervisor.workers)
        if not supervisor.options.workers and loaded.workers != running:
            out.warning("workers: %d takes force at the next start, %d are running", loaded.workers, running)
        if supervisor.loaded is not None and loaded.admin != supervisor.loaded.admin:
            out.warning("admin: the new address takes force at the next start")

    def _keep(self, tickets: list[int], faults: list[str]) -> None:
        log.plain(faults)
        generation = self._supervisor.generation
        out.error("reload: the configuration has faults; generation %d stays in force", generation)
        self._reloaded(tickets, faults)

    def _close(self, id: int) -> None:
        gone = self._supervisor.listening.pop(id)
        gone.close()
        out.info("listener %s on %s is closed", gone.spec.name, gone.address)

    def _changed(self, change: Change) -> None:
        self._change = None
        if change.faults:
            out.error("reload: %s", "; ".join(change.faults))
        else:
            out.info("reload done: generation %d", change.generation)
        self._reloaded(change.tickets, change.faults)

    def _reloaded(self, tickets: list[int], faults: list[str]) -> None:
        self.latest = {"ok": not faults, "time": time.time(), "faults": faults}
        self._supervisor.tell()
        self._answer(tickets, not faults, faults)
        self.next()

    def _answer(self, tickets: list[int], ok: bool, faults: list[str]) -> None:
        controller = self._supervisor.controller
        for ticket in tickets:
            if ticket and controller is not None:
                self._supervisor.family.send(controller, Reloaded(ticket, ok, self._supervisor.generation, faults))

    # -- what workers say --

    def applied(self, worker: Child) -> None:
        if self._change is not None:
            self._change.applied(worker.index, worker.generation)
        else:
            self.next()

    def refused(self, worker: Child, reason: str) -> None:
        if self._change is not None:
            self._change.refuse(worker.index, reason)

    def released(self, worker: int, id: int) -> None:
        if self._change is not None:
            self._change.released(worker, [id])

    def died(self, worker: Child) -> None:
        if self._change is not None:
            self._change.died(worker.index, worker.sockets)
