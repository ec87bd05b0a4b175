"""Payloads in chunks, as SDKs send them by default: the checksum comes behind the bytes.

The framing itself (signed chunks, every cut) is tried elsewhere; here is what a client sees.
"""

from __future__ import annotations

from tests.conformance.case import After, Ask, Case, err, get, ok, put
from tests.conformance.cases.objects import checksum

BODY = b"some bytes"
TRAILER = "x-amz-checksum-crc32"
RIGHT = f"{TRAILER}:{checksum('CRC32', BODY)}"


def framed(body: bytes, trailer: str) -> bytes:
    last = f"{trailer}\r\n" if trailer else ""
    return b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(body), body, last.encode())


def stream(path: str, query: str, wire: bytes, **headers: str) -> Ask:
    fields = {
        "content-encoding": "aws-chunked",
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-decoded-content-length": str(len(BODY)),
        "x-amz-trailer": TRAILER,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    kept = {name: value for name, value in fields.items() if value}
    return put(path, query, wire).but(headers=kept)


GOOD = framed(BODY, RIGHT)
SHORT = framed(BODY, f"{TRAILER}:short")
WRONG = framed(BODY, f"{TRAILER}:{checksum('CRC32', b'x')}")
OTHER = framed(BODY, "x-amz-checksum-sha1:x")

REFUSED: tuple[tuple[str, str, bytes, dict[str, str], str | None], ...] = (
    (
        "BadDigest",
        "in a trailer",
        WRONG,
        {},
        "The CRC32 you specified did not match the calculated checksum.",
    ),
    (
        "InvalidRequest",
        "a trailer that is no checksum",
        SHORT,
        {},
        f"Value for {TRAILER} trailing header is invalid.",
    ),
    ("MalformedTrailerError", "another trailer than announced", OTHER, {}, None),
    (
        "InvalidRequest",
        "a trailer that is none",
        GOOD,
        {"x_amz_trailer": "x-amz-meta-a"},
        "The value specified in the x-amz-trailer header is not supported",
    ),
    (
        "InvalidRequest",
        "another algorithm than announced",
        GOOD,
        {"x_amz_sdk_checksum_algorithm": "SHA1"},
        "Value for x-amz-sdk-checksum-algorithm header is invalid.",
    ),
    ("IncompleteBody", "cut", GOOD[:-9], {}, None),
    ("IncompleteBody", "more behind it", GOOD + b"x", {}, None),
    ("IncompleteBody", "more than announced", framed(BODY + b"x", RIGHT), {}, None),
    ("MissingContentLength", "of no length", GOOD, {"x_amz_decoded_content_length": ""}, None),
)


def rows(operation: str, path: str, query: str, scene: str) -> list[Case]:
    told = stream(path, query, GOOD, x_amz_sdk_checksum_algorithm="CRC32")
    return [
        ok(
            operation,
            "in chunks",
            stream(path, query, GOOD),
            scene=scene,
            headers={TRAILER: RIGHT.partition(":")[2]},
        ),
        ok(operation, "in chunks, with the algorithm told", told, scene=scene),
        *(
            err(
                operation,
                code,
                stream(path, query, wire, **headers),
                name,
                scene=scene,
                message=message,
            )
            for code, name, wire, headers, message in REFUSED
        ),
        err(
            operation,
            "InvalidArgument",
            stream(path, query, GOOD, x_amz_decoded_content_length="-1"),
            "of a length that is none",
            scene=scene,
            ArgumentName="x-amz-decoded-content-length",
            ArgumentValue="-1",
        ),
    ]


CASES: list[Case] = [
    *rows("PutObject", "/bucket/new", "", "objects"),
    *rows("UploadPart", "/bucket/m", "partNumber=2&uploadId={upload}", "upload"),
    ok(
        "PutObject",
        "in chunks, and the coding is not kept",
        stream("/bucket/new", "", framed(BODY, RIGHT), content_encoding="gzip,aws-chunked"),
        after=After(get("/bucket/new"), headers={"content-encoding": "gzip"}, body=BODY),
    ),
]
