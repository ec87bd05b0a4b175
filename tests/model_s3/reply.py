"""What a model of S3 expects as an answer, and whether an answer is that.

An expected header is a text, `None` (it must not be there), a set of these, or a function that
says whether a value will do. An operation may have several outcomes where S3 leaves it open; the
first that fits the answer is what happened, and its effect is applied to the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.model_s3 import reading
from tests.ops.world import Answer

Expected = str | None | frozenset[str | None] | Callable[[str | None], bool]


def one_of(*values: str | None) -> frozenset[str | None]:
    return frozenset(values)


def nothing(answer: Answer) -> None:
    """The effect of what changes nothing."""


@dataclass(frozen=True)
class Reply:
    """`fields` are elements of the error document; `document` is what `reading` makes of a body
    with `read`.
    """

    status: int
    code: str | None = None
    headers: Mapping[str, Expected] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    document: Any = None
    read: Callable[[bytes], Any] = reading.plain
    effect: Callable[[Answer], None] = nothing

    def differences(self, answer: Answer, *, head: bool) -> list[str]:
        found = []
        if answer.status != self.status:
            found.append(f"status {answer.status}, not {self.status}")
        for name, expected in self.headers.items():
            value = answer.headers.get(name)
            if not _fits(expected, value):
                found.append(f"{name}: {value!r}, not {expected!r}")
        if found or head:
            if head and answer.body:
                found.append("HEAD has a body")
            return found
        return found + self._differences_of_body(answer.body)

    def _differences_of_body(self, body: bytes) -> list[str]:
        if self.code is not None:
            error = reading.error(body)
            expected = {"Code": self.code, **self.fields}
            return [
                f"<{name}> {error.get(name)!r}, not {value!r}"
                for name, value in expected.items()
                if error.get(name) != value
            ]
        if self.document is not None:
            found = self.read(body)
            return [] if found == self.document else [f"{found!r}\nnot {self.document!r}"]
        if self.body is not None and self.body != body:
            return [f"body {body[:80]!r} ({len(body)}), not {self.body[:80]!r} ({len(self.body)})"]
        return []


def _fits(expected: Expected, value: str | None) -> bool:
    if isinstance(expected, frozenset):
        return value in expected
    if callable(expected):
        return expected(value)
    return value == expected


def settle(outcomes: Reply | Sequence[Reply], answer: Answer, request: str, *, head: bool) -> Reply:
    """The outcome that the answer is, its effect applied. AssertionError when it is none."""
    replies = [outcomes] if isinstance(outcomes, Reply) else outcomes
    told = []
    for reply in replies:
        differences = reply.differences(answer, head=head)
        if not differences:
            reply.effect(answer)
            return reply
        told.append("; ".join(differences))
    raise AssertionError(f"{request}\n" + "\nor ".join(told) + f"\nanswer: {answer}")
