"""Geometries and matrices, against their definitions and against ISA-L's tables."""

import itertools
import random

import pytest

from ec import Geometry, _gf
from ec.matrix import combine, conversion, generator_row, identity, inverse, invert, times
from ec.oracle import IsalCodec

GEOMETRIES = [Geometry(k, m) for k in range(1, 16) for m in range(1, 17 - k)]


@pytest.mark.parametrize(("k", "m"), [(0, 1), (1, 0), (-1, 4), (4, -1), (12, 5), (16, 0), (1, 16)])
def test_what_is_no_geometry(k: int, m: int) -> None:
    with pytest.raises(ValueError, match="no code of"):
        Geometry(k, m)


def test_shard_bytes() -> None:
    for geometry in GEOMETRIES:
        for stripe_bytes in (0, 1, geometry.k - 1, geometry.k, geometry.k + 1, 1 << 20):
            size = geometry.shard_bytes(stripe_bytes)
            assert size * geometry.k >= stripe_bytes > (size - 1) * geometry.k
    with pytest.raises(ValueError, match="-1 bytes"):
        Geometry(4, 2).shard_bytes(-1)


def test_geometry_is_a_value() -> None:
    assert Geometry(8, 4) == Geometry(8, 4) != Geometry(4, 8)
    assert len({Geometry(8, 4), Geometry(8, 4)}) == 1
    assert (str(Geometry(8, 4)), Geometry(8, 4).n) == ("8+4", 12)


def test_field_of_python_and_c_and_isal() -> None:
    isal = IsalCodec().lib
    for a, b in itertools.product(range(256), repeat=2):
        product = times(a, bytes([b]))[0]
        assert product == _gf.lib.gf_multiply(a, b) == isal.gf_mul(a, b)
    assert all(times(a, bytes([inverse(a)])) == b"\1" for a in range(1, 256))
    with pytest.raises(ValueError, match="not found"):
        inverse(0)


def test_generator_of_4_and_2() -> None:
    """Golden: the disks are full of what these rows made."""
    rows = [generator_row(Geometry(4, 2), shard).hex() for shard in range(6)]
    assert rows == ["01000000", "00010000", "00000100", "00000001", "47a77aba", "a747ba7a"]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_conversion_is_isals(geometry: Geometry) -> None:
    isal, choose = IsalCodec(), random.Random(geometry.n)
    for _ in range(5):
        sources = tuple(sorted(choose.sample(range(geometry.n), geometry.k)))
        wanted = tuple(choose.sample(range(geometry.n), geometry.m))
        assert conversion(geometry, sources, wanted) == isal.matrix(geometry, sources, wanted)


def test_inverse_of_a_matrix() -> None:
    matrix = [generator_row(Geometry(6, 6), shard) for shard in range(6, 12)]
    assert [combine(row, matrix) for row in invert(matrix)] == identity(6)
    with pytest.raises(ValueError, match="singular"):
        invert([b"\1\2", b"\1\2"])


def test_bit_matrices_are_isals() -> None:
    """The factors in the form GFNI wants, for every element; ISA-L stores each four times."""
    isal = IsalCodec()
    plan = _gf.ffi.new("struct gf_plan *")
    tables = isal.ffi.new("unsigned char[]", 32 * 16)
    for first in range(0, 256, 16):
        factors = bytes(range(first, first + 16))
        _gf.lib.gf_plan_init(plan, 1, 16, factors)
        isal.lib.ec_init_tables_gfni(16, 1, factors, tables)
        ours = bytes(_gf.ffi.buffer(plan.affine))
        for at in range(16):
            theirs = bytes(tables[32 * at : 32 * at + 32])
            assert ours[8 * at : 8 * at + 8] * 4 == theirs
