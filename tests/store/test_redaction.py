"""Texts and numbers that are not to be kept: what is left of them, and who still finds what."""

from __future__ import annotations

import stat
from dataclasses import replace
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import structlog

from smsd.core.lifecycle import Event
from smsd.core.message import Message, State
from smsd.core.receipt import Receipt, ReceiptReading, Status
from smsd.core.report import Group, Span, Tariff
from smsd.core.units import DAY, HOUR
from smsd.core.verdict import Category
from smsd.store import (
    Arrival,
    Claim,
    KeyConflict,
    Person,
    PersonCounts,
    Query,
    Replay,
    StoreError,
    Tracking,
    WrongState,
)
from smsd.store.operators import RetentionRules
from smsd.store.redaction import Redaction
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW, draft
from tests.store.conftest import Opening
from tests.store.contract import accept, attempt, error, settlement

RULES = RetentionRules(redact_ms=HOUR)
THEN = NOW + 2 * HOUR
NUMBER, OTHER = "+14155550188", "+14155550199"
TEXT = "Your secret word is Rumpelstiltskin"


async def redact(box: SqliteOutbox, now: int = THEN, rules: RetentionRules = RULES) -> dict[str, int]:
    removed: dict[str, int] = {}
    while not (step := await box.desk.removal.step(rules, now)).done:
        removed[step.what] = removed.get(step.what, 0) + step.rows
    return {what: rows for what, rows in removed.items() if rows}


async def sent(box: SqliteOutbox, number: int = 1, event: Event = Event.TAKEN, **fields: object) -> Message:
    """A message to NUMBER that met this event."""
    fields = {"recipient": NUMBER, "text": TEXT, "user": "u1", **fields}
    await accept(box, draft(number, **fields))
    id = draft(number).id
    found = await box.get(id, None)
    assert found is not None
    await box.begin([Claim(found.seq, 0, "main", "+15005550006")], NOW)
    cause = error(Category.NETWORK, NOW) if event is Event.FAIL else None
    pmid = None if cause else f"SM{number}"
    trace = f"201 to {NUMBER}"
    await box.settle(settlement(found.seq, event, at=NOW, error=cause, pmid=pmid), attempt(trace=trace))
    after = await box.get(id, None)
    assert after is not None
    return after


def inbound(number: int, at: int) -> Arrival:
    """A text that NUMBER wrote."""
    return Arrival(f"in{number}", "main", f"MO{number}", NUMBER, "+15005550006", TEXT, None, None, at, "shop")


async def test_what_is_redacted_is_found_by_its_number(opening: Opening) -> None:
    box = (await opening()).box
    message = await sent(box)
    await sent(box, 2, recipient=OTHER)
    failed = await sent(box, 3, Event.FAIL)
    assert await redact(box, NOW + HOUR - 1) == {}
    assert await redact(box) == {"redacted": 2}
    after = await box.get(message.id, None)
    assert after is not None
    assert (after.text, after.redacted, len(after.recipient), after.recipient[0]) == ("", True, 33, "#")
    page = await box.page(Query(recipient=NUMBER))
    assert [m.seq for m in page.items] == [failed.seq, message.seq]
    assert [m.seq for m in (await box.page(Query(recipient=after.recipient))).items] == [message.seq]
    assert page.items[0] == failed, "a failed one may be sent again"
    counts = await box.counts_of(Person(recipient=NUMBER, tenant=None), NOW - DAY, NOW - HOUR)
    assert counts == PersonCounts(1, 1, 1, 0)
    assert (await box.attempts(message.seq))[0].trace is None
    assert await redact(box) == {}


async def test_the_key_outlives_a_restart_and_is_nobody_elses(opening: Opening, path: Path) -> None:
    box = (await opening()).box
    message = await sent(box)
    key = path.with_name("redaction.key")
    assert not key.exists()
    await redact(box)
    assert (stat.S_IMODE(key.stat().st_mode), key.stat().st_size) == (0o600, 32)
    await box.close()
    box = (await opening()).box
    assert [m.seq for m in (await box.page(Query(recipient=NUMBER))).items] == [message.seq]


