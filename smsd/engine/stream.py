"""What happened since a reader last looked?

The newest events, held in memory in order, for readers that poll for long or follow. Nothing is copied, encoded or
filtered until somebody reads: an event that nobody waits for costs an append. It refuses to know how an event is shown
and who may ask; it knows whose an event is, because a tenant sees its own and nothing else (`Wanted`).

The ring has a bound, so a reader that stays away too long misses events; it is told so (`Batch.lost`) and goes on with
the oldest that are held. The same happens after a restart: ids carry the run they belong to, and the ring begins empty.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import deque
from dataclasses import dataclass
from typing import Final

from smsd.core.events import Event, Kind

SIZE: Final = 4_096
"""Events held; an older one is forgotten. About 3 MiB when full."""

READERS: Final = 1_000
"""Readers that may wait at the same time; one more is answered at once with what there is."""

_ID: Final = re.compile(r"([0-9a-f]{8})-([0-9]{1,18})")


class UnknownKindError(ValueError):
    """A pattern that names no kind of event."""

    def __init__(self, pattern: str) -> None:
        shown = f"`{pattern}`" if len(pattern) <= 40 and pattern.isprintable() else "what was asked for"
        remedy = "name kinds, joined by commas, or groups such as message.*"
        super().__init__(f"{shown} is no kind of event; {remedy}. There are: {', '.join(Kind)}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events a reader is given. Equal ones share one look at each new event."""

    tenant: str | None
    """Only this tenant's; None: all."""
    kinds: frozenset[Kind] | None = None
    """Only these; None: all."""

    def __call__(self, event: Event) -> bool:
        return (self.kinds is None or event.kind in self.kinds) and visible(event, self.tenant)


def visible(event: Event, tenant: str | None) -> bool:
    """Whether a tenant may see the event: it names the tenant as its own. None sees all."""
    return tenant is None or event.fields.get("tenant") == tenant


def wanted(kinds: str | None, tenant: str | None) -> Wanted:
    """What a reader asks for. `kinds`: names and groups ("message.*") joined by commas; None: all.

    Raises UnknownKindError, which lists the kinds there are.
    """
    if kinds is None:
        return Wanted(tenant)
    chosen: set[Kind] = set()
    for pattern in kinds.split(","):
        name = pattern.strip()
        found = [kind for kind in Kind if kind == name or (name.endswith(".*") and kind.startswith(name[:-1]))]
        if not found or name == ".*":
            raise UnknownKindError(name)
        chosen.update(found)
    return Wanted(tenant, frozenset(chosen))


@dataclass(frozen=True, slots=True)
class Batch:
    """What a read brought, in order."""

    events: list[tuple[str, Event]]
    """Ids and events."""
    last: str
    """Read on after this id."""
    lost: bool
    """Events before the first may be missing: those after the id asked for are no longer (or were never) held."""


class Stream:
    """A sink of the bus that remembers. All methods belong to the event loop."""

    def __init__(self, run: str | None = None, *, size: int = SIZE, readers: int = READERS) -> None:
        """`run`: 8 lower-case hexadecimal digits that no other run of the daemon has; None: drawn by lot."""
        self._run = secrets.token_hex(4) if run is None else run
        self._ring: deque[Event] = deque(maxlen=size)
        self._newest = 0
        """The number of the newest event; the first is 1."""
        self._most = readers
        self._waiting: dict[str | None, dict[Wanted, set[asyncio.Future[int | None]]]] = {}
        """Readers with nothing to read, by whose events and which they want; each is given the number of the first."""
        self._readers = 0
        self.closed = False

    def __call__(self, event: Event) -> None:
        """Remember."""
        self._ring.append(event)
        self._newest += 1
        if self._waiting:
            self._wake(event)

    def _wake(self, event: Event) -> None:
        """Only those who may see it are looked at: a thousand tenants may wait while one of them is busy."""
        self._wake_those_of(None, event)
        tenant = event.fields.get("tenant")
        if isinstance(tenant, str):
            self._wake_those_of(tenant, event)

    def _wake_those_of(self, tenant: str | None, event: Event) -> None:
        waiting = self._waiting.get(tenant)
        if waiting is None:
            return
        for wants in [wants for wants in waiting if wants(event)]:
            for reader in waiting.pop(wants):
                if not reader.done():
                    reader.set_result(self._newest)
        if not waiting:
            del self._waiting[tenant]

    def close(self) -> None:
        """The daemon ends: nobody waits any more. What is held can still be read. Idempotent."""
        self.closed = True
        for waiting in self._waiting.values():
            for readers in waiting.values():
                for reader in readers:
                    _give_up(reader)
        self._waiting.clear()

    @property
    def last(self) -> str:
        """The newest event's id; of a run without any, the place before the first."""
        return self._id(self._newest)

    def _id(self, number: int) -> str:
        return f"{self._run}-{number}"

    async def read(self, after: str | None, wait_s: float, limit: int, wants: Wanted, *, bounded: bool = True) -> Batch:
        """At most `limit` of the wanted events after the id `after`, in order; None: from now on.

        When there are none and nothing was lost, waits up to `wait_s` seconds for the first. An id that is no id of
        this run, or of an event that was forgotten since, is `lost`: the batch begins with the oldest event held.
        `bounded` False: for a door that bounds its readers itself; it waits also when all places are taken.
        """
        place, lost = self._place(after)
        events, place, lost = self._gather(place, limit, wants, lost)
        if not events and not lost and wait_s > 0 and not self.closed and not (bounded and self._readers >= self._most):
            found = await self._news(wants, wait_s)
            place = self._newest if found is None else found - 1
            events, place, lost = self._gather(place, limit, wants, lost)
        return Batch(events, self._id(place), lost)

    def _place(self, after: str | None) -> tuple[int, bool]:
        """The number to read on after, and whether what was asked for is not of this run."""
        if after is None:
            return self._newest, False
        found = _ID.fullmatch(after)
        if found is None or found[1] != self._run or int(found[2]) > self._newest:
            return 0, True
        return int(found[2]), False

    def _gather(self, place: int, limit: int, wants: Wanted, lost: bool) -> tuple[list[tuple[str, Event]], int, bool]:
        """The wanted ones after `place`, the number to read on after, and whether something was forgotten."""
        ring, first = self._ring, self._newest - len(self._ring) + 1
        if place < first - 1:
            place, lost = first - 1, True
        events: list[tuple[str, Event]] = []
        for number in range(place + 1, self._newest + 1):
            event = ring[number - first]
            if wants(event):
                events.append((self._id(number), event))
                if len(events) >= limit:
                    return events, number, lost
        return events, self._newest, lost

    async def _news(self, wants: Wanted, wait_s: float) -> int | None:
        """Wait for a wanted event; its number, or None when there was none in time."""
        loop = asyncio.get_running_loop()
        reader: asyncio.Future[int | None] = loop.create_future()
        self._waiting.setdefault(wants.tenant, {}).setdefault(wants, set()).add(reader)
        self._readers += 1
        timer = loop.call_later(wait_s, _give_up, reader)
        try:
            return await reader
        finally:
            timer.cancel()
            self._readers -= 1
            self._forget(wants, reader)

    def _forget(self, wants: Wanted, reader: asyncio.Future[int | None]) -> None:
        waiting = self._waiting.get(wants.tenant, {})
        readers = waiting.get(wants, set())
        readers.discard(reader)
        if not readers:
            waiting.pop(wants, None)
        if not waiting:
            self._waiting.pop(wants.tenant, None)


def _give_up(reader: asyncio.Future[int | None]) -> None:
    if not reader.done():
        reader.set_result(None)
