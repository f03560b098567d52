"""What would happen if these messages were handed in?

The operation `plan`: (service, caller, request) -> answer. Rows come in as many requests as they need; a plan belongs
to who began it, and one that nobody adds to for a minute is forgotten. Nothing is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from smsd import wire
from smsd.core.acceptance import Fault, Origin
from smsd.core.campaign import Campaign, Terms
from smsd.engine.planning import GoneError, Plan, TooManyError
from smsd.engine.service import Service
from smsd.listeners import campaign_terms
from smsd.listeners.callers import Caller, ProblemError
from smsd.listeners.plan_views import plan_view

TERMS: Final = ("campaign", "rate", "send_between", "tenant")
"""What is said when a plan begins."""

NO_OBJECT: Final = Fault("", "malformed", "a row must be an object with the fields of a message")


async def plan(service: Service, caller: Caller, request: wire.Plan) -> wire.PlanStep:
    """Begin a plan, add rows, end it."""
    try:
        found = await _found(service, caller, request)
        done = False
        try:
            for row in request.rows or ():
                await _add(found, row)
            done = True
        finally:
            if not done:
                found.close()
    except TooManyError as error:
        raise ProblemError.of("limit_exceeded", str(error), "plan") from error
    except GoneError as error:
        raise ProblemError.of("invalid_value", str(error), "plan") from error
    result = plan_view(await found.end()) if request.end else None
    return wire.PlanStep(found.id, found.sums.rows, result)


async def _found(service: Service, caller: Caller, request: wire.Plan) -> Plan:
    """The plan that is meant, or a new one. Raises ProblemError, GoneError, TooManyError, StoreError."""
    planning = service.office.planning
    if request.plan is not None:
        given = [name for name in TERMS if getattr(request, name) is not None]
        if given:
            raise ProblemError.of("invalid_value", f"`{given[0]}` is said when a plan begins; leave it out.", given[0])
        return planning.find(request.plan, caller.name)
    asked = wire.CampaignCreate(
        id=request.campaign, rate=request.rate, send_between=request.send_between, tenant=request.tenant
    )
    id, tenant, terms = campaign_terms.terms_of(service, caller, asked)
    whose = Origin(tenant, caller.origin.may_set_tenant)
    said = request.rate is not None or request.send_between is not None
    named = id if request.campaign is not None or said else None
    for kept in await service.office.campaigns.find(id, tenant) if request.campaign is not None and said else ():
        _check(kept, asked, terms)
    return planning.open(whose, caller.name, campaign=named, terms=terms if said else None)


def _check(kept: Campaign, asked: wire.CampaignCreate, terms: Terms) -> None:
    """Whether what is said of a campaign that is there is what it has; what is not said is what it has. Of a cancelled
    one it does not matter: the plan tells that nothing goes. Raises ProblemError."""
    hours = campaign_terms.as_repeated(asked, terms, kept.terms).hours
    given = replace(
        kept.terms,
        rate=kept.terms.rate if asked.rate is None else terms.rate,
        hours=kept.terms.hours if asked.send_between is None else hours,
    )
    if given != kept.terms and kept.cancelled_at is None:
        text = f"Campaign {kept.id} is there with another rate or hours. Leave them out, or name another campaign."
        raise ProblemError.of("key_conflict", text, "campaign")


async def _add(found: Plan, row: object) -> None:
    index = found.sums.rows
    if not isinstance(row, Mapping):
        found.refuse(index, (NO_OBJECT,))
        return
    try:
        submission = wire.build(wire.Submission, row)
        digest = wire.content_hash(submission) if submission.idempotency_key is not None else None
        await found.add(index, submission, digest)
    except wire.WireError as error:
        found.refuse(index, error.faults)
    except RecursionError:
        found.refuse(index, (wire.TOO_DEEP,))
