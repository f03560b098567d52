"""What must every outbox do about texts that come in? A part of the contract (`contract.py`).

A binding is a subclass of InboundContract and the fixture `bench`: see test_sqlite_contract.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from smsd.core.consent import Word
from smsd.core.events import Kind
from smsd.core.lifecycle import Event
from smsd.core.suppression import EVERY, Suppression
from smsd.core.units import HOUR, MINUTE
from smsd.store import Arrival, Arrived, Inbound, Suppressed, Tracking
from tests.doubles.builders import NOW, draft
from tests.store.contract import Bench, Box, attempt, settlement

WRITER = draft().recipient
OURS = "+15005550006"
OTHER = "+15005550009"
NUMBERS = count(1)


def arrival(word: Word | None = None, /, **fields: Any) -> Arrival:
    """A text that nobody has seen yet."""
    n = next(NUMBERS)
    usual: dict[str, Any] = {
        "id": f"01a2049a-0000-7000-9000-{n:012d}",
        "provider": "main",
        "provider_message_id": f"SM{n}",
        "sender": WRITER,
        "recipient": OURS,
        "text": "Hello",
        "word": word,
        "sent_at": None,
        "received_at": NOW,
        "owner": "default",
    }
    return Arrival(**{**usual, **fields})


async def took(bench: Bench, recipient: str, sender: str, tenant: str, *, provider: str = "main", at: int = NOW) -> str:
    """A message of the tenant goes from `sender` to `recipient`; its id."""
    number = bench.next()
    times = {"created_at": at, "due": at, "expires_at": at + HOUR}
    [seq] = await bench.stored(
        draft(number, recipient=recipient, sender=sender, tenant=tenant, route=provider, **times)
    )
    [message] = await bench.claimed(seq, now=at, provider=provider)
    ended = settlement(seq, Event.TAKEN, at=at, pmid=f"SM-{number}")
    assert await bench.box.settle(ended, attempt(provider=provider, at=at))
    return message.id


async def everything(box: Box, tenant: str | None = None, *, limit: int = 50, **fields: Any) -> list[Inbound]:
    """All texts, newest first, page by page."""
    found: list[Inbound] = []
    before: int | None = None
    while True:
        page, before = await box.inbound(tenant, before=before, limit=limit, **fields)
        found += page
        if before is None:
            return found


async def scopes(box: Box, number: str = WRITER) -> list[tuple[str, str]]:
    """Where the number is suppressed, and how that came."""
    return [(each.scope, each.source) for each in await box.suppressions_of(number)]


def texts(found: Sequence[Inbound]) -> list[str]:
    return [each.text for each in found]


async def come(box: Box, word: Word | None = None, /, **fields: Any) -> Arrived:
    return await box.arrive(arrival(word, **fields))


class InboundContract:
    """Subclass it with a fixture `bench`."""

    # --- kept --------------------------------------------------------------------------------------------------------

    async def test_a_text_is_kept_as_it_came_over_a_crash(self, bench: Bench) -> None:
        text = 'J\'arrive \N{SLICE OF PIZZA} "quoted"\n\0end'
        came = arrival(text=text, sent_at=NOW - 5_000, received_at=NOW + 7)
        found = await bench.box.arrive(came)
        assert (found.first, found.suppressed, found.lifted) == (True, False, ())
        kept = found.inbound
        assert kept == Inbound(
            nr=kept.nr,
            id=came.id,
            provider="main",
            provider_message_id=came.provider_message_id,
            sender=WRITER,
            recipient=OURS,
            text=text,
            tenant="default",
            message=None,
            word=None,
            news=False,
            sent_at=NOW - 5_000,
            received_at=NOW + 7,
        )
        assert await everything(bench.box) == [kept]
        await bench.crash()
        assert await everything(bench.box) == [kept]

    async def test_what_cannot_be_written_as_utf_8_is_kept_as_far_as_it_can(self, bench: Bench) -> None:
        found = await come(bench.box, text="half \ud83c of one", provider_message_id="id \udfff")
        assert (found.inbound.text, found.inbound.provider_message_id) == ("half ? of one", "id ?")
        assert not (await come(bench.box, provider_message_id="id \udfff")).first

    async def test_a_repeat_changes_nothing(self, bench: Bench) -> None:
        came = arrival(Word.STOP)
        first = await bench.box.arrive(came)
        again = await bench.box.arrive(replace(came, id="another", text="else", owner="other", received_at=NOW + 1))
        assert (first.first, again.first, again.inbound) == (True, False, first.inbound)
        assert (again.suppressed, again.lifted) == (False, ())
        assert await everything(bench.box) == [first.inbound]

    async def test_repeats_at_the_same_moment_are_one_text(self, bench: Bench) -> None:
        came = arrival(Word.STOP)
        found = await asyncio.gather(*(bench.box.arrive(replace(came, id=f"{came.id}-{n}")) for n in range(20)))
        assert sum(each.first for each in found) == 1
        assert len(await everything(bench.box)) == 1

    async def test_one_id_at_two_providers_is_two_texts(self, bench: Bench) -> None:
        assert (await come(bench.box, provider_message_id="7")).first
        assert (await come(bench.box, provider_message_id="7", provider="second")).first

    # --- whose -------------------------------------------------------------------------------------------------------

    async def test_it_belongs_to_the_last_message_between_the_two_numbers(self, bench: Bench) -> None:
        await bench.box.track(Tracking(threads=frozenset({"main"})))
        await took(bench, WRITER, OURS, "shop")
        last = await took(bench, WRITER, OURS, "clinic", at=NOW + 1)
        await took(bench, WRITER, OTHER, "late", at=NOW + 2)
        await took(bench, "+14155550199", OURS, "late", at=NOW + 3)
        for owned in (False, True):
            found = (await come(bench.box, owner="holder", owned=owned)).inbound
            assert (found.tenant, found.message) == ("clinic", last)

    async def test_else_to_whom_the_number_is_or_else_to_the_last_message_to_its_writer(self, bench: Bench) -> None:
        await bench.box.track(Tracking(threads=frozenset({"main", "second"})))
        await took(bench, WRITER, OTHER, "shop")
        last = await took(bench, WRITER, "Example", "clinic", at=NOW + 1)
        await took(bench, WRITER, OTHER, "late", provider="second", at=NOW + 2)
        found = (await come(bench.box, owner="holder", owned=True)).inbound
        assert (found.tenant, found.message) == ("holder", None)
        found = (await come(bench.box, owner="default")).inbound
        assert (found.tenant, found.message) == ("clinic", last)
        found = (await come(bench.box, owner="default", sender="+14155550198")).inbound
        assert (found.tenant, found.message) == ("default", None)

    # --- words -------------------------------------------------------------------------------------------------------

    async def test_a_stop_suppresses_its_writer_at_the_provider_once(self, bench: Bench) -> None:
        first = await come(bench.box, Word.STOP, received_at=NOW + 3)
        assert (first.suppressed, first.inbound.word, first.inbound.news) == (True, Word.STOP, True)
        assert await bench.box.suppressions_of(WRITER) == (Suppression("main", WRITER, NOW + 3, "inbound"),)
        [refused] = await bench.accept(draft(bench.next()))
        assert refused == Suppressed(("main",))
        second = await come(bench.box, Word.STOP)
        assert (second.first, second.suppressed, second.inbound.news) == (True, False, False)
        elsewhere = await come(bench.box, Word.STOP, provider="second")
        assert (elsewhere.suppressed, elsewhere.inbound.news) == (True, True)

    async def test_an_exempt_answer_passes_the_suppression_and_nothing_else_does(self, bench: Bench) -> None:
        await come(bench.box, Word.STOP)
        [seq] = await bench.stored(draft(bench.next(), exempt=True))
        [message] = await bench.claimed(seq)
        assert (message.attempt, message.exempt) == (1, True)

    async def test_a_start_lifts_what_holds_at_its_provider(self, bench: Bench) -> None:
        for n, source in enumerate(("provider", "receipt", "inbound", "operator")):
            number = f"+1415555030{n}"
            for scope in ("main", "second"):
                await bench.box.suppress(Suppression(scope, number, NOW, source))
            found = await come(bench.box, Word.START, sender=number)
            assert (found.lifted, found.suppressed, found.inbound.news) == (("main",), False, True)
            assert await scopes(bench.box, number) == [("second", source)]
            await bench.stored(draft(bench.next(), recipient=number))
            again = await come(bench.box, Word.START, sender=number)
            assert (again.lifted, again.inbound.news) == ((), False)

    async def test_a_start_lifts_what_holds_everywhere_unless_an_operator_said_so(self, bench: Bench) -> None:
        for n, source in enumerate(("provider", "inbound", "operator")):
            number, kept = f"+1415555030{n}", source == "operator"
            await bench.box.suppress(Suppression(EVERY, number, NOW, source))
            await bench.box.suppress(Suppression("main", number, NOW, "inbound"))
            found = await come(bench.box, Word.START, sender=number)
            assert found.lifted == (("main",) if kept else (EVERY, "main"))
            assert await scopes(bench.box, number) == ([(EVERY, source)] if kept else [])
            # It still gets nothing: to say that it does would be a lie.
            assert found.inbound.news is not kept

    async def test_a_start_that_is_brought_again_after_a_later_stop_lifts_nothing(self, bench: Bench) -> None:
        start, stop = arrival(Word.START), arrival(Word.STOP)
        await come(bench.box, Word.STOP)
        assert (await bench.box.arrive(start)).lifted == ("main",)
        assert (await bench.box.arrive(stop)).suppressed
        again = await bench.box.arrive(start)
        assert (again.first, again.lifted) == (False, ())
        assert await scopes(bench.box) == [("main", "inbound")]

    async def test_of_words_that_come_together_the_last_one_holds(self, bench: Bench) -> None:
        words = [Word.STOP, Word.START, Word.STOP, Word.START, Word.STOP]
        found = await asyncio.gather(*(bench.box.arrive(arrival(word)) for word in words))
        assert [each.inbound.news for each in found] == [True] * 5
        assert await scopes(bench.box) == [("main", "inbound")]

    async def test_a_help_is_news_after_an_hour_without_one(self, bench: Bench) -> None:
        async def news(at: int, **fields: Any) -> bool:
            return (await come(bench.box, Word.HELP, received_at=at, **fields)).inbound.news

        assert await news(NOW)
        assert not await news(NOW + 59 * MINUTE)
        assert await news(NOW + 59 * MINUTE, provider="second")
        assert await news(NOW + 59 * MINUTE, sender="+14155550199")
        assert not await news(NOW + 119 * MINUTE)
        assert await news(NOW + 119 * MINUTE + HOUR + 1)
        assert await news(NOW - 30 * 24 * HOUR)  # the clock was set back
        assert await scopes(bench.box) == []

    async def test_a_word_of_who_has_no_number_is_only_kept(self, bench: Bench) -> None:
        for sender in ("12345", "Example Co", ""):
            for word in Word:
                found = await come(bench.box, word, sender=sender)
                assert (found.inbound.word, found.inbound.news) == (word, False)
                assert (found.suppressed, found.lifted) == (False, ())
            assert await scopes(bench.box, sender) == []

    # --- told --------------------------------------------------------------------------------------------------------

    async def test_its_tenant_is_told_once_and_with_the_text(self, bench: Bench) -> None:
        await bench.box.track(Tracking(callbacks={"shop": "https://shop.example.com/sms"}))
        came = arrival(Word.HELP, text="help", owner="shop")
        await bench.box.arrive(came)
        await bench.box.arrive(came)
        await come(bench.box, owner="other")
        [told] = await bench.box.callbacks(None, False, None, 10)
        assert (told.id, told.event, told.subject) == (f"evt_{came.id}", Kind.INBOUND_RECEIVED, came.id)
        assert (told.tenant, told.url) == ("shop", "https://shop.example.com/sms")
        data = json.loads(told.payload)["data"]
        assert (data["from"], data["to"], data["text"], data["word"]) == (WRITER, OURS, "help", "help")

    # --- listed ------------------------------------------------------------------------------------------------------

    async def test_a_listing_is_newest_first_and_every_filter_narrows(self, bench: Bench) -> None:
        box = bench.box
        for n in range(12):
            await come(
                box,
                text=str(n),
                owner=("shop", "clinic")[n % 2],
                sender=f"+1415555020{n % 3}",
                recipient=(OURS, OTHER)[n % 4 // 2],
                received_at=NOW + n,
            )
        assert texts(await everything(box, limit=5)) == [str(n) for n in range(11, -1, -1)]
        assert texts(await everything(box, "shop", limit=4)) == ["10", "8", "6", "4", "2", "0"]
        assert texts(await everything(box, sender="+14155550201", limit=1)) == ["10", "7", "4", "1"]
        assert texts(await everything(box, "shop", sender="+14155550201")) == ["10", "4"]
        assert texts(await everything(box, recipient=OTHER, limit=2)) == ["11", "10", "7", "6", "3", "2"]
        assert texts(await everything(box, since=NOW + 9)) == ["11", "10", "9"]
        assert texts(await everything(box, "nobody")) == []
        page, following = await box.inbound("shop", limit=2)
        assert (texts(page), following) == (["10", "8"], page[-1].nr)
        page, following = await box.inbound("shop", before=page[-1].nr, limit=100)
        assert (texts(page), following) == (["6", "4", "2", "0"], None)

    async def test_a_page_of_long_texts_ends_early(self, bench: Bench) -> None:
        for n in range(9):
            await come(bench.box, text=str(n) * 100_000)
        page, following = await bench.box.inbound(None)
        assert (len(page), following) == (3, page[-1].nr)
        assert [each.text[0] for each in await everything(bench.box)] == list("876543210")
        await come(bench.box, text="x" * 300_000)
        page, _ = await bench.box.inbound(None)
        assert len(page) == 1
