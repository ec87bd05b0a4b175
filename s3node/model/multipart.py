"""Multipart uploads: which checksum, which parts, and the version they become.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html (limits) and
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
(composite and full-object checksums).

Parts are never stored in their rows: a version made of parts lists data ids, one per part, and
its bytes never move.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec
import xxhash

from s3node.base.errors import S3Error
from s3node.base.ids import UPLOAD_ID_BYTES
from s3node.base.limits import OBJECT_BYTES_MAX, PART_BYTES_MIN
from s3node.model.outline import VersionOutline
from s3node.model.rows import Checksum, PartRow, UploadRow, VersionRow

COMPOSITE = "COMPOSITE"
FULL_OBJECT = "FULL_OBJECT"

COMBINABLE = frozenset({"CRC32", "CRC32C", "CRC64NVME"})
"""Algorithms whose value over a whole follows from the values of its parts."""


class Listed(NamedTuple):
    """A part as Complete lists it; `checksum` is (algorithm, digest) where it names one."""

    number: int
    etag: str
    checksum: tuple[str, bytes] | None = None


def parse_upload_id(text: str) -> bytes:
    """An upload id that a client sent; NoSuchUpload for what nobody here handed out."""
    try:
        identity = bytes.fromhex(text)
    except ValueError:
        identity = b""
    if len(identity) != UPLOAD_ID_BYTES or identity.hex() != text:
        raise S3Error("NoSuchUpload", UploadId=text)
    return identity


def part_algorithm(upload: UploadRow, given: str, default: str) -> str:
    """The checksum to keep of a part: what the upload says, else what came, else the default."""
    wanted = upload.checksum_algorithm
    if given == wanted or not wanted:
        return given or default
    if not given and upload.checksum_type == FULL_OBJECT:
        return wanted
    raise S3Error(
        "InvalidRequest",
        f"Checksum Type mismatch occurred, expected checksum Type: {wanted.lower()}, "
        f"actual checksum Type: {given.lower() or 'null'}",
    )


def _check_order(listed: Sequence[Listed], upload_id: str) -> None:
    numbers = [part.number for part in listed]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise S3Error("InvalidPartOrder", UploadId=upload_id)


def _check_part(upload: UploadRow, upload_id: str, listed: Listed, part: PartRow | None) -> PartRow:
    """The stored part that `listed` means."""
    invalid = S3Error(
        "InvalidPart", UploadId=upload_id, PartNumber=str(listed.number), ETag=listed.etag
    )
    if part is None or part.etag != listed.etag:
        raise invalid
    if listed.checksum is None:
        if upload.checksum_type == COMPOSITE:
            name = upload.checksum_algorithm.lower()
            raise S3Error(
                "InvalidRequest",
                f"The upload was created using a {name} checksum. The complete request must "
                "include the checksum for each part. It was missing for part "
                f"{listed.number} in the request.",
            )
        return part
    kept = part.checksum
    algorithm, digest = listed.checksum
    if kept is None or kept.algorithm != algorithm:
        raise S3Error(
            "BadDigest",
            f"The {algorithm.lower()} you specified for part {listed.number} did not match what we "
            "received.",
        )
    if kept.digest != digest:
        raise invalid
    return part


def select(
    upload: UploadRow,
    identity: bytes,
    parts: Mapping[int, PartRow],
    listed: Sequence[Listed],
) -> list[PartRow]:
    """The parts that a Complete names, in its order; the S3Error of what is wrong with it."""
    name = identity.hex()
    _check_order(listed, name)
    chosen = [_check_part(upload, name, item, parts.get(item.number)) for item in listed]
    for item, part in zip(listed[:-1], chosen[:-1], strict=True):
        if part.size < PART_BYTES_MIN:
            raise S3Error(
                "EntityTooSmall",
                ProposedSize=str(part.size),
                MinSizeAllowed=str(PART_BYTES_MIN),
                PartNumber=str(item.number),
                ETag=item.etag,
            )
    size = sum(part.size for part in chosen)
    if size > OBJECT_BYTES_MAX:
        raise S3Error(
            "EntityTooLarge", ProposedSize=str(size), MaxSizeAllowed=str(OBJECT_BYTES_MAX)
        )
    return chosen


def etag_of(etags: Iterable[str]) -> str:
    """S3's etag of an object made of parts: MD5 of their MD5s, and how many."""
    digests = [bytes.fromhex(etag) for etag in etags]
    return f"{hashlib.md5(b''.join(digests)).hexdigest()}-{len(digests)}"


def common_algorithm(upload: UploadRow, chosen: Sequence[PartRow]) -> tuple[str, str]:
    """Algorithm and type of the object's checksum; ("", "") when its parts have none in common."""
    found = {part.checksum.algorithm if part.checksum else "" for part in chosen}
    algorithm = found.pop()
    if found or not algorithm:
        return "", ""
    default = FULL_OBJECT if algorithm in COMBINABLE else COMPOSITE
    return algorithm, upload.checksum_type or default


def completed(
    upload: UploadRow,
    identity: bytes,
    numbers: Sequence[int],
    chosen: Sequence[PartRow],
    checksum: Checksum | None,
) -> VersionRow:
    """The version that the chosen parts become. `checksum` is the whole object's."""
    digests = b"".join(part.digest for part in chosen)
    named = [part.data for part in chosen if part.data is not None]
    assert len(named) == len(chosen), "a part's bytes are never in its row"
    return VersionRow(
        hlc=0,
        modified_ms=0,
        size=sum(part.size for part in chosen),
        etag=etag_of(part.etag for part in chosen),
        digest=xxhash.xxh3_128_digest(digests),
        parts=len(chosen),
        data=tuple(
            msgspec.structs.replace(data, part=number)
            for number, data in zip(numbers, named, strict=True)
        ),
        headers=upload.headers,
        metadata=upload.metadata,
        checksum=checksum,
        part_checksums=_part_digests(chosen) if checksum else (),
        owner=upload.owner,
        storage_class=upload.storage_class,
        tags=upload.tags,
        upload_id=identity,
    )


def _part_digests(chosen: Sequence[PartRow]) -> tuple[bytes, ...]:
    return tuple(part.checksum.digest if part.checksum else b"" for part in chosen)


def completed_before(row: VersionOutline, identity: bytes, listed: Sequence[Listed]) -> bool:
    """Whether `row` is what this very Complete made when it was sent the first time."""
    if row.upload_id != identity or row.delete_marker:
        return False
    try:
        return row.etag == etag_of(item.etag for item in listed)
    except ValueError:
        return False
