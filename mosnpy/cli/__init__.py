"""The command `mosnpy`. Sub-commands are imported when used, so that `mosnpy run --help` answers fast."""

from __future__ import annotations


def main() -> None:
    from mosnpy.cli.app import app

    app(prog_name="mosnpy")
