"""Storage classes, website redirects, attributes: what is kept and how it is asked for."""

from __future__ import annotations

from s3node.s3.headers import STORAGE_CLASSES
from tests.conformance.case import After, Ask, Case, err, get, head, ok, post, put

COPY = put("/bucket/new", x_amz_copy_source="bucket/k")
BEGIN = post("/bucket/m", "uploads")
CLASSES = sorted(STORAGE_CLASSES - {"STANDARD"})


def _classes() -> list[Case]:
    found = []
    for name in CLASSES:
        shown = {"x-amz-storage-class": name}
        found += [
            ok(
                operation,
                f"of class {name}",
                ask.plus(x_amz_storage_class=name),
                after=(
                    After(head("/bucket/new"), headers=shown),
                    After(get("/bucket/new"), headers=shown, body=body),
                    After(
                        get("/bucket", "list-type=2&prefix=new"),
                        xml={"Contents/StorageClass": [name]},
                    ),
                    After(
                        get("/bucket", "versions&prefix=new"), xml={"Version/StorageClass": [name]}
                    ),
                ),
            )
            for operation, ask, body in (
                ("PutObject", put("/bucket/new", body=b"x"), b"x"),
                ("CopyObject", COPY, b"12345"),
            )
        ]
        found.append(
            ok(
                "CreateMultipartUpload",
                f"of class {name}",
                BEGIN.plus(x_amz_storage_class=name),
                after=After(get("/bucket", "uploads"), xml={"Upload/StorageClass": [name]}),
            )
        )
    return found


def _redirects() -> list[Case]:
    found: list[Case] = []
    for operation, ask in (
        ("PutObject", put("/bucket/new")),
        ("CopyObject", COPY),
        ("CreateMultipartUpload", BEGIN),
    ):
        place = {"x-amz-website-redirect-location": "/elsewhere"}
        after = (
            () if operation == "CreateMultipartUpload" else After(head("/bucket/new"), 200, place)
        )
        found += [
            ok(
                operation,
                "with a redirect",
                ask.plus(x_amz_website_redirect_location="/elsewhere"),
                after=after,
            ),
            err(
                operation,
                "InvalidRedirectLocation",
                ask.plus(x_amz_website_redirect_location="elsewhere"),
                message="The website redirect location must have a prefix of 'http://' or "
                "'https://' or '/'.",
            ),
            err(
                operation,
                "InvalidRedirectLocation",
                ask.plus(x_amz_website_redirect_location="/" + "x" * 2048),
                "a long one",
                message="The length of website redirect location cannot exceed 2,048 characters.",
            ),
        ]
    return found


IN_PLACE = [
    ok(
        "CopyObject",
        "in place, to another class",
        put("/bucket/k", x_amz_copy_source="bucket/k", x_amz_storage_class="GLACIER_IR"),
        after=After(
            head("/bucket/k"),
            headers={"x-amz-storage-class": "GLACIER_IR", "x-amz-meta-m": "v"},
        ),
    ),
    ok(
        "CopyObject",
        "in place, to another redirect",
        put("/bucket/k", x_amz_copy_source="bucket/k", x_amz_website_redirect_location="/x"),
        after=After(head("/bucket/k"), headers={"x-amz-website-redirect-location": "/x"}),
    ),
]

LISTINGS = [
    case
    for operation, query in (
        ("ListObjects", ""),
        ("ListObjectsV2", "list-type=2"),
        ("ListObjectVersions", "versions"),
    )
    for case in (
        ok(
            operation,
            "with restore status",
            get("/bucket", query, x_amz_optional_object_attributes="RestoreStatus"),
        ),
        err(
            operation,
            "InvalidArgument",
            get("/bucket", query, x_amz_optional_object_attributes="Owner"),
            "an optional attribute that is none",
            ArgumentName="x-amz-optional-object-attributes",
            ArgumentValue="Owner",
        ),
    )
]


def attributes(path: str, names: str = "ETag", query: str = "", **headers: str) -> Ask:
    joined = "&".join(("attributes", query)) if query else "attributes"
    return get(path, joined, x_amz_object_attributes=names, **headers)


NAME = "GetObjectAttributes"
ALL = "ETag,Checksum,ObjectParts,StorageClass,ObjectSize"
PAST, FUTURE = "Sat, 01 Jan 2000 00:00:00 GMT", "Tue, 01 Jan 2030 00:00:00 GMT"

