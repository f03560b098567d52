"""Does any interleaving of what can happen to an outbox let a rolling window exceed its count?

The judge keeps a record of its own, by a time that never steps, and knows nothing of ledgers. Across a restart of the
machine it counts what was claimed while the wall clock told the truth, and what was claimed in a boot in which the
outbox last saw it do so: of the rest no outbox can know how old it is.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import tempfile
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.admission import AdmissionRules
from smsd.core.lifecycle import Event
from smsd.core.limits import Action, Per, Rule
from smsd.core.message import Message, State
from smsd.core.units import HOUR, MINUTE
from smsd.store import Blocked, Claim, Limited, Query, Stored
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW, draft
from tests.doubles.clock import ManualClock
from tests.doubles.inline_connection import inline
from tests.store.contract import accept, attempt, settlement

RULES = (
    Rule(Per.RECIPIENT, 3, HOUR), Rule(Per.RECIPIENT, 5, 4 * HOUR), Rule(Per.USER, 4, HOUR, Action.RETRY),
    Rule(Per.TENANT, 9, 2 * HOUR), Rule(Per.SENDER, 6, HOUR, Action.FAIL, tenant="a"),
    Rule(Per.RECIPIENT, 7, HOUR, Action.REJECT),
)  # fmt: skip
STEPS = (
    "submit", "submit", "submit", "claim", "claim", "claim", "claim", "settle", "settle", "cancel", "reopen", "delete",
    "pause", "pause", "wait", "step", "close", "crash", "boot", "beat", "govern", "moves",
)  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """One that was counted: when by the time that never steps, in which boot, and whether another boot can know it."""

    at: int
    boot: int
    known: bool
    seq: int


@dataclass
class Judge:
    """What each rule was charged, by hand."""

    seen: dict[tuple[int, str], list[Seen]] = field(default_factory=lambda: defaultdict(list))

    def count(self, key: tuple[int, str], one: Seen) -> None:
        rule, charges = RULES[key[0]], self.seen[key]
        charges.append(one)
        since = one.at - rule.span_ms
        counted = [each for each in charges if each.at > since and (each.boot == one.boot or each.known)]
        assert len(counted) <= rule.count, f"{rule.words}: {counted}"

    def right_at_last(self, boot: int) -> None:
        """The wall clock was right when the outbox last saw it in that boot: by it, it knows of all its charges."""
        for charges in self.seen.values():
            charges[:] = [replace(each, known=each.known or each.boot == boot) for each in charges]


class Trial:
    """One run: an outbox on a real file, its machine, and the judge."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.path = directory / "outbox.db"
        self.dice = random.Random(seed)
        self.judge = Judge()
        self.time = self.number = self.boot = self.offset = self.offset_seen = 0
        self.clock = ManualClock(NOW, boot=1_000_000)
        self.live: dict[int, Message] = {}

    async def open(self) -> None:
        self.box = SqliteOutbox(
            self.path, on_fatal=lambda _: None, connect=inline(), synchronous="normal",
            boot_token=f"{self.boot}", boot_us=self.clock.boot,
        )  # fmt: skip
        await self.box.govern(AdmissionRules(RULES))
        await self.box.open(self.clock.wall())
        self.offset_seen = self.offset

    def pass_time(self, ms: int) -> None:
        self.time += ms
        self.clock.advance(ms)

    async def messages(self, *states: State) -> list[Message]:
        return list((await self.box.page(Query(states=states, limit=200))).items)

    def some(self, messages: list[Message]) -> list[Message]:
        return self.dice.sample(messages, min(len(messages), self.dice.randint(1, 6)))

    def seen(self, message: Message, rules: tuple[int, ...]) -> None:
        keys = {
            0: message.recipient, 1: message.recipient, 2: message.user, 3: message.tenant,
            4: message.sender if message.tenant == "a" else None, 5: message.recipient,
        }  # fmt: skip
        one = Seen(self.time, self.boot, self.offset == 0, message.seq)
        for rule in rules:
            name = keys[rule]
            if name is not None:
                self.judge.count((rule, f"{message.tenant} {name}" if rule == 2 else name), one)

    # -- what can happen ---------------------------------------------------------------------------------------------

    async def submit(self) -> None:
        now, dice = self.clock.wall(), self.dice
        drafts = []
        for _ in range(dice.randint(1, 5)):
            self.number += 1
            drafts.append(draft(
                self.number, recipient=f"+1415555010{dice.randint(0, 2)}", tenant=dice.choice("ab"),
                user=dice.choice([None, "u"]), created_at=now, due=now, expires_at=now + 400 * HOUR,
            ))  # fmt: skip
        for one, result in zip(drafts, await accept(self.box, *drafts), strict=True):
            assert isinstance(result, Stored | Limited)
            if isinstance(result, Stored):
                message = await self.box.get(one.id, None)
                assert message is not None
                self.seen(message, (5,))

    async def claim(self) -> None:
        due = [m for m in await self.messages(State.PENDING) if m.due <= self.clock.wall() or self.dice.random() < 0.2]
        some = self.some(due)
        claims = [Claim(m.seq, m.attempt, "main", f"+1500555000{self.dice.randint(0, 1)}", None, 0.5) for m in some]
        for before, after in zip(some, await self.box.begin(claims, self.clock.wall()), strict=True):
            if isinstance(after, Blocked):
                assert after.until > self.clock.wall()
            elif after is not None and after.state is State.PROCESSING and before.attempt == 0:
                self.seen(after, (0, 1, 2, 3, 4))
            elif after is not None and after.state is State.PENDING:
                assert after.due > self.clock.wall()

    async def settle(self) -> None:
        for message in self.some(await self.messages(State.PROCESSING)):
            event = self.dice.choice([Event.TAKEN, Event.RETRY, Event.FAIL])
            end = settlement(message.seq, event, message.attempt, at=self.clock.wall())
            await self.box.settle(end, attempt(message.attempt, at=self.clock.wall()))

    async def cancel(self) -> None:
        for message in self.some(await self.messages(State.PENDING)):
            if isinstance(await self.box.cancel(message.id, None, self.clock.wall()), Message):
                for key in [key for key in self.judge.seen if key[0] == 5]:
                    self.judge.seen[key] = [each for each in self.judge.seen[key] if each.seq != message.seq]

    async def reopen(self) -> None:
        """An operator's retry of those that were called: not held to the recipient's rules, nor judged by them."""
        now = self.clock.wall()
        for message in self.some(await self.messages(State.FAILED)):
            if message.attempt:
                await self.box.reopen(message.id, None, now, now + HOUR, False)

    async def delete(self) -> None:
        """As retention will: finished messages, but for the newest, whose number must not be given out again."""
        finished = "state IN (2, 5, 6) AND seq % 2 = 0 AND seq < (SELECT max(seq) FROM messages)"
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            db.execute(f"DELETE FROM messages WHERE {finished}")

    async def pause(self) -> None:
        self.pass_time(self.dice.randint(1, 20 * MINUTE))

    async def wait(self) -> None:
        self.pass_time(self.dice.randint(HOUR, 3 * HOUR))

    async def step(self) -> None:
        back = self.offset != 0 and self.dice.random() < 0.5
        self.step_by(-self.offset if back else self.dice.choice([-1, 1]) * self.dice.randint(1, 30 * HOUR))

    def step_by(self, ms: int) -> None:
        self.offset += ms
        self.clock.step(ms)

    async def moves(self) -> None:
        for message in self.some(await self.messages(State.PENDING)):
            due = self.clock.wall() + self.dice.randint(0, HOUR)
            await self.box.reschedule(message.id, None, due, due, message.expires_at, None, None, self.clock.wall())

    async def close(self) -> None:
        await self.box.close()
        await self.open()

    async def crash(self) -> None:
        files = [self.path, self.path.with_name(self.path.name + "-wal")]
        kept = [(file, file.read_bytes()) for file in files]
        await self.box.close()
        for file, content in kept:
            file.write_bytes(content)
        await self.open()

    async def boot_again(self) -> None:
        """The machine starts again. Before that its clock is often set right, and mostly the outbox sees it."""
        if self.dice.random() < 0.6:
            self.step_by(-self.offset)
            await (self.beat() if self.dice.random() < 0.8 else self.close())
        await self.box.close()
        if self.offset == self.offset_seen == 0:
            self.judge.right_at_last(self.boot)
        self.boot += 1
        self.offset = 0
        self.pass_time(self.dice.randint(1, 10 * MINUTE))
        self.clock = ManualClock(NOW + self.time, boot=self.dice.randint(1, 90_000_000))
        await self.open()

    async def beat(self) -> None:
        await self.box.beat(self.clock.wall())
        self.offset_seen = self.offset

    async def govern(self) -> None:
        """The rules are read again. If they were others in between, what is in memory goes."""
        if self.dice.random() < 0.5:
            await self.box.govern(AdmissionRules())
        await self.box.govern(AdmissionRules(RULES))

    async def run(self, steps: list[str]) -> int:
        await self.open()
        for name in steps:
            await (self.boot_again() if name == "boot" else getattr(self, name)())
        await self.box.close()
        return sum(len(each) for each in self.judge.seen.values())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(STEPS), min_size=20, max_size=60), st.integers(0, 2**32))
