"""What can be done with a campaign, and how do its messages come in?

The operations on campaigns: (service, caller, request) -> answer. Recipients are handed to the intake in their order, a
bounded number at once, each with a key made of the campaign's id and its place: whatever breaks off in the middle, the
same request again goes on where it ended and doubles nothing. What is wrong with one recipient is told of that one;
what would be wrong with all that follow (no room, a daemon that stops, a campaign that was cancelled) ends it. How
recipients arrive is the door's affair; a plan (`dry_run`) is handed the same submissions in the place of the intake.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

from smsd import wire
from smsd.core import units
from smsd.core.acceptance import MAX_CAMPAIGN, Fault, Origin, tenant_of
from smsd.core.campaign import Campaign, Hours, Move, Terms
from smsd.core.limits import LEDGER_MS, MAX_COUNT
from smsd.core.quiet import zones_of
from smsd.engine.planning import GoneError, TooManyError
from smsd.engine.service import Service
from smsd.listeners import showing
from smsd.listeners.callers import Caller, ProblemError
from smsd.listeners.handing import BrokenOffError, Handing, Recipients, behind, first_taken, hand_in
from smsd.listeners.plan_views import plan_view

MAX_NAME: Final = 128

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


# -- looking ----------------------------------------------------------------------------------------------------------


async def campaign(service: Service, caller: Caller, request: wire.CampaignNamed) -> wire.CampaignView:
    """One campaign, and what became of its messages in numbers."""
    return await _shown(service, await _one(service, caller, request))


async def campaigns(service: Service, caller: Caller, request: wire.Campaigns) -> wire.CampaignList:
    """Campaigns, newest first."""
    cursors = wire.Cursors(service.cursor_key)
    found, following = await service.office.campaigns.page(
        caller.bound(request.tenant), showing.cursor(request.cursor, cursors), showing.limit(request.limit)
    )
    items = [wire.campaign_view(each) for each in found]
    return wire.CampaignList(items, None if following is None else cursors.encode(following))


async def status(service: Service, caller: Caller, request: wire.CampaignStatus) -> wire.CampaignStatusView:
    """How far a campaign is, in the fixed shape."""
    return wire.campaign_status(await _one(service, caller, request))


async def _one(service: Service, caller: Caller, request: wire.CampaignNamed) -> Campaign:
    found = await service.office.campaigns.find(request.id, caller.bound(request.tenant))
    if not found:
        raise _not_found(request.id)
    if len(found) > 1:
        text = f"{len(found)} tenants have a campaign {request.id[:MAX_CAMPAIGN]}: say which in `tenant`."
        raise ProblemError.of("invalid_value", text, "tenant")
    return found[0]


def _not_found(id: str) -> ProblemError:
    return ProblemError.of("not_found", f"There is no campaign {id[:64]}.", "id")


async def _shown(service: Service, found: Campaign) -> wire.CampaignView:
    return wire.campaign_view(found, await service.office.campaigns.eta(found))


# -- holding up -------------------------------------------------------------------------------------------------------


async def pause(service: Service, caller: Caller, request: wire.CampaignPause) -> wire.CampaignView:
    """Send nothing of a campaign until it is resumed."""
    return await _moved(service, caller, request, Move.PAUSE)


async def resume(service: Service, caller: Caller, request: wire.CampaignResume) -> wire.CampaignView:
    """Send a campaign on."""
    return await _moved(service, caller, request, Move.RESUME)


async def cancel(service: Service, caller: Caller, request: wire.CampaignCancel) -> wire.CampaignView:
    """Cancel all messages of a campaign that wait, for good."""
    return await _moved(service, caller, request, Move.CANCEL)


async def _moved(service: Service, caller: Caller, request: wire.CampaignNamed, move: Move) -> wire.CampaignView:
    named = await _one(service, caller, request)
    found = await service.office.campaigns.move(named.tenant, named.id, move)
    if found is None:
        raise _not_found(request.id)
    if found.cancelled_at is not None and move is not Move.CANCEL:
        raise _cancelled(found.id)
    done = {Move.PAUSE: found.paused_at, Move.RESUME: found.created_at, Move.CANCEL: found.cancelled_at}
    if done[move] is None:
        raise _completed(found.id, move)
    return await _shown(service, found)


def _completed(id: str, move: Move) -> ProblemError:
    text = (
        f"Campaign {id} is completed: nothing of it waits, so there is nothing to {move}. Messages that are handed in "
        f"later or retried make it sending again; {move} it then."
    )
    return ProblemError.of("wrong_state", text, "id")


def _cancelled(id: str) -> ProblemError:
    text = f"Campaign {id} is cancelled, and stays so. Make a new one with another id."
    return ProblemError.of("wrong_state", text, "id")


# -- making -----------------------------------------------------------------------------------------------------------


async def create(service: Service, caller: Caller, request: wire.CampaignCreate) -> wire.CampaignMade | wire.PlanView:
    """Make a campaign and hand its messages in."""
    if request.recipients is None and request.id is None:
        raise _nobody()
    if request.recipients is not None and not request.recipients:
        text = "`recipients` is empty: name them, or leave it out to make a campaign before its messages"
        raise ProblemError.of("invalid_value", text, "recipients")
    return await created(service, caller, request, _listed(request.recipients or ()))


def _nobody() -> ProblemError:
    text = "`recipients` is missing; without them a campaign needs an `id`, which its messages name later"
    return ProblemError.of("missing_field", text, "recipients")


async def _listed(recipients: Iterable[object]) -> Recipients:
    for each in recipients:
        yield each


async def created(
    service: Service, caller: Caller, request: wire.CampaignCreate, recipients: Recipients
) -> wire.CampaignMade | wire.PlanView:
    """The same with recipients from wherever they come."""
    async with aclosing(recipients):
        faults = faults_of(service, caller, request)
        if faults:
            raise ProblemError(*faults)
        id, tenant, terms = terms_of(service, caller, request)
        common = wire.campaign_defaults(request, id)
        if request.dry_run:
            return await _planned(service, caller, tenant, terms, common, recipients)
        kept = service.office.campaigns
        handing = Handing(service.intake, kept.room, caller.origin)
        if not await kept.find(id, tenant):
            recipients = await _begun(service, caller, request, common, recipients, handing)
        made, is_new = await kept.make(tenant, id, terms)
        if made.terms != _as_repeated(request, terms, made.terms):
            text = f"Campaign {id} is there with another name, rate or hours. Repeat it as it was, or use another id."
            raise ProblemError.of("key_conflict", text, "id")
        if made.cancelled_at is not None:
            raise _cancelled(id)
        try:
            async with aclosing(recipients):
                await hand_in(recipients, common, handing, handing.taken)
        except BrokenOffError as error:
            handing.break_off(handing.taken, error.fault)
        finally:
            await handing.end()
        if handing.ended is not None:
            raise _ended(id, handing)
        (made,) = await kept.find(id, tenant) or (made,)
        return wire.CampaignMade(
            id=id,
            tenant=tenant,
            created=is_new,
            status=made.status.value,
            accepted=handing.accepted,
            replayed=handing.replayed,
            failed=handing.failed,
            refused=handing.refused,
            errors=handing.errors,
            total=made.counts.total,
        )


async def _begun(
    service: Service,
    caller: Caller,
    request: wire.CampaignCreate,
    common: Mapping[str, Any],
    recipients: Recipients,
    handing: Handing,
) -> Recipients:
    """Those from the first on that would be taken; the ones before it are refused. Raises ProblemError when none would:
    then no campaign is made. One without any is made only under an id that its messages can name."""
    try:
        first = await first_taken(recipients, common, service.intake, caller.origin, handing)
    except BrokenOffError as error:
        handing.break_off(handing.taken, error.fault)
        raise _ended(str(common["campaign"]), handing) from error
    if first is not None:
        return behind(first, recipients)
    if handing.refused:
        text = f"none of {handing.refused} recipients can be taken, so no campaign was made: mend them"
        each = [Fault(f"recipients[{one.index}]", one.code, one.message) for one in handing.errors]
        raise ProblemError(Fault("recipients", "invalid_value", text), *each)
    if request.id is None:
        raise _nobody()
    return recipients


def _ended(id: str, handing: Handing) -> ProblemError:
    assert handing.ended is not None
    index, fault = handing.ended
    text = (
        f"{fault.message} Of campaign {id} {handing.accepted + handing.failed + handing.replayed} messages are there; "
        f"the recipient with index {index} and perhaps some after it were not taken. "
    )
    if fault.code != "wrong_state":
        text += f'Send the same request again, with `id` "{id}": nothing is doubled.'
    return ProblemError.of(fault.code, text.rstrip(), fault.field)


async def _planned(
    service: Service, caller: Caller, tenant: str, terms: Terms, common: Mapping[str, Any], recipients: Recipients
) -> wire.PlanView:
    """What would become of them."""
    whose = Origin(tenant, caller.origin.may_set_tenant)
    try:
        plan = service.office.planning.open(whose, caller.name, campaign=str(common["campaign"]), terms=terms)
        try:
            await hand_in(recipients, common, plan)
            return plan_view(await plan.end())
        finally:
            plan.close()
    except TooManyError as error:
        raise ProblemError.of("limit_exceeded", str(error)) from error
    except GoneError as error:
        raise ProblemError.of("not_found", str(error)) from error
    except BrokenOffError as error:
        raise ProblemError(error.fault) from error


# -- what is said about it --------------------------------------------------------------------------------------------


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
    rate = _rate(request.rate, faults)
    hours = _hours(request.send_between, service.office.campaigns.zone, faults)
    if faults or isinstance(tenant, Fault):
        raise ProblemError(*faults)
    return id, tenant, Terms(name, rate, hours)


def _as_repeated(request: wire.CampaignCreate, terms: Terms, kept: Terms) -> Terms:
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
