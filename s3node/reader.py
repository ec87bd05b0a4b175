"""Read a stopped node's disks without the node: for the day when nothing else is left.

    python reader.py DISK [DISK ...] [--list] [--extract FOLDER] [--bucket B] [--parity M]

This one file needs Python 3.11 and the package `xxhash`. It imports nothing of the project and was
written from the README's "On-disk format" alone: the proof that the format is open.

Give it D - m or more disks; it only reads them. It takes the newest checkpoint that is complete,
replays the journal's chain on it, and so has every row. With `--list` it prints them (one JSON
object per line: buckets, versions, unfinished uploads); with `--extract` it writes every object
below FOLDER, which must be empty or absent; with neither it reads and verifies everything.
Whatever has a digest is checked, and bad shards are decoded around, block by block. Exit status
0: all was recovered; 1: something was lost (lines `LOST` on stderr say what); 2: wrong usage.

In FOLDER, `BUCKET/KEY` is the current version of a key; `%index.jsonl` has a line for everything,
with metadata; `%damaged/BUCKET/KEY` is an object of which something is lost, with zeros where
bytes are missing. The path of a key: it is cut at each `/`; `%`, control characters, and the dots
of `.` and `..` become `%XX`; an empty name becomes `%`; a name of more than 200 bytes is cut into
several, all but the last with `%+` at the end. A file whose key is also a folder of another key
gets a `%` at its end; a version that is not the current one `%v` and its version id. A `%` of the
key itself is always `%25`, so that no two keys share a path and every path has one key.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sqlite3
import sys
import zlib
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from struct import Struct, unpack_from
from types import SimpleNamespace
from typing import Any

from xxhash import xxh3_64_digest, xxh3_128, xxh3_128_digest

STRIPES_PER_RUN = 16
BLOCK = 1 << 16  # payload bytes per digest


class Damaged(Exception):
    """These bytes are not what they should be, or not there."""


def note(text: str, mark: str = "note") -> None:
    sys.stderr.write(f"{mark}: {text}\n")


def read(path: Path, offset: int = 0, size: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except OSError as fault:
        note(f"{path}: {fault.strerror}")
        return b""


# --- headers: magic, version, flags, fields, CRC-32 of all before it; little-endian ------------
class Header:
    def __init__(self, magic: bytes, spec: str) -> None:
        pairs = [field.split(":") for field in spec.split()]
        self._magic, self._names = magic, ["version", "flags", *(name for name, _ in pairs)]
        self._struct = Struct(f"<8sHH{''.join(kind for _, kind in pairs)}I")
        self.size = self._struct.size

    def read(self, raw: bytes) -> SimpleNamespace:
        if len(raw) < self.size or not raw.startswith(self._magic):
            raise Damaged("a header should be here")
        _, *values, crc = self._struct.unpack_from(raw)
        if zlib.crc32(raw[: self.size - 4]) != crc:
            raise Damaged("the header's CRC differs")
        head = SimpleNamespace(**dict(zip(self._names, values, strict=True)))
        if (head.version, head.flags) != (1, 0):
            raise Damaged(f"version {head.version}, flags {head.flags}: of a later release")
        return head


IDENTITY = Header(b"s3nDISK\n", "slot:H disks:H node:16s disk_id:16s created:Q zero:I")
FRAME = Header(
    b"s3nFRAM\n",
    "kind:H zero:H node:16s epoch:Q sequence:Q time:Q synced:Q size:I entries:I previous:16s"
    " digest:16s zero_2:I",
)
MANIFEST = Header(
    b"s3nMANI\n",
    "ranges:I node:16s epoch:Q generation:Q sequence:Q chain:16s base:Q base_chain:16s size:Q"
    " digest:16s zero:I",
)
RANGE = Struct("<QIHHQ16sQ16s")  # in a manifest: file, key lengths, size, digest, as of, its hash
RECORD = Header(
    b"s3nRECD\n",
    "k:B m:B code:B shard:B data_id:16s disk_id:16s segment:Q offset:Q stripe_offset:Q sequence:Q"
    " stripe:I stripe_bytes:I size:I digests:H block_bits:B zero:B hint_bytes:H zero_2:H"
    " key_id:16s hint_crc:I digest_crc:I",
)

# --- rows: MessagePack arrays; a later release may have added fields at the end ----------------
BUCKET = "bucket_id created_ms owner region versioning"
VERSION = (
    "hlc modified_ms size etag digest parts null delete_marker inline data headers metadata"
    " checksum part_checksums sha256 owner storage_class tags"
)
DATA = "data_id size stripe_bytes part digest"
UPLOAD = "initiated_ms owner headers metadata"
PART = "size etag digest modified_ms"
STRIPE = "k m stripe_bytes shards"
LENGTH_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4}


def named(names: str, values: list[Any]) -> SimpleNamespace:
    return SimpleNamespace(**dict(zip(names.split(), values, strict=False)))


def content(key: bytes, value: bytes) -> bytes:
    """What a row's value holds between its format byte and its CRC, which is of the key too."""
    if zlib.crc32(value[:-4], zlib.crc32(key)).to_bytes(4, "big") != value[-4:]:
        raise Damaged("the row's CRC differs")
    if value[0] != 1:
        raise Damaged(f"row format {value[0]}: of a later release")
    return value[1:-4]


