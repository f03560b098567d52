"""How do receipts reach the engine of a story? As signed requests, by its webhooks, as a provider sends them."""

from __future__ import annotations

from smsd.core.events import Event, Kind
from smsd.core.verdict import Category
from smsd.providers.base import HookKind
from smsd.providers.dialpad import Dialpad
from tests.doubles.reporting import Posted, by_dialpad, by_twilio
from tests.engine.rig import Rig

PUBLIC = "https://sms.example.com"
TOKEN = "secret"
"""What tests.engine.rig.twilio signs with."""
KEY = "dialpad-signs-with-this-key-here"

LOST_SID = "SM" + "f" * 32
"""Of a send that the carrier's script answers otherwise."""


def dialpad(name: str = "main") -> Dialpad:
    """Its reports name only its own id."""
    return Dialpad(name, api_key="key", base_url=f"https://{name}.example.com", webhook_secret=KEY)


async def post(rig: Rig, posted: Posted, name: str = "main") -> int:
    """A request to the status webhook; the status of the answer."""
    hooks = rig.engine.service.hooks
    assert hooks is not None
    taken = await hooks.take(name, HookKind.STATUS, None, "POST", posted.target, posted.headers, posted.body)
    return taken.status


async def twilio_says(rig: Rig, n: int, word: str, code: int | None = None) -> None:
    """A receipt about the carrier's n-th send, at the address that this send named."""
    form = rig.carrier.sends[n][1]
    url = form["StatusCallback"]
    sid = next((taken["sid"] for taken in rig.carrier.taken if taken["StatusCallback"] == url), LOST_SID)
    posted = twilio_report(url, sid, word, code)
    assert await post(rig, posted, rig.carrier.names[n]) == 200


def twilio_report(url: str, sid: str, word: str, code: int | None) -> Posted:
    """A status callback of Twilio."""
    fields = {"MessageSid": sid, "SmsSid": sid, "MessageStatus": word, "AccountSid": "AC0", "ApiVersion": "2010-04-01"}
    if code is not None:
        fields["ErrorCode"] = str(code)
    return by_twilio(url, TOKEN, **fields)


def dialpad_report(id: str, word: str, result: str | None, wall: int, name: str = "main") -> Posted:
    """An SMS event of Dialpad about a message that was sent."""
    claims = {
        "id": int(id),
        "direction": "outbound",
        "message_status": word,
        "message_delivery_result": result,
        "event_timestamp": wall,
        "created_date": wall,
        "from_number": "+15005550006",
        "to_number": ["+14155550123"],
        "text": "",
    }
    return by_dialpad(f"{PUBLIC}/webhooks/{name}/status", KEY, **claims)


def of(rig: Rig, kind: Kind) -> list[Event]:
    """What was told under this name."""
    return [event for event in rig.events if event.kind is kind]


async def error(rig: Rig, id: str) -> tuple[str, Category | None, str | None]:
    """State, category and code."""
    message = await rig.message(id)
    found = message.error
    return (message.state.label, None, None) if found is None else (message.state.label, found.category, found.code)
