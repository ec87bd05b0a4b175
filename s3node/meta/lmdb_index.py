"""The index on LMDB: what the journal and the checkpoints say, ready to be read.

It is never the truth. Every commit lies synced on m + 1 disks before it comes here, so nothing
is synced on the way (sync=False), and the file is used again only after a clean close that left
a seal over its every byte (`s3node.meta.index_seal`): LMDB's meta pages have no checksums, its
pages neither, and a flipped bit in a mapped tree is a wrong answer or a crash. After anything
else (kill, power cut, damage, a copy from elsewhere) it is rebuilt. So this file is never opened
unverified, and the worst that can be wrong with it is that it is gone.

Invariants: one write transaction at a time, from whoever calls `apply`; a read transaction lives
within one call of `read` and never across an await (I8); the map grows only while no transaction
is open. No WRITEMAP: a stray store must not reach the file. Nothing above `meta` knows LMDB.
"""

from __future__ import annotations

import contextlib
import shutil
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import lmdb
import xxhash

from s3node.base.errors import DiskFailed, FormatError, FormatUnknown
from s3node.base.filesystem import RealFileSystem, write_file
from s3node.meta import index_seal, schema, values
from s3node.meta.frame import ORIGIN, Position
from s3node.meta.index import Index, IndexFull
from s3node.meta.index_seal import Seal
from s3node.meta.kv import ReadTx
from s3node.meta.transaction import Rows

T = TypeVar("T")

DATA = "data.mdb"
MAP_BYTES = 1 << 30
READERS_MAX = 512
_PIECE = 1 << 22
_STATE = struct.Struct("<16sQ16s")  # deployment id, sequence, chain

Batch = tuple[Position, Rows]


