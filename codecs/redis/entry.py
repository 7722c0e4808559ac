"""One row of the command table: what the proxy knows of a command.

The words of the columns flags, kind, merge and shape are those of csrc/codecs/redis_table.h and redis_shape.h, where their
meaning is written down; SPEC.md says why a command got the words it has.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

__all__ = ["ALL", "KEY", "KINDS", "MERGES", "NO_KEYS", "SECOND", "TWO", "Command", "Keys", "Row"]

Keys: TypeAlias = tuple[int, int, int]
"""First and last argument that is a key, and the step between keys. last -1: the last argument, -2: the one before."""

NO_KEYS: Keys = (0, 0, 0)
KEY: Keys = (1, 1, 1)
TWO: Keys = (1, 2, 1)
ALL: Keys = (1, -1, 1)
SECOND: Keys = (2, 2, 1)
"""Behind a subcommand: OBJECT ENCODING key."""

FLAGS = frozenset("write read admin session pubsub blocking movable noauth nomulti idempotent loading stale".split())
KINDS = frozenset("plain local blocking transaction subscribe sticky session".split())
MERGES = frozenset(
    ["", "split_array", "split_sum", "split_ok", "all_sum", "all_ok", "all_concat", "all_and", "all_min", "all_first"]
    + ["all_info", "scan", "any", "home"]
)

Row: TypeAlias = list["str | int | list[str] | list[Row]"]
"""A command as the plan has it: [NAME, arity, flags, first, last, step, class, merge, shape, subcommands]."""


class Command(NamedTuple):
    """A command or, inside one, a subcommand.

    arity: arguments with the name (and the subcommand's), negative = at least so many. flags: words with blanks between.
    since: the version of Redis that brought it (of Valkey where it says so); 7.0 stands for everything up to 7.0.
    """

    name: str
    arity: int
    flags: str
    keys: Keys = NO_KEYS
    kind: str = "plain"
    merge: str = ""
    shape: str = ""
    subcommands: tuple[Command, ...] = ()
    since: str = "7.0"

    def row(self) -> Row:
        """Itself as the plan has it."""
        subcommands = [each.row() for each in self.subcommands]
        return [
            *(self.name, self.arity, self.flags.split(), *self.keys),
            *(self.kind, self.merge, self.shape, subcommands),
        ]
