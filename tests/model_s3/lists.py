"""Listings of the small S3: objects in both forms, versions, uploads.

One rule for all of them, from the four pages of the API Reference: entries in the order of their
keys' bytes; those with the prefix only; those with the delimiter after it as one common prefix;
after the marker; so many of both together. A marker within a common prefix was observed to leave
out all of it.

DIFFERS: ListMultipartUploads of S3 was observed to tell no next marker when a page ends with a
common prefix, so that nobody can go on; the node's tells it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.model_s3 import reading
from tests.model_s3.model import Outcomes, no_such_bucket
from tests.model_s3.reply import Reply
from tests.model_s3.state import NULL, STORAGE_CLASS, Bucket, Upload, Version
from tests.model_s3.uploads import Uploads

KEYS_MAX = 1000


@dataclass(frozen=True)
class Query:
    """What a listing is asked; `after` is the key marker, `within` the one beside it."""

    prefix: str = ""
    delimiter: str = ""
    after: str = ""
    within: str = ""
    limit: int | None = None

    @property
    def most(self) -> int:
        return KEYS_MAX if self.limit is None else self.limit


@dataclass(frozen=True)
class Page:
    """`last` is the name of the last thing shown and, of an entry, the entry."""

    entries: list[Any]
    prefixes: list[str]
    truncated: bool
    last: tuple[str, Any | None] | None


def page(found: Iterable[tuple[str, Any]], query: Query, beside: Sequence[Any] = ()) -> Page:
    """`found` are (key, entry) in order; `beside` those entries of the key that is the marker
    which are shown all the same.
    """
    shown: dict[str, list[Any] | None] = {}  # in their order; None for a common prefix
    last: tuple[str, Any | None] | None = None
    count = 0
    for key, entry in found:
        if not key.startswith(query.prefix):
            continue
        name = _group(key, query)
        delimiter = name is not None
        name = name or key
        passed = query.after and name.encode() <= query.after.encode()
        if passed and (delimiter or key != query.after or entry not in beside):
            continue
        if delimiter and name in shown:
            continue
        if count == query.most:
            return Page(*_told(shown), count > 0, last)
        count += 1
        last = (name, None if delimiter else entry)
        if delimiter:
            shown[name] = None
        else:
            entries = shown.setdefault(name, [])
            assert entries is not None
            entries.append(entry)
    return Page(*_told(shown), False, last)


def _group(key: str, query: Query) -> str | None:
    """The common prefix that the key goes into."""
    if not query.delimiter:
        return None
    head, delimiter, _ = key[len(query.prefix) :].partition(query.delimiter)
    return query.prefix + head + delimiter if delimiter else None


def _told(shown: Mapping[str, list[Any] | None]) -> tuple[list[Any], list[str]]:
    entries = [entry for some in shown.values() if some is not None for entry in some]
    return entries, [name for name, some in shown.items() if some is None]


class Lists(Uploads):
    """The whole S3."""

    def list_objects(self, name: str, query: Query) -> Outcomes:
        bucket = self.buckets.get(name)
        if bucket is None:
            return no_such_bucket(name)
        found = page(_live(bucket), query)
        told = found.truncated and found.last is not None and query.delimiter != ""
        document = {
            **_echo(name, query),
            **_content(found),
            "Marker": query.after,
            "NextMarker": found.last[0] if told and found.last else None,
        }
        return Reply(200, document=document, read=reading.listing)

    def list_objects_v2(self, name: str, query: Query, *, going_on: bool) -> Outcomes:
        """`going_on` after a token that means `query.after`. What the next token is like is the
        node's own business; that there is one is not.
        """
        bucket = self.buckets.get(name)
        if bucket is None:
            return no_such_bucket(name)
        found = page(_live(bucket), query)
        document = {
            **_echo(name, query),
            **_content(found),
            "StartAfter": "" if going_on else query.after,
            "KeyCount": str(len(found.entries) + len(found.prefixes)),
            "NextContinuationToken": found.truncated,
        }

        def read(body: bytes) -> Any:
            told = reading.listing(body)
            return {**told, "NextContinuationToken": bool(told["NextContinuationToken"])}

        return Reply(200, document=document, read=read)

    def list_versions(self, name: str, query: Query) -> Outcomes:
        bucket = self.buckets.get(name)
        if bucket is None:
            return no_such_bucket(name)
        if query.within and not query.after:
            fields = {"ArgumentName": "version-id-marker", "ArgumentValue": query.within}
            return Reply(400, "InvalidArgument", fields=fields)
        beside: list[Version] = []
        if query.within:
            refused = self.bad_version_id(query.within, "version-id-marker")
            if refused is not None:
                return refused
            beside = self._older(bucket, query.after, query.within)
        every = (
            (key, (key, each)) for key in bucket.sorted_keys() for each in bucket.versions(key)
        )
        found = page(every, query, [(query.after, each) for each in beside])
        last = found.last if found.truncated else None
        document = {
            **_echo(name, query),
            "entries": [_version(bucket, *each) for each in found.entries],
            "prefixes": found.prefixes,
            "truncated": found.truncated,
            "KeyMarker": query.after,
            "VersionIdMarker": query.within,
            "NextKeyMarker": last[0] if last else None,
            "NextVersionIdMarker": last[1][1].id if last and last[1] else None,
            "NextUploadIdMarker": None,
        }
        return Reply(200, document=document, read=reading.listing)

    def _older(self, bucket: Bucket, key: str, version_id: str) -> list[Version]:
        """Versions of the key that came before that one, which may be gone."""
        versions = bucket.versions(key)
        present = bucket.find(key, version_id)
        if present is not None:
            return versions[versions.index(present) + 1 :]
        assert version_id != NULL, "nobody could say where it was"
        _, _, number = self.state.ids[version_id]
        return [each for each in versions if each.number < number]

    def list_uploads(self, name: str, query: Query) -> Outcomes:
        bucket = self.buckets.get(name)
        if bucket is None:
            return no_such_bucket(name)
        # Those of a key in the order of their ids; `_uploads` sees to it that it is that of time.
        ordered = sorted(bucket.uploads.values(), key=lambda each: (each.key.encode(), each.id))
        beside: list[Upload] = []
        if query.after and query.within:
            beside = [each for each in ordered if each.id > query.within]
        found = page(((each.key, each) for each in ordered), query, beside)
        last = found.last if found.truncated else None
        document = {
            **_echo(name, query, limit="MaxUploads", bucket="Bucket"),
            "entries": [("Upload", each.key, each.id, _class(each)) for each in found.entries],
            "prefixes": found.prefixes,
            "truncated": found.truncated,
            "KeyMarker": query.after,
            "next": (last[0], last[1].id if last[1] else None) if last else None,
        }
        return Reply(200, document=document, read=_uploads)


def _uploads(body: bytes) -> dict[str, Any]:
    """Next markers are compared only where there is a next page, the upload's own echo never:
    S3 drops it without a key marker.
    """
    told = reading.listing(body)
    times = [(entry[1].encode(), entry[-1]) for entry in told["entries"]]
    assert times == sorted(times), "uploads of a key by the time they were begun"
    told["entries"] = [entry[:-1] for entry in told["entries"]]
    key, upload_id = told.pop("NextKeyMarker"), told.pop("NextUploadIdMarker") or None
    for name in ("NextMarker", "NextVersionIdMarker", "NextContinuationToken"):
        assert told.pop(name) is None
    told["next"] = (key, upload_id) if told["truncated"] else None
    return told


def _class(upload: Upload) -> str:
    return upload.own.get(STORAGE_CLASS, "STANDARD")


def _live(bucket: Bucket) -> Iterable[tuple[str, tuple[str, Version]]]:
    for key in bucket.sorted_keys():
        version = bucket.live(key)
        if version is not None:
            yield key, (key, version)


def _echo(
    name: str, query: Query, *, limit: str = "MaxKeys", bucket: str = "Name"
) -> dict[str, Any]:
    every = ("Name", "Bucket", "MaxKeys", "MaxUploads", "KeyCount", "VersionIdMarker")
    others = ("Marker", "KeyMarker", "StartAfter")
    uploads = bucket == "Bucket"
    coming = () if uploads else ("NextMarker", "NextKeyMarker", "NextVersionIdMarker",
                                 "NextUploadIdMarker", "NextContinuationToken")  # fmt: skip
    return {
        **dict.fromkeys((*every, *others), ""),
        **dict.fromkeys(coming),
        bucket: name,
        limit: str(query.most),
        "Prefix": query.prefix,
        "Delimiter": query.delimiter,
    }


def _content(found: Page) -> dict[str, Any]:
    return {
        "entries": [_object(key, version) for key, version in found.entries],
        "prefixes": found.prefixes,
        "truncated": found.truncated,
    }


def _object(key: str, version: Version) -> tuple[str, ...]:
    size = str(len(version.body or b""))
    etag = f'"{version.etag}"'
    return (reading.CONTENT, key, etag, size, version.storage_class, version.modified_iso)


def _version(bucket: Bucket, key: str, version: Version) -> tuple[str, ...]:
    latest = str(version is bucket.current(key)).lower()
    if version.is_marker:
        return (reading.MARKER, key, version.id, latest, version.modified_iso)
    size = str(len(version.body or b""))
    etag = f'"{version.etag}"'
    told = (version.id, latest, etag, size, version.storage_class, version.modified_iso)
    return (reading.VERSION, key, *told)
