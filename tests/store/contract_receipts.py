"""What must every outbox do with delivery receipts? A part of the contract (`contract.py`), with the same fixture."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from smsd.core.lifecycle import Event
from smsd.core.message import Error, State
from smsd.core.receipt import Receipt, ReceiptReading, Status
from smsd.core.suppression import Suppression
from smsd.core.units import DAY
from smsd.core.verdict import Category
from smsd.store import Claim, MinuteRow, Received, Tracking
from tests.doubles.builders import NOW, draft
from tests.store.contract import LATER, NUMBER, SOON, Bench, OutboxContract, accept, attempt, error, settlement

FINAL = ReceiptReading(Category.REJECTED, "final")
RESEND = ReceiptReading(Category.UNDELIVERED, "resend", (60_000, 120_000), 3)
SUPPRESS = ReceiptReading(Category.OPTED_OUT, "suppress")
MINUTE = LATER // 60_000
COUNTS = OutboxContract()


def receipt(status: Status, number: int = 1, **fields: object) -> Receipt:
    """About the first call of a message, as by a provider that says our id again."""
    reading = FINAL if status is Status.UNDELIVERED else None
    one = Receipt("main", status, f"SM{number}", draft(number).id, 1, reading=reading)
    return replace(one, **fields)  # type: ignore[arg-type]  # fields by name


def by_id(status: Status, number: int = 1, **fields: object) -> Receipt:
    """The same as by a provider that knows only its own ids."""
    return receipt(status, number, **{"id": None, "attempt": None, **fields})


async def receive(bench: Bench, *receipts: Receipt, now: int = SOON) -> list[Received]:
    """Apply them together."""
    received = await bench.box.receive(receipts, now)
    assert [one.receipt for one in received] == list(receipts)
    return received


async def one(bench: Bench, receipt: Receipt, now: int = SOON) -> Received:
    """Apply it, and see that what is told of the message is what is kept."""
    [received] = await receive(bench, receipt, now=now)
    if received.message is not None:
        assert await bench.by_seq(received.message.seq) == received.message
    await COUNTS.check(bench)
    return received


async def lived(bench: Bench, state: str, number: int = 1) -> int:
    """A message whose one call (if its state leaves any doubt: which may have been taken) led to this state."""
    [seq] = await bench.stored(draft(number))
    await bench.claimed(seq)
    unknown, taken = attempt(outcome="unknown"), attempt(provider_message_id=f"SM{number}")
    why = error(Category.TIMEOUT)
    if state in ("sent", "delivered", "undelivered"):
        await bench.box.settle(settlement(seq, Event.TAKEN, pmid=f"SM{number}"), taken)
    elif state == "failed":
        await bench.box.settle(settlement(seq, Event.FAIL, error=why), unknown)
    elif state == "uncertain":
        await bench.box.settle(settlement(seq, Event.DOUBT, error=why), unknown)
    elif state != "processing":
        await bench.box.settle(settlement(seq, Event.RETRY, error=why), unknown)
    if state == "cancelled":
        await bench.box.cancel(draft(number).id, None, LATER)
    elif state == "expired":
        await bench.box.expire(draft(number).expires_at, 9)
    elif state in ("delivered", "undelivered"):
        await receive(bench, receipt(Status[state.upper()], number), now=LATER)
    message = await bench.by_seq(seq)
    assert message.state.label == ("processing" if state == "uncertain" else state)
    return seq


async def words(bench: Bench, seq: int) -> list[tuple[int | None, str | None, int | None]]:
    """What receipts said of each attempt."""
    return [(a.receipt, a.receipt_code, a.receipt_at) for a in await bench.box.attempts(seq)]


async def told(bench: Bench) -> list[Received]:
    """What notify() tells from now on."""
    heard: list[Received] = []

    def hear(received: Sequence[Received]) -> None:
        heard.extend(received)

    bench.box.notify(hear, lambda: None)
    return heard


class ReceiptsContract:
    """Subclass it with a fixture `bench`."""

    # --- which word changes which state ------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("before", "taken", "undelivered", "delivered"),
        [
            ("pending", "sent", "undelivered", "delivered"),
            ("processing", "sent", "undelivered", "delivered"),
            ("uncertain", "sent", "undelivered", "delivered"),
            ("failed", "sent", "undelivered", "delivered"),
            ("sent", "sent", "undelivered", "delivered"),
            ("undelivered", "undelivered", "undelivered", "delivered"),
            ("delivered", "delivered", "delivered", "delivered"),
            ("cancelled", "cancelled", "cancelled", "cancelled"),
            ("expired", "expired", "expired", "expired"),
        ],
    )
    async def test_every_word_in_every_state(
        self, bench: Bench, before: str, taken: str, undelivered: str, delivered: str
    ) -> None:
        """Told twice, the second is no news; and what is not delivered yet still may be."""
        wanted = dict(zip(Status, (taken, taken, undelivered, delivered), strict=True))
        proves = before in ("pending", "processing", "uncertain", "failed")
        knows = {"undelivered": Status.UNDELIVERED, "delivered": Status.DELIVERED}.get(before)
        for number, (status, after) in enumerate(wanted.items(), 1):
            seq = await lived(bench, before, number)
            was = (await bench.by_seq(seq)).state
            received = await one(bench, receipt(status, number))
            assert received.message is not None
            assert received.message.state.label == after, status
            assert (received.before, received.n) == (was, 1)
            assert received.news == (knows is None or status > knows), status
            assert received.proved == proves, status
            assert not received.resent
            again = await one(bench, receipt(status, number), SOON + 1)
            assert (again.message, again.news, again.proved) == (received.message, False, False)

    async def test_delivered_ends_a_doubt(self, bench: Bench) -> None:
        seq = await lived(bench, "uncertain")
        before = await bench.by_seq(seq)
        received = await one(bench, receipt(Status.DELIVERED, at=LATER + 7, price="0.01"))
        assert received.message == replace(
            before, state=State.DELIVERED, due=SOON, provider_message_id="SM1", uncertain=False, uncertain_since=None,
            error=None, sent_at=LATER + 7, processed_at=SOON, delivered_at=LATER + 7, price="0.01",
        )  # fmt: skip
        [tried] = await bench.box.attempts(seq)
        assert (tried.provider_message_id, tried.receipt, tried.receipt_at) == ("SM1", Status.DELIVERED, SOON)
        assert (await bench.box.totals(0)).minutes == (MinuteRow(MINUTE, "main", 1, 0, 0),)
        assert await bench.box.uncertain(2**60, 9) == ([], None)
        assert await bench.box.bound(["SM1"]) == {"SM1"}

    async def test_a_failure_that_was_counted_stays_counted(self, bench: Bench) -> None:
        await lived(bench, "failed")
        received = await one(bench, receipt(Status.DELIVERED))
        assert received.message is not None
        assert (received.message.state, received.message.error) == (State.DELIVERED, None)
        totals = await bench.box.totals(0)
        assert (totals.categories, totals.minutes) == ({"TIMEOUT": 1}, (MinuteRow(MINUTE, "main", 1, 1, 0),))

    async def test_what_was_known_to_be_sent_is_counted_once(self, bench: Bench) -> None:
        seq = await lived(bench, "sent")
        sent = await bench.by_seq(seq)
        for status in (Status.QUEUED, Status.SENT, Status.UNDELIVERED, Status.DELIVERED):
            received = await one(bench, receipt(status, code=f"c{status}", words="said so"), SOON + status)
            assert not received.proved
        assert received.message is not None
        assert (received.message.sent_at, received.message.delivered_at) == (sent.sent_at, SOON + 3)
        assert (received.message.error, received.message.price) == (None, sent.price)
        assert await words(bench, seq) == [(3, "c3", SOON + 3)]
        assert (await bench.box.totals(0)).minutes == (MinuteRow(MINUTE, "main", 1, 0, 0),)

    async def test_the_reason_is_kept_with_an_undelivered_one(self, bench: Bench) -> None:
        seq = await lived(bench, "sent")
        wrong = receipt(Status.UNDELIVERED, code="30007", words="Carrier filter")
        received = await one(bench, wrong)
        assert received.message is not None
        assert received.message.error == Error(Category.REJECTED, "Carrier filter", SOON, "30007", "main")
        assert (received.message.processed_at, received.message.sent_at) == (SOON, LATER)
        assert await words(bench, seq) == [(2, "30007", SOON)]
        assert not (await one(bench, receipt(Status.SENT))).news
        assert (await bench.by_seq(seq)).state is State.UNDELIVERED

    @pytest.mark.parametrize(("at", "delivered_at"), [(0, LATER), (LATER + 3, LATER + 3), (2**80, SOON)])
    async def test_the_providers_clock_is_believed_within_reason(
        self, bench: Bench, at: int, delivered_at: int
    ) -> None:
        await lived(bench, "sent")
        received = await bench.box.receive([receipt(Status.DELIVERED, at=at)], SOON)
        assert received[0].message is not None
        assert received[0].message.delivered_at == delivered_at

    # --- early and late ----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("status", [Status.QUEUED, Status.UNDELIVERED, Status.DELIVERED])
    async def test_a_receipt_may_outrun_the_answer(self, bench: Bench, status: Status) -> None:
        """The call's own end changes nothing but its attempt, which keeps what the receipt said."""
        [seq] = await bench.stored(draft(1, segments=3))
        await bench.claimed(seq)
        received = await one(bench, receipt(status, code="7"))
        assert received.message is not None
        assert (received.proved, received.message.charged, received.message.sent_at) == (True, 1, SOON)
        [overtaken] = await bench.box.attempts(seq)
        assert (overtaken.outcome, overtaken.cost, overtaken.provider_message_id) == ("overtaken", 3, "SM1")
        assert [start.wall for start in await bench.box.starts("main", NOW, 0, 9)] == [SOON]
        late = attempt(outcome="unknown", receipt=int(status), receipt_code="7", receipt_at=SOON)
        assert not await bench.box.settle(settlement(seq, Event.DOUBT, error=error()), attempt(outcome="unknown"))
        assert await bench.box.attempts(seq) == [replace(late, provider_message_id="SM1")]
        assert await bench.by_seq(seq) == received.message
        assert not (await one(bench, receipt(status, code="7"))).news
        assert (await bench.crash()).reopened == 0
        await COUNTS.check(bench)

    async def test_a_resend_may_outrun_the_answer(self, bench: Bench) -> None:
        """The late answer of the first call disturbs neither the wait nor the second call."""
        [seq] = await bench.stored(draft(1))
        await bench.claimed(seq)
        received = await one(bench, receipt(Status.UNDELIVERED, reading=RESEND))
        assert received.resent
        assert not await bench.box.settle(settlement(seq, Event.TAKEN, pmid="SM1"), attempt(provider_message_id="SM1"))
        assert await bench.by_seq(seq) == received.message
        [again] = await bench.claimed(seq, now=SOON + 60_000)
        assert again.attempt == 2
        assert not await bench.box.settle(settlement(seq, Event.FAIL), None)
        assert await bench.box.settle(settlement(seq, Event.TAKEN, 2, pmid="SM2", charged=2), attempt(2))
        assert [(a.n, a.receipt) for a in await bench.box.attempts(seq)] == [(1, 2), (2, None)]
        await COUNTS.check(bench)

    async def test_delivered_of_any_call_is_final(self, bench: Bench) -> None:
        seq = await lived(bench, "uncertain")
        await bench.box.settle(settlement(seq, Event.RETRY), None)
        await bench.claimed(seq, provider="b", now=LATER)
        received = await one(bench, receipt(Status.DELIVERED))
        assert received.message is not None
        assert (received.message.provider, received.message.provider_message_id) == ("main", "SM1")
        assert [(a.n, a.outcome, a.receipt) for a in await bench.box.attempts(seq)] == [
            (1, "unknown", 3),
            (2, "overtaken", None),
        ]
        second = attempt(2, provider="b", provider_message_id="B2")
        assert not await bench.box.settle(settlement(seq, Event.TAKEN, 2, pmid="B2"), second)
        missed = receipt(Status.UNDELIVERED, provider="b", provider_message_id="B2", attempt=2)
        assert (await one(bench, missed)).news
        assert await bench.by_seq(seq) == received.message
        assert await words(bench, seq) == [(3, None, SOON), (2, None, SOON)]

    async def test_a_negative_word_on_an_older_call_is_only_recorded(self, bench: Bench) -> None:
        seq = await lived(bench, "uncertain")
        await bench.box.settle(settlement(seq, Event.RETRY), None)
        [before] = await bench.claimed(seq, now=LATER)
        received = await one(bench, receipt(Status.UNDELIVERED, reading=RESEND))
        assert received == Received(received.receipt, before, State.PROCESSING, 1, news=True)
        assert await words(bench, seq) == [(2, None, SOON)]
        assert await bench.box.settle(settlement(seq, Event.TAKEN, 2, pmid="SM2"), attempt(2))

    # --- sent again --------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("before", ["pending", "processing", "uncertain", "failed", "sent"])
    async def test_sent_again_by_its_code(self, bench: Bench, before: str) -> None:
        """Pending in the same transaction, in its flow, with nothing of the call that failed but the error."""
        seq = await lived(bench, before)
        was = await bench.by_seq(seq)
        code = receipt(Status.UNDELIVERED, reading=RESEND, code="30001", words="Queue overflow")
        [received] = await bench.box.receive([code], SOON, 0.5)
        message = await bench.by_seq(seq)
        assert received == Received(code, message, was.state, 1, True, before != "sent", True)
        assert (message.state, message.due, message.charged, message.round) == (State.PENDING, SOON + 60_500, 1, 0)
        assert message.error == Error(Category.UNDELIVERED, "Queue overflow", SOON, "30001", "main")
        assert (message.provider_message_id, message.price, message.sender, message.uncertain) == (
            (None, None, None, False)
        )
        assert (message.sent_at, message.processed_at, message.delivered_at) == (None, None, None)
        [flow] = (await bench.restart(SOON)).flows
        assert (flow.id, flow.pending, flow.next_due) == (message.flow, 1, message.due)
        await COUNTS.check(bench)
        [claimed] = await bench.claimed(seq, now=message.due)
        assert (claimed.attempt, claimed.error) == (2, message.error)

    async def test_the_waits_grow_and_the_calls_end(self, bench: Bench) -> None:
        seq = await lived(bench, "sent")
        now, waits = SOON, []
        for n in (1, 2, 3):
            received = await one(bench, receipt(Status.UNDELIVERED, attempt=n, reading=RESEND, id=draft(1).id,
                                                provider_message_id=f"SM{n}"), now)  # fmt: skip
            assert received.message is not None
            if not received.resent:
                break
            waits.append(received.message.due - now)
            now = received.message.due
            await bench.claimed(seq, now=now)
            taken = settlement(seq, Event.TAKEN, n + 1, at=now, pmid=f"SM{n + 1}", charged=n + 1)
            await bench.box.settle(taken, attempt(n + 1, provider_message_id=f"SM{n + 1}"))
        assert (waits, (await bench.by_seq(seq)).state) == ([60_000, 120_000], State.UNDELIVERED)

    @pytest.mark.parametrize(
        ("fields", "resent"), [({"max_attempts": 1}, False), ({"expires_at": SOON + 60_000}, False), ({}, True)]
    )
    async def test_not_beyond_its_calls_and_its_life(self, bench: Bench, fields: dict[str, int], resent: bool) -> None:
        [seq] = await bench.stored(draft(1, **fields))
        await bench.claimed(seq)
        await bench.box.settle(settlement(seq, Event.TAKEN, pmid="SM1"), attempt(provider_message_id="SM1"))
        received = await one(bench, receipt(Status.UNDELIVERED, reading=RESEND))
        assert received.message is not None
        assert (received.resent, received.message.state is State.PENDING) == (resent, resent)

    @pytest.mark.parametrize("before", ["sent", "uncertain", "looked up", "processing"])
    async def test_delivered_after_all_keeps_it_from_going_again(self, bench: Bench, before: str) -> None:
        """And is counted as sent once, however it became known that it was."""
        seq = await lived(bench, "uncertain" if before == "looked up" else before)
        if before == "looked up":
            await bench.box.settle(settlement(seq, Event.TAKEN, pmid="SM1"), None)
        missed, arrived = receipt(Status.UNDELIVERED, reading=RESEND), receipt(Status.DELIVERED)
        first = await one(bench, missed, LATER)
        if before == "processing":
            await bench.box.settle(settlement(seq, Event.DOUBT, error=error()), attempt(outcome="unknown"))
        second = await one(bench, arrived, LATER)
        assert (first.resent, first.proved) == (True, before in ("uncertain", "processing"))
        assert (second.before, second.proved) == (State.PENDING, False)
        assert await bench.box.begin([Claim(seq, 1, "main", "s")], SOON + DAY) == [None]
        assert (await bench.box.totals(0)).minutes == (MinuteRow(MINUTE, "main", 1, 0, 0),)

    async def test_lesser_words_do_not_call_a_resend_off(self, bench: Bench) -> None:
        seq = await lived(bench, "sent")
        received = await receive(
            bench, receipt(Status.UNDELIVERED, reading=RESEND), receipt(Status.SENT), receipt(Status.QUEUED)
        )
        assert [one.news for one in received] == [True, False, False]
        assert (await bench.by_seq(seq)).state is State.PENDING

    async def test_who_opted_out_is_suppressed_whatever_became_of_the_message(self, bench: Bench) -> None:
        await lived(bench, "sent", 2)
        stop = {"reading": SUPPRESS, "code": "30004"}
        missed = await one(bench, receipt(Status.UNDELIVERED, 2, **stop))
        assert (missed.suppressed, missed.message is not None and missed.message.state) == (True, State.UNDELIVERED)
        assert await bench.box.suppressions_of(NUMBER) == (Suppression("main", NUMBER, SOON, "receipt", "30004"),)
        assert not (await one(bench, receipt(Status.UNDELIVERED, 2, **stop))).suppressed
        await bench.box.lift("main", NUMBER)
        await lived(bench, "cancelled", 4)
        assert (await one(bench, receipt(Status.UNDELIVERED, 4, **stop))).suppressed

    # --- whose it is -------------------------------------------------------------------------------------------------

    async def test_what_fits_no_call_changes_nothing(self, bench: Bench) -> None:
        """No such message, attempt or provider; another id."""
        seqs = [await lived(bench, state, n) for n, state in enumerate(("sent", "uncertain", "uncertain"), 1)]
        await bench.box.settle(settlement(seqs[1], Event.TAKEN, pmid="SM2", at=SOON), None)
        before = await bench.everything()
        tried = [await bench.box.attempts(seq) for seq in seqs]
        wrong = [
            receipt(Status.DELIVERED, 9), receipt(Status.DELIVERED, 3, attempt=0),
            receipt(Status.DELIVERED, 3, attempt=2), receipt(Status.DELIVERED, 3, attempt=2**70),
            receipt(Status.DELIVERED, 3, provider="b"), receipt(Status.DELIVERED, 1, provider_message_id="SM9"),
            by_id(Status.DELIVERED, 1),
            receipt(Status.DELIVERED, 7, provider_message_id=None), receipt(Status.DELIVERED, 8, id="\0'"),
        ]  # fmt: skip
        received = await receive(bench, *wrong)
        assert [each.message for each in received] == [None] * len(wrong)
        half = receipt(Status.DELIVERED, 8, id="\ud800", provider_message_id="\ud800", words="\ud800", code="\ud800")
        assert [each.message for each in await bench.box.receive([half], SOON)] == [None]
        assert await bench.everything() == before
        assert [await bench.box.attempts(seq) for seq in seqs] == tried
        assert (await one(bench, receipt(Status.DELIVERED, 3))).proved

    async def test_two_equal_texts_whose_ids_a_look_up_mixed_up_are_both_delivered(self, bench: Bench) -> None:
        """The look-up gave each the other's id; the receipt of each names our id and its own."""
        first, second = [await lived(bench, "uncertain", n) for n in (1, 2)]
        for seq, pmid in ((first, "SM2"), (second, "SM1")):
            await bench.box.settle(settlement(seq, Event.TAKEN, pmid=pmid, at=SOON), None)
        received = await receive(bench, receipt(Status.DELIVERED, 1), receipt(Status.DELIVERED, 2))
        assert [each.message and each.message.seq for each in received] == [second, first]

    async def test_without_an_attempt_the_latest_of_the_provider_is_meant(self, bench: Bench) -> None:
        seq = await lived(bench, "pending")
        await bench.claimed(seq, now=LATER)
        await bench.box.settle(settlement(seq, Event.RETRY, 2), attempt(2, outcome="unknown"))
        await bench.claimed(seq, provider="b", now=LATER)
        received = await one(bench, receipt(Status.QUEUED, attempt=None, provider_message_id=None))
        assert (received.n, received.proved) == (2, True)
        assert [a.outcome for a in await bench.box.attempts(seq)] == ["unknown", "unknown", "overtaken"]

    async def test_by_the_providers_id_alone(self, bench: Bench) -> None:
        """At providers that were named for it; and everywhere, whatever a look-up found."""
        await bench.box.track(Tracking(ids=frozenset({"b"})))
        await lived(bench, "sent", 1)
        [seq] = await bench.stored(draft(2))
        await bench.claimed(seq, provider="b")
        taken = attempt(provider="b", provider_message_id="B2")
        await bench.box.settle(settlement(seq, Event.TAKEN, pmid="B2"), taken)
        looked_up = await lived(bench, "uncertain", 3)
        await bench.box.settle(settlement(looked_up, Event.TAKEN, pmid="SM3"), None)
        [elsewhere] = await bench.stored(draft(4))
        await bench.claimed(elsewhere, provider="c")
        await bench.box.settle(settlement(elsewhere, Event.DOUBT), attempt(provider="c", outcome="unknown"))
        await bench.box.settle(settlement(elsewhere, Event.TAKEN, pmid="SM3"), None)
        await bench.restart()
        assert (await one(bench, by_id(Status.DELIVERED, 1))).message is None
        assert (await one(bench, by_id(Status.DELIVERED, 2))).message is None
        found = await receive(
            bench, by_id(Status.DELIVERED, provider="b", provider_message_id="B2"), by_id(Status.DELIVERED, 3)
        )
        assert [each.message and each.message.seq for each in found] == [seq, looked_up]
        await COUNTS.check(bench)

    async def test_an_id_that_is_used_again_means_its_newest_message(self, bench: Bench) -> None:
        await bench.box.track(Tracking(ids=frozenset({"main"})))
        for number in (1, 2):
            [seq] = await bench.stored(draft(number))
            await bench.claimed(seq)
            await bench.box.settle(settlement(seq, Event.TAKEN, pmid="1"), attempt(provider_message_id="1"))
        received = await one(bench, by_id(Status.DELIVERED, provider_message_id="1"))
        assert received.message is not None
        assert received.message.id == draft(2).id

    # --- before it is known whose it is ------------------------------------------------------------------------------

    @pytest.mark.parametrize("crash", [False, True])
    async def test_one_that_nobody_knows_waits_for_its_id(self, bench: Bench, crash: bool) -> None:
        """Of each id the greatest word; the answer that brings the id applies it, once."""
        await bench.box.track(Tracking(ids=frozenset({"main"})))
        [seq, other] = await bench.stored(draft(1), draft(2))
        await bench.claimed(seq, other)
        word = by_id(Status.UNDELIVERED, reading=RESEND, code="30001", words="w", at=LATER, price="0.1")
        received = await receive(bench, by_id(Status.SENT), word, by_id(Status.QUEUED), by_id(Status.SENT, 2))
        assert [each.message for each in received] == [None] * 4
        if crash:
            await bench.crash()
            heard = await told(bench)
            found = settlement(seq, Event.TAKEN, pmid="SM1", at=SOON)
            assert await bench.box.settle(found, None)
        else:
            heard = await told(bench)
            found = settlement(seq, Event.TAKEN, pmid="SM1", at=SOON)
            assert await bench.box.settle(found, attempt(provider_message_id="SM1"))
        message = await bench.by_seq(seq)
        assert heard == [Received(word, message, State.SENT, 1, news=True, resent=True)]
        assert (message.state, message.due) == (State.PENDING, SOON + 60_000)
        assert await words(bench, seq) == [(2, "30001", SOON)]
        await bench.claimed(seq, now=message.due)
        again = settlement(seq, Event.TAKEN, 2, pmid="SM1", at=SOON)
        await bench.box.settle(again, attempt(2, provider_message_id="SM1"))
        assert len(heard) == 1
        await COUNTS.check(bench)

    async def test_a_late_answer_brings_its_id_too(self, bench: Bench) -> None:
        """The message was proved by a receipt that named no id of the provider's."""
        seq = await lived(bench, "processing")
        await receive(bench, by_id(Status.DELIVERED), receipt(Status.QUEUED, provider_message_id=None))
        heard = await told(bench)
        late = settlement(seq, Event.TAKEN, pmid="SM1", at=SOON)
        assert not await bench.box.settle(late, attempt(provider_message_id="SM1"))
        message = await bench.by_seq(seq)
        assert heard == [Received(by_id(Status.DELIVERED), message, State.SENT, 1, news=True)]
        assert message.state is State.DELIVERED

    async def test_another_receipt_brings_the_id_too(self, bench: Bench) -> None:
        """Whether it names the attempt or not."""
        for number in (1, 2):
            await lived(bench, "uncertain", number)
            await receive(bench, by_id(Status.DELIVERED, number))
        heard = await told(bench)
        named, unnamed = await receive(bench, receipt(Status.QUEUED, 1), receipt(Status.QUEUED, 2, attempt=None))
        assert (named.proved, unnamed.proved) == (True, True)
        await asyncio.sleep(0)
        assert [each.message and (each.message.id, each.message.state) for each in heard] == [
            (draft(1).id, State.DELIVERED),
            (draft(2).id, State.DELIVERED),
        ]
        assert {message.state for message in await bench.everything()} == {State.DELIVERED}
        await COUNTS.check(bench)

    async def test_whoever_settles_learns_of_that_before_what_followed(self, bench: Bench) -> None:
        seq = await lived(bench, "processing")
        await receive(bench, by_id(Status.DELIVERED))
        order: list[str] = []
        bench.box.notify(lambda _: order.append("receipt"), lambda: None)

        async def settle() -> None:
            await bench.box.settle(settlement(seq, Event.TAKEN, pmid="SM1"), attempt(provider_message_id="SM1"))
            order.append("settled")

        await asyncio.create_task(settle())
        await asyncio.sleep(0)
        assert order == ["settled", "receipt"]

    # --- many --------------------------------------------------------------------------------------------------------

    async def test_settled_and_received_in_one_breath(self, bench: Bench) -> None:
        """Answers and receipts of the same calls wait for the same commit, whatever comes first."""
        await bench.box.track(Tracking(ids=frozenset({"main"})))
        seqs = await bench.stored(*(draft(n) for n in range(1, 61)))
        await bench.claimed(*seqs)

        async def settle(n: int, seq: int) -> bool:
            taken = settlement(seq, Event.TAKEN, pmid=f"SM{n}")
            return await bench.box.settle(taken, attempt(provider_message_id=f"SM{n}"))

        work = [
            asyncio.gather(bench.box.receive([make(Status.DELIVERED, n)], SOON), settle(n, seq))
            for n, seq in enumerate(seqs, 1)
            for make in ([receipt, by_id][n % 2],)
        ]
        await asyncio.gather(*work, accept(bench.box, draft(99)))
        assert [(await bench.by_seq(seq)).state for seq in seqs] == [State.DELIVERED] * 60
        assert sum(minute.sent for minute in (await bench.box.totals(0)).minutes) == 60
        await COUNTS.check(bench)
