"""Versioning of buckets: its configuration, and the listing of all versions."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from s3node.base.errors import S3Error
from s3node.base.ids import VERSION_ID_BYTES
from s3node.base.limits import LIST_ROWS_PER_READ
from s3node.meta import tables
from s3node.meta.kv import ReadTx, WriteTx
from s3node.model import listing
from s3node.model.listing import Entry, Position, Step
from s3node.model.rows import BucketRow
from s3node.model.versions import SUSPENDED, version_name
from s3node.ops import answers, lookup, parameters
from s3node.ops.body import read_document
from s3node.ops.context import Call, Node
from s3node.ops.lists import echoed, prefixes, query_of, walk
from s3node.s3 import versioning
from s3node.s3.headers import check_optional_attributes
from s3node.s3.request import Response
from s3node.s3.versioning import VersionItem


async def get_bucket_versioning(node: Node, call: Call) -> Response:
    """GetBucketVersioning: an empty configuration says that it never was enabled.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketVersioning.html
    """
    parameters.admit(call)
    bucket = node.kv.read(lambda tx: lookup.need_bucket(tx, call))
    return parameters.document(versioning.versioning(bucket.versioning))


async def put_bucket_versioning(node: Node, call: Call) -> Response:
    """PutBucketVersioning: enabled or suspended, and never off again.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketVersioning.html
    """
    parameters.admit(call)
    status = await read_document(node, call, versioning.parse_versioning)

    def commit(tx: WriteTx) -> None:
        bucket = lookup.need_bucket(tx, call)
        if status == SUSPENDED and bucket.object_lock:
            raise S3Error(
                "InvalidBucketState",
                "An Object Lock configuration is present on this bucket, so the versioning state "
                "cannot be changed.",
            )
        changed = msgspec.structs.replace(bucket, versioning=status)
        tables.put_bucket(tx, call.bucket, changed)

    await node.kv.write(commit)
    return Response()


async def list_object_versions(node: Node, call: Call) -> Response:
    """ListObjectVersions: by key, the newest version of each first.

    A marker goes on behind the version it names. One that names the null version, when that has
    gone meanwhile, goes on at the key's first version: nothing is left out.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
    """
    parameters.admit(call)
    check_optional_attributes(call.request.headers)
    echo = echoed(call, "max-keys")
    query = query_of(echo)
    key_marker = call.request.param("key-marker") or ""
    id_marker = _id_marker(call, key_marker)

    def begin(tx: ReadTx) -> tuple[BucketRow, Position | None]:
        bucket = lookup.need_bucket(tx, call)
        marker = key_marker.encode()
        if not id_marker:
            return bucket, listing.start(query, marker)
        after = lookup.version_id(tx, bucket, key_marker, id_marker, "version-id-marker")
        return bucket, listing.start(query, marker, after or listing.FIRST_ID)

    bucket, position = node.kv.read(begin)

    def take(position: Position, room: int, tx: ReadTx) -> Step[VersionItem]:
        def scan(at: Position) -> Iterator[tuple[bytes, bytes, VersionItem]]:
            return tables.scan_versions_as(tx, bucket.bucket_id, _item, at.key, at.id)

        return listing.step(query, position, scan, room=room, rows_max=LIST_ROWS_PER_READ)

    entries, truncated = await walk(node, position, echo.max_entries, take)
    return parameters.document(
        versioning.list_versions(
            echo,
            _items(entries, _is_first(node, bucket, position, entries)),
            prefixes(entries),
            node.owner,
            marker=(key_marker, id_marker),
            next_marker=_next_marker(entries),
            truncated=truncated,
        )
    )


def _id_marker(call: Call, key_marker: str) -> str:
    marker = call.request.param("version-id-marker")
    if marker is None:
        return ""
    if marker and not key_marker:
        message = "A version-id marker cannot be specified without a key marker."
    elif not marker and key_marker:
        message = "A version-id marker cannot be empty."
    else:
        return marker
    raise S3Error(
        "InvalidArgument", message, ArgumentName="version-id-marker", ArgumentValue=marker
    )


def _is_first(
    node: Node, bucket: BucketRow, position: Position | None, entries: list[Entry[VersionItem]]
) -> bool:
    """Whether a page begins with the first version of its key. It may begin between two: only
    then is it asked for, so that a version that came since it was read changes nothing."""
    if not entries or entries[0][2] is None:
        return False
    key, identity, _ = entries[0]
    if position is None or position.key != key:
        return True
    found = node.kv.read(lambda tx: tables.current_version(tx, bucket.bucket_id, key))
    return found is not None and found[0] == identity


def _items(entries: list[Entry[VersionItem]], begins: bool) -> list[VersionItem]:
    items = []
    before = b"" if begins else entries[0][0] if entries else b""
    for key, _, item in entries:
        if item is not None:
            items.append(item._replace(latest=True) if key != before else item)
        before = key
    return items


def _item(key: bytes, row_key: bytes, value: bytes) -> VersionItem:
    """What a page shows of a version, and no more: a row may list ten thousand parts."""
    row = tables.outline_version(key, row_key, value)
    checksum = row.checksum
    return VersionItem(
        key.decode(),
        version_name(row_key[-VERSION_ID_BYTES:], row),
        False,  # until it is known
        row.modified_ms,
        row.etag,
        row.size,
        row.storage_class,
        checksum.algorithm if checksum else "",
        answers.checksum_kind(checksum) if checksum else "",
    )


def _next_marker(entries: list[Entry[VersionItem]]) -> tuple[str, str]:
    """Key and version id of the last entry; a common prefix has no version."""
    if not entries:
        return "", ""
    key, _, item = entries[-1]
    return key.decode(), "" if item is None else item.version
