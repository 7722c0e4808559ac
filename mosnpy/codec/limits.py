"""Limits: what a peer may ask for at most, each beside its unit, its default and the precedent the default comes from.

A codec lists its limits in one place and checks a length against them before it allocates or waits for what the length announces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Limit", "Unit"]

Unit = Literal["bytes", "items", "levels", "requests", "ms"]


@dataclass(frozen=True, slots=True)
class Limit:
    """One bound. `guest` holds for peers that must authenticate and have not: None = the same as `default`.

    `fixed` limits are part of the codec; the others may be set in the configuration between `minimum` and `maximum`.
    """

    name: str
    default: int
    unit: Unit
    doc: str
    precedent: str
    guest: int | None = None
    minimum: int = 1
    maximum: int = 2**31
    fixed: bool = False

    def __post_init__(self) -> None:
        if not self.minimum <= self.default <= self.maximum:
            raise ValueError(f"limit {self.name}: {self.default} is not between {self.minimum} and {self.maximum}")
        if self.guest is not None and self.guest > self.default:
            raise ValueError(f"limit {self.name}: a guest may have {self.guest}, others only {self.default}")
