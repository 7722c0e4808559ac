"""What a codec may say of itself."""

from __future__ import annotations

from typing import Any

import pytest

from mosnpy.codec import Attribute, Codec, Limit, PoolMode


def make(**changed: Any) -> Codec:
    return Codec(**{"name": "acme", "doc": "a protocol", "pool_mode": PoolMode.PINNED, **changed})


@pytest.mark.parametrize("name", ["", "Acme", "9p", "a-b", "a.b", "x" * 33])
def test_names_are_plain_lower_case_words(name: str) -> None:
    with pytest.raises(ValueError, match="codec name"):
        make(name=name)


def test_attributes_carry_the_name_of_their_codec() -> None:
    make(attributes=(Attribute("acme.key", "str", "the key"),))
    with pytest.raises(ValueError, match=r"'redis\.key' must be called acme\."):
        make(attributes=(Attribute("redis.key", "str", "the key"),))


def test_nothing_is_named_twice() -> None:
    limit = Limit("frame", 100, "bytes", "longest frame", "none")
    with pytest.raises(ValueError, match="limits name something twice"):
        make(limits=(limit, limit))
    key = Attribute("acme.key", "str", "the key")
    with pytest.raises(ValueError, match="attributes name something twice"):
        make(attributes=(key, key))


def test_limits_are_found_by_name() -> None:
    limit = Limit("frame", 100, "bytes", "longest frame", "none")
    assert make(limits=(limit,)).limit("frame") is limit
    with pytest.raises(KeyError):
        make().limit("frame")


def test_a_default_lies_within_its_bounds() -> None:
    with pytest.raises(ValueError, match="limit frame: 5 is not between 10 and 20"):
        Limit("frame", 5, "bytes", "longest frame", "none", minimum=10, maximum=20)


def test_a_guest_never_gets_more() -> None:
    with pytest.raises(ValueError, match="a guest may have 200, others only 100"):
        Limit("frame", 100, "bytes", "longest frame", "none", guest=200)
