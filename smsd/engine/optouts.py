"""Whom does an operator want texted no more, and who may be texted again?

Adds, lifts and lists suppressions by an operator's word. What one does to a message is decided where messages are
accepted and claimed (`store`), so a change counts for the next submission and for all that waits; a call that has begun
runs on. Those that come with a provider's answer are kept by its settlement. It refuses to know who may ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from smsd.clock import Clock
from smsd.core.events import Kind
from smsd.core.suppression import EVERY, Suppression, shown
from smsd.engine.bus import Bus
from smsd.engine.lane import Lane
from smsd.store import Outbox, Records

OPERATOR = "operator"
"""The source of a suppression that an operator asked for."""


class UnknownScopeError(LookupError):
    """The scope is no provider that is enabled."""

    def __init__(self, scope: str, known: tuple[str, ...]) -> None:
        names = ", ".join(known) or "none"
        super().__init__(f'No provider {scope[:64]!r} is enabled. There are: {names}; "*" stands for every one.')


@dataclass(frozen=True, slots=True)
class Kept:
    """A suppression that holds. `added`: it is new; else it was there already and stays as it was."""

    suppression: Suppression
    added: bool


class OptOuts:
    """The suppressions, as operators handle them. Numbers are E.164; a scope is a provider's name or EVERY."""

    def __init__(self, outbox: Outbox, records: Records, lanes: Mapping[str, Lane], bus: Bus, clock: Clock) -> None:
        self._outbox = outbox
        self._records = records
        self._lanes = lanes
        self._bus = bus
        self._clock = clock

    async def suppress(self, number: str, scope: str, by: str) -> Kept:
        """The number gets nothing more from this scope. Raises UnknownScopeError, StoreError.

        `by`: who said so, for the log and operators.
        """
        if scope != EVERY and scope not in self._lanes:
            raise UnknownScopeError(scope, tuple(self._lanes))
        while True:  # again if another operator lifts it in between
            mine = Suppression(scope, number, self._clock.wall(), OPERATOR)
            if await self._outbox.suppress(mine):
                self._tell(Kind.SUPPRESSION_ADDED, mine, by)
                return Kept(mine, added=True)
            for each in await self._records.suppressions_of(number):
                if each.scope == scope:
                    return Kept(each, added=False)

    async def unsuppress(self, number: str, scope: str, by: str) -> bool:
        """The number may be texted again in this scope, also one of a provider that is configured no more. False: it
        was not suppressed there. Raises StoreError."""
        if not await self._outbox.lift(scope, number):
            return False
        self._tell(Kind.SUPPRESSION_REMOVED, Suppression(scope, number, self._clock.wall(), OPERATOR), by)
        return True

    async def page(
        self, scope: str | None, number: str | None, after: tuple[str, str] | None, limit: int
    ) -> tuple[tuple[Suppression, ...], tuple[str, str] | None]:
        """A page of them in order of (number, scope), and the place after which the next begins; None: that was all.

        `scope`, `number`: only those; None: all.
        """
        if number is None:
            found = await self._records.suppressions(scope, after, limit + 1)
        else:
            behind = after or ("", "")
            found = tuple(
                each
                for each in await self._records.suppressions_of(number)
                if scope in {None, each.scope} and (after is None or (each.number, each.scope) > behind)
            )
        if len(found) <= limit:
            return found, None
        last = found[limit - 1]
        return found[:limit], (last.number, last.scope)

    def _tell(self, kind: Kind, suppression: Suppression, by: str) -> None:
        self._bus.publish(
            kind,
            suppression.at,
            to=suppression.number,
            provider=shown(suppression.scope),
            source=suppression.source,
            code=suppression.code,
            by=by,
        )
