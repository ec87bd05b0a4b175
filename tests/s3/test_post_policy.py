"""Policies: AWS's example, what boto3 signs, and that nothing else passes."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import boto3
import pytest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from s3node.base.errors import S3Error
from s3node.s3.form_fields import expand, headers
from s3node.s3.post_policy import (
    Sizes,
    authenticate_form,
    check_form,
    read_policy,
)
from s3node.s3.signing import KeyCache
from tests.s3.build import request
from tests.s3.forms import ACCESS, NOW_MS, REGION, SECRET, STAMP, sign, signed

RELAXED = {"deadline": None, "derandomize": True}


def believe(fields: dict[str, str], region: str = REGION) -> str:
    lower = {name.lower(): value for name, value in fields.items()}
    secrets = {ACCESS: SECRET, "OTHER": "o" * 40}
    found = authenticate_form(
        lower, secret_for=secrets.get, region=region, key_cache=KeyCache(), owner_id="me"
    )
    assert found.owner_id == "me" and not found.anonymous
    return found.access_key


def refusal(fields: dict[str, str]) -> str:
    with pytest.raises(S3Error) as caught:
        believe(fields)
    assert SECRET not in str(caught.value.fields) + str(caught.value)
    return caught.value.code


EXAMPLE = (
    '{ "expiration": "2015-12-30T12:00:00.000Z",\r\n  "conditions": [\r\n'
    '    {"bucket": "sigv4examplebucket"},\r\n'
    '    ["starts-with", "$key", "user/user1/"],\r\n    {"acl": "public-read"},\r\n'
    '    {"success_action_redirect": '
    '"http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"},\r\n'
    '    ["starts-with", "$Content-Type", "image/"],\r\n'
    '    {"x-amz-meta-uuid": "14365123651274"},\r\n'
    '    {"x-amz-server-side-encryption": "AES256"},\r\n'
    '    ["starts-with", "$x-amz-meta-tag", ""],\r\n\r\n'
    '    {"x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"},\r\n'
    '    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},\r\n'
    '    {"x-amz-date": "20151229T000000Z" }\r\n  ]\r\n}'
)
"""https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-post-example.html"""


def test_the_example_of_aws() -> None:
    text = base64.b64encode(EXAMPLE.encode()).decode()
    wanted = "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e"
    assert sign(text, STAMP, SECRET, "us-east-1") == wanted
    fields = {
        "key": "user/user1/${filename}",
        "acl": "public-read",
        "success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/"
        "successful_upload.html",
        "content-type": "image/jpeg",
        "x-amz-meta-uuid": "14365123651274",
        "x-amz-server-side-encryption": "AES256",
        "x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request",
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-date": "20151229T000000Z",
        "x-amz-meta-tag": "",
        "policy": text,
        "x-amz-signature": wanted,
    }
    assert believe(fields, "us-east-1") == ACCESS
    policy = read_policy(text)
    check_form(policy, fields, "sigv4examplebucket", NOW_MS)
    with pytest.raises(S3Error, match="Policy expired"):
        check_form(policy, fields, "sigv4examplebucket", policy.expires_ms + 1)
    with pytest.raises(S3Error, match="bucket"):
        check_form(policy, fields, "another", NOW_MS)


def test_what_boto3_signs_and_each_mutation_of_it() -> None:
    """The policy or the signature with one bit turned is signed by nobody."""
    client = boto3.client(
        "s3",
        region_name=REGION,
        endpoint_url="http://127.0.0.1:1",
        aws_access_key_id=ACCESS,
        aws_secret_access_key=SECRET,
        config=Config(signature_version="s3v4"),
    )
    rng = random.Random(1)
    for number in range(300):
        made = client.generate_presigned_post(
            "bucket",
            f"key {number}\u00e4/${{filename}}",
            Fields={"acl": "private", "Content-Type": "a/b"},
            Conditions=[{"acl": "private"}, ["starts-with", "$Content-Type", ""]],
            ExpiresIn=rng.randrange(1, 10**6),
        )
        fields = {name.lower(): value for name, value in made["fields"].items()}
        assert believe(fields) == ACCESS
        policy = read_policy(fields["policy"])
        check_form(policy, expand(fields, "f"), "bucket", 0)
        name = rng.choice(["policy", "x-amz-signature"])
        text = fields[name]
        at = rng.randrange(len(text))
        for other in (chr(ord(text[at]) ^ 1), ""):
            mutated = {**fields, name: text[:at] + other + text[at + 1 :]}
            assert refusal(mutated) == "SignatureDoesNotMatch"


def test_another_key_another_day_another_region() -> None:
    fields = signed({"key": "a"})
    swapped = fields["x-amz-credential"].replace(ACCESS, "OTHER")
    assert refusal({**fields, "x-amz-credential": swapped}) == "SignatureDoesNotMatch"
    nobody = fields["x-amz-credential"].replace(ACCESS, "NOBODY")
    assert refusal({**fields, "x-amz-credential": nobody}) == "InvalidAccessKeyId"
    later = {
        **fields,
        "x-amz-credential": fields["x-amz-credential"].replace("20151229", "20151230"),
        "x-amz-date": "20151230T000000Z",
    }
    assert refusal(later) == "SignatureDoesNotMatch"
    assert refusal(signed({"key": "a"}, region="us-east-1")) == "InvalidArgument"
    upper = {**fields, "x-amz-signature": fields["x-amz-signature"].upper()}
    assert refusal(upper) == "SignatureDoesNotMatch"


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=100, **RELAXED)
@given(st.dictionaries(st.from_regex(r"x-amz-meta-[a-z]{1,4}", fullmatch=True), TEXTS, max_size=4))
def test_a_policy_that_speaks_of_every_field_and_one_more(metadata: dict[str, str]) -> None:
    """Exact conditions let exactly those values pass; a field or a condition more does not."""
    fields = signed({"key": "k", **metadata})
    policy = read_policy(fields["policy"])
    check_form(policy, fields, "bucket", NOW_MS)
    for name, value in metadata.items():
        for wrong in (value + "x", value.swapcase() + "\u00df"):
            with pytest.raises(S3Error, match="Policy Condition failed"):
                check_form(policy, {**fields, name: wrong}, "bucket", NOW_MS)
        with pytest.raises(S3Error, match="Policy Condition failed"):
            check_form(policy, {k: v for k, v in fields.items() if k != name}, "bucket", NOW_MS)
    with pytest.raises(S3Error, match="Extra input fields: x-amz-meta-more"):
        check_form(policy, {**fields, "x-amz-meta-more": ""}, "bucket", NOW_MS)


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.sampled_from(["eq", "starts-with", "content-length-range", "$key", "key", "2030"]),
        TEXTS,
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=200, **RELAXED)
@given(JSON, st.booleans())
def test_never_anything_but_an_error_of_s3(document: Any, proper: bool) -> None:
    if proper:
        document = {"expiration": "2030-01-01T00:00:00Z", "conditions": [document]}
    text = base64.b64encode(json.dumps(document).encode()).decode()
    try:
        check_form(read_policy(text), {"key": "k"}, "bucket", NOW_MS)
    except S3Error as error:
        assert error.code in {"InvalidPolicyDocument", "AccessDenied"}
        assert (error.message or "").startswith("Invalid ")
    else:
        raise AssertionError("nothing here speaks of both bucket and key")


@settings(max_examples=100, **RELAXED)
@given(st.binary(max_size=60) | st.sampled_from([b"[" * 9000, b'{"a":' * 3000, b"1" * 9000]))
def test_any_bytes_for_a_policy(content: bytes) -> None:
    for text in (base64.b64encode(content).decode(), content.decode("latin-1")):
        with pytest.raises(S3Error) as caught:
            read_policy(text)
        assert caught.value.code == "InvalidPolicyDocument"


def test_the_bucket_is_spoken_of() -> None:
    """Also where the form has no field for it: else a policy would be one for every bucket."""
    fields = signed({"key": "k"}, conditions=[{"key": "k"}])
    with pytest.raises(S3Error, match="Extra input fields: bucket"):
        check_form(read_policy(fields["policy"]), fields, "bucket", NOW_MS)


def test_sizes_of_several_conditions_all_hold() -> None:
    ranges = [["content-length-range", 1, 9], ["content-length-range", "3", "20"]]
    assert read_policy(signed({"key": "k"}, more=ranges)["policy"]).sizes == Sizes(3, 9)
    assert read_policy(signed({"key": "k"})["policy"]).sizes is None


def test_variables_stand_for_the_file_everywhere_but_in_the_policy() -> None:
    fields = {
        "key": "a/${filename}",
        "x-amz-meta-n": "${filename}-${filename}",
        "policy": "${filename}",
    }
    assert expand(fields, "d\\f") == {"key": "a/f", "x-amz-meta-n": "f-f", "policy": "${filename}"}
    assert expand(fields, "")["key"] == "a/"
    assert expand(fields, None) == fields
    assert expand({"key": "${filename}"}, "${filename}")["key"] == "${filename}"


def test_fields_as_headers() -> None:
    fields = {
        "key": "k",
        "acl": "private",
        "content-type": " text/\u00e4 ",
        "content-language": "en",
        "x-amz-meta-a": "b",
        "x-amz-signature": "s",
        "policy": "p",
        "submit": "Upload",
    }
    found = headers(fields, 7, request("POST", "/bucket"))
    told = {name: value for name, value in found.items() if name not in ("host",)}
    assert told == {
        "content-length": "7",
        "x-amz-acl": "private",
        "content-type": "text/\u00e4".encode().decode("latin-1"),
        "content-language": "en",
        "x-amz-meta-a": "b",
    }
