"""As whom may this be sent, by which providers, and how soon, given whose message it is?

Every message has a tenant; a tenant with a `[tenants.NAME]` section is bound to its senders, its providers and its
highest priority. What is asked for beyond them is refused, never lowered in silence; what is not asked for is chosen
within them. A tenant without a section meets only what holds for all: a route must exist. It refuses to know who the
caller is and what else is wrong with the submission: `acceptance` does.

All these faults are circumstantial: they lie in the configuration as much as in the submission, so a message that was
accepted once is found again by its idempotency key, whatever its tenant may do by now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from smsd.core import address
from smsd.core.message import Priority
from smsd.core.routing import Routes
from smsd.core.submission import Fault, Submission, TenantRules, one_of

UNBOUND: Final = TenantRules()
"""Of a tenant that has no section."""

_PRIORITIES: Mapping[str, Priority] = {priority.label: priority for priority in Priority}


def route_of(
    submission: Submission, bounds: TenantRules, routes: Routes, recipient: str, faults: list[Fault]
) -> tuple[str | None, str]:
    """The sender as whom it is asked to be sent, in its one spelling, and the route to `recipient` (E.164; ANYWHERE
    after a fault of its own).

    The sender is None where each provider takes its own default: nobody asked, and the tenant is bound to no senders.
    """
    if bounds is not UNBOUND:
        routes = routes.within(bounds.providers, bounds.senders)
    asked, pin = submission.from_, submission.provider
    if asked is None and pin is None and routes.usual:
        return routes.sender, routes.usual
    if pin is not None and bounds.providers and pin not in bounds.providers:
        message = "`provider` is not one that this tenant may use: name one of its own, or none"
        faults.append(Fault("provider", "not_allowed", message, circumstantial=True))
        pin = None  # what else is wrong would be wrong without it
    sender = routes.own_sender(pin, recipient) if asked is None else _asked_sender(asked, bounds, faults)
    if asked is not None and sender is None:
        return None, ""
    route = routes.find(sender, pin, recipient)
    if not route:
        faults.extend(_no_route(asked is not None, sender, pin, recipient, bounds, routes))
    return sender, route


def _asked_sender(asked: str, bounds: TenantRules, faults: list[Fault]) -> str | None:
    """The sender asked for in its one spelling; None after a fault."""
    found = address.sender(asked)
    if not isinstance(found, str):
        faults.append(Fault("from", "invalid_sender", f"`from` {found.message}"))
        return None
    if bounds.senders and found not in bounds.senders:
        message = "`from` is not one of this tenant's senders: name one of its own, or none"
        faults.append(Fault("from", "not_allowed", message, circumstantial=True))
        return None
    return found


def _no_route(
    asked: bool, sender: str | None, pin: str | None, recipient: str, bounds: TenantRules, routes: Routes
) -> list[Fault]:
    """Everything for which there is none: the number, the sender, or both. `asked`: the caller named `sender`."""
    if pin is not None and not routes.knows(pin):
        return [_circumstantial("provider", "no_route", "`provider` must name an enabled provider")]
    if not routes:
        whose = " that this tenant may use" if bounds.providers else ""
        return [_circumstantial("provider", "no_route", f"no provider{whose} is enabled: ask the operator of smsd")]
    if routes.reaches(pin, recipient):
        return [_no_voice(sender, pin, bounds, routes)]
    faults = [_out_of_reach(pin, bounds)]
    sender = sender if asked else routes.own_sender(pin)
    if not routes.find(sender, pin):
        faults.append(_no_voice(sender, pin, bounds, routes))
    return faults


def _out_of_reach(pin: str | None, bounds: TenantRules) -> Fault:
    """No prefix of the providers' fits the number. Which they are is the operator's matter and not told."""
    if pin is not None:
        message = "`provider` carries no numbers that begin like `to`: name another, or none"
        return _circumstantial("provider", "no_route", message)
    who = "no enabled provider" if not bounds.providers else "no provider that this tenant may use"
    message = f"`to` has no route: {who} carries numbers that begin like this; ask the operator of smsd for `prefixes`"
    return _circumstantial("to", "no_route", message)


def _no_voice(sender: str | None, pin: str | None, bounds: TenantRules, routes: Routes) -> Fault:
    """Of those that reach the number none can send as `sender`, or none has a sender at all."""
    if sender is None and bounds.senders:
        message = (
            "no provider that this tenant may use carries one of its senders: ask the operator of smsd"
            if pin is None
            else "`provider` carries none of this tenant's senders: name another, or none"
        )
        return _circumstantial("provider", "no_route", message)
    if sender is None:
        return _circumstantial("from", "missing_field", "`from` is missing and no default is configured: name one")
    if pin is not None:
        whose = "another provider than the one in `provider`"
    elif routes.find(sender, None):
        whose = "no enabled provider that carries numbers that begin like `to`"
    else:
        whose = "no enabled provider"
    return _circumstantial("from", "no_route", f"`from` belongs to {whose}: name a sender it owns, or none")


def _circumstantial(name: str, code: str, message: str) -> Fault:
    return Fault(name, code, message, circumstantial=True)


def priority_of(asked: str | None, bounds: TenantRules, faults: list[Fault]) -> Priority:
    """The priority asked for, else normal, or the tenant's highest where that is lower."""
    if asked is None:
        return Priority.NORMAL if bounds is UNBOUND else max(Priority.NORMAL, bounds.max_priority)
    found = _PRIORITIES.get(asked)
    if found is None:
        faults.append(one_of("priority", asked, _PRIORITIES))
        return Priority.NORMAL
    if found < bounds.max_priority:
        highest = bounds.max_priority.label
        message = f"`priority` may be at most {highest} for this tenant: lower it, or leave it out"
        faults.append(Fault("priority", "not_allowed", message, circumstantial=True))
    return found
