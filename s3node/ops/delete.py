"""DeleteObject and DeleteObjects."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from s3node.base.errors import S3Error
from s3node.meta.kv import WriteTx
from s3node.model.rows import BucketRow
from s3node.model.versions import Change, Deed, plan_delete
from s3node.ops import lookup, parameters
from s3node.ops.body import read_document, require_digest
from s3node.ops.context import Call, Node, deed
from s3node.s3 import documents
from s3node.s3.documents import DeleteFailure, ObjectToDelete
from s3node.s3.errors import TABLE
from s3node.s3.request import Response, check_key

KEYS_PER_COMMIT = 256
DATA_IDS_PER_COMMIT = 20_000
"""After so many death-row data ids a batch is cut: with the last object's own, far below the
bound of a transaction's write set."""


async def delete_object(node: Node, call: Call) -> Response:
    """DeleteObject: idempotent; 204 also for what is not there.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html
    """
    parameters.admit(call)
    match = parameters.delete_condition(call.request)
    version = call.request.param("versionId")
    target = ObjectToDelete(call.key, version, match)
    done = deed(node, call, call.key)

    def commit(tx: WriteTx) -> None:
        _delete(tx, node, lookup.need_bucket(tx, call), done, target)

    await node.kv.write(commit)
    headers = [("x-amz-version-id", version)] if version is not None else []
    return Response(status=204, headers=headers)


def _delete(
    tx: WriteTx, node: Node, bucket: BucketRow, done: Deed, target: ObjectToDelete
) -> Change:
    """One key's removal within a transaction."""
    found = lookup.find_version(tx, bucket, target.key, target.version)
    etag = target.etag and target.etag.removeprefix('"').removesuffix('"')
    change = plan_delete(done, found, etag)
    lookup.apply(tx, node, bucket, done, change)
    return change


class _Batch(NamedTuple):
    """What one transaction of a DeleteObjects did: how far it got, and what it refused."""

    done: int
    failures: list[DeleteFailure]


def _failure(target: ObjectToDelete, error: S3Error) -> DeleteFailure:
    message = error.message or TABLE[error.code].message
    return DeleteFailure(target.key, target.version, error.code, message)


def _delete_batch(
    node: Node, call: Call, done: Deed, targets: Sequence[ObjectToDelete], tx: WriteTx
) -> _Batch:
    """Delete from the front of `targets` until the transaction is large enough."""
    bucket = lookup.need_bucket(tx, call)
    failures: list[DeleteFailure] = []
    data_ids = 0
    count = 0
    for target in targets[:KEYS_PER_COMMIT]:
        if data_ids > DATA_IDS_PER_COMMIT:
            break
        count += 1
        try:
            check_key(target.key.encode())
            change = _delete(tx, node, bucket, done._replace(key=target.key), target)
        except S3Error as error:
            failures.append(_failure(target, error))
        else:
            data_ids += sum(len(row.data_ids) for row in change.deaths)
    return _Batch(count, failures)


async def delete_objects(node: Node, call: Call) -> Response:
    """DeleteObjects: up to a thousand keys, each with its own outcome.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
    """
    parameters.admit(call)
    require_digest(call)
    quiet, targets = await read_document(node, call, documents.parse_delete)
    done = deed(node, call)
    failures: list[DeleteFailure] = []
    position = 0
    while position < len(targets):
        batch = await node.kv.write(partial(_delete_batch, node, call, done, targets[position:]))
        failures += batch.failures
        position += batch.done
    failed = {(failure.key, failure.version) for failure in failures}
    deleted = [
        (target.key, target.version)
        for target in targets
        if not quiet and (target.key, target.version) not in failed
    ]
    return parameters.document(documents.delete_result(deleted, failures))
