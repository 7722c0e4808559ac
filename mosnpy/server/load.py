"""The loader's program: configuration files to a compiled plan, or to all their faults.

It runs in a child that ends with its answer, so what it imports (pydantic, PyYAML: 17 MB) burdens no process that stays.
"""

from __future__ import annotations

import json
import os

from mosnpy.observe.slots import SlotRegistry, SlotsExhausted
from mosnpy.server.files import signatures
from mosnpy.server.messages import Faulty, Loaded
from mosnpy.server.options import Options


def load(options: Options, generation: int, registry: SlotRegistry) -> Loaded | Faulty:
    """The registry is the caller's last one; the answer carries it with what this configuration added."""
    from mosnpy import config as configuration
    from mosnpy.errors import ConfigErrors

    try:
        config = configuration.load(options.sources)
        return compile_loaded(config, generation, registry)
    except ConfigErrors as error:
        return Faulty([configuration.render(error.faults)])
    except SlotsExhausted as error:
        return Faulty([f"error: {error}"])


def compile_loaded(config: object, generation: int, registry: SlotRegistry) -> Loaded | Faulty:
    """A checked configuration to what the processes need, tried out on the core's own reader. Raises ConfigErrors."""
    from mosnpy import config as configuration
    from mosnpy.config.models import Config
    from mosnpy.core import check_plan

    assert isinstance(config, Config)
    registry.begin(generation)
    compiled = configuration.compile_config(config, registry, generation)
    files = signatures(compiled.files)  # before anybody reads them: what changes from now on is a change
    try:
        check_plan(compiled.plan)
    except ValueError as error:
        return Faulty([f"error: the core refuses the plan: {error}"])
    workers = processors() if compiled.workers == "auto" else int(compiled.workers)
    document = config.document
    warnings = [fault.render() for fault in document.faults] if document is not None else []
    return Loaded(
        generation, compiled.plan, compiled.listeners, registry.pack(), [list(block) for block in registry.reclaimed],
        workers, compiled.drain_timeout_ms, compiled.admin, compiled.checks, compiled.upstreams,
        json.dumps(config.effective()), warnings, files,
    )  # fmt: skip


def processors() -> int:
    """Those this process may use: a container often has fewer than the machine."""
    return max(1, len(os.sched_getaffinity(0)))
