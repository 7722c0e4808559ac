"""Ends the run with what one operation costs; pytest-benchmark's own table shows thousands of them at once."""

from __future__ import annotations

import pytest

from bench.micro.native import EACH


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if EACH:
        terminalreporter.section("ns each (median)")
        width = max(map(len, EACH))
        for name, nanoseconds in EACH.items():
            terminalreporter.write_line(f"{name:{width}}  {nanoseconds:9.1f}")
