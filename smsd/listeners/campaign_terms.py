"""What is said of a campaign, and of all its messages, before any of them is handed in?

Its id, tenant, name, rate and hours are read here, and what holds for all its messages is judged once, whoever gets
them: all that is wrong is told together, also when something else of the request could not be read at all. What depends
on the configuration is left to each message. Where that has a fault, the first of the recipients that stand in the same
object are judged, too, so that one answer tells of what else is to be mended. It refuses to know what is done with a
campaign.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from smsd import wire
from smsd.core import units
from smsd.core.acceptance import MAX_CAMPAIGN, Fault, tenant_of
from smsd.core.campaign import Hours, Terms
from smsd.core.limits import LEDGER_MS, MAX_COUNT
from smsd.core.quiet import zones_of
from smsd.engine.service import Service
from smsd.listeners.callers import Caller, ProblemError
from smsd.listeners.handing import ERRORS, SLICE, judged

MAX_NAME: Final = 128
MAX_TRIAL: Final = 64

LOOKED_AT: Final = 1_000
"""Recipients that are judged beside a campaign that has a fault: some 50 milliseconds of work, and nobody needs more of
a request that is refused anyway."""

SOMEBODY: Final = "+14155550123"
"""A number that could be texted."""

OF_ALL: Final = frozenset(
    {
        *("text", "priority", "send_at", "ttl", "expires_at", "user", "type", "metadata", "max_attempts"),
        *("overflow", "callback_url"),
    }
)
"""Fields that are right or wrong whoever gets the message."""

_CLOCK: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_ZONE: Final = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,3}")
_HOURS: Final = re.compile(r"([0-9:]+)\s*-\s*([0-9:]+)")


def trial_fault(trial: str | None) -> Fault | None:
    """What is wrong with such a word."""
    if trial is None or 0 < len(trial) <= MAX_TRIAL:
        return None
    return Fault("trial", "invalid_value", f"`trial` must be 1 to {MAX_TRIAL} characters")


def terms_of(service: Service, caller: Caller, request: wire.CampaignCreate) -> tuple[str, str, Terms]:
    """Its id (a new one where none is given), its tenant, and what is said about it. Raises ProblemError with all that
    is wrong."""
    faults: list[Fault] = []
    id = service.intake.new_id() if request.id is None else request.id
    if not (0 < len(id) <= MAX_CAMPAIGN and id.isprintable()):
        faults.append(Fault("id", "invalid_value", f"`id` must be 1 to {MAX_CAMPAIGN} printable characters"))
    tenant = tenant_of(wire.Submission(tenant=request.tenant), caller.origin)
    if isinstance(tenant, Fault):
        faults.append(tenant)
    name = request.name or ""
    if len(name) > MAX_NAME or not name.isprintable():
        faults.append(Fault("name", "invalid_value", f"`name` must be at most {MAX_NAME} printable characters"))
    if (fault := trial_fault(request.trial)) is not None:
        faults.append(fault)
    rate = _rate(request.rate, faults)
    hours = _hours(request.send_between, service.office.campaigns.zone, faults)
    if faults or isinstance(tenant, Fault):
        raise ProblemError(*faults)
    return id, tenant, Terms(name, rate, hours)


def as_repeated(request: wire.CampaignCreate, terms: Terms, kept: Terms) -> Terms:
    """What the request says about a campaign that has the terms `kept`. Hours without a zone mean the one it has: the
    zone that stood for it may have been another when it was made."""
    said = request.send_between
    if terms.hours is None or kept.hours is None or (isinstance(said, dict) and "zone" in said):
        return terms
    return replace(terms, hours=replace(terms.hours, zone=kept.hours.zone))


def faults_of(service: Service, caller: Caller, request: wire.CampaignCreate) -> tuple[Fault, ...]:
    """All that is wrong with what is said of the campaign and of all its messages."""
    found: tuple[Fault, ...] = ()
    try:
        terms_of(service, caller, request)
    except ProblemError as error:
        found = error.faults
    return (*found, *_faults_of(service, caller, wire.campaign_defaults(request, request.id or "")))


async def all_faults_of(
    service: Service, caller: Caller, request: wire.CampaignCreate, unread: Collection[str] = ()
) -> tuple[Fault, ...]:
    """The same, and where there is some, behind it what is wrong with the first of the recipients of a list, as
    `recipients[N]`: LOOKED_AT are judged, in slices between which others have their turn, and the first hundred of them
    that have a fault are told. `unread`: fields that could not be read."""
    found = faults_of(service, caller, request)
    wrong = {*unread, *(fault.field for fault in found)}
    recipients, each = (request.recipients or [])[:LOOKED_AT] if wrong else [], list[Fault]()
    for start in range(0, len(recipients), SLICE):
        each += _faults_of_some(service, caller, request, recipients[start : start + SLICE], start, wrong)
        if len(each) >= ERRORS:
            break
        await asyncio.sleep(0)
    return (*found, *each[:ERRORS])


def first_faults_of(
    service: Service, caller: Caller, request: wire.CampaignCreate, unread: Collection[str]
) -> tuple[Fault, ...]:
    """The same at once, and of the first recipients only: two or three milliseconds of work."""
    found = faults_of(service, caller, request)
    wrong = {*unread, *(fault.field for fault in found)}
    return (*found, *_faults_of_some(service, caller, request, (request.recipients or [])[:SLICE], 0, wrong))


def _faults_of_some(
    service: Service,
    caller: Caller,
    request: wire.CampaignCreate,
    recipients: Sequence[object],
    start: int,
    wrong: Collection[str],
) -> list[Fault]:
    """The first fault of each that has one of its own: what is `wrong` for all is told once, of the campaign."""
    common = wire.campaign_defaults(request, "judged" if "id" in wrong else request.id or "judged")
    if "tenant" in wrong:
        common.pop("tenant", None)
    roots = {_root(name) for name in wrong}
    found: list[Fault] = []
    for index, own in enumerate(recipients, start):
        given = own.keys() if isinstance(own, dict) else ()
        for fault in judged(own, common, index, service.intake, caller.origin):
            if (root := _root(fault.field)) in given or root not in roots:
                found.append(Fault(f"recipients[{index}]", fault.code, fault.message))
                break
    return found


def _root(field: str) -> str:
    """`metadata` of `metadata.kind`."""
    return field.partition(".")[0].partition("[")[0]


def _faults_of(service: Service, caller: Caller, common: Mapping[str, Any]) -> tuple[Fault, ...]:
    """What is wrong with what holds for all, whoever gets it: told once, before anything is stored. What depends on
    the configuration is left to each message, of which there may be a first answer."""
    try:
        found = service.intake.examine(wire.campaign_member(common, SOMEBODY, 0), caller.origin)
    except wire.WireError as error:
        return error.faults
    return tuple(each for each in found if each.field in common and each.field in OF_ALL and not each.circumstantial)


def _rate(text: str | None, faults: list[Fault]) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        count, span_ms = units.rate(text)
        if count > MAX_COUNT:
            raise ValueError(f"counts {MAX_COUNT} at most; write fewer over a shorter time")
        if span_ms > LEDGER_MS:
            raise ValueError(f"a span is at most {units.duration_text(LEDGER_MS)}")
    except ValueError as error:
        faults.append(Fault("rate", "invalid_value", f"`rate`: {error}"))
        return None
    return count, span_ms


def _hours(said: str | dict[str, str] | None, zone: str, faults: list[Fault]) -> Hours | None:
    if said is None:
        return None
    if isinstance(said, str):
        parts = _HOURS.fullmatch(said.strip())
        said = {} if parts is None else {"from": parts[1], "to": parts[2]}
    zone = said.get("zone", zone)
    start, end = (_minute(said.get(name, "")) for name in ("from", "to"))
    wrong = ""
    if said.keys() - {"from", "to", "zone"} or start is None or end is None:
        wrong = 'must be hours such as {"from": "09:00", "to": "18:00", "zone": "Europe/Berlin"} or "09:00-18:00"'
    elif start == end:
        wrong = "begins when it ends; leave it out for the whole day"
    elif not _is_zone(zone):
        wrong = 'names a `zone` that is not known here; write an IANA name such as "Europe/Berlin"'
    if wrong or start is None or end is None:
        faults.append(Fault("send_between", "invalid_value", f"`send_between` {wrong}"))
        return None
    return Hours(start, end, zone)


def _is_zone(name: str) -> bool:
    """Whether this machine knows it. What is no name of a zone may be one of a file or a directory."""
    try:
        return _ZONE.fullmatch(name) is not None and bool(zones_of((name,)))
    except (OSError, ValueError):
        return False


def _minute(text: str) -> int | None:
    found = _CLOCK.fullmatch(text)
    return None if found is None else int(found[1]) * 60 + int(found[2])
