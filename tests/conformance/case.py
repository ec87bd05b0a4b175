"""What a row of the suite is: a request, and what the answer must be.

`{name}` anywhere in a request or an expectation is replaced by what the scene calls `name`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from tests.conformance.documented import STATUSES
from tests.ops.world import Answer

SIGNED, PRESIGNED, ANONYMOUS = "signed", "presigned", "anonymous"

Check = Callable[[Answer], None]


@dataclass(frozen=True)
class Ask:
    """A request as a client writes it; it is signed by botocore when it is sent.

    `path` is as it stands on the wire. Names in `headers` are lower case, with hyphens.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    auth: str = SIGNED
    access: str = ""  # another access key than the node's
    secret: str = ""  # another secret key than the node's
    late_s: int = 0  # the client's clock, ahead of the node's
    unsigned: Mapping[str, str] = field(default_factory=dict)  # headers added behind the signature

    def but(self, **changes: Any) -> Ask:
        """The same request with something else."""
        return replace(self, **changes)

    def plus(self, query: str = "", **headers: str) -> Ask:
        """The same request with one more query parameter, or other headers."""
        joined = "&".join(part for part in (self.query, query) if part)
        return replace(self, query=joined, headers={**self.headers, **_names(headers)})


def _names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower().replace("_", "-"): value for name, value in headers.items()}


def _asking(method: str) -> Callable[..., Ask]:
    def ask(path: str, query: str = "", body: bytes = b"", **headers: str) -> Ask:
        """Header names have underscores for hyphens."""
        return Ask(method, path, query, _names(headers), body)

    return ask


get, head, put, post, delete, options = map(
    _asking, ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS")
)


class After(NamedTuple):
    """A request that is sent after the one of the case, and what it must find."""

    ask: Ask
    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    xml: Mapping[str, str | list[str] | None] = {}
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """A row. `code` is "" where the request succeeds.

    `xml` holds paths of the answer's document: a text, None (it is not there), or all texts.
    `fields` are the elements of an error beside those that all errors have: exactly these.
    `changes` tells whether rows may change.
    """

    operation: str
    name: str
    ask: Ask
    status: int
    code: str = ""
    message: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    body: bytes | None = None
    xml: Mapping[str, str | list[str] | None] = field(default_factory=dict)
    after: tuple[After, ...] = ()
    check: Check | None = None
    scene: str = "objects"
    changes: bool = True
    theirs: str = ""  # a bucket that is given to somebody else first

    @property
    def title(self) -> str:
        return f"{self.operation}: {self.name}"


def ok(
    operation: str,
    name: str,
    ask: Ask,
    status: int = 200,
    *,
    after: tuple[After, ...] | After = (),
    **expected: Any,
) -> Case:
    """A request that succeeds. `expected`: see `Case`."""
    following = (after,) if isinstance(after, After) else after
    changes = expected.pop("changes", ask.method not in {"GET", "HEAD"})
    return Case(operation, name, ask, status, after=following, changes=changes, **expected)


def err(
    operation: str,
    code: str,
    ask: Ask,
    name: str = "",
    *,
    message: str | None = None,
    headers: Mapping[str, str] | None = None,
    scene: str = "objects",
    extra: Mapping[str, str] | None = None,
    **fields: str,
) -> Case:
    """A request that is refused and changes nothing. `fields`: the error's own elements.

    `extra`: more of them, whose names are no identifiers. A value of "*" is any text; so is the
    ArgumentValue that goes with each ArgumentName but that of what authenticates.
    """
    if fields.get("ArgumentName", "Authorization") != "Authorization":
        fields.setdefault("ArgumentValue", "*")
    return Case(
        operation,
        f"{code} {name}".strip(),
        ask,
        STATUSES[code],
        code,
        message,
        {**fields, **(extra or {})},
        headers or {},
        scene=scene,
        changes=False,
    )
