"""How is what an operator does written down before it is done?

`recorded` wraps one act: the line is durable before the act begins, and closed when it is known what became of it. When
the line cannot be written the act does not take place: what nobody can read about later must not happen. When it cannot
be closed, the act has happened all the same; then the log says so, and the line stays open.

An act that is about very many goes in pieces, each asked for by itself. They are one line: it is open while a piece is
done, and says the sum of those before.

Which acts are recorded, and in which words, the doors say. It refuses to know what an act does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import structlog

from smsd.clock import Clock
from smsd.core.events import Kind
from smsd.core.message import Instant
from smsd.engine.bus import Bus
from smsd.store import StoreError
from smsd.store.operators import Audit, Entry

T = TypeVar("T")

DONE: Final = "done"
"""The outcome of what was done; every other is the code of an error."""

GOING: Final = 64
"""Acts that go in pieces at the same time; of one more, the oldest's next piece is a line of its own."""

log = structlog.get_logger("smsd.audit")


@dataclass(frozen=True, slots=True)
class Much:
    """How much was done: how many of what. `more`: the act goes on, in another piece."""

    counts: Mapping[str, int]
    more: bool = False


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody wants to do. No text of a message, no whole number and no secret is in any of it."""

    who: str
    tenant: str
    """Whose messages the caller may touch; empty: everybody's."""
    operation: str
    subject: str = ""
    """A message's id, a provider, a campaign, a masked number; empty: the daemon."""
    detail: str = ""


class Auditing:
    """Writes the audit and reads it."""

    def __init__(self, audit: Audit, bus: Bus, clock: Clock) -> None:
        self._audit = audit
        self._bus = bus
        self._clock = clock
        self._under_way: set[int] = set()
        self._going: dict[Act, tuple[int, Counter[str]]] = {}
        """Acts of which there is more to come: their line, and what was done of them."""

    async def recorded(
        self,
        act: Act,
        do: Callable[[], Awaitable[T]],
        code: Callable[[Exception], str],
        much: Callable[[T], Much | None] = lambda _: None,
        *,
        further: bool = False,
    ) -> T:
        """What `do` gives or raises. `code`: of an exception, as the caller is told it. `much`: how much was done, put
        behind the act's detail; None: it goes without saying. `further`: it goes on with the same act. Raises
        StoreError, with nothing done, when the line cannot be written."""
        nr, counts = await self._line(act, further=further)
        self._under_way.add(nr)
        more = True
        try:
            done = await do()
        except Exception as error:
            await self._close(nr, _summed(act, counts, more=more), code(error))
            raise
        else:
            amount = much(done)
            more = amount is not None and amount.more
            if amount is not None:
                counts.update(amount.counts)
            await self._close(nr, _summed(act, counts, more=more), DONE)
            return done
        finally:
            self._under_way.discard(nr)
            if more and counts:
                self._keep(act, nr, counts)

    async def _line(self, act: Act, *, further: bool) -> tuple[int, Counter[str]]:
        """The act's own line, which is open; and what was done of it. Raises StoreError."""
        if further and act in self._going:
            nr, counts = self._going.pop(act)
            if await self._audit.reopen(nr):
                return nr, counts
        entry = Entry(0, self._clock.wall(), act.who, act.tenant, act.operation, act.subject, act.detail)
        return await self._audit.begin(entry), Counter()

    def _keep(self, act: Act, nr: int, counts: Counter[str]) -> None:
        self._going[act] = nr, counts
        if len(self._going) > GOING:
            del self._going[next(iter(self._going))]

    async def _close(self, nr: int, act: Act, outcome: str) -> None:
        try:
            await self._audit.end(nr, outcome, act.detail)
        except StoreError as error:
            fields = {"who": act.who, "operation": act.operation, "outcome": outcome}
            log.error("what became of an operator's act could not be written down", error=str(error), **fields)
        # Without the tenant: who may only read its tenant's events is not told what its operators do.
        fields = {"who": act.who, "operation": act.operation, "subject": act.subject, "detail": act.detail}
        self._bus.publish(Kind.OPERATOR_ACTED, self._clock.wall(), **fields, outcome=outcome)

    def under_way(self, nr: int) -> bool:
        """Whether that line is open because its act has not ended, and not because smsd did."""
        return nr in self._under_way

    async def page(
        self,
        tenant: str | None,
        *,
        operation: str | None,
        who: str | None,
        since: Instant | None,
        before: int | None,
        limit: int,
    ) -> tuple[tuple[Entry, ...], int | None]:
        """Lines, newest first, and the `before` of the next page. Raises StoreError."""
        return await self._audit.page(tenant, operation=operation, who=who, since=since, before=before, limit=limit)


def _summed(act: Act, counts: Counter[str], *, more: bool) -> Act:
    """With how much was done, behind its detail."""
    words = ", ".join(f"{count} {what}" for what, count in counts.items() if count or what != "skipped")
    if not words:
        return act
    words += " so far" if more else ""
    return replace(act, detail=f"{act.detail}: {words}" if act.detail else words)
