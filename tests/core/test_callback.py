"""What does an application read of its messages? Ids, origins and bodies, by examples."""

from __future__ import annotations

import json
from typing import Any

import pytest

from smsd.core.callback import (
    TOLD,
    CallbackRules,
    event_id,
    happened_at,
    inbound_id,
    inbound_payload,
    origin_of,
    payload,
)
from smsd.core.message import Error, Priority, State
from smsd.core.verdict import Category
from tests.doubles.builders import NOW, message

TEXT = "the words that go out"
AT = "2026-09-21T14:13:20.000Z"


def test_an_event_has_one_id_for_message_round_and_state() -> None:
    one = message(state=State.SENT)
    ids = {event_id(message(id=id, round=turn, state=state)) for id in "ab" for turn in (0, 1) for state in TOLD}
    assert len(ids) == 2 * 2 * len(TOLD)
    assert event_id(one) == event_id(message(state=State.DELIVERED), State.SENT) == f"evt_{one.id}_0_sent"
    assert inbound_id("i") == "evt_i"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://shop.example/hooks?a=1", "https://shop.example:443"),
        ("HTTPS://Shop.Example", "https://shop.example:443"),
        ("http://shop.example#x", "http://shop.example:80"),
        ("http://shop.example:/x", "http://shop.example:80"),
        ("https://shop.example:8443/x:9/@", "https://shop.example:8443"),
        ("http://[2001:DB8::1]:81/", "http://[2001:db8::1]:81"),
        ("http://[::1]", "http://[::1]:80"),
        ("http://a@b/", "http://a@b/"),
        ("http://host:80x/", "http://host:80x/"),
        ("ftp://host/", "ftp://host/"),
        ("", ""),
    ],
)
def test_an_origin_is_scheme_host_and_port_and_never_fails(url: str, origin: str) -> None:
    assert origin_of(url) == origin


def test_the_body_tells_everything_but_the_text() -> None:
    error = Error(Category.UNDELIVERED, "lost\ud800", NOW + 3, "30008", "main", Category.NETWORK)
    body = payload(
        message(
            state=State.UNDELIVERED, text=TEXT, sender="+15005550006", user="u\u00fc", type="otp", campaign="c",
            priority=Priority.BULK, segments=2, attempt=3, provider="main", provider_message_id="SM1",
            idempotency_key="k", metadata={"a": "\u2028"}, sent_at=NOW + 1, processed_at=NOW + 2, price="0.0075",
            error=error,
        ),
        NOW,
    )  # fmt: skip
    assert body.isascii()
    assert json.loads(body) == {
        "type": "message.undelivered",
        "timestamp": AT,
        "data": {
            "id": message().id, "state": "undelivered", "to": "+14155550123", "from": "+15005550006",
            "tenant": "shop", "user": "u\u00fc", "type": "otp", "campaign": "c", "priority": "bulk", "segments": 2,
            "attempts": 3, "provider": "main", "provider_message_id": "SM1", "idempotency_key": "k",
            "metadata": {"a": "\u2028"}, "created_at": AT, "sent_at": "2026-09-21T14:13:20.001Z",
            "processed_at": "2026-09-21T14:13:20.002Z", "delivered_at": None, "price": "0.0075",
            "error": {
                "category": "UNDELIVERED", "code": "30008", "message": "lost\ud800", "provider": "main",
                "at": "2026-09-21T14:13:20.003Z", "cause": "NETWORK",
            },
        },
    }  # fmt: skip


@pytest.mark.parametrize("state", TOLD)
def test_no_body_holds_the_text(state: State) -> None:
    assert TEXT not in payload(message(state=state, text=TEXT), NOW)


@pytest.mark.parametrize("state", [State.PENDING, State.PROCESSING])
def test_what_is_still_under_way_is_not_told(state: State) -> None:
    with pytest.raises(KeyError):
        payload(message(state=state), NOW)


@pytest.mark.parametrize(
    ("state", "fields"),
    [
        (State.SENT, {"sent_at": 5}),
        (State.DELIVERED, {"delivered_at": 5, "sent_at": 4}),
        (State.UNDELIVERED, {"error": Error(Category.UNDELIVERED, "no", 5), "processed_at": 4}),
        (State.FAILED, {"processed_at": 5, "sent_at": 4}),
        (State.EXPIRED, {"processed_at": 5}),
        (State.CANCELLED, {"processed_at": 5}),
    ],
)
def test_it_says_when_it_happened(state: State, fields: dict[str, Any]) -> None:
    assert happened_at(message(state=state, **fields), 9) == 5
    assert happened_at(message(state=state), 9) == 9


def test_an_inbound_text_is_told_with_its_words() -> None:
    body = inbound_payload(
        id="i", sender="+1", recipient="+2", text="stop \ud800", tenant="shop", provider="main", message=None,
        word="stop", received_at=NOW,
    )  # fmt: skip
    assert body.isascii()
    assert json.loads(body) == {
        "type": "inbound.received",
        "timestamp": AT,
        "data": {
            "id": "i", "from": "+1", "to": "+2", "text": "stop \ud800", "tenant": "shop", "provider": "main",
            "message": None, "word": "stop", "received_at": AT,
        },
    }  # fmt: skip


def test_secrets_of_a_tenant_go_before_those_of_all() -> None:
    rules = CallbackRules(secrets={"shop": ("a", "b")}, secret=("c",))
    assert (rules.secrets_of("shop"), rules.secrets_of("other")) == (("a", "b"), ("c",))
    assert "whsec_1" not in repr(CallbackRules(secrets={"shop": ("whsec_1",)}, secret=("whsec_1",)))
    assert CallbackRules().secrets_of("shop") == ()
