"""What was the application not told yet, and how do providers learn to call back?

The operations on callbacks, and the one that sets up a provider's webhooks: (service, caller, request) -> answer. A
caller sees and replays the callbacks of its tenant. Of a callback's URL the query is not shown: secrets travel there.

A provider that could not be told where to call back is no fault of the request, and the closed list of codes has none
of a provider's own. Where it may go well another time, parts of it may be done, and to repeat it is the remedy:
outcome_unknown (503). Where the provider said no, it will until the configuration is mended: not_available (422).
"""

from __future__ import annotations

from smsd import wire
from smsd.engine.registering import NotRegisteredError, Registered, UnknownError
from smsd.engine.service import Service
from smsd.listeners import showing
from smsd.listeners.callers import Caller, ProblemError

MOST_IDS = 500
"""Callbacks that one replay names; they fit into a line of the socket."""


async def callbacks(service: Service, caller: Caller, request: wire.Callbacks) -> wire.CallbackList:
    """Callbacks that wait, or that were given up, oldest first."""
    tenant, limit = caller.bound(request.tenant), showing.limit(request.limit)
    found, following = await service.replaying.page(tenant, request.failed, request.cursor, limit)
    return wire.CallbackList([wire.callback_view(each) for each in found], following)


async def replay(service: Service, caller: Caller, request: wire.Replay) -> wire.ReplayView:
    """Let callbacks be tried at once that wait or were given up."""
    if request.ids is not None and not 1 <= len(request.ids) <= MOST_IDS:
        text = f"`ids` names 1 to {MOST_IDS} callbacks; without it all are tried again."
        raise ProblemError.of("invalid_value", text, "ids")
    done = await service.replaying.replay(request.ids, caller.sees)
    return wire.ReplayView(done.count, done.left)


async def register(service: Service, caller: Caller, request: wire.Register) -> wire.RegisterView:
    """Let a provider know where to call back."""
    try:
        if request.dry_run:
            return _registered(service, request.provider, service.registering.webhooks(request.provider))
        return _registered(service, request.provider, await service.registering.register(request.provider))
    except UnknownError as error:
        raise ProblemError.of("not_found", str(error), "provider") from error
    except NotRegisteredError as error:
        text = f"{request.provider} was not told where to call back. {error}"
        raise ProblemError.of("not_available" if error.refused else "outcome_unknown", text, "provider") from error


def _registered(service: Service, name: str, found: Registered) -> wire.RegisterView:
    calls = service.hooks.calls(name)
    came = wire.HookCallsView(
        calls.taken,
        calls.refused,
        calls.unreadable,
        wire.time_text(calls.taken_at),
        wire.time_text(calls.wrong_at),
        calls.wrong,
    )
    return wire.RegisterView(name, dict(found.webhooks), [*found.needs], found.done, found.text, came)
