"""Two other implementations of the codec, to compare with: pyeclib, and the ISA-L inside its wheel.

Slow and honest. They need the optional dependency `s3node[oracle]`, which is imported only when one
of them is made. Neither shares arithmetic with ec.native or ec.matrix: pyeclib brings its own, and
IsalCodec asks ISA-L for the matrices as well as for the products.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from itertools import chain
from typing import TYPE_CHECKING, Any

from ec.codec import check_encode, check_out, check_shards, check_wanted, choose_sources
from ec.geometry import Geometry

if TYPE_CHECKING:
    from typing_extensions import Buffer

_ISAL = """
    unsigned char gf_mul(unsigned char a, unsigned char b);
    void gf_gen_cauchy1_matrix(unsigned char *a, int m, int k);
    int gf_invert_matrix(unsigned char *in, unsigned char *out, const int n);
    void ec_init_tables(int k, int rows, unsigned char *a, unsigned char *gftbls);
    void ec_init_tables_gfni(int k, int rows, unsigned char *a, unsigned char *gftbls);
    void ec_encode_data(int len, int k, int rows, unsigned char *gftbls,
                        unsigned char **data, unsigned char **coding);
"""


def _common_length(buffers: Iterable[memoryview]) -> int:
    lengths = {buffer.nbytes for buffer in buffers}
    if len(lengths) != 1:
        raise ValueError(f"shards of different lengths: {sorted(lengths)} bytes")
    return lengths.pop()


def _split(shards: Buffer, count: int, shard_bytes: int) -> list[memoryview]:
    view = memoryview(shards)
    return [view[i * shard_bytes : (i + 1) * shard_bytes] for i in range(count)]


class PyeclibCodec:
    """Codec on pyeclib's isa_l_rs_cauchy, whose fragments are a header and then a shard.

    The header tells the index and lengths, not the bytes, so shards that come without one borrow
    it from a stripe of zeros of the same shape.
    """

    name = "pyeclib"
    _HEADER_BYTES = 80

    def __init__(self) -> None:
        from pyeclib.ec_iface import ECDriver  # noqa: PLC0415  optional

        @lru_cache
        def driver(geometry: Geometry) -> Any:
            return ECDriver(k=geometry.k, m=geometry.m, ec_type="isa_l_rs_cauchy")

        @lru_cache(maxsize=64)
        def headers(geometry: Geometry, shard_bytes: int) -> list[bytes]:
            fragments = driver(geometry).encode(bytes(geometry.k * shard_bytes))
            return [fragment[: self._HEADER_BYTES] for fragment in fragments]

        self.driver, self._headers = driver, headers

    def encode(self, geometry: Geometry, shards: Buffer, shard_bytes: int) -> None:
        """See Codec.encode."""
        check_encode(geometry, memoryview(shards).nbytes, shard_bytes)
        split = _split(shards, geometry.n, shard_bytes)
        self.encode_into(geometry, split[: geometry.k], split[geometry.k :])

    def encode_into(
        self, geometry: Geometry, data: Sequence[Buffer], parity: Sequence[Buffer]
    ) -> None:
        """See Codec.encode_into."""
        check_shards(geometry, data, parity)
        if _common_length(map(memoryview, chain(data, parity))) == 0:
            return
        fragments = self.driver(geometry).encode(b"".join(data))
        for target, fragment in zip(parity, fragments[geometry.k :], strict=True):
            memoryview(target)[:] = memoryview(fragment)[self._HEADER_BYTES :]

    def rebuild(
        self,
        geometry: Geometry,
        sources: Mapping[int, Buffer],
        wanted: Sequence[int],
        out: Sequence[Buffer],
    ) -> None:
        """See Codec.rebuild."""
        chosen = choose_sources(geometry, sources)
        check_wanted(geometry, wanted)
        check_out(wanted, out)
        shard_bytes = _common_length(
            map(memoryview, chain((sources[index] for index in chosen), out))
        )
        if shard_bytes == 0 or not wanted:
            return
        headers = self._headers(geometry, shard_bytes)
        fragments = [headers[index] + bytes(sources[index]) for index in chosen]
        rebuilt = self.driver(geometry).reconstruct(fragments, list(wanted))
        targets = dict(zip(wanted, out, strict=True))
        for index, fragment in zip(sorted(wanted), rebuilt, strict=True):
            memoryview(targets[index])[:] = memoryview(fragment)[self._HEADER_BYTES :]


class IsalCodec:
    """Codec on the libisal of pyeclib's wheel, called directly, matrices included."""

    name = "isa-l"

    def __init__(self) -> None:
        import cffi  # noqa: PLC0415

        files = metadata.files("pyeclib") or []
        path = next(file.locate() for file in files if file.name.startswith("libisal"))
        self.ffi = cffi.FFI()
        self.ffi.cdef(_ISAL)
        self.lib: Any = self.ffi.dlopen(str(path))
        self.tables = lru_cache(maxsize=512)(self._tables)

    def _tables(self, geometry: Geometry, sources: tuple[int, ...], wanted: tuple[int, ...]) -> Any:
        """What ec_encode_data needs to make the wanted shards out of the k sources."""
        rows = self.matrix(geometry, sources, wanted)
        tables = self.ffi.new("unsigned char[]", 32 * geometry.k * len(wanted))
        self.lib.ec_init_tables(geometry.k, len(wanted), b"".join(rows), tables)
        return tables

    def matrix(
        self, geometry: Geometry, sources: tuple[int, ...], wanted: tuple[int, ...]
    ) -> list[bytes]:
        """The factors that make the wanted shards out of the k sources, as ISA-L has them."""
        k, n = geometry.k, geometry.n
        generator = self.ffi.new("unsigned char[]", n * k)
        self.lib.gf_gen_cauchy1_matrix(generator, n, k)
        rows = [bytes(generator[i * k : (i + 1) * k]) for i in range(n)]
        to_data = self.ffi.new("unsigned char[]", k * k)
        scratch = self.ffi.new("unsigned char[]", b"".join(rows[i] for i in sources))
        if self.lib.gf_invert_matrix(scratch, to_data, k):
            raise ValueError(f"{geometry}: shards {sources} do not make the others")
        return [self._row_times_matrix(rows[i], to_data) for i in wanted]

    def _row_times_matrix(self, row: bytes, matrix: Any) -> bytes:
        result = [0] * len(row)
        for i, factor in enumerate(row):
            for j in range(len(row)):
                result[j] ^= self.lib.gf_mul(factor, matrix[i * len(row) + j])
        return bytes(result)

    def encode(self, geometry: Geometry, shards: Buffer, shard_bytes: int) -> None:
        """See Codec.encode."""
        check_encode(geometry, memoryview(shards).nbytes, shard_bytes)
        split = _split(shards, geometry.n, shard_bytes)
        self.encode_into(geometry, split[: geometry.k], split[geometry.k :])

    def encode_into(
        self, geometry: Geometry, data: Sequence[Buffer], parity: Sequence[Buffer]
    ) -> None:
        """See Codec.encode_into."""
        check_shards(geometry, data, parity)
        shards = range(geometry.n)
        tables = self.tables(geometry, tuple(shards[: geometry.k]), tuple(shards[geometry.k :]))
        self._apply(tables, data, parity)

    def rebuild(
        self,
        geometry: Geometry,
        sources: Mapping[int, Buffer],
        wanted: Sequence[int],
        out: Sequence[Buffer],
    ) -> None:
        """See Codec.rebuild."""
        chosen = choose_sources(geometry, sources)
        check_wanted(geometry, wanted)
        check_out(wanted, out)
        if wanted:
            tables = self.tables(geometry, chosen, tuple(wanted))
            self._apply(tables, [sources[index] for index in chosen], out)

    def _apply(self, tables: Any, sources: Sequence[Buffer], out: Sequence[Buffer]) -> None:
        shard_bytes = _common_length(map(memoryview, chain(sources, out)))
        inputs = [self.ffi.from_buffer("unsigned char[]", buffer) for buffer in sources]
        outputs = [
            self.ffi.from_buffer("unsigned char[]", buffer, require_writable=True) for buffer in out
        ]
        self.lib.ec_encode_data(
            shard_bytes,
            len(inputs),
            len(outputs),
            tables,
            self.ffi.new("unsigned char *[]", inputs),
            self.ffi.new("unsigned char *[]", outputs),
        )