def test_no_interleaving_lets_a_window_exceed_its_count(steps: list[str], seed: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(Trial(Path(directory), seed).run(steps))


@pytest.mark.parametrize("by", ["beat", "close"])
@pytest.mark.parametrize("ms", [2 * HOUR, -2 * HOUR])
def test_a_clock_set_right_before_the_machine_starts_again_empties_no_window(ms: int, by: str) -> None:
    async def story(trial: Trial) -> None:
        trial.step_by(-ms)
        await trial.open()
        for name in ("submit", "claim") * 8:
            await getattr(trial, name)()
        trial.step_by(ms)
        await getattr(trial, by)()
        for _ in range(3):
            await trial.boot_again()
            for name in ("submit", "claim") * 8:
                await getattr(trial, name)()
        await trial.box.close()
        assert max(len(charges) for key, charges in trial.judge.seen.items() if key[0] == 0) == RULES[0].count

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(story(Trial(Path(directory), 1)))


def test_the_trial_is_one() -> None:
    """Windows fill, and turns come: a long run of everything counts much and not all."""
    with tempfile.TemporaryDirectory() as directory:
        trial = Trial(Path(directory), 3)
        asyncio.run(trial.run([trial.dice.choice(STEPS) for _ in range(400)]))
        counts = [len(trial.judge.seen[key]) for key in trial.judge.seen if key[0] == 0]
        assert min(counts) > 2 * RULES[0].count
