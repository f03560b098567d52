"""Does a request prove itself by any of a dialect's keys, and is each key judged?"""

from __future__ import annotations

import hashlib
import hmac
import re

import pytest

from smsd.core.units import DAY
from smsd.providers.base import Hook, HookKind, HookRefusedError, Response, SettingsError
from smsd.providers.dialpad import Dialpad
from smsd.providers.http import Http
from smsd.providers.keys import by_any, keys_of, named
from smsd.providers.messagebird import MessageBird
from tests.doubles.reporting import by_dialpad

NEW, OLD, OTHER = ("new-0123456789-key", "old-0123456789-key", "other-0123456789-key")
NOW = 1_790_000_000_000


def test_keys_and_their_names() -> None:
    assert [keys_of(value) for value in (None, "a", ("a", "b"))] == [(), ("a",), ("a", "b")]
    assert named("key", None) == []
    assert named("key", "a") == [("key", "a")]
    assert named("key", ("a", "b")) == [("key.1", "a"), ("key.2", "b")]


def test_the_first_that_proves_it_is_the_last_that_is_tried() -> None:
    tried: list[str] = []

    def verify(key: str) -> None:
        tried.append(key)
        if key != OLD:
            raise HookRefusedError("it is wrong" if key == NEW else "it is late")

    by_any((NEW, OLD, OTHER), verify)
    assert tried == [NEW, OLD]
    with pytest.raises(HookRefusedError, match=r"^it is wrong; or: it is late$"):
        by_any((NEW, NEW, OTHER), verify)
    with pytest.raises(HookRefusedError, match="no key"):
        by_any((), verify)


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
def test_dialpad_takes_what_an_older_secret_signed_and_is_told_the_first() -> None:
    dialpad = Dialpad("main", "api-key", webhook_secret=(NEW, OLD))
    for key in (NEW, OLD, OTHER):
        claims = {"id": 1, "direction": "outbound", "event_timestamp": NOW, "created_date": NOW}
        posted = by_dialpad("https://x/webhooks/main/status", key, **claims)
        hook = Hook(HookKind.STATUS, "POST", "https://x" + posted.target, "", posted.headers, posted.body, NOW)
        if key == OTHER:
            with pytest.raises(HookRefusedError):
                dialpad.verify(hook)
        else:
            dialpad.verify(hook)
    none = {"GET https://dialpad.com/api/v2/webhooks": Response(200, {}, b'{"items": []}')}
    request = dialpad.registration("https://x/webhooks/main/status", none)
    assert not isinstance(request, str)
    assert (NEW.encode() in request.body, OLD.encode() in request.body) == (True, False)
    with pytest.raises(SettingsError, match=re.escape("webhook_secret.2: is not 16 to 128")):
        Dialpad("main", "api-key", webhook_secret=(NEW, "short"))
    assert OLD not in repr(dialpad)


def test_a_gateway_takes_what_either_key_signed() -> None:
    gateway = Http(
        "box",
        url="https://sms.example/send",
        fields={"to": "{to}", "text": "{text}", "ref": "{id}"},
        id_path="id",
        reports={"status": "s", "reference": "ref", "statuses": {"delivered": ["ok"]}},
        signature={"scheme": "hmac", "header": "X-Signature"},
        signing_key=(NEW, OLD),
    )
    body = b'{"s": "ok", "ref": "1"}'
    for key, right in ((NEW, True), (OLD, True), (OTHER, False)):
        signature = hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
        hook = Hook(HookKind.STATUS, "POST", "https://x/webhooks/box/status", "", {"x-signature": signature}, body, NOW)
        if right:
            gateway.verify(hook)
        else:
            with pytest.raises(HookRefusedError):
                gateway.verify(hook)
    assert OLD not in repr(gateway)


def test_messagebird_takes_what_either_key_signed() -> None:
    import jwt

    bird = MessageBird("main", "access", signing_key=(NEW.ljust(32, "x"), OLD.ljust(32, "x")))
    url = "https://x/webhooks/main/status?id=1"
    claims = {"iss": "MessageBird", "nbf": NOW // 1_000, "exp": NOW // 1_000 + DAY // 1_000, "jti": "1",
              "url_hash": hashlib.sha256(url.encode()).hexdigest()}  # fmt: skip
    for key, right in ((NEW, True), (OLD, True), (OTHER, False)):
        token = jwt.encode(claims, key.ljust(32, "x"), "HS256")
        hook = Hook(HookKind.STATUS, "GET", url, "id=1", {"messagebird-signature-jwt": token}, b"", NOW)
        if right:
            bird.verify(hook)
        else:
            with pytest.raises(HookRefusedError):
                bird.verify(hook)
    with pytest.raises(SettingsError, match=re.escape("signing_key.1: is empty")):
        MessageBird("main", "access", signing_key=("", NEW))
