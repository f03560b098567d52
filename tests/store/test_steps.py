"""What follows the wall clock when it is stepped, and what stays?"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

import pytest

from smsd.core.callback import Callback
from smsd.core.lifecycle import Event
from smsd.core.message import Draft, Message, Priority
from smsd.store import Claim, Recovery, Step, Stored, steps
from smsd.store.connection import Handle
from smsd.store.deltas import Deltas
from smsd.store.migrate import migrate
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW, draft
from tests.store.conftest import Opening
from tests.store.contract import accept, attempt, error, settlement

HOUR = 3_600_000
SET_BACK = Step(HOUR, NOW - HOUR)
SET_AHEAD = Step(-HOUR, NOW + HOUR)


async def followed(box: SqliteOutbox, step: Step | None) -> int:
    """To its end; in how many pieces."""
    pieces = 0
    while step is not None:
        step = await box.follow_step(step)
        pieces += 1
    return pieces


async def stored(box: SqliteOutbox, *drafts: Draft) -> list[int]:
    return [each.seq for each in await accept(box, *drafts) if isinstance(each, Stored)]


async def message(box: SqliteOutbox, number: int) -> Message:
    found = await box.get(draft(number).id, None)
    assert found is not None
    return found


async def dues(box: SqliteOutbox, *numbers: int) -> list[int]:
    """Relative to NOW."""
    return [(await message(box, number)).due - NOW for number in numbers]


async def settled(box: SqliteOutbox, number: int, event: Event, due: int) -> None:
    """It was tried at NOW, and is due again then."""
    seq = (await message(box, number)).seq
    assert await box.begin([Claim(seq, 0, "main", "+15005550006")], NOW)
    assert await box.settle(settlement(seq, event, at=NOW, due=due, error=error(at=NOW)), attempt())


async def hold(box: SqliteOutbox, number: int, why: str, due: int) -> None:
    """As a claim does that a limit, or quiet hours, put off."""
    statement = "UPDATE messages SET due = ?, held = ?, held_by = 'words', held_since = ? WHERE id = ?"
    values = (due, why, NOW if why != "quiet_hours" else None, draft(number).id)

    def write(db: Handle, deltas: Deltas) -> None:
        db.execute(statement, values)
        deltas.changed_flow(1, 1)

    await box._change(write)


async def test_set_back_what_was_due_is_due_and_the_rest_as_much_earlier(opening: Opening) -> None:
    box = (await opening()).box
    await stored(
        box,
        draft(1, created_at=NOW - 2 * HOUR, due=NOW - 2 * HOUR),
        draft(2),
        draft(3),
        draft(4),
        draft(5, send_at=NOW + 60_000, due=NOW + 60_000),
        draft(6),
        draft(7),
    )
    await settled(box, 3, Event.RETRY, NOW + 3_000)
    await settled(box, 4, Event.DOUBT, NOW + 5_000)
    await hold(box, 6, "recipient_limit", NOW + 10_000)
    await hold(box, 7, "quiet_hours", NOW + 20_000)

    assert await followed(box, SET_BACK) == 2

    back = -HOUR
    assert await dues(box, 1, 2, 3, 4, 5, 6, 7) == [
        -2 * HOUR, back, back + 3_000, back + 5_000, 60_000, back + 10_000, 20_000,
    ]  # fmt: skip
    doubtful = await message(box, 4)
    assert doubtful.uncertain_since == NOW - HOUR
    assert [each.expires_at for each in (doubtful, await message(box, 2))] == [draft().expires_at] * 2
    found = await box._read(
        lambda db: db.execute("SELECT held_since, held_by FROM messages WHERE held = 'recipient_limit'").fetchone()
    )
    assert found == (NOW - HOUR, "words")


async def test_set_back_the_order_of_what_was_due_stays(opening: Opening) -> None:
    box = (await opening()).box
    ages = [2 * HOUR, HOUR + 1, HOUR - 1, 30_000, 1, 0]
    await stored(box, *(draft(n, created_at=NOW - age, due=NOW - age) for n, age in enumerate(ages, 1)))

    await followed(box, SET_BACK)

    found = await box.feed(1, None, NOW, 100)
    assert [(due.seq, due.due - SET_BACK.now) for due in found.items] == [
        (1, -HOUR), (2, -1), (3, 0), (4, 0), (5, 0), (6, 0),
    ]  # fmt: skip


async def test_set_ahead_retries_and_look_ups_wait_as_long_as_they_had_to(opening: Opening) -> None:
    box = (await opening()).box
    await stored(box, draft(1), draft(2), draft(3), draft(4, send_at=NOW + 60_000, due=NOW + 60_000), draft(5))
    await settled(box, 2, Event.RETRY, NOW + 3_000)
    await settled(box, 3, Event.DOUBT, NOW + 5_000)
    await hold(box, 5, "user_limit", NOW + 10_000)

    assert await followed(box, SET_AHEAD) == 2

    # A limit's turn is left as it is: the ledger of charges, which goes by boot time, is asked again.
    assert await dues(box, 1, 2, 3, 4, 5) == [0, HOUR + 3_000, HOUR + 5_000, 60_000, 10_000]
    assert (await message(box, 3)).uncertain_since == NOW + HOUR


async def test_set_ahead_what_the_new_clock_wrote_stays(opening: Opening) -> None:
    box = (await opening()).box
    await stored(box, draft(1), draft(2))
    later = SET_AHEAD.now
    for number, event in ((1, Event.RETRY), (2, Event.DOUBT)):
        seq = (await message(box, number)).seq
        assert await box.begin([Claim(seq, 0, "main", "+15005550006")], NOW)
        ended = settlement(seq, event, at=later, due=later + 3_000, error=error(at=later))
        assert await box.settle(ended, attempt())

    await followed(box, SET_AHEAD)

    assert await dues(box, 1, 2) == [HOUR + 3_000] * 2
    assert (await message(box, 2)).uncertain_since == later


async def test_set_ahead_a_look_up_that_the_new_clock_put_off_stays(opening: Opening) -> None:
    box = (await opening()).box
    await stored(box, draft(1))
    await settled(box, 1, Event.DOUBT, NOW + 5_000)
    seq, later = (await message(box, 1)).seq, SET_AHEAD.now
    assert await box.settle(settlement(seq, Event.DOUBT, at=later, due=later + 10_000, lookups=1), None)

    await followed(box, SET_AHEAD)

    assert await dues(box, 1) == [HOUR + 10_000]
    assert (await message(box, 1)).uncertain_since == later


async def test_flows_know_when_their_next_message_is_due(opening: Opening) -> None:
    opened = await opening()
    await stored(opened.box, draft(1), draft(2, priority=Priority.BULK))
    await settled(opened.box, 1, Event.RETRY, NOW + 3_000)
    await followed(opened.box, SET_BACK)
    await opened.box.close()
    recovery = (await opening()).recovery
    assert {flow.priority: flow.next_due for flow in recovery.flows} == {
        Priority.NORMAL: NOW - HOUR + 3_000,
        Priority.BULK: NOW - HOUR,
    }


async def test_many_follow_in_pieces_and_a_process_that_dies_between_them_goes_on(opening: Opening) -> None:
    opened = await opening()
    count = 2 * steps.PIECE + 100
    await stored(opened.box, *(draft(n, tenant=("shop", "bank")[n % 2], due=NOW + n) for n in range(1, count + 1)))
    rest = await opened.box.follow_step(SET_BACK)
    rest = rest and await opened.box.follow_step(rest)
    assert rest is not None
    await opened.box._release()  # it dies

    again = await opening(now=SET_BACK.now)
    assert again.recovery.steps[:1] == (rest,)
    assert await followed(again.box, rest) == 2
    found = await again.box._read(
        lambda db: db.execute("SELECT min(due - seq), max(due - seq) FROM messages").fetchone()
    )
    assert found == (SET_BACK.now, SET_BACK.now)
    await again.box.close()
    assert (await opening(now=SET_BACK.now)).recovery.steps == ()


class Machine:
    """Both clocks of one machine."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self.now = NOW
        self.boot_ms = 1_000_000
        self.token = "first"

    def runs(self, ms: int) -> None:
        self.now += ms
        self.boot_ms += ms

    def reboots(self, now: int) -> None:
        self.now, self.boot_ms, self.token = now, 5_000, self.token + "again"

    async def opened(self) -> tuple[SqliteOutbox, Recovery]:
        opened = await self._opening(now=self.now, boot_token=self.token, boot_us=lambda: self.boot_ms * 1_000)
        return opened.box, opened.recovery


