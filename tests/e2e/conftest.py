"""Fixtures of the HTTP tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mosnpy.testing.http_stage import HttpStage


@pytest.fixture
def http(built: None) -> Iterator[HttpStage]:
    """A stage of the test's own: leaks are counted and counters must be back at zero when it ends."""
    stage = HttpStage()
    yield stage
    stage.close()


@pytest.fixture(scope="module")
def shared_http(built: None) -> Iterator[HttpStage]:
    """A stage for a module's tests that change nothing."""
    stage = HttpStage()
    yield stage
    stage.close()
