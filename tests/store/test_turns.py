"""Is a turn given back by whoever needs it no more, does it outlive a reload, and what if too many wait?"""

from __future__ import annotations

from datetime import UTC

import pytest

from smsd.core.admission import AdmissionRules
from smsd.core.lifecycle import Event
from smsd.core.limits import Action, Per, Rule
from smsd.core.message import Message, State
from smsd.core.quiet import QuietBook
from smsd.core.receipt import Receipt, ReceiptReading, Status
from smsd.core.suppression import EVERY, Suppression
from smsd.core.units import HOUR, MINUTE
from smsd.core.verdict import Category
from smsd.store import charges
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW
from tests.doubles.clock import ManualClock
from tests.store.conftest import Opening
from tests.store.contract import attempt, settlement
from tests.store.contract_limits import Hall

RULE = Rule(Per.SENDER, 1, MINUTE)
A, B = "+15005550001", "+15005550002"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW, boot=1_000_000)


@pytest.fixture
async def box(opening: Opening, clock: ManualClock) -> SqliteOutbox:
    return (await opening(boot_us=clock.boot)).box


@pytest.fixture
def hall(box: SqliteOutbox, clock: ManualClock) -> Hall:
    return Hall(box, clock)


def numbers(count: int) -> list[str]:
    return [f"+141555501{n:02}" for n in range(count)]


async def waiting(hall: Hall, count: int) -> list[int]:
    """One has gone as A, so many wait to be sent as A."""
    [first] = await hall.stored(recipient="+14155550200")
    assert (await hall.one(first, sender=A)).state is State.PROCESSING
    seqs = [seq for number in numbers(count) for seq in await hall.stored(recipient=number)]
    for seq in seqs:
        assert (await hall.one(seq, sender=A)).held == "sender_limit"
    return seqs


def promises(box: SqliteOutbox) -> int:
    return box._ledger.charges.promises


async def test_whoever_ends_gives_the_turn_of_its_sender_back(hall: Hall, box: SqliteOutbox) -> None:
    """The provider's sender counts, and nothing in the message says which that was."""
    await hall.limit(RULE)
    begin = hall.clock.wall()
    unwanted, cancelled, moved, expired = await waiting(hall, 4)
    assert promises(box) == 4
    await box.cancel((await hall.by_seq(cancelled)).id, None, begin)
    message = await hall.by_seq(moved)
    await box.reschedule(message.id, None, begin + HOUR, begin + HOUR, message.expires_at, None, None, begin)
    recipient = (await hall.by_seq(unwanted)).recipient
    await box.suppress(Suppression(EVERY, recipient, begin, "operator"))
    hall.clock.advance(MINUTE)
    assert (await hall.one(unwanted, sender=A)).state is State.FAILED
    assert promises(box) == 1
    await box.expire((await hall.by_seq(expired)).expires_at, 1_000)
    assert promises(box) == 0
    [late] = await hall.stored(recipient="+14155550201")
    assert (await hall.one(late, sender=A)).state is State.PROCESSING


@pytest.mark.parametrize("status", [Status.SENT, Status.UNDELIVERED, Status.DELIVERED])
async def test_who_is_proved_to_be_sent_waits_for_no_turn(hall: Hall, box: SqliteOutbox, status: Status) -> None:
    """By a receipt, whatever it says; also one by which it is sent again."""
    await hall.limit(RULE)
    [seq] = await hall.stored()
    await hall.one(seq, sender=B)
    now = hall.clock.wall()
    assert await box.settle(settlement(seq, Event.RETRY, at=now), attempt(at=now, outcome="unknown"))
    await waiting(hall, 0)
    assert (await hall.one(seq, sender=A)).held == "sender_limit"
    assert promises(box) == 1
    message = await hall.by_seq(seq)
    again = ReceiptReading(Category.UNDELIVERED, "resend", (HOUR,), 9) if status is Status.UNDELIVERED else None
    [received] = await box.receive([Receipt("main", status, "SM1", message.id, 1, reading=again)], hall.clock.wall())
    assert received.message == await hall.by_seq(seq)
    assert (received.proved, received.resent) == (True, again is not None)
    assert promises(box) == 0


