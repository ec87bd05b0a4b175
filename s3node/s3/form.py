"""multipart/form-data as browsers send it: fields, then one file, taken apart as the bytes come.

`FormParser` is fed with what the wire brings, in any cuts. The fields before the file are kept
whole, the file's bytes are handed on, and nothing of them is held back but what may be the
beginning of the delimiter behind them. No I/O; it knows no policy and no object.

Invariants:

- everything but the file's content, before and behind it, is `FORM_BYTES_MAX` at the most, so
  memory and work are bounded whatever comes;
- a delimiter is one wherever it stands at the beginning of a line, also when more follows it
  there: then the form is malformed, and never a longer file;
- the file is the part called "file", whether or not it has a file name; parts behind it count for
  nothing, but for a second file, which would be lost;
- a form is one only with its closing delimiter (`eof`).

What browsers escape in a file name (%22, %0D, %0A) stays as it is: nobody can tell it from a name
that is spelt so.

Sources: RFC 7578; RFC 2046 section 5.1.1 (delimiters, padding, preamble, epilogue); RFC 2183;
"Creating an HTML form" of the Amazon S3 API Reference (sigv4-HTTPPOSTForms: at most 20 KB, the
file last, fields below it are ignored). Codes and texts as S3 answers them, which for the size of
the fields is not quite what its error page says.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from typing import NamedTuple

from s3node.base.errors import S3Error
from s3node.base.limits import FORM_BYTES_MAX
from s3node.s3.checksums import Buffer

FILE = "file"
_MULTIPART = "multipart/form-data"

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]\Z")
_PARAMETER = re.compile(
    r";[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:\"((?:[^\"\\]|\\.)*)\"|([^\s\";]*))[ \t]*"
)
_ESCAPED = re.compile(r'\\(["\\])')
_LINE = b"\r\n"
_HEADERS_END = b"\r\n\r\n"


class Field(NamedTuple):
    """One part before the file: its name as it was spelt, and its value."""

    name: str
    value: str


class FileHead(NamedTuple):
    """What the file's part says of it; `filename` is None when it says no name at all."""

    filename: str | None


class _State(enum.Enum):
    PREAMBLE = enum.auto()
    DELIMITED = enum.auto()  # right behind a delimiter
    HEADERS = enum.auto()
    VALUE = enum.auto()
    FILE = enum.auto()
    CLOSED = enum.auto()


def malformed() -> S3Error:
    """The one error of every body that is no such form."""
    return S3Error("MalformedPOSTRequest")


def boundary(content_type: str | None) -> bytes:
    """The boundary that a Content-Type names; PreconditionFailed when it is of another type."""
    value = content_type or ""
    kind, _, rest = value.partition(";")
    if kind.strip(" \t").lower() != _MULTIPART:
        raise S3Error(
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold",
            Condition=f"Bucket POST must be of the enclosure-type {_MULTIPART}",
        )
    found = _parameters(f";{rest}").get("boundary", "")
    if not _BOUNDARY.match(found):
        raise malformed()
    return found.encode("ascii")


