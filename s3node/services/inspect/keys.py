"""What the metadata says about a key: its rows, and where each shard lies.

From the node's own index if it is sealed, whole and at the journal's end; else from one made
anew from the disks, in a folder that goes away again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from s3node.base.errors import ConfigError, FormatError, S3Error, StorageFault
from s3node.base.filesystem import FileSystem
from s3node.base.limits import OBJECT_KEY_BYTES_MAX
from s3node.meta import schema, subtree, tables
from s3node.meta.index import Index
from s3node.meta.index_seal import Seal
from s3node.meta.kv import ReadTx
from s3node.meta.metadata import look as look_at_journals
from s3node.model.rows import Data, LocationRow, VersionRow
from s3node.model.versions import parse_version
from s3node.objects.layout import run_count
from s3node.services.check.history import History, index_made_anew, seal_of, sealed_index
from s3node.services.findings import readable
from s3node.services.inspect.values import Plain, describe_row, plain
from s3node.services.start import Looked, Site, looked_at
from s3node.store.disks import SEGMENTS
from s3node.store.segment import file_name

T = TypeVar("T")


def inspect_key(site: Site, fs: FileSystem, bucket: str, key: str) -> Plain:
    """Bucket, versions and unfinished uploads of a key, as their rows say."""

    def told(tx: ReadTx, source: str) -> Plain:
        root, head = _head(tx, bucket, key)
        versions = list(_leaves(tx, schema.VERSIONS, root, _raw(key)))
        uploads = [
            {**one, "parts": _parts(tx, bytes.fromhex(one["id"]))}
            for one in _leaves(tx, schema.UPLOADS, root, _raw(key))
        ]
        if not versions and not uploads:
            raise ConfigError(f"there is no version and no upload of {bucket}/{head['key']}")
        return {**head, "index": source, "versions": versions, "uploads": uploads}

    return _with_index(site, fs, lambda _, tx, source: told(tx, source))


def inspect_version(
    site: Site, fs: FileSystem, bucket: str, key: str, version: str | None = None
) -> Plain:
    """One version (the current one if none is given): its row, and every shard's place."""

    def told(looked: Looked, tx: ReadTx, source: str) -> Plain:
        root, head = _head(tx, bucket, key)
        for one in _leaves(tx, schema.VERSIONS, root, _raw(key)):
            if version is None or _is(one, version):
                row = _version(tx, root, _raw(key), bytes.fromhex(one["id"]))
                data = row.data if row else ()
                return {**head, "index": source, **one, "data": _data(looked, tx, data)}
        raise ConfigError(f"there is no such version of {bucket}/{head['key']}")

    return _with_index(site, fs, told)


def _is(one: Plain, version: str) -> bool:
    try:
        identity = parse_version(version)
    except S3Error as fault:
        raise ConfigError(f"{version!r} is not a version id") from fault
    if identity is None:
        return bool(one["row"].get("null"))
    return bool(one["id"] == identity.hex())


def _with_index(site: Site, fs: FileSystem, told: Callable[[Looked, ReadTx, str], Plain]) -> Plain:
    with looked_at(site, fs) as looked, _index(looked) as (index, source):
        return index.read(lambda tx, _: told(looked, tx, source))


@contextlib.contextmanager
def _index(looked: Looked) -> Iterator[tuple[Index, str]]:
    """The index to ask, and which one it is. ConfigError if there is none."""
    seal = seal_of(looked)
    try:
        _, chains = look_at_journals(looked.usable(), looked.deployment)
        why = ""
    except StorageFault as fault:
        chains, why = [], f"; the journal cannot be followed: {fault}"
    if isinstance(seal, Seal) and (why or seal.position == chains[0].tip):
        with sealed_index(looked.site, looked.deployment) as index:
            yield index, f"the node's own, sealed{why}"
        return
    if why:
        raise ConfigError(f"the index cannot be used: {seal}{why}")
    with index_made_anew(looked, History(chains), lambda what, done, total: None) as index:
        yield index, "made anew from the disks"


def _raw(key: str) -> bytes:
    """The key that a word of the command line means, whatever bytes it is made of."""
    return key.encode("utf-8", "surrogateescape")


def _head(tx: ReadTx, bucket: str, key: str) -> tuple[bytes, Plain]:
    row_key = schema.bucket(bucket)
    value = tx.get(row_key)
    if value is None:
        raise ConfigError(f"there is no bucket {bucket!r}")
    if not 0 < len(_raw(key)) <= OBJECT_KEY_BYTES_MAX:
        raise ConfigError(f"a key has 1 to {OBJECT_KEY_BYTES_MAX} bytes")
    try:
        row = tables.get_bucket(tx, bucket)
    except FormatError as fault:
        raise ConfigError(f"the row of bucket {bucket!r} is damaged: {fault}") from fault
    assert row is not None, "it was there a moment ago"
    return row.bucket_id, {"bucket": bucket, "bucket_row": plain(row), "key": readable(_raw(key))}


def _leaves(tx: ReadTx, table: bytes, root: bytes, key: bytes) -> Iterator[Plain]:
    """Every row of a key in a table: its id, where it is, what it says."""
    for found, leaf_id, row_key, value in subtree.scan(tx, table, root, key):
        if found != key:
            return
        yield {"id": leaf_id.hex(), "at": row_key.hex(), "row": describe_row(row_key, value)}


def _parts(tx: ReadTx, upload_id: bytes) -> list[Plain]:
    prefix = schema.PARTS + upload_id
    return [
        {"part": schema.numbered(row_key)[1], "row": describe_row(row_key, value)}
        for row_key, value in tx.scan(prefix, schema.successor(prefix))
    ]


def _version(tx: ReadTx, root: bytes, key: bytes, identity: bytes) -> VersionRow | None:
    try:
        return tables.get_version(tx, root, key, identity)
    except FormatError:
        return None  # its row says already that it is damaged


def _data(looked: Looked, tx: ReadTx, data: tuple[Data, ...]) -> list[Plain]:
    return [
        {**plain(item), "runs": [_run(looked, tx, item, run) for run in range(run_count(item))]}
        for item in data
    ]


def _run(looked: Looked, tx: ReadTx, item: Data, run: int) -> Plain:
    told: Plain = {"run": run}
    try:
        row = tables.get_locations(tx, item.data_id, run)
    except FormatError as fault:
        return told | {"state": f"damaged: {fault}"}
    if row is None:
        return told | {"state": "there is no location row"}
    return told | {"state": "ok", "stripes": _stripes(looked, row)}


def _stripes(looked: Looked, row: LocationRow) -> list[Plain]:
    paths = {one.slot: one.path for one in looked.opened}
    told = []
    for stripe in row.stripes:
        shards: list[Plain] = []
        for shard, place in enumerate(stripe.shards):
            if place is None:
                shards.append({"shard": shard, "state": "owed"})
                continue
            file = f"{paths.get(place.slot, '?')}/{SEGMENTS}/{file_name(place.segment)}"
            shards.append({"shard": shard, **plain(place), "file": file})
        told.append({**plain(stripe), "shards": shards})
    return told
