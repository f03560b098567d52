"""What the doors show of what answers brought: providers that broke or were slowed down, recipients who opted out."""

from __future__ import annotations

import json
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from smsd import wire
from smsd.core.acceptance import MessageRules
from smsd.core.account import ProviderRules
from smsd.core.events import Event, Kind
from smsd.core.health import Standing
from smsd.core.pacing import Pace, Window
from smsd.core.submission import TenantRules
from smsd.core.suppression import EVERY, Suppression
from smsd.engine.roster import ProviderView
from smsd.listeners import showing
from smsd.listeners.callers import Caller, Scope
from smsd.listeners.events import event_view
from smsd.listeners.metrics import exposition
from smsd.listeners.operations import OPERATIONS
from tests.listeners.house import House, running, until
from tests.listeners.http_rig import serving

OPTED_OUT = "+15005550004"
UNREACHED = "+15005550030"
THROTTLED = "+15005550010"
AT = 1_790_000_000_000

ROOT = Caller("root", "local:0", frozenset(Scope), everyone=True)
SHOP = Caller("token shop", "shop", frozenset(Scope))


async def asked(house: House, caller: Caller, name: str, request: Any) -> Any:
    return await OPERATIONS[name].handler(house.engine.service, caller, request)


async def events(house: House, caller: Caller) -> list[wire.EventView]:
    found = await asked(house, caller, "events", wire.Events(after="00000000-0", limit=1_000))
    assert isinstance(found, wire.EventList)
    return found.events


