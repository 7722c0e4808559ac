"""Commands on keys that came after Redis 7.0, from their documentation.

A server that lacks one answers for itself (-ERR unknown command). Commands of modules are not here, nor is MSETEX, whose keys the
columns can't describe (a count, then every second argument): the core learns them from the server's own COMMAND.
"""

from __future__ import annotations

from mosnpy.codecs.redis.entry import KEY, Command

__all__ = ["COMMANDS"]

HASH_FIELDS = (
    Command("HEXPIRE", -6, "write", KEY, since="7.4"),
    Command("HEXPIREAT", -6, "write", KEY, since="7.4"),
    Command("HEXPIRETIME", -5, "read", KEY, since="7.4"),
    Command("HPERSIST", -5, "write", KEY, since="7.4"),
    Command("HPEXPIRE", -6, "write", KEY, since="7.4"),
    Command("HPEXPIREAT", -6, "write", KEY, since="7.4"),
    Command("HPEXPIRETIME", -5, "read", KEY, since="7.4"),
    Command("HPTTL", -5, "read", KEY, since="7.4"),
    Command("HTTL", -5, "read", KEY, since="7.4"),
    Command("HGETDEL", -5, "write", KEY, since="8.0"),
    Command("HGETEX", -5, "write", KEY, since="8.0"),
    Command("HSETEX", -6, "write", KEY, since="8.0"),
)

STRINGS = (
    Command("DELEX", -2, "write", KEY, since="8.4"),
    Command("DELIFEQ", 3, "write", KEY, since="Valkey 9.0"),
    Command("DIGEST", 2, "read", KEY, since="8.4"),
)

STREAMS = (
    Command("XACKDEL", -6, "write", KEY, since="8.2"),
    Command("XDELEX", -5, "write", KEY, since="8.2"),
)

VECTOR_SETS = (
    Command("VADD", -5, "write", KEY, shape="bool", since="8.0"),
    Command("VCARD", 2, "read", KEY, since="8.0"),
    Command("VDIM", 2, "read", KEY, since="8.0"),
    Command("VEMB", -3, "read", KEY, since="8.0"),
    Command("VGETATTR", 3, "read", KEY, since="8.0"),
    Command("VINFO", 2, "read", KEY, shape="map", since="8.0"),
    Command("VISMEMBER", 3, "read", KEY, shape="bool", since="8.0"),
    Command("VLINKS", -3, "read", KEY, since="8.0"),
    Command("VRANDMEMBER", -2, "read", KEY, since="8.0"),
    Command("VRANGE", -4, "read", KEY, since="8.4"),
    Command("VREM", 3, "write", KEY, shape="bool", since="8.0"),
    Command("VSETATTR", 4, "write", KEY, shape="bool", since="8.0"),
    Command("VSIM", -4, "read", KEY, since="8.0"),
)

COMMANDS = (*HASH_FIELDS, *STRINGS, *STREAMS, *VECTOR_SETS)
