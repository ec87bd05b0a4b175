"""A real browser: forms that upload, and scripts of another origin that read and write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.browser import Page, program
from tests.node.process import NodeProcess

BUCKET = "viewer"


@pytest.fixture(scope="module")
def browser() -> str:
    found = program()
    if not found:
        pytest.skip("no Chromium here, and none could be installed from Debian's packages")
    return found


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with Page() as one:
        yield one


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory, page: Page) -> Iterator[Any]:
    with NodeProcess(tmp_path_factory.mktemp("browser") / "data") as node:
        client = node.s3(signature_version="s3v4")  # boto3 presigns with SigV2 where it may
        client.create_bucket(Bucket=BUCKET)
        rule = {
            "AllowedOrigins": [page.origin],
            "AllowedMethods": ["GET", "PUT", "POST"],
            "AllowedHeaders": ["content-type", "x-amz-meta-*"],
            "ExposeHeaders": ["ETag", "x-amz-meta-study"],
            "MaxAgeSeconds": 60,
        }
        client.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [rule]})
        yield client


def signed(s3: Any, operation: str, key: str, **more: Any) -> str:
    params = {"Bucket": BUCKET, "Key": key, **more}
    url: str = s3.generate_presigned_url(operation, Params=params)
    return url


def content(s3: Any, key: str) -> bytes:
    found: bytes = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return found


def test_a_form_that_a_person_submits(s3: Any, page: Page, browser: str, tmp_path: Path) -> None:
    """With its submit button behind the file, and back to a page of its own."""
    text = "gr\u00fc\u00dfe\r\n--" * 5000
    fields = {"success_action_redirect": f"{page.origin}/done?a=b", "Content-Type": "text/plain"}
    made = s3.generate_presigned_post(
        BUCKET,
        "in/${filename}",
        Fields=fields,
        Conditions=[{name: value} for name, value in fields.items()],
    )
    form = {**made, "content": text, "filename": "sl\u00ef\"c'e.dcm"}
    (seen,) = page.show(browser, tmp_path / "home", [["submit", form]])
    (found,) = s3.list_objects_v2(Bucket=BUCKET, Prefix="in/")["Contents"]
    assert found["Key"] == "in/sl\u00ef%22c'e.dcm", "a quotation mark as browsers escape it"
    assert content(s3, found["Key"]) == text.encode()
    assert seen["url"].startswith(f"{page.origin}/done?a=b&bucket={BUCKET}&key=in%2Fsl")
    assert seen["url"].endswith(f"&etag=%22{found['ETag'][1:-1]}%22")


def test_scripts_of_an_origin_that_is_allowed(
    s3: Any, page: Page, browser: str, tmp_path: Path
) -> None:
    made = s3.generate_presigned_post(
        BUCKET,
        "posted",
        Fields={"success_action_status": "201"},
        Conditions=[{"success_action_status": "201"}, ["content-length-range", 1, 100]],
    )
    s3.put_object(Bucket=BUCKET, Key="got", Body=b"slice", Metadata={"study": "1.2", "hidden": "x"})
    put = {
        "method": "PUT",
        "body": "written",
        "headers": {"x-amz-meta-study": "3.4", "content-type": "a/b"},
    }
    metadata = {"Metadata": {"study": "3.4"}, "ContentType": "a/b"}
    posted, long, huge, got, partly, missing, written, barred = page.show(
        browser,
        tmp_path / "home",
        [
            ["post", {**made, "content": "form", "filename": "f"}],
            ["post", {**made, "content": "x" * 101, "filename": "f"}],
            ["post", {**made, "content": "x" * 8_000_000, "filename": "f"}],
            ["fetch", {"url": signed(s3, "get_object", "got")}],
            ["fetch", {"url": signed(s3, "get_object", "got"), "options": {
                "headers": {"range": "bytes=1-2"}}}],
            ["fetch", {"url": signed(s3, "get_object", "none")}],
            ["fetch", {"url": signed(s3, "put_object", "written", **metadata), "options": put}],
            ["fetch", {"url": signed(s3, "delete_object", "got"), "options": {
                "method": "DELETE"}}],
        ],
    )  # fmt: skip
    assert (posted["status"], content(s3, "posted")) == (201, b"form")
    assert "<Key>posted</Key>" in posted["body"]
    assert posted["headers"]["etag"] == s3.head_object(Bucket=BUCKET, Key="posted")["ETag"]
    for one in (long, huge):  # which is refused before it has been sent
        assert one.get("status") == 400, one
        assert "<Code>EntityTooLarge</Code>" in one["body"]
    assert (got["status"], got["body"], got["type"]) == (200, "slice", "cors")
    assert got["headers"]["x-amz-meta-study"] == "1.2"
    assert "x-amz-meta-hidden" not in got["headers"]
    assert (partly["status"], partly["body"]) == (206, "li")
    assert missing["status"] == 404 and "<Code>NoSuchKey</Code>" in missing["body"]
    assert written["status"] == 200, written
    assert s3.head_object(Bucket=BUCKET, Key="written")["Metadata"] == {"study": "3.4"}
    assert "fault" in barred, "the rule allows no DELETE"
    assert content(s3, "got") == b"slice"


def test_scripts_of_another_origin(s3: Any, page: Page, browser: str, tmp_path: Path) -> None:
    """They are told nothing; what needs a preflight is not done."""
    s3.put_object(Bucket=BUCKET, Key="kept", Body=b"kept")
    put = {"method": "PUT", "body": "overwritten"}
    got, written = page.show(
        browser,
        tmp_path / "home",
        [
            ["fetch", {"url": signed(s3, "get_object", "kept")}],
            ["fetch", {"url": signed(s3, "put_object", "kept"), "options": put}],
        ],
        page.other,
    )
    assert "fault" in got and "fault" in written
    assert content(s3, "kept") == b"kept"
