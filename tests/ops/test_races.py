"""Operations at the same time, and operations whose n-th step fails.

The in-memory Kv gives way between running a transaction and deciding it, so conflicts happen.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import random
from collections.abc import Callable
from typing import Any

import pytest

from s3node.base.errors import S3Error
from s3node.meta.memory import MemoryKv
from s3node.s3 import tagging
from tests.ops.test_multipart import BIG, listing
from tests.ops.world import Answer, DictObjects, World, make_world


@pytest.fixture
def world() -> World:
    world = make_world()
    world.bucket()
    return world


def together(*calls: Any) -> list[Answer]:
    async def run() -> list[Answer]:
        return await asyncio.gather(*calls)

    return asyncio.run(run())


def test_one_of_many_creators_wins(world: World) -> None:
    puts = [
        world.send("PUT", "/bucket/k", "", b"%d" % i * 5000, if_none_match="*") for i in range(8)
    ]
    answers = together(*puts)
    assert sorted(answer.status for answer in answers) == [200] + [412] * 7
    winner = next(answer for answer in answers if answer.status == 200)
    assert hashlib.md5(world.get("/bucket/k").body).hexdigest() == winner.etag
    world.check_ledger()


def test_compare_and_swap_loses_no_update(world: World) -> None:
    world.put("/bucket/k", b"0")

    async def increment() -> None:
        while True:
            got = await world.send("GET", "/bucket/k")
            body = b"%d" % (int(got.body) + 1)
            put = await world.send("PUT", "/bucket/k", "", body, if_match=got.headers["etag"])
            if put.status == 200:
                return
            assert put.code == "PreconditionFailed"

    together(*(increment() for _ in range(10)))
    assert world.get("/bucket/k").body == b"10"


def test_completes_and_parts_at_once(world: World) -> None:
    upload = world.ask("POST", "/bucket/k", "uploads").text("UploadId")
    query = f"partNumber=1&uploadId={upload}"
    etag = world.ask("PUT", "/bucket/k", query, b"a" * BIG).etag
    body = listing((1, etag))
    answers = together(
        *(world.send("POST", "/bucket/k", f"uploadId={upload}", body) for _ in range(3)),
        *(world.send("PUT", "/bucket/k", query, bytes([i]) * 9000) for i in range(3)),
        world.send("DELETE", "/bucket/k", f"uploadId={upload}"),
    )
    done = [answer for answer in answers[:3] if answer.status == 200]
    assert len({answer.body for answer in done}) <= 1
    for answer in answers:
        assert answer.status < 300 or answer.code in {"NoSuchUpload", "InvalidPart"}, answer
    world.check_ledger()


def test_a_bucket_goes_empty_or_stays(world: World) -> None:
    for attempt in range(10):
        name = f"race-{attempt}"
        world.bucket(name)
        put, gone = together(
            world.send("PUT", f"/{name}/k", "", b"x" * 5000), world.send("DELETE", f"/{name}")
        )
        kept = world.get(f"/{name}/k").status == 200
        assert (put.status == 200, gone.status) == ((True, 409) if kept else (False, 204))
        world.check_ledger()


def test_a_crowd(world: World) -> None:
    dice = random.Random(5)

    async def actor() -> None:
        for _ in range(40):
            path = f"/bucket/{dice.choice('abc')}"
            verb = dice.choice(["PUT", "PUT", "DELETE", "GET", "COPY"])
            if verb == "COPY":
                source = f"bucket/{dice.choice('abc')}"
                await world.send("PUT", path, x_amz_copy_source=source)
            else:
                body = dice.randbytes(dice.choice([10, 5000])) if verb == "PUT" else b""
                answer = await world.send(verb, path, "", body)
                if verb == "GET" and answer.status == 200:
                    assert hashlib.md5(answer.body).hexdigest() == answer.etag

    together(*(actor() for _ in range(8)))
    world.check_ledger()


# --- the n-th step fails ---------------------------------------------------------------------


class Failing:
    """Counts steps; the n-th one raises what storage raises when quorum is lost."""

    def __init__(self, n: int) -> None:
        self.left = n

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise S3Error("ServiceUnavailable", "planned")


class FailingKv(MemoryKv):
    failing = Failing(0)

    async def write(self, fn: Callable[[Any], Any]) -> Any:
        self.failing.step()
        return await super().write(fn)


class FailingObjects(DictObjects):
    failing = Failing(0)

    async def write(self, *args: Any, **options: Any) -> Any:
        self.failing.step()
        return await super().write(*args, **options)

    async def read(self, *args: Any) -> Any:
        self.failing.step()
        pieces = await super().read(*args)

        async def broken() -> Any:
            self.failing.step()
            async for views in pieces:
                yield views

        return broken()


def failing_world() -> World:
    world = make_world(kv=FailingKv())
    world.objects = FailingObjects()
    world.node = dataclasses.replace(world.node, objects=world.objects)
    world.bucket()
    world.put("/bucket/source", bytes(20_000))
    return world


def scenario_put(world: World) -> Answer:
    return world.put("/bucket/k", b"x" * 9000)


def scenario_copy(world: World) -> Answer:
    return world.ask("PUT", "/bucket/k", x_amz_copy_source="bucket/source")


def scenario_delete(world: World) -> Answer:
    return world.ask("DELETE", "/bucket/source")


def scenario_upload(world: World) -> Answer:
    made = world.ask("POST", "/bucket/k", "uploads")
    if made.status != 200:
        return made
    upload = made.text("UploadId")
    part = world.ask("PUT", "/bucket/k", f"partNumber=1&uploadId={upload}", b"p" * 9000)
    if part.status != 200:
        return part
    source = {"x_amz_copy_source": "bucket/source"}
    again = world.ask("PUT", "/bucket/k", f"partNumber=1&uploadId={upload}", **source)
    if again.status != 200:
        return again
    etag = (again.text("ETag") or "").strip('"')
    return world.ask("POST", "/bucket/k", f"uploadId={upload}", listing((1, etag)))


def scenario_tags(world: World) -> Answer:
    put = world.ask("PUT", "/bucket/source", "tagging", tagging.document([("a", "b")]))
    if put.status != 200:
        assert list(world.get("/bucket/source", "tagging").xml.iter("Tag")) == []
        return put
    return world.ask("DELETE", "/bucket/source", "tagging")


@pytest.mark.parametrize(
    "scenario", [scenario_put, scenario_copy, scenario_delete, scenario_upload, scenario_tags]
)
def test_the_nth_step_fails(scenario: Callable[[World], Answer]) -> None:
    for n in range(1, 50):
        world = failing_world()
        world.kv.failing = world.objects.failing = Failing(n)
        answer = scenario(world)
        world.kv.failing = world.objects.failing = Failing(0)
        world.check_ledger()
        if answer.status < 300:
            assert n > 1
            return
        assert answer.code == "ServiceUnavailable"
        assert world.get("/bucket/k").status == 404
        assert world.get("/bucket/source").body == bytes(20_000)
    raise AssertionError("never succeeded")


def test_a_client_that_hangs_up_stores_nothing(world: World) -> None:
    body = b"x" * 9000
    for cut in (0, 1, 4096, 8999):
        sent = world.ask("PUT", "/bucket/k", "", body[:cut], content_length="9000")
        assert sent.code == "IncompleteBody"
    assert world.get("/bucket/k").status == 404
    world.check_ledger()
