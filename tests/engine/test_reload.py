"""Does another configuration count at once, and is nothing lost or sent too fast over it?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from smsd.core.acceptance import MessageRules
from smsd.core.account import ProviderRules
from smsd.core.events import Kind
from smsd.core.pacing import Pace, Window
from smsd.core.policy import RetryRules
from smsd.engine.engine import Plan
from smsd.engine.lane import Setting
from smsd.engine.settler import RetryBook
from smsd.providers.twilio import Twilio
from smsd.store import StoreError
from tests.engine.rig import ACCEPTED, REFUSED, Rig, answer, twilio

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US


def a_minute(limit: int, burst: int = 1) -> Pace:
    return Pace((Window(limit, MINUTE_US),), burst=burst)


async def reload(rig: Rig, *providers: tuple[Twilio, ProviderRules], **fields: object) -> None:
    """The configuration is read again and names these providers."""
    settings = tuple(Setting(provider.name, provider, rules) for provider, rules in providers)
    plan: Plan = replace(rig.engine._plan, settings=settings, retries=RetryBook(rig.retry, {}))
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
        assert rig.engine.lanes["main"].gate.noted is None
        id = await rig.accepted()
        await rig.seconds(1)
        assert await rig.state(id) == "sent"
        await rig.stop()

    rig.run(story)
