"""No secret reaches a line, no key forges one."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import math
from collections.abc import Iterator
from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3node.base import log

SECRET = "canary-0123456789-canary"
SIGNATURE = "fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024"
SHAPES = [
    f"GET /b/k?X-Amz-Signature={SIGNATURE}&X-Amz-Date=1",
    f"GET /b/k?x-amz-date=1&x-amz-signature={SIGNATURE}",
    f"Authorization: AWS4-HMAC-SHA256 Credential=A/b, SignedHeaders=host, Signature={SIGNATURE}",
    f"{{'authorization': 'AWS4-HMAC-SHA256 Signature={SIGNATURE}'}}",
    f"Signature={SIGNATURE}",
    f"X-Amz-Security-Token={SIGNATURE}",
    f"AWSAccessKeyId=X&Signature={SIGNATURE}",
]

TEXTS = [
    name for name, kind in get_type_hints(log.Access).items() if kind in (str, str | None)
]  # of the fields of a request's line


def request_line(**fields: Any) -> log.Access:
    return msgspec.structs.replace(
        log.Access("R1", "GetObject", "b", "k", 200, 0, 4, 1.5, "::1", "A", "H1"), **fields
    )


@pytest.fixture(params=[False, True], ids=["json", "plain"])
def stream(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    made = io.StringIO()
    log.setup(made, plain=request.param)
    log.hide(SECRET)
    yield made
    root.handlers[:], root.level = before, level


@pytest.mark.parametrize("text", SHAPES)
def test_signatures_are_hidden_wherever_they_stand(stream: io.StringIO, text: str) -> None:
    logger = logging.getLogger("test")
    logger.error(text)
    logger.error("with %s", text, extra={"fields": {"deep": {"list": [text]}, text: 1}})
    try:
        raise ValueError(text)
    except ValueError:
        logger.exception("failed")
    fields = {"Authorization": SIGNATURE, "headers": {"x-amz-signature": SIGNATURE}}
    logger.info("request", extra={"fields": fields})
    log.access(request_line(key=text))
    assert SIGNATURE not in stream.getvalue()
    assert log.HIDDEN in stream.getvalue()


def test_registered_secrets_are_hidden_in_anything(stream: io.StringIO) -> None:
    logging.getLogger("other.library").warning("key is %s!", SECRET)
    fields = {"key": f"a/{SECRET}/b", "nested": [{"x": SECRET}], "odd": SECRET.encode()}
    logging.getLogger("test").info("request", extra={"fields": fields})
    assert SECRET not in stream.getvalue()


@pytest.mark.parametrize("name", sorted({*TEXTS} - {"request_id", "host_id"}))
@pytest.mark.parametrize("secret", [SECRET, f"x-amz-signature={SIGNATURE}"], ids=["own", "shape"])
def test_no_field_of_a_request_shows_a_secret(stream: io.StringIO, name: str, secret: str) -> None:
    """But for the two that are our own random bytes."""
    log.access(request_line(**{name: f"a {secret} b"}))
    assert log.HIDDEN in stream.getvalue()
    assert SECRET not in stream.getvalue() and SIGNATURE not in stream.getvalue()


def test_a_key_forges_no_line(stream: io.StringIO) -> None:
    log.access(request_line(key='x\n{"level": "error"}\r\n\x1b[2J\u2028'))
    lines = stream.getvalue().split("\n")
    assert len(lines) == 2 and lines[1] == ""
    assert "\x1b" not in lines[0]
    assert "\r" not in lines[0]


def test_json_lines_have_their_fields() -> None:
    record = logging.LogRecord("n", logging.INFO, "", 0, "hello %s", ("you",), None)
    record.fields = {"status": 200, "key": "é"}
    line = json.loads(log.JsonFormatter().format(record))
    assert (line["message"], line["status"], line["key"]) == ("hello you", 200, "é")
    assert line["level"] == "info"


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.floats() | st.none()))
def test_the_short_way_to_json_says_the_same(fields: dict[str, object]) -> None:
    """But for what JSON has no number for, which is null by one way and bare by the other."""
    line = {"message": "request", **fields}
    text = log._json(line)
    assert text.isascii() and "\x7f" not in text and "\n" not in text
    if not any(isinstance(value, float) and not math.isfinite(value) for value in line.values()):
        assert json.loads(text) == json.loads(json.dumps(log._clean(line)))


@given(st.builds(log.Access, duration_ms=st.floats(allow_nan=False, allow_infinity=False)))
def test_the_line_of_a_request_says_what_its_fields_say(fields: log.Access) -> None:
    """By the short way and by the long one."""
    text = log._access_json(fields, 1_700_000_000_123)
    assert text.isascii() and "\x7f" not in text and "\n" not in text
    said = {name: value for name, value in msgspec.structs.asdict(fields).items() if value != ""}
    line = {**log._ACCESS_HEAD, "time": "2023-11-14T22:13:20.123+00:00", **said}
    found = json.loads(text)
    assert {name: value for name, value in found.items() if value != ""} == log._clean(line)


def test_lines_of_requests_wait_for_the_turn_to_end_and_keep_their_place() -> None:
    async def work() -> None:
        log.access(request_line(status=1))
        log.access(request_line(status=2))
        assert made.getvalue() == ""
        logging.getLogger("test").info("three")
        log.access(request_line(status=4))
        await asyncio.sleep(0)
        log.access(request_line(status=5))

    handlers, level = logging.root.handlers[:], logging.root.level
    made = io.StringIO()
    try:
        log.setup(made, plain=False)
        asyncio.run(work())
        logging.root.handlers[0].flush()
    finally:
        logging.root.handlers[:], logging.root.level = handlers, level
    lines = [json.loads(line) for line in made.getvalue().splitlines()]
    assert [line.get("status", line["message"]) for line in lines] == [1, 2, "three", 4, 5]
    assert {line["level"] for line in lines} == {"info"}
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
