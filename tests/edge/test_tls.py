"""HTTPS: what is spoken, and new certificates without a dropped connection."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from s3node.base import limits
from s3node.base.errors import ConfigError
from s3node.edge.exchange import Exchange, Patience
from s3node.edge.http import Handler, HttpServer
from s3node.edge.tls import CertificateWatch, Files, make_context
from tests.edge.certificates import make_certificate, trusting_all
from tests.edge.handlers import SHORT, Pouring, get
from tests.edge.listening import Edge, listening
from tests.edge.wire import ANSWER_S_MAX, Wire, refuse, until


async def _connect(edge: Edge, **versions: Any) -> Wire:
    return await Wire.connect(edge.port, ssl=trusting_all(**versions))


def _serial(wire: Wire) -> int:
    peer = wire.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(peer).serial_number


async def test_new_certificate_serves_new_connections_and_leaves_open_ones(tmp_path: Path) -> None:
    files = make_certificate(tmp_path, serial=1)
    async with listening(tls=files) as edge:
        front = edge.front
        before = await _connect(edge)
        assert _serial(before) == 1
        assert (await before.ask(edge.signed("GET", "/"))).status == 200
        make_certificate(tmp_path, serial=2)
        await front.reload_certificate()
        after = await _connect(edge)
        assert _serial(after) == 2
        for wire in (before, after, before):
            assert (await wire.ask(edge.signed("GET", "/"))).status == 200
        files[1].write_text("not a key")
        await front.reload_certificate()
        still = await _connect(edge)
        assert _serial(still) == 2
        for wire in (before, after, still):
            wire.writer.close()


async def test_no_connection_is_refused_while_certificates_change(tmp_path: Path) -> None:
    async with listening(tls=make_certificate(tmp_path, serial=1)) as edge:
        done = asyncio.Event()
        asked = 0

        async def ask() -> None:
            nonlocal asked
            while not done.is_set():
                wire = await _connect(edge)
                assert (await wire.ask(edge.signed("GET", "/"))).status == 200
                wire.writer.close()
                asked += 1

        clients = [asyncio.create_task(ask()) for _ in range(3)]

        async def served_more() -> None:
            before = asked
            await until(lambda: asked > before + 1 or any(one.done() for one in clients))

        for serial in range(2, 8):
            make_certificate(tmp_path, serial)
            await edge.front.reload_certificate()
            await served_more()
        done.set()
        await asyncio.gather(*clients)


@contextlib.asynccontextmanager
async def _serving(
    handler: Handler, folder: Path, patience: Patience | None = None
) -> AsyncIterator[tuple[HttpServer, Wire]]:
    server = HttpServer(handler, refuse, name="test", patience=patience)
    port = await server.start("127.0.0.1", 0, make_context(*make_certificate(folder, serial=1)))
    try:
        async with await Wire.connect(port, ssl=trusting_all(), limit=1 << 16) as wire:
            yield server, wire
    finally:
        await server.stop(ANSWER_S_MAX)


async def test_long_bodies_pass_both_ways(tmp_path: Path) -> None:
    """Received in place and sent in pieces whose memory is used again, as without TLS."""
    memory = bytearray(limits.SEND_BUFFER_BYTES + 77_777)

    async def back(exchange: Exchange) -> None:
        taken = hashlib.sha256()
        size = 0
        async for piece in exchange.body:
            await asyncio.sleep(0)
            taken.update(piece)
            size += len(piece)
        digest = taken.digest()

        async def stream() -> AsyncIterator[Sequence[memoryview]]:
            for at in range(0, size, len(memory)):
                count = min(len(memory), size - at)
                memory[:count] = (digest * (count // len(digest) + 1))[:count]
                yield [memoryview(memory)[: count // 3], memoryview(memory)[count // 3 : count]]

        await exchange.answer(200, [], stream=stream(), length=size)

    async with _serving(back, tmp_path) as (_, wire):
        for size in (1, limits.RECEIVE_BUFFER_BYTES, 3_000_001, 5):
            body = random.Random(size).randbytes(size)
            head = b"PUT /k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
            answer = await wire.ask(head + body)
            digest = hashlib.sha256(body).digest()
            parts = [
                (digest * (count // len(digest) + 1))[:count]
                for at in range(0, size, len(memory))
                for count in (min(len(memory), size - at),)
            ]
            assert answer.body == b"".join(parts)


async def test_client_that_does_not_read_is_cut(tmp_path: Path) -> None:
    pouring = Pouring()
    async with _serving(pouring, tmp_path, Patience(send_idle=SHORT)) as (_, wire):
        await wire.send(get(b""))
        await until(lambda: pouring.cut)
        assert pouring.cut == ["stalled"]


async def test_watch_sees_replaced_files(tmp_path: Path) -> None:
    files = make_certificate(tmp_path, serial=1)
    used: list[ssl.SSLContext] = []
    looks = 0

    class Counted(CertificateWatch):
        def _stamp(self) -> tuple[object, ...]:
            nonlocal looks
            looks += 1
            return super()._stamp()

    async def use(files: Files) -> None:
        used.append(make_context(*files))

    async def some_looks() -> None:
        before = looks
        await until(lambda: looks > before + 3)

    watch = asyncio.create_task(Counted(files, use, period=0.01).run())
    await some_looks()
    assert used == []
    make_certificate(tmp_path, serial=2)
    await until(lambda: used)
    files[0].unlink()
    await some_looks()
    assert len(used) == 1
    assert not watch.done()
    watch.cancel()


async def test_old_tls_is_not_spoken(tmp_path: Path) -> None:
    async with listening(tls=make_certificate(tmp_path, serial=1)) as edge:
        with pytest.warns(DeprecationWarning):
            old = trusting_all(
                minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1
            )
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await Wire.connect(edge.port, ssl=old)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            wire = await _connect(edge, minimum_version=version, maximum_version=version)
            assert (await wire.ask(edge.signed("GET", "/"))).status == 200
            wire.writer.close()


async def test_plain_http_on_the_tls_port_gets_nothing(tmp_path: Path) -> None:
    async with (
        listening(tls=make_certificate(tmp_path, serial=1)) as edge,
        await Wire.connect(edge.port) as wire,
    ):
        await wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" not in await wire.closed()


def test_files_that_do_not_load_are_named(tmp_path: Path) -> None:
    certificate, key, _ = make_certificate(tmp_path, serial=1)
    other = tmp_path / "other"
    other.mkdir()
    _, foreign_key, _ = make_certificate(other, serial=2)
    with pytest.raises(ConfigError, match="KEY_VALUES_MISMATCH"):
        make_context(certificate, foreign_key)
    with pytest.raises(ConfigError, match="No such file"):
        make_context(tmp_path / "none", key)
    with pytest.raises(ConfigError, match="not a certificate"):
        make_context(key, key)
    _, encrypted, _ = make_certificate(tmp_path, serial=3, password=b"secret")
    with pytest.raises(ConfigError, match="encrypted"):
        make_context(tmp_path / "cert.pem", encrypted)
