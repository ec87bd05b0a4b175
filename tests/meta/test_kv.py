"""One conformance suite for every `Kv`: in memory (the oracle) and LMDB behind a journal."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3node.base.errors import FormatError, JournalStalled, S3Error
from s3node.meta.kv import KEY_BYTES_MAX, ReadTx
from s3node.meta.schema import KEYS_END, NODE_STATE
from s3node.meta.transaction import (
    WRITE_SET_BYTES_MAX,
    SnapshotTx,
    WriteSet,
    pack,
    unpack,
    valid,
)
from s3node.meta.values import unseal_counter
from tests.meta.kvs import KVS, lmdb_kv

Open = Callable[[Path], Any]
each = pytest.mark.parametrize("open_kv", KVS, ids=lambda open_kv: open_kv.__name__)


def everything(tx: ReadTx) -> list[tuple[bytes, bytes]]:
    return list(tx.scan(b"", KEYS_END))


keys = st.one_of(
    st.sampled_from([b"a", b"aa", b"ab", b"b", b"c\x00", b"c\xff", b"d" * KEY_BYTES_MAX]),
    st.binary(min_size=1, max_size=3).map(lambda rest: b"k" + rest),
)
bounds = st.one_of(keys, st.sampled_from([b"", b"\x01", b"\xff", KEYS_END]))
data = st.binary(max_size=20)
operations = st.one_of(
    st.tuples(st.just("get"), keys),
    st.tuples(st.just("put"), keys, data),
    st.tuples(st.just("delete"), keys),
    st.tuples(st.just("add"), st.sampled_from([b"n1", b"n2"]), st.integers(-9, 9)),
    st.tuples(st.just("scan"), bounds, bounds, st.booleans(), st.integers(0, 5)),
    st.tuples(st.just("first"), bounds, bounds),
)
transactions = st.lists(
    st.tuples(st.lists(operations, max_size=8), st.booleans()), min_size=1, max_size=8
)


class Plain:
    """What a transaction is to do, on a plain dict."""

    def __init__(self, rows: dict[bytes, bytes]) -> None:
        self.rows = rows

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self.rows[key] = value

    def delete(self, key: bytes) -> None:
        self.rows.pop(key, None)

    def add(self, key: bytes, delta: int) -> None:
        from s3node.meta.values import seal_counter

        self.rows[key] = seal_counter(key, unseal_counter(key, self.rows.get(key)) + delta)

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Any:
        found = sorted((k, v) for k, v in self.rows.items() if start <= k < stop)
        return iter(found[::-1] if reverse else found)

    def first(self, start: bytes, stop: bytes) -> Any:
        return next(self.scan(start, stop), None)


class Refused(Exception):
    pass


def perform(tx: Any, operations: list[Any], refuse: bool) -> list[Any]:
    told: list[Any] = []
    for name, *arguments in operations:
        if name == "scan":
            start, stop, reverse, limit = arguments
            scan = tx.scan(start, stop, reverse=reverse)
            told.append([row for row, _ in zip(scan, range(limit), strict=False)])
        else:
            told.append(getattr(tx, name)(*arguments))
    if refuse:
        raise Refused
    return told


@each
@settings(max_examples=60, deadline=None)
@given(history=transactions)
def test_does_what_a_sorted_dict_does(open_kv: Open, history: Any) -> None:
    async def run(root: Path) -> None:
        rows: dict[bytes, bytes] = {}
        async with open_kv(root) as kv:
            for operations, refuse in history:
                plain = Plain(dict(rows))
                try:
                    told = await kv.write(lambda tx, o=operations, r=refuse: perform(tx, o, r))
                except Refused:
                    assert refuse
                else:
                    assert told == perform(plain, operations, False)
                    rows = plain.rows
                assert kv.read(everything) == sorted(rows.items())

    with tempfile.TemporaryDirectory() as root:
        asyncio.run(run(Path(root)))


@settings(max_examples=100, deadline=None)
@given(history=transactions)
def test_what_is_asked_for_at_once_is_done_in_turn(history: Any) -> None:
    """In one batch and its frame: each sees what those before it did, additions too."""

    async def run(root: Path) -> None:
        async with lmdb_kv(root) as kv:
            await kv.write(lambda tx: tx.put(b"k", b""))
            asked = [
                kv.write(lambda tx, o=operations, r=refuse: perform(tx, o, r))
                for operations, refuse in history
            ]
            told = await asyncio.gather(*asked, return_exceptions=True)
            rows = {b"k": b""}
            for (operations, refuse), answer in zip(history, told, strict=True):
                plain = Plain(dict(rows))
                if refuse:
                    assert isinstance(answer, Refused)
                else:
                    assert answer == perform(plain, operations, False)
                    rows = plain.rows
            assert kv.read(everything) == sorted(rows.items())

    with tempfile.TemporaryDirectory() as root:
        asyncio.run(run(Path(root)))


def test_a_refusal_is_told_when_what_it_rests_on_is_durable_and_is_in_no_frame(
    tmp_path: Path,
) -> None:
    def once(tx: Any) -> None:
        if tx.get(b"k") is not None:
            raise S3Error("PreconditionFailed")
        tx.put(b"k", b"")

    def seen(tx: Any) -> bool:
        return tx.get(b"k") is not None

    async def run() -> None:
        async with lmdb_kv(tmp_path) as kv:
            gate = asyncio.Event()
            kv.logs.gates = dict.fromkeys(kv.homes, gate)
            first = asyncio.ensure_future(kv.write(once))
            while kv.pending == kv.sequence:
                await asyncio.sleep(0.01)
            later = [asyncio.ensure_future(kv.write(fn)) for fn in (once, seen, seen)]
            done, _ = await asyncio.wait({first, *later}, timeout=0.1)
            assert not done, "nothing is durable"
            gate.set()
            await first
            told = await asyncio.gather(*later, return_exceptions=True)
            assert isinstance(told[0], S3Error) and told[1:] == [True, True]
            with pytest.raises(S3Error):
                await kv.write(once)
            assert kv.sequence == kv.journal.durable.sequence == 1

    asyncio.run(run())


@each
def test_concurrent_histories_are_serial(open_kv: Open, tmp_path: Path) -> None:
    """Transfers between accounts: sums stay, nobody goes below zero, no update is lost."""
    accounts = [b"a%02d" % n for n in range(6)]
    source = random.Random(7)

    def transfer(tx: Any, giver: bytes, taker: bytes, amount: int) -> bool:
        has = int(tx.get(giver) or b"100")
        if has < amount:
            return False
        tx.put(giver, b"%d" % (has - amount))
        tx.put(taker, b"%d" % (int(tx.get(taker) or b"100") + amount))
        tx.add(b"transfers", 1)
        return True

    async def run() -> None:
        async with open_kv(tmp_path) as kv:
            done = 0

            async def client(seed: int) -> None:
                nonlocal done
                source = random.Random(seed)
                for _ in range(15):
                    giver, taker = source.sample(accounts, 2)
                    amount = source.randrange(60)
                    moved = await kv.write(
                        lambda tx, g=giver, t=taker, a=amount: transfer(tx, g, t, a)
                    )
                    done += moved

            await asyncio.gather(*(client(source.randrange(1 << 30)) for _ in range(12)))

            def check(tx: ReadTx) -> None:
                held = [int(tx.get(account) or b"100") for account in accounts]
                assert sum(held) == 100 * len(accounts)
                assert min(held) >= 0
                assert unseal_counter(b"transfers", tx.get(b"transfers")) == done

            kv.read(check)

    asyncio.run(run())


@each
def test_no_phantoms_and_no_write_skew(open_kv: Open, tmp_path: Path) -> None:
    """`Put only if the range is empty`, many at once: exactly one succeeds, either direction."""

    def claim(tx: Any, name: bytes, reverse: bool) -> bool:
        if next(tx.scan(b"claim/", b"claim0", reverse=reverse), None) is not None:
            return False
        tx.put(b"claim/" + name, b"")
        return True

    async def run() -> None:
        async with open_kv(tmp_path) as kv:
            for round_number in range(5):
                won = await asyncio.gather(
                    *(
                        kv.write(lambda tx, n=b"%d" % n: claim(tx, n, n[0] % 2 == 0))
                        for n in range(10)
                    )
                )
                assert sum(won) == 1, round_number
                await kv.write(lambda tx: [tx.delete(k) for k, _ in list(tx.scan(b"c", b"d"))])

    asyncio.run(run())


@each
def test_disjoint_work_and_counters_run_once(open_kv: Open, tmp_path: Path) -> None:
    """Additions commute and gaps are exact: no transaction here has a reason to run again."""
    runs = 0

    def append(tx: Any, name: bytes) -> None:
        nonlocal runs
        runs += 1
        assert tx.get(b"row/" + name) is None
        assert next(tx.scan(b"row/" + name, b"row/" + name + b"\x01"), None) is None
        tx.put(b"row/" + name, name)
        tx.add(b"count", 1)

    async def run() -> None:
        async with open_kv(tmp_path) as kv:
            await asyncio.gather(
                *(kv.write(lambda tx, n=b"%03d" % n: append(tx, n)) for n in range(100))
            )
            assert unseal_counter(b"count", kv.read(lambda tx: tx.get(b"count"))) == 100

    asyncio.run(run())
    assert runs == 100


@each
def test_what_fn_raises_leaves_nothing_behind(open_kv: Open, tmp_path: Path) -> None:
    def refuse(tx: Any) -> None:
        tx.put(b"a", b"1")
        tx.add(b"n", 1)
        raise S3Error("PreconditionFailed")

    async def run() -> None:
        async with open_kv(tmp_path) as kv:
            with pytest.raises(S3Error):
                await kv.write(refuse)
            assert kv.read(everything) == []

    asyncio.run(run())


@each
def test_reads_from_other_threads_see_whole_commits(open_kv: Open, tmp_path: Path) -> None:
    def put(tx: Any, n: int) -> None:
        for key in range(20):
            tx.put(b"k%02d" % key, b"%d" % n)

    async def run() -> None:
        async with open_kv(tmp_path) as kv:
            await kv.write(lambda tx: put(tx, 0))
            stop = threading.Event()
            seen: list[set[bytes]] = []

            def look() -> None:
                while not stop.is_set():
                    seen.append({value for _, value in kv.read(everything)})

            threads = [threading.Thread(target=look) for _ in range(2)]
            for thread in threads:
                thread.start()
            for n in range(1, 30):
                await kv.write(lambda tx, n=n: put(tx, n))
            stop.set()
            for thread in threads:
                thread.join()
            assert all(len(values) == 1 for values in seen)

    asyncio.run(run())


@settings(max_examples=200, deadline=None)
@given(
    before=st.dictionaries(keys, data, max_size=6),
    operations=st.lists(operations, max_size=6),
    changes=st.lists(st.tuples(keys, st.none() | data), max_size=3),
)
def test_a_write_set_is_valid_exactly_while_fn_would_do_the_same(
    before: dict[bytes, bytes], operations: list[Any], changes: list[Any]
) -> None:
    """And it crosses a process border unchanged."""
    tx = SnapshotTx(Plain(before), 5)
    told = perform(tx, operations, False)
    write_set = unpack(pack(tx.write_set()))
    assert write_set == tx.write_set()
    assert valid(write_set, Plain(before))
    after = dict(before)
    for key, value in changes:
        if value is None:
            after.pop(key, None)
        else:
            after[key] = value
    again = SnapshotTx(Plain(after), 5)
    if valid(write_set, Plain(after)):
        assert perform(again, operations, False) == told
        assert again.write_set() == write_set


@pytest.mark.parametrize(
    "made",
    [
        WriteSet(1, {}, (), {NODE_STATE: b""}, {}),
        WriteSet(1, {}, (), {NODE_STATE: None}, {}),
        WriteSet(1, {}, (), {b"k" * (KEY_BYTES_MAX + 1): b""}, {}),
        WriteSet(1, {}, (), {}, {NODE_STATE: 1}),
        WriteSet(1, {}, (), {}, {b"n": 1 << 60}),
        WriteSet(1, {}, (), {b"k": bytes(WRITE_SET_BYTES_MAX)}, {}),
    ],
    ids=["state", "no state", "long key", "state added to", "overflow", "large"],
)
def test_no_write_set_comes_over_the_border_that_no_transaction_could_make(made: WriteSet) -> None:
    with pytest.raises(FormatError):
        unpack(pack(made))


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda rest: b"\x95" + rest))
def test_garbage_is_no_write_set(garbage: bytes) -> None:
    with contextlib.suppress(FormatError):
        assert unpack(pack(unpack(garbage))) == unpack(garbage)


def test_write_sets_of_others_are_decided_like_ones_own(tmp_path: Path) -> None:
    """Offered: what is still true becomes durable and visible, the rest is told to run again."""

    def count(tx: Any) -> None:
        tx.put(b"k", b"%d" % (int(tx.get(b"k") or b"0") + 1))
        tx.add(b"n", 1)

    def elsewhere(engine: Any) -> WriteSet:
        """As another process does it: on a snapshot of its own, its outcome sent over."""

        def run(tx: ReadTx, at: Any) -> WriteSet:
            mine = SnapshotTx(tx, at.sequence)
            count(mine)
            return unpack(pack(mine.write_set()))

        made: WriteSet = engine.index.read(run)
        return made

    async def run() -> None:
        async with lmdb_kv(tmp_path) as engine:
            first, second = elsewhere(engine), elsewhere(engine)
            verdicts = [engine.offer(first), engine.offer(second)]
            own = engine.write(count)
            assert await asyncio.gather(*verdicts, own) == [True, False, None]
            assert engine.sequence >= engine.pending, "nothing else to wait for"
            assert await engine.offer(elsewhere(engine))
            gone = engine.offer(elsewhere(engine))
            gone.cancel()  # before it was decided: nothing of it
            await engine.write(lambda tx: tx.put(b"other", b""))
            assert engine.read(lambda tx: tx.get(b"k")) == b"3"
            assert engine.read(lambda tx: unseal_counter(b"n", tx.get(b"n"))) == 3

    asyncio.run(run())


def test_nothing_is_taken_from_others_while_the_journal_stalls(tmp_path: Path) -> None:
    async def run() -> None:
        async with lmdb_kv(tmp_path) as engine:
            in_doubt = WriteSet(0, {}, (), {b"k": b"1"}, {})
            engine.logs.down = {0, 1}
            with pytest.raises(JournalStalled):
                await engine.offer(in_doubt)
            with pytest.raises(JournalStalled):
                engine.offer(in_doubt)
            engine.logs.down = set()
            while engine.stall or engine.sequence < engine.pending:
                await asyncio.sleep(0.01)
            assert engine.read(lambda tx: tx.get(b"k")) == b"1", "decided stays decided"

    asyncio.run(run())
