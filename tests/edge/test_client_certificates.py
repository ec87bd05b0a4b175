"""Mutual TLS: who has no certificate of the configured authorities gets no further than the
handshake; whose certificate it was stands in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from pathlib import Path
from typing import Any

import msgspec
import pytest

from s3node.base import log, metrics
from s3node.base.errors import ConfigError
from s3node.base.shares import Bound
from s3node.edge.tls import CertificateWatch, Files, make_context, subject_of
from tests.edge.certificates import Authority, make_certificate, trusting_all
from tests.edge.listening import Edge, listening
from tests.edge.wire import Wire, until

NAME = "s3.example.org"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the access log tells."""
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(log, "access", lambda fields: told.append(msgspec.to_builtins(fields)))
    return told


def failures() -> float:
    value: Any = metrics.HANDSHAKES_FAILED.labels("s3")._value  # type: ignore[attr-defined]
    return float(value.get())


async def refused(edge: Edge, context: ssl.SSLContext) -> None:
    """With TLS 1.3 a client learns of it when it reads."""
    before = failures()
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        async with await Wire.connect(edge.port, ssl=context, server_hostname=NAME) as wire:
            await wire.ask(edge.signed("GET", "/"))
    await until(lambda: failures() == before + 1)


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS, ids=str)
async def test_only_clients_of_the_authority_are_served(
    tmp_path: Path, version: ssl.TLSVersion, lines: list[dict[str, Any]]
) -> None:
    """Another authority's, a server's, an expired one, one that signed itself: all are refused."""
    ours, foreign = Authority(tmp_path, "ours"), Authority(tmp_path, "foreign")
    server = ours.server(NAME)
    spoken = {"minimum_version": version, "maximum_version": version}
    itself, itself_key, _ = make_certificate(tmp_path, serial=9)
    async with listening(tls=(*server, ours.file)) as edge:
        for client in (
            None,
            foreign.client("gateway-1"),
            server,
            ours.client("old", days=-1),
            (itself, itself_key),
        ):
            await refused(edge, ours.trusted(client, **spoken))
        assert lines == []
        context = ours.trusted(ours.client("gateway-1", "North, Inc"), **spoken)
        async with await Wire.connect(edge.port, ssl=context, server_hostname=NAME) as wire:
            assert (await wire.ask(edge.signed("GET", "/"))).status == 200
            assert (await wire.ask(b"GET /bucket/k HTTP/1.1\r\nHost: x\r\n\r\n")).status == 403
        assert [line["status"] for line in lines] == [200, 403]
        assert {line["certificate"] for line in lines} == {r"CN=gateway-1,O=North\, Inc"}


