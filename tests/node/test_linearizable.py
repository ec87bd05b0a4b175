"""Histories of several clients on a few keys, with kill -9 and a scrambled clock, are linearizable.

The scrambled wall clock jumps by minutes either way, twenty times a second; monotonic time is
left alone.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.linear.checker import ABSENT, Kind, Operation, linearizable
from tests.node.process import NodeProcess

BUCKET = "register"
KEYS = ("a", "b", "c")
CLIENTS = 5
ANSWERED_MIN = 25
"""Before each kill, on a machine however slow."""
SCRAMBLED = """
import random, time
from s3node.base.clock import SystemClock

def wall_ms(self):
    jump = random.Random(time.monotonic_ns() // 50_000_000).randint(-600_000, 600_000)
    return time.time_ns() // 1_000_000 + jump

SystemClock.wall_ms = wall_ms
from s3node.main import run
run()
"""
CONDITION_FAILED = {"PreconditionFailed", "NoSuchKey", "ConditionalRequestConflict"}


class Client(threading.Thread):
    """Random operations on all keys until the node dies; remembers each."""

    def __init__(self, node: NodeProcess, seed: str) -> None:
        super().__init__(daemon=True)
        self.s3 = node.s3()
        self.random = random.Random(seed)
        self.seed = seed
        self.history: list[tuple[str, Operation]] = []
        self.last_seen: dict[str, str] = {}
        self.unexpected: Exception | None = None

    def run(self) -> None:
        number = 0
        while True:
            number += 1
            key = self.random.choice(KEYS)
            kind = self.random.choices(list(Kind), weights=(4, 2, 3, 1, 5))[0]
            size = self.random.choice((20, 6000, 120_000))
            data = f"{self.seed}/{number}/".encode().ljust(size, b".")
            value = hashlib.md5(data).hexdigest()
            expected = self.last_seen.get(key, ABSENT)
            if kind is Kind.PUT_IF_MATCH and expected == ABSENT:
                kind = Kind.PUT_IF_ABSENT
            called = time.monotonic_ns()
            try:
                answer = self.ask(kind, key, data, expected)
            except (BotoCoreError, ConnectionError):
                self.note(key, Operation(kind, called, 0, value, expected, None))
                return
            except ClientError as error:
                self.unexpected = error
                return
            returned = time.monotonic_ns()
            self.note(key, Operation(kind, called, returned, value, expected, answer))
            if kind is Kind.GET:
                self.last_seen[key] = answer
            elif answer == "ok" and kind is not Kind.DELETE:
                self.last_seen[key] = value

    def note(self, key: str, operation: Operation) -> None:
        self.history.append((key, operation))

    def ask(self, kind: Kind, key: str, data: bytes, expected: str) -> str:
        target: dict[str, Any] = {"Bucket": BUCKET, "Key": key}
        try:
            if kind is Kind.GET:
                body = self.s3.get_object(**target)["Body"].read()
                return hashlib.md5(body).hexdigest()
            if kind is Kind.DELETE:
                self.s3.delete_object(**target)
            elif kind is Kind.PUT:
                self.s3.put_object(**target, Body=data)
            elif kind is Kind.PUT_IF_ABSENT:
                self.s3.put_object(**target, Body=data, IfNoneMatch="*")
            else:
                self.s3.put_object(**target, Body=data, IfMatch=f'"{expected}"')
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if kind is Kind.GET and code == "NoSuchKey":
                return ABSENT
            if kind in (Kind.PUT_IF_ABSENT, Kind.PUT_IF_MATCH) and code in CONDITION_FAILED:
                return "failed"
            raise
        return "ok"


def settle(history: list[tuple[str, Operation]]) -> list[tuple[str, Operation]]:
    """The node has recovered: what was never answered happened before now, or never."""
    now = time.monotonic_ns()
    return [(key, replace(one, returned=now) if one.returned == 0 else one) for key, one in history]


@pytest.mark.parametrize("clock", ["true", "scrambled"])
def test_histories_with_kills_are_linearizable(clock: str, tmp_path: Path, deep: bool) -> None:
    rounds = 100 if deep else 6
    program = ("-m", "s3node") if clock == "true" else ("-c", SCRAMBLED)
    chance = random.Random(clock)
    everything: list[tuple[str, Operation]] = []
    with NodeProcess(tmp_path / "data", disks=6, parity=2, program=program) as node:
        node.s3().create_bucket(Bucket=BUCKET)
        for number in range(rounds):
            clients = [Client(node, f"{number}.{i}") for i in range(CLIENTS)]
            for client in clients:
                client.start()
            time.sleep(chance.uniform(0.3, 1.5))
            while sum(len(client.history) for client in clients) < ANSWERED_MIN:
                assert all(client.is_alive() for client in clients)
                time.sleep(0.01)
            node.kill()
            for client in clients:
                client.join()
                assert client.unexpected is None, client.unexpected
                everything += client.history
            node.start()
            everything = settle(everything)
    answered = sum(one.answer is not None for _, one in everything)
    print(f"{rounds} kills, {len(everything)} operations, {answered} answered")
    assert answered >= ANSWERED_MIN * rounds
    for key in KEYS:
        history = [one for name, one in everything if name == key]
        assert linearizable(history), f"key {key}: {len(history)} operations"
