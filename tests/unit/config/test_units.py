"""Values with units."""

from __future__ import annotations

import pytest

from mosnpy.config.units import Duration, Percent, Rate, Size


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [("250ms", 250_000), ("1.5s", 1_500_000), ("50us", 50), ("1m30s", 90_000_000), ("1h", 3_600_000_000), ("0s", 0)],
)
def test_durations_are_read(text: str, microseconds: int) -> None:
    assert Duration.parse(text) == microseconds


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (250, "250 has no unit: write 250ms or 250s"),
        ("250", "250 has no unit"),
        (0, "0 has no unit"),
        (1.5, "1.5 has no unit"),
        ("-1s", "can't be negative"),
        ("5 s", "'5 s' is no duration"),
        ("5sec", "'5sec' is no duration"),
        ("", "'' is no duration"),
        (True, "a duration such as 250ms is expected here, not true"),
        (None, "a duration such as 250ms is expected here"),
        ("31d", "31d is too long: at most 30d"),
        ("9" * 400 + "s", "is no duration"),
    ],
)
def test_what_is_no_duration_is_refused_with_a_reason(value: object, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        Duration.parse(value)
    assert sentence in str(caught.value)


def test_a_limit_that_was_set_never_rounds_to_none() -> None:
    assert Duration.parse("1us").ms == 1
    assert Duration.parse("1001us").ms == 2
    assert Duration.parse("0s").ms == 0


@pytest.mark.parametrize("text", ["250ms", "90s", "1h", "7d", "50us", "0s", "15s"])
def test_a_duration_prints_as_something_that_reads_the_same(text: str) -> None:
    assert Duration.parse(str(Duration.parse(text))) == Duration.parse(text)


@pytest.mark.parametrize(
    ("text", "size"), [("16MiB", 16 << 20), ("1.5GiB", 3 << 29), ("64kB", 64_000), ("100B", 100), ("1 KiB", 1024)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert Size.parse(text) == size
    assert Size.parse(str(Size.parse(text))) == size


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (16, "16 has no unit: write 16B, 16KiB or 16MiB"),
        ("16", "16 has no unit"),
        ("16M", "unknown unit of size 'M', did you mean 16MiB?"),
        ("16mib", "did you mean 16MiB?"),
        ("16 parsecs", "unknown unit of size 'parsecs': units are B, KiB"),
        ("x", "'x' is no size"),
        ("99999999TiB", "too large"),
    ],
)
def test_what_is_no_size_is_refused_with_a_reason(value: object, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        Size.parse(value)
    assert sentence in str(caught.value)


def test_rates_are_per_second() -> None:
    assert float(Rate.parse("100/s")) == 100.0
    assert float(Rate.parse("6000/m")) == 100.0
    assert float(Rate.parse("1MiB/s")) == float(1 << 20)


@pytest.mark.parametrize(
    ("value", "sentence"), [(100, "100 has no unit: write 100/s"), ("100", "is no rate"), ("1/y", "is no rate")]
)
def test_what_is_no_rate_is_refused_with_a_reason(value: object, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        Rate.parse(value)
    assert sentence in str(caught.value)


def test_percentages_need_no_sign() -> None:
    assert [float(Percent.parse(value)) for value in (10, "10%", "10")] == [10.0] * 3
    assert Percent.parse(0.5) == 0.5


@pytest.mark.parametrize(
    ("value", "sentence"),
    [(101, "between 0 and 100"), (-1, "between 0 and 100"), ("ten", "no percentage"), (True, "no percentage")],
)
def test_what_is_no_percentage_is_refused_with_a_reason(value: object, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        Percent.parse(value)
    assert sentence in str(caught.value)
