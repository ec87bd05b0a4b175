"""Who may destroy a version: the one function through which every removal passes (I6).

The API, batch deletion, overwriting, Complete, a bucket's removal, and later lifecycle,
replication and the admin API call `may_destroy` inside the transaction that removes the row.
Rows carry lock fields from the first release; what is set there is honoured, whoever set it.
"""

from __future__ import annotations

from s3node.base.errors import S3Error
from s3node.model.rows import VersionRow

GOVERNANCE = "GOVERNANCE"
COMPLIANCE = "COMPLIANCE"

PROTECTED = "Access Denied because object protected by object lock."


def lock_state(row: VersionRow) -> str:
    """A row's lock in words, for the death row that records what was destroyed."""
    parts = []
    if row.retention_mode:
        parts.append(f"{row.retention_mode} until {row.retain_until_ms}")
    if row.legal_hold:
        parts.append("legal hold")
    return ", ".join(parts)


def retained(row: VersionRow, now_ms: int) -> bool:
    """Whether the row's retention still runs. A mode nobody knows protects for ever."""
    if row.retention_mode in {GOVERNANCE, COMPLIANCE}:
        return now_ms < row.retain_until_ms
    return row.retention_mode != ""


def may_destroy(row: VersionRow, now_ms: int, *, bypass: bool = False) -> None:
    """Return if the version may go now; AccessDenied if its lock says no.

    `now_ms` is the clock that retention is judged by. `bypass` is what an authorised caller with
    `x-amz-bypass-governance-retention` has: it opens GOVERNANCE, never COMPLIANCE or a hold.
    """
    if row.legal_hold:
        raise S3Error("AccessDenied", PROTECTED)
    if retained(row, now_ms) and not (bypass and row.retention_mode == GOVERNANCE):
        raise S3Error("AccessDenied", PROTECTED)
