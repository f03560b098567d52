"""What do Dialpad's SMS events say?

An event is a JSON object; over HTTP it comes as a token whose claims it is. One subscription of the company brings both
directions and every change of a message's status, so what it brings is told by `direction` and never by the URL. It
takes no reference of ours: a report names only Dialpad's id. Facts are from Dialpad's pages "SMS events" and "Event
subscriptions" (https://developers.dialpad.com/docs) and its API description (dialpad_api_spec.json).

What matters most: `to_number` is a list; ids are numbers of 64 bits, and texts in some answers; "success" says that the
carrier has it, not that it arrived; the text is there only for keys with the scope message_content_export, and a text
without words is kept all the same, for that somebody answered is news. Events about calls, and texts that people send
from the app, come by the same subscription: the first have no numbers and are refused as unreadable, the second are
reports that nobody waits for. It refuses to know keys; who signed is settled before anything is read here.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from smsd.core.message import Instant
from smsd.core.receipt import ReceiptReading, Status
from smsd.core.verdict import Category
from smsd.providers.base import Hook, HookAnswer, HookUnreadableError, InboundText, Report
from smsd.providers.forms import address_of, instant_of
from smsd.providers.readings import MAX_CODE, as_id, json_object, plain, text_of
from smsd.providers.tokens import dialpad_token

ANSWER: Final = HookAnswer()

MAX_ID: Final = 64
"""An id is a number of 64 bits; what is much longer than its digits is none."""

STATUSES: Mapping[str, Status] = MappingProxyType(
    {
        "pending": Status.QUEUED,
        "sending": Status.QUEUED,
        "success": Status.SENT,
        "sent": Status.SENT,
        "failed": Status.UNDELIVERED,
        "undelivered": Status.UNDELIVERED,
        "delivered": Status.DELIVERED,
    }
)
"""`message_status`. pending, success and failed are documented; the others have been seen."""

RECEIPTS: Mapping[str, ReceiptReading] = MappingProxyType(
    {
        "internal_error": ReceiptReading(Category.UNDELIVERED, "final"),
        "time_out": ReceiptReading(Category.UNDELIVERED, "final"),
        "invalid_destination": ReceiptReading(Category.INVALID_RECIPIENT, "final"),
        "no_route": ReceiptReading(Category.INVALID_RECIPIENT, "final"),
        "not_supported": ReceiptReading(Category.INVALID_RECIPIENT, "final"),
        "invalid_source": ReceiptReading(Category.CONFIG_ERROR, "final"),
        "rejected": ReceiptReading(Category.REJECTED, "final"),
        "rejected_spam": ReceiptReading(Category.REJECTED, "final"),
        "failed": ReceiptReading(Category.UNDELIVERED, "final"),
    }
)
"""What `message_delivery_result` means in an event about a message that Dialpad had taken; "failed" is a
`message_status` without a result."""


def read(hook: Hook) -> tuple[Report | InboundText, ...]:
    """The one report or text."""
    event = _event(hook.body)
    direction = text_of(event, "direction")
    if direction == "inbound":
        return (_inbound(event),)
    if direction == "outbound":
        return (_report(event),)
    raise HookUnreadableError("its direction is neither inbound nor outbound")


def _event(body: bytes) -> Mapping[str, object]:
    """The claims of the token. Who signed it is settled before."""
    parts = dialpad_token(body).split(b".")
    try:
        claims = base64.urlsafe_b64decode(parts[1] + b"==") if len(parts) == 3 else b""
    except binascii.Error:
        claims = b""
    event = json_object(claims)
    if event is None:
        raise HookUnreadableError("it is no token with a JSON object in it")
    return event


def _id(event: Mapping[str, object]) -> str:
    id = as_id(text_of(event, "id"), MAX_ID)
    if id is None:
        raise HookUnreadableError("it names no message (id)")
    return id


def _report(event: Mapping[str, object]) -> Report:
    """A result that says how it failed counts more than the status beside it, as in the answer to a send."""
    word, result = text_of(event, "message_status"), text_of(event, "message_delivery_result")
    status = Status.QUEUED if word is None else STATUSES.get(word)
    if status is None:
        raise HookUnreadableError(f"its message_status is not known: {plain(word or '')}")
    if status is not Status.DELIVERED and result in RECEIPTS:
        status = Status.UNDELIVERED
    code = None
    if status is Status.UNDELIVERED:
        code = as_id(result if result != "accepted" else None, MAX_CODE) or "failed"
    said = ", ".join(filter(None, (word, result)))
    words = plain(f"Dialpad says of the message: {said}") if said else ""
    return Report(status, _id(event), code=code, words=words, at=_time(event, "event_timestamp"))


def _inbound(event: Mapping[str, object]) -> InboundText:
    """Sent to several numbers at once, it is for the one that the event is about (`target`)."""
    listed = event.get("to_number")
    numbers = [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []
    target = event.get("target")
    ours = text_of(target, "phone_number") if isinstance(target, dict) else None
    one = ours if ours in numbers else next(iter(numbers), None) or text_of(event, "to_number") or ours
    return InboundText(
        sender=address_of(text_of(event, "from_number"), "who sent it (from_number)"),
        recipient=address_of(one, "to which number it was sent (to_number)"),
        text=text_of(event, "text") or text_of(event, "text_content") or "",
        provider_message_id=_id(event),
        at=_time(event, "created_date"),
    )


def _time(event: Mapping[str, object], name: str) -> Instant | None:
    return instant_of(text_of(event, name))
