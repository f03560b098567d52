"""Does the promise hold when the daemon is killed at any moment?

Real process, real provider, `kill -9` under load: submissions stream in, calls are in flight, some are being retried.
No acknowledged message may be lost. None whose call had not begun may be sent twice: a message that reached its phone
twice must have had an attempt that was open at a kill, and with the look-up not even that is allowed.
"""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from tests.daemon.harness import Carrier, Client, Json, Load, Site, exactly_once
from tests.doubles.stand_in import Rule

SLOW_MS = "30"
"""The provider's latency: at any moment calls are open."""

HICCUP = Rule("code", every=9, status=503, code=20503, message="come again")
"""Each ninth call is refused in a way that is tried again."""

BLIND = Rule("answer", on="list", status=503)
"""A provider that cannot be asked what it has."""


def kills(request: pytest.FixtureRequest) -> int:
    return 50 if request.config.getoption("--long", default=False) else 5


def run_under_fire(site: Site, kills: int, seed: int) -> Load:
    """Start, stream, kill at random moments, start again; in the end let everything settle."""
    dice = random.Random(seed)
    load = Load(site.socket)
    site.start()
    load.start()
    for _ in range(kills):
        time.sleep(dice.uniform(0.05, 0.6))
        site.kill()
        site.start()
    time.sleep(0.3)
    load.stop()
    site.settled()
    return load


def crashed(client: Client, id: str) -> int:
    """How many of the message's attempts were open at a kill."""
    attempts: list[Json] = client.ask("attempts", id=id)["attempts"]
    return sum(attempt["outcome"] == "crashed" for attempt in attempts)


def prepare(site: Site, *rules: Rule, **provider: Any) -> Carrier:
    carrier = site.carrier("--latency-ms", SLOW_MS)
    carrier.script(*rules, HICCUP)
    # Without a budget, for a retry after a doubt would wait its turn, five a second, and the test with it.
    site.configure(carrier.url, sections={"retry": {"budget": False}}, rate="1000/s", **provider)
    return carrier


@pytest.mark.parametrize("seed", [1])
def test_with_look_up_every_promise_is_kept_exactly_once(site: Site, seed: int, request: pytest.FixtureRequest) -> None:
    carrier = prepare(site)
    load = run_under_fire(site, kills(request), seed)
    lost, doubled = exactly_once(load.promised.values(), carrier.taken())
    with site.client() as client:
        views = {view["id"]: view for view in client.views()}
        interrupted = sum(crashed(client, id) > 0 for id in views)
    assert lost == []
    assert doubled == []
    assert [id for id in load.promised if views[id]["state"] != "sent"] == []
    assert len(load.promised) > 200
    assert interrupted > 0, "no kill met an open call: the test proves nothing"
    assert carrier.stats()["lists"] > 0


@pytest.mark.parametrize("on_uncertain", ["retry", "hold"])
def test_without_look_up_only_calls_open_at_a_kill_are_in_doubt(
    site: Site, on_uncertain: str, request: pytest.FixtureRequest
) -> None:
    carrier = prepare(site, BLIND, reconcile_timeout="300ms", on_uncertain=on_uncertain)
    load = run_under_fire(site, kills(request) * 2 // 5, 2)
    taken = carrier.taken()
    lost, doubled = exactly_once(load.promised.values(), taken)
    with site.client() as client:
        views = {(view["to"], view["text"]): view for view in client.views()}
        held = [view for view in views.values() if view["state"] == "failed"]
        assert [view["state"] for view in views.values() if view["state"] not in {"sent", "failed"}] == []
        assert [each for each in doubled if taken[each] > 1 + crashed(client, views[each]["id"])] == []
        assert [view for view in held if crashed(client, view["id"]) != 1] == []
    if on_uncertain == "hold":
        assert doubled == []
        assert {view["error"]["category"] for view in held} == {"UNCERTAIN"}
        assert [each for each in lost if views[each]["state"] != "failed"] == []
    else:
        assert held == []
        assert lost == []
        assert doubled != [], "no kill met an open call: the test proves nothing"
