"""The operations of a small S3: what each answers, and what it changes.

Written from the API Reference and the User Guide of Amazon S3, by somebody who had not seen the
node's own decisions. Where those pages say nothing, from what S3 was observed to answer; where
that is not known either, every answer that a client could live with is an outcome.

Known and accepted differences of the node from S3 are outcomes too, marked DIFFERS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from tests.model_s3 import conditions, reading
from tests.model_s3.reply import Expected, Reply, one_of
from tests.model_s3.state import (
    ENABLED,
    NULL,
    REDIRECT,
    STORAGE_CLASS,
    SUSPENDED,
    Bucket,
    State,
    Version,
    md5,
)
from tests.ops.world import Answer

STORED_HEADERS = (
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)
CONTENT_TYPE = "binary/octet-stream"
META = "x-amz-meta-"
OLDEST_REGION = "us-east-1"
STATUSES = (ENABLED, SUSPENDED)

Outcomes = Reply | list[Reply]


def stored_headers(asked: Mapping[str, str]) -> dict[str, str]:
    """What of a request's headers comes back with every GET."""
    kept = {n: v for n, v in asked.items() if n in STORED_HEADERS or n.startswith(META)}
    return {"content-type": CONTENT_TYPE} | kept


def own_headers(asked: Mapping[str, str]) -> dict[str, str]:
    """What belongs to an object itself: a copy has it from its request only."""
    return {name: asked[name] for name in (STORAGE_CLASS, REDIRECT) if name in asked}


def parse_tags(header: str | None) -> dict[str, str]:
    pairs = [pair.split("=") for pair in (header or "").split("&") if pair]
    return {pair[0]: pair[1] for pair in pairs}


class Buckets:
    """Buckets, and what finds things in them."""

    def __init__(self, region: str) -> None:
        self.state = State(region)

    @property
    def buckets(self) -> dict[str, Bucket]:
        return self.state.buckets

    def create_bucket(self, name: str) -> Outcomes:
        if name in self.buckets and self.state.region == OLDEST_REGION:
            return Reply(200)  # as it was before there were other regions
        if name in self.buckets:
            return Reply(409, "BucketAlreadyOwnedByYou", fields={"BucketName": name})

        def effect(answer: Answer) -> None:
            self.buckets[name] = Bucket(name)

        return Reply(200, headers={"location": f"/{name}"}, effect=effect)

    def delete_bucket(self, name: str) -> Outcomes:
        """What is in the way are versions and delete markers; an open upload is not."""
        bucket = self.buckets.get(name)
        if bucket is None:
            return no_such_bucket(name)
        if bucket.keys:
            return Reply(409, "BucketNotEmpty", fields={"BucketName": name})

        def effect(answer: Answer) -> None:
            del self.buckets[name]

        return Reply(204, body=b"", effect=effect)

    def head_bucket(self, name: str) -> Outcomes:
        return Reply(200 if name in self.buckets else 404)

    def list_buckets(self) -> Outcomes:
        return Reply(200, document=sorted(self.buckets), read=reading.buckets)

    def put_versioning(self, name: str, status: str) -> Outcomes:
        bucket = self.buckets.get(name)
        malformed = Reply(400, "MalformedXML")
        if bucket is None:
            return no_such_bucket(name)
        if status not in STATUSES:
            return malformed
        known = bucket

        def effect(answer: Answer) -> None:
            known.versioning = status

        return Reply(200, body=b"", effect=effect)

    def get_versioning(self, name: str) -> Outcomes:
        """No Status at all when it never was set."""
        bucket = self.buckets.get(name)
        if bucket is None:
            return no_such_bucket(name)
        if bucket.versioning is None:
            return Reply(200, document=(None,), read=lambda body: (reading.versioning(body),))
        return Reply(200, document=bucket.versioning, read=reading.versioning)

    def put_bucket_tags(self, name: str, tags: Mapping[str, str] | None) -> Outcomes:
        """None: DeleteBucketTagging."""
        bucket = self.buckets.get(name)
        if bucket is None:
            return no_such_bucket(name)
        known = bucket

        def effect(answer: Answer) -> None:
            known.tags = dict(tags) if tags else None

        return Reply(204, body=b"", effect=effect)

    def get_bucket_tags(self, name: str) -> Outcomes:
        bucket = self.buckets.get(name)
        if bucket is None:
            return no_such_bucket(name)
        if bucket.tags is None:
            return Reply(404, "NoSuchTagSet", fields={"BucketName": name})
        return Reply(200, document=bucket.tags, read=reading.tags)

    def lookup(self, bucket: Bucket, key: str, version_id: str | None) -> Version | list[Reply]:
        """The version that a read is about, or why there is none."""
        if version_id is None:
            current = bucket.current(key)
            if current is None:
                return [Reply(404, "NoSuchKey", fields={"Key": key})]
            if current.is_marker:
                headers: dict[str, Expected] = {
                    "x-amz-delete-marker": "true",
                    "x-amz-version-id": current.id,
                }
                return [Reply(404, "NoSuchKey", headers, {"Key": key})]
            return current
        refused = self.bad_version_id(version_id)
        found = bucket.find(key, version_id)
        if found is not None:
            return found
        missing = Reply(404, "NoSuchVersion", fields={"Key": key, "VersionId": version_id})
        if refused is None:
            return [missing]
        return [refused, missing] if self.maybe_an_id(version_id) else [refused]

    def bad_version_id(self, version_id: str | None, name: str = "versionId") -> Reply | None:
        """Of ids that the node never gave."""
        if version_id in (None, NULL) or version_id in self.state.ids:
            return None
        message = "Invalid version id specified"
        if not version_id:
            message = "Version id cannot be the empty string"
        fields = {"Message": message, "ArgumentName": name, "ArgumentValue": version_id or ""}
        return Reply(400, "InvalidArgument", fields=fields)

    def maybe_an_id(self, version_id: str) -> bool:
        """A forged one that looks right may be taken for one that is gone."""
        return any(len(known) == len(version_id) for known in self.state.ids)


