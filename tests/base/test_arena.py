"""Arena: places never overlap, and end with the last reference to them."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import mmap
import os
import threading
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3node.base.arena import ALIGN, Arena, Row, map_shared
from s3node.base.errors import MemoryShort

PAGE = mmap.PAGESIZE


class Held:
    """A row, what was written to its places, and which of them have not ended."""

    def __init__(self, row: Row, number: int) -> None:
        self.row = row
        self.contents = {}
        for place, view in enumerate(row.places):
            self.contents[place] = bytes([number, place] * len(view))[: len(view)]
            view[:] = self.contents[place]

    def check(self) -> int:
        """The bytes it holds."""
        for place, content in self.contents.items():
            assert self.row.places[place] == content, "another place was written over it"
        return sum(map(len, self.contents.values()))


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False))
def test_places_are_apart_aligned_and_come_back(random: Random) -> None:
    """Against a plain list of who holds what; at the end there is one gap again."""
    arena = Arena(4 * PAGE)
    held: list[Held] = []
    for number in range(60):
        size = random.choice((1, 63, 64, 65, random.randint(1, 2 * PAGE)))
        try:
            row = arena.take_row(random.choice((1, 1, 2, 5)), size)
        except MemoryShort:
            assert held or size > PAGE // 2, "an empty arena has room for half of it"
        else:
            assert arena.offset(row.whole) % ALIGN == 0
            for place, view in enumerate(row.places):
                assert arena.offset(view) == arena.offset(row.whole) + place * size
            held.append(Held(row, number))
            del row, view
        for one in held:
            if random.random() < 0.2 and one.contents:
                place = random.choice(list(one.contents))
                del one.contents[place]
                one.row.end(place)
            del one
        while held and random.random() < 0.5:
            del held[random.randrange(len(held))]
        assert arena.free() == arena.total - sum(one.check() for one in held)
    held.clear()
    assert len(arena.take(arena.total)) == arena.total


def test_whatever_was_made_of_a_view_keeps_its_place() -> None:
    arena = Arena(PAGE)
    part = arena.take(PAGE)[100:200].cast("H")
    with pytest.raises(MemoryShort):
        arena.take(1)
    del part
    assert arena.offset(arena.take(PAGE)) == 0


def test_a_place_ends_once() -> None:
    row = Arena(PAGE).take_row(3, 100)
    row.end(1)
    row.end(0)
    for place in (0, 1):
        with pytest.raises(AssertionError, match="once"):
            row.end(place)


def test_what_only_a_cycle_holds_is_found() -> None:
    arena = Arena(PAGE)
    cycle: list[object] = [arena.take(PAGE)]
    cycle.append(cycle)
    del cycle
    assert len(arena.take(1)) == 1


def test_places_end_in_any_thread() -> None:
    arena = Arena(64 * PAGE)
    for _ in range(20):
        views = [[arena.take(PAGE)] for _ in range(64)]
        threads = [threading.Thread(target=one.clear) for one in views]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert arena.free() == arena.total


def test_the_lowest_gap_is_taken_so_that_memory_is_used_again() -> None:
    arena = Arena(64 * PAGE)
    for _ in range(100):
        views = [arena.take(PAGE) for _ in range(3)]
        del views
    assert arena.peak == 3 * PAGE


def test_a_view_outlives_its_arena() -> None:
    view = Arena(PAGE).take(10)
    view[:] = b"0123456789"
    assert view == b"0123456789"


def test_another_process_maps_it_and_it_cannot_be_cut() -> None:
    arena = Arena(2 * PAGE, shared=True)
    arena.take(PAGE // 2)
    view = arena.take(5)
    view[:] = b"bytes"
    assert fcntl.fcntl(arena.fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    for size in (0, 3 * PAGE):
        with pytest.raises(PermissionError):
            os.ftruncate(arena.fd, size)
    other = map_shared(arena.fd)
    start = arena.offset(view)
    assert len(other) == arena.total and other[start : start + 5] == b"bytes"


def test_a_file_that_could_be_cut_is_not_mapped() -> None:
    fd = os.memfd_create("anything", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with contextlib.closing(os.fdopen(fd, "r+b")) as file:
        file.truncate(PAGE)
        with pytest.raises(ValueError, match="sealed"):
            map_shared(file.fileno())


def test_offset_is_for_views_of_this_arena() -> None:
    with pytest.raises(AssertionError):
        Arena(PAGE).offset(memoryview(bytearray(10)))


def test_on_a_loop_nothing_else_is_needed() -> None:
    """A task that is cancelled leaves no place behind."""
    arena = Arena(4 * PAGE)

    async def holder() -> None:
        view = arena.take(4 * PAGE)
        await asyncio.sleep(3600)
        assert view

    async def scenario() -> None:
        task = asyncio.create_task(holder())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
    assert len(arena.take(4 * PAGE)) == 4 * PAGE