def msgpack(raw: bytes, at: int = 0) -> tuple[Any, int]:
    """The value at `at`, and where it ends: as much of MessagePack as rows are made of."""
    tag, at = raw[at], at + 1
    if tag < 0x80 or tag >= 0xE0:
        return (tag ^ 0x80) - 0x80, at
    if tag in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[tag], at
    if 0xCC <= tag <= 0xD3:  # unsigned, then signed, of 1, 2, 4, 8 bytes
        width = 1 << (tag & 3)
        return int.from_bytes(raw[at : at + width], "big", signed=tag >= 0xD0), at + width
    width, count = LENGTH_BYTES.get(tag, 0), tag & (15 if tag < 0xA0 else 31)
    if width:
        count, at = int.from_bytes(raw[at : at + width], "big"), at + width
    elif not 0x90 <= tag < 0xC0:
        raise Damaged(f"MessagePack type {tag:#x} in a row")
    if 0xA0 <= tag < 0xDC:
        piece = raw[at : at + count]
        return (piece if 0xC4 <= tag <= 0xC6 else piece.decode()), at + count
    items = []
    for _ in range(count):
        item, at = msgpack(raw, at)
        items.append(item)
    return items, at


# --- the code: GF(2^8) over 0x11d; parity row i has inverse(i XOR j) in column j ---------------
DOUBLE = bytes(a << 1 ^ (a >> 7) * 0x11D for a in range(256))
PRODUCT = [bytes(256)]  # by one factor, then for bytes.translate
for factor in range(1, 256):
    double = PRODUCT[factor >> 1].translate(DOUBLE)
    PRODUCT.append(bytes(a ^ (factor & 1) * b for b, a in enumerate(double)))
INVERSE = [row.find(1) for row in PRODUCT]


