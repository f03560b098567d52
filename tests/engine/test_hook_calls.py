"""Are requests to webhooks counted, told without flooding anybody, and taken with an older secret while it changes?"""

from __future__ import annotations

from dataclasses import replace

from structlog.testing import capture_logs

from smsd.core.events import Kind
from smsd.engine.hook_calls import TELL_EVERY_S, HookCalls
from smsd.engine.hooks import status_url
from smsd.engine.setting import Setting
from smsd.providers.base import HookKind
from tests.doubles.reporting import Posted, by_twilio
from tests.engine.rig import Rig, answer, setting, twilio
from tests.engine.way_back import PUBLIC, TOKEN, of, post, twilio_report

NEW, OLD, OTHER = (f"{word}-secret-of-a-path" for word in ("new", "old", "other"))


def with_secrets(rig: Rig, first: str, *older: str) -> tuple[Setting]:
    made = replace(setting(twilio(), rig.rules()), webhook_secret=first, older_secrets=older)
    return (replace(made, status_url=status_url(PUBLIC, made)),)


async def says_delivered(rig: Rig, n: int) -> int:
    """The receipt of the n-th send, at the URL that it named."""
    url = rig.carrier.sends[n][1]["StatusCallback"]
    report = twilio_report(url, rig.carrier.taken[n]["sid"], "delivered", None)
    secret = url.split("/status/")[1].partition("?")[0]
    hooks = rig.engine.service.hooks
    taken = await hooks.take("main", HookKind.STATUS, secret, "POST", report.target, report.headers, report.body)
    return taken.status


def test_a_secret_is_changed_without_losing_a_receipt(rig: Rig) -> None:
    async def story() -> None:
        rig.public_url = PUBLIC
        rig.settings = with_secrets(rig, OLD)
        await rig.start()
        first = await rig.accepted()
        await rig.seconds(1)
        rig.settings = with_secrets(rig, NEW, OTHER, OLD)
        await rig.engine.reconfigure(rig.plan())
        second = await rig.accepted(text="after the change")
        await rig.seconds(1)
        urls = [form["StatusCallback"] for _, form in rig.carrier.sends]
        assert [OLD in urls[0], NEW in urls[1], OLD in urls[1]] == [True, True, False]
        assert [await says_delivered(rig, n) for n in (0, 1)] == [200, 200]
        assert [await rig.state(id) for id in (first, second)] == ["delivered", "delivered"]
        rig.settings = with_secrets(rig, NEW)
        await rig.engine.reconfigure(rig.plan())
        assert [await says_delivered(rig, n) for n in (0, 1)] == [404, 200], "taken out, it is refused"
        await rig.stop()

    rig.run(story)


def test_no_secret_of_several_is_shown(rig: Rig) -> None:
    async def story() -> None:
        rig.public_url = PUBLIC
        rig.settings = with_secrets(rig, NEW, OLD)
        await rig.start()
        said = answer(400, code=21609, message=f"{NEW} is as bad as {OLD}", status=400)
        rig.carrier.answers = lambda name, form: said
        id = await rig.accepted()
        await rig.seconds(3)
        message = await rig.message(id)
        assert message.error is not None
        assert message.error.message.count("[private]") == 2
        shown = repr((message, rig.settings, [event.fields for event in rig.events]))
        assert not any(secret in shown for secret in (NEW, OLD))
        await rig.stop()

    rig.run(story)


def refusals(rig: Rig) -> list[object]:
    return [event.fields["refused"] for event in of(rig, Kind.WEBHOOK_REFUSED)]


def test_all_of_a_flood_is_told_also_when_nothing_comes_after_it(rig: Rig) -> None:
    async def story() -> None:
        rig.public_url = PUBLIC
        await rig.start()
        forged = Posted("/webhooks/main/status", {"x-twilio-signature": "forged"}, b"")
        for _ in range(50):
            assert await post(rig, forged) == 403
        assert refusals(rig) == [1]
        await rig.seconds(TELL_EVERY_S + 0.1)
        assert refusals(rig) == [1, 49]
        await rig.seconds(10 * TELL_EVERY_S)
        assert refusals(rig) == [1, 49]
        await post(rig, forged)
        await post(rig, forged)
        assert refusals(rig) == [1, 49, 1]
        await rig.stop()
        assert refusals(rig) == [1, 49, 1, 1], "the end of the daemon forgets none"

    rig.run(story)


def test_what_cannot_be_read_is_counted_and_does_not_fill_the_log(rig: Rig) -> None:
    async def story() -> None:
        rig.public_url = PUBLIC
        await rig.start()
        signed = by_twilio(f"{PUBLIC}/webhooks/main/status", TOKEN, Nothing="known")
        with capture_logs() as logs:
            for _ in range(40):
                assert await post(rig, signed) == 400
            await rig.seconds(TELL_EVERY_S + 0.1)
        told = [entry for entry in logs if entry["log_level"] == "error"]
        assert [entry["unreadable"] for entry in told] == [1, 39]
        assert rig.engine.meters.webhooks_unreadable == {"main": 40}
        assert rig.engine.meters.webhooks_refused == {}
        calls = rig.engine.service.hooks.calls("main")
        assert (calls.taken, calls.refused, calls.unreadable) == (0, 0, 40)
        assert calls.wrong is not None and calls.wrong.startswith("status: ")
        assert calls.wrong_at is not None and calls.taken_at is None
        await rig.stop()

    rig.run(story)


def test_what_came_is_known_until_its_provider_is_removed(rig: Rig) -> None:
    async def story() -> None:
        rig.public_url = PUBLIC
        await rig.start()
        await rig.accepted()
        await rig.seconds(1)
        url = rig.carrier.sends[0][1]["StatusCallback"]
        assert await post(rig, twilio_report(url, rig.carrier.taken[0]["sid"], "delivered", None)) == 200
        hooks = rig.engine.service.hooks
        assert hooks.calls("main") == HookCalls(taken=1, taken_at=rig.clock.wall())
        await rig.engine.reconfigure(rig.plan())
        assert hooks.calls("main").taken == 1
        rig.providers = [(twilio("other"), rig.rules())]
        await rig.engine.reconfigure(rig.plan())
        assert hooks.calls("main") == HookCalls()
        await rig.stop()

    rig.run(story)


def test_a_code_in_no_table_is_told_once(rig: Rig) -> None:
    async def story() -> None:
        rig.public_url = PUBLIC
        await rig.start()
        for n in range(3):
            await rig.accepted(text=f"text {n}")
        await rig.seconds(1)
        with capture_logs() as logs:
            for n in range(3):
                url = rig.carrier.sends[n][1]["StatusCallback"]
                report = twilio_report(url, rig.carrier.taken[n]["sid"], "undelivered", 39_999)
                assert await post(rig, report) == 200
        assert [entry["code"] for entry in logs if "in no table" in entry["event"]] == ["39999"]
        await rig.stop()

    rig.run(story)
