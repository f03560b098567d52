"""How does the stand-in speak with each kind of provider adapter?

A dialect reads a send into what all have in common and writes the right answer, an error and a list as the provider
does. It is written from the providers' pages, not from smsd's adapters: else both could share a mistake. It keeps
nothing and opens no socket.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Protocol
from urllib.parse import unquote_to_bytes

import msgspec

from tests.doubles.stand_in_rules import Sent

ACCOUNT = "AC" + "0" * 32
TOKEN = "stand-in-token"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a send says, whatever its dialect."""

    to: str
    sender: str
    body: str
    callback: str = ""
    reference: str = ""


class Dialect(Protocol):
    """One provider's way of speaking."""

    created: int
    """The status of an acceptance."""
    throttled: int
    """The code of "too fast"."""

    def is_send(self, path: bytes) -> bool:
        """Whether a POST to this path is a send."""
        ...

    def is_list(self, path: bytes) -> bool:
        """Whether a GET of this path is a look-up."""
        ...

    def read(self, body: bytes) -> Asked:
        """The send that this body is."""
        ...

    def id(self, n: int) -> str:
        """The id of the n-th send."""
        ...

    def resource(self, sent: Sent) -> bytes:
        """The body of its acceptance."""
        ...

    def error(self, code: int, message: str, status: int) -> bytes:
        """The body of a refusal."""
        ...

    def recipient(self, query: Mapping[str, str]) -> str:
        """Whose messages a look-up asks for (E.164)."""
        ...

    def page(self, query: Mapping[str, str], known: Sequence[Sent]) -> bytes:
        """The list's answer; `known`: what was sent to the recipient, newest first."""
        ...


class _Listless:
    """What lists nothing."""

    def is_list(self, path: bytes) -> bool:
        return False

    def recipient(self, query: Mapping[str, str]) -> str:
        raise LookupError("it lists nothing")

    def page(self, query: Mapping[str, str], known: Sequence[Sent]) -> bytes:
        raise LookupError("it lists nothing")


class Twilio:
    """POST and GET /2010-04-01/Accounts/{sid}/Messages.json, form in and JSON out."""

    created = 201
    throttled = 20429

    def is_send(self, path: bytes) -> bool:
        return path.startswith(b"/2010-04-01/Accounts/") and path.endswith(b"/Messages.json")

    is_list = is_send

    def read(self, body: bytes) -> Asked:
        pairs = (pair.partition(b"=") for pair in body.split(b"&"))
        form = {name: unquote_to_bytes(value.replace(b"+", b" ")) for name, _, value in pairs}
        return Asked(
            form.get(b"To", b"").decode(),
            (form.get(b"From") or form.get(b"MessagingServiceSid", b"")).decode(),
            form.get(b"Body", b"").decode(),
            form.get(b"StatusCallback", b"").decode(),
        )

    def id(self, n: int) -> str:
        return f"SM{n:032x}"

    def resource(self, sent: Sent) -> bytes:
        """Twilio's message resource."""
        global _date  # noqa: PLW0603 -- one date a second is formatted, not one a message
        if _date[0] != sent.created:
            _date = (sent.created, formatdate(sent.created).replace("-0000", "+0000").encode())
        date, sid = _date[1], (sent.sid or "SM" + "0" * 32).encode()
        text, sender, to = msgspec.json.encode(sent.body), sent.sender.encode(), sent.to.encode()
        return _RESOURCE % (_AC, text, date, date, sender, sid, _AC, sid, to, _AC, sid)

    def error(self, code: int, message: str, status: int) -> bytes:
        more = f"https://www.twilio.com/docs/errors/{code}"
        return json.dumps({"code": code, "message": message, "more_info": more, "status": status}).encode()

    def recipient(self, query: Mapping[str, str]) -> str:
        return query.get("To", "")

    def page(self, query: Mapping[str, str], known: Sequence[Sent]) -> bytes:
        """Newest first, `PageSize` of them, with Twilio's envelope."""
        size = int(query.get("PageSize", "50"))
        sender = query.get("From")
        items = [sent for sent in known if sender is None or sender == sent.sender]
        body = {
            "messages": [json.loads(self.resource(sent)) for sent in items[:size]],
            "page": 0,
            "page_size": size,
            "next_page_uri": "/2010-04-01/next" if len(items) > size else None,
        }
        return json.dumps(body).encode()


