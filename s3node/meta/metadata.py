"""The metadata of a node, put together: recover it from the disks, serve it, close it.

    recovered = recover(...)                      # synchronous; before the disk set takes writes
    metadata = Metadata(recovered, logs, ...)     # then, on the loop
    await metadata.start(); metadata.kv ...; await metadata.close()

`recover` reads every disk, chooses the history, brings the index to its tip (the sealed one, or
one made anew) and only then begins a new epoch. If the index or a record knows more than the
recovered journal, no epoch begins: the node may serve reads, and says why.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

from s3node.base.clock import Clock
from s3node.base.errors import JournalStalled, StorageFault
from s3node.base.ids import UUID_BYTES, RandomBytes
from s3node.meta import rebuild, recovery
from s3node.meta.checkpointer import Checkpointer, Sizes
from s3node.meta.engine import Engine
from s3node.meta.frame import Position
from s3node.meta.homes import Home
from s3node.meta.index import Index, IndexPlace
from s3node.meta.index_seal import Seal
from s3node.meta.journal import Journal, Limits, Logs
from s3node.meta.kv import Kv, ReadTx, WriteTx
from s3node.meta.recovery import Begun, Report
from s3node.meta.survey import Chain, choose, lacks, survey

T = TypeVar("T")


class Settings(NamedTuple):
    """Bounds, and how often to look after things, in seconds."""

    limits: Limits = Limits()
    sizes: Sizes = Sizes()
    look_seconds: float = 1.0
    upkeep_seconds: float = 60.0
    scrub_seconds: float = 24 * 3600.0  # of the checkpoints; the first one after a start
    retry_seconds: float = 0.5


class Deployment(NamedTuple):
    """What the metadata needs to know of the node."""

    deployment_id: bytes
    disk_count: int  # D
    parity: int  # m


@dataclass(slots=True)
class Recovered:
    """The metadata at the tip of the recovered journal, ready to be served."""

    index: Index
    chain: Chain
    report: Report
    deployment: Deployment
    homes: Mapping[int, Home]
    rebuilt: str  # why the index was made anew; "" when it was used again
    begun: Begun | None  # None: read-only, for `behind` says why
    behind: str = ""

    @property
    def epoch(self) -> int:
        """The epoch that began; of the chain, when none did."""
        return self.begun.epoch if self.begun else self.chain.epoch

    @property
    def position(self) -> Position:
        return self.begun.position if self.begun else self.chain.tip


def look(homes: Mapping[int, Home], deployment: Deployment) -> tuple[Report, list[Chain]]:
    """What lies on the disks; changes nothing. QuorumLost, JournalDamaged, FormatUnknown."""
    found = survey(homes, deployment.deployment_id)
    chains = choose(found, deployment.disk_count, deployment.parity)
    return recovery.report(homes, found, chains[0], deployment.parity), chains


def rebuild_index(
    place: IndexPlace,
    homes: Mapping[int, Home],
    deployment: Deployment,
    *,
    told: rebuild.Told = lambda what, done, total: None,
) -> tuple[Report, Seal]:
    """Offline: the index from the disks alone, closed with a seal."""
    report, chains = look(homes, deployment)
    index, _ = rebuild.rebuild(chains, homes, place, deployment.deployment_id, told=told)
    return report, index.close_sealed()


def recover(
    place: IndexPlace,
    homes: Mapping[int, Home],
    deployment: Deployment,
    *,
    clock: Clock,
    random: RandomBytes,
    epoch_floor: int = 0,
    seen_sequence: int = 0,
    told: rebuild.Told = lambda what, done, total: None,
) -> Recovered:
    """Everything up to a new epoch. Blocks; call it before the disks take writes.

    `place` is where the index lies, `homes` the disks that are there. `epoch_floor` is the
    highest epoch that the disks' own files know, `seen_sequence` the highest journal sequence
    that any record names. QuorumLost, JournalDamaged, FormatUnknown: nothing was changed.
    """
    found = survey(homes, deployment.deployment_id)
    chains = choose(found, deployment.disk_count, deployment.parity)
    tip = chains[0].tip
    report = recovery.report(homes, found, chains[0], deployment.parity)
    seal = place.sealed(deployment.deployment_id)
    left = 0 if isinstance(seal, Seal) else place.left(deployment.deployment_id)
    behind = _behind(tip, seal, left, seen_sequence)
    if behind:
        index, chain, rebuilt = _open_behind(place, homes, deployment, chains, seal)
        return Recovered(index, chain, report, deployment, homes, rebuilt, None, behind)
    index, chain, rebuilt = _open(place, homes, deployment, chains, seal, told)
    try:
        begun = recovery.begin_epoch(
            homes,
            found,
            chain,
            deployment_id=deployment.deployment_id,
            parity=deployment.parity,
            epoch_floor=epoch_floor,
            life_id=random(UUID_BYTES),
            time_ms=clock.wall_ms(),
        )
        rebuild.replay(index, chain, index.position(), homes, told=told)
    except BaseException:
        index.close_sealed()
        raise
    index.apply([(begun.position, {})])
    return Recovered(index, chain, report, deployment, homes, rebuilt, begun)


def _behind(tip: Position, seal: Seal | str, left: int, seen_sequence: int) -> str:
    """Who knows frames that the journals have lost; "" if nobody does.

    An index without a seal is not opened, but what it says of its position is proof, whether the
    node was killed or the power went (see `IndexPlace.left`): frames that were answered are on no
    disk that is here. Going on would bury that, so it is refused like the others.
    """
    known = {
        "the index knows": seal.position.sequence if isinstance(seal, Seal) else 0,
        "the index of a life that did not end well knows": left,
        "a record names": seen_sequence,
    }
    told = [f"{who} frame {at}" for who, at in known.items() if at > tip.sequence]
    if not told:
        return ""
    return (
        f"{', '.join(told)}, the journal ends at {tip.sequence}: what was answered in between is "
        f"on no disk that is here; bring back the disks that had it (s3node meta rebuild makes "
        f"the index forget it)"
    )


def _open(
    place: IndexPlace,
    homes: Mapping[int, Home],
    deployment: Deployment,
    chains: list[Chain],
    seal: Seal | str,
    told: rebuild.Told,
) -> tuple[Index, Chain, str]:
    """The index, the chain, and why it was made anew ("": it was not).

    It holds nothing yet that may not be durable: a tail is on m + 1 disks once the epoch began.
    """
    chain = chains[0]
    through = chain.synced_through
    if isinstance(seal, Seal) and chain.has(seal.position):
        index = place.open(deployment.deployment_id)
        rebuild.replay(index, chain, seal.position, homes, through=through, told=told)
        return index, chain, ""
    index, chain = rebuild.rebuild(
        chains, homes, place, deployment.deployment_id, through=through, told=told
    )
    return index, chain, _why(seal)


def _why(seal: Seal | str) -> str:
    return seal if isinstance(seal, str) else "not on the journal's chain, or too old"


def _open_behind(
    place: IndexPlace,
    homes: Mapping[int, Home],
    deployment: Deployment,
    chains: list[Chain],
    seal: Seal | str,
) -> tuple[Index, Chain, str]:
    """Whatever knows most, for reading only. What lies at `place` stays: it is the evidence."""
    if isinstance(seal, Seal) and (
        seal.position.sequence > chains[0].tip.sequence or seal.position == chains[0].tip
    ):
        return place.open_readonly(deployment.deployment_id), chains[0], ""
    index, chain = rebuild.rebuild(chains, homes, place, deployment.deployment_id, adopt=False)
    return index, chain, _why(seal)


class ReadOnlyKv:
    """A `Kv` that refuses writes, and says why."""

    def __init__(self, index: Index, reason: str) -> None:
        self._index = index
        self.stall = reason

    def read(self, fn: Callable[[ReadTx], T]) -> T:
        return self._index.look(fn)

    async def write(self, fn: Callable[[WriteTx], T]) -> T:
        raise JournalStalled(f"read-only: {self.stall}")


class Metadata:
    """The running metadata of a node."""

    def __init__(
        self,
        recovered: Recovered,
        logs: Logs,
        clock: Clock,
        settings: Settings = Settings(),  # noqa: B008
    ) -> None:
        self.recovered = recovered
        self.index = recovered.index
        self._settings = settings
        self._upkeep: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self.faults: list[str] = []  # what upkeep could not do the last time it tried
        if recovered.begun is None:
            self.kv: Kv = ReadOnlyKv(recovered.index, recovered.behind)
            self.engine = self.journal = self.checkpointer = None
            return
        self.journal = self._make_journal(recovered, recovered.begun, logs)
        self.checkpointer = self._make_checkpointer(recovered, recovered.begun, self.journal)
        self.kv = self.engine = Engine(
            recovered.index,
            self.journal,
            clock,
            position=recovered.begun.position,
            deployment_id=recovered.deployment.deployment_id,
            epoch=recovered.begun.epoch,
            applied=self.checkpointer.touch,
            retry_seconds=settings.retry_seconds,
        )

    engine: Engine | None
    journal: Journal | None
    checkpointer: Checkpointer | None

    def _make_journal(self, recovered: Recovered, begun: Begun, logs: Logs) -> Journal:
        chain, deployment = recovered.chain, recovered.deployment
        return Journal(
            logs,
            recovered.homes,
            need=deployment.parity + 1,
            epoch=begun.epoch,
            last=begun.position,
            base=chain.manifest.base.sequence,
            retained_bytes=sum(known.size for known in chain.frames),
            files=begun.files,
            out=begun.out,
            readmission=recovery.readmission(deployment.deployment_id),
            read_back=partial(lacks, deployment.deployment_id),
            limits=self._settings.limits,
        )

    def _make_checkpointer(
        self, recovered: Recovered, begun: Begun, journal: Journal
    ) -> Checkpointer:
        checkpointer = Checkpointer(
            recovered.index,
            journal,
            recovered.homes,
            recovered.chain.manifest,
            epoch=begun.epoch,
            position=begun.position,
            need=recovered.deployment.parity + 1,
            sizes=self._settings.sizes,
        )
        for known in recovered.chain.frames:
            if checkpointer.all_dirty():
                break  # the others have nothing to add
            rows = dict(rebuild.frame_rows(recovered.homes, known))
            checkpointer.touch(rows, known.position)
        return checkpointer

    @property
    def stall(self) -> str:
        """Why nothing can be written now; "" when it can."""
        return self.engine.stall if self.engine else self.recovered.behind

    @property
    def sequence(self) -> int:
        """The last sequence in the index: what new records name."""
        return self.engine.sequence if self.engine else self.recovered.chain.tip.sequence

    def distrust(self, slot: int, reason: str) -> None:
        """A disk comes back that was away: it gets the journal anew from the others."""
        if self.journal is not None:
            self.journal.distrust(slot, reason)

    def failed(self) -> BaseException | None:
        """A broken invariant that ended a part of this; the node must stop."""
        for part in (self.engine, self.journal):
            if part is not None and part.failed() is not None:
                return part.failed()
        if self._upkeep is not None and self._upkeep.done() and not self._upkeep.cancelled():
            return self._upkeep.exception()
        return None

    async def start(self) -> None:
        """Begin to serve, on the running loop."""
        if self.journal is not None and self.engine is not None:
            self.journal.start()
            self.engine.start()
            self._upkeep = asyncio.create_task(self._look_after(), name="metadata upkeep")

    async def close(self, *, checkpoint: bool = False) -> None:
        """Finish what was decided, let the disks catch up, seal the index."""
        if self.engine is None or self.journal is None or self.checkpointer is None:
            self.index.close()
            return
        if self._upkeep is not None:
            # Not cancelled: a thread of it may be reading the index.
            self._stopping.set()
            if not checkpoint:
                self.checkpointer.stop()
            await asyncio.wait([self._upkeep])
        await self.engine.close()
        if checkpoint:
            await self.checkpointer.round(everything=True)
        await self.journal.close()
        await asyncio.to_thread(self._close_index)

    def _close_index(self) -> None:
        """A seal only where index and journal stand at the same place."""
        assert self.journal is not None
        if self.index.position() == self.journal.durable:
            self.index.close_sealed()
        else:
            self.index.close()

    async def _look_after(self) -> None:
        """Checkpoints when they are due; copies and readers now and then; all bytes rarely."""
        loop = asyncio.get_running_loop()
        upkeep_at = scrub_at = loop.time()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.look_seconds):
                    await self._stopping.wait()
                return
            now = loop.time()
            try:
                await self._look(upkeep=now >= upkeep_at, scrub=now >= scrub_at)
                self.faults = []
            except StorageFault as fault:
                self.faults = [str(fault)]
            if now >= upkeep_at:
                upkeep_at = now + self._settings.upkeep_seconds
            if now >= scrub_at:
                scrub_at = now + self._settings.scrub_seconds

    async def _look(self, *, upkeep: bool, scrub: bool) -> None:
        assert self.checkpointer is not None
        if self.checkpointer.due():
            await self.checkpointer.round()
        if upkeep or scrub:
            self.index.reader_check()
            await self.checkpointer.upkeep(verify=scrub)
