"""Multipart uploads, from creation to the object."""

from __future__ import annotations

from base64 import b64encode
from hashlib import md5

from s3node.base.limits import PART_BYTES_MIN, UPLOAD_BYTES_MAX, USER_METADATA_BYTES_MAX
from s3node.s3 import checksums
from tests.conformance.case import After, Case, delete, err, get, head, ok, post, put
from tests.conformance.cases.objects import STORED, checksum
from tests.conformance.scenes import LARGE

UPLOAD = "uploadId={upload}"
PART = "partNumber=2&uploadId={upload}"
GONE = "0" * 32
BODY = b"a part"


def listing(*parts: tuple[int, str], extra: str = "") -> bytes:
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag>{extra}</Part>"
        for number, etag in parts
    )
    return (
        '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{rows}</CompleteMultipartUpload>"
    ).encode()


ALL = listing((1, "{part1}"), (2, "{part2}"))
FIRST = b"<ChecksumSHA256>{sum1}</ChecksumSHA256>"
SUMS = (
    b"<CompleteMultipartUpload>"
    b"<Part><PartNumber>1</PartNumber><ETag>{part1}</ETag><ChecksumSHA256>{sum1}</ChecksumSHA256>"
    b"</Part><Part><PartNumber>2</PartNumber><ETag>{part2}</ETag>"
    b"<ChecksumSHA256>{sum2}</ChecksumSHA256></Part></CompleteMultipartUpload>"
)

CREATE = [
    ok(
        "CreateMultipartUpload",
        "a plain one",
        post("/bucket/m", "uploads"),
        xml={"Bucket": "bucket", "Key": "m", "UploadId": "*"},
        absent=("x-amz-checksum-algorithm",),
        after=After(get("/bucket", "uploads"), xml={"Upload/Key": ["m"]}),
    ),
    ok(
        "CreateMultipartUpload",
        "with everything that is stored",
        post("/bucket/m", "uploads", x_amz_meta_m="v", x_amz_storage_class="STANDARD", **STORED),
    ),
    *(
        ok(
            "CreateMultipartUpload",
            f"with {name}",
            post("/bucket/m", "uploads", x_amz_checksum_algorithm=name),
            headers={
                "x-amz-checksum-algorithm": name,
                "x-amz-checksum-type": algorithm.types[0],
            },
        )
        for name, algorithm in checksums.ALGORITHMS.items()
    ),
    ok(
        "CreateMultipartUpload",
        "with a checksum of the whole",
        post(
            "/bucket/m",
            "uploads",
            x_amz_checksum_algorithm="CRC32",
            x_amz_checksum_type="FULL_OBJECT",
        ),
        headers={"x-amz-checksum-type": "FULL_OBJECT"},
    ),
    err(
        "CreateMultipartUpload",
        "InvalidRequest",
        post(
            "/bucket/m",
            "uploads",
            x_amz_checksum_algorithm="SHA1",
            x_amz_checksum_type="FULL_OBJECT",
        ),
        "a type that the algorithm has not",
        message="The FULL_OBJECT checksum type cannot be used with the sha1 checksum algorithm.",
    ),
    err(
        "CreateMultipartUpload",
        "InvalidRequest",
        post("/bucket/m", "uploads", x_amz_checksum_algorithm="CRC7"),
        "an unknown algorithm",
    ),
    err(
        "CreateMultipartUpload",
        "InvalidRequest",
        post("/bucket/m", "uploads", x_amz_checksum_type="COMPOSITE"),
        "a type without an algorithm",
    ),
    err(
        "CreateMultipartUpload",
        "InvalidStorageClass",
        post("/bucket/m", "uploads", x_amz_storage_class="COLD"),
        StorageClassRequested="COLD",
    ),
    err(
        "CreateMultipartUpload",
        "MetadataTooLarge",
        post("/bucket/m", "uploads", x_amz_meta_m="x" * USER_METADATA_BYTES_MAX),
        Size=str(USER_METADATA_BYTES_MAX + 1),
        MaxSizeAllowed=str(USER_METADATA_BYTES_MAX),
    ),
]

