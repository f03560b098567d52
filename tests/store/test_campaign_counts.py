"""Do a campaign's counts add up, whatever happens to its messages?

Random scripts are played to a real outbox: messages of campaigns and of none are accepted (again, to those who opted
out, after a cancellation), claimed, settled, expired, cancelled one by one and as a whole, reopened, and met by
receipts; between them smsd ends in order, or in a crash, or a transaction is rolled back. After every step the kept
counts are those of a GROUP BY over the messages, their total is what was accepted, and a campaign is completed exactly
when nothing of it is queued.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.campaign import Hours, Move, Status, Terms
from smsd.core.lifecycle import Event
from smsd.core.message import Message, State
from smsd.core.receipt import Receipt, ReceiptReading
from smsd.core.receipt import Status as Word
from smsd.core.suppression import EVERY, Suppression
from smsd.core.units import HOUR
from smsd.core.verdict import Category
from smsd.store import CampaignClosed, Claim, Query, Replay, Stored, StoreError, Suppressed
from smsd.store.campaigns import moved
from smsd.store.connection import Handle
from smsd.store.deltas import Deltas
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW, draft
from tests.doubles.inline_connection import inline
from tests.store.contract import accept, attempt, error, settlement
from tests.store.test_sqlite_contract import end_in_a_crash

STOPPED = "+14155550111"
RESEND = ReceiptReading(Category.UNDELIVERED, "resend", (60_000,), 9)
FINAL = ReceiptReading(Category.REJECTED, "final")
EVENTS = (Event.TAKEN, Event.RETRY, Event.FAIL, Event.DOUBT)

SMALL = st.integers(0, 40)
STEPS = st.lists(
    st.tuples(st.sampled_from(["accept", "claim", "settle", "receive"]), SMALL, SMALL)
    | st.tuples(st.sampled_from(["expire", "cancel", "reopen", "move", "cancel_some", "make"]), SMALL, SMALL)
    | st.tuples(st.sampled_from(["restart", "crash", "undo"]), SMALL, SMALL),
    min_size=8,
    max_size=30,
)
BEGIN = [("accept", 1, 39), ("accept", 3, 34), ("claim", 0, 0)]
"""Of every script: something is there."""

CAMPAIGNS = (("a", "spring"), ("b", "spring"), ("a", "autumn"), ("a", None))


class Play:
    """One script, with an outbox of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = NOW
        self.numbers = count(1)
        self.accepted: Counter[tuple[str, str]] = Counter()
        self.cancelled: set[tuple[str, str]] = set()

    async def open(self) -> None:
        self.box = SqliteOutbox(
            self.path,
            on_fatal=lambda _: None,
            connect=inline(),
            synchronous="normal",
            boot_token="boot",
            boot_us=lambda: 7,
        )
        await self.box.open(self.now)

    async def play(self, steps: list[tuple[str, int, int]]) -> None:
        await self.open()
        await self.box.suppress(Suppression(EVERY, STOPPED, NOW, "api", None))
        try:
            for name, a, b in BEGIN + steps:
                self.now += 1_000
                await getattr(self, name)(a, b)
                await self.check()
        finally:
            await self.box.close()

    # --- steps -------------------------------------------------------------------------------------------------------

    async def accept(self, a: int, b: int) -> None:
        drafts = []
        for n in range(1 + b % 5):
            tenant, campaign = CAMPAIGNS[(a + n) % 4]
            key = f"k{b % 3}" if (a + n) % 7 == 0 else None
            drafts.append(
                draft(
                    next(self.numbers), tenant=tenant, campaign=campaign, created_at=self.now, due=self.now,
                    expires_at=self.now + (1 + b) * 2_000, idempotency_key=key, content_hash=key and b"h",
                    recipient=STOPPED if (a + 3 * n) % 5 == 0 else "+14155550122",
                )
            )  # fmt: skip
        for one, result in zip(drafts, await accept(self.box, *drafts), strict=True):
            if isinstance(result, Stored):
                if one.campaign is not None:
                    self.accepted[one.tenant, one.campaign] += 1
                    assert (one.tenant, one.campaign) not in self.cancelled
                    assert (result.failed is not None) == (one.recipient == STOPPED)
            elif isinstance(result, CampaignClosed):
                assert (one.tenant, one.campaign) in self.cancelled
            else:
                assert isinstance(result, Replay) or (isinstance(result, Suppressed) and one.campaign is None)

    async def some(self, a: int, *states: State) -> list[Message]:
        """Every second or third of those in these states."""
        page = await self.box.page(Query(states=states, limit=99))
        return list(page.items)[a % 2 :: 1 + a % 3]

    async def claim(self, a: int, b: int) -> None:
        some = await self.some(a, State.PENDING)
        await self.box.begin([Claim(one.seq, one.attempt, "main", "s", due=one.due) for one in some], self.now)

    async def settle(self, a: int, b: int) -> None:
        for place, one in enumerate(await self.some(a, State.PROCESSING)):
            event = EVENTS[(b + place) % 4]
            problem = error(Category.NETWORK, self.now) if event in (Event.FAIL, Event.RETRY) else None
            n = one.attempt - (b % 11 == 0)  # now and then too late
            pmid = f"SM{one.seq}.{n}"
            await self.box.settle(
                settlement(one.seq, event, n, at=self.now, due=self.now, error=problem),
                attempt(n, at=self.now, provider_message_id=pmid if event is Event.TAKEN else None),
            )

    async def receive(self, a: int, b: int) -> None:
        for one in await self.some(a, State.SENT, State.PROCESSING, State.FAILED, State.UNDELIVERED):
            word = list(Word)[b % len(Word)]
            reading = None if word is not Word.UNDELIVERED else RESEND if b % 2 else FINAL
            await self.box.receive([Receipt("main", word, None, one.id, one.attempt, reading=reading)], self.now)

    async def expire(self, a: int, b: int) -> None:
        self.now += b * 1_000
        await self.box.expire(self.now, 1 + a)

    async def cancel(self, a: int, b: int) -> None:
        for one in (await self.some(a, State.PENDING))[:2]:
            await self.box.cancel(one.id, None, self.now)

    async def reopen(self, a: int, b: int) -> None:
        for one in await self.some(a, State.FAILED, State.UNDELIVERED, State.EXPIRED):
            await self.box.reopen(one.id, None, self.now, self.now + 60_000, b % 2 == 0)

    async def make(self, a: int, b: int) -> None:
        tenant, campaign = CAMPAIGNS[a % 3]
        terms = Terms("x", (1 + b, HOUR) if b % 2 else None, Hours(0, 1 + b * 30, "UTC") if b % 3 == 0 else None)
        await self.box.desk.campaigns.make(tenant, campaign or "", terms, self.now)

    async def move(self, a: int, b: int) -> None:
        tenant, campaign = CAMPAIGNS[a % 3]
        move = (Move.PAUSE, Move.RESUME, Move.RESUME, Move.CANCEL)[b % 4]
        found = await self.box.desk.campaigns.move(tenant, campaign or "", move, self.now)
        if found is not None and move is Move.CANCEL:
            self.cancelled.add((tenant, campaign or ""))

    async def cancel_some(self, a: int, b: int) -> None:
        tenant, campaign = CAMPAIGNS[a % 3]
        found = await self.box.desk.campaigns.cancel_some(tenant, campaign or "", self.now, 1 + b % 4)
        assert not found or (tenant, campaign) in self.cancelled

    async def restart(self, a: int, b: int) -> None:
        await self.box.close()
        await self.open()

    async def crash(self, a: int, b: int) -> None:
        await end_in_a_crash(self.box, self.path)
        await self.open()

    async def undo(self, a: int, b: int) -> None:
        """What was changed in a transaction that is rolled back comes to nothing."""
        tenant, campaign = CAMPAIGNS[a % 3]

        def fault(db: Handle, deltas: Deltas) -> None:
            moved(db, self.box._ledger, tenant, campaign or "", Move.CANCEL, self.now)
            deltas.accepted(tenant, 1, 1, campaign, self.now)
            raise ValueError("as it happens")

        with suppress(StoreError, ValueError):
            await self.box._change(fault)

    # --- the end -----------------------------------------------------------------------------------------------------

    async def check(self) -> None:
        with closing(sqlite3.connect(self.path)) as db:
            query = "SELECT tenant, campaign, state, count(*) FROM messages WHERE campaign IS NOT NULL GROUP BY 1, 2, 3"
            counted = {(t, c, State(s)): n for t, c, s, n in db.execute(query)}
        found = await self.box.desk.campaigns.page(None, None, 99)
        kept = {(one.tenant, one.id, state): n for one in found for state, n in one.counts.states.items()}
        assert kept == counted
        assert {(one.tenant, one.id): one.counts.total for one in found if one.counts.total} == dict(self.accepted)
        for one in found:
            queued = sum(counted.get((one.tenant, one.id, state), 0) for state in (State.PENDING, State.PROCESSING))
            is_over = one.counts.total > 0 and queued == 0 and one.cancelled_at is None
            assert (one.status is Status.COMPLETED) == is_over
            assert (one.status is Status.CANCELLED) == ((one.tenant, one.id) in self.cancelled)


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_counts_add_up(tmp_path_factory: object, steps: list[tuple[str, int, int]]) -> None:
    assert hasattr(tmp_path_factory, "mktemp")
    path: Path = tmp_path_factory.mktemp("counts") / "state" / "outbox.db"
    asyncio.run(Play(path).play(steps))
