"""Engine and edges as processes: what dies is replaced, and no client is told anything wrong."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.linear.checker import linearizable
from tests.node.process import WAIT_S_MAX, NodeProcess
from tests.node.test_linearizable import KEYS, Client, settle

BUCKET = "register"
EDGES = 2
CLIENTS = 4
ANSWERED_MIN = 25


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node of two edges; a test may kill processes but leaves it serving."""
    data = tmp_path_factory.mktemp("two") / "data"
    with NodeProcess(data, disks=6, parity=2, edges=EDGES) as node:
        node.s3().create_bucket(Bucket=BUCKET)
        yield node


def connect(node: NodeProcess) -> socket.socket:
    """A connection that an edge has for certain: it has answered."""
    where = urlsplit(node.endpoint)
    wire = socket.create_connection((where.hostname, where.port), timeout=WAIT_S_MAX)
    wire.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert wire.recv(1 << 16).startswith(b"HTTP/1.1 403")
    return wire


def test_connections_are_spread_over_the_edges(two: NodeProcess) -> None:
    def open_now() -> list[int]:
        return sorted(one["connections"] for name, one in two.processes().items() if "edge" in name)

    two.wait(lambda: open_now() == [0, 0])
    with contextlib.ExitStack() as stack:
        for each in range(1, 5):
            for _ in range(EDGES):
                stack.enter_context(connect(two))
            assert open_now() == [each] * EDGES
    two.wait(lambda: open_now() == [0, 0])


class Undaunted(Client):
    """Goes on until told to stop. What was cut off, or answered 503, may have happened; what was
    not admitted, because there was no engine, has not, and is asked again.
    """

    stopped = False

    def run(self) -> None:
        while not self.stopped and self.unexpected is None:
            super().run()

    def ask(self, kind: Any, key: str, data: bytes, expected: str) -> str:
        while not self.stopped:
            try:
                return super().ask(kind, key, data, expected)
            except ClientError as error:
                answer = error.response
                if answer["Error"]["Code"] != "ServiceUnavailable":
                    raise
                assert answer["ResponseMetadata"]["HTTPHeaders"]["retry-after"]
                if not answer["Error"]["Message"].startswith("Not ready"):
                    raise ConnectionError("in doubt") from error
                time.sleep(0.05)
        raise ConnectionError("enough")


