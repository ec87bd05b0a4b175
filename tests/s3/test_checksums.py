"""Checksums: known values, any cuts, parts combined against the whole."""

from __future__ import annotations

import hashlib
import zlib
from base64 import b64encode

import pytest
from awscrt.checksums import XXHash
from hypothesis import given
from hypothesis import strategies as st

from s3node.base.errors import S3Error
from s3node.s3 import checksums
from s3node.s3.checksums import ALGORITHMS, COMPOSITE, FULL_OBJECT, Algorithm

CHECK = b"123456789"

# Published check values of the CRCs; the rest against independent implementations.
KNOWN = {
    "CRC32": (0xCBF43926).to_bytes(4, "big"),
    "CRC32C": (0xE3069283).to_bytes(4, "big"),
    "CRC64NVME": (0xAE8B14860A799888).to_bytes(8, "big"),
    "SHA1": hashlib.sha1(CHECK).digest(),
    "SHA256": hashlib.sha256(CHECK).digest(),
    "SHA512": hashlib.sha512(CHECK).digest(),
    "MD5": hashlib.md5(CHECK).digest(),
    "XXHASH64": XXHash.compute_xxhash64(CHECK),
    "XXHASH3": XXHash.compute_xxhash3_64(CHECK),
    "XXHASH128": XXHash.compute_xxhash3_128(CHECK),
}


def digest(algorithm: Algorithm, *pieces: bytes) -> bytes:
    hasher = algorithm.new()
    for piece in pieces:
        hasher.update(memoryview(piece))
    return hasher.digest()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_known_values(name: str) -> None:
    algorithm = ALGORITHMS[name]
    assert digest(algorithm, CHECK) == KNOWN[name]
    assert len(KNOWN[name]) == algorithm.size
    assert checksums.BY_HEADER[algorithm.header] is algorithm
    assert checksums.parse(algorithm, b64encode(KNOWN[name]).decode()) == KNOWN[name]


@given(st.sampled_from(sorted(ALGORITHMS)), st.lists(st.binary(max_size=3000), max_size=6))
def test_any_cuts(name: str, pieces: list[bytes]) -> None:
    algorithm = ALGORITHMS[name]
    assert digest(algorithm, *pieces) == digest(algorithm, b"".join(pieces))


@given(
    st.sampled_from([name for name in ALGORITHMS if ALGORITHMS[name].combine]),
    st.lists(st.binary(max_size=2000), min_size=1, max_size=8),
)
def test_combined_parts_are_the_whole(name: str, parts: list[bytes]) -> None:
    algorithm = ALGORITHMS[name]
    combined = checksums.combine(algorithm, [(digest(algorithm, p), len(p)) for p in parts])
    assert combined == digest(algorithm, b"".join(parts))


def test_combined_lengths_of_gibibytes() -> None:
    zeros = bytes(1 << 20)
    crc = digest(ALGORITHMS["CRC32"], zeros)
    combined = checksums.combine(ALGORITHMS["CRC32"], [(crc, 1 << 20)] * 64)
    direct = 0
    for _ in range(64):
        direct = zlib.crc32(zeros, direct)
    assert combined == direct.to_bytes(4, "big")


def test_composite_is_the_digest_of_the_digests() -> None:
    for name, algorithm in ALGORITHMS.items():
        parts = [digest(algorithm, b"a"), digest(algorithm, b"b")]
        assert checksums.composite(algorithm, parts) == digest(algorithm, *parts), name


def test_types_of_multipart_checksums() -> None:
    for algorithm in ALGORITHMS.values():
        assert (FULL_OBJECT in algorithm.types) == (algorithm.combine is not None)
        assert checksums.multipart_type(algorithm, None) == algorithm.types[0]
        for kind in (COMPOSITE, FULL_OBJECT):
            if kind in algorithm.types:
                assert checksums.multipart_type(algorithm, kind.lower()) == kind
            else:
                with pytest.raises(S3Error, match="cannot be used"):
                    checksums.multipart_type(algorithm, kind)
        with pytest.raises(S3Error, match="x-amz-checksum-type"):
            checksums.multipart_type(algorithm, "OTHER")


def test_names() -> None:
    assert checksums.named("crc32c").name == "CRC32C"
    for name in ("", "CRC", "crc32 "):
        with pytest.raises(S3Error) as caught:
            checksums.named(name)
        assert caught.value.code == "InvalidRequest"


@pytest.mark.parametrize(
    "value", ["", "=", "AAAA", "AAAAAA==\n", "AAAAA===", "ÄÄÄÄÄÄ==", "AAAAA*=="]
)
def test_texts_that_are_no_crc32(value: str) -> None:
    with pytest.raises(ValueError):
        checksums.parse(ALGORITHMS["CRC32"], value)
