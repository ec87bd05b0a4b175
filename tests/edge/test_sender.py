"""The thread that sends large answers: in C under sanitizers, and beneath real connections.

Whatever clients do, and whatever fails, what arrives is the beginning of what was answered, and
all of it when the answer was sent; nobody uses the memory of pieces before they are sent.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s3node.edge._send import ffi, lib
from s3node.edge._spans import spans

from s3node.base import limits
from s3node.base.clock import SystemClock
from s3node.edge import sender as module
from s3node.edge.exchange import Exchange, Patience
from s3node.edge.front import Front
from s3node.edge.http import HttpServer
from s3node.edge.s3_listener import S3Listener
from s3node.edge.sender import left_of, worthwhile
from s3node.edge.tls import make_context
from tests.edge.certificates import make_certificate, trusting_all
from tests.edge.handlers import SHORT
from tests.edge.sending import (
    LARGE,
    Answering,
    Calls,
    ask,
    content,
    descriptors,
    descriptors_at_rest,
    only,
)
from tests.edge.wire import ANSWER_S_MAX, Wire, refuse, serving, until

ROOT = Path(__file__).resolve().parents[2]
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", "-Wpointer-arith"]
KIB = 1 << 10
LAST = b"\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_each_call_goes_wrong_in_each_way_under_sanitizers(
    sanitizer: str, tmp_path: Path, deep: bool
) -> None:
    program = tmp_path / "send_test"
    command = ["gcc", "-std=gnu11", "-O1", "-g", *WARNINGS, f"-fsanitize={sanitizer}"]
    command += ["-fno-sanitize-recover=all", "-pthread", "-Icsrc", "-o", str(program)]
    command += ["csrc/send.c", "csrc/send_calls.c", "csrc/system.c"]
    command += ["tests/c/send_test.c"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=600)
    for seed in range(40 if deep else 2):
        result = subprocess.run(
            [program, str(seed)], check=False, capture_output=True, text=True, timeout=600
        )
        assert (result.returncode, result.stderr) == (0, ""), result.stderr[-4000:]
        assert int(result.stdout.split()[0]) > 200, "runs, another call failing in each"


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread sends also for a client that is alone."""
    monkeypatch.setattr(limits, "SEND_ASIDE_REQUESTS_MIN", 1)


@pytest.fixture
def calls() -> Iterator[Calls]:
    made = Calls()
    yield made
    made.free.set()


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


# --- whatever clients do ------------------------------------------------------------------


async def client(port: int, seed: int) -> tuple[bytes, bytes, bool]:
    """(what came of the bodies, what there was to come, whether all was waited for)."""
    rng = Random(seed)
    wanted = b""
    asked = []
    for number in range(rng.randrange(1, 4)):
        size = rng.choice([1, 20 * KIB, 100 * KIB, 300 * KIB, 1500 * KIB])
        step = rng.choice([20 * KIB, 130 * KIB, 600 * KIB])
        asked.append((seed * 10 + number, size, step))
        wanted += content(seed * 10 + number, size)
    room = {"limit": 4096} if rng.random() < 0.3 else {}
    wire = await Wire.connect(port, **room)
    sock = wire.writer.get_extra_info("socket")
    if room:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * KIB)
    manner = rng.choice(["patient", "patient", "slow", "half", "hangs up", "resets"])
    await wire.send(b"".join(ask(*one) for one in asked))
    if manner == "half":
        wire.writer.write_eof()
    stop = rng.randrange(len(wanted)) if manner in ("hangs up", "resets") else len(wanted)
    came = b""
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        for _, size, _ in asked:
            await wire.head()
            end = min(len(came) + size, stop)
            while len(came) < end:
                part = await wire.reader.read(min(end - len(came), rng.randrange(1, 200_000)))
                if not part:
                    break
                came += part
                if manner == "slow" and rng.random() < 0.3:
                    await asyncio.sleep(0.005)
            if len(came) == stop != len(wanted):
                break
    if manner == "resets" and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.writer.transport.abort()
    else:
        wire.writer.close()
    return came, wanted, stop == len(wanted)


