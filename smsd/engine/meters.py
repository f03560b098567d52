"""What does the daemon count for those who watch it?

Counters and histograms since the start, as plain numbers, fed by the bus, by the settler (calls to providers) and by
the outbox (commits). It refuses to know in what form they are shown (`listeners.metrics`) and what is better read off
the state of things when somebody looks (backlog, rates, health).

The number of series is bounded: events, categories and what limits count are closed lists, and a provider's name counts
only when it is configured (`know`); what names another one is counted under "". Nothing that a caller chose becomes a
label.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from smsd.core.consent import Word
from smsd.core.events import Event, Kind
from smsd.core.message import Attempt

TAKEN: Final = "OK"
"""Stands for the category of a call whose message the provider took; no category is called so."""

CALL_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
WAIT_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0)
COMMIT_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
BATCH_ROWS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 4_000.0)
"""Upper bounds of the histograms' buckets; the last bucket has none."""

_WORDS: Final = frozenset(Word)
_MESSAGES: Final = frozenset(kind for kind in Kind if kind.startswith("message."))


MEMORY: Final = 32
"""About how many of the latest calls the mean of their time remembers."""


class Histogram:
    """How often values fell into each bucket, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        """Upper ends, inclusive, rising."""
        self.counts = [0] * (len(bounds) + 1)
        """In each bucket alone; one more for what is above the last bound."""
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value; a negative one (a clock was set back) counts as 0, for the sum must never fall."""
        value = max(value, 0.0)
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Meters:
    """A sink of the bus. All numbers count from the start of this run; times are in seconds."""

    def __init__(self, providers: Iterable[str] = ()) -> None:
        self.messages: dict[tuple[Kind, str], int] = {}
        """Message events by kind and provider; "" when none is concerned, or one that is configured no more."""
        self.attempts: dict[tuple[str, str], int] = {}
        """Calls that ended, by provider and category (TAKEN: the provider took the message)."""
        self.call_s: dict[str, Histogram] = {}
        """How long calls took, by provider."""
        self.latency_s: dict[str, float] = {}
        """How long calls take lately, by provider; one that was not called yet is missing."""
        self.throttles: dict[str, int] = {}
        self.halts: dict[str, int] = {}
        self.breaker_openings: dict[str, int] = {}
        self.suppressions: dict[str, int] = {}
        """By the provider whose senders the recipient opted out of; "": of all."""
        self.limit_hits: dict[tuple[str, str], int] = {}
        """How often a limit had no room, by what it counts and what follows (limits.Per, limits.Action)."""
        self.receipts: dict[tuple[str, str, str], int] = {}
        """Delivery receipts by provider, status and what became of them (applied, known, unmatched)."""
        self.webhooks_refused: dict[str, int] = {}
        """Requests to a provider's webhooks that did not prove where they come from."""
        self.webhooks_unreadable: dict[str, int] = {}
        """Requests to a provider's webhooks that did prove it and could not be read, or not wholly."""
        self.callbacks: dict[str, int] = {}
        """Calls to applications by what came of them."""
        self.inbound: dict[tuple[str, str], int] = {}
        """Texts received, by provider and the word that they are ("": none)."""
        self.removed: dict[str, int] = {}
        """Rows that were taken away or redacted because they are old, by sort."""
        self._others = {
            Kind.PROVIDER_HALTED: self.halts,
            Kind.PROVIDER_BREAKER_OPENED: self.breaker_openings,
            Kind.SUPPRESSION_ADDED: self.suppressions,
        }
        self.accept_to_sent_s = Histogram(WAIT_S)
        self.commit_s = Histogram(COMMIT_S)
        self.batch_rows = Histogram(BATCH_ROWS)
        self.know(providers)

    def know(self, providers: Iterable[str]) -> None:
        """These are configured, from now on; those known before keep their counts."""
        for name in providers:
            if name not in self.call_s:
                self.call_s[name] = Histogram(CALL_S)
                self.throttles[name] = self.halts[name] = self.breaker_openings[name] = self.suppressions[name] = 0

    def __call__(self, event: Event) -> None:
        kind = event.kind
        if kind in _MESSAGES:
            provider = self._known(event.fields.get("provider"))
            key = (kind, provider)
            self.messages[key] = self.messages.get(key, 0) + 1
            since_ms = event.fields.get("since_accepted_ms")
            if isinstance(since_ms, int):
                self.accept_to_sent_s.observe(since_ms / 1e3)
            if kind is Kind.MESSAGE_THROTTLED:
                self.throttles[provider] = self.throttles.get(provider, 0) + 1
        elif kind is Kind.LIMIT_HIT:
            self._limit_hit(event)
        elif kind is Kind.INBOUND_RECEIVED:
            word = event.fields.get("word")
            arrived = (self._known(event.fields.get("provider")), str(word) if word in _WORDS else "")
            self.inbound[arrived] = self.inbound.get(arrived, 0) + 1
        elif kind in self._others:
            counts, provider = self._others[kind], self._known(event.fields.get("provider"))
            counts[provider] = counts.get(provider, 0) + 1

    def _limit_hit(self, event: Event) -> None:
        """One event stands for all refusals of its rule and key since the last one."""
        key = (str(event.fields["per"]), str(event.fields["action"]))
        hits = event.fields.get("hits")
        self.limit_hits[key] = self.limit_hits.get(key, 0) + (hits if isinstance(hits, int) else 1)

    def attempted(self, attempt: Attempt) -> None:
        """A call to a provider ended, however it did."""
        provider = self._known(attempt.provider)
        key = (provider, TAKEN if attempt.category is None else attempt.category.value)
        self.attempts[key] = self.attempts.get(key, 0) + 1
        if attempt.latency_ms is not None and provider:
            took = attempt.latency_ms / 1e3
            self.call_s[provider].observe(took)
            mean = self.latency_s.get(provider, took)
            self.latency_s[provider] = mean + (took - mean) / MEMORY

    def receipt(self, provider: str, status: str, result: str) -> None:
        """A delivery receipt came in."""
        key = (provider, status, result)
        self.receipts[key] = self.receipts.get(key, 0) + 1

    def webhook_refused(self, provider: str) -> None:
        """A request to one of its webhooks did not prove where it comes from."""
        self.webhooks_refused[provider] = self.webhooks_refused.get(provider, 0) + 1

    def webhook_unreadable(self, provider: str) -> None:
        """A request to one of its webhooks is its own, and could not be read."""
        self.webhooks_unreadable[provider] = self.webhooks_unreadable.get(provider, 0) + 1

    def callback(self, result: str) -> None:
        """A call to an application ended."""
        self.callbacks[result] = self.callbacks.get(result, 0) + 1

    def removal(self, what: str, rows: int) -> None:
        """So many rows of this sort went, or were redacted, because they are old."""
        self.removed[what] = self.removed.get(what, 0) + rows

    def committed(self, seconds: float, rows: int) -> None:
        """The outbox committed `rows` rows in one transaction, which took `seconds` until it was synced."""
        self.commit_s.observe(seconds)
        self.batch_rows.observe(rows)

    def _known(self, provider: object) -> str:
        return provider if isinstance(provider, str) and provider in self.call_s else ""
