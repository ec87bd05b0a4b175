"""What the CPU does for a stripe: a job of csrc/stripe.h, many of which are done together.

    before    digests of the data shards' blocks: what any hash sees is what is stored
    hashed    MD5 together with other jobs', in steps; XXH3-128; CRC-64/NVME where it is wanted
    encoded   the parity
    others    what `update` computes of the same bytes, in Python, where somebody wants that
    after     digests of all shards' blocks, and those of the data are what they were before: a bit
              that flips in memory meanwhile is a fault now, not a wrong object for ever

All but `others` and what follows them is C's, without the GIL, of large stripes in a thread of its
own (`hasher`). Invariants: a stripe's buffer stays as it is, and alive, until its job ended; an
object's streams are in one job at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import xxhash

from ec import Geometry, NativeCodec
from s3node.base import md5
from s3node.base.crc64 import Crc64
from s3node.base.limits import HASH_STEP_BYTES
from s3node.base.md5 import Md5
from s3node.objects._hasher import ffi, lib
from s3node.objects.filling import FullStripe
from s3node.store.record import block_count

Update = Callable[[memoryview], None]

_BYTES = ffi.typeof("uint8_t[]")
_DIGESTS = ffi.typeof("uint64_t[]")
_STREAM = ffi.typeof("struct xxh3_stream *")
_CODE = ffi.typeof("struct stripe_code *")
_JOB = ffi.typeof("struct stripe_job *")
_JOBS = ffi.typeof("struct stripe_job *[]")
_CRC64 = ffi.typeof("uint64_t *")
_MD5_JOB = ffi.typeof("struct md5_job *")
_MD5_KERNEL = ffi.typeof("const struct md5_kernel *")
_ENCODE = ffi.typeof(
    "void (*)(const struct gf_kernel *, const struct gf_plan *, size_t, uint8_t *)"
)
_GF_KERNEL = ffi.typeof("const struct gf_kernel *")
_GF_PLAN = ffi.typeof("const struct gf_plan *")

cast, new = ffi.cast, ffi.new


class Streams:
    """What runs over all bytes of one object, in order: all hashes that somebody wants."""

    __slots__ = ("_xxh3", "crc64", "md5", "update")

    def __init__(self, md5: Md5, crc64: Crc64 | None, update: Update | None) -> None:
        self.md5 = md5
        self.crc64 = crc64
        self.update = update
        self._xxh3: Any = None

    @property
    def xxh3(self) -> Any:
        """The struct xxh3_stream; made when first asked for, which small objects never do."""
        if self._xxh3 is None:
            self._xxh3 = new(_STREAM)
            lib.xxh3_begin(self._xxh3)
        return self._xxh3

    def whole(self, content: bytes) -> bytes:
        """Take all that there is of the object, here and now; its XXH3-128."""
        self.md5.update(content)
        if self.crc64 is not None:
            self.crc64.update(content)
        if self.update is not None:
            self.update(memoryview(content))
        return xxhash.xxh3_128_digest(content)

    def digest(self) -> bytes:
        """XXH3-128 of the bytes that stripes brought so far."""
        count = self.xxh3.bytes
        if count <= lib.XXH3_SHORT_MAX:
            kept = ffi.buffer(self.xxh3.kept)[lib.XXH3_STEP : lib.XXH3_STEP + count]
            return xxhash.xxh3_128_digest(kept)
        digest = new(_BYTES, lib.XXH3_128_BYTES)
        lib.xxh3_128_digest(self.xxh3, digest)
        return bytes(ffi.buffer(digest))


@lru_cache
def _code(codec: NativeCodec, geometry: Geometry) -> tuple[Any, Any]:
    """The struct stripe_code, and what it points to, kept alive."""
    native = codec.native(geometry)
    encode, kernel, plan = native
    code = new(_CODE, (cast(_ENCODE, encode), cast(_GF_KERNEL, kernel), cast(_GF_PLAN, plan)))
    return code, native


class Job:
    """One full stripe, which continues an object; `advance` it until it is `done`."""

    __slots__ = ("_alive", "_content", "_digests", "_md5", "_update", "pointer")

    def __init__(
        self, streams: Streams, codec: NativeCodec, geometry: Geometry, full: FullStripe
    ) -> None:
        k, n, shard_bytes = geometry.k, geometry.n, full.shard_bytes
        whole = ffi.from_buffer(_BYTES, full.row.whole, True)  # True: writable
        assert len(whole) == n * shard_bytes, "a row of shards"
        code, kept = _code(codec, geometry)
        blocks = block_count(shard_bytes)
        self._content: memoryview | None = full.content
        self._update = streams.update
        self._digests = new(_DIGESTS, n * blocks)
        before = new(_DIGESTS, k * blocks)
        crc64 = ffi.NULL if streams.crc64 is None else cast(_CRC64, streams.crc64.value)
        self.pointer = new(
            _JOB,
            (
                ffi.NULL,
                streams.xxh3,
                crc64,
                code,
                whole,
                shard_bytes,
                full.size,
                before,
                self._digests,
                self._update is not None,
            ),
        )
        self._alive: tuple[Any, ...] = (whole, streams, code, kept, before)
        self._md5 = md5.Job(streams.md5, [self._content])  # last: it is to be ended or given up
        self.pointer.md5 = cast(_MD5_JOB, self._md5.pointer)

    @property
    def done(self) -> bool:
        """As far as C goes without others."""
        return bool(self.pointer.state >= lib.STRIPE_HASHED)

    @property
    def others(self) -> bool:
        """Somebody is to see the bytes before it is finished."""
        return self._update is not None

    def finish(self) -> None:
        """When it is done: what others compute; raises what they raise."""
        if self._update is not None and self._content is not None:
            self._update(self._content)
            lib.stripe_verify(self.pointer)

    def end(self) -> None:
        """The object's streams are free again; called where they are used."""
        self._md5.end()
        self.give_up()

    def give_up(self) -> None:
        """Let go of the buffers; never left to the garbage collector, see `md5.Job`."""
        self._md5.give_up()
        self._content = self._update = None
        self._alive = ()

    @property
    def changed(self) -> bool:
        """When it is finished: the stripe is not what its hashes have seen."""
        return bool(self.pointer.state == lib.STRIPE_CHANGED)

    def digests(self) -> bytes:
        """Of the blocks of all shards, when it is finished."""
        assert self.pointer.state == lib.STRIPE_RIGHT, "of a stripe that was verified"
        return bytes(ffi.buffer(self._digests))


def advance(jobs: Sequence[Job], bytes_max: int) -> None:
    """As far as MD5 of at most `bytes_max` bytes of each job takes them; at one crossing."""
    pointers = new(_JOBS, [job.pointer for job in jobs])
    lib.stripe_advance(cast(_MD5_KERNEL, md5.kernel()), pointers, len(jobs), bytes_max)


def run(job: Job) -> None:
    """All of it, here and now."""
    try:
        while not job.done:
            advance([job], HASH_STEP_BYTES)
        job.finish()
    finally:
        if job.done:
            job.end()
        else:
            job.give_up()
