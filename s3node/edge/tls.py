"""TLS: contexts from certificate files, and watching the files for new ones.

A renewed certificate is picked up without dropping a connection: a fresh context is made and the
listening socket handed to it; connections that are open keep theirs. Files that do not load
leave the old certificate in use, with an error in the log. TLS 1.2 is the least that is spoken.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from s3node.base import limits, metrics
from s3node.base.errors import ConfigError

LOG = logging.getLogger("s3node.edge")

Use = Callable[[ssl.SSLContext], Awaitable[None]]


def make_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server context with this certificate chain and key; ConfigError if they do not load."""

    def no_password() -> str:
        raise ConfigError(f"{key}: the key is encrypted; a server needs one that is not")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=no_password)
    except ssl.SSLError as fault:
        reason = fault.reason or str(fault)
        raise ConfigError(
            f"{certificate}, {key}: not a certificate and its key: {reason}"
        ) from None
    except OSError as fault:
        raise ConfigError(f"{certificate}, {key}: {fault.strerror}") from None
    return context


class CertificateWatch:
    """Loads the files again when they change, or when asked to."""

    def __init__(
        self, certificate: Path, key: Path, use: Use, *, period: float = limits.TLS_RELOAD_S
    ) -> None:
        self._files = (certificate, key)
        self._use = use
        self._period = period
        self._seen = self._stamp()

    async def run(self) -> None:
        """Look at the files from time to time, until cancelled."""
        while True:
            await asyncio.sleep(self._period)
            if self._stamp() != self._seen:
                await self.reload()

    async def reload(self, files: tuple[Path, Path] | None = None) -> None:
        """Use the files as they are now, or others; keep what is in use if they do not load."""
        self._files = files or self._files
        self._seen = self._stamp()
        try:
            await self._use(make_context(*self._files))
        except (ConfigError, OSError) as fault:
            metrics.CERTIFICATE_RELOADS.labels("failed").inc()
            LOG.error("the certificate was not loaded again, the old one stays: %s", fault)
            return
        metrics.CERTIFICATE_RELOADS.labels("loaded").inc()
        LOG.info("certificate loaded again")

    def _stamp(self) -> tuple[object, ...]:
        """What changes when a file is replaced or rewritten."""
        stamps: list[object] = []
        for path in self._files:
            try:
                stat = path.stat()
                stamps.append((stat.st_mtime_ns, stat.st_ino, stat.st_size))
            except OSError as fault:
                stamps.append(fault.errno)
        return tuple(stamps)