def test_histories_with_kills_of_engine_and_edges_are_linearizable(
    two: NodeProcess, deep: bool
) -> None:
    """Clients go on through every kill. What was not answered is settled once the killed process
    is replaced and a write after that is answered: frames are in order.
    """
    chance = random.Random(4)
    victims = ["edge-0", "engine", "edge-1", "engine", "edge-0"] * (20 if deep else 1)
    everything: list[Any] = []
    for number, victim in enumerate(victims):
        clients = [Undaunted(two, f"{number}.{i}") for i in range(CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(chance.uniform(0.2, 0.8))
        before = sum(len(client.history) for client in clients)
        two.kill_one(victim)
        answered = [len(client.history) for client in clients]
        two.wait(
            lambda clients=clients, answered=answered: all(
                client.unexpected is not None or len(client.history) > count + 2
                for client, count in zip(clients, answered, strict=True)
            )
        )
        for client in clients:
            client.stopped = True
        for client in clients:
            client.join()
            assert client.unexpected is None, client.unexpected
            everything += client.history
        assert before, "nothing was going on when it was killed"
        two.s3().put_object(Bucket=BUCKET, Key="barrier", Body=b"")
        everything = settle(everything)
    assert sum(one.answer is not None for _, one in everything) >= ANSWERED_MIN
    for key in KEYS:
        history = [one for name, one in everything if name == key]
        assert linearizable(history), f"key {key}: {len(history)} operations"


def test_other_edges_answer_while_one_is_replaced(two: NodeProcess) -> None:
    """A download on one edge is not disturbed by the end of the other."""
    body = os.urandom(30_000_000)
    s3 = two.s3()
    s3.put_object(Bucket=BUCKET, Key="large", Body=body)
    # Who is accepted where is the edges' matter: of so many none has all.
    clients = [two.s3() for _ in range(4 * EDGES)]
    downloads = [one.get_object(Bucket=BUCKET, Key="large")["Body"] for one in clients]
    begun = [one.read(1000) for one in downloads]
    two.kill_one("edge-1")
    whole = []
    for first, rest in zip(begun, downloads, strict=True):
        with contextlib.suppress(BotoCoreError, ConnectionError, OSError):
            whole.append(first + rest.read())
    assert whole and all(one == body for one in whole)


def test_while_there_is_no_engine_clients_are_told_to_come_back(two: NodeProcess) -> None:
    """The engine is stopped in its recovery by a disk that hangs: a pipe is in its way."""
    processes = two.processes()
    waiting = two.data / "disk01" / "journal"
    assert waiting.exists()
    s3 = two.s3()
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"v" * 10_000)
    hidden = []
    for slot in range(4):
        two.pull(slot)
        hidden.append(slot)
    os.kill(processes["engine"]["pid"], signal.SIGKILL)
    try:
        two.wait(lambda: "disk" in _reason(two))
        for _ in range(3):
            with pytest.raises(ClientError) as refused:
                two.s3().get_object(Bucket=BUCKET, Key="k")
            answer = refused.value.response
            assert answer["Error"]["Code"] == "ServiceUnavailable"
            assert answer["ResponseMetadata"]["HTTPHeaders"]["retry-after"]
        status = two.status()
        assert not status["ready"]
        assert {one["name"]: one["ready"] for one in status["processes"]} == {
            "engine": False, "edge-0": False, "edge-1": False,
        }  # fmt: skip
    finally:
        for slot in hidden:
            two.push(slot)
    two.wait(lambda: _reason(two) == "")
    assert two.s3().get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"v" * 10_000


def _reason(node: NodeProcess) -> str:
    """What /readyz says; "" when ready."""
    try:
        with urllib.request.urlopen(f"{node.admin}/readyz", timeout=WAIT_S_MAX) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError as refused:
        found = json.load(refused)
    return str(found["reason"])


def test_metrics_and_status_add_up_also_when_edges_die(two: NodeProcess) -> None:
    series = 's3node_requests_total{operation="PutObject",status="200"}'
    before = two.metrics().get(series, 0)
    stored = two.status()["counters"]["objects"]["objects_written"]
    total = 0
    for victim in ("", "edge-0", "edge-1"):
        if victim:
            time.sleep(1.5)  # what an edge counts is asked for every second
            two.kill_one(victim)
        clients = [two.s3() for _ in range(2 * EDGES)]
        for client in clients:
            client.put_object(Bucket=BUCKET, Key="counted", Body=b"x" * 10_000)
            total += 1
        assert two.metrics()[series] == before + total
        if not victim:
            assert two.status()["counters"]["objects"]["objects_written"] == stored + total
    found = two.metrics()
    assert found["s3node_ready"] == 1
    assert sum(value for name, value in found.items() if name.startswith("s3node_build")) == 1
    online = [v for name, v in found.items() if "disk_state" in name and '"online"' in name]
    assert online == [1.0] * 6
    assert found["process_open_fds"] > 100


# --- stops -------------------------------------------------------------------------------------


def test_a_stop_seals_and_leaves_nothing(tmp_path: Path) -> None:
    """Also when the signal reaches every process, as a terminal's or a service's does."""
    with NodeProcess(tmp_path / "data", edges=EDGES) as node:
        node.s3().create_bucket(Bucket=BUCKET)
        node.s3().put_object(Bucket=BUCKET, Key="k", Body=b"x" * 100_000)
        pids = node.pids()
        assert len(pids) == 2 + EDGES
        for pid in reversed(pids[1:]):
            os.kill(pid, signal.SIGTERM)
        assert node.stop() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
        node.start()
        assert "rebuilt" not in node.log_path.read_text()
        assert node.s3().get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"x" * 100_000


def test_a_request_in_progress_is_finished_and_new_ones_refused(tmp_path: Path) -> None:
    with NodeProcess(tmp_path / "data", edges=EDGES) as node:
        s3 = node.s3()
        s3.create_bucket(Bucket=BUCKET)
        body = os.urandom(20_000_000)
        s3.put_object(Bucket=BUCKET, Key="large", Body=body)
        download = node.s3().get_object(Bucket=BUCKET, Key="large")["Body"]
        first = download.read(1000)
        os.kill(node.pid, signal.SIGTERM)
        where = urlsplit(node.endpoint)

        def refused() -> bool:
            try:
                socket.create_connection((where.hostname, where.port), timeout=1).close()
            except ConnectionError:
                return True
            return False

        node.wait(refused)
        assert first + download.read() == body
        assert node.ended() == 0


def test_the_second_signal_does_not_wait(tmp_path: Path) -> None:
    with NodeProcess(tmp_path / "data", edges=EDGES) as node:
        s3 = node.s3()
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="large", Body=bytes(20_000_000))
        download = node.s3().get_object(Bucket=BUCKET, Key="large")["Body"]
        download.read(1000)
        pids = node.pids()
        os.kill(node.pid, signal.SIGTERM)
        time.sleep(0.3)
        os.kill(node.pid, signal.SIGTERM)
        assert node.ended() == 1
        node.wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
        download.close()


