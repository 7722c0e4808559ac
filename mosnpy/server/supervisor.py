"""The supervisor: loads the configuration, owns the listening sockets and the shared memory, forks and restarts.

    LOADING --plan--> STARTING --every worker has it--> RUNNING --TERM, POST /drain--> DRAINING --all gone--> end
       |  faults          |  15 s                         |  ^                             |
       v                  v                               +--+ HUP: reload                 v  second signal
     exit 1             exit 1                                                           exit 2

It knows no protocol and runs no code of a configuration: that happens in a child which ends afterwards (load.py), so the
process the workers are forked from stays small. Nothing a child does ends the supervisor once it runs.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from enum import Enum
from typing import Any

from mosnpy.observe.slots import SlotRegistry
from mosnpy.server import log, pidfile, sockets
from mosnpy.server.channel import MAX_DESCRIPTORS, Channel
from mosnpy.server.children import Child, how_it_ended
from mosnpy.server.family import Family
from mosnpy.server.files import POLL, FileWatch
from mosnpy.server.log import log as out
from mosnpy.server.messages import (
    Applied,
    Drain,
    Drained,
    Faulty,
    ListenerSpec,
    Loaded,
    Message,
    Plan,
    Refused,
    Released,
    Reload,
    Reopen,
    Shutdown,
    Sockets,
    Status,
)
from mosnpy.server.options import Options, Parts
from mosnpy.server.plans import Plans
from mosnpy.server.reactor import Reactor, Timer
from mosnpy.server.shared import SharedMemory

OK, FAILED_START, FORCED, UNCLEAN = 0, 1, 2, 3  # exit codes

_START_TIMEOUT = 15.0  # seconds until every worker has its plan
_DRAIN_GRACE = 3.0  # seconds over the drain timeout for a worker to end by itself
_REFUSE_AFTER = (
    0.05  # seconds from the word to drain until the kernel refuses connections: first the queues are emptied
)
_NO_FORK = 1.0  # seconds until the next attempt when a child can't be forked
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_SIGNALS = (*_STOPPING, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)


class State(Enum):
    LOADING = "loading"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"


class Supervisor:
    def __init__(self, options: Options, parts: Parts) -> None:
        self.options = options
        self.parts = parts
        self.state = State.LOADING
        self.exit_code = OK
        self.loaded: Loaded | None = None  # the configuration in force
        self.memory: SharedMemory | None = None
        self.listening: dict[int, sockets.Listening] = {}  # by listener id
        self.admin: sockets.Listening | None = None
        self.workers: list[Child | None] = []
        self.controller: Child | None = None
        self._watch = FileWatch({})
        self._started = time.time()
        self._start_timer: Timer | None = None
        self.reactor = Reactor(_SIGNALS, self._signal, self._bug)
        self.plans = Plans(self)
        self.family = Family(self.reactor, _SIGNALS, options.log_level, self._hear, self._died, self._leave_sockets)

    @property
    def registry(self) -> SlotRegistry:
        """Unpacked each time it is asked for: by loaders, and when a worker has died."""
        return (
            SlotRegistry.unpack(self.loaded.registry)
            if self.loaded is not None
            else SlotRegistry(self.parts.layout.sizes)
        )

    @property
    def running(self) -> bool:
        return self.state is State.RUNNING

    @property
    def draining(self) -> bool:
        return self.state is State.DRAINING

    def run(self) -> int:
        self.plans.load([])
        self.reactor.later(POLL, self._look_at_files)
        try:
            self.reactor.run()
        finally:
            self._end()
        return self.exit_code

    def _look_at_files(self) -> None:
        if self._watch.changed() and self.running:
            out.info("a file of the TLS configuration has changed")
            self.plans.ask(0)
        self.reactor.later(POLL, self._look_at_files)

    # -- the start -----------------------------------------------------------------------------------------------------

    def begin(self, loaded: Loaded) -> None:
        self.state = State.STARTING
        count = self.options.workers or loaded.workers
        try:
            self.listening = sockets.listen_all(loaded.specs, count)
            if loaded.admin is not None:
                self.admin = sockets.listen(ListenerSpec(**loaded.admin), 1)
            pidfile.write(self.options.pid_file)
        except OSError as error:
            self.give_up(str(error))
            return
        self.take(loaded)
        self.memory = SharedMemory(count)
        self.workers = [None] * count
        self.parts.preload()
        gc.collect()
        gc.freeze()  # children then don't touch, and so don't copy, the pages of what exists now
        for index in range(count):
            self._start_worker(index)
        self.start_controller()
        self._start_timer = self.reactor.later(_START_TIMEOUT, self._start_late)
        for each in self.listening.values():
            out.info("listener %s on %s", each.spec.name, each.address)
        if self.admin is not None:
            out.info("admin on %s", self.admin.address)

    def take(self, loaded: Loaded) -> None:
        """From now on this configuration is in force."""
        self.loaded = loaded
        self._watch = FileWatch(loaded.files)
        log.plain(loaded.warnings)

    def _bug(self) -> None:
        """An exception nobody expected. What runs goes on running."""
        out.exception("an error in the supervisor")
        if self.state in (State.LOADING, State.STARTING):
            self.give_up("an error in the supervisor")

    def _start_late(self) -> None:
        self.give_up(f"not every worker has taken the plan within {_START_TIMEOUT:g} s")

    def give_up(self, reason: str) -> None:
        out.error("not started: %s", reason)
        self.exit_code = FAILED_START
        self.reactor.stop()

    # -- children ------------------------------------------------------------------------------------------------------

    def _leave_sockets(self, role: str) -> None:
        """In a child: workers get the sockets they serve as messages, the controller serves the admin's."""
        admin = [self.admin] if self.admin is not None and role != "controller" else []
        for each in [*self.listening.values(), *admin]:
            for number in each.filenos():
                os.close(number)

    def _start_worker(self, index: int) -> None:
        memory, loaded = self.memory, self.loaded
        if memory is None or loaded is None or self.state is State.DRAINING:
            return
        row, health, host = memory.row(index), memory.health, self.options.host

        def work(channel: Channel) -> int:
            return self.parts.worker(channel, row, health, host)

        child = self.workers[index] = self.family.start("worker", index, work)
        self.send_plan(child, loaded)

    def start_controller(self) -> None:
        memory, loaded, layout, status = self.memory, self.loaded, self.parts.layout, self._status()
        if memory is None or loaded is None or self.state is State.DRAINING:
            return
        if self.admin is None and not loaded.checks:
            return  # nothing to do for it
        admin = self.admin.fileno(0) if self.admin is not None else -1

        def control(channel: Channel) -> int:
            return self.parts.controller(channel, memory, layout, loaded, status, admin)

        self.controller = self.family.start("controller", 0, control)

    def send_plan(self, child: Child, loaded: Loaded) -> None:
        ids = [spec.id for spec in loaded.specs]
        missing = [id for id in ids if id not in child.sockets]
        for start in range(0, len(missing), MAX_DESCRIPTORS):
            some = missing[start : start + MAX_DESCRIPTORS]
            self.family.send(child, Sockets(some), [self.listening[id].fileno(child.index) for id in some])
        child.sockets.update(missing)
        self.family.send(child, Plan(loaded.generation, loaded.plan, ids))

    def _hear(self, child: Child, message: Message) -> None:
        match message:
            case Applied(generation):
                child.generation = generation
                self._applied(child)
            case Refused(generation, reason):
                self._refused(child, generation, reason)
            case Released(id):
                child.sockets.discard(id)
                self.plans.released(child.index, id)
            case Drained():
                out.info("%s has drained", child.title)
            case Loaded() | Faulty():
                self.plans.said = message
            case Reload(ticket):
                self.plans.ask(ticket)
            case Shutdown():
                out.info("the admin API asks to drain")
                self.drain()

    def _died(self, child: Child, status: int) -> None:
        if child.role == "loader":
            self.plans.loader_ended(status)
            return
        if child.role == "controller":
            self.controller = None
        else:
            self.workers[child.index] = None
            if self.memory is not None:
                self.memory.zero_gauges(child.index, self.parts.layout, self.registry)
            self.plans.died(child)
        if self.state is State.DRAINING:
            self._drain_step(child, status)
        else:
            self._restart(child, status)

    def _restart(self, child: Child, status: int) -> None:
        delay = self.family.restart_delay(child)
        when = f"starts again in {delay:.1f} s" if delay else "starts again"
        out.error("%s (pid %d) %s; %s", child.title, child.pid, how_it_ended(status), when)

        def start() -> None:
            try:
                if child.role == "controller":
                    self.start_controller()
                else:
                    self._start_worker(child.index)
            except OSError as error:  # no memory, no processes, no descriptors: better times may come
                out.error("%s can't be started, once more in %g s: %s", child.title, _NO_FORK, error)
                self.reactor.later(_NO_FORK, start)
            self.tell()

        if delay:
            self.tell()
            self.reactor.later(delay, start)
        else:
            start()

    # -- plans in force ------------------------------------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """The plan that all workers have."""
        return min((worker.generation if worker else 0 for worker in self.workers), default=0)

    def _applied(self, child: Child) -> None:
        if self.state is State.STARTING and self.generation:
            self.state = State.RUNNING
            if self._start_timer is not None:
                self._start_timer.cancel()
            count = len(self.workers)
            out.info("ready: %d worker%s, generation %d", count, "s" * (count > 1), self.generation)
        self.tell()
        self.plans.applied(child)

    def _refused(self, child: Child, generation: int, reason: str) -> None:
        out.error("%s refuses generation %d: %s", child.title, generation, reason)
        if self.state is State.STARTING:
            self.give_up(reason)
        else:
            self.plans.refused(child, reason)

    # -- status --------------------------------------------------------------------------------------------------------

    def tell(self) -> None:
        if self.controller is not None:
            self.family.send(self.controller, self._status())

    def _status(self) -> Status:
        workers = [self._worker_status(index, worker) for index, worker in enumerate(self.workers)]
        listeners = [{"name": each.spec.name, "address": each.address} for each in self.listening.values()]
        draining = self.state is State.DRAINING
        return Status(
            self.generation,
            draining,
            workers,
            self.plans.latest,
            self._started,
            os.getpid(),
            self.options.sources,
            listeners,
        )

    def _worker_status(self, index: int, worker: Child | None) -> dict[str, Any]:
        return {
            "index": index,
            "pid": worker.pid if worker else None,
            "generation": worker.generation if worker else 0,
            "restarts": self.family.restarts.get(f"worker {index}", 0),
        }

    # -- signals and the end -------------------------------------------------------------------------------------------

    def _signal(self, number: signal.Signals) -> None:
        if number == signal.SIGCHLD:
            self.family.reap()
        elif number in _STOPPING:
            out.info("%s", number.name)
            if self.state is State.DRAINING:
                out.warning("second signal: ending now")
                self.exit_code = FORCED
                self.reactor.stop()
            else:
                self.drain()
        elif number == signal.SIGHUP:
            self.plans.ask(0)
        elif number == signal.SIGUSR1:
            self._reopen()
        elif number == signal.SIGUSR2:
            out.warning("SIGUSR2: hot upgrade is not there yet; start the new version on its own and drain this one")

    def _reopen(self) -> None:
        try:
            if self.options.log_file:
                log.open_file(self.options.log_file)
        except OSError as error:
            out.error("the log file can't be opened anew: %s", error)
            return
        self.family.send_all(Reopen(self.options.log_file))
        out.info("logs reopened")

    def drain(self) -> None:
        """Stop accepting, finish what is in flight, end."""
        if self.state is State.DRAINING:
            return
        before, self.state = self.state, State.DRAINING
        if before is State.LOADING or self.loaded is None:
            self.reactor.stop()
            return
        timeout_ms = self.loaded.drain_timeout_ms
        out.info("draining, at most %g s", timeout_ms / 1000)
        self.tell()
        for worker in self.workers:
            if worker is not None:
                self.family.send(worker, Drain(timeout_ms))
        self.reactor.later(_REFUSE_AFTER, self._refuse_connections)
        self.reactor.later(timeout_ms / 1000 + _DRAIN_GRACE, self._drain_late)
        self._drain_check()

    def _refuse_connections(self) -> None:
        for each in self.listening.values():
            each.refuse()

    def _drain_step(self, child: Child, status: int) -> None:
        if child.role == "worker" and status != 0:
            out.error("%s (pid %d) %s while draining", child.title, child.pid, how_it_ended(status))
            self.exit_code = UNCLEAN
        self._drain_check()

    def _drain_check(self) -> None:
        if not any(self.workers):
            self.reactor.stop()

    def _drain_late(self) -> None:
        out.error("workers have not ended in time and are killed")
        self.exit_code = UNCLEAN
        self.reactor.stop()

    def _end(self) -> None:
        """Nothing of ours stays behind: children, socket files, the pid file."""
        self.family.end(kill=self.exit_code == FORCED)
        for each in [*self.listening.values(), *([self.admin] if self.admin else [])]:
            each.close()
        pidfile.remove(self.options.pid_file)
        self.reactor.leave()
        out.info("ended with code %d", self.exit_code)
