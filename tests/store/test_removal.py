"""What goes when a message is taken away, what stays, and what is never touched."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from smsd.core.campaign import Move, Terms
from smsd.core.lifecycle import Event
from smsd.core.message import Message, Priority, State
from smsd.core.receipt import Receipt, ReceiptReading, Status
from smsd.core.units import DAY, HOUR
from smsd.core.verdict import Category
from smsd.store import (
    Arrival,
    Blocked,
    CampaignClosed,
    Claim,
    KeyConflict,
    Replay,
    Stored,
    Tracking,
    aging,
    sweeping,
)
from smsd.store.migrate import migrate
from smsd.store.operators import RetentionRules
from smsd.store.restore import restore
from smsd.store.sqlite import SqliteOutbox
from smsd.store.statements import with_rows
from tests.doubles.builders import NOW, draft
from tests.store.conftest import Opening
from tests.store.contract import Bench, accept, attempt, error, settlement

RULES = RetentionRules(finished_ms=30 * DAY, failed_ms=60 * DAY)
FINISHED = {State.SENT, State.DELIVERED, State.CANCELLED, State.EXPIRED}
FINAL = {State.SENT, State.DELIVERED, State.UNDELIVERED, State.FAILED, State.CANCELLED, State.EXPIRED}


@pytest.fixture
async def bench(opening: Opening) -> Bench:
    async def reopen(now: int, same_boot: bool, by_segments: object) -> tuple[SqliteOutbox, object]:
        opened = await opening(now)
        return opened.box, opened.recovery

    async def kill(box: object) -> None:
        raise NotImplementedError

    first = await opening()
    return Bench(first.box, first.recovery, reopen, kill)  # type: ignore[arg-type]  # nobody crashes here


def outbox(bench: Bench) -> SqliteOutbox:
    assert isinstance(bench.box, SqliteOutbox)
    return bench.box


async def retain(bench: Bench, now: int, rules: RetentionRules = RULES) -> Counter[str]:
    """One pass; how many rows went, by sort."""
    removed: Counter[str] = Counter()
    for _ in range(10_000):
        step = await outbox(bench).desk.removal.step(rules, now)
        if step.done:
            return +removed
        removed[step.what] += step.rows
    raise AssertionError("it does not end")


async def ended(bench: Bench, number: int, event: Event, at: int = NOW, **fields: object) -> int:
    """A message that met this event."""
    [seq] = await bench.stored(draft(number, created_at=at, due=at, expires_at=at + 2 * HOUR, **fields))
    await bench.claimed(seq, now=at)
    cause = error(Category.NETWORK, at) if event is Event.FAIL else None
    pmid = None if event is Event.FAIL else f"SM{number}"
    assert await bench.box.settle(
        settlement(seq, event, at=at, error=cause, pmid=pmid), attempt(at=at, provider_message_id=pmid)
    )
    return seq


# --- what an operator names ------------------------------------------------------------------------------------------


async def test_only_what_failed_is_deleted(bench: Bench) -> None:
    await ended(bench, 1, Event.FAIL)
    await ended(bench, 2, Event.TAKEN)
    await bench.stored(draft(3))
    ids = [draft(n).id for n in (1, 2, 3, 4, 1)]
    states = await outbox(bench).desk.removal.delete(ids, None, NOW)
    assert states == [State.FAILED, State.SENT, State.PENDING, None, State.FAILED]
    assert [m.seq for m in await bench.everything()] == [2, 3]
    totals = await bench.box.totals(0)
    assert totals.states == {(State.SENT, Priority.NORMAL): 1, (State.PENDING, Priority.NORMAL): 1}
    assert totals.categories == {"NETWORK": 1}
    assert await bench.box.attempts(1) == []


async def test_another_tenants_is_not_there(bench: Bench) -> None:
    await ended(bench, 1, Event.FAIL)
    assert await outbox(bench).desk.removal.delete([draft(1).id], "other", NOW) == [None]
    assert len(await bench.everything()) == 1
    with pytest.raises(ValueError, match="at most 200"):
        await outbox(bench).desk.removal.delete(["x"] * 201, None, NOW)


async def test_a_key_outlives_its_message_by_a_day(bench: Bench) -> None:
    keyed = draft(1, idempotency_key="k", content_hash=b"a")
    await ended(bench, 1, Event.FAIL, idempotency_key="k", content_hash=b"a", segments=3)
    await outbox(bench).desk.removal.delete([keyed.id], None, NOW)
    again = draft(2, idempotency_key="k", content_hash=b"a")
    assert await bench.accept(again) == [Replay(keyed.id, State.FAILED, 3, 0)]
    assert await bench.accept(draft(2, idempotency_key="k", content_hash=b"b")) == [KeyConflict(keyed.id)]
    assert await bench.box.find_key("shop", "k", b"a") == Replay(keyed.id, State.FAILED, 3, 0)
    await bench.restart()
    assert not (await retain(bench, NOW + DAY - 1))["keys"]
    assert await bench.accept(again) == [Replay(keyed.id, State.FAILED, 3, 0)]
    assert (await retain(bench, NOW + DAY + HOUR))["keys"] == 1
    assert isinstance((await bench.accept(again))[0], Stored)


async def test_numbering_goes_on_over_a_restart(bench: Bench) -> None:
    for number in (1, 2, 3):
        await ended(bench, number, Event.FAIL)
    for number in (3, 2, 1):
        await outbox(bench).desk.removal.delete([draft(number).id], None, NOW)
    await bench.restart()
    assert await bench.stored(draft(4)) == [4]


async def test_calls_count_in_their_windows_on(bench: Bench) -> None:
    """They are nobody's then; old ones go."""
    await ended(bench, 1, Event.FAIL)
    before = await bench.box.starts("main", 0, 0, 10)
    await outbox(bench).desk.removal.delete([draft(1).id], None, NOW)
    assert await bench.box.starts("main", 0, 0, 10) == before != []
    assert (await retain(bench, NOW + 3 * DAY))["calls"] == 1
    assert await bench.box.starts("main", 0, 0, 10) == []