async def test_who_goes_as_another_gives_its_turn_back(hall: Hall, box: SqliteOutbox) -> None:
    await hall.limit(RULE)
    first, second = await waiting(hall, 2)
    hall.clock.advance(MINUTE)
    assert (await hall.one(first, sender=B)).state is State.PROCESSING
    assert promises(box) == 1
    hall.clock.advance(MINUTE)
    late, next_one = await hall.stored(2, recipient="+14155550201")
    assert (await hall.one(late, sender=B)).state is State.PROCESSING
    assert (await hall.one(second, sender=B)).held == "sender_limit"
    assert promises(box) == 1
    assert (await hall.one(next_one, sender=A)).state is State.PROCESSING, "as A nobody waits any more"


# --- too many --------------------------------------------------------------------------------------------------------


async def test_beyond_the_promises_each_is_told_one_turn(
    hall: Hall, box: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charges, "PROMISES_KEPT", 3)
    await hall.limit(Rule(Per.SENDER, 2, MINUTE))
    begin = hall.clock.wall()
    [first] = await hall.stored(recipient="+14155550201")
    await hall.one(first, sender=A)
    seqs = await waiting(hall, 14)
    dues = [(await hall.by_seq(seq)).due - begin for seq in seqs]
    assert dues[:4] == [MINUTE, MINUTE, 2 * MINUTE, 2 * MINUTE]
    assert dues[4:] == [3 * MINUTE + n * MINUTE // 2 for n in range(10)]
    assert promises(box) == 3
    for seq, due in zip(seqs, dues, strict=True):
        hall.clock.advance(begin + due - hall.clock.wall())
        assert (await hall.one(seq, sender=A)).state is State.PROCESSING, due
    assert promises(box) == 0


async def test_beyond_the_promises_too_turns_are_given_back(
    hall: Hall, box: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charges, "PROMISES_KEPT", 2)
    await hall.limit(RULE)
    begin = hall.clock.wall()
    seqs = await waiting(hall, 9)
    for seq in seqs[3:]:
        await box.cancel((await hall.by_seq(seq)).id, None, begin)
    [late] = await hall.stored(recipient="+14155550201")
    assert (await hall.one(late, sender=A)).due == begin + 4 * MINUTE


# --- reloads ---------------------------------------------------------------------------------------------------------


async def test_a_reload_that_changes_nothing_keeps_the_promises(hall: Hall, box: SqliteOutbox) -> None:
    other = Rule(Per.TENANT, 9, HOUR)
    await hall.limit(RULE, other)
    begin = hall.clock.wall()
    await waiting(hall, 3)
    same = Rule(Per.SENDER, 1, MINUTE)
    await box.govern(AdmissionRules((same, Rule(Per.TENANT, 8, HOUR)), QuietBook(None, {}, UTC)))
    assert promises(box) == 3
    [late] = await hall.stored(recipient="+14155550201")
    assert (await hall.one(late, sender=A)).due == begin + 4 * MINUTE
    await box.govern(AdmissionRules((Rule(Per.SENDER, 2, MINUTE), other)))
    assert promises(box) == 0
    [later] = await hall.stored(recipient="+14155550202")
    assert (await hall.one(later, sender=A)).state is State.PROCESSING, "there is room by the new rule"


async def test_what_a_cancel_gives_back_is_no_room_where_the_window_is_over_full(hall: Hall) -> None:
    await hall.limit(Rule(Per.USER, 6, HOUR, Action.REJECT))
    seqs = await hall.stored(6, user="u")
    await hall.limit(Rule(Per.USER, 3, HOUR, Action.REJECT))
    assert not await _accepted(hall)
    for seq in reversed(seqs[3:]):
        assert not await _accepted(hall), "six lie in it, then five, then four"
        assert isinstance(await hall.box.cancel((await hall.by_seq(seq)).id, None, hall.clock.wall()), Message)
    assert not await _accepted(hall)
    await hall.box.cancel((await hall.by_seq(seqs[0])).id, None, hall.clock.wall())
    assert await _accepted(hall)
    assert not await _accepted(hall)


async def _accepted(hall: Hall) -> bool:
    return type(await hall.submit(user="u")).__name__ == "Stored"