ATTRIBUTES = [
    ok(
        NAME,
        "all",
        attributes("/bucket/k", ALL),
        headers={"last-modified": "*", "content-type": "application/xml"},
        absent=("x-amz-version-id",),
        xml={
            "ETag": "{etag}",
            "Checksum/ChecksumCRC64NVME": "*",
            "Checksum/ChecksumType": "FULL_OBJECT",
            "ObjectParts": None,
            "StorageClass": "STANDARD",
            "ObjectSize": "5",
        },
    ),
    ok(
        NAME,
        "one",
        attributes("/bucket/k", "ObjectSize"),
        xml={"ETag": None, "Checksum": None, "StorageClass": None, "ObjectSize": "5"},
    ),
    ok(
        NAME,
        "of an object made of parts",
        attributes("/bucket/m", "ObjectParts,ObjectSize"),
        xml={
            "ObjectParts/PartsCount": "2",
            "ObjectParts/Part/PartNumber": ["1", "2"],
            "ObjectParts/Part/Size": [str(5 << 20), "3"],
            "ObjectParts/IsTruncated": "false",
            "ObjectParts/MaxParts": "1000",
            "ObjectParts/PartNumberMarker": "0",
            "ObjectParts/NextPartNumberMarker": "2",
            "ObjectSize": str((5 << 20) + 3),
        },
        scene="made of parts",
    ),
    ok(
        NAME,
        "parts in pages",
        attributes("/bucket/m", "ObjectParts", x_amz_max_parts="1"),
        xml={
            "ObjectParts/PartsCount": "2",
            "ObjectParts/Part/PartNumber": ["1"],
            "ObjectParts/IsTruncated": "true",
            "ObjectParts/NextPartNumberMarker": "1",
        },
        scene="made of parts",
    ),
    ok(
        NAME,
        "the parts behind a marker",
        attributes("/bucket/m", "ObjectParts", x_amz_part_number_marker="1"),
        xml={"ObjectParts/Part/PartNumber": ["2"], "ObjectParts/IsTruncated": "false"},
        scene="made of parts",
    ),
    ok(
        NAME,
        "of a version",
        attributes("/bucket/k", "ETag,ObjectSize", "versionId={v1}"),
        headers={"x-amz-version-id": "{v1}"},
        xml={"ETag": "{v1_etag}", "ObjectSize": "3"},
        scene="versions",
    ),
    ok(
        NAME,
        "of the current version",
        attributes("/bucket/k"),
        headers={"x-amz-version-id": "{v2}"},
        xml={"ETag": "{v2_etag}"},
        scene="versions",
    ),
    *(
        ok(NAME, f"where {name} holds", attributes("/bucket/k", **{name: value}))
        for name, value in (
            ("if_match", '"{etag}"'),
            ("if_none_match", '"other"'),
            ("if_modified_since", PAST),
            ("if_unmodified_since", FUTURE),
        )
    ),
    *(
        ok(
            NAME,
            f"not modified, by {name}",
            attributes("/bucket/k", **{name: value}),
            304,
            body=b"",
        )
        for name, value in (("if_none_match", '"{etag}"'), ("if_modified_since", FUTURE))
    ),
    *(
        err(
            NAME,
            "PreconditionFailed",
            attributes("/bucket/k", **{name.lower().replace("-", "_"): value}),
            name,
            Condition=name,
        )
        for name, value in (("If-Match", '"other"'), ("If-Unmodified-Since", PAST))
    ),
    err(NAME, "NoSuchKey", attributes("/bucket/none"), Key="none"),
    err(
        NAME,
        "NoSuchVersion",
        attributes("/bucket/k", query=f"versionId={'0' * 32}"),
        Key="k",
        VersionId="0" * 32,
    ),
    err(
        NAME,
        "NoSuchKey",
        attributes("/bucket/gone"),
        "behind a delete marker",
        scene="versions",
        headers={"x-amz-delete-marker": "true", "x-amz-version-id": "{marker}"},
        Key="gone",
    ),
    err(
        NAME,
        "MethodNotAllowed",
        attributes("/bucket/gone", query="versionId={marker}"),
        "a delete marker",
        scene="versions",
        headers={"x-amz-delete-marker": "true", "last-modified": "*"},
        Method="GET",
        ResourceType="DeleteMarker",
    ),
    err(
        NAME,
        "InvalidRequest",
        get("/bucket/k", "attributes"),
        "no attributes",
        message="The x-amz-object-attributes header specifying the attributes to be retrieved is "
        "either missing or empty",
    ),
    err(
        NAME,
        "InvalidArgument",
        attributes("/bucket/k", "ETag,Size"),
        "an attribute that is none",
        message="Invalid attribute name specified.",
        ArgumentName="x-amz-object-attributes",
        ArgumentValue="Size",
    ),
    *(
        err(
            NAME,
            "InvalidArgument",
            attributes("/bucket/k", **{name.replace("-", "_"): "-1"}),
            name,
            ArgumentName=name,
            ArgumentValue="-1",
        )
        for name in ("x-amz-max-parts", "x-amz-part-number-marker")
    ),
]

CASES: list[Case] = [*_classes(), *_redirects(), *IN_PLACE, *LISTINGS, *ATTRIBUTES]
