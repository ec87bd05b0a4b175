"""The border itself: what is told, what is refused, and what is given back when somebody goes."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3node.base.arena import Arena
from s3node.base.errors import DiskFull, DiskOffline, EngineGone, JournalStalled, S3Error
from s3node.base.ids import DATA_ID_BYTES, LIFE_SHIFT, LIVES_MAX
from s3node.base.limits import MIB
from s3node.meta.transaction import WriteSet
from s3node.objects.faults import as_s3_error
from s3node.processes import messages
from s3node.processes.channel import MARK
from s3node.processes.door import Door
from s3node.processes.messages import Appends, Hello, Offer, Unpin, Welcome
from s3node.store.diskset import Disks
from s3node.store.seams import DiskState
from tests.meta.kvs import lmdb_kv
from tests.processes.border import EPOCH, knock, make_door
from tests.simulation.faults import Faults
from tests.store.world import World, append_of, appended, crossed, outcomes, read_back

TEST_S_MAX = 60
TOLD_S_MAX = 10


def run(scenario: Awaitable[Any]) -> None:
    async def whole() -> None:
        await asyncio.wait_for(scenario, TEST_S_MAX)

    asyncio.run(whole())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(TOLD_S_MAX):
        while not condition():
            await asyncio.sleep(0.002)


class Raw:
    """The other end of a door, by hand."""

    def __init__(self, door: Door, *, mark: bytes = MARK, fds: tuple[int, ...] = ()) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.setblocking(False)
        self._sending: list[asyncio.Future[None]] = []
        door.accept(theirs)
        if mark or fds:
            socket.send_fds(self.sock, [mark], list(fds))

    def send(self, *frames: bytes) -> None:
        """In the background: the door may close before all of it is taken."""
        sending = asyncio.get_running_loop().sock_sendall(self.sock, b"".join(frames))
        self._sending.append(asyncio.ensure_future(sending))

    def hello(self, arena_bytes: int = 0, version: int = messages.VERSION) -> None:
        self.send(*messages.pack([Hello(version, arena_bytes)]))

    async def told(self) -> list[Any]:
        """All that comes until the door closes."""
        data = bytearray()
        loop = asyncio.get_running_loop()
        while piece := await loop.sock_recv(self.sock, 1 << 16):
            data += piece
        found: list[Any] = []
        while data:
            (size,) = messages.LENGTH.unpack_from(data)
            found += messages.unpack_from_engine(bytes(data[4 : 4 + size]))
            del data[: 4 + size]
        await asyncio.gather(*self._sending, return_exceptions=True)
        self.sock.close()
        return found


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


# ---- disks


def test_what_disks_are_like_is_told(tmp_path: Path) -> None:
    """At once when it matters, and before the answer to an append that failed."""
    world = World("native", tmp_path)
    faults = world.faults
    assert isinstance(faults, Faults)

    async def scenario(disks: Disks) -> None:
        door = make_door(disks=disks)
        link = await knock(door)
        assert [one.state for one in link.disks.status()] == [DiskState.ONLINE] * 3
        assert link.disks.status()[1].path == world.paths[1]
        disks.fence(1, "out")
        await until(lambda: link.disks.status()[1].state is DiskState.FENCED)
        assert [one.slot for one in link.disks.writable()] == [0, 2]
        assert isinstance(
            (await outcomes(appended(link.disks, [append_of(b"x", 1)])))[0], DiskOffline
        )
        await disks.readmit(1)
        await until(lambda: len(link.disks.writable()) == 3)
        faults.fail("pwritev", 28, lambda path: "disk2/segments" in path)
        assert isinstance((await outcomes(appended(link.disks, [append_of(b"x", 2)])))[0], DiskFull)
        assert [one.slot for one in link.disks.writable()] == [0, 1], "told before the answer"
        faults.heal()
        door.deciding.sequence = 77  # type: ignore[misc]
        door.deciding.stall = "no quorum"  # type: ignore[misc]
        await until(lambda: (link.sequence, link.stall) == (77, "no quorum"))
        await link.close()
        await door.close()

    world.run(scenario)


def test_a_disk_that_came_back_is_read_anew(tmp_path: Path) -> None:
    world = World("native", tmp_path)

    async def scenario(disks: Disks) -> None:
        door = make_door(disks=disks)
        link = await knock(door)
        item = append_of(b"first" * 100)
        (place,) = await asyncio.gather(*appended(link.disks, [item]))
        assert bytes(await link.disks.read(place, item.shard, 500, 0, 500)) == item.payload
        path = Path(world.segment_path(place))
        copy = path.read_bytes()
        path.unlink()
        path.write_bytes(copy)
        world.flip(str(path), place.offset + 400)
        await disks.readmit(0)  # as after a look that found it gone and back again
        await until(lambda: link.disks._told[0].returns == 1)
        assert isinstance(
            (await outcomes([link.disks.read(place, item.shard, 500, 0, 500)]))[0], Exception
        )
        link.disks.unpin([place])
        await link.close()
        await door.close()

    world.run(scenario)


# ---- who goes


def test_pins_of_a_lost_edge_are_given_back_when_all_is_answered(tmp_path: Path) -> None:
    world = World("native", tmp_path)
    faults = world.faults
    assert isinstance(faults, Faults)

    async def scenario(disks: Disks) -> None:
        door = make_door(disks=disks)
        arena = Arena(16 * MIB, shared=True)
        link, other = await knock(door, arena), await knock(door)
        payload = arena.take(100_000)
        payload[:] = random.Random(3).randbytes(100_000)
        item = append_of(payload)  # type: ignore[arg-type]
        (place,) = await asyncio.gather(*appended(link.disks, [item]))
        (theirs,) = await asyncio.gather(*appended(other.disks, [append_of(b"theirs", 1)]))
        faults.hold("fdatasync", lambda path: "disk0" in path)
        held = appended(link.disks, [item])
        await asyncio.to_thread(faults.entered["fdatasync"].wait)
        link._channel.close("killed")
        assert isinstance((await outcomes(held))[0], EngineGone)
        await crossed()
        assert door.edges == 2, "the memory is still being written from"
        assert disks.pinned(0, place.segment)
        faults.release("fdatasync")
        await until(lambda: door.edges == 1)
        await disks.seal()
        assert not disks.pinned(0, place.segment)
        assert disks.pinned(1, theirs.segment), "another edge's are its own"
        assert bytes(await read_back(disks, place, item)) == bytes(payload)
        assert (await outcomes(appended(link.disks, [item])))[0].args == ("killed",)
        await other.close()
        await link.close()
        await door.close()
        assert not disks.pinned(1, theirs.segment)

    world.run(scenario)


def test_an_offer_of_a_lost_edge_is_decided_before_its_pins_go(tmp_path: Path) -> None:
    world = World("native", tmp_path)

    class Slow:
        """Decides when it is told to."""

        stall = ""
        sequence = pending = 0

        def __init__(self) -> None:
            self.answers: list[asyncio.Future[bool]] = []

        def offer(self, write_set: WriteSet) -> asyncio.Future[bool]:
            self.answers.append(asyncio.get_running_loop().create_future())
            return self.answers[-1]

    async def scenario(disks: Disks) -> None:
        slow = Slow()
        door = make_door(slow, disks)
        link = await knock(door)
        (place,) = await asyncio.gather(*appended(link.disks, [append_of(b"x")]))
        offered = link.kv._offer(WriteSet(0, {}, (), {b"k": b"v"}, {}))
        await until(lambda: slow.answers)
        await link.close()
        assert isinstance((await outcomes([offered]))[0], EngineGone)
        await crossed()
        await disks.seal()
        assert disks.pinned(0, place.segment), "a row may be about to name it"
        slow.answers[0].set_result(True)
        await until(lambda: door.edges == 0)
        assert not disks.pinned(0, place.segment)
        await door.close()

    world.run(scenario)


def test_a_link_whose_engine_is_gone_answers_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with lmdb_kv(tmp_path) as kv:
            door = make_door(kv)
            begun = False
            link = await knock(door, index=kv.index, still=lambda: not begun)
            await link.kv.write(lambda tx: tx.put(b"a", b"1"))
            assert link.kv.read(lambda tx: tx.get(b"a")) == b"1"
            begun = True  # another engine, and this edge has not heard of the end yet
            with pytest.raises(EngineGone):
                link.kv.read(lambda tx: tx.get(b"a"))
            with pytest.raises(EngineGone):
                link.kv.read(lambda tx: 1 // 0)
            with pytest.raises(EngineGone):
                await link.kv.write(lambda tx: tx.put(b"a", b"2"))
            begun = False
            writes = [link.kv.write(lambda tx, n=n: tx.add(b"n", n)) for n in range(5)]
            tasks = [asyncio.ensure_future(write) for write in writes]
            await asyncio.sleep(0)
            await door.close()
            assert "stops" in await link.gone
            assert {type(one) for one in await outcomes(tasks)} <= {EngineGone, type(None)}
            with pytest.raises(EngineGone) as told:
                link.kv.read(lambda tx: None)
            answer = as_s3_error(told.value)
            assert (answer.code, "Retry-After" in answer.headers) == ("ServiceUnavailable", True)
            with pytest.raises(EngineGone):
                await link.kv.write(lambda tx: None)
            await link.close()
            await link.close()

    run(scenario())


# ---- transactions


def test_a_stall_of_the_journal_is_told_as_what_it_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with lmdb_kv(tmp_path) as kv:
            door = make_door(kv)
            link = await knock(door, index=kv.index)
            kv._stalls["journal"] = "too few disks"
            with pytest.raises(JournalStalled, match="too few disks"):
                await link.kv.write(lambda tx: tx.put(b"a", b"1"))
            await until(lambda: "too few disks" in link.stall)
            kv._stalls["journal"] = ""
            await link.kv.write(lambda tx: tx.put(b"a", b"1"))
            await link.close()
            await door.close()

    run(scenario())


def test_who_always_loses_is_told_to_come_back(tmp_path: Path) -> None:
    """And until then has tried as often as it should."""

    class Never:
        stall = ""
        sequence = pending = 0

        def offer(self, write_set: WriteSet) -> asyncio.Future[bool]:
            answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            answer.set_result(False)
            return answer

        async def in_index(self, sequence: int) -> None:
            await asyncio.sleep(0)

    async def scenario() -> None:
        async with lmdb_kv(tmp_path) as kv:
            door = make_door(Never())
            link = await knock(door, index=kv.index)
            runs = 0

            def fn(tx: Any) -> None:
                nonlocal runs
                runs += 1
                tx.put(b"a", b"1")

            with pytest.raises(S3Error, match="SlowDown"):
                await link.kv.write(fn)
            assert runs == 64
            await link.close()
            await door.close()

    run(scenario())


def test_two_edges_and_the_engine_count_together(tmp_path: Path) -> None:
    """Every read-modify-write of three writers, each with its own view, counts once."""

    async def scenario() -> None:
        async with lmdb_kv(tmp_path) as kv:
            door = make_door(kv)
            links = [await knock(door, index=kv.index) for _ in range(2)]

            def increase(tx: Any) -> None:
                tx.put(b"n", b"%d" % (int(tx.get(b"n") or 0) + 1))

            async def many(one: Any) -> None:
                for _ in range(40):
                    await one.write(increase)

            await asyncio.gather(*(many(one) for one in (kv, links[0].kv, links[1].kv)))
            assert kv.read(lambda tx: tx.get(b"n")) == b"120"
            for link in links:
                await link.close()
            await door.close()

    run(scenario())
