"""Documents for test_mpack.c, written by the msgpack package: its reader is held against the one of csrc/core/mpack.c.

A line is the document in hexadecimal, a blank, and what it says: n t f, integers as i<decimal>, floats as d<the bits of the
double>, strings as s<hex>, binaries as b<hex>, [element,…], {key:value,…}.

    python csrc/tests/mpack_documents.py > csrc/tests/mpack_documents.txt          what is committed
    python csrc/tests/mpack_documents.py --seed 9 --count 20000 > /tmp/more.txt    for build/ctest/test_mpack /tmp/more.txt
"""

import argparse
import random
import struct
from collections.abc import Iterator
from typing import TypeAlias

import msgpack

Value: TypeAlias = "bool | int | float | str | bytes | list[Value] | dict[str, Value] | None"

EDGES = [1 << bits for bits in (5, 7, 8, 15, 16, 31, 32, 63)]
INTEGERS = [n for edge in EDGES for n in (edge - 1, edge, -edge, -edge - 1, -edge + 1)] + [0, (1 << 64) - 1, -(1 << 63)]
INTEGERS = [n for n in INTEGERS if -(1 << 63) <= n < 1 << 64]
FLOATS = [0.0, -0.0, 1.0, 0.1, -1e300, 5e-324, float("inf"), float("-inf"), float("nan")]
SIZES = [0, 1, 15, 16, 31, 32, 33, 255, 256, 257]


def say(value: Value) -> str:
    match value:
        case None:
            return "n"
        case bool():
            return "t" if value else "f"
        case int():
            return f"i{value}"
        case float():
            return "d" + struct.pack(">d", value).hex()
        case str():
            return "s" + value.encode().hex()
        case bytes():
            return "b" + value.hex()
        case list():
            return "[" + ",".join(map(say, value)) + "]"
        case dict():
            return "{" + ",".join(f"{say(k)}:{say(v)}" for k, v in value.items()) + "}"


def text(rng: random.Random, size: int) -> str:
    return "".join(rng.choice("abcxyz_-:é世🙂") for _ in range(size))


def some(rng: random.Random, depth: int) -> Value:
    kind = rng.randrange(8 if depth else 6)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.choice(INTEGERS)
    if kind == 2:
        return rng.randrange(-(1 << rng.randrange(1, 63)), 1 << rng.randrange(1, 64))
    if kind == 3:
        return rng.choice([*FLOATS, rng.uniform(-1e6, 1e6)])
    if kind == 4:
        return text(rng, rng.randrange(40))
    if kind == 5:
        return rng.randbytes(rng.randrange(40))
    size = rng.choice([0, 1, 2, 3, 5, 8])
    if kind == 6:
        return [some(rng, depth - 1) for _ in range(size)]
    return {text(rng, rng.randrange(1, 12)): some(rng, depth - 1) for _ in range(size)}


def nested(depth: int) -> Value:
    """`depth` arrays and maps in turn around a nil."""
    value: Value = None
    for level in range(depth):
        value = [value] if level % 2 else {"k": value}
    return value


def fixed() -> Iterator[Value]:
    yield from [None, True, False, *INTEGERS, *FLOATS]
    for size in SIZES:
        yield "s" * size
        yield b"b" * size
        yield list(range(size))
        yield {str(i): i for i in range(size)}
    yield nested(64)
    yield {
        "version": 1,
        "listeners": [{"name": "cache", "id": 7, "options": {}}],
        "upstreams": [],
        "codecs": {"redis": {}},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=150)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    for value in [*fixed(), *(some(rng, 4) for _ in range(options.count))]:
        print(msgpack.packb(value).hex(), say(value))
        if isinstance(value, float) and value == struct.unpack("f", struct.pack("f", max(-1.0, min(1.0, value))))[0]:
            print(msgpack.packb(value, use_single_float=True).hex(), say(value))


if __name__ == "__main__":
    main()
