"""The disk engine in C (csrc/engine.c) behind the `Engine` seam.

One crossing submits a batch and one reaps one; both release the GIL. Completions are announced
by one event descriptor on the loop. Buffers of what is under way are kept alive here. Cold work
runs in threads over the `FileSystem`, as with the other engines.
"""

from __future__ import annotations

import errno
import os
import struct
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any, TypeVar

from s3node.base.errors import StorageFault
from s3node.base.filesystem import DIRECT_ALIGN
from s3node.base.limits import DISKS_MAX
from s3node.store import record
from s3node.store._engine import ffi, lib
from s3node.store.engine import (
    BUFFERS_MAX,
    NO_ROOM,
    SPOT,
    Append,
    Completion,
    Counters,
    File,
    Lane,
    Read,
    Room,
    Stage,
    Write,
)
from s3node.store.limits import IOV_MAX
from s3node.store.plain import ColdThreads

T = TypeVar("T")

_REAP = 256  # completions taken over at one crossing
_COMPLETION = struct.Struct("=Qiiq")  # in the order of its fields
_completion: Callable[[tuple[int, ...]], Completion] = partial(tuple.__new__, Completion)

_slot: Callable[[Write | Read], int] = itemgetter(Read._fields.index("slot"))
_READS = 32  # given to the engine at one crossing

# An engine_op that reads: token, file, offset, tail offset, hurry, slot, count of buffers; where
# these are and how long, the rest unused; the claim.
_READ = struct.Struct(f"=QQqqqii4Q{ffi.sizeof('engine_op') - 8 * 10 - record.CLAIM.size}x80s")
# The beginning of one that writes; reads' fields are zero.
_WRITE = struct.Struct(f"=QQqqqii{2 * BUFFERS_MAX}Q")
_WRITES_FIRST = 256
_TARGET = struct.Struct("=4Q2I16s8x")
_STRIPE = struct.Struct("=6Q3I4x")
_CRC_AT = ffi.offsetof("engine_target", "crc")
_APPENDS_FIRST, _TARGETS_FIRST = 32, 512
_NUMBER = ffi.typeof("uintptr_t")
from_buffer, cast = ffi.from_buffer, ffi.cast  # looked up once
_CLAIM, _SPOTS = ffi.typeof("record_claim *"), ffi.typeof("engine_spot[]")
_BYTES = ffi.typeof("uint8_t[]")
_SPOT_BYTES = struct.calcsize(f"={SPOT}")
_VERIFIED = Completion(0, 0, Stage.VERIFIED, 0)
_QUEUED: int = lib.ENGINE_QUEUED

assert Write._fields.index("slot") == Read._fields.index("slot"), "one key sorts both"
assert _COMPLETION.size == ffi.sizeof("engine_completion"), "as C has it"
assert _READ.size == ffi.sizeof("engine_op"), "as C has it"
assert ffi.offsetof("engine_op", "iov") == 6 * 8, "the same"
assert ffi.sizeof("engine_target") == _TARGET.size, "as C has it"
assert ffi.sizeof("engine_stripe") == _STRIPE.size, "as C has it"
assert _TARGET.size - 8 == _CRC_AT, "where it is answered"
assert ffi.sizeof("record_claim") == record.CLAIM.size == 80, "the same"
assert ffi.offsetof("engine_op", "claim") == _READ.size - record.CLAIM.size, "it comes last"
assert ffi.sizeof("engine_spot") == _SPOT_BYTES, "the same"
assert ffi.offsetof("engine_spot", "disk_id") == struct.calcsize(f"={SPOT[:-3]}"), "it comes last"
assert lib.RECORD_VERSION == record.VERSION, "the format of records, as C knows it"
assert lib.RECORD_HEADER_BYTES == record.HEADER_BYTES, "the same"
assert lib.RECORD_BLOCK_BITS == record.BLOCK_BITS, "the same"
assert lib.RECORD_PAYLOAD_BYTES_MAX == record.PAYLOAD_BYTES_MAX, "the same"
assert lib.RECORD_HINT_BYTES_MAX == record.HINT_BYTES_MAX, "the same"
assert lib.RECORD_ALIGN == record.ALIGN, "the same"
assert lib.RECORD_SHARDS_MAX == DISKS_MAX, "the same"
assert lib.ENGINE_VERIFIED == Stage.VERIFIED, "the same"
assert lib.ENGINE_BUFFERS == BUFFERS_MAX, "the seam and the engine agree"
assert lib.ENGINE_IOV_MAX == IOV_MAX, "the same"
assert lib.ENGINE_BLOCK == DIRECT_ALIGN, "the same"


@dataclass(slots=True, eq=False)
class NativeFile(File):
    """A file the C engine knows; the state beyond `fd` is in `pointer`."""

    pointer: Any = None  # as a number: `address`


def system_calls() -> Any:
    """The table of the kernel's calls, to be changed by tests before an engine is made."""
    calls = ffi.new("engine_calls *")
    lib.engine_system_calls(calls)
    return calls


