"""The state machine: random requests to a node and to the small S3, every answer compared.

What a rule draws is small and names nothing that is there: "the second version of this key", "an
id of another key". What that is, the model says when the rule runs; so examples shrink well.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from datetime import timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.model_s3.driver import PART_BYTES_MIN, Driver, InMemory
from tests.model_s3.lists import Lists, Query
from tests.model_s3.model import Outcomes
from tests.model_s3.reply import settle
from tests.model_s3.state import ENABLED, NULL, SUSPENDED, Bucket, Version
from tests.ops.world import Answer


def some_of(values: Mapping[str, Sequence[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Dictionaries with some of the names. One draw: an index into all of them."""
    ways = itertools.product(*([None, *some] for some in values.values()))
    every = [{n: v for n, v in zip(values, way, strict=True) if v is not None} for way in ways]
    return st.sampled_from(every)


MAIN, OTHER, MISSING = "alpha", "beta", "missing"
KEYS = ("a", "a/b", "a/b/c", "a/c", "a0", "b", "é/ü +%&", "z" * 600, "z" * 600 + "/y")
# A bucket that is there mostly, and a key of it that is there mostly.
NAMES = st.sampled_from(("there",) * 20 + (OTHER,) * 4 + (MISSING,))
PLACES = st.tuples(NAMES, st.booleans() | st.just(True), st.integers(0, len(KEYS) - 1))
SIZES = st.sampled_from((0, 1, 10, 300, 5000))
NUMBERS = st.integers(0, 7)
RARELY = 6
"""One step in so many may be one that makes or deletes a bucket."""

# Which version: of the key's, of those gone, of another key; ids that never were.
VERSIONS = st.tuples(
    st.sampled_from(
        ("none",) * 8
        + ("some",) * 8
        + ("gone", "gone", "null", "null", "foreign", "forged", "bad", "empty")
    ),
    NUMBERS,
)
DELETE_ETAGS = st.one_of(st.none(), st.none(), st.sampled_from(("right", "wrong", "*", "unquoted")))
ETAGS = ("right", "wrong", "*", "unquoted", "several")
WRITE_CONDITIONS = st.sampled_from(
    (
        *({},) * 4,
        *({"if-none-match": value} for value in ("*", "*", "right")),
        *({"if-match": value} for value in ("right", "right", "wrong", "*")),
    )
)
READ_CONDITIONS = some_of(
    {
        "if-match": ETAGS,
        "if-none-match": ETAGS,
        "if-modified-since": (-1, 0, 1),
        "if-unmodified-since": (-1, 0, 1),
    }
)
SOMETIMES_CONDITIONS = st.one_of(st.just({}), READ_CONDITIONS)
METADATA = some_of(
    {
        "content-type": ("text/plain; charset=utf-8", "application/dicom"),
        "cache-control": ("max-age=0, no-store",),
        "content-disposition": ('attachment; filename="a b"',),
        "content-encoding": ("gzip",),
        "x-amz-meta-a": ("1", "two words"),
        "x-amz-meta-b": ("3",),
    }
)
OWN = some_of(
    {
        "x-amz-storage-class": ("STANDARD", "STANDARD_IA", "GLACIER_IR"),
        "x-amz-website-redirect-location": ("/elsewhere",),
    }
)
TAGS = some_of({"k": ("", "v"), "l": ("v", "w"), "m": ("",)})
RANGES = st.sampled_from(
    (
        *("bytes=0-", "bytes=0-0", "bytes=1-3", "bytes=4-", "bytes=-4", "bytes=-1000000"),
        *("bytes=299-400", "bytes=9999-", "bytes=-0", "bytes=3-1", "bytes=0-1,3-4"),
        *("bytes=-", "bytes=a-b", "x"),
    )
)
LIMITS = st.sampled_from((None, None, 0, 1, 2, 3, 5, 1000))
PREFIXES = st.sampled_from(("", "", "", "a", "a/", "a/b", "z", "é", "é/", "b/", "none"))
DELIMITERS = st.sampled_from(("", "", "/", "/", "b", "z/", "ü "))
MARKERS = st.sampled_from(("", "", "", *KEYS, "a/", "a/bb", "z" * 600 + "/", "zz", "0"))
QUERIES = st.builds(Query, prefix=PREFIXES, delimiter=DELIMITERS, after=MARKERS, limit=LIMITS)
Place = tuple[str, bool, int]
CLOCK_MS = st.sampled_from((0, 0, 1, 400, 2500, 60_000, -1500))


