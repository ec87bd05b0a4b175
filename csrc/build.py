"""Builds the C extensions: lets cffi emit the glue of each, then compiles as setuptools does.

An extension module `package._stem` is described by csrc/stem.cdef (the declarations that Python
sees) and csrc/stem.h (what the glue includes). Its other C files are listed in pyproject.toml;
without a stem.cdef the glue is among them.
SIMD kernels carry their own target attributes, so no file needs flags of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cffi
from setuptools import Extension
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
FLAGS = ["-std=c11", "-O3", "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing", "-pthread"]


class BuildExt(build_ext):
    """build_ext that emits the cffi glue first and says what is missing when compiling fails."""

    def build_extension(self, ext: Extension) -> None:
        stem = ext.name.rpartition(".")[2].lstrip("_")
        described = HERE / f"{stem}.cdef"
        if described.exists():
            ext.sources = [*ext.sources, self._glue(ext.name, stem, described.read_text())]
        ext.include_dirs = [*ext.include_dirs, str(HERE)]
        ext.extra_compile_args = [
            *FLAGS,
            "-Wno-unused-parameter",
            "-Wno-missing-field-initializers",
        ]
        ext.extra_link_args = ["-pthread"]
        try:
            super().build_extension(ext)
        except Exception:
            print(
                "\ns3node: the C extension did not compile. On Debian install the compiler first:"
                "\n    apt-get install -y gcc libc6-dev python3-dev\n",
                file=sys.stderr,
            )
            raise

    def _glue(self, name: str, stem: str, declarations: str) -> str:
        """The C file that cffi makes of the declarations."""
        glue = Path(self.build_temp) / f"_{stem}_glue.c"
        glue.parent.mkdir(parents=True, exist_ok=True)
        ffi = cffi.FFI()
        ffi.cdef(declarations)
        ffi.set_source(name, f'#include "{stem}.h"')
        ffi.emit_c_code(str(glue))
        return str(glue)
