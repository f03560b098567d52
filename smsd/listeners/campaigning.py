"""What can be done with a campaign, and how do its messages come in?

The operations on campaigns: (service, caller, request) -> answer. Recipients are handed to the intake in their order, a
bounded number at once, each with a key made of the campaign's id and its place: whatever breaks off in the middle, the
same request again goes on where it ended and doubles nothing. What is wrong with one recipient is told of that one;
what would be wrong with all that follow (no room, a daemon that stops, a campaign that was cancelled) ends it. How
recipients arrive is the door's affair; a plan (`dry_run`) is handed the same submissions in the place of the intake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import Any, Final

from msgspec import UNSET

from smsd import wire
from smsd.core.acceptance import MAX_CAMPAIGN, Fault, Origin
from smsd.core.campaign import Campaign, Move, Terms
from smsd.core.units import duration_text
from smsd.engine.planning import GoneError, TooManyError
from smsd.engine.service import Service
from smsd.engine.trials import LASTS_US, Trial
from smsd.listeners import showing
from smsd.listeners.callers import Caller, ProblemError
from smsd.listeners.campaign_terms import all_faults_of, as_repeated, terms_of, trial_fault
from smsd.listeners.handing import BrokenOffError, Handing, Recipients, behind, first_taken, hand_in
from smsd.listeners.plan_views import plan_view

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


async def delete(service: Service, caller: Caller, request: wire.CampaignDelete) -> wire.CampaignDeleted:
    """Take a campaign away that never had a message."""
    if (fault := trial_fault(request.trial)) is not None:
        raise ProblemError(fault)
    named = await _one(service, caller, request)
    if not await service.office.campaigns.delete(named, request.trial):
        for found in await service.office.campaigns.find(named.id, named.tenant):
            raise _stays(found, request)
        raise _not_found(request.id)
    return wire.CampaignDeleted(named.id, named.tenant)


def _stays(found: Campaign, request: wire.CampaignDelete) -> ProblemError:
    """Why it was not taken away, and what can be done."""
    if found.cancelled_at is not None:
        why = "is cancelled, and stays so: nothing of it will be sent"
    elif found.counts.total:
        why = "has messages or had some, so it stays: cancel it if some wait that are not to be sent"
    elif found.paused_at is not None:
        why = "is paused: resume it first"
    elif request.trial is not None:
        why = (
            "is being given messages by others, was made to stay, or smsd was restarted since; "
            "once nobody brings it messages, it is deleted without `trial`"
        )
    else:
        why = (
            "is being given messages, so it stays: cancel it if they are not to be sent. "
            f"If whoever brought them was killed, it can be deleted within {duration_text(LASTS_US // 1_000)}"
        )
    return ProblemError.of("wrong_state", f"Campaign {found.id} {why}.", "id")


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
    nobody = NOBODY if request.recipients is None and request.id is None else None
    if request.recipients is not None and not request.recipients:
        text = "`recipients` is empty: name them, or leave it out to make a campaign before its messages"
        nobody = Fault("recipients", "invalid_value", text)
    if nobody is not None:
        raise ProblemError(*await all_faults_of(service, caller, request), nobody)
    return await created(service, caller, request, _listed(request.recipients or ()))


NOBODY: Final = Fault(
    "recipients",
    "missing_field",
    "`recipients` is missing; without them a campaign needs an `id`, which its messages name later",
)


async def _listed(recipients: Iterable[object]) -> Recipients:
    for each in recipients:
        yield each


async def created(
    service: Service, caller: Caller, request: wire.CampaignCreate, recipients: Recipients
) -> wire.CampaignMade | wire.PlanView:
    """The same with recipients from wherever they come. Where the campaign has a fault, those that come behind it are
    not read: there may be no end of them."""
    async with aclosing(recipients):
        faults = await all_faults_of(service, caller, request)
        if faults:
            raise ProblemError(*faults)
        id, tenant, terms = terms_of(service, caller, request)
        common = wire.campaign_defaults(request, id)
        if request.dry_run:
            for made in await service.office.campaigns.find(id, tenant):
                _check(made, request, terms)
            return await _planned(service, caller, tenant, terms, common, recipients)
        kept = service.office.campaigns
        handing = Handing(service.intake, kept.room, caller.origin)
        if not await kept.find(id, tenant):
            recipients = await _begun(service, caller, request, common, recipients, handing)
        on_trial = False
        async with kept.trials.trying(tenant, id, terms) as trial:
            made = trial.campaign
            _check(made, request, terms)
            await _handed_in(recipients, common, handing, trial)
            if trial.used and not _there(handing):
                on_trial = kept.trials.join(tenant, id, trial, request.trial)
        if handing.ended is not None:
            raise _ended(id, handing)
        if not trial.used and (trial.is_new or trial.gone):
            raise _none_taken(handing, None if trial.gone else id)
        (made,) = await kept.find(id, tenant) or (made,)
        return wire.CampaignMade(
            id=id,
            tenant=tenant,
            created=trial.is_new,
            status=made.status.value,
            accepted=handing.accepted,
            replayed=handing.replayed,
            failed=handing.failed,
            refused=handing.refused,
            errors=handing.errors,
            total=made.counts.total,
            on_trial=UNSET if request.trial is None else on_trial and not made.counts.total,
        )


def _check(made: Campaign, request: wire.CampaignCreate, terms: Terms) -> None:
    """Whether messages can be handed to what is there. Raises ProblemError."""
    if made.cancelled_at is not None:
        raise _cancelled(made.id)
    if made.terms != as_repeated(request, terms, made.terms):
        text = f"Campaign {made.id} is there with another name, rate or hours. Repeat it as it was, or use another id."
        raise ProblemError.of("key_conflict", text, "id")


async def _handed_in(recipients: Recipients, common: Mapping[str, Any], handing: Handing, trial: Trial) -> None:
    """All of them, unless it ends before; then all that were handed in are answered. A campaign is wanted without any
    only by who is read to the end and named none."""
    for_nobody = False
    try:
        async with aclosing(recipients):
            await hand_in(recipients, common, handing, handing.taken)
        for_nobody = not handing.taken
    except BrokenOffError as error:
        handing.break_off(handing.taken, error.fault)
    finally:
        trial.used = True  # until all are answered: whoever is cancelled here has messages that may still come
        await handing.end()
        trial.used = for_nobody or bool(_there(handing))


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
        raise _none_taken(handing)
    if request.id is None:
        raise ProblemError(NOBODY)
    return recipients


def _there(handing: Handing) -> int:
    """Messages that the outbox has of those that were handed in."""
    return handing.accepted + handing.failed + handing.replayed


def _none_taken(handing: Handing, stays: str | None = None) -> ProblemError:
    """The code says whether the same may be taken later. `stays`: the campaign that was made and is there all the same,
    because others use it or it could not be taken away."""
    limited = all(one.code == "limit_exceeded" for one in handing.errors)
    remedy = "come again later" if limited else "mend them"
    text = f"none of {handing.refused} recipients can be taken, so no campaign was made: {remedy}"
    if stays is not None:
        text = (
            f"none of {handing.refused} recipients can be taken: {remedy}. Campaign {stays} was made all the same and "
            "stays for now: leave its name, rate and hours as they are"
        )
    each = [Fault(f"recipients[{one.index}]", one.code, one.message) for one in handing.errors]
    code = "limit_exceeded" if limited else "invalid_value"
    return ProblemError(Fault("recipients", code, text), *each)


def _ended(id: str, handing: Handing) -> ProblemError:
    assert handing.ended is not None
    index, fault = handing.ended
    text = (
        f"{fault.message} Of campaign {id} {_there(handing)} messages are there; "
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