UPLOAD_PART = [
    ok(
        "UploadPart",
        "a new one",
        put("/bucket/m", PART, BODY),
        scene="upload",
        headers={"etag": f'"{md5(BODY).hexdigest()}"', "x-amz-checksum-crc64nvme": "*"},
        after=After(get("/bucket/m", UPLOAD), xml={"Part/PartNumber": ["1", "2"]}),
    ),
    ok(
        "UploadPart",
        "over another one",
        put("/bucket/m", "partNumber=1&" + UPLOAD, BODY),
        scene="upload",
        after=After(get("/bucket/m", UPLOAD), xml={"Part/Size": [str(len(BODY))]}),
    ),
    ok(
        "UploadPart",
        "with Content-MD5",
        put("/bucket/m", PART, BODY, content_md5=b64encode(md5(BODY).digest()).decode()),
        scene="upload",
    ),
    *(
        ok(
            "UploadPart",
            f"with {name}",
            put(
                "/bucket/m",
                PART,
                BODY,
                x_amz_sdk_checksum_algorithm=name,
                **{algorithm.header: checksum(name, BODY)},
            ),
            scene="upload",
            headers={algorithm.header: checksum(name, BODY)},
        )
        for name, algorithm in checksums.ALGORITHMS.items()
    ),
    err(
        "UploadPart",
        "NoSuchUpload",
        put("/bucket/m", f"partNumber=1&uploadId={GONE}", BODY),
        scene="upload",
        message="The specified upload does not exist. The upload ID may be invalid, or the upload "
        "may have been aborted or completed.",
        UploadId=GONE,
    ),
    err(
        "UploadPart",
        "NoSuchUpload",
        put("/bucket/other", PART, BODY),
        "of another key",
        scene="upload",
        UploadId="{upload}",
    ),
    *(
        err(
            "UploadPart",
            "InvalidArgument",
            put("/bucket/m", f"partNumber={number}&uploadId={{upload}}", BODY),
            f"part {number}",
            message="Part number must be an integer between 1 and 10000, inclusive",
            scene="upload",
            ArgumentName="partNumber",
            ArgumentValue=number,
        )
        for number in ("0", "10001", "-1", "one")
    ),
    err(
        "UploadPart",
        "BadDigest",
        put("/bucket/m", PART, BODY, x_amz_checksum_crc32=checksum("CRC32", b"x")),
        scene="upload",
    ),
    err(
        "UploadPart",
        "EntityTooLarge",
        put("/bucket/m", PART, content_length=str(UPLOAD_BYTES_MAX + 1)),
        scene="upload",
        ProposedSize=str(UPLOAD_BYTES_MAX + 1),
        MaxSizeAllowed=str(UPLOAD_BYTES_MAX),
    ),
    err(
        "UploadPart",
        "InvalidRequest",
        put("/bucket/m", PART, b"two", x_amz_checksum_crc32=checksum("CRC32", b"two")),
        "another checksum than the upload's",
        scene="composite",
        message="Checksum Type mismatch occurred, expected checksum Type: sha256, actual checksum "
        "Type: crc32",
    ),
]

