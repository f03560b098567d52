"""Is what was acknowledged still there after the power went, at any moment?

The real store runs over a disk that writes down every write, truncation, deletion and sync. Then the power is cut after
each of them: what was synced is there; of what was not, each write is there or lost by the dice, in any order, or torn
at a sector. The outbox is opened on what is left and must hold everything that was acknowledged up to that moment. With
synchronous=NORMAL the same cuts must lose something: else this test could not fail.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from smsd.core.lifecycle import Event
from smsd.core.message import State
from smsd.store import Claim, Stored, StoreError
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.apsw_connection import Disk, on_disk
from tests.doubles.builders import NOW, draft
from tests.store.contract import LATER, attempt, settlement

SECTOR = 512

URL = "https://shop.example/hook"

Image = dict[str, bytearray]


@dataclass
class Promise:
    """What had been acknowledged at a moment."""

    accepted: set[str] = field(default_factory=set)
    begun: dict[str, int] = field(default_factory=dict)
    settled: dict[str, State] = field(default_factory=dict)

    def copy(self) -> Promise:
        return Promise(set(self.accepted), dict(self.begun), dict(self.settled))


@dataclass(frozen=True)
class Step:
    """One thing that happened to a file, and what had been promised before it."""

    what: str
    name: str
    offset: int
    data: bytes
    promised: Promise


class Recorder:
    """Writes down what happens to the disk."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.promise = Promise()

    def __call__(self, what: str, name: str, offset: int, data: bytes) -> None:
        if what != "read" and not name.endswith("-shm"):
            self.steps.append(Step(what, name, offset, data, self.promise.copy()))


async def work(path: Path, recorder: Recorder, synchronous: str) -> None:
    """A short life of an outbox: acceptances, claims, settlements of every kind, a checkpoint, a restart."""
    for part in range(2):
        box = SqliteOutbox(path, on_fatal=fail, connect=on_disk(Disk(recorder)), synchronous=synchronous)
        await box.open(NOW + part)
        for burst in range(4):
            await one_burst(box, recorder, first=1 + 50 * part + 10 * burst)
        writing = box._writing
        assert writing is not None
        await writing.run(lambda db: db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone())
        await one_burst(box, recorder, first=41 + 50 * part)
        await box.close()


def fail(error: StoreError) -> None:
    raise AssertionError(error)


async def one_burst(box: SqliteOutbox, recorder: Recorder, first: int) -> None:
    """Some of everything; each answer is written down when it comes."""
    drafts = [draft(n, text="x" * 200, callback_url=URL if n % 2 else None) for n in range(first, first + 6)]
    seqs: dict[str, int] = {}
    for one in drafts:

        def done(result: object, id: str = one.id) -> None:
            assert isinstance(result, Stored)
            recorder.promise.accepted.add(id)
            seqs[id] = result.seq

        box.accept(one, done)
    while len(seqs) < len(drafts):
        await asyncio.sleep(0)
    ids = list(seqs)[:4]
    await box.begin([Claim(seqs[id], 0, "main", "s") for id in ids], NOW)
    recorder.promise.begun.update(dict.fromkeys(ids, 1))
    ends = {Event.TAKEN: State.SENT, Event.RETRY: State.PENDING, Event.FAIL: State.FAILED}
    for id, (event, state) in zip(ids, ends.items(), strict=False):
        assert await box.settle(settlement(seqs[id], event), attempt())
        recorder.promise.settled[id] = state


def cuts(
    steps: list[Step], dice: random.Random, places: Container[int] | None = None
) -> Iterator[tuple[Image, Promise]]:
    """What the disk may hold after a cut behind each step (or those in these places), and what had been promised by
    then."""
    durable: Image = {}
    waiting: dict[str, list[Step]] = {}
    for place, step in enumerate(steps):
        match step.what:
            case "sync":
                for earlier in waiting.pop(step.name, []):
                    apply(durable, earlier)
            case "delete":
                waiting.pop(step.name, None)
                durable.pop(step.name, None)
            case _:
                waiting.setdefault(step.name, []).append(step)
        if places is None or place in places:
            promised = steps[place + 1].promised if place + 1 < len(steps) else step.promised
            yield survivors(durable, waiting, dice), promised


def survivors(durable: Image, waiting: dict[str, list[Step]], dice: random.Random) -> Image:
    """The synced content, and of the rest what the dice leave: a beginning in order, or any of it."""
    image = {name: bytearray(content) for name, content in durable.items()}
    in_order = dice.random() < 0.5
    for steps in waiting.values():
        kept = dice.randrange(len(steps) + 1)
        for place, step in enumerate(steps):
            if place < kept if in_order else dice.random() < 0.5:
                torn = step.what == "write" and dice.random() < 0.2
                end = dice.randrange(len(step.data) + 1) // SECTOR * SECTOR if torn else len(step.data)
                apply(image, Step(step.what, step.name, step.offset, step.data[:end], step.promised))
    return image


def apply(image: Image, step: Step) -> None:
    """Let a write or truncation happen to an image."""
    content = image.setdefault(step.name, bytearray())
    if step.what == "truncate":
        del content[step.offset :]
        return
    end = step.offset + len(step.data)
    content.extend(bytes(max(0, end - len(content))))
    content[step.offset : end] = step.data


