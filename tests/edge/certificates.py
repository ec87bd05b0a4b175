"""Certificates for tests: one that signs itself, and authorities with what they sign."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from s3node.edge.tls import Files

DAY = datetime.timedelta(days=1)
PEM = serialization.Encoding.PEM


def make_certificate(folder: Path, serial: int, password: bytes | None = None) -> Files:
    """cert.pem and key.pem for 127.0.0.1, replaced as tools that renew them do."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common="127.0.0.1")
    built = _builder(name, name, key, serial)
    certificate = built.sign(key, hashes.SHA256()).public_bytes(PEM)
    paths = folder / "cert.pem", folder / "key.pem"
    _replace(paths[0], certificate)
    _replace(paths[1], _private(key, password))
    return *paths, None


class Authority:
    """Signs certificates of servers and of clients."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(common=name)
        built = _builder(self._name, self._name, self._key, 1)
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(PEM))

    def server(self, *names: str, serial: int = 2) -> tuple[Path, Path]:
        """server.pem and server.key for these host names, the first one's files replaced."""
        subject = _name(common=names[0])
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        return self._issue("server", subject, serial, ExtendedKeyUsageOID.SERVER_AUTH, alternatives)

    def client(self, common: str, organisation: str = "", *, days: int = 1) -> tuple[Path, Path]:
        """A client's certificate; with `days` < 0 one that has expired."""
        subject = _name(common=common, organisation=organisation)
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        return self._issue(f"client-{common}", subject, 3, usage, None, days)

    def _issue(
        self,
        file: str,
        subject: x509.Name,
        serial: int,
        usage: x509.ObjectIdentifier,
        alternatives: x509.SubjectAlternativeName | None,
        days: int = 1,
    ) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        built = _builder(subject, self._name, key, serial, days)
        built = built.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if alternatives is not None:
            built = built.add_extension(alternatives, critical=False)
        paths = self._folder / f"{file}.pem", self._folder / f"{file}.key"
        _replace(paths[0], built.sign(self._key, hashes.SHA256()).public_bytes(PEM))
        _replace(paths[1], _private(key, None))
        return paths

    def trusted(self, client: tuple[Path, Path] | None = None, **versions: Any) -> ssl.SSLContext:
        """A client's context that trusts this authority, checks names, and may show who it is."""
        context = ssl.create_default_context(cafile=str(self.file))
        if client is not None:
            context.load_cert_chain(*client)
        for name, value in versions.items():
            setattr(context, name, value)
        return context


def trusting_all(**versions: Any) -> ssl.SSLContext:
    """A client's context that takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in versions.items():
        setattr(context, name, value)
    return context


def _name(*, common: str, organisation: str = "") -> x509.Name:
    named = [x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else []
    if organisation:
        named.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(named)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    serial: int,
    days: int = 1,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    built = x509.CertificateBuilder(issuer, subject, key.public_key(), serial)
    return built.not_valid_before(now - 2 * DAY).not_valid_after(now + days * DAY)


def _private(key: ec.EllipticCurvePrivateKey, password: bytes | None) -> bytes:
    kind = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, kind)


def _replace(path: Path, content: bytes) -> None:
    path.with_suffix(".new").write_bytes(content)
    path.with_suffix(".new").replace(path)