@lru_cache(4096)
def solution(k: int, have: tuple[int, ...]) -> list[list[int]]:
    """Row j: the factors with which the k shards `have` add up to data shard j (Gauss-Jordan)."""
    rows = [
        [int(i == j) if i < k else INVERSE[i ^ j] for j in range(k)] + [int(i == j) for j in have]
        for i in have
    ]
    for column in range(k):
        pivot = next(i for i in range(column, k) if rows[i][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        table = PRODUCT[INVERSE[rows[column][column]]]
        rows[column] = [table[value] for value in rows[column]]
        for i in range(k):
            if i != column:
                table = PRODUCT[rows[i][column]]
                rows[i] = [a ^ table[b] for a, b in zip(rows[i], rows[column], strict=True)]
    return [row[k:] for row in rows]


def decode(k: int, length: int, shards: dict[int, list[bytes | None]]) -> bytes:
    """A stripe, from any k good blocks in each column of blocks."""
    out: list[list[bytes]] = [[] for _ in range(k)]
    for column in range(-(-length // (k * BLOCK))):
        good = {i: block for i, blocks in shards.items() if (block := blocks[column]) is not None}
        if len(good) < k:
            raise Damaged(f"{len(good)} good shards of the {k} that are needed")
        have = tuple(sorted(good))[:k]
        for j in range(k):
            if j not in good:
                total = 0
                for i, factor in zip(have, solution(k, have)[j], strict=True):
                    total ^= int.from_bytes(good[i].translate(PRODUCT[factor]), "little")
                good[j] = total.to_bytes(len(good[have[0]]), "little")
            out[j].append(good[j])
    return b"".join(block for shard in out for block in shard)[:length]


# --- the disks, and the rows that lie on them --------------------------------------------------
class Store:
    def __init__(self, disks: list[Path]) -> None:
        self.losses = 0
        self.disks: dict[Path, SimpleNamespace] = {}
        self._files: dict[str, list[Path]] = defaultdict(list)  # the name says what is inside
        self._table = sqlite3.connect("", isolation_level=None)  # in a file that nobody sees
        self._table.execute("CREATE TABLE rows (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
        for disk in disks:
            for path in disk.glob("*/*"):
                self._files[path.name].append(path)
            try:
                self.disks[disk] = IDENTITY.read(read(disk / "identity"))
            except Damaged as fault:  # its files still say what they are
                note(f"{disk / 'identity'}: {fault}")

    def _all(self, suffix: str) -> list[Path]:
        return [path for name in self._files if name.endswith(suffix) for path in self._files[name]]

    def lose(self, text: str) -> None:
        self.losses += 1
        note(text, "LOST")

    def _put(self, key: bytes, value: bytes | None) -> None:
        self._table.execute("INSERT OR REPLACE INTO rows VALUES (?, ?)", (key, value))

    def _scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The rows whose keys begin with `prefix`, in order."""
        end = (int.from_bytes(prefix, "big") + 1).to_bytes(len(prefix), "big")
        query = "SELECT * FROM rows WHERE key >= ? AND key < ? AND value NOT NULL ORDER BY key"
        yield from self._table.execute(query, (prefix, end))

    def rows(self, names: str, prefix: bytes) -> Iterator[tuple[bytes, SimpleNamespace]]:
        for key, value in self._scan(prefix):
            try:
                yield key, named(names, msgpack(content(key, value))[0])
            except Damaged as fault:
                self.lose(f"row {key!r}: {fault}")

    def walk(self, names: str, table: bytes, root: bytes, head: bytes = b"") -> Iterator[Any]:
        """Object key, version or upload id, and row, in order, through all subtrees."""
        for key, value in self._scan(table + root):
            rest, nul, row_id = key[9:].partition(b"\0")
            try:
                inside = content(key, value)
                if nul:
                    yield head + rest, row_id, named(names, msgpack(inside)[0])
                else:
                    yield from self.walk(names, table, inside, head + rest[:-1])
            except Damaged as fault:
                self.lose(f"{'key' if nul else 'all keys from'} {head + rest!r}: {fault}")

    def load(self, parity: int) -> None:
        """All rows: those of a checkpoint, and what the journal says after it."""
        base, base_chain, newest, starts, as_of = 0, bytes(16), 0, [b""], [0]
        for head, ranges in self._manifests():
            self._table.execute("DELETE FROM rows")
            base, base_chain, newest = head.base, head.base_chain, max(newest, head.sequence)
            starts, as_of = [part[0] for part in ranges], [part[1] for part in ranges]
            missing = [part[2] for part in ranges if not self._load_range(*part[2:])]
            if not missing:
                break
            note(f"checkpoint {head.epoch}-{head.generation} lacks {missing}")
        else:
            self.lose("all that was done before the journal begins: no checkpoint is complete")
        tip = self._replay(base, base_chain, starts, as_of)
        if tip < newest:
            self.lose(f"changes: the journal ends at frame {tip}, a checkpoint knew {newest}")
        for _, row in self.rows("stripes", b"L"):
            parity = named(STRIPE, row.stripes[0]).m
            break
        wanted = max((disk.disks for disk in self.disks.values()), default=1) - parity
        if len(self.disks) < wanted:
            hint = "" if parity else ", or to be told --parity, which no row says"
            self.lose(f"perhaps the newest changes: {wanted} disks are needed to see all{hint}")

    def _manifests(self) -> list[tuple[SimpleNamespace, list[Any]]]:
        """The newest first; of each range its first key, as-of, file name, size and digest."""
        found = {}
        for path in self._all(".manifest"):
            try:
                head, ranges, at = MANIFEST.read(raw := read(path)), [], MANIFEST.size
                if xxh3_128_digest(raw[at:]) != head.digest:
                    raise Damaged("the payload's digest differs")
            except Damaged as fault:
                note(f"{path}: {fault}")
                continue
            for _ in range(head.ranges):
                epoch, number, start, end, size, digest, as_of, _ = RANGE.unpack_from(raw, at)
                at += RANGE.size
                name = f"{epoch:08x}-{number:08x}.range"
                ranges.append((raw[at : at + start], as_of, name, size, digest))
                at += start + end
            found[head.epoch, head.generation] = head, ranges
        return [found[order] for order in sorted(found, reverse=True)]

    def _load_range(self, name: str, size: int, digest: bytes) -> bool:
        """From a copy that is good as a whole, so that its inner digests have nothing to add."""
        for path in self._files[name] if size else []:
            raw = read(path)
            if len(raw) != size or xxh3_128_digest(raw) != digest:
                note(f"{path}: the file's digest differs")
                continue
            at = 64 + sum(unpack_from("<HH", raw, 12))
            while raw.startswith(b"s3nB", at):
                (count,), at = unpack_from("<I", raw, at + 8), at + 36
                for _ in range(count):
                    key_bytes, value_bytes = unpack_from("<HI", raw, at)
                    middle, at = at + 6 + key_bytes, at + 6 + key_bytes + value_bytes
                    self._put(raw[middle - key_bytes : middle], raw[middle:at])
            return True
        return not size

    def _replay(self, base: int, base_chain: bytes, starts: list[bytes], as_of: list[int]) -> int:
        """Walk the chain from the newest frame down to the base, then apply it upwards."""
        frames: dict[bytes, SimpleNamespace] = {}
        for path in self._all(".log"):
            frames |= {head.chain: head for head in self._frames(path) if head.sequence > base}
        order = sorted(frames.values(), key=lambda head: (head.epoch, head.sequence))
        history, chain = [], order[-1].chain if order else base_chain
        while chain != base_chain:
            if chain in frames:
                history.append(frames[chain])
                chain = frames[chain].previous
                continue
            above = history[-1].sequence  # a gap: go on with the newest frame below it
            below = [head for head in order if head.sequence < above - 1]
            last, chain = (below[-1].sequence, below[-1].chain) if below else (base, base_chain)
            self.lose(f"changes: journal frames {last + 1} to {above - 1}")
        for head in reversed(history):
            payload, at = head.payload, 0
            while at < len(payload) and head.kind == 1:
                op, _, key_bytes, value_bytes = unpack_from("<BBHI", payload, at)
                middle, at = at + 8 + key_bytes, at + 8 + key_bytes + value_bytes
                key = payload[middle - key_bytes : middle]
                if as_of[bisect_right(starts, key) - 1] < head.sequence:
                    self._put(key, payload[middle:at] if op == 1 else None)
        return history[0].sequence if history else base

    def _frames(self, path: Path) -> Iterator[SimpleNamespace]:
        """Each good frame's header, with its hash and payload. One that is torn is nobody's."""
        raw, at = read(path), 0
        while 0 <= at < len(raw):
            try:
                head, middle = FRAME.read(raw[at : at + FRAME.size]), at + FRAME.size
                head.chain = xxh3_128_digest(raw[at:middle])
                head.payload = raw[middle : middle + head.size]
                if xxh3_128_digest(head.payload) != head.digest:
                    raise Damaged("the payload's digest differs")
                yield head
                at = middle + head.size
            except Damaged as fault:
                if any(raw[at:]):  # else it is room that was written ahead
                    note(f"{path} at {at}: {fault}")
                at = raw.find(b"s3nFRAM\n", at + 1)

    def _blocks(self, path: Path, offset: int, wanted: dict[str, Any]) -> list[bytes | None]:
        """The blocks of the record there, if it is the wanted one: None where a digest differs."""
        head = RECORD.read(read(path, offset, RECORD.size))
        disk = self.disks.get(path.parent.parent, head)
        if not wanted.items() <= vars(head).items() or head.disk_id != disk.disk_id:
            raise Damaged("another record than its row says")
        raw = read(path, offset + RECORD.size, 8 * head.digests + head.size)
        digests, payload = raw[: 8 * head.digests], raw[8 * head.digests :]
        pieces = [payload[i : i + BLOCK] for i in range(0, head.size, BLOCK)]
        good = [xxh3_64_digest(p)[::-1] == digests[8 * i : 8 * i + 8] for i, p in enumerate(pieces)]
        if zlib.crc32(digests) != head.digest_crc or not all(good):
            note(f"{path} at {offset}: {good.count(False)} of {len(good)} blocks differ")
        return [piece if ok else None for piece, ok in zip(pieces, good, strict=True)]

    def _stripe(self, data: SimpleNamespace, index: int) -> bytes:
        run, place = divmod(index, STRIPES_PER_RUN)
        key = b"L" + data.data_id + run.to_bytes(4, "big")
        stripes = [row.stripes[place] for _, row in self.rows("stripes", key)]
        if not stripes:
            raise Damaged("the row that says where it is is missing")
        k, m, length, locations = stripes[0][:4]
        wanted = {"k": k, "m": m, "code": 1, "data_id": data.data_id, "stripe": index}
        wanted |= {"stripe_bytes": length, "size": -(-length // k), "block_bits": 16}
        shards: dict[int, list[bytes | None]] = {}
        for shard, (_, segment, offset) in [pair for pair in enumerate(locations) if pair[1]]:
            wanted |= {"shard": shard, "segment": segment, "offset": offset}
            for path in self._files[f"{segment:016x}.seg"]:
                try:
                    shards[shard] = self._blocks(path, offset, wanted)
                except Damaged as fault:
                    note(f"{path} at {offset}: {fault}")
        return decode(k, length, shards)

    def copy(self, version: SimpleNamespace, write: Callable[[bytes], Any]) -> list[str]:
        """Write a version's bytes; returns what is wrong with them."""
        faults, size, part_digests = [], 0, b""
        whole, sha256 = xxh3_128(version.inline or b""), hashlib.sha256(version.inline or b"")
        write(version.inline or b"")
        for data in [named(DATA, values) for values in version.data]:
            part = xxh3_128()
            for start in range(0, data.size, data.stripe_bytes):
                try:
                    piece = self._stripe(data, start // data.stripe_bytes)
                except Damaged as fault:
                    piece = bytes(min(data.stripe_bytes, data.size - start))
                    faults.append(f"bytes {size} to {size + len(piece)}: {fault}")
                write(piece)
                size += len(piece)
                for digest in (part, whole, sha256):
                    digest.update(piece)
            part_digests += part.digest()
        if (xxh3_128_digest(part_digests) if version.parts else whole.digest()) != version.digest:
            faults.append("the object's XXH3-128 differs")
        if version.sha256 and not version.parts and sha256.digest() != version.sha256:
            faults.append("the object's SHA-256 differs")
        return faults


# --- what is asked for -------------------------------------------------------------------------
def path_of(key: bytes) -> str:
    names: list[bytes] = []
    for part in key.split(b"/"):
        name = b"".join(b"%%%02X" % c if c in b"%\x7f" or c < 32 else bytes([c]) for c in part)
        while len(name) > 200:
            cut = max(i for i in range(200) if name[i] & 0xC0 != 0x80)  # between characters
            names, name = [*names, name[:cut] + b"%+"], name[cut:]
        names.append(name.replace(b".", b"%2E") if name in (b".", b"..") else name or b"%")
    return os.fsdecode(b"/".join(names))


def extract(store: Store, version: SimpleNamespace, folder: Path, place: str) -> list[str]:
    temporary = folder / "%partial"
    with temporary.open("wb") as file:
        faults = store.copy(version, file.write)
    path = folder / ("%damaged" if faults else "") / place
    for parent in path.parents:  # keys come in order, so a folder's own key has come already
        if parent.is_file():
            parent.rename(f"{parent}%")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.replace(path)
    os.utime(path, (version.modified_ms / 1000,) * 2)
    return faults


def recover(store: Store, bucket: str, head: Any, asked: Any) -> Iterator[dict[str, Any]]:
    """A line for everything in a bucket, each object extracted or verified before its line."""
    told = {k[9:].decode(): r.xml.decode() for k, r in store.rows("xml", b"G" + head.bucket_id)}
    yield {"kind": "bucket", "bucket": bucket, **vars(head), "configurations": told}
    last = None
    for key, row_id, row in store.walk(VERSION, b"V", head.bucket_id):
        place = f"{bucket}/{path_of(key)}" + (f"%v{row_id.hex()}" if key == last else "")
        about = {"bucket": bucket, "key": key.decode(), "id": row_id, "current": key != last}
        last, faults = key, []
        if asked.extract and not row.delete_marker:
            faults = extract(store, row, asked.extract, place)
        elif not (asked.list or row.delete_marker):
            faults = store.copy(row, len)
        if faults:
            store.lose(f"{place}: {'; '.join(faults)}")
        row.inline = None
        yield {"kind": "version", **about, **vars(row), "faults": faults}
    for key, row_id, row in store.walk(UPLOAD, b"U", head.bucket_id):
        parts = {int.from_bytes(k[-4:], "big"): vars(p) for k, p in store.rows(PART, b"P" + row_id)}
        about = {"kind": "upload", "bucket": bucket, "key": key.decode(), "id": row_id}
        yield {**about, **vars(row), "parts": parts}


def main() -> int:
    parser = argparse.ArgumentParser(description="Reads a stopped node's disks without the node.")
    parser.add_argument("disks", metavar="DISK", nargs="+", type=Path)
    parser.add_argument("--list", action="store_true", help="print all rows, as lines of JSON")
    parser.add_argument("--extract", metavar="FOLDER", type=Path, help="write every object there")
    parser.add_argument("--bucket", metavar="B", help="only this one")
    parser.add_argument("--parity", metavar="M", type=int, default=0, help="the node's m")
    asked = parser.parse_args()
    if asked.extract and asked.extract.exists() and any(asked.extract.iterdir()):
        parser.error(f"{asked.extract} is not empty")
    store = Store(asked.disks)
    if len({disk.node for disk in store.disks.values()}) > 1:
        parser.error("these are disks of different nodes")
    store.load(asked.parity)
    outputs = [sys.stdout] if asked.list else []
    if asked.extract:
        asked.extract.mkdir(parents=True, exist_ok=True)
        outputs.append((asked.extract / "%index.jsonl").open("w"))
    found: Counter[str] = Counter()
    for key, row in store.rows(BUCKET, b"B"):
        name = key[1:].decode()
        if name == (asked.bucket or name):
            for line in recover(store, name, row, asked):
                found[line["kind"]] += 1
                for output in outputs:
                    output.write(json.dumps(line, default=bytes.hex) + "\n")
    note(", ".join(f"{count} {kind}s" for kind, count in found.items()), "found")
    if asked.bucket and not found:
        store.lose(f"bucket {asked.bucket}: no row says that there was one")
    return int(store.losses > 0)


if __name__ == "__main__":
    sys.exit(main())
