"""The whole machine: uploads, tags and listings beside buckets and objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model_s3 import machine, reading
from tests.model_s3.driver import PART_BYTES_MIN
from tests.model_s3.lists import KEYS_MAX, Query
from tests.model_s3.machine import (
    CLOCK_MS,
    METADATA,
    NAMES,
    NUMBERS,
    OWN,
    PLACES,
    QUERIES,
    RARELY,
    SOMETIMES_CONDITIONS,
    TAGS,
    VERSIONS,
    WRITE_CONDITIONS,
    Place,
    listing_query,
)
from tests.ops.world import Answer

PART_SIZES = st.sampled_from((1, PART_BYTES_MIN - 1, PART_BYTES_MIN, PART_BYTES_MIN, 200, 4096))
PART_NUMBERS = st.sampled_from((1, 1, 2, 2, 3, 5, 10_000, 0, 10_001))
# Of the parts that are there: all, without the last or the first, turned round, one twice,
# with an entity tag that is another's, with one that never was.
LISTS = st.sampled_from(
    ("all",) * 6 + ("not last", "not first", "turned", "twice", "changed", "unknown", "none")
)
UPLOADS_THERE = precondition(
    lambda self: self.steps % RARELY == 2 or any(b.uploads for b in self.s3.buckets.values())
)
MEANWHILE = st.sampled_from(("nothing", "nothing", "put", "delete"))
Walked = tuple[list[Any], list[str]]


class Machine(machine.Machine):
    # Uploads.

    @rule(place=PLACES, meta=METADATA, own=OWN, tags=TAGS)
    def begin_upload(
        self,
        place: Place,
        meta: Mapping[str, str],
        own: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        self.step()
        name, key = self.place(place)
        asked = {**meta, **own, **self.tagged(tags)}
        outcomes = self.s3.create_upload(name, key, asked)
        self.tell(outcomes, "POST", f"/{name}/{key}", "uploads", headers=asked)

    def upload(self, name: str, key: str, number: int) -> tuple[str, str, str]:
        """(bucket, key, id) of an upload: an open one mostly, else one that ended, or never was;
        sometimes under a key that is not its own.
        """
        bucket = self.s3.buckets.get(name)
        if bucket is None:
            return name, key, "nobodys"
        if not bucket.uploads and number:
            with_some = [each for each in self.s3.buckets.values() if each.uploads]
            bucket = with_some[0] if with_some else bucket
            name = bucket.name
        every = [*bucket.uploads.values()] * 3 + [*bucket.ended.values()]
        if not every:
            return name, key, "nobodys"
        upload = every[(number * 7 + len(key)) % len(every)]
        return name, key if number == 5 else upload.key, upload.id

    @rule(
        place=PLACES, meta=METADATA, clock=CLOCK_MS, how=LISTS, meanwhile=MEANWHILE,
        conditions=WRITE_CONDITIONS,
        parts=st.dictionaries(st.sampled_from((1, 2, 3, 7)), PART_SIZES, min_size=1),
    )  # fmt: skip
    def upload_whole(
        self,
        place: Place,
        meta: Mapping[str, str],
        parts: Mapping[int, int],
        how: str,
        meanwhile: str,
        conditions: Mapping[str, str],
        clock: int,
    ) -> None:
        """From beginning to end; perhaps the key is written or deleted in between."""
        self.step(clock)
        name, key = self.place(place)
        path = f"/{name}/{key}"
        begun = self.tell(
            self.s3.create_upload(name, key, meta), "POST", path, "uploads", headers=meta
        )
        if begun.status != 200:
            return
        (upload_id,) = reading.texts(begun.body, "UploadId")
        assert upload_id is not None
        for number, size in parts.items():
            body = self.fresh(size)
            query = {"partNumber": str(number), "uploadId": upload_id}
            outcomes = self.s3.upload_part(name, key, upload_id, number, body)
            self.tell(outcomes, "PUT", path, query, body)
        if meanwhile == "put":
            body = self.fresh(9)
            self.tell(self.s3.put_object(name, key, body, {}), "PUT", path, body=body)
        elif meanwhile == "delete":
            self.tell(self.s3.delete_object(name, key, None, {}), "DELETE", path)
        asked = self.conditions(conditions, self.found(name, key, None))
        self.end_upload(name, key, upload_id, self.parts_listed(name, upload_id, how), asked)

    @UPLOADS_THERE
    @rule(place=PLACES, which=NUMBERS, number=PART_NUMBERS, size=PART_SIZES)
    def put_part(self, place: Place, which: int, number: int, size: int) -> None:
        self.step()
        name, key = self.place(place)
        name, key, upload_id = self.upload(name, key, which)
        body = self.fresh(size)
        outcomes = self.s3.upload_part(name, key, upload_id, number, body)
        query = {"partNumber": str(number), "uploadId": upload_id}
        self.tell(outcomes, "PUT", f"/{name}/{key}", query, body)

    @UPLOADS_THERE
    @rule(
        place=PLACES, which=NUMBERS, number=PART_NUMBERS, from_place=PLACES, version=VERSIONS,
        conditions=SOMETIMES_CONDITIONS,
        wanted=st.one_of(st.none(), st.tuples(st.integers(0, 70), st.integers(0, 400))),
    )  # fmt: skip
    def copy_part(
        self,
        place: Place,
        which: int,
        number: int,
        from_place: Place,
        version: tuple[str, int],
        conditions: Mapping[str, Any],
        wanted: tuple[int, int] | None,
    ) -> None:
        self.step()
        name, key = self.place(place)
        name, key, upload_id = self.upload(name, key, which)
        source, asked = self.source(*self.place(from_place), version, conditions)
        if wanted is not None:
            asked["x-amz-copy-source-range"] = f"bytes={wanted[0]}-{wanted[1]}"
        outcomes = self.s3.upload_part_copy(name, key, upload_id, number, source, wanted, asked)
        query = {"partNumber": str(number), "uploadId": upload_id}
        self.tell(outcomes, "PUT", f"/{name}/{key}", query, headers=asked)

    @UPLOADS_THERE
    @rule(
        place=PLACES, which=NUMBERS, how=LISTS, conditions=WRITE_CONDITIONS,
        clock=CLOCK_MS,
    )  # fmt: skip
    def complete(
        self,
        place: Place,
        which: int,
        how: str,
        conditions: Mapping[str, str],
        clock: int,
    ) -> None:
        self.step(clock)
        name, key = self.place(place)
        name, key, upload_id = self.upload(name, key, which)
        listed = self.parts_listed(name, upload_id, how)
        asked = self.conditions(conditions, self.found(name, key, None))
        self.end_upload(name, key, upload_id, listed, asked)

    def end_upload(
        self,
        name: str,
        key: str,
        upload_id: str,
        listed: Sequence[tuple[int, str]],
        asked: Mapping[str, str],
    ) -> None:
        outcomes = self.s3.complete(name, key, upload_id, listed, asked)
        parts = "".join(
            f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in listed
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        self.tell(outcomes, "POST", f"/{name}/{key}", {"uploadId": upload_id}, body, asked)
        self.wrote(name)

    def parts_listed(self, name: str, upload_id: str, how: str) -> list[tuple[int, str]]:
        bucket = self.s3.buckets.get(name)
        upload = bucket.uploads.get(upload_id) if bucket else None
        if upload is None:
            return [(1, "0" * 32)]
        every = [(number, upload.parts[number].etag) for number in sorted(upload.parts)]
        match how:
            case "not last":
                return every[:-1]
            case "not first":
                return every[1:]
            case "turned":
                return every[::-1]
            case "twice":
                return every + every[-1:]
            case "changed":
                return [(number, "0" * 32) for number, _ in every]
            case "unknown":
                return [*every, (9_999, "0" * 32)] if 10_000 not in upload.parts else every
            case "none":
                return []
        return every

    @UPLOADS_THERE
    @rule(place=PLACES, which=NUMBERS)
    def abort(self, place: Place, which: int) -> None:
        self.step()
        name, key = self.place(place)
        name, key, upload_id = self.upload(name, key, which)
        outcomes = self.s3.abort(name, key, upload_id)
        self.tell(outcomes, "DELETE", f"/{name}/{key}", {"uploadId": upload_id})
        self.node.check()

    @UPLOADS_THERE
    @rule(
        place=PLACES, which=NUMBERS,
        marker=st.sampled_from((0, 0, 1, 2, 9_999)), limit=st.sampled_from((None, 1, 2, 1000)),
    )  # fmt: skip
    def list_parts(self, place: Place, which: int, marker: int, limit: int | None) -> None:
        self.step()
        name, key = self.place(place)
        name, key, upload_id = self.upload(name, key, which)
        query = {"uploadId": upload_id}
        if marker:
            query["part-number-marker"] = str(marker)
        if limit is not None:
            query["max-parts"] = str(limit)
        most = KEYS_MAX if limit is None else limit
        outcomes = self.s3.list_parts(name, key, upload_id, marker, most)
        self.tell(outcomes, "GET", f"/{name}/{key}", query)

    # Tags.

    @rule(
        place=PLACES, version=VERSIONS,
        tags=st.one_of(TAGS, st.none()),
    )  # fmt: skip
    def tag(self, place: Place, version: tuple[str, int], tags: Mapping[str, str] | None) -> None:
        self.step()
        name, key = self.place(place)
        version_id = self.version_id(name, key, version)
        query = {"tagging": ""} | ({} if version_id is None else {"versionId": version_id})
        path = f"/{name}/{key}"
        if tags is None:
            self.tell(self.s3.delete_tags(name, key, version_id), "DELETE", path, query)
        else:
            body = tagging_document(tags)
            outcomes = self.s3.put_tags(name, key, version_id, tags)
            headers = {"content-md5": machine.content_md5(body)}
            self.tell(outcomes, "PUT", path, query, body, headers)
        self.tell(self.s3.get_tags(name, key, version_id), "GET", path, query)
        self.wrote(name)

    @rule(drawn_name=NAMES, tags=st.one_of(TAGS, st.none()))
    def tag_bucket(self, drawn_name: str, tags: Mapping[str, str] | None) -> None:
        self.step()
        name = self.name(drawn_name)
        outcomes = self.s3.put_bucket_tags(name, tags)
        if tags is None:
            self.tell(outcomes, "DELETE", f"/{name}", "tagging")
        else:
            body = tagging_document(tags)
            headers = {"content-md5": machine.content_md5(body)}
            self.tell(outcomes, "PUT", f"/{name}", "tagging", body, headers)
        self.tell(self.s3.get_bucket_tags(name), "GET", f"/{name}", "tagging")

    # Listings: single pages from anywhere, and walks from the first page to the last.

    @rule(drawn_name=NAMES, query=QUERIES, encoded=st.booleans())
    def list_first_form(self, drawn_name: str, query: Query, encoded: bool) -> None:
        self.step()
        name = self.name(drawn_name)
        self.page_of_first_form(name, query, encoded)

    def page_of_first_form(self, name: str, query: Query, encoded: bool = True) -> Answer:
        told = listing_query(query, "marker", "max-keys")
        if encoded:
            told["encoding-type"] = "url"
        return self.tell(self.s3.list_objects(name, query), "GET", f"/{name}", told)

    @rule(drawn_name=NAMES, query=QUERIES, encoded=st.booleans())
    def list_second_form(self, drawn_name: str, query: Query, encoded: bool) -> None:
        self.step()
        name = self.name(drawn_name)
        self.page_of_second_form(name, query, None, encoded)

    def page_of_second_form(
        self, name: str, query: Query, token: str | None, encoded: bool = True
    ) -> Answer:
        going_on = token is not None
        outcomes = self.s3.list_objects_v2(name, query, going_on=going_on)
        shown = replace(query, after="") if going_on else query
        told = {"list-type": "2", **listing_query(shown, "start-after", "max-keys")}
        if token is not None:
            told["continuation-token"] = token
        if encoded:
            told["encoding-type"] = "url"
        return self.tell(outcomes, "GET", f"/{name}", told)

    @rule(place=PLACES, at=st.booleans(), query=QUERIES, version=VERSIONS)
    def list_some_versions(
        self, place: Place, at: bool, query: Query, version: tuple[str, int]
    ) -> None:
        """`at` a key that is there, mostly. A marker of another key's version has no place in
        the order.
        """
        self.step()
        name, key = self.place(place)
        query = replace(query, after=key) if at else query
        kind, _ = version
        within = self.version_id(name, query.after, version) if kind != "foreign" else None
        if within == machine.NULL and not self.found(name, query.after, within):
            within = None
        self.list_versions(name, replace(query, within=within or ""))

    @rule(drawn_name=NAMES, query=QUERIES, which=NUMBERS)
    def list_uploads(self, drawn_name: str, query: Query, which: int) -> None:
        self.step()
        name = self.name(drawn_name)
        bucket = self.s3.buckets.get(name)
        own = (
            [each.id for each in bucket.uploads.values() if each.key == query.after]
            if bucket
            else []
        )
        within = own[which % len(own)] if own and which % 2 else ""
        self.page_of_uploads(name, replace(query, within=within))

    def page_of_uploads(self, name: str, query: Query) -> Answer:
        told = {"uploads": "", "encoding-type": "url"}
        told |= listing_query(query, "key-marker", "max-uploads")
        if query.within:
            told["upload-id-marker"] = query.within
        return self.tell(self.s3.list_uploads(name, query), "GET", f"/{name}", told)

    @rule(
        drawn_name=NAMES, query=st.one_of(st.just(Query()), QUERIES),
        limits=st.lists(st.integers(1, 4), min_size=1, max_size=4),
        form=st.sampled_from(("first", "second", "versions", "uploads")),
    )  # fmt: skip
    def walk(self, drawn_name: str, query: Query, limits: Sequence[int], form: str) -> None:
        """Pages of changing lengths, one after the other, show what one page would."""
        self.step()
        name = self.name(drawn_name)
        if name not in self.s3.buckets:
            return
        walks: Mapping[str, Callable[[str, Query, Iterator[int]], Walked]] = {
            "first": self._walk_first,
            "second": self._walk_second,
            "versions": self._walk_versions,
            "uploads": self._walk_uploads,
        }
        whole = replace(query, limit=None)
        once = self._once(form, name, whole)
        sizes = (limits[count % len(limits)] for count in range(KEYS_MAX))
        assert walks[form](name, whole, sizes) == once

    def _once(self, form: str, name: str, query: Query) -> Walked:
        pages: Mapping[str, Callable[[str, Query], Answer]] = {
            "first": self.page_of_first_form,
            "second": lambda name, query: self.page_of_second_form(name, query, None),
            "versions": self.list_versions,
            "uploads": self.page_of_uploads,
        }
        told = reading.listing(pages[form](name, query).body)
        return told["entries"], told["prefixes"]

    def _walk_first(self, name: str, query: Query, sizes: Iterator[int]) -> Walked:
        """Without a delimiter the last key is the next marker."""
        walked: Walked = [], []
        for limit in sizes:
            told = _gathered(walked, self.page_of_first_form(name, replace(query, limit=limit)))
            if not told["truncated"]:
                return walked
            query = replace(query, after=told["NextMarker"] or told["entries"][-1][1])
        raise AssertionError("no end")

    def _walk_second(self, name: str, query: Query, sizes: Iterator[int]) -> Walked:
        walked: Walked = [], []
        token = None
        for limit in sizes:
            answer = self.page_of_second_form(name, replace(query, limit=limit), token)
            told = _gathered(walked, answer)
            if not told["truncated"]:
                return walked
            token = told["NextContinuationToken"]
            last = max([e[1] for e in told["entries"]] + told["prefixes"], key=str.encode)
            query = replace(query, after=last)
        raise AssertionError("no end")

    def _walk_versions(self, name: str, query: Query, sizes: Iterator[int]) -> Walked:
        walked: Walked = [], []
        for limit in sizes:
            told = _gathered(walked, self.list_versions(name, replace(query, limit=limit)))
            if not told["truncated"]:
                return walked
            within = told["NextVersionIdMarker"] or ""
            query = replace(query, after=told["NextKeyMarker"], within=within)
        raise AssertionError("no end")

    def _walk_uploads(self, name: str, query: Query, sizes: Iterator[int]) -> Walked:
        walked: Walked = [], []
        for limit in sizes:
            told = _gathered(walked, self.page_of_uploads(name, replace(query, limit=limit)))
            if not told["truncated"]:
                return walked
            within = told["NextUploadIdMarker"] or ""
            query = replace(query, after=told["NextKeyMarker"], within=within)
        raise AssertionError("no end")


def tagging_document(tags: Mapping[str, str]) -> bytes:
    told = "".join(f"<Tag><Key>{k}</Key><Value>{v}</Value></Tag>" for k, v in tags.items())
    return f"<Tagging><TagSet>{told}</TagSet></Tagging>".encode()


def _gathered(walked: Walked, answer: Answer) -> dict[str, Any]:
    told = reading.listing(answer.body)
    walked[0].extend(told["entries"])
    walked[1].extend(told["prefixes"])
    return told
