"""Plain data written as YAML is read back the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mosnpy.config import to_yaml
from mosnpy.config.loader import load_text

TEXTS = st.text(max_size=20).filter(lambda text: "${" not in text and text.isprintable()) | st.sampled_from(
    [
        "",
        "yes",
        "null",
        "1e3",
        "0o17",
        "-",
        "- a",
        "a: b",
        "#",
        "\n",
        " a",
        "127.0.0.1:80",
        ":80",
        "é\x85",
        "\U0001f389\t",
    ]
)
KEYS = TEXTS.filter(lambda text: text not in ("<<", "include"))
LEAVES = (
    TEXTS | st.integers(-(10**12), 10**12) | st.booleans() | st.none() | st.floats(-1e6, 1e6).map(lambda x: round(x, 3))
)
DATA = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=30
)


@given(st.dictionaries(KEYS, DATA, min_size=1, max_size=4))
def test_what_is_written_is_read_back(data: dict[str, Any]) -> None:
    document = load_text(to_yaml(data), env={})
    assert document.faults == []
    assert document.data == data


def test_the_form() -> None:
    data = {"a": 1, "b": {"c": [1, {"d": "x y", "e": []}, ["f", {}]]}, "g": None, "h:": True}
    assert to_yaml(data) == ('a: 1\nb:\n  c:\n  - 1\n  - d: "x y"\n    e: []\n  - - f\n    - {}\ng: null\n"h:": true\n')
