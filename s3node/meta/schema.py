"""The key schema: every key of the metadata, in one place.

Keys are ordered bytes of at most `KEY_BYTES_MAX`. The first byte is the table. Numbers are
big-endian, so that they sort; ids have a fixed length, so that nothing after them is ambiguous.

=====  ==================================================  ==============================
table  key after the table byte                            value
=====  ==================================================  ==============================
\\x00   "state"                                             node state: outside the journal
B      bucket name                                         BucketRow
C      bucket id (8), "o" or "b"                           counter: objects, bytes
D      death id (16)                                       DeathRow
G      bucket id (8), kind                                 ConfigurationRow
L      data id (16), run index (4)                         LocationRow
N      subtree id (8), rest of key, \\x00, version id (16)  empty: see below
N      subtree id (8), head of key, \\x01                   prefix id: subtree id (8)
O      data id (16), run index (4)                         OwedRow
P      upload id (16), part number (4)                     PartRow
U      subtree id (8), rest of key, \\x00, upload id (16)   UploadRow
U      subtree id (8), head of key, \\x01                   prefix id: subtree id (8)
V      subtree id (8), rest of key, \\x00, version id (16)  VersionRow
V      subtree id (8), head of key, \\x01                   prefix id: subtree id (8)
=====  ==================================================  ==============================

A counter is 8 bytes, big-endian, signed; a prefix id is the 8 bytes of a subtree id; everything
else is a MessagePack row. Keys are cut at bytes, not at characters.

A row in N says which version of a key is its null version. There is one for every null version
that has ever had another version above it, and for no other: a null version that never had is
the key's first row. So it is found without a walk, however many versions the key has.

Object keys are 1 to 1024 bytes of UTF-8 without NUL, and rows sort exactly as they do. A
bucket's id is the root of its tree. A key of more than `HEAD_BYTES` leaves its head in a
prefix-id row, which names the subtree where the rest continues, recursively. Order is exact
because the byte after a whole key or head is a marker (0x00, or 0x01 below which there is no
byte in a key) and position `HEAD_BYTES` never holds anything else. A prefix-id row is told from
the others by having no NUL. `s3node.meta.subtree` walks these paths; nobody else needs to.

Everything here is a pure function of its arguments.
"""

from __future__ import annotations

from s3node.base.ids import (
    BUCKET_ID_BYTES,
    DATA_ID_BYTES,
    SUBTREE_ID_BYTES,
    UPLOAD_ID_BYTES,
    VERSION_ID_BYTES,
)
from s3node.meta.kv import KEY_BYTES_MAX

NODE_STATE = b"\x00state"
BUCKETS = b"B"
USAGE = b"C"
DEATHS = b"D"
CONFIGURATIONS = b"G"
LOCATIONS = b"L"
NULLS = b"N"
OWED = b"O"
PARTS = b"P"
UPLOADS = b"U"
VERSIONS = b"V"

# Kinds of a bucket's configuration.
CORS = b"cors"
TAGGING = b"tagging"

JOURNALED_START = b"\x01"
KEYS_END = b"\xff" * (KEY_BYTES_MAX + 1)  # sorts after every key

HEAD_BYTES = 400
LEAF = b"\x00"
BRANCH = b"\x01"

DEATH_ID_BYTES = 16
LEAF_ID_BYTES = VERSION_ID_BYTES
_NUMBER_BYTES = 4
_BODY_AT = 1 + SUBTREE_ID_BYTES
_MARKER_AT = -len(LEAF) - LEAF_ID_BYTES

assert VERSION_ID_BYTES == UPLOAD_ID_BYTES
assert BUCKET_ID_BYTES == SUBTREE_ID_BYTES
assert _BODY_AT + HEAD_BYTES - _MARKER_AT <= KEY_BYTES_MAX
assert HEAD_BYTES + len(BRANCH) >= -_MARKER_AT


def successor(prefix: bytes) -> bytes:
    """The first key after all keys that begin with `prefix`."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else KEYS_END


def bucket(name: str) -> bytes:
    return BUCKETS + name.encode()


def usage_objects(bucket_id: bytes) -> bytes:
    assert len(bucket_id) == BUCKET_ID_BYTES
    return USAGE + bucket_id + b"o"


def usage_bytes(bucket_id: bytes) -> bytes:
    assert len(bucket_id) == BUCKET_ID_BYTES
    return USAGE + bucket_id + b"b"


def configuration(bucket_id: bytes, kind: bytes) -> bytes:
    assert len(bucket_id) == BUCKET_ID_BYTES
    return CONFIGURATIONS + bucket_id + kind


def death(death_id: bytes) -> bytes:
    assert len(death_id) == DEATH_ID_BYTES
    return DEATHS + death_id


def location(data_id: bytes, run: int) -> bytes:
    assert len(data_id) == DATA_ID_BYTES
    return LOCATIONS + data_id + run.to_bytes(_NUMBER_BYTES, "big")


def owed(data_id: bytes, run: int) -> bytes:
    assert len(data_id) == DATA_ID_BYTES
    return OWED + data_id + run.to_bytes(_NUMBER_BYTES, "big")


def part(upload_id: bytes, number: int) -> bytes:
    assert len(upload_id) == UPLOAD_ID_BYTES
    return PARTS + upload_id + number.to_bytes(_NUMBER_BYTES, "big")


def numbered(key: bytes) -> tuple[bytes, int]:
    """The id and the number of a location, owed or part key."""
    return key[1:-_NUMBER_BYTES], int.from_bytes(key[-_NUMBER_BYTES:], "big")


def leaf(table: bytes, subtree: bytes, rest: bytes, leaf_id: bytes) -> bytes:
    """A version, null or upload row; `rest` is what is left of the object key in this subtree."""
    assert len(subtree) == SUBTREE_ID_BYTES
    assert len(leaf_id) == LEAF_ID_BYTES
    return leaves(table, subtree, rest) + leaf_id


def leaves(table: bytes, subtree: bytes, rest: bytes) -> bytes:
    """What the rows of one object key begin with."""
    assert 0 < len(rest) <= HEAD_BYTES
    return table + subtree + rest + LEAF


def branch(table: bytes, subtree: bytes, head: bytes) -> bytes:
    """The prefix-id row of a head."""
    assert len(head) == HEAD_BYTES
    return table + subtree + head + BRANCH


def split(key: bytes) -> tuple[bytes, bytes | None]:
    """What a key of the versions, nulls or uploads table says: (rest, leaf id) or (head, None).

    A leaf has its marker where a branch still has its head, and there is no NUL in a head.
    """
    if key[_MARKER_AT:-LEAF_ID_BYTES] == LEAF:
        return key[_BODY_AT:_MARKER_AT], key[-LEAF_ID_BYTES:]
    return key[_BODY_AT : -len(BRANCH)], None
