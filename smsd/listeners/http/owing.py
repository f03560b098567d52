"""How much is written to clients that do not read, and who goes when it is too much?

An answer that its client leaves unread waits in memory until the client is dropped for it, and thousands of clients can
leave one unread each. So what waits is counted by caller: above the bound of one caller, those of its connections that
hold most are dropped; above the bound of all, those of the caller who holds most. Half of the bound is freed, so that
this is not done again at once. A client that reads is not counted. It knows nothing of HTTP, and a caller only by name.
"""

from __future__ import annotations

from typing import Protocol

import structlog

log = structlog.get_logger("smsd.http")

MAY_ADD = 65_536
"""Bytes that aiohttp adds to those waiting before it waits itself; counted for everybody who is behind."""


class Debtor(Protocol):
    """A connection whose client is behind."""

    def unread(self) -> int:
        """Bytes that wait for it now."""
        ...

    def drop(self) -> None:
        """Close soon, whatever is owed; not within this call."""
        ...


class Owing:
    """The clients that are behind. Bytes: `most` of all, `most_of_one` caller's."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._held: dict[str, dict[Debtor, int]] = {}
        self._sums: dict[str, int] = {}
        self._callers: dict[Debtor, str] = {}
        self.total = 0

    def owes(self, debtor: Debtor, caller: str) -> None:
        """Its client is behind, or was already and there is more. `caller`: whose answer it is."""
        self.settled(debtor)
        self._callers[debtor] = caller
        self._held.setdefault(caller, {})[debtor] = 0
        self._change(debtor, debtor.unread() + MAY_ADD)
        if self._sums[caller] > self._most_of_one:
            self._measure(caller)
            if self._sums[caller] > self._most_of_one:
                self._drop(caller, self._most_of_one // 2)
        if self.total > self._most:
            self._relieve()

    def settled(self, debtor: Debtor) -> None:
        """Its client has read all of it, or is gone."""
        caller = self._callers.get(debtor)
        if caller is None:
            return
        self._change(debtor, 0)
        del self._callers[debtor]
        del self._held[caller][debtor]
        if not self._held[caller]:
            del self._held[caller], self._sums[caller]

    def _change(self, debtor: Debtor, size: int) -> None:
        caller = self._callers[debtor]
        change = size - self._held[caller][debtor]
        self._held[caller][debtor] = size
        self._sums[caller] = self._sums.get(caller, 0) + change
        self.total += change

    def _measure(self, caller: str) -> None:
        """They may have read a part meanwhile."""
        for debtor in self._held[caller]:
            self._change(debtor, debtor.unread() + MAY_ADD)

    def _relieve(self) -> None:
        for caller in self._held:
            self._measure(caller)
        if self.total > self._most:
            while self.total > self._most // 2:
                richest = max(self._sums, key=self._sums.__getitem__)
                self._drop(richest, self._sums[richest] // 2)

    def _drop(self, caller: str, most: int) -> None:
        """Those who hold most, until no more than `most` is left."""
        held = self._held[caller]
        dropped = 0
        for debtor in sorted(held, key=held.__getitem__, reverse=True):
            if self._sums.get(caller, 0) <= most:
                break
            self.settled(debtor)
            debtor.drop()
            dropped += 1
        log.warning("clients are dropped: too much of their answers is unread", caller=caller, count=dropped)
