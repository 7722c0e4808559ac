"""`mosnpy run`"""

from __future__ import annotations

from pathlib import Path

import click

from mosnpy.cli.launch import launch
from mosnpy.server.options import Options

DEFAULT = "mosnpy.yaml"


def sources(given: tuple[str, ...]) -> list[str]:
    """The configuration files named, or the one that is here."""
    if given:
        return list(given)
    if Path(DEFAULT).exists():
        return [DEFAULT]
    raise click.UsageError(f"no configuration: name a file or a folder, or have {DEFAULT} here")


@click.command(epilog="Signals: TERM, INT, QUIT drain and end, a second one ends at once; HUP loads the configuration anew; "
               "USR1 opens the log file anew. Exit codes: 0 ended, 1 not started, 2 forced, 3 not ended cleanly.")  # fmt: skip
@click.argument("config", nargs=-1)
@click.option("-w", "--workers", type=click.IntRange(1, 1024), help="Worker processes, instead of `workers:`.")
@click.option("--host", type=click.Choice(["thread", "inline"]), default="thread", show_default=True,
              help="Where a worker runs its core: on a thread of its own, or in its event loop (for debugging).")  # fmt: skip
@click.option("--pid-file", default="", metavar="FILE", help="Write the supervisor's pid there.")
@click.option("--log-file", default="", metavar="FILE", help="Log there instead of to stderr.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def run(config: tuple[str, ...], workers: int | None, host: str, pid_file: str, log_file: str, log_level: str) -> None:
    """Run the proxy. CONFIG are files or folders (their *.yaml); without any, mosnpy.yaml."""
    launch(Options(sources(config), workers, host, pid_file, log_file, log_level))
