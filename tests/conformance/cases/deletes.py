"""DeleteObjects."""

from __future__ import annotations

from base64 import b64encode
from hashlib import md5

from s3node.base.limits import DELETE_KEYS_MAX
from tests.conformance.case import After, Ask, Case, err, get, head, ok, post
from tests.conformance.cases.objects import checksum


def batch(*objects: str, quiet: str = "") -> Ask:
    """A DeleteObjects with a checksum over its body; placeholders would break it."""
    rows = "".join(f"<Object>{item}</Object>" for item in objects)
    body = f"<Delete>{quiet}{rows}</Delete>".encode()
    return protected(body)


def protected(body: bytes) -> Ask:
    return post(
        "/bucket",
        "delete",
        body,
        content_md5=b64encode(md5(body).digest()).decode(),
    )


CASES: list[Case] = [
    ok(
        "DeleteObjects",
        "there or not",
        batch("<Key>k</Key>", "<Key>none</Key>"),
        xml={"Deleted/Key": ["k", "none"], "Error": [], "Deleted/VersionId": []},
        after=After(head("/bucket/k"), 404),
    ),
    ok(
        "DeleteObjects",
        "quietly",
        batch("<Key>k</Key>", quiet="<Quiet>true</Quiet>"),
        xml={"Deleted": [], "Error": []},
        after=After(head("/bucket/k"), 404),
    ),
    ok(
        "DeleteObjects",
        "each with its own outcome",
        batch(
            "<Key>k</Key><VersionId>null</VersionId>",
            "<Key>b</Key><VersionId>bad</VersionId>",
            "<Key>a/1</Key><ETag>0</ETag>",
            f"<Key>{'k' * 1025}</Key>",
        ),
        xml={
            "Deleted/Key": ["k"],
            "Deleted/VersionId": ["null"],
            "Error/Code": ["NoSuchVersion", "PreconditionFailed", "KeyTooLongError"],
            "Error/VersionId": ["bad"],
            "Error/Message": [
                "The specified version does not exist.",
                "At least one of the pre-conditions you specified did not hold",
                "Your key is too long",
            ],
        },
        after=After(get("/bucket/b")),
    ),
    ok(
        "DeleteObjects",
        "with a checksum instead",
        post(
            "/bucket",
            "delete",
            b"<Delete><Object><Key>k</Key></Object></Delete>",
            x_amz_sdk_checksum_algorithm="CRC32",
            x_amz_checksum_crc32=checksum(
                "CRC32", b"<Delete><Object><Key>k</Key></Object></Delete>"
            ),
        ),
    ),
    ok(
        "DeleteObjects",
        "without a bypass",
        batch("<Key>k</Key>").plus(x_amz_bypass_governance_retention="false"),
    ),
    err(
        "DeleteObjects",
        "InvalidRequest",
        post("/bucket", "delete", b"<Delete><Object><Key>k</Key></Object></Delete>"),
        "unprotected",
        message="Missing required header for this request: Content-MD5",
    ),
    err(
        "DeleteObjects",
        "BadDigest",
        batch("<Key>k</Key>").plus(content_md5=b64encode(bytes(16)).decode()),
        message="The Content-MD5 you specified did not match what we received.",
        ExpectedDigest=b64encode(bytes(16)).decode(),
        CalculatedDigest="*",
    ),
    *(
        err("DeleteObjects", "MalformedXML", ask, name)
        for name, ask in (
            ("no body", protected(b"")),
            ("no objects", batch()),
            ("too many", batch(*["<Key>k</Key>"] * (DELETE_KEYS_MAX + 1))),
            ("no key", batch("<VersionId>null</VersionId>")),
            ("an empty key", batch("<Key></Key>")),
            ("a typo", batch("<Key>k</Key><VersionID>x</VersionID>")),
            ("another truth", batch("<Key>k</Key>", quiet="<Quiet>yes</Quiet>")),
            ("a key twice", batch("<Key>k</Key><Key>b</Key>")),
            ("a doctype", protected(b"<!DOCTYPE a><Delete><Object><Key>k</Key></Object></Delete>")),
        )
    ),
]