class FormParser:
    """One form. `fields` and `file` grow as its parts come."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        # The first delimiter stands at the beginning of the body, where no line ended before it.
        self._held = _LINE
        self._overhead = -len(_LINE)
        self._state = _State.PREAMBLE
        self._name = ""
        self.fields: list[Field] = []
        self.file: FileHead | None = None
        self.file_ended = False

    @property
    def delimiter_bytes(self) -> int:
        """What follows the file at the least."""
        return len(self._delimiter) + len(b"--")

    @property
    def held_bytes(self) -> int:
        """What came and may be the file's, or the beginning of what follows it."""
        return len(self._held)

    def feed(self, data: Buffer) -> list[memoryview]:
        """The file's content in `data` and in what was held back, as views of copies."""
        found: list[memoryview] = []
        self._held = b"".join((self._held, data)) if self._held else bytes(data)
        while self._step(found):
            pass
        if self._state is not _State.FILE:
            self._bound(len(self._held))
        return found

    def eof(self) -> None:
        """The body ended: it must have been a whole form, with a file."""
        if self._state is not _State.CLOSED:
            raise malformed()
        if self.file is None:
            raise _not_one_file(0)

    def _step(self, found: list[memoryview]) -> bool:
        """Go on by one thing; False when that needs more bytes."""
        match self._state:
            case _State.PREAMBLE:
                return self._until(self._delimiter, _State.DELIMITED) is not None
            case _State.DELIMITED:
                return self._delimited()
            case _State.HEADERS:
                return self._headers()
            case _State.VALUE:
                return self._value()
            case _State.FILE:
                return self._content(found)
            case _State.CLOSED:
                self._bound(len(self._held))
                self._overhead += len(self._held)
                self._held = b""
                return False

    def _until(self, mark: bytes, state: _State) -> bytes | None:
        """What stands before the mark, which is taken; None when it has not come."""
        at = self._held.find(mark)
        if at < 0:
            return None
        before = self._held[:at]
        self._take(at + len(mark))
        self._state = state
        return before

    def _take(self, count: int) -> None:
        self._bound(count)
        self._overhead += count
        self._held = self._held[count:]

    def _bound(self, more: int) -> None:
        if self._overhead + more > FORM_BYTES_MAX:
            raise S3Error(
                "MaxPostPreDataLengthExceeded", MaxPostPreDataLengthBytes=str(FORM_BYTES_MAX)
            )

    def _delimited(self) -> bool:
        """Behind a delimiter: the end of the form, or of the line and a part."""
        if len(self._held) < 2:
            return False
        if self._held.startswith(b"--"):
            self._take(2)
            self._state = _State.CLOSED
            return True
        padding = self._held.partition(_LINE)[0].rstrip(b"\r")
        if padding.strip(b" \t"):
            raise malformed()
        return self._until(_LINE, _State.HEADERS) is not None

    def _headers(self) -> bool:
        block = self._until(_HEADERS_END, _State.VALUE)
        if block is None:
            return False
        name, filename = _disposition(block)
        self._name = name
        if name.lower() == FILE:
            if self.file is not None:
                raise _not_one_file(2)
            self.file = FileHead(filename)
            self._state = _State.FILE
        return True

    def _value(self) -> bool:
        value = self._until(self._delimiter, _State.DELIMITED)
        if value is None:
            return False
        if self.file is None:
            self.fields.append(Field(self._name, _text(value)))
        return True

    def _content(self, found: list[memoryview]) -> bool:
        held = self._held
        at = held.find(self._delimiter)
        if at >= 0:
            if at:
                found.append(memoryview(held)[:at])
            self._held = held[at:]
            self._take(len(self._delimiter))
            self._state = _State.DELIMITED
            self.file_ended = True
            return True
        safe = self._safe(held)
        if safe:
            found.append(memoryview(held)[:safe])
            self._held = held[safe:]
        return False

    def _safe(self, held: bytes) -> int:
        """How much of it cannot belong to a delimiter: there is no CR in one but its first."""
        at = held.rfind(b"\r", max(0, len(held) - len(self._delimiter) + 1))
        return at if at >= 0 and self._delimiter.startswith(held[at:]) else len(held)


def _not_one_file(count: int) -> S3Error:
    return S3Error(
        "InvalidArgument",
        "POST requires exactly one file upload per request.",
        ArgumentName=FILE,
        ArgumentValue=str(count),
    )


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise malformed() from None


def _disposition(block: bytes) -> tuple[str, str | None]:
    """Name and file name of a part, from its headers; all others are ignored (RFC 7578, 4.8)."""
    found: list[str] = []
    for line in _text(block).split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon or "\r" in line or "\n" in line or "\0" in line:
            raise malformed()
        if name.lower() == "content-disposition":
            found.append(value.strip(" \t"))
    if len(found) != 1:
        raise malformed()
    kind, _, rest = found[0].partition(";")
    parameters = _parameters(f";{rest}")
    if kind.strip(" \t").lower() != "form-data" or not parameters.get("name"):
        raise malformed()
    return parameters["name"], parameters.get("filename")


def _parameters(text: str) -> dict[str, str]:
    """``;name=value`` and so on, names in lower case; each once."""
    found: dict[str, str] = {}
    at = 0
    while text[at:].strip("; \t"):
        match = _PARAMETER.match(text, at)
        if match is None or match[1].lower() in found:
            raise malformed()
        value = match[3] if match[2] is None else _ESCAPED.sub(r"\1", match[2])
        found[match[1].lower()] = value
        at = match.end()
    return found


def base_name(filename: str) -> str:
    """A file's name without the folders that some browsers tell."""
    return re.split(r"[/\\]", filename)[-1]


def values(fields: Sequence[Field]) -> dict[str, str]:
    """Values by name in lower case; a name that comes twice is InvalidArgument.

    S3 joins them with a comma, which is not what either of them says.
    """
    found: dict[str, str] = {}
    for name, value in fields:
        lower = name.lower()
        if lower.startswith("x-ignore-"):
            continue
        if lower in found:
            raise S3Error(
                "InvalidArgument",
                "A field of the form must not occur more than once.",
                ArgumentName=name,
                ArgumentValue=value,
            )
        found[lower] = value
    return found
