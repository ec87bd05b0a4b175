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


def rows(operation: str, path: str, query: str, scene: str) -> list[Case]:
    def ask(wire: bytes, **headers: str) -> Ask:
        return stream(path, query, wire, **headers)

    good = framed(BODY, RIGHT)
    return [
        ok(operation, "in chunks", ask(good), scene=scene, headers={TRAILER: RIGHT[21:]}),
        ok(
            operation,
            "in chunks, with the algorithm told",
            ask(good, x_amz_sdk_checksum_algorithm="CRC32"),
            scene=scene,
        ),
        err(
            operation,
            "BadDigest",
            ask(framed(BODY, f"{TRAILER}:{checksum('CRC32', b'x')}")),
            "in a trailer",
            scene=scene,
            message="The CRC32 you specified did not match the calculated checksum.",
        ),
        err(
            operation,
            "InvalidRequest",
            ask(framed(BODY, f"{TRAILER}:short")),
            "a trailer that is no checksum",
            scene=scene,
            message=f"Value for {TRAILER} trailing header is invalid.",
        ),
        err(
            operation,
            "MalformedTrailerError",
            ask(framed(BODY, "x-amz-checksum-sha1:x")),
            "another trailer than announced",
            scene=scene,
        ),
        err(
            operation,
            "InvalidRequest",
            ask(good, x_amz_trailer="x-amz-meta-a"),
            "a trailer that is none",
            scene=scene,
            message="The value specified in the x-amz-trailer header is not supported",
        ),
        err(
            operation,
            "InvalidRequest",
            ask(good, x_amz_sdk_checksum_algorithm="SHA1"),
            "another algorithm than announced",
            scene=scene,
            message="Value for x-amz-sdk-checksum-algorithm header is invalid.",
        ),
        err(operation, "IncompleteBody", ask(good[:-9]), "cut", scene=scene),
        err(operation, "IncompleteBody", ask(good + b"x"), "more behind it", scene=scene),
        err(
            operation,
            "IncompleteBody",
            ask(framed(BODY + b"x", RIGHT)),
            "more than announced",
            scene=scene,
        ),
        err(
            operation,
            "MissingContentLength",
            ask(good, x_amz_decoded_content_length=""),
            "of no length",
            scene=scene,
        ),
        err(
            operation,
            "InvalidArgument",
            ask(good, x_amz_decoded_content_length="-1"),
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