async def metric(house: House, name: str) -> dict[str, float]:
    """Its samples by provider and, where there is one, state."""
    families = text_string_to_metric_families(await exposition(house.engine.service))
    return {
        ".".join(sample.labels[label] for label in ("provider", "state") if label in sample.labels): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


async def opt_out(house: House, **fields: Any) -> str:
    """A message to somebody who opted out, and its end."""
    accepted = await asked(house, SHOP, "send", wire.SendLine(to=OPTED_OUT, text="hello", **fields))
    await house.engine.service.resume("main")
    await until(lambda: house.engine.tally.backlog == 0)
    return str(accepted.id)


def view(**facts: Any) -> ProviderView:
    usual: dict[str, Any] = {"name": "main", "type": "sandbox", "state": Standing.OPEN, "since": None, "until": None}
    usual |= {"reason": "", "rate": 100.0, "rate_now": 100.0, "recommended_rate": None}
    return ProviderView(**{**usual, "in_flight": 1, "sent_last_minute": 2, "throttles_last_hour": 3, **facts})


def test_a_provider_is_shown_with_what_it_learnt() -> None:
    slowed = showing.provider(view(rate_now=50.0, recommended_rate=51.3), load=False)
    assert (slowed.rate, slowed.rate_now, slowed.recommended_rate, slowed.in_flight) == (100.0, 50.0, 51.3, None)
    broken = showing.provider(view(state=Standing.BROKEN, since=AT, until=AT + 30_000, reason="refused"), load=True)
    assert (broken.state, broken.since, broken.until) == ("broken", wire.time_text(AT), wire.time_text(AT + 30_000))
    assert (broken.reason, broken.in_flight) == ("refused", 1)


async def test_a_provider_that_breaks_is_seen_at_every_door_but_in_no_tenants_events(house: House) -> None:
    for _ in range(10):
        await asked(house, SHOP, "send", wire.SendLine(to=UNREACHED, text="hello"))
    await house.engine.service.resume("main")
    await until(lambda: house.engine.meters.breaker_openings["main"] == 1)
    now = house.clock.wall()
    for caller in (ROOT, SHOP):
        (main,) = (await asked(house, caller, "providers", wire.Providers())).providers
        assert (main.state, main.since, main.until) == ("broken", wire.time_text(now), wire.time_text(now + 30_000))
        assert "No connection" in main.reason
    (message, *_) = (await asked(house, SHOP, "list", wire.List())).items
    assert message.waiting.reason in {"breaker_open", "retry"}
    assert [each.event for each in await events(house, ROOT)].count("provider.breaker_opened") == 1
    theirs = await events(house, SHOP)
    assert {each.data["tenant"] for each in theirs} == {"shop"}
    assert not [each for each in theirs if each.event.startswith("provider.")]
    assert await metric(house, "smsd_breaker_openings_total") == {"main": 1}
    states = await metric(house, "smsd_provider_state")
    assert {name: value for name, value in states.items() if value} == {"main.broken": 1}
    house.clock.advance(30_000)
    await until(lambda: house.engine.service.providers()[0].state is Standing.HALF_OPEN)
    (main,) = (await asked(house, ROOT, "providers", wire.Providers())).providers
    assert (main.since, main.until) == (wire.time_text(now), None)


async def test_a_rate_that_was_lowered_is_seen_at_every_door(tmp_path: Path) -> None:
    rules = ProviderRules(Pace((Window(60, 60_000_000),)))
    async with running(tmp_path, rules=rules) as house:
        await asked(house, SHOP, "send", wire.SendLine(to=THROTTLED, text="hello"))
        assert await metric(house, "smsd_provider_rate") == {"main": 60}
        await house.engine.service.resume("main")
        await until(lambda: house.engine.meters.throttles["main"] == 1)
        for caller in (ROOT, SHOP):
            (main,) = (await asked(house, caller, "providers", wire.Providers())).providers
            assert (main.rate, main.rate_now, main.since) == (60, 30, wire.time_text(house.clock.wall()))
        assert await metric(house, "smsd_provider_rate") == {"main": 30}
        (changed,) = [each for each in await events(house, ROOT) if each.event == "provider.rate_changed"]
        assert (changed.data["provider"], changed.data["rate"]) == ("main", 30.0)


async def test_one_who_opted_out_is_told_with_his_number(house: House) -> None:
    nobody = await asked(house, SHOP, "recipient", wire.Recipient(OPTED_OUT))
    assert nobody.suppression == []
    id = await opt_out(house)
    now = wire.time_text(house.clock.wall())
    found = await asked(house, SHOP, "recipient", wire.Recipient(OPTED_OUT))
    assert [(each.scope, each.at, each.source) for each in found.suppression] == [("main", now, "provider")]
    assert found.suppression[0].code is not None
    (added,) = [each for each in await events(house, SHOP) if each.event == "suppression.added"]
    assert (added.data["id"], added.data["provider"], added.data["source"]) == (id, "main", "provider")
    assert OPTED_OUT not in str(added.data)
    assert await events(house, Caller("token bank", "bank", frozenset(Scope))) == []
    assert await metric(house, "smsd_suppressions_total") == {"main": 1}


async def test_a_tenant_is_told_of_its_providers_and_of_what_holds_everywhere(house: House) -> None:
    for scope in ("main", "second", EVERY):
        assert await house.outbox.suppress(Suppression(scope, OPTED_OUT, AT, "api"))
    everything = await asked(house, ROOT, "recipient", wire.Recipient(OPTED_OUT))
    assert sorted(each.scope for each in everything.suppression) == ["*", "main", "second"]
    theirs = await asked(house, SHOP, "recipient", wire.Recipient(OPTED_OUT))
    assert sorted(each.scope for each in theirs.suppression) == ["*", "main"]
    house.engine.service.rule(MessageRules(tenants={"shop": TenantRules(providers=("second",))}), UTC)
    theirs = await asked(house, SHOP, "recipient", wire.Recipient(OPTED_OUT))
    assert [each.scope for each in theirs.suppression] == ["*"]


async def test_a_submission_to_one_who_opted_out_is_refused_at_every_door(house: House) -> None:
    id = await opt_out(house, idempotency_key="first")
    socket = await house.client()
    refused = await socket.ask(to=OPTED_OUT, text="again")
    assert (refused["error"]["code"], refused["error"]["field"]) == ("recipient_suppressed", "to")
    assert "opted out" in refused["error"]["message"]
    async with serving(house) as rig:
        answer = await rig.ask("POST", "/v1/messages", {"to": OPTED_OUT, "text": "again"})
        assert (answer.status, answer.codes) == (422, [("to", "recipient_suppressed")])
        lines = b"\n".join(json.dumps({"to": to, "text": "again"}).encode() for to in (OPTED_OUT, "+14155550123"))
        batch = await rig.ask("POST", "/v1/messages/batch", lines, Content_Type="application/x-ndjson")
    first, second = (json.loads(line) for line in batch.body.splitlines())
    assert (first["ok"], first["error"]["code"], first["error"]["field"]) == (False, "recipient_suppressed", "to")
    assert second["ok"] is True
    replayed = await asked(house, SHOP, "send", wire.SendLine(to=OPTED_OUT, text="hello", idempotency_key="first"))
    assert (replayed.id, replayed.replayed) == (id, True)


@pytest.mark.parametrize(
    "kind", [Kind.PROVIDER_BREAKER_OPENED, Kind.PROVIDER_BREAKER_CLOSED, Kind.PROVIDER_RATE_CHANGED]
)
def test_what_a_provider_said_is_told_without_numbers(kind: Kind) -> None:
    told = event_view("0-1", Event(kind, AT, {"provider": "main", "until": AT, "reason": "+14155550123 refused"}))
    assert told.event == kind.value
    assert told.data["until"] == wire.time_text(AT)
    assert "+14155550123" not in str(told.data)
