"""The sdist has what building takes, the wheel has what running takes, and neither has more."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"s3node", "ec", "cluster"}


def build(source: Path, kind: str, into: Path) -> Path:
    """What a build frontend does, without its download of the build's requirements."""
    command = f"from setuptools import build_meta; build_meta.build_{kind}({str(into)!r})"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = [path for path in into.iterdir() if path.is_file()]
    return built


@pytest.fixture(scope="module")
def unpacked_sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made from what git has, so that nothing left over by a build gets in."""
    checkout, into = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("sdist")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in files.stdout.decode().split("\0")[:-1]:
        if (ROOT / name).exists():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / name).write_bytes((ROOT / name).read_bytes())
    with tarfile.open(build(checkout, "sdist", into)) as archive:
        archive.extractall(into)  # ours; Debian 12's Python has no filters yet
    (unpacked,) = [path for path in into.iterdir() if path.is_dir()]
    return unpacked


def test_sdist_has_all_sources(unpacked_sdist: Path) -> None:
    for folder in (*PACKAGES, "csrc"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".c", ".h", ".cdef"}:
                assert (unpacked_sdist / path.relative_to(ROOT)).exists(), path


def test_wheel_from_the_sdist_works(unpacked_sdist: Path, tmp_path: Path) -> None:
    wheel = build(unpacked_sdist, "wheel", tmp_path)
    assert "-cp311-abi3-" in wheel.name
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    top_level = {path.name for path in installed.iterdir() if ".dist-info" not in path.name}
    assert top_level == PACKAGES
    program = (
        "import ec; b = bytearray(b'abcd__'); ec.NativeCodec().encode(ec.Geometry(4, 2), b, 1);"
        "print(ec.__file__, b.hex())"
    )
    output = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert output.split() == [str(installed / "ec" / "__init__.py"), "61626364d493"]
