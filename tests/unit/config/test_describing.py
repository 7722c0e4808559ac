"""What describes the configuration says what the code does: schema, reference page, samples, attribute tables."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mosnpy.config import LocalRegistry, check, compile_plan, installed, load, schema
from mosnpy.config.attributes import COMMON
from mosnpy.config.protocols import PROTOCOLS, RedisLimits
from mosnpy.config.reference import reference
from mosnpy.errors import Failure
from mosnpy.testing.certificates import Authority

ROOT = Path(__file__).parents[3]
SAMPLES = [*sorted((ROOT / "config").glob("*.yaml")), ROOT / "config" / "many" / "mosnpy.yaml"]


def test_the_reference_page_is_what_the_models_say() -> None:
    page = ROOT / "docs" / "reference" / "configuration.md"
    assert page.read_text() == reference(), "run: python -m mosnpy.config.reference > docs/reference/configuration.md"


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What samples take from the environment: a folder with certificates, made as they say."""
    folder = tmp_path_factory.mktemp("certs")
    authority = Authority(folder)
    authority.issue("example.com", "*.example.com", file="server")
    return {"CERTS": str(folder)}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda p: str(p.relative_to(ROOT)))
def test_samples_have_no_fault_and_compile(sample: Path, env: dict[str, str]) -> None:
    assert check(sample, env=env) == []
    assert compile_plan(load(sample, env=env), LocalRegistry(), 1)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda p: str(p.relative_to(ROOT)))
def test_samples_explain_themselves_and_fit_the_schema(sample: Path, env: dict[str, str]) -> None:
    text = sample.read_text()
    assert text.startswith("# ")
    config = load(sample, env=env)
    assert config.document is not None
    Validator(schema()).check(config.document.data)


def test_what_the_reader_refuses_the_schema_refuses() -> None:
    good = {
        "version": 1,
        "listeners": {"a": {"bind": ":1", "protocol": "redis", "routes": [{"match": {"key": "a"}, "to": "m"}]}},
        "upstreams": {"m": {"protocol": "redis", "endpoints": ["127.0.0.1:1"]}},
    }
    Validator(schema()).check(good)
    changes: list[dict[str, Any]] = [
        {"version": 2},
        {"worker": 1},
        {"busy_poll": 50},
        {"listeners": {}},
        {"listeners": {"a": {"bind": ":1", "protocol": "redis", "routes": [{"match": {"kye": "a"}, "to": "m"}]}}},
        {"listeners": {"a": {"bind": ":1", "protocol": "tcp", "routes": [{"match": {"key": "a"}, "to": "m"}]}}},
        {"listeners": {"a": {"bind": ":1", "protocol": "tcp", "to": "m", "limits": {}}}},
        {"upstreams": {"m": {"protocol": "redis", "endpoints": ["127.0.0.1:1"], "lb": "rr"}}},
    ]
    for change in changes:
        with pytest.raises(AssertionError):
            Validator(schema()).check({**good, **change})


def test_the_schema_knows_attributes_by_protocol() -> None:
    found = schema()
    defs = found["$defs"]
    redis = defs["RedisRoute"]["properties"]["match"]["properties"]
    assert {"key", "redis.key", "command", "access", "client_ip"} <= set(redis)
    tls = {"tls.sni", "tls.san", "tls.subject", "tls.version", "tls.alpn"}
    assert set(defs["TcpRoute"]["properties"]["match"]["properties"]) == {"protocol", "client_ip", "listener", *tls}
    http = defs["HttpRoute"]["properties"]["match"]
    assert {"path", "http.path", "host", "grpc.service", "tls.san"} <= set(http["properties"])
    assert {r"^header\..", r"^http\.header\..", r"^query\..", r"^cookie\.."} <= set(http["patternProperties"])
    assert {"key", "path"} <= set(defs["MixedRoute"]["properties"]["match"]["properties"])
    assert "all keys" in redis["keys"]["description"]
    assert defs["RedisListener"]["properties"]["max_connections"]["description"].startswith("Most client connections")
    references = set(re.findall(r'"#/\$defs/(\w+)"', json.dumps(found)))
    assert references == set(defs), "no dangling and no unused definitions"