class LmdbTx:
    """A `ReadTx` over one LMDB transaction."""

    __slots__ = ("_txn",)

    def __init__(self, txn: Any) -> None:
        self._txn = txn

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._txn.get(key)
        except lmdb.Error as error:
            raise DiskFailed(f"the index: {error}") from error
        return value

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        start = max(start, schema.JOURNALED_START)
        stop = min(stop, schema.KEYS_END[:-1])
        try:
            with self._txn.cursor() as cursor:
                if reverse:
                    yield from _backwards(cursor, start, stop)
                elif cursor.set_range(start):
                    for key, value in cursor.iternext():
                        if key >= stop:
                            return
                        yield key, value
        except lmdb.Error as error:
            raise DiskFailed(f"the index: {error}") from error

    def first(self, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        start = max(start, schema.JOURNALED_START)
        try:
            cursor = self._txn.cursor()
            row: tuple[bytes, bytes] | None = cursor.item() if cursor.set_range(start) else None
        except lmdb.Error as error:
            raise DiskFailed(f"the index: {error}") from error
        return row if row is not None and row[0] < stop else None


def _backwards(cursor: Any, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
    found = cursor.prev() if cursor.set_range(stop) else cursor.last()
    while found and cursor.key() >= start:
        yield cursor.item()
        found = cursor.prev()


class _Gate:
    """Many transactions (`with gate:`), or one change of the map (`with gate.alone():`).

    A thread says by an entry of its own that it is inside, and only then looks whether somebody
    wants to be alone, who says so first and then looks at the entries: one of the two sees the
    other. So a transaction that nobody is in the way of takes no lock.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside: dict[int, int] = {}  # thread -> how deep
        self._alone = 0  # who wants to be, or is

    def __enter__(self) -> None:
        me = threading.get_ident()
        depth = self._inside.get(me, 0)
        self._inside[me] = depth + 1
        if self._alone and not depth:
            self._wait(me)

    def __exit__(self, *_: object) -> None:
        me = threading.get_ident()
        depth = self._inside[me] - 1
        if depth:
            self._inside[me] = depth
        else:
            del self._inside[me]
        if self._alone:
            with self._condition:
                self._condition.notify_all()

    def _wait(self, me: int) -> None:
        """Step back until nobody wants to be alone."""
        with self._condition:
            while self._alone:
                self._inside.pop(me, None)
                self._condition.notify_all()
                self._condition.wait()
            self._inside[me] = 1

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self._condition:
            self._alone += 1
            try:
                while self._inside:
                    self._condition.wait()
                yield
            finally:
                self._alone -= 1
                self._condition.notify_all()


class LmdbIndex:
    """An open index. Opened once per process, after any fork."""

    def __init__(
        self,
        path: Path,
        deployment_id: bytes,
        *,
        map_bytes: int = MAP_BYTES,
        readonly: bool = False,
    ) -> None:
        """Open or create; the caller has verified what is there (see `verified`)."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self._deployment_id = deployment_id
        self._gate = _Gate()
        self._env = lmdb.open(
            str(path),
            map_size=map_bytes,
            max_readers=READERS_MAX,
            sync=False,
            metasync=False,
            writemap=False,
            map_async=False,
            readahead=False,
            mode=0o600,
            readonly=readonly,
        )
        self._env.reader_check()

    def read(self, fn: Callable[[ReadTx, Position], T]) -> T:
        """fn(snapshot, the position it stands at), now, on this thread."""
        try:
            with self._gate, self._env.begin() as txn:
                return fn(LmdbTx(txn), self._state(txn))
        except lmdb.Error as error:
            raise DiskFailed(f"{self.path}: {error}") from error

    def look(self, fn: Callable[[ReadTx], T]) -> T:
        """As `read`, for those who do not ask where the snapshot stands."""
        try:
            with self._gate, self._env.begin() as txn:
                return fn(LmdbTx(txn))
        except lmdb.Error as error:
            raise DiskFailed(f"{self.path}: {error}") from error

    def position(self) -> Position:
        with self._gate, self._env.begin() as txn:
            return self._state(txn)

    def apply(self, batches: Sequence[Batch], *, grow: bool = True) -> None:
        """Put batches in, all at once, and move on to the last one's position."""
        while True:
            try:
                with self._gate, self._env.begin(write=True) as txn:
                    for _, rows in batches:
                        self._write(txn, rows)
                    content = _STATE.pack(self._deployment_id, *batches[-1][0])
                    txn.put(schema.NODE_STATE, values.seal(schema.NODE_STATE, content))
                return
            except lmdb.MapFullError:
                if not grow:
                    raise IndexFull(f"{self.path}: the map is full") from None
                self._grow()
            except lmdb.Error as error:
                raise DiskFailed(f"{self.path}: {error}") from error

    def move(self, path: Path) -> None:
        """Take the place of whatever is at `path`, open as it is."""
        if path.exists():
            shutil.rmtree(path)
        self.path.rename(path)
        self.path = path

    def reader_check(self) -> int:
        """Free the slots of readers that died; how many."""
        freed: int = self._env.reader_check()
        return freed

    def close(self) -> None:
        """Without a seal: it will be rebuilt. Waits for transactions to end."""
        with self._gate.alone():
            self._env.close()

    def close_sealed(self) -> Seal:
        """Close so that the next open can use it again."""
        position = self.position()
        with self._gate.alone():
            self._env.sync(True)
            self._env.close()
        size, digest = _fingerprint(self.path / DATA)
        seal = Seal(self._deployment_id, position, size, digest)
        write_file(RealFileSystem(), str(self.path), index_seal.NAME, index_seal.pack(seal))
        return seal

    def _state(self, txn: Any) -> Position:
        return state_of(txn, self._deployment_id)

    def _write(self, txn: Any, rows: Rows) -> None:
        for key, value in rows.items():
            if value is None:
                txn.delete(key)
            else:
                txn.put(key, value)

    def _grow(self) -> None:
        with self._gate.alone():
            self._env.set_mapsize(2 * self._env.info()["map_size"])


def state_of(txn: Any, deployment_id: bytes) -> Position:
    """Where the index stood when the transaction began. FormatError."""
    value = txn.get(schema.NODE_STATE)
    if value is None:
        return ORIGIN
    return _position(value, deployment_id)


@lru_cache(maxsize=4)  # asked for with every read, and the same until the next commit
def _position(value: bytes, deployment_id: bytes) -> Position:
    found, sequence, chain = _STATE.unpack(values.unseal(schema.NODE_STATE, value))
    if found != deployment_id:
        raise FormatError("the index belongs to another deployment")
    return Position(sequence, chain)


class LmdbPlace:
    """The folder of a node's index: an `IndexPlace`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def sealed(self, deployment_id: bytes) -> Seal | str:
        return verified(self.path, deployment_id)

    def left(self, deployment_id: bytes) -> int:
        return newest_state(self.path, deployment_id)

    def open(self, deployment_id: bytes) -> LmdbIndex:
        unseal(self.path)
        return LmdbIndex(self.path, deployment_id, map_bytes=map_bytes_for(self.path))

    def open_readonly(self, deployment_id: bytes) -> LmdbIndex:
        room = map_bytes_for(self.path)
        return LmdbIndex(self.path, deployment_id, map_bytes=room, readonly=True)

    def create(self, deployment_id: bytes, room: int) -> LmdbIndex:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.path.with_name(self.path.name + ".new")
        if fresh.exists():
            shutil.rmtree(fresh)
        return LmdbIndex(fresh, deployment_id, map_bytes=max(MAP_BYTES, room))

    def adopt(self, fresh: Index) -> None:
        assert isinstance(fresh, LmdbIndex), "created here"
        fresh.move(self.path)

    def discard(self, fresh: Index) -> None:
        assert isinstance(fresh, LmdbIndex), "created here"
        fresh.close()
        shutil.rmtree(fresh.path)


def verified(path: Path, deployment_id: bytes) -> Seal | str:
    """The seal of an index that is byte for byte what a clean close left; else why it is not."""
    try:
        seal = index_seal.unpack((path / index_seal.NAME).read_bytes())
        found = _fingerprint(path / DATA)
    except FileNotFoundError:
        return "not closed cleanly" if (path / DATA).exists() else "there is none"
    except (OSError, FormatError) as error:
        return str(error)
    if seal.deployment_id != deployment_id:
        return "of another deployment"
    if found != (seal.data_bytes, seal.data_digest):
        return "changed since it was closed"
    return seal


def newest_state(path: Path, deployment_id: bytes) -> int:
    """The highest sequence of any state row in the file, in use or left over; 0: none.

    The file is searched as bytes and never opened: a damaged one could crash the process. Each
    commit wrote the row with its position; the row names the deployment and has a CRC, so that
    one which is whole was written, by a commit of a frame that was durable before. That holds
    after a power cut too, which may leave old pages and lose new ones, but makes no rows.
    """
    before, after = 1, _STATE.size + values.OVERHEAD  # of a row, around the deployment id
    newest, rest = 0, b""
    try:
        with (path / DATA).open("rb") as stream:
            while piece := stream.read(_PIECE):
                piece = rest + piece
                at = piece.find(deployment_id, before)
                while at >= 0:
                    newest = max(newest, _stated(piece[at - before : at - before + after]))
                    at = piece.find(deployment_id, at + 1)
                rest = piece[-after:]
    except OSError:
        return newest  # what cannot be read proves nothing
    return newest


def _stated(value: bytes) -> int:
    try:
        sequence: int = _STATE.unpack(values.unseal(schema.NODE_STATE, value))[1]
    except (FormatError, FormatUnknown, struct.error):
        return 0
    return sequence


def unseal(path: Path) -> None:
    """Before the first write: from here on a crash means a rebuild."""
    (path / index_seal.NAME).unlink()
    RealFileSystem().fsync_dir(str(path))


def map_bytes_for(path: Path) -> int:
    """A map that holds the file and leaves room to grow."""
    data = path / DATA
    size = data.stat().st_size if data.exists() else 0
    return max(MAP_BYTES, 2 * size)


def _fingerprint(path: Path) -> tuple[int, bytes]:
    hasher = xxhash.xxh3_128()
    size = 0
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            hasher.update(piece)
            size += len(piece)
    return size, hasher.digest()