class Dialpad(_Listless):
    """POST /api/v2/sms, JSON. It lists nothing."""

    created = 200
    throttled = 429

    def is_send(self, path: bytes) -> bool:
        return path == b"/api/v2/sms"

    def read(self, body: bytes) -> Asked:
        fields = json.loads(body)
        return Asked(fields["to_numbers"][0], str(fields.get("from_number") or fields.get("user_id")), fields["text"])

    def id(self, n: int) -> str:
        return str(5_000_000_000_000_000 + n)

    def resource(self, sent: Sent) -> bytes:
        fields = {
            "id": sent.sid,
            "direction": "outbound",
            "message_status": "pending",
            "from_number": sent.sender,
            "to_numbers": [sent.to],
            "created_date": str(sent.created * 1_000),
            "text": sent.body,
        }
        return json.dumps(fields).encode()

    def error(self, code: int, message: str, status: int) -> bytes:
        error = {"code": status, "message": message, "errors": [{"domain": "global", "message": message}]}
        return json.dumps({"error": error}).encode()


class MessageBird:
    """POST and GET /messages, JSON; numbers without a plus sign."""

    created = 201
    throttled = 429

    def is_send(self, path: bytes) -> bool:
        return path == b"/messages"

    is_list = is_send

    def read(self, body: bytes) -> Asked:
        fields = json.loads(body)
        return Asked(
            f"+{fields['recipients']}",
            fields["originator"],
            fields["body"],
            fields.get("reportUrl", ""),
            fields["reference"],
        )

    def id(self, n: int) -> str:
        return f"{n:032x}"

    def _fields(self, sent: Sent) -> dict[str, object]:
        item = {"recipient": int(sent.to[1:]), "status": "sent", "messagePartCount": 1}
        return {
            "id": sent.sid,
            "direction": "mt",
            "originator": sent.sender,
            "body": sent.body,
            "reference": sent.reference,
            "createdDatetime": datetime.fromtimestamp(sent.created, UTC).isoformat(),
            "recipients": {"totalCount": 1, "totalSentCount": 1, "items": [item]},
        }

    def resource(self, sent: Sent) -> bytes:
        return json.dumps(self._fields(sent)).encode()

    def error(self, code: int, message: str, status: int) -> bytes:
        return json.dumps({"errors": [{"code": code, "description": message, "parameter": None}]}).encode()

    def recipient(self, query: Mapping[str, str]) -> str:
        return f"+{query['recipient']}"

    def page(self, query: Mapping[str, str], known: Sequence[Sent]) -> bytes:
        since, until = (datetime.fromisoformat(query[name]).timestamp() for name in ("from", "until"))
        size = int(query.get("limit", "20"))
        near = [sent for sent in known if since <= sent.created <= until]
        items = [self._fields(sent) for sent in near[:size]]
        body = {"offset": 0, "limit": size, "count": len(items), "totalCount": len(near), "items": items}
        return json.dumps(body).encode()


class Plain(_Listless):
    """POST /plain/send, JSON: an API of nobody's, for providers that are described in the configuration."""

    created = 200
    throttled = 429

    def is_send(self, path: bytes) -> bool:
        return path == b"/plain/send"

    def read(self, body: bytes) -> Asked:
        fields = json.loads(body)
        return Asked(fields["to"], fields["from"], fields["text"], reference=fields.get("ref", ""))

    def id(self, n: int) -> str:
        return f"p-{n}"

    def resource(self, sent: Sent) -> bytes:
        return json.dumps({"result": "accepted", "message": {"id": sent.sid}, "detail": "on its way"}).encode()

    def error(self, code: int, message: str, status: int) -> bytes:
        return json.dumps({"result": "refused", "error": {"code": code, "text": message}}).encode()


_RESOURCE = (
    b'{"account_sid":"%s","api_version":"2010-04-01","body":%s,"date_created":"%s","date_sent":null,"date_updated":"%s",'
    b'"direction":"outbound-api","error_code":null,"error_message":null,"from":"%s","messaging_service_sid":null,'
    b'"num_media":"0","num_segments":"1","price":null,"price_unit":"USD","sid":"%s","status":"queued",'
    b'"subresource_uris":{"media":"/2010-04-01/Accounts/%s/Messages/%s/Media.json"},"to":"%s",'
    b'"uri":"/2010-04-01/Accounts/%s/Messages/%s.json"}'
)
_AC = ACCOUNT.encode()
_date: tuple[int, bytes] = (0, b"")

TWILIO = Twilio()
DIALECTS: tuple[Dialect, ...] = (TWILIO, Dialpad(), MessageBird(), Plain())
