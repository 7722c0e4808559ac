"""How faults are shown. tests/data/config/NAME.txt is what `mosnpy check NAME.yaml` must say, to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from mosnpy.config import check, render
from mosnpy.config.report import Fault, did_you_mean, ordered

DATA = Path(__file__).parents[2] / "data" / "config"


@pytest.mark.parametrize("golden", sorted(DATA.glob("*.txt")), ids=lambda p: p.stem)
def test_a_broken_file_shows_all_its_faults_at_once(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DATA)
    faults = check(f"{golden.stem}.yaml", env={}, resolve_names=False)
    assert render(faults) + "\n" == golden.read_text()


def test_the_caret_stands_under_what_is_wrong() -> None:
    fault = Fault("unknown key 'timout'", "m.yaml", 8, 12, 6, "  to: {a: b, timout: 1s}".replace("{a: b, ", "{"), "x.y")
    source = "    to: {c: a, timout: 1s}"
    fault = Fault("unknown key 'timout'", "m.yaml", 8, source.index("timout") + 1, 6, source, "x.y")
    head, line, under = fault.render().split("\n")
    assert head == "m.yaml:8:16: error: unknown key 'timout'  [x.y]"
    assert line == "     8 |     to: {c: a, timout: 1s}"
    assert under[line.index("timout") :] == "^^^^^^"
    assert under[: line.index("timout")] == "       | " + " " * 15


def test_tabs_and_wide_characters_keep_the_caret_in_place() -> None:
    assert Fault("m", "f", 1, 3, 1, "\tax").render().split("\n")[2] == "       | \t ^"
    assert Fault("m", "f", 1, 3, 1, "日本x").render().split("\n")[2] == "       |     ^"


def test_long_lines_are_cut_around_the_caret() -> None:
    source = "x" * 5000 + "HERE" + "y" * 5000
    _, line, under = Fault("m", "f", 1, 5001, 4, source).render().split("\n")
    assert len(line) < 180
    assert line[under.index("^") : under.index("^") + 4] == "HERE"


def test_a_fault_without_a_place_is_one_line() -> None:
    assert Fault("can't read x", file="x").render() == "x: error: can't read x"
    assert Fault("nothing").render() == "error: nothing"


def test_faults_come_by_place_each_once() -> None:
    a, b, c = Fault("a", "f", 2, 1), Fault("b", "f", 1, 9), Fault("c")
    assert ordered([c, a, b, a]) == [b, a, c]


def test_the_last_line_counts() -> None:
    text = render([Fault("a"), Fault("b"), Fault("c", severity="warning")])
    assert text.endswith("\n2 errors, 1 warning")
    assert render([]) == ""


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("timout", ["timeout", "to"], ", did you mean 'timeout'?"),
        ("GET", ["get", "set"], ", did you mean 'get'?"),
        ("x", ["abc"], ""),
        (5, ["5"], ""),
    ],
)
def test_guesses(word: object, known: list[str], hint: str) -> None:
    assert did_you_mean(word, known) == hint
