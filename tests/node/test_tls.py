"""HTTPS with edges, end to end: certificates of server and clients, bucket names in host names,
and new certificates, authorities and keys by one SIGHUP while clients go on.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import random
import signal
import ssl
import threading
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from s3node.config import Keys, read_keys
from tests.edge.certificates import Authority
from tests.node.process import REGION, WAIT_S_MAX, NodeProcess

EDGES = 2
DOMAIN = "s3.example.org"
BUCKET = "studies"
GENERATED = {"S3NODE_ROOT_ACCESS_KEY": "", "S3NODE_ROOT_SECRET_KEY": ""}
"""The keys are those of the file, which can change."""


class Client:
    """Connects with a certificate, checks the server's for a host name, and signs with keys."""

    def __init__(self, node: NodeProcess, context: ssl.SSLContext, keys: Keys) -> None:
        self._port = int(node.endpoint.rpartition(":")[2])
        self._context = context
        self._keys = keys

    def connect(self, host: str) -> http.client.HTTPSConnection:
        """As by a name server that knows the name."""
        made = http.client.HTTPSConnection(host, self._port, timeout=WAIT_S_MAX)
        plain = http.client.HTTPConnection("127.0.0.1", self._port, timeout=WAIT_S_MAX)
        plain.connect()
        assert plain.sock is not None
        made.sock = self._context.wrap_socket(plain.sock, server_hostname=host)
        return made

    def ask(
        self, connection: http.client.HTTPSConnection, method: str, path: str, body: bytes = b""
    ) -> tuple[int, bytes]:
        """Presigned, so that it is one plain request."""
        url = f"https://{connection.host}:{connection.port}{path}"
        request = AWSRequest(method=method, url=url)
        credentials = Credentials(self._keys.access, self._keys.secret)
        S3SigV4QueryAuth(credentials, "s3", REGION, expires=600).add_auth(request)
        target = request.url.partition(f":{connection.port}")[2]
        connection.request(method, target, body)
        answer = connection.getresponse()
        return answer.status, answer.read()


def serial(connection: http.client.HTTPSConnection) -> int:
    sock: Any = connection.sock
    return int(sock.getpeercert()["serialNumber"], 16)


def boto(node: NodeProcess, authority: Authority, client: tuple[Path, Path], keys: Keys) -> Any:
    """By the address, whose name the certificate has too."""
    return boto3.client(
        "s3",
        endpoint_url=node.endpoint.replace("127.0.0.1", "localhost"),
        aws_access_key_id=keys.access,
        aws_secret_access_key=keys.secret,
        region_name=REGION,
        verify=str(authority.file),
        config=Config(client_cert=tuple(map(str, client)), retries={"total_max_attempts": 1}),
    )


def hang_up(node: NodeProcess, times: int) -> None:
    os.kill(node.pid, signal.SIGHUP)
    loaded = "configuration loaded again"
    node.wait(lambda: node.log_path.read_text().count(loaded) == times)


