"""One digest over all journaled rows: equal exactly when two indexes are equal in everything."""

from __future__ import annotations

import xxhash

from s3node.meta import schema
from s3node.meta.kv import Kv, ReadTx


def digest(kv: Kv) -> bytes:
    """XXH3-128 over (key length, key, value length, value) of every row, in order."""
    return kv.read(digest_rows)


def digest_rows(tx: ReadTx) -> bytes:
    hasher = xxhash.xxh3_128()
    for key, value in tx.scan(schema.JOURNALED_START, schema.KEYS_END):
        hasher.update(len(key).to_bytes(2, "big") + key)
        hasher.update(len(value).to_bytes(4, "big") + value)
    return hasher.digest()
