"""The listeners of a process on their sockets: started, given new certificates, stopped."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import NamedTuple

from s3node.base import limits
from s3node.base.shares import CONNECTIONS, Bound
from s3node.edge.accepting import Share
from s3node.edge.admin_listener import AdminListener
from s3node.edge.exchange import Patience
from s3node.edge.http import HttpServer, bind
from s3node.edge.s3_listener import S3Listener
from s3node.edge.sender import open_sender, worthwhile
from s3node.edge.tls import CertificateWatch, Files, make_context


class Endpoints(NamedTuple):
    """URLs as clients write them, with the ports that were bound."""

    s3: str
    admin: str


class Sockets(NamedTuple):
    """What both listeners listen on."""

    s3: socket.socket
    admin: socket.socket

    @classmethod
    def bind(cls, s3: tuple[str, int], admin: tuple[str, int]) -> Sockets:
        """Listen on (host, port) each; port 0 takes a free one. ConfigError when it cannot."""
        first = bind(*s3)
        try:
            return cls(first, bind(*admin))
        except BaseException:
            first.close()
            raise

    def endpoints(self, s3_host: str, admin_host: str, *, secure: bool) -> Endpoints:
        """Where clients find them; the hosts as they were configured."""
        scheme = "https" if secure else "http"
        return Endpoints(
            _url(scheme, s3_host, self.s3.getsockname()[1]),
            _url(scheme, admin_host, self.admin.getsockname()[1]),
        )


class Front:
    """One server for each listener that this process has. Nothing is left after `stop`."""

    def __init__(
        self,
        s3: S3Listener | None,
        admin: AdminListener | None,
        *,
        patience: Patience | None = None,
        bound: Bound = CONNECTIONS,
        share: Share | None = None,
        processes: int = 1,
    ) -> None:
        """`processes`: so many of the node are at work on this machine."""
        self._s3: HttpServer | None = None
        self._admin: HttpServer | None = None
        if s3 is not None:
            self._s3 = HttpServer(
                s3.handle,
                s3.refuse,
                name="s3",
                patience=patience,
                bound=bound,
                share=share,
                open_sender=open_sender if worthwhile(processes) else None,
            )
        if admin is not None:
            self._admin = HttpServer(
                admin.handle,
                admin.refuse,
                name="admin",
                patience=patience,
                bound=Bound(limits.ADMIN_CONNECTIONS_MAX, limits.ADMIN_CONNECTIONS_MAX),
            )
        self._watch: CertificateWatch | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(
        self, s3: tuple[str, int], admin: tuple[str, int], tls: Files | None = None
    ) -> Endpoints:
        """Bind both and serve."""
        sockets = Sockets.bind(s3, admin)
        endpoints = sockets.endpoints(s3[0], admin[0], secure=tls is not None)
        try:
            self.serve(sockets, tls)
        except BaseException:
            for each in sockets:
                each.close()
            raise
        return endpoints

    def serve(self, sockets: Sockets, tls: Files | None = None) -> None:
        """Accept on the sockets of the listeners that are here."""
        s3, admin = _contexts(tls) if tls else (None, None)
        if self._s3 is not None:
            self._s3.serve(sockets.s3, s3)
        if self._admin is not None:
            self._admin.serve(sockets.admin, admin)
        if tls:
            self._watch = CertificateWatch(tls, self._use)
            self._watching = asyncio.create_task(self._watch.run())

    async def reload_certificate(self, tls: Files | None = None) -> None:
        """Load the certificate files again now, or others; nothing without TLS."""
        if self._watch is not None:
            await self._watch.reload(tls)

    def limit(self, bound: Bound) -> None:
        """So many connections of S3 clients may be open from now on."""
        if self._s3 is not None:
            self._s3.bound = bound

    async def stop(self, grace: float = limits.STOP_GRACE_S) -> None:
        """Stop accepting, let S3 requests finish for `grace` seconds, close everything."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
        if self._s3 is not None:
            await self._s3.stop(grace)
        if self._admin is not None:
            await self._admin.stop(0)

    async def _use(self, tls: Files) -> None:
        for server, context in zip((self._s3, self._admin), _contexts(tls), strict=True):
            if server is not None:
                await server.use_tls(context)


def _contexts(tls: Files) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For S3 and for the admin listener, whose clients have keys and need no certificates."""
    certificate, key, _ = tls
    return make_context(*tls), make_context(certificate, key)


def _url(scheme: str, host: str, port: int) -> str:
    """An address that listens everywhere is reached at localhost."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104
    if ":" in name and not name.startswith("["):
        name = f"[{name}]"
    return f"{scheme}://{name}:{port}"
