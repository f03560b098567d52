"""What became of a message, what waits, and what can an operator do about it?

`show`, `queue`, `list`, `cancel` and `retry`: each asks the daemon and prints its answer. What is allowed is the
daemon's to say; why a message waits too, in its own sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import click

from smsd.cli.frame import Out, asks_daemon, examples, exit_code, leave, printable
from smsd.cli.live import WATCH, View, present
from smsd.cli.render import ABSENT, Page, facts, table, when
from smsd.client import Client, Document, NotAllowed, SmsdError

STATES = ("pending", "processing", "sent", "delivered", "undelivered", "failed", "cancelled", "expired")


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
        facts(_facts(message, now))
        out.line("  Text")
        for line in message["text"].splitlines():
            out.line(f"    {printable(line)}")
    elif not attempts:
        out.line("No call was made for it yet.")
    for attempt in attempts:
        _show_attempt(out, attempt, now)


def _facts(message: Document, now: datetime) -> list[tuple[str, object]]:
    waiting, error = message["waiting"], message["error"]
    times = ("created_at", "send_at", "next_attempt_at", "processed_at", "sent_at", "delivered_at", "expires_at")
    labels = ("Accepted", "Send at", "Next attempt", "Last attempt", "Sent", "Delivered", "Expires")
    metadata = message["metadata"] or {}
    return [
        ("To", message["to"]),
        ("From", message["from"]),
        ("Waiting", waiting and waiting["text"]),
        ("Until", waiting and waiting["until"] and when(waiting["until"], now)),
        ("Error", error and _told(error)),
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
    code = f" (code {error['code']})" if error.get("code") else ""
    cause = f", after {error['cause']}" if error.get("cause") else ""
    return f"{error['category']}: {error['message']}{code}{cause}"


def _show_attempt(out: Out, attempt: Document, now: datetime) -> None:
    took = ABSENT if attempt["latency_ms"] is None else f"{attempt['latency_ms']} ms"
    out.line(f"  Attempt {attempt['n']} at {attempt['provider']}: {attempt['outcome']}")
    facts(
        [
            ("  Started", when(attempt["started_at"], now)),
            ("  Took", took),
            ("  Status", attempt["http_status"]),
            ("  Code", attempt["code"]),
            ("  Category", attempt["category"]),
            ("  Provider's id", attempt["provider_message_id"]),
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

    def ask() -> tuple[list[Document], Document | None]:
        found = [*client.list(state="pending,processing", limit=limit)]
        return found, None if out.json else _counts(client)

    present(View(ask, lambda answer: answer[0], partial(_queue_page, limit)), out, every)


def _counts(client: Client) -> Document | None:
    """None for a caller who may not see counts."""
    try:
        return client.stats()
    except NotAllowed:
        return None


def _queue_page(limit: int, answer: tuple[list[Document], Document | None]) -> Page:
    found, stats = answer
    now = datetime.now(UTC)
    page = Page()
    if found:
        heads = ("ID", "STATE", "PRIORITY", "TO", "TRIED", "UNTIL", "WHY")
        page.table(heads, [_queued(message, now) for message in found])
    if stats is not None:
        _summary(page, stats, limit)
    elif not found:
        page.line("Nothing of yours waits.")
    return page


def _queued(message: Document, now: datetime) -> tuple[object, ...]:
    waiting = message["waiting"] or {}
    return (
        *(message[name] for name in ("id", "state", "priority", "to", "attempts")),
        when(waiting.get("until"), now),
        waiting.get("text"),
    )


def _summary(page: Page, stats: Document, limit: int) -> None:
    pending, processing = (stats["states"].get(name, 0) for name in ("pending", "processing"))
    rest = f" The newest {limit} are shown." if pending + processing > limit else ""
    page.line(f"{pending} pending, {processing} processing.{rest}")
    for name, provider in stats["providers"].items():
        if provider["state"] != "open":
            page.line(f"Provider {name} is {provider['state']}: {printable(provider['reason'] or 'no reason given')}")


@click.command(
    "list",
    epilog=examples(
        "smsd list --state failed --since 2026-01-02T00:00:00Z",
        "smsd list --to +15550100123 --json",
        "smsd list --state failed --category NETWORK --json | jq -r .id | xargs smsd retry",
    ),
)
@click.option("--state", "states", type=click.Choice(STATES), multiple=True, help="Repeatable.")
@click.option("--to", metavar="NUMBER", help="Recipient, in E.164.")
@click.option("--user", metavar="USER")
@click.option("--tenant", metavar="TENANT")
@click.option("--campaign", metavar="ID")
@click.option("--category", metavar="CATEGORY", help="Error category, e.g. NETWORK.")
@click.option("--since", metavar="TIME", help="Accepted at this time or later (RFC 3339 with offset).")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Messages shown at most.")
@asks_daemon
def list_command(client: Client, out: Out, *, states: tuple[str, ...], limit: int, **filters: str | None) -> None:
    """Messages, newest first."""
    found = client.list(state=",".join(states) or None, limit=limit, **filters)
    if out.json:
        for message in found:
            out.document(message)
        return
    now = datetime.now(UTC)
    rows = [_listed(message, now) for message in found]
    if rows:
        table(("ID", "STATE", "TO", "ACCEPTED", "PROVIDER", "TRIED", "WHY"), rows)
    else:
        click.echo("No such messages.", err=True)


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


@click.command(
    "cancel",
    epilog=examples("smsd cancel ID", "smsd list --state pending --user alice --json | jq -r .id | xargs smsd cancel"),
)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@asks_daemon
def cancel_command(client: Client, out: Out, *, ids: tuple[str, ...]) -> None:
    """Cancel messages that are still pending. One that is being sent cannot be called back."""
    _each(out, ids, client.cancel)


@click.command(
    "retry",
    short_help="Send failed messages again.",
    epilog=examples(
        "smsd retry ID",
        "smsd retry ID --ttl 2h",
        "smsd list --state failed --category UNCERTAIN --json | jq -r .id | xargs smsd retry --force",
    ),
)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--ttl", metavar="SPAN", help="New time to live, e.g. 2h.")
@click.option("--force", is_flag=True, help="Also one that may have been sent already: it may arrive twice.")
@asks_daemon
def retry_command(client: Client, out: Out, *, ids: tuple[str, ...], ttl: str | None, force: bool) -> None:
    """Send failed, undelivered or expired messages again, in a new round of attempts."""
    _each(out, ids, partial(client.retry, ttl=ttl, force=force))


def _each(out: Out, ids: tuple[str, ...], act: Callable[[str], Document]) -> None:
    """Do it to every message; those that cannot be done are told, and the exit code is that of the first of them."""
    code = 0
    for id in ids:
        try:
            message = act(id)
        except SmsdError as error:
            out.problem(error, id)
            code = code or exit_code(error)
            if error.code == "unreachable":
                break  # nor will the others get through
        else:
            out.document(message) if out.json else out.line(f"{message['id']}  {message['state']}")
    if code:
        leave(code)
