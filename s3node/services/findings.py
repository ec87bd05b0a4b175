"""What an offline check has to say, and the bound on saying it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

DETAILS_MAX = 200
"""Findings of one kind and place that are told one by one; the rest are counted."""


class Finding(NamedTuple):
    """One thing worth knowing. `severe`: data is lost, damaged, or less redundant than it was."""

    severe: bool
    where: str
    what: str
    advice: str


@dataclass(slots=True)
class Ledger:
    """Collects findings; of many alike, tells the first and counts the rest."""

    found: list[Finding] = field(default_factory=list)
    _counts: Counter[tuple[bool, str, str]] = field(default_factory=Counter)

    def problem(self, where: str, what: str, advice: str, *, place: str = "") -> None:
        """Something that somebody must look at; `place` is within `where`."""
        self._add(True, where, place, what, advice)

    def note(self, where: str, what: str, advice: str, *, place: str = "") -> None:
        """Something that takes care of itself."""
        self._add(False, where, place, what, advice)

    def _add(self, severe: bool, where: str, place: str, what: str, advice: str) -> None:
        alike = (severe, where, advice)
        self._counts[alike] += 1
        if self._counts[alike] <= DETAILS_MAX:
            told = f"{where}, {place}" if place else where
            self.found.append(Finding(severe, told, what, advice))

    def all(self) -> list[Finding]:
        """Everything, with one line for each kind of which there were too many."""
        more = [
            Finding(severe, where, f"{count - DETAILS_MAX} more of the same kind", advice)
            for (severe, where, advice), count in self._counts.items()
            if count > DETAILS_MAX
        ]
        return self.found + more
