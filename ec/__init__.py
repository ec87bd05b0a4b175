"""Reed-Solomon coding of stripes: geometry, matrices, and codecs behind one seam.

Knows nothing of objects, disks or S3, and imports nothing of s3node.
"""

from ec.codec import Codec
from ec.geometry import SHARDS_MAX, Geometry
from ec.native import (
    KERNEL_VARIABLE,
    KernelError,
    KernelNoCpuError,
    KernelNotBuiltError,
    KernelUnknownError,
    NativeCodec,
    kernel_names,
    kernels_available,
)

__all__ = [
    "KERNEL_VARIABLE",
    "SHARDS_MAX",
    "Codec",
    "Geometry",
    "KernelError",
    "KernelNoCpuError",
    "KernelNotBuiltError",
    "KernelUnknownError",
    "NativeCodec",
    "kernel_names",
    "kernels_available",
]
