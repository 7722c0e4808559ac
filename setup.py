"""Builds the native part: every .pyx under mosnpy/, the C of csrc/ linked into mosnpy.core._core. The rest is in pyproject.toml.

Switches, all from the environment:
  MOSNPY_WERROR=1                      warnings in our own C are errors (the Makefile sets it)
  MOSNPY_SANITIZE=address,undefined    an instrumented build; use it with --build-lib, see `make asan`
  MOSNPY_SKIP_NATIVE=1                 no extension at all: installs what Python needs, builds later
  MOSNPY_LTO=0                         no link-time optimization: a quicker build of slower code, while working on the C
  MOSNPY_JOBS=n                        compilers at once (default: one per core)
"""

from __future__ import annotations

import glob
import hashlib
import os
import shlex
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
os.chdir(ROOT)

CORE = "mosnpy.core._core"  # the one extension that carries the C; other modules cimport from it
C_FOLDERS = ("core", "codecs", "route", "filters")
CFLAGS = ["-O3", "-std=gnu11", "-fvisibility=hidden", "-Wall", "-Wextra"]  # no -march: a wheel runs on every x86-64
# What the C includes from elsewhere: header, package on Debian, on Fedora.
HEADERS = [("pcre2.h", "libpcre2-dev", "pcre2-devel"), ("openssl/ssl.h", "libssl-dev", "openssl-devel")]
# Link-time optimization: a request passes ten small functions in as many files, and 35 % of its instructions go with the calls.
LTO = ["-flto=auto", "-fno-fat-lto-objects"]


def fail(message: str) -> None:
    sys.exit(f"mosnpy: {message}")


def mend_link() -> None:
    """Makes mosnpy/codecs a link again where git or a copy turned it into a small text file or lost it."""
    link = ROOT / "mosnpy" / "codecs"
    if link.is_dir() or not (ROOT / "codecs").is_dir():
        return
    link.unlink(missing_ok=True)
    link.symlink_to("../codecs")


def generated(path: str) -> bool:
    """True for C that Cython wrote."""
    return not path.startswith("csrc")


def gcc() -> bool:
    """Whether the compiler is gcc, whose LTO needs no other linker; clang's does."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    try:
        told = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return False
    return "Free Software Foundation" in told


def extensions() -> list[Extension]:
    """One per .pyx, names computed from the path: guessing by __init__ files fails inside the namespace folder codecs/."""
    sources = sorted(glob.glob("mosnpy/**/*.pyx", recursive=True))
    try:
        from Cython.Build import cythonize
    except ImportError:  # an sdist brings the generated C along
        cythonize = None
        sources = [c for c in (str(Path(s).with_suffix(".c")) for s in sources) if os.path.exists(c)]
    if not sources:
        fail("no .pyx under mosnpy/ (and no C generated from one with Cython absent): this tree can't be built")

    sanitize = os.environ.get("MOSNPY_SANITIZE", "")
    extra = ["-g1", *LTO] if os.environ.get("MOSNPY_LTO", "1") != "0" and gcc() else ["-g1"]
    if sanitize:  # -O1: readable traces, and none of the false warnings gcc gives with -O3 and sanitizers
        extra = [f"-fsanitize={sanitize}", "-fno-sanitize-recover=all", "-g", "-O1", "-fno-omit-frame-pointer"]
    headers = glob.glob("csrc/**/*.h", recursive=True)
    found = []
    for source in sources:
        name = str(Path(source).with_suffix("")).replace("/", ".")
        core = name == CORE
        c_files = sorted(c for folder in C_FOLDERS for c in glob.glob(f"csrc/{folder}/*.c")) if core else []
        found.append(
            Extension(
                name,
                [source, *c_files],
                include_dirs=["csrc"],
                libraries=["pcre2-8", "ssl", "crypto"] if core else [],
                extra_compile_args=CFLAGS + extra,
                extra_link_args=[f"-fsanitize={sanitize}"] if sanitize else ["-O3", *extra],
                depends=headers,
            )
        )
    if cythonize is None:
        return found
    directives = {"language_level": "3", "freethreading_compatible": True}
    built: list[Extension] = cythonize(found, compiler_directives=directives, include_path=["."])
    return built


class BuildNative(build_ext):
    """build_ext that compiles in parallel, only what changed, and holds our C to a stricter measure than Cython's."""

    def build_extensions(self) -> None:
        if any("pcre2-8" in ext.libraries for ext in self.extensions):
            for header, debian, fedora in HEADERS:
                self.require(header, debian, fedora)
        flags = repr([ext.extra_compile_args for ext in self.extensions] + [self.werror()])
        # Objects of another build (sanitized, other warnings) must not be taken for this one's.
        self.build_temp = f"{self.build_temp}-{hashlib.sha1(flags.encode()).hexdigest()[:8]}"
        self.compiler.compile = partial(self.compile_all, self.compiler.compile)
        self.compiler._compile = partial(self.compile_one, self.compiler._compile)
        super().build_extensions()

    def werror(self) -> bool:
        return os.environ.get("MOSNPY_WERROR", "") not in ("", "0")

    def require(self, header: str, debian: str, fedora: str) -> None:
        """Stops with the package's name instead of a page of compiler output."""
        command = [*self.compiler.compiler_so[:1], "-E", "-x", "c", "-DPCRE2_CODE_UNIT_WIDTH=8", "-include", header]
        command += [
            *shlex.split(os.environ.get("CPPFLAGS", "")),
            *shlex.split(os.environ.get("CFLAGS", "")),
            "/dev/null",
        ]
        try:
            result = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        except FileNotFoundError:
            fail(f"no C compiler ({command[0]}). On Debian and Ubuntu: apt-get install build-essential")
        if result.returncode:
            fail(f"{header} is missing. On Debian and Ubuntu: apt-get install {debian} (Fedora: {fedora})")

    def compile_all(self, compile: Any, sources: list[str], **options: Any) -> list[str]:
        jobs = int(os.environ.get("MOSNPY_JOBS") or os.cpu_count() or 1)
        with ThreadPoolExecutor(jobs) as pool:
            return [obj for objs in pool.map(lambda s: compile([s], **options), sources) for obj in objs]

    def compile_one(
        self, compile: Any, obj: str, src: str, ext: str, cc_args: Any, postargs: Any, pp_opts: Any
    ) -> None:
        if current(obj, src):
            return
        if generated(src):
            warnings = ["-Wno-unused-parameter", "-Wno-unused-function", "-Wno-missing-field-initializers"]
            warnings += ["-Wno-cast-function-type", "-Wno-sign-compare"]
        else:
            warnings = ["-Werror"] if self.werror() else []
        compile(obj, src, ext, cc_args, [*postargs, *warnings, "-MMD", "-MF", f"{obj}.d"], pp_opts)


def current(obj: str, src: str) -> bool:
    """True if `obj` is newer than everything it was compiled from, by the dependency file the compiler left."""
    try:
        made = os.stat(obj).st_mtime_ns
        rule = Path(f"{obj}.d").read_text().replace("\\\n", " ").partition(": ")[2]
        return all(os.stat(path).st_mtime_ns < made for path in [src, *rule.split()])
    except OSError:
        return False


mend_link()
if os.environ.get("MOSNPY_SKIP_NATIVE", "") not in ("", "0"):
    setup()
else:
    setup(ext_modules=extensions(), cmdclass={"build_ext": BuildNative})