def content(number: int, size: int) -> bytes:
    return (hashlib.sha256(number.to_bytes(4, "big")).digest() * (size // 32 + 1))[:size]


class Machine(RuleBasedStateMachine):
    """`make` makes the node; `counted` counts the steps of all runs."""

    counted = 0

    def __init__(self) -> None:
        super().__init__()
        self.node = self.make()
        self.s3 = Lists(self.node.region, PART_BYTES_MIN)
        self.contents = 0
        self.steps = 0
        self.broken = False

    def make(self) -> Driver:
        return InMemory()

    def teardown(self) -> None:
        try:
            if not self.broken and self.node.lives:
                self.node.restart()
            if not self.broken:
                self.look_at_everything()
        finally:
            self.node.close()

    # How requests are made and answers compared.

    def tell(
        self,
        outcomes: Outcomes,
        method: str,
        path: str,
        query: Mapping[str, str] | str = "",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        text = query if isinstance(query, str) else urlencode(query, quote_via=quote)
        answer = self.node.ask(method, path, text, body, headers or {})
        request = f"{method} {path}?{text} {dict(headers or {})} {body[:300]!r}"
        self.broken = True
        settle(outcomes, answer, request, head=method == "HEAD")
        self.broken = False
        return answer

    def wrote(self, name: str) -> None:
        """After what may have changed versions: their dates are learnt, the bucket is listed."""
        bucket = self.s3.buckets.get(name)
        if bucket is None:
            return
        for key, versions in bucket.keys.items():
            for version in versions:
                if version.modified is None:
                    self.head(bucket, key, version)
        self.list_versions(name, Query())
        self.node.check()

    def head(self, bucket: Bucket, key: str, version: Version) -> None:
        query = {"versionId": version.id}
        outcomes = self.s3.get_object(bucket.name, key, version.id, {}, head=True)
        self.tell(outcomes, "HEAD", f"/{bucket.name}/{key}", query)
        assert version.modified is not None
        if version.is_marker:
            return
        off = abs(1000 * version.modified.timestamp() - self.node.now_ms)
        assert off < 10_000 or bucket.current(key) is not version, "the date of a new version"

    def list_versions(self, name: str, query: Query) -> Answer:
        told = {
            "versions": "",
            "encoding-type": "url",
            **listing_query(query, "key-marker", "max-keys"),
        }
        if query.within:
            told["version-id-marker"] = query.within
        return self.tell(self.s3.list_versions(name, query), "GET", f"/{name}", told)

    def look_at_everything(self) -> None:
        self.tell(self.s3.list_buckets(), "GET", "/")
        for bucket in self.s3.buckets.values():
            for key, versions in bucket.keys.items():
                for version in versions:
                    outcomes = self.s3.get_object(bucket.name, key, version.id, {})
                    query = {"versionId": version.id}
                    self.tell(outcomes, "GET", f"/{bucket.name}/{key}", query)
            self.list_versions(bucket.name, Query())
            self.tell(self.s3.get_bucket_tags(bucket.name), "GET", f"/{bucket.name}", "tagging")

    # What the words of the strategies mean now.

    def name(self, drawn: str) -> str:
        if drawn == MISSING or drawn in self.s3.buckets:
            return drawn
        return next(iter(self.s3.buckets), MAIN)

    def key(self, name: str, there: bool, number: int) -> str:
        bucket = self.s3.buckets.get(name)
        if not there or bucket is None or not bucket.keys:
            return KEYS[number]
        known = list(bucket.keys)
        return known[number % len(known)]

    def place(self, drawn: Place) -> tuple[str, str]:
        drawn_name, there, number = drawn
        name = self.name(drawn_name)
        return name, self.key(name, there, number)

    def version_id(self, name: str, key: str, drawn: tuple[str, int]) -> str | None:
        kind, number = drawn
        bucket = self.s3.buckets.get(name)
        ids = self.s3.state.ids
        own = [each for each, (b, k, _) in ids.items() if (b, k) == (name, key)]
        others = [each for each, (b, k, _) in ids.items() if (b, k) != (name, key)]
        match kind:
            case "some" if bucket and (versions := bucket.versions(key)):
                return versions[number % len(versions)].id
            case "gone" if own:
                return own[number % len(own)]
            case "foreign" if others := [
                i for i, (b, k, _) in ids.items() if (b, k) != (name, key)
            ]:
                return others[number % len(others)]
            case "forged" if ids:
                known = list(ids)[number % len(ids)]
                return known[:-1] + ("A" if known[-1] != "A" else "B")
            case "null":
                return NULL
            case "bad":
                return "nonsense"
            case "empty":
                return ""
        return None

    def found(self, name: str, key: str, version_id: str | None) -> Version | None:
        bucket = self.s3.buckets.get(name)
        if bucket is None:
            return None
        return bucket.current(key) if version_id is None else bucket.find(key, version_id)

    def conditions(self, drawn: Mapping[str, Any], found: Version | None) -> dict[str, str]:
        """Entity tags of the version found, dates so many seconds from its own."""
        asked = {}
        etag = found.etag if found and found.etag else "0" * 32
        tags = {
            "right": f'"{etag}"',
            "wrong": '"' + "1" * 32 + '"',
            "*": "*",
            "unquoted": etag,
            "several": f'"{"2" * 32}", "{etag}"',
        }
        for name, value in drawn.items():
            if isinstance(value, str):
                asked[name] = tags[value]
            elif found is not None and found.modified is not None:
                date = found.modified + timedelta(seconds=value)
                # A date that is still to come is no date to S3.
                if 1000 * date.timestamp() < self.node.now_ms:
                    asked[name] = format_datetime(date, usegmt=True)
        return asked

    def source(
        self, name: str, key: str, drawn: tuple[str, int], conditions: Mapping[str, Any]
    ) -> tuple[tuple[str, str, str | None], dict[str, str]]:
        """A copy's source, and the headers that name it."""
        version_id = self.version_id(name, key, drawn)
        text = quote(f"{name}/{key}")
        if version_id is not None:
            text += f"?versionId={quote(version_id, safe='')}"
        asked = self.conditions(conditions, self.found(name, key, version_id))
        named = {f"x-amz-copy-source-{header}": value for header, value in asked.items()}
        return (name, key, version_id), {"x-amz-copy-source": text, **named}

    def fresh(self, size: int) -> bytes:
        self.contents += 1
        return content(self.contents, size)

    # Buckets.

    @initialize(
        status=st.sampled_from((None, ENABLED, ENABLED, SUSPENDED)),
        keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=5),
        before=st.booleans(),
    )
    def begin(self, status: str | None, keys: Sequence[str], before: bool) -> None:
        """A bucket with some objects, of which some may be older than its versioning."""
        self.create(MAIN)
        if before:
            self.put_some(keys[:2])
        if status:
            self.version(MAIN, status)
        self.put_some(keys)

    def put_some(self, keys: Sequence[str]) -> None:
        for number, key in enumerate(keys):
            body = self.fresh(number * 70)
            outcomes = self.s3.put_object(MAIN, key, body, {})
            self.tell(outcomes, "PUT", f"/{MAIN}/{key}", body=body)
        self.wrote(MAIN)

    @precondition(lambda self: self.steps % RARELY == 0)
    @rule(name=st.sampled_from((OTHER, OTHER, MAIN)))
    def create(self, name: str) -> None:
        self.step()
        self.tell(self.s3.create_bucket(name), "PUT", f"/{name}")

    @precondition(lambda self: self.steps % RARELY == 1)
    @rule(name=st.sampled_from((OTHER, MAIN, MISSING)))
    def delete_bucket(self, name: str) -> None:
        self.step()
        self.tell(self.s3.delete_bucket(name), "DELETE", f"/{name}")
        self.tell(self.s3.head_bucket(name), "HEAD", f"/{name}")
        self.tell(self.s3.list_buckets(), "GET", "/")
        self.node.check()
        if not self.s3.buckets:
            self.tell(self.s3.create_bucket(MAIN), "PUT", f"/{MAIN}")

    @rule(drawn_name=NAMES, status=st.sampled_from((ENABLED, ENABLED, SUSPENDED, "enabled", "")))
    def version(self, drawn_name: str, status: str) -> None:
        self.step()
        name = self.name(drawn_name)
        body = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>"
        outcomes = self.s3.put_versioning(name, status)
        self.tell(outcomes, "PUT", f"/{name}", "versioning", body.encode())
        self.tell(self.s3.get_versioning(name), "GET", f"/{name}", "versioning")

    # Objects.

    @rule(
        place=PLACES, size=SIZES, meta=METADATA, tags=TAGS, own=OWN,
        conditions=WRITE_CONDITIONS, clock=CLOCK_MS,
    )  # fmt: skip
    def put(
        self,
        place: Place,
        size: int,
        meta: Mapping[str, str],
        tags: Mapping[str, str],
        own: Mapping[str, str],
        conditions: Mapping[str, str],
        clock: int,
    ) -> None:
        self.step(clock)
        name, key = self.place(place)
        asked = {**meta, **own, **self.tagged(tags)}
        asked |= self.conditions(conditions, self.found(name, key, None))
        body = self.fresh(size)
        outcomes = self.s3.put_object(name, key, body, asked)
        self.tell(outcomes, "PUT", f"/{name}/{key}", body=body, headers=asked)
        self.wrote(name)

    @rule(place=PLACES, deeds=st.lists(st.booleans(), min_size=2, max_size=4), clock=CLOCK_MS)
    def write_over(self, place: Place, deeds: Sequence[bool], clock: int) -> None:
        """Some versions of one key, and delete markers (False) between them."""
        self.step(clock)
        name, key = self.place(place)
        path = f"/{name}/{key}"
        for number, written in enumerate(deeds):
            if written:
                body = self.fresh(number * 100)
                self.tell(self.s3.put_object(name, key, body, {}), "PUT", path, body=body)
            else:
                self.tell(self.s3.delete_object(name, key, None, {}), "DELETE", path)
        self.wrote(name)

    def tagged(self, tags: Mapping[str, str]) -> dict[str, str]:
        return {"x-amz-tagging": urlencode(tags)} if tags else {}

    @rule(
        place=PLACES, version=VERSIONS, conditions=SOMETIMES_CONDITIONS,
        part=st.one_of(st.none(), RANGES, st.sampled_from((1, 1, 2, 3))), head=st.booleans(),
    )  # fmt: skip
    def get(
        self,
        place: Place,
        version: tuple[str, int],
        conditions: Mapping[str, Any],
        part: str | int | None,
        head: bool,
    ) -> None:
        self.step()
        name, key = self.place(place)
        version_id = self.version_id(name, key, version)
        asked = self.conditions(conditions, self.found(name, key, version_id))
        query = {} if version_id is None else {"versionId": version_id}
        number = part if isinstance(part, int) else None
        if isinstance(part, str):
            asked["range"] = part
        if number is not None:
            query["partNumber"] = str(number)
        outcomes = self.s3.get_object(name, key, version_id, asked, number, head=head)
        method = "HEAD" if head else "GET"
        self.tell(outcomes, method, f"/{name}/{key}", query, headers=asked)

    @rule(place=PLACES, version=VERSIONS)
    def attributes(self, place: Place, version: tuple[str, int]) -> None:
        self.step()
        name, key = self.place(place)
        version_id = self.version_id(name, key, version)
        query = {"attributes": ""} | ({} if version_id is None else {"versionId": version_id})
        headers = {"x-amz-object-attributes": "ETag,ObjectSize,StorageClass,ObjectParts"}
        outcomes = self.s3.get_attributes(name, key, version_id)
        self.tell(outcomes, "GET", f"/{name}/{key}", query, headers=headers)

    @rule(
        place=PLACES, version=VERSIONS, clock=CLOCK_MS,
        match=DELETE_ETAGS,
    )  # fmt: skip
    def delete(self, place: Place, version: tuple[str, int], match: str | None, clock: int) -> None:
        self.step(clock)
        name, key = self.place(place)
        version_id = self.version_id(name, key, version)
        drawn = {"if-match": match} if match else {}
        asked = self.conditions(drawn, self.found(name, key, version_id))
        query = {} if version_id is None else {"versionId": version_id}
        outcomes = self.s3.delete_object(name, key, version_id, asked)
        self.tell(outcomes, "DELETE", f"/{name}/{key}", query, headers=asked)
        self.wrote(name)

    @rule(
        drawn_name=NAMES, quiet=st.booleans(),
        drawn=st.lists(
            st.tuples(PLACES, VERSIONS, DELETE_ETAGS),
            min_size=1, max_size=5,
        ),
    )  # fmt: skip
    def delete_several(
        self,
        drawn_name: str,
        drawn: Sequence[tuple[Place, tuple[str, int], str | None]],
        quiet: bool,
    ) -> None:
        """A key that is there twice must be so with different versions, else order decides."""
        self.step()
        name = self.name(drawn_name)
        targets: dict[tuple[str, str | None], str | None] = {}
        for (_, there, number), version, match in drawn:
            key = self.key(name, there, number)
            version_id = self.version_id(name, key, version) or None
            if version[0] == "forged":
                continue  # no such version, or deleted well enough
            versions = [known for k, known in targets if k == key]
            if versions and (version_id is None or None in versions or match):
                continue
            found = self.found(name, key, version_id)
            asked = self.conditions({"if-match": match} if match else {}, found)
            targets[key, version_id] = asked.get("if-match")
        listed = [(key, version_id, etag) for (key, version_id), etag in targets.items()]
        if not listed:
            return
        if len({key for key, _, _ in listed}) < len(listed):
            listed = [(key, version_id, None) for key, version_id, _ in listed]
        learn = (lambda key: self.marker_id(name, key)) if quiet else None
        outcomes = self.s3.delete_objects(name, listed, learn)
        body = _delete_document(listed, quiet)
        headers = {"content-md5": content_md5(body)}
        self.tell(outcomes, "POST", f"/{name}", "delete", body, headers)
        self.wrote(name)

    def marker_id(self, name: str, key: str) -> str | None:
        """Of the delete marker that a plain read meets."""
        return self.node.ask("HEAD", f"/{name}/{key}", "", b"", {}).headers.get("x-amz-version-id")

    @rule(
        place=PLACES, from_place=st.one_of(st.none(), PLACES), version=VERSIONS,
        source_conditions=SOMETIMES_CONDITIONS, conditions=WRITE_CONDITIONS, meta=METADATA,
        tags=TAGS, own=OWN,
        directives=st.tuples(*[st.sampled_from((None, "COPY", "REPLACE"))] * 2),
        clock=CLOCK_MS,
    )  # fmt: skip
    def copy(
        self,
        place: Place,
        from_place: Place | None,
        version: tuple[str, int],
        source_conditions: Mapping[str, Any],
        conditions: Mapping[str, str],
        meta: Mapping[str, str],
        tags: Mapping[str, str],
        own: Mapping[str, str],
        directives: tuple[str | None, str | None],
        clock: int,
    ) -> None:
        """Without another place it is a copy onto itself."""
        self.step(clock)
        name, key = self.place(place)
        source_place = self.place(from_place or place)
        source, asked = self.source(*source_place, version, source_conditions)
        for header, directive in zip(("metadata", "tagging"), directives, strict=True):
            if directive:
                asked[f"x-amz-{header}-directive"] = directive
        asked |= own
        if directives[0] == "REPLACE":
            asked |= meta
        if directives[1] == "REPLACE":
            asked |= self.tagged(tags)
        asked |= self.conditions(conditions, self.found(name, key, None))
        outcomes = self.s3.copy_object(name, key, source, asked)
        self.tell(outcomes, "PUT", f"/{name}/{key}", headers=asked)
        self.wrote(name)

    @precondition(lambda self: self.node.lives and self.steps % RARELY == 3)
    @rule()
    def power_cut(self) -> None:
        self.step()
        self.node.restart()
        self.look_at_everything()

    def step(self, clock: int = 0) -> None:
        type(self).counted += 1
        self.steps += 1
        self.node.move(clock)


def listing_query(query: Query, marker: str, limit: str) -> dict[str, str]:
    told = {"prefix": query.prefix, "delimiter": query.delimiter, marker: query.after}
    asked = {name: value for name, value in told.items() if value}
    if query.limit is not None:
        asked[limit] = str(query.limit)
    return asked


def _delete_document(targets: Sequence[tuple[str, str | None, str | None]], quiet: bool) -> bytes:
    objects = []
    for key, version_id, etag in targets:
        told = [f"<Key>{escape(key)}</Key>"]
        if version_id is not None:
            told.append(f"<VersionId>{escape(version_id)}</VersionId>")
        if etag is not None:
            told.append(f"<ETag>{escape(etag)}</ETag>")
        objects.append(f"<Object>{''.join(told)}</Object>")
    flag = "<Quiet>true</Quiet>" if quiet else ""
    return f"<Delete>{flag}{''.join(objects)}</Delete>".encode()


def content_md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()