async def test_the_admin_listener_asks_for_keys_only(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    async with listening(tls=(*ours.server(NAME), ours.file)) as edge:
        context = ours.trusted()
        wire = await Wire.connect(edge.admin_port, ssl=context, server_hostname=NAME)
        async with wire:
            answer = await wire.ask(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert answer.body == b"alive\n"
            answer = await wire.ask(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert answer.status == 401


async def test_other_authorities_are_used_from_the_next_connection_on(tmp_path: Path) -> None:
    first, second = Authority(tmp_path, "first"), Authority(tmp_path, "second")
    server = first.server(NAME)
    old = first.trusted(first.client("old"))
    new = first.trusted(second.client("new"))
    async with listening(tls=(*server, first.file)) as edge:
        ask = edge.signed("GET", "/")
        async with await Wire.connect(edge.port, ssl=old, server_hostname=NAME) as stays:
            assert (await stays.ask(ask)).status == 200
            await refused(edge, new)
            await edge.front.reload_certificate((*server, second.file))
            await refused(edge, old)
            async with await Wire.connect(edge.port, ssl=new, server_hostname=NAME) as wire:
                assert (await wire.ask(ask)).status == 200
            assert (await stays.ask(ask)).status == 200
            second.file.write_text("nothing")
            await edge.front.reload_certificate()
            await refused(edge, old)
            both = first.file.read_bytes() + Authority(tmp_path, "third").file.read_bytes()
            second.file.write_bytes(both)
            await edge.front.reload_certificate()
            async with await Wire.connect(edge.port, ssl=old, server_hostname=NAME) as wire:
                assert (await wire.ask(ask)).status == 200


async def test_a_session_that_is_resumed_shows_its_certificate_too(
    tmp_path: Path, lines: list[dict[str, Any]]
) -> None:
    """TLS 1.2, by the standard library: asyncio has no way to resume."""
    ours = Authority(tmp_path, "ours")
    context = ours.trusted(ours.client("gateway"), maximum_version=ssl.TLSVersion.TLSv1_2)

    def connect(port: int, ask: bytes, session: ssl.SSLSession | None) -> ssl.SSLSession | None:
        import socket

        with socket.create_connection(("127.0.0.1", port)) as plain:
            wrapped = context.wrap_socket(plain, server_hostname=NAME, session=session)
            with wrapped:
                wrapped.sendall(ask)
                assert wrapped.recv(12) == b"HTTP/1.1 200"
                assert wrapped.session_reused == (session is not None)
                return wrapped.session

    async with listening(tls=(*ours.server(NAME), ours.file)) as edge:
        ask = edge.signed("GET", "/")
        session = await asyncio.to_thread(connect, edge.port, ask, None)
        await asyncio.to_thread(connect, edge.port, ask, session)
    assert [line["certificate"] for line in lines] == ["CN=gateway"] * 2


async def test_without_authorities_nobody_is_asked(
    tmp_path: Path, lines: list[dict[str, Any]]
) -> None:
    async with listening(tls=make_certificate(tmp_path, serial=1)) as edge:
        ours = Authority(tmp_path, "ours")
        context = trusting_all()
        context.load_cert_chain(*ours.client("somebody"))
        async with await Wire.connect(edge.port, ssl=context) as wire:
            assert (await wire.ask(edge.signed("GET", "/"))).status == 200
    assert all("certificate" not in line for line in lines)


def test_files_of_authorities_that_do_not_load_are_named(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    server = ours.server(NAME)
    leaf = ours.client("leaf")[0]
    for content, why in (
        (b"", "no certificates of authorities"),
        (b"nothing", "no certificates of authorities"),
        (server[1].read_bytes(), "no certificates of authorities"),
        (leaf.read_bytes(), "none of its certificates is an authority's"),
    ):
        broken = tmp_path / "broken.pem"
        broken.write_bytes(content)
        with pytest.raises(ConfigError, match=why):
            make_context(*server, broken)
    with pytest.raises(ConfigError, match="absent: No such file"):
        make_context(*server, tmp_path / "absent")


@pytest.mark.parametrize(
    ("peer", "subject"),
    [
        (None, ""),
        ({}, ""),
        ({"subject": ((("commonName", "a"),),)}, "CN=a"),
        ({"subject": ((("organizationName", "o"),), (("commonName", "a"),))}, "CN=a,O=o"),
        ({"subject": ((("commonName", "a,O=o"),),)}, r"CN=a\,O\=o"),
        ({"subject": ((("commonName", "a\\"),), (("commonName", "b"),))}, r"CN=b,CN=a\\"),
        ({"subject": ((("commonName", "a"), ("userId", "7")),)}, "CN=a+UID=7"),
        ({"subject": ((("commonName", " # "),),)}, r"CN=\ \#\ "),
        ({"subject": ((("emailAddress", "a@b"),),)}, "emailAddress=a@b"),
        ({"subject": (), "subjectAltName": (("DNS", "a"), ("DNS", "b"))}, "DNS:a"),
    ],
)
def test_subjects_are_written_so_that_none_looks_like_another(
    peer: dict[str, Any] | None, subject: str
) -> None:
    assert subject_of(peer) == subject


def test_a_refusal_tells_why(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")

    async def run() -> None:
        async with listening(tls=(*ours.server(NAME), ours.file)) as edge:
            await refused(edge, ours.trusted())

    with caplog.at_level(logging.INFO, "s3node.edge"):
        asyncio.run(run())
    told = [record.fields for record in caplog.records if record.message == "no TLS"]  # type: ignore[attr-defined]
    assert [each["remote"] for each in told] == ["127.0.0.1"]
    assert "certificate" in told[0]["why"].lower()


async def test_who_only_looks_whether_somebody_is_there_has_not_failed(tmp_path: Path) -> None:
    before = failures()
    async with listening(tls=make_certificate(tmp_path, serial=1)) as edge:
        server = edge.front._s3
        assert server is not None
        acceptor = server._acceptor
        assert acceptor is not None
        for polite in (True, False):
            wire = await Wire.connect(edge.port)
            await until(lambda: acceptor._greeting)
            if polite:
                wire.writer.close()
            else:
                wire.writer.transport.abort()
            await until(lambda: not acceptor._greeting)
        assert failures() == before
        wire = await Wire.connect(edge.port)
        await wire.send(b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: failures() == before + 1)
        wire.writer.close()


async def test_half_a_handshake_counts_as_a_connection(tmp_path: Path) -> None:
    """Who never finishes one gets no more of them than of others."""
    ours = Authority(tmp_path, "ours")
    greedy = ("127.0.0.2", 0)
    async with (
        listening(tls=(*ours.server(NAME), None)) as edge,
        contextlib.AsyncExitStack() as stack,
    ):
        server = edge.front._s3
        assert server is not None
        server.bound = Bound(8, 6)
        for _ in range(8):
            wire = await Wire.connect(edge.port, local_addr=greedy)
            await stack.enter_async_context(wire)
            await wire.send(b"\x16\x03\x01")
        acceptor = server._acceptor
        assert acceptor is not None
        await until(lambda: len(acceptor._greeting) == 8)
        assert len(acceptor._open) == 6
        assert len(acceptor._turned_away) == 2
        there = await Wire.connect(edge.port, ssl=ours.trusted(), server_hostname=NAME)
        async with there:
            assert (await there.ask(edge.signed("GET", "/"))).status == 200
        here = await Wire.connect(
            edge.port, ssl=ours.trusted(), server_hostname=NAME, local_addr=greedy
        )
        async with here:
            assert (await here.ask(edge.signed("GET", "/"))).status == 503
        await stack.aclose()
        await until(lambda: not acceptor._open and not acceptor._turned_away)


async def test_authorities_are_watched_as_certificates_are(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    used: list[Files] = []

    async def use(files: Files) -> None:
        used.append(files)

    files = (*ours.server(NAME), ours.file)
    watch = asyncio.create_task(CertificateWatch(files, use, period=0.01).run())
    await asyncio.sleep(0.05)
    assert used == []
    ours.file.write_bytes(ours.file.read_bytes() * 2)
    await until(lambda: used)
    assert used[0] == files
    watch.cancel()
