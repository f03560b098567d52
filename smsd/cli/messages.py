"""What became of a message, and what waits?

`show`, `queue` and `list`: each asks the daemon and prints its answer. Why a message waits is the daemon's to say, in
its own sentence.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, NamedTuple

import click

from smsd.cli import standing
from smsd.cli.explaining import advice, code_of, is_retryable, outcome_of, receipt_of
from smsd.cli.filters import by_filters, first, more, up_to
from smsd.cli.frame import Out, asks_daemon, complain, examples, printable
from smsd.cli.live import WATCH, View, present
from smsd.cli.render import Page, about, cell, facts, table, when
from smsd.cli.tables import ABSENT
from smsd.client import Client, Document, NotAllowed, NotFound


@click.command(
    "show",
    short_help="Everything about one message.",
    epilog=examples(
        "smsd show 01920000-0000-7000-8000-000000000001",
        "smsd show ID --attempts",
        "smsd show ID --json | jq .message.waiting",
    ),
)
@click.argument("id")
@click.option("--attempts", "only_attempts", is_flag=True, help="Only the calls made for it, with their traces.")
@asks_daemon
def show_command(client: Client, out: Out, *, id: str, only_attempts: bool) -> None:
    """Everything about one message: its state, why it waits or failed, and every call made for it.

    A call's trace is what the provider answered, without credentials, numbers and texts.
    """
    message = None if only_attempts else client.get(id)
    attempts = client.attempts(id)
    if out.json:
        out.document({"attempts": attempts} if message is None else {"message": message, "attempts": attempts})
        return
    now = datetime.now(UTC)
    if message is not None:
        out.line(f"{message['id']}  {message['state']}")
        facts(_facts(message, now, withdrawn=_is_withdrawn(client, message)))
        out.line("  Text")
        for line in ("(redacted)" if message["text"] is None else message["text"]).splitlines():
            out.line(f"    {printable(line)}")
    elif not attempts:
        out.line("No call was made for it yet.")
    for attempt in attempts:
        _show_attempt(out, attempt, now)


def _is_withdrawn(client: Client, message: Document) -> bool:
    """Whether its campaign is cancelled, where that matters. One that is kept no more holds nothing up."""
    if message["campaign"] is None or not is_retryable(message):
        return False
    try:
        return bool(client.campaign(message["campaign"], tenant=message["tenant"])["status"] == "cancelled")
    except (NotAllowed, NotFound):
        return False


def _facts(message: Document, now: datetime, *, withdrawn: bool) -> list[tuple[str, object]]:
    waiting, error = message["waiting"], message["error"]
    times = ("created_at", "send_at", "next_attempt_at", "processed_at", "sent_at", "delivered_at", "expires_at")
    labels = ("Accepted", "Send at", "Next attempt", "Last attempt", "Sent", "Delivered", "Expires")
    metadata = message["metadata"] or {}
    return [
        ("To", message["to"]),
        ("From", message["from"]),
        ("Waiting", waiting and f"{waiting['reason']}: {waiting['text']}"),
        ("Until", waiting and waiting["until"] and when(waiting["until"], now)),
        ("Will go", message.get("eta") and about(message["eta"], now)),
        ("Error", error and _told(error)),
        ("Said by", error and _said_by(error, now)),
        ("To do", advice(message, withdrawn=withdrawn)),
        *((label, message[name] and when(message[name], now)) for name, label in zip(times, labels, strict=True)),
        ("Attempts", f"{message['attempts']}, at most {message['max_attempts']} a round"),
        ("Provider", message["provider"]),
        ("Provider's id", message["provider_message_id"]),
        ("Price", message["price"]),
        ("Priority", message["priority"]),
        ("Tenant", message["tenant"]),
        ("User", message["user"]),
        ("Type", message["type"]),
        ("Campaign", message["campaign"]),
        ("Key", message["idempotency_key"]),
        *((f"+ {name}", value) for name, value in metadata.items()),
        ("Size", _size(message)),
    ]


def _size(message: Document) -> str:
    cut = ", truncated" if message.get("truncated") else ""
    segments = "segment" if message["segments"] == 1 else "segments"
    return f"{message['segments']} {segments}, {message['length']} units of {message['encoding']}{cut}"


def _told(error: Document) -> str:
    cause = f", after {error['cause']}" if error.get("cause") else ""
    return f"{error['category']}: {error['message']}{code_of(error)}{cause}"


def _said_by(error: Document, now: datetime) -> str | None:
    """Whose word the error is, and when it came."""
    who, at = error.get("provider") or "smsd", error.get("at")
    return None if at is None else f"{who}, {when(at, now)}"


def _show_attempt(out: Out, attempt: Document, now: datetime) -> None:
    took = ABSENT if attempt["latency_ms"] is None else f"{attempt['latency_ms']} ms"
    out.line(f"  Attempt {attempt['n']} at {attempt['provider']}: {outcome_of(attempt)}")
    facts(
        [
            ("  Started", when(attempt["started_at"], now)),
            ("  Took", took),
            ("  HTTP status", attempt["http_status"]),
            ("  Code", attempt["code"]),
            ("  Category", attempt["category"]),
            ("  Provider's id", attempt["provider_message_id"]),
            ("  Receipt", receipt_of(attempt) and f"{receipt_of(attempt)}, {when(attempt['receipt_at'], now)}"),
        ]
    )
    for line in (attempt.get("trace") or "").splitlines():
        out.line(f"      | {printable(line)}")


@click.command(
    "queue",
    epilog=examples(
        "smsd queue",
        "smsd queue --watch",
        "smsd queue --limit 1000 --json | jq -r .waiting.reason | sort | uniq -c",
    ),
)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Messages shown, newest first.")
@WATCH
@asks_daemon
def queue_command(client: Client, out: Out, *, limit: int, every: float | None) -> None:
    """What waits to be sent, and for what."""

    def ask() -> _Queue:
        shown, cut = first(limit, client.list(state="pending,processing", limit=limit + 1))
        return _Queue(shown, None if out.json else _counts(client), more(limit) if cut else None)

    present(View(ask, lambda queue: queue.shown, _queue_page, lambda queue: queue.note), out, every)


class _Queue(NamedTuple):
    """`stats`: None where they are not asked for, or may not be seen."""

    shown: list[Document]
    stats: Document | None
    note: str | None


def _counts(client: Client) -> Document | None:
    """None for a caller who may not see counts."""
    try:
        return client.stats()
    except NotAllowed:
        return None


def _queue_page(queue: _Queue) -> Page:
    now = datetime.now(UTC)
    page = Page()
    if queue.shown:
        page.table(_QUEUE_HEADS, [_queued(message, now) for message in queue.shown], _QUEUE_OPTIONAL)
    if queue.stats is not None:
        _summary(page, queue.stats, now)
    elif not queue.shown:
        page.line("Nothing of yours waits.")
    return page


_QUEUE_HEADS: Final = ("ID", "STATE", "PRIORITY", "TO", "TRIED", "UNTIL", "WHY")
_QUEUE_OPTIONAL: Final = ("TO", "UNTIL", "PRIORITY", "TRIED")


def _queued(message: Document, now: datetime) -> tuple[object, ...]:
    waiting = message["waiting"] or {}
    return (
        *(message[name] for name in ("id", "state", "priority", "to", "attempts")),
        when(waiting.get("until"), now),
        waiting.get("text"),
    )


def _summary(page: Page, stats: Document, now: datetime) -> None:
    pending, processing = (stats["states"].get(name, 0) for name in ("pending", "processing"))
    last = f" The last goes {about(stats['eta'], now)}." if stats["eta"] else ""
    page.line(f"{pending} pending, {processing} processing.{last}")
    for name, provider in stats["providers"].items():
        if provider["state"] != "open":
            page.line(f"Provider {name} is {provider['state']}: {cell(standing.told(provider, now))}")
        elif (slowed := standing.slowed(provider)) is not None:
            page.line(f"Provider {name} is called at {standing.rate(provider)}: {slowed}")


@click.command(
    "list",
    epilog=examples(
        "smsd list --state failed --since 2026-01-02T00:00:00Z",
        "smsd list --to +15550100123 --json",
        "smsd list --state failed --category NETWORK --limit 1000",
    ),
)
@by_filters
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Messages shown at most.")
@asks_daemon
def list_command(client: Client, out: Out, *, states: tuple[str, ...], limit: int, **filters: str | None) -> None:
    """Messages, newest first.

    What can be done about all that a filter finds: smsd retry --help, smsd cancel --help.
    """
    found = client.list(state=",".join(states) or None, limit=limit + 1, **filters)
    if out.json:
        for message in up_to(limit, found):
            out.document(message)
        return
    shown, cut = first(limit, found)
    if shown:
        listed(shown)
    else:
        click.echo("No such messages.", err=True)
    if cut:
        complain([more(limit)], "")


def listed(messages: list[Document]) -> None:
    """Print them as a table."""
    now = datetime.now(UTC)
    table(_LIST_HEADS, [_listed(message, now) for message in messages], _LIST_OPTIONAL)


_LIST_HEADS: Final = ("ID", "STATE", "TO", "ACCEPTED", "PROVIDER", "TRIED", "WHY")
_LIST_OPTIONAL: Final = ("TO", "ACCEPTED", "TRIED")


def _listed(message: Document, now: datetime) -> tuple[object, ...]:
    error, waiting = message["error"], message["waiting"]
    why = waiting["text"] if waiting else _told(error) if error else None
    return (
        *(message[name] for name in ("id", "state", "to")),
        when(message["created_at"], now),
        message["provider"],
        message["attempts"],
        why,
    )
