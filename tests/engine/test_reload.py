"""Does another configuration count at once, and is nothing lost or sent too fast over it?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.acceptance import MessageRules
from smsd.core.account import ProviderRules
from smsd.core.events import Kind
from smsd.core.health import Health
from smsd.core.pacing import Pace, Window
from smsd.core.retry import RetryRules
from smsd.engine.configuration import Plan
from smsd.engine.setting import Setting
from smsd.engine.settler import RetryBook
from smsd.providers.base import Provider
from smsd.providers.twilio import Twilio
from smsd.store import DiskFullError, StoreError
from smsd.store.incoming import Tracking
from smsd.store.sqlite import SqliteOutbox
from tests.engine.rig import ACCEPTED, LOST, REFUSED, Rig, answer, setting, twilio

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US


def a_minute(limit: int, burst: int = 1) -> Pace:
    return Pace((Window(limit, MINUTE_US),), burst=burst)


async def reload(rig: Rig, *providers: tuple[Provider, ProviderRules], **fields: object) -> None:
    """The configuration is read again and names these providers."""
    configured = tuple(setting(provider, rules) for provider, rules in providers)
    plan: Plan = replace(rig.engine._plan, settings=configured, retries=RetryBook(rig.retry, {}))
    await rig.engine.reconfigure(replace(plan, **fields))  # type: ignore[arg-type]  # fields of Plan, by name


@pytest.mark.parametrize(("before", "after"), [(600, 60), (60, 600), (100, 100)])
def test_a_changed_rate_holds_in_every_window_from_the_reload_on(rig: Rig, before: int, after: int) -> None:
    rig.providers = [(twilio(), rig.rules(pace=a_minute(before)))]

    async def story() -> None:
        await rig.start()
        for number in range(900):
            await rig.accepted(text=f"number {number}")
        await rig.seconds(20)
        at = rig.clock.wall()
        early = len(rig.carrier.sends)
        await reload(rig, (twilio(), rig.rules(pace=a_minute(after))))
        await rig.seconds(150)
        starts = [wall for wall, _ in rig.carrier.sends]
        assert len(starts) > early
        for wall in [each for each in starts if each > at]:
            assert len([each for each in starts if wall - 60_000 < each <= wall]) <= after
        await rig.stop()

    rig.run(story)


def test_a_longer_window_counts_what_only_the_outbox_remembers(rig: Rig) -> None:
    rig.providers = [(twilio(), rig.rules(pace=Pace((Window(1, SECOND_US),))))]

    async def story() -> None:
        await rig.start()
        for number in range(30):
            await rig.accepted(text=f"number {number}")
        await rig.seconds(25)
        early = len(rig.carrier.sends)
        assert early == 25
        both = Pace((Window(1, SECOND_US), Window(27, MINUTE_US)))
        await reload(rig, (twilio(), rig.rules(pace=both)))
        await rig.seconds(20)
        assert len(rig.carrier.sends) == 27, "two more, and then the minute is full"
        await rig.seconds(30)
        assert len(rig.carrier.sends) == 30
        await rig.stop()

    rig.run(story)


def test_what_waits_for_a_provider_that_is_gone_waits_for_its_return(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        await rig.engine.service.pause("main", "not yet")
        id = await rig.accepted()
        await reload(rig)
        await rig.seconds(60)
        assert await rig.waiting(id) == ("no_route", None)
        assert await rig.refused() == "no_route"
        await reload(rig, *rig.providers)
        await rig.engine.service.resume("main")
        await rig.seconds(1)
        assert await rig.state(id) == "sent"
        await rig.stop()

    rig.run(story)


def test_a_provider_taken_out_ends_its_calls_and_the_rest_goes_by_another(rig: Rig) -> None:
    other = twilio("other")
    slow = rig.rules(max_in_flight=2)
    rig.providers = [(twilio(), slow), (other, rig.rules())]

    async def story() -> None:
        rig.carrier.latency_ms = 5_000
        await rig.start()
        ids = [await rig.accepted(text=f"number {number}") for number in range(6)]
        await rig.seconds(1)
        assert rig.engine.lanes["main"].in_flight == 2
        await reload(rig, (other, rig.rules()))
        await rig.seconds(20)
        assert [await rig.state(id) for id in ids] == ["sent"] * 6
        assert len(rig.carrier.sends) == 6
        providers = [(await rig.message(id)).provider for id in ids]
        assert providers == ["main", "main", "other", "other", "other", "other"]
        await rig.stop()

    rig.run(story)


def test_a_new_provider_is_used_at_once(rig: Rig) -> None:
    rig.providers = []

    async def story() -> None:
        await rig.start()
        assert await rig.refused() == "no_route"
        await reload(rig, (twilio("late"), rig.rules()))
        id = await rig.accepted()
        await rig.seconds(1)
        assert await rig.state(id) == "sent"
        assert [view.name for view in rig.engine.service.providers()] == ["late"]
        await rig.stop()

    rig.run(story)


def test_changed_credentials_lift_a_halt(rig: Rig) -> None:
    async def story() -> None:
        rig.carrier.script = [answer(401, code=20003, message="Authenticate")]
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(1)
        assert (await rig.waiting(id))[0] == "provider_halted"
        await reload(rig, (twilio(), rig.rules()))
        await rig.seconds(1)
        assert (await rig.waiting(id))[0] == "provider_halted", "the same credentials are refused again"
        await reload(rig, (twilio(token="renewed"), rig.rules()))
        await rig.seconds(5)
        assert await rig.state(id) == "sent"
        assert Kind.PROVIDER_RESUMED in rig.kinds()
        await rig.stop()
        await rig.start()
        assert rig.engine.lanes["main"].standing().value == "open", "the restart knows"

    rig.run(story)


def test_message_and_retry_rules_count_at_once(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        rig.carrier.script = [REFUSED, ACCEPTED]
        rig.retry = RetryRules(delays_ms=(600_000,), jitter="none")
        await reload(rig, *rig.providers, rules=MessageRules(max_chars=10), max_backlog=1)
        assert await rig.refused(text="longer than ten characters") == "text_too_long"
        id = await rig.accepted(text="short")
        assert await rig.refused(text="more") == "backlog_full"
        await rig.seconds(30)
        until = (await rig.waiting(id))[1]
        assert until is not None
        assert 500_000 < until - rig.clock.wall() < 600_000
        await rig.stop()

    rig.run(story)


def test_a_reload_that_cannot_read_the_outbox_changes_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.providers = [(twilio(), rig.rules(pace=a_minute(60)))]

    async def story() -> None:
        await rig.start()

        async def broken(*_: object) -> list[object]:
            raise StoreError("the disk is gone")

        with monkeypatch.context() as patch:
            patch.setattr(rig.store, "starts", broken)
            with pytest.raises(StoreError):
                await reload(rig, (twilio(), rig.rules(pace=a_minute(1))), (twilio("new"), rig.rules()))
        assert [(view.name, view.rate) for view in rig.engine.service.providers()] == [("main", 60.0)]
        assert rig.engine.lanes["main"].calls.noted is None
        id = await rig.accepted()
        await rig.seconds(1)
        assert await rig.state(id) == "sent"
        await rig.stop()

    rig.run(story)


class Moody(SqliteOutbox):
    """It may be out of room for what is known of providers, and may refuse a plan."""

    full = False
    refuses = False
    written: ClassVar[list[str]] = []

    async def save_provider(self, health: Health) -> None:
        if self.full:
            raise DiskFullError("no room")
        self.written.append(health.fingerprint)
        await super().save_provider(health)

    async def track(self, tracking: Tracking) -> None:
        if self.refuses:
            raise StoreError("the disk is gone")
        await super().track(tracking)


@pytest.fixture
def moody(rig: Rig) -> Iterator[type[Moody]]:
    rig.outbox = Moody
    yield Moody
    Moody.full = Moody.refuses = False
    Moody.written.clear()


def test_a_reload_that_is_refused_late_has_written_nothing(rig: Rig, moody: type[Moody]) -> None:
    new, other = (twilio("new"), rig.rules()), (twilio("main", "other"), rig.rules())

    async def story() -> None:
        await rig.start()
        assert len(moody.written) == 1
        moody.refuses = True
        with pytest.raises(StoreError):
            await reload(rig, other, new)
        assert (len(moody.written), [*rig.engine.lanes]) == (1, ["main"])
        moody.refuses = False
        await reload(rig, other, new)
        assert moody.written[1:] == [setting(*each).fingerprint() for each in (other, new)]
        await reload(rig, other, new)
        assert len(moody.written) == 3, "nothing has changed"
        await rig.stop()

    rig.run(story)


def test_no_room_for_what_is_known_of_a_provider_refuses_neither_start_nor_reload(rig: Rig, moody: type[Moody]) -> None:
    moody.full = True

    async def story() -> None:
        await rig.start()
        await reload(rig, (twilio("main", "other"), rig.rules()), (twilio("new"), rig.rules()))
        assert [*rig.engine.lanes] == ["main", "new"]
        id = await rig.accepted()
        await rig.seconds(1)
        assert await rig.state(id) == "sent"
        await rig.stop()

    rig.run(story)
    assert moody.written == []


def most_in_a_minute(starts: list[int], weight: int = 1) -> int:
    """Of these wall times (ms)."""
    return max((weight * sum(at - 60_000 < each <= at for each in starts) for at in starts), default=0)


BIG = a_minute(600, 600)


@pytest.mark.parametrize(
    "between",
    [a_minute(60), a_minute(1), Pace((Window(100, SECOND_US), Window(600, MINUTE_US)), burst=100), Pace()],
    ids=["lowered", "to nearly nothing", "another window", "none"],
)
def test_what_a_lower_pace_forgets_the_next_one_asks_the_outbox_for(rig: Rig, between: Pace) -> None:
    rig.providers = [(twilio(), rig.rules(pace=BIG))]

    async def story() -> None:
        await rig.start()
        for number in range(1_300):
            await rig.accepted(text=f"number {number}")
        await rig.seconds(20)
        assert len(rig.carrier.sends) == 600
        await reload(rig, (twilio(), rig.rules(pace=between)))
        await rig.seconds(1 if between.windows else 0)
        await reload(rig, (twilio(), rig.rules(pace=BIG)))
        await rig.seconds(20)
        await rig.stop()
        if between.windows:
            assert most_in_a_minute([wall for wall, _ in rig.carrier.sends]) <= 600

    rig.run(story)


def test_lowered_by_a_restart_and_raised_by_a_reload(rig: Rig) -> None:
    rig.providers = [(twilio(), rig.rules(pace=BIG))]

    async def story() -> None:
        await rig.start()
        for number in range(1_300):
            await rig.accepted(text=f"number {number}")
        await rig.seconds(5)
        await rig.stop()
        rig.providers = [(twilio(), rig.rules(pace=a_minute(60)))]
        await rig.start()
        await rig.seconds(2)
        await reload(rig, (twilio(), rig.rules(pace=BIG)))
        await rig.seconds(5)
        await rig.stop()
        assert most_in_a_minute([wall for wall, _ in rig.carrier.sends]) <= 600

    rig.run(story)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32))
def test_no_row_of_reloads_goes_above_the_highest_ceiling(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    dice = Random(seed)
    rig = Rig(tmp_path_factory.mktemp("rig"))

    def drawn() -> Pace:
        shorter = (Window(5, SECOND_US),) if dice.random() < 0.4 else ()
        return Pace((Window(dice.choice([120, 60, 10]), MINUTE_US), *shorter), burst=dice.choice([1, 5]))

    rig.providers = [(twilio(), rig.rules(pace=drawn()))]

    async def story() -> None:
        rig.carrier.latency_ms = dice.choice([5, 500])
        await rig.start()
        for number in range(500):
            await rig.accepted(text=f"number {number}")
        for _ in range(6):
            await rig.seconds(dice.random() * 40)
            gone = dice.random() < 0.2
            await reload(rig, *([] if gone else [(twilio(), rig.rules(pace=drawn()))]))
        await rig.seconds(60)
        await rig.stop()
        assert most_in_a_minute([wall for wall, _ in rig.carrier.sends]) <= 120

    rig.run(story)


def test_a_rate_that_counts_another_unit_counts_what_went_before_in_it(rig: Rig) -> None:
    rig.providers = [(twilio(), rig.rules(pace=a_minute(60, 60)))]

    async def story() -> None:
        await rig.start()
        for _ in range(120):
            await rig.accepted(text="x" * 400)
        await rig.seconds(10)
        assert len(rig.carrier.sends) == 60
        by_segments = Pace((Window(150, MINUTE_US),), burst=150, unit="segments")
        await reload(rig, (twilio(), rig.rules(pace=by_segments)))
        await rig.seconds(40)
        assert len(rig.carrier.sends) == 60, "180 segments went within the minute"
        await rig.seconds(30)
        assert len(rig.carrier.sends) == 110
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_call_in_doubt_at_a_provider_that_was_removed_is_looked_up(rig: Rig, comes_back: bool) -> None:
    other = (twilio("other"), rig.rules())
    rig.providers = [(twilio(), rig.rules()), *([] if comes_back else [other])]

    async def story() -> None:
        rig.carrier.latency_ms = 3_000
        await rig.start()
        rig.carrier.script = [LOST]
        id = await rig.accepted()
        await rig.seconds(1)
        rig.carrier.take(rig.carrier.sends[0][1])
        await reload(rig, *([] if comes_back else [other]))
        await rig.seconds(20)
        if comes_back:
            await reload(rig, *rig.providers)
        await rig.seconds(60)
        assert await rig.state(id) == "sent"
        assert len(rig.carrier.sends) == 1
        assert rig.carrier.look_ups >= 1
        await rig.stop()

    rig.run(story)


def test_a_call_in_doubt_is_looked_up_in_the_account_it_was_made_from(rig: Rig) -> None:
    def account(digit: str) -> Twilio:
        return Twilio("main", account_sid="AC" + digit * 32, auth_token="t")

    rig.providers = [(account("0"), rig.rules())]

    async def story() -> None:
        rig.carrier.latency_ms = 3_000
        rig.carrier.look_up = lambda request: (
            rig.carrier.listed(request) if "AC0000" in request.url else answer(200, messages=[])
        )
        await rig.start()
        rig.carrier.script = [LOST]
        id = await rig.accepted()
        await rig.seconds(1)
        rig.carrier.take(rig.carrier.sends[0][1])
        await reload(rig, (account("1"), rig.rules()))
        await rig.seconds(120)
        assert (await rig.state(id), len(rig.carrier.sends)) == ("sent", 1)
        await rig.stop()

    rig.run(story)


def test_a_late_refusal_of_the_old_credentials_does_not_halt_the_new_ones(rig: Rig) -> None:
    async def story() -> None:
        rig.carrier.latency_ms = 5_000
        await rig.start()
        rig.carrier.script = [answer(401, code=20003, message="Authenticate")]
        first = await rig.accepted(text="in flight")
        await rig.seconds(1)
        await reload(rig, (twilio(token="renewed"), rig.rules()))
        second = await rig.accepted(text="after")
        await rig.seconds(30)
        assert rig.engine.lanes["main"].standing().value == "open"
        assert [await rig.state(first), await rig.state(second)] == ["sent", "sent"]
        await rig.stop()

    rig.run(story)


def test_a_sender_that_was_taken_out_halts_and_fails_nothing(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        await rig.engine.service.pause("main", "for the test")
        ids = [await rig.accepted(text=f"number {number}") for number in range(5)]
        bare = (Setting("main", twilio(), rig.rules(senders=()), needs_sender=True),)
        await rig.engine.reconfigure(replace(rig.engine._plan, settings=bare))
        await rig.engine.service.resume("main")
        await rig.seconds(5)
        assert rig.carrier.sends == []
        assert {await rig.state(id) for id in ids} == {"pending"}
        assert "sender" in rig.engine.lanes["main"].reason()
        await reload(rig, (twilio(), rig.rules()))
        await rig.seconds(5)
        assert {await rig.state(id) for id in ids} == {"sent"}
        await rig.stop()

    rig.run(story)


def test_a_reload_during_the_drain_begins_no_call(rig: Rig) -> None:
    rig.providers = [(twilio(), rig.rules(pace=Pace((Window(1, SECOND_US),))))]

    async def story() -> None:
        rig.carrier.latency_ms = 3_000
        await rig.start()
        for number in range(20):
            await rig.accepted(text=f"number {number}")
        await rig.seconds(2.5)
        begun = len(rig.carrier.sends)
        draining = asyncio.ensure_future(rig.engine.drain(30))
        await asyncio.sleep(0)
        await reload(rig, (twilio(), rig.rules(pace=Pace((Window(100, SECOND_US),), burst=50))))
        await rig.engine.service.resume("main")
        await draining
        assert len(rig.carrier.sends) == begun
        await rig.engine.stop()

    rig.run(story)


def test_what_is_stranded_is_named(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        await rig.engine.service.pause("main", "for the test")
        await rig.accepted()
        await reload(rig, (twilio("primary"), rig.rules()))
        assert rig.engine.stranded() == ("main",)
        await reload(rig, *rig.providers)
        assert rig.engine.stranded() == ()
        await rig.stop()

    rig.run(story)
