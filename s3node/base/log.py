"""The log: one line per event on stderr, JSON for machines, plain for a terminal.

Built on the standard logging module, so that libraries' messages go the same way. Extra fields
are given as ``extra={"fields": {...}}``; `access` writes the one line per request, in the same
form but by a shorter way: its fields are an `Access`, of which is known what they are, and the
lines of one turn of the event loop are written together.

No secret is ever written. Three nets, all in the formatters, so that no caller can forget them:
secrets registered with `hide` are replaced wherever they stand; values of signature, credential
and token parameters are replaced by their shape; so is whatever follows ``Authorization:``.
Control characters are escaped: a key cannot forge a line or move the cursor.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import re
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

import msgspec

HIDDEN = "[hidden]"
ACCESS = logging.getLogger("s3node.access")

_SECRET_BYTES_MIN = 4
_secrets: set[str] = set()
_forms: set[str] = set()  # of the secrets, as they may stand in a line of JSON

_SHAPES = (
    re.compile(
        r"(?i)((?:x-amz-signature|x-amz-credential|x-amz-security-token|awsaccesskeyid"
        r"|signature|credential)[\"']?\s*[=:]\s*[\"']?)[^&\s,;\"']+"
    ),
    re.compile(r"(?i)(authorization[\"']?\s*[=:,]\s*)[^\r\n]+"),
)
_WORDS = ("signature", "credential", "token", "awsaccesskeyid", "authorization", "secret")
_NAMES = frozenset(
    ("authorization", "secret", "signature", "credential", "x-amz-signature", "x-amz-credential",
     "x-amz-security-token")
)  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def hide(secret: str) -> None:
    """Never let `secret` appear in a line from now on."""
    assert len(secret) >= _SECRET_BYTES_MIN, "a secret this short would blank the log"
    _secrets.add(secret)
    _forms.update((secret, json.dumps(secret)[1:-1]))


def redact(text: str) -> str:
    """`text` without secrets."""
    for secret in _secrets:
        text = text.replace(secret, HIDDEN)
    for shape in _SHAPES:
        text = shape.sub(rf"\g<1>{HIDDEN}", text)
    return text


def _suspicious(line: str) -> bool:
    """Whether a line has to be looked at closely, which is slow; nearly never."""
    lower = line.lower()
    for word in _WORDS:
        if word in lower:
            return True
    for form in _forms:  # noqa: SIM110  # a generator takes longer than what it does
        if form in line:
            return True
    return False


def _clean(value: object) -> object:
    if isinstance(value, str):
        return redact(value)
    if value is None or isinstance(value, (int, float)):
        return value
    if isinstance(value, Mapping):
        return {_clean(str(name)): _inner(str(name), item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return redact(str(value))


def _inner(name: str, value: object) -> object:
    """A field; one whose name says that it is a secret is hidden whatever it holds."""
    return HIDDEN if name.lower() in _NAMES else _clean(value)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = getattr(record, "fields", {})
    assert isinstance(fields, dict)
    return fields


def _when(now_ms: int) -> str:
    whole, ms = divmod(now_ms, 1000)
    return f"{_second(whole)}.{ms:03d}+00:00"


@functools.lru_cache(maxsize=2)
def _second(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")


_encode = msgspec.json.Encoder().encode
_PLAIN = frozenset((str, int, float, bool, type(None)))  # what both encoders write alike
_DELETE = b"\x7f"


def _json(line: Mapping[str, object]) -> str:
    """`line` as one line of ASCII, without secrets."""
    text = ""
    if _PLAIN.issuperset(map(type, line.values())):
        try:
            raw = _encode(line)
        except (ValueError, OverflowError):  # what UTF-8 or 64 bits cannot hold
            raw = _DELETE
        if raw.isascii() and _DELETE not in raw:
            text = raw.decode("ascii")
    text = text or json.dumps(line, default=str)
    return json.dumps(_clean(line)) if _suspicious(text) else text


class Access(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the line of one request says."""

    request_id: str
    operation: str
    bucket: str | None
    key: str | None
    status: int
    received_bytes: int
    sent_bytes: int
    duration_ms: float
    remote: str
    identity: str
    host_id: str
    certificate: str = ""  # these three only where there is something to say
    error: str = ""
    cut: str = ""

    def told(self) -> str:
        """All that is not made of numbers and random bytes."""
        return (
            f"{self.operation} {self.bucket} {self.key} {self.remote} {self.identity} "
            f"{self.certificate} {self.error} {self.cut}"
        )


