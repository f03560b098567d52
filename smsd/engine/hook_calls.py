"""What came in by each provider's webhooks, and who is told of what was wrong with it?

A forged request costs its sender nothing and a provider's own mistake comes a thousand times, so of one provider, and
of one kind of wrong, the first is told at once and the others together, at most every TELL_EVERY_S, with their number;
also those after which nothing came any more. Each is counted. What was wrong is said by whoever looked at the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from smsd.clock import Clock
from smsd.core.events import Kind
from smsd.core.message import Instant
from smsd.engine.bus import Bus
from smsd.engine.meters import Meters

log = structlog.get_logger("smsd.webhooks")

TELL_EVERY_S: Final = 10.0

MOST_TOLD: Final = 1_000
"""Codes in no table that are told in a run; the list of codes is the providers', so it may have no end."""


@dataclass(frozen=True, slots=True)
class HookCalls:
    """Requests to one provider's webhooks since the start."""

    taken: int = 0
    """It proved where it comes from, and all that it says is kept."""
    refused: int = 0
    """It did not prove where it comes from."""
    unreadable: int = 0
    """It did, and could not be read, or not wholly."""
    taken_at: Instant | None = None
    wrong_at: Instant | None = None
    """When the last one was refused or unreadable."""
    wrong: str | None = None
    """What was wrong with that one."""


@dataclass(slots=True)
class _Untold:
    """Requests with which the same kind of thing was wrong, of which nobody was told yet."""

    tell: Callable[[str, int], None] = field(repr=False)
    timer: asyncio.TimerHandle | None = None
    """Runs for TELL_EVERY_S after each telling."""
    count: int = 0
    reason: str = ""

    def add(self, reason: str) -> None:
        self.count, self.reason = self.count + 1, reason
        if self.timer is None:
            self.flush()

    def flush(self) -> None:
        """Tell them, if there are any."""
        self.timer = None
        if self.count:
            count, self.count = self.count, 0
            self.timer = asyncio.get_running_loop().call_later(TELL_EVERY_S, self.flush)
            self.tell(self.reason, count)

    def close(self) -> None:
        """Tell what is left; nothing comes after it."""
        if self.timer is not None:
            self.timer.cancel()
        self.flush()
        if self.timer is not None:
            self.timer.cancel()


class CallBook:
    """All providers' webhooks. Needs a running loop when something is wrong."""

    def __init__(self, bus: Bus, clock: Clock, meters: Meters) -> None:
        self._bus = bus
        self._clock = clock
        self._meters = meters
        self._calls: dict[str, HookCalls] = {}
        self._untold: dict[tuple[str, str], _Untold] = {}
        self._unlisted: set[tuple[str, str]] = set()

    def know(self, names: Iterable[str]) -> None:
        """These have webhooks from now on; those known before keep their counts, all others are forgotten."""
        self._calls = {name: self._calls.get(name, HookCalls()) for name in names}
        for key in [key for key in self._untold if key[0] not in self._calls]:
            self._untold.pop(key).close()

    def of(self, name: str) -> HookCalls:
        """What came from a provider."""
        return self._calls.get(name, HookCalls())

    def taken(self, name: str) -> None:
        """A request was, and all that it says is durable."""
        known = self._calls.get(name)
        if known is not None:  # a reload may have removed it meanwhile
            self._calls[name] = replace(known, taken=known.taken + 1, taken_at=self._clock.wall())

    def refused(self, name: str, reason: str) -> None:
        """A request does not prove where it comes from: event webhook.refused."""
        self._meters.webhook_refused(name)
        known = self.of(name)
        self._calls[name] = replace(known, refused=known.refused + 1, wrong_at=self._clock.wall(), wrong=reason)
        self._add(name, "refused", reason)

    def unreadable(self, name: str, reason: str) -> None:
        """A request that does prove it says what nobody understands: an error of the log."""
        self._meters.webhook_unreadable(name)
        known = self.of(name)
        self._calls[name] = replace(known, unreadable=known.unreadable + 1, wrong_at=self._clock.wall(), wrong=reason)
        self._add(name, "unreadable", reason)

    def unlisted(self, name: str, code: str) -> None:
        """A receipt's code is in no table; told once for each code in a run."""
        if (name, code) not in self._unlisted and len(self._unlisted) < MOST_TOLD:
            self._unlisted.add((name, code))
            log.warning(
                "a receipt's code is in no table; say what it means under [retry.codes]", provider=name, code=code
            )

    def close(self) -> None:
        """Tell what is left."""
        for untold in self._untold.values():
            untold.close()
        self._untold.clear()

    def _add(self, name: str, what: str, reason: str) -> None:
        untold = self._untold.get((name, what))
        if untold is None:

            def tell(reason: str, count: int) -> None:
                self._tell(name, what, reason, count)

            untold = self._untold[name, what] = _Untold(tell)
        untold.add(reason)

    def _tell(self, name: str, what: str, reason: str, count: int) -> None:
        if what == "refused":
            self._bus.publish(Kind.WEBHOOK_REFUSED, self._clock.wall(), provider=name, reason=reason, refused=count)
        else:
            log.error("a provider's webhook could not be read", provider=name, error=reason, unreadable=count)
