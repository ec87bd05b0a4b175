"""Differential: whatever botocore signs is accepted, and any one change of it is refused.

Deterministic: request number i comes from seed i. The deep run does many more.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple
from unittest.mock import patch
from urllib.parse import unquote, urlsplit

import botocore.auth
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.utils import percent_encode

from s3node.base.errors import S3Error
from s3node.s3.body import Payload
from s3node.s3.request import Request
from s3node.s3.sigv4 import KeyCache

from .build import ACCESS_KEY, NOW_MS, REGION, SECRET_KEY, check, request

ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "a/./../%+ ~-_*'()!@$&=;:,?#[]\"<>{}|\\^`",
    "é中\u0301\U0001f600\u2028\x01\x7f\t\n/%2F",
)
SLICE = 1000

METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")
PARAMETERS = ("prefix", "delimiter", "uploadId", "partNumber", "versionId", "acl", "list-type")
STORED = ("cache-control", "content-disposition", "content-language", "content-type", "range")


class Sent(NamedTuple):
    """A signed request as it would go over the wire."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]  # encoded
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def parse(self) -> Request:
        query = "&".join(f"{name}={value}" for name, value in self.query)
        target = f"{self.path}?{query}" if query else self.path
        headers = (*self.headers, ("content-length", str(len(self.body))))
        return request(self.method, target, headers, host=None)


@contextlib.contextmanager
def clock() -> Iterator[None]:
    """botocore signs for the time at which requests are judged here."""
    now = datetime.datetime.fromtimestamp(NOW_MS / 1000, datetime.UTC)
    with patch.object(botocore.auth, "get_current_datetime", lambda: now):
        yield


def text(rng: random.Random, low: int, high: int) -> str:
    alphabet = rng.choice(ALPHABETS)
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(low, high)))


def value(rng: random.Random) -> str:
    words = ("a", "b c", "x  y", "text/plain; charset=utf-8", "=?UTF-8?Q?=C3=A9?=", '"q"', "é")
    return " ".join(rng.choice(words) for _ in range(rng.randint(1, 3)))


