"""One conformance suite for all codecs: each C kernel that runs here, ISA-L, and pyeclib."""

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ec import Codec, Geometry, NativeCodec, kernels_available, native
from ec.oracle import IsalCodec, PyeclibCodec

GEOMETRIES = [Geometry(k, m) for k in range(1, 16) for m in range(1, 17 - k)]
SMALL = [geometry for geometry in GEOMETRIES if geometry.n <= 8]
LARGE = [geometry for geometry in GEOMETRIES if geometry.n > 8]
LENGTHS = (0, 1, 15, 31, 63, 65, 127, 257, 1001)

CODECS: dict[str, Callable[[], Codec]] = {
    **{
        f"native-{kernel}": lambda kernel=kernel: NativeCodec(kernel)
        for kernel in kernels_available()
    },
    "isa-l": IsalCodec,
    "pyeclib": PyeclibCodec,
}


@pytest.fixture(scope="module", params=CODECS)
def codec(request: pytest.FixtureRequest) -> Codec:
    return CODECS[request.param]()


@pytest.fixture(scope="module")
def isal() -> IsalCodec:
    return IsalCodec()


def stripe(isal: Codec, geometry: Geometry, shard_bytes: int, seed: int = 0) -> list[bytes]:
    """The n shards of random data, parity made by ISA-L."""
    data = random.Random(seed).randbytes(geometry.k * shard_bytes)
    shards = bytearray(data + bytes(geometry.m * shard_bytes))
    isal.encode(geometry, shards, shard_bytes)
    return [bytes(shards[i * shard_bytes : (i + 1) * shard_bytes]) for i in range(geometry.n)]


def rebuilt(
    codec: Codec, geometry: Geometry, shards: list[bytes], sources: list[int], wanted: list[int]
) -> list[bytes]:
    out = [bytearray(b"\xee" * len(shards[0])) for _ in wanted]
    codec.rebuild(geometry, {index: shards[index] for index in sources}, wanted, out)
    return [bytes(buffer) for buffer in out]


def losses(geometry: Geometry) -> Iterator[tuple[list[int], list[int]]]:
    """Every way to lose 1 to m shards: which are left, and which are lost."""
    for count in range(1, geometry.m + 1):
        for lost in itertools.combinations(range(geometry.n), count):
            yield [i for i in range(geometry.n) if i not in lost], list(lost)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_encodes_as_isal_does(codec: Codec, isal: IsalCodec, geometry: Geometry) -> None:
    for shard_bytes in LENGTHS:
        expected = stripe(isal, geometry, shard_bytes, seed=shard_bytes)
        whole = bytearray(b"".join(expected[: geometry.k]) + b"\xee" * geometry.m * shard_bytes)
        codec.encode(geometry, whole, shard_bytes)
        assert bytes(whole) == b"".join(expected)
        parity = [bytearray(shard_bytes) for _ in range(geometry.m)]
        codec.encode_into(geometry, expected[: geometry.k], parity)
        assert parity == expected[geometry.k :]


@pytest.mark.parametrize("geometry", SMALL, ids=str)
def test_every_loss_up_to_8_shards(codec: Codec, isal: IsalCodec, geometry: Geometry) -> None:
    shards = stripe(isal, geometry, 77)
    for left, lost in losses(geometry):
        assert rebuilt(codec, geometry, shards, left, lost) == [shards[i] for i in lost]


@pytest.mark.parametrize("geometry", LARGE, ids=str)
def test_some_losses_above_8_shards(codec: Codec, isal: IsalCodec, geometry: Geometry) -> None:
    shards, choose = stripe(isal, geometry, 131), random.Random(str(geometry))
    for _ in range(4):
        sources = choose.sample(range(geometry.n), choose.randint(geometry.k, geometry.n))
        wanted = choose.sample(range(geometry.n), choose.randint(1, geometry.m))
        assert rebuilt(codec, geometry, shards, sources, wanted) == [shards[i] for i in wanted]


@pytest.mark.deep
@pytest.mark.parametrize("geometry", LARGE, ids=str)
def test_every_loss_above_8_shards(isal: IsalCodec, geometry: Geometry) -> None:
    shards, codec = stripe(isal, geometry, 65), NativeCodec()
    for left, lost in losses(geometry):
        if len(lost) == geometry.m:
            assert rebuilt(codec, geometry, shards, left, lost) == [shards[i] for i in lost]


@st.composite
def jobs(draw: st.DrawFn) -> tuple[Geometry, list[bytes], list[int], list[int]]:
    geometry = draw(st.sampled_from(GEOMETRIES))
    shards = stripe(IsalCodec(), geometry, draw(st.integers(0, 700)), draw(st.integers(0, 9)))
    indexes = st.permutations(range(geometry.n))
    sources = draw(indexes)[: draw(st.integers(geometry.k, geometry.n))]
    wanted = draw(indexes)[: draw(st.integers(0, geometry.n))]
    return geometry, shards, list(sources), list(wanted)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(jobs(), st.integers(0, 700), st.integers(0, 700))
