"""Does a message go when it was last said that it should, and never in quiet hours?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import Path

import pytest

from smsd.core.quiet import QuietBook, QuietHours
from smsd.core.units import DAY, HOUR, rfc3339
from smsd.listeners.callers import Scope
from smsd.listeners.http.access import Access
from tests.listeners.house import Client, House, code, running, until
from tests.listeners.http_rig import serving, token

PAST = "1970-01-01T00:00:00Z"
NIGHT = QuietBook(QuietHours(21 * 60, 8 * 60), {}, UTC)
MORNING = "2026-09-21T15:00:00.000Z"
"""08:00 in California, where the house's number is; its clock stands at 07:13 there."""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """One whose provider sends."""
    async with running(tmp_path) as found:
        await found.engine.service.resume("main")
        yield found


def at(house: House, ms: int) -> str:
    """So many milliseconds from now."""
    return rfc3339(house.clock.wall() + ms)


def pass_(house: House, ms: int) -> None:
    """Let time pass."""
    house.clock.advance(ms)
    house.engine.way_out.dispatcher.kick()


async def sent(house: House, count: int) -> None:
    await until(lambda: house.engine.tally.backlog == 0 and house.engine.tally.sent_last_minute() == count)


class TestTheSocket:
    async def test_later_and_later_again(self, house: House, client: Client) -> None:
        accepted = await client.send(send_at=at(house, HOUR), ttl="1h")
        later = at(house, 3 * HOUR)
        view = (await client.ask(op="reschedule", id=accepted["id"], send_at=later))["message"]
        assert (view["state"], view["send_at"], view["expires_at"]) == ("pending", later, at(house, 4 * HOUR))
        assert (view["waiting"]["reason"], view["waiting"]["until"]) == ("scheduled", later)
        pass_(house, HOUR + 1)
        assert (await client.ask(op="get", id=accepted["id"], wait="200ms"))["message"]["state"] == "pending"
        pass_(house, 2 * HOUR)
        await sent(house, 1)

    async def test_now(self, house: House, client: Client) -> None:
        id = (await client.send(send_at=at(house, DAY)))["id"]
        view = (await client.ask(op="reschedule", id=id, send_at=PAST))["message"]
        assert (view["send_at"], view["expires_at"]) == (at(house, 0), at(house, 3 * DAY))
        await sent(house, 1)
        again = await client.ask(op="reschedule", id=id, send_at=PAST)
        assert code(again) == "wrong_state"
        assert "sent; only a pending one" in again["error"]["message"]

    async def test_it_is_told(self, house: House, client: Client) -> None:
        id = (await client.send(send_at=at(house, DAY)))["id"]
        last = (await client.ask(op="events"))["last"]
        await client.ask(op="reschedule", id=id, send_at=at(house, HOUR))
        (event,) = (await client.ask(op="events", after=last, kinds="message.*"))["events"]
        assert (event["event"], event["data"]["id"]) == ("message.rescheduled", id)

    async def test_what_is_wrong_is_named(self, house: House, client: Client) -> None:
        id = (await client.send(send_at=at(house, DAY)))["id"]
        found = await client.ask(op="reschedule", id=id, send_at="soon", ttl="1ms")
        assert [each["field"] for each in found["error"]["errors"]] == ["send_at", "ttl"]
        assert code(await client.ask(op="reschedule", id="nobody", send_at=PAST)) == "not_found"
        assert (await client.ask(op="get", id=id))["message"]["send_at"] == at(house, DAY), "and nothing is changed"

    async def test_one_that_is_being_claimed(self, house: House, client: Client) -> None:
        """It was about to go, and somebody put it off before it was claimed."""
        house.outbox.claims.clear()
        id = (await client.send())["id"]
        await until(lambda: house.engine.way_out.dispatcher.in_flight == 1)
        later = at(house, 2 * HOUR)
        assert (await client.ask(op="reschedule", id=id, send_at=later))["message"]["send_at"] == later
        house.outbox.claims.set()
        await until(lambda: house.engine.way_out.dispatcher.in_flight == 0)
        assert (await client.ask(op="get", id=id))["message"]["state"] == "pending"
        pass_(house, 2 * HOUR)
        await sent(house, 1)


