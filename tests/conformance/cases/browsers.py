"""What browsers need: CORS rules, preflights, the headers of answers, and forms that upload."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from zlib import crc32

from tests.conformance.case import ANONYMOUS, After, Ask, Case, delete, err, get, ok, options, put
from tests.conformance.case import post as posting
from tests.conformance.stage import ACCESS, SECRET
from tests.s3 import forms

EXPIRES = "2999-12-31T00:00:00Z"
VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"
ORIGIN = "https://viewer.example"


def configuration(*rules: str) -> bytes:
    inner = "".join(f"<CORSRule>{rule}</CORSRule>" for rule in rules)
    return f"<CORSConfiguration>{inner}</CORSConfiguration>".encode()


def cors(body: bytes, **headers: str) -> Ask:
    digest = base64.b64encode(hashlib.md5(body).digest()).decode()
    return put("/bucket", "cors", body, **{"content_md5": digest, **headers})


PLAIN = "<AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin>"
FULL = (
    "<AllowedHeader>x-*</AllowedHeader><AllowedMethod>PUT</AllowedMethod>"
    "<AllowedMethod>GET</AllowedMethod><AllowedOrigin>https://*.example</AllowedOrigin>"
    "<AllowedOrigin>http://test.com:80</AllowedOrigin><ExposeHeader>ETag</ExposeHeader>"
    "<ID>one</ID><MaxAgeSeconds>3000</MaxAgeSeconds>"
)
TOLD = {
    "access-control-allow-origin": ORIGIN,
    "access-control-allow-methods": "PUT, GET",
    "access-control-expose-headers": "ETag",
    "access-control-max-age": "3000",
    "access-control-allow-credentials": "true",
    "vary": VARY,
}
CHECKSUM = base64.b64encode(crc32(configuration(PLAIN)).to_bytes(4, "big")).decode()

RULES = [
    ok(
        "PutBucketCors",
        "a rule with everything",
        cors(configuration(FULL)),
        body=b"",
        after=After(
            get("/bucket", "cors"),
            xml={
                "CORSRule/AllowedHeader": ["x-*"],
                "CORSRule/AllowedMethod": ["PUT", "GET"],
                "CORSRule/AllowedOrigin": ["https://*.example", "http://test.com:80"],
                "CORSRule/ExposeHeader": ["ETag"],
                "CORSRule/ID": "one",
                "CORSRule/MaxAgeSeconds": "3000",
            },
        ),
    ),
    ok(
        "PutBucketCors",
        "in the place of another",
        cors(configuration(PLAIN)),
        scene="cors",
        after=After(get("/bucket", "cors"), xml={"CORSRule/AllowedOrigin": ["*"]}),
    ),
    ok("PutBucketCors", "a hundred rules", cors(configuration(*[PLAIN] * 100))),
    ok(
        "PutBucketCors",
        "with a checksum",
        put(
            "/bucket",
            "cors",
            configuration(PLAIN),
            x_amz_checksum_crc32=CHECKSUM,
            x_amz_sdk_checksum_algorithm="CRC32",
        ),
    ),
    err(
        "PutBucketCors",
        "InvalidRequest",
        put("/bucket", "cors", configuration(PLAIN)),
        "without a digest",
        message="Missing required header for this request: Content-MD5",
    ),
    err("PutBucketCors", "BadDigest", cors(b"x", content_md5="1B2M2Y8AsgTpgAmY7PhCfg=="),
        ExpectedDigest="*", CalculatedDigest="*"),
    *(
        err("PutBucketCors", "MalformedXML", cors(body), name)
        for name, body in {
            "nothing": b"",
            "something else": b"<x/>",
            "no rules": configuration(),
            "an empty rule": configuration(""),
            "without an origin": configuration("<AllowedMethod>GET</AllowedMethod>"),
            "without a method": configuration("<AllowedOrigin>*</AllowedOrigin>"),
            "an unknown element": configuration(PLAIN + "<AllowedOrigins>*</AllowedOrigins>"),
            "two ages": configuration(PLAIN + "<MaxAgeSeconds>1</MaxAgeSeconds>" * 2),
            "no age": configuration(PLAIN + "<MaxAgeSeconds>-1</MaxAgeSeconds>"),
        }.items()
    ),
    err(
        "PutBucketCors",
        "MalformedXML",
        cors(configuration(PLAIN + f"<ID>{'i' * 65536}</ID>")),
        "more than 64 KB",
        message="The CORS XML document is limited to 64 KB in size.",
    ),
    *(
        err("PutBucketCors", "InvalidRequest", cors(configuration(*rules)), text, message=text)
        for text, rules in {
            "Found unsupported HTTP method in CORS config. Unsupported method is OPTIONS": [
                PLAIN.replace("GET", "OPTIONS")
            ],
            'AllowedOrigin "http://*.*" can not have more than one wildcard.': [
                PLAIN + "<AllowedOrigin>http://*.*</AllowedOrigin>"
            ],
            'AllowedHeader "**" can not have more than one wildcard.': [
                PLAIN + "<AllowedHeader>**</AllowedHeader>"
            ],
            'ExposeHeader "x-*" contains wildcard. We currently do not support wildcard for '
            "ExposeHeader.": [PLAIN + "<ExposeHeader>x-*</ExposeHeader>"],
            "The number of CORS rules should not exceed allowed limit of 100 rules.": [PLAIN] * 101,
        }.items()
    ),
    err(
        "PutBucketCors",
        "InvalidRequest",
        cors(configuration(PLAIN + "<ExposeHeader>a&#13;&#10;b: c</ExposeHeader>")),
        "a line's end in a header",
        message='ExposeHeader "a\r\nb: c" contains invalid character.',
    ),
    err(
        "PutBucketCors",
        "InvalidArgument",
        cors(configuration(PLAIN + f"<ID>{'i' * 256}</ID>")),
        "a long ID",
        message="ID length should not exceed allowed limit of 255",
        ArgumentName="ID",
    ),
    err(
        "PutBucketCors",
        "InvalidArgument",
        cors(configuration(*[PLAIN + "<ID>i</ID>"] * 2)),
        "an ID twice",
        ArgumentName="ID",
    ),
    ok("GetBucketCors", "there", get("/bucket", "cors"), scene="cors",
       xml={"CORSRule/AllowedMethod": ["PUT", "GET"]}),
    err("GetBucketCors", "NoSuchCORSConfiguration", get("/bucket", "cors"), BucketName="bucket"),
    ok("DeleteBucketCors", "there", delete("/bucket", "cors"), 204, scene="cors",
       after=After(get("/bucket", "cors"), 404)),
    ok("DeleteBucketCors", "not there", delete("/bucket", "cors"), 204),
]  # fmt: skip


def preflight(path: str = "/bucket/k", query: str = "", **headers: str) -> Ask:
    fields = {"origin": ORIGIN, "access_control_request_method": "PUT", **headers}
    return options(path, query, **fields).but(auth=ANONYMOUS)


NOT_ALLOWED = (
    "CORSResponse: This CORS request is not allowed. This is usually because the evalution of "
    "Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are "
    "not whitelisted by the resource's CORS spec."
)


def refused(name: str, ask: Ask, resource: str = "OBJECT", **fields: str) -> Case:
    return err("OptionsObject", "AccessForbidden", ask, name, message=NOT_ALLOWED, scene="cors",
               ResourceType=resource, **{"Method": "PUT", **fields})  # fmt: skip


PREFLIGHTS = [
    ok("OptionsObject", "of a key", preflight(), headers=TOLD, body=b"", scene="cors",
       absent=("access-control-allow-headers", "content-type"), changes=False),
    ok("OptionsObject", "of a key that is not there", preflight("/bucket/none"), headers=TOLD,
       scene="cors", changes=False),
    ok("OptionsObject", "of a bucket", preflight("/bucket"), headers=TOLD, scene="cors",
       changes=False),
    ok("OptionsObject", "with the query of what is to come",
       preflight(query="partNumber=1&uploadId=x&X-Amz-Signature=00&no-such-thing"), headers=TOLD,
       scene="cors", changes=False),
    ok("OptionsObject", "with headers",
       preflight(access_control_request_headers="x-amz-META-a,x-amz-acl , ,x-amz-acl"),
       headers={**TOLD, "access-control-allow-headers": "x-amz-meta-a, x-amz-acl"}, scene="cors",
       changes=False),
    refused("another origin", preflight(origin="https://viewer.example.org")),
    refused("another scheme", preflight(origin="http://viewer.example")),
    refused("another case", preflight(origin="HTTPS://viewer.example")),
    refused("another port", preflight(origin="http://test.com")),
    refused("another method", preflight(access_control_request_method="POST"), Method="POST"),
    refused("another header", preflight(access_control_request_headers="x-a,content-type")),
    refused("too many headers",
            preflight(access_control_request_headers=",".join(f"x-{i}" for i in range(129)))),
    refused("of a bucket", preflight("/bucket", origin="null"), "BUCKET"),
    err("OptionsObject", "AccessForbidden", preflight(), "no rules",
        message="CORSResponse: CORS is not enabled for this bucket.", Method="PUT",
        ResourceType="BUCKET"),
    err("OptionsObject", "AccessForbidden",
        options("/bucket/k", origin=ORIGIN).but(auth=ANONYMOUS), "no rules and no method",
        message="CORSResponse: CORS is not enabled for this bucket.", Method="OPTIONS",
        ResourceType="BUCKET"),
    err("OptionsObject", "AccessForbidden", preflight("/none/k"), "no bucket",
        message="CORSResponse: Bucket not found", Method="PUT", ResourceType="BUCKET"),
    err("OptionsObject", "AccessForbidden", preflight("/"), "of the service",
        message="CORSResponse: Bucket not found", Method="PUT", ResourceType="BUCKET"),
    err("OptionsObject", "BadRequest", options("/bucket/k").but(auth=ANONYMOUS), "no origin",
        message="Insufficient information. Origin request header needed."),
    err("OptionsObject", "BadRequest", options("/bucket/k", origin=ORIGIN).but(auth=ANONYMOUS),
        "no method", message="Invalid Access-Control-Request-Method: null", scene="cors"),
    err("OptionsObject", "BadRequest", preflight(access_control_request_method="PATCH"),
        "no method of S3", message="Invalid Access-Control-Request-Method: PATCH", scene="cors"),
]  # fmt: skip

ACTUAL = [
    ok("GetObject", "from an origin", get("/bucket/k", origin=ORIGIN), scene="cors", headers=TOLD),
    ok("GetObject", "from another origin", get("/bucket/k", origin="https://example"), scene="cors",
       absent=tuple(TOLD)),
    ok("GetObject", "from no origin", get("/bucket/k"), scene="cors", absent=tuple(TOLD)),
    ok("GetObject", "from an origin of a bucket without rules", get("/bucket/k", origin=ORIGIN),
       absent=tuple(TOLD)),
    ok("GetObject", "announcing another method",
       get("/bucket/k", origin=ORIGIN, access_control_request_method="POST"), scene="cors",
       absent=tuple(TOLD)),
    ok("GetObject", "not modified, from an origin",
       get("/bucket/k", origin=ORIGIN, if_none_match="*"), 304, scene="cors", headers=TOLD),
    ok("PutObject", "from an origin", put("/bucket/k", origin=ORIGIN), scene="cors", headers=TOLD),
    ok("DeleteObject", "a method that is not allowed", delete("/bucket/k", origin=ORIGIN), 204,
       scene="cors", absent=tuple(TOLD)),
    err("GetObject", "NoSuchKey", get("/bucket/none", origin=ORIGIN), "from an origin",
        scene="cors", headers=TOLD, Key="none"),
    err("PutObject", "AccessDenied", put("/bucket/k", origin=ORIGIN).but(auth=ANONYMOUS),
        "from an origin", scene="cors", headers=TOLD),
]  # fmt: skip


# --- forms -----------------------------------------------------------------------------------


def filled(fields: dict[str, str], content: bytes = b"content", **part: Any) -> Ask:
    """A form of these very fields."""
    body = forms.form(fields, content, **part)
    return posting("/bucket", "", body, content_type=forms.content_type()).but(auth=ANONYMOUS)


def signed(fields: dict[str, str], *more: Any, **said: Any) -> dict[str, str]:
    options_ = {"expiration": EXPIRES, "access": ACCESS, "secret": SECRET, **said}
    return forms.signed(fields, more=more, **options_)


def upload(more: dict[str, str] | None = None, *conditions: Any, **said: Any) -> Ask:
    """A form with a key and more fields, under a policy that covers them and has `conditions`."""
    return filled(signed({"key": "up", **(more or {})}, *conditions, **said))


def denied(name: str, ask: Ask, reason: str) -> Case:
    message = f"Invalid according to Policy: {reason}"
    return err("PostObject", "AccessDenied", ask, name, message=message)


def invalid(name: str, reason: str, *more: Any, **said: Any) -> Case:
    ask = filled(signed({"key": "up"}, *more, **said))
    message = f"Invalid Policy: {reason}"
    return err("PostObject", "InvalidPolicyDocument", ask, name, message=message)


SIGNED = [["starts-with", f"$x-amz-{name}", ""] for name in ("algorithm", "credential", "date")]


def document(*conditions: Any) -> str:
    return json.dumps({"expiration": EXPIRES, "conditions": conditions})


def policy(document: str, reason: str) -> Case:
    """A document that is no policy."""
    return invalid(f"{document[:50]!r}", reason, policy=document)


def without(name: str, shown: str) -> Case:
    fields = {field: value for field, value in signed({"key": "up"}).items() if field != name}
    message = f"Bucket POST must contain a field named '{shown}'.  If it is specified, please "
    return err("PostObject", "InvalidArgument", filled(fields), f"without {name}",
               message=message + "check the order of the fields.", ArgumentName=shown,
               ArgumentValue="")  # fmt: skip


def claimed(name: str, message: str, argument: str, value: str, **fields: str) -> Case:
    """A field of the signature that is wrong in itself."""
    ask = filled({**signed({"key": "up"}), argument.lower(): value})
    return err("PostObject", "InvalidArgument", ask, name, message=message, ArgumentName=argument,
               ArgumentValue=value, **fields)  # fmt: skip


MD5 = base64.b64encode(hashlib.md5(b"content").digest()).decode()
SHA = base64.b64encode(hashlib.sha256(b"content").digest()).decode()
ETAG = f'"{hashlib.md5(b"content").hexdigest()}"'
RANGE = "content-length-range"


def stored(**headers: str) -> After:
    return After(get("/bucket/up"), headers=headers, body=b"content")


FORMS = [
    ok("PostObject", "a file", upload(), 204, body=b"",
       headers={"etag": ETAG, "location": "*", "x-amz-checksum-crc64nvme": "*",
                "x-amz-checksum-type": "FULL_OBJECT"},
       absent=("content-length", "content-type"),
       after=stored(**{"etag": ETAG, "content-type": "binary/octet-stream"})),
    ok("PostObject", "with what an object has",
       upload({"Content-Type": "text/plain", "Cache-Control": "no-store", "x-amz-meta-A": "b c",
               "Content-Disposition": "inline", "Content-Encoding": "x", "Expires": "0",
               "Content-MD5": MD5, "x-amz-checksum-sha256": SHA, "acl": "private",
               "x-amz-checksum-algorithm": "SHA256", "x-amz-storage-class": "STANDARD_IA",
               "x-amz-website-redirect-location": "/there"}), 204,
       headers={"x-amz-checksum-sha256": SHA},
       after=stored(**{"content-type": "text/plain", "cache-control": "no-store",
                       "x-amz-meta-a": "b c", "content-disposition": "inline",
                       "content-encoding": "x", "expires": "0",
                       "x-amz-storage-class": "STANDARD_IA",
                       "x-amz-website-redirect-location": "/there"})),
    ok("PostObject", "with tags",
       upload({"tagging": "<Tagging><TagSet><Tag><Key>a b</Key><Value>+=</Value></Tag>"
                          "</TagSet></Tagging>"}), 204,
       after=After(get("/bucket/up", "tagging"), xml={"TagSet/Tag/Key": ["a b"],
                                                      "TagSet/Tag/Value": ["+="]})),
    ok("PostObject", "If-None-Match", upload({"if-none-match": "*"}), 204, after=stored()),
    ok("PostObject", "answered with 201", upload({"success_action_status": "201"}), 201,
       headers={"content-type": "application/xml", "etag": ETAG, "location": "*"},
       xml={"Bucket": "bucket", "Key": "up", "ETag": ETAG, "Location": "*"}),
    ok("PostObject", "answered with 200", upload({"success_action_status": "200"}), 200, body=b""),
    ok("PostObject", "answered with what it may not be",
       upload({"success_action_status": "404"}), 204, body=b""),
    ok("PostObject", "answered with a redirect",
       upload({"success_action_redirect": "https://page.example/a?b=c d#e",
               "success_action_status": "201"}), 303, body=b"",
       headers={"location": "https://page.example/a?b=c%20d&bucket=bucket&key=up&etag=%22"
                            + ETAG.strip('"') + "%22#e"}),
    ok("PostObject", "answered with a redirect of old",
       upload({"redirect": "http://page.example"}), 303,
       headers={"location": "http://page.example?bucket=bucket&key=up&etag=%22"
                            + ETAG.strip('"') + "%22"}),
    *(
        ok("PostObject", f"no redirect: {url!r}", upload({"success_action_redirect": url}), 204,
           headers={"etag": ETAG})
        for url in ("/relative", "javascript:alert(1)", "http://", "http://[", "http://a\r\nx: y")
    ),
    ok("PostObject", "named by its file",
       filled(signed({"key": "u/${filename}"}, conditions=[
           {"bucket": "bucket"}, ["starts-with", "$key", "u/"]]), filename="C:\\d\\f.dcm"), 204,
       after=After(get("/bucket/u/f.dcm"), body=b"content")),
    ok("PostObject", "named by no file",
       filled(signed({"key": "u-${filename}"}), filename=None), 204,
       after=After(get("/bucket/u-%24%7Bfilename%7D"), body=b"content")),
    ok("PostObject", "names in any case",
       filled({name.title(): value for name, value in signed({"key": "up"}, conditions=[
           {"bUcKeT": "bucket"}, ["Starts-With", "$KEY", "u"]]).items()}), 204),
    ok("PostObject", "any value, and a list of types",
       upload({"x-amz-meta-m": "any", "Content-Type": "image/a, image/b"},
              ["starts-with", "$x-amz-meta-m", ""], ["starts-with", "$Content-Type", "image/"]),
       204),
    ok("PostObject", "with S3's escapes",
       filled(signed({"key": "$up"}, policy=document(
           {"bucket": "bucket"}, ["eq", "$key", "DOLLARup"], *SIGNED).replace("DOLLAR", "\\$"))),
       204),
    ok("PostObject", "fields that are ignored",
       filled({"x-ignore-a": "1", "X-IGNORE-A": "2", **signed({"key": "up", "mine": "x"})}), 204),
    *(
        ok("PostObject", f"a size within {least} and {most}", upload({}, [RANGE, least, most]), 204)
        for least, most in ((0, 7), (7, 7), ("7", "10"))
    ),
    ok("PostObject", "fields behind the file are ignored",
       posting("/bucket", "", forms.body([
           *(forms.part(name, value) for name, value in signed({"key": "up"}).items()),
           forms.part("file", "content", "f"), forms.part("submit", "Upload"),
           forms.part("acl", "public-read")]),
           content_type=forms.content_type()).but(auth=ANONYMOUS), 204),
    ok("PostObject", "with the field that JavaScript's SDK adds", upload({"bucket": "bucket"}),
       204),
    ok("PostObject", "virtual-host style",
       upload().but(path="/", headers={"content-type": forms.content_type(),
                                       "host": "bucket.s3.test"}), 204,
       headers={"location": "http://bucket.s3.test/up"}),
    err("PostObject", "AccessDenied", filled({"key": "up"}), "anonymous"),
    err("PostObject", "AccessDenied",
        filled({"key": "up", "policy": signed({"key": "up"})["policy"]}), "a policy of nobody"),
    err("PostObject", "InvalidRequest", filled({"key": "up", "AWSAccessKeyId": "a", "signature":
        "b", "policy": "c"}), "SigV2", message="The authorization mechanism you have provided is "
        "not supported. Please use AWS4-HMAC-SHA256."),
    err("PostObject", "InvalidAccessKeyId", upload(access="AKNOBODY"), AWSAccessKeyId="AKNOBODY"),
    err("PostObject", "SignatureDoesNotMatch", upload(secret="x" * 40), AWSAccessKeyId=ACCESS,
        StringToSign="*", SignatureProvided="*", StringToSignBytes="*"),
    err("PostObject", "SignatureDoesNotMatch",
        filled({**signed({"key": "up"}), "policy": "\u00e4"}), "another policy",
        AWSAccessKeyId=ACCESS, StringToSign="\u00e4", SignatureProvided="*",
        StringToSignBytes="c3 a4"),
    err("PostObject", "InvalidToken", upload({"x-amz-security-token": "t"})),
    err("PostObject", "InvalidArgument",
        upload().plus(authorization="x"), "signed twice", ArgumentName="Authorization"),
    without("key", "key"),
    without("policy", "policy"),
    without("x-amz-algorithm", "X-Amz-Algorithm"),
    without("x-amz-credential", "X-Amz-Credential"),
    without("x-amz-date", "X-Amz-Date"),
    without("x-amz-signature", "X-Amz-Signature"),
    claimed("another algorithm", 'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"',
            "X-Amz-Algorithm", "AWS4-HMAC-SHA1"),
    claimed("no credential", 'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/'
            'SERVICE/aws4_request".', "X-Amz-Credential", "nobody"),
    claimed("another region", "the region 'mars-1' is wrong; expecting 'eu-west-1'",
            "X-Amz-Credential", f"{ACCESS}/20151229/mars-1/s3/aws4_request", Region="eu-west-1"),
    claimed("no date", "X-Amz-Date must be formated via ISO8601 Long format", "X-Amz-Date",
            "2015-12-29"),
    claimed("another date", 'Invalid credential date "20151229". This date is not the same as '
            'X-Amz-Date: "20151230".', "X-Amz-Date", "20151230T000000Z"),
    invalid("expiration", "Invalid 'expiration' value: '2999-12-31 00:00:00 UTC'",
            expiration="2999-12-31 00:00:00 UTC"),
    invalid("offset", "Invalid 'expiration' value: '2999-12-31T00:00:00+02:00'",
            expiration="2999-12-31T00:00:00+02:00"),
    policy("not json", "Invalid JSON."),
    policy("[]", "Invalid JSON."),
    policy('{"conditions": []}', "Policy missing expiration."),
    policy(json.dumps({"expiration": EXPIRES}), "Policy missing conditions."),
    policy('{"CONDITIONS": []}', "Unexpected: 'conditions'"),
    policy('{"Statement": []}', "Unexpected: 'statement'"),
    policy('{"expiration": "", "expiration": ""}', "Invalid JSON."),
    policy(json.dumps({"expiration": EXPIRES, "conditions": {}}),
           "Invalid 'conditions' value: must be a List."),
    policy("[" * 8000, "Invalid JSON."),
    *(
        invalid(f"condition {condition!r}", reason, condition)
        for condition, reason in (
            ({}, "Invalid Simple-Condition: Simple-Conditions must have exactly one property "
                 "specified."),
            ({"a": "b", "c": "d"}, "Invalid Simple-Condition: Simple-Conditions must have exactly "
                                   "one property specified."),
            ({"a": 1}, "Invalid Simple-Condition: value must be a string."),
            ("a", "Invalid condition test: must be a List or Object."),
            ([], "Invalid Condition: missing operation identifier."),
            (["like", "$key", "up"], "Invalid Condition: unknown operation 'like'."),
            (["eq", "$key"], "Invalid eq: wrong number of arguments."),
            (["eq", "$key", 1], "Invalid JSON."),
            ([RANGE, 0], "Invalid content-length-range: wrong number of arguments."),
            ([RANGE, -1, 0], "Invalid JSON."),
            ([RANGE, 0, 1.5], "Invalid JSON."),
            ([RANGE, True, 1], "Invalid JSON."),
        )
    ),
    denied("expired", upload(expiration="2001-01-01T00:00:00Z"), "Policy expired."),
    *(
        denied(f"condition {shown}", upload({"x-amz-meta-m": "m"}, condition),
               f"Policy Condition failed: {shown}")
        for condition, shown in (
            (["eq", "$key", "UP"], '["eq", "$key", "UP"]'),
            (["starts-with", "$key", "p"], '["starts-with", "$key", "p"]'),
            ({"x-amz-meta-m": 'a"'}, '["eq", "$x-amz-meta-m", "a\\""]'),
            (["starts-with", "$Content-Type", ""], '["starts-with", "$Content-Type", ""]'),
            ({"bucket": "other"}, '["eq", "$bucket", "other"]'),
            (["eq", "key", "up"], '["eq", "key", "up"]'),
            ([RANGE, "x", "10"], '["content-length-range", "x", "10"]'),
        )
    ),
    denied("one type of a list", upload({"Content-Type": "image/a,text/b"},
           ["starts-with", "$Content-Type", "image/"]),
           'Policy Condition failed: ["starts-with", "$Content-Type", "image/"]'),
    denied("a bucket field of another bucket", upload({"bucket": "other"}, bucket="bucket"),
           'Policy Condition failed: ["eq", "$bucket", "bucket"]'),
    denied("a bucket that nobody speaks of",
           filled(signed({"key": "up"}, conditions=[{"key": "up"}])), "Extra input fields: bucket"),
    denied("a field that nobody speaks of",
           filled({**signed({"key": "up"}), "x-amz-meta-more": "1"}),
           "Extra input fields: x-amz-meta-more"),
    denied("a date that nobody speaks of",
           filled(signed({"key": "up"}, policy=document(
               {"bucket": "bucket"}, {"key": "up"}, *SIGNED[:2]))),
           "Extra input fields: x-amz-date"),
    err("PostObject", "EntityTooLarge", upload({}, [RANGE, 0, 6]), ProposedSize="7",
        MaxSizeAllowed="6"),
    err("PostObject", "EntityTooLarge", upload({}, [RANGE, 0, 10], [RANGE, 0, 6]), "of two ranges",
        ProposedSize="7", MaxSizeAllowed="6"),
    err("PostObject", "EntityTooSmall", upload({}, [RANGE, 8, 10]), ProposedSize="7",
        MinSizeAllowed="8"),
    err("PostObject", "BadDigest", upload({"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}),
        ExpectedDigest="*", CalculatedDigest="*"),
    err("PostObject", "BadDigest", upload({"x-amz-checksum-crc32": "AAAAAA=="}), "a checksum"),
    err("PostObject", "InvalidRequest", upload({"x-amz-checksum-crc32": "x"}), "no checksum"),
    *(
        err("PostObject", "InvalidRequest", upload({"x-amz-checksum-algorithm": name, **more}), why)
        for name, more, why in (
            ("SHA256", {}, "an algorithm without a checksum"),
            ("SHA1", {"x-amz-checksum-sha256": SHA}, "an algorithm with another's checksum"),
            ("CRC9", {}, "no algorithm"),
        )
    ),
    err("PostObject", "InvalidDigest", upload({"Content-MD5": "x"}), extra={"Content-MD5": "x"}),
    err("PostObject", "InvalidStorageClass", upload({"x-amz-storage-class": "Fake"}),
        StorageClassRequested="Fake"),
    err("PostObject", "MalformedXML", upload({"tagging": "not-xml"})),
    err("PostObject", "MetadataTooLarge", upload({"x-amz-meta-m": "m" * 2048}), Size="2049",
        MaxSizeAllowed="2048"),
    err("PostObject", "PreconditionFailed", filled(signed({"key": "k", "if-none-match": "*"})),
        "If-None-Match", Condition="If-None-Match"),
    err("PostObject", "PreconditionFailed", filled(signed({"key": "k", "If-Match": "0"})),
        "If-Match", Condition="If-Match"),
    err("PostObject", "NotImplemented",
        upload({"if-modified-since": "Thu, 01 Jan 1970 00:00:00 GMT"}), "a date",
        Header="if-modified-since"),
    err("PostObject", "NotImplemented", upload({"acl": "public-read"}), Header="x-amz-acl"),
    err("PostObject", "NotImplemented", upload({"x-amz-server-side-encryption": "AES256"}),
        "encryption", Header="x-amz-server-side-encryption"),
    err("PostObject", "KeyTooLongError", filled(signed({"key": "k" * 1025})), Size="1025",
        MaxSizeAllowed="1024"),
    err("PostObject", "InvalidURI", filled(signed({"key": "a\0b"})), "NUL in the key"),
    err("PostObject", "NoSuchBucket", filled(signed({"key": "up"}, bucket="none")).but(
        path="/none"), BucketName="none"),
    err("PostObject", "InvalidArgument", filled(signed({"key": ""})), "an empty key",
        message="User key must have a length greater than 0.", ArgumentName="key",
        ArgumentValue=""),
    err("PostObject", "InvalidArgument", filled({**signed({"key": "up"}), "KEY": "up"}),
        "a field twice", ArgumentName="KEY"),
    err("PostObject", "InvalidArgument", upload({"x-amz-meta-\u00e4": "a"}), "no name of a header",
        ArgumentName="x-amz-meta-\u00e4"),
    *(
        err("PostObject", "InvalidArgument", upload({name: "a\r\nx-amz-delete-marker: true"}),
            f"a line's end in {name}", ArgumentName=name.lower())
        for name in ("Content-Type", "x-amz-meta-m", "x-amz-website-redirect-location",
                     "x-amz-storage-class")
    ),
    *(
        err("PostObject", "InvalidArgument", upload({name: "a"}), name, ArgumentName=name)
        for name in ("x-amz-copy-source", "x-amz-trailer", "x-amz-decoded-content-length",
                     "x-amz-content-sha256", "x-amz-tagging")
    ),
    err("PostObject", "AccessDenied", upload().plus(x_amz_storage_class="GLACIER"),
        "a header beside the form",
        message="There were headers present in the request which were not signed",
        HeadersNotSigned="x-amz-storage-class"),
    err("PostObject", "AccessDenied", upload().plus(if_none_match="*"),
        "a condition beside the form", HeadersNotSigned="if-none-match"),
    err("PostObject", "NotImplemented", upload().plus("no-such-thing"), "an unknown subresource",
        Operation="PostObject"),
    err("PostObject", "PreconditionFailed", upload().plus(content_type="text/plain"),
        message="At least one of the pre-conditions you specified did not hold",
        Condition="Bucket POST must be of the enclosure-type multipart/form-data"),
    *(
        err("PostObject", "MalformedPOSTRequest", upload().plus(content_type=kind), kind)
        for kind in ("multipart/form-data", 'multipart/form-data; boundary=""',
                     "multipart/form-data; boundary=another",
                     f"multipart/form-data; boundary={'b' * 71}")
    ),
    err("PostObject", "MissingContentLength",
        upload().plus(transfer_encoding="chunked").but(body=b"0\r\n\r\n")),
    err("PostObject", "MaxPostPreDataLengthExceeded", upload({"x-ignore": "x" * 20480}),
        MaxPostPreDataLengthBytes="20480"),
    err("PostObject", "InvalidArgument",
        upload().but(body=forms.body([forms.part("key", "up")])), "no file",
        message="POST requires exactly one file upload per request.", ArgumentName="file",
        ArgumentValue="0"),
    err("PostObject", "InvalidArgument",
        upload().but(body=forms.body([
            *(forms.part(name, value) for name, value in signed({"key": "up"}).items()),
            forms.part("file", "a", "a"), forms.part("file", "b", "b")])), "two files",
        message="POST requires exactly one file upload per request.", ArgumentName="file",
        ArgumentValue="2"),
]  # fmt: skip

CASES = [*RULES, *PREFLIGHTS, *ACTUAL, *FORMS]
