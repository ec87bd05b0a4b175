"""What edges may send to the door: what is no honest message costs that connection alone."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3node.base.arena import Arena
from s3node.base.errors import EngineGone
from s3node.base.ids import DATA_ID_BYTES, LIFE_SHIFT, LIVES_MAX
from s3node.base.limits import MIB
from s3node.meta.transaction import WriteSet
from s3node.processes import messages
from s3node.processes.door import Door
from s3node.processes.messages import Appends, Hello, Offer, Unpin, Welcome
from s3node.store.diskset import Disks
from tests.processes.border import EPOCH, Raw, knock, make_door, run, until
from tests.store.world import World

# ---- hello


def test_edges_are_told_apart_and_their_data_ids_never_meet() -> None:
    async def scenario() -> None:
        door = make_door()
        links = [await knock(door) for _ in range(3)]
        assert [link.life for link in links] == [1, 2, 3]
        ids = {link.ids.data_id()[: DATA_ID_BYTES - 6] for link in links for _ in range(50)}
        assert len(ids) == 150
        assert all(int.from_bytes(one[:4], "big") == EPOCH for one in ids)
        lives = {int.from_bytes(one[4:], "big") >> LIFE_SHIFT for one in ids}
        assert lives == {1, 2, 3}
        with pytest.raises(AssertionError):
            links[0].ids.segment_id()
        for link in links:
            await link.close()
        again = await knock(door)
        assert again.life == 4, "a life is never given twice"
        await again.close()
        await door.close()

    run(scenario())


def test_when_lives_are_used_up_an_edge_is_told() -> None:
    async def scenario() -> None:
        door = make_door()
        door._lives = LIVES_MAX - 2
        last = await knock(door)
        assert last.life == LIVES_MAX - 1
        with pytest.raises(EngineGone, match="too many edges"):
            await knock(door)
        await last.close()
        await door.close()

    run(scenario())


def _unsealed() -> int:
    fd = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, MIB)
    return fd


def bad_beginnings() -> list[tuple[str, Callable[[Door], Raw]]]:
    def after(*steps: Callable[[Raw], None], **other: Any) -> Callable[[Door], Raw]:
        def begin(door: Door) -> Raw:
            raw = Raw(door, **other)
            for step in steps:
                step(raw)
            return raw

        return begin

    def with_fds(make: Callable[[], int], count: int = 1) -> Callable[[Door], Raw]:
        def begin(door: Door) -> Raw:
            fds = tuple(make() for _ in range(count))
            raw = Raw(door, fds=fds)
            for fd in fds:
                os.close(fd)
            return raw

        return begin

    def arena_that_lies(door: Door) -> Raw:
        arena = Arena(MIB, shared=True)
        raw = Raw(door, fds=(arena.fd,))
        raw.hello(2 * MIB)
        return raw

    def pack(message: Any) -> Callable[[Raw], None]:
        return lambda raw: raw.send(*messages.pack([message]))

    hello: Callable[[Raw], None] = lambda raw: raw.hello()  # noqa: E731
    return [
        ("another mark", after(mark=b"X")),
        ("memory that can shrink", with_fds(_unsealed)),
        ("no memory at all", with_fds(lambda: os.open("/dev/null", os.O_RDWR))),
        ("two descriptors", with_fds(lambda: os.open("/dev/null", os.O_RDWR), 2)),
        ("arena of another size", arena_that_lies),
        ("memory that did not come", after(lambda raw: raw.hello(MIB))),
        ("another version", after(lambda raw: raw.hello(version=messages.VERSION + 1))),
        ("no hello", after(pack(Unpin([])))),
        ("hello twice", after(hello, hello)),
        ("garbage", after(lambda raw: raw.send(b"\x05\0\0\0hello"))),
        ("a frame without end", after(lambda raw: raw.send(struct.pack("<I", 1 << 31)))),
        ("a message of the engine's", after(hello, pack(Welcome(1, 1, 1, b"", "")))),
        ("unpin of what is not pinned", after(hello, pack(Unpin([(0, 1)])))),
    ]


BAD_BEGINNINGS = dict(bad_beginnings())


@pytest.mark.parametrize("begin", BAD_BEGINNINGS.values(), ids=BAD_BEGINNINGS)
def test_a_bad_beginning_costs_that_connection_only(begin: Callable[[Door], Raw]) -> None:
    async def scenario() -> None:
        door = make_door()
        good = await knock(door)
        raw = begin(door)
        await raw.told()
        await until(lambda: door.edges == 1)
        assert not good.gone.done()
        await good.close()
        await door.close()

    before = len(os.listdir("/proc/self/fd"))
    run(scenario())
    assert len(os.listdir("/proc/self/fd")) == before, "descriptors leaked"


def test_a_connection_that_says_nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s3node.processes.door.HELLO_S", 0.05)

    async def scenario() -> None:
        door = make_door()
        for raw in (Raw(door, mark=b""), Raw(door)):
            assert not [one for one in await raw.told() if isinstance(one, Welcome)]
        await until(lambda: door.edges == 0)
        await door.close()

    run(scenario())


# ---- bad requests


DIGEST = bytes(range(8))


def appends(**other: Any) -> Appends:
    fields: dict[str, Any] = {
        "first": 1,
        "data_id": b"d" * 16,
        "stripe_index": 0,
        "k": 4,
        "m": 2,
        "code": 1,
        "stripe_bytes": 400,
        "stripe_offset": 0,
        "payload_bytes": 100,
        "payloads": 0,
        "shards": 1,
        "shard_index": 0,
        "digests": DIGEST,
        "targets": [(0, 0)],
        "hint": b"",
    }
    return Appends(**(fields | other))


BAD_REQUESTS: list[Any] = [
    appends(targets=[]),
    appends(targets=[(3, 0)]),
    appends(targets=[(-1, 0)]),
    appends(targets=[(0, 1)]),
    appends(targets=[(0, 0), (1, 1)]),
    appends(targets=[(0, 0), (1, 0)]),
    appends(shard_index=6, targets=[(0, 6)]),
    appends(shard_index=-1, targets=[(0, -1)]),
    appends(payloads=MIB - 99),
    appends(payloads=-100),
    appends(payloads=1 << 62),
    appends(payloads=b"x" * 99),
    appends(shards=7, digests=DIGEST * 7),
    appends(shards=2),
    appends(shards=0, digests=b"", targets=[]),
    appends(shards=-1),
    appends(digests=b""),
    appends(digests=DIGEST * 2),
    appends(digests=DIGEST[:-1]),
    appends(hint=b"h" * 5000),
    appends(payload_bytes=0, payloads=b"", digests=b""),
    appends(payload_bytes=-5),
    appends(k=0),
    appends(k=15, m=2),
    appends(code=256),
    appends(stripe_index=-1),
    appends(stripe_index=1 << 32),
    appends(stripe_offset=-1),
    appends(stripe_bytes=401),
    appends(data_id=b"short"),
    appends(first=0),
    appends(first=(1 << 64) - 1, shards=2, digests=DIGEST * 2, targets=[(0, 0), (1, 1)]),
    Unpin([(0, 1 << 24 | 1)]),
    Unpin([(99, 0)]),
    Offer(1, WriteSet(0, {}, (), {b"\x00state": b"x"}, {})),
    Offer(1, WriteSet(0, {}, (), {b"k" * 512: b"x"}, {})),
    Offer(1, WriteSet(0, {}, (), {b"": None}, {})),
    Offer(1, WriteSet(0, {}, (), {b"k": b"v" * (5 << 20)}, {})),
    Offer(1, WriteSet(0, {b"": b""}, (), {b"k": b"v"}, {})),
    Offer(1, WriteSet(0, {}, (), {}, {b"n": 1 << 62})),
]


@pytest.mark.parametrize("bad", BAD_REQUESTS, ids=lambda bad: type(bad).__name__)
def test_a_bad_request_costs_that_connection_only(bad: Any, tmp_path: Path) -> None:
    """And nothing of it was done: neither of it, nor of what came after it."""
    world = World("native", tmp_path)

    async def scenario(disks: Disks) -> None:
        door = make_door(disks=disks)
        good = await knock(door)
        arena = Arena(MIB, shared=True)
        raw = Raw(door, fds=(arena.fd,))
        raw.hello(MIB)
        raw.send(*messages.pack([bad, appends()]))
        told = await raw.told()
        assert type(told[-1]).__name__ == "Welcome" or told
        await until(lambda: door.edges == 1)
        assert not good.gone.done()
        assert list(disks.segments(0)) == []
        await good.close()
        await door.close()

    world.run(scenario)


@settings(max_examples=150)
@given(data=st.data())
def test_no_bytes_end_the_engine(data: st.DataObject) -> None:
    """Whatever an honest frame is changed to, or any bytes at all."""
    honest = bytearray(
        messages.pack([Offer(7, WriteSet(0, {}, (), {b"k": b"v"}, {})), appends()])[0]
    )
    if data.draw(st.booleans()):
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(4, len(honest) - 1))
            honest[at] = data.draw(st.integers(0, 255))
        body = bytes(honest[4:])
    else:
        body = data.draw(st.binary(max_size=60))
    try:
        found = messages.unpack_from_edge(body)
        for one in found:
            if isinstance(one, Offer):
                messages.check_write_set(one.write_set)
            elif isinstance(one, Appends):
                records = messages.records_of(one, 3, memoryview(bytes(MIB)))
                for slot, shard in one.targets:
                    start, stop = records.span(shard)
                    assert 0 <= slot < 3 and 0 <= start < stop <= len(records.payloads)
    except messages.BadMessage:
        return


def test_messages_cross_unchanged() -> None:
    sent = [
        Hello(1, MIB),
        Offer(3, WriteSet(5, {b"a": b""}, (), {b"b": None, b"c": b"d"}, {b"n": -4})),
        appends(targets=[(1, 2), (2, 3)], payloads=64),
        appends(payloads=b"p" * 100, hint=b"hint"),
        Unpin([(1, 2), (3, 4)]),
    ]
    assert messages.unpack_from_edge(bytes(messages.pack(sent)[0][4:])) == sent
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(bytes(messages.pack(sent)[0][4:]), type=list[Welcome])


def test_what_is_too_much_for_a_frame_takes_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "FRAME_BYTES_MAX", 1000)
    sent = [Offer(n, WriteSet(0, {}, (), {b"k": b"v" * 300}, {})) for n in range(7)]
    frames = messages.pack(sent)
    assert len(frames) > 2 and all(len(frame) <= 1004 for frame in frames)
    got = [one for frame in frames for one in messages.unpack_from_edge(bytes(frame[4:]))]
    assert got == sent
