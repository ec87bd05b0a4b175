"""Paths of object keys through subtrees: rows in exact key order however long the keys are.

For the tables whose rows are (object key, leaf id): versions, nulls and uploads. A key of at most
`HEAD_BYTES` is found at once; a longer one through one prefix-id row for every further
`HEAD_BYTES`. A subtree exists exactly as long as it has rows: the transaction that writes the
first one creates it, the one that removes the last one removes it.

A new subtree's id is a hash of its prefix-id row's key and of the leaf id that needs it (which
has eight random bytes), taken again while that id is in use: so it is certain, not only likely,
that two subtrees never share an id, and a transaction that runs again does the same again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import xxhash

from s3node.base.ids import SUBTREE_ID_BYTES
from s3node.base.limits import OBJECT_KEY_BYTES_MAX
from s3node.meta import schema
from s3node.meta.kv import ReadTx, WriteTx
from s3node.meta.schema import HEAD_BYTES
from s3node.meta.values import seal, unseal

T = TypeVar("T")


def find(tx: ReadTx, table: bytes, root: bytes, key: bytes) -> tuple[bytes, bytes] | None:
    """(subtree id, rest of the key) where rows of `key` are; None if there cannot be any."""
    _check(key)
    subtree = root
    while len(key) > HEAD_BYTES:
        row = schema.branch(table, subtree, key[:HEAD_BYTES])
        value = tx.get(row)
        if value is None:
            return None
        subtree, key = unseal(row, value), key[HEAD_BYTES:]
    return subtree, key


def get(
    tx: ReadTx, table: bytes, root: bytes, key: bytes, leaf_id: bytes
) -> tuple[bytes, bytes] | None:
    """(row key, value) of one row."""
    place = find(tx, table, root, key)
    if place is None:
        return None
    row = schema.leaf(table, *place, leaf_id)
    value = tx.get(row)
    return None if value is None else (row, value)


def first(tx: ReadTx, table: bytes, root: bytes, key: bytes) -> tuple[bytes, bytes] | None:
    """(row key, value) of the first row of an object key."""
    place = find(tx, table, root, key)
    if place is None:
        return None
    prefix = schema.leaves(table, *place)
    return tx.first(prefix, schema.successor(prefix))


def make(tx: WriteTx, table: bytes, root: bytes, key: bytes, leaf_id: bytes) -> bytes:
    """The row key to put a row at; makes the subtrees on the way."""
    _check(key)
    subtree = root
    while len(key) > HEAD_BYTES:
        row = schema.branch(table, subtree, key[:HEAD_BYTES])
        value = tx.get(row)
        if value is None:
            subtree = _vacant(tx, table, row, leaf_id)
            tx.put(row, seal(row, subtree))
        else:
            subtree = unseal(row, value)
        key = key[HEAD_BYTES:]
    return schema.leaf(table, subtree, key, leaf_id)


def remove(tx: WriteTx, table: bytes, root: bytes, key: bytes, leaf_id: bytes) -> None:
    """Delete a row, and the subtrees that it leaves empty."""
    _check(key)
    branches = []
    subtree = root
    while len(key) > HEAD_BYTES:
        row = schema.branch(table, subtree, key[:HEAD_BYTES])
        value = tx.get(row)
        if value is None:
            return
        subtree, key = unseal(row, value), key[HEAD_BYTES:]
        branches.append((row, subtree))
    tx.delete(schema.leaf(table, subtree, key, leaf_id))
    for row, below in reversed(branches):
        if not _empty(tx, table, below):
            return
        tx.delete(row)


def scan(
    tx: ReadTx, table: bytes, root: bytes, start: bytes = b"", leaf_id: bytes = b""
) -> Iterator[tuple[bytes, bytes, bytes, bytes]]:
    """(object key, leaf id, row key, value) of rows not before (start, leaf_id), in order."""
    for key, found_id, (row, value) in scan_as(tx, table, root, _stored, start, leaf_id):
        yield key, found_id, row, value


def _stored(_key: bytes, row: bytes, value: bytes) -> tuple[bytes, bytes]:
    return row, value


def scan_as(
    tx: ReadTx,
    table: bytes,
    root: bytes,
    of: Callable[[bytes, bytes, bytes], T],
    start: bytes = b"",
    leaf_id: bytes = b"",
) -> Iterator[tuple[bytes, bytes, T]]:
    """As `scan`: (object key, leaf id, of(object key, row key, value))."""
    return _walk(tx, table, root, b"", of, start, leaf_id)


def _walk(
    tx: ReadTx,
    table: bytes,
    subtree: bytes,
    path: bytes,
    of: Callable[[bytes, bytes, bytes], T],
    start: bytes,
    leaf_id: bytes,
) -> Iterator[tuple[bytes, bytes, T]]:
    base = table + subtree
    if len(start) > HEAD_BYTES:
        begin = schema.branch(table, subtree, start[:HEAD_BYTES])
    else:
        begin = base + start + (schema.LEAF + leaf_id if leaf_id else b"")
    for row, value in tx.scan(begin, schema.successor(base)):
        rest, found_id = schema.split(row)
        key = path + rest
        if found_id is not None:
            yield key, found_id, of(key, row, value)
            continue
        below = unseal(row, value)
        if row == begin:
            yield from _walk(tx, table, below, key, of, start[HEAD_BYTES:], leaf_id)
        else:
            yield from _walk(tx, table, below, key, of, b"", b"")


def _vacant(tx: WriteTx, table: bytes, row: bytes, leaf_id: bytes) -> bytes:
    attempt = 0
    while True:
        seed = row + leaf_id + bytes([attempt])
        subtree = xxhash.xxh3_64_digest(seed)[:SUBTREE_ID_BYTES]
        if _empty(tx, table, subtree):
            return subtree
        attempt += 1


def _empty(tx: ReadTx, table: bytes, subtree: bytes) -> bool:
    base = table + subtree
    return tx.first(base, schema.successor(base)) is None


def _check(key: bytes) -> None:
    assert 0 < len(key) <= OBJECT_KEY_BYTES_MAX, f"object key of {len(key)} bytes"
    assert b"\x00" not in key, "NUL in an object key"
