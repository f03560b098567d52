"""The exposition, read as Prometheus reads it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from smsd import __version__
from smsd.core.consent import Word
from smsd.core.events import Event, Kind
from smsd.core.health import Standing
from smsd.core.limits import Action, Per
from smsd.core.message import Priority, State
from smsd.core.verdict import Category
from smsd.engine.meters import BATCH_ROWS, TAKEN, Histogram
from smsd.engine.replaying import Replaying
from smsd.listeners.metrics import exposition
from smsd.store import Tracking
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW, draft
from tests.listeners.house import House, until

Labels = tuple[tuple[str, str], ...]

NAMES = {
    ("smsd_build_info", "gauge"),
    ("smsd_messages", "counter"),
    ("smsd_attempts", "counter"),
    ("smsd_throttles", "counter"),
    ("smsd_halts", "counter"),
    ("smsd_breaker_openings", "counter"),
    ("smsd_removed", "counter"),
    ("smsd_suppressions", "counter"),
    ("smsd_limit_hits", "counter"),
    ("smsd_receipts", "counter"),
    ("smsd_webhooks_refused", "counter"),
    ("smsd_webhooks_unreadable", "counter"),
    ("smsd_inbound", "counter"),
    ("smsd_callbacks", "counter"),
    ("smsd_callbacks_dropped", "counter"),
    ("smsd_attempt_seconds", "histogram"),
    ("smsd_accept_to_sent_seconds", "histogram"),
    ("smsd_outbox_commit_seconds", "histogram"),
    ("smsd_outbox_batch_rows", "histogram"),
    ("smsd_messages", "gauge"),
    ("smsd_callbacks", "gauge"),
    ("smsd_oldest_pending_seconds", "gauge"),
    ("smsd_provider_state", "gauge"),
    ("smsd_provider_rate", "gauge"),
    ("smsd_alerts", "gauge"),
}
"""The parser takes `_total` off a counter."""


async def scraped(house: House) -> list[Metric]:
    return list(text_string_to_metric_families(await exposition(house.engine.service)))


def samples(metrics: list[Metric], name: str) -> dict[Labels, float]:
    """Samples of this very name, by labels."""
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for metric in metrics
        for sample in metric.samples
        if sample.name == name
    }


async def test_every_metric_is_there_once_with_help(house: House) -> None:
    metrics = await scraped(house)
    assert sorted((metric.name, metric.type) for metric in metrics) == sorted(NAMES)
    assert all(metric.documentation for metric in metrics)
    assert samples(metrics, "smsd_build_info") == {(("version", __version__),): 1}


async def test_a_message_on_its_way_is_seen_in_every_figure(house: House) -> None:
    client = await house.client()
    await client.send(priority="high")
    house.clock.advance(1_500)
    before = await scraped(house)
    assert samples(before, "smsd_messages")[(("priority", "high"), ("state", "pending"))] == 1
    assert samples(before, "smsd_oldest_pending_seconds") == {(): 1.5}
    assert samples(before, "smsd_provider_state")[(("provider", "main"), ("state", "paused"))] == 1
    await house.engine.service.resume("main")
    await until(lambda: house.engine.tally.backlog == 0)
    after = await scraped(house)
    assert samples(after, "smsd_messages")[(("priority", "high"), ("state", "sent"))] == 1
    assert samples(after, "smsd_oldest_pending_seconds") == {(): 0}
    assert samples(after, "smsd_messages_total") == {
        (("event", "message.accepted"), ("provider", "")): 1,
        (("event", "message.sent"), ("provider", "main")): 1,
    }
    assert samples(after, "smsd_attempts_total") == {(("category", TAKEN), ("provider", "main")): 1}
    assert samples(after, "smsd_attempt_seconds_count") == {(("provider", "main"),): 1}
    assert samples(after, "smsd_accept_to_sent_seconds_sum") == {(): 1.5}
    standing = {labels[1][1]: value for labels, value in samples(after, "smsd_provider_state").items()}
    assert standing == {state.value: float(state is Standing.OPEN) for state in Standing}
    assert samples(after, "smsd_provider_rate") == {}


async def test_buckets_count_what_is_below_them_too(house: House) -> None:
    house.engine.meters.batch_rows = Histogram(BATCH_ROWS)
    for rows in (3, 20, 9_999):
        house.engine.meters.committed(0.004, rows)
    buckets = samples(await scraped(house), "smsd_outbox_batch_rows_bucket")
    assert [buckets[(("le", le),)] for le in ("2.0", "5.0", "20.0", "4000.0", "+Inf")] == [0, 1, 2, 2, 3]


async def test_no_label_comes_from_a_caller(house: House) -> None:
    """What callers choose is in no series; what the rest can be is a closed list."""
    client = await house.client()
    for n in range(20):
        answer = await client.send(f"canary text {n}", user=f"canary{n}", type=f"canary{n}", tenant=f"canary{n}",
                                   metadata={"canary": "x"}, idempotency_key=f"canary{n}")  # fmt: skip
        assert answer["ok"], answer
    # As of a provider that was configured when the message was sent, and is no more.
    house.engine.meters(Event(Kind.MESSAGE_FAILED, 0, {"provider": "canary", "tenant": "canary"}))
    house.engine.meters(Event(Kind.INBOUND_RECEIVED, 0, {"provider": "canary", "word": "canary"}))
    await house.engine.service.resume("main")
    await until(lambda: house.engine.tally.backlog <= 0)
    metrics = await scraped(house)
    allowed = {
        "event": {kind.value for kind in Kind},
        "provider": {"", "main"},
        "category": {TAKEN, *Category},
        "state": {*(state.label for state in State), *Standing, "waiting", "failed"},
        "priority": {priority.label for priority in Priority},
        "version": {__version__},
        "per": {*Per},
        "action": {*Action},
        "word": {"", *Word},
    }
    for metric in metrics:
        for sample in metric.samples:
            for label, value in sample.labels.items():
                assert label == "le" or value in allowed[label], sample
    assert samples(metrics, "smsd_messages_total")[(("event", "message.accepted"), ("provider", ""))] == 20


async def test_a_provider_that_comes_by_a_reload_appears_and_stays(house: House) -> None:
    house.engine.meters.know(["second"])
    house.engine.meters(Event(Kind.PROVIDER_HALTED, 0, {"provider": "second"}))
    house.engine.meters.know(["main"])
    assert samples(await scraped(house), "smsd_halts_total") == {
        (("provider", "main"),): 0,
        (("provider", "second"),): 1,
    }


async def test_what_comes_back_is_counted(house: House) -> None:
    meters = house.engine.meters
    meters.receipt("main", "delivered", "applied")
    meters.webhook_refused("main")
    meters.webhook_refused("main")
    meters.webhook_unreadable("main")
    meters.callback("told")
    for word in (Word.STOP, Word.STOP, None):
        meters(Event(Kind.INBOUND_RECEIVED, 0, {"provider": "main", "word": word}))
    metrics = await scraped(house)
    about = (("provider", "main"), ("result", "applied"), ("status", "delivered"))
    assert samples(metrics, "smsd_receipts_total") == {about: 1}
    assert samples(metrics, "smsd_webhooks_refused_total") == {(("provider", "main"),): 2}
    assert samples(metrics, "smsd_webhooks_unreadable_total") == {(("provider", "main"),): 1}
    assert samples(metrics, "smsd_callbacks_total") == {(("result", "told"),): 1}
    words = {dict(labels)["word"]: count for labels, count in samples(metrics, "smsd_inbound_total").items()}
    assert words == {"stop": 2, "": 1}


async def test_callbacks_are_counted_by_what_waits(house: House, tmp_path: Path) -> None:
    box = SqliteOutbox(tmp_path / "callbacks.db", on_fatal=lambda error: None)
    await box.track(Tracking(callbacks={"shop": "https://shop.example.org"}))
    await box.open(NOW)
    for n in (1, 2, 3):
        box.accept(draft(n), lambda _: None)
        await box.cancel(draft(n).id, None, NOW)
    first, *_ = await box.callbacks(None, False, None, 1)
    await box.callback_failed(replace(first, due=None))
    house.engine.service.replaying = Replaying(box, box, house.clock, lambda tenant: None)
    states = {labels[0][1]: count for labels, count in samples(await scraped(house), "smsd_callbacks").items()}
    assert states == {"waiting": 2, "failed": 1}
    await box.close()


async def test_scrapes_at_the_same_time_do_not_mix(house: House) -> None:
    texts = await asyncio.gather(*(exposition(house.engine.service) for _ in range(5)))
    assert len(set(texts)) == 1


def test_the_library_is_not_loaded_before_the_first_scrape() -> None:
    code = "import sys, smsd.listeners.metrics; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
