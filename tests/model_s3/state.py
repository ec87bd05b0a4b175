"""What a small S3 holds, and how versions come and go in it.

Written from the pages of the Amazon S3 User Guide, not from the node: "Using versioning in S3
buckets", "Working with delete markers", "Adding objects to versioning-suspended buckets",
"Deleting objects from versioning-suspended buckets". The versions of a key are kept newest
first; an unversioned bucket is one whose versions are all null versions.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

NULL = "null"
STORAGE_CLASS, REDIRECT = "x-amz-storage-class", "x-amz-website-redirect-location"
ENABLED, SUSPENDED = "Enabled", "Suspended"


@dataclass
class Version:
    """An object or, without `body`, a delete marker.

    `id` is "null" or what the node gave it. `number` rises with every version of the whole S3:
    the order in which they came to be. `modified` is learnt from the first answer that tells it.
    """

    id: str
    number: int
    body: bytes | None = None
    etag: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, str] = field(default_factory=dict)  # class and redirect: never copied
    part_sizes: Mapping[int, int] = field(default_factory=dict)  # by part number
    modified: datetime | None = None

    @property
    def is_marker(self) -> bool:
        return self.body is None

    def said_modified(self, http_date: str | None) -> bool:
        """A header tells it: the same each time, and a date."""
        if http_date is None:
            return False
        told = parsedate_to_datetime(http_date)
        self.modified = self.modified or told
        return told == self.modified

    @property
    def storage_class(self) -> str:
        return self.own.get(STORAGE_CLASS, "STANDARD")

    @property
    def modified_iso(self) -> str:
        assert self.modified is not None, "nobody asked yet"
        return self.modified.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


@dataclass
class Part:
    body: bytes
    etag: str


@dataclass
class Upload:
    id: str
    key: str
    number: int
    headers: Mapping[str, str]
    tags: Mapping[str, str]
    own: Mapping[str, str]
    parts: dict[int, Part] = field(default_factory=dict)


@dataclass
class Bucket:
    name: str
    versioning: str | None = None
    keys: dict[str, list[Version]] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    tags: dict[str, str] | None = None
    ended: dict[str, Upload] = field(default_factory=dict)  # completed or aborted

    def versions(self, key: str) -> list[Version]:
        return self.keys.get(key, [])

    def current(self, key: str) -> Version | None:
        versions = self.versions(key)
        return versions[0] if versions else None

    def live(self, key: str) -> Version | None:
        """What a plain GET sees."""
        current = self.current(key)
        return None if current is None or current.is_marker else current

    def find(self, key: str, version_id: str) -> Version | None:
        return next((each for each in self.versions(key) if each.id == version_id), None)

    def add(self, key: str, version: Version) -> None:
        """The new version is the current one; a null version takes the place of the one before."""
        if version.id == NULL:
            self.remove(key, NULL)
        self.keys.setdefault(key, []).insert(0, version)

    def remove(self, key: str, version_id: str) -> None:
        left = [each for each in self.versions(key) if each.id != version_id]
        self.keys[key] = left
        if not left:
            del self.keys[key]

    def sorted_keys(self) -> list[str]:
        """In S3's order: that of the bytes."""
        return sorted(self.keys, key=str.encode)

    @property
    def shown(self) -> bool:
        """Whether answers tell version ids."""
        return self.versioning is not None


@dataclass
class State:
    region: str
    buckets: dict[str, Bucket] = field(default_factory=dict)
    ids: dict[str, tuple[str, str, int]] = field(default_factory=dict)  # bucket, key, number
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def number(self) -> int:
        return next(self._numbers)

    def given(self, bucket: str, key: str, version_id: str | None) -> tuple[str, int]:
        """The node made an id: never one that was there before."""
        assert version_id not in (None, "", NULL), f"no version id but {version_id!r}"
        assert version_id is not None
        assert version_id not in self.ids, f"version id {version_id} a second time"
        number = self.number()
        self.ids[version_id] = bucket, key, number
        return version_id, number


def md5(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


def etag_of_parts(parts: list[Part]) -> str:
    joined = b"".join(bytes.fromhex(part.etag) for part in parts)
    return f"{md5(joined)}-{len(parts)}"
