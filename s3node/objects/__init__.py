"""Bytes <-> stripes <-> shards <-> disks.

    layout      where which byte lies: pure arithmetic
    placement   which disks a stripe goes to, and with which geometry: pure
    budget      the memory that stripes in flight may take, for all requests together
    write       a stream of bytes becomes stripes on a write quorum of disks
    read        a range of a version becomes verified bytes, around failed disks
    repair      owed shards are placed
    store       ObjectStore: the face that ops see; the one place where a StorageFault becomes
                an S3Error

Invariants kept here: I1 (no row names a stripe that is not synced on a write quorum: rows are
only built from answered appends), I7 (bytes leave only after their digest matched), I11
(location changes are compare-and-set; a reader re-reads the row once before it calls a shard
missing). Nothing here knows S3's protocol, HTTP, segments' formats or LMDB.
"""
