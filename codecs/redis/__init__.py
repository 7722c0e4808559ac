"""Redis, RESP2 and RESP3. The bytes are handled by csrc/codecs/resp.c and redis*.c; here stands what is data: the command table.

SPEC.md tells what the proxy does with each class of commands. The table is only loaded by whoever compiles a configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mosnpy.codec import Attribute, Codec, Limit, PoolMode

__all__ = ["CODEC", "plan_section"]


def plan_section(operations: Mapping[str, int]) -> dict[str, Any]:
    """The plan's "codecs" -> "redis", given the statistics block of each command that is counted."""
    from mosnpy.codecs.redis import commands

    return commands.plan_section(operations)


def _operations() -> tuple[str, ...]:
    from mosnpy.codecs.redis import commands

    return commands.names()


CODEC = Codec(
    name="redis",
    doc="Redis and Valkey: RESP2 and RESP3 clients, routed by command and key",
    pool_mode=PoolMode.PIPELINE,
    native=True,
    port=6379,
    attributes=(
        Attribute("redis.command", "str", "the command in upper case: GET, CONFIG", upper=True),
        Attribute(
            "redis.subcommand",
            "str",
            "the subcommand in upper case where the command has any: CONFIG GET gives GET",
            upper=True,
        ),
        Attribute("redis.key", "str", "the first key; of a request split by keys, each key in its turn"),
        Attribute("redis.keys", "strs", "all keys"),
        Attribute("redis.db", "int", "number of the selected database"),
        Attribute("redis.user", "str", "authenticated user, or default"),
        Attribute("redis.argc", "int", "arguments, the command's name counted"),
    ),
    limits=(
        Limit(
            *("bulk", 512 << 20, "bytes", "longest single argument", "Redis: proto-max-bulk-len 512mb, guests 16 KiB"),
            guest=16 << 10,
            minimum=1 << 10,
        ),
        Limit(
            *("args", 1_048_576, "items", "most arguments of one command", "Redis up to 6.2: 1024*1024, guests 10"),
            guest=10,
            minimum=16,
            maximum=1 << 30,
        ),
        Limit(
            *("inline", 64 << 10, "bytes", "longest inline command", "Redis: PROTO_INLINE_MAX_SIZE"),
            minimum=256,
            maximum=1 << 20,
        ),
        Limit(
            *("collect", 64 << 20, "bytes", "largest command that may be taken apart for several shards"),
            "none: it is held in memory meanwhile, so far below bulk",
            minimum=1 << 16,
        ),
        Limit(
            *("pipeline", 4096, "requests", "requests in flight per client; beyond, reading stops until replies come"),
            "none: Redis bounds the bytes of the query buffer (1 GiB) instead",
            maximum=1_000_000,
        ),
    ),
    operations=_operations,
    plan_section=plan_section,
)
