"""The choice between kernels, and the C test program: native, emulated, and cross-compiled.

The program is the only place where kernels run whose instructions this CPU lacks: there the same
source is compiled against tests/c/emulated/immintrin.h.
"""

import platform
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ec import (
    KERNEL_VARIABLE,
    KernelNoCpuError,
    KernelNotBuiltError,
    KernelUnknownError,
    NativeCodec,
    kernel_names,
    kernels_available,
)

ROOT = Path(__file__).resolve().parents[2]
CSRC, CTESTS = ROOT / "csrc", ROOT / "tests" / "c"
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{CSRC}"]
SANITIZE = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
EMULATE = ["-DEMULATED", "-DGF_TARGET(f)=", "-DGF_CPU_HAS(f)=1", f"-I{CTESTS / 'emulated'}"]
X86 = ["avx512-gfni", "avx2-gfni", "avx512", "avx2", "ssse3"]
GFNI = [name for name in X86 if name.endswith("gfni")]
CROSS = "aarch64-linux-gnu-gcc"


def test_names() -> None:
    assert kernel_names() == [*X86, "neon", "scalar"]
    assert kernels_available()[-1] == "scalar"
    assert NativeCodec().kernel == kernels_available()[0]


def test_selection(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in kernels_available():
        assert NativeCodec(name).kernel == name
        monkeypatch.setenv(KERNEL_VARIABLE, name)
        assert NativeCodec().kernel == name
        assert NativeCodec("scalar").kernel == "scalar", "the argument goes first"
    monkeypatch.setenv(KERNEL_VARIABLE, "")
    assert NativeCodec().kernel == kernels_available()[0]


def test_three_different_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KernelUnknownError, match="avx2, ssse3"):
        NativeCodec("mmx")
    monkeypatch.setenv(KERNEL_VARIABLE, "mmx")
    with pytest.raises(KernelUnknownError):
        NativeCodec()
    foreign = X86 if platform.machine() == "aarch64" else ["neon"]
    for name in foreign:
        with pytest.raises(KernelNotBuiltError, match="architecture"):
            NativeCodec(name)
    for name in set(kernel_names()) - set(foreign) - set(kernels_available()):
        with pytest.raises(KernelNoCpuError, match="CPU"):
            NativeCodec(name)


def build(into: Path, options: Sequence[str], optimize: str, compiler: str = "gcc") -> Path:
    """The test program. The kernels unroll much: without optimization they compile quickest."""
    compiler_path = shutil.which(compiler)
    assert compiler_path, f"apt-get install -y gcc libc6-dev ({compiler} is missing)"
    program = into / "gf_test"

    def compile_one(source: Path) -> Path:
        level = optimize if source.name.startswith("gf_") else "-O1"
        target = into / f"{source.stem}.o"
        run([compiler_path, *STRICT, level, *options, "-c", str(source), "-o", str(target)])
        return target

    with ThreadPoolExecutor(2) as pool:
        objects = pool.map(compile_one, [*CSRC.glob("gf*.c"), CTESTS / "gf_test.c"])
        run([compiler_path, *options, *map(str, objects), "-o", str(program)])
    return program


def run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def kernels_run(output: str) -> list[str]:
    return [line.partition(":")[0] for line in output.splitlines()]


def test_native_kernels_under_sanitizers(tmp_path: Path) -> None:
    program = build(tmp_path, SANITIZE, "-O0")
    assert kernels_run(run([str(program)])) == kernels_available()


def test_gfni_kernels_emulated_under_sanitizers(tmp_path: Path) -> None:
    if platform.machine() == "aarch64":
        pytest.skip("this build has none")
    program = build(tmp_path, [*SANITIZE, *EMULATE], "-O0")
    assert kernels_run(run([str(program), *GFNI])) == GFNI


@pytest.mark.deep
def test_x86_kernels_emulated_as_built(tmp_path: Path) -> None:
    program = build(tmp_path, EMULATE, "-O3")
    assert kernels_run(run([str(program), *X86])) == X86


@pytest.mark.deep
@pytest.mark.parametrize("level", ["-O0", "-O3"])
def test_neon_under_qemu(tmp_path: Path, level: str) -> None:
    qemu = shutil.which("qemu-aarch64")
    assert qemu, "apt-get install -y qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
    program = build(tmp_path, ["-static"], level, CROSS)
    assert kernels_run(run([qemu, str(program)])) == ["neon", "scalar"]


def test_a_fault_in_a_kernel_is_found(tmp_path: Path) -> None:
    """The canary: a shuffle table with one wrong byte must not pass."""
    fault = tmp_path / "gf_fault.c"
    fault.write_text((CSRC / "gf.c").read_text().replace("(uint8_t)(i << 4)", "(uint8_t)(i * 15)"))
    program = tmp_path / "gf_test"
    kernels = [str(path) for path in CSRC.glob("gf_*.c")]
    run(["gcc", *STRICT, str(fault), *kernels, str(CTESTS / "gf_test.c"), "-o", str(program)])
    done = subprocess.run([str(program)], capture_output=True, timeout=600, check=False)
    assert done.returncode == 1
    assert b"output[at] == sum" in done.stderr
