"""What do Twilio's webhooks say?

Status callbacks and inbound messages, as forms (or queries, where an account's webhooks are set to GET). Facts are from
Twilio's pages "Track outbound message status", "Twilio's request to your webhook URL" and "Advanced Opt-Out", and its
OpenAPI document. What matters most: fields are added without notice, so what is not known is passed over; callbacks
come in any order and more than once; the message's id and the attempt come back in the query of the URL, because Twilio
has no field for a reference of ours. RawDlrDoneDate, the carrier's time, is passed over: it is in whole minutes of a
zone that is not documented.

It refuses to know the account and its token; who signs is settled before anything is read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from smsd.core.consent import Word
from smsd.core.receipt import ReceiptReading, Status
from smsd.core.units import MINUTE
from smsd.core.verdict import Category
from smsd.providers.base import Hook, HookAnswer, HookKind, HookUnreadableError, InboundText, Report
from smsd.providers.forms import Form, address_of, mark_of, said_in
from smsd.providers.readings import MAX_CODE, as_id, plain

ANSWER: Final = HookAnswer("text/xml", b"<Response/>")
"""TwiML that says nothing. To a status callback any 2xx will do."""

MAX_SID: Final = 64
"""An sid has 34 characters; what is much longer is none."""

STATUSES: Mapping[str, Status] = MappingProxyType(
    {
        **dict.fromkeys(("accepted", "scheduled", "queued", "sending"), Status.QUEUED),
        **dict.fromkeys(("sent", "partially_delivered"), Status.SENT),
        **dict.fromkeys(("undelivered", "failed", "canceled"), Status.UNDELIVERED),
        **dict.fromkeys(("delivered", "read"), Status.DELIVERED),
    }
)
"""`MessageStatus` of a message that went out, every documented value."""

_CAME_IN = frozenset({"receiving", "received"})
_WORDS = frozenset(word.value for word in Word)


def _final(category: Category, *codes: int) -> dict[str, ReceiptReading]:
    return _each(ReceiptReading(category, "final"), *codes)


def _each(reading: ReceiptReading, *codes: int) -> dict[str, ReceiptReading]:
    return dict.fromkeys(map(str, codes), reading)


RECEIPTS: Mapping[str, ReceiptReading] = MappingProxyType(
    {
        **_each(ReceiptReading(Category.RATE_LIMITED, "resend", (1 * MINUTE, 2 * MINUTE), 3), 30001),
        **_each(ReceiptReading(Category.UNDELIVERED, "resend", (5 * MINUTE,), 2), 30003),
        **_each(ReceiptReading(Category.AUTH_FAILED, "halt"), 30002),
        **_each(ReceiptReading(Category.OPTED_OUT, "suppress"), 21610, 30004),
        # the campaign's rate, its day at a carrier, a recipient that fraud protection blocks for half an hour
        **_final(Category.RATE_LIMITED, 30022, 30023, 30027, 30450),
        # no reason given, carrier congested, trouble inside Twilio, a carrier's timeout
        **_final(Category.UNDELIVERED, 30008, 30017, 30020, 30021, 30410),
        **_final(Category.INVALID_RECIPIENT, 30005, 30006),
        **_final(Category.REJECTED, 30007, 30011, 30019, 30038, 30039),
        # price, registration of sender, number or campaign, toll-free verification
        **_final(Category.CONFIG_ERROR, 30010, 30018, 30024, *range(30032, 30036), 30037),
        **_final(Category.CONFIG_ERROR, *range(30440, 30450)),
        **_final(Category.EXPIRED, 30036),
    }
)
"""What the ErrorCode of a status callback means, where the status says that the message did not arrive.

Only what surely left nothing with a carrier is sent again without being told to: the others may yet be delivered.
30025 and 30026 are not here: they warn that half a daily cap is used, and end no message.
"""


def read(hook: Hook) -> tuple[Report | InboundText, ...]:
    """The one report or text. The status tells which of them it is, so both may come to either URL."""
    said = said_in(hook)
    status = said.get("MessageStatus") or said.get("SmsStatus")
    if status in _CAME_IN or (status is None and hook.kind is HookKind.INBOUND):
        return (_inbound(said),)
    if status is None:
        raise HookUnreadableError("it has neither MessageStatus nor SmsStatus")
    known = STATUSES.get(status)
    if known is None:
        raise HookUnreadableError(f"its MessageStatus is not known: {plain(status)}")
    return (_report(hook, said, known, status),)


def _sid(said: Form) -> str | None:
    return as_id(said.get("MessageSid") or said.get("SmsSid"), MAX_SID)


def _report(hook: Hook, said: Form, status: Status, word: str) -> Report:
    sid, (id, attempt) = _sid(said), mark_of(hook)
    if sid is None and id is None:
        raise HookUnreadableError("it names no message: neither MessageSid nor m in its URL")
    code = as_id(said.get("ErrorCode"), MAX_CODE)
    words = said.get("ErrorMessage")
    return Report(
        status,
        sid,
        id,
        attempt,
        code=None if code == "0" else code,
        words=plain(f"Twilio says of the message: {word}{f' ({words})' if words else ''}"),
    )


def _inbound(said: Form) -> InboundText:
    """OptOutType is there where Advanced Opt-Out is on."""
    kind = (said.get("OptOutType") or "").lower()
    return InboundText(
        sender=address_of(said.get("From"), "who sent it (From)"),
        recipient=address_of(said.get("To"), "to which number it was sent (To)"),
        text=said.get("Body") or "",
        provider_message_id=_sid(said),
        word=Word(kind) if kind in _WORDS else None,
    )
