"""Rows of the suite with something wrong in them: whatever comes of that is an answer of S3's.

Request number i comes from seed i. What holds for each: an error has a code of the table, that
code's status, its document and both ids, and has changed no row; a read has changed none either;
what succeeded left nothing lost; nothing is ever an InternalError, or the end of the process.
"""

from __future__ import annotations

import random
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable

import pytest

from s3node.meta.digest import digest
from s3node.s3.errors import TABLE
from tests.conformance.case import ANONYMOUS, PRESIGNED, Ask, Case
from tests.conformance.cases import own
from tests.conformance.scenes import disown, fork
from tests.conformance.stage import Stage, filled
from tests.ops.world import Answer

CHUNKS = 8
REQUESTS = 100
REQUESTS_DEEP = 10_000

# What says how long a body is, and what waits for one that does not come.
FRAMING = frozenset({"content-length", "expect", "host", "transfer-encoding"})

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
VALUES = ("", "0", "1", "-1", "9" * 30, "null", "true", "x", "*", '"', "a,b", "%00", "bytes=1-")
QUERIES = ("", "0", "1", "-1", "9" * 30, "null", "%00", "%ff", "%C3%A9", "x", "url", "0" * 32)

ROWS = [case for case in own() if not FRAMING & case.ask.headers.keys()]

Mutation = Callable[[random.Random, Ask, Ask], Ask]


def _method(rng: random.Random, ask: Ask, _other: Ask) -> Ask:
    return ask.but(method=rng.choice(METHODS))


def _path(rng: random.Random, ask: Ask, other: Ask) -> Ask:
    wild = f"{ask.path}/", f"/{ask.path}", f"{ask.path}%2F..", ask.path.upper(), other.path
    return ask.but(path=rng.choice(wild))


def _less_query(rng: random.Random, ask: Ask, _other: Ask) -> Ask:
    pieces = ask.query.split("&")
    pieces.pop(rng.randrange(len(pieces)))
    return ask.but(query="&".join(pieces))


def _more_query(rng: random.Random, ask: Ask, other: Ask) -> Ask:
    return ask.plus(rng.choice(other.query.split("&")))


def _other_query(rng: random.Random, ask: Ask, _other: Ask) -> Ask:
    pieces = ask.query.split("&")
    at = rng.randrange(len(pieces))
    name = pieces[at].partition("=")[0]
    pieces[at] = f"{name}={rng.choice(QUERIES)}" if name else ""
    return ask.but(query="&".join(pieces))


def _headers(rng: random.Random, ask: Ask, other: Ask) -> Ask:
    """One header more, less, or of another value."""
    headers = dict(ask.headers)
    if headers and rng.random() < 0.6:
        name = rng.choice(sorted(headers))
        if rng.random() < 0.5:
            del headers[name]
        else:
            headers[name] = rng.choice(VALUES)
    elif other.headers:
        name = rng.choice(sorted(other.headers))
        headers[name] = rng.choice((other.headers[name], *VALUES))
    return ask.but(headers=headers)


def _body(rng: random.Random, ask: Ask, other: Ask) -> Ask:
    if not ask.body or rng.random() < 0.3:
        return ask.but(body=other.body)
    at = rng.randrange(len(ask.body))
    flipped = bytes((ask.body[at] ^ 1 << rng.randrange(8),))
    wild = (
        ask.body[:at],
        ask.body[:at] + flipped + ask.body[at + 1 :],
        ask.body + ask.body[at:],
        b"",
    )
    return ask.but(body=rng.choice(wild))


def _auth(rng: random.Random, ask: Ask, _other: Ask) -> Ask:
    return ask.but(auth=rng.choice((PRESIGNED, ANONYMOUS)))


MUTATIONS: tuple[Mutation, ...] = (
    _method,
    _path,
    _less_query,
    _more_query,
    _other_query,
    _headers,
    _headers,
    _body,
    _body,
    _auth,
)


def mutated(seed: int) -> Case:
    """Row and mutations number `seed`; the case's expectations are void."""
    rng = random.Random(seed)
    case = rng.choice(ROWS)
    ask = case.ask
    for _ in range(rng.randint(1, 3)):
        ask = rng.choice(MUTATIONS)(rng, ask, rng.choice(ROWS).ask)
    return Case(case.operation, f"number {seed}", ask, 0, scene=case.scene, theirs=case.theirs)


def code_of(ask: Ask, answer: Answer) -> str:
    """The error's code, its document being what it should be; "" for a success."""
    assert len(answer.headers["x-amz-request-id"]) == 16
    assert len(answer.headers["x-amz-id-2"]) == 64
    if answer.status < 400:
        return ""
    if ask.method == "HEAD":
        assert answer.body == b""
        return f"HEAD {answer.status}"
    root = ET.fromstring(answer.body)
    found = {element.tag: element.text or "" for element in root}
    assert root.tag == "Error" and len(found) == len(root)
    assert answer.status == TABLE[found["Code"]].status
    assert found["Message"] and found["Resource"]
    assert found["RequestId"] == answer.headers["x-amz-request-id"]
    assert found["HostId"] == answer.headers["x-amz-id-2"]
    return found["Code"]


def play(stage: Stage, case: Case) -> str:
    world, names = fork(case.scene)
    if case.theirs:
        disown(world, case.theirs)
    stage.serve(world)
    before = digest(world.kv)
    ask = filled(case.ask, names)
    answer = stage.send(ask)
    code = code_of(ask, answer)
    assert answer.status != TABLE["InternalError"].status, answer
    if code or ask.method in {"GET", "HEAD", "OPTIONS"}:
        assert digest(world.kv) == before, "rows changed"
    if not case.theirs and "theirs" not in names:
        world.check_ledger()
    assert stage.broken == []
    return code


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_whatever_is_wrong_with_a_request_has_an_answer(
    chunk: int, stage: Stage, deep: bool
) -> None:
    count = REQUESTS_DEEP if deep else REQUESTS
    codes: Counter[str] = Counter()
    for seed in range(chunk * count, (chunk + 1) * count):
        case = mutated(seed)
        try:
            codes[play(stage, case)] += 1
        except Exception as fault:
            raise AssertionError(f"seed {seed}: {case.ask}") from fault
    assert codes[""] > count // 10, "hardly anything succeeds: nothing else is reached"
    assert len(codes) > 15, codes
