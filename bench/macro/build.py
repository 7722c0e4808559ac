"""Compiles the bench's own C programs (load generator, stub backend, bare relay) into build/bench/bin, when out of date."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OUT = ROOT / "build" / "bench"
# -O2 without -march: the peers are distribution builds for any x86-64 too.
FLAGS = ["-O2", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"]


def program(name: str) -> Path:
    """The path of the compiled bench/macro/<name>.c."""
    source, target = HERE / f"{name}.c", OUT / "bin" / name
    newest = max(path.stat().st_mtime for path in (source, HERE / "wire.h"))
    if not target.exists() or target.stat().st_mtime < newest:
        target.parent.mkdir(parents=True, exist_ok=True)
        compiler = shlex.split(os.environ.get("CC", "cc"))
        fresh = target.with_name(f"{name}.{os.getpid()}")  # two benches at once must not run half a file
        subprocess.run([*compiler, *FLAGS, str(source), "-o", str(fresh)], check=True)
        fresh.replace(target)
    return target
