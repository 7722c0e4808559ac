"""How codecs are found: by folder, by entry point, by path; never by guessing."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from mosnpy import codec
from mosnpy.codec import Codec, CodecNotFoundError, DuplicateCodecError, InvalidCodecError, registry

ACME = """
from mosnpy.codec import Codec, PoolMode

CODEC = Codec(name="acme", doc="a protocol", pool_mode=PoolMode.PIPELINE)
OTHER = 3
"""


def entry_point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, registry.GROUP)


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "acme_protocol.py"
    path.write_text(ACME)
    monkeypatch.syspath_prepend(str(tmp_path))
    return path


def offer(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: list(points))


def test_the_built_in_codecs_are_found_by_their_folders() -> None:
    assert {"redis", "tcp"} <= set(codec.names())
    assert codec.find("redis").name == "redis"
    assert codec.find("tcp").native


def test_every_built_in_codec_can_be_loaded() -> None:
    for name in codec.names():
        assert codec.find(name).name == name


def test_an_entry_point_brings_a_codec(acme: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, entry_point("acme", "acme_protocol:CODEC"))
    assert "acme" in codec.names()
    assert codec.find("acme").doc == "a protocol"


def test_the_same_name_twice_is_an_error_that_names_both(acme: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, entry_point("redis", "acme_protocol:CODEC"))
    with pytest.raises(DuplicateCodecError, match=r"'redis'.*mosnpy\.codecs\.redis and .*acme_protocol:CODEC"):
        codec.find("redis")
    with pytest.raises(DuplicateCodecError):
        codec.names()
    assert codec.find("tcp").name == "tcp"


def test_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(CodecNotFoundError, match=r"no codec is called 'redsi'; there are .*redis, tcp"):
        codec.find("redsi")


def test_a_codec_must_go_by_the_name_it_is_offered_under(acme: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, entry_point("other", "acme_protocol:CODEC"))
    with pytest.raises(InvalidCodecError, match="found as 'other' calls itself 'acme'"):
        codec.find("other")


def test_a_missing_module_is_told_from_a_missing_import_inside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_protocol.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    offer(monkeypatch, entry_point("gone", "gone_protocol:CODEC"), entry_point("broken", "broken_protocol:CODEC"))
    with pytest.raises(CodecNotFoundError, match="no module gone_protocol"):
        codec.find("gone")
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        codec.find("broken")


def test_a_path_may_name_a_codec(acme: Path) -> None:
    found = codec.load("./acme_protocol.py:CODEC", base=acme.parent)
    assert found.name == "acme"
    assert codec.load("./acme_protocol.py", base=acme.parent) is found
    assert codec.load("acme_protocol:CODEC").name == "acme"


def test_a_path_to_nothing_or_to_something_else_is_an_error(acme: Path) -> None:
    with pytest.raises(CodecNotFoundError, match=r"there is no file .*missing\.py"):
        codec.load("missing.py:CODEC", base=acme.parent)
    with pytest.raises(InvalidCodecError, match="a int called OTHER"):
        codec.load("acme_protocol.py:OTHER", base=acme.parent)
    with pytest.raises(InvalidCodecError, match="nothing called Missing"):
        codec.load("acme_protocol.py:Missing", base=acme.parent)


def test_a_broken_file_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "half.py"
    path.write_text("1 / 0\n")
    before = set(sys.modules)
    with pytest.raises(ZeroDivisionError):
        codec.load("half.py", base=tmp_path)
    assert set(sys.modules) - before == set()


def test_listing_names_imports_no_codec() -> None:
    code = (
        "import sys; from mosnpy import codec; codec.names(); "
        "print([m for m in sys.modules if m.startswith('mosnpy.codecs.')])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_importing_a_codec_needs_neither_pydantic_nor_the_table() -> None:
    code = (
        "import sys; import mosnpy.codecs.redis, mosnpy.codecs.tcp; "
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'pydantic', 'yaml', 'aiohttp', 'msgpack', 'click'}), "
        "'mosnpy.codecs.redis.commands' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[] False"


def test_codec_is_the_only_thing_a_module_must_have(acme: Path) -> None:
    assert isinstance(codec.load("acme_protocol"), Codec)
