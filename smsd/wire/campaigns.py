"""How is a campaign asked for, and how does it look?

A campaign is made by one object that says what holds for all of its messages, and by its recipients: a list in that
object, or, where very many come, one a line behind it. A recipient is a number, or an object with any fields of a
message, which go before what holds for all. Names and types only; what a value may be is judged by the handlers, and by
`core.acceptance` of each message that is made here of the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from smsd.core.acceptance import Fault
from smsd.core.campaign import Campaign, Hours
from smsd.core.message import Instant, State
from smsd.core.quiet import clock
from smsd.core.units import rate_text, rfc3339
from smsd.wire.reading import TOO_DEEP, WireError, build, decode_object
from smsd.wire.requests import Request, Submission
from smsd.wire.views import time_text

PRIORITY: Final = "bulk"
"""Of messages of a campaign that say nothing else."""


class CampaignCreate(Request, rename={"from_": "from"}):
    """Make a campaign and hand in its messages; the same again doubles nothing.

    Beside `id`, `name`, `rate`, `send_between`, `recipients` and `dry_run` every field is of a message, and holds for
    all of them that do not say otherwise.
    """

    id: str | None = None
    """Absent: one is chosen."""
    name: str | None = None
    rate: str | None = None
    """So many of its messages at most in any such span ("1000/hour")."""
    send_between: str | dict[str, str] | None = None
    """The hours of the day in which it is sent: {"from": "09:00", "to": "18:00", "zone": "Europe/Berlin"}."""
    recipients: list[object] | None = None
    """Numbers, or objects with fields of a message."""
    dry_run: bool = False
    """Store nothing; say what would become of it."""
    trial: str | None = None
    """A word of the caller's own, where `recipients` come in other requests: a new campaign is on trial, and deleted by
    `campaign_delete` with that word, unless it has a message or others try it under words of theirs. A word that was
    not said for 5 minutes counts as one that left."""
    text: str | None = None
    template: str | None = None
    vars: dict[str, object] | None = None
    lang: str | None = None
    from_: str | None = None
    priority: str | None = None
    send_at: str | None = None
    ttl: str | None = None
    expires_at: str | None = None
    user: str | None = None
    type: str | None = None
    metadata: dict[str, str] | None = None
    tenant: str | None = None
    provider: str | None = None
    callback_url: str | None = None
    max_attempts: int | None = None
    retry: str | None = None
    overflow: str | None = None


class CampaignNamed(Request):
    """One campaign, and what becomes of its messages in numbers."""

    id: str
    tenant: str | None = None
    """Whose; needed where several tenants have one of that id."""


class CampaignPause(CampaignNamed):
    """Send nothing of it any more until it is resumed."""


class CampaignResume(CampaignNamed):
    """Send it on."""


class CampaignCancel(CampaignNamed):
    """Cancel all of its messages that wait, for good."""


class CampaignDelete(CampaignNamed):
    """Take away one that has no message and never had any."""

    trial: str | None = None
    """The word it was made with: it stays while others try it."""


class CampaignStatus(CampaignNamed):
    """How far it is."""


class Campaigns(Request):
    """Campaigns, newest first."""

    tenant: str | None = None
    limit: int | None = None
    cursor: str | None = None


class CampaignFault(msgspec.Struct):
    """Why a recipient was refused. `index`: from 0, in the order they were given."""

    index: int
    code: str
    field: str | None
    message: str


class CampaignMade(msgspec.Struct):
    """What became of the recipients that were handed in: accepted, accepted before (`replayed`), accepted and failed at
    once because they opted out (`failed`), refused (`errors`: the first 100). `created`: the campaign was not there
    before; `total`: all messages of it; `on_trial`: given when `trial` was, whether it is
    (it has no message yet, and whoever made it said a word, too)."""

    id: str
    tenant: str
    created: bool
    status: str
    accepted: int
    replayed: int
    failed: int
    refused: int
    errors: list[CampaignFault]
    total: int
    on_trial: bool | msgspec.UnsetType = msgspec.UNSET


class CampaignDeleted(msgspec.Struct):
    """One that is there no more."""

    id: str
    tenant: str
    deleted: bool = True


class HoursView(msgspec.Struct, rename={"from_": "from"}):
    """Hours of the day in which it is sent."""

    from_: str
    to: str
    zone: str


class CampaignView(msgspec.Struct):
    """A campaign. `queued` is pending and processing, `sent` also delivered, `failed` also undelivered, expired and
    cancelled, `processed` the sum of the two; `progress` is their part of all, 0 to 1. `eta`: when the last that waits
    will go; null: none waits, nobody knows, or it is one of a list."""

    id: str
    tenant: str
    name: str
    status: str
    total: int
    queued: int
    sent: int
    failed: int
    processed: int
    states: dict[str, int]
    rate: str | None
    send_between: HoursView | None
    created_at: str
    changed_at: str
    paused_at: str | None
    cancelled_at: str | None
    progress: float
    eta: str | None


class CampaignList(msgspec.Struct):
    """A page of campaigns."""

    items: list[CampaignView]
    next_cursor: str | None


class Progress(msgspec.Struct):
    """A campaign's numbers in the fixed shape."""

    id: str
    status: str
    total: int
    sent: int
    failed: int
    processed: int


