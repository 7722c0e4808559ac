"""`mosnpy check` and `mosnpy schema`"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from mosnpy.cli.run import sources

if TYPE_CHECKING:
    from mosnpy.config import Config, Fault


@click.command()
@click.argument("config", nargs=-1)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "--show-effective", is_flag=True, help="Also print the whole configuration with every default, without secrets."
)
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
def check(config: tuple[str, ...], output: str, show_effective: bool, strict: bool) -> None:
    """Show every fault of a configuration at once. Exit code 0: it can be run; 1: it can't.

    CONFIG are files or folders (their *.yaml); without any, mosnpy.yaml.
    """
    from mosnpy import config as configuration

    files = sources(config)
    faults = list(configuration.check(files))
    model = None
    if not any(fault.severity == "error" for fault in faults):
        model, more = _compile(files)
        faults += more
    failed = any(fault.severity == "error" for fault in faults) or (strict and bool(faults))
    effective = model.effective() if model is not None and show_effective else None
    if output == "json":
        shown: dict[str, Any] = {"ok": not failed, "faults": [fault.as_dict() for fault in faults]}
        if effective is not None:
            shown["effective"] = effective
        click.echo(json.dumps(shown, indent=2))
    else:
        if effective is not None:
            click.echo(configuration.to_yaml(effective), nl=False)
        if faults:
            click.echo(configuration.render(faults), err=show_effective)
        if model is not None and not failed:
            click.echo(f"{', '.join(files)}: ok, {_contents(model)}", err=show_effective)
    sys.exit(1 if failed else 0)


def _compile(files: list[str]) -> tuple[Config | None, list[Fault]]:
    """What only shows when it is compiled: names that can't be resolved, what the core refuses."""
    from mosnpy import config as configuration
    from mosnpy.core import block_sizes
    from mosnpy.errors import ConfigErrors
    from mosnpy.observe.slots import SlotRegistry
    from mosnpy.server.load import compile_loaded
    from mosnpy.server.messages import Faulty

    try:
        model = configuration.load(files)
        loaded = compile_loaded(model, 1, SlotRegistry(block_sizes()))
    except ConfigErrors as error:
        return None, list(error.faults)
    except ValueError as error:  # no statistics slots left
        return None, [configuration.Fault(str(error))]
    if isinstance(loaded, Faulty):
        return None, [configuration.Fault(text.removeprefix("error: ")) for text in loaded.faults]
    return model, []


def _contents(model: Config) -> str:
    routes = sum(listener.route_count() for listener in model.listeners.values())
    endpoints = sum(len(upstream.endpoints) for upstream in model.upstreams.values())
    counts = [
        ("listener", len(model.listeners)),
        ("route", routes),
        ("upstream", len(model.upstreams)),
        ("endpoint", endpoints),
    ]
    return ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for word, count in counts)


@click.command()
def schema() -> None:
    """Print the JSON Schema of configurations.

    With `# yaml-language-server: $schema=./mosnpy.schema.json` as the first line of a configuration, editors complete and
    check it.
    """
    from mosnpy import config as configuration

    click.echo(json.dumps(configuration.schema(), indent=2))
