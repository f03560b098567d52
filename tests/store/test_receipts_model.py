"""Do receipts lead where a few lines of plain Python say, whatever their order?

Scripts of claims, answers (in time, late, never) and receipts (early, late, doubled, by our id or by the provider's
alone) are played to the outbox and to a model of one message that knows no rows. Both must agree after every step: on
the state, on the words of each attempt, on what is charged, and on how many calls count as sent.
"""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.lifecycle import Event
from smsd.core.message import Message, State
from smsd.core.receipt import Receipt, ReceiptReading, Status
from smsd.core.units import DAY, MINUTE
from smsd.core.verdict import Category
from smsd.store import Claim, Recovery, Stored, Tracking
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW, draft
from tests.doubles.inline_connection import inline
from tests.store.contract import Bench, Box, OutboxContract, accept, attempt, settlement

CALLS = 3
"""In all, after receipts that have it sent again."""

RESEND = ReceiptReading(Category.UNDELIVERED, "resend", (60_000,), CALLS)
FINAL = ReceiptReading(Category.REJECTED, "final")

ENDS = {Event.TAKEN: "accepted", Event.RETRY: "defer", Event.FAIL: "refuse", Event.DOUBT: "unknown"}
AFTER = {Event.TAKEN: State.SENT, Event.RETRY: State.PENDING, Event.FAIL: State.FAILED, Event.DOUBT: State.PROCESSING}

ANSWERS = st.tuples(st.just("answer"), st.integers(1, 4), st.sampled_from(list(ENDS)))
RECEIPTS = st.tuples(
    st.sampled_from(["ours", "theirs", "ours without"]), st.integers(1, 4), st.sampled_from(Status), st.booleans()
)
STEPS = st.lists(st.just(("claim",)) | ANSWERS | RECEIPTS, max_size=25)
Step = tuple[str] | tuple[str, int, Event] | tuple[str, int, Status, bool]


class Model:
    """What is to be expected of one message."""

    def __init__(self) -> None:
        self.state = State.PENDING
        self.open = False
        self.calls = 0
        self.charged = 0
        self.sent = 0
        self.words: dict[int, Status] = {}
        self.taken: set[int] = set()
        self.answered: set[int] = set()
        self.known: set[int] = set()
        """Calls whose id the outbox has."""
        self.waiting: dict[int, tuple[Status, bool]] = {}

    def claim(self) -> bool:
        """The next call begins, if it may."""
        if self.state is not State.PENDING:
            return False
        self.state, self.open, self.calls = State.PROCESSING, True, self.calls + 1
        return True

    def answer(self, n: int, event: Event) -> bool:
        """The call's own end; whether it settles the message."""
        in_time = self.open and n == self.calls
        self.answered.add(n)
        if in_time:
            self.open, self.state = False, AFTER[event]
            self.charged += 1
            self.sent += event is Event.TAKEN
        if event is Event.TAKEN:
            self.taken.add(n)
            self.know(n)
        return in_time

    def know(self, n: int) -> None:
        """The id of call n is known: what waited for it counts."""
        self.known.add(n)
        if n in self.waiting:
            self.hear(n, *self.waiting.pop(n))

    def receive(self, how: str, n: int, status: Status, again: bool) -> None:
        """A receipt of call n."""
        if n in self.known if how == "theirs" else n <= self.calls:
            self.hear(n, status, again)
            if how == "ours" and n not in self.known:
                self.know(n)
        elif how != "ours without" and (n not in self.waiting or status > self.waiting[n][0]):
            self.waiting[n] = (status, again)

    def hear(self, n: int, status: Status, again: bool) -> None:
        """The word is about call n."""
        if self.words.get(n, Status.QUEUED) >= status and n in self.words:
            return
        self.words[n] = status
        hopes = self.state in (State.PENDING, State.PROCESSING, State.FAILED)
        if status is Status.DELIVERED:
            self.turn(n, hopes, State.DELIVERED)
        elif status is not Status.UNDELIVERED:
            if hopes and n not in self.taken:
                self.turn(n, hopes, State.SENT)
        elif n == self.calls and (hopes or self.state is State.SENT):
            self.turn(n, hopes, State.UNDELIVERED)
            if again and self.charged < CALLS:
                self.state = State.PENDING
        self.taken.add(n)

    def turn(self, n: int, hopes: bool, state: State) -> None:
        """The message comes into this state; an open call ends by that."""
        self.sent += hopes and n not in self.taken
        self.charged += self.open
        self.open, self.state = False, state