async def test_what_a_look_up_finds_is_still_known_as_anothers(bench: Bench) -> None:
    await bench.box.track(Tracking(ids=frozenset({"main"})))
    [seq] = await bench.stored(draft(1))
    await bench.claimed(seq)
    await bench.box.settle(settlement(seq, Event.TAKEN, pmid="SM1"), attempt(provider_message_id="SM1"))
    miss = Receipt("main", Status.UNDELIVERED, "SM1", reading=ReceiptReading(Category.INVALID_RECIPIENT, "final"))
    await bench.box.receive([miss], NOW + 5)
    assert await outbox(bench).desk.removal.delete([draft(1).id], None, NOW + 9) == [State.UNDELIVERED]
    assert await bench.box.bound(["SM1", "SM2"]) == {"SM1"}
    [late] = await bench.box.receive([Receipt("main", Status.DELIVERED, "SM1")], NOW + 10)
    assert late.message is None


# --- what is old -----------------------------------------------------------------------------------------------------


async def test_each_sort_is_kept_for_as_long_as_the_rules_say(bench: Bench) -> None:
    sent = await ended(bench, 1, Event.TAKEN)
    failed = await ended(bench, 2, Event.FAIL)
    [expired, cancelled, pending] = await bench.stored(
        draft(3), draft(4, expires_at=NOW + DAY), draft(5, expires_at=NOW + 400 * DAY)
    )
    await bench.box.expire(NOW + HOUR, 10)
    await bench.box.cancel(draft(4).id, None, NOW + HOUR)
    assert [m.seq for m in await bench.everything()] == [sent, failed, expired, cancelled, pending]
    assert not await retain(bench, NOW + 30 * DAY - 1)
    assert (await retain(bench, NOW + 30 * DAY))["messages"] == 1
    assert [m.seq for m in await bench.everything()] == [failed, expired, cancelled, pending]
    assert (await retain(bench, NOW + 30 * DAY + HOUR))["messages"] == 2
    assert [m.seq for m in await bench.everything()] == [failed, pending]
    assert (await retain(bench, NOW + 61 * DAY))["messages"] == 1
    assert [m.seq for m in await bench.everything()] == [pending]
    assert not (await retain(bench, NOW + 300 * DAY, RetentionRules(None, None)))["messages"]


