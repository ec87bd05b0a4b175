"""What is there before a case: worlds with names for what clients cannot know beforehand.

A scene is built once; each case gets a copy of its own (`fork`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from sortedcontainers import SortedDict

from s3node.base.limits import PART_BYTES_MIN
from s3node.meta import tables
from s3node.meta.memory import MemoryKv
from s3node.meta.schema import CORS
from s3node.model.rows import ConfigurationRow
from s3node.s3 import cors, tagging
from s3node.s3.cors import Rule
from tests.ops.world import Answer, World, make_world

REGION = "eu-west-1"
PLAIN = b"12345"
LARGE = bytes(range(256)) * 64  # more than a row takes


class Scene(NamedTuple):
    world: World
    names: Mapping[str, str]


def _empty(_world: World) -> dict[str, str]:
    return {}


def _bucket(world: World) -> dict[str, str]:
    world.bucket()
    return {}


def _foreign(world: World) -> dict[str, str]:
    """The same as `objects`, and `theirs`, which is somebody else's."""
    names = _objects(world)
    world.bucket("theirs")
    world.put("/theirs/k", b"1")
    disown(world, "theirs")
    return names


def disown(world: World, name: str) -> None:
    """The bucket becomes somebody else's."""

    def give(tx: Any) -> None:
        row = tables.get_bucket(tx, name)
        assert row is not None
        tables.put_bucket(tx, name, type(row)(row.bucket_id, row.created_ms, "owner-2", row.region))

    _write(world, give)


def _write(world: World, fn: Callable[[Any], None]) -> None:
    import asyncio

    asyncio.run(world.kv.write(fn))


def _objects(world: World) -> dict[str, str]:
    """`bucket` with k, large, empty, a/1, a/2, b."""
    world.bucket()
    made = world.put(
        "/bucket/k",
        PLAIN,
        content_type="text/plain",
        cache_control="no-cache",
        x_amz_meta_m="v",
    )
    large = world.put("/bucket/large", LARGE)
    world.put("/bucket/empty")
    for key in ("a/1", "a/2", "b"):
        world.put(f"/bucket/{key}", key.encode())
    return {"etag": made.etag, "large": large.etag}


def _tagged(world: World) -> dict[str, str]:
    """As `objects`; k and the bucket have tags."""
    names = _objects(world)
    body = tagging.document((("b", "2"), ("a", "é /")))
    for path in ("/bucket", "/bucket/k"):
        assert world.ask("PUT", path, "tagging", body).status in {200, 204}
    return names


def _upload(world: World) -> dict[str, str]:
    """`objects`, and an upload of m with part 1 (LARGE)."""
    names = _objects(world)
    upload = _begin(world, "/bucket/m", content_type="a/b", x_amz_meta_m="v")
    part = world.ask("PUT", "/bucket/m", f"partNumber=1&uploadId={upload}", LARGE)
    return {**names, "upload": upload, "part": part.etag}


def _begin(world: World, path: str, **headers: str) -> str:
    made = world.ask("POST", path, "uploads", **headers)
    return made.text("UploadId") or ""


def _uploads(world: World) -> dict[str, str]:
    """`bucket` with uploads of a/1, a/2 and, twice, m; the first of m has three small parts."""
    world.bucket()
    names = {}
    for name, key in (("a1", "a/1"), ("a2", "a/2"), ("m1", "m"), ("m2", "m")):
        names[name] = _begin(world, f"/bucket/{key}")
        world.clock.ms += 1000
    for number in (1, 2, 5):
        world.ask("PUT", "/bucket/m", f"partNumber={number}&uploadId={names['m1']}", b"12345")
    return names


def _parts(world: World, **headers: str) -> dict[str, str]:
    """`bucket` with an upload of m: parts 1 (of the least size), 2 (small), 3 (small)."""
    world.bucket()
    upload = _begin(world, "/bucket/m", **headers)
    names = {"upload": upload}
    given = headers.get("x_amz_checksum_algorithm", "")
    for number, body in ((1, bytes(PART_BYTES_MIN)), (2, b"two"), (3, b"three")):
        extra = {f"x_amz_checksum_{given.lower()}": _checksum(given, body)} if given else {}
        answer = world.ask(
            "PUT", "/bucket/m", f"partNumber={number}&uploadId={upload}", body, **extra
        )
        assert answer.status == 200, answer.body
        names[f"part{number}"] = answer.etag
        if given:
            names[f"sum{number}"] = extra[f"x_amz_checksum_{given.lower()}"]
    return names


