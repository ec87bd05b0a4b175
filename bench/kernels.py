"""How fast the coding kernels are, beside ISA-L and pyeclib: `python -m bench.kernels`.

Encode, and rebuild of m lost shards (the first m: all of them data, the dearest case), for common
geometries and shard sizes. The kernels and ISA-L's ec_encode_data are called in the same way, on
the same page-aligned shards in a row; `codec` is NativeCodec, and pyeclib pyeclib, as their users
call them. In each round every contender runs for a few milliseconds, one after the other, so that
a disturbance hits them all; a figure is the median of the rounds, in GB of data a second
(k * shard bytes), on one core.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from mmap import mmap
from statistics import median
from typing import Any

import cffi
import click
from rich.console import Console
from rich.table import Table

from ec import Geometry, NativeCodec, _gf, kernels_available
from ec.matrix import conversion
from ec.oracle import IsalCodec, PyeclibCodec

GEOMETRIES = (Geometry(4, 2), Geometry(8, 4), Geometry(12, 4))
SHARD_SIZES = tuple(1024 * kib for kib in (8, 32, 128, 512, 1024))
ROUND_SECONDS = 0.003
ROUNDS = 15
PEERS = ("codec", "ISA-L", "pyeclib")  # after the kernels, in this order

Run = Callable[[], object]


@dataclass(frozen=True)
class Work:
    """Which shards are made out of which."""

    title: str
    geometry: Geometry
    shard_bytes: int
    sources: tuple[int, ...]
    wanted: tuple[int, ...]

    @property
    def data_bytes(self) -> int:
        return self.geometry.k * self.shard_bytes


def encode_work(geometry: Geometry, shard_bytes: int) -> Work:
    shards = tuple(range(geometry.n))
    return Work("encode", geometry, shard_bytes, shards[: geometry.k], shards[geometry.k :])


def rebuild_work(geometry: Geometry, shard_bytes: int) -> Work:
    shards = tuple(range(geometry.n))
    return Work("rebuild", geometry, shard_bytes, shards[geometry.m :], shards[: geometry.m])


class Contenders:
    """Makes, for one piece of work, a function for each contender that does it once."""

    def __init__(self, kernels: list[str]) -> None:
        self.kernels = kernels
        self.isal, self.pyeclib, self.native = IsalCodec(), PyeclibCodec(), NativeCodec()
        # Loaded as IsalCodec loads libisal, so that a call costs the same.
        self.ffi = cffi.FFI()
        self.ffi.cdef("bool gf_apply(void *, void *, size_t, unsigned char **, unsigned char **);")
        self.lib: Any = self.ffi.dlopen(_gf.__file__)

    def of(self, work: Work) -> dict[str, Run]:
        geometry, size = work.geometry, work.shard_bytes
        memory = memoryview(mmap(-1, (geometry.n + geometry.m) * size))
        shards = [memory[i * size : (i + 1) * size] for i in range(geometry.n + geometry.m)]
        shards, out = shards[: geometry.n], shards[geometry.n :]
        memory[: geometry.k * size] = os.urandom(geometry.k * size)
        self.isal.encode(geometry, memory[: geometry.n * size], size)
        runs = {kernel: self._kernel(kernel, work, shards, out) for kernel in self.kernels}
        runs["ISA-L"] = self._isal(work, shards, out)
        for name, run in runs.items():
            for buffer in out:
                buffer[:] = bytes(size)
            run()
            assert out == [shards[index] for index in work.wanted], f"{name} is wrong"
        runs["codec"] = self._codec(work, shards, out)
        runs["pyeclib"] = self._pyeclib(work, shards)
        return runs

    def _kernel(
        self, name: str, work: Work, shards: list[memoryview], out: list[memoryview]
    ) -> Run:
        kernel, plan = _gf.ffi.new("const struct gf_kernel **"), _gf.ffi.new("struct gf_plan *")
        assert _gf.lib.gf_select(name.encode(), kernel) == _gf.lib.GF_SELECTED
        factors = b"".join(conversion(work.geometry, work.sources, work.wanted))
        _gf.lib.gf_plan_init(plan, len(work.wanted), work.geometry.k, factors)
        sources, kept = self._pointers([shards[index] for index in work.sources])
        outputs, kept_too = self._pointers(out)
        arguments = (
            self.ffi.cast("void *", int(_gf.ffi.cast("uintptr_t", kernel[0]))),
            self.ffi.cast("void *", int(_gf.ffi.cast("uintptr_t", plan))),
        )

        def run(_keep: object = (plan, kept, kept_too)) -> None:
            self.lib.gf_apply(*arguments, work.shard_bytes, sources, outputs)

        return run

    def _isal(self, work: Work, shards: list[memoryview], out: list[memoryview]) -> Run:
        tables = self.isal.tables(work.geometry, work.sources, work.wanted)
        sources, kept = self._pointers([shards[index] for index in work.sources])
        outputs, kept_too = self._pointers(out)
        shapes = (work.shard_bytes, work.geometry.k, len(work.wanted))

        def run(_keep: object = (kept, kept_too)) -> None:
            self.isal.lib.ec_encode_data(*shapes, tables, sources, outputs)

        return run

    def _codec(self, work: Work, shards: list[memoryview], out: list[memoryview]) -> Run:
        if work.title == "encode":
            whole = bytearray(b"".join(shards))
            return lambda: self.native.encode(work.geometry, whole, work.shard_bytes)
        sources = {index: shards[index] for index in work.sources}
        return lambda: self.native.rebuild(work.geometry, sources, work.wanted, out)

    def _pyeclib(self, work: Work, shards: list[memoryview]) -> Run:
        driver = self.pyeclib.driver(work.geometry)
        data = b"".join(shards[: work.geometry.k])
        if work.title == "encode":
            return lambda: driver.encode(data)
        fragments = driver.encode(data)
        present = [fragments[index] for index in work.sources]
        return lambda: driver.reconstruct(present, list(work.wanted))

    def _pointers(self, buffers: list[memoryview]) -> tuple[Any, Any]:
        views = [self.isal.ffi.from_buffer("unsigned char[]", buffer) for buffer in buffers]
        return self.isal.ffi.new("unsigned char *[]", views), views


def calls_a_round(run: Run) -> int:
    run()  # makes and caches what a first call makes
    return max(1, int(ROUND_SECONDS / seconds_per_call(run, 3)))


def seconds_per_call(run: Run, calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - begin) / calls


def measure(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Median seconds of one call of each contender."""
    calls = {name: calls_a_round(run) for name, run in runs.items()}
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            taken[name].append(seconds_per_call(run, calls[name]))
    return {name: median(times) for name, times in taken.items()}


