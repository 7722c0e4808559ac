"""`mosnpy proxy`: the one-liner."""

from __future__ import annotations

import os
import socket

import click

from mosnpy.cli.launch import launch
from mosnpy.server.options import Options

_ADMIN = "127.0.0.1", 9901


@click.command()
@click.option("--from", "listen", required=True, metavar="URL", help="Where to listen: redis://:6380, http://:8080, "
              "tcp://127.0.0.1:5000, redis+unix:///run/proxy.sock. user:password@ before the host: what clients must log in with.")  # fmt: skip
@click.option("--to", "targets", required=True, multiple=True, metavar="URL", help="Where to send it, also https://, h2c://, "
              "rediss://; several are endpoints of one upstream. user:password@ before the host: what the proxy logs in with.")  # fmt: skip
@click.option(
    "--lb", metavar="POLICY", help="How an endpoint is picked: round_robin, random, least_request, ring_hash, maglev."
)
@click.option("-w", "--workers", type=click.IntRange(1, 1024), help="Worker processes.")
@click.option(
    "--admin", metavar="ADDRESS", help="Address of the admin API, or off. Default: 127.0.0.1:9901 if it is free."
)
@click.option("-n", "--dry-run", is_flag=True, help="Only print the configuration.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def proxy(
    listen: str,
    targets: tuple[str, ...],
    lb: str | None,
    workers: int | None,
    admin: str | None,
    dry_run: bool,
    log_level: str,
) -> None:
    """Run a proxy from one address to another: prints the configuration this stands for, then runs it."""
    from mosnpy.config import from_urls, to_yaml
    from mosnpy.config.short import without_passwords
    from mosnpy.errors import ConfigError

    if admin is None:
        admin = f"{_ADMIN[0]}:{_ADMIN[1]}" if _free(_ADMIN) else "off"
    try:
        whole = from_urls(listen, targets, workers=workers, lb=lb, admin=None if admin == "off" else admin)
    except ConfigError as error:
        raise click.UsageError(error.message) from None
    click.echo(to_yaml(without_passwords(whole)), nl=False)
    if not dry_run:
        launch(Options([_in_memory(to_yaml(whole))], log_level=log_level))


def _free(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
    return True


def _in_memory(text: str) -> str:
    """A file of this process alone: passwords don't touch the disk. Survives execv; a child that reads it has it too."""
    number = os.memfd_create("mosnpy.yaml", 0)
    os.write(number, text.encode())
    return f"/proc/self/fd/{number}"
