"""Dialpad's webhooks: events -> reports and texts; tokens -> accepted or refused; answers -> the next call."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import jwt
import pytest

from smsd.core.receipt import Status
from smsd.core.units import DAY
from smsd.providers.base import (
    Hook,
    HookKind,
    HookRefusedError,
    HookUnreadableError,
    InboundText,
    Registrar,
    Report,
    Request,
    Response,
    SettingsError,
    Webhooks,
)
from smsd.providers.dialpad import RECEIPTS, Dialpad
from smsd.providers.dialpad_hooks import STATUSES
from smsd.providers.tokens import LEEWAY_MS
from tests.providers.hooks import NOW, posted

KEY = "0123456789abcdef-0123456789_ABCD" * 2
DIALPAD = Dialpad("main", "api-key", webhook_secret=KEY)
URL = "https://sms.example.org/webhooks/main/status"

SENT = {
    "id": 5212604609576960,
    "created_date": NOW - 2_000,
    "event_timestamp": NOW - 1_000,
    "direction": "outbound",
    "target": {"id": 1, "type": "user", "name": "Ann", "phone_number": "+15005550006"},
    "contact": {"id": "2", "name": "Bob", "phone_number": "+14155550123"},
    "sender_id": None,
    "from_number": "+15005550006",
    "to_number": ["+14155550123"],
    "mms": False,
    "mms_url": None,
    "message_status": "success",
    "message_delivery_result": "accepted",
}
CAME_IN = SENT | {
    "id": "6212604609576960",
    "direction": "inbound",
    "from_number": "+14155550123",
    "to_number": ["+15005550006"],
    "text": "Stop 👍",
    "message_status": None,
    "message_delivery_result": None,
}


def event(claims: Mapping[str, object], key: str = KEY, algorithm: str = "HS256") -> Hook:
    return posted(URL, jwt.encode(dict(claims), key, algorithm).encode(), {"content-type": "application/jwt"})


def reports(**changes: object) -> Report:
    [report] = DIALPAD.read(event(SENT | changes))
    assert isinstance(report, Report)
    return report


def text(**changes: object) -> InboundText:
    [text] = DIALPAD.read(event(CAME_IN | changes))
    assert isinstance(text, InboundText)
    return text


def test_it_is_a_dialect_with_webhooks() -> None:
    assert isinstance(DIALPAD, Webhooks)
    assert isinstance(DIALPAD, Registrar)
    assert DIALPAD.hooks == {HookKind.STATUS, HookKind.INBOUND}
    assert (DIALPAD.answers_words, DIALPAD.reports_by_id, DIALPAD.hook_answer.body) == (True, True, b"")


def test_an_outbound_event_is_a_report() -> None:
    words = "Dialpad says of the message: success, accepted"
    assert reports() == Report(Status.SENT, "5212604609576960", words=words, at=NOW - 1_000)
    assert reports(id="5212604609576960") == reports()
    assert reports(event_timestamp=NOW // 1_000).at == NOW
    assert reports(message_status=None, message_delivery_result=None, event_timestamp=None) == Report(
        Status.QUEUED, "5212604609576960"
    )


@pytest.mark.parametrize(
    "word, result, status, code",
    [
        ("pending", None, Status.QUEUED, None),
        ("sending", None, Status.QUEUED, None),
        ("success", "accepted", Status.SENT, None),
        ("sent", None, Status.SENT, None),
        ("delivered", None, Status.DELIVERED, None),
        ("delivered", "rejected", Status.DELIVERED, None),
        ("undelivered", None, Status.UNDELIVERED, "failed"),
        ("failed", "accepted", Status.UNDELIVERED, "failed"),
        ("failed", "a_new_one", Status.UNDELIVERED, "a_new_one"),
        *(("success", result, Status.UNDELIVERED, result) for result in sorted(RECEIPTS)),
    ],
)
def test_every_status(word: str, result: str | None, status: Status, code: str | None) -> None:
    report = reports(message_status=word, message_delivery_result=result)
    assert (report.status, report.code) == (status, code)
    assert code in {None, "a_new_one"} or DIALPAD.receipt_reading(str(code)) is RECEIPTS[str(code)]
    assert len(STATUSES) == 7


def test_an_inbound_event_is_a_text_also_without_words() -> None:
    assert text() == InboundText("+14155550123", "+15005550006", "Stop 👍", "6212604609576960", NOW - 2_000)
    assert text(text=None, text_content="later").text == "later"
    assert text(text=None).text == ""
    assert text(to_number="+15005550007").recipient == "+15005550007"
    assert text(to_number=["+15005550007", "+15005550006"]).recipient == "+15005550006"
    assert text(to_number=["+15005550007"], target=None).recipient == "+15005550007"
    assert text(to_number=None).recipient == "+15005550006"


def test_half_an_emoji_costs_no_text() -> None:
    brought = event(CAME_IN | {"text": "Stop \ud83d"})
    DIALPAD.verify(brought)
    assert text(text="Stop \ud83d").text == "Stop \ufffd"


def test_either_url_takes_both_and_the_token_may_be_a_json_string() -> None:
    for claims in (SENT, CAME_IN):
        hook = event(claims)
        quoted = replace(hook, kind=HookKind.INBOUND, body=b' "' + hook.body + b'"\n')
        DIALPAD.verify(quoted)
        assert DIALPAD.read(quoted) == DIALPAD.read(hook)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"direction": None}, "direction"),
        ({"direction": "sideways"}, "direction"),
        ({"id": None}, "id"),
        ({"id": 2**64}, "id"),
        ({"id": "1" * 65}, "id"),
        ({"message_status": "lost"}, "lost"),
        ({"direction": "inbound", "from_number": None}, "from_number"),
        ({"direction": "inbound", "to_number": [1, {}], "target": 5}, "to_number"),
    ],
)
def test_what_cannot_be_read_says_why(changes: dict[str, object], said: str) -> None:
    with pytest.raises(HookUnreadableError, match=said):
        DIALPAD.read(event(SENT | changes))


@pytest.mark.parametrize("body", [b"", b"{}", b"a.b", b"a.b.c", b"...", b"\xff.\xff.\xff", b"a.W10.c", b"a.eyJ.c"])
def test_what_is_no_token_cannot_be_read_and_proves_nothing(body: bytes) -> None:
    with pytest.raises(HookUnreadableError):
        DIALPAD.read(posted(URL, body))
    with pytest.raises(HookRefusedError):
        DIALPAD.verify(posted(URL, body))


# -- tokens -----------------------------------------------------------------------------------------------------------


def refused(hook: Hook) -> str:
    with pytest.raises(HookRefusedError) as caught:
        DIALPAD.verify(hook)
    return str(caught.value)


def test_only_our_key_and_only_hs256() -> None:
    DIALPAD.verify(event(SENT))
    refused(event(SENT, key=KEY[::-1]))
    refused(event(SENT, algorithm="HS512"))
    header = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=")
    _, claims, signature = event(SENT).body.split(b".")
    for body in (b".".join((header, claims, b"")), b".".join((header, claims, signature))):
        refused(posted(URL, body))
    good = event(SENT)
    refused(replace(good, body=good.body[:-4]))
    refused(replace(good, body=good.body + b"." + signature))
    other = event(CAME_IN).body.split(b".")[1]
    refused(replace(good, body=good.body.replace(claims, other)))


def test_a_short_key_is_a_key() -> None:
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        hook = event(SENT, key="dp-0123456789-01")
    replace(DIALPAD, webhook_secret="dp-0123456789-01").verify(hook)  # and does not warn
    refused(hook)


def test_an_old_event_is_refused() -> None:
    then = NOW - 1_000
    for now in (then + 3 * DAY, then - 3 * DAY):
        DIALPAD.verify(replace(event(SENT), now=now))
    for now in (then + 3 * DAY + 1, then - 3 * DAY - 1):
        assert "too long ago" in refused(replace(event(SENT), now=now))
    created = event(CAME_IN | {"event_timestamp": None})
    DIALPAD.verify(replace(created, now=NOW + 3 * DAY - 2_000))
    refused(replace(created, now=NOW + 3 * DAY))
    others: list[object] = [None, "soon", [], 1.5e300, "9" * 50]
    for other in others:
        assert "no time" in refused(event(SENT | {"event_timestamp": other, "created_date": None}))


def test_the_times_of_a_token_count_where_they_are_there() -> None:
    now = NOW // 1_000
    DIALPAD.verify(event(SENT | {"iat": now, "nbf": now, "exp": now + 1}))
    leeway = LEEWAY_MS // 1_000
    for claims in ({"exp": now - leeway}, {"nbf": now + leeway + 1}, {"iat": now - 3 * 86_400 - 1}, {"iat": "x"}):
        refused(event(SENT | claims))


def test_settings() -> None:
    assert DIALPAD.signs
    assert not Dialpad("main", "api-key").signs
    assert KEY not in repr(DIALPAD)
    for wrong in ("", "short", "a b" * 10, "é" * 20, "x" * 129):
        with pytest.raises(SettingsError, match="webhook_secret"):
            replace(DIALPAD, webhook_secret=wrong)


# -- setting up -------------------------------------------------------------------------------------------------------

API = "https://dialpad.com/api/v2"


@dataclass
class Company:
    """Dialpad's side: webhooks and subscriptions of one company, in pages of one."""

    webhooks: list[dict[str, object]] = field(default_factory=list)
    subscriptions: list[dict[str, object]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def answer(self, request: Request) -> Response:
        assert request.headers["Authorization"] == "Bearer api-key"
        path, _, query = request.url.removeprefix(API).partition("?")
        self.calls.append(f"{request.method} {path}")
        items = self.webhooks if path.startswith("/webhooks") else self.subscriptions
        if request.method == "GET":
            at = int(query.removeprefix("cursor=") or 0)
            page: dict[str, object] = {"items": items[at : at + 1]}
            return Response(
                200, {}, json.dumps(page | ({"cursor": str(at + 1)} if at + 1 < len(items) else {})).encode()
            )
        said = json.loads(request.body)
        if request.method == "POST":
            items.append({"id": str(100 + len(items))})
        item = items[-1] if request.method == "POST" else next(e for e in items if str(e["id"]) == path.split("/")[-1])
        if "endpoint_id" in said:
            assert isinstance(said["endpoint_id"], int)
            item["webhook"] = {"id": str(said.pop("endpoint_id"))}
        if "secret" in said:
            item["signature"] = {"algo": "HS256", "type": "jwt", "secret": said.pop("secret")}
        item.update(said)
        return Response(200, {}, json.dumps(item).encode())


def register(company: Company, provider: Dialpad = DIALPAD) -> str:
    known: dict[str, Response] = {}
    while isinstance(step := provider.registration(URL, known), Request):
        assert KEY not in repr(step)
        assert step.private == (KEY,)
        known[f"{step.method} {step.url}"] = company.answer(step)
        assert len(known) < 20
    return step


def test_what_is_missing_is_made_and_nothing_is_made_twice() -> None:
    company = Company()
    assert register(company) == ("Dialpad sends its SMS events here: webhook 100 (made), subscription 100 (made).")
    assert company.calls == ["GET /webhooks", "POST /webhooks", "GET /subscriptions/sms", "POST /subscriptions/sms"]
    signature = {"algo": "HS256", "type": "jwt", "secret": KEY}
    assert company.webhooks == [{"id": "100", "hook_url": URL, "signature": signature}]
    wanted = {"direction": "all", "status": True, "enabled": True}
    assert company.subscriptions == [{"id": "100", "webhook": {"id": "100"}, **wanted}]
    company.calls.clear()
    assert "webhook 100 (was there), subscription 100 (was there)" in register(company)
    assert company.calls == ["GET /webhooks", "GET /subscriptions/sms"]


def test_what_differs_is_changed_and_what_is_not_ours_is_left() -> None:
    theirs: dict[str, object] = {"id": 1, "hook_url": "https://example.com/", "signature": {"secret": "theirs"}}
    narrow: dict[str, object] = {"id": 5, "webhook": {"id": 2}, "direction": "all", "target_id": 9}
    company = Company(
        [dict(theirs), {"id": 2, "hook_url": URL, "signature": {"secret": "older"}}],
        [{"id": 3, "webhook": {"id": 1}}, {"id": 4, "websocket": {"id": 2}}, dict(narrow)],
    )
    company.subscriptions.append({"id": 6, "webhook": {"id": 2}, "direction": "inbound", "status": False})
    said = register(company)
    assert "webhook 2 (was there, has the secret now)" in said
    assert "subscription 6 (was there, is for both directions" in said
    assert [call for call in company.calls if not call.startswith("GET")] == [
        "PATCH /webhooks/2",
        "PATCH /subscriptions/sms/6",
    ]
    assert company.webhooks[0] == theirs
    assert company.subscriptions[:3] == [{"id": 3, "webhook": {"id": 1}}, {"id": 4, "websocket": {"id": 2}}, narrow]
    assert "was there), subscription 6 (was there)" in register(company)


@pytest.mark.parametrize(
    "answer, said",
    [
        (Response(403, {}, b'{"error": {"message": "no permission"}}'), "no permission; the API key must be"),
        (Response(500, {}, b"<html>"), "HTTP 500"),
        (Response(200, {}, b"[]"), "HTTP 200"),
        (Response(200, {}, json.dumps({"items": [{"hook_url": URL}]}).encode()), "no id"),
    ],
)
def test_an_answer_that_says_no_ends_it(answer: Response, said: str) -> None:
    with pytest.raises(HookUnreadableError, match=said):
        DIALPAD.registration(URL, {f"GET {API}/webhooks": answer})


def test_a_list_without_end_ends_it() -> None:
    page = Response(200, {}, b'{"items": [{"id": 1}], "cursor": "x"}')
    known = {f"GET {API}/webhooks": page, f"GET {API}/webhooks?cursor=x": page}
    with pytest.raises(HookUnreadableError, match="pages"):
        DIALPAD.registration(URL, known)


def test_without_a_secret_nothing_is_registered() -> None:
    with pytest.raises(HookUnreadableError, match="webhook_secret"):
        Dialpad("main", "api-key").registration(URL, {})
