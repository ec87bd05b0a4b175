"""MD5 of every kernel against hashlib, and the C test program: native and emulated.

The program is the only place where kernels run whose instructions this CPU lacks: there the same
source is compiled against tests/c/emulated/immintrin.h.
"""

import hashlib
import platform
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3node.base import md5
from s3node.base.md5 import Job, Md5, Md5KernelError, kernel_names, kernels_available

ROOT = Path(__file__).resolve().parents[2]
CSRC, CTESTS = ROOT / "csrc", ROOT / "tests" / "c"
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{CSRC}"]
SANITIZE = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
EMULATE = [
    *("-DEMULATED", "-DMD5_TARGET(f)=", "-DMD5_CPU_HAS(f)=1", "-DMD5_SETTLE(r)="),
    f"-I{CTESTS / 'emulated'}",
]
X86 = ["avx512", "avx2"]
NOISE = hashlib.shake_128(b"md5").digest(1 << 16)
NO_LIMIT = 1 << 40

RFC_1321 = {
    b"": "d41d8cd98f00b204e9800998ecf8427e",
    b"a": "0cc175b9c0f1b6a831c399e269772661",
    b"abc": "900150983cd24fb0d6963f7d28e17f72",
    b"message digest": "f96b697d7cb7938d525a2f31aaf161d0",
    b"abcdefghijklmnopqrstuvwxyz": "c3fcd3d76192e4007dfb496cca67e13b",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789": (
        "d174ab98d277d9f5a5611c2c9f419d9f"
    ),
    b"1234567890" * 8: "57edf4a22be3c955ac49da2e2107b67a",
}

every_kernel = pytest.mark.parametrize("kernel", kernels_available())


def test_names() -> None:
    assert kernel_names() == [*X86, "scalar"]
    assert kernels_available()[-1] == "scalar"


