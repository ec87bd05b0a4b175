"""The one place where a storage fault becomes an answer to a client."""

from __future__ import annotations

from s3node.base.errors import (
    BufferLost,
    DiskFull,
    FormatError,
    JournalStalled,
    MemoryShort,
    QuorumLost,
    S3Error,
    StorageFault,
)
from s3node.base.limits import RETRY_AFTER_S


def as_s3_error(fault: StorageFault) -> S3Error:
    """What a client is told: what happened, and whether trying again makes sense."""
    retry = {"Retry-After": str(RETRY_AFTER_S)}
    if isinstance(fault, DiskFull):
        return S3Error("InsufficientStorage", f"The node is out of space: {fault}.")
    if isinstance(fault, (BufferLost, MemoryShort)):
        return S3Error("SlowDown", headers=retry)
    if isinstance(fault, JournalStalled):
        return S3Error(
            "ServiceUnavailable",
            f"The outcome is in doubt until enough disks are back: {fault}.",
            headers=retry,
        )
    if isinstance(fault, QuorumLost):
        return S3Error("ServiceUnavailable", f"Too few disks: {fault}.", headers=retry)
    if isinstance(fault, FormatError):
        return S3Error("InternalError", f"Metadata is damaged: {fault}.")
    return S3Error("ServiceUnavailable", f"Storage failed: {fault}.", headers=retry)