def no_such_bucket(name: str, unwritable: Reply | None = None) -> list[Reply]:
    """Told before whatever else is wrong with a request; what is `unwritable` is not implemented
    wherever it is asked for.
    """
    missing = Reply(404, "NoSuchBucket", fields={"BucketName": name})
    return [missing] if unwritable is None else [missing, unwritable]


def on_marker(method: str, marker: Version) -> Reply:
    headers: dict[str, Expected] = {
        "x-amz-delete-marker": "true",
        "x-amz-version-id": marker.id,
        "allow": "DELETE",
    }
    fields = {"Method": method, "ResourceType": "DeleteMarker"}
    return Reply(405, "MethodNotAllowed", headers, fields)


class Objects(Buckets):
    """Objects: put, get, delete, copy, tag."""

    def write(
        self, bucket: Bucket, key: str, version: Version, *, told: bool
    ) -> tuple[Mapping[str, Expected], Callable[[Answer], None]]:
        """(headers, effect) of a version that comes to be. Of a suspended bucket PutObject was
        observed to tell no version id; `told` where that was not observed.
        """
        if bucket.versioning == ENABLED:

            def add(answer: Answer) -> None:
                name = answer.headers.get("x-amz-version-id")
                given, number = self.state.given(bucket.name, key, name)
                bucket.add(key, replace(version, id=given, number=number))

            return {"x-amz-version-id": lambda value: value is not None}, add

        def put(answer: Answer) -> None:
            bucket.add(key, replace(version, id=NULL, number=self.state.number()))

        known = None if bucket.versioning is None or not told else one_of(None, NULL)
        return {"x-amz-version-id": known}, put

    def put_object(self, name: str, key: str, body: bytes, asked: Mapping[str, str]) -> Outcomes:
        bucket = self.buckets.get(name)
        if bucket is None:
            return no_such_bucket(name, conditions.unwritable(asked))
        refused = conditions.write(key, bucket.live(key), asked)
        if refused is not None:
            return refused
        tags = parse_tags(asked.get("x-amz-tagging"))
        own = own_headers(asked)
        version = Version("", 0, body, md5(body), stored_headers(asked), tags, own)
        headers, effect = self.write(bucket, key, version, told=False)
        return Reply(200, headers={"etag": f'"{version.etag}"', **headers}, effect=effect)

    # Reads.

    def get_object(
        self,
        name: str,
        key: str,
        version_id: str | None,
        asked: Mapping[str, str],
        part_number: int | None = None,
        *,
        head: bool = False,
    ) -> Outcomes:
        bucket = self.buckets.get(name)
        if bucket is None:
            return no_such_bucket(name)
        found = self.lookup(bucket, key, version_id)
        if isinstance(found, list):
            return found
        if found.is_marker:
            reply = on_marker("HEAD" if head else "GET", found)
            return replace(reply, headers={**reply.headers, "last-modified": found.said_modified})
        failed = conditions.read(found, asked) if asked else None
        if failed in ("If-Match", "If-Unmodified-Since"):
            return conditions.failed(failed)
        if failed:
            return Reply(304, headers={"etag": f'"{found.etag}"'}, body=b"")
        return self._content(bucket, found, asked.get("range"), part_number)

    def _content(
        self, bucket: Bucket, version: Version, wanted: str | None, part_number: int | None
    ) -> Outcomes:
        body = version.body
        assert body is not None
        headers: dict[str, Expected] = {
            "etag": f'"{version.etag}"',
            "last-modified": version.said_modified,
            "accept-ranges": "bytes",
            "content-length": str(len(body)),
            "content-range": None,
            "x-amz-version-id": version.id if bucket.shown else None,
            "x-amz-delete-marker": None,
            "x-amz-tagging-count": str(len(version.tags)) if version.tags else None,
            STORAGE_CLASS: None if version.storage_class == "STANDARD" else version.storage_class,
            REDIRECT: version.own.get(REDIRECT),
            "x-amz-mp-parts-count": None,
            **{f"{META}{n}": None for n in ("a", "b")},
            **dict.fromkeys(STORED_HEADERS),
            **version.headers,
        }
        if part_number is not None:
            return _part(version, headers, part_number)
        if wanted is None:
            return Reply(200, headers=headers, body=body)
        return _range(body, headers, wanted)

    def get_attributes(self, name: str, key: str, version_id: str | None) -> Outcomes:
        """GetObjectAttributes; of parts their number only: they have no checksums of their own
        kind here.
        """
        bucket = self.buckets.get(name)
        if bucket is None:
            return no_such_bucket(name)
        found = self.lookup(bucket, key, version_id)
        if isinstance(found, list):
            return found
        if found.is_marker:
            return on_marker("GET", found)
        headers: dict[str, Expected] = {
            "last-modified": found.said_modified,
            "x-amz-version-id": found.id if bucket.shown else None,
        }
        parts = str(len(found.part_sizes)) if found.part_sizes else None
        told = (found.etag, str(len(found.body or b"")), found.storage_class, parts)
        return Reply(200, headers=headers, document=told, read=reading.attributes)

    # Deletes.

    def delete_object(
        self, name: str, key: str, version_id: str | None, asked: Mapping[str, str]
    ) -> Outcomes:
        bucket = self.buckets.get(name)
        if bucket is None:
            return no_such_bucket(name)
        wanted = asked.get("if-match")
        if version_id is not None:
            return self._delete_version(bucket, key, version_id, wanted)
        refused = conditions.delete(key, bucket.current(key), wanted)
        if refused is not None:
            return refused
        return self._delete_simply(bucket, key)

    def _delete_simply(self, bucket: Bucket, key: str) -> Reply:
        if bucket.versioning is None:

            def effect(answer: Answer) -> None:
                if bucket.find(key, NULL):
                    bucket.remove(key, NULL)

            untold: dict[str, Expected] = {"x-amz-version-id": None, "x-amz-delete-marker": None}
            return Reply(204, headers=untold, body=b"", effect=effect)
        marker = Version("", 0)
        headers, add = self.write(bucket, key, marker, told=True)
        if bucket.versioning == SUSPENDED:
            headers = {"x-amz-version-id": NULL}
        return Reply(204, headers={**headers, "x-amz-delete-marker": "true"}, body=b"", effect=add)

    def _delete_version(
        self, bucket: Bucket, key: str, version_id: str, wanted: str | None
    ) -> Outcomes:
        """A version that is not there was deleted well enough."""
        refused = self.bad_version_id(version_id)
        if refused is not None and not self.maybe_an_id(version_id):
            return refused
        found = bucket.find(key, version_id)

        def effect(answer: Answer) -> None:
            if found is not None:
                bucket.remove(key, version_id)

        headers: dict[str, Expected] = {
            "x-amz-version-id": version_id,
            "x-amz-delete-marker": "true" if found is not None and found.is_marker else None,
        }
        if not bucket.shown:
            headers = {"x-amz-version-id": one_of(None, NULL)}
        # DIFFERS: S3 was observed not to implement conditions beside a version id.
        done = conditions.delete(key, found, wanted) or Reply(
            204, headers=headers, body=b"", effect=effect
        )
        return done if refused is None else [refused, done]

    def delete_objects(
        self,
        name: str,
        targets: Sequence[tuple[str, str | None, str | None]],
        learn: Callable[[str], str | None] | None = None,
    ) -> Outcomes:
        """`targets` are (key, version id, entity tag); no key twice but with several versions.

        With `learn` the answer is quiet: what ids new delete markers have, `learn` finds out.
        """
        bucket = self.buckets.get(name)
        if bucket is None:
            return no_such_bucket(name)
        known = bucket
        singles = [self._delete_one(known, *target) for target in targets]

        def documented(body: bytes) -> object:
            """Markers' new ids are the node's."""
            return [
                (*each[:4], None if _fresh(known, each) else each[4], *each[5:])
                for each in reading.deleted(body)
            ]

        def effect(answer: Answer) -> None:
            made = {e[1]: e[4] for e in reading.deleted(answer.body) if _fresh(known, e)}
            for (key, _, _), (entry, change) in zip(targets, singles, strict=True):
                if learn is not None and _fresh(known, (*entry[:4], None, None)):
                    made[key] = learn(key)
                change(made.get(key))

        told = [entry for entry, _ in singles if learn is None or entry[0] == "Error"]
        return Reply(200, document=sorted(told, key=repr), read=documented, effect=effect)

    def _delete_one(
        self, bucket: Bucket, key: str, version_id: str | None, wanted: str | None
    ) -> tuple[tuple[str | None, ...], Callable[[str | None], None]]:
        def unchanged(made: str | None) -> None:
            """Refused."""

        if self.bad_version_id(version_id):
            code = "NoSuchVersion"
            return ("Error", key, version_id, None, None, code), unchanged
        outcome = self.delete_object(
            bucket.name, key, version_id, {} if wanted is None else {"if-match": wanted}
        )
        assert isinstance(outcome, Reply)
        if outcome.code is not None:
            return ("Error", key, version_id, None, None, outcome.code), unchanged
        if version_id is not None:
            marker = "true" if outcome.headers.get("x-amz-delete-marker") else None
            entry = ("Deleted", key, version_id, marker, version_id if marker else None, None)
            return entry, lambda made: outcome.effect(Answer(204, {}, b""))
        marked = bucket.versioning is not None
        null_id = NULL if bucket.versioning == SUSPENDED else None
        entry = ("Deleted", key, None, "true" if marked else None, null_id, None)

        def change(made: str | None) -> None:
            outcome.effect(Answer(204, {"x-amz-version-id": made or ""}, b""))

        return entry, change

    # Copies.

    def copy_object(
        self,
        name: str,
        key: str,
        source: tuple[str, str, str | None],
        asked: Mapping[str, str],
    ) -> Outcomes:
        bucket = self.buckets.get(name)
        found = self.copy_source(source, asked)
        if bucket is None:
            return no_such_bucket(name, conditions.unwritable(asked))
        refused = conditions.write(key, bucket.live(key), asked)
        if refused is not None:  # which of the two is told first, no page says
            return [refused, *found] if isinstance(found, list) else refused
        if isinstance(found, list):
            return found
        body = found.body
        assert body is not None
        replaced = asked.get("x-amz-metadata-directive") == "REPLACE"
        retagged = asked.get("x-amz-tagging-directive") == "REPLACE"
        version = Version(
            "",
            0,
            body,
            md5(body),
            stored_headers(asked) if replaced else found.headers,
            parse_tags(asked.get("x-amz-tagging")) if retagged else found.tags,
            own_headers(asked),
        )
        headers, effect = self.write(bucket, key, version, told=True)
        shown = self.buckets[source[0]].shown
        done = Reply(
            200,
            headers={**headers, "x-amz-copy-source-version-id": found.id if shown else None},
            document=f'"{version.etag}"',
            read=reading.text("ETag"),
            effect=effect,
        )
        if source[:2] != (name, key) or replaced or own_headers(asked):
            return done
        illegal = Reply(400, "InvalidRequest")
        if source[2] is None:
            return illegal
        # "Restoring previous versions": a copy of one is how it is done. Of the current version
        # by its id nothing is said.
        return done if found is not bucket.current(key) else [illegal, done]

    def copy_source(
        self, source: tuple[str, str, str | None], asked: Mapping[str, str]
    ) -> Version | list[Reply]:
        name, key, version_id = source
        bucket = self.buckets.get(name)
        refused = self.bad_version_id(version_id, "x-amz-copy-source")
        if bucket is None:
            return no_such_bucket(name)
        if refused is not None and version_id is not None and not self.maybe_an_id(version_id):
            return [refused]
        found = self.lookup(bucket, key, version_id)
        if isinstance(found, list):
            return found if refused is None else [refused, *found]
        if found.is_marker:
            return [Reply(400, "InvalidRequest")]
        prefix = "x-amz-copy-source-"
        wanted = {n.removeprefix(prefix): v for n, v in asked.items() if n.startswith(prefix)}
        failed = conditions.read(found, wanted) if wanted else None
        return [conditions.failed(f"{prefix}{failed}")] if failed else found

    # Tags.

    def put_tags(
        self, name: str, key: str, version_id: str | None, tags: Mapping[str, str]
    ) -> Outcomes:
        def change(version: Version) -> None:
            version.tags = dict(tags)

        return self._tagging(name, key, version_id, "PUT", 200, change)

    def delete_tags(self, name: str, key: str, version_id: str | None) -> Outcomes:
        def change(version: Version) -> None:
            version.tags = {}

        return self._tagging(name, key, version_id, "DELETE", 204, change)

    def get_tags(self, name: str, key: str, version_id: str | None) -> Outcomes:
        return self._tagging(name, key, version_id, "GET", 200, None)

    def _tagging(
        self,
        name: str,
        key: str,
        version_id: str | None,
        method: str,
        status: int,
        change: Callable[[Version], None] | None,
    ) -> Outcomes:
        """Of a delete marker no page says what its tags are. Observed of its ACL, which is kept
        beside an object in the same way: a read without an id finds no key, all else is not
        allowed.
        """
        bucket = self.buckets.get(name)
        if bucket is None:
            return no_such_bucket(name)
        current = bucket.current(key)
        if version_id is None and current is not None and current.is_marker:
            return [Reply(404, "NoSuchKey"), Reply(405, "MethodNotAllowed")]
        found = self.lookup(bucket, key, version_id)
        if isinstance(found, list):
            return found
        if found.is_marker:
            return Reply(405, "MethodNotAllowed", fields={"ResourceType": "DeleteMarker"})
        version = found
        headers: dict[str, Expected] = {"x-amz-version-id": version.id if bucket.shown else None}
        if change is None:
            return Reply(status, headers=headers, document=dict(version.tags), read=reading.tags)
        apply = change
        return Reply(status, headers=headers, body=b"", effect=lambda answer: apply(version))