@dataclass(frozen=True)
class Line:
    """GB of data a second of each contender at one piece of work; the best kernel is the first."""

    title: str
    shard_bytes: int
    speeds: dict[str, float]


def lines_of(
    geometry: Geometry, contenders: Contenders, rounds: int, sizes: Sequence[int]
) -> list[Line]:
    lines = []
    for make in (encode_work, rebuild_work):
        for size in sizes:
            work = make(geometry, size)
            seconds = measure(contenders.of(work), rounds)
            speeds = {name: work.data_bytes / taken / 1e9 for name, taken in seconds.items()}
            lines.append(Line(work.title, size, speeds))
    return lines


def run(
    rounds: int = ROUNDS, kernels: Sequence[str] = (), sizes: Sequence[int] = SHARD_SIZES
) -> dict[Geometry, list[Line]]:
    contenders = Contenders(list(kernels) or kernels_available())
    return {each: lines_of(each, contenders, rounds, sizes) for each in GEOMETRIES}


def table_of(geometry: Geometry, lines: Sequence[Line]) -> Table:
    names = [name for name in lines[0].speeds if name not in PEERS]
    names += [name for name in PEERS if name in lines[0].speeds]
    table = Table(title=f"{geometry}: GB of data a second")
    table.add_column("")
    table.add_column("shard", justify="right")
    for name in names:
        table.add_column(name, justify="right")
    table.add_column(f"{names[0]} / ISA-L", justify="right", style="bold")
    table.add_column("codec / pyeclib", justify="right")
    for before, line in zip([None, *lines], lines, strict=False):
        if before is not None and before.title != line.title:
            table.add_section()
        table.add_row(
            line.title,
            f"{line.shard_bytes // 1024} KiB",
            *(f"{line.speeds[name]:.2f}" for name in names),
            f"{line.speeds[names[0]] / line.speeds['ISA-L']:.2f}",
            f"{line.speeds['codec'] / line.speeds['pyeclib']:.1f}",
        )
    return table


@click.command(help=__doc__)
@click.option("--rounds", default=ROUNDS, show_default=True, help="Rounds of each median.")
@click.option("--kernel", "kernels", multiple=True, help="Only these kernels.")
@click.option("--shard-kib", "kib", type=int, multiple=True, help="Only these shard sizes.")
def main(rounds: int, kernels: tuple[str, ...], kib: tuple[int, ...]) -> None:
    sizes = [1024 * size for size in kib] or SHARD_SIZES
    console = Console(width=None if os.isatty(1) else 140)
    for geometry, lines in run(rounds, kernels, sizes).items():
        console.print(table_of(geometry, lines))


if __name__ == "__main__":
    main()
