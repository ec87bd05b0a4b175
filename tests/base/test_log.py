"""No secret reaches a line, no key forges one."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

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
    log.access(**{"Authorization": SIGNATURE}, headers={"x-amz-signature": SIGNATURE})
    assert SIGNATURE not in stream.getvalue()
    assert log.HIDDEN in stream.getvalue()


def test_registered_secrets_are_hidden_in_anything(stream: io.StringIO) -> None:
    logging.getLogger("other.library").warning("key is %s!", SECRET)
    log.access(key=f"a/{SECRET}/b", nested=[{"x": SECRET}], odd=SECRET.encode())
    assert SECRET not in stream.getvalue()


def test_a_key_forges_no_line(stream: io.StringIO) -> None:
    log.access(key='x\n{"level": "error"}\r\n\x1b[2J\u2028', status=200)
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