def send(seed: int) -> Sent:
    """Request number `seed`, signed by botocore."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abc019-", k=rng.randint(0, 6))) for _ in range(3)]
    bucket = ".".join(f"b{word}b" for word in words)
    key = percent_encode(text(rng, 1, 40), safe="/~")
    virtual = rng.random() < 0.5
    host = f"{bucket}.s3.amazonaws.com" if virtual else "s3.amazonaws.com"
    if rng.random() < 0.3:
        host += ":9000"
    path = f"/{key}" if virtual else f"/{bucket}/{key}"
    names = rng.sample(PARAMETERS, rng.randint(0, 3))
    query = [(name, percent_encode(text(rng, 0, 9), safe="~")) for name in names]
    headers = {f"x-amz-meta-{i}": value(rng) for i in range(rng.randint(0, 3))}
    headers |= {name: value(rng) for name in rng.sample(STORED, rng.randint(0, 2))}
    method = rng.choice(METHODS)
    body = rng.randbytes(rng.randint(0, 99)) if method in ("PUT", "POST") else b""
    url = f"http://{host}{path}"
    if query:
        url += "?" + "&".join(f"{name}={text}" for name, text in query)
    auth = S3SigV4QueryAuth if rng.random() < 0.4 else S3SigV4Auth
    shown = body if auth is S3SigV4Auth else b""  # presigned URLs are signed without a body
    asked = AWSRequest(method=method, url=url, data=shown, headers=headers)
    auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", REGION).add_auth(asked)
    parts = urlsplit(asked.url)
    pairs = tuple((n, v) for n, _, v in (p.partition("=") for p in parts.query.split("&")) if n)
    wire = (("host", parts.netloc), *((n.lower(), wired(v)) for n, v in asked.headers.items()))
    return Sent(method, parts.path, pairs, wire, body)


def wired(value: str | bytes) -> str:
    """A header value as botocore signs it: UTF-8, here in latin-1 letters."""
    return (value if isinstance(value, bytes) else value.encode("utf-8")).decode("latin-1")


def accepted(sent: Sent, cache: KeyCache) -> Request:
    asked = sent.parse()
    _, spec = check(asked, cache=cache)
    payload = Payload(spec, asked)
    for piece in payload.feed(sent.body):
        payload.update(piece)
    payload.eof()
    payload.finish()
    return asked


def other(rng: random.Random, character: str, choices: str) -> str:
    return rng.choice([c for c in choices if c != character])


def change_encoded(rng: random.Random, encoded: str) -> str:
    """The same text with one decoded character replaced, added or taken away."""
    plain = unquote(encoded)
    at = rng.randrange(len(plain)) if plain else 0
    kind = rng.randrange(3)
    if kind == 0 or not plain:
        plain = plain[:at] + "q" + plain[at:]
    elif kind == 1:
        plain = plain[:at] + other(rng, plain[at], "xyz") + plain[at + 1 :]
    else:
        plain = plain[:at] + plain[at + 1 :]
    return percent_encode(plain, safe="~")


def mutations(sent: Sent, rng: random.Random) -> Iterator[tuple[str, Sent]]:
    """The request with one thing changed, of every kind that applies."""
    yield "method", sent._replace(method=rng.choice([m for m in METHODS if m != sent.method]))
    yield "path", sent._replace(path="/" + change_encoded(rng, sent.path[1:]).replace("%2F", "/"))
    extra = (rng.choice(("versionId", "response-expires", "retention")), "1")
    if extra[0] not in dict(sent.query):
        yield "query added", sent._replace(query=(*sent.query, extra))
    if sent.query:
        at = rng.randrange(len(sent.query))
        name, text = sent.query[at]
        rest = sent.query[:at] + sent.query[at + 1 :]
        yield "query taken", sent._replace(query=rest)
        yield "query changed", sent._replace(query=(*rest, (name, change_encoded(rng, text))))
    yield from header_mutations(sent, rng)
    if sent.body and "x-amz-content-sha256" in dict(sent.headers):
        at = rng.randrange(len(sent.body))
        flipped = sent.body[:at] + bytes((sent.body[at] ^ 1,)) + sent.body[at + 1 :]
        yield "body", sent._replace(body=flipped)


def header_mutations(sent: Sent, rng: random.Random) -> Iterator[tuple[str, Sent]]:
    at = rng.randrange(len(sent.headers))
    name, text = sent.headers[at]
    place = rng.choice([i for i, c in enumerate(text) if c != " "])
    changed = text[:place] + other(rng, text[place], "0a") + text[place + 1 :]
    rest = sent.headers[:at] + sent.headers[at + 1 :]
    if changed.lower() != text.lower() or name != "host":
        yield f"{name} changed", sent._replace(headers=(*rest, (name, changed)))
    if name != "authorization":  # without it the request is an honest anonymous one
        yield f"{name} taken", sent._replace(headers=rest)
    added = rng.choice(("x-amz-copy-source", "x-amz-acl", "x-amz-tagging"))
    yield f"{added} added", sent._replace(headers=(*sent.headers, (added, "a")))
    yield f"{name} twice", sent._replace(headers=(*sent.headers, (name, text)))


class Tally(NamedTuple):
    """What became of some requests: how many were accepted, and how many changes refused."""

    accepted: int
    refused: int
    kinds: frozenset[str]


def run(seeds: range) -> Tally:
    """Each as it was signed, and with one change of it; every twentieth with all there are."""
    cache = KeyCache()
    kinds: set[str] = set()
    refused = 0
    with clock():
        for seed in seeds:
            sent = send(seed)
            check_key(seed, sent, accepted(sent, cache))
            rng = random.Random(~seed)
            changes = [
                (kind, one) for kind, one in mutations(sent, rng) if matters(kind, one, sent)
            ]
            for kind, mutated in changes if seed % 20 == 0 else [rng.choice(changes)]:
                check_refused(seed, kind, mutated, cache)
                kinds.add(kind)
                refused += 1
    return Tally(len(seeds), refused, frozenset(kinds))


def check_key(seed: int, sent: Sent, asked: Request) -> None:
    """The key is what stands in the path, decoded once."""
    wire_key = asked.raw_path.partition("/")[2]
    if asked.host.startswith("s3."):
        wire_key = wire_key.partition("/")[2]
    assert asked.key == unquote(wire_key, errors="strict"), f"seed {seed}: {sent}"


def check_refused(seed: int, kind: str, mutated: Sent, cache: KeyCache) -> None:
    try:
        accepted(mutated, cache)
    except S3Error:
        return
    raise AssertionError(f"seed {seed}: accepted with {kind}: {mutated}")


def matters(kind: str, mutated: Sent, sent: Sent) -> bool:
    return mutated != sent and not (kind.endswith("twice") and not decides(kind))


def decides(kind: str) -> bool:
    return not kind.startswith(("cache-", "content-disposition", "content-language"))


def spread(count: int) -> None:
    """Over as many processes as there are processors."""
    slices = [range(at, min(at + SLICE, count)) for at in range(0, count, SLICE)]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        tallies = list(pool.map(run, slices))
    assert sum(one.accepted for one in tallies) == count
    assert sum(one.refused for one in tallies) > count
    kinds = frozenset().union(*(one.kinds for one in tallies))
    assert {"method", "path", "query changed", "body", "host changed"} <= kinds


def test_whatever_botocore_signs_and_nothing_else(deep: bool) -> None:
    spread(100_000 if deep else 20_000)


def test_requests_are_the_same_every_time() -> None:
    with clock():
        texts = {repr([send(i) for i in range(5)]) for _ in "ab"}
    assert len(texts) == 1
