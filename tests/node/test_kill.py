"""kill -9 at random moments under load: what was answered is there, the rest whole or absent."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.node.content import put_in_parts
from tests.node.process import NodeProcess

BUCKET = "under-fire"
WRITERS = 6
KEYS_PER_WRITER = 8
ANSWERED_MIN = 4
GONE = "absent"


class Writer(threading.Thread):
    """Writes, overwrites and deletes its own keys until the node dies.

    `possible[key]` is every state the key may be in: the last one answered, and what was asked
    for since and never answered.
    """

    def __init__(self, node: NodeProcess, seed: int, possible: dict[str, set[str]]) -> None:
        super().__init__(daemon=True)
        self.s3 = node.s3()
        self.random = random.Random(seed)
        self.possible = possible
        self.answered = 0
        self.unexpected: Exception | None = None

    def run(self) -> None:
        try:
            while True:
                self.one()
                self.answered += 1
        except (BotoCoreError, ClientError, ConnectionError) as error:
            if isinstance(error, ClientError):
                self.unexpected = error

    def one(self) -> None:
        key = self.random.choice(sorted(self.possible))
        kind = self.random.random()
        if kind < 0.15:
            self.ask(key, GONE, lambda: self.s3.delete_object(Bucket=BUCKET, Key=key))
            return
        size = 11_000_000 if kind > 0.97 else int(10 ** self.random.uniform(1, 6.3))
        data = self.random.randbytes(64) * (size // 64 + 1)
        state = hashlib.sha256(data).hexdigest()
        if kind > 0.97:
            self.ask(key, state, lambda: put_in_parts(self.s3, BUCKET, key, data))
        else:
            self.ask(key, state, lambda: self.s3.put_object(Bucket=BUCKET, Key=key, Body=data))

    def ask(self, key: str, state: str, request: Any) -> None:
        self.possible[key].add(state)
        request()
        self.possible[key] = {state}


def state_of(s3: Any, key: str) -> str:
    try:
        return hashlib.sha256(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()).hexdigest()
    except ClientError as error:
        assert error.response["Error"]["Code"] == "NoSuchKey", error
        return GONE


@pytest.mark.parametrize("edges", [0, 2])
def test_kill_9_under_load(edges: int, tmp_path: Path, deep: bool) -> None:
    """Every process of the node at once."""
    cycles = 500 if deep else 8 if edges else 12
    chance = random.Random(20)
    possible = {
        f"{writer}/{number}": {GONE}
        for writer in range(WRITERS)
        for number in range(KEYS_PER_WRITER)
    }
    answered = 0
    with NodeProcess(tmp_path / "data", disks=6, parity=2, edges=edges) as node:
        node.s3().create_bucket(Bucket=BUCKET)
        for cycle in range(cycles):
            writers = [
                Writer(
                    node,
                    cycle * WRITERS + number,
                    {k: v for k, v in possible.items() if k.startswith(f"{number}/")},
                )
                for number in range(WRITERS)
            ]
            for writer in writers:
                writer.start()
            time.sleep(chance.uniform(0.1, 1.2))
            if cycle % 2:  # on a machine however slow, some kills come after answers
                while sum(writer.answered for writer in writers) < ANSWERED_MIN:
                    assert all(writer.is_alive() for writer in writers)
                    time.sleep(0.01)
            node.kill()
            for writer in writers:
                writer.join()
                assert writer.unexpected is None, writer.unexpected
                possible |= writer.possible
                answered += writer.answered
            node.start()
            s3 = node.s3()
            for key, states in possible.items():
                state = state_of(s3, key)
                assert state in states, f"cycle {cycle}: {key} is {state}, should be in {states}"
                possible[key] = {state}
        assert node.stop() == 0
    print(f"{cycles} kills survived, {answered} answered writes checked")
    assert answered >= ANSWERED_MIN * (cycles // 2)
    check = node.command("check", "--data", str(node.data), "--json")
    assert check.returncode == 0, check.stdout + check.stderr


def test_stopped_for_a_while_and_continued(tmp_path: Path, deep: bool) -> None:
    """SIGSTOP under load: when it goes on, everything that was asked is answered."""
    with NodeProcess(tmp_path / "data", disks=6, parity=2) as node:
        s3 = node.s3()
        s3.create_bucket(Bucket=BUCKET)
        possible = {f"{number}": {GONE} for number in range(KEYS_PER_WRITER)}
        writer = Writer(node, 35, possible)
        writer.start()
        time.sleep(0.5)
        os.kill(node.pid, signal.SIGSTOP)
        time.sleep(40 if deep else 4)
        before = writer.answered
        os.kill(node.pid, signal.SIGCONT)
        node.wait(lambda: writer.answered > before + 10)
        node.kill()
        writer.join()
        assert writer.unexpected is None, writer.unexpected
        node.start()
        s3 = node.s3()
        for key, states in possible.items():
            assert state_of(s3, key) in states


@pytest.mark.deep
def test_kill_9_while_starting(tmp_path: Path) -> None:
    """Recovery itself is killed at every tenth of a second of its first two seconds."""
    with NodeProcess(tmp_path / "data", disks=6, parity=2) as node:
        s3 = node.s3()
        s3.create_bucket(Bucket=BUCKET)
        for number in range(200):
            s3.put_object(Bucket=BUCKET, Key=str(number), Body=b"z" * 10_000)
        for tenth in range(20):
            node.kill()
            node.start(wait_ready=False)
            time.sleep(tenth / 10)
        node.kill()
        node.start()
        assert len(node.s3().list_objects_v2(Bucket=BUCKET)["Contents"]) == 200
