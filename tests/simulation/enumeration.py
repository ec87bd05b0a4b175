"""Power cuts at every call that changes anything, and every way in which they may end.

`Explorer` runs a sequence of steps once; at each changing call of the last step, and at its end,
it notes what a power cut there may leave: everything, nothing of what was unsynced, all but one
thing, all with one thing torn, all but what one disk had. States that are equal (the same disks,
promises and index) are looked at once. `survive` then starts a node on such a state: whatever was
promised must be there, new requests must work, and the invariants hold on the disks it leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from s3node.node import site_of
from tests.simulation import invariants
from tests.simulation.fates import ChosenFates, Fates, Unsynced
from tests.simulation.filesystem import SimulatedFileSystem
from tests.simulation.model import LARGE, Model, Step, begin, put, read, read_everything
from tests.simulation.node import Client, Universe


@dataclass
class Counters:
    """What a run was made of."""

    cuts: int = 0  # calls at which the power was cut
    states: int = 0  # ways in which that may have ended
    crashes: int = 0  # different ones: each was recovered from and checked
    checked: int = 0  # values compared

    def __iadd__(self, other: Counters) -> Counters:
        self.cuts += other.cuts
        self.states += other.states
        self.crashes += other.crashes
        self.checked += other.checked
        return self

    def __str__(self) -> str:
        return (
            f"{self.crashes:,} crashes survived ({self.states:,} states at {self.cuts:,} calls), "
            f"{self.checked:,} values checked"
        )


@dataclass
class Crash:
    """A state that was found, and what had been promised."""

    fs: SimulatedFileSystem
    model: Model
    where: str
    newest: int = 0  # what the index said last


async def done(step: Step, client: Client, model: Model) -> None:
    """Do it; one that was refused would have shown nothing."""
    status = await step(client, model)
    assert status in (None, 200, 204), f"a step was answered with {status}"


def fates(unsynced: Sequence[Unsynced], disks: int) -> Iterator[tuple[str, Fates, set[str]]]:
    """Every way in which the enumeration lets a power cut end: told, and the disks that die."""
    yield "nothing lost", ChosenFates(), set()
    yield "everything lost", ChosenFates(unsynced), set()
    for one in unsynced:
        told = f"{one.kind} {one.first} of {one.path}"
        yield f"lost: {told}", ChosenFates([one]), set()
        if one.kind == "sectors":
            yield f"torn: {told}", ChosenFates(torn=[one]), set()
    for slot in range(disks):
        yield f"everything lost, disk {slot} too", ChosenFates(unsynced), {f"/d{slot}"}
        behind = [one for one in unsynced if one.path.startswith(f"/d{slot}/")]
        yield f"disk {slot} behind", ChosenFates(behind), set()


@dataclass
class Explorer:
    seed: int = 1
    stride: int = 1  # of the calls at which the power is cut, every so many-th
    counters: Counters = field(default_factory=Counters)
    _seen: set[tuple[object, ...]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._base = Universe(self.seed)

    def start(self) -> tuple[Universe, Model]:
        """A node that holds something, stopped."""
        universe, model = Universe(self.seed), Model()
        universe.paced = True
        universe.live(lambda client: begin(client, model))
        return universe, model

    def crashes(self, steps: Sequence[Step]) -> list[Crash]:
        """The different states that a power cut during the last of these steps may leave."""
        universe, model = self.start()
        found: list[Crash] = []

        def cut(name: str) -> None:
            self.counters.cuts += 1
            found.extend(self._states(universe, model, f"call {self.counters.cuts}, {name}"))

        async def work(client: Client) -> None:
            for step in steps[:-1]:
                await done(step, client, model)
            universe.before = cut
            await done(steps[-1], client, model)
            cut("end")
            universe.before = None

        universe.live(work)
        return found

    def crashes_of_recovery(self, crash: Crash) -> list[Crash]:
        """The states that a power cut while a node starts on this one may leave."""
        universe, model = self._base.after(crash.fs.copy(), self.seed, crash.newest), crash.model
        found: list[Crash] = []

        def cut(name: str) -> None:
            self.counters.cuts += 1
            where = f"{crash.where}; recovery, call {self.counters.cuts}, {name}"
            found.extend(self._states(universe, model, where))

        async def nothing(client: Client) -> None:
            universe.before = None

        universe.before = cut
        universe.live(nothing)
        return found

    def kills(self, steps: Sequence[Step], every: int) -> list[Crash]:
        """What a process killed at every so many-th call of the last step leaves: nothing is lost,
        and what was unsynced still is.
        """
        universe, model = self.start()
        found: list[Crash] = []
        calls = 0

        def kill(name: str) -> None:
            nonlocal calls
            calls += 1
            if calls % every == 0 or name == "end":
                where = f"killed at call {calls}, {name}"
                fs = universe.fs.killed()
                found.append(Crash(fs, model.copy(), where, universe.place.newest))

        async def work(client: Client) -> None:
            for step in steps[:-1]:
                await done(step, client, model)
            universe.before = kill
            await done(steps[-1], client, model)
            kill("end")
            universe.before = None

        universe.live(work)
        return found

    def crashes_after(self, kill: Crash, step: Step) -> list[Crash]:
        """A node starts on this, does a step, and the power is cut at calls of both."""
        universe, model = self._base.after(kill.fs.killed(), self.seed, kill.newest), kill.model
        universe.paced = True
        found: list[Crash] = []
        calls = 0

        def cut(name: str) -> None:
            nonlocal calls
            calls += 1
            if calls % self.stride == 0 or name == "end":
                self.counters.cuts += 1
                where = f"{kill.where}; then call {calls}, {name}"
                found.extend(self._states(universe, model, where))

        async def work(client: Client) -> None:
            await done(step, client, model)
            cut("end")
            universe.before = None

        universe.before = cut
        universe.live(work)
        return found

    def _states(self, universe: Universe, model: Model, where: str) -> Iterator[Crash]:
        lost = universe.fs.gone
        for told, fate, dies in fates(universe.fs.unsynced(), universe.disks):
            fs = universe.fs.crashed(fate)
            disks = fs.digest()
            # A disk that was lost before is the one that the promise covers; or it comes back.
            for gone in (lost, set()) if lost else (dies,):
                self.counters.states += 1
                newest = universe.place.newest
                key = disks, frozenset(gone), model.key(), newest
                if key not in self._seen:
                    self._seen.add(key)
                    state = fs.copy() if lost else fs
                    state.gone = set(gone)
                    what = f"{where}: {told}, gone: {sorted(gone)}"
                    yield Crash(state, model.copy(), what, newest)

    def survive(self, crash: Crash) -> None:
        """Recover, read everything, write, stop, look at the disks."""
        universe, model = self._base.after(crash.fs, self.seed, crash.newest), crash.model
        site = site_of(universe.config)
        before = invariants.segments(crash.fs, site)

        async def work(client: Client) -> None:
            self.counters.checked += await read_everything(client, model)
            assert await put(client, model, "afterwards", LARGE) == 200
            await read(client, model, "afterwards")

        universe.live(work)
        invariants.unchanged(before, universe.fs, site)
        bad = next((int(path[2:]) for path in crash.fs.gone), None)
        invariants.check(site, universe.fs, universe.place, bad=bad)
        self.counters.crashes += 1

    def explore(self, steps: Sequence[Step]) -> None:
        self.survive_all(self.crashes(steps))

    def survive_all(self, crashes: Sequence[Crash]) -> None:
        for crash in crashes:
            try:
                self.survive(crash)
            except Exception as error:
                error.add_note(f"after {crash.where}")
                raise
