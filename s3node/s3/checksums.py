"""Checksum algorithms: the table, running hashers, base64 forms, digests of many parts.

A digest is raw bytes, big-endian, everywhere but on the wire (base64). Hashers take arbitrary
cuts and release the GIL on large ones. No I/O, no knowledge of requests.

A multipart object's checksum is either of the whole object (CRCs can be combined from the parts'
values and lengths) or composite: the digest of the parts' digests, shown with ``-N``.

Source: "Checking object integrity" of the Amazon S3 User Guide (which algorithm has which type);
the newer algorithms and their header names are those of botocore's service model.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import xxhash
from awscrt import checksums as crt

from s3node.base.errors import S3Error

Buffer = bytes | bytearray | memoryview

COMPOSITE = "COMPOSITE"
FULL_OBJECT = "FULL_OBJECT"
CRC64NVME = "CRC64NVME"
DEFAULT = CRC64NVME  # what S3 computes when a client declares nothing
HEADER_PREFIX = "x-amz-checksum-"


class Hasher(Protocol):
    """A running digest."""

    def update(self, data: Buffer, /) -> None: ...

    def digest(self) -> bytes: ...


class Checksum(NamedTuple):
    """A named digest, raw."""

    algorithm: str
    digest: bytes

    @property
    def text(self) -> str:
        """The base64 that S3 shows."""
        return base64.b64encode(self.digest).decode("ascii")


class Crc:
    """A running CRC: `step(data, value)` continues from `value`."""

    __slots__ = ("_size", "_step", "_value")

    def __init__(self, step: Callable[[Buffer, int], int], size: int) -> None:
        self._step = step
        self._size = size
        self._value = 0

    def update(self, data: Buffer, /) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One algorithm: digest bytes, how to run it, which types multipart objects may have."""

    name: str
    size: int
    new: Callable[[], Hasher]
    types: tuple[str, ...]  # the first is the default of a multipart upload
    combine: Callable[[int, int, int], int] | None = None

    @property
    def header(self) -> str:
        return HEADER_PREFIX + self.name.lower()


def _md5() -> Hasher:
    return hashlib.md5(usedforsecurity=False)


def _sha1() -> Hasher:
    return hashlib.sha1(usedforsecurity=False)


_ALL = (
    Algorithm("CRC32", 4, lambda: Crc(crt.crc32, 4), (COMPOSITE, FULL_OBJECT), crt.combine_crc32),
    Algorithm(
        "CRC32C", 4, lambda: Crc(crt.crc32c, 4), (COMPOSITE, FULL_OBJECT), crt.combine_crc32c
    ),
    Algorithm(CRC64NVME, 8, lambda: Crc(crt.crc64nvme, 8), (FULL_OBJECT,), crt.combine_crc64nvme),
    Algorithm("SHA1", 20, _sha1, (COMPOSITE,)),
    Algorithm("SHA256", 32, hashlib.sha256, (COMPOSITE,)),
    Algorithm("SHA512", 64, hashlib.sha512, (COMPOSITE,)),
    Algorithm("MD5", 16, _md5, (COMPOSITE,)),
    Algorithm("XXHASH64", 8, xxhash.xxh64, (COMPOSITE,)),
    Algorithm("XXHASH3", 8, xxhash.xxh3_64, (COMPOSITE,)),
    Algorithm("XXHASH128", 16, xxhash.xxh3_128, (COMPOSITE,)),
)

ALGORITHMS: Mapping[str, Algorithm] = {algorithm.name: algorithm for algorithm in _ALL}
BY_HEADER: Mapping[str, Algorithm] = {algorithm.header: algorithm for algorithm in _ALL}


def named(value: str) -> Algorithm:
    """The algorithm a client names (any case); InvalidRequest when there is none."""
    algorithm = ALGORITHMS.get(value.upper())
    if algorithm is None:
        raise S3Error(
            "InvalidRequest",
            f"Checksum algorithm provided is unsupported. Please try again with any of the valid "
            f"types: [{', '.join(ALGORITHMS)}]",
        )
    return algorithm


def multipart_type(algorithm: Algorithm, wanted: str | None) -> str:
    """The type of an upload's checksum, the default when none is asked for."""
    if wanted is None:
        return algorithm.types[0]
    kind = wanted.upper()
    if kind not in (COMPOSITE, FULL_OBJECT):
        raise S3Error("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
    if kind not in algorithm.types:
        name = algorithm.name.lower()
        message = f"The {kind} checksum type cannot be used with the {name} checksum algorithm."
        raise S3Error("InvalidRequest", message)
    return kind


def parse(algorithm: Algorithm, value: str) -> bytes:
    """The digest in its base64 form; ValueError when it is not one of this algorithm."""
    try:
        digest = base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if len(digest) != algorithm.size:
        raise ValueError("wrong length")
    return digest


def combine(algorithm: Algorithm, parts: Iterable[tuple[bytes, int]]) -> bytes:
    """The digest of the whole object from (digest, length) of its parts, in order."""
    join = algorithm.combine
    assert join is not None, f"{algorithm.name} cannot be combined"
    value = 0
    for digest, length in parts:
        value = join(value, int.from_bytes(digest, "big"), length)
    return value.to_bytes(algorithm.size, "big")


def composite(algorithm: Algorithm, digests: Sequence[bytes]) -> bytes:
    """The digest of the parts' digests, one after the other."""
    hasher = algorithm.new()
    for digest in digests:
        hasher.update(digest)
    return hasher.digest()