async def test_age_counts_from_the_last_that_happened(bench: Bench) -> None:
    await ended(bench, 1, Event.TAKEN)
    await bench.box.receive([Receipt("main", Status.DELIVERED, "SM1", draft(1).id, 1)], NOW + 5 * DAY)
    assert not (await retain(bench, NOW + 30 * DAY))["messages"]
    assert (await retain(bench, NOW + 35 * DAY))["messages"] == 1


async def test_off_is_for_ever_and_one_sort_does_not_hold_up_the_other(bench: Bench) -> None:
    for number in range(1, 11):
        await ended(bench, number, Event.TAKEN if number % 2 else Event.FAIL)
    rules = RetentionRules(finished_ms=HOUR, failed_ms=None)
    assert (await retain(bench, NOW + DAY, rules))["messages"] == 5
    assert {m.state for m in await bench.everything()} == {State.FAILED}
    rules = RetentionRules(finished_ms=None, failed_ms=HOUR)
    assert (await retain(bench, NOW + DAY, rules))["messages"] == 5


async def test_what_failed_was_passed_and_went_later_is_found_again(bench: Bench) -> None:
    seq = await ended(bench, 1, Event.FAIL)
    await ended(bench, 2, Event.TAKEN)
    rules = RetentionRules(finished_ms=DAY, failed_ms=None)
    assert (await retain(bench, NOW + DAY, rules))["messages"] == 1
    at = NOW + DAY
    again = await bench.box.reopen(draft(1).id, None, at, at + HOUR, force=False)
    assert isinstance(again, Message)
    await bench.box.begin([Claim(seq, again.attempt, "main", "+15005550006")], at)
    assert await bench.box.settle(settlement(seq, Event.TAKEN, 2, at=at, pmid="SM9"), attempt(2, at=at))
    assert (await retain(bench, at + 2 * DAY, rules))["messages"] == 1


@pytest.mark.parametrize("fails_again", [False, True])
@pytest.mark.parametrize("steps", range(6))
async def test_what_is_sent_again_between_reading_and_writing_stays(
    bench: Bench, steps: int, fails_again: bool
) -> None:
    seq = await ended(bench, 1, Event.FAIL)
    removal, then = outbox(bench).desk.removal, NOW + 90 * DAY
    for _ in range(steps):
        await removal.step(RULES, then)
    again = await bench.box.reopen(draft(1).id, None, then, then + HOUR, force=False)
    if again is not None and fails_again:
        await bench.claimed(seq, now=then)
        await bench.box.settle(settlement(seq, Event.FAIL, 2, at=then, error=error()), attempt(2, at=then))
    await retain(bench, then)
    assert len(await bench.everything()) == (again is not None)


async def test_copies_can_give_pages_back_too(opening: Opening, path: Path, tmp_path: Path) -> None:
    box = (await opening()).box
    await box.snapshot(tmp_path / "backup.db")
    restore(tmp_path / "backup.db", tmp_path / "other", pending="hold")
    await box.close()
    for copy in (path, tmp_path / "backup.db", tmp_path / "other" / "outbox.db"):
        with closing(sqlite3.connect(copy)) as db:
            assert db.execute("PRAGMA auto_vacuum").fetchone() == (2,)


async def test_the_last_pass_says_when_the_next_may_find_something(bench: Bench) -> None:
    await ended(bench, 1, Event.TAKEN)
    removal = outbox(bench).desk.removal
    step = await removal.step(RULES, NOW + DAY)
    while not step.done:
        step = await removal.step(RULES, NOW + DAY)
    assert step.next == NOW + 30 * DAY