def test_children_end_with_their_supervisor(tmp_path: Path) -> None:
    """Another one can be started at once, on the same disks and the same port."""
    with NodeProcess(tmp_path / "data", edges=EDGES) as node:
        pids = node.pids()
        os.kill(node.pid, signal.SIGKILL)
        node.wait(lambda: not any(_lives(pid) for pid in pids))
        node.kill()
        node.start()
        node.s3().create_bucket(Bucket=BUCKET)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_refuses_one_process_refuses_many(tmp_path: Path) -> None:
    """Disks that another node uses: one line, and status 2."""
    with NodeProcess(tmp_path / "data", edges=0) as first:
        second = NodeProcess(tmp_path / "data", edges=EDGES)
        second.log_path = tmp_path / "second.log"
        second.start(wait_ready=False)
        assert second.ended() == 2
        log = second.log_path.read_text()
        assert "another" in log.splitlines()[-1], log
        first.s3().create_bucket(Bucket=BUCKET)


# --- changes -----------------------------------------------------------------------------------


def test_a_hangup_changes_what_can_change_in_every_process(tmp_path: Path) -> None:
    with NodeProcess(tmp_path / "data", edges=EDGES) as node:
        s3 = node.s3()
        s3.create_bucket(Bucket=BUCKET)
        file = node.data / "node.toml"
        text = file.read_text()
        file.write_text(f'log_level = "warning"\n{text}\n[limits]\nrequests = 1\nconnections = 3\n')
        os.kill(node.pid, signal.SIGHUP)
        node.wait(lambda: "configuration loaded again" in node.log_path.read_text())
        with contextlib.ExitStack() as stack:

            def crowded() -> bool:
                where = urlsplit(node.endpoint)
                wire = stack.enter_context(
                    socket.create_connection((where.hostname, where.port), timeout=WAIT_S_MAX)
                )
                wire.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                try:
                    return wire.recv(100).startswith(b"HTTP/1.1 503 ")
                except ConnectionError:
                    return True

            node.wait(crowded)
        file.write_text(text.replace("parity = 2", "parity = 1"))
        os.kill(node.pid, signal.SIGHUP)
        node.wait(lambda: "parity: cannot change" in node.log_path.read_text())
        s3.close()
        node.wait(lambda: sum(one.get("connections", 0) for one in node.processes().values()) == 0)
        node.s3().put_object(Bucket=BUCKET, Key="k", Body=b"still there")


def test_an_edge_keeps_no_memory_of_an_engine_that_is_gone(two: NodeProcess) -> None:
    """Each link has an arena of its own, and so many files: they go with it."""

    def arenas() -> list[int]:
        edges = [one["pid"] for name, one in two.processes().items() if "edge" in name]
        links = [os.readlink(fd) for pid in edges for fd in Path(f"/proc/{pid}/fd").iterdir()]
        return [sum("s3node-arena" in link for link in links), len(edges)]

    def work() -> None:
        for key in "abcd":  # by new connections, which are spread over the edges
            s3 = two.s3()
            s3.put_object(Bucket=BUCKET, Key=key, Body=os.urandom(3_000_000))
            s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    work()
    before = arenas()
    for _ in range(2):
        two.kill_one("engine")
        work()
    assert arenas() == before
