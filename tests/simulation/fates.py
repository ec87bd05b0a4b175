"""What becomes of unsynced state when the power goes, and what there is to lose."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple, Protocol

from tests.simulation.files import SECTOR, Directory, File, Node


class Fates(Protocol):
    """What becomes of unsynced state."""

    def size(self, file: File) -> bool:
        """Whether the new size is found."""

    def sector(self, file: File, sector: int, length: int) -> int:
        """How many bytes of the new content of a sector are found, from its start."""

    def changes(self, directory: Directory) -> Sequence[bool]:
        """Which pending changes of names are found."""


class RandomFates:
    """Each by itself, new, old or torn; of the names often the first ones."""

    def __init__(self, source: Random) -> None:
        self._source = source

    def size(self, file: File) -> bool:
        return self._source.random() < 0.5

    def sector(self, file: File, sector: int, length: int) -> int:
        fate = self._source.randrange(3)
        return 0 if fate == 0 else length if fate == 1 else self._source.randrange(length + 1)

    def changes(self, directory: Directory) -> Sequence[bool]:
        source, count = self._source, len(directory.pending)
        kept = source.randrange(count + 1) if source.random() < 0.5 else None
        return [i < kept if kept is not None else source.random() < 0.5 for i in range(count)]


class Unsynced(NamedTuple):
    """One thing that a power cut may lose: a file's size, a run of sectors, a change of names."""

    path: str
    node: Node
    kind: str  # "size", "sectors", "names"
    first: int = 0  # sector, or which change
    count: int = 1


class ChosenFates:
    """All is found, but what is named here."""

    def __init__(self, lost: Sequence[Unsynced] = (), torn: Sequence[Unsynced] = ()) -> None:
        self._kept: dict[tuple[int, str, int], int] = {}  # bytes of it that are found
        for one in lost:
            for index in range(one.first, one.first + one.count):
                self._kept[id(one.node), one.kind, index] = 0
        for one in torn:
            middle = one.first + one.count // 2
            self._kept[id(one.node), one.kind, middle] = SECTOR // 2
            for index in range(middle + 1, one.first + one.count):
                self._kept[id(one.node), one.kind, index] = 0

    def size(self, file: File) -> bool:
        return (id(file), "size", 0) not in self._kept

    def sector(self, file: File, sector: int, length: int) -> int:
        return min(length, self._kept.get((id(file), "sectors", sector), length))

    def changes(self, directory: Directory) -> Sequence[bool]:
        count = len(directory.pending)
        return [(id(directory), "names", index) not in self._kept for index in range(count)]


def gather(node: Node, path: str, found: list[Unsynced], seen: set[int]) -> None:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, File):
        if len(node.seen) != len(node.platter):
            found.append(Unsynced(path, node, "size"))
        found += [Unsynced(path, node, "sectors", first, n) for first, n in _runs(node)]
        return
    children = {**node.platter, **node.seen}
    for index, change in enumerate(node.pending):
        found.append(Unsynced(path, node, "names", index))
        children |= {name: child for name, child in change.names if child is not None}
    for name in sorted(children):
        gather(children[name], f"{path}/{name}", found, seen)


def _runs(file: File) -> list[tuple[int, int]]:
    """Neighbouring unsynced sectors: (first, how many)."""
    runs: list[tuple[int, int]] = []
    for sector in sorted(file.dirty | file.lost):
        if runs and sum(runs[-1]) == sector:
            runs[-1] = runs[-1][0], runs[-1][1] + 1
        else:
            runs.append((sector, 1))
    return runs


def crashed_content(file: File, fates: Fates) -> bytes:
    size = len(file.seen)
    if size != len(file.platter) and not fates.size(file):
        size = len(file.platter)
    content = bytearray(file.platter[:size])
    content.extend(bytes(size - len(content)))
    for sector in sorted(file.dirty | file.lost):
        start = sector * SECTOR
        new = file.seen[start : start + SECTOR]
        stop = min(start + fates.sector(file, sector, len(new)), size)
        content[start:stop] = new[: max(0, stop - start)]
    return bytes(content)
