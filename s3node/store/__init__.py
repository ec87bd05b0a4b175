"""Disks: shards in records, records in segments, logs; and the engines that move their bytes.

    formats     identity, epoch, segment, record, seal (checked: what they have in common)
    disks       the directory of a disk: making, opening, locking, telling whose it is
    seams       DiskSet: what the layers above see
    diskset     the D disks of a node; append, reading, logs: one disk's share of it;
                state: what is known of a disk while the node runs
    engine      the seam below: native (C), plain (threads; inline for simulations), drain
    scan        a segment from its own bytes, around what is damaged

Knows no S3, no rows, and not what a journal frame means.
"""
