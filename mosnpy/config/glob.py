"""Globs as csrc/route/glob.c reads them: `*`, `?`, `[sets]` and `\\`, over bytes, like Redis' KEYS.

Redis takes a `[` without `]` and a `\\` at the end as they stand; in a configuration these are slips, and refused.
"""

from __future__ import annotations

__all__ = ["ACTIVE", "glob_matches", "glob_pieces"]

ACTIVE = frozenset("*?[\\")
"""Characters that make a text a glob."""


def glob_pieces(pattern: str) -> list[str | None]:
    """Literal runs, None for a run of `*`, and "" for a `?` or a set, which only a real glob can say.

    Raises ValueError with a sentence for a set that is not closed and a lone `\\` at the end.
    """
    pieces: list[str | None] = []
    literal = ""
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            if at + 1 == len(pattern):
                raise ValueError(
                    "'\\' at the end takes no character's meaning away: write '\\\\' for the character itself"
                )
            literal += pattern[at + 1]
            at += 2
            continue
        if char in "*?[" and literal:
            pieces.append(literal)
            literal = ""
        if char == "*":
            if not pieces or pieces[-1] is not None:
                pieces.append(None)
        elif char in "?[":
            pieces.append("")
            at = _set_end(pattern, at) if char == "[" else at
        else:
            literal += char
        at += 1
    return [*pieces, literal] if literal else pieces


def _set_end(pattern: str, start: int) -> int:
    """Where the `]` stands that closes the set opened at `start`."""
    at = start + 1
    while at < len(pattern) and pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    if at >= len(pattern):
        raise ValueError("'[' opens a set that has no ']': write '\\[' for the character itself")
    return at


def glob_matches(pattern: str, text: str) -> bool:
    """Whether the whole text fits a pattern that glob_pieces() accepts."""
    tokens = _tokens(pattern.encode())
    data = text.encode()
    at = i = 0
    star, mark = -1, 0  # behind the last star seen; first byte it has not taken
    while i < len(data):
        if at < len(tokens) and tokens[at] is None:
            at += 1
            star, mark = at, i
        elif at < len(tokens) and data[i] in (tokens[at] or ()):
            at, i = at + 1, i + 1
        elif star < 0:
            return False
        else:
            mark += 1
            at, i = star, mark
    return all(token is None for token in tokens[at:])


_EVERY = frozenset(range(256))


def _tokens(pattern: bytes) -> list[frozenset[int] | None]:
    """The bytes each position may have, None for a star."""
    tokens: list[frozenset[int] | None] = []
    at = 0
    while at < len(pattern):
        byte = pattern[at : at + 1]
        if byte == b"*":
            tokens.append(None)
        elif byte == b"?":
            tokens.append(_EVERY)
        elif byte == b"[":
            found, at = _set(pattern, at + 1)
            tokens.append(found)
        else:
            at += byte == b"\\"
            tokens.append(frozenset(pattern[at : at + 1]))
        at += 1
    return tokens


def _set(pattern: bytes, at: int) -> tuple[frozenset[int], int]:
    """The bytes of a set whose `[` stands before `at`, and where its `]` is."""
    negated = pattern[at : at + 1] == b"^"
    at += negated
    found: set[int] = set()
    while at < len(pattern) and pattern[at : at + 1] != b"]":
        if pattern[at : at + 1] == b"\\" and at + 1 < len(pattern):
            found.add(pattern[at + 1])
            at += 2
        elif pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern):
            low, high = sorted((pattern[at], pattern[at + 2]))
            found.update(range(low, high + 1))
            at += 3
        else:
            found.add(pattern[at])
            at += 1
    return (_EVERY - found if negated else frozenset(found)), at
