"""The command line: verbs by name, each imported when it is used."""

from __future__ import annotations

import importlib

import click

from mosnpy import __version__

# verb: (where it is, what it does). The second is here so that `mosnpy --help` imports none of them.
VERBS = {
    "run": ("mosnpy.cli.run:run", "Run the proxy with these configuration files."),
    "proxy": ("mosnpy.cli.proxy:proxy", "Run a proxy from one address to another, without a file."),
    "demo": ("mosnpy.cli.demo:demo", "Redis servers, the proxy and traffic, with a live table."),
    "check": ("mosnpy.cli.check:check", "Show every fault of a configuration."),
    "schema": ("mosnpy.cli.check:schema", "Print the JSON Schema of configurations, for editors."),
    "status": ("mosnpy.cli.show:status", "Processes, listeners and endpoints of a running proxy."),
    "stats": ("mosnpy.cli.show:stats", "Counters of a running proxy."),
    "reload": ("mosnpy.cli.control:reload", "Make a running proxy load its configuration anew."),
    "drain": ("mosnpy.cli.control:drain", "Make a running proxy finish what it has and exit."),
    "version": ("mosnpy.cli.version:version", "Version; with -v what it is built from."),
}

# A mistake on the command line is a failed start; click's own 2 would say "forced to end" (mosnpy/server/supervisor.py).
click.UsageError.exit_code = 1


class Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, name = VERBS[cmd_name][0].split(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], VERBS, n=1)
            ctx.fail(f"no verb {args[0]!r}{f', did you mean {close[0]!r}?' if close else ''}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, text) for verb, (_, text) in VERBS.items()])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mosnpy")
def app() -> None:
    """A proxy that understands protocols."""
