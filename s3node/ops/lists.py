"""ListObjects, ListObjectsV2, ListMultipartUploads, ListParts.

A listing is a walk in steps (`model.listing`), each within a read transaction of its own over a
bounded number of rows, with the event loop free in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from s3node.base.errors import S3Error
from s3node.base.limits import LIST_ENTRIES_MAX, LIST_ROWS_PER_READ, PART_NUMBER_MAX
from s3node.meta import tables
from s3node.meta.kv import ReadTx
from s3node.model import listing, tokens
from s3node.model.listing import Entry, Position, Query, Step
from s3node.model.multipart import parse_upload_id
from s3node.model.rows import BucketRow, PartRow, UploadRow
from s3node.ops import answers, lookup, parameters
from s3node.ops.context import Call, Node
from s3node.ops.entries import Entries
from s3node.s3 import documents
from s3node.s3.documents import ListEcho, Owner, PartItem, PartsPage, UploadItem
from s3node.s3.headers import check_optional_attributes
from s3node.s3.request import Response

R = TypeVar("R")


async def walk(
    node: Node,
    position: Position | None,
    limit: int,
    take: Callable[[Position, int, ReadTx], Step[R]],
) -> tuple[list[Entry[R]], bool]:
    """Up to `limit` entries, taken step by step, and whether there are more.

    A limit of 0 asks for nothing.
    """
    entries: list[Entry[R]] = []
    if limit == 0:
        return entries, False
    wanted = limit + 1
    while position is not None and len(entries) < wanted:
        found = node.kv.read(partial(take, position, wanted - len(entries)))
        entries += found.entries
        position = found.position
        await asyncio.sleep(0)
    return entries[:limit], len(entries) == wanted


def echoed(call: Call, limit_name: str) -> ListEcho:
    """What the request asks for, as the answer repeats it."""
    request = call.request
    limit = parameters.integer(request, limit_name, LIST_ENTRIES_MAX)
    return ListEcho(
        bucket=call.bucket,
        prefix=request.param("prefix") or "",
        delimiter=request.param("delimiter") or "",
        max_entries=limit,
        encoding=parameters.encoding(request),
    )


def query_of(echo: ListEcho) -> Query:
    """The same as the model takes it."""
    return Query(echo.prefix.encode(), echo.delimiter.encode())


def _listed_bucket(node: Node, call: Call) -> BucketRow:
    """The bucket whose objects are listed."""
    parameters.admit(call)
    check_optional_attributes(call.request.headers)  # nothing here is ever under restoration
    return node.kv.read(lambda tx: lookup.need_bucket(tx, call))


async def _objects(
    node: Node, bucket: BucketRow, echo: ListEcho, marker: bytes, owner: Owner | None
) -> tuple[list[Entry[bytes]], bool]:
    """The current versions behind `marker`, rolled up: as they stand in the document."""
    query = query_of(echo)
    write = Entries(owner, echo.encoding).write

    def take(position: Position, room: int, tx: ReadTx) -> Step[bytes]:
        def scan(at: Position) -> Iterator[tuple[bytes, bytes, bytes]]:
            return tables.scan_versions_as(tx, bucket.bucket_id, write, at.key, at.id)

        return listing.step(
            query,
            position,
            scan,
            room=room,
            rows_max=LIST_ROWS_PER_READ,
            visible=bool,  # not HIDDEN
            newest_only=True,
        )

    return await walk(node, listing.start(query, marker), echo.max_entries, take)


def _rows(entries: list[Entry[R]]) -> list[R]:
    return [row for _, _, row in entries if row is not None]


def prefixes(entries: list[Entry[R]]) -> list[str]:
    """The common prefixes among the entries."""
    return [key.decode() for key, _, row in entries if row is None]


async def list_objects(node: Node, call: Call) -> Response:
    """ListObjects.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjects.html: NextMarker is given
    with a delimiter only; without one, the last key serves.
    """
    echo = echoed(call, "max-keys")
    marker = call.request.param("marker") or ""
    bucket = _listed_bucket(node, call)
    entries, truncated = await _objects(node, bucket, echo, marker.encode(), node.owner)
    next_marker = entries[-1][0].decode() if truncated and echo.delimiter else None
    return parameters.document(
        documents.list_objects(
            echo,
            _rows(entries),
            prefixes(entries),
            marker=marker,
            next_marker=next_marker,
            truncated=truncated,
        )
    )


async def list_objects_v2(node: Node, call: Call) -> Response:
    """ListObjectsV2.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html: a token outweighs
    start-after, and is good for the same caller, bucket, prefix and delimiter only.
    """
    request = call.request
    echo = echoed(call, "max-keys")
    start_after = request.param("start-after")
    token = request.param("continuation-token")
    fetch_owner = parameters.truth(request, "fetch-owner")
    bucket = _listed_bucket(node, call)
    caller, query = call.identity.owner_id.encode(), query_of(echo)
    scope = (b"objects", caller, bucket.bucket_id, query.prefix, query.delimiter)
    marker = (start_after or "").encode()
    if token is not None:
        marker = parameters.open_token(node, scope, token)
    owner = node.owner if fetch_owner else None
    entries, truncated = await _objects(node, bucket, echo, marker, owner)
    next_token = tokens.seal(node.token_key, scope, entries[-1][0]) if truncated else None
    return parameters.document(
        documents.list_objects_v2(
            echo,
            _rows(entries),
            prefixes(entries),
            start_after=start_after,
            token=token,
            next_token=next_token,
        )
    )


async def list_multipart_uploads(node: Node, call: Call) -> Response:
    """ListMultipartUploads: by key, then by time of initiation.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html: without a key
    marker, an upload id marker is ignored.
    """
    parameters.admit(call)
    echo = echoed(call, "max-uploads")
    key_marker = call.request.param("key-marker") or ""
    id_marker = call.request.param("upload-id-marker") or ""
    bucket = node.kv.read(lambda tx: lookup.need_bucket(tx, call))
    query = query_of(echo)
    after = _upload_marker(id_marker) if key_marker and id_marker else b""

    def take(position: Position, room: int, tx: ReadTx) -> Step[UploadRow]:
        def scan(at: Position) -> Iterator[tuple[bytes, bytes, UploadRow]]:
            return tables.scan_uploads(tx, bucket.bucket_id, at.key, at.id)

        return listing.step(query, position, scan, room=room, rows_max=LIST_ROWS_PER_READ)

    position = listing.start(query, key_marker.encode(), after)
    entries, truncated = await walk(node, position, echo.max_entries, take)
    uploads = [
        _upload_item(key.decode(), identity, row)
        for key, identity, row in entries
        if row is not None
    ]
    last, last_id, _ = entries[-1] if entries else (b"", b"", None)
    return parameters.document(
        documents.list_uploads(
            echo,
            uploads,
            prefixes(entries),
            node.owner,
            marker=(key_marker, id_marker),
            next_marker=(last.decode(), last_id.hex()),
            truncated=truncated,
        )
    )


def _upload_marker(text: str) -> bytes:
    try:
        return parse_upload_id(text)
    except S3Error:
        raise S3Error(
            "InvalidArgument",
            "Invalid uploadId marker",
            ArgumentName="upload-id-marker",
            ArgumentValue=text,
        ) from None


def _upload_item(key: str, identity: bytes, row: UploadRow) -> UploadItem:
    return UploadItem(
        key,
        identity.hex(),
        row.initiated_ms,
        row.storage_class,
        row.checksum_algorithm,
        row.checksum_type,
    )


async def list_parts(node: Node, call: Call) -> Response:
    """ListParts.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html
    """
    parameters.admit(call)
    request = call.request
    limit = parameters.integer(request, "max-parts", LIST_ENTRIES_MAX)
    marker = parameters.integer(request, "part-number-marker", PART_NUMBER_MAX, default=0)
    encoding = parameters.encoding(request)

    def page(tx: ReadTx) -> tuple[bytes, UploadRow, list[tuple[int, PartRow]]]:
        identity, upload = lookup.need_upload(tx, lookup.need_bucket(tx, call), call)
        rows = tables.scan_parts(tx, identity, marker)
        return identity, upload, [row for _, row in zip(range(limit + 1), rows, strict=False)]

    identity, upload, rows = node.kv.read(page)
    truncated = limit > 0 and len(rows) > limit
    del rows[limit:]
    parts = [_part_item(number, row) for number, row in rows]
    next_marker = rows[-1][0] if rows else 0
    return parameters.document(
        documents.list_parts(
            call.bucket,
            _upload_item(call.key, identity, upload),
            node.owner,
            PartsPage(marker, next_marker, limit, truncated),
            parts,
            encoding=encoding,
        )
    )


def _part_item(number: int, row: PartRow) -> PartItem:
    return PartItem(
        number, row.modified_ms, row.etag, row.size, answers.checksum_pair(row.checksum)
    )
