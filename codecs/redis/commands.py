"""The command table of Redis as one, and the part of the plan that is made of it.

Written from Redis' documentation; tests/codecs/redis/test_commands.py compares it with what a real server says of itself.
keyspace.py has the commands on data, service.py all others, recent.py what came after 7.0, entry.py the form of a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mosnpy.codecs.redis import keyspace, recent, service
from mosnpy.codecs.redis.entry import Command, Row

__all__ = ["COMMANDS", "TABLE", "names", "plan_section", "walk"]

TABLE: tuple[Command, ...] = tuple(
    sorted((*keyspace.COMMANDS, *service.COMMANDS, *recent.COMMANDS), key=lambda command: command.name)
)
"""Every command, by name."""

COMMANDS: list[Row] = [command.row() for command in TABLE]
"""TABLE in the form of the plan."""


def names() -> tuple[str, ...]:
    """The commands that are counted one by one; a subcommand counts with its command."""
    return tuple(command.name for command in TABLE)


def walk() -> Iterator[tuple[str, Command]]:
    """Commands and subcommands with their full names: ("CONFIG GET", …)."""
    for command in TABLE:
        yield command.name, command
        for sub in command.subcommands:
            yield f"{command.name} {sub.name}", sub


def plan_section(operations: Mapping[str, int]) -> dict[str, Any]:
    """The plan's "codecs" -> "redis": the table, and the statistics block of each command that is counted."""
    unknown = operations.keys() - set(names())
    if unknown:
        raise ValueError(f"no such Redis commands: {', '.join(sorted(unknown))}")
    return {"commands": COMMANDS, "operations": dict(operations)}
