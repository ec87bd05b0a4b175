"""The codec of this project: the C kernels of csrc/gf*.c, called through cffi.

No byte is copied, and the GIL is released while C works. Which kernel runs is decided once, when
the codec is made: the one asked for, else the one that the environment variable
S3NODE_GF_KERNEL names, else the fastest that the CPU has. Matrices are expanded once for each loss
pattern and kept in a cache of bounded size.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import count, takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from ec._gf import ffi, lib
from ec.codec import check_encode, check_out, check_shards, check_wanted, choose_sources
from ec.geometry import Geometry
from ec.matrix import conversion

if TYPE_CHECKING:
    from typing_extensions import Buffer

KERNEL_VARIABLE = "S3NODE_GF_KERNEL"

# Names looked up and types parsed once: the calls below are a good part of coding a small shard.
from_buffer, new = ffi.from_buffer, ffi.new
_SHARD = ffi.typeof("uint8_t[]")
_SOURCES = ffi.typeof("const uint8_t *[]")
_OUTPUTS = ffi.typeof("uint8_t *[]")

# A plan takes 10 KiB. 12+4 has 2,516 loss patterns; a node meets a handful at a time.
_PLANS_KEPT = 512


class KernelError(ValueError):
    """The kernel asked for cannot be had."""


class KernelUnknownError(KernelError):
    """There is no kernel of that name: correct the name."""


class KernelNotBuiltError(KernelError):
    """The kernel is for another architecture than this build."""


class KernelNoCpuError(KernelError):
    """The kernel is built, but this CPU lacks its instructions."""


def kernel_names() -> list[str]:
    """All kernels there are, built or not, fastest first."""
    names = takewhile(lambda name: name != ffi.NULL, map(lib.gf_kernel_name, count()))
    return [ffi.string(name).decode() for name in names]


def kernels_available() -> list[str]:
    """The kernels that this build and this CPU can run, fastest first."""
    kernel = ffi.new("const struct gf_kernel **")
    return [n for n in kernel_names() if lib.gf_select(n.encode(), kernel) == lib.GF_SELECTED]


def _select(name: str | None) -> Any:
    """The struct gf_kernel of that name, or the fastest. Raises one of the KernelErrors."""
    kernel = ffi.new("const struct gf_kernel **")
    outcome = lib.gf_select(name.encode() if name is not None else ffi.NULL, kernel)
    if outcome == lib.GF_UNKNOWN:
        raise KernelUnknownError(f"no kernel {name!r}: there are {', '.join(kernel_names())}")
    if outcome == lib.GF_NOT_BUILT:
        raise KernelNotBuiltError(f"kernel {name!r} is not for this architecture")
    if outcome == lib.GF_NO_CPU:
        raise KernelNoCpuError(
            f"this CPU cannot run kernel {name!r}: {', '.join(kernels_available())}"
        )
    return kernel[0]


@lru_cache(maxsize=_PLANS_KEPT)
def _plan(geometry: Geometry, sources: tuple[int, ...], wanted: tuple[int, ...]) -> Any:
    """The struct gf_plan that makes the wanted shards out of the k sources."""
    check_wanted(geometry, wanted)
    plan = ffi.new("struct gf_plan *")
    factors = b"".join(conversion(geometry, sources, wanted))
    lib.gf_plan_init(plan, len(wanted), len(sources), factors)
    return plan


@lru_cache
def _encode_plan(geometry: Geometry) -> Any:
    return _plan(geometry, tuple(range(geometry.k)), tuple(range(geometry.k, geometry.n)))


class Native(NamedTuple):
    """`NativeCodec.encode` as C calls it: `encode` is gf_apply_in_row of csrc/gf.h.

    Pointers of this module's cffi, to be kept alive for as long as they are used.
    """

    encode: Any
    kernel: Any
    plan: Any


class NativeCodec:
    """Codec on the C kernels. Raises KernelError when the kernel asked for cannot be had."""

    def __init__(self, kernel: str | None = None) -> None:
        self._kernel = _select(kernel or os.environ.get(KERNEL_VARIABLE) or None)
        self.kernel: str = ffi.string(self._kernel.name).decode()
        self.name = f"native {self.kernel}"

    def encode(self, geometry: Geometry, shards: Buffer, shard_bytes: int) -> None:
        """See Codec.encode."""
        buffer = ffi.from_buffer("uint8_t[]", shards, require_writable=True)
        check_encode(geometry, len(buffer), shard_bytes)
        lib.gf_apply_in_row(self._kernel, _encode_plan(geometry), shard_bytes, buffer)

    def native(self, geometry: Geometry) -> Native:
        """For who crosses into C once for more than coding."""
        encode = ffi.addressof(lib, "gf_apply_in_row")
        return Native(encode, self._kernel, _encode_plan(geometry))

    def encode_into(
        self, geometry: Geometry, data: Sequence[Buffer], parity: Sequence[Buffer]
    ) -> None:
        """See Codec.encode_into."""
        check_shards(geometry, data, parity)
        self._apply(_encode_plan(geometry), data, parity)

    def rebuild(
        self,
        geometry: Geometry,
        sources: Mapping[int, Buffer],
        wanted: Sequence[int],
        out: Sequence[Buffer],
    ) -> None:
        """See Codec.rebuild."""
        chosen = choose_sources(geometry, sources)
        check_out(wanted, out)
        if wanted:
            plan = _plan(geometry, chosen, tuple(wanted))
            self._apply(plan, [sources[index] for index in chosen], out)

    def _apply(self, plan: Any, sources: Sequence[Buffer], out: Sequence[Buffer]) -> None:
        inputs = [from_buffer(_SHARD, buffer) for buffer in sources]
        outputs = [from_buffer(_SHARD, buffer, True) for buffer in out]  # True: writable
        shard_bytes = len(inputs[0])
        for shard in inputs + outputs:
            if len(shard) != shard_bytes:
                raise ValueError(f"shards of {shard_bytes} and of {len(shard)} bytes")
        if not lib.gf_apply(
            self._kernel, plan, shard_bytes, new(_SOURCES, inputs), new(_OUTPUTS, outputs)
        ):
            raise ValueError("an output overlaps a source or another output")
