"""Rows of the suite on a node as users start it: disks, index, and processes of its own.

What a world in memory and a real node answer must be the same. A scene is built over HTTP, and
taken away again; by default two rows of each operation are asked, in the deep run all that say
nothing of a clock, a region or an owner that a real node does not have.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote, urlencode, urlsplit

import pytest

from tests.conformance.case import Ask, Case
from tests.conformance.cases import own
from tests.conformance.scenes import SCENES
from tests.conformance.stage import Client, fill, filled
from tests.conformance.test_conformance import COMMON, check_headers, check_xml
from tests.node.process import ACCESS_KEY, REGION, SECRET_KEY, NodeProcess
from tests.ops.world import Answer

OVER_HTTP = frozenset({"empty", "bucket", "objects", "tagged", "upload", "uploads", "versions"})
OF_THE_WORLD = ("eu-west-1", "us-east-1", "owner-", "AKROOT", "2025", "s3.test")
SIGNED_ELSEWHERE = frozenset({"PostObject", "OptionsObject"})
EACH = 1  # so many successes, and so many errors, of each operation


class Remote:
    """What scenes use of a world, over HTTP."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.clock = SimpleNamespace(ms=0)

    def ask(
        self,
        method: str,
        path: str,
        query: dict[str, str] | str = "",
        body: bytes = b"",
        **headers: str,
    ) -> Answer:
        text = query if isinstance(query, str) else urlencode(query, quote_via=quote)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.send(Ask(method, quote(path), text, fields, body))

    def put(self, path: str, body: bytes = b"", **headers: str) -> Answer:
        return self.ask("PUT", path, body=body, **headers)

    def bucket(self, name: str = "bucket") -> None:
        assert self.ask("PUT", f"/{name}").status == 200

    def clear(self) -> None:
        """Every bucket goes, with all that is in it."""
        for name in self.ask("GET", "/").texts("Buckets/Bucket/Name"):
            versions = self.ask("GET", f"/{name}", "versions").xml
            for kind in ("Version", "DeleteMarker"):
                for item in versions.findall(kind):
                    query = {"versionId": item.findtext("VersionId") or ""}
                    path = f"/{name}/{item.findtext('Key')}"
                    assert self.ask("DELETE", path, query).status == 204
            assert self.ask("DELETE", f"/{name}").status == 204


def chosen(deep: bool) -> list[Case]:
    """The first rows of each operation that a real node can be asked."""
    taken: Counter[tuple[str, bool]] = Counter()
    rows = []
    for case in own():
        kind = case.operation, bool(case.code)
        if (
            case.scene in OVER_HTTP
            and case.operation not in SIGNED_ELSEWHERE
            and not any(word in repr(case) for word in OF_THE_WORLD)
            and (deep or taken[kind] < EACH)
        ):
            taken[kind] += 1
            rows.append(case)
    return rows


def ask(remote: Remote, case: Case) -> None:
    names = SCENES[case.scene](remote)  # type: ignore[arg-type]
    asked = filled(case.ask, names)
    answer = remote.client.send(asked)
    assert answer.status == case.status, answer
    check_headers(answer, case.headers, case.absent, names)
    if not case.code:
        check_xml(answer, case.xml, names)
        assert case.body is None or answer.body == case.body
    elif asked.method != "HEAD":
        found = {element.tag: element.text or "" for element in ET.fromstring(answer.body)}
        assert found["Code"] == case.code
        assert found.keys() - COMMON == set(case.fields), found
        for name, value in case.fields.items():
            assert value == "*" or found[name] == fill(value, names), name
    for following in case.after:
        later = remote.client.send(filled(following.ask, names))
        assert later.status == following.status, later
        check_headers(later, following.headers, following.absent, names)
        check_xml(later, following.xml, names)
        assert following.body is None or later.body == following.body
    remote.clear()


@pytest.fixture(scope="module", params=[2, pytest.param(0, marks=pytest.mark.deep)])
def remote(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Remote]:
    folder: Path = tmp_path_factory.mktemp("conformance")
    with NodeProcess(folder / "data", edges=request.param) as node:
        client = Client(urlsplit(node.endpoint).netloc, ACCESS_KEY, SECRET_KEY, REGION)
        yield Remote(client)
        client.close()


def test_a_real_node_answers_as_the_suite_says(remote: Remote, deep: bool) -> None:
    rows = chosen(deep)
    assert len({case.operation for case in rows}) > 30
    for case in rows:
        try:
            ask(remote, case)
        except AssertionError as fault:
            raise AssertionError(case.title) from fault
