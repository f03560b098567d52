"""How do the daemon's figures look to Prometheus?

The names of the metrics, their help and their form: the text exposition format 0.0.4
(https://prometheus.io/docs/instrumenting/exposition_formats/), written by prometheus-client. It refuses to count: what
counts is `engine.meters`, and what is a state of things (backlog, health, rates) is asked for at each scrape.

prometheus-client is imported at the first scrape, in a thread: a daemon that nobody scrapes does not hold it in memory,
and the loop does not stand still while it is read from disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final

from smsd import __version__
from smsd.core.alerting import Watch
from smsd.core.health import Standing
from smsd.core.message import Instant, Priority, State
from smsd.engine.meters import TAKEN, Histogram, Meters
from smsd.engine.roster import ProviderView
from smsd.engine.service import Service
from smsd.store import CallbackCounts, Totals

if TYPE_CHECKING:
    from prometheus_client.core import HistogramMetricFamily, Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `exposition` returns."""

Row = tuple[tuple[str, ...], float]


async def exposition(service: Service) -> str:
    """All metrics as text. Raises StoreError when the outbox cannot be read."""
    totals = await service.counting.totals()
    callbacks = await service.replaying.counts()
    await asyncio.to_thread(import_module, "prometheus_client")
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    alerts = service.office.alerts.standing()
    registry.register(_Now(service.meters, service.providers(), totals, callbacks, alerts, service.wall()))
    return generate_latest(registry).decode()


