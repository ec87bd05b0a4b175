"""inspect shows what is there, also where something is damaged: it says so and goes on."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s3node.base.errors import ConfigError
from s3node.base.filesystem import RealFileSystem
from s3node.meta.frame import LAYOUT
from s3node.services.inspect import INSPECTORS
from s3node.store.limits import SECTOR
from s3node.store.record import HEADER_BYTES
from tests.node.content import BUCKET, content
from tests.services.stopped import DISKS, Small

pytestmark = pytest.mark.xdist_group("kinds")

SLOT = 2
FLIPS = 25


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return Small(tmp_path_factory.mktemp("inspect"))


@pytest.fixture
def it(small: Small) -> Iterator[Small]:
    yield small
    small.restore()


def look(it: Small, kind: str, *words: object) -> Any:
    """What an inspector tells, having been through JSON."""
    told = INSPECTORS[kind](it.site, RealFileSystem(), [str(word) for word in words])
    assert json.loads(json.dumps(told)) == told
    return told


def segment_of(it: Small) -> Path:
    return next((it.node.disk_path(SLOT) / "segments").iterdir())


def log_of(it: Small) -> Path:
    """The one with the last batch in it."""
    return max((it.node.disk_path(SLOT) / "journal").glob("*.log"))


def change(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_a_disk(it: Small) -> None:
    told = look(it, "disk", it.node.disk_path(SLOT))
    assert told["identity"]["slot"] == SLOT
    assert told["identity"]["created"].startswith("20")
    assert told["epoch"]["slot 0"]["state"] == told["epoch"]["slot 1"]["state"] == "ok"
    kinds = ("segments", "journal", "checkpoints")
    assert all(one["state"] == "ok" for kind in kinds for one in told[kind] if "state" in one)
    assert all(told[kind] for kind in kinds)


@pytest.mark.parametrize("pattern", ["identity", "epoch", "journal/*", "checkpoints/*.manifest"])
def test_a_damaged_disk(it: Small, pattern: str) -> None:
    for path in it.node.disk_path(SLOT).glob(pattern):
        if path.stat().st_size == 0:
            continue  # a log that was begun and not used
        change(path, 20)
        assert "damaged" in json.dumps(look(it, "disk", it.node.disk_path(SLOT)))
        change(path, 20)


def test_a_segment_and_its_record(it: Small) -> None:
    path = segment_of(it)
    told = look(it, "segment", path)
    assert (told["state"], told["header"]["state"]) == ("sealed", "ok")
    (item,) = [one for one in told["items"] if "record" in one]
    record = look(it, "record", path, item["offset"])
    assert record["data_id"] == item["record"]["data_id"]
    assert record["header_state"] == record["digests_state"] == record["hint_state"] == "ok"
    assert [block["state"] for block in record["blocks"]] == ["ok"]
    assert record["end"] == item["end"]


def test_a_damaged_segment_and_record(it: Small) -> None:
    path = segment_of(it)
    chance = random.Random(1)
    size = path.stat().st_size
    for place in [8, *chance.sample(range(size), FLIPS)]:
        change(path, place)
        assert "damaged" in json.dumps(look(it, "segment", path)), place
        record = look(it, "record", path, SECTOR)
        end = record.get("end", SECTOR + HEADER_BYTES)
        if SECTOR <= place < end - end % 8 - 8:  # padding has no digest of its own
            assert "damaged" in json.dumps(record), place
        if SECTOR <= place < SECTOR + HEADER_BYTES:
            assert "data_id" in record["unverified"]
        change(path, place)


def test_a_log_and_its_frames(it: Small) -> None:
    path = log_of(it)
    told = look(it, "frame", path)
    assert all(one["state"] == "ok" and one["kind"] == "batch" for one in told["frames"])
    entries = look(it, "frame", path, told["frames"][0]["offset"])["content"]
    assert {one["op"] for one in entries} == {"put"}
    (version,) = [one for one in entries if one["table"] == "V"]
    assert version["rest"] == "later"
    assert version["row"]["inline"] == content("later", 77).hex()
    assert version["row"]["modified"].startswith("20")


def test_a_damaged_log(it: Small) -> None:
    path = log_of(it)
    for place in random.Random(2).sample(range(path.stat().st_size), FLIPS):
        change(path, place)
        assert "damaged" in json.dumps(look(it, "frame", path)), place
        if place < LAYOUT.size:
            assert "unverified" in look(it, "frame", path, 0)
        change(path, place)


def test_files_too_short_for_anything(it: Small, tmp_path: Path) -> None:
    for size in (0, 1, 100, SECTOR):
        path = tmp_path / f"{size}.seg"
        path.write_bytes(bytes(size))
        assert "damaged" in json.dumps(look(it, "segment", path))
        assert "damaged" in json.dumps(look(it, "record", path, size))
        assert look(it, "frame", path)["bytes"] == size
        assert "damaged" in json.dumps(look(it, "frame", path, size))


def test_a_key_without_a_journal(it: Small) -> None:
    for slot in range(3):
        it.node.pull(slot)
    told = look(it, "version", BUCKET, "coded")
    assert told["index"].startswith("the node's own, sealed; the journal cannot be followed")
    (it.index / "index.seal").unlink()
    with pytest.raises(ConfigError, match=r"not closed cleanly; the journal cannot be followed"):
        look(it, "version", BUCKET, "coded")


def test_a_key_of_any_bytes(it: Small) -> None:
    with pytest.raises(ConfigError, match=r"no upload of studies/\\xff\\n"):
        look(it, "key", BUCKET, "\udcff\n")


def test_a_key_and_its_version(it: Small) -> None:
    told = look(it, "key", BUCKET, "coded")
    assert told["index"] == "the node's own, sealed"
    (one,) = told["versions"]
    assert one["row"]["size"] == 4097
    (it.index / "index.seal").unlink()
    for version in ((), ("null",), (one["id"],)):
        found = look(it, "version", BUCKET, "coded", *version)
        assert found["index"] == "made anew from the disks"
        (stripe,) = found["data"][0]["runs"][0]["stripes"]
        assert len(stripe["shards"]) == DISKS
        for shard in stripe["shards"]:
            record = look(it, "record", shard["file"], shard["offset"])
            assert record["shard_index"] == shard["shard"]
            assert record["data_id"] == found["data"][0]["data_id"]
    assert not list(it.site.meta.glob("check-*"))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("disk", []),
        ("segment", ["/none"]),
        ("record", ["/none", "x"]),
        ("record", ["/dev/null", "-1"]),
        ("frame", ["/none"]),
        ("key", ["none", "k"]),
        ("key", [BUCKET, "none"]),
        ("version", [BUCKET, "coded", "00"]),
    ],
)
def test_inspectors_say_what_they_cannot_show(it: Small, kind: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        INSPECTORS[kind](it.site, RealFileSystem(), words)
    assert "\n" not in str(caught.value)
