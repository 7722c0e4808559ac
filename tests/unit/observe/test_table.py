"""Tables and short numbers."""

from __future__ import annotations

from mosnpy.observe.table import count, duration, table


def test_columns() -> None:
    assert (
        table(["A", "NUMBER"], [["long name", 1], ["b", 1000]], "lr")
        == "A          NUMBER\nlong name       1\nb            1000\n"
    )


def test_durations() -> None:
    assert [duration(us) for us in (None, 12.4, 1500, 2_500_000)] == ["-", "12 us", "1.5 ms", "2.5 s"]


def test_counts() -> None:
    assert [count(n) for n in (0, 9999, 12_345, 2_500_000, 3e9)] == ["0", "9999", "12.3 k", "2.5 M", "3.0 G"]
