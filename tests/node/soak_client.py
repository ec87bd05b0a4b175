"""One client of a soak: what it does, and what it has to be answered.

It has keys and a bucket of its own, where every answer is compared with what it did before; and
writes, reads and removes a few keys that all have, where any whole object that somebody wrote is
right. Nothing is tried twice: what is not answered as it should be ends the soak.
"""

from __future__ import annotations

import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from s3node.base.limits import INLINE_BYTES_MAX, KIB, MIB, PART_BYTES_MIN
from tests.node.process import WAIT_S_MAX, NodeProcess

PLAIN, VERSIONED, SHARED = "soak-plain", "soak-versioned", "soak-shared"
SHARED_KEYS = tuple(f"shared/{number}" for number in range(6))
KEYS_MAX = 12  # of one client in one bucket
VERSIONS_MAX = 30
ORIGIN = "https://viewer.example"
SIZES = (0, 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 60 * KIB, 300 * KIB, 2 * MIB + 1)
BASE = random.Random("soak").randbytes(PART_BYTES_MIN + 3 * MIB)
"""Every content is a piece of it, told by where it begins and how long it is."""


class Piece(NamedTuple):
    start: int
    size: int

    @property
    def data(self) -> bytes:
        return BASE[self.start : self.start + self.size]


class Stored(NamedTuple):
    """What a client has stored under a key."""

    data: bytes
    etag: str
    tags: tuple[tuple[str, str], ...] = ()


