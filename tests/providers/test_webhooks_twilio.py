"""Twilio's webhooks: what comes in -> reports and texts; settings -> what signs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from twilio.request_validator import RequestValidator

from smsd.core.consent import Word
from smsd.core.receipt import Status
from smsd.providers.base import (
    Hook,
    HookKind,
    HookRefusedError,
    HookUnreadableError,
    InboundText,
    Report,
    SettingsError,
    Webhooks,
)
from smsd.providers.twilio import RECEIPTS, Twilio
from smsd.providers.twilio_hooks import STATUSES
from tests.providers.calls import CALL
from tests.providers.hooks import got, posted, with_header

URL = f"https://sms.example.org/webhooks/main/status?m={CALL.id}&a=2"
INBOUND_URL = "https://sms.example.org/webhooks/main/inbound"
TWILIO = Twilio("main", "AC1", "token")
KEYED = Twilio("main", "AC1", "secret", api_key_sid="SK1")

CALLBACK = {
    "MessageSid": "SM1",
    "SmsSid": "SM1",
    "MessageStatus": "delivered",
    "SmsStatus": "delivered",
    "To": "+14155550123",
    "From": "+15005550006",
    "AccountSid": "AC1",
    "RawDlrDoneDate": "2611230711",
    "ApiVersion": "2010-04-01",
    "AFieldOfTomorrow": "",
}
CAME_IN = {
    "MessageSid": "SM2",
    "SmsSid": "SM2",
    "SmsMessageSid": "SM2",
    "SmsStatus": "received",
    "From": "+14155550123",
    "To": "+15005550006",
    "Body": "Ünïcode &= 👍",
    "NumMedia": "0",
    "NumSegments": "1",
    "FromCountry": "US",
}


def reports(form: dict[str, str], url: str = URL) -> Report:
    [report] = TWILIO.read(posted(url, form))
    assert isinstance(report, Report)
    return report


def text(form: dict[str, str]) -> InboundText:
    [text] = TWILIO.read(posted(INBOUND_URL, form, kind=HookKind.INBOUND))
    assert isinstance(text, InboundText)
    return text


def unreadable(hook: Hook) -> str:
    with pytest.raises(HookUnreadableError) as caught:
        TWILIO.read(hook)
    assert "4155550123" not in str(caught.value)
    return str(caught.value)


def test_it_is_a_dialect_with_webhooks() -> None:
    assert isinstance(TWILIO, Webhooks)
    assert TWILIO.hooks == {HookKind.STATUS, HookKind.INBOUND}
    assert (TWILIO.answers_words, TWILIO.reports_by_id) == (True, False)
    assert (TWILIO.hook_answer.content_type, TWILIO.hook_answer.body) == ("text/xml", b"<Response/>")


def test_a_status_callback() -> None:
    assert reports(CALLBACK) == Report(
        Status.DELIVERED, "SM1", CALL.id, 2, words="Twilio says of the message: delivered"
    )
    failed = CALLBACK | {"MessageStatus": "undelivered", "ErrorCode": "30003", "ErrorMessage": "To +14155550123"}
    words = "Twilio says of the message: undelivered (To [number])"
    assert reports(failed) == Report(Status.UNDELIVERED, "SM1", CALL.id, 2, "30003", words)


@pytest.mark.parametrize(
    "word, status",
    [
        *((word, Status.QUEUED) for word in ("accepted", "scheduled", "queued", "sending")),
        *((word, Status.SENT) for word in ("sent", "partially_delivered")),
        *((word, Status.UNDELIVERED) for word in ("undelivered", "failed", "canceled")),
        *((word, Status.DELIVERED) for word in ("delivered", "read")),
    ],
)
def test_every_status(word: str, status: Status) -> None:
    assert reports(CALLBACK | {"MessageStatus": word}).status is status
    assert STATUSES[word] is status
    assert len(STATUSES) == 11


def test_a_webhook_may_be_a_get() -> None:
    [report] = TWILIO.read(got(f"{URL}&MessageSid=SM1&MessageStatus=sent&ErrorCode=0"))
    assert isinstance(report, Report)
    assert (report.status, report.id, report.attempt, report.code) == (Status.SENT, CALL.id, 2, None)


def test_the_message_is_known_by_either_id() -> None:
    bare = URL.partition("?")[0]
    by_sid = reports(CALLBACK, bare)
    assert (by_sid.provider_message_id, by_sid.id, by_sid.attempt) == ("SM1", None, None)
    by_mark = reports({"MessageStatus": "sent", "MessageSid": "S" * 65}, f"{bare}?m=abc&a=9999999")
    assert (by_mark.provider_message_id, by_mark.id, by_mark.attempt) == (None, "abc", None)
    assert "names no message" in unreadable(posted(bare, {"MessageStatus": "sent"}))


def test_an_inbound_text() -> None:
    assert text(CAME_IN) == InboundText("+14155550123", "+15005550006", "Ünïcode &= 👍", "SM2")
    assert text(CAME_IN | {"From": "12345", "Body": ""}).sender == "12345"
    assert text({"From": "1", "To": "2", "Body": "x"}).provider_message_id is None


@pytest.mark.parametrize("kind, word", [("STOP", Word.STOP), ("start", Word.START), ("HELP", Word.HELP), ("X", None)])
def test_the_word_that_twilio_took_it_for(kind: str, word: Word | None) -> None:
    assert text(CAME_IN | {"OptOutType": kind}).word is word


def test_both_kinds_may_come_to_either_url() -> None:
    assert isinstance(TWILIO.read(posted(URL, CAME_IN))[0], InboundText)
    assert isinstance(TWILIO.read(posted(INBOUND_URL, CALLBACK, kind=HookKind.INBOUND))[0], Report)


@pytest.mark.parametrize(
    "body, said",
    [
        (b"", "neither MessageStatus"),
        (b"MessageSid=SM1", "neither MessageStatus"),
        (b"MessageSid=SM1&MessageStatus=teleported", "teleported"),
        (b"MessageSid=SM1&MessageStatus=sent&MessageStatus=delivered", "more than once"),
        (b"MessageSid=SM1&MessageSid=SM2&MessageStatus=sent", "more than once"),
        (b"MessageSid=SM1&MessageStatus=%FF", "UTF-8"),
        (b"MessageSid=SM1&MessageStatus=\xff", "UTF-8"),
        (b"&a=1" * 1_001, "more than 200"),
        (b"SmsStatus=received&To=%2B14155550123", "who sent it"),
        (b"SmsStatus=received&To=%2B14155550123&From=" + b"1" * 65, "who sent it"),
        (b"SmsStatus=received&From=%2B14155550123", "to which number"),
    ],
)
def test_what_cannot_be_read_says_why(body: bytes, said: str) -> None:
    assert said in unreadable(posted(URL, body))


def test_a_query_that_is_no_text_cannot_be_read() -> None:
    assert "UTF-8" in unreadable(posted(f"{URL}&x=\ud800", CALLBACK))
    with pytest.raises(HookRefusedError):
        TWILIO.verify(posted(f"{URL}&x=\ud800", CALLBACK, {"x-twilio-signature": "\ud800"}))


def test_a_doubled_mark_cannot_be_read() -> None:
    assert "more than once" in unreadable(posted(f"{URL}&m=other", CALLBACK))
    assert reports(CALLBACK, f"{URL}&m={CALL.id}").id == CALL.id


# -- who signs --------------------------------------------------------------------------------------------------------


def signed(token: str, url: str = URL) -> Hook:
    signature = RequestValidator(token).compute_signature(url, CALLBACK)
    return posted(url, CALLBACK, {"x-twilio-signature": signature})


def test_the_account_signs_with_its_token() -> None:
    assert TWILIO.signs
    TWILIO.verify(signed("token"))
    with pytest.raises(HookRefusedError):
        TWILIO.verify(signed("other"))
    with pytest.raises(HookRefusedError):
        TWILIO.verify(replace(signed("token"), body=signed("token").body.replace(b"delivered", b"failed", 1)))
    with pytest.raises(HookRefusedError):
        TWILIO.verify(with_header(signed("token"), "x-twilio-signature", None))


def test_the_secret_of_an_api_key_signs_nothing() -> None:
    assert not KEYED.signs
    with pytest.raises(HookRefusedError):
        KEYED.verify(signed("secret"))
    told = replace(KEYED, webhook_auth_token="new, old")
    assert told.signs
    for token in ("new", "old"):
        told.verify(signed(token))
    with pytest.raises(HookRefusedError):
        told.verify(signed("secret"))
    both = replace(TWILIO, webhook_auth_token="new")
    both.verify(signed("new"))
    both.verify(signed("token"))


@pytest.mark.parametrize("token", ["", "a,", ",a", "a b", "é"])
def test_a_webhook_token_is_judged_at_the_start(token: str) -> None:
    with pytest.raises(SettingsError, match="webhook_auth_token"):
        replace(TWILIO, webhook_auth_token=token)


def test_it_is_no_part_of_what_is_shown_and_of_the_fingerprint() -> None:
    told = replace(KEYED, webhook_auth_token="hush-hush")
    assert "hush" not in repr(told)
    assert told.fingerprint() == KEYED.fingerprint()  # what signs webhooks ends no halt


def test_what_a_code_means() -> None:
    assert TWILIO.receipt_reading("30001") is RECEIPTS["30001"]
    assert TWILIO.receipt_reading("1") is None
