"""TLS: contexts from certificate files, and watching the files for new ones.

With a file of certificate authorities a client has to show a certificate that one of them signed
for clients; who has none gets no further than the handshake.

A renewed certificate is picked up without dropping a connection: a fresh context is made and the
listening socket handed to it; connections that are open keep theirs. Files that do not load
leave the old ones in use, with an error in the log. TLS 1.2 is the least that is spoken.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from s3node.base import limits, metrics
from s3node.base.errors import ConfigError

LOG = logging.getLogger("s3node.edge")

Files: TypeAlias = tuple[Path, Path, Path | None]
"""Certificate chain, key, and the authorities of clients where these need certificates."""

Use = Callable[[Files], Awaitable[None]]
"""Uses files from now on; ConfigError, and nothing is changed, if they do not load."""

_SPECIAL = re.compile(r'([\\,+"<>;=#]|^ | \Z)')
_ESCAPED = r"\\\1"
_SHORT_NAMES = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "countryName": "C",
    "domainComponent": "DC",
    "userId": "UID",
}


def make_context(
    certificate: Path, key: Path, client_authorities: Path | None = None
) -> ssl.SSLContext:
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
    if client_authorities is not None:
        _demand_certificates(context, client_authorities)
    return context


def _demand_certificates(context: ssl.SSLContext, authorities: Path) -> None:
    try:
        context.load_verify_locations(authorities)
    except ssl.SSLError as fault:
        reason = fault.reason or str(fault)
        raise ConfigError(f"{authorities}: no certificates of authorities: {reason}") from None
    except OSError as fault:
        raise ConfigError(f"{authorities}: {fault.strerror}") from None
    if not context.get_ca_certs():
        raise ConfigError(f"{authorities}: none of its certificates is an authority's")
    context.verify_mode = ssl.CERT_REQUIRED


def subject_of(peer: Mapping[str, Any] | None) -> str:
    """Whose certificate it is, as RFC 4514 writes names, else its first other name; "": none.

    What is special in names is escaped: nobody looks like somebody else.
    """
    if not peer:
        return ""
    names = ["+".join(map(_named, one)) for one in reversed(peer.get("subject", ()))]
    if names:
        return ",".join(names)
    return next((f"{kind}:{value}" for kind, value in peer.get("subjectAltName", ())), "")


def _named(pair: tuple[str, str]) -> str:
    kind, value = pair
    return f"{_SHORT_NAMES.get(kind, kind)}={_SPECIAL.sub(_ESCAPED, value)}"


class CertificateWatch:
    """Loads the files again when they change, or when asked to."""

    def __init__(self, files: Files, use: Use, *, period: float = limits.TLS_RELOAD_S) -> None:
        self._files = files
        self._use = use
        self._period = period
        self._seen = self._stamp()

    async def run(self) -> None:
        """Look at the files from time to time, until cancelled."""
        while True:
            await asyncio.sleep(self._period)
            if self._stamp() != self._seen:
                await self.reload()

    async def reload(self, files: Files | None = None) -> None:
        """Use the files as they are now, or others; keep what is in use if they do not load."""
        self._files = files or self._files
        self._seen = self._stamp()
        try:
            await self._use(self._files)
        except (ConfigError, OSError) as fault:
            metrics.CERTIFICATE_RELOADS.labels("failed").inc()
            LOG.error("the certificate was not loaded again, the old one stays: %s", fault)
            return
        metrics.CERTIFICATE_RELOADS.labels("loaded").inc()
        LOG.info("certificate loaded again")

    def _stamp(self) -> tuple[object, ...]:
        """What changes when a file is replaced or rewritten."""
        stamps: list[object] = []
        for path in filter(None, self._files):
            try:
                stat = path.stat()
                stamps.append((stat.st_mtime_ns, stat.st_ino, stat.st_size))
            except OSError as fault:
                stamps.append(fault.errno)
        return tuple(stamps)
