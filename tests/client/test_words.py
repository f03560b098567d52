"""Does each method ask the daemon for what it is named after, and give back its answer?"""

from __future__ import annotations

import inspect
import io
from pathlib import Path
from typing import Any

import msgspec
import pytest

from smsd import wire
from smsd.client import (
    AsyncClient,
    Client,
    SmsdError,
    SubmissionInvalid,
    words,
)
from smsd.client.copying import Copying
from smsd.client.errors import KINDS
from smsd.listeners.http.problems import STATUS
from smsd.listeners.operations import OPERATIONS
from tests.client.conftest import TO
from tests.doubles.fake_daemon import COPY, COUNTS, FakeDaemon


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


def test_a_template_is_sent_in_place_of_a_text(make: Any, fake: FakeDaemon) -> None:
    client = make()
    asked: dict[str, Any] = {"template": "code", "vars": {"code": 17, "new": True}, "lang": "de", "campaign": "autumn"}
    client.send(TO, **asked)
    client.offer(TO, **asked)
    client.send_now(TO, **asked)
    [*client.send_many([{"to": TO, **asked}])]
    sends = [request for request in fake.requests if request["op"] == "send"]
    assert [request.keys() - {"ref", "wait"} for request in sends] == [{"op", "to", *asked}] * 4, "no text at all"
    assert all(request.items() >= asked.items() for request in sends)


def test_the_daemon_can_be_asked_about_itself(make: Any, fake: FakeDaemon) -> None:
    client = make()
    assert client.ping() == {"pong": True, "version": "0.1.0"}
    assert client.stats()["states"]["sent"] == 2
    assert [each["name"] for each in client.providers()] == ["main"]
    assert client.pause("main")["state"] == "paused"
    assert client.resume("main")["state"] == "open"
    assert client.call("stats")["uptime_s"] == 3725
    assert client.user_stats("alice")["sent_today"] == 4
    assert client.recipient_stats(TO, tenant="shop") == {"recipient": TO, **COUNTS}
    assert client.suppress(TO, scope="main")["added"] is True
    assert client.suppress(TO, scope="main")["added"] is False
    assert [(each["number"], each["scope"]) for each in client.suppressions(number=TO)] == [(TO, "main")]
    assert list(client.suppressions(scope="*")) == []
    assert client.unsuppress(TO, scope="main") == {"number": TO, "scope": "main"}
    assert client.reload()["changed"] == ["providers.main.rate"]
    assert client.metrics() == "smsd_messages 3\n"


def test_a_backup_is_the_whole_copy(make: Any, fake: FakeDaemon, tmp_path: Path) -> None:
    with (tmp_path / "copy").open("wb", buffering=0) as file:
        assert make().backup(file) == len(COPY)
    assert (tmp_path / "copy").read_bytes() == COPY
    assert [request.get("offset") for request in fake.requests] == [None, 100_000, 200_000]


@pytest.mark.parametrize(
    "wrong",
    [{"data": "no base64!"}, {"data": ""}, {"offset": 1}, {"size": 5}, {"done": True}, {"snapshot": "other"}],
    ids=str,
)
def test_a_backup_with_a_gap_is_no_backup(wrong: dict[str, Any]) -> None:
    piece = {"snapshot": "snap", "size": 6, "offset": 0, "data": "YWJj", "done": False}
    copying = Copying()
    assert copying.take(piece) == b"abc"
    with pytest.raises(SmsdError, match="is not whole"):
        copying.take(
            {**piece, "offset": 3, "done": True, **wrong}
            if wrong != {"done": True}
            else {**piece, "size": 9, "offset": 3, **wrong}
        )


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
    numbers = [client.suppress(f"+1555010010{n}")["number"] for n in range(9)]
    assert [each["number"] for each in client.suppressions()] == numbers
    assert [request["limit"] for request in fake.requests[-3:]] == [4, 4, 4]


