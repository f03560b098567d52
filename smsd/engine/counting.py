"""How much was done, how much waits, and when will that be gone?

For all, for one tenant, for a user or a number. None of it is made by counting messages: the store keeps counts, and
the last minutes are in memory (`tally`). What a day is, is the daemon's time zone's to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo

from smsd.clock import Clock
from smsd.core.message import Instant
from smsd.engine.outlook import Lookout
from smsd.engine.roster import ProviderView, Roster
from smsd.engine.tally import Tally
from smsd.store import Person, PersonCounts, Records, Totals

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class Stats:
    """The daemon's counts."""

    totals: Totals
    providers: tuple[ProviderView, ...]
    sent_last_minute: int
    sent_last_hour: int
    sent_today: int
    failed_today: int
    eta: Instant | None
    uptime_s: int


class Counting:
    """Tells counts. Raises StoreError when they cannot be read."""

    def __init__(
        self, records: Records, roster: Roster, tally: Tally, lookout: Lookout, clock: Clock, zone: tzinfo
    ) -> None:
        self._records = records
        self._roster = roster
        self._tally = tally
        self._lookout = lookout
        self._clock = clock
        self.zone = zone
        """Where days begin."""
        self._started = clock.boot()

    async def stats(self, tenant: str | None = None) -> Stats:
        """Counts, of all or of one tenant."""
        now = self._clock.wall()
        today, hour = self._today(now), now // MINUTE_MS - 59
        totals = await self._records.totals(min(today, hour), tenant)
        of_today = [row for row in totals.minutes if row.minute >= today]
        if tenant is None:
            last_minute, last_hour = self._tally.sent_last_minute(), self._tally.sent_last_hour()
        else:
            last_minute = self._tally.sent_last_minute_of(tenant)
            last_hour = sum(row.sent for row in totals.minutes if row.minute >= hour)
        return Stats(
            totals=totals,
            providers=self._roster.views(tenant),
            sent_last_minute=last_minute,
            sent_last_hour=last_hour,
            sent_today=sum(row.sent for row in of_today),
            failed_today=sum(row.failed for row in of_today),
            # How long a tenant's messages take depends on everybody's; their number is not the tenant's to know.
            eta=await self._lookout.backlog_eta() if tenant is None else None,
            uptime_s=(self._clock.boot() - self._started) // 1_000_000,
        )

    async def totals(self) -> Totals:
        """The kept counts of the whole daemon, without any minutes."""
        return await self._records.totals(self._clock.wall() // MINUTE_MS + 1)

    async def counts_of(self, person: Person) -> PersonCounts:
        """Counts of the messages about a user or to a number."""
        now = self._clock.wall()
        return await self._records.counts_of(person, self._today(now) * MINUTE_MS, now - HOUR_MS)

    async def remaining(self, person: Person) -> int | None:
        """How many more messages the limits on the person have room for now, the least over all; None: none binds it.

        Raises StoreError also when the ledger cannot be read.
        """
        return await self._records.remaining(person, self._clock.wall())

    def _today(self, now: Instant) -> int:
        """The minute at which today began in the daemon's time zone."""
        local = datetime.fromtimestamp(now / 1e3, self.zone)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        return int(midnight.timestamp()) // 60
