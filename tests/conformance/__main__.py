"""Prints how many cases each operation has."""

from __future__ import annotations

from tests.conformance.cases import counts

print(counts())