@pytest.mark.parametrize("by_ms", [HOUR, -HOUR])
async def test_a_step_made_while_it_was_down_is_found(opening: Opening, by_ms: int) -> None:
    machine = Machine(opening)
    box, recovery = await machine.opened()
    assert recovery.steps == ()
    await box.close()
    machine.runs(600_000)
    machine.now -= by_ms

    for _ in range(2):  # the first of these starts does not come to follow it
        box, recovery = await machine.opened()
        assert recovery.steps == (Step(by_ms, machine.now),)
        await box.close()
    box, recovery = await machine.opened()
    await followed(box, recovery.steps[0])
    await box.close()

    machine.runs(600_000)
    box, recovery = await machine.opened()
    assert recovery.steps == ()


async def test_in_another_boot_the_clock_may_be_behind_what_was_written(opening: Opening) -> None:
    machine = Machine(opening)
    box, recovery = await machine.opened()
    await stored(box, draft(1))
    await box.close()

    machine.reboots(NOW - HOUR)
    box, recovery = await machine.opened()
    assert recovery.steps == (Step(HOUR, NOW - HOUR),)
    await followed(box, recovery.steps[0])
    await box.close()

    machine.reboots(NOW - HOUR + 60_000)  # still behind it, and that was seen to
    box, recovery = await machine.opened()
    assert recovery.steps == ()
    await box.close()

    machine.reboots(NOW + HOUR)  # how long it was off, nobody knows
    box, recovery = await machine.opened()
    assert recovery.steps == ()


