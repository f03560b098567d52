"""Does each method ask the daemon for what it is named after, and give back its answer?"""

from __future__ import annotations

from typing import Any

import pytest

from smsd import wire
from smsd.client import (
    AsyncClient,
    Client,
    SubmissionInvalid,
    words,
)
from smsd.listeners.operations import OPERATIONS
from tests.client.conftest import TO
from tests.doubles.fake_daemon import FakeDaemon


def test_a_message_goes_in_and_can_be_asked_for(make: Any, fake: FakeDaemon) -> None:
    client = make()
    accepted = client.send(TO, "Hello", from_="+15550100000", ttl="2h", metadata={"order": "7"}, user=None)
    assert accepted == {**accepted, "state": "pending", "segments": 1, "encoding": "gsm7", "replayed": False}
    sent = {name: value for name, value in fake.requests[0].items() if name != "ref"}
    expected = {
        "op": "send",
        "to": TO,
        "text": "Hello",
        "from": "+15550100000",
        "ttl": "2h",
        "metadata": {"order": "7"},
    }
    assert sent == expected, "an absent field is not sent; from_ travels as from"
    assert client.get(accepted["id"])["text"] == client.status(accepted["id"])["text"] == "Hello"
    assert client.attempts(accepted["id"]) == []
    assert client.cancel(accepted["id"])["state"] == "cancelled"
    assert client.retry(accepted["id"], ttl="1h", force=True)["state"] == "pending"
    assert fake.requests[-1].items() >= {"op": "retry", "ttl": "1h", "force": True}.items()


def test_the_daemon_can_be_asked_about_itself(make: Any, fake: FakeDaemon) -> None:
    client = make()
    assert client.ping() == {"pong": True, "version": "0.1.0"}
    assert client.stats()["states"]["sent"] == 2
    assert [each["name"] for each in client.providers()] == ["main"]
    assert client.pause("main")["state"] == "paused"
    assert client.resume("main")["state"] == "open"
    assert client.call("stats")["uptime_s"] == 3725


def test_a_listing_follows_its_pages(make: Any, fake: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "PAGE", 4)
    ids = [fake.add()["id"] for _ in range(10)]
    client = make()
    assert [each["id"] for each in client.list(state="pending", user=None)] == ids[::-1]
    assert [request["limit"] for request in fake.requests] == [4, 4, 4]
    assert "user" not in fake.requests[0]
    assert [each["id"] for each in client.list(limit=6)] == ids[::-1][:6]
    assert [request["limit"] for request in fake.requests[3:]] == [4, 2]
    assert list(client.list(state="failed")) == []


def test_every_op_of_the_daemon_has_a_method(fake: FakeDaemon) -> None:
    for name in OPERATIONS:
        assert callable(getattr(Client, name))
        assert callable(getattr(AsyncClient, name))
    text = " ".join((Client.send.__doc__ or "").split())
    later = {"template", "vars", "lang", "campaign", "callback_url"}
    for name in set(wire.Submission.__struct_fields__) - {"to", "text"} - later:
        assert name in text, "the docstring names every field the daemon takes"
    filters = " ".join((Client.list.__doc__ or "").split())
    for name in set(wire.List.__struct_fields__) - {"limit", "cursor"}:
        assert name in filters
    assert set(words.READS) | {"send", "cancel", "retry", "pause", "resume"} == set(OPERATIONS)


class TestWhatCannotBeSaid:
    def test_values_json_does_not_know(self, make: Any, fake: FakeDaemon) -> None:
        client = make()
        for field in ({"metadata": {"at": object()}}, {"max_attempts": float("nan")}, {"user": "\udcff"}):
            with pytest.raises(SubmissionInvalid):
                client.send(TO, "Hello", **field)
        assert fake.requests == []

    def test_a_line_the_daemon_would_not_read(self, make: Any, fake: FakeDaemon) -> None:
        with pytest.raises(SubmissionInvalid, match="at most 65,536") as caught:
            make().send(TO, "x" * 65_536)
        assert caught.value.code == "too_long"
        assert fake.requests == []