async def test_what_arrives_is_the_beginning_of_what_was_sent(
    always: None, calls: Calls, deep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many clients at once, some of whom hang up, or whose connection is cut or aborted."""
    monkeypatch.setattr(limits, "SEND_ASIDE_BYTES_MIN", 64 * KIB)
    before = await descriptors_at_rest()
    answering = Answering()
    rng = Random(8)
    disturbed = False
    calls.wrong = lambda nth: (
        None if nth % 3 else rng.choice([-errno.EAGAIN, -errno.EINTR, 0, 1, 5000, 70_000])
    )
    async with serving(answering, open_sender=calls.open) as (server, port):

        async def disturb() -> None:
            while True:
                await asyncio.sleep(0.01)
                connections = sorted(server.connections, key=id)
                if connections and rng.random() < 0.5:
                    one = rng.choice(connections)
                    await one.cut() if rng.random() < 0.5 else one.abort()

        for turn in range(40 if deep else 6):
            disturbed = turn % 2 == 1
            disturbing = asyncio.create_task(disturb()) if disturbed else None
            got = await asyncio.gather(*(client(port, turn * 100 + n) for n in range(12)))
            if disturbing is not None:
                disturbing.cancel()
                with suppress(asyncio.CancelledError):
                    await disturbing
            for came, wanted, patient in got:
                assert wanted.startswith(came)
                assert disturbed or not patient or came == wanted
        await until(lambda: not server.connections)
    assert calls.sends > 50 and answering.whole > 20
    await until(lambda: descriptors() <= before)


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ECONNRESET, errno.ENOBUFS])
async def test_an_error_of_any_send_cuts_the_answer(
    number: int, always: None, calls: Calls
) -> None:
    answering = Answering()
    wanted = content(1, 4 * LARGE)
    async with serving(answering, open_sender=calls.open) as (server, port):
        for bad in range(1, 10):
            calls.sends = 0
            calls.wrong = lambda nth, bad=bad: -number if nth == bad else None  # type: ignore[misc]
            async with await Wire.connect(port) as wire:
                await wire.send(ask(1, len(wanted)).replace(b"\r\n\r\n", LAST))
                _, _, came = (await wire.closed()).partition(b"\r\n\r\n")
            assert wanted.startswith(came)
            await until(lambda: not server.connections)
            if answering.whole:
                assert came == wanted
                break
            assert came != wanted
    assert set(answering.cut) == {"hung_up"} and len(answering.cut) == bad - 1 >= 4


async def test_what_cannot_be_handed_over_is_sent_all_the_same(always: None, calls: Calls) -> None:
    answering = Answering()
    async with (
        serving(answering, open_sender=calls.open) as (_, port),
        await Wire.connect(port) as wire,
    ):
        calls.descriptors = -1
        assert (await wire.ask(ask(1, 3 * LARGE))).body == content(1, 3 * LARGE)
        assert calls.sends == 0
        calls.descriptors = 0
        assert (await wire.ask(ask(2, 3 * LARGE))).body == content(2, 3 * LARGE)
        assert calls.sends > 0


async def test_what_came_behind_an_answer_to_who_has_gone_is_not_begun(
    always: None, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is lost when the thread has sent all, before the loop is told so."""
    answering, begun = Answering(), []
    end = module.Job.end

    async def handle(exchange: Exchange) -> None:
        begun.append(exchange.method)
        if exchange.method == "GET":
            await answering(exchange)

    def late(job: module.Job, taken: int, error: int) -> None:
        only(server).abort()
        asyncio.get_running_loop().call_later(0.05, end, job, taken, error)

    monkeypatch.setattr(module.Job, "end", late)
    async with (
        serving(handle, open_sender=calls.open) as (server, port),
        await Wire.connect(port) as wire,
    ):
        behind = b"PUT /k HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
        await wire.send(ask(1, LARGE, LARGE) + behind)
        await until(lambda: answering.whole + len(answering.cut))
        await until(lambda: not server.connections)
        assert begun == ["GET"] and not server._busy


@pytest.mark.parametrize(("processes", "has"), [(1, True), (2, False), (3, False)])
async def test_who_has_a_core_to_spare_has_a_sender(
    processes: int, has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    s3 = S3Listener({}, {}, clock=SystemClock(), random=os.urandom, broken=lambda _: None)
    front = Front(s3, None, processes=processes)
    before = threads()
    await front.start(("127.0.0.1", 0), ("127.0.0.1", 0))
    try:
        assert threads() - before == has
    finally:
        await front.stop(ANSWER_S_MAX)
    await until(lambda: threads() == before)


async def test_what_it_is_not_for(calls: Calls, tmp_path: Path) -> None:
    """Small answers, a client that is alone, TLS."""
    many = limits.SEND_ASIDE_REQUESTS_MIN

    async def load(port: int, size: int, count: int, tls: object = None) -> None:
        wires = [await Wire.connect(port, ssl=tls) for _ in range(count)]
        for _ in range(10):
            for wire in wires:
                await wire.send(ask(1, size))
            for answer in await asyncio.gather(*(wire.answer() for wire in wires)):
                assert answer.body == content(1, size)
        for wire in wires:
            wire.writer.close()

    async with serving(Answering(), open_sender=calls.open) as (_, port):
        await load(port, LARGE // 2, many)
        await load(port, 2 * LARGE, many - 1)
        assert calls.sends == 0
        await load(port, 2 * LARGE, many)
        assert calls.sends > 0
    calls.sends = 0
    certificate = make_certificate(tmp_path, serial=1)
    server = HttpServer(Answering(), refuse, name="test", open_sender=calls.open)
    port = await server.start("127.0.0.1", 0, make_context(*certificate))
    await load(port, 2 * LARGE, many, trusting_all())
    await server.stop(ANSWER_S_MAX)
    assert calls.sends == 0


# --- while the thread has the pieces ------------------------------------------------------


async def under_way(calls: Calls, wire: Wire, size: int = 2 * LARGE) -> None:
    calls.hold()
    await wire.send(ask(1, size, size))
    await until(calls.entered.is_set)


async def test_who_is_cancelled_waits_for_the_memory(always: None, calls: Calls) -> None:
    answering = Answering()
    async with (
        serving(answering, open_sender=calls.open) as (server, port),
        await Wire.connect(port) as wire,
    ):
        await under_way(calls, wire)
        connection = only(server)
        task = connection._task
        assert task is not None
        cutting = asyncio.create_task(connection.cut())
        for _ in range(5):
            await asyncio.sleep(0.01)
            task.cancel()
            assert not task.done() and answering.closed == 0
        calls.free.set()
        await cutting
        assert task.cancelled() and answering.closed == 1
        came = (await wire.closed()).partition(b"\r\n\r\n")[2]
        assert content(1, 2 * LARGE).startswith(came)


@pytest.mark.parametrize("how", ["abort", "close", "hangs up"])
async def test_a_connection_may_be_lost_meanwhile(how: str, always: None, calls: Calls) -> None:
    """Its descriptor's number is another one's at once; the pieces stay until they are sent."""
    answering = Answering()
    async with serving(answering, open_sender=calls.open) as (server, port):
        lost = await Wire.connect(port)
        await under_way(calls, lost)
        connection = only(server)
        assert connection.transport is not None
        number = connection.transport.get_extra_info("socket").fileno()
        if how == "hangs up":
            linger = struct.pack("ii", 1, 0)
            sock = lost.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            lost.writer.transport.abort()
        else:
            getattr(connection, how)()
        await until(lambda: not server.connections)
        others = [await Wire.connect(port) for _ in range(8)]
        for wire in others:
            await wire.send(ask(2, 1000))
            assert (await wire.answer()).body == content(2, 1000)
        taken = os.listdir("/proc/self/fd")
        assert str(number) in taken, "the kernel gives the lowest one that is free"
        assert answering.closed == 8 and not answering.cut
        calls.free.set()
        await until(lambda: answering.closed == 9)
        for wire in others:
            await wire.send(ask(3, 1000))
            assert (await wire.answer()).body == content(3, 1000)
            wire.writer.close()
        if how != "hangs up":
            head, _, came = (await lost.closed()).partition(b"\r\n\r\n")
            assert head and content(1, 2 * LARGE).startswith(came)
        lost.writer.close()


async def test_what_has_not_begun_ends_with_its_connection(always: None, calls: Calls) -> None:
    answering = Answering()
    async with serving(answering, open_sender=calls.open) as (server, port):
        first, second = await Wire.connect(port), await Wire.connect(port)
        await under_way(calls, first)
        busy = set(server.connections)
        await second.send(ask(2, 2 * LARGE))
        await until(lambda: all(one._job is not None for one in busy))
        (late,) = [one for one in busy if one.exchange and one.exchange.target.startswith(b"/2")]
        late.abort()
        await until(lambda: answering.cut == ["hung_up"])
        assert answering.closed == 1 and calls.sends == 1
        assert await second.closed() == b"", "its descriptor is closed, and nothing was sent"
        second.writer.close()
        calls.free.set()
        assert (await first.answer()).body == content(1, 2 * LARGE)
        first.writer.close()


async def test_nobody_writes_meanwhile(always: None, calls: Calls) -> None:
    """Neither what a body may want to say nor the answers that are asked for next."""
    async with (
        serving(Answering(), open_sender=calls.open) as (server, port),
        await Wire.connect(port) as wire,
    ):
        await under_way(calls, wire)
        await wire.send(ask(2, 10))
        wire.writer.write_eof()
        only(server).interject(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0.05)
        calls.free.set()
        assert (await wire.answer()).body == content(1, 2 * LARGE)
        assert (await wire.answer()).body == content(2, 10)
        assert await wire.closed() == b""


async def test_a_stop_lets_it_end_and_then_ends_the_thread(always: None, calls: Calls) -> None:
    before = threading.active_count(), len(os.listdir("/proc/self/task"))
    server = HttpServer(Answering(), refuse, name="test", open_sender=calls.open)
    port = await server.start("127.0.0.1", 0)
    assert len(os.listdir("/proc/self/task")) == before[1] + 1
    async with await Wire.connect(port) as wire:
        await under_way(calls, wire)
        stopping = asyncio.create_task(server.stop(ANSWER_S_MAX))
        await asyncio.sleep(0.05)
        assert not stopping.done()
        calls.free.set()
        assert (await wire.answer()).body == content(1, 2 * LARGE)
        await stopping
        assert await wire.closed() == b""
    await until(lambda: len(os.listdir("/proc/self/task")) == before[1])


async def test_who_takes_nothing_is_stalled(always: None, calls: Calls) -> None:
    """What the kernel does not take is written and waited for as ever."""
    answering = Answering()
    patience = Patience(send_idle=SHORT)
    async with (
        serving(answering, patience, open_sender=calls.open) as (_, port),
        await Wire.connect(port) as wire,
    ):
        await wire.send(ask(1, 40 << 20, 1 << 20))
        await until(lambda: answering.cut)
        assert answering.cut == ["stalled"] and calls.sends > 1


# --- the sender itself --------------------------------------------------------------------


async def test_pieces_live_until_they_are_sent(calls: Calls) -> None:
    sender = calls.open(asyncio.get_running_loop())
    assert sender is not None
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before = descriptors()
    calls.hold()
    first = sender.give(ours.fileno(), [bytes((1,)) * 1000])  # nobody else refers to them
    await until(calls.entered.is_set)
    second = sender.give(ours.fileno(), [bytes((2,)) * 1000])
    assert first is not None and second is not None
    assert sender.give(ours.fileno(), [b"one too many"]) is None
    assert descriptors() == before + 2
    calls.free.set()
    assert await first.sent() == await second.sent() == 1000
    assert theirs.recv(100_000) == bytes((1,)) * 1000 + bytes((2,)) * 1000
    assert sender.give(ours.fileno(), [b"x"] * (lib.SEND_PIECES_MAX + 1)) is None
    assert descriptors() == before
    sender.close()
    assert sender.give(ours.fileno(), [b"x"]) is None
    ours.close()
    theirs.close()


async def test_a_close_ends_what_is_queued(calls: Calls) -> None:
    sender = calls.open(asyncio.get_running_loop())
    assert sender is not None
    ours, theirs = socket.socketpair()
    calls.hold()
    begun = sender.give(ours.fileno(), [b"abc"])
    await until(calls.entered.is_set)
    queued = sender.give(ours.fileno(), [b"def"])
    assert begun is not None and queued is not None
    threading.Timer(0.05, calls.free.set).start()
    sender.close()
    assert await begun.sent() == 3
    with pytest.raises(OSError, match=os.strerror(errno.ECANCELED)):
        await queued.sent()
    queued.withdraw()  # whoever hears of it late
    ours.close()
    assert theirs.recv(100) == b"abc" and theirs.recv(100) == b""
    theirs.close()


async def test_without_a_thread_the_loop_sends(
    always: None, caplog: pytest.LogCaptureFixture
) -> None:
    for call, signature in (
        ("spawn", "int(void *, void *(*)(void *), void *)"),
        ("allocate", "void *(size_t)"),
    ):
        before = await descriptors_at_rest()
        calls = Calls()
        answer = -errno.EAGAIN if call == "spawn" else ffi.NULL
        failing = ffi.callback(signature, lambda *_, answer=answer: answer)
        setattr(calls.table, call, failing)
        async with (
            serving(Answering(), open_sender=calls.open) as (_, port),
            await Wire.connect(port) as wire,
        ):
            assert (await wire.ask(ask(1, 3 * LARGE))).body == content(1, 3 * LARGE)
        assert calls.sends == 0
        await until(lambda before=before: descriptors() == before)  # type: ignore[misc]
    assert caplog.text.count("without a thread of their own") == 2


@given(st.lists(st.binary(max_size=5), max_size=6), st.integers(0, 30))
def test_what_is_left(pieces: list[bytes], taken: int) -> None:
    left = left_of(pieces, taken)
    assert b"".join(left) == b"".join(pieces)[taken:]
    assert all(left[:1]), "it begins with something"


def test_where_pieces_lie() -> None:
    memory = bytearray(range(100))
    view = memoryview(memory)
    room = bytearray(16 * 3)
    assert spans((view[5:9], b"", view[9:]), room) == 3
    packed = struct.unpack("=6Q", room)
    assert packed[1::2] == (4, 0, 91) and packed[4] - packed[0] == 4
    assert packed[0] == int(ffi.cast("uintptr_t", ffi.from_buffer(memory))) + 5
    for pieces, error in (
        ((b"",) * 4, ValueError),
        ((b"", "text"), TypeError),
        ((view[::2],), BufferError),
        ([b""], SystemError),
    ):
        with pytest.raises(error):
            spans(pieces, room)
    with pytest.raises(BufferError):
        spans((b"",), bytes(room))
    with pytest.raises(TypeError):
        spans((b"",))
    view.release()  # which fails while it is looked at


def test_there_is_a_core_for_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, processes, wanted in ((1, 1, False), (2, 1, True), (2, 2, False), (4, 2, True)):
        monkeypatch.setattr(module.os, "sched_getaffinity", lambda _, n=cores: set(range(n)))
        assert worthwhile(processes) == wanted