def test_every_op_of_the_daemon_has_a_method(fake: FakeDaemon) -> None:
    named_otherwise = {"user": "user_stats", "recipient": "recipient_stats", "replay": "replay_callbacks"}
    named_otherwise |= {f"report_{kind}": "report" for kind in words.REPORTS}
    for name in OPERATIONS:
        assert callable(getattr(Client, named_otherwise.get(name, name)))
        assert callable(getattr(AsyncClient, named_otherwise.get(name, name)))
    for name, method in vars(Client).items():
        if not name.startswith("_"):
            assert hasattr(AsyncClient, name), "both have the same methods"
            assert not callable(method) or _parameters(method) == _parameters(getattr(AsyncClient, name)), name
    text = " ".join((Client.send.__doc__ or "").split())
    for name in set(wire.Submission.__struct_fields__) - {"to", "text"}:
        assert name in text, "the docstring names every field the daemon takes"
    filters = " ".join((Client.list.__doc__ or "").split())
    for name in set(wire.List.__struct_fields__) - {"limit", "cursor"}:
        assert name in filters
    acting = {"send", "cancel", "reschedule", "retry", "pause", "resume", "suppress", "unsuppress", "reload"}
    acting |= {"campaign_create", "campaign_pause", "campaign_resume", "campaign_cancel", "campaign_delete"}
    acting |= {"register", "replay", "failed_retry", "failed_delete", "plan"}
    assert acting | set(words.READS) == set(OPERATIONS)
    assert acting.isdisjoint(words.READS)
    assert set(STATUS) | {"unreachable"} == set(KINDS) | {"internal", "unknown_op"}, "each code of the closed list"


def _parameters(method: Any) -> list[str]:
    return [*inspect.signature(method).parameters]


def test_every_field_of_an_op_can_be_said(fake: FakeDaemon) -> None:
    """What the methods send is what the daemon's requests have."""
    seen: dict[str, set[str]] = {}
    fake.add(state="failed")
    id = fake.add()["id"]
    with Client(fake.path) as client:
        filters = dict.fromkeys(("state", "to", "user", "tenant", "campaign", "category", "since"), "x")
        [*client.list(limit=3, **filters)]
        client.get(id, wait="1s")
        client.attempts(id)
        client.reschedule(id, "2026-01-02T03:04:05Z", ttl="1h", expires_at="2026-01-02T03:04:05Z")
        client.cancel(id)
        client.retry(id, ttl="1h", expires_at="2026-01-02T03:04:05Z", force=True)
        client.user_stats("u", tenant="t")
        client.recipient_stats(TO, tenant="t")
        client.suppress(TO, scope="main")
        [*client.suppressions(number=TO, scope="main", limit=3)]
        [*client.inbound(limit=3, from_=TO, to="12345", tenant="t", since="x")]
        [*client.callbacks(failed=True, tenant="t", limit=3)]
        client.replay_callbacks(["evt_x"])
        client.register("main", dry_run=True)
        which = dict.fromkeys(("tenant", "campaign", "category", "user", "to", "provider", "since", "until"), "x")
        [*client.failed(limit=3, **which)]
        client.failed_retry(ids=[id], all=True, limit=3, force=True, ttl="1h", rate="1/s", **which)
        client.failed_delete(ids=[id], all=True, limit=3, **which)
        client.unsuppress(TO, scope="main")
        client.pause("main")
        client.resume("main")
        client.backup(io.BytesIO())
        fake.happen("message.sent")
        fake.happen("message.sent")
        next(client.events(after="0badcafe-1", kinds="message.*"))
    for request in fake.requests:
        seen.setdefault(request["op"], set()).update(request.keys() - {"op", "ref"})
    for name, fields in seen.items():
        known = {field.encode_name for field in msgspec.structs.fields(OPERATIONS[name].request)}
        assert fields <= known, name
        assert known - fields <= {"cursor"} | ({"limit"} if name == "events" else set()), name


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