async def test_a_little_is_no_step(opening: Opening) -> None:
    machine = Machine(opening)
    box, _ = await machine.opened()
    await box.close()
    machine.now -= 400
    box, recovery = await machine.opened()
    assert recovery.steps == ()
    await box.close()
    machine.now -= 400
    box, recovery = await machine.opened()
    assert recovery.steps == (Step(800, machine.now),)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("UNCERTAIN_BACK", "messages_processing (uncertain=? AND due>?)"),
        ("UNCERTAIN_AHEAD", "messages_processing (uncertain=? AND due<?)"),
        ("PENDING_BACK", "messages_pending (flow=? AND due>?)"),
        ("PENDING_AHEAD", "messages_pending (flow=? AND due>? AND due<?)"),
        ("FLOWS_FROM", "PRIMARY KEY (rowid>?)"),
    ],
)
def test_pieces_are_found_by_an_index_and_in_its_order(name: str, index: str) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db)
    text = vars(steps)[name]
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {text}", [None] * text.count("?"))]
    assert any(step.endswith(index) for step in plan), plan
    assert not [step for step in plan if "TEMP B-TREE" in step], plan
    db.close()


# --- callbacks -------------------------------------------------------------------------------------------------------

URL = "https://shop.example/hook"
DAY = 24 * HOUR


async def told(box: SqliteOutbox, count: int, *, at: int = NOW, first: int = 1) -> list[Callback]:
    """So many callbacks, written at that time, of as many origins."""
    numbers = range(first, first + count)
    await stored(box, *(draft(n, callback_url=f"https://{n}.example/", expires_at=NOW + 99 * DAY) for n in numbers))
    for n in numbers:
        await box.cancel(draft(n).id, None, at)
    found = {each.subject: each for each in await box.callbacks(None, False, None, 10_000)}
    return [found[draft(n).id] for n in numbers]


