"""How are the questions of Records answered over SQLite?

Each is handed to the reading connection as one short function (`reading`, `untold`, `outlines`, ...), and a large one
as several, so that other readers and checkpoints come between them. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from smsd.core.admission import Key
from smsd.core.bunches import Line
from smsd.core.callback import Callback
from smsd.core.message import Attempt, Instant, Message
from smsd.core.suppression import Suppression
from smsd.store import allowance, arriving, binding, changes, outlines, reading, untold
from smsd.store.answers import KeyConflict, Replay
from smsd.store.incoming import Inbound
from smsd.store.lifetime import SqliteFile
from smsd.store.opening import Start
from smsd.store.pending import Slice
from smsd.store.views import CallbackCounts, Page, Person, PersonCounts, Query, Totals


class SqliteRecords(SqliteFile):
    """Records over one SQLite file."""

    async def get(self, id: str, tenant: str | None) -> Message | None:
        """See Records.get."""
        return await self._read(lambda db: changes.find(db, id, tenant))

    async def attempts(self, seq: int) -> list[Attempt]:
        """See Records.attempts."""
        return await self._read(lambda db: reading.attempts(db, seq))

    async def suppressions_of(self, number: str) -> tuple[Suppression, ...]:
        """See Records.suppressions_of."""
        return await self._read(lambda db: reading.suppressions_of(db, number))

    async def suppressions(
        self, scope: str | None, after: tuple[str, str] | None, limit: int
    ) -> tuple[Suppression, ...]:
        """See Records.suppressions."""
        return await self._read(lambda db: reading.suppressions(db, scope, after, limit))

    async def callbacks_due(
        self, now: Instant, limit: int, without: Collection[str] = (), but_of: Collection[str] = ()
    ) -> tuple[tuple[Callback, ...], Instant | None]:
        """See Records.callbacks_due."""
        return await self._read(lambda db: untold.due(db, now, limit, without, but_of))

    async def callbacks(self, tenant: str | None, failed: bool, after: str | None, limit: int) -> tuple[Callback, ...]:
        """See Records.callbacks. Several short reads where few of many are the tenant's."""
        found: list[Callback] = []
        following: str | None = after or ""
        while following is not None and len(found) < limit:
            some, following = await self._listed(tenant, failed, following, limit - len(found))
            found += some
        return tuple(found)

    async def _listed(
        self, tenant: str | None, failed: bool, after: str, limit: int
    ) -> tuple[list[Callback], str | None]:
        return await self._read(lambda db: untold.listed(db, tenant, failed, after, limit))

    async def callback_counts(self) -> CallbackCounts:
        """See Records.callback_counts."""
        return await self._read(untold.counts)

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
        """See Records.inbound."""
        senders = None if sender is None else self._redaction.names(sender)
        return await self._read(lambda db: arriving.inbound(db, tenant, senders, recipient, since, before, limit))

    async def find_key(self, tenant: str, key: str, content_hash: bytes) -> Replay | KeyConflict | None:
        """See Records.find_key."""
        same = self._redaction.same
        return await self._read(lambda db: reading.find_key(db, tenant, key, content_hash, same))

    async def page(self, query: Query) -> Page:
        """See Records.page."""
        redacted = None if query.recipient is None else self._redaction.names(query.recipient)[1]
        return await self._read(lambda db: reading.page(db, query, redacted))

    async def totals(self, since_minute: int, tenant: str | None = None) -> Totals:
        """See Records.totals."""
        return await self._read(lambda db: reading.totals(db, since_minute, tenant))

    async def counts_of(self, person: Person, day_since: Instant, hour_since: Instant) -> PersonCounts:
        """See Records.counts_of. Several short reads: other readers and checkpoints come between them."""
        if person.user is not None:
            return await self._counts_of_user(person.user, person.tenant, day_since, hour_since)
        names = self._redaction.names(person.recipient or "")
        counted, before = [], binding.MAX_INTEGER
        for _ in range(reading.RECIPIENT_STRETCHES):
            some, before = await self._read(
                partial(
                    reading.counts_of_recipient,
                    names=names,
                    tenant=person.tenant,
                    day=day_since,
                    hour=hour_since,
                    before=before,
                )
            )
            counted.append(some)
            if before == 0:
                break
        return reading.added(counted)

    async def _counts_of_user(self, user: str, tenant: str | None, day: Instant, hour: Instant) -> PersonCounts:
        tenants = await self._read(lambda db: reading.tenants_of(db, user)) if tenant is None else [tenant]
        counted = [
            await self._read(partial(reading.counts_of_user, user=user, tenant=name, day=day, hour=hour))
            for name in tenants
        ]
        return reading.added(counted)

    async def remaining(self, person: Person, now: Instant) -> int | None:
        """See Records.remaining."""
        charges = self._ledger.charges
        at = charges.line.at(now, charges.boot_us())
        return await self._read(lambda db: allowance.remaining(db, charges.rules.limits, charges.line, person, at))

    async def feed(self, flow: int, after: tuple[Instant, int] | None, until: Instant, limit: int) -> Slice:
        """See Records.feed."""
        return await self._read(lambda db: reading.feed(db, flow, after, until, limit))

    async def uncertain(
        self, until: Instant, limit: int, without: Collection[str] = ()
    ) -> tuple[list[Message], Instant | None]:
        """See Records.uncertain."""
        return await self._read(lambda db: reading.uncertain(db, until, limit, without))

    async def bound(self, provider_message_ids: Sequence[str], without: Collection[str] = ()) -> set[str]:
        """See Records.bound."""
        return await self._read(lambda db: binding.bound(db, provider_message_ids, without))

    async def starts(self, provider: str, since: Instant, since_boot: int, limit: int) -> list[Start]:
        """See Records.starts."""
        boot = self._ledger.boot
        return await self._read(lambda db: reading.starts(db, boot, provider, since, since_boot, limit))

    async def lines(self, most: int, now: Instant) -> tuple[Line, ...]:
        """See Records.lines."""
        return await self._read(lambda db: outlines.lines(db, most, now))

    async def place(self, flow: int, due: Instant, seq: int) -> int:
        """See Records.place."""
        return await self._read(lambda db: outlines.place(db, flow, due, seq))

    async def charged(self, key: Key, most: int, step: int) -> tuple[tuple[Instant, int | None], ...]:
        """See Records.charged."""
        boot = self._ledger.boot
        return await self._read(lambda db: outlines.charged(db, boot, key.kind, key.key, most, step))
