"""Values with units: durations, sizes, rates, shares.

A bare number where a unit belongs is refused with a sentence that says so: whether 250 means milliseconds or seconds is
what every other configuration makes its users guess. Each type is a number of its base unit, prints itself in the form it
is written in, and brings its JSON Schema pattern. Parsing raises ValueError with a sentence for the operator.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic_core import core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler

__all__ = ["Between", "Duration", "Percent", "Rate", "Size"]

_NUMBER = r"\d{1,15}(?:\.\d{1,9})?"
_UNITS_OF_TIME = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_UNITS_OF_SIZE = {
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
_SIZE_SLIPS = {"k": "KiB", "K": "KiB", "m": "MiB", "M": "MiB", "g": "GiB", "G": "GiB", "b": "B", "kb": "kB", "mb": "MB"}
_DURATION_PART = re.compile(rf"({_NUMBER})(us|ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_NUMBER}(?:us|ms|s|m|h|d))+")
_SIZE = re.compile(rf"({_NUMBER}) ?([A-Za-z]+)")
_RATE = re.compile(rf"({_NUMBER}(?: ?[A-Za-z]+)?)/(s|m|h|d)")
_PERCENT = re.compile(rf"({_NUMBER}) ?%?")


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


class _Unit:
    """What the types share: pydantic's hooks. A subclass parses and says its pattern."""

    pattern: ClassVar[str]
    example: ClassVar[str]

    @classmethod
    def parse(cls, value: object) -> Self:
        raise NotImplementedError

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="json")
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{cls.pattern}$", "examples": [cls.example]}


class Duration(_Unit, int):
    """A length of time in microseconds, written `250ms`, `1.5s`, `1m30s`; at most 30 days."""

    pattern = r"(\d+(\.\d+)?(us|ms|s|m|h|d))+"
    example = "250ms"
    longest: ClassVar[int] = 30 * _UNITS_OF_TIME["d"]  # the core's deadlines are 32-bit milliseconds: 49 days

    @classmethod
    def parse(cls, value: object) -> Self:
        """Duration from its text; ValueError for anything else, a bare number included."""
        if isinstance(value, Duration):
            return cls(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise ValueError(f"{value} has no unit: write {value}ms or {value}s (us, ms, s, m, h, d)")
        if not isinstance(value, str):
            raise ValueError(f"a duration such as 250ms is expected here, not {_shown(value)}")
        if not _DURATION.fullmatch(value):
            if value.lstrip().startswith("-"):
                raise ValueError(f"a duration can't be negative: {value!r}")
            if re.fullmatch(_NUMBER, value):
                raise ValueError(f"{value} has no unit: write {value}ms or {value}s (us, ms, s, m, h, d)")
            raise ValueError(f"{value!r} is no duration: write a number with us, ms, s, m, h or d, such as 250ms")
        total = sum(float(number) * _UNITS_OF_TIME[unit] for number, unit in _DURATION_PART.findall(value))
        if total > cls.longest:
            raise ValueError(f"{value} is too long: at most 30d")
        return cls(round(total))

    @property
    def us(self) -> int:
        """Microseconds."""
        return int(self)

    @property
    def ms(self) -> int:
        """Milliseconds, rounded up: a limit that was set never becomes 0, which means none."""
        return -(-int(self) // 1000)

    @property
    def seconds(self) -> float:
        return int(self) / 1e6

    def __str__(self) -> str:
        for unit in ("d", "h", "m", "s", "ms"):
            if self and self % _UNITS_OF_TIME[unit] == 0:
                return f"{int(self) // _UNITS_OF_TIME[unit]}{unit}"
        return f"{int(self)}us" if self else "0s"

    __repr__ = __str__


class Size(_Unit, int):
    """A number of bytes, written `16MiB`, `1.5GiB`, `64kB`, `100B`."""

    pattern = r"\d+(\.\d+)? ?(B|KiB|MiB|GiB|TiB|kB|KB|MB|GB|TB)"
    example = "16MiB"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Size from its text; ValueError for anything else, a bare number included."""
        if isinstance(value, Size):
            return cls(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise ValueError(f"{value} has no unit: write {value}B, {value}KiB or {value}MiB")
        if not isinstance(value, str):
            raise ValueError(f"a size such as 16MiB is expected here, not {_shown(value)}")
        match = _SIZE.fullmatch(value)
        if match is None:
            if re.fullmatch(_NUMBER, value):
                raise ValueError(f"{value} has no unit: write {value}B, {value}KiB or {value}MiB")
            raise ValueError(f"{value!r} is no size: write a number with B, KiB, MiB, GiB (or kB, MB, GB)")
        number, unit = match.groups()
        if unit not in _UNITS_OF_SIZE:
            meant = _SIZE_SLIPS.get(unit) or next((u for u in _UNITS_OF_SIZE if u.lower() == unit.lower()), None)
            hint = f", did you mean {number}{meant}?" if meant else ": units are B, KiB, MiB, GiB (or kB, MB, GB)"
            raise ValueError(f"unknown unit of size {unit!r}{hint}")
        size = float(number) * _UNITS_OF_SIZE[unit]
        if size > 1 << 50:
            raise ValueError(f"{value} is too large")
        return cls(int(size))

    def __str__(self) -> str:
        for unit in ("TiB", "GiB", "MiB", "KiB"):
            if self and self % _UNITS_OF_SIZE[unit] == 0:
                return f"{int(self) // _UNITS_OF_SIZE[unit]}{unit}"
        return f"{int(self)}B"

    __repr__ = __str__


class Rate(_Unit, float):
    """A number per second, of things or of bytes: `100/s`, `20MiB/s`, `5000/m`."""

    pattern = r"\d+(\.\d+)?( ?(B|KiB|MiB|GiB|TiB|kB|KB|MB|GB|TB))?/(s|m|h|d)"
    example = "100/s"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Rate from its text; ValueError for anything else, a bare number included."""
        if isinstance(value, Rate):
            return cls(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise ValueError(f"{value} has no unit: write {value}/s or {value}/m")
        match = _RATE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f"{_shown(value)} is no rate: write 100/s, 5000/m or 20MiB/s")
        amount, per = match.groups()
        number = float(amount) if re.fullmatch(_NUMBER, amount) else float(Size.parse(amount))
        return cls(number * 1e6 / _UNITS_OF_TIME[per])

    def __str__(self) -> str:
        return f"{float(self):g}/s"

    __repr__ = __str__


@dataclass(frozen=True, slots=True)
class Between:
    """Bounds of a Size, for Annotated: pydantic's own would speak of bytes."""

    ge: Size
    le: Size

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def check(value: Size) -> Size:
            if value < self.ge:
                raise ValueError(f"at least {self.ge} is expected here, not {value}")
            if value > self.le:
                raise ValueError(f"at most {self.le} is expected here, not {value}")
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))


class Percent(_Unit, float):
    """A share of a hundred: `10`, `0.5` or `10%`."""

    pattern = r"\d+(\.\d+)? ?%?"
    example = "10%"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Percentage from a number or its text; ValueError outside 0 to 100."""
        if isinstance(value, str) and (match := _PERCENT.fullmatch(value)):
            value = float(match[1])
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{_shown(value)} is no percentage: write 10 or 10%")
        if not 0 <= value <= 100:
            raise ValueError(f"a percentage lies between 0 and 100, not at {value:g}")
        return cls(value)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        number = {"type": "number", "minimum": 0, "maximum": 100}
        return {"anyOf": [number, {"type": "string", "pattern": f"^{cls.pattern}$"}]}

    def __str__(self) -> str:
        return f"{float(self):g}%"

    __repr__ = __str__
