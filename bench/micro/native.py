"""The C parts of mosnpy under a stop watch: compiles them with a file of loops (parse.c, route.c, http.c) into a shared object.

Each loop function takes how often to run, so that Python's own cost of a call (about 1 µs) is divided by thousands. The
sources are compiled as setup.py does it (-O3, no -march).
"""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OUT = ROOT / "build" / "bench" / "micro"
FLAGS = ["-O3", "-std=gnu11", "-Wall", "-Wextra", "-fPIC", "-shared", "-fvisibility=hidden"]
PARTS = {
    "http": (
        [
            *("csrc/codecs/http.c", "csrc/codecs/http1_parse.c", "csrc/codecs/http1_fields.c"),
            *("csrc/codecs/http1_chunked.c", "csrc/codecs/hpack*.c", "csrc/core/base.c"),
        ],
        [],
    ),
    "parse": (["csrc/codecs/resp*.c", "csrc/core/base.c"], []),
    "route": (["csrc/route/*.c", "csrc/core/mpack.c", "csrc/core/base.c"], ["-lpcre2-8"]),
}

EACH: dict[str, float] = {}  # test -> ns of one operation, for the summary


def library(part: str) -> ctypes.CDLL:
    """Compiled anew each time: a few seconds, and never out of date."""
    patterns, libraries = PARTS[part]
    sources = [str(path) for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    target = OUT / f"{part}-{os.getpid()}.so"
    OUT.mkdir(parents=True, exist_ok=True)
    compiler = shlex.split(os.environ.get("CC", "cc"))
    try:
        subprocess.run(
            [*compiler, *FLAGS, f"-I{ROOT / 'csrc'}", str(HERE / f"{part}.c"), *sources, "-o", str(target), *libraries],
            check=True,
        )
        return ctypes.CDLL(str(target))
    finally:
        target.unlink(missing_ok=True)


def measure(benchmark: Any, function: Any, *arguments: Any, times: int) -> None:
    """Runs `function(*arguments, times)` in rounds; the report's extra column gives ns for one of `times`."""
    assert function(*arguments, 1) >= 0, "the measured operation fails"
    benchmark.pedantic(function, args=(*arguments, times), rounds=15, warmup_rounds=2)
    if benchmark.stats is not None:
        benchmark.extra_info["ns_each"] = round(benchmark.stats.stats.median / times * 1e9, 2)
        EACH[benchmark.name] = benchmark.extra_info["ns_each"]
