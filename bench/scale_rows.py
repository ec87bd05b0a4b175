"""The archive that `bench.scale` grows: keys and rows of image number so and so. Pure.

An image's key names its study, series and instance by UID, and its content: the form in which a
gateway stores it. Several scanners write at once, each study by study. Most scanners make UIDs
from their own number and the time, so that later ones sort later; every fourth one draws them at
random (`2.25.` and a UUID as a number), so that its studies come to lie anywhere. Sizes and
counts are those of a published archive: 476 instances a study, about 100 KB each.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

from s3node.model.rows import Checksum, Data, Location, LocationRow, Stripe, VersionRow

PREFIX = "dicom/"
SCANNERS = 8
SCANNERS_AT_RANDOM = 4  # one in so many
STUDY_IMAGES = 476
SERIES_IMAGES = 119
IMAGE_BYTES = 100_000
IMAGE_SECONDS = 2  # of a scanner, until it has the next one
FIRST_STUDY_S = 1_700_000_000
RECORD_BYTES = 25_600  # of a shard, with its header; as good as any

assert STUDY_IMAGES % SERIES_IMAGES == 0, "series are whole"


def key(number: int) -> str:
    """The key of image `number`; no two are alike, and those of a study share a prefix."""
    scanner, image = number % SCANNERS, number // SCANNERS
    study = image // STUDY_IMAGES
    series = image // SERIES_IMAGES
    uids = (_uid(scanner, "study", study, study * STUDY_IMAGES),
            _uid(scanner, "series", series, series * SERIES_IMAGES),
            _uid(scanner, "image", image, image))  # fmt: skip
    return f"{PREFIX}{'/'.join(uids)}/{_hash(str(number))[:12]}.dcm"


def _uid(scanner: int, what: str, number: int, images_before: int) -> str:
    if scanner % SCANNERS_AT_RANDOM == SCANNERS_AT_RANDOM - 1:
        return f"2.25.{int(_hash(f'{scanner} {what} {number}')[:32], 16)}"
    second = FIRST_STUDY_S + images_before * IMAGE_SECONDS
    kind = ("study", "series", "image").index(what) + 1
    return f"1.2.840.113619.2.{100 + scanner}.{30_412_000 + scanner}.{second}.{kind}.{number}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Stored:
    """What an image's bytes became: as if they had been put on a quorum of all disks."""

    size: int
    digest: bytes
    data: Data
    locations: LocationRow
    inline: bytes | None = None

    def location_rows(self) -> dict[int, LocationRow]:
        return {0: self.locations}


def stored(number: int, data_id: bytes, epoch: int, k: int, m: int) -> Stored:
    """One stripe of k + m shards, somewhere in the open segments of as many disks."""
    chance = random.Random(number)
    digest = chance.randbytes(16)
    slots = chance.sample(range(k + m), k + m)
    segment = epoch << 24 | 1 + number // 40_000
    offset = 4096 + number % 40_000 * RECORD_BYTES
    shards = tuple(Location(slot, segment, offset) for slot in slots)
    return Stored(
        IMAGE_BYTES,
        digest,
        Data(data_id, IMAGE_BYTES, IMAGE_BYTES, digest=digest),
        LocationRow((Stripe(k, m, IMAGE_BYTES, shards),)),
    )


def version(made: Stored, owner: str) -> VersionRow:
    """The row that a PUT of an SDK asks for: content type, two metadata, a CRC32."""
    return VersionRow(
        hlc=0,
        modified_ms=0,
        size=made.size,
        etag=made.digest.hex(),
        digest=made.digest,
        data=(made.data,),
        headers=(("content-type", "application/dicom"),),
        metadata=(("modality", "CT"), ("received-from", "SCANNER01")),
        checksum=Checksum("CRC32", made.digest[:4]),
        owner=owner,
    )


def sizes(target: int, first: int) -> list[int]:
    """Where to measure on the way to `target`: `first`, ten times as many, and so on.

    A target that is not beyond `first` is compared with a tenth of it.
    """
    assert target >= 10
    size = min(first, target // 10) if target <= first else first
    found = []
    while size < target:
        found.append(size)
        size *= 10
    return [*found, target]
