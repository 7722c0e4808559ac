"""What `mosnpy run` turns into (execv), so that no module of the command line is in the process workers are forked from.

The arguments are the configuration files, the other options a JSON object in the environment (mosnpy/cli/launch.py). The
command line proper has been checked before.
"""

from __future__ import annotations

import json
import os
import resource
import sys

from mosnpy.server.options import Options, Parts


def run(options: Options) -> int:
    from mosnpy.server import log
    from mosnpy.server.supervisor import FAILED_START, Supervisor

    if options.log_file:
        log.open_file(options.log_file)
    log.start("supervisor", options.log_level)
    _raise_descriptor_limit()
    try:
        parts = native_parts()
    except ImportError as error:
        log.log.error(
            "not started: the C core is not built for this Python (pip install mosnpy, or `make build`): %s", error
        )
        return FAILED_START
    return Supervisor(options, parts).run()


def native_parts() -> Parts:
    from mosnpy.core import block_sizes, latency_bounds_us, stat_names
    from mosnpy.observe.layout import Layout
    from mosnpy.server import controller, load, worker

    layout = Layout.of(stat_names(), latency_bounds_us(), block_sizes())
    return Parts(layout, load.load, worker.run, controller.run, worker.preload)


def _raise_descriptor_limit() -> None:
    """Every connection is one; the soft limit of a login shell is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    code = run(Options(sys.argv[1:], **json.loads(os.environ.pop("MOSNPY_RUN", "{}"))))
    sys.stdout.flush()
    os._exit(code)  # nothing is left to be cleaned up, and a frozen heap need not be torn down
