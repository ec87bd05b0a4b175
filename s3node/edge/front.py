"""Both listeners of a node on their sockets: started, given new certificates, stopped."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from s3node.base import limits
from s3node.edge.admin_listener import AdminListener
from s3node.edge.exchange import Patience
from s3node.edge.http import HttpServer
from s3node.edge.s3_listener import S3Listener
from s3node.edge.tls import CertificateWatch, make_context


class Endpoints(NamedTuple):
    """URLs as clients write them, with the ports that were bound."""

    s3: str
    admin: str


class Front:
    """The two servers. Nothing listens before `start`, nothing is left after `stop`."""

    def __init__(
        self,
        s3: S3Listener,
        admin: AdminListener,
        *,
        patience: Patience | None = None,
        connections_max: int = limits.CONNECTIONS_MAX,
    ) -> None:
        self._s3 = HttpServer(
            s3.handle, s3.refuse, name="s3", patience=patience, connections_max=connections_max
        )
        self._admin = HttpServer(
            admin.handle,
            admin.refuse,
            name="admin",
            patience=patience,
            connections_max=limits.ADMIN_CONNECTIONS_MAX,
        )
        self._watch: CertificateWatch | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(
        self, s3: tuple[str, int], admin: tuple[str, int], tls: tuple[Path, Path] | None = None
    ) -> Endpoints:
        """Listen on (host, port) each; port 0 takes a free one. `tls` is certificate and key."""
        context = make_context(*tls) if tls else None
        scheme = "https" if tls else "http"
        try:
            s3_port = await self._s3.start(*s3, context)
            admin_port = await self._admin.start(*admin, context)
        except BaseException:
            await self.stop(0)
            raise
        if tls:
            self._watch = CertificateWatch(*tls, self._use)
            self._watching = asyncio.create_task(self._watch.run())
        return Endpoints(_url(scheme, s3[0], s3_port), _url(scheme, admin[0], admin_port))

    async def reload_certificate(self) -> None:
        """Load the certificate files again now (SIGHUP); nothing without TLS."""
        if self._watch is not None:
            await self._watch.reload()

    async def stop(self, grace: float = limits.STOP_GRACE_S) -> None:
        """Stop accepting, let S3 requests finish for `grace` seconds, close everything."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
        await self._s3.stop(grace)
        await self._admin.stop(0)

    async def _use(self, context: ssl.SSLContext) -> None:
        await self._s3.use_tls(context)
        await self._admin.use_tls(context)


def _url(scheme: str, host: str, port: int) -> str:
    """An address that listens everywhere is reached at localhost."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104
    if ":" in name and not name.startswith("["):
        name = f"[{name}]"
    return f"{scheme}://{name}:{port}"