async def times(box: SqliteOutbox, callbacks: Sequence[Callback]) -> list[tuple[int, int | None]]:
    """When each counts as made and is due, relative to NOW; and that the kept first due times are those."""
    found = {each.id: each for each in await box.callbacks(None, False, None, 10_000)}
    dues = [each.due for each in found.values() if each.due is not None]
    assert (await box.callback_counts()).oldest_due == min(dues)
    assert len((await box.callbacks_due(max(dues), 10_000))[0]) == len(dues)
    assert (await box.callbacks_due(min(dues) - 1, 1))[1] == min(dues)
    kept = [found[each.id] for each in callbacks]
    return [(each.created_at - NOW, None if each.due is None else each.due - NOW) for each in kept]


@pytest.mark.parametrize("by", [HOUR, 4 * DAY])
async def test_set_back_callbacks_are_due_as_soon_and_live_as_long_as_before(opening: Opening, by: int) -> None:
    box = (await opening()).box
    fresh, tried, late = some = await told(box, 3, at=NOW - 20_000)
    await box.callback_failed(replace(tried, due=NOW + 5_000, tries=1, tried_at=NOW))
    await box.callback_failed(replace(late, due=NOW - 1_000, tries=1, tried_at=NOW - 10_000))

    assert await followed(box, Step(by, NOW - by)) == 2

    assert await times(box, some) == [(-by - 20_000, -by), (-by - 20_000, -by + 5_000), (-by - 20_000, -by)]
    assert (await box.callbacks_due(NOW - by, 10))[1] == NOW - by + 5_000
    assert fresh.due is not None


@pytest.mark.parametrize("by", [HOUR, 4 * DAY])
async def test_set_ahead_callbacks_are_due_no_sooner_and_live_as_long_as_before(opening: Opening, by: int) -> None:
    box = (await opening()).box
    _, tried, far, new_try = some = await told(box, 4, at=NOW - 20_000)
    await box.callback_failed(replace(tried, due=NOW + 5_000, tries=1, tried_at=NOW))
    await box.callback_failed(replace(far, due=NOW + 6 * HOUR, tries=9, tried_at=NOW))
    await box.callback_failed(replace(new_try, due=NOW + by + 5_000, tries=2, tried_at=NOW + by))
    some += await told(box, 1, at=NOW + by, first=5)

    await followed(box, Step(-by, NOW + by))

    assert await times(box, some) == [
        (by - 20_000, -20_000), (by - 20_000, by + 5_000), (by - 20_000, by + 6 * HOUR), (by - 20_000, by + 5_000),
        (by, by),
    ]  # fmt: skip


async def test_set_back_and_ahead_again_callbacks_are_as_before(opening: Opening) -> None:
    box = (await opening()).box
    (one,) = some = await told(box, 1, at=NOW - 20_000)
    await box.callback_failed(replace(one, due=NOW + 5_000, tries=1, tried_at=NOW))
    for step in (Step(-4 * DAY, NOW + 4 * DAY), Step(4 * DAY, NOW)):
        await followed(box, step)
    assert await times(box, some) == [(-20_000, 5_000)]


async def test_callbacks_follow_in_pieces_that_go_on_after_a_crash(
    opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "CALLBACKS_AT_ONCE", 2)
    box = (await opening()).box
    some = await told(box, 5, at=NOW - 20_000)
    given_up = some.pop(1)
    await box.callback_failed(replace(given_up, due=None, tries=1, tried_at=NOW))
    rest = await box.follow_step(SET_BACK)
    assert rest is not None
    (new,) = await told(box, 1, at=NOW - HOUR + 60_000, first=6)
    await box.close()
    again = await opening(now=NOW - HOUR)
    assert again.recovery.steps == (rest,)
    pieces = await followed(again.box, rest)
    assert pieces == 3, "two more of callbacks, with the last of which the messages begin"
    assert await times(again.box, some) == [(-HOUR - 20_000, -HOUR)] * 4
    assert await times(again.box, [new]) == [(-HOUR + 60_000, -HOUR + 60_000)], "written by the new clock"
    (kept,) = await again.box.callbacks(None, True, None, 9)
    assert kept.created_at == given_up.created_at