COMPLETE = [
    ok(
        "CompleteMultipartUpload",
        "of two parts",
        post("/bucket/m", UPLOAD, ALL),
        scene="parts",
        xml={"Bucket": "bucket", "Key": "m", "ETag": "*", "Location": "*"},
        after=(
            After(head("/bucket/m"), headers={"content-length": str(PART_BYTES_MIN + 3)}),
            After(post("/bucket/m", UPLOAD, ALL), xml={"Key": "m"}),
            After(get("/bucket", "uploads"), xml={"Upload": []}),
        ),
    ),
    ok(
        "CompleteMultipartUpload",
        "addressed by its host",
        post("/m", UPLOAD, ALL, host="bucket.s3.test"),
        scene="parts",
        xml={"Location": "http://bucket.s3.test/m"},
    ),
    ok(
        "CompleteMultipartUpload",
        "with composite checksums",
        post("/bucket/m", UPLOAD, SUMS, x_amz_checksum_type="COMPOSITE"),
        scene="composite",
        xml={"ChecksumType": "COMPOSITE", "ChecksumSHA256": "*"},
    ),
    ok(
        "CompleteMultipartUpload",
        "of the size it says",
        post("/bucket/m", UPLOAD, ALL, x_amz_mp_object_size=str(PART_BYTES_MIN + 3)),
        scene="parts",
    ),
    ok(
        "CompleteMultipartUpload",
        "where nothing is",
        post("/bucket/m", UPLOAD, ALL, if_none_match="*"),
        scene="parts",
    ),
    ok(
        "CompleteMultipartUpload",
        "with the checksum of the whole",
        post(
            "/bucket/m",
            UPLOAD,
            ALL,
            x_amz_checksum_crc64nvme=checksum("CRC64NVME", bytes(PART_BYTES_MIN) + b"two"),
        ),
        scene="parts",
        xml={"ChecksumType": "FULL_OBJECT"},
    ),
    err(
        "CompleteMultipartUpload",
        "PreconditionFailed",
        post("/bucket/m", UPLOAD, ALL, if_match='"0"'),
        "If-Match",
        scene="overwriting",
        Condition="If-Match",
    ),
    err(
        "CompleteMultipartUpload",
        "PreconditionFailed",
        post("/bucket/m", UPLOAD, ALL, if_none_match="*"),
        "If-None-Match",
        scene="overwriting",
        Condition="If-None-Match",
    ),
    err(
        "CompleteMultipartUpload",
        "NoSuchUpload",
        post("/bucket/m", f"uploadId={GONE}", ALL),
        scene="parts",
        UploadId=GONE,
    ),
    err(
        "CompleteMultipartUpload",
        "InvalidPart",
        post("/bucket/m", UPLOAD, listing((1, "{part2}"))),
        "another etag",
        scene="parts",
        UploadId="{upload}",
        PartNumber="1",
        ETag="{part2}",
    ),
    err(
        "CompleteMultipartUpload",
        "InvalidPart",
        post("/bucket/m", UPLOAD, listing((4, "{part1}"))),
        "that is not there",
        scene="parts",
        UploadId="{upload}",
        PartNumber="4",
        ETag="{part1}",
    ),
    err(
        "CompleteMultipartUpload",
        "InvalidPartOrder",
        post("/bucket/m", UPLOAD, listing((2, "{part2}"), (1, "{part1}"))),
        scene="parts",
        message="The list of parts was not in ascending order. Parts must be ordered by part "
        "number.",
        UploadId="{upload}",
    ),
    err(
        "CompleteMultipartUpload",
        "EntityTooSmall",
        post("/bucket/m", UPLOAD, listing((2, "{part2}"), (3, "{part3}"))),
        scene="parts",
        ProposedSize="3",
        MinSizeAllowed=str(PART_BYTES_MIN),
        PartNumber="2",
        ETag="{part2}",
    ),
    *(
        err(
            "CompleteMultipartUpload",
            "MalformedXML",
            post("/bucket/m", UPLOAD, body),
            name,
            scene="parts",
        )
        for name, body in (
            ("no parts", listing()),
            ("cut", ALL[:-5]),
            ("a typo", b"<CompleteMultipartUpload><Prt/></CompleteMultipartUpload>"),
            ("another document", b"<Delete/>"),
        )
    ),
    err(
        "CompleteMultipartUpload",
        "InvalidRequest",
        post("/bucket/m", UPLOAD),
        "no body",
        scene="parts",
        message="You must specify at least one part",
    ),
    *(
        err(
            "CompleteMultipartUpload",
            "InvalidRequest",
            post("/bucket/m", UPLOAD, ALL, x_amz_mp_object_size=size),
            f"a size of {size}",
            scene="parts",
            message=message,
        )
        for size, message in (
            ("-1", "Value for x-amz-mp-object-size header is less than zero: '-1'"),
            ("x", "Value for x-amz-mp-object-size header is invalid."),
        )
    ),
    *(
        err(
            "CompleteMultipartUpload",
            code,
            post("/bucket/m", UPLOAD, ALL, x_amz_checksum_crc64nvme=value),
            f"a checksum of the whole that is {what}",
            scene="parts",
            message=message,
        )
        for code, value, what, message in (
            (
                "BadDigest",
                "AAAAAAAAAAA=",
                "another",
                "The crc64nvme you specified did not match the calculated checksum.",
            ),
            (
                "InvalidRequest",
                "AAAA",
                "none",
                "Value for x-amz-checksum-crc64nvme header is invalid.",
            ),
        )
    ),
    *(
        err(
            "CompleteMultipartUpload",
            code,
            post("/bucket/m", UPLOAD, SUMS.replace(FIRST, value)),
            what,
            scene="composite",
            message=message,
            extra=fields,
        )
        for code, value, what, message, fields in (
            (
                "InvalidArgument",
                b"<ChecksumSHA256>AAAA</ChecksumSHA256>",
                "a checksum of a part that is none",
                "Invalid Base64 or multiple checksums present in request",
                {"ArgumentName": "Checksum", "ArgumentValue": "AAAA"},
            ),
            (
                "InvalidPart",
                b"<ChecksumSHA256>{sum2}</ChecksumSHA256>",
                "a checksum of a part that is another's",
                None,
                {"PartNumber": "1", "ETag": "{part1}", "UploadId": "{upload}"},
            ),
            (
                "BadDigest",
                b"<ChecksumCRC32>AAAAAA==</ChecksumCRC32>",
                "a checksum of a part by another algorithm",
                "The crc32 you specified for part 1 did not match what we received.",
                {},
            ),
        )
    ),
    err(
        "CompleteMultipartUpload",
        "InvalidRequest",
        post("/bucket/m", UPLOAD, ALL, x_amz_mp_object_size="1"),
        "another size",
        scene="parts",
        message="The provided 'x-amz-mp-object-size' header value 1 does not match what was "
        f"computed: {PART_BYTES_MIN + 3}",
    ),
    err(
        "CompleteMultipartUpload",
        "InvalidRequest",
        post("/bucket/m", UPLOAD, ALL),
        "composite, without the checksums of the parts",
        scene="composite",
        message="The upload was created using a sha256 checksum. The complete request must include "
        "the checksum for each part. It was missing for part 1 in the request.",
    ),
    err(
        "CompleteMultipartUpload",
        "InvalidRequest",
        post("/bucket/m", UPLOAD, SUMS, x_amz_checksum_type="FULL_OBJECT"),
        "another type of checksum",
        scene="composite",
        message="The upload was created using the COMPOSITE checksum mode. The complete request "
        "must use the same checksum mode.",
    ),
    err(
        "CompleteMultipartUpload",
        "BadDigest",
        post("/bucket/m", UPLOAD, ALL, x_amz_checksum_crc64nvme=checksum("CRC64NVME", b"x")),
        scene="parts",
    ),
    *(
        err(
            "CompleteMultipartUpload",
            "InvalidRequest",
            post("/bucket/m", UPLOAD, ALL, **{algorithm.header: checksum(name, b"x")}),
            f"{name}, which it has not",
            scene="parts",
        )
        for name, algorithm in checksums.ALGORITHMS.items()
        if name != "CRC64NVME"
    ),
]

