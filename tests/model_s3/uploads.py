"""Multipart uploads of the small S3.

"Uploading and copying objects using multipart upload" of the User Guide and the operations'
pages of the API Reference.

DIFFERS: S3 orders versions by when an upload was begun; to the node a version is as old as its
Complete. A conditional Complete that S3 refuses with 409 because the key was written while the
upload was open may also be decided by what the key holds when it completes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from tests.model_s3 import conditions, reading
from tests.model_s3.model import (
    Objects,
    Outcomes,
    no_such_bucket,
    own_headers,
    parse_tags,
    stored_headers,
)
from tests.model_s3.reply import Reply
from tests.model_s3.state import Bucket, Part, Upload, Version, etag_of_parts, md5
from tests.ops.world import Answer

PART_NUMBER_MAX = 10_000


class Uploads(Objects):
    """`part_bytes_min`: of every part but the last."""

    def __init__(self, region: str, part_bytes_min: int) -> None:
        super().__init__(region)
        self.part_bytes_min = part_bytes_min

    def create_upload(self, name: str, key: str, asked: Mapping[str, str]) -> Outcomes:
        bucket = self.buckets.get(name)
        if bucket is None:
            return no_such_bucket(name)
        known = bucket

        def effect(answer: Answer) -> None:
            (upload_id,) = reading.texts(answer.body, "UploadId")
            assert upload_id, "no upload id"
            assert upload_id not in known.uploads and upload_id not in known.ended
            tags = parse_tags(asked.get("x-amz-tagging"))
            known.uploads[upload_id] = Upload(
                upload_id, key, self.state.number(), stored_headers(asked), tags, own_headers(asked)
            )

        return Reply(
            200,
            document=(name, key),
            read=lambda body: reading.texts(body, "Bucket", "Key"),
            effect=effect,
        )

    def find_upload(self, bucket: Bucket, key: str, upload_id: str) -> Upload | Reply:
        upload = bucket.uploads.get(upload_id)
        if upload is None or upload.key != key:
            return Reply(404, "NoSuchUpload", fields={"UploadId": upload_id})
        return upload

    def upload_part(
        self, name: str, key: str, upload_id: str, number: int, body: bytes
    ) -> Outcomes:
        found = self._for_part(name, key, upload_id, number)
        if isinstance(found, list):
            return found
        part = Part(body, md5(body))
        return Reply(200, headers={"etag": f'"{part.etag}"'}, effect=_puts(found, number, part))

    def _for_part(self, name: str, key: str, upload_id: str, number: int) -> Upload | list[Reply]:
        bucket = self.buckets.get(name)
        refused = None
        if not 1 <= number <= PART_NUMBER_MAX:
            fields = {"ArgumentName": "partNumber", "ArgumentValue": str(number)}
            refused = Reply(400, "InvalidArgument", fields=fields)
        if bucket is None:
            return no_such_bucket(name)
        if refused is not None:
            return [refused]
        found = self.find_upload(bucket, key, upload_id)
        return [found] if isinstance(found, Reply) else found

    def upload_part_copy(
        self,
        name: str,
        key: str,
        upload_id: str,
        number: int,
        source: tuple[str, str, str | None],
        wanted: tuple[int, int] | None,
        asked: Mapping[str, str],
    ) -> Outcomes:
        """`wanted` are first and last byte."""
        upload = self._for_part(name, key, upload_id, number)
        found = self.copy_source(source, asked)
        refused = [reply for each in (upload, found) if isinstance(each, list) for reply in each]
        if isinstance(upload, list) or isinstance(found, list):
            return refused  # which of them is told first, no page says
        body = found.body
        assert body is not None
        if wanted is not None and not wanted[0] <= wanted[1] < len(body):
            return [Reply(400, "InvalidArgument"), Reply(400, "InvalidRequest")]
        piece = body if wanted is None else body[wanted[0] : wanted[1] + 1]
        part = Part(piece, md5(piece))
        shown = self.buckets[source[0]].shown
        return Reply(
            200,
            headers={"x-amz-copy-source-version-id": found.id if shown else None},
            document=f'"{part.etag}"',
            read=reading.text("ETag"),
            effect=_puts(upload, number, part),
        )

    def complete(
        self,
        name: str,
        key: str,
        upload_id: str,
        listed: Sequence[tuple[int, str]],
        asked: Mapping[str, str],
    ) -> Outcomes:
        bucket = self.buckets.get(name)
        wrong = [each for each in (_unreadable(listed), conditions.unwritable(asked)) if each]
        if bucket is None:
            return no_such_bucket(name, conditions.unwritable(asked))
        upload = self.find_upload(bucket, key, upload_id)
        if isinstance(upload, Reply):
            return [*self._again(bucket, key, upload_id, upload), *wrong]
        refused = [each for each in (self._bad_list(upload, listed),) if each]
        condition = conditions.write(key, bucket.live(key), asked)
        if condition is not None:
            refused.append(condition)
        if refused:
            return refused  # which of two is told first, no page says
        done = self._completed(bucket, upload, listed)
        if asked.keys() & {"if-match", "if-none-match"}:
            return (
                [done, Reply(409, "ConditionalRequestConflict")]
                if _touched(bucket, upload)
                else done
            )
        return done

    def _again(self, bucket: Bucket, key: str, upload_id: str, refused: Reply) -> list[Reply]:
        """A Complete that is sent twice may be answered twice."""
        ended = bucket.ended.get(upload_id)
        if ended is None or ended.key != key:
            return [refused]
        return [refused, Reply(200)]

    def _bad_list(self, upload: Upload, listed: Sequence[tuple[int, str]]) -> Reply | None:
        unreadable = _unreadable(listed)
        if unreadable is not None:
            return unreadable
        for number, etag in listed:
            part = upload.parts.get(number)
            if part is None or part.etag != etag:
                fields = {"UploadId": upload.id, "PartNumber": str(number), "ETag": etag}
                return Reply(400, "InvalidPart", fields=fields)
        for number, etag in listed[:-1]:
            size = len(upload.parts[number].body)
            if size < self.part_bytes_min:
                fields = {
                    "ProposedSize": str(size),
                    "MinSizeAllowed": str(self.part_bytes_min),
                    "PartNumber": str(number),
                    "ETag": etag,
                }
                return Reply(400, "EntityTooSmall", fields=fields)
        return None

    def _completed(
        self, bucket: Bucket, upload: Upload, listed: Sequence[tuple[int, str]]
    ) -> Reply:
        parts = [upload.parts[number] for number, _ in listed]
        version = Version(
            "",
            0,
            b"".join(part.body for part in parts),
            etag_of_parts(parts),
            upload.headers,
            upload.tags,
            upload.own,
            {number: len(upload.parts[number].body) for number, _ in listed},
        )
        headers, add = self.write(bucket, upload.key, version, told=True)

        def effect(answer: Answer) -> None:
            add(answer)
            bucket.ended[upload.id] = bucket.uploads.pop(upload.id)

        return Reply(
            200,
            headers=headers,
            document=(bucket.name, upload.key, f'"{version.etag}"'),
            read=reading.completed,
            effect=effect,
        )

    def abort(self, name: str, key: str, upload_id: str) -> Outcomes:
        bucket = self.buckets.get(name)
        if bucket is None:
            return no_such_bucket(name)
        upload = self.find_upload(bucket, key, upload_id)
        if isinstance(upload, Reply):
            return [upload, Reply(204)] if upload_id in bucket.ended else upload
        known = bucket

        def effect(answer: Answer) -> None:
            known.ended[upload_id] = known.uploads.pop(upload_id)

        return Reply(204, body=b"", effect=effect)

    def list_parts(self, name: str, key: str, upload_id: str, marker: int, limit: int) -> Outcomes:
        bucket = self.buckets.get(name)
        if bucket is None:
            return no_such_bucket(name)
        upload = self.find_upload(bucket, key, upload_id)
        if isinstance(upload, Reply):
            return upload
        numbers = sorted(number for number in upload.parts if number > marker)
        shown = numbers[:limit]
        document = {
            "Bucket": name,
            "Key": key,
            "UploadId": upload_id,
            "PartNumberMarker": str(marker),
            "NextPartNumberMarker": str(shown[-1] if shown else 0),
            "MaxParts": str(limit),
            "truncated": len(numbers) > len(shown) > 0,
            "parts": [
                (str(n), f'"{upload.parts[n].etag}"', str(len(upload.parts[n].body))) for n in shown
            ],
        }
        return Reply(200, document=document, read=reading.parts)


def _unreadable(listed: Sequence[tuple[int, str]]) -> Reply | None:
    """What is wrong with the list whatever was uploaded."""
    if not listed:
        return Reply(400, "MalformedXML")
    numbers = [number for number, _ in listed]
    if any(here >= there for here, there in pairwise(numbers)):
        return Reply(400, "InvalidPartOrder")
    return None


def _puts(upload: Upload, number: int, part: Part) -> Callable[[Answer], None]:
    def effect(answer: Answer) -> None:
        upload.parts[number] = part

    return effect


def _touched(bucket: Bucket, upload: Upload) -> bool:
    """The key has been written or deleted, for all that is known, while the upload was open."""
    current = bucket.current(upload.key)
    return current is None or current.number > upload.number