class Validator:
    """The few words of JSON Schema our schema uses; AssertionError where a value doesn't fit."""

    def __init__(self, whole: dict[str, Any]) -> None:
        self.whole = whole

    def check(self, value: Any, part: dict[str, Any] | None = None, path: str = "$") -> None:
        part = self.whole if part is None else part
        if "$ref" in part:
            self.check(value, self.whole["$defs"][part["$ref"].rpartition("/")[2]], path)
        if "anyOf" in part:
            assert any(self.fits(value, each, path) for each in part["anyOf"]), f"{path}: none of anyOf"
        if "const" in part:
            assert value == part["const"], path
        if "enum" in part:
            assert value in part["enum"], path
        types: dict[str, Any] = {
            "string": str,
            "integer": int,
            "number": (int, float),
            "boolean": bool,
            "array": list,
            "object": dict,
        }
        if "type" in part:
            assert isinstance(value, types[part["type"]]), f"{path}: no {part['type']}"
        if "pattern" in part:
            assert not isinstance(value, str) or re.search(part["pattern"], value), f"{path}: {part['pattern']}"
        assert value >= part.get("minimum", value) if isinstance(value, int) else True, path
        if isinstance(value, list) and "items" in part:
            for i, each in enumerate(value):
                self.check(each, part["items"], f"{path}[{i}]")
        if isinstance(value, dict):
            self.check_mapping(value, part, path)

    def check_mapping(self, value: dict[str, Any], part: dict[str, Any], path: str) -> None:
        assert not set(part.get("required", ())) - set(value), f"{path}: missing"
        assert len(value) >= part.get("minProperties", 0), path
        for key, each in value.items():
            rest = part.get("additionalProperties", True)
            known = dict(part.get("properties", {}))
            for start, form in part.get("patternProperties", {}).items():
                if re.search(start, key):
                    known[key] = form
            if key in known:
                self.check(each, known[key], f"{path}.{key}")
            elif isinstance(rest, dict):
                self.check(each, rest, f"{path}.{key}")
            else:
                assert rest, f"{path}: unknown {key}"

    def fits(self, value: Any, part: dict[str, Any], path: str) -> bool:
        try:
            self.check(value, part, path)
        except AssertionError:
            return False
        return True


def c_rows(path: str, macro: str, columns: int = 3) -> list[list[str]]:
    """The X(…) rows of a list macro of a C header."""
    lines = (ROOT / path).read_text().split(f"#define {macro}(X)")[1].split("\n")
    last = next(i for i, line in enumerate(lines) if not line.endswith("\\"))
    rows = re.findall(r"X\((.+)\)", "\n".join(lines[: last + 1]))
    return [[part.strip().strip('"') for part in row.split(",", columns - 1)] for row in rows]


def test_failures_are_those_of_the_core() -> None:
    rows = c_rows("csrc/core/base.h", "FAILURES")
    assert [(f.name, f.flag, f.text) for f in Failure] == [tuple(row) for row in rows]
    assert [int(f) for f in Failure] == list(range(len(rows)))


def test_common_attributes_are_those_of_the_core() -> None:
    rows = c_rows("csrc/core/attr.h", "COMMON_ATTRIBUTES", 4)
    assert [(name, kind.removeprefix("ATTR_").lower()) for _, name, kind, _ in rows] == [
        (i.name, i.type) for i in COMMON.values()
    ]


def test_limits_are_those_of_the_codec() -> None:
    from mosnpy.codecs.redis import CODEC

    assert {limit.name: limit.default for limit in CODEC.limits} == RedisLimits().plan()


def test_attributes_of_the_codecs_are_those_of_the_core() -> None:
    core = pytest.importorskip("mosnpy.core._core", reason="mosnpy.core is not built (pip install -e .)")
    native = core.codecs()
    for codec, rows in native.items():
        attributes = installed.attributes()[PROTOCOLS[codec].family if codec in PROTOCOLS else codec]
        assert {name: kind for name, kind, _ in rows} == {n: info.type for n, info in attributes.items()}


def test_samples_are_plans_the_core_takes(env: dict[str, str]) -> None:
    core = pytest.importorskip("mosnpy.core._core", reason="mosnpy.core is not built (pip install -e .)")
    for sample in SAMPLES:
        core.check_plan(compile_plan(load(sample, env=env), LocalRegistry(core.block_sizes()), 1))