class Totals(msgspec.Struct):
    """The same by what became of the messages."""

    queued: int
    sent: int
    processed: int
    failed: int


class CampaignStatusView(msgspec.Struct):
    """A fixed shape for programs that know it: /api/campaigns/ID/status."""

    campaign: Progress
    metrics: Totals


def campaign_view(campaign: Campaign, eta: Instant | None = None) -> CampaignView:
    """As every door shows it."""
    counts, terms = campaign.counts, campaign.terms
    return CampaignView(
        id=campaign.id,
        tenant=campaign.tenant,
        name=terms.name,
        status=campaign.status.value,
        total=counts.total,
        queued=counts.queued,
        sent=counts.sent,
        failed=counts.failed,
        processed=counts.processed,
        states={state.label: counts.states.get(state, 0) for state in State},
        rate=None if terms.rate is None else rate_text(*terms.rate),
        send_between=None if terms.hours is None else _hours(terms.hours),
        created_at=rfc3339(campaign.created_at),
        changed_at=rfc3339(campaign.changed_at),
        paused_at=time_text(campaign.paused_at),
        cancelled_at=time_text(campaign.cancelled_at),
        progress=round(counts.processed / counts.total, 4) if counts.total else 0.0,
        eta=time_text(eta),
    )


def _hours(hours: Hours) -> HoursView:
    return HoursView(clock(hours.start_min), clock(hours.end_min), hours.zone)


def campaign_status(campaign: Campaign) -> CampaignStatusView:
    """In the fixed shape."""
    counts = campaign.counts
    return CampaignStatusView(
        Progress(campaign.id, campaign.status.value, counts.total, counts.sent, counts.failed, counts.processed),
        Totals(counts.queued, counts.sent, counts.processed, counts.failed),
    )


# -- messages of a campaign -------------------------------------------------------------------------------------------

_OF_ALL: Final = frozenset({"id", "name", "rate", "send_between", "recipients", "dry_run", "trial"})
_COMMON: Final = ("tenant", "campaign")
"""Fields of a message in which those of a campaign cannot differ."""

_any_decoder = msgspec.json.Decoder()


def campaign_recipient(piece: bytes) -> object:
    """The recipient on a line. Raises WireError."""
    if piece.lstrip()[:1] != b'"':
        return decode_object(piece)
    try:
        return _any_decoder.decode(piece)
    except UnicodeDecodeError:
        raise WireError([Fault("", "malformed", "not UTF-8: send UTF-8")]) from None
    except RecursionError:
        raise WireError([TOO_DEEP]) from None
    except msgspec.MsgspecError as error:
        raise WireError([Fault("", "malformed", f"not JSON ({error}): send a number or an object")]) from None


def campaign_defaults(request: CampaignCreate, id: str) -> dict[str, Any]:
    """What holds for all messages of the campaign `id`, by the fields' names on the wire."""
    found = {
        field.encode_name: value
        for field in msgspec.structs.fields(request)
        if field.encode_name not in _OF_ALL and (value := getattr(request, field.name)) is not None
    }
    return {"priority": PRIORITY, **found, "campaign": id}


def campaign_member(common: Mapping[str, Any], own: object, index: int) -> Submission:
    """The submission for one recipient. Raises WireError.

    What is said of one goes before what is said of all: a text in the place of a template and the other way round, an
    end of life in the place of a span; single vars and metadata are joined. Its key makes that the same handed in again
    is not sent again.
    """
    if isinstance(own, str):
        own = {"to": own}
    elif not isinstance(own, dict):
        raise WireError([Fault("", "invalid_value", "a recipient is a number (a string) or an object")])
    wrong = [
        Fault(name, "invalid_value", f"`{name}` is that of the whole campaign: remove it")
        for name in _COMMON
        if name in own
    ]
    merged = _merged(common, own)
    if merged.get("idempotency_key") is None:
        merged["idempotency_key"] = f"campaign:{common['campaign']}:{index}"
    if not wrong:
        try:
            return msgspec.convert(merged, Submission)
        except msgspec.ValidationError:
            pass  # said in our words, and of all fields, below
    return build(Submission, merged, wrong)


def _merged(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    left = dict(common)
    said = {name for name, value in own.items() if value is not None}
    if "text" in said:
        for name in ("template", "vars", "lang"):
            left.pop(name, None)
    if "template" in said:
        left.pop("text", None)
    if "ttl" in said:
        left.pop("expires_at", None)
    if "expires_at" in said:
        left.pop("ttl", None)
    merged = {**left, **{name: value for name, value in own.items() if value is not None or name not in left}}
    for name in ("vars", "metadata"):
        both = left.get(name), own.get(name)
        if all(isinstance(each, dict) for each in both):
            merged[name] = {**left[name], **own[name]}
    return merged
