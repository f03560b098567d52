"""What do MessageBird's webhooks say?

Status reports (a GET whose query is the report; an account may set POST) and inbound texts. Facts are from its API
description and SDK, and from what others were sent (nyaruka/courier, handlers and tests of messagebird). What matters
most: a report names our reference, which is the message's id, and the URL's m and a name it and the attempt; texts to a
virtual number and to a short code have different names for the same things, and a post may repeat a name, of which the
last one is the text's own.

It refuses to know keys; who signs is settled before anything is read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from smsd.core.receipt import ReceiptReading, Status
from smsd.core.verdict import Category
from smsd.providers.base import Hook, HookAnswer, HookKind, HookUnreadableError, InboundText, Report
from smsd.providers.forms import MAX_MARK, Form, address_of, instant_of, mark_of, said_in
from smsd.providers.readings import MAX_CODE, as_id, as_price, plain

ANSWER: Final = HookAnswer("text/plain", b"OK")
"""What MessageBird expects; else it repeats the request."""

MAX_ID: Final = 64
"""An id has 32 characters; what is much longer is none."""

STATUSES: Mapping[str, Status] = MappingProxyType(
    {
        "scheduled": Status.QUEUED,
        "sent": Status.SENT,
        "buffered": Status.SENT,
        "expired": Status.UNDELIVERED,
        "delivery_failed": Status.UNDELIVERED,
        "delivered": Status.DELIVERED,
    }
)
"""`status` of a report, every documented value."""

RECEIPTS: Mapping[str, ReceiptReading] = MappingProxyType(
    {
        **dict.fromkeys(("1", "2", "3", "5", "9", "11", "13"), ReceiptReading(Category.INVALID_RECIPIENT, "final")),
        **dict.fromkeys(("27", "31", "32", "33", "34", "35", "36"), ReceiptReading(Category.UNDELIVERED, "final")),
        "103": ReceiptReading(Category.OPTED_OUT, "suppress"),
        "104": ReceiptReading(Category.CONFIG_ERROR, "final"),
        **dict.fromkeys(("105", "106", "110"), ReceiptReading(Category.REJECTED, "final")),
        "expired": ReceiptReading(Category.EXPIRED, "final"),
    }
)
"""`statusErrorCode` of a report; "expired" is a `status` without one.

A handset that was away is not sent to again: MessageBird tried until `validity`.
"""


def read(hook: Hook) -> tuple[Report | InboundText, ...]:
    """The one report or text, by the URL it came to."""
    said = said_in(hook)
    return (_report(hook, said) if hook.kind is HookKind.STATUS else _inbound(said),)


def _report(hook: Hook, said: Form) -> Report:
    word = said.get("status")
    if word is None:
        raise HookUnreadableError("it has no status")
    status = STATUSES.get(word)
    if status is None:
        raise HookUnreadableError(f"its status is not known: {plain(word)}")
    provider_message_id = as_id(said.get("id"), MAX_ID)
    marked, attempt = mark_of(hook)
    id = marked or as_id(said.get("reference"), MAX_MARK)
    if id is None and provider_message_id is None:
        raise HookUnreadableError("it names no message: neither id nor reference")
    code = as_id(said.get("statusErrorCode"), MAX_CODE) or "0"
    reason = said.get("statusReason")
    return Report(
        status,
        provider_message_id,
        id,
        attempt,
        code=("expired" if word == "expired" else None) if code == "0" else code,
        words=plain(f"MessageBird says of the message: {word}{f' ({reason})' if reason else ''}"),
        at=instant_of(said.get("statusDatetime")),
        price=as_price(said.get("price[amount]"), said.get("price[currency]")),
    )


def _inbound(said: Form) -> InboundText:
    texts = ("message", "body") if said.last("shortcode") else ("body", "message")
    return InboundText(
        sender=address_of(said.first_of("originator", "sender"), "who sent it (originator)"),
        recipient=address_of(said.first_of("shortcode", "recipient", "receiver"), "to which number it was sent"),
        text=said.first_of(*texts) or "",
        provider_message_id=as_id(said.first_of("mid", "message_id", "id"), MAX_ID),
        at=instant_of(said.first_of("createdDatetime", "receive_datetime", "date_utc")),
    )
