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
# program -> what it is made of besides <program>.c, libraries
PARTS: dict[str, tuple[list[str], list[str]]] = {
    "loadgen": (["meter.c"], []),
    "loadgen_http": (["loadgen_h1.c", "loadgen_h2.c", "loadgen_tls.c", "meter.c"], ["-lssl", "-lcrypto"]),
    "backend_http": (["backend_h1.c", "backend_h2.c", "hpack_path.c"], []),
}


def program(name: str) -> Path:
    """The path of the compiled program bench/macro/<name>.c with its parts."""
    parts, libraries = PARTS.get(name, ([], []))
    sources, target = [HERE / f"{name}.c", *(HERE / part for part in parts)], OUT / "bin" / name
    newest = max(path.stat().st_mtime for path in (*sources, *HERE.glob("*.h")))
    if not target.exists() or target.stat().st_mtime < newest:
        target.parent.mkdir(parents=True, exist_ok=True)
        compiler = shlex.split(os.environ.get("CC", "cc"))
        fresh = target.with_name(f"{name}.{os.getpid()}")  # two benches at once must not run half a file
        subprocess.run([*compiler, *FLAGS, *map(str, sources), "-o", str(fresh), *libraries], check=True)
        fresh.replace(target)
    return target
