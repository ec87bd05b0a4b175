"""inspect: any structure of a stopped node as a JSON value, for people who must know.

Bytes that are ids or digests are shown in hex. What lies on one disk needs only its path; keys and
versions need the whole node, whose metadata is made anew from the disks for the purpose.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import msgspec

from s3node.base.errors import ConfigError, FormatError
from s3node.base.filesystem import FileSystem, read_file
from s3node.meta import frame, tables
from s3node.meta.kv import ReadTx
from s3node.meta.logscan import FoundFrame
from s3node.meta.logscan import scan as scan_log
from s3node.model.rows import Data, Row, VersionRow
from s3node.objects import layout
from s3node.services.offline_index import rebuilt
from s3node.services.shelf import read_at
from s3node.services.start import Site, looked_at
from s3node.store import epoch as epochs
from s3node.store.disks import lock_disk, read_identity
from s3node.store.scan import Damage, End, Found, Sealed, read_segment_header, scan

Inspector = Callable[[Site | None, FileSystem, Sequence[str]], object]

LINES_MAX = 10_000
"""Records of a segment, or frames of a log, that are shown."""


def plain(value: object) -> object:
    """Rows, named tuples and bytes as JSON's types."""
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, Row):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: plain(item) for name, item in zip(value._fields, value, strict=True)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _words(words: Sequence[str], usage: str, least: int, most: int) -> Sequence[str]:
    if not least <= len(words) <= most:
        raise ConfigError(f"usage: s3node inspect {usage}")
    return words


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ConfigError(f"inspect: {text!r} is not a number") from None


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    """What cannot be read is one line."""
    try:
        yield
    except OSError as fault:
        raise ConfigError(f"{path}: {fault.strerror}") from fault
    except FormatError as fault:
        raise FormatError(f"{path}: {fault}") from fault


@contextlib.contextmanager
def _locked(fs: FileSystem, file: str) -> Iterator[str]:
    """The disk that a file lies on, its lock held; a file that lies elsewhere is just a file."""
    disk = str(PurePosixPath(file).parent.parent)
    if read_identity(fs, disk)[1] is None:
        yield disk
        return
    fd = lock_disk(fs, disk)
    try:
        yield disk
    finally:
        fs.close(fd)


# --- what lies on one disk -------------------------------------------------------------------


def inspect_disk(site: Site | None, fs: FileSystem, words: Sequence[str]) -> object:
    """Identity and epoch of the disk at PATH."""
    (path,) = _words(words, "disk PATH", 1, 1)
    standing, identity, reason = read_identity(fs, path)
    found: dict[str, object] = {"standing": standing.value, "reason": reason}
    if identity is not None:
        found["identity"] = plain(identity)
    try:
        found["epoch"] = plain(epochs.read(fs, path))
    except (OSError, FormatError) as fault:
        found["epoch_fault"] = str(fault)
    return found


def inspect_segment(site: Site | None, fs: FileSystem, words: Sequence[str]) -> object:
    """Header, records, damage and seal of a segment FILE."""
    (path,) = _words(words, "segment FILE", 1, 1)
    with _reading(path), _locked(fs, path):
        header = read_segment_header(fs, path)
        items: list[object] = []
        for item in scan(fs, path, header.segment, header.disk_id):
            if len(items) == LINES_MAX:
                items.append({"kind": "more", "what": f"only the first {LINES_MAX} are shown"})
                break
            items.append({"kind": _KINDS[type(item)], **_item(item)})
    return {"header": plain(header), "items": items}


_KINDS: dict[type, str] = {Found: "record", Damage: "damage", Sealed: "seal", End: "end"}


def _item(item: Found | Damage | Sealed | End) -> dict[str, object]:
    told = plain(item)
    assert isinstance(told, dict)
    return told


def inspect_record(site: Site | None, fs: FileSystem, words: Sequence[str]) -> object:
    """Header, digests and hint of the record at OFFSET of a segment FILE."""
    path, offset = _words(words, "record FILE OFFSET", 2, 2)
    with _reading(path), _locked(fs, path):
        found = read_at(fs, path, _number(offset))
    return {
        "header": plain(found.header),
        "digests": [f"{digest:016x}" for digest in found.digests],
        "hint": found.hint.decode("utf-8", "replace"),
    }


