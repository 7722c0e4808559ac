"""Framing and descriptors over the socketpair, including what doesn't fit it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

from mosnpy.server.channel import Channel, LoopChannel
from mosnpy.server.messages import Applied, Drained, ListenerSpec, Message, Plan, Refused, Sockets, pack, unpack


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    left, right = Channel.pair()
    yield left, right
    left.close()
    right.close()


def test_messages_keep_type_and_order(pair: tuple[Channel, Channel]) -> None:
    left, right = pair
    sent: list[Message] = [Applied(1), Refused(2, "why"), Plan(3, b"\x00\xff", [1, 2]), Drained()]
    for message in sent:
        left.send(message)
    assert [each.message for each in right.receive()] == sent
    assert right.receive() == []
    assert not right.closed


def test_every_message_survives_packing() -> None:
    spec = ListenerSpec(1, "a", "ipv6", "::1", 80, 128)
    assert (spec.address, spec.place) == ("[::1]:80", ("ipv6", "::1", 80))
    assert ListenerSpec(1, "a", "unix", "/x", 0, 1, 0o660).address == "unix:/x"
    assert unpack(pack(Applied(2**40))) == Applied(2**40)


def test_a_frame_in_single_bytes() -> None:
    raw, ours = socket.socketpair()
    channel = Channel(ours)
    sent, through = Channel.pair()
    sent.send(Refused(7, "x" * 50))
    whole = through._sock.recv(1000)
    got = []
    for byte in whole:
        raw.send(bytes([byte]))
        got += channel.receive()
    assert [each.message for each in got] == [Refused(7, "x" * 50)]
    for each in (raw, channel, sent, through):
        each.close()


def test_descriptors_come_with_their_message(pair: tuple[Channel, Channel]) -> None:
    left, right = pair
    pipes = [os.pipe() for _ in range(3)]
    left.send(Applied(1))
    left.send(Sockets([10, 11]), [pipes[0][1], pipes[1][1]])
    left.send(Applied(2))
    left.send(Sockets([12]), [pipes[2][1]])
    arrived = right.receive()
    assert [len(each.descriptors) for each in arrived] == [0, 2, 0, 1]
    for number, (reading, writing) in zip([*arrived[1].descriptors, *arrived[3].descriptors], pipes, strict=True):
        os.close(writing)
        os.write(number, b"%d" % number)
        assert os.read(reading, 10) == b"%d" % number
        os.close(number)
        os.close(reading)


def test_too_many_descriptors(pair: tuple[Channel, Channel]) -> None:
    with pytest.raises(ValueError, match="251 descriptors"):
        pair[0].send(Sockets([]), [0] * 251)


def test_what_does_not_fit_waits(pair: tuple[Channel, Channel]) -> None:
    left, right = pair
    plan = os.urandom(4_000_000)
    reading, writing = os.pipe()
    left.send(Plan(1, plan, []))
    left.send(Sockets([1]), [writing])
    assert left.pending
    arrived = []
    while left.pending:
        arrived += right.receive()
        left.flush()
    arrived += right.receive()
    assert [each.message for each in arrived] == [Plan(1, plan, []), Sockets([1])]
    for number in (reading, writing, *arrived[1].descriptors):
        os.close(number)


def test_the_other_end_is_gone(pair: tuple[Channel, Channel]) -> None:
    left, right = pair
    left.send(Applied(1))
    left.close()
    assert [each.message for each in right.receive()] == [Applied(1)]
    assert right.closed
    right.send(Applied(2))  # nobody hears it, nothing breaks
    assert not right.pending


def test_sending_to_the_dead(pair: tuple[Channel, Channel]) -> None:
    left, right = pair
    right.close()
    left.send(Applied(1))
    assert not left.pending
    assert left.receive() == []
    assert left.closed


def test_a_length_no_message_has(pair: tuple[Channel, Channel]) -> None:
    left, right = pair
    left._sock.send(b"\xff\xff\xff\xff\0\0")
    with pytest.raises(ValueError, match="a message of 4294967295 bytes"):
        right.receive()


def test_served_by_a_loop(pair: tuple[Channel, Channel]) -> None:
    left, right = pair
    heard: list[Message] = []

    async def talk() -> None:
        loop = asyncio.get_running_loop()
        gone = loop.create_future()
        served = LoopChannel(right, loop)
        served.start(lambda arrived: heard.append(arrived.message), lambda: gone.set_result(None))
        left.send(Applied(5))
        served.send(Plan(1, bytes(3_000_000), []))  # more than the socket takes at once
        received: list[Message] = []
        while not received:
            received += [each.message for each in left.receive()]
            await asyncio.sleep(0)
        await served.flushed()
        assert received == [Plan(1, bytes(3_000_000), [])]
        left.close()
        await asyncio.wait_for(gone, 10)

    asyncio.run(talk())
    assert heard == [Applied(5)]
