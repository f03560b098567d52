"""Is what is raised, and what was, shown at both doors, and only to who may read everybody's messages?"""

from __future__ import annotations

import pytest

from smsd.core.alerting import AlertRules
from smsd.engine import alerts
from smsd.engine.alerts import AlertSettings
from smsd.listeners.callers import Scope
from smsd.listeners.http.access import Access
from tests.listeners.house import Client, House, until
from tests.listeners.http_rig import serving, token

ACCESS = Access((token("ops"), token("reader", Scope.READ), token("shop", tenant="shop"), token("app", Scope.SEND)))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "LOOK_S", 0.02)


async def raise_one(house: House, client: Client) -> None:
    house.engine.office.alerts.rule(AlertSettings(AlertRules(backlog=1)))
    await client.send()
    await until(lambda: bool(house.engine.office.alerts.raised))


async def test_what_is_raised_and_what_was(house: House, client: Client) -> None:
    assert (await client.ask(op="alerts"))["items"] == []
    await raise_one(house, client)
    (item,) = (await client.ask(op="alerts"))["items"]
    at = item["raised_at"]
    assert item == {
        "name": "backlog",
        "state": "raised",
        "category": "backlog",
        "raised_at": at,
        "cleared_at": None,
        "text": "1 messages wait; the bound is 1.",
        "remedy": "See `smsd providers` and `smsd queue`: is a provider at rest, or is more submitted than its rate?",
        "value": 1,
        "bound": 1,
    }
    assert (await client.ask(op="stats"))["alerts"] == [item]
    async with serving(house, ACCESS) as rig:
        for name in ("ops", "reader"):
            bearer = {"Authorization": f"Bearer {name}"}
            assert (await rig.ask("GET", "/v1/alerts", **bearer)).json == {"items": [item]}
            assert (await rig.ask("GET", "/v1/stats", **bearer)).json["alerts"] == [item]
    house.clock.advance(5_000)
    house.engine.office.alerts.rule(AlertSettings())
    await until(lambda: not house.engine.office.alerts.raised)
    (item,) = (await client.ask(op="alerts"))["items"]
    assert item["cleared_at"] > item["raised_at"] == at
    assert (item["state"], item["remedy"]) == ("cleared", None)
    assert (item["value"], item["bound"]) == (1, 1)
    assert (await client.ask(op="stats"))["alerts"] == []


async def test_nobody_else_sees_them(house: House, client: Client) -> None:
    await raise_one(house, client)
    async with serving(house, ACCESS) as rig:
        for name in ("shop", "app"):
            refused = await rig.ask("GET", "/v1/alerts", Authorization=f"Bearer {name}")
            assert (refused.status, refused.codes) == (403, [(None, "not_allowed")])
        stats = (await rig.ask("GET", "/v1/stats", Authorization="Bearer shop")).json
        assert stats["alerts"] is None
        assert (await rig.ask("GET", "/readyz")).json.keys() == {"status", "reasons"}


async def test_looking_leaves_no_line_in_the_audit(house: House, client: Client) -> None:
    await client.ask(op="alerts")
    assert (await client.ask(op="audit"))["items"] == []
