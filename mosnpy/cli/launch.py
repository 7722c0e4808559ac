"""From the command line to the supervisor: a new program in the same process.

The supervisor forks the workers, so whatever is imported in it is in every worker. execv leaves all that the command line
needed behind.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import mosnpy
from mosnpy.server.options import Options

ENVIRONMENT = "MOSNPY_RUN"  # the options but the sources, as JSON; sources are arguments, for ps to show them


def launch(options: Options) -> NoReturn:
    program, arguments, environment = command(options)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(program, arguments, environment)


def command(options: Options) -> tuple[str, list[str], dict[str, str]]:
    """(program, arguments, environment) of a supervisor."""
    chosen = asdict(options)
    sources = chosen.pop("sources")
    return sys.executable, [*python("mosnpy.server"), *sources], {**os.environ, ENVIRONMENT: json.dumps(chosen)}


def python(module: str) -> list[str]:
    """The command that runs a module of ours in a new interpreter.

    Without -P a file such as ./logging.py where the operator happens to stand would be imported instead of the real one.
    """
    root = Path(mosnpy.__file__).resolve().parent.parent
    safe = [] if root == Path.cwd().resolve() else ["-P"]
    return [sys.executable, *safe, "-m", module]
