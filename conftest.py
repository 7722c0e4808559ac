"""A skipped test is told with its reason, and fails the run where MOSNPY_FAIL_ON_SKIP is set, as `make test` does.

A test that a complete machine may rightly skip carries the marker `may_skip`.
"""

from __future__ import annotations

import os

import pytest

_skipped: list[str] = []
_strict = os.environ.get("MOSNPY_FAIL_ON_SKIP", "") not in ("", "0")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and "may_skip" not in report.keywords:
        _skipped.append(f"{report.nodeid}: {_reason(report)}")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _skipped.append(f"{report.nodeid}: {_reason(report)}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if _strict and _skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _strict and _skipped:
        terminalreporter.section("skipped tests that should run (MOSNPY_ALLOW_SKIPS=1 lets them)", red=True)
        for line in _skipped:
            terminalreporter.write_line(line)
