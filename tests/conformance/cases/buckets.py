"""Buckets: create, head, delete, list, where they are, and what is said of their settings."""

from __future__ import annotations

from tests.conformance.case import After, Case, delete, err, get, head, ok, put


def constraint(region: str) -> bytes:
    return (
        '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
    ).encode()


CREATE = [
    ok(
        "CreateBucket",
        "a new one",
        put("/fresh"),
        headers={"location": "/fresh"},
        after=After(head("/fresh"), headers={"x-amz-bucket-region": "eu-west-1"}),
    ),
    ok(
        "CreateBucket",
        "in the region of the node",
        put("/fresh", body=constraint("eu-west-1")),
        after=After(get("/fresh", "location"), xml={".": "eu-west-1"}),
    ),
    ok("CreateBucket", "with a harmless acl", put("/fresh", x_amz_acl="private")),
    ok(
        "CreateBucket",
        "with what is so anyway",
        put(
            "/fresh",
            x_amz_object_ownership="BucketOwnerEnforced",
            x_amz_bucket_object_lock_enabled="false",
            x_amz_bucket_namespace="global",
        ),
    ),
    err(
        "CreateBucket",
        "BucketAlreadyOwnedByYou",
        put("/bucket", body=constraint("eu-west-1")),
        BucketName="bucket",
    ),
    err(
        "CreateBucket",
        "BucketAlreadyExists",
        put("/theirs"),
        scene="foreign",
        BucketName="theirs",
    ),
    err(
        "CreateBucket",
        "IllegalLocationConstraintException",
        put("/fresh", body=constraint("mars-1")),
        message="The mars-1 location constraint is incompatible for the region specific endpoint "
        "this request was sent to.",
    ),
    err("CreateBucket", "MalformedXML", put("/fresh", body=b"<CreateBucketConfiguration>"), "cut"),
    err("CreateBucket", "MalformedXML", put("/fresh", body=b"<x/>"), "something else"),
    err(
        "CreateBucket",
        "MalformedXML",
        put("/fresh", body=b"<CreateBucketConfiguration><Locaton/></CreateBucketConfiguration>"),
        "a typo",
    ),
    *(
        err("CreateBucket", "InvalidBucketName", put(f"/{name}"), name, BucketName=name)
        for name in (
            "ab",
            "a" * 64,
            "Upper",
            "under_score",
            "-first",
            "last-",
            "two..dots",
            "192.168.0.1",
            "xn--name",
            "sthree-name",
            "name-s3alias",
            "name--ol-s3",
        )
    ),
]

OTHERS = [
    ok("HeadBucket", "there", head("/bucket"), headers={"x-amz-bucket-region": "eu-west-1"}),
    err("HeadBucket", "NoSuchBucket", head("/none"), "by another name"),
    ok("GetBucketLocation", "there", get("/bucket", "location"), xml={".": "eu-west-1"}),
    ok(
        "DeleteBucket",
        "empty",
        delete("/bucket"),
        204,
        scene="bucket",
        after=After(head("/bucket"), 404),
    ),
    ok(
        "DeleteBucket",
        "with nothing but uploads",
        delete("/bucket"),
        204,
        scene="uploads",
        after=After(head("/bucket"), 404),
    ),
    err("DeleteBucket", "BucketNotEmpty", delete("/bucket"), BucketName="bucket"),
    ok(
        "ListBuckets",
        "all",
        get("/"),
        xml={"Buckets/Bucket/Name": ["bucket"], "Owner/ID": "owner-1", "ContinuationToken": None},
    ),
    ok("ListBuckets", "none", get("/"), scene="empty", xml={"Buckets/Bucket": []}),
    ok(
        "ListBuckets",
        "not those of others",
        get("/"),
        scene="foreign",
        xml={"Buckets/Bucket/Name": ["bucket"]},
    ),
    ok(
        "ListBuckets",
        "by prefix and region",
        get("/", "prefix=bu&bucket-region=eu-west-1"),
        xml={"Buckets/Bucket/BucketRegion": ["eu-west-1"], "Prefix": "bu"},
    ),
    ok(
        "ListBuckets",
        "of another region",
        get("/", "bucket-region=us-east-1"),
        xml={"Buckets/Bucket": []},
    ),
    ok("ListBuckets", "a page", get("/", "max-buckets=1"), xml={"ContinuationToken": None}),
    *(
        err(
            "ListBuckets",
            "InvalidArgument",
            get("/", f"max-buckets={value}"),
            f"max-buckets={value}",
            ArgumentName="max-buckets",
            ArgumentValue=value,
        )
        for value in ("0", "-1", "x", "99999999999")
    ),
    err(
        "ListBuckets",
        "InvalidArgument",
        get("/", "continuation-token=forged"),
        "a forged token",
        message="The continuation token provided is incorrect",
        ArgumentName="continuation-token",
        ArgumentValue="forged",
    ),
]

PROBES = [
    ok(
        "GetBucketVersioning",
        "never enabled",
        get("/bucket", "versioning"),
        xml={"Status": None, "MfaDelete": None},
    ),
    ok(
        "GetBucketAcl",
        "the owner's",
        get("/bucket", "acl"),
        xml={
            "Owner/ID": "owner-1",
            "AccessControlList/Grant/Permission": ["FULL_CONTROL"],
            "AccessControlList/Grant/Grantee/ID": ["owner-1"],
        },
    ),
    ok(
        "GetBucketOwnershipControls",
        "no ACLs",
        get("/bucket", "ownershipControls"),
        xml={"Rule/ObjectOwnership": ["BucketOwnerEnforced"]},
    ),
    ok(
        "GetBucketRequestPayment",
        "the owner pays",
        get("/bucket", "requestPayment"),
        xml={"Payer": "BucketOwner"},
    ),
    *(
        ok(operation, "off", get("/bucket", subresource), xml={off: None})
        for operation, subresource, off in (
            ("GetBucketAccelerateConfiguration", "accelerate", "Status"),
            ("GetBucketLogging", "logging", "LoggingEnabled"),
            ("GetBucketNotificationConfiguration", "notification", "TopicConfiguration"),
        )
    ),
    *(
        err(operation, code, get("/bucket", subresource), BucketName="bucket")
        for operation, subresource, code in (
            (
                "GetBucketEncryption",
                "encryption",
                "ServerSideEncryptionConfigurationNotFoundError",
            ),
            ("GetBucketLifecycleConfiguration", "lifecycle", "NoSuchLifecycleConfiguration"),
            ("GetBucketPolicy", "policy", "NoSuchBucketPolicy"),
            ("GetBucketPolicyStatus", "policyStatus", "NoSuchBucketPolicy"),
            ("GetBucketReplication", "replication", "ReplicationConfigurationNotFoundError"),
            ("GetBucketTagging", "tagging", "NoSuchTagSet"),
            ("GetBucketWebsite", "website", "NoSuchWebsiteConfiguration"),
            ("GetObjectLockConfiguration", "object-lock", "ObjectLockConfigurationNotFoundError"),
            ("GetPublicAccessBlock", "publicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
        )
    ),
]

CASES: list[Case] = [*CREATE, *OTHERS, *PROBES]
