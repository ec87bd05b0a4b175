"""Every bound of the project by name; what must hold between them is asserted at import.

A number that limits something stands here once and nowhere else. Units are in the names.
"""

from __future__ import annotations

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

# --- disks and stripes -----------------------------------------------------------------------

DISKS_MAX = 16
"""Disks of a node, and so k + m at the most."""

STRIPE_BYTES_TARGET = 2 * MIB
"""Object bytes per stripe, rounded down so that every data shard is whole blocks.

Large enough that a spinning disk's transfer outweighs its seek when stripes are read in order,
small enough that sixteen uploads and downloads at once stay within the buffer budget.
"""

INLINE_BYTES_MAX = 4 * KIB
"""Objects up to this size live in their version row: coding them would cost n records whose
headers and syncs outweigh the payload."""

BUFFER_BUDGET_BYTES = 192 * MIB
"""Memory for stripes being written or read, for all requests together."""

OFFLOAD_BYTES_MIN = 32 * KIB
"""Hashing and coding of less than this is done on the event loop: a hop to a thread costs more."""

DISK_RESERVE_BYTES = 256 * MIB
"""Room that shards leave on a disk for journal and checkpoints (less on small disks)."""

DISK_RESERVE_SHARE = 32
"""On a small disk the reserve is this fraction (one part in ...) of the whole."""

# --- answering writes ------------------------------------------------------------------------

STRAGGLER_GRACE_S = 0.05
"""How long a write that has its quorum waits for the rest before it answers and owes them."""

# --- S3 --------------------------------------------------------------------------------------

XML_BODY_BYTES_MAX = 8 * MIB
"""A Complete of 10,000 parts with the longest checksums, or 1000 of the longest keys escaped."""

XML_DEPTH_MAX = 8
XML_ELEMENTS_MAX = 100_000

KEY_BYTES_MAX = 1024
"""Of an object's key, in UTF-8."""

PUT_BYTES_MAX = 5 * GIB
"""Of one PUT, one part, or one copied source."""

OBJECT_BYTES_MAX = 5 << 40
"""Of an object made of parts."""

PART_BYTES_MIN = 5 * MIB
"""Of every part but the last."""

PARTS_MAX = 10_000
LIST_ENTRIES_MAX = 1000
LIST_BUCKETS_MAX = 10_000
DELETE_KEYS_MAX = 1000

LIST_ROWS_PER_READ = 512
"""Rows that one read transaction of a listing looks at: long listings are many short reads."""

assert STRIPE_BYTES_TARGET * 2 <= BUFFER_BUDGET_BYTES
assert INLINE_BYTES_MAX < STRIPE_BYTES_TARGET
