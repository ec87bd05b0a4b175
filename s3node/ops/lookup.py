"""Finding what a request names, and writing what a plan says: the metadata side of operations.

Every function here runs inside a transaction; none awaits (I8).
"""

from __future__ import annotations

from s3node.base.clock import hlc_after
from s3node.base.errors import S3Error
from s3node.base.ids import UPLOAD_ID_BYTES
from s3node.base.limits import OBJECT_KEY_BYTES_MAX
from s3node.meta import tables
from s3node.meta.kv import ReadTx, WriteTx
from s3node.model.multipart import parse_upload_id
from s3node.model.rows import BucketRow, DeathRow, UploadRow
from s3node.model.versions import (
    UNVERSIONED,
    Change,
    Deed,
    Seen,
    Version,
    parse_version,
    replaces_null,
    version_name,
)
from s3node.ops.context import Call, Node
from s3node.s3.headers import http_date


def need_bucket(tx: ReadTx, call: Call, name: str | None = None) -> BucketRow:
    """The bucket, if it is there and the caller's; `name` where it is not the request's."""
    name = call.bucket if name is None else name
    row = tables.get_bucket(tx, name)
    if row is None:
        raise S3Error("NoSuchBucket", BucketName=name)
    if row.owner != call.identity.owner_id:
        raise S3Error("AccessDenied")
    return row


def find_version(
    tx: ReadTx, bucket: BucketRow, key: str, version: str | None, argument: str = "versionId"
) -> Version | None:
    """The current version of a key, or the one with this id ("null" for the null version), which
    the request has in `argument`.
    """
    raw = key.encode()
    identity = None if version is None else parse_version(version, argument)
    if identity is None:
        current = tables.current_version(tx, bucket.bucket_id, raw)
        return current if version is None else _null_version(tx, bucket, raw, current)
    row = tables.get_version(tx, bucket.bucket_id, raw, identity)
    # The null version has one name only.
    return None if row is None or row.null else (identity, row)


def version_id(
    tx: ReadTx, bucket: BucketRow, key: str, version: str, argument: str
) -> bytes | None:
    """The id by which a version that clients call `version` is sorted; None if it is not there
    and its name does not tell."""
    identity = parse_version(version, argument)
    if identity is not None:
        return identity
    if len(key.encode()) > OBJECT_KEY_BYTES_MAX:
        return None  # a marker of a listing may be what no key can be
    found = find_version(tx, bucket, key, version)
    return None if found is None else found[0]


def seen(tx: ReadTx, bucket: BucketRow, key: str) -> Seen:
    """What a write has to know of a key."""
    raw = key.encode()
    current = tables.current_version(tx, bucket.bucket_id, raw)
    if not replaces_null(bucket.versioning):
        return Seen(current, None)
    return Seen(current, _null_version(tx, bucket, raw, current))


def _null_version(
    tx: ReadTx, bucket: BucketRow, key: bytes, current: Version | None
) -> Version | None:
    """The null version of a key whose first version is `current`."""
    if current is None or current[1].null:
        return current
    assert bucket.versioning != UNVERSIONED, "a bucket without versioning has null versions only"
    identity = tables.get_null(tx, bucket.bucket_id, key)
    if identity is None:
        return None
    row = tables.get_version(tx, bucket.bucket_id, key, identity)
    assert row is not None, "a null version is named that is not there"
    return identity, row


def need_version(
    tx: ReadTx, bucket: BucketRow, key: str, version: str | None, *, method: str = "GET"
) -> Version:
    """`find_version`, or the S3Error of what is not there, or has no `method`."""
    found = find_version(tx, bucket, key, version)
    if found is None and version is not None:
        raise S3Error("NoSuchVersion", Key=key, VersionId=version)
    if found is None:
        raise S3Error("NoSuchKey", Key=key)
    if found[1].delete_marker:
        raise _marker(found, key, "" if version is None else method)
    return found


def asked_version(tx: ReadTx, call: Call) -> tuple[BucketRow, Version]:
    """The version that a request about one means: that which it names, else the current one."""
    bucket = need_bucket(tx, call)
    request = call.request
    version = request.param("versionId")
    return bucket, need_version(tx, bucket, call.key, version, method=request.method)


def tagged_version(tx: ReadTx, call: Call) -> tuple[BucketRow, Version]:
    """The same for its tags. A delete marker has none, which S3 says whether it is named or not:
    where a GET does not find the key, this is MethodNotAllowed (observed there, on no page)."""
    bucket = need_bucket(tx, call)
    found = find_version(tx, bucket, call.key, call.request.param("versionId"))
    if found is not None and found[1].delete_marker:
        raise _marker(found, call.key, call.request.method)
    return asked_version(tx, call)


def _marker(found: Version, key: str, method: str) -> S3Error:
    """A delete marker hides the key; asked for by its id (with a `method`) it can only be deleted.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html
    """
    headers = {"x-amz-delete-marker": "true", "x-amz-version-id": version_name(*found)}
    if not method:
        return S3Error("NoSuchKey", headers=headers, Key=key)
    headers |= {"allow": "DELETE", "last-modified": http_date(found[1].modified_ms)}
    return S3Error("MethodNotAllowed", headers=headers, Method=method, ResourceType="DeleteMarker")


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


def rewrite(tx: WriteTx, bucket: BucketRow, key: str, version: Version) -> None:
    """The same version, its tags changed: no version comes or goes, nor a byte of usage."""
    tables.put_version(tx, bucket.bucket_id, key.encode(), *version)


def apply(tx: WriteTx, node: Node, bucket: BucketRow, deed: Deed, change: Change) -> None:
    """Write what a plan says. The only place where versions come and go (I2)."""
    key = deed.key.encode()
    if change.removed is not None:
        identity, row = change.removed
        tables.delete_version(tx, bucket.bucket_id, key, identity)
        if row.null and bucket.versioning != UNVERSIONED:
            tables.delete_null(tx, bucket.bucket_id, key, identity)
    if change.added is not None:
        tables.put_version(tx, bucket.bucket_id, key, *change.added)
    if change.covered is not None:
        tables.put_null(tx, bucket.bucket_id, key, change.covered)
    put_deaths(tx, node, deed, change.deaths)
    tables.add_usage(tx, bucket.bucket_id, change.objects, change.bytes)
