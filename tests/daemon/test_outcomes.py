"""What becomes of a message when the provider, or the way to it, misbehaves?

End to end: the stand-in does what the rule says, and what counts is where the message ends, how many calls it took,
what reached the phone, and what a person is told while it waits. What rests a provider survives a restart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.daemon.harness import Carrier, Client, Json, Site, free_port, until
from tests.doubles.stand_in import Rule

UNKNOWN = "unknown"
DEFER = "defer"
REFUSE = "refuse"
ACCEPTED = "accepted"


@dataclass(frozen=True)
class Story:
    """One message to one number."""

    name: str
    rule: Rule
    state: str
    outcomes: tuple[str, ...]
    """Of its attempts, in order."""
    arrived: int = 1
    """How often it reached the phone."""
    category: str | None = None


STORIES = [
    Story("taken and hung", Rule("hang", taken=True, times=1), "sent", (UNKNOWN,)),
    Story("hung and not taken", Rule("hang", times=1), "sent", (UNKNOWN, ACCEPTED)),
    Story("taken and reset", Rule("reset", taken=True, times=1), "sent", (UNKNOWN,)),
    Story("reset and not taken", Rule("reset", times=1), "sent", (UNKNOWN, ACCEPTED)),
    Story("half an answer", Rule("partial", taken=True, times=1), "sent", (UNKNOWN,)),
    Story("a proxy's 502, taken", Rule("html", taken=True, times=1), "sent", (UNKNOWN,)),
    Story("a proxy's 502, not taken", Rule("html", times=1), "sent", (UNKNOWN, ACCEPTED)),
    Story("an unreadable 201", Rule("malformed", times=1), "sent", (UNKNOWN,)),
    Story("not HTTP at all", Rule("garbage", times=1), "sent", (UNKNOWN, ACCEPTED)),
    Story("busy", Rule("code", status=503, code=20503, times=2), "sent", (DEFER, DEFER, ACCEPTED)),
    Story("busy for ever", Rule("code", status=503, code=20503), "failed", (DEFER,) * 4, 0, "EXHAUSTED"),
    Story("no such number", Rule("code", status=400, code=21211), "failed", (REFUSE,), 0, "INVALID_RECIPIENT"),
    Story("opted out", Rule("code", status=400, code=21610), "failed", (REFUSE,), 0, "OPTED_OUT"),
    Story("a refused text", Rule("code", status=400, code=21617), "failed", (REFUSE,), 0, "REJECTED"),
    Story("no fault", Rule("ok", times=1), "sent", (ACCEPTED,)),
]


def test_every_fault_ends_as_it_should(site: Site) -> None:
    """All at once, each to a number of its own: one message's trouble is nobody else's."""
    numbers = {story.name: f"+1201900{n:04d}" for n, story in enumerate(STORIES)}
    rules = []
    for story in STORIES:
        story.rule.to = numbers[story.name]
        rules.append(story.rule)
    carrier = site.carrier()
    carrier.script(*rules)
    # Without a breaker: most calls here fail, so it would rest the provider.
    site.configure(carrier.url, timeout="400ms", breaker=False, sections={"retry": {"max_attempts": 4}})
    site.start()
    with site.client() as client:
        ids = {story.name: client.send(numbers[story.name]) for story in STORIES}
        until(lambda: client.open_count() == 0, "all are final")
        found = {name: (client.view(id), outcomes(client, id)) for name, id in ids.items()}
    arrived: dict[str, int] = {}
    for (to, _), count in carrier.taken().items():
        arrived[to] = arrived.get(to, 0) + count
    for story in STORIES:
        view, tried = found[story.name]
        assert (view["state"], tried) == (story.state, story.outcomes), story.name
        assert view["attempts"] == len(story.outcomes), story.name
        assert arrived.get(numbers[story.name], 0) == story.arrived, story.name
        assert (view["error"] or {}).get("category") == story.category or story.state == "sent", story.name


def outcomes(client: Client, id: str) -> tuple[str, ...]:
    return tuple(attempt["outcome"] for attempt in client.ask("attempts", id=id)["attempts"])


# -- what rests the whole provider -----------------------------------------------------------------------------------


def waiting(client: Client, id: str) -> Json:
    view = client.view(id)
    assert view["state"] == "pending"
    found: Json = view["waiting"]
    return found


def provider(client: Client) -> Json:
    found: Json = client.ask("providers")["providers"][0]
    return found


def waits_for(client: Client, id: str, reason: str) -> Callable[[], bool]:
    def check() -> bool:
        view = client.view(id)
        return view["waiting"] is not None and view["waiting"]["reason"] == reason

    return check


def test_a_throttle_rests_the_provider_over_a_restart_and_costs_no_attempt(site: Site) -> None:
    carrier = site.carrier()
    carrier.script(Rule("throttle", retry_after="4", times=1))
    site.configure(carrier.url, retry_after="honour")
    site.start()
    with site.client() as client:
        first = client.send()
        until(lambda: provider(client)["state"] == "cooling", "the provider rests")
        until(waits_for(client, first, "provider_cooldown"), "it is to come a little after the provider does")
        second = client.send()
        told = waiting(client, second)
        assert told["reason"] == "provider_cooldown"
        assert told["until"] is not None
        assert "main rests until" in told["text"]
        assert provider(client)["state"] == "cooling"
        until(lambda: len(site.events("provider.cooldown")) == 1, "it is told; a kill takes unwritten lines with it")
    site.kill()
    site.start()
    with site.client() as client:
        assert provider(client)["state"] == "cooling"
        assert waiting(client, second)["reason"] == "provider_cooldown"
        assert carrier.stats()["sends"] == 1
        until(lambda: client.open_count() == 0, "all are sent after the cooldown")
        assert outcomes(client, first) == (DEFER, ACCEPTED)
        assert client.view(first)["attempts"] <= 2
    calls = [call["at_ns"] for call in carrier.calls()]
    assert calls[1] - calls[0] >= 3_900_000_000
    assert [event["provider"] for event in site.events("provider.cooldown")] == ["main"]
    until(lambda: len(site.events("provider.recovered")) == 1, "its end is told once")


def halted(site: Site, carrier: Carrier, *rules: Rule) -> tuple[str, str]:
    """Start with what makes the provider refuse us; two messages wait, and only one call was made."""
    carrier.script(*rules)
    site.start()
    with site.client() as client:
        first = client.send()
        until(waits_for(client, first, "provider_halted"), "the provider is halted")
        second = client.send()
        told = waiting(client, second)
        assert told["reason"] == "provider_halted"
        assert told["until"] is None
        assert "smsd resume main" in told["text"]
        assert provider(client)["state"] == "halted"
        assert client.view(first)["error"]["category"] in {"AUTH_FAILED", "CONFIG_ERROR"}
    return first, second


REFUSED = Rule("code", status=401, code=20003, message="Authenticate")


def test_refused_credentials_halt_until_resumed_also_over_a_restart(site: Site) -> None:
    carrier = site.carrier()
    site.configure(carrier.url)
    ids = halted(site, carrier, REFUSED)
    until(lambda: [event["level"] for event in site.events("provider.halted")] == ["critical"], "it is in the log")
    assert site.stop() == 0
    carrier.script()
    site.start()
    with site.client() as client:
        assert provider(client)["state"] == "halted"
        assert carrier.stats()["sends"] == 1
        assert client.ask("resume", provider="main")["ok"]
        until(lambda: client.open_count() == 0, "all are sent after the resume")
        assert [client.view(id)["state"] for id in ids] == ["sent", "sent"]


def test_changed_credentials_end_a_halt(site: Site) -> None:
    carrier = site.carrier()
    site.configure(carrier.url)
    halted(site, carrier, REFUSED)
    site.stop()
    carrier.script()
    site.configure(carrier.url, auth_token="another-stand-in-token")
    site.start()
    site.settled()
    assert carrier.stats()["taken"] == 2


def test_a_wrong_url_halts_and_fails_nobody(site: Site) -> None:
    carrier = site.carrier()
    site.configure(f"{carrier.url}/v9")
    ids = halted(site, carrier)
    site.stop()
    site.configure(carrier.url)
    site.start()
    with site.client() as client:
        until(lambda: client.open_count() == 0, "all are sent once the URL is right")
        assert [client.view(id)["state"] for id in ids] == ["sent", "sent"]


def test_a_provider_nobody_listens_at_is_tried_again_and_nothing_is_uncertain(site: Site) -> None:
    port = free_port()
    site.configure(f"http://127.0.0.1:{port}")
    site.start()
    with site.client() as client:
        id = client.send()
        until(lambda: client.view(id)["error"] is not None, "the first call failed")
        view = client.view(id)
        assert view["error"]["category"] == "NETWORK"
        assert view["state"] == "pending"
        carrier = site.carrier("--port", str(port))
        until(lambda: client.open_count() == 0, "it is sent once somebody listens")
        tried = outcomes(client, id)
    assert tried[-1] == ACCEPTED
    assert set(tried[:-1]) == {DEFER}
    assert carrier.stats()["lists"] == 0
    assert carrier.stats()["taken"] == 1


@pytest.mark.parametrize("how", ["pause", "cancel"])
def test_an_operators_word_holds(site: Site, how: str) -> None:
    carrier = site.carrier()
    site.configure(carrier.url)
    site.start()
    with site.client() as client:
        assert client.ask("pause", provider="main")["ok"]
        id = client.send()
        assert waiting(client, id)["reason"] == "provider_paused"
        if how == "cancel":
            assert client.ask("cancel", id=id)["message"]["state"] == "cancelled"
    site.kill()
    site.start()
    with site.client() as client:
        assert provider(client)["state"] == "paused"
        assert client.ask("resume", provider="main")["ok"]
        other = client.send()
        until(lambda: client.open_count() == 0, "what waited is sent")
        assert client.view(other)["state"] == "sent"
        assert client.view(id)["state"] == ("sent" if how == "pause" else "cancelled")
    assert carrier.stats()["taken"] == (2 if how == "pause" else 1)
