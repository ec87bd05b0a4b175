"""Decisions, pure: rows, plain values and `now` in; rows, plain values or an S3Error out.

No I/O, no clock, no randomness of its own, no knowledge of Kv engines, disks or HTTP.
"""
