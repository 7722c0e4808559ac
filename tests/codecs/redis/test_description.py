"""The codec's description agrees with the two other places that know it: the core and the configuration."""

from __future__ import annotations

import pytest

from mosnpy.codecs.redis import CODEC, plan_section
from mosnpy.config.protocols import RedisLimits


def test_attributes_are_those_of_the_core() -> None:
    core = pytest.importorskip("mosnpy.core._core", reason="mosnpy.core is not built")
    theirs = [(name, type_, doc) for name, type_, doc in core.codecs()["redis"]]
    assert [(a.name, a.type, a.doc) for a in CODEC.attributes] == theirs


def test_limits_are_those_of_the_configuration() -> None:
    assert {limit.name: limit.default for limit in CODEC.limits} == RedisLimits().plan()
    for limit in CODEC.limits:
        RedisLimits.model_validate({limit.name: f"{limit.minimum}B" if limit.unit == "bytes" else limit.minimum})
        RedisLimits.model_validate({limit.name: f"{limit.maximum}B" if limit.unit == "bytes" else limit.maximum})


def test_the_core_accepts_the_whole_table() -> None:
    core = pytest.importorskip("mosnpy.core._core", reason="mosnpy.core is not built")
    msgpack = pytest.importorskip("msgpack")
    section = plan_section({})
    plan = {
        "version": 1,
        "generation": 1,
        "busy_poll_us": 0,
        "listeners": [],
        "tables": [],
        "upstreams": [],
        "codecs": {"redis": section},
    }
    core.check_plan(msgpack.packb(plan))


def test_operations_are_the_commands() -> None:
    assert CODEC.operations is not None
    assert {"GET", "CONFIG", "XREADGROUP"} <= set(CODEC.operations())
    assert CODEC.plan_section is plan_section
