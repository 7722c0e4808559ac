"""mosnpy: a proxy that understands protocols.

Importing the package stays light: forked workers import it too and must not pay for the configuration's libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mosnpy.proxy import Proxy

__all__ = ["Proxy", "__version__"]


def __getattr__(name: str) -> object:
    if name == "Proxy":
        from mosnpy.proxy import Proxy

        return Proxy
    raise AttributeError(f"module 'mosnpy' has no attribute {name!r}")
