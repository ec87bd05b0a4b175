"""Finding what a request names, and writing what a plan says: the metadata side of operations.

Every function here runs inside a transaction; none awaits (I8).
"""

from __future__ import annotations

from s3node.base.clock import hlc_after
from s3node.base.errors import S3Error
from s3node.base.ids import UPLOAD_ID_BYTES
from s3node.meta import tables
from s3node.meta.kv import ReadTx, WriteTx
from s3node.model.multipart import parse_upload_id
from s3node.model.rows import BucketRow, DeathRow, UploadRow
from s3node.model.versions import Change, Deed, Version, parse_version, unversioned
from s3node.ops.context import Call, Node


def need_bucket(tx: ReadTx, call: Call, name: str | None = None) -> BucketRow:
    """The bucket, if it is there and the caller's; `name` where it is not the request's."""
    name = call.bucket if name is None else name
    row = tables.get_bucket(tx, name)
    if row is None:
        raise S3Error("NoSuchBucket", BucketName=name)
    if row.owner != call.identity.owner_id:
        raise S3Error("AccessDenied")
    unversioned(row)
    return row


def find_version(tx: ReadTx, bucket: BucketRow, key: str, version: str | None) -> Version | None:
    """The current version of a key, or the one with this id ("null" for the null version)."""
    raw = key.encode()
    if version is None:
        return tables.current_version(tx, bucket.bucket_id, raw)
    identity = parse_version(version)
    if identity is None:
        current = tables.current_version(tx, bucket.bucket_id, raw)
        return current if current is not None and current[1].null else None
    row = tables.get_version(tx, bucket.bucket_id, raw, identity)
    return None if row is None else (identity, row)


def need_version(tx: ReadTx, bucket: BucketRow, key: str, version: str | None) -> Version:
    """`find_version`, or the S3Error of what is not there."""
    found = find_version(tx, bucket, key, version)
    if found is None and version is not None:
        raise S3Error("NoSuchVersion", Key=key, VersionId=version)
    if found is None or (found[1].delete_marker and version is None):
        raise S3Error("NoSuchKey", Key=key)
    if found[1].delete_marker:
        raise S3Error("MethodNotAllowed", headers={"x-amz-delete-marker": "true"})
    return found


def need_upload(tx: ReadTx, bucket: BucketRow, call: Call) -> tuple[bytes, UploadRow]:
    """The upload that `uploadId` names for this very bucket and key."""
    text = call.request.param("uploadId") or ""
    identity = parse_upload_id(text)
    row = tables.get_upload(tx, bucket.bucket_id, call.key.encode(), identity)
    if row is None:
        raise S3Error("NoSuchUpload", UploadId=text)
    return identity, row


def put_deaths(tx: WriteTx, node: Node, deed: Deed, deaths: tuple[DeathRow, ...]) -> None:
    """Death rows under ids that sort by time, as far as the clock goes (I5)."""
    stamp = hlc_after(deed.now_ms, 0).to_bytes(8, "big")
    for row in deaths:
        tables.put_death(tx, stamp + node.random(UPLOAD_ID_BYTES - len(stamp)), row)


def apply(tx: WriteTx, node: Node, bucket: BucketRow, deed: Deed, change: Change) -> None:
    """Write what a plan says. The only place where versions are put and deleted (I2)."""
    key = deed.key.encode()
    if change.removed is not None:
        tables.delete_version(tx, bucket.bucket_id, key, change.removed[0])
    if change.added is not None:
        tables.put_version(tx, bucket.bucket_id, key, *change.added)
    put_deaths(tx, node, deed, change.deaths)
    tables.add_usage(tx, bucket.bucket_id, change.objects, change.bytes)
