"""The matrices of the code: which factors make a shard out of others.

Bytes are elements of GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1 (0x11d). The generator has one row
for each shard: the identity for data, and 1 / (row XOR column) for parity. That is ISA-L's
gf_gen_cauchy1_matrix, so the shards are ISA-L's as well. Every square part of a Cauchy matrix
is invertible, hence any k shards give all the others.

Pure; nothing is cached here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TypeAlias

from ec.geometry import Geometry

Row: TypeAlias = bytes
Matrix: TypeAlias = list[Row]

_POLYNOMIAL = 0x11D
_ONE_TIMES = bytes(range(256))
_TWO_TIMES = bytes(b << 1 ^ (_POLYNOMIAL if b & 0x80 else 0) for b in _ONE_TIMES)


def plus(a: Row, b: Row) -> Row:
    """The sum of two rows of equal length."""
    return (int.from_bytes(a) ^ int.from_bytes(b)).to_bytes(len(a))


def _multiplication_table() -> Matrix:
    """Row a holds a * b for every b: made by doubling row a // 2, and adding b when a is odd."""
    table = [bytes(256), _ONE_TIMES]
    for a in range(2, 256):
        twice = table[a >> 1].translate(_TWO_TIMES)
        table.append(plus(twice, _ONE_TIMES) if a & 1 else twice)
    return table


_TIMES = _multiplication_table()


def times(factor: int, row: Row) -> Row:
    """A row with every element multiplied by the factor."""
    return row.translate(_TIMES[factor])


def inverse(a: int) -> int:
    """1 / a. Raises ValueError for 0."""
    return _TIMES[a].index(1)


def combine(factors: Row, rows: Sequence[Row]) -> Row:
    """The sum of the rows, each multiplied by its factor."""
    return reduce(plus, map(times, factors, rows))


def identity(size: int) -> Matrix:
    return [bytes(row == column for column in range(size)) for row in range(size)]


def generator_row(geometry: Geometry, shard: int) -> Row:
    """The factors of the k data shards that make the shard of that index."""
    if shard < geometry.k:
        return bytes(column == shard for column in range(geometry.k))
    return bytes(inverse(shard ^ column) for column in range(geometry.k))


def invert(matrix: Sequence[Row]) -> Matrix:
    """The inverse of a square matrix, by elimination. Raises ValueError when there is none."""
    size = len(matrix)
    rows = [row + unit for row, unit in zip(matrix, identity(size), strict=True)]
    for at in range(size):
        pivot = next((row for row in range(at, size) if rows[row][at]), None)
        if pivot is None:
            raise ValueError("the matrix is singular")
        rows[at], rows[pivot] = rows[pivot], rows[at]
        rows[at] = times(inverse(rows[at][at]), rows[at])
        for row in range(size):
            if row != at and rows[row][at]:
                rows[row] = plus(rows[row], times(rows[row][at], rows[at]))
    return [row[size:] for row in rows]


def conversion(geometry: Geometry, sources: Sequence[int], wanted: Sequence[int]) -> Matrix:
    """The factors that make the wanted shards out of k source shards, one row for each wanted.

    With the data shards as sources and the parity shards as wanted it is the encoding matrix.
    """
    to_data = invert([generator_row(geometry, shard) for shard in sources])
    return [combine(generator_row(geometry, shard), to_data) for shard in wanted]
