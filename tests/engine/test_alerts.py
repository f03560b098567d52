"""Is what goes wrong raised once, called off once, and not raised again by a restart?"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from smsd.core.alerting import AlertRules
from smsd.core.campaign import Hours, Move, Terms
from smsd.core.events import Kind
from smsd.core.suppression import EVERY, Suppression
from smsd.core.units import HOUR, MINUTE, SECOND
from tests.engine.rig import ACCEPTED, REFUSED, answer, twilio
from tests.engine.watched import DENIED, Watched

GONE = "+14155550198"
BAD_NUMBER = answer(400, code=21211, message="invalid")
TOO_FAST = answer(429, code=20429, message="too fast")


@pytest.fixture
def rig(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_a_halt_is_told_once_over_a_restart_and_called_off_after_it_is_mended(rig: Watched) -> None:
    rig.alerts = AlertRules(auth_halt=True)

    async def story() -> None:
        await rig.start()
        rig.carrier.script = [DENIED]
        await rig.accepted()
        await rig.seconds(2)
        (event,) = [each for each in rig.events if each.kind is Kind.ALERT_RAISED]
        assert event.fields["alert"] == "auth_halt:main"
        assert event.fields["category"] == "AUTH_FAILED"
        assert "0199" not in str(event.fields["about"])
        assert "smsd resume main" in str(event.fields["remedy"])
        assert await rig.kept() == ["auth_halt:main"]
        await rig.crash()
        await rig.start()
        await rig.seconds(3_600)
        assert rig.told == ["+auth_halt:main"]
        rig.carrier.script = [DENIED]
        await rig.engine.service.resume("main")
        await rig.seconds(30)
        assert rig.engine.lanes["main"].health.halted is not None
        await rig.seconds(600)
        assert rig.told == ["+auth_halt:main"]  # mended it was not
        await rig.engine.service.resume("main")
        await rig.seconds(59)
        assert rig.told == ["+auth_halt:main"]
        await rig.seconds(5)
        assert rig.told == ["+auth_halt:main", "-auth_halt:main"]
        assert await rig.kept() == []
        await rig.stop()

    rig.run(story)


def test_what_ended_while_nobody_ran_is_called_off_at_the_start(rig: Watched) -> None:
    rig.alerts = AlertRules(auth_halt=True)

    async def story() -> None:
        await rig.start()
        rig.carrier.script = [DENIED]
        await rig.accepted()
        await rig.seconds(2)
        await rig.stop()
        rig.providers = [(twilio(token="another"), rig.rules())]  # which ends the halt
        await rig.start()
        await rig.seconds(70)
        assert rig.told == ["+auth_halt:main", "-auth_halt:main"]
        await rig.stop()

    rig.run(story)


def test_the_error_rate_needs_its_minimum_and_falls_as_the_window_goes_on(rig: Watched) -> None:
    rig.alerts = AlertRules(error_rate=0.1, error_minimum=100)

    async def story() -> None:
        await rig.start()
        rig.carrier.script = [BAD_NUMBER] * 20
        await rig.texts(99)
        await rig.seconds(60)
        assert rig.told == []
        await rig.texts(1)
        await rig.seconds(3)
        (event,) = [each for each in rig.events if each.kind is Kind.ALERT_RAISED]
        assert event.fields["alert"] == "error_rate"
        assert event.fields["value"] == pytest.approx(0.2)
        assert event.fields["category"] == "INVALID_RECIPIENT"
        assert str(event.fields["about"]).startswith("20 % of 100 messages failed in the last 15m")
        await rig.crash()  # the kept minutes say the same
        await rig.start()
        found = await rig.engine.office.alerts._readings.take((), rig.loop.time() + 1)
        rate = found["error_rate"]
        assert rate is not None
        assert rate.value == pytest.approx(0.2)
        assert rate.of == 100
        await rig.seconds(12 * 60)
        assert rig.told == ["+error_rate"]
        await rig.seconds(6 * 60)  # nothing happens, and the window has gone on
        assert rig.told == ["+error_rate", "-error_rate"]
        await rig.stop()

    rig.run(story)


def test_who_had_opted_out_before_is_no_error(rig: Watched) -> None:
    rig.alerts = AlertRules(error_rate=0.01, error_minimum=10)

    async def story() -> None:
        await rig.start()
        await rig.seconds(2)
        for n in range(20):
            rig.engine._bus.publish(
                Kind.MESSAGE_FAILED, rig.clock.wall(), category="OPTED_OUT", attempt=0, provider=None
            )
            rig.engine._bus.publish(Kind.MESSAGE_SENT, rig.clock.wall(), provider="main", tenant="shop", n=n)
        await rig.seconds(5)
        assert rig.told == []
        rig.engine._bus.publish(Kind.MESSAGE_FAILED, rig.clock.wall(), category="OPTED_OUT", attempt=1, provider="main")
        await rig.seconds(5)
        assert rig.told == ["+error_rate"]
        await rig.stop()

    rig.run(story)


def test_who_had_opted_out_before_is_none_after_a_restart_either(rig: Watched) -> None:
    rig.alerts = AlertRules(error_rate=0.01, error_minimum=10)

    async def story() -> None:
        await rig.start()
        await rig.store.suppress(Suppression(EVERY, GONE, rig.clock.wall(), "api", None))
        for n in range(20):
            await rig.accepted(to=GONE, campaign="spring", text=f"text {n}")
        await rig.crash()
        await rig.start()
        await rig.texts(1)
        await rig.seconds(70)
        assert rig.told == []
        await rig.stop()

    rig.run(story)


def test_a_backlog(rig: Watched) -> None:
    rig.alerts = AlertRules(backlog=50)

    async def story() -> None:
        await rig.start()
        await rig.engine.service.pause("main")
        await rig.texts(49)
        await rig.seconds(5)
        assert rig.told == []
        await rig.texts(1)
        await rig.seconds(5)
        assert rig.told == ["+backlog"]
        await rig.engine.service.resume("main")
        await rig.seconds(100)
        assert rig.told == ["+backlog", "-backlog"]
        await rig.stop()

    rig.run(story)


def test_cooldowns_are_counted_over_the_hour_and_over_a_restart(rig: Watched) -> None:
    rig.alerts = AlertRules(cooldowns=3)
    rig.providers = [(twilio(), rig.rules(cooldown_ms=MINUTE, adaptive=False))]

    async def story() -> None:
        await rig.start()
        for _ in range(3):
            assert rig.told == []
            rig.carrier.script = [TOO_FAST]
            await rig.accepted()
            await rig.seconds(90)
        assert rig.told == ["+cooldowns:main"]
        assert [each.fields["category"] for each in rig.events if each.kind is Kind.ALERT_RAISED] == ["RATE_LIMITED"]
        await rig.crash()
        await rig.start()
        await rig.seconds(50 * 60)
        assert rig.told == ["+cooldowns:main"]
        await rig.seconds(15 * 60)
        assert rig.told == ["+cooldowns:main", "-cooldowns:main"]
        await rig.stop()

    rig.run(story)


def test_what_waits_too_long(rig: Watched) -> None:
    rig.alerts = AlertRules(oldest_pending_ms=HOUR)
    rig.retry = replace(rig.retry, max_attempts=20)

    async def story() -> None:
        await rig.start()
        rig.carrier.answers = lambda name, fields: REFUSED
        await rig.texts(300)  # two a minute are tried
        await rig.seconds(3_590)
        assert rig.told == []
        began = rig.clock.wall()
        while not rig.told and rig.clock.wall() - began < HOUR:
            await rig.seconds(10)
        assert rig.told == ["+oldest_pending"]
        rig.carrier.answers = lambda name, fields: ACCEPTED
        await rig.engine.service.resume("main")
        await rig.seconds(3_700)
        assert rig.told == ["+oldest_pending", "-oldest_pending"]
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("how", ["provider", "campaign"])
def test_what_somebody_paused_may_wait(rig: Watched, how: str) -> None:
    rig.alerts = AlertRules(oldest_pending_ms=10 * MINUTE)

    async def story() -> None:
        await rig.start()
        if how == "provider":
            await rig.engine.service.pause("main")
            await rig.texts(5)
        else:
            rig.carrier.answers = lambda name, fields: TOO_FAST
            await rig.accepted(campaign="spring")
            await rig.store.desk.campaigns.move("shop", "spring", Move.PAUSE, rig.clock.wall())
            rig.engine.way_out.campaign_changed()
            rig.carrier.answers = None
        await rig.seconds(3 * 3_600)
        assert rig.engine.tally.backlog
        assert rig.told == []
        await rig.stop()

    rig.run(story)


def test_a_full_disk(rig: Watched) -> None:
    rig.alerts = AlertRules(disk=True)

    def become(full: bool) -> None:
        rig.engine.service.store_full = full
        kind = Kind.OUTBOX_FULL if full else Kind.OUTBOX_RECOVERED
        rig.engine._bus.publish(kind, rig.clock.wall())

    async def story() -> None:
        await rig.start()
        become(True)
        await rig.seconds(3)
        assert rig.told == ["+disk"]
        for _ in range(100):  # at the edge
            become(False)
            await rig.seconds(20)
            become(True)
            await rig.seconds(20)
        assert rig.told == ["+disk"]
        become(False)
        await rig.seconds(65)
        assert rig.told == ["+disk", "-disk"]
        await rig.stop()

    rig.run(story)


def test_new_bounds_count_at_once_and_what_is_not_watched_is_called_off(rig: Watched) -> None:
    async def story() -> None:
        await rig.start()
        await rig.engine.service.pause("main")
        await rig.texts(10)
        await rig.seconds(60)
        assert rig.told == []
        for bound, told in ((10, ["+backlog"]), (11, ["+backlog"]), (0, ["+backlog", "-backlog"])):
            rig.alerts = AlertRules(backlog=bound)
            await rig.engine.reconfigure(rig.plan())
            await rig.seconds(3)
            assert rig.told == told, bound
        assert rig.events[-1].fields["about"] == "backlog is not watched any more after 6s."
        await rig.stop()

    rig.run(story)


def test_nobody_looks_while_nothing_happens(rig: Watched) -> None:
    """A day in which a message waits for its time, and one for its recipient's resume."""
    rig.alerts = AlertRules(auth_halt=True, disk=True, error_rate=0.01, backlog=10, cooldowns=3, oldest_pending_ms=HOUR)

    async def story() -> None:
        await rig.start()
        await rig.texts(3)
        await rig.seconds(1_800)
        looks = 0
        look = rig.engine.office.alerts._look

        async def counted() -> int | None:
            nonlocal looks
            looks += 1
            return await look()

        rig.engine.office.alerts._look = counted  # type: ignore[method-assign]
        await rig.seconds(86_400)
        assert looks == 0
        await rig.accepted(send_at="2026-11-01T00:00:00Z")
        assert rig.engine.tally.backlog == 1
        await rig.seconds(86_400)
        assert looks <= 100  # four an hour: what waits might come back older than it is
        await rig.stop()

    rig.run(story)


