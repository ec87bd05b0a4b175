"""The versions that `bench.versions` and the tests of scale list. Pure.

Of one key very many, or of very many keys a few each: rows as PutObject leaves them, with no
bytes behind them.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from s3node.base.clock import COUNTER_BITS
from s3node.base.ids import version_id
from s3node.model.rows import VersionRow

KEY = "dicom/study/series/image.dcm"
KEYS_OF_A_PREFIX = 500
FIRST_MS = 1_700_000_000_000

Row = tuple[bytes, bytes, VersionRow]


def of_one_key(count: int) -> Iterator[Row]:
    """`count` versions of `KEY`, newest first."""
    for age in range(count):
        yield _row(KEY, count - age)


def of_many_keys(keys: int, versions: int) -> Iterator[Row]:
    """So many versions of each of so many keys, in the order of a listing."""
    for number in range(keys):
        for age in range(versions):
            yield _row(key(number), versions - age)


def key(number: int) -> str:
    """Sorts by number; `KEYS_OF_A_PREFIX` keys each are below one prefix."""
    return f"{number // KEYS_OF_A_PREFIX:06d}/{number % KEYS_OF_A_PREFIX:04d}.dcm"


def _row(name: str, number: int) -> Row:
    """Version `number` of a key: later ones have higher numbers."""
    stamp = FIRST_MS + number << COUNTER_BITS
    etag = blake2b(f"{name} {number}".encode(), digest_size=16).digest()
    identity = version_id(stamp, lambda count: etag[:count])
    row = VersionRow(
        hlc=stamp,
        modified_ms=FIRST_MS + number,
        size=0,
        etag=etag.hex(),
        digest=bytes(16),
        inline=b"",
        owner="owner-1",
        null=False,
    )
    return name.encode(), identity, row
