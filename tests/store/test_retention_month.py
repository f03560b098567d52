"""A month of traffic with the retention running: the file stops growing, memory too, and sending waits for nobody.

The outbox is driven as the engine drives it, by a clock that runs faster than the real one: batches are accepted, begun
and settled, and between them the retention takes its steps while claims and settlements are under way. What they waited
is measured and printed; the short run asserts the bound that makes it so (rows and work of a step), for on a machine
that is shared anybody may be stopped for longer.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from smsd.core.lifecycle import Event
from smsd.core.message import Draft, MessageId
from smsd.core.units import DAY, HOUR
from smsd.core.verdict import Category
from smsd.store import Claim, Stored
from smsd.store.operators import RetentionRules
from smsd.store.pace import WORK_S
from smsd.store.removal import pages_of
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW, draft
from tests.doubles.clock import ManualClock
from tests.store.conftest import Opening
from tests.store.contract import accept, attempt, error, settlement

WAL_MOST = 128 * 2**20
"""Between two checkpoints."""

SENDING_WAITS_S = 0.050
"""What the retention may hold sending up by, at most."""


@dataclass
class Month:
    """So many messages a day, in batches."""

    box: SqliteOutbox
    path: Path
    clock: ManualClock
    a_day: int
    batch: int
    """Accepted in one breath."""
    group: int
    """Claimed, and settled, in one."""
    rules: RetentionRules
    dice: random.Random = field(default_factory=lambda: random.Random(7))
    number: int = 0
    sizes: list[int] = field(default_factory=list)
    """Bytes of the database's pages at the end of each day, free ones included."""
    on_disk: list[int] = field(default_factory=list)
    """Bytes of all files: a -wal of up to 64 MiB comes to it."""
    rss: list[int] = field(default_factory=list)
    alone_s: list[float] = field(default_factory=list)
    """What a claim or a settlement took with nothing beside it."""
    beside_s: list[float] = field(default_factory=list)
    """What it took with a step before it that took something away."""
    kept: int = 0
    """Messages after each pass, at most."""

    async def run(self, days: int) -> None:
        for _ in range(days):
            for _ in range(self.a_day // self.batch):
                self.clock.advance(DAY * self.batch // self.a_day)
                await self.send()
            await self.box.beat(self.clock.wall())
            while not (await self.box.desk.removal.step(self.rules, self.clock.wall())).done:
                pass
            while await self.box.desk.removal.shrink():
                pass
            self.sizes.append((await self.box._read(pages_of))[1] * 4_096)
            self.on_disk.append(sum(each.stat().st_size for each in self.path.parent.iterdir()))
            self.rss.append(resident())
            totals = await self.box.totals(0)
            self.kept = max(self.kept, sum(totals.states.values()))
            if self.a_day >= 100_000:
                print(self.report(), flush=True)

    async def send(self) -> None:
        """A batch lives its whole life, and what is old goes meanwhile."""
        now = self.clock.wall()
        drafts = [self.draft(now) for _ in range(self.batch)]
        seqs = [one.seq for one in await accept(self.box, *drafts) if isinstance(one, Stored)]
        assert len(seqs) == self.batch
        for start in range(0, len(seqs), self.group):
            claims = [Claim(seq, 0, "main", "+15005550006") for seq in seqs[start : start + self.group]]
            await self.timed(partial(self.box.begin, claims, now))
            await self.timed(partial(self.settle, [claim.seq for claim in claims], now))

    async def timed(self, operation: Callable[[], Awaitable[object]]) -> None:
        """By turns alone and beside a step."""
        step = None
        if self.dice.random() < 0.5:
            step = asyncio.ensure_future(self.box.desk.removal.step(self.rules, self.clock.wall()))
            await asyncio.sleep(0)
        began = time.perf_counter()
        await operation()
        took = time.perf_counter() - began
        if step is None:
            self.alone_s.append(took)
        elif (await step).rows:
            self.beside_s.append(took)

    async def settle(self, seqs: list[int], now: int) -> None:
        await asyncio.gather(*(self.settled(seq, now) for seq in seqs))

    async def settled(self, seq: int, now: int) -> None:
        failed = self.dice.random() < 0.03
        event, cause = (Event.FAIL, error(Category.NETWORK, now)) if failed else (Event.TAKEN, None)
        pmid = None if failed else f"SM{seq:032d}"
        await self.box.settle(
            settlement(seq, event, at=now, error=cause, pmid=pmid), attempt(at=now, provider_message_id=pmid)
        )

    def draft(self, now: int) -> Draft:
        self.number += 1
        return draft(
            self.number,
            id=MessageId(f"{now:012x}-0000-7000-8000-{self.number:012d}"),
            recipient=f"+1415555{self.dice.randrange(10_000):04d}",
            text=f"Your appointment is at {self.number % 24}:00, please be there in time. Reply C to confirm.",
            created_at=now,
            due=now,
            expires_at=now + HOUR,
            user=f"u{self.dice.randrange(50_000)}",
            campaign=f"c{now // DAY}" if self.number % 3 == 0 else None,
            idempotency_key=f"key-{self.dice.randrange(16**8):08x}-{self.number}" if self.number % 2 else None,
            content_hash=b"h" * 32 if self.number % 2 else None,
        )

    def report(self) -> str:
        def spread(values: list[float]) -> str:
            ordered = sorted(values) or [0.0]
            return ", ".join(
                f"{name} {ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e3:.1f} ms"
                for name, share in (("median", 0.5), ("99 %", 0.99), ("99.9 %", 0.999), ("most", 1.0))
            )

        removal = self.box.desk.removal
        sizes = ", ".join(f"{size / 1e6:.1f}" for size in self.sizes)
        rss = ", ".join(f"{each / 1e6:.0f}" for each in self.rss)
        return "\n".join(
            [
                f"{self.number} messages; kept at most {self.kept}",
                f"MB by day: {sizes}; all files at most {max(self.on_disk) / 1e6:.0f}",
                f"resident MB by day: {rss}",
                f"alone: {spread(self.alone_s)}",
                f"beside a step: {spread(self.beside_s)}",
                f"a step's work: at most {removal.pace.longest_s * 1e3:.1f} ms, "
                f"of the processor {removal.pace.busiest_s * 1e3:.1f} ms",
                f"giving pages back: at most {removal.vacuum.longest_s * 1e3:.1f} ms",
            ]
        )


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def month(opening: Opening, path: Path, a_day: int, batch: int, group: int, keep_days: int, days: int) -> Month:
    clock = ManualClock(NOW)
    rules = RetentionRules(keep_days * DAY, keep_days * DAY, redact_ms=DAY)
    box = (await opening(now=NOW, boot_us=clock.boot)).box
    one = Month(box, path, clock, a_day, batch, group, rules)
    await one.run(days)
    print(one.report())
    return one


def assert_bounded(one: Month, keep_days: int) -> None:
    assert one.kept <= one.a_day * (keep_days + 1)
    plateau = one.sizes[keep_days + 3 :]
    assert max(plateau) <= plateau[0] * 1.10
    assert max(one.on_disk) <= max(one.sizes) + WAL_MOST
    assert max(one.rss[keep_days + 3 :]) <= one.rss[keep_days + 3] + 32_000_000


async def test_a_small_month(opening: Opening, path: Path) -> None:
    one = await month(opening, path, 400, 200, 50, keep_days=3, days=20)
    assert_bounded(one, 3)
    median = sorted(one.beside_s)[len(one.beside_s) // 2]
    assert median < SENDING_WAITS_S
    assert one.box.desk.removal.pace.busiest_s < 4 * WORK_S


@pytest.mark.long
async def test_a_month_of_100_000_a_day(opening: Opening, path: Path) -> None:
    one = await month(opening, path, 100_000, 1_000, 250, keep_days=7, days=30)
    assert_bounded(one, 7)
    alone, beside = (sorted(values) for values in (one.alone_s, one.beside_s))
    # The rarest waits are the disk's, with a step and without; the report shows both.
    assert beside[int(len(beside) * 0.99)] - alone[int(len(alone) * 0.99)] < SENDING_WAITS_S
    assert one.box.desk.removal.pace.busiest_s < SENDING_WAITS_S
