"""The rows, by family: every module here that has a `CASES` is taken."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from tests.conformance import generic
from tests.conformance.case import Case

ALWAYS_REFUSED = frozenset(
    {
        "GetBucketEncryption",
        "GetBucketLifecycleConfiguration",
        "GetBucketPolicy",
        "GetBucketPolicyStatus",
        "GetBucketReplication",
        "GetBucketWebsite",
        "GetObjectLockConfiguration",
        "GetPublicAccessBlock",
    }
)
"""Nothing can be set that they would answer with: their example is an error."""


def own() -> list[Case]:
    """The rows as they are written down."""
    found: list[Case] = []
    for module in pkgutil.iter_modules(__path__):
        found += import_module(f"{__name__}.{module.name}").CASES
    return found


@cache
def everything() -> tuple[Case, ...]:
    """All of them, and what is made from the examples."""
    rows = own()
    examples: dict[str, Case] = {}
    for case in rows:
        if not case.code or case.operation in ALWAYS_REFUSED:
            examples.setdefault(case.operation, case)
    made = [case for example in examples.values() for case in generic.cases(example)]
    return (*rows, *made)


def counts() -> str:
    """How many successes and errors each operation has, as a table."""
    rows = everything()
    lines = [f"{'operation':34} successes  errors"]
    for operation in sorted({case.operation for case in rows}):
        refused = [bool(case.code) for case in rows if case.operation == operation]
        lines.append(f"{operation:34} {refused.count(False):9} {refused.count(True):7}")
    refused = [bool(case.code) for case in rows]
    lines.append(f"{'all':34} {refused.count(False):9} {refused.count(True):7}")
    return "\n".join(lines)
