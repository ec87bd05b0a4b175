"""A server under measurement: where it is, who may ask, and which processes it is made of."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Self

from bench.presign import Keys


class Server:
    """An S3 endpoint. This class by itself is one that somebody else runs."""

    def __init__(
        self,
        name: str,
        version: str,
        endpoint: str,
        keys: Keys,
        pid: int | None = None,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.endpoint = endpoint.rstrip("/")
        self.keys = keys
        self.pid = pid  # the root of its processes, when they are ours to watch
        self.folder = folder  # on the disk that it stores on, as far as we know

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Somebody else's is left running."""

    def syncs(self) -> int | None:
        """fsyncs so far, if the server counts them."""
        return None


def ended_by(process: subprocess.Popen[str], seconds: float) -> None:
    """SIGTERM; after that many seconds SIGKILL, and to what it left behind. It leads a session."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(ProcessLookupError):  # as it should be: it left nobody behind
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdout is not None:
        process.stdout.close()