class TestHttp:
    ACCESS = Access(
        (
            token("shop", Scope.SEND, Scope.READ, tenant="shop"),
            token("other", Scope.SEND, tenant="other"),
            token("reader", Scope.READ, tenant="shop"),
        )
    )

    async def test_its_owner_may(self, house: House) -> None:
        async with serving(house, self.ACCESS) as rig:
            shop = {"Authorization": "Bearer shop"}
            body = {"to": "+14155550123", "text": "hi", "send_at": at(house, DAY)}
            id = (await rig.ask("POST", "/v1/messages", body, **shop)).json["id"]
            path = f"/v1/messages/{id}/reschedule"
            for who, status in (("other", 404), ("reader", 403), ("nobody", 401)):
                refused = await rig.ask("POST", path, {"send_at": PAST}, Authorization=f"Bearer {who}")
                assert refused.status == status, who
            missing = await rig.ask("POST", path, {}, **shop)
            assert (missing.status, missing.codes) == (422, [("send_at", "missing_field")])
            done = await rig.ask("POST", path, {"send_at": at(house, HOUR), "ttl": "10m"}, **shop)
            assert done.status == 200
            assert (done.json["send_at"], done.json["expires_at"]) == (at(house, HOUR), at(house, HOUR + 600_000))
            assert (await rig.ask("POST", path, {"send_at": PAST}, **shop)).json["state"] == "pending"
            await sent(house, 1)
            late = await rig.ask("POST", path, {"send_at": PAST}, **shop)
            assert (late.status, late.codes) == (409, [("id", "wrong_state")])


class TestQuietHours:
    @pytest.fixture
    async def house(self, tmp_path: Path) -> AsyncIterator[House]:
        """One in whose morning nobody is to be texted yet."""
        async with running(tmp_path, quiet=NIGHT) as found:
            await found.engine.service.resume("main")
            yield found

    async def test_nothing_goes_before_they_end_but_what_cannot_wait(self, house: House, client: Client) -> None:
        id = (await client.send())["id"]
        await client.send(priority="high")
        await until(lambda: house.engine.tally.sent_last_minute() == 1)
        view = (await client.ask(op="get", id=id))["message"]
        assert (view["state"], view["waiting"]["reason"], view["waiting"]["until"]) == (
            "pending",
            "quiet_hours",
            MORNING,
        )
        assert "21:00-08:00" in view["waiting"]["text"]
        assert view["expires_at"] == at(house, 3 * DAY)
        pass_(house, 46 * 60_000)
        assert (await client.ask(op="get", id=id, wait="200ms"))["message"]["state"] == "pending"
        pass_(house, 60_000)
        await sent(house, 1)

    async def test_another_time_that_is_quiet_too(self, house: House, client: Client) -> None:
        id = (await client.send(send_at="2026-09-21T12:00:00-07:00"))["id"]
        night = "2026-09-22T04:00:00-07:00"
        view = (await client.ask(op="reschedule", id=id, send_at=night))["message"]
        assert view["waiting"]["reason"] == "quiet_hours"
        assert (view["send_at"], view["waiting"]["until"]) == ("2026-09-22T11:00:00.000Z", "2026-09-22T15:00:00.000Z")
        noon = (await client.ask(op="reschedule", id=id, send_at="2026-09-22T12:00:00-07:00"))["message"]
        assert noon["waiting"]["reason"] == "scheduled", "they hold it up no more"

    async def test_one_that_ends_before_they_do_is_accepted_and_expires(self, house: House, client: Client) -> None:
        id = (await client.send(ttl="10m"))["id"]
        house.clock.advance(11 * 60_000)
        house.engine.way_out.janitor.notice(0)  # look at once
        await until(lambda: house.engine.tally.backlog == 0)
        assert (await client.ask(op="get", id=id))["message"]["state"] == "expired"