async def test_texts_lines_and_campaigns_go_too(bench: Bench) -> None:
    await bench.box.track(Tracking(threads=frozenset({"main"})))
    await ended(bench, 1, Event.TAKEN, campaign="spring")
    [waits] = await bench.stored(draft(2, campaign="autumn", expires_at=NOW + 900 * DAY))
    await bench.stored(draft(3, campaign="newest"))
    for number in (1, 2):
        await bench.box.arrive(
            Arrival(
                f"in{number}", "main", f"MO{number}", draft().recipient, "+15005550006", "hi", None, None, NOW, "shop"
            )
        )
    removed = await retain(bench, NOW + 500 * DAY)
    assert removed["inbound"] == 1, "the newest stays: numbering goes on behind it"
    assert removed["threads"] == 1
    assert removed["minutes"] == 1
    assert removed["campaigns"] == 1, "autumn has queued messages; the newest stays, too"
    campaigns = await outbox(bench).desk.campaigns.page(None, None, 10)
    assert sorted(one.id for one in campaigns) == ["autumn", "newest"]
    assert (await bench.by_seq(waits)).state is State.PENDING


async def campaigns_left(bench: Bench) -> set[str]:
    return {one.id for one in await outbox(bench).desk.campaigns.page(None, None, 10_000)}


@pytest.mark.parametrize("move", [Move.PAUSE, Move.CANCEL])
async def test_what_was_said_of_a_campaign_outlives_its_messages(bench: Bench, move: Move) -> None:
    """Said just before its messages go, or long before them: its next messages are still held up."""
    await ended(bench, 1, Event.TAKEN, campaign="news")
    await ended(bench, 2, Event.TAKEN, campaign="over")
    await ended(bench, 3, Event.TAKEN, campaign="newest")
    late = NOW + 60 * DAY - HOUR
    moved = await outbox(bench).desk.campaigns.move("shop", "news", move, late)
    assert moved is not None
    assert moved.changed_at == late
    for after in (NOW + 60 * DAY + HOUR, late + 61 * DAY):
        await retain(bench, after)
        assert await campaigns_left(bench) == {"news", "newest"}
    answer = (await bench.accept(draft(4, campaign="news", created_at=late, due=late, expires_at=late + DAY)))[0]
    if move is Move.CANCEL:
        assert answer == CampaignClosed("news")
    else:
        assert isinstance(answer, Stored)
        [blocked] = await bench.box.begin([Claim(answer.seq, 0, "main", "+15005550006")], late)
        assert isinstance(blocked, Blocked)
    if move is Move.CANCEL:
        assert (await retain(bench, late + 500 * DAY))["campaigns"] == 1


async def test_a_campaign_stays_as_long_as_a_message_of_it(bench: Bench) -> None:
    """A failed one may be sent again, whatever the campaign's own age. The rate it was made with holds then."""
    desk = outbox(bench).desk
    await desk.campaigns.make("shop", "rated", Terms("", (1, HOUR), None), NOW)
    await ended(bench, 1, Event.FAIL, campaign="rated")
    await ended(bench, 2, Event.TAKEN, campaign="newest")
    await outbox(bench)._change(lambda db, _: db.execute("UPDATE campaigns SET changed_at = ?", (NOW - 90 * DAY,)))
    removed = await retain(bench, NOW + 59 * DAY)
    assert (removed["messages"], removed["campaigns"]) == (1, 0)
    assert "rated" in await campaigns_left(bench)
    assert await desk.removal.delete([draft(1).id], None, NOW + 59 * DAY) == [State.FAILED]
    assert (await retain(bench, NOW + 60 * DAY + HOUR))["campaigns"] == 1


async def test_campaigns_that_must_stay_hold_up_none_behind_them(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "CAMPAIGNS_STRETCH", 7)
    far = NOW + 900 * DAY
    later = (draft(n, campaign=f"later{n}", due=far, send_at=far, expires_at=far + DAY) for n in range(20))
    await bench.stored(*later)
    for n in range(9):
        await ended(bench, 20 + n, Event.TAKEN, campaign=f"done{n}")
    await ended(bench, 99, Event.TAKEN, campaign="newest")
    assert (await retain(bench, NOW + 61 * DAY))["campaigns"] == 9
    assert await campaigns_left(bench) == {"newest", *(f"later{n}" for n in range(20))}