class _Now:
    """The figures of one moment; prometheus-client calls it a collector."""

    def __init__(
        self,
        meters: Meters,
        providers: tuple[ProviderView, ...],
        totals: Totals,
        callbacks: CallbackCounts,
        alerts: Sequence[tuple[Watch, str, bool]],
        now: Instant,
    ) -> None:
        self._meters = meters
        self._providers = providers
        self._totals = totals
        self._callbacks = callbacks
        self._alerts = alerts
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """Every metric once."""
        yield _gauge("smsd_build_info", "Always 1; the label says which version runs.", ["version"],
                     [((__version__,), 1)])  # fmt: skip
        yield from self._counters()
        yield from self._histograms()
        yield from self._states()

    def _counters(self) -> Iterator[Metric]:
        meters = self._meters
        yield _counter(
            "smsd_messages",
            "Message events since the start, by their names. provider is empty where none is concerned.",
            ["event", "provider"],
            [((kind.value, provider), count) for (kind, provider), count in meters.messages.items()],
        )
        yield _counter(
            "smsd_attempts",
            f"Calls to providers that ended. category is the error's, or {TAKEN} when the provider took the message.",
            ["provider", "category"],
            meters.attempts.items(),
        )
        yield _counter(
            "smsd_throttles",
            "Answers by which the provider said: too fast.",
            ["provider"],
            [((name,), count) for name, count in meters.throttles.items()],
        )
        yield _counter(
            "smsd_halts",
            "How often a provider was halted because it refused us.",
            ["provider"],
            [((name,), count) for name, count in meters.halts.items()],
        )
        yield _counter(
            "smsd_breaker_openings",
            "How often a provider was rested because its calls failed.",
            ["provider"],
            [((name,), count) for name, count in meters.breaker_openings.items()],
        )
        yield _counter(
            "smsd_suppressions",
            "Recipients suppressed because they opted out. provider is empty for those that hold everywhere.",
            ["provider"],
            [((name,), count) for name, count in meters.suppressions.items()],
        )
        yield _counter(
            "smsd_limit_hits",
            "How often a limit had no room, by what it counts and what follows. Counted when it is told (limit.hit).",
            ["per", "action"],
            meters.limit_hits.items(),
        )
        yield from self._way_back()

    def _way_back(self) -> Iterator[Metric]:
        meters = self._meters
        yield _counter(
            "smsd_receipts",
            "Delivery receipts, by what they say and what became of them.",
            ["provider", "status", "result"],
            meters.receipts.items(),
        )
        yield _counter(
            "smsd_webhooks_refused",
            "Requests to a provider's webhooks that did not prove where they come from.",
            ["provider"],
            [((name,), count) for name, count in meters.webhooks_refused.items()],
        )
        yield _counter(
            "smsd_webhooks_unreadable",
            "Requests to a provider's webhooks that did prove it and could not be read, or not wholly.",
            ["provider"],
            [((name,), count) for name, count in meters.webhooks_unreadable.items()],
        )
        yield _counter(
            "smsd_inbound",
            "Texts received, by the word that they are (stop, start, help); word is empty for all others.",
            ["provider", "word"],
            meters.inbound.items(),
        )
        yield _counter(
            "smsd_removed",
            "Rows that were taken away or redacted because they were old, by sort.",
            ["what"],
            [((what,), rows) for what, rows in meters.removed.items()],
        )
        yield _counter(
            "smsd_callbacks",
            "Calls to applications, by what came of them.",
            ["result"],
            [((result,), count) for result, count in meters.callbacks.items()],
        )
        yield _counter(
            "smsd_callbacks_dropped",
            "Callbacks that went untold because too many were kept, since the outbox was made.",
            [],
            [((), self._callbacks.dropped)],
        )

    def _histograms(self) -> Iterator[Metric]:
        meters = self._meters
        yield _histogram(
            "smsd_attempt_seconds",
            "How long calls to providers took, from the request to the answer or the failure.",
            {(name,): found for name, found in meters.call_s.items()},
            ["provider"],
        )
        yield _histogram(
            "smsd_accept_to_sent_seconds",
            "From acceptance until the provider took the message, waiting (send_at, retries) included.",
            {(): meters.accept_to_sent_s},
        )
        yield _histogram(
            "smsd_outbox_commit_seconds",
            "How long commits of the outbox took until they were synced to disk.",
            {(): meters.commit_s},
        )
        yield _histogram(
            "smsd_outbox_batch_rows",
            "Rows that shared a commit of the outbox.",
            {(): meters.batch_rows},
        )

    def _states(self) -> Iterator[Metric]:
        states = self._totals.states
        yield _gauge(
            "smsd_messages",
            "Messages the outbox holds now.",
            ["state", "priority"],
            [
                ((state.label, priority.label), states.get((state, priority), 0))
                for state in State
                for priority in Priority
            ],
        )
        oldest = self._totals.oldest_pending_at
        age_s = 0.0 if oldest is None else max(0, self._now - oldest) / 1e3
        yield _gauge(
            "smsd_oldest_pending_seconds",
            "For how long the message that has been due longest has been due; 0: none is.",
            [],
            [((), age_s)],
        )
        yield _gauge(
            "smsd_callbacks",
            "Callbacks to applications that wait now, and those that were given up and are kept.",
            ["state"],
            [(("waiting",), self._callbacks.waiting), (("failed",), self._callbacks.failed)],
        )
        yield _gauge(
            "smsd_provider_state",
            "1 for the state the provider is in, 0 for the others.",
            ["provider", "state"],
            [((view.name, state.value), float(view.state is state)) for view in self._providers for state in Standing],
        )
        yield _gauge(
            "smsd_provider_rate",
            "The provider's ceiling a minute now, in its unit: as configured, or lower if throttles have taught it so. "
            "Absent when it has none.",
            ["provider"],
            [((view.name,), view.rate_now) for view in self._providers if view.rate_now is not None],
        )
        yield _gauge(
            "smsd_alerts",
            "1 while the alert is raised, else 0; provider is empty where it is about none. Absent when it is not "
            "watched ([alerts]).",
            ["name", "provider"],
            [((watch.value, provider), float(raised)) for watch, provider, raised in self._alerts],
        )


def _counter(name: str, about: str, labels: list[str], rows: Iterable[Row]) -> Metric:
    """`name` without `_total`, which the library appends."""
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, about, labels=labels)
    for values, count in rows:
        family.add_metric(values, count)
    return family


def _gauge(name: str, about: str, labels: list[str], rows: Iterable[Row]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, about, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family


def _histogram(
    name: str, about: str, rows: dict[tuple[str, ...], Histogram], labels: list[str] | None = None
) -> HistogramMetricFamily:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(name, about, labels=labels or [])
    for values, histogram in rows.items():
        so_far, buckets = 0, []
        for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
            so_far += count
            buckets.append((bound, so_far))
        family.add_metric(values, buckets, histogram.sum)
    return family
