"""What must every outbox do about what applications are told? A part of the contract (`contract.py`).

A binding is a subclass of CallbacksContract and a fixture `bench`: see test_sqlite_contract.py.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from smsd.core.admission import AdmissionRules
from smsd.core.callback import Callback, event_id
from smsd.core.crashes import CRASHES_ALLOWED
from smsd.core.events import Kind
from smsd.core.lifecycle import Event
from smsd.core.limits import Action, Per, Rule
from smsd.core.message import State
from smsd.core.receipt import Receipt, ReceiptReading, Status
from smsd.core.units import DAY, HOUR
from smsd.core.verdict import Category
from smsd.store import CallbackCounts, Claim, StoreBrokenError, Tracking
from tests.doubles.builders import NOW, draft
from tests.store.contract import LATER, Bench, attempt, error, settlement

SHOP = "https://shop.example/hook"
OWN = "http://own.example:8080/hook?token=x"
LONG = NOW + 400 * DAY
FINAL = ReceiptReading(Category.REJECTED, "final")


async def told(bench: Bench, *, failed: bool = False, tenant: str | None = None) -> list[Callback]:
    """All that is told, in order of ids."""
    return list(await bench.box.callbacks(tenant, failed, None, 10_000))


async def events(bench: Bench) -> Counter[str]:
    """What is told, by event and URL."""
    return Counter(f"{each.event} {each.url}" for each in await told(bench))


async def listen(bench: Bench, **urls: str) -> None:
    """These tenants have a URL."""
    await bench.box.track(Tracking(callbacks=urls))


async def sent(bench: Bench, *seqs: int, at: int = LATER) -> None:
    """Claim them and settle each: taken."""
    await bench.claimed(*seqs)
    await asyncio.gather(
        *(bench.box.settle(settlement(seq, Event.TAKEN, at=at, pmid=f"SM{seq}"), attempt()) for seq in seqs)
    )


async def waiting(bench: Bench, count: int = 1, **fields: Any) -> list[Callback]:
    """So many callbacks more, which wait."""
    before = {each.id for each in await told(bench)}
    await sent(bench, *await bench.stored(*(draft(bench.next(), **fields) for _ in range(count))))
    return [each for each in await told(bench) if each.id not in before]


class CallbacksContract:
    """Subclass it with a fixture `bench`."""

    # --- what is written ---------------------------------------------------------------------------------------------

    async def test_who_asks_for_nothing_is_told_nothing(self, bench: Bench) -> None:
        await listen(bench, other=SHOP)
        assert await waiting(bench, 3) == []
        assert await bench.box.callback_counts() == CallbackCounts(0, 0, None)

    async def test_a_state_is_told_as_the_change_left_it(self, bench: Bench) -> None:
        await listen(bench, shop=SHOP)
        first, own = draft(1, metadata={"order": "7"}), draft(2, callback_url=OWN, tenant="other")
        [a, b] = await bench.stored(first, own)
        await sent(bench, a, b, at=LATER)
        [one, two] = await told(bench)
        assert one == Callback(
            f"evt_{first.id}_0_sent", Kind.MESSAGE_SENT, "shop", first.id, SHOP, "https://shop.example:443",
            one.payload, LATER, LATER,
        )  # fmt: skip
        assert (two.tenant, two.url, two.origin) == ("other", OWN, "http://own.example:8080")
        body = json.loads(one.payload)
        assert (body["type"], body["timestamp"]) == ("message.sent", "2026-09-21T14:13:21.000Z")
        assert body["data"]["metadata"] == {"order": "7"}
        assert (body["data"]["state"], body["data"]["provider_message_id"]) == ("sent", f"SM{a}")
        assert first.text not in one.payload
        assert await bench.box.callback_counts() == CallbackCounts(2, 0, LATER)
        await bench.restart()
        assert await told(bench) == [one, two]
        assert await bench.box.callback_counts() == CallbackCounts(2, 0, LATER)

    async def test_every_end_is_told_and_nothing_between(self, bench: Bench) -> None:
        await listen(bench, shop=SHOP)
        seqs = await bench.stored(*(draft(n, expires_at=LATER if n == 5 else LONG) for n in range(1, 7)))
        [taken, failed, retried, _, _, doubted] = seqs
        await bench.claimed(taken, failed, retried, doubted)
        await bench.box.settle(settlement(taken, Event.TAKEN), attempt())
        await bench.box.settle(settlement(failed, Event.FAIL, error=error()), attempt())
        await bench.box.settle(settlement(retried, Event.RETRY, error=error()), attempt())
        await bench.box.settle(settlement(doubted, Event.DOUBT, error=error()), attempt())
        await bench.box.cancel(draft(4).id, None, LATER)
        await bench.box.expire(LATER, 10)
        found = {each.subject: each for each in await told(bench)}
        assert {id: each.event for id, each in found.items()} == {
            draft(1).id: Kind.MESSAGE_SENT,
            draft(2).id: Kind.MESSAGE_FAILED,
            draft(4).id: Kind.MESSAGE_CANCELLED,
            draft(5).id: Kind.MESSAGE_EXPIRED,
        }
        assert json.loads(found[draft(2).id].payload)["data"]["error"]["code"] == "E1"
        assert json.loads(found[draft(5).id].payload)["data"]["error"]["category"] == "EXPIRED"

    async def test_a_claim_that_fails_its_message_is_told(self, bench: Bench) -> None:
        await listen(bench, shop=SHOP)
        [out, first, over] = await bench.stored(
            draft(1, recipient="+14155550198"), draft(2, expires_at=LONG), draft(3, expires_at=LONG)
        )
        await bench.suppressed("main", "+14155550198")
        await bench.box.govern(AdmissionRules(limits=(Rule(Per.RECIPIENT, 1, HOUR, action=Action.FAIL),)))
        await bench.box.begin([Claim(seq, 0, "main", "+15005550006") for seq in (out, first, over)], LATER)
        assert [(each.subject, each.event) for each in await told(bench)] == [
            (draft(1).id, Kind.MESSAGE_FAILED),
            (draft(3).id, Kind.MESSAGE_FAILED),
        ]
        [one, other] = [json.loads(each.payload)["data"]["error"]["category"] for each in await told(bench)]
        assert (one, other) == ("OPTED_OUT", "LIMIT_EXCEEDED")

    async def test_a_message_that_is_parked_is_told(self, bench: Bench) -> None:
        await listen(bench, shop=SHOP)
        [seq] = await bench.stored(draft(1, callback_url=OWN, expires_at=LONG, max_attempts=20))
        for crash in range(1, CRASHES_ALLOWED + 1):
            await bench.claimed(seq, now=LATER)
            recovery = await bench.crash(LATER)
            if crash < CRASHES_ALLOWED:
                assert await bench.box.settle(settlement(seq, Event.RETRY, crash), None)
        assert [m.seq for m in recovery.parked] == [seq]
        [one] = await told(bench)
        assert (one.event, one.url, json.loads(one.payload)["data"]["error"]["category"]) == (
            Kind.MESSAGE_FAILED, OWN, "UNCERTAIN",
        )  # fmt: skip
        assert await bench.box.callback_counts() == CallbackCounts(1, 0, one.due)

    async def test_each_round_has_ids_of_its_own(self, bench: Bench) -> None:
        await listen(bench, shop=SHOP)
        [seq] = await bench.stored(draft(1))
        for turn in range(3):
            await bench.claimed(seq)
            n = turn + 1
            await bench.box.settle(settlement(seq, Event.FAIL, n, error=error()), attempt(n))
            await bench.box.reopen(draft(1).id, None, NOW, LONG, force=True)
        assert [each.id for each in await told(bench)] == [f"evt_{draft(1).id}_{n}_failed" for n in range(3)]

    @pytest.mark.parametrize("first", [State.SENT, State.FAILED])
    async def test_each_state_is_told_once_in_a_round(self, bench: Bench, first: State) -> None:
        """A receipt brings a message back, which is sent again, or fails again: that is no news."""
        await listen(bench, shop=SHOP)
        [seq] = await bench.stored(draft(1))
        again = ReceiptReading(Category.UNDELIVERED, "resend", (60_000,), 9)
        wanted = []
        for turn in range(2):
            for n in (2 * turn + 1, 2 * turn + 2):
                [claimed] = await bench.claimed(seq, now=NOW + 100_000 * n)
                assert (claimed.state, claimed.attempt) == (State.PROCESSING, n)
                if first is State.SENT:
                    end, call = settlement(seq, Event.TAKEN, n, pmid=f"SM{n}"), attempt(n, provider_message_id=f"SM{n}")
                else:
                    end, call = settlement(seq, Event.FAIL, n, error=error()), attempt(n, outcome="unknown")
                assert await bench.box.settle(end, call)
                message = await bench.by_seq(seq)
                assert message.state is first
                wanted += [event_id(message)] if n % 2 else []
                assert [each.id for each in await told(bench)] == ([event_id(message)] if n % 2 else [])
                await bench.box.callback_told([event_id(message)])
                await bench.restart()
                await listen(bench, shop=SHOP)
                missed = Receipt(
                    "main", Status.UNDELIVERED, f"SM{n}", draft(1).id, n, reading=again if n % 2 else FINAL
                )
                [received] = await bench.box.receive([missed], LATER)
                assert received.resent == bool(n % 2)
            [undelivered] = await told(bench)
            assert undelivered.id == f"evt_{draft(1).id}_{turn}_undelivered"
            await bench.box.callback_told([undelivered.id])
            await bench.box.reopen(draft(1).id, None, NOW, LONG, force=True)
        assert wanted == [f"evt_{draft(1).id}_{turn}_{first.label}" for turn in range(2)]

    async def test_what_waits_is_tried_anew(self, bench: Bench) -> None:
        """Those named, and with all that were given up all that wait for a later time; of this tenant."""
        await listen(bench, shop=SHOP, other=OWN)
        mine, [strange] = await waiting(bench, 3), await waiting(bench, tenant="other")
        for each in (*mine[1:], strange):
            await bench.box.callback_failed(replace(each, due=LONG, tries=4, error="no", tried_at=LATER))
        new = [replace(each, due=LATER + 9, created_at=LATER + 9) for each in mine]
        assert await bench.box.replay_callbacks([mine[0].id, strange.id], "shop", LATER + 9, 9) == 1
        assert (await told(bench, tenant="shop"))[0] == new[0]
        assert await bench.box.replay_callbacks(None, "shop", LATER + 9, 9) == 2
        assert await told(bench, tenant="shop") == new
        assert [each.due for each in await told(bench, tenant="other")] == [LONG]
        assert await bench.box.callback_counts() == CallbackCounts(4, 0, LATER + 9)
        assert await bench.box.replay_callbacks(None, None, LATER + 10, 9) == 1
        assert (await bench.box.callbacks_due(LATER + 10, 400))[1] is None

    async def test_many_in_one_batch(self, bench: Bench) -> None:
        await listen(bench, shop=SHOP)
        found = await waiting(bench, 400)
        assert len({each.id for each in found}) == 400
        assert (await bench.box.callback_counts()).waiting == 400

    async def test_the_url_is_that_of_the_moment(self, bench: Bench) -> None:
        await listen(bench, shop=SHOP)
        await waiting(bench)
        await listen(bench, shop=OWN)
        await waiting(bench)
        await listen(bench)
        assert await waiting(bench) == []
        assert await events(bench) == {f"message.sent {SHOP}": 1, f"message.sent {OWN}": 1}

    async def test_a_message_with_a_url_is_told_after_a_restart(self, bench: Bench) -> None:
        seqs = await bench.stored(draft(1, callback_url=OWN), draft(2))
        await bench.restart()
        await sent(bench, *seqs)
        assert await events(bench) == {f"message.sent {OWN}": 1}

    async def test_somebody_is_woken_by_what_is_added_or_due_anew(self, bench: Bench) -> None:
        woken: list[int] = []
        bench.box.notify(lambda _: None, lambda: woken.append(1))
        await waiting(bench)
        assert woken == []
        [one, *_] = await waiting(bench, callback_url=OWN)
        assert len(woken) == 1
        await bench.box.callback_failed(replace(one, due=None, tries=1, error="no", tried_at=LATER))
        await bench.box.callback_told(["evt_nobody"])
        assert len(woken) == 1
        await bench.box.replay_callbacks(None, None, LATER, 10)
        assert len(woken) == 2

    # --- what becomes of it ------------------------------------------------------------------------------------------

    async def test_what_came_through_is_gone(self, bench: Bench) -> None:
        some = await waiting(bench, 5, callback_url=OWN)
        await bench.box.callback_told([some[0].id, some[3].id, some[3].id, "evt_nobody"])
        assert await told(bench) == [some[1], some[2], some[4]]
        assert (await bench.box.callback_counts()).waiting == 3
        await bench.box.callback_failed(replace(some[0], due=LONG, tries=1))
        await bench.box.callback_failed(replace(some[0], due=None, tries=1))
        assert (await bench.box.callback_counts(), len(await told(bench))) == (CallbackCounts(3, 0, LATER), 3)

    async def test_a_failed_try_is_kept(self, bench: Bench) -> None:
        [one] = await waiting(bench, callback_url=OWN)
        tried = replace(one, due=LONG, tries=1, error="500 \ud800", http_status=500, tried_at=LATER + 5)
        await bench.box.callback_failed(tried)
        await bench.restart()
        assert await told(bench) == [replace(tried, error="500 ?")]
        given_up = replace(tried, due=None, tries=2, error="no answer", http_status=None, tried_at=LATER + 9)
        await bench.box.callback_failed(given_up)
        assert (await told(bench), await told(bench, failed=True)) == ([], [given_up])
        assert await bench.box.callback_counts() == CallbackCounts(0, 1, None)
        await bench.box.callback_failed(tried)  # a try that was under way
        assert await told(bench, failed=True) == [given_up]
        await bench.box.callback_told([one.id])
        assert await bench.box.callback_counts() == CallbackCounts(0, 0, None)

    async def test_a_url_that_is_gone_gets_nothing_more(self, bench: Bench) -> None:
        await listen(bench, shop=SHOP)
        mine = await waiting(bench, 3)
        await waiting(bench, 1, callback_url=f"{SHOP}2")
        await waiting(bench, 1, tenant="other", callback_url=SHOP)
        assert await bench.box.url_gone("shop", SHOP, LATER + 7) == 3
        assert await waiting(bench, 2) == []
        kept = await told(bench, failed=True)
        assert [each.id for each in kept][:3] == [each.id for each in mine]
        assert {(each.due, each.http_status, each.error or "") for each in kept} == {(None, 410, kept[0].error or "")}
        assert "410" in (kept[0].error or "")
        assert [each.tried_at for each in kept] == [LATER + 7] * 3 + [LATER] * 2
        assert (await bench.box.callback_counts(), len(await told(bench))) == (CallbackCounts(2, 5, LATER), 2)
        await bench.restart()
        await listen(bench, shop=SHOP)
        assert await waiting(bench) == []
        assert await bench.box.url_gone("shop", SHOP, LATER) == 0

    async def test_what_is_replayed_is_as_new(self, bench: Bench) -> None:
        await listen(bench, shop=SHOP, other=SHOP)
        await waiting(bench, 3)
        await waiting(bench, 1, tenant="other")
        await bench.box.url_gone("shop", SHOP, LATER)
        await bench.box.url_gone("other", SHOP, LATER)
        [first, second, third, strange] = await told(bench, failed=True)
        assert await bench.box.replay_callbacks([first.id, strange.id, "evt_x"], "shop", LONG, 10) == 1
        [one] = await told(bench)
        assert one == replace(first, due=LONG, created_at=LONG, tries=0, error=None, http_status=None, tried_at=None)
        assert len(await waiting(bench)) == 1  # it counts as gone no more
        assert await waiting(bench, tenant="other") == []
        assert await bench.box.replay_callbacks(None, "shop", LONG, 1) == 1
        assert [each.id for each in await told(bench, failed=True, tenant="shop")] == [third.id]
        assert second.id in {each.id for each in await told(bench)}
        assert await bench.box.replay_callbacks(None, None, LONG, 100) == 3
        assert await bench.box.replay_callbacks(None, None, LONG, 100) == 0
        assert (await bench.box.callback_counts()).failed == 0

    # --- what is due -------------------------------------------------------------------------------------------------

    async def test_due_callbacks_are_shared_out_by_place(self, bench: Bench) -> None:
        await waiting(bench, 20, callback_url=SHOP)
        await waiting(bench, 2, callback_url=OWN)
        await waiting(bench, 1, callback_url="http://late.example/")
        [late] = [each for each in await told(bench) if "late" in each.url]
        await bench.box.callback_failed(replace(late, due=LONG, tries=1))
        found, following = await bench.box.callbacks_due(LATER, 8)
        assert Counter(each.url for each in found) == {SHOP: 2, OWN: 2}
        assert following == LATER  # others wait, and are due
        found, following = await bench.box.callbacks_due(LATER, 8, without=[found[0].place, found[-1].place])
        assert (found, following) == ((), LONG)
        assert await bench.box.callbacks_due(LATER - 1, 8) == ((), LATER)
        found, following = await bench.box.callbacks_due(LONG, 400)
        assert (len(found), following) == (23, None)
        assert len((await bench.box.callbacks_due(LONG, 1))[0]) == 1

    async def test_the_earliest_of_a_place_and_the_longest_due_place_go_first(self, bench: Bench) -> None:
        some = await waiting(bench, 6, callback_url=SHOP)
        other = await waiting(bench, 1, callback_url="https://a.example/")
        for n, each in enumerate(some):
            await bench.box.callback_failed(replace(each, due=LATER - n, tries=1))
        await bench.box.callback_failed(replace(other[0], due=LATER - 3, tries=1))
        found, following = await bench.box.callbacks_due(LATER, 8)
        assert [each.id for each in found] == [some[5].id, some[4].id, other[0].id]
        assert following == LATER - 3
        found, following = await bench.box.callbacks_due(LATER, 1)
        assert ([each.id for each in found], following) == ([some[5].id], LATER - 4)
        found, following = await bench.box.callbacks_due(LATER - 4, 400)
        assert ([each.due for each in found], following) == ([LATER - 5, LATER - 4], LATER - 3)

    async def test_a_listing_goes_on_behind_one_that_is_gone(self, bench: Bench) -> None:
        await listen(bench, shop=SHOP, other=OWN)
        some = [each.id for each in (*await waiting(bench, 5), *await waiting(bench, 3, tenant="other"))]
        first = await bench.box.callbacks(None, False, None, 3)
        assert [each.id for each in first] == some[:3]
        await bench.box.callback_told([some[2]])
        assert [each.id for each in await bench.box.callbacks(None, False, some[2], 3)] == some[3:6]
        assert [each.id for each in await bench.box.callbacks("other", False, some[5], 9)] == some[6:]
        assert [each.id for each in await bench.box.callbacks("shop", False, some[0], 9)] == [
            some[n] for n in (1, 3, 4)
        ]
        assert await bench.box.callbacks("shop", True, None, 9) == ()
        assert await bench.box.callbacks("nobody", False, None, 9) == ()

    async def test_after_closing_nothing_is_asked_or_changed(self, bench: Bench) -> None:
        [one] = await waiting(bench, callback_url=OWN)
        await bench.box.close()
        with pytest.raises(StoreBrokenError):
            await bench.box.callback_told([one.id])
        with pytest.raises(StoreBrokenError):
            await bench.box.callbacks_due(LATER, 8)
        bench.box, _ = await bench.reopener(NOW, True, ())
        assert await told(bench) == [one]
