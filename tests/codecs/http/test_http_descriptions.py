"""What the HTTP codecs say of themselves agrees with the core and the configuration."""

from __future__ import annotations

import pytest

from mosnpy.codec import Codec
from mosnpy.codecs.http1 import CODEC as HTTP1
from mosnpy.codecs.http2 import CODEC as HTTP2
from mosnpy.config.http import Http2Options, HttpLimits

BOTH = [pytest.param(codec, id=codec.name) for codec in (HTTP1, HTTP2)]


@pytest.mark.parametrize("codec", BOTH)
def test_attributes_are_those_of_the_core(codec: Codec) -> None:
    core = pytest.importorskip("mosnpy.core._core", reason="mosnpy.core is not built")
    assert [(a.name, a.type, a.doc) for a in codec.attributes] == core.codecs()[codec.name]


@pytest.mark.parametrize("codec", BOTH)
def test_limits_are_those_of_the_configuration(codec: Codec) -> None:
    for limit in codec.limits:
        model = HttpLimits if limit.name in HttpLimits.model_fields else Http2Options
        assert model().plan()[limit.name] == limit.default
        for value in (limit.minimum, limit.maximum):
            model.model_validate({limit.name: f"{value}B" if limit.unit == "bytes" else value})
        for value in (limit.minimum - 1, limit.maximum + 1):
            with pytest.raises(ValueError):
                model.model_validate({limit.name: f"{value}B" if limit.unit == "bytes" else value})


def test_both_speak_of_the_same_things() -> None:
    assert HTTP1.attributes is HTTP2.attributes