def test_alerts_are_looked_at_no_more_than_once_a_second(rig: Watched) -> None:
    rig.alerts = AlertRules(backlog=10_000)

    async def story() -> None:
        await rig.start()
        looks: list[int] = []
        look = rig.engine.office.alerts._look

        async def counted() -> int | None:
            looks.append(rig.clock.wall())
            return await look()

        rig.engine.office.alerts._look = counted  # type: ignore[method-assign]
        for _ in range(100):
            await rig.texts(3)
            await rig.seconds(0.1)
        assert all(later - earlier >= SECOND for earlier, later in itertools.pairwise(looks))
        assert 9 <= len(looks) <= 11
        await rig.stop()

    rig.run(story)


PACED = [Terms(rate=(10, HOUR)), Terms(hours=Hours(540, 541, "UTC"))]


@pytest.mark.parametrize("terms", PACED, ids=["rate", "hours"])
def test_what_a_campaign_s_operator_paces_is_no_backlog_and_not_too_old(rig: Watched, terms: Terms) -> None:
    rig.alerts = AlertRules(backlog=50, oldest_pending_ms=HOUR)

    async def story() -> None:
        await rig.start()
        await rig.engine.office.campaigns.make("shop", "spring", terms)
        for n in range(200):
            await rig.accepted(to=f"+1415555{n:04d}", campaign="spring")
            await rig.seconds(0.05)  # it grows from look to look
        await rig.seconds(3 * 3_600)
        assert rig.engine.tally.backlog > 50
        assert rig.told == []
        await rig.engine.service.pause("main")
        await rig.texts(50)
        await rig.seconds(30)
        assert rig.told == ["+backlog"]
        await rig.stop()

    rig.run(story)


def test_a_campaign_that_is_paced_no_more_counts_again(rig: Watched) -> None:
    rig.alerts = AlertRules(backlog=50)

    async def story() -> None:
        await rig.start()
        await rig.engine.service.pause("main")
        await rig.accepted(campaign="spring")
        await rig.engine.office.campaigns.move("shop", "spring", Move.PAUSE)
        for n in range(60):
            await rig.accepted(to=f"+1415555{n:04d}", campaign="spring")
        await rig.seconds(60)
        assert rig.told == []
        await rig.engine.office.campaigns.move("shop", "spring", Move.RESUME)
        await rig.seconds(20)
        assert rig.told == ["+backlog"]
        await rig.stop()

    rig.run(story)