class Worker(threading.Thread):
    """One client."""

    def __init__(self, node: NodeProcess, number: int) -> None:
        super().__init__(name=f"soak-{number}", daemon=True)
        self.s3 = node.s3(signature_version="s3v4")
        self.random = random.Random(f"soak {number}")
        self.number = number
        self.prefix = f"client {number:02}/é&+/"
        self.plain: dict[str, Stored] = {}
        self.versions: dict[str, list[tuple[str, Stored | None]]] = {}  # newest first
        self.until = 0.0
        self.whole = False
        self.failed: BaseException | None = None
        self.stop = threading.Event()

    def again(self, node: NodeProcess) -> Worker:
        """The same client, back with new connections, and what it has stored."""
        other = Worker(node, self.number)
        other.plain, other.versions = self.plain, self.versions
        other.random = self.random
        return other

    # --- its life -----------------------------------------------------------------------------

    def run(self) -> None:
        """Every action as often as it is listed, in any order, and again, until the time is over;
        if `whole`, then those that have not had their turn.
        """
        seen: set[Callable[[Worker], None]] = set()
        try:
            while time.monotonic() < self.until:
                for action in self.random.sample(ACTIONS, len(ACTIONS)):
                    if self.stop.is_set() or time.monotonic() > self.until:
                        break
                    action(self)
                    seen.add(action)
            for action in ACTIONS if self.whole else ():
                if action not in seen and not self.stop.is_set():
                    action(self)
                    seen.add(action)
        except BaseException as error:
            self.failed = error

    def piece(self, size: int | None = None) -> bytes:
        size = self.random.choice(SIZES) if size is None else size
        return Piece(self.random.randrange(len(BASE) - size), size).data

    def key(self) -> str:
        """One of its keys in the plain bucket, stored before if it was not."""
        if not self.plain:
            self.put()
        return self.random.choice(sorted(self.plain))

    def name(self) -> str:
        """A key that it may store."""
        return f"{self.prefix}{self.random.randrange(KEYS_MAX)}"

    def expect(self, code: str, call: Callable[..., Any], **arguments: Any) -> None:
        try:
            call(**arguments)
        except ClientError as error:
            assert error.response["Error"]["Code"] == code, error
        else:
            raise AssertionError(f"no {code}")

    # --- objects ------------------------------------------------------------------------------

    def put(self) -> None:
        key, data = self.name(), self.piece()
        tags = {"n": str(self.random.randrange(9))} if self.random.random() < 0.3 else {}
        answer = self.s3.put_object(
            Bucket=PLAIN, Key=key, Body=data, Metadata={"by": self.name_of_me()},
            Tagging="&".join(f"{name}={value}" for name, value in tags.items()),
        )  # fmt: skip
        self.plain[key] = Stored(data, answer["ETag"], tuple(tags.items()))

    def name_of_me(self) -> str:
        return f"client-{self.number}"

    def get(self) -> None:
        key = self.key()
        answer = self.s3.get_object(Bucket=PLAIN, Key=key)
        assert answer["Body"].read() == self.plain[key].data
        assert answer["ETag"] == self.plain[key].etag
        assert answer.get("TagCount", 0) == len(self.plain[key].tags)

    def get_range(self) -> None:
        key = self.key()
        data = self.plain[key].data
        if data:
            start = self.random.randrange(len(data))
            stop = self.random.randrange(start, len(data))
            answer = self.s3.get_object(Bucket=PLAIN, Key=key, Range=f"bytes={start}-{stop}")
            assert answer["Body"].read() == data[start : stop + 1]

    def get_some(self) -> None:
        """And hang up in the middle."""
        key = self.key()
        body = self.s3.get_object(Bucket=PLAIN, Key=key)["Body"]
        assert body.read(1000) == self.plain[key].data[:1000]
        body.close()

    def head(self) -> None:
        key = self.key()
        answer = self.s3.head_object(Bucket=PLAIN, Key=key, ChecksumMode="ENABLED")
        assert answer["ContentLength"] == len(self.plain[key].data)
        assert any(name.startswith("ChecksumCRC") for name in answer)

    def attributes(self) -> None:
        key = self.key()
        wanted = ["ETag", "ObjectSize", "Checksum", "ObjectParts", "StorageClass"]
        told = self.s3.get_object_attributes(Bucket=PLAIN, Key=key, ObjectAttributes=wanted)
        assert told["ObjectSize"] == len(self.plain[key].data)

    def absent(self) -> None:
        self.expect("NoSuchKey", self.s3.get_object, Bucket=PLAIN, Key=f"{self.prefix}absent")

    def conditions(self) -> None:
        key = self.key()
        at = {"Bucket": PLAIN, "Key": key}
        self.expect("PreconditionFailed", self.s3.put_object, **at, IfNoneMatch="*", Body=b"x")
        self.expect("PreconditionFailed", self.s3.get_object, **at, IfMatch='"0"')
        data = self.piece()
        answer = self.s3.put_object(**at, Body=data, IfMatch=self.plain[key].etag)
        self.plain[key] = Stored(data, answer["ETag"])

    def copy(self) -> None:
        source, target = self.key(), self.name()
        if source != target:
            origin = {"Bucket": PLAIN, "Key": source}
            answer = self.s3.copy_object(Bucket=PLAIN, Key=target, CopySource=origin)
            etag = answer["CopyObjectResult"]["ETag"]
            self.plain[target] = self.plain[source]._replace(etag=etag)

    def delete(self) -> None:
        key = self.key()
        self.s3.delete_object(Bucket=PLAIN, Key=key)
        del self.plain[key]

    def delete_many(self) -> None:
        keys = sorted(self.plain)[: self.random.randrange(1, 4)]
        orders = [{"Key": key} for key in (*keys, f"{self.prefix}absent")]
        answer = self.s3.delete_objects(Bucket=PLAIN, Delete={"Objects": orders})
        assert len(answer["Deleted"]) == len(orders)
        for key in keys:
            del self.plain[key]

    def tags(self) -> None:
        key = self.key()
        at = {"Bucket": PLAIN, "Key": key}
        tags = {"Key": "a", "Value": str(self.random.random())}
        self.s3.put_object_tagging(**at, Tagging={"TagSet": [tags]})
        assert self.s3.get_object_tagging(**at)["TagSet"] == [tags]
        self.s3.delete_object_tagging(**at)
        self.plain[key] = self.plain[key]._replace(tags=())

    # --- listings -----------------------------------------------------------------------------

    def listing(self) -> None:
        kind = self.random.choice(("list_objects", "list_objects_v2"))
        pages = self.s3.get_paginator(kind).paginate(
            Bucket=PLAIN, Prefix=self.prefix, PaginationConfig={"PageSize": 5}
        )
        found = [item for page in pages for item in page.get("Contents", ())]
        told = {item["Key"]: (item["ETag"], item["Size"]) for item in found}
        assert told == {key: (one.etag, len(one.data)) for key, one in self.plain.items()}
        assert list(told) == sorted(told, key=str.encode)

    def folders(self) -> None:
        found = self.s3.list_objects_v2(Bucket=PLAIN, Delimiter="/")
        folders = {one["Prefix"] for one in found.get("CommonPrefixes", ())}
        mine = self.prefix.partition("/")[0] + "/"
        assert (mine in folders) == bool(self.plain)

    # --- parts --------------------------------------------------------------------------------

    def parts(self) -> None:
        key = self.name()
        first, last = self.piece(PART_BYTES_MIN), self.piece(self.random.choice((1, 70 * KIB)))
        at = {"Bucket": PLAIN, "Key": key}
        upload = self.s3.create_multipart_upload(**at)["UploadId"]
        given = {**at, "UploadId": upload}
        tags = [
            self.s3.upload_part(**given, PartNumber=number, Body=data)["ETag"]
            for number, data in ((1, first), (2, last))
        ]
        listed = self.s3.list_parts(**given)["Parts"]
        assert [one["Size"] for one in listed] == [len(first), len(last)]
        chosen = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
        answer = self.s3.complete_multipart_upload(**given, MultipartUpload={"Parts": chosen})
        self.plain[key] = Stored(first + last, answer["ETag"])

    def parts_of_a_copy(self) -> None:
        source, key = self.key(), self.name()
        at = {"Bucket": PLAIN, "Key": key}
        upload = self.s3.create_multipart_upload(**at)["UploadId"]
        given = {**at, "UploadId": upload, "PartNumber": 1}
        part = self.s3.upload_part_copy(**given, CopySource={"Bucket": PLAIN, "Key": source})
        listed = self.s3.list_multipart_uploads(Bucket=PLAIN, Prefix=self.prefix)["Uploads"]
        assert upload in [one["UploadId"] for one in listed]
        given.pop("PartNumber")
        if self.random.random() < 0.5:
            self.s3.abort_multipart_upload(**given)
            self.expect("NoSuchUpload", self.s3.list_parts, **given)
            return
        chosen = [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]
        answer = self.s3.complete_multipart_upload(**given, MultipartUpload={"Parts": chosen})
        self.plain[key] = Stored(self.plain[source].data, answer["ETag"])

    # --- versions -----------------------------------------------------------------------------

    def put_version(self) -> None:
        key, data = self.name(), self.piece()
        answer = self.s3.put_object(Bucket=VERSIONED, Key=key, Body=data)
        mine = self.versions.setdefault(key, [])
        mine.insert(0, (answer["VersionId"], Stored(data, answer["ETag"])))
        if sum(map(len, self.versions.values())) > VERSIONS_MAX:
            self.remove_versions()

    def get_version(self) -> None:
        if not any(self.versions.values()):
            self.put_version()
        key = self.random.choice(sorted(key for key, mine in self.versions.items() if mine))
        version, stored = self.random.choice(self.versions[key])
        at = {"Bucket": VERSIONED, "Key": key, "VersionId": version}
        if stored is None:
            self.expect("MethodNotAllowed", self.s3.get_object, **at)
        else:
            assert self.s3.get_object(**at)["Body"].read() == stored.data

    def mark(self) -> None:
        """Delete, so that the version stays; or take the marker away again."""
        key = self.name()
        mine = self.versions.setdefault(key, [])
        at = {"Bucket": VERSIONED, "Key": key}
        if mine and mine[0][1] is None:
            self.expect("NoSuchKey", self.s3.get_object, **at)
            self.s3.delete_object(**at, VersionId=mine.pop(0)[0])
        else:
            answer = self.s3.delete_object(**at)
            assert answer["DeleteMarker"]
            mine.insert(0, (answer["VersionId"], None))

    def restore(self) -> None:
        """The oldest version of a key becomes the newest."""
        for key, mine in self.versions.items():
            if mine and mine[-1][1] is not None:
                version, stored = mine[-1]
                origin = {"Bucket": VERSIONED, "Key": key, "VersionId": version}
                answer = self.s3.copy_object(Bucket=VERSIONED, Key=key, CopySource=origin)
                mine.insert(0, (answer["VersionId"], stored))
                return

    def list_versions(self) -> None:
        pages = self.s3.get_paginator("list_object_versions").paginate(
            Bucket=VERSIONED, Prefix=self.prefix, PaginationConfig={"PageSize": 7}
        )
        told: dict[str, set[tuple[str, bool]]] = {}
        for page in pages:
            for kind in ("Versions", "DeleteMarkers"):
                for one in page.get(kind, ()):
                    found = told.setdefault(one["Key"], set())
                    found.add((one["VersionId"], kind == "DeleteMarkers"))
        wanted = {
            key: {(version, stored is None) for version, stored in mine}
            for key, mine in self.versions.items()
            if mine
        }
        assert told == wanted

    def remove_versions(self) -> None:
        orders = [
            {"Key": key, "VersionId": version}
            for key, mine in self.versions.items()
            for version, _ in mine
        ]
        if orders:
            answer = self.s3.delete_objects(Bucket=VERSIONED, Delete={"Objects": orders})
            assert len(answer["Deleted"]) == len(orders)
        self.versions.clear()

    # --- what all have ------------------------------------------------------------------------

    def share(self) -> None:
        """The first bytes tell the content, so that whoever reads it knows whether it is whole."""
        size = self.random.choice((100, 5000, 200 * KIB))
        piece = Piece(self.random.randrange(len(BASE) - size), size)
        data = f"{piece.start} {piece.size}\n".encode() + piece.data
        self.s3.put_object(Bucket=SHARED, Key=self.random.choice(SHARED_KEYS), Body=data)

    def read_shared(self) -> None:
        key = self.random.choice(SHARED_KEYS)
        try:
            data = self.s3.get_object(Bucket=SHARED, Key=key)["Body"].read()
        except ClientError as error:
            assert error.response["Error"]["Code"] == "NoSuchKey", error
            return
        head, _, body = data.partition(b"\n")
        assert body == Piece(*map(int, head.split())).data

    def copy_shared(self) -> None:
        source, target = self.random.sample(SHARED_KEYS, 2)
        try:
            origin = {"Bucket": SHARED, "Key": source}
            self.s3.copy_object(Bucket=SHARED, Key=target, CopySource=origin)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "NoSuchKey", error

    def delete_shared(self) -> None:
        self.s3.delete_object(Bucket=SHARED, Key=self.random.choice(SHARED_KEYS))

    # --- buckets ------------------------------------------------------------------------------

    def bucket(self) -> None:
        """One of its own, with its settings, from its creation to its end."""
        at = {"Bucket": f"soak-of-{self.number}"}
        self.s3.create_bucket(**at)
        self.s3.put_bucket_versioning(**at, VersioningConfiguration={"Status": "Enabled"})
        tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
        self.s3.put_bucket_tagging(**at, Tagging=tags)
        assert self.s3.get_bucket_tagging(**at)["TagSet"] == tags["TagSet"]
        rule = {"AllowedMethods": ["GET"], "AllowedOrigins": [ORIGIN]}
        self.s3.put_bucket_cors(**at, CORSConfiguration={"CORSRules": [rule]})
        assert self.s3.get_bucket_cors(**at)["CORSRules"] == [rule]
        self.preflight(at["Bucket"])
        version = self.s3.put_object(**at, Key="k", Body=b"x")["VersionId"]
        self.expect("BucketNotEmpty", self.s3.delete_bucket, **at)
        self.s3.delete_object(**at, Key="k", VersionId=version)
        self.s3.delete_bucket_cors(**at)
        self.s3.delete_bucket_tagging(**at)
        self.s3.delete_bucket(**at)
        self.expect("404", self.s3.head_bucket, **at)

    def preflight(self, bucket: str) -> None:
        asked = urllib.request.Request(f"{self.s3.meta.endpoint_url}/{bucket}/k", method="OPTIONS")
        asked.add_header("Origin", ORIGIN)
        asked.add_header("Access-Control-Request-Method", "GET")
        with urllib.request.urlopen(asked, timeout=WAIT_S_MAX) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN

    def questions(self) -> None:
        """Settings that are everywhere the same, or nowhere."""
        at = {"Bucket": PLAIN}
        for ask in (
            self.s3.get_bucket_accelerate_configuration,
            self.s3.get_bucket_logging,
            self.s3.get_bucket_notification_configuration,
            self.s3.get_bucket_ownership_controls,
            self.s3.get_bucket_request_payment,
        ):
            ask(**at)
        for ask, code in (
            (self.s3.get_bucket_encryption, "ServerSideEncryptionConfigurationNotFoundError"),
            (self.s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
            (self.s3.get_bucket_policy, "NoSuchBucketPolicy"),
            (self.s3.get_bucket_policy_status, "NoSuchBucketPolicy"),
            (self.s3.get_bucket_replication, "ReplicationConfigurationNotFoundError"),
            (self.s3.get_bucket_website, "NoSuchWebsiteConfiguration"),
            (self.s3.get_object_lock_configuration, "ObjectLockConfigurationNotFoundError"),
            (self.s3.get_public_access_block, "NoSuchPublicAccessBlockConfiguration"),
        ):
            self.expect(code, ask, **at)

    def look_around(self) -> None:
        at = {"Bucket": PLAIN}
        self.s3.head_bucket(**at)
        assert PLAIN in [one["Name"] for one in self.s3.list_buckets()["Buckets"]]
        self.s3.get_bucket_location(**at)
        self.s3.get_bucket_acl(**at)
        assert self.s3.get_bucket_versioning(Bucket=VERSIONED)["Status"] == "Enabled"
        self.s3.get_object_acl(**at, Key=self.key())

    def form(self) -> None:
        """A browser's upload."""
        key, data = self.name(), self.piece(3000)
        post = self.s3.generate_presigned_post(PLAIN, key, ExpiresIn=600)
        boundary = "soak"
        fields = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in post["fields"].items()
        )
        file = f'--{boundary}\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
        body = (fields + file).encode() + data + f"\r\n--{boundary}--\r\n".encode()
        asked = urllib.request.Request(post["url"], body)
        asked.add_header("Content-Type", f"multipart/form-data; boundary={boundary}")
        with urllib.request.urlopen(asked, timeout=WAIT_S_MAX) as answer:
            self.plain[key] = Stored(data, answer.headers["ETag"])

    def presigned(self) -> None:
        key = self.key()
        url = self.s3.generate_presigned_url("get_object", {"Bucket": PLAIN, "Key": key})
        with urllib.request.urlopen(url, timeout=WAIT_S_MAX) as answer:
            assert answer.read() == self.plain[key].data

    def forged(self) -> None:
        url = self.s3.generate_presigned_url("get_object", {"Bucket": PLAIN, "Key": self.key()})
        try:
            urllib.request.urlopen(url[:-4] + "beef", timeout=WAIT_S_MAX).close()
        except urllib.error.HTTPError as refused:
            assert refused.code == 403
            refused.close()
        else:
            raise AssertionError("a forged signature was taken")


def _often(action: Callable[[Worker], None], times: int) -> Iterable[Callable[[Worker], None]]:
    return (action,) * times


ACTIONS: tuple[Callable[[Worker], None], ...] = (
    *_often(Worker.put, 8), *_often(Worker.get, 10), *_often(Worker.get_range, 4),
    *_often(Worker.head, 4), *_often(Worker.listing, 3), *_often(Worker.copy, 2),
    *_often(Worker.delete, 2), *_often(Worker.tags, 2), *_often(Worker.put_version, 5),
    *_often(Worker.get_version, 4), *_often(Worker.mark, 2), *_often(Worker.list_versions, 2),
    *_often(Worker.share, 3), *_often(Worker.read_shared, 4), *_often(Worker.get_some, 2),
    Worker.absent, Worker.attributes, Worker.bucket, Worker.conditions, Worker.copy_shared,
    Worker.delete_many, Worker.delete_shared, Worker.folders, Worker.forged, Worker.form,
    Worker.look_around, Worker.parts, Worker.parts_of_a_copy, Worker.presigned, Worker.questions,
    Worker.restore,
)  # fmt: skip
"""What a client does, each as often as it is here, in an order of its own."""