async def test_live_messages_hold_up_none_behind_them(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: those that are not remembered are met when the walk begins anew."""
    monkeypatch.setattr(aging, "LATER_KEPT", 3)
    live = await bench.stored(*(draft(n, expires_at=NOW + 900 * DAY) for n in range(100, 110)))
    for number in range(1, 6):
        await ended(bench, number, Event.TAKEN)
    assert (await retain(bench, NOW + 30 * DAY))["messages"] == 5
    at = NOW + 40 * DAY
    await bench.claimed(live[-1], now=at)
    assert await bench.box.settle(settlement(live[-1], Event.TAKEN, at=at, pmid="SM9"), attempt(at=at))
    old = at + 30 * DAY
    assert not (await retain(bench, old - 1))["messages"]
    assert (await retain(bench, old + HOUR))["messages"] == 1
    walk = aging.Walk(frozenset({2}))
    walk.begin(old)
    await outbox(bench)._read(lambda db: walk.read(db, DAY, old))
    assert (walk.complete, walk.next) == (True, old + HOUR)


async def test_deletion_goes_by_the_rules_in_force(bench: Bench) -> None:
    """Before the first step, too: a call counts in its provider's longest window."""
    await ended(bench, 1, Event.FAIL)
    outbox(bench).desk.removal.rule(RetentionRules(calls_ms=8 * DAY))
    await outbox(bench).desk.removal.delete([draft(1).id], None, NOW + 3 * DAY)
    assert await bench.box.starts("main", 0, 0, 10) != []


async def test_pages_are_given_back_when_many_are_free(opening: Opening, path: Path) -> None:
    box = (await opening()).box
    bulk = {"metadata": {"k": "x" * 3_000}}
    for start in range(0, 4_000, 500):
        await accept(box, *(draft(n, expires_at=NOW + 1, **bulk) for n in range(start, start + 500)))
    await box.expire(NOW + HOUR, 5_000)
    assert not await box.desk.removal.shrink()
    while not (await box.desk.removal.step(RetentionRules(finished_ms=DAY), NOW + 3 * DAY)).done:
        pass
    steps = 0
    while await box.desk.removal.shrink():
        steps += 1
    await box.close()
    assert steps > 10
    assert path.stat().st_size < 5_000_000, "of 16"


def is_statement(text: object) -> bool:
    return isinstance(text, str) and text.split()[0] in {"SELECT", "UPDATE", "DELETE"}


STATEMENTS = {
    **{name: text for name, text in vars(sweeping).items() if name.isupper() and is_statement(text)},
    **{f"FROM {only}": text for only, text in aging.FROM.items()},
    "THESE": aging.THESE,
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_walks_a_table_or_sorts(name: str) -> None:
    """Those that look at the low end walk an index in its order, and stop at LIMIT."""
    sql = with_rows(STATEMENTS[name], 1, 2)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db)
        steps = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", [1] * sql.count("?"))]
    assert not [step for step in steps if "TEMP B-TREE" in step]
    scans = [step for step in steps if step.startswith("SCAN") and step not in ("SCAN v", "SCAN m")]
    assert not [step for step in scans if "CONSTANT" not in step and "subquery" not in step] or "LIMIT ?" in sql


# --- whatever happens ------------------------------------------------------------------------------------------------


class Lives:
    """Messages live at random while the retention runs; what must be there is known beside the outbox."""

    def __init__(self, bench: Bench, dice: random.Random) -> None:
        self.bench = bench
        self.dice = dice
        self.now = NOW
        self.number = 0
        self.rules = RetentionRules(
            finished_ms=dice.choice([None, HOUR, DAY]),
            failed_ms=dice.choice([None, HOUR, 2 * DAY]),
            redact_ms=dice.choice([None, HOUR]),
        )
        self.keys: dict[str, tuple[str, int]] = {}
        """By key: the id of its message, and until when it must answer at least."""
        self.highest = 0

    async def go_on(self) -> None:
        self.now += self.dice.choice([0, 60_000, HOUR, DAY // 2])
        for _ in range(self.dice.randrange(4)):
            await self.accept()
        for message in await self.bench.everything():
            if self.dice.random() < 0.5:
                await self.live(message)
        await self.bench.box.expire(self.now, 100)
        if self.dice.random() < 0.1:
            await self.bench.restart(self.now)
        before = {m.seq: m for m in await self.bench.everything()}
        charged = await self.charges()
        await retain(self.bench, self.now, self.rules)
        await self.check(before)
        assert await self.charges() == charged

    async def accept(self) -> None:
        self.number += 1
        one = draft(
            self.number,
            created_at=self.now,
            due=self.now,
            expires_at=self.now + self.dice.choice([HOUR, 3 * DAY]),
            idempotency_key=f"k{self.number}",
            content_hash=b"a",
            campaign=self.dice.choice([None, "spring"]),
        )
        [seq] = await self.bench.stored(one)
        assert seq > self.highest, "numbers are never used again"
        self.highest = seq
        self.keys[f"k{self.number}"] = (one.id, self.now)

    async def live(self, message: Message) -> None:
        box, now = self.bench.box, self.now
        if message.state is State.PENDING:
            if self.dice.random() < 0.2:
                await box.cancel(message.id, None, now)
            elif message.expires_at > now:
                await box.begin([Claim(message.seq, message.attempt, "main", "+15005550006")], now)
        elif message.state is State.PROCESSING:
            event = self.dice.choice([Event.TAKEN, Event.FAIL])
            cause = error(Category.NETWORK, now) if event is Event.FAIL else None
            n = message.attempt
            await box.settle(settlement(message.seq, event, n, at=now, error=cause), attempt(n, at=now))
        elif message.state is State.FAILED and self.dice.random() < 0.3:
            await box.reopen(message.id, None, now, now + HOUR, force=True)
        elif message.state is State.SENT and self.dice.random() < 0.3:
            await box.receive([Receipt("main", Status.DELIVERED, None, message.id, message.attempt)], now)

    async def charges(self) -> tuple[tuple[int, int | None], ...]:
        """When calls were made, as the windows of two days count them."""
        starts = await self.bench.box.starts("main", self.now - 2 * DAY, 0, 10_000)
        return tuple((start.wall, start.boot) for start in starts if start.wall > self.now - 2 * DAY)

    async def check(self, before: dict[int, Message]) -> None:
        after = {m.seq: m for m in await self.bench.everything()}
        for seq, message in before.items():
            old = self.old(message, self.keep(message))
            assert (seq not in after) is old, message
            if not old:
                hidden = message.state in FINISHED and self.old(message, self.rules.redact_ms)
                assert after[seq].redacted is (hidden or message.redacted)
                assert (after[seq] == message) is (after[seq].redacted is message.redacted)
            if message.idempotency_key is not None and old:
                self.keys[message.idempotency_key] = (message.id, self.now + DAY)
        for key, (id, until) in self.keys.items():
            if any(m.id == id for m in after.values()) or until > self.now:
                replay = await self.bench.box.find_key("shop", key, b"a")
                assert isinstance(replay, Replay)
                assert replay.id == id
        totals = await self.bench.box.totals(0)
        assert totals.states == Counter((m.state, m.priority) for m in after.values())

    def keep(self, message: Message) -> int | None:
        failed = message.state in (State.FAILED, State.UNDELIVERED)
        return self.rules.failed_ms if failed else self.rules.finished_ms

    def old(self, message: Message, keep_ms: int | None) -> bool:
        if keep_ms is None or message.state not in FINAL:
            return False
        return max(message.processed_at or 0, message.delivered_at or 0) <= self.now - keep_ms


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_that_is_not_old_is_ever_touched(bench: Bench, seed: int) -> None:
    lives = Lives(bench, random.Random(seed))
    for _ in range(25):
        await lives.go_on()
