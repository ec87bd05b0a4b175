"""The S3 listener: a request on the wire becomes an operation, its outcome an answer.

    parse -> route -> authenticate -> allow -> operation -> answer

in this order, and nothing else happens here. Every answer carries the request's ids; every
failure becomes one of three things: an `S3Error` is rendered, anything unexpected is
InternalError with its traceback in the log, and a broken invariant (AssertionError) goes to
`broken`, which stops the process. One line per request goes to the access log.

There is room for so many requests at once, and for so many of each client and each identity (see
`shares`): one more is told to slow down. Forms that have not said yet who sends them, and answers
to those that were not let in, are counted in the same way beside them: so who has no key shuts
nobody out, neither by not going on with a form nor by not taking refusals.

While the node is not ready every request is answered 503 with the reason.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from s3node.base import limits, log, metrics
from s3node.base.clock import Clock
from s3node.base.errors import S3Error, StorageFault
from s3node.base.ids import RandomBytes
from s3node.base.shares import CLIENT, IDENTITY, NODE, REQUESTS, Client, RequestBounds, Room, whose
from s3node.edge.exchange import Exchange, ResponseCut
from s3node.edge.http import Refusal
from s3node.model.access import allow
from s3node.objects.faults import as_s3_error
from s3node.ops import cors, post
from s3node.ops.context import Call, Node, Operation
from s3node.s3 import errors
from s3node.s3.body import Payload
from s3node.s3.cors import PREFLIGHT
from s3node.s3.post_policy import authenticate_form
from s3node.s3.request import Request, Response, parse
from s3node.s3.routes import route
from s3node.s3.signing import KeyCache
from s3node.s3.sigv4 import ANONYMOUS, PayloadKind, PayloadSpec, authenticate

LOG = logging.getLogger("s3node.edge")

REQUEST_ID_BYTES = 8
REQUEST_IDS = 64  # drawn at once
HOST_ID_BYTES = 48
STARTING = "the node is starting"
NO_OPERATION = "-"
FROM_BROWSERS = frozenset(("OptionsObject", "PostObject"))

_SLOWED_DOWN = {
    bound: metrics.REQUESTS_REFUSED_BUSY.labels(bound) for bound in (NODE, IDENTITY, CLIENT)
}


@dataclass(slots=True)
class Trace:
    """What the log will say about one request."""

    request_id: str
    began_ns: int
    request: Request | None = None  # once it has been understood
    operation: str = NO_OPERATION
    bucket: str | None = None
    key: str | None = None
    identity: str = ""
    status: int = 0
    error: str = ""
    cut: str = ""
    room: Room | None = None  # where it has a place
    client: Client = ("", "")  # whose place it is
    shared: Sequence[tuple[str, str]] = ()  # headers for a script of another origin


class S3Listener:
    """Answers S3 requests with a node's operations, once it has been given the node.

    `secrets` are the secret keys by access key; all of them belong to the node's owner.
    """

    def __init__(
        self,
        secrets: Mapping[str, str],
        operations: Mapping[str, Operation],
        *,
        domains: Sequence[str] = (),
        clock: Clock,
        random: RandomBytes,
        broken: Callable[[BaseException], None],
        requests: RequestBounds = REQUESTS,
    ) -> None:
        self._secrets = secrets
        self._domains = domains
        self._operations = operations
        self._clock = clock
        self._random = random
        self._broken = broken
        self._room = Room(requests)
        self._forms = Room(requests)
        self._refusals = Room(requests)
        self._key_cache = KeyCache()
        self._host_id = base64.b64encode(random(HOST_ID_BYTES)).decode("ascii")
        self._host = ("x-amz-id-2", self._host_id)
        self._ids: list[str] = []  # of requests to come
        self._node: Node | None = None
        self._vouchers: dict[str, Any] = {}  # what signatures are judged by
        self._working = 0
        metrics.REQUESTS_IN_PROGRESS.set_function(lambda: self._working)
        self.reason = STARTING

    def ready(self, node: Node) -> None:
        """Serve from now on."""
        self._node = node
        self._vouchers = {
            "secret_for": self._secrets.get,
            "region": node.region,
            "key_cache": self._key_cache,
            "owner_id": node.owner_id,
            "display_name": node.display_name,
        }
        self.reason = ""
        metrics.READY.set(1)

    def unready(self, reason: str) -> None:
        """Answer 503 with this reason from now on."""
        assert reason, "clients are told why"
        self._node = None
        self.reason = reason
        metrics.READY.set(0)

    def change(self, domains: Sequence[str], requests: RequestBounds) -> None:
        """Use these from now on; secrets change in the mapping that was given."""
        self._domains = domains
        for room in (self._room, self._forms, self._refusals):
            room.change(requests)

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        trace = self._trace()
        self._working += 1
        try:
            await self._answer(exchange, trace)
        except ResponseCut as cut:
            self._note_cut(cut, trace)
        except asyncio.CancelledError:  # it outlasted the grace of a stop
            trace.cut = "stopped"
            raise
        except AssertionError as fault:  # while an error was being rendered
            LOG.critical("cannot answer", exc_info=fault)
            self._broken(fault)
            exchange.cut()
        finally:
            self._working -= 1
            self._leave(exchange, trace)
            self._account(exchange, trace)

    def refuse(self, error: S3Error, remote: str) -> Refusal:
        """The answer to what is no HTTP request that S3 could understand, or one too many."""
        trace = self._trace()
        response = self._render(error, trace, "", head=False)
        trace.status = response.status
        self._tell(trace, remote)
        return response.status, self._headers(response, trace), response.body

    async def _answer(self, exchange: Exchange, trace: Trace) -> None:
        try:
            response = await self._operate(exchange, trace)
            await self._send(exchange, trace, response)
        except ResponseCut:
            raise
        except Exception as fault:
            error = self._as_error(fault, trace)
            if error.code == "MethodNotAllowed":
                error.fields["Method"] = exchange.method
            if trace.room is None:
                trace.error = error.code
                self._enter_refusals(exchange, trace)
            resource = exchange.target.partition(b"?")[0].decode("latin-1")
            if trace.request is not None:
                resource = trace.request.resource
            response = self._render(error, trace, resource, head=exchange.method == "HEAD")
            await self._send(exchange, trace, response)

    async def _operate(self, exchange: Exchange, trace: Trace) -> Response:
        """The straight line of every request."""
        node = self._admit()
        request = parse(
            exchange.method,
            exchange.target,
            exchange.headers,
            domains=self._domains,
            secure=exchange.secure,
            remote=exchange.remote,
            recurring=exchange.recurring,
        )
        trace.request = request
        trace.bucket, trace.key = request.bucket, request.key
        if "origin" in request.headers and request.method != PREFLIGHT:
            trace.shared = cors.answer_headers(node, request)
        name = route(request)
        trace.operation = name
        if name in FROM_BROWSERS:
            call = await self._from_browser(name, request, exchange, trace)
        else:
            call = self._authenticate(request, exchange, trace)
        principal = None if call.identity.anonymous else call.identity.owner_id
        allow(principal, name, node.owner_id)
        operation = self._operations.get(name)
        if operation is None:
            raise S3Error("NotImplemented", f"{name} is not implemented.")
        self._enter(self._room, exchange, trace, call.client)
        return await operation(node, call)

    def _admit(self) -> Node:
        """Whether there is a node, and room for one more request."""
        if self._node is None:
            raise _come_back("ServiceUnavailable", f"Not ready: {self.reason}.")
        if self._room.full and self._room.longest_overdue() is None:
            raise _slow_down(NODE)
        return self._node

    @staticmethod
    def _enter(room: Room, exchange: Exchange, trace: Trace, client: Client) -> None:
        """Take a place, or that of a request whose client is too slow; SlowDown when the client
        has its share.
        """
        bound = room.refused(client)
        if bound:
            slow = room.longest_overdue(bound, client)
            if slow is None:
                raise _slow_down(bound)
            metrics.REQUESTS_GIVEN_UP.inc()
            slow.give_up()
        room.enter(client, exchange)
        trace.room, trace.client = room, client

    def _enter_refusals(self, exchange: Exchange, trace: Trace) -> None:
        """The same for an answer to what was not let in; no answer when there is no place."""
        client = ("", whose(exchange.remote))
        if self._refusals.refused(client):
            exchange.cut()
            raise ResponseCut("crowded")
        self._refusals.enter(client, exchange)
        trace.room, trace.client = self._refusals, client

    @staticmethod
    def _leave(exchange: Exchange, trace: Trace) -> None:
        """Give its place back, if it has one."""
        if trace.room is not None:
            trace.room.leave(trace.client, exchange)
            trace.room = None

    def _authenticate(self, request: Request, exchange: Exchange, trace: Trace) -> Call:
        now_ms = self._clock.wall_ms()
        identity, spec = authenticate(request, now_ms=now_ms, **self._vouchers)
        trace.identity = identity.access_key
        return Call(request, identity, Payload(spec, request), exchange.body)

    async def _from_browser(
        self, name: str, request: Request, exchange: Exchange, trace: Trace
    ) -> Call:
        """What has no signature of its own: a form, within which somebody's is; a preflight."""
        if name == "OptionsObject":
            payload = Payload(PayloadSpec(PayloadKind.UNSIGNED), request)
            return Call(request, ANONYMOUS, payload, exchange.body)
        self._enter(self._forms, exchange, trace, ("", whose(exchange.remote)))
        upload = await post.open_form(request, exchange.body)
        trace.key = upload.fields.get("key")
        identity = authenticate_form(upload.fields, **self._vouchers)
        trace.identity = identity.access_key
        self._leave(exchange, trace)
        return post.post_call(upload, identity)

    def _as_error(self, fault: Exception, trace: Trace) -> S3Error:
        """What the client is told; what it is not told goes to the log."""
        if isinstance(fault, S3Error):
            return fault
        if isinstance(fault, StorageFault):
            return as_s3_error(fault)
        LOG.error(
            "request failed",
            exc_info=fault,
            extra={"fields": {"request_id": trace.request_id, "operation": trace.operation}},
        )
        if isinstance(fault, AssertionError):
            self._broken(fault)
        return S3Error("InternalError")

    def _render(self, error: S3Error, trace: Trace, resource: str, *, head: bool) -> Response:
        trace.error = error.code
        return errors.render(
            error,
            resource=resource,
            request_id=trace.request_id,
            host_id=self._host_id,
            head=head,
        )

    def _headers(self, response: Response, trace: Trace) -> list[tuple[str, str]]:
        own = ("x-amz-request-id", trace.request_id), self._host
        return [*response.headers, *trace.shared, *own]

    async def _send(self, exchange: Exchange, trace: Trace, response: Response) -> None:
        trace.status = response.status
        await exchange.answer(
            response.status,
            self._headers(response, trace),
            response.body,
            stream=response.stream,
            length=response.length,
        )

    def _note_cut(self, cut: ResponseCut, trace: Trace) -> None:
        trace.cut = cut.cause
        metrics.RESPONSES_CUT.labels(cut.cause).inc()
        cause = cut.__cause__
        if cut.cause == "fault" and cause is not None:
            LOG.error(
                "answer cut off",
                exc_info=cause,
                extra={"fields": {"request_id": trace.request_id, "operation": trace.operation}},
            )
            if isinstance(cause, AssertionError):
                self._broken(cause)

    def _trace(self) -> Trace:
        if not self._ids:
            self._ids = _request_ids(self._random(REQUEST_IDS * REQUEST_ID_BYTES))
        return Trace(self._ids.pop(), self._clock.monotonic_ns())

    def _account(self, exchange: Exchange, trace: Trace) -> None:
        """One request is over."""
        received, sent = exchange.body.received, exchange.sent
        self._tell(trace, exchange.remote, exchange.subject, received, sent)

    def _tell(
        self, trace: Trace, remote: str, certificate: str = "", received: int = 0, sent: int = 0
    ) -> None:
        """The log and the counters."""
        took_ns = self._clock.monotonic_ns() - trace.began_ns
        metrics.REQUESTS.count(trace.operation, trace.status, took_ns / 1e9, received, sent)
        log.access(
            log.Access(
                request_id=trace.request_id,
                operation=trace.operation,
                bucket=trace.bucket,
                key=trace.key,
                status=trace.status,
                received_bytes=received,
                sent_bytes=sent,
                duration_ms=took_ns // 1000 / 1000,
                remote=remote,
                identity=trace.identity,
                host_id=self._host_id,
                certificate=certificate,
                error=trace.error,
                cut=trace.cut,
            )
        )


def _request_ids(drawn: bytes) -> list[str]:
    """As many ids as there are random bytes for; to ask for the bytes each time is slow."""
    text, step = drawn.hex().upper(), 2 * REQUEST_ID_BYTES
    return [text[at : at + step] for at in range(0, len(text), step)]


def _slow_down(bound: str) -> S3Error:
    _SLOWED_DOWN[bound].inc()
    return _come_back("SlowDown", None)


def _come_back(code: str, message: str | None) -> S3Error:
    return S3Error(code, message, headers={"Retry-After": str(limits.RETRY_AFTER_S)})