def test_any_range_of_any_shards_from_any_k(
    job: tuple[Geometry, list[bytes], list[int], list[int]], begin: int, end: int
) -> None:
    geometry, shards, sources, wanted = job
    ranges = [shard[begin:end] for shard in shards]
    for codec in (NativeCodec(), PyeclibCodec()):
        assert rebuilt(codec, geometry, ranges, sources, wanted) == [ranges[i] for i in wanted]


@pytest.mark.parametrize("geometry", [Geometry(4, 2), Geometry(9, 7), Geometry(12, 4)], ids=str)
def test_long_unaligned_views(codec: Codec, isal: IsalCodec, geometry: Geometry) -> None:
    """Shards longer than a block, at odd addresses of one buffer; what is around them stays."""
    size, gap = 20_011, 3
    shards = stripe(isal, geometry, size)
    memory = bytearray(b"\xee" * (geometry.n * (size + gap) + gap))
    views = [memoryview(memory)[gap + i * (size + gap) :][:size] for i in range(geometry.n)]
    for view, shard in zip(views[: geometry.k], shards, strict=False):
        view[:] = shard
    codec.encode_into(geometry, views[: geometry.k], views[geometry.k :])
    around = b"\xee" * gap
    assert bytes(memory) == around + b"".join(shard + around for shard in shards)


def test_threads_share_a_codec(codec: Codec, isal: IsalCodec) -> None:
    geometry = Geometry(8, 4)

    def check(seed: int) -> None:
        shards = stripe(codec, geometry, 4001, seed)
        assert shards == stripe(isal, geometry, 4001, seed)
        lost = [seed % 12, (seed + 5) % 12]
        left = [i for i in range(12) if i not in lost]
        assert rebuilt(codec, geometry, shards, left, lost) == [shards[i] for i in lost]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(check, range(24)))


def test_misuse(codec: Codec) -> None:
    geometry, shard = Geometry(4, 2), bytes(10)
    four = [bytearray(10) for _ in range(4)]
    two = [bytearray(b"\xee" * 10) for _ in range(2)]
    present = dict.fromkeys(range(4), shard)
    wrong: list[tuple[str, Callable[[], None]]] = [
        ("needs a buffer", lambda: codec.encode(geometry, bytearray(59), 10)),
        ("needs a buffer", lambda: codec.encode(geometry, bytearray(0), -1)),
        ("is not 3 data", lambda: codec.encode_into(geometry, four[:3], two)),
        ("1 parity", lambda: codec.encode_into(geometry, four, two[:1])),
        ("bytes", lambda: codec.encode_into(geometry, four, [two[0], bytearray(9)])),
        ("bytes", lambda: codec.encode_into(geometry, [*four[:3], bytes(11)], two)),
        ("from 3", lambda: codec.rebuild(geometry, dict.fromkeys((0, 2, 5), shard), [1], two[:1])),
        ("no such", lambda: codec.rebuild(geometry, present | {6: shard}, [5], two[:1])),
        ("no such", lambda: codec.rebuild(geometry, present | {-1: shard}, [5], two[:1])),
        ("no such", lambda: codec.rebuild(geometry, present, [6], two[:1])),
        ("no such", lambda: codec.rebuild(geometry, present, [-1], two[:1])),
        ("twice", lambda: codec.rebuild(geometry, present, [5, 5], two)),
        ("1 buffers", lambda: codec.rebuild(geometry, present, [4, 5], two[:1])),
        ("2 buffers", lambda: codec.rebuild(geometry, present, [4], two)),
        ("bytes", lambda: codec.rebuild(geometry, present, [4], [bytearray(9)])),
    ]
    for message, call in wrong:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises((TypeError, BufferError)):
        codec.encode_into(geometry, four, [bytes(10), bytes(10)])
    assert two == [b"\xee" * 10] * 2, "written all the same"


def test_native_refuses_outputs_that_overlap() -> None:
    codec, memory = NativeCodec(), bytearray(100)
    view = memoryview(memory)
    data = [view[i * 10 : i * 10 + 10] for i in range(4)]
    for parity in ([view[39:49], view[50:60]], [view[40:50], view[49:59]], [data[0], view[50:60]]):
        with pytest.raises(ValueError, match="overlaps"):
            codec.encode_into(Geometry(4, 2), data, parity)


def test_plans_are_kept_within_bounds() -> None:
    codec, geometry = NativeCodec(), Geometry(8, 8)
    shards = dict.fromkeys(range(16), b"?")
    for sources in itertools.islice(itertools.combinations(range(16), 8), 700):
        codec.rebuild(geometry, {i: shards[i] for i in sources}, [0], [bytearray(1)])
    cache = native._plan.cache_info()
    assert cache.maxsize is not None
    assert cache.currsize == cache.maxsize < 700


def test_golden_parity(codec: Codec) -> None:
    """The bytes that disks hold, once for all."""
    geometry, size = Geometry(12, 4), 1000
    shards = bytearray(i * i % 251 for i in range(12 * size)) + bytearray(4 * size)
    codec.encode(geometry, shards, size)
    digest = hashlib.sha256(shards[12 * size :]).hexdigest()
    assert digest == "1d0600512a2689b592bff45f67b869b932a790d127ceeb32a75cc8318a9d2485"