def _checksum(algorithm: str, body: bytes) -> str:
    from s3node.s3 import checksums

    hasher = checksums.ALGORITHMS[algorithm].new()
    hasher.update(body)
    return checksums.Checksum(algorithm, hasher.digest()).text


def _overwriting(world: World) -> dict[str, str]:
    """As `parts`, where m is there already."""
    names = _parts(world)
    world.put("/bucket/m", PLAIN)
    return names


def _composite(world: World) -> dict[str, str]:
    """As `parts`, with SHA-256 of each."""
    return _parts(world, x_amz_checksum_algorithm="SHA256")


def _made_of_parts(world: World) -> dict[str, str]:
    """As `parts`, completed: m has two parts."""
    names = _parts(world)
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{names[f'part{number}']}</ETag></Part>"
        for number in (1, 2)
    )
    body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
    done: Answer = world.ask("POST", "/bucket/m", f"uploadId={names['upload']}", body)
    assert done.status == 200, done.body
    names["etag"] = (done.text("ETag") or "").strip('"')
    return names


def _versions(world: World) -> dict[str, str]:
    """`bucket` with versioning. k: the null version (PLAIN) below v1 and v2 (LARGE); gone: g1 and
    a delete marker (marker) above it; suspended: nothing."""
    names = {"null": _put_plain(world)}
    _configure(world, "bucket", "Enabled")
    for name, path, body in (("v1", "k", b"one"), ("v2", "k", LARGE), ("g1", "gone", b"g")):
        world.clock.ms += 1000
        made = world.put(f"/bucket/{path}", body)
        names |= {name: made.headers["x-amz-version-id"], f"{name}_etag": made.etag}
    world.clock.ms += 1000
    gone = world.ask("DELETE", "/bucket/gone")
    names["marker"] = gone.headers["x-amz-version-id"]
    return names


def _put_plain(world: World) -> str:
    world.bucket()
    return world.put("/bucket/k", PLAIN).etag


def _configure(world: World, bucket: str, status: str) -> None:
    body = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>"
    assert world.ask("PUT", f"/{bucket}", "versioning", body.encode()).status == 200


def _suspended(world: World) -> dict[str, str]:
    """As `versions`, and versioning is suspended."""
    names = _versions(world)
    _configure(world, "bucket", "Suspended")
    return names


def _cors(world: World) -> dict[str, str]:
    """The same as `objects`, with a CORS rule."""
    names = _objects(world)
    rule = Rule(
        headers=("x-*",),
        methods=("PUT", "GET"),
        origins=("https://*.example", "http://test.com:80"),
        exposed=("ETag",),
        identity="one",
        max_age_s=3000,
    )
    row = ConfigurationRow(cors.render([rule]), world.clock.ms, "AKROOT")

    def put(tx: Any) -> None:
        bucket = tables.get_bucket(tx, "bucket")
        assert bucket is not None
        tables.put_configuration(tx, bucket.bucket_id, CORS, row)

    _write(world, put)
    return names


SCENES: dict[str, Callable[[World], dict[str, str]]] = {
    "empty": _empty,
    "bucket": _bucket,
    "objects": _objects,
    "foreign": _foreign,
    "tagged": _tagged,
    "upload": _upload,
    "uploads": _uploads,
    "parts": _parts,
    "overwriting": _overwriting,
    "composite": _composite,
    "made of parts": _made_of_parts,
    "versions": _versions,
    "suspended": _suspended,
    "cors": _cors,
}


@cache
def _built(name: str, region: str) -> Scene:
    world = make_world(region)
    return Scene(world, SCENES[name](world))


def fork(name: str, region: str = REGION) -> Scene:
    """A copy of a scene, for one case to change."""
    built, names = _built(name, region)
    kv = MemoryKv()
    kv._rows = SortedDict(built.kv._rows)
    world = make_world(region, seed=2, kv=kv)
    world.objects.bytes = dict(built.objects.bytes)
    world.objects._count = itertools.count(1 + len(built.objects.bytes))
    world.clock.ms = built.clock.ms + 60_000
    return Scene(world, names)