OTHERS = [
    ok(
        "AbortMultipartUpload",
        "with a part",
        delete("/bucket/m", UPLOAD),
        204,
        scene="upload",
        after=(
            After(get("/bucket/m", UPLOAD), 404),
            After(delete("/bucket/m", UPLOAD), 404),
        ),
    ),
    err(
        "AbortMultipartUpload",
        "NoSuchUpload",
        delete("/bucket/m", f"uploadId={GONE}"),
        UploadId=GONE,
    ),
    err(
        "AbortMultipartUpload",
        "NoSuchUpload",
        delete("/bucket/other", UPLOAD),
        "of another key",
        scene="upload",
        UploadId="{upload}",
    ),
    ok(
        "ListParts",
        "all",
        get("/bucket/m", "uploadId={m1}"),
        scene="uploads",
        xml={
            "Part/PartNumber": ["1", "2", "5"],
            "UploadId": "{m1}",
            "Owner/ID": "owner-1",
            "Initiator/ID": "owner-1",
            "StorageClass": "STANDARD",
            "IsTruncated": "false",
            "MaxParts": "1000",
        },
    ),
    ok(
        "ListParts",
        "a page",
        get("/bucket/m", "uploadId={m1}&max-parts=1&part-number-marker=1"),
        scene="uploads",
        xml={
            "Part/PartNumber": ["2"],
            "PartNumberMarker": "1",
            "NextPartNumberMarker": "2",
            "IsTruncated": "true",
        },
    ),
    err("ListParts", "NoSuchUpload", get("/bucket/m", f"uploadId={GONE}"), UploadId=GONE),
    err("ListParts", "NoSuchUpload", get("/bucket/m", "uploadId="), "none", UploadId=""),
    *(
        err(
            "ListParts",
            "InvalidArgument",
            get("/bucket/m", f"uploadId={{m1}}&{name}={value}"),
            f"{name}={value}",
            scene="uploads",
            ArgumentName=name,
            ArgumentValue=value,
        )
        for name in ("max-parts", "part-number-marker")
        for value in ("-1", "x", "9999999999")
    ),
]

CASES: list[Case] = [*CREATE, *UPLOAD_PART, *COMPLETE, *OTHERS]

assert len(LARGE) < PART_BYTES_MIN
