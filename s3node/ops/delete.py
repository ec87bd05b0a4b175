"""DeleteObject and DeleteObjects."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from s3node.base.errors import S3Error
from s3node.meta.kv import WriteTx
from s3node.model.conditions import DeleteConditions
from s3node.model.rows import BucketRow
from s3node.model.versions import Change, Deed, plan_delete, plan_remove, version_name
from s3node.ops import lookup, parameters
from s3node.ops.body import read_document, require_digest
from s3node.ops.context import Call, Node, deed
from s3node.s3 import deleting
from s3node.s3.deleting import Deleted, DeleteFailure, ObjectToDelete
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
    parameters.admit(call, *parameters.DELETE_CONDITIONS)
    conditions = parameters.delete_conditions(call.request)
    target = ObjectToDelete(call.key, call.request.param("versionId"))
    done = deed(node, call, call.key)

    def commit(tx: WriteTx) -> Outcome:
        return _delete(tx, node, lookup.need_bucket(tx, call), done, target, conditions)

    outcome = await node.kv.write(commit)
    version = target.version or outcome.marker
    headers = [("x-amz-version-id", version)] if version else []
    if outcome.marker:
        headers.append(("x-amz-delete-marker", "true"))
    return Response(status=204, headers=headers)


class Outcome(NamedTuple):
    """What a delete did: `marker` is the id of the delete marker it made or removed, or ""."""

    change: Change
    marker: str


def _delete(
    tx: WriteTx,
    node: Node,
    bucket: BucketRow,
    done: Deed,
    target: ObjectToDelete,
    conditions: DeleteConditions,
) -> Outcome:
    """One key's delete within a transaction."""
    if target.version is not None:
        found = lookup.find_version(tx, bucket, target.key, target.version)
        change = plan_remove(done, found, conditions)
    else:
        seen = lookup.seen(tx, bucket, target.key)
        owner = bucket.owner
        change = plan_delete(done, bucket.versioning, seen, conditions, node.random, owner)
    lookup.apply(tx, node, bucket, done, change)
    touched = change.added or change.removed
    marker = version_name(*touched) if touched and touched[1].delete_marker else ""
    return Outcome(change, marker)


class _Batch(NamedTuple):
    """What one transaction of a DeleteObjects did, to how many from the front of the list."""

    done: int
    deleted: list[Deleted]
    failures: list[DeleteFailure]


def _failure(target: ObjectToDelete, error: S3Error) -> DeleteFailure:
    """Of a version id that never was one S3 says here that there is no such version."""
    if error.fields.get("ArgumentName") == "versionId":
        error = S3Error("NoSuchVersion", Key=target.key, VersionId=target.version or "")
    message = error.message or TABLE[error.code].message
    return DeleteFailure(target.key, target.version, error.code, message)


def _delete_batch(
    node: Node, call: Call, done: Deed, targets: Sequence[ObjectToDelete], tx: WriteTx
) -> _Batch:
    """Delete from the front of `targets` until the transaction is large enough."""
    bucket = lookup.need_bucket(tx, call)
    batch = _Batch(0, [], [])
    data_ids = 0
    count = 0
    for target in targets[:KEYS_PER_COMMIT]:
        if data_ids > DATA_IDS_PER_COMMIT:
            break
        count += 1
        try:
            check_key(target.key.encode())
            conditions = parameters.target_conditions(target)
            of_key = done._replace(key=target.key)
            change, marker = _delete(tx, node, bucket, of_key, target, conditions)
        except S3Error as error:
            batch.failures.append(_failure(target, error))
        else:
            batch.deleted.append(Deleted(target.key, target.version, marker or None))
            data_ids += sum(len(row.data_ids) for row in change.deaths)
    return batch._replace(done=count)


async def delete_objects(node: Node, call: Call) -> Response:
    """DeleteObjects: up to a thousand keys, each with its own outcome.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
    """
    parameters.admit(call)
    require_digest(call)
    quiet, targets = await read_document(node, call, deleting.parse_delete)
    done = deed(node, call)
    deleted: list[Deleted] = []
    failures: list[DeleteFailure] = []
    position = 0
    while position < len(targets):
        batch = await node.kv.write(partial(_delete_batch, node, call, done, targets[position:]))
        deleted += batch.deleted
        failures += batch.failures
        position += batch.done
    return parameters.document(deleting.delete_result([] if quiet else deleted, failures))