def _fresh(bucket: Bucket, entry: Iterable[str | None]) -> bool:
    """The entry of a delete marker that was just made in a versioned bucket."""
    kind, _, version_id, marker, *_ = entry
    simple = kind == "Deleted" and version_id is None and marker is not None
    return simple and bucket.versioning == ENABLED


def _range(body: bytes, headers: dict[str, Expected], wanted: str) -> Outcomes:
    """ "Range" of GetObject: one range; what is not one is ignored."""
    size = len(body)
    first, dash, last = wanted.removeprefix("bytes=").partition("-")
    well = (
        wanted.startswith("bytes=")
        and dash
        and all(p == "" or p.isdecimal() for p in (first, last))
    )
    if not well or (first == last == "") or (first and last and int(last) < int(first)):
        return Reply(200, headers=headers, body=body)
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= size or (not first and int(last) == 0):
        fields = {"RangeRequested": wanted, "ActualObjectSize": str(size)}
        return Reply(416, "InvalidRange", fields=fields)
    return _slice(body, headers, start, stop)


def _slice(body: bytes, headers: dict[str, Expected], start: int, stop: int) -> Reply:
    some = {
        "content-length": str(stop - start),
        "content-range": f"bytes {start}-{stop - 1}/{len(body)}",
    }
    return Reply(206, headers={**headers, **some}, body=body[start:stop])


def _part(version: Version, headers: dict[str, Expected], number: int) -> Outcomes:
    """Parts have the numbers they were uploaded with; what is no upload is its own part 1."""
    body = version.body
    assert body is not None
    sizes = version.part_sizes or {1: len(body)}
    if version.part_sizes:
        headers = {**headers, "x-amz-mp-parts-count": str(len(sizes))}
    if number not in sizes:
        fields = {"ActualPartCount": str(len(sizes)), "PartNumberRequested": str(number)}
        return Reply(416, "InvalidPartNumber", fields=fields)
    start = sum(size for other, size in sizes.items() if other < number)
    stop = start + sizes[number]
    if start == stop:  # nothing a Content-Range could say
        return [Reply(206, body=b""), Reply(200, body=b"")]
    return _slice(body, headers, start, stop)
