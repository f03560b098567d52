"""The ring of events: places, waiting, loss, bounds, and whose an event is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from smsd.core.events import Event, Kind, about
from smsd.core.units import rfc3339
from smsd.engine.bus import Bus
from smsd.engine.stream import Batch, Stream, UnknownKindError, Wanted, visible, wanted
from tests.doubles.builders import draft
from tests.engine.rig import LOST, TO, Rig, answer
from tests.engine.way_back import PUBLIC, twilio_says

RUN = "0123abcd"
ALL = Wanted(None)
SOON = 30.0
"""A wait that no test lets run out."""


def happened(tenant: str | None = "shop", kind: Kind = Kind.MESSAGE_SENT, **fields: object) -> Event:
    return Event(kind, 1_790_000_000_000, {"tenant": tenant, **fields} if tenant is not None else dict(fields))


def numbers(batch: Batch) -> list[int]:
    return [int(id.removeprefix(f"{RUN}-")) for id, _ in batch.events]


async def waiting(read: Awaitable[Batch]) -> asyncio.Task[Batch]:
    """The read, begun and waiting."""

    async def story() -> Batch:
        return await read

    task = asyncio.create_task(story())
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_without_a_place_it_begins_now() -> None:
    stream = Stream(RUN)
    stream(happened())
    batch = await stream.read(None, 0, 10, ALL)
    assert (batch.events, batch.last, batch.lost) == ([], f"{RUN}-1", False)


async def test_reading_goes_on_where_it_ended() -> None:
    stream = Stream(RUN)
    start = stream.last
    for n in range(5):
        stream(happened(n=n))
    first = await stream.read(start, 0, 3, ALL)
    second = await stream.read(first.last, 0, 3, ALL)
    assert (numbers(first), numbers(second)) == ([1, 2, 3], [4, 5])
    assert [event.fields["n"] for _, event in (*first.events, *second.events)] == [0, 1, 2, 3, 4]
    assert not first.lost
    assert not second.lost


async def test_the_place_moves_past_what_is_not_wanted() -> None:
    stream = Stream(RUN)
    start = stream.last
    for _ in range(3):
        stream(happened("other"))
    batch = await stream.read(start, 0, 10, Wanted("shop"))
    assert (batch.events, batch.last) == ([], f"{RUN}-3")


async def test_a_waiting_reader_is_woken_by_what_it_wants_only() -> None:
    stream = Stream(RUN)
    reader = await waiting(stream.read(None, SOON, 10, Wanted("shop")))
    stream(happened("other"))
    await asyncio.sleep(0)
    assert not reader.done()
    stream(happened("shop"))
    stream(happened("shop"))
    assert numbers(await reader) == [2, 3]


async def test_the_time_runs_out() -> None:
    stream = Stream(RUN)
    reader = await waiting(stream.read(None, 0.01, 10, Wanted("shop")))
    stream(happened("other"))
    batch = await reader
    assert (batch.events, batch.last, batch.lost) == ([], f"{RUN}-1", False)
    assert not stream._waiting


async def test_what_the_ring_forgot_is_lost() -> None:
    stream = Stream(RUN, size=3)
    start = stream.last
    for _ in range(3):
        stream(happened())
    assert not (await stream.read(start, 0, 10, ALL)).lost
    stream(happened())
    batch = await stream.read(start, 0, 10, ALL)
    assert (batch.lost, numbers(batch)) == (True, [2, 3, 4])
    assert not (await stream.read(f"{RUN}-1", 0, 10, ALL)).lost


@pytest.mark.parametrize(
    "after", ["ffffffff-1", f"{RUN}-2", f"{RUN}-", "", "1", f"{RUN}-1\n", f"{RUN}-{'9' * 5000}", f"{RUN}-١"]
)
async def test_an_id_that_is_not_of_this_run_is_lost(after: str) -> None:
    stream = Stream(RUN)
    stream(happened())
    batch = await stream.read(after, SOON, 10, ALL)
    assert (batch.lost, numbers(batch), batch.last) == (True, [1], f"{RUN}-1")


async def test_a_loss_is_told_at_once_also_without_events() -> None:
    batch = await Stream(RUN).read("ffffffff-7", SOON, 10, ALL)
    assert (batch.events, batch.last, batch.lost) == ([], f"{RUN}-0", True)


async def test_a_burst_that_outruns_a_woken_reader_is_a_loss() -> None:
    stream = Stream(RUN, size=3)
    reader = await waiting(stream.read(None, SOON, 10, ALL))
    for _ in range(5):
        stream(happened())
    batch = await reader
    assert (batch.lost, numbers(batch)) == (True, [3, 4, 5])


async def test_more_readers_than_may_wait_are_answered_at_once() -> None:
    stream = Stream(RUN, readers=2)
    readers = [await waiting(stream.read(None, SOON, 10, ALL)) for _ in range(2)]
    assert (await stream.read(None, SOON, 10, ALL)).events == []
    readers.append(await waiting(stream.read(None, SOON, 10, ALL, bounded=False)))
    stream(happened())
    assert [numbers(await reader) for reader in readers] == [[1]] * 3
    await waiting(stream.read(None, SOON, 10, ALL))  # a place is free again


async def test_a_reader_that_is_gone_leaves_nothing() -> None:
    stream = Stream(RUN, readers=1)
    reader = await waiting(stream.read(None, SOON, 10, ALL))
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    assert not stream._waiting
    await waiting(stream.read(None, SOON, 10, ALL))


async def test_only_readers_who_may_see_an_event_cost_it_a_look_and_equal_ones_share_it() -> None:
    looks: list[str | None] = []

    class Counted(Wanted):
        def __call__(self, event: Event) -> bool:
            looks.append(self.tenant)
            return False

    stream = Stream(RUN)
    wants = [Counted(None), Counted("shop"), *(Counted(f"other {n}") for n in range(50))]
    readers = [await waiting(stream.read(None, SOON, 10, each)) for each in wants * 3]
    stream(happened("shop"))
    assert looks == [None, "shop"]
    stream(happened(None, Kind.PROVIDER_HALTED))
    assert looks == [None, "shop", None]
    looks.clear()
    stream.close()
    assert [(await reader).last for reader in readers] == [f"{RUN}-2"] * len(readers)


async def test_at_the_end_nobody_waits() -> None:
    stream = Stream(RUN)
    reader = await waiting(stream.read(None, SOON, 10, ALL))
    stream.close()
    assert (await reader).events == []
    stream(happened(None, Kind.DAEMON_STOPPED))
    assert numbers(await stream.read(f"{RUN}-0", SOON, 10, ALL)) == [1]
    assert (await stream.read(f"{RUN}-1", SOON, 10, ALL)).events == []


def test_each_run_has_a_name_of_its_own() -> None:
    assert Stream().last != Stream().last


def test_a_tenant_sees_its_own_and_nothing_else() -> None:
    own, other, nobodys = happened("shop"), happened("other"), happened(None, Kind.PROVIDER_HALTED, provider="main")
    assert [visible(event, "shop") for event in (own, other, nobodys)] == [True, False, False]
    assert all(visible(event, None) for event in (own, other, nobodys))
    assert not visible(Event(Kind.DAEMON_READY, 0, {"tenant": None}), "None")


def test_kinds_are_chosen_by_name_and_by_group() -> None:
    chosen = wanted("message.sent, provider.*", "shop")
    assert chosen.tenant == "shop"
    assert set(chosen.kinds or ()) == {Kind.MESSAGE_SENT, *(kind for kind in Kind if kind.startswith("provider."))}
    assert wanted(None, None) == ALL
    assert wanted("message.*", None)(happened())
    assert not wanted("message.failed", None)(happened())


@pytest.mark.parametrize(
    "kinds", ["", "message", "message.", "mess.*", "*", ".*", "message.sent,", "Message.sent", "é*"]
)
def test_an_unknown_kind_is_refused_with_those_there_are(kinds: str) -> None:
    with pytest.raises(UnknownKindError, match=r"message\.sent, .*outbox\.broken"):
        wanted(kinds, None)


def test_a_sink_can_be_removed_while_events_are_told() -> None:
    bus = Bus()
    told: list[str] = []

    def once(event: Event) -> None:
        told.append("first")
        stop()

    stop = bus.subscribe(once)
    bus.subscribe(lambda event: told.append("second"))
    bus.publish(Kind.DAEMON_READY, 0)
    bus.publish(Kind.DAEMON_READY, 0)
    assert told == ["first", "second", "second"]


def test_every_event_about_a_message_says_whose_it_is(rig: Rig) -> None:
    """All that can happen to messages, by the real engine."""

    async def story() -> None:
        rig.carrier.script = [
            answer(503),
            answer(400, code=21211, message="invalid"),
            LOST,
            answer(429, {"Retry-After": "1"}),
        ]
        rig.public_url = PUBLIC
        await rig.start()
        for n in range(4):
            await rig.accepted(text=f"Your secret {n}")
            await rig.seconds(0.1)
        lost = next(fields for _, fields in rig.carrier.sends if fields["Body"] == "Your secret 2")
        rig.carrier.take(lost)
        await rig.accepted(text="Your secret 5", ttl="2s")
        later = await rig.accepted(text="Your secret 6", send_at=rfc3339(rig.clock.wall() + 3_600_000))
        again = rfc3339(rig.clock.wall() + 7_200_000)
        await rig.engine.service.reschedule(later, None, send_at=again, ttl=None, expires_at=None)
        await rig.engine.service.cancel(later, None)
        await rig.seconds(400)
        failed = next(event for event in rig.events if event.kind is Kind.MESSAGE_FAILED)
        await rig.engine.service.retry(str(failed.fields["id"]), None, ttl=None, expires_at=None, force=False)
        await rig.seconds(5)
        for n, (word, code) in enumerate((("delivered", None), ("undelivered", 30006))):
            await rig.accepted(text=f"Your secret {8 + n}")
            await rig.seconds(1)
            await twilio_says(rig, len(rig.carrier.sends) - 1, word, code)
        rig.carrier.script = [answer(401, code=20003, message="Authenticate")]
        await rig.accepted(text="Your secret 7")
        await rig.seconds(5)
        await rig.stop()

    rig.run(story)
    told = [event for event in rig.events if event.kind.startswith("message.")]
    assert {event.kind for event in told} == {kind for kind in Kind if kind.startswith("message.")}
    assert all(event.fields["tenant"] == "shop" and event.fields["to"] == TO for event in told)
    assert not any(visible(event, "shop") for event in rig.events if event not in told)
    assert "Your secret" not in str([event.fields for event in rig.events])


def test_a_campaign_is_named_where_there_is_one() -> None:
    assert about(draft()) == {"id": draft().id, "to": draft().recipient, "tenant": draft().tenant}
    assert about(draft(campaign="autumn"))["campaign"] == "autumn"