_ACCESS_HEAD = {"level": "info", "logger": ACCESS.name, "message": "request"}
_ACCESS_HEAD_JSON = json.dumps(_ACCESS_HEAD, separators=(",", ":"))[1:-1]


def _access_json(fields: Access, now_ms: int) -> str:
    """`fields` behind what all these lines begin with; secrets are looked for where they can be,
    the names of fields being none."""
    try:
        raw = _encode(fields)
    except ValueError:  # what UTF-8 cannot hold
        raw = _DELETE
    when = _when(now_ms)
    if not raw.isascii() or _DELETE in raw or _suspicious(fields.told()):
        return _json({"time": when, **_ACCESS_HEAD, **msgspec.to_builtins(fields)})
    return f'{{"time":"{when}",{_ACCESS_HEAD_JSON},{raw[1:].decode("ascii")}'


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _when(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _json(line)


class PlainFormatter(logging.Formatter):
    """For people: time, level, message, fields."""

    def format(self, record: logging.LogRecord) -> str:
        when = _when(int(record.created * 1000))
        head = f"{when[11:23]} {record.levelname:<7} {record.getMessage()}"
        fields = _clean(_fields(record))
        assert isinstance(fields, dict)
        told = ((name, value) for name, value in fields.items() if value not in (None, ""))
        parts = [head, *(f"{name}={value}" for name, value in told)]
        text = _escape(redact(" ".join(parts)).replace("\n", "\\n"))
        if record.exc_info:
            text += "\n" + _escape(redact(self.formatException(record.exc_info)))
        return text


def _escape(text: str) -> str:
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes records at once, and before them the lines of requests that wait to be written."""

    def __init__(self, stream: TextIO, formatter: logging.Formatter) -> None:
        super().__init__(stream)
        self.setFormatter(formatter)
        self._waiting: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._write()
        super().emit(record)

    def flush(self) -> None:
        with self._guard():
            self._write()
            super().flush()

    def access(self, fields: Access) -> None:
        """The line of a request, written when this turn of the event loop is over."""
        line = _access_json(fields, time.time_ns() // 1_000_000)
        with self._guard():
            self._waiting.append(line)
            if len(self._waiting) > 1:
                return
        loop = asyncio._get_running_loop()
        if loop is None:
            self.flush()
        else:
            loop.call_soon(self.flush)

    def _guard(self) -> threading.RLock:
        assert self.lock is not None, "made by logging.Handler"
        return self.lock

    def _write(self) -> None:
        lines, self._waiting = self._waiting, []
        if lines:
            try:
                self.stream.write("\n".join((*lines, "")))
            except (OSError, ValueError):  # full, or closed: as with any other record
                self.handleError(_record({}))


def setup(stream: TextIO, *, level: str = "info", plain: bool | None = None) -> None:
    """Send everything to `stream`; `plain` is whether it is a terminal unless said otherwise."""
    choice = stream.isatty() if plain is None else plain
    handler = LineHandler(stream, PlainFormatter() if choice else JsonFormatter())
    # No line tells of threads, processes or tasks: nothing is asked of them for each.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def access(fields: Access) -> None:
    """The line of one request."""
    if not ACCESS.isEnabledFor(logging.INFO):
        return
    handlers = logging.root.handlers
    handler = handlers[0] if len(handlers) == 1 else None
    if isinstance(handler, LineHandler) and isinstance(handler.formatter, JsonFormatter):
        handler.access(fields)
        return
    ACCESS.handle(_record(msgspec.to_builtins(fields)))


def _record(fields: Mapping[str, object]) -> logging.LogRecord:
    """Of a request; who asked for the line is no question, and looking for it is slow."""
    record = logging.LogRecord(ACCESS.name, logging.INFO, "", 0, "request", (), None)
    record.fields = fields
    return record


def set_level(level: str) -> None:
    """Write lines of this level and above from now on."""
    logging.getLogger().setLevel(level.upper())
