"""`mosnpy reload` and `mosnpy drain`"""

from __future__ import annotations

import sys
import time

import click

from mosnpy.cli.remote import admin_option, ask, ask_json


@click.command()
@admin_option
def reload(admin: str) -> None:
    """Make a running proxy load its configuration anew. All or nothing: with faults (exit code 1) the old one stays."""
    _, answer = ask_json(admin, "/reload", "POST")
    if answer["ok"]:
        click.echo(f"generation {answer['generation']} is in force")
        return
    for fault in answer["faults"]:
        click.echo(fault, err=True)
    click.echo(f"not reloaded; generation {answer['generation']} stays in force", err=True)
    sys.exit(1)


@click.command()
@admin_option
@click.option("--wait", is_flag=True, help="Return when it has ended.")
def drain(admin: str, wait: bool) -> None:
    """Make a running proxy stop accepting, finish what is in flight (at most `drain_timeout`), and exit."""
    ask_json(admin, "/drain", "POST")
    click.echo("draining")
    while wait:
        try:
            ask(admin, "/ready")
        except click.ClickException:
            click.echo("ended")
            return
        time.sleep(0.1)
