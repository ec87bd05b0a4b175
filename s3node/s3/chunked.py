"""aws-chunked: the framing of a payload inside a request body, and the chain of its signatures.

Two halves, because framing is cheap and runs on the event loop, and hashing is not:

- `Decoder` finds the payload bytes. Bytes in, views out; it never copies payload.
- `ChunkVerifier` hashes those bytes, in any cuts, and checks each chunk's signature where the
  chunk ends. The decoder leaves it a mark (offset, signature) before it gives out the first byte
  of a chunk, so no byte is accepted that no signature covers.

States of the decoder::

    SIZE --size > 0--> DATA --all bytes--> CRLF --\\r\\n--> SIZE
      \\--size = 0--> TRAILER --empty line--> DONE          (anything after DONE is refused)

Invariants: payload given out never exceeds the declared length; lines are at most LINE_MAX
bytes; DONE is reached only with exactly the declared length; every chunk but the last has at
least CHUNK_BYTES_MIN bytes, so the number of signatures is bounded by the length.

Sources: "Transferring Payload in Multiple Chunks" and "Including Trailing Headers" of the Amazon
S3 API Reference. Broken framing is IncompleteBody and a wrong trailer MalformedTrailerError, as
S3 answers them. Lines of trailers may end in a bare LF and an empty line may stand before the
trailer's signature: minio-go sends that.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from s3node.base.errors import S3Error
from s3node.base.limits import CHUNK_BYTES_MIN
from s3node.s3.signing import ChunkSigner

Buffer = bytes | bytearray | memoryview

LINE_MAX = 1024
TRAILER_SIGNATURE = "x-amz-trailer-signature"

_UNSIGNED_HEAD = re.compile(rb"([0-9A-Fa-f]{1,16})()\r\n\Z")
_SIGNED_HEAD = re.compile(rb"([0-9A-Fa-f]{1,16});chunk-signature=([0-9a-f]{64})\r\n\Z")
_TRAILER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e]*)\Z")


class State(enum.Enum):
    SIZE = enum.auto()
    DATA = enum.auto()
    CRLF = enum.auto()
    TRAILER = enum.auto()
    DONE = enum.auto()


class Mark(NamedTuple):
    """A chunk ends at this offset of the payload and has this signature."""

    offset: int
    signature: str


class Decoder:
    """Finds the payload in an aws-chunked body.

    `length` is the declared payload length, `signed` whether chunks carry signatures,
    `announced` the trailers to come; `trailing` whether the kind of payload has trailers at all.
    """

    def __init__(
        self, length: int, *, signed: bool, trailing: bool, announced: Sequence[str] = ()
    ) -> None:
        self.marks: deque[Mark] = deque()
        self.trailers: dict[str, str] = {}
        self.trailer_signature: str | None = None
        self._length = length
        self._head = _SIGNED_HEAD if signed else _UNSIGNED_HEAD
        self._signed = signed
        self._trailer_signed = signed and trailing
        self._announced = frozenset(announced)
        self._state = State.SIZE
        self._line = bytearray()
        self._offset = 0  # payload bytes of the chunks begun so far
        self._left = 0  # payload bytes still to come in this chunk
        self._short = False  # a chunk under CHUNK_BYTES_MIN was seen: it has to be the last
        self._blank = False  # an empty line before the trailer's signature was seen

    @property
    def done(self) -> bool:
        return self._state is State.DONE

    def feed(self, data: Buffer) -> list[memoryview]:
        """Payload bytes in `data`, as views of it."""
        view = memoryview(data)
        pieces: list[memoryview] = []
        while view:
            if self._state is State.DATA:
                view = self._take(view, pieces)
            elif self._state is State.DONE:
                raise S3Error("IncompleteBody", "The request body goes on after its final chunk")
            else:
                view = self._collect(view)
        return pieces

    def eof(self) -> None:
        """IncompleteBody unless the final chunk and the trailers were complete."""
        if self._state is not State.DONE:
            raise S3Error("IncompleteBody")

    def _take(self, view: memoryview, pieces: list[memoryview]) -> memoryview:
        piece = view[: self._left]
        pieces.append(piece)
        self._left -= len(piece)
        if not self._left:
            self._state = State.CRLF
        return view[len(piece) :]

    def _collect(self, view: memoryview) -> memoryview:
        """Gather a line, bounded; act on it once it is whole."""
        room = LINE_MAX - len(self._line)
        head = bytes(view[:room])
        end = head.find(b"\n") + 1
        self._line += head[:end] if end else head
        if not end:
            if len(self._line) >= LINE_MAX:
                raise S3Error("IncompleteBody")
            return view[len(head) :]
        line = bytes(self._line)
        self._line.clear()
        if self._state is State.SIZE:
            self._begin(line)
        elif self._state is State.CRLF:
            self._end(line)
        else:
            self._trailer(line)
        return view[end:]

    def _begin(self, line: bytes) -> None:
        match = self._head.match(line)
        if match is None:
            raise S3Error("IncompleteBody")
        size = int(match[1], 16)
        if size > self._length - self._offset:
            raise S3Error("IncompleteBody", "The chunks hold more than the declared length")
        if self._short and size:
            raise S3Error("InvalidChunkSizeError")
        self._short = size < CHUNK_BYTES_MIN
        self._offset += size
        self._left = size
        if self._signed:
            self.marks.append(Mark(self._offset, match[2].decode("ascii")))
        if size:
            self._state = State.DATA
        elif self._offset < self._length:
            raise S3Error("IncompleteBody", "The chunks hold less than the declared length")
        else:
            self._state = State.TRAILER

    def _end(self, line: bytes) -> None:
        if line != b"\r\n":
            raise S3Error("IncompleteBody")
        self._state = State.SIZE

    def _trailer(self, line: bytes) -> None:
        text = line.removesuffix(b"\n").removesuffix(b"\r").decode("latin-1")
        if text:
            self._trailer_field(text)
        elif self._trailer_signed and self.trailer_signature is None:
            if self._blank:
                raise S3Error("MalformedTrailerError")
            self._blank = True
        elif self.trailers.keys() != self._announced:
            raise S3Error("MalformedTrailerError")
        else:
            self._state = State.DONE

    def _trailer_field(self, text: str) -> None:
        match = _TRAILER.match(text)
        if match is None or self.trailer_signature is not None:
            raise S3Error("MalformedTrailerError")
        name, value = match[1].lower(), match[2].strip(" \t")
        if name == TRAILER_SIGNATURE and self._trailer_signed:
            self.trailer_signature = value
        elif self._blank or name in self.trailers or name not in self._announced:
            raise S3Error("MalformedTrailerError")
        else:
            self.trailers[name] = value


class ChunkVerifier:
    """Checks the chain of signatures over the payload that a signed `Decoder` gave out."""

    def __init__(self, signer: ChunkSigner, marks: deque[Mark]) -> None:
        self._signer = signer
        self._marks = marks
        self._previous = signer.seed
        self._sha256 = hashlib.sha256()
        self._offset = 0

    def update(self, view: memoryview) -> None:
        """Hash payload; SignatureDoesNotMatch where a chunk ends that is not the signed one."""
        while view:
            assert self._marks, "payload beyond the last chunk's mark"
            mark = self._marks[0]
            piece = view[: mark.offset - self._offset]
            self._sha256.update(piece)
            self._offset += len(piece)
            view = view[len(piece) :]
            if self._offset == mark.offset:
                self._close()

    def finish(self, trailers: Sequence[tuple[str, str]], trailer_signature: str | None) -> None:
        """Check the final chunk, which is empty, and the trailers when they are signed."""
        assert len(self._marks) == 1, "payload was not hashed to its end"
        self._close()
        if trailer_signature is not None:
            canonical = "".join(f"{name}:{value}\n" for name, value in sorted(trailers))
            right = self._signer.trailer(self._previous, canonical.encode("latin-1"))
            _compare(right, trailer_signature)

    def _close(self) -> None:
        mark = self._marks.popleft()
        assert mark.offset == self._offset, "a chunk's mark was passed"
        right = self._signer.chunk(self._previous, self._sha256.hexdigest())
        _compare(right, mark.signature)
        self._previous = mark.signature
        self._sha256 = hashlib.sha256()


def _compare(right: str, given: str) -> None:
    if not hmac.compare_digest(right.encode("ascii"), given.encode("latin-1")):
        raise S3Error("SignatureDoesNotMatch")
