"""What does the outbox promise to who only asks?

The protocol of the read side, in the words of `core`, never in queries, as `outbox` is. It refuses to know how much a
question costs, but for the bounds it states.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from smsd.core.admission import Key
from smsd.core.bunches import Line
from smsd.core.callback import Callback
from smsd.core.message import Attempt, Instant, Message
from smsd.core.suppression import Suppression
from smsd.store.answers import KeyConflict, Replay
from smsd.store.incoming import Inbound
from smsd.store.opening import Start
from smsd.store.pending import Slice
from smsd.store.views import CallbackCounts, Page, Person, PersonCounts, Query, Totals


class Records(Protocol):
    """The read side. Reads see everything committed before the call."""

    async def get(self, id: str, tenant: str | None) -> Message | None: ...

    async def attempts(self, seq: int) -> list[Attempt]:
        """In order of their numbers; without the open one."""
        ...

    async def suppressions_of(self, number: str) -> tuple[Suppression, ...]:
        """All of the number, in order of their scopes."""
        ...

    async def suppressions(
        self, scope: str | None, after: tuple[str, str] | None, limit: int
    ) -> tuple[Suppression, ...]:
        """At most `limit` of the scope (None: of every one) behind the place `after` (number, scope; of a scope the
        number alone counts), in order of (number, scope)."""
        ...

    async def callbacks_due(
        self, now: Instant, limit: int, without: Collection[str] = (), but_of: Collection[str] = ()
    ) -> tuple[tuple[Callback, ...], Instant | None]:
        """Callbacks that are due, at most `limit`, fairly by place (of each at most `limit` / 4, earliest first, and
        the place first whose first has been due longest); and when the next of all others is due.

        `without`: none of these places (`Callback.place`). `but_of`: none of these tenants. What it costs is bounded by
        `limit`, `without` and the number of places of `but_of`, however much waits.
        """
        ...

    async def callbacks(self, tenant: str | None, failed: bool, after: str | None, limit: int) -> tuple[Callback, ...]:
        """At most `limit` that wait (or, with `failed`, that were given up), in order of their ids, which is that of
        the messages' and inbound texts' coming, behind the id `after`, whether it is still there or not."""
        ...

    async def callback_counts(self) -> CallbackCounts: ...

    async def inbound(
        self,
        tenant: str | None,
        *,
        sender: str | None = None,
        recipient: str | None = None,
        since: Instant | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> tuple[tuple[Inbound, ...], int | None]:
        """Texts received, newest first, and the `before` of the next page (None: that was all). A page may be short
        before the end: it looks at a bounded number of rows."""
        ...

    async def find_key(self, tenant: str, key: str, content_hash: bytes) -> Replay | KeyConflict | None: ...

    async def page(self, query: Query) -> Page: ...

    async def totals(self, since_minute: int, tenant: str | None = None) -> Totals:
        """Of all, or of one tenant. A tenant's minutes are not by provider (`provider` is "", `throttled` 0) and are
        kept for two days."""
        ...

    async def counts_of(self, person: Person, day_since: Instant, hour_since: Instant) -> PersonCounts:
        """What was sent to or about the person since these times, and what waits.

        The counts are exact as long as the person's messages lie within what is looked at, and else too low. Looked at
        are: a user's newest 20,000 messages (with `tenant` None: of each of at most 100 tenants); for a recipient,
        whom no index knows, the newest 200,000 messages of the outbox.
        """
        ...

    async def remaining(self, person: Person, now: Instant) -> int | None:
        """How many more messages the limits let go to or about the person now: the smallest over all that bind it, the
        one on its tenant included where that is named; never below 0. Of a user of no named tenant, the smallest of all
        tenants that have one (of at most 100). None: no limit binds it."""
        ...

    async def feed(self, flow: int, after: tuple[Instant, int] | None, until: Instant, limit: int) -> Slice:
        """The flow's pending messages with (due, seq) > `after` and due <= `until`."""
        ...

    async def uncertain(
        self, until: Instant, limit: int, without: Collection[str] = ()
    ) -> tuple[list[Message], Instant | None]:
        """Uncertain messages whose look-up is due by `until`, earliest first; and when the next after them is due.

        `without`: none of these providers' messages.
        """
        ...

    async def bound(self, provider_message_ids: Sequence[str], without: Collection[str] = ()) -> set[str]:
        """Those of the ids that already belong to a message, whichever provider it went to.

        Two sections may be one account, and a section may be renamed: an id may have been bound under another name.
        `without`: not those of these providers, which are known to be other carriers; their ids may be the same.
        """
        ...

    async def lines(self, most: int, now: Instant) -> tuple[Line, ...]:
        """What waits, for the look ahead: the `most` largest flows, the largest first; what waits in others as one flow
        for each route and priority, numbered below 0. Due times and segments of a bounded sample."""
        ...

    async def place(self, flow: int, due: Instant, seq: int) -> int:
        """How many pending messages of the flow go before the one with this (due, seq). Exact within 20,000 of either
        end, in between by the numbers of the messages."""
        ...

    async def charged(self, key: Key, most: int, step: int) -> tuple[tuple[Instant, int | None], ...]:
        """Of the newest `most` charges under a limit's key every `step`-th, the newest first: when by the wall clock,
        and when by the boot clock (us) if it was in this boot."""
        ...

    async def starts(self, provider: str, since: Instant, since_boot: int, limit: int) -> list[Start]:
        """Calls started lately at the provider, oldest first (at most the newest `limit`), from the attempts.

        Those of this boot after `since_boot` (CLOCK_BOOTTIME, us), whatever the wall clock did meanwhile; those of
        earlier boots after `since` by the wall clock, the only time that outlives a boot.
        """
        ...
