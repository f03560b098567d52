"""Is it right what a receipt does to its message, and what an operator's line makes of its code?

What it does in every state is in the outbox's contract (tests/store/contract_receipts.py); here are the corners, and
laws that hold for whatever comes in.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.codes import CodeBook, CodeRule
from smsd.core.lifecycle import Event, may
from smsd.core.message import Message, State
from smsd.core.receipt import (
    NO_CODE,
    RESEND_CALLS,
    RESEND_DELAYS_MS,
    SCATTER_MS,
    Action,
    Judgement,
    Receipt,
    ReceiptReading,
    Status,
    Tried,
    judge,
    reading_of,
)
from smsd.core.verdict import Category
from tests.doubles.builders import NOW, message

RESEND = ReceiptReading(Category.UNDELIVERED, "resend", (60_000, 120_000), 9)
HALT = ReceiptReading(Category.AUTH_FAILED, "halt")


def judged(
    status: Status, about: Message, reading: ReceiptReading | None = None, *, tried: Tried | None = None,
    now: int = NOW, spread: float = 0.0, at: int | None = None,
) -> Judgement:  # fmt: skip
    """Of the only attempt so far, unless it is said."""
    receipt = Receipt("main", status, "SM1", about.id, 1, at=at, reading=reading)
    return judge(receipt, about, tried or Tried(about.attempt, NOW - 9, taken=False), now, spread)


def sent(**fields: object) -> Message:
    """A message whose one call was taken."""
    values = {"state": State.SENT, "attempt": 1, "charged": 1, "provider": "main", "sent_at": NOW - 5, **fields}
    return replace(message(), **values)  # type: ignore[arg-type]  # fields by name


# --- laws ------------------------------------------------------------------------------------------------------------

MESSAGES = st.builds(
    lambda state, uncertain, attempt, charged, sent_at: message(
        state=state, uncertain=uncertain and state is State.PROCESSING, attempt=attempt, charged=charged,
        sent_at=sent_at, provider="main",
    ),
    st.sampled_from(State), st.booleans(), st.integers(1, 4), st.integers(0, 4),
    st.none() | st.integers(NOW - 9, NOW + 9),
)  # fmt: skip

READINGS = st.sampled_from(
    [NO_CODE, RESEND, replace(RESEND, max_attempts=2), HALT, ReceiptReading(Category.OPTED_OUT, "suppress")]
)


@settings(max_examples=200, deadline=None)
@given(
    MESSAGES, st.sampled_from(Status), st.integers(1, 4), st.booleans(), st.none() | st.sampled_from(Status), READINGS,
    st.none() | st.integers(-9, 2**70), st.floats(0, 1, exclude_max=True),
)  # fmt: skip
def test_what_holds_for_every_receipt(
    about: Message, status: Status, n: int, taken: bool, word: Status | None, reading: ReceiptReading, at: int | None,
    spread: float,
) -> None:  # fmt: skip
    tried = Tried(min(n, about.attempt), NOW - 9, taken, word)
    found = judged(status, about, reading if status is Status.UNDELIVERED else None, tried=tried, spread=spread, at=at)
    assert found.news == (word is None or status > word)
    if not found.news:
        assert found == Judgement(about.state)
        return
    state = about.state
    for event in found.events:
        assert may(state, event)
        state = {Event.TAKEN: State.SENT, Event.DELIVER: State.DELIVERED, Event.MISS: State.UNDELIVERED}.get(
            event, State.PENDING
        )
    assert found.state is state
    assert NOW - 9 <= found.at <= max(NOW, about.sent_at or 0)
    assert (found.state is State.DELIVERED) == (status is Status.DELIVERED and may(about.state, Event.DELIVER)) or (
        about.state is State.DELIVERED
    )
    assert (found.due is not None) == (Event.RESEND in found.events)
    assert (found.error is not None) == (Event.MISS in found.events)
    if found.due is not None:
        assert NOW + 60_000 <= found.due < min(about.expires_at, NOW + 120_000 + SCATTER_MS)
    if found.events and status in (Status.UNDELIVERED, Status.QUEUED, Status.SENT):
        assert status is Status.UNDELIVERED or not taken
        assert tried.n == about.attempt or status is not Status.UNDELIVERED
    assert not found.proved or (not taken and found.state is not about.state) or Event.RESEND in found.events
    assert (found.suppress is not None) == (status is Status.UNDELIVERED and reading.action == "suppress")


# --- corners ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("charged", "most", "calls", "due"),
    [
        (1, 9, 5, NOW + 60_000),
        (2, 9, 5, NOW + 120_000),
        (3, 9, 5, NOW + 120_000),
        (0, 9, 5, NOW + 60_000),
        (1, 1 + 1, 5, NOW + 60_000),
        (2, 2, 5, None),
        (2, 9, 2, None),
    ],
)
def test_the_waits_by_calls_made(charged: int, most: int, calls: int, due: int | None) -> None:
    about = sent(charged=charged, max_attempts=calls)
    assert judged(Status.UNDELIVERED, about, replace(RESEND, max_attempts=most)).due == due


def test_the_open_call_counts_as_made() -> None:
    about = sent(state=State.PROCESSING, charged=1, attempt=2, sent_at=None)
    found = judged(Status.UNDELIVERED, about, RESEND)
    assert (found.events, found.due) == ((Event.TAKEN, Event.MISS, Event.RESEND), NOW + 120_000)
    assert judged(Status.UNDELIVERED, about, replace(RESEND, max_attempts=2)).state is State.UNDELIVERED


def test_what_is_sent_again_is_scattered() -> None:
    assert judged(Status.UNDELIVERED, sent(), RESEND, spread=0.5).due == NOW + 60_000 + SCATTER_MS // 2


@pytest.mark.parametrize(("expires_at", "state"), [(NOW + 60_000, State.UNDELIVERED), (NOW + 60_001, State.PENDING)])
def test_nothing_is_sent_again_past_its_end(expires_at: int, state: State) -> None:
    assert judged(Status.UNDELIVERED, sent(expires_at=expires_at), RESEND).state is state


def test_a_halt_and_an_unknown_code_end_in_undelivered() -> None:
    for reading in (HALT, NO_CODE, None):
        found = judged(Status.UNDELIVERED, sent(), reading)
        assert found.error is not None
        assert (found.state, found.error.category) == (State.UNDELIVERED, (reading or NO_CODE).category)


# --- what a code means -----------------------------------------------------------------------------------------------


def book(**fields: object) -> CodeBook:
    return replace(CodeBook(), **fields)  # type: ignore[arg-type]  # fields by name


def rule(fate: str = "", *delays_ms: int, most: int | None = None) -> CodeRule:
    return CodeRule(fate, None, most, delays_ms)


TABLE = ReceiptReading(Category.UNDELIVERED, "resend", (60_000,), 3)


@pytest.mark.parametrize(
    ("line", "known", "meant"),
    [
        (rule("retry"), None, ReceiptReading(Category.UNDELIVERED, "resend", RESEND_DELAYS_MS, RESEND_CALLS)),
        (rule("retry", 5, most=4), None, ReceiptReading(Category.UNDELIVERED, "resend", (5,), 4)),
        (rule("retry"), TABLE, TABLE),
        (rule("retry", 5), TABLE, replace(TABLE, delays_ms=(5,))),
        (rule("retry", most=1), TABLE, ReceiptReading(Category.UNDELIVERED, "final")),
        (rule("retry"), HALT, ReceiptReading(Category.AUTH_FAILED, "resend", RESEND_DELAYS_MS, RESEND_CALLS)),
        (rule("fail"), TABLE, ReceiptReading(Category.UNDELIVERED, "final")),
        (rule("halt"), TABLE, HALT),
        (rule("halt"), ReceiptReading(Category.CONFIG_ERROR, "final"), ReceiptReading(Category.CONFIG_ERROR, "halt")),
        (rule("suppress"), None, ReceiptReading(Category.OPTED_OUT, "suppress")),
        (rule("throttle", 7), TABLE, ReceiptReading(Category.RATE_LIMITED, "resend", (7,), 3)),
        (rule("", 5, 6), TABLE, replace(TABLE, delays_ms=(5, 6))),
        (rule("", most=2), TABLE, replace(TABLE, max_attempts=2)),
        (rule("", 5, most=2), None, NO_CODE),
        (rule("", 5, most=2), HALT, HALT),
    ],
)
def test_an_operators_line(line: CodeRule, known: ReceiptReading | None, meant: ReceiptReading) -> None:
    assert reading_of("30001", known, book(codes={"30001": line})) == meant


def test_the_most_specific_line_counts() -> None:
    def meant(code: str | None, known: ReceiptReading | None = None) -> Action:
        lines = book(
            codes={"1": rule("halt")}, categories={Category.OPTED_OUT: rule("fail")}, default=rule("suppress")
        )  # fmt: skip
        return reading_of(code, known, lines).action

    opted_out = ReceiptReading(Category.OPTED_OUT, "suppress")
    assert [meant("1"), meant("1", opted_out), meant("2", opted_out)] == ["halt", "halt", "final"]
    assert [meant("2"), meant(None), meant("2", TABLE)] == ["suppress"] * 3
    assert meant("2", HALT) == "halt", "the default is no word on our own account"
    assert meant("2", replace(TABLE, category=Category.RATE_LIMITED)) == "resend"


def test_without_lines_the_table_counts_and_without_a_table_it_is_final() -> None:
    assert reading_of("1", TABLE, CodeBook()) is TABLE
    assert reading_of(None, None, CodeBook()) is NO_CODE


def test_a_fate_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="not 'again'"):
        reading_of("1", None, book(codes={"1": rule("again")}))
