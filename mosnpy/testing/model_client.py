"""A client that knows what every reply must be: random command sequences of all classes, checked against a small model.

Each client owns keys nobody else touches, in every database, so its own history alone says what it must read: another
client's database, transaction, name, protocol or reply showing through is a difference. Many of them run interleaved,
all pipelines under way at once, and some vanish in the middle and are replaced.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from mosnpy.testing.resp import Address, Wire, WireError, Word, encode

OK, QUEUED = b"+OK\r\n", b"+QUEUED\r\n"


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def number(value: int) -> bytes:
    return b":%d\r\n" % value


def array(members: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(members) + b"".join(members)


Expected: TypeAlias = "bytes | Callable[[bytes], bool]"


@dataclass
class State:
    """What the server knows of the client."""

    db: int = 0
    protocol: int = 2
    name: bytes = b""
    queued: list[list[Word]] | None = None  # commands since MULTI
    failed: bool = False  # one of them was refused
    subscribed: bool = False
    watched: set[tuple[int, str]] = field(default_factory=set)  # database and key
    touched: bool = False  # one of them was written since
    data: dict[int, dict[str, object]] = field(default_factory=dict)


class ModelClient:
    """`tag` names its keys ({tag}:…, so that all lie on one shard). `databases` is how many it wanders through."""

    def __init__(self, address: Address, tag: str, seed: int, databases: int = 4) -> None:
        self.address, self.tag, self.databases = address, tag, databases
        self.random = random.Random(seed)
        self.state = State()
        self.generation = 0
        self.wire = Wire(address, timeout=20)
        self.history: deque[str] = deque(maxlen=25)  # the latest commands, for the message of a failure
        self.expected: list[tuple[list[Word], Expected]] = []
        self.messages: list[bytes] = []  # pushes due, in order; where they come between the replies is open

    # -- the model --

    def key(self, suffix: str) -> str:
        return f"{{{self.tag}}}:{self.generation}:{suffix}"

    @property
    def here(self) -> dict[str, object]:
        return self.state.data.setdefault(self.state.db, {})

    def null(self, of_array: bool = False) -> bytes:
        if self.state.protocol == 3:
            return b"_\r\n"
        return b"*-1\r\n" if of_array else b"$-1\r\n"

    def touch(self, key: str) -> None:
        """A write to a watched key, by whomever, makes the next EXEC fail."""
        if (self.state.db, key) in self.state.watched:
            self.state.touched = True

    def unwatch(self) -> None:
        self.state.watched.clear()
        self.state.touched = False

    def run(self, words: list[Word]) -> bytes:
        """The reply of a data command, and its effect on the model."""
        name, here = str(words[0]), self.here
        key = str(words[1]) if len(words) > 1 else ""
        value = here.get(key)
        if name == "SET":
            self.touch(key)
            here[key] = str(words[2]).encode()
            return OK
        if name == "GET":
            return bulk(value) if isinstance(value, bytes) else self.null()
        if name == "INCR":
            count = int(value if isinstance(value, bytes) else b"0") + 1
            self.touch(key)
            here[key] = str(count).encode()
            return number(count)
        if name == "DEL":
            there = [str(word) for word in words[1:] if str(word) in here]
            for word in there:
                self.touch(word)
                del here[word]
            return number(len(there))
        if name == "EXISTS":
            return number(sum(str(word) in here for word in words[1:]))
        if name == "MSET":
            for at in range(1, len(words), 2):
                self.touch(str(words[at]))
                here[str(words[at])] = str(words[at + 1]).encode()
            return OK
        if name == "MGET":
            found = [here.get(str(word)) for word in words[1:]]
            return array([bulk(one) if isinstance(one, bytes) else self.null() for one in found])
        if name == "RPUSH":
            items = value if isinstance(value, list) else []
            here[key] = [*items, *(str(word).encode() for word in words[2:])]
            return number(len(items) + len(words) - 2)
        if name in ("LPOP", "BLPOP"):
            return self.pop(name, key, value)
        if name == "HSET":
            fields = value if isinstance(value, dict) else {}
            fresh = str(words[2]) not in fields
            here[key] = {**fields, str(words[2]): str(words[3]).encode()}
            return number(int(fresh))
        if name == "HGETALL":
            pairs = value.items() if isinstance(value, dict) else ()
            body = b"".join(bulk(one.encode()) + bulk(two) for one, two in pairs)
            head = b"%%%d\r\n" % len(pairs) if self.state.protocol == 3 else b"*%d\r\n" % (2 * len(pairs))
            return head + body
        if name == "STRLEN":
            return number(len(value) if isinstance(value, bytes) else 0)
        if name == "EVAL":
            return bulk(str(words[-1]).encode())
        if name in ("PING", "ECHO"):
            return bulk(str(words[1]).encode())
        raise AssertionError(f"no model of {name}")

    def pop(self, name: str, key: str, value: object) -> bytes:
        if not isinstance(value, list) or not value:
            return self.null(of_array=name == "BLPOP")
        first, rest = value[0], value[1:]
        if rest:
            self.here[key] = rest
        else:
            del self.here[key]
        return array([bulk(key.encode()), bulk(first)]) if name == "BLPOP" else bulk(first)

    # -- what to ask --

    def data_command(self) -> list[Word]:
        pick = self.random
        text, counter, items, fields = (self.key(f"{kind}{pick.randrange(3)}") for kind in "snlh")
        size = 1 if pick.random() < 0.9 else pick.choice([200, 20_000, 300_000])
        value = f"{self.tag}-{pick.randrange(1000)}-" + "v" * size
        choices: list[list[Word]] = [
            ["SET", text, value], ["GET", text], ["GET", text], ["INCR", counter], ["DEL", text, counter], ["EXISTS", text, counter, items],
            ["MSET", text, value, self.key("s9"), "nine"], ["MGET", text, counter, self.key("s9")], ["RPUSH", items, value[:50], "b"], ["LPOP", items],
            ["BLPOP", items, "0.01"], ["HSET", fields, f"f{pick.randrange(3)}", value[:40]], ["HGETALL", fields], ["STRLEN", text],
            ["EVAL", "return ARGV[1]", "1", text, value[:30]], ["PING", value[:20]], ["ECHO", value[:20]],
        ]  # fmt: skip
        chosen = pick.choice(choices)
        if chosen[0] == "BLPOP" and items not in self.here and pick.random() < 0.9:
            chosen = ["LPOP", items]  # waiting in vain is slow, so it is rare
        return chosen

    def step(self) -> None:
        """One command, and what must come back."""
        state, dice = self.state, self.random.random()
        if state.queued is not None:
            self.inside_a_transaction(dice)
        elif state.protocol == 3 and dice < 0.08:
            self.publish_and_subscribe()
        elif dice < 0.70:
            command = self.data_command()
            self.ask(command, self.run(command))
        elif dice < 0.80:
            self.ask(["MULTI"], OK)
            state.queued, state.failed = [], False
        elif dice < 0.86:
            db = self.random.randrange(self.databases)
            self.ask(["SELECT", db], OK)
            state.db = db
        elif dice < 0.89 and not state.subscribed:
            state.protocol = self.random.choice([2, 3])
            head = b"%7\r\n" if state.protocol == 3 else b"*14\r\n"
            self.ask(["HELLO", state.protocol], lambda raw, head=head: raw.startswith(head))  # type: ignore[misc]
        elif dice < 0.92:
            state.name = f"{self.tag}-{self.random.randrange(100)}".encode()
            self.ask(["CLIENT", "SETNAME", state.name], OK)
        elif dice < 0.95:
            self.ask(["CLIENT", "GETNAME"], bulk(state.name) if state.name else self.null())
        elif dice < 0.97:
            self.ask(["WATCH", self.key("s0"), self.key("n0")], OK)
            state.watched |= {(state.db, self.key("s0")), (state.db, self.key("n0"))}
        elif dice < 0.98:
            self.ask(["UNWATCH"], OK)
            self.unwatch()
        elif dice < 0.99:
            self.ask(["RESET"], b"+RESET\r\n")
            self.state = State(data=state.data)
        else:
            self.ask(["NOSUCH", "x"], b"-ERR unknown command 'NOSUCH', with args beginning with: 'x' \r\n")

    def publish_and_subscribe(self) -> None:
        """RESP3 clients listen to their own channel, beside everything else they do."""
        state, channel = self.state, f"{{{self.tag}}}:news".encode()
        if not state.subscribed:
            self.ask(["SUBSCRIBE", channel], b">3\r\n" + bulk(b"subscribe") + bulk(channel) + number(1))
            state.subscribed = True
        elif self.random.random() < 0.6:
            text = b"n" * self.random.choice([1, 30, 40_000]) + str(self.random.randrange(1000)).encode()
            self.ask(["PUBLISH", channel, text], number(1))
            self.messages.append(b">3\r\n" + bulk(b"message") + bulk(channel) + bulk(text))
        else:
            self.ask(["UNSUBSCRIBE", channel], b">3\r\n" + bulk(b"unsubscribe") + bulk(channel) + number(0))
            state.subscribed = False

    def inside_a_transaction(self, dice: float) -> None:
        state = self.state
        assert state.queued is not None
        if dice < 0.70 and len(state.queued) < 6:
            command = self.data_command()
            state.queued.append(command)
            self.ask(command, QUEUED)
        elif dice < 0.75:
            self.ask(["GET"], b"-ERR wrong number of arguments for 'get' command\r\n")
            state.failed = True
        elif dice < 0.90:
            if state.failed:
                self.ask(["EXEC"], b"-EXECABORT Transaction discarded because of previous errors.\r\n")
            elif state.touched:
                self.ask(["EXEC"], self.null(of_array=True))
            else:
                # Inside EXEC nothing waits: BLPOP of an empty list is a null at once.
                self.ask(["EXEC"], array([self.run(command) for command in state.queued]))
            state.queued = None
            self.unwatch()
        else:
            self.ask(["DISCARD"], OK)
            state.queued = None
            self.unwatch()

    def ask(self, words: list[Word], expected: Expected) -> None:
        self.expected.append((words, expected))
        self.history.append(" ".join(str(word)[:30] for word in words))

    # -- on the wire --

    def send(self, depth: int) -> None:
        """A pipeline of `depth` commands, in one or two writes."""
        for _ in range(depth):
            self.step()
        data = b"".join(encode(*words) for words, _ in self.expected)
        cut = self.random.randrange(len(data) + 1)
        try:
            self.wire.send_raw(data[:cut])
            self.wire.send_raw(data[cut:])
        except ConnectionError as error:
            raise AssertionError(f"{self.tag}: {error} after {list(self.history)}") from None

    def receive(self) -> None:
        for words, expected in self.expected:
            try:
                raw = self.reply()
            except (OSError, WireError) as error:
                raise AssertionError(f"{self.tag}: {words!r}: {error!r} in {list(self.history)}") from None
            right = expected(raw) if callable(expected) else raw == expected
            if not right:
                raise AssertionError(
                    f"{self.tag}: {words!r}: got {raw[:300]!r}, expected {expected!r:.300} in {list(self.history)}"
                )
        self.expected.clear()
        while self.messages:
            raw = self.wire.reply()
            assert raw == self.messages.pop(0), (
                f"{self.tag}: {raw[:200]!r} instead of a message in {list(self.history)}"
            )

    def reply(self) -> bytes:
        """The next reply; messages of the client's own channel may come before it."""
        while True:
            raw = self.wire.reply()
            if not raw.startswith(b">3\r\n$7\r\nmessage\r\n"):
                return raw
            if not self.messages or raw != self.messages.pop(0):
                raise WireError(f"a message nobody sent, or not in its order: {raw[:200]!r}")

    def vanish(self) -> None:
        """Closes in the middle of whatever it is doing, half a command included; a successor starts with fresh keys."""
        for _ in range(self.random.randrange(1, 6)):
            self.step()
        data = b"".join(encode(*words) for words, _ in self.expected)
        self.wire.send_raw(data[: self.random.randrange(1, len(data) + 1)])
        if self.random.random() < 0.5:
            self.wire.reset()
        else:
            self.wire.close()
        self.expected.clear()
        self.messages.clear()
        self.generation += 1
        self.state = State()
        self.wire = Wire(self.address, timeout=20)
