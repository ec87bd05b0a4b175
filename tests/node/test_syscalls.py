"""kill -9, and power cuts, at each system call of a real node that changes something.

An operation is asked for and the node is killed as its n-th such call enters the kernel, whichever
thread makes it; then, in most rounds, the power is cut too: what was not synced is lost from the
files. After each: `check` finds no damage, the node starts, what was answered is there, and what
was asked for and not answered is there whole or not at all. Starting is killed in the same way.

The default run takes some n of each operation, chosen by seed; the deep one takes each n in turn,
with every mode of loss, and of a start each n in turn with a mode by seed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.node.traced import TracedNode
from tests.node.unsynced import MODES

BUCKET = "killed"
KEYS = ("a", "b")
GONE = "absent"
SAMPLES = 6
CHECKPOINTS = ("small checkpoints",)
LOSSES = ("nothing", *MODES[:-1], "mixed", "mixed")
"""After the kill: nothing, or a power cut by that mode."""


class World:
    """The bucket, and for each key every state that it may be in."""

    def __init__(self, node: TracedNode, seed: str) -> None:
        self.node, self.random = node, random.Random(seed)
        self.possible = {key: {GONE} for key in KEYS}
        self.upload: tuple[str, list[dict[str, Any]], str] | None = None
        self.sure = 0

    # --- operations: prepare, then what is killed -----------------------------------------------

    def put(self, size: int, key: str = "") -> Callable[[], None]:
        key = key or self.random.choice(KEYS)
        data = self.random.randbytes(size)
        s3 = self.node.s3()
        return lambda: self.ask(
            key, digest(data), lambda: s3.put_object(Bucket=BUCKET, Key=key, Body=data)
        )

    def delete(self) -> Callable[[], None]:
        key = KEYS[0]
        self.put_all()
        s3 = self.node.s3()
        return lambda: self.ask(key, GONE, lambda: s3.delete_object(Bucket=BUCKET, Key=key))

    def complete(self) -> Callable[[], None]:
        s3, key, data = self.node.s3(), KEYS[1], self.random.randbytes(150_000)
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
        named = {"Bucket": BUCKET, "Key": key, "UploadId": upload}
        part = s3.upload_part(**named, PartNumber=1, Body=data)
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        self.upload = (key, digest(data), {**named, "MultipartUpload": parts})
        return lambda: self.ask(
            key, digest(data), lambda: s3.complete_multipart_upload(**self.upload[2])
        )

    def put_all(self) -> None:
        for key in KEYS:
            self.put(1000, key)()

    def ask(self, key: str, state: str, request: Callable[[], object]) -> None:
        """A request that may be answered, or end with the node."""
        self.possible[key].add(state)
        try:
            request()
        except BotoCoreError:
            return
        self.possible[key] = {state}
        self.sure += 1

    # --- what must hold -------------------------------------------------------------------------

    def verify(self) -> None:
        s3 = self.node.s3()
        for key, states in self.possible.items():
            state = state_of(s3, key)
            assert state in states, f"{key} is {state}, should be one of {states}"
            self.possible[key] = {state}
        if self.upload is not None:
            self.complete_again(s3)

    def complete_again(self, s3: Any) -> None:
        """The upload is either done, or there as it was, to be completed."""
        assert self.upload is not None
        (key, state, request), self.upload = self.upload, None
        if self.possible[key] != {state}:
            s3.complete_multipart_upload(**request)
            assert state_of(s3, key) == state
            self.possible[key] = {state}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def state_of(s3: Any, key: str) -> str:
    try:
        return digest(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    except ClientError as error:
        assert error.response["Error"]["Code"] == "NoSuchKey", error
        return GONE


def after_the_kill(node: TracedNode, loss: str, seed: str) -> str:
    """Cut the power if it is to be; nothing severe may be found. What happened, in words."""
    lost = node.cut(seed, loss) if loss != "nothing" else []
    severe = [finding for finding in node.check() if finding.severe]
    assert not severe, f"{severe}\nlost: {lost}"
    return f"power cut ({loss}): {lost}" if lost else "kill -9"


def chosen(total: int, chance: random.Random, deep: bool) -> Iterator[tuple[int, str]]:
    """The n to kill at and what to lose: samples of the `total`, or for ever, in order."""
    if not deep:
        losses = chance.sample(LOSSES, len(LOSSES))
        for number, nth in enumerate(sorted(chance.sample(range(1, total + 1), SAMPLES))):
            yield nth, losses[number % len(losses)]
        return
    for nth in range(1, total + 10_000):
        for loss in LOSSES[:-1]:
            yield nth, loss


OPERATIONS: dict[str, Callable[[World], Callable[[], None]]] = {
    "put inline": lambda world: world.put(1000),
    "put coded": lambda world: world.put(100_000),
    "put of stripes": lambda world: world.put(5_000_000),
    "complete": World.complete,
    "delete": World.delete,
    "checkpoint": lambda world: world.put(3000),
}


def test_what_is_there_before_the_first_put_stays(tmp_path: Path) -> None:
    """The names of folders, identities, configuration and keys do not wait for a later sync."""
    with TracedNode(tmp_path) as node:
        node.start()
        world = World(node, "first")
        node.s3().create_bucket(Bucket=BUCKET)
        world.put(100_000)()
        node.kill()
        after_the_kill(node, "all", "first")
        node.start()
        assert world.sure == 1
        world.verify()


def test_canary_a_sync_left_out_is_found(tmp_path: Path) -> None:
    with TracedNode(tmp_path) as node:
        node.start(0, "no sync")
        node.s3().create_bucket(Bucket=BUCKET)
        World(node, "canary").put_all()
        node.kill()
        with pytest.raises(AssertionError, match="severe=True"):
            after_the_kill(node, "all", "canary")


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_each_call(name: str, tmp_path: Path, deep: bool) -> None:
    chance = random.Random(name)
    changed = CHECKPOINTS if name == "checkpoint" else ()
    with TracedNode(tmp_path) as node:
        node.start(0, *changed)
        node.s3().create_bucket(Bucket=BUCKET)
        world = World(node, name)
        world.put_all()
        node.settle()
        total = counted(world, name)
        kills = 0
        for nth, loss in chosen(total, chance, deep):
            operation = OPERATIONS[name](world)
            node.settle()
            node.arm(nth)
            operation()
            seen = node.settle()
            if seen.alive:  # it made fewer calls this time
                if deep and nth > total:
                    break
                node.kill()
            told = after_the_kill(node, loss, f"{name} {nth}")
            kills += bool(seen.hit)
            node.start(0, *changed)
            try:
                world.verify()
            except AssertionError as error:
                raise AssertionError(f"{error}\n{nth}: {seen.hit}, {told}") from None
    print(f"{name}: {total} calls, killed at {kills} of them")
    assert kills >= SAMPLES // 2


def counted(world: World, name: str) -> int:
    """Calls that the operation makes when nothing disturbs it, nor fills logs ahead on the way:
    those that come to that make more.
    """
    counts = []
    for _ in range(3):
        operation = OPERATIONS[name](world)
        world.node.settle()
        world.node.arm()
        operation()
        counts.append(world.node.settle().count)
    return min(counts)


def test_killed_at_each_call_of_a_start(tmp_path: Path, deep: bool) -> None:
    """Recovery after a kill under load, killed, over and over, until it gets through."""
    chance, kills = random.Random("start"), 0
    with TracedNode(tmp_path) as node:
        node.start(0, *CHECKPOINTS)
        node.s3().create_bucket(Bucket=BUCKET)
        world = World(node, "start")
        total = turn = 0
        for round in range(500 if deep else 3):
            world.put_all()
            node.arm(chance.randint(1, 60))
            world.put(100_000)()
            node.settle()
            node.kill()
            after_the_kill(node, chance.choice(LOSSES), f"load {round}")
            for attempt in range(3):
                turn += 1
                nth = 1 + turn % total if deep and total else chance.randint(min(1, total), total)
                if node.start(nth, *CHECKPOINTS):
                    node.kill()
                else:
                    kills += 1
                after_the_kill(node, chance.choice(LOSSES), f"start {round} {attempt}")
            node.start(0, *CHECKPOINTS)
            total = node.look().count
            world.verify()
    print(f"start: about {total} calls, killed at {kills} of them")
    assert kills >= 3
