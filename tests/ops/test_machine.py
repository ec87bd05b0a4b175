"""A state machine: random operations on the node and on a small S3 of plain dictionaries.

After every step the node lists, reads and accounts for exactly what the model holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from s3node.base.limits import INLINE_BYTES_MAX
from s3node.meta import subtree, tables
from s3node.meta.schema import HEAD_BYTES
from s3node.model import conditions, multipart, versions
from s3node.ops import lookup
from tests.ops.test_multipart import listing
from tests.ops.test_objects import delete_body, md5_of
from tests.ops.world import Answer, World, make_world

BUCKETS = st.sampled_from(["alpha", "beta"])
KEYS = st.sampled_from(["a", "a/b", "é/ü +%", "z" * 600, "z" * 601])
SIZES = st.sampled_from([0, 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 20_000])
PART_BYTES_MIN = 50_000  # here: what large parts cost would be hashing
FILL = b"\0" * PART_BYTES_MIN


def content(seed: int, size: int) -> bytes:
    return (hashlib.sha256(seed.to_bytes(4, "big")).digest() * (size // 32 + 1))[:size]


@dataclass
class ModelObject:
    body: bytes
    metadata: str
    etag: str


@dataclass
class ModelUpload:
    bucket: str
    key: str
    metadata: str
    parts: dict[int, tuple[str, bytes]] = field(default_factory=dict)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipart, "PART_BYTES_MIN", PART_BYTES_MIN)


class Machine(RuleBasedStateMachine):
    uploads = Bundle("uploads")

    def __init__(self) -> None:
        super().__init__()
        self.world: World = make_world()
        self.buckets: dict[str, dict[str, ModelObject]] = {}
        self.open: dict[str, ModelUpload] = {}
        self.seed = 0

    def ask(self, *args: Any, **headers: Any) -> Answer:
        self.world.clock.ms += self.seed % 3 - 1  # the wall clock may go back
        answer = self.world.ask(*args, **headers)
        assert answer.status < 500, answer
        return answer

    def fresh(self, size: int) -> bytes:
        self.seed += 1
        return content(self.seed, size)

    @initialize()
    def begin(self) -> None:
        self.world.bucket("alpha")
        self.buckets["alpha"] = {}

    @rule(bucket=BUCKETS)
    def create_bucket(self, bucket: str) -> None:
        answer = self.ask("PUT", f"/{bucket}")
        assert answer.code == ("BucketAlreadyOwnedByYou" if bucket in self.buckets else None)
        self.buckets.setdefault(bucket, {})

    @rule(bucket=BUCKETS)
    def delete_bucket(self, bucket: str) -> None:
        answer = self.ask("DELETE", f"/{bucket}")
        if bucket not in self.buckets:
            assert answer.code == "NoSuchBucket"
        elif self.buckets[bucket]:
            assert answer.code == "BucketNotEmpty"
        else:
            assert answer.status == 204
            del self.buckets[bucket]
            self.open = {k: v for k, v in self.open.items() if v.bucket != bucket}

    @rule(bucket=BUCKETS, key=KEYS, size=SIZES, absent=st.booleans())
    def put(self, bucket: str, key: str, size: int, absent: bool) -> None:
        body = self.fresh(size)
        headers = {"if_none_match": "*"} if absent else {}
        answer = self.ask(
            "PUT", f"/{bucket}/{key}", "", body, x_amz_meta_m=str(self.seed), **headers
        )
        if bucket not in self.buckets:
            assert answer.code == "NoSuchBucket"
        elif absent and key in self.buckets[bucket]:
            assert answer.code == "PreconditionFailed"
        else:
            etag = hashlib.md5(body).hexdigest()
            assert answer.etag == etag
            self.buckets[bucket][key] = ModelObject(body, str(self.seed), etag)

    @rule(bucket=BUCKETS, key=KEYS)
    def delete(self, bucket: str, key: str) -> None:
        answer = self.ask("DELETE", f"/{bucket}/{key}")
        assert answer.status == (204 if bucket in self.buckets else 404)
        self.buckets.get(bucket, {}).pop(key, None)

    @rule(bucket=BUCKETS, keys=st.sets(KEYS, min_size=1))
    def delete_many(self, bucket: str, keys: set[str]) -> None:
        body = delete_body(*sorted(keys))
        answer = self.ask("POST", f"/{bucket}", "delete", body, content_md5=md5_of(body))
        assert answer.status == (200 if bucket in self.buckets else 404)
        for key in keys:
            self.buckets.get(bucket, {}).pop(key, None)

    @rule(source=BUCKETS, key=KEYS, into=BUCKETS, to=KEYS, replace=st.booleans())
    def copy(self, source: str, key: str, into: str, to: str, replace: bool) -> None:
        self.seed += 1
        headers = {"x_amz_metadata_directive": "REPLACE"} if replace else {}
        answer = self.ask(
            "PUT",
            f"/{into}/{to}",
            x_amz_copy_source=quote(f"{source}/{key}"),
            x_amz_meta_m=str(self.seed),
            **headers,
        )
        found = self.buckets.get(source, {}).get(key)
        if into not in self.buckets or source not in self.buckets:
            assert answer.code == "NoSuchBucket"
        elif found is None:
            assert answer.code == "NoSuchKey"
        elif (source, key) == (into, to) and not replace:
            assert answer.code == "InvalidRequest"
        else:
            metadata = str(self.seed) if replace else found.metadata
            etag = hashlib.md5(found.body).hexdigest()
            assert answer.text("ETag") == f'"{etag}"'
            self.buckets[into][to] = ModelObject(found.body, metadata, etag)

    @rule(target=uploads, bucket=BUCKETS, key=KEYS)
    def start_upload(self, bucket: str, key: str) -> str:
        self.seed += 1
        answer = self.ask("POST", f"/{bucket}/{key}", "uploads", x_amz_meta_m=str(self.seed))
        if bucket not in self.buckets:
            assert answer.code == "NoSuchBucket"
            return f"{bucket}/{key}?{'0' * 32}"
        upload = answer.text("UploadId") or ""
        self.open[upload] = ModelUpload(bucket, key, str(self.seed))
        return f"{bucket}/{key}?{upload}"

    @rule(upload=uploads, number=st.integers(1, 3), big=st.booleans())
    def upload_part(self, upload: str, number: int, big: bool) -> None:
        path, _, identity = upload.rpartition("?")
        body = self.fresh(40) + (FILL if big else b"")
        answer = self.ask("PUT", f"/{path}", f"partNumber={number}&uploadId={identity}", body)
        if identity in self.open:
            self.open[identity].parts[number] = (answer.etag, body)
        else:
            assert answer.code in {"NoSuchUpload", "NoSuchBucket"}

    @rule(upload=uploads, numbers=st.sets(st.integers(1, 3), min_size=1))
    def complete(self, upload: str, numbers: set[int]) -> None:
        path, _, identity = upload.rpartition("?")
        held = self.open.get(identity)
        parts = held.parts if held else {}
        chosen = {n: parts.get(n, ("0" * 32, b"")) for n in sorted(numbers)}
        body = listing(*((n, etag) for n, (etag, _) in chosen.items()))
        answer = self.ask("POST", f"/{path}", f"uploadId={identity}", body)
        if held is None:
            assert answer.code in {"NoSuchUpload", "NoSuchBucket"}
        elif not numbers <= parts.keys():
            assert answer.code == "InvalidPart"
        elif any(len(data) < PART_BYTES_MIN for _, data in list(chosen.values())[:-1]):
            assert answer.code == "EntityTooSmall"
        else:
            whole = b"".join(data for _, data in chosen.values())
            digests = b"".join(bytes.fromhex(etag) for etag, _ in chosen.values())
            etag = f"{hashlib.md5(digests).hexdigest()}-{len(chosen)}"
            assert answer.text("ETag") == f'"{etag}"'
            self.buckets[held.bucket][held.key] = ModelObject(whole, held.metadata, etag)
            del self.open[identity]
            again = self.ask("POST", f"/{path}", f"uploadId={identity}", body)
            assert again.body == answer.body

    @rule(upload=uploads, first=st.integers(1, 2))
    def upload_and_complete(self, upload: str, first: int) -> None:
        """All it takes: the way to a large object by chance alone is long."""
        for number in range(first, 4):
            self.upload_part(upload, number, big=number < 3)
        self.complete(upload, set(range(first, 4)))

    @rule(upload=consumes(uploads))
    def abort(self, upload: str) -> None:
        path, _, identity = upload.rpartition("?")
        answer = self.ask("DELETE", f"/{path}", f"uploadId={identity}")
        if self.open.pop(identity, None) is not None:
            assert answer.status == 204
        else:
            assert answer.code in {"NoSuchUpload", "NoSuchBucket"}

    @rule(bucket=BUCKETS, key=KEYS, start=st.integers(0, 30_000), count=st.integers(1, 9000))
    def read(self, bucket: str, key: str, start: int, count: int) -> None:
        answer = self.ask("GET", f"/{bucket}/{key}", range=f"bytes={start}-{start + count - 1}")
        found = self.buckets.get(bucket, {}).get(key)
        if found is None:
            assert answer.status == 404
        elif start >= len(found.body):
            assert answer.code == "InvalidRange"
        else:
            assert answer.status == 206 and answer.body == found.body[start : start + count]

    @invariant()
    def the_node_holds_what_the_model_holds(self) -> None:
        assert self.world.get("/").texts("Buckets/Bucket/Name") == sorted(self.buckets)
        for bucket, objects in self.buckets.items():
            listed = self.world.get(f"/{bucket}", "list-type=2&encoding-type=url")
            keys = sorted(objects, key=str.encode)
            assert [unquote(key) for key in listed.texts("Contents/Key")] == keys
            assert listed.texts("Contents/ETag") == [f'"{objects[k].etag}"' for k in keys]
            sizes = [str(len(objects[k].body)) for k in keys]
            assert listed.texts("Contents/Size") == sizes
            uploads = self.world.get(f"/{bucket}", "uploads")
            held = {u for u, upload in self.open.items() if upload.bucket == bucket}
            assert set(uploads.texts("Upload/UploadId")) == held
        self.world.check_ledger()

    def teardown(self) -> None:
        for bucket, objects in self.buckets.items():
            for key, expected in objects.items():
                got = self.world.get(f"/{bucket}/{key}")
                assert (got.body, got.etag) == (expected.body, expected.etag)
                assert got.headers["x-amz-meta-m"] == expected.metadata


def _twice(upload: Any, parts: Any, listed: Any) -> Any:
    chosen = SELECT(upload, parts, listed)
    return [chosen[0], *chosen[:-1]] if len(chosen) > 1 else chosen


SELECT = multipart.select
RELAXED = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


def test_machine() -> None:
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=30, stateful_step_count=30, **RELAXED)
    )


_scan = subtree.scan_as


def _up_to_a_long_key(*where: Any) -> Iterator[tuple[bytes, bytes, Any]]:
    for found in _scan(*where):
        yield found
        if len(found[0]) > HEAD_BYTES:
            return


BUGS = {
    "a removal without a death row": (lookup, "put_deaths", lambda *args: None),
    "usage that is not counted": (tables, "add_usage", lambda *args: None),
    "an etag without its count": (multipart, "etag_of", lambda etags: "0" * 32),
    "a listing that loses what follows a long key": (
        subtree,
        "scan_as",
        _up_to_a_long_key,
    ),
    "a condition that always holds": (conditions, "check_write", lambda *args: None),
    "a part that counts twice": (multipart, "select", _twice),
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_machine_finds_a_planted_bug(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, name, instead = BUGS[bug]
    monkeypatch.setattr(where, name, instead)
    if where is conditions:
        monkeypatch.setattr(versions, name, instead)
    with pytest.raises(Exception):  # noqa: B017
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=200,
                stateful_step_count=30,
                phases=[Phase.generate],
                database=None,
                **RELAXED,
            ),
        )


@pytest.mark.deep
def test_machine_for_long() -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=1500, stateful_step_count=50, **RELAXED | {"derandomize": False}
        ),
    )
