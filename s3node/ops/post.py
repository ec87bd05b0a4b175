"""PostObject: what a browser's form uploads, under a policy that somebody signed.

The fields come first, then the file. `open_form` receives the fields; who sends it is found out
from them; then the file goes to the disks as that of a PutObject does, and what the policy says
of its size is judged while it comes, before anything is committed. A form's fields become the
headers that a PutObject would have, so that both are stored by the same code.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus, urlsplit

import msgspec

from s3node.base.errors import S3Error
from s3node.base.limits import FORM_BYTES_MAX, INLINE_BYTES_MAX, UPLOAD_BYTES_MAX
from s3node.ops import answers, parameters
from s3node.ops.context import Call, Node
from s3node.ops.put import check_put, store
from s3node.s3 import checksums, form_fields, xml
from s3node.s3.body import Payload
from s3node.s3.form import FormParser, boundary, malformed, values
from s3node.s3.post_policy import Sizes, check_form, missing, read_policy
from s3node.s3.request import Request, Response, check_key
from s3node.s3.sigv4 import Identity, PayloadKind, PayloadSpec

ANY_SIZE = Sizes(0, UPLOAD_BYTES_MAX)
STATUSES = {"200": 200, "201": 201}  # all others are 204

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(slots=True)
class Upload:
    """A form as far as its file: the fields, and what is to come.

    An iterator over the file's content, which ends with an S3Error unless the form is whole and
    the size is one of `sizes`. `size` is what has come; `bound` the most that can.
    """

    request: Request
    fields: Mapping[str, str]
    body: AsyncIterator[bytes | memoryview]
    parser: FormParser
    bound: int
    pieces: deque[memoryview] = field(default_factory=deque)
    size: int = 0
    sizes: Sizes = ANY_SIZE
    ended: Callable[[int], None] = lambda _: None

    def __aiter__(self) -> Upload:
        return self

    async def __anext__(self) -> memoryview:
        while not self.pieces:
            await self._more()
        return self.pieces.popleft()

    async def peek(self, most: int) -> bool:
        """Whether the file has no more than so many bytes. Nothing is taken."""
        try:
            while sum(map(len, self.pieces)) <= most:
                await self._more()
        except StopAsyncIteration:
            return True
        return False

    async def _more(self) -> None:
        try:
            data = await self.body.__anext__()
        except StopAsyncIteration:
            self._end()
            raise
        self.came(self.parser.feed(data))

    def came(self, pieces: Sequence[memoryview]) -> None:
        self.pieces.extend(pieces)
        self.size += sum(map(len, pieces))
        if self.size > self.bound:  # no room is left for what ends a form
            raise malformed()
        if self.size > self.sizes.most:
            raise self._too_large()

    def limit(self, sizes: Sizes) -> None:
        """Sizes that the file may have. What must be too large is refused before it comes."""
        self.sizes = Sizes(sizes.least, min(sizes.most, UPLOAD_BYTES_MAX))
        if max(self.size, self.bound - FORM_BYTES_MAX) > self.sizes.most:
            raise self._too_large()

    def _end(self) -> None:
        self.parser.eof()
        if self.size < self.sizes.least:
            raise S3Error(
                "EntityTooSmall",
                ProposedSize=str(self.size),
                MinSizeAllowed=str(self.sizes.least),
            )
        self.ended(self.size)

    def _too_large(self) -> S3Error:
        proposed = self.size if self.parser.file_ended else max(self.size, self.bound)
        return S3Error(
            "EntityTooLarge",
            ProposedSize=str(proposed),
            MaxSizeAllowed=str(self.sizes.most),
        )


async def open_form(request: Request, body: AsyncIterator[bytes | memoryview]) -> Upload:
    """Receive a form up to its file. Nothing of it is believed yet.

    https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html
    """
    parser = FormParser(boundary(request.headers.get("content-type")))
    form_fields.refuse_headers(request)
    length = request.headers.get("content-length")
    if length is None:
        raise S3Error("MissingContentLength")
    received = 0
    pieces: list[memoryview] = []
    while parser.file is None:
        try:
            data = await body.__anext__()
        except StopAsyncIteration:
            parser.eof()
            raise AssertionError("a form without a file has no end") from None
        received += len(data)
        pieces = parser.feed(data)
    bound = sum(map(len, pieces))
    if not parser.file_ended:
        bound += parser.held_bytes + int(length) - received - parser.delimiter_bytes
    fields = form_fields.expand(values(parser.fields), parser.file.filename)
    upload = Upload(request, fields, body, parser, max(0, bound))
    upload.came(pieces)
    return upload


def post_call(upload: Upload, identity: Identity) -> Call:
    """The call that a form makes, now that it is known whose policy it has."""
    request = upload.request
    key = upload.fields.get("key")
    if key is None:
        raise missing("key")
    if not key:
        raise S3Error(
            "InvalidArgument",
            "User key must have a length greater than 0.",
            ArgumentName="key",
            ArgumentValue="",
        )
    if "\0" in key:
        raise S3Error("InvalidURI")
    check_key(key.encode())
    headers = form_fields.headers(upload.fields, upload.bound, request)
    stored = msgspec.structs.replace(request, key=key, headers=headers, query={})
    payload = Payload(PayloadSpec(PayloadKind.UNSIGNED), stored)
    _check_algorithm(upload.fields.get("x-amz-checksum-algorithm"), payload)
    payload.exact = False
    upload.ended = payload.ends
    return Call(stored, identity, payload, upload)


def _check_algorithm(named: str | None, payload: Payload) -> None:
    """The checksum that is named must be there. (A PutObject's may be computed instead.)"""
    if named is None:
        return
    wanted = checksums.named(named)
    if payload.declared is None or payload.declared.algorithm is not wanted:
        raise S3Error(
            "InvalidRequest",
            "x-amz-checksum-algorithm specified, but no corresponding x-amz-checksum-* form field "
            "was found.",
        )


async def post_object(node: Node, call: Call) -> Response:
    """PostObject: the policy first, then the file.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-UsingHTTPPOST.html
    """
    upload = call.body
    assert isinstance(upload, Upload), "the edge opens forms"
    if "policy" not in upload.fields:
        raise missing("policy")
    policy = read_policy(upload.fields["policy"])
    check_form(policy, upload.fields, call.bucket, node.clock.wall_ms())
    upload.limit(policy.sizes or ANY_SIZE)
    parameters.admit(call)
    kept = parameters.stored_headers(call.request)
    conditions = parameters.write_conditions(call.request)
    node.kv.read(lambda tx: check_put(tx, node, call, conditions))
    await upload.peek(INLINE_BYTES_MAX)
    return _answer(upload, call, await store(node, call, kept, conditions))


def _answer(upload: Upload, call: Call, stored: Response) -> Response:
    """What the form wants to be answered with."""
    etag = dict(stored.headers)["etag"]
    redirect = upload.fields.get("success_action_redirect", upload.fields.get("redirect"))
    target = _redirection(redirect or "", call, etag)
    if target is not None:
        return Response(303, [*stored.headers, ("location", target)])
    location = answers.location(upload.request, quote(call.key, safe=""))
    headers = [*stored.headers, ("location", location)]
    status = STATUSES.get(upload.fields.get("success_action_status", ""), 204)
    if status != 201:
        return Response(status, headers)
    told: list[xml.Node] = [
        ("Location", location),
        ("Bucket", call.bucket),
        ("Key", call.key),
        ("ETag", etag),
    ]
    body = xml.render("PostResponse", told, namespace="")
    return Response(201, [*headers, ("content-type", "application/xml")], body)


def _redirection(url: str, call: Call, etag: str) -> str | None:
    """Where to send the browser; None for what is no web address, as if it were not there."""
    if _CONTROL.search(url):
        return None
    try:
        parts = urlsplit(url)
        web = parts.scheme.lower() in ("http", "https") and parts.hostname
    except ValueError:
        return None
    if not web:
        return None
    told = {"bucket": call.bucket, "key": call.key, "etag": etag}
    more = "&".join(f"{name}={quote_plus(value)}" for name, value in told.items())
    query = f"{parts.query}&{more}" if parts.query else more
    return quote(parts._replace(query=query).geturl(), safe="!#$%&'()*+,/:;=?@[]~")