def broken_promises(image: Image, promised: Promise, directory: Path) -> list[str]:
    """Open what is left and compare, with plain SQL: the store's own start must not heal what it is tested for."""
    for file in directory.iterdir():
        file.unlink()
    for name, content in image.items():
        (directory / name).write_bytes(content)
    db = sqlite3.connect(directory / "outbox.db", isolation_level=None)
    try:
        return compare(db, promised)
    except sqlite3.DatabaseError as error:
        return [f"unreadable: {error}"] if promised.accepted else []
    finally:
        db.close()


def compare(db: sqlite3.Connection, promised: Promise) -> list[str]:
    """Every promise that the database does not keep."""
    wrong = [f"integrity: {row[0]}" for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
    rows = db.execute("SELECT id, seq, state, attempt, priority, flow, due FROM messages").fetchall()
    found = {row[0]: row for row in rows}
    wrong += [f"lost: {id}" for id in promised.accepted - set(found)]
    recorded = {seq for (seq,) in db.execute("SELECT seq FROM attempts")}
    for id, n in promised.begun.items():
        if id in found and found[id][3] < n:
            wrong.append(f"claim forgotten: {id}")
    for id, state in promised.settled.items():
        if id in found and (found[id][2] != state or found[id][1] not in recorded):
            wrong.append(f"settlement forgotten: {id}")
    told = {id for (id,) in db.execute("SELECT id FROM callbacks")}
    ends = db.execute("SELECT id, round, state FROM messages WHERE state > 1 AND callback_url IS NOT NULL")
    if told != {f"evt_{id}_{turn}_{State(state).label}" for id, turn, state in ends}:
        wrong.append(f"told {told} is not what happened")
    [[waiting]] = db.execute("SELECT coalesce(max(value), 0) FROM meta WHERE name = 'callbacks_waiting'")
    if waiting != len(told):
        wrong.append(f"{waiting} callbacks counted, {len(told)} found")
    counted = Counter((row[2], row[4]) for row in rows)
    kept = {(s, p): n for s, p, n in db.execute("SELECT state, priority, n FROM counters") if n}
    if kept != counted:
        wrong.append(f"counters {kept} are not {dict(counted)}")
    pending = [row for row in rows if row[2] == State.PENDING]
    flows = {f: (n, due) for f, n, due in db.execute("SELECT id, pending, next_due FROM flows WHERE pending > 0")}
    recount = {
        flow: (sum(r[5] == flow for r in pending), min(r[6] for r in pending if r[5] == flow))
        for flow in {row[5] for row in pending}
    }
    if flows != recount:
        wrong.append(f"flows {flows} are not {recount}")
    return wrong


@pytest.fixture
def ram() -> Iterator[Path]:
    """A directory in memory where there is one: a thousand databases are made, and their syncs cost nothing there."""
    base = Path("/dev/shm")
    with TemporaryDirectory(dir=base if base.is_dir() else None) as directory:
        (Path(directory) / "life").mkdir()
        (Path(directory) / "after").mkdir()
        yield Path(directory)


async def life(ram: Path, synchronous: str) -> list[Step]:
    """What happened to the disk."""
    recorder = Recorder()
    await work(ram / "life" / "outbox.db", recorder, synchronous)
    return recorder.steps


async def test_full_keeps_every_promise(ram: Path) -> None:
    steps = await life(ram, "full")
    assert len(steps) > 400
    for image, promised in cuts(steps, random.Random(1)):
        assert broken_promises(image, promised, ram / "after") == []


async def test_normal_does_not(ram: Path) -> None:
    """Which promises a cut breaks is up to the dice, which are thrown until each kind was broken."""
    missing = {"lost", "claim forgotten", "settlement forgotten"}
    steps = await life(ram, "normal")
    for seed in range(3, 11):
        for image, promised in cuts(steps, random.Random(seed)):
            missing -= {wrong.split(":")[0] for wrong in broken_promises(image, promised, ram / "after")}
            if not missing:
                return
    raise AssertionError(f"never {missing}")


@pytest.mark.parametrize("seed", range(3))
async def test_the_outbox_opens_on_what_is_left(ram: Path, seed: int) -> None:
    """The store's own start, on a sample of the cuts: it works, and every open attempt is in doubt."""
    steps = await life(ram, "full")
    dice = random.Random(seed)
    for image, promised in cuts(steps, dice, dice.sample(range(len(steps)), 12)):
        for file in (ram / "after").iterdir():
            file.unlink()
        for name, content in image.items():
            (ram / "after" / name).write_bytes(content)
        box = SqliteOutbox(ram / "after" / "outbox.db", on_fatal=fail)
        recovery = await box.open(LATER)
        assert sum(recovery.counts.values()) >= len(promised.accepted)
        doubted, _ = await box.uncertain(LATER, 1_000)
        assert {m.id for m in doubted} >= set(promised.begun) - set(promised.settled)
        for message in doubted:
            assert (await box.attempts(message.seq))[-1].outcome == "crashed"
        await box.close()
