"""The one place that asks codecs: for their attributes, the names of their operations, their part of the plan.

Codecs are looked up by name at run time. Nothing of this package imports one, so a configuration can be read, and its
faults shown, where a codec's folder is missing.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

from mosnpy.config.attributes import COMMON, AttributeInfo, Attributes
from mosnpy.config.protocols import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["attributes", "operations", "plan_section"]


@functools.cache
def _codec(protocol: str) -> Any:
    """The value CODEC of a codec's folder (mosnpy.codec.Codec), None where there is no such folder."""
    name = f"mosnpy.codecs.{protocol}"
    try:
        return importlib.import_module(name).CODEC
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            return None
        raise


@functools.cache
def attributes() -> Attributes:
    """Names rules may use: "common", and by family of protocols what its codecs say."""
    found: dict[str, Mapping[str, AttributeInfo]] = {"common": COMMON}
    for protocol in PROTOCOLS.values():
        codec = _codec(protocol.name)
        rows = codec.attributes if codec is not None else ()
        mine = {a.name: AttributeInfo(a.name, a.type, a.doc, a.values, upper=a.upper, form=a.form) for a in rows}
        found[protocol.family] = {**found.get(protocol.family, {}), **mine}
    return found


@functools.cache
def operations(protocol: str) -> frozenset[str]:
    """Names of the protocol's operations, such as commands; empty where the codec has no list of them."""
    codec = _codec(protocol)
    return frozenset(codec.operations()) if codec is not None and codec.operations is not None else frozenset()


def plan_section(protocol: str, blocks: Mapping[str, int]) -> dict[str, Any] | None:
    """The codec's own part of the plan, given the statistics block of each operation; None where it has none."""
    codec = _codec(protocol)
    if codec is None or codec.plan_section is None:
        return None
    section: dict[str, Any] = codec.plan_section(blocks)
    return section