def inspect_frame(site: Site | None, fs: FileSystem, words: Sequence[str]) -> object:
    """The frames of a log FILE; with OFFSET one of them, its puts and deletes too."""
    path, *rest = _words(words, "frame FILE [OFFSET]", 1, 2)
    with _reading(path), _locked(fs, path) as disk:
        data = read_file(fs, path)
        identity = read_identity(fs, disk)[1]
    deployment = identity.deployment_id if identity else _deployment_in(data)
    items: list[object] = []
    for item in scan_log(data, deployment):
        if rest and isinstance(item, FoundFrame) and item.offset == _number(rest[0]):
            return {**_frame(item), **_content(item, data)}
        if len(items) < LINES_MAX and not rest:
            items.append(_frame(item) if isinstance(item, FoundFrame) else plain(item))
    if rest:
        raise ConfigError(f"{path}: no frame begins at {rest[0]}")
    return items


def _deployment_in(data: bytes) -> bytes:
    """Whose frames a log holds that lies on no disk: the first header says."""
    return frame.unpack_header(data[: frame.LAYOUT.size]).deployment_id


def _frame(found: FoundFrame) -> dict[str, object]:
    return {
        "offset": found.offset,
        "header": plain(found.header),
        "hash": found.position.chain.hex(),
    }


def _content(found: FoundFrame, data: bytes) -> dict[str, object]:
    payload = data[found.offset + frame.LAYOUT.size : found.end]
    if found.header.kind == frame.EPOCH:
        return {"life": plain(frame.unpack_life(found.header, payload))}
    entries = frame.unpack_entries(found.header, payload)
    return {
        "entries": [
            {"key": key.hex(), "op": "delete" if value is None else "put", "value": plain(value)}
            for key, value in entries
        ]
    }


# --- what the metadata says ------------------------------------------------------------------


def inspect_key(site: Site | None, fs: FileSystem, words: Sequence[str]) -> object:
    """Every version of a KEY, newest first."""
    bucket, key = _words(words, "key BUCKET KEY --data DIR|--config FILE", 2, 2)
    return _ask(site, fs, lambda tx: _versions(tx, bucket, key))


def inspect_version(site: Site | None, fs: FileSystem, words: Sequence[str]) -> object:
    """A version (the current one) of a KEY, and where its shards are."""
    usage = "version BUCKET KEY [VERSION] --data DIR|--config FILE"
    bucket, key, *rest = _words(words, usage, 2, 3)

    def find(tx: ReadTx) -> object:
        for version_id, row in _found(tx, bucket, key):
            if not rest or rest[0] == version_id.hex():
                data = [_locations(tx, one) for one in row.data]
                return {"version": version_id.hex(), "row": _row(row), "locations": data}
        raise ConfigError(f"inspect: {bucket}/{key} has no such version")

    return _ask(site, fs, find)


def _ask(site: Site | None, fs: FileSystem, question: Callable[[ReadTx], object]) -> object:
    if site is None:
        raise ConfigError("inspect: keys and versions need --data DIR or --config FILE")
    with (
        looked_at(site, fs) as looked,
        rebuilt(looked, lambda step, done, total: None) as index,
    ):
        return index.read(lambda tx, _: question(tx))


def _found(tx: ReadTx, bucket: str, key: str) -> Iterator[tuple[bytes, VersionRow]]:
    row = tables.get_bucket(tx, bucket)
    if row is None:
        raise ConfigError(f"inspect: there is no bucket {bucket!r}")
    wanted = key.encode("utf-8", "surrogateescape")
    for found, version_id, version in tables.scan_versions(tx, row.bucket_id, wanted):
        if found != wanted:
            return
        yield version_id, version


def _versions(tx: ReadTx, bucket: str, key: str) -> object:
    found = [
        {"version": version_id.hex(), "row": _row(row)}
        for version_id, row in _found(tx, bucket, key)
    ]
    if not found:
        raise ConfigError(f"inspect: there is no key {key!r} in {bucket}")
    return found


def _row(row: VersionRow) -> object:
    """The row; inline bytes are told by their number."""
    if row.inline is None:
        return plain(row)
    told = plain(msgspec.structs.replace(row, inline=None))
    assert isinstance(told, dict)
    return {**told, "inline": f"{len(row.inline)} bytes"}


def _locations(tx: ReadTx, data: Data) -> object:
    runs = tables.scan_locations(tx, data.data_id, 0, layout.run_count(data) - 1)
    stripes = [plain(stripe) for _, row in runs for stripe in row.stripes]
    return {"data_id": data.data_id.hex(), "stripes": stripes}


INSPECTORS: Mapping[str, Inspector] = {
    "disk": inspect_disk,
    "segment": inspect_segment,
    "record": inspect_record,
    "frame": inspect_frame,
    "key": inspect_key,
    "version": inspect_version,
}
