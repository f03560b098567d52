"""Whom does nobody text any more, and what can an operator change about that?

The operations on suppressions: (service, caller, request) -> answer. Who may ask was judged before: they are about the
whole daemon. The scope "*", or none, stands for every provider.
"""

from __future__ import annotations

from smsd import wire
from smsd.core.suppression import EVERY, EVERYWHERE, shown
from smsd.engine.optouts import UnknownScopeError
from smsd.engine.service import Service
from smsd.listeners import showing
from smsd.listeners.callers import Caller, ProblemError


async def suppressions(service: Service, caller: Caller, request: wire.Suppressions) -> wire.SuppressionList:
    """Numbers that get nothing more, in order."""
    scope = None if request.scope is None else _scope(request.scope)
    number = None if request.number is None else showing.recipient(request.number, "number")
    after, limit = _place(request.cursor), showing.limit(request.limit)
    found, following = await service.optouts.page(scope, number, after, limit)
    cursor = None if following is None else wire.encode_place(*following)
    return wire.SuppressionList([wire.suppression_view(each) for each in found], cursor)


async def suppress(service: Service, caller: Caller, request: wire.Suppress) -> wire.KeptSuppression:
    """Text a number no more."""
    number = showing.recipient(request.number, "number")
    try:
        kept = await service.optouts.suppress(number, _scope(request.scope), caller.name)
    except UnknownScopeError as error:
        raise ProblemError.of("invalid_value", f"`scope`: {error}", "scope") from error
    return wire.kept_suppression(kept.suppression, added=kept.added)


async def unsuppress(service: Service, caller: Caller, request: wire.Unsuppress) -> wire.LiftedSuppression:
    """Let a number be texted again."""
    number, scope = showing.recipient(request.number, "number"), _scope(request.scope)
    if not await service.optouts.unsuppress(number, scope, caller.name):
        elsewhere = [shown(each.scope) for each in await service.suppressions_of(number)]
        raise ProblemError.of("not_found", _nothing_lifted(number, scope, elsewhere), "number")
    return wire.LiftedSuppression(number, shown(scope))


def _nothing_lifted(number: str, scope: str, elsewhere: list[str]) -> str:
    """Why nothing was lifted, and where it could be."""
    where = "at every provider" if scope == EVERY else f"at {scope[:64]}"
    text = f"{number} is not suppressed {where}"
    return f"{text}; its `scope` is {' or '.join(elsewhere)}." if elsewhere else f"{text}, nor anywhere else."


def _scope(text: str | None) -> str:
    """As it is kept."""
    if text is None or text == EVERYWHERE:
        return EVERY
    if not text:
        raise ProblemError.of("invalid_value", '`scope` is a provider\'s name, or "*" for every one.', "scope")
    return text


def _place(cursor: str | None) -> tuple[str, str] | None:
    try:
        if cursor is None:
            return None
        number, scope = wire.decode_place(cursor, 2)
    except ValueError as error:
        text = "`cursor` is not one that a listing gave. Start again without it."
        raise ProblemError.of("invalid_value", text, "cursor") from error
    return number, scope