async def test_a_key_that_cannot_be_used_stops_redaction_alone(opening: Opening, path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    key = path.with_name("redaction.key")
    key.write_bytes(b"short")
    with structlog.testing.capture_logs() as logs:
        box = (await opening()).box
        message = await sent(box)
        assert await redact(box) == {}
        assert await redact(box, NOW + 31 * DAY) != {}
    assert [line["event"] for line in logs if line["log_level"] == "error"] == [
        "redacted messages are not found by their numbers",
        "nothing is redacted",
    ]
    assert await box.get(message.id, None) is None
    with pytest.raises(StoreError, match="is damaged"):
        Redaction(key).make()
    with pytest.raises(StoreError, match="no key"):
        Redaction(key).hidden(NUMBER)


async def test_a_key_tells_nobody_the_number_and_still_answers(opening: Opening, path: Path) -> None:
    box = (await opening()).box
    content, others = sha256(f"{NUMBER} {TEXT}".encode()).digest(), sha256(b"other").digest()
    fields: dict[str, Any] = {"idempotency_key": "k", "content_hash": content}
    message = await sent(box, **fields)
    names = [("shop", "k")]
    assert await box.desk.foresight.hashes(names) == {names[0]: content}
    await redact(box)
    for _ in range(2):
        again = Replay(message.id, State.SENT, message.segments, int(message.encoding))
        assert await accept(box, draft(2, recipient=NUMBER, **fields)) == [again]
        assert await accept(box, draft(2, idempotency_key="k", content_hash=others)) == [KeyConflict(message.id)]
        assert await box.find_key("shop", "k", content) == again
        assert await box.find_key("shop", "k", others) == KeyConflict(message.id)
        kept = (await box.desk.foresight.hashes(names))[names[0]]
        assert kept != content
        assert await accept(box, draft(2, idempotency_key="k", content_hash=kept)) == [KeyConflict(message.id)]
        assert [box.desk.foresight.same(kept, one) for one in (content, others)] == [True, False]
        await box.close()
        assert content not in path.read_bytes()
        box = (await opening()).box


async def test_another_key_is_told_when_something_is_redacted_already(opening: Opening, path: Path) -> None:
    box = (await opening()).box
    with structlog.testing.capture_logs() as logs:
        await redact(box)
        path.with_name("redaction.key").unlink()
        await box.close()
        box = (await opening()).box
        await sent(box)
        await redact(box)
    assert not logs, "nothing was redacted with the first one"
    await box.close()
    path.with_name("redaction.key").unlink()
    box = (await opening()).box
    with structlog.testing.capture_logs() as logs:
        await redact(box)
        await redact(box)
    assert [(line["log_level"], line["event"].split(":")[0]) for line in logs] == [
        ("warning", "this key is not the one that earlier messages were redacted with")
    ]
    await sent(box, 2)
    await redact(box)
    await box.close()
    box = (await opening()).box
    with structlog.testing.capture_logs() as logs:
        await redact(box)
    assert not logs, "it was told"


async def test_costs_are_the_same_after_redaction(opening: Opening) -> None:
    prices = {"+1": "0.01", "+1415": "0.02", "": "0.05"}
    tariff = Tariff({"main": {head: Decimal(price) for head, price in prices.items()}, "second": {"+14": Decimal(9)}})
    rules = replace(RULES, heads=frozenset(head for heads in tariff.prices.values() for head in heads))
    box = (await opening()).box
    for number, recipient in enumerate((NUMBER, "+12025550123", "+4930123456", "+14085550123"), 1):
        await sent(box, number, recipient=recipient)
    await box._change(lambda db, _: db.execute("UPDATE messages SET price = NULL"))
    span = Span(NOW - DAY, NOW + DAY)
    before = await box.desk.reports.sums(span, Group.PROVIDER, (), tariff)
    assert before["main"].estimated == Decimal("0.09")
    assert (await redact(box, rules=rules))["redacted"] == 4
    assert await box.desk.reports.sums(span, Group.PROVIDER, (), tariff) == before
    heads = await box._read(lambda db: db.execute("SELECT head FROM messages ORDER BY seq").fetchall())
    assert heads == [("+1415",), ("+1",), ("",), ("+14",)], "no more than the prices need"


async def test_what_is_redacted_is_never_sent_again(opening: Opening) -> None:
    box = (await opening()).box
    message = await sent(box, expires_at=NOW + DAY)
    await accept(box, draft(2, recipient=NUMBER, expires_at=NOW + 1))
    await box.expire(NOW + 2, 10)
    await redact(box)
    reading = ReceiptReading(Category.NETWORK, "resend", (1_000,), 5)
    missed = Receipt("main", Status.UNDELIVERED, "SM1", message.id, 1, reading=reading)
    [received] = await box.receive([missed], THEN)
    assert received.message is not None
    assert (received.message.state, received.resent) == (State.UNDELIVERED, False)
    for number in (1, 2):
        found = await box.reopen(draft(number).id, None, THEN, THEN + HOUR, force=True)
        assert isinstance(found, WrongState)
        assert found.message.redacted


async def test_a_receipt_suppresses_no_hash(opening: Opening) -> None:
    box = (await opening()).box
    message = await sent(box)
    await redact(box)
    stop = Receipt(
        "main", Status.UNDELIVERED, "SM1", message.id, 1, reading=ReceiptReading(Category.OPTED_OUT, "suppress")
    )
    [received] = await box.receive([stop], THEN)
    assert not received.suppressed
    assert await box.suppressions(None, None, 10) == ()


async def test_texts_received_are_redacted_too(opening: Opening) -> None:
    box = (await opening()).box
    for number in (1, 2):
        await box.arrive(
            Arrival(
                f"in{number}",
                "main",
                f"MO{number}",
                NUMBER,
                "+15005550006",
                TEXT,
                None,
                None,
                NOW + number * HOUR,
                "shop",
            )
        )
    assert (await redact(box))["inbound_redacted"] == 1
    items, _ = await box.inbound(None, sender=NUMBER)
    assert [(one.id, one.text, one.redacted, one.sender == NUMBER) for one in items] == [
        ("in2", TEXT, False, True),
        ("in1", "", True, False),
    ]
    assert items[1].recipient == "+15005550006"
    assert not (await box.arrive(replace(inbound(1, THEN), id="in3"))).first


async def test_nothing_of_it_is_left_in_the_file(opening: Opening, path: Path) -> None:
    """Neither text nor number, in any page, used or free."""
    box = (await opening()).box
    await box.track(
        Tracking(ids=frozenset({"main"}), threads=frozenset({"main"}), callbacks={"shop": "http://127.0.0.1:9"})
    )
    for number in range(1, 60):
        await sent(box, number, text=f"{TEXT} {'x' * (number % 40)}")
    await box.arrive(inbound(1, NOW))
    given_up = 0
    while due := (await box.callbacks_due(NOW + 1, 100))[0]:
        for callback in due:
            await box.callback_failed(replace(callback, due=None, tries=9, error="gone", tried_at=NOW))
        given_up += len(due)
    await box.close()
    assert TEXT.encode() in path.read_bytes()
    box = (await opening(now=THEN)).box
    removed = await redact(box, NOW + 4 * HOUR)
    expected = {"redacted": 59, "inbound_redacted": 1, "threads": 1, "callbacks": given_up}
    assert {what: removed[what] for what in expected} == expected
    assert (await box.callback_counts()).failed == 0
    await box.close()
    left = path.read_bytes()
    assert b"Rumpelstiltskin" not in left
    assert NUMBER[1:].encode() not in left