class Play:
    """Plays scripts to one outbox, each with a message of its own."""

    def __init__(self, box: SqliteOutbox) -> None:
        async def never(*_: object) -> tuple[Box, Recovery]:
            raise AssertionError("nothing is restarted here")

        async def unharmed(_: Box) -> None:
            raise AssertionError("nor killed")

        self.box = box
        self.bench = Bench(box, Recovery((), (), 0, None, None, None, {}), never, unharmed)
        self.numbers = count(1)

    async def script(self, steps: list[Step]) -> None:
        """One script."""
        self.number, self.now, model = next(self.numbers), NOW, Model()
        one = draft(self.number, tenant=f"t{self.number}", expires_at=NOW + DAY, max_attempts=20)
        [stored] = await accept(self.box, one)
        assert isinstance(stored, Stored)
        for step in steps:
            self.now += 10 * MINUTE
            await self.step(stored.seq, model, step)
            await self.compare(stored.seq, model, step)

    async def step(self, seq: int, model: Model, step: Step) -> None:
        match step:
            case ("claim",):
                [claimed] = await self.box.begin([Claim(seq, model.calls, "main", "s")], self.now)
                assert isinstance(claimed, Message) == model.claim()
            case ("answer", int(n), Event() as event) if n <= model.calls and n not in model.answered:
                pmid = self.id(n) if event is Event.TAKEN else None
                charged = model.charged + 1
                wanted = settlement(seq, event, n, at=self.now, due=self.now, pmid=pmid, charged=charged)
                done = attempt(n, outcome=ENDS[event], provider_message_id=pmid)
                assert await self.box.settle(wanted, done) == model.answer(n, event)
            case (str(how), int(n), Status() as status, bool(again)):
                model.receive(how, n, status, again)
                await self.box.receive([self.receipt(how, n, status, again)], self.now)

    def id(self, n: int) -> str:
        return f"SM{self.number}-{n}"

    def receipt(self, how: str, n: int, status: Status, again: bool) -> Receipt:
        reading = None if status is not Status.UNDELIVERED else RESEND if again else FINAL
        pmid = None if how == "ours without" else self.id(n)
        if how == "theirs":
            return Receipt("main", status, pmid, reading=reading)
        return Receipt("main", status, pmid, draft(self.number).id, n, reading=reading)

    async def compare(self, seq: int, model: Model, step: Step) -> None:
        message = await self.bench.by_seq(seq)
        assert (message.state, message.charged, message.attempt) == (model.state, model.charged, model.calls), step
        attempts = await self.box.attempts(seq)
        assert {a.n: a.receipt for a in attempts if a.receipt is not None} == model.words, step
        assert [a.n for a in attempts] == sorted({a.n for a in attempts}), "a call has one row"
        totals = await self.box.totals(0, message.tenant)
        assert sum(minute.sent for minute in totals.minutes) == model.sent, step
        assert totals.states == {(model.state, message.priority): 1}


def test_any_script_ends_as_the_model_says(tmp_path: Path) -> None:
    box = SqliteOutbox(tmp_path / "box.db", on_fatal=fail, connect=inline(), synchronous="normal")
    with asyncio.Runner() as runner:
        runner.run(box.open(NOW))
        runner.run(box.track(Tracking(ids=frozenset({"main"}))))
        play = Play(box)

        @settings(max_examples=200, deadline=None)
        @given(STEPS)
        def scripts(steps: list[Step]) -> None:
            runner.run(play.script(steps))

        scripts()
        runner.run(OutboxContract().check(play.bench))
        runner.run(box.close())


def fail(error: Exception) -> None:
    """The outbox broke."""
    raise error
