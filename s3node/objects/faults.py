"""The one place where a storage fault becomes an answer to a client."""

from __future__ import annotations

from s3node.base.errors import (
    BufferLost,
    DiskFull,
    EngineGone,
    FormatError,
    JournalStalled,
    QuorumLost,
    S3Error,
    StorageFault,
)
from s3node.base.limits import RETRY_AFTER_S

UNAVAILABLE = (
    (EngineGone, "The node's engine begins anew"),
    (JournalStalled, "The outcome is in doubt until enough disks are back"),
    (QuorumLost, "Too few disks"),
    (StorageFault, "Storage failed"),
)
"""What clients are to try again, and why; the first that fits."""


def as_s3_error(fault: StorageFault) -> S3Error:
    """What a client is told: what happened, and whether trying again makes sense."""
    retry = {"Retry-After": str(RETRY_AFTER_S)}
    if isinstance(fault, DiskFull):
        return S3Error("InsufficientStorage", f"The node is out of space: {fault}.")
    if isinstance(fault, BufferLost):
        return S3Error("SlowDown", headers=retry)
    if isinstance(fault, FormatError):
        return S3Error("InternalError", f"Metadata is damaged: {fault}.")
    why = next(why for kind, why in UNAVAILABLE if isinstance(fault, kind))
    return S3Error("ServiceUnavailable", f"{why}: {fault}.", headers=retry)
