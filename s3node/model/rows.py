"""The rows: what the metadata says about buckets, versions, uploads, parts and bytes.

Each row is a msgspec Struct, encoded as a MessagePack array, field by field in the order given
here; fields are only ever added at the end, with a default, so that an older row reads as it was
meant. The row's key, its format byte and its CRC are the business of `s3node.meta.schema`.

Times are milliseconds since 1970, UTC. Digests are raw bytes. Sizes are bytes.
"""

from __future__ import annotations

import msgspec

NULL_VERSION = "null"


class Row(msgspec.Struct, frozen=True, array_like=True, kw_only=False):
    """What all rows have in common."""


class BucketRow(Row, frozen=True):
    """Key: bucket name."""

    bucket_id: bytes
    created_ms: int
    owner: str
    region: str
    versioning: str = ""  # "", "Enabled", "Suspended"
    object_lock: bytes = b""  # reserved for the lock configuration


class ConfigurationRow(Row, frozen=True):
    """Key: bucket id, kind. A setting of a bucket: CORS rules, tags."""

    content: bytes  # the XML document that S3's Get operation answers with
    changed_ms: int
    who: str  # access key


class Checksum(Row, frozen=True):
    """One x-amz-checksum-*: algorithm as S3 spells it (CRC32C), raw digest, and what of."""

    algorithm: str
    digest: bytes
    composite: bool = False  # over the parts' digests, not over the bytes
    parts: int = 0


class Data(Row, frozen=True):
    """The bytes of one PUT or one part, as stripes under one data id."""

    data_id: bytes
    size: int
    stripe_bytes: int  # of every stripe but the last; offset // stripe_bytes is the stripe index
    part: int = 0  # part number; 0 outside multipart
    digest: bytes = b""  # XXH3-128 of these bytes


class VersionRow(Row, frozen=True):
    """Key: bucket id, key, version id. The first row of a key is its current version."""

    hlc: int
    modified_ms: int
    size: int
    etag: str  # without quotes; hex MD5, or md5-of-md5s with -N
    digest: bytes  # XXH3-128 of the bytes; of the parts' digests, in order, when parts > 0
    parts: int = 0  # 0: not a multipart object
    null: bool = True  # its version id is shown as "null"
    delete_marker: bool = False
    inline: bytes | None = None  # the bytes themselves, when small
    data: tuple[Data, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()  # system headers as given (content-type, ...)
    metadata: tuple[tuple[str, str], ...] = ()  # x-amz-meta-*, without the prefix, lower case
    checksum: Checksum | None = None
    part_checksums: tuple[bytes, ...] = ()
    sha256: bytes = b""  # when the client signed or supplied it; never of a multipart object
    owner: str = ""
    storage_class: str = "STANDARD"
    tags: tuple[tuple[str, str], ...] = ()
    retention_mode: str = ""  # reserved for object lock: "", "GOVERNANCE", "COMPLIANCE"
    retain_until_ms: int = 0
    legal_hold: bool = False
    upload_id: bytes = b""  # of the upload it was completed from: a repeated Complete finds it


class UploadRow(Row, frozen=True):
    """Key: bucket id, key, upload id."""

    initiated_ms: int
    owner: str
    headers: tuple[tuple[str, str], ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    checksum_algorithm: str = ""
    checksum_type: str = ""  # "COMPOSITE", "FULL_OBJECT" or "" (none asked for)
    storage_class: str = "STANDARD"
    tags: tuple[tuple[str, str], ...] = ()


class PartRow(Row, frozen=True):
    """Key: upload id, part number."""

    size: int
    etag: str
    digest: bytes  # XXH3-128
    modified_ms: int
    data: Data | None = None
    inline: bytes | None = None  # never used: a part has stripes however small it is
    checksum: Checksum | None = None
    sha256: bytes = b""


class Location(Row, frozen=True):
    """Where one shard's record is: disk slot, segment, offset of the record."""

    slot: int
    segment: int
    offset: int


class Stripe(Row, frozen=True):
    """One stripe: its geometry and where its n shards are; None is an owed shard."""

    k: int
    m: int
    stripe_bytes: int
    shards: tuple[Location | None, ...]
    code: int = 1  # the erasure code; 1 is Cauchy over 0x11d


class LocationRow(Row, frozen=True):
    """Key: data id, run index. A run is `STRIPES_PER_RUN` consecutive stripes (the last: fewer):
    stripe i is number i % STRIPES_PER_RUN of run i // STRIPES_PER_RUN.
    """

    stripes: tuple[Stripe, ...]


class OwedRow(Row, frozen=True):
    """Key: data id, run index. What that run of stripes owes; goes when it owes nothing."""

    since_ms: int
    stripes: tuple[int, ...]  # indexes of those that owe
    shards: int = 0  # how many are owed in all


class DeathRow(Row, frozen=True):
    """Key: journal-ordered death id. Says that a data id's bytes are garbage, and why (I5)."""

    data_ids: tuple[bytes, ...]
    size: int
    reason: str  # "overwritten", "deleted", "aborted", "replaced part", "unlisted part"
    who: str
    when_ms: int
    bucket: str
    key: str
    lock: str = ""  # lock state at that moment, for the record


STRIPES_PER_RUN = 16
