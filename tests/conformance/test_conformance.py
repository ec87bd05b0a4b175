"""Every row of the suite on the real listener; and that the rows leave nothing out."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping

import pytest

from s3node.meta.digest import digest
from s3node.s3.errors import TABLE
from s3node.s3.routes import BUILT
from tests.conformance import model
from tests.conformance.case import Ask, Case
from tests.conformance.cases import ALWAYS_REFUSED, counts, everything
from tests.conformance.documented import ERRORS, IMPOSSIBLE, STATUSES
from tests.conformance.scenes import disown, fork
from tests.conformance.stage import DOMAIN, Stage, fill, filled
from tests.ops.test_botocore import parsed
from tests.ops.world import Answer

COMMON = {"Code", "Message", "Resource", "RequestId", "HostId"}
CASES = everything()


def resource(ask: Ask) -> str:
    """What an error says it is about: bucket and key as they stand in a path."""
    host = ask.headers.get("host", "")
    bucket = host.removesuffix(f".{DOMAIN}")
    return f"/{bucket}{ask.path}" if bucket and bucket != host else ask.path


def check_error(case: Case, ask: Ask, answer: Answer, names: Mapping[str, str]) -> None:
    if ask.method == "HEAD":
        assert answer.body == b""
        return
    assert answer.headers["content-type"] == "application/xml"
    root = ET.fromstring(answer.body)
    found = {element.tag: element.text or "" for element in root}
    assert root.tag == "Error" and len(found) == len(root)
    assert found["Code"] == case.code, found
    assert found["Message"]
    if case.message is not None:
        assert found["Message"] == fill(case.message, names)
    assert found["Resource"] == resource(ask)
    assert found["RequestId"] == answer.headers["x-amz-request-id"]
    assert found["HostId"] == answer.headers["x-amz-id-2"]
    assert found.keys() - COMMON == set(case.fields), found
    for name, value in case.fields.items():
        assert value == "*" or found[name] == fill(value, names), name


def check_headers(
    answer: Answer, wanted: Mapping[str, str], absent: tuple[str, ...], names: Mapping[str, str]
) -> None:
    for name, value in wanted.items():
        assert name in answer.headers, f"{name} is missing: {answer.headers}"
        assert value == "*" or answer.headers[name] == fill(value, names), name
    assert not set(absent) & answer.headers.keys()


def check_xml(
    answer: Answer, wanted: Mapping[str, str | list[str] | None], names: Mapping[str, str]
) -> None:
    for path, value in wanted.items():
        if isinstance(value, list):
            assert answer.texts(path) == [fill(item, names) for item in value], path
        elif value == "*":
            assert answer.text(path), path
        else:
            assert answer.text(path) == (None if value is None else fill(value, names)), path


def check_success(case: Case, answer: Answer, names: Mapping[str, str]) -> None:
    if answer.status != 304 and case.operation in model.operations():
        bytes_ = case.operation == "GetObject"  # which botocore does not parse either
        parsed(case.operation, answer._replace(body=b"") if bytes_ else answer)
    if case.body is not None:
        assert answer.body == case.body
    check_xml(answer, case.xml, names)
    if case.check is not None:
        case.check(answer)


def check_log(case: Case, answer: Answer, stage: Stage) -> None:
    line = stage.logged(answer.headers["x-amz-request-id"])
    assert line["status"] == case.status
    assert line.get("error", "") == case.code
    if case.code not in {"InvalidURI", "InvalidBucketName", "KeyTooLongError"}:
        assert line["operation"] in {case.operation, "-"}, line
        assert line["operation"] == case.operation or case.code, line


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_case(case: Case, stage: Stage) -> None:
    world, names = fork(case.scene)
    if case.theirs:
        disown(world, case.theirs)
    stage.serve(world)
    before = digest(world.kv)
    ask = filled(case.ask, names)
    answer = stage.send(ask)
    assert answer.status == case.status, answer
    assert len(answer.headers["x-amz-request-id"]) == 16
    assert len(answer.headers["x-amz-id-2"]) == 64
    check_log(case, answer, stage)
    check_headers(answer, case.headers, case.absent, names)
    if case.code:
        check_error(case, ask, answer, names)
    else:
        check_success(case, answer, names)
    if not case.changes:
        assert digest(world.kv) == before, "rows changed"
    for following in case.after:
        found = stage.send(filled(following.ask, names))
        assert found.status == following.status, found
        check_headers(found, following.headers, following.absent, names)
        check_xml(found, following.xml, names)
        assert following.body is None or found.body == following.body
    if not case.theirs and "theirs" not in names:
        world.check_ledger()
    assert stage.broken == []


# --- that nothing is left out ----------------------------------------------------------------


def test_no_two_rows_have_one_name() -> None:
    doubled = [title for title, count in Counter(case.title for case in CASES).items() if count > 1]
    assert doubled == []


@pytest.mark.parametrize("operation", sorted(BUILT))
def test_operation_has_successes_and_errors(operation: str) -> None:
    codes = [case.code for case in CASES if case.operation == operation]
    assert any(codes), "no case in which it is refused"
    assert "" in codes or operation in ALWAYS_REFUSED, "no case in which it succeeds"


@pytest.mark.parametrize("operation", sorted(BUILT))
def test_every_input_of_the_operation_is_tried(operation: str) -> None:
    rows = [case for case in CASES if case.operation == operation]
    headers = {name for case in rows for name in case.ask.headers}
    for name in model.inputs(operation):
        if name.endswith("-"):  # x-amz-meta-*
            assert any(header.startswith(name) for header in headers), name
        elif name != "content-length":
            assert name in headers, name
    queries = {
        part.partition("=")[0] for case in rows for part in case.ask.query.split("&") if part
    }
    assert set(model.parameters(operation)) <= queries


@pytest.mark.parametrize("operation", sorted(BUILT))
def test_every_documented_error_occurs(operation: str) -> None:
    found = {case.code for case in CASES if case.operation == operation}
    wanted = {*ERRORS.get(operation, "").split(), *model.errors(operation)} - IMPOSSIBLE.keys()
    assert wanted <= found, wanted - found


def test_statuses_are_those_of_aws() -> None:
    for code, info in TABLE.items():
        assert STATUSES.get(code) == info.status, code


def test_counts_by_operation() -> None:
    """Shown with -s, or by `python -m tests.conformance`."""
    told = counts()
    print(told)
    assert len(told.splitlines()) == len({case.operation for case in CASES}) + 2