def test_selection(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(name: str | None = None) -> str:
        md5.kernel.cache_clear()
        return bytes(md5.ffi.string(md5.kernel(name).name)).decode()

    assert chosen() == kernels_available()[0]
    for name in kernels_available():
        assert chosen(name) == name
        monkeypatch.setenv(md5.KERNEL_VARIABLE, name)
        assert chosen() == name
        assert chosen("scalar") == "scalar", "the argument goes first"
    monkeypatch.setenv(md5.KERNEL_VARIABLE, "mmx")
    with pytest.raises(Md5KernelError, match="there are avx512, avx2, scalar"):
        chosen()
    for name in set(kernel_names()) - set(kernels_available()):
        reason = "CPU" if platform.machine() == "x86_64" else "architecture"
        with pytest.raises(Md5KernelError, match=reason):
            chosen(name)
    md5.kernel.cache_clear()


@every_kernel
def test_vectors_of_the_rfc(kernel: str) -> None:
    for text, digest in RFC_1321.items():
        stream = Md5(kernel)
        stream.update(text)
        assert stream.hexdigest() == digest
        assert hashlib.md5(text).hexdigest() == digest


@every_kernel
def test_every_length(kernel: str) -> None:
    """One by one, and all together as 301 jobs of unequal lengths."""
    streams = [Md5(kernel) for _ in range(301)]
    jobs = [Job(stream, [NOISE[:size]]) for size, stream in enumerate(streams)]
    md5.advance(jobs, NO_LIMIT, kernel)
    for size, (job, stream) in enumerate(zip(jobs, streams, strict=True)):
        job.end()
        alone = Md5(kernel)
        alone.update(memoryview(NOISE)[:size])
        assert alone.digest() == stream.digest() == hashlib.md5(NOISE[:size]).digest()
        assert alone.length == stream.length == size


lengths = st.one_of(
    st.integers(0, 300), st.integers(0, 40).map(lambda blocks: 64 * blocks), st.integers(0, 9000)
)
messages = st.lists(st.lists(lengths, max_size=4), min_size=1, max_size=40)


@every_kernel
@settings(max_examples=60, deadline=None)
@given(messages=messages, bytes_max=st.sampled_from([1, 64, 100, 1000, NO_LIMIT]))
def test_streams_of_unequal_lengths(kernel: str, messages: list[list[int]], bytes_max: int) -> None:
    """In steps, in pieces, some in two jobs; the digest of a stream may be taken in between."""
    streams = [Md5(kernel) for _ in messages]
    oracles = [hashlib.md5() for _ in messages]
    for half in (0, 1):
        jobs = []
        for number, (sizes, stream, oracle) in enumerate(
            zip(messages, streams, oracles, strict=True)
        ):
            pieces = [memoryview(NOISE)[number + size :][:size] for size in sizes[half::2]]
            for piece in pieces:
                oracle.update(piece)
            jobs.append(Job(stream, pieces))
        left = list(jobs)
        while left:
            md5.advance(left, bytes_max, kernel)
            left = [job for job in left if not job.done]
        for job, stream, oracle in zip(jobs, streams, oracles, strict=True):
            job.end()
            assert stream.digest() == oracle.digest()


@every_kernel
def test_a_copy_goes_its_own_way(kernel: str) -> None:
    stream = Md5(kernel)
    stream.update(NOISE[:100])
    copy = stream.copy()
    stream.update(NOISE[100:200])
    assert copy.digest() == hashlib.md5(NOISE[:100]).digest()
    copy.update(NOISE[200:300])
    assert stream.digest() == hashlib.md5(NOISE[:200]).digest()
    assert copy.hexdigest() == hashlib.md5(NOISE[:100] + NOISE[200:300]).hexdigest()


def test_a_stream_in_a_job_is_nobody_elses() -> None:
    stream = Md5()
    job = Job(stream, [b"abc"])
    for use in (
        stream.digest,
        stream.copy,
        lambda: stream.update(b""),
        lambda: Job(stream, []),
        job.end,
    ):
        with pytest.raises(AssertionError):
            use()
    md5.advance([job], NO_LIMIT)
    job.end()
    assert stream.hexdigest() == RFC_1321[b"abc"]


def test_beyond_32_bits_of_length() -> None:
    """The length in bits needs more than a word: 2^29 bytes and a few."""
    piece, oracle, stream = bytes(1 << 23), hashlib.md5(b"abc"), Md5()
    stream.update(b"abc")
    jobs = Job(stream, [piece] * 64)
    for _ in range(64):
        oracle.update(piece)
    md5.advance([jobs], NO_LIMIT)
    jobs.end()
    assert stream.length == 3 + (1 << 29)
    assert stream.digest() == oracle.digest()


# --- the test program in C --------------------------------------------------------------------


def build(into: Path, options: Sequence[str]) -> Path:
    """The test program, without optimization: the unrolled steps compile quickest so."""
    compiler = shutil.which("gcc")
    assert compiler, "apt-get install -y gcc libc6-dev"
    program = into / "md5_test"

    def compile_one(source: Path) -> Path:
        target = into / f"{source.stem}.o"
        run([compiler, *STRICT, *options, "-c", str(source), "-o", str(target)])
        return target

    with ThreadPoolExecutor(2) as pool:
        objects = pool.map(compile_one, [*CSRC.glob("md5*.c"), CTESTS / "md5_test.c"])
        run([compiler, *options, *map(str, objects), "-lm", "-o", str(program)])
    return program


def run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def kernels_run(output: str) -> list[str]:
    return [line.partition(":")[0] for line in output.splitlines()]


def test_native_kernels_under_sanitizers(tmp_path: Path) -> None:
    program = build(tmp_path, SANITIZE)
    assert kernels_run(run([str(program)])) == kernels_available()


def test_kernels_emulated_under_sanitizers(tmp_path: Path) -> None:
    if platform.machine() == "aarch64":
        pytest.skip("this build has none")
    program = build(tmp_path, [*SANITIZE, *EMULATE])
    assert kernels_run(run([str(program), *X86])) == X86


def test_a_fault_in_a_kernel_is_found(tmp_path: Path) -> None:
    """The canary: one constant with one wrong bit must not pass."""
    fault = tmp_path / "md5_fault.c"
    text = (CSRC / "md5_rounds.h").read_text().replace("0xbebfbc70", "0xbebfbc71")
    (tmp_path / "md5_rounds.h").write_text(text)
    fault.write_text((CSRC / "md5_scalar.c").read_text())
    others = [str(path) for path in CSRC.glob("md5*.c") if path.name != "md5_scalar.c"]
    program = tmp_path / "md5_test"
    sources = [str(fault), *others, str(CTESTS / "md5_test.c")]
    run(["gcc", *STRICT, *sources, "-lm", "-o", str(program)])
    done = subprocess.run([str(program), "scalar"], capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert b"vectors[i].digest" in done.stderr