class NativeEngine:
    """A writing thread and `readers` reading threads per slot, in C."""

    def __init__(self, slots: int, readers: int = 1, calls: Any = None) -> None:
        self._calls = calls or system_calls()  # kept: the engine may hold callbacks of it
        self._event_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        error = ffi.new("int *")
        self._engine = lib.engine_new(slots, readers, self._event_fd, self._calls, error)
        if not self._engine:
            os.close(self._event_fd)
            raise StorageFault(f"the disk engine does not start: {os.strerror(error[0])}")
        self._alive: dict[int, Any] = {}  # by token: what the engine reads or writes
        self._reaped = ffi.new(f"engine_completion[{_REAP}]")
        self._reaped_bytes = ffi.buffer(self._reaped)
        self._writes = ffi.new("engine_op[]", _WRITES_FIRST)  # used again for each batch
        self._write_bytes = ffi.buffer(self._writes)
        self._stripes = ffi.new("engine_stripe[]", _APPENDS_FIRST)
        self._targets = ffi.new("engine_target[]", _TARGETS_FIRST)
        self._reads = ffi.new(f"engine_op[{_READS}]")
        self._read_bytes = ffi.buffer(self._reads)
        self._read = ffi.new(f"engine_completion[{_READS}]")
        self._cold = ColdThreads()
        self._files: set[NativeFile] = set()
        self._loop: AbstractEventLoop | None = None
        self._wake: Callable[[], None] | None = None

    def start(self, loop: AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._loop, self._wake = loop, wake
        loop.add_reader(self._event_fd, wake)

    def attach(self, fd: int, size: int, room: Room = NO_ROOM, *, direct: bool = False) -> File:
        pointer = lib.engine_attach(
            self._engine, fd, size, ffi.new("engine_room *", room)[0], direct
        )
        if not pointer:
            raise MemoryError("no memory for a file of the disk engine")
        address = int(ffi.cast("uintptr_t", pointer))
        file = NativeFile(fd, size, room, pointer=pointer, address=address)
        self._files.add(file)
        return file

    def detach(self, file: File) -> None:
        assert isinstance(file, NativeFile) and file in self._files, "attached before, and once"
        self._files.discard(file)
        lib.engine_detach(self._engine, file.pointer)
        file.fd, file.pointer, file.address = -1, None, 0

    def submit(self, writes: Sequence[Write], reads: Sequence[Read]) -> None:
        write_ops, alive = self._pack_writes(writes)
        read_ops = ffi.new("engine_op[]", len(reads))
        for index, read in enumerate(sorted(reads, key=_slot)):
            alive[read.token] = _fill_read(read_ops[index], read)
        self._alive.update(alive)
        error = lib.engine_submit(self._engine, write_ops, len(writes), read_ops, len(reads))
        self._check_taken(error, alive)

    def append(self, appends: Sequence[Append]) -> Sequence[int]:
        count = sum(len(one.targets) for one in appends)
        if len(appends) > len(self._stripes):
            self._stripes = ffi.new("engine_stripe[]", 2 * len(appends))
        if count > len(self._targets):
            self._targets = ffi.new("engine_target[]", 2 * count)
        alive = self._pack_appends(appends)
        self._alive.update(alive)
        error = lib.engine_append(self._engine, self._stripes, len(appends))
        self._check_taken(error, alive)
        words = memoryview(ffi.buffer(self._targets)).cast("I")
        step = _TARGET.size // words.itemsize
        return words[_CRC_AT // words.itemsize : step * count : step].tolist()

    def _check_taken(self, error: int, alive: dict[int, Any]) -> None:
        """Of what was not taken nothing is under way; what was, was kept alive before."""
        if error:
            for token in alive:
                del self._alive[token]
        if error == errno.ENOMEM:
            raise MemoryError("no memory for the disk engine's queue")
        assert error == 0, f"the disk engine refused a batch: {os.strerror(error)}"

    def _pack_appends(self, appends: Sequence[Append]) -> dict[int, Any]:
        """As C has them: what must live, by token, until it completes."""
        stripes, targets = ffi.buffer(self._stripes), ffi.buffer(self._targets)
        here = int(cast(_NUMBER, self._targets))
        alive: dict[int, Any] = {}
        at = 0
        for index, one in enumerate(appends):
            records, heads, tail, wanted = one
            room = bytearray(heads.size * len(wanted))
            _STRIPE.pack_into(
                stripes,
                index * _STRIPE.size,
                int(cast(_NUMBER, from_buffer(heads.common))),
                int(cast(_NUMBER, from_buffer(records.payloads))),
                int(cast(_NUMBER, from_buffer(heads.digests))),
                int(cast(_NUMBER, from_buffer(tail))),
                int(cast(_NUMBER, from_buffer(room))),
                here + at,
                records.payload_bytes,
                len(tail),
                len(wanted),
            )
            kept = (one, room)
            for token, slot, file, segment, offset, payload, disk_id in wanted:
                assert isinstance(file, NativeFile), "attached to this engine"
                _TARGET.pack_into(
                    targets, at, token, file.address, segment, offset, slot, payload, disk_id
                )
                at += _TARGET.size
                alive[token] = kept
        return alive

    def _pack_writes(self, writes: Sequence[Write]) -> tuple[Any, dict[int, Any]]:
        """The writes as C has them, and by token what must live until they complete."""
        if len(writes) > len(self._writes):
            self._writes = ffi.new("engine_op[]", 2 * len(writes))
            self._write_bytes = ffi.buffer(self._writes)
        ops = self._write_bytes
        alive: dict[int, Any] = {}
        bases: dict[int, int] = {}  # of bodies, which many writes have in common
        # By slot: what goes to one queue is put there at once, and so drained together.
        for index, write in enumerate(sorted(writes, key=_slot)):
            token, slot, file, offset, head, body, start, stop, tail = write
            assert isinstance(file, NativeFile), "attached to this engine"
            base = bases.get(id(body))
            if base is None:
                base = bases[id(body)] = int(cast(_NUMBER, from_buffer(body)))
            _WRITE.pack_into(
                ops,
                index * _READ.size,
                token,
                file.address,
                offset,
                0,
                0,
                slot,
                BUFFERS_MAX,
                int(cast(_NUMBER, from_buffer(head))),
                len(head),
                base + start,
                stop - start,
                int(cast(_NUMBER, from_buffer(tail))),
                len(tail),
            )
            alive[token] = write
        return self._writes, alive

    def read(self, reads: Sequence[Read]) -> Sequence[Completion | None]:
        answers: list[Completion | None] = []
        for at in range(0, len(reads), _READS):
            answers += self._read_some(reads[at : at + _READS])
        return answers

    def _read_some(self, reads: Sequence[Read]) -> list[Completion | None]:
        alive, memory, base = self._alive, None, 0
        for index, read in enumerate(reads):
            if read.memory is not memory:
                memory, base = read.memory, _address(read.memory)
            _pack_read(self._read_bytes, index, read, base)
            alive[read.token] = (memory,)
        error = lib.engine_read(self._engine, self._reads, len(reads), self._read)
        assert error in (0, errno.ENOMEM), f"the disk engine refused: {os.strerror(error)}"
        answers: list[Completion | None] = []
        for index, read in enumerate(reads):
            one = self._read[index]
            if one.stage == _QUEUED and not error:
                answers.append(None)
                continue
            del self._alive[read.token]
            if one.stage == Stage.VERIFIED:
                answers.append(_VERIFIED)
            elif one.stage == _QUEUED:
                answers.append(Completion(read.token, error, Stage.DEAD, 0))
            else:
                answers.append(Completion(read.token, one.error, one.stage, one.got))
        return answers

    def at_hand(self, memory: memoryview, stripe: bytes, spots: bytes) -> int:
        there: int = lib.engine_at_hand(
            self._engine,
            from_buffer(_CLAIM, stripe),
            from_buffer(_SPOTS, spots),
            len(spots) // _SPOT_BYTES,
            from_buffer(_BYTES, memory),
        )
        return there

    def completions(self) -> Sequence[Completion]:
        done: list[Completion] = []
        count = _REAP
        while count == _REAP:
            count = lib.engine_reap(self._engine, self._reaped, _REAP)
            reaped = self._reaped_bytes[: count * _COMPLETION.size]
            done += map(_completion, _COMPLETION.iter_unpack(reaped))
        for completion in done:
            del self._alive[completion.token]
        return done

    def run(self, slot: int, lane: Lane, work: Callable[[], T]) -> Future[T]:
        assert self._loop is not None, "not started"
        return self._cold.run(self._loop, slot, lane, work)

    def counters(self) -> Counters:
        found = ffi.new("engine_counters *")
        lib.engine_count(self._engine, found)
        return Counters(**{name: getattr(found, name) for name in Counters.__slots__})

    async def stop(self) -> None:
        assert self._loop is not None and self._wake is not None, "not started"
        await self._loop.run_in_executor(None, self._stop)
        self._loop.remove_reader(self._event_fd)
        self._wake()  # what was completed last
        os.close(self._event_fd)
        for file in list(self._files):
            self.detach(file)
        lib.engine_free(self._engine)
        self._engine = None

    def _stop(self) -> None:
        lib.engine_stop(self._engine)
        self._cold.stop()


def _fill_read(op: Any, read: Read) -> Sequence[Any]:
    """Describe a read to the engine; what must live until it completes."""
    assert not read.hurry, "who is in a hurry does not queue"
    _pack_read(ffi.buffer(ffi.addressof(op)), 0, read, _address(read.memory))
    return (read.memory,)


def _address(memory: memoryview) -> int:
    return int(ffi.cast("uintptr_t", ffi.from_buffer(memory, require_writable=True)))


def _pack_read(ops: Any, index: int, read: Read, base: int) -> None:
    """Read number `index` of an array of engine_op; its memory begins at `base`."""
    file = read.file
    assert isinstance(file, NativeFile), "attached to this engine"
    _READ.pack_into(
        ops,
        index * _READ.size,
        read.token,
        file.address,
        read.offset,
        read.tail_offset,
        read.hurry,
        read.slot,
        lib.ENGINE_READ_BUFFERS,
        base + read.head_at,
        read.head_bytes,
        base + read.body_at,
        read.body_bytes,
        read.claim,
    )
