"""How are the sums of a report read without holding anybody up?

On a connection of its own, opened by the first report and closed when none was made for a while. A report goes through
the messages in the order of their numbers, PIECE of them in one read (a few ms), which SQLite itself adds up: between
two reads the connection holds nothing, so that the writer's checkpoints are never kept from an end for longer than one
piece lasts. The price is that a report is not of one moment: what changes while it is made may stand in it or not.

Since numbers rise with the time of acceptance, the ends of the span are found by bisection; it may be out of order by
SLACK_MS (neighbours of one commit, a clock that was set back), and each message's own time decides. It refuses to know
what the sums mean.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from smsd.core.message import Instant, State
from smsd.core.report import MINUTE_MS, WENT, Failures, Group, RetrySums, Span, Sums, Tariff
from smsd.store import StoreBrokenError, StoreError
from smsd.store.connection import Connection, Handle
from smsd.store.faults import describe
from smsd.store.hands import Hands
from smsd.store.operators import MOST_GROUPS, MOST_ROWS, REST, TooWideError
from smsd.store.recovery import prepare_reader
from smsd.store.statements import arrays, grouped

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

PIECE: Final = 2_000
"""Messages of one read."""

MINUTES: Final = 1_440
"""Minutes of one read."""

SLACK_MS: Final = 600_000
IDLE_S: Final = 30.0

_WENT = f"state IN ({', '.join(str(int(state)) for state in sorted(WENT))})"
_OF_SPAN = "seq >= ? AND seq < ? AND created_at >= ? AND created_at < ?"

_NEXT = "SELECT created_at, seq FROM messages WHERE seq >= ? ORDER BY seq LIMIT 1"
_LAST = "SELECT max(seq) FROM messages"

_KEYS: Final[Mapping[Group, str]] = {
    Group.DAY: f"created_at / {MINUTE_MS}",
    Group.TENANT: "tenant",
    Group.CAMPAIGN: "coalesce(campaign, '')",
    Group.USER: "coalesce(\"user\", '')",
    Group.TYPE: "coalesce(\"type\", '')",
    Group.PROVIDER: "coalesce(provider, '')",
}


def _sums(by: Group, narrowed: str) -> str:
    """Of a piece: one row for all messages that agree. Provider and beginning of the number only where they price; of a
    redacted one that is what its redaction left."""
    inner = (
        f"SELECT {_KEYS[by]} AS k, state, price, "
        f"iif(price IS NULL AND {_WENT}, coalesce(provider, ''), '') AS carrier, "
        f"iif(price IS NULL AND {_WENT}, iif(redacted, coalesce(head, ''), substr(recipient, 1, ?)), '') AS begins, "
        "count(*) AS n, sum(segments) AS parts "
        f"FROM messages NOT INDEXED WHERE {_OF_SPAN}{narrowed} GROUP BY 1, 2, 3, 4, 5"
    )
    return grouped("k, state, n, parts, price, carrier, begins", f"({inner})")


def _errors(narrowed: str) -> str:
    """Of a piece: ids begin with the time of their making, so the greatest is the newest. Few messages fail, and there
    are indexes of those that did."""
    failed = " UNION ALL ".join(
        "SELECT error_category, error_cause, error_code, error_provider, id "
        f"FROM messages INDEXED BY {index} WHERE {_OF_SPAN} AND state = {int(state)}{narrowed}"
        for index, state in (("messages_failed", State.FAILED), ("messages_undelivered", State.UNDELIVERED))
    )
    inner = (
        "SELECT coalesce(iif(error_category = 'EXHAUSTED', coalesce(error_cause, error_category), error_category), '') "
        "AS category, coalesce(error_code, '') AS code, coalesce(error_provider, '') AS carrier, "
        "count(*) AS n, max(id) AS example "
        f"FROM ({failed}) GROUP BY 1, 2, 3"
    )
    return grouped("category, code, carrier, n, example", f"({inner})")


def _retries(narrowed: str) -> str:
    """Of a piece. Only final ones, so that no call of theirs is under way."""
    each = (
        "SELECT attempt, state IN (2, 3) AS good, "
        "max(0, coalesce(processed_at, created_at) - max(created_at, coalesce(send_at, 0))) AS wait, "
        "(SELECT total(latency_ms) FROM attempts AS a WHERE a.seq = messages.seq) AS latency, "
        "(SELECT count(latency_ms) FROM attempts AS a WHERE a.seq = messages.seq) AS timed "
        f"FROM messages NOT INDEXED WHERE {_OF_SPAN} AND state >= 2 AND attempt > 0{narrowed}"
    )
    inner = f"SELECT attempt, count(*), sum(good), sum(latency), sum(timed), sum(wait) FROM ({each}) GROUP BY attempt"
    named = f"WITH p (calls, n, good, latency, timed, wait) AS ({inner}) "
    return named + grouped("calls, n, good, cast(latency AS INTEGER), timed, wait", "p")


_RATE = grouped(
    "minute, sent, failed",
    "(SELECT minute, sum(sent) AS sent, sum(failed) AS failed FROM minutes WHERE minute >= ? AND minute < ? "
    "GROUP BY minute HAVING sum(sent) + sum(failed) > 0 ORDER BY minute)",
)
_RATE_OF_TENANT = grouped(
    "minute, sent, failed",
    "(SELECT minute, sent, failed FROM tenant_minutes WHERE minute >= ? AND minute < ? AND tenant = ? "
    "AND sent + failed > 0 ORDER BY minute)",
)


class SqliteReports:
    """Reports over one SQLite file."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()
        self._using = 0
        self._closed = False
        self._idle: asyncio.TimerHandle | None = None
        self._resting: asyncio.Task[None] | None = None

    # -- reports ------------------------------------------------------------------------------------------------------

    async def sums(self, span: Span, by: Group, days: Sequence[Instant], tariff: Tariff) -> Mapping[str, Sums]:
        """See Reports.sums."""
        found: dict[str, Sums] = {}
        async for rows in self._pieces(span, _sums(by, _narrowed(span)), (tariff.digits,)):
            for key, state, messages, segments, price, provider, head in rows:
                name = str(bisect_right(days, key * MINUTE_MS) - 1) if by is Group.DAY else key
                _within(found, name, REST, Sums).add(State(state), messages, segments, price, provider, head, tariff)
        return found

    async def errors(self, span: Span) -> Mapping[tuple[str, str, str], Failures]:
        """See Reports.errors."""
        found: dict[tuple[str, str, str], Failures] = {}
        async for rows in self._pieces(span, _errors(_narrowed(span)), times=2):
            for category, code, provider, messages, example in rows:
                failures = _within(found, (category, code, provider), (REST, "", ""), lambda: Failures(0, ""))
                failures.messages += messages
                failures.example = max(failures.example, example)
        return found

    async def retries(self, span: Span) -> Mapping[int, RetrySums]:
        """See Reports.retries."""
        found: dict[int, RetrySums] = {}
        async for rows in self._pieces(span, _retries(_narrowed(span))):
            for calls, *counts in rows:
                found.setdefault(calls, RetrySums()).plus(RetrySums(*counts))
        return dict(sorted(found.items()))

    async def rate(self, since: int, until: int, tenant: str | None) -> Sequence[tuple[int, int, int]]:
        """See Reports.rate."""
        found: list[tuple[int, int, int]] = []
        text = _RATE if tenant is None else _RATE_OF_TENANT
        of = () if tenant is None else (tenant,)
        for start in range(since, until, MINUTES):
            rows = await self._read(_reading(text, (start, min(start + MINUTES, until), *of)))
            found += [(minute, sent, failed) for minute, sent, failed in rows]
        return found

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _pieces(
        self, span: Span, text: str, before: tuple[object, ...] = (), times: int = 1
    ) -> AsyncIterator[list[Any]]:
        """The statement's rows for each piece of the span; its values: `before`, then `times` what _OF_SPAN and
        _narrowed ask for. Raises TooWideError."""
        after = _values(span)
        low, high = await self._read(lambda db: ends(db, span))
        if high - low > MOST_ROWS:
            raise TooWideError(high - low)
        for start in range(low, high, PIECE):
            of_piece = (start, min(start + PIECE, high), span.since, span.until, *after)
            yield await self._read(_reading(text, (*before, *of_piece * times)))

    async def _read(self, fn: Callable[[Handle], T]) -> T:
        """Run a read on the own connection."""
        self._using += 1
        try:
            connection = await self._opened()
            return await connection.run(fn)
        except StoreError:
            raise
        except Exception as error:
            raise StoreError(f"the outbox cannot be read ({describe(error)})") from error
        finally:
            self._using -= 1
            self._rest()

    async def _opened(self) -> Connection:
        async with self._opening:
            if self._closed:
                raise StoreBrokenError("the outbox is not open")
            if self._connection is None:
                connection = await self._hands.connect(self._hands.path)
                try:
                    await connection.run(prepare_reader)
                except BaseException:
                    await connection.close()
                    raise
                self._connection = connection
            return self._connection

    # -- resting ------------------------------------------------------------------------------------------------------

    @property
    def resting(self) -> bool:
        """Whether no connection is open."""
        return self._connection is None

    def _rest(self) -> None:
        """Close after a while in which nothing is read."""
        if self._idle is not None:
            self._idle.cancel()
        if not self._closed:
            self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._rested)

    def _rested(self) -> None:
        self._resting = asyncio.create_task(self._unless_used(), name="reports at rest")

    async def _unless_used(self) -> None:
        async with self._opening:
            if not self._using:
                await self._let_go()

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def close(self) -> None:
        """Close; a report under way raises StoreBrokenError at its next piece. Idempotent."""
        self._closed = True
        if self._idle is not None:
            self._idle.cancel()
        async with self._opening:
            await self._let_go()
        if self._resting is not None:
            with suppress(asyncio.CancelledError):
                await self._resting


