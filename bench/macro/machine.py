"""What the figures were measured on: kept beside them in every JSON file, since figures without it mean nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from .build import ROOT


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines and done.returncode == 0 else ""


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def describe(command: list[str]) -> dict[str, str | int | float]:
    """Machine, kernel, settings that sway loopback traffic, and how busy the machine already was."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(command),
        "commit": _first_line(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "system": _read("/etc/debian_version") and f"Debian {_read('/etc/debian_version')}",
        "congestion_control": _read("/proc/sys/net/ipv4/tcp_congestion_control"),
        "python": platform.python_version(),
        "executable": sys.executable,
        "load_average": round(os.getloadavg()[0], 2),
    }


def doubts(machine: dict[str, str | int | float]) -> list[str]:
    """What makes figures of this machine doubtful. Others' work on half of the cores shows in every ratio."""
    load, cores = machine["load_average"], machine["cores"]
    if float(load) < 0.5 * int(cores):
        return []
    return [
        f"others were busy here when this began (load average {load} on {cores} cores): what is missed may be theirs"
    ]


def version(command: list[str]) -> str:
    """The first line a program prints about its version."""
    return _first_line(command)
