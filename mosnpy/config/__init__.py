"""Configuration: YAML files to a checked model, and the model to the plan that workers run.

Reading order: loader (files, places) → models, protocols (what may stand there) → validate (schema) → semantics (meaning) →
compile (the plan). report shows faults, short is the one-line form of `mosnpy proxy`, json_schema and reference describe the models.

Importing this package is cheap; what it offers is loaded on first use. Workers must not use it: pydantic and PyYAML alone
would cost them as much memory as all the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mosnpy.config.api import check, check_text, load, load_mapping, load_text
    from mosnpy.config.compile import Compiled, LocalRegistry, Registry, compile_config, compile_plan
    from mosnpy.config.json_schema import schema
    from mosnpy.config.models import Config
    from mosnpy.config.report import Fault, render
    from mosnpy.config.short import from_urls
    from mosnpy.config.writing import to_yaml

_PLACES = {
    "check": "api",
    "check_text": "api",
    "load": "api",
    "load_mapping": "api",
    "load_text": "api",
    "to_yaml": "writing",
    "Compiled": "compile",
    "LocalRegistry": "compile",
    "Registry": "compile",
    "compile_config": "compile",
    "compile_plan": "compile",
    "Config": "models",
    "Fault": "report",
    "render": "report",
    "schema": "json_schema",
    "from_urls": "short",
}

__all__ = [
    "Compiled",
    "Config",
    "Fault",
    "LocalRegistry",
    "Registry",
    "check",
    "check_text",
    "compile_config",
    "compile_plan",
    "from_urls",
    "load",
    "load_mapping",
    "load_text",
    "render",
    "schema",
    "to_yaml",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'mosnpy.config' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mosnpy.config.{_PLACES[name]}"), name)