def _reading(text: str, values: tuple[object, ...]) -> Callable[[Handle], list[Any]]:
    return lambda db: arrays(db, text, values)


def _narrowed(span: Span) -> str:
    """Conditions, each beginning with AND."""
    return ("" if span.tenant is None else " AND tenant = ?") + ("" if span.campaign is None else " AND campaign = ?")


def _values(span: Span) -> tuple[object, ...]:
    """Theirs."""
    return tuple(value for value in (span.tenant, span.campaign) if value is not None)


def _within(found: dict[K, T], key: K, rest: K, make: Callable[[], T]) -> T:
    """Those of the key; of the rest when there are too many keys already."""
    if key not in found and len(found) >= MOST_GROUPS:
        key = rest
    value = found.get(key)
    if value is None:
        value = found[key] = make()
    return value


def ends(db: Handle, span: Span) -> tuple[int, int]:
    """Numbers between which all messages of the span lie, the second exclusive."""
    last = db.execute(_LAST).fetchone()[0]
    if last is None:
        return 0, 0
    return _first_at(db, span.since - SLACK_MS, last), _first_at(db, span.until + SLACK_MS, last)


def _first_at(db: Handle, at: Instant, last: int) -> int:
    """The number of the first message accepted at this time or later; behind the last one if there is none."""
    first = db.execute(_NEXT, (0,)).fetchone()  # none where somebody has just deleted them all
    low: int = last + 1 if first is None else first[1]
    high = last + 1
    while low < high:
        middle = (low + high) // 2
        found = db.execute(_NEXT, (middle,)).fetchone()
        if found is not None and found[0] < at:
            low = found[1] + 1
        else:
            high = middle
    return low
