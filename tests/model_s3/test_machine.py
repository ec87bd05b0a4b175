"""Ten thousand random requests in many short runs, every answer that of the small S3.

And that the machine would find what it is there to find: each canary is a mistake somebody could
make, planted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from s3node.meta import subtree, tables
from s3node.meta.schema import HEAD_BYTES
from s3node.model import conditions, listing, multipart, versions
from s3node.ops import copy, lookup
from tests.model_s3.driver import Driver, OnLmdb, Simulated
from tests.model_s3.whole import Machine

STEPS, DEEP_STEPS, RUN_STEPS = 10_000, 200_000, 50
LIVES_STEPS, DEEP_LIVES_STEPS, LMDB_STEPS = 1_000, 40_000, 500
FULL = 0.82
"""Some runs end before their last step: how full they are at least, on average."""


class Mortal(Machine):
    """The whole node, which loses its power now and then, and at the end of every run."""

    def make(self) -> Driver:
        return Simulated(seed=1)


def run(machine: type[Machine], steps: int, *phases: Phase) -> None:
    machine.counted = 0
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(steps / (FULL * RUN_STEPS)),
            stateful_step_count=RUN_STEPS,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, *phases],
        ),
    )
    assert machine.counted >= steps


def test_every_answer_is_that_of_a_small_s3(deep: bool) -> None:
    run(Machine, DEEP_STEPS if deep else STEPS, Phase.shrink)


def test_so_it_is_after_power_cuts(deep: bool) -> None:
    """What was answered is there, and nothing else."""
    run(Mortal, DEEP_LIVES_STEPS if deep else LIVES_STEPS, Phase.shrink)


def test_so_it_is_on_lmdb(deep: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    class OverLmdb(Machine):
        def make(self) -> Driver:
            return OnLmdb(tmp_path_factory.mktemp("lmdb"))

    run(OverLmdb, DEEP_LIVES_STEPS if deep else LMDB_STEPS, Phase.shrink)


def _deletes_for_good(*arguments: Any) -> Any:
    deed, _, *others = arguments
    return PLAN_DELETE(deed, versions.UNVERSIONED, *others)


def _null_is_current(tx: Any, bucket: Any, key: bytes, current: Any) -> Any:
    return current


def _forgets_the_version_marker(query: Any, marker: bytes, marker_id: bytes = b"") -> Any:
    return START(query, marker)


def _shows_a_prefix_again(query: Any, marker: bytes, marker_id: bytes = b"") -> Any:
    return listing.Position(marker, marker_id or listing.LAST_ID)


def _sees_what_a_marker_hides(current: Any) -> Any:
    return None if current is None else conditions.Subject(current[1].etag, 0, current[1].size)


def _takes_the_newest_stamp(wall_ms: int, floor: int) -> int:
    return wall_ms << 16


def _parts_by_position(upload: Any, identity: Any, parts: Any, listed: Any) -> Any:
    chosen = SELECT(upload, identity, parts, listed)
    return chosen[:1] * len(chosen) if len(chosen) > 1 else chosen


def _lets_a_copy_change_nothing(call: Any, source: Any) -> None:
    return


def _keeps_the_old_tags(row: Any, tags: Any) -> Any:
    return msgspec.structs.replace(row, tags=tags or row.tags)


def _nothing(*arguments: Any) -> None:
    return


def _no_etag(etags: Any) -> str:
    return "0" * 32


def _up_to_a_long_key(*where: Any) -> Iterator[tuple[bytes, bytes, Any]]:
    for found in SCAN(*where):
        yield found
        if len(found[0]) > HEAD_BYTES:
            return


SCAN = subtree.scan_as
PLAN_DELETE, START, SELECT = versions.plan_delete, listing.start, multipart.select

Canary = tuple[str, Any, Callable[..., Any]]

CANARIES: list[Canary] = [
    ("plan_delete", "s3node.ops.delete", _deletes_for_good),
    ("_null_version", lookup, _null_is_current),
    ("start", listing, _shows_a_prefix_again),
    ("hlc_after", versions, _takes_the_newest_stamp),
    ("select", multipart, _parts_by_position),
    ("put_deaths", lookup, _nothing),
    ("add_usage", tables, _nothing),
    ("etag_of", multipart, _no_etag),
    ("scan_as", subtree, _up_to_a_long_key),
    ("check_write", versions, _nothing),
]

RARE_CANARIES: list[Canary] = [
    ("start", listing, _forgets_the_version_marker),
    ("_check_changes", copy, _lets_a_copy_change_nothing),
    ("retagged", "s3node.model.tags", _keeps_the_old_tags),
    ("subject", "s3node.model.versions", _sees_what_a_marker_hides),
]


@pytest.mark.parametrize(
    ("name", "where", "mistake"),
    [*CANARIES, *(pytest.param(*each, marks=pytest.mark.deep) for each in RARE_CANARIES)],
    ids=[f"{each[0]}: {each[2].__name__}" for each in (*CANARIES, *RARE_CANARIES)],
)
def test_a_mistake_is_found(
    name: str, where: Any, mistake: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(where, str):
        monkeypatch.setattr(f"{where}.{name}", mistake)
    else:
        monkeypatch.setattr(where, name, mistake)
    with pytest.raises(Exception):  # noqa: B017  # however it shows
        run(Machine, STEPS)