def edges_of(node: NodeProcess) -> list[int]:
    """Their process ids; the admin listener's certificate is not the matter here."""
    children = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()
    names = {int(pid): Path(f"/proc/{pid}/comm").read_text().strip() for pid in children}
    return [pid for pid, name in names.items() if name.startswith("s3node-edge")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "certificates"
    made.mkdir()
    return made


def test_certificates_and_keys_change_over_edges(tmp_path: Path, folder: Path) -> None:
    ours, others = Authority(folder, "ours"), Authority(folder, "others")
    names = (DOMAIN, f"*.{DOMAIN}", "localhost")
    server = ours.server(*names, serial=2)
    clients = folder / "clients.pem"
    clients.write_bytes(ours.file.read_bytes())
    node = NodeProcess(tmp_path / "data", edges=EDGES, env=GENERATED)
    with node:
        node.stop()
        file = node.data / "node.toml"
        tls = f'[tls]\ncertificate = "{server[0]}"\nkey = "{server[1]}"\n'
        tls += f'client_authorities = "{clients}"\n'
        file.write_text(f'domains = ["{DOMAIN}"]\n{file.read_text()}{tls}')
        node.start()
        assert node.endpoint.startswith("https://")
        keys = read_keys(node.data / "credentials")
        gateway = ours.client("gateway-1", "Radiology")
        s3 = boto(node, ours, gateway, keys)
        s3.create_bucket(Bucket=BUCKET)
        content = random.Random(1).randbytes(20 << 20)
        s3.upload_fileobj(io.BytesIO(content), BUCKET, "series/a.b.dcm")
        assert s3.get_object(Bucket=BUCKET, Key="series/a.b.dcm")["Body"].read() == content

        old = Client(node, ours.trusted(gateway), keys)
        host = f"{BUCKET}.{DOMAIN}"
        opened = [old.connect(host) for _ in range(2 * EDGES)]
        for one in opened:
            assert old.ask(one, "GET", "/series/a.b.dcm") == (200, content)
            assert serial(one) == 2
        nobody = Client(node, ours.trusted(), keys)
        stranger = Client(node, ours.trusted(others.client("gateway-1")), keys)
        for refused in (nobody, stranger):
            with pytest.raises((ssl.SSLError, OSError)):
                refused.ask(refused.connect(host), "GET", "/series/a.b.dcm")

        with Going(old, host) as going:
            new_keys = Keys("ANOTHERACCESSKEY0001", "another-secret-of-forty-characters-0002")
            ours.server(*names, serial=7)
            clients.write_bytes(others.file.read_bytes())
            (node.data / "credentials").write_text(
                f'access_key = "{new_keys.access}"\nsecret_key = "{new_keys.secret}"\n'
            )
            hang_up(node, 1)
            new = Client(node, ours.trusted(others.client("gateway-2")), new_keys)
            made = [connect_until(node, new, host, 7) for _ in range(2 * EDGES)]
            for one in made:
                assert new.ask(one, "GET", "/series/a.b.dcm") == (200, content)
            node.wait(lambda: going.refused > 3)
        assert going.served > 0
        assert going.faults == []
        for one in opened:  # open ones stay, but the old key is none any more
            status, body = old.ask(one, "GET", "/series/a.b.dcm")
            assert (status, b"<Code>InvalidAccessKeyId</Code>" in body) == (403, True)
            assert new.ask(one, "GET", "/series/a.b.dcm") == (200, content)
        with pytest.raises((ssl.SSLError, OSError)):
            old.ask(old.connect(host), "GET", "/series/a.b.dcm")
        assert len(edges_of(node)) == EDGES
        check_log(node)
        for one in (*opened, *made):
            one.close()
        assert node.stop() == 0


def connect_until(
    node: NodeProcess, client: Client, host: str, wanted: int
) -> http.client.HTTPSConnection:
    """Edges learn of a change one after the other."""
    found: list[http.client.HTTPSConnection] = []

    def there() -> bool:
        try:
            one = client.connect(host)
            if serial(one) == wanted and client.ask(one, "GET", "/none")[0] == 404:
                found.append(one)
            else:
                one.close()
        except (ssl.SSLError, ConnectionError):
            return False
        return bool(found)

    node.wait(there)
    return found[0]


class Going:
    """A client that goes on asking over one connection while something changes."""

    def __init__(self, client: Client, host: str) -> None:
        self._client = client
        self._connection = client.connect(host)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.served = self.refused = 0
        self.faults: list[object] = []

    def __enter__(self) -> Going:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        try:
            while not self._end.is_set():
                status, body = self._client.ask(self._connection, "GET", "/none")
                if status == 404 and not self.refused:
                    self.served += 1
                elif status == 403 and b"InvalidAccessKeyId" in body:
                    self.refused += 1
                else:
                    self.faults.append((status, body))
        except Exception as fault:
            self.faults.append(fault)


def check_log(node: NodeProcess) -> None:
    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in node.log_path.read_text().splitlines()]

    requests = [line for line in lines() if line["logger"] == "s3node.access"]
    subjects = {line["certificate"] for line in requests}
    assert subjects == {"CN=gateway-1,O=Radiology", "CN=gateway-2"}
    assert len({line["host_id"] for line in requests}) == EDGES, "each edge has served some"
    # A client hears that it is refused before the edge has written so.
    node.wait(lambda: sum(line["message"] == "no TLS" for line in lines()) >= 3)
