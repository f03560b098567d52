"""Do receipts and texts come back to us, and do applications hear of them?

Asked through the client, like `daemon`; who may see only a tenant's messages sees only its own callbacks.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from smsd.cli.doctor.finding import Finding, Findings, ok, skip, warn
from smsd.cli.registering import known_names
from smsd.cli.render import span
from smsd.client import Client, Document, SmsdError

COUNTED: Final = 1_000
"""Callbacks that are looked at, of those given up and of those that wait: one page of a listing, about."""

LONG_S: Final = 600
"""What waits for longer has failed several times, or its receiver is left alone because it did not work."""


LATELY_S: Final = 3_600
"""What was wrong for longer, and was followed by a request that was taken, is mended."""


def examined(client: Client) -> Findings:
    """All of it."""
    yield from _webhooks(client)
    yield from _callbacks(client)


def _webhooks(client: Client) -> Findings:
    """Whether providers can call back: one line for all that can, one for each key that is missing."""
    try:
        found = [client.register(name, dry_run=True) for name in known_names(client)]
    except SmsdError as error:
        yield skip("webhooks", f"cannot be asked: {error.message}")
        return
    if any("public_url" in need for each in found for need in each["needs"]):
        told = "[http] public_url is not set: no delivery reports and no texts come back"
        yield warn("webhooks", told, "Set it to where providers reach smsd: smsd help webhooks")
    else:
        yield from map(_lacking, (each for each in found if each["needs"]))
    reached = [each for each in found if each["webhooks"]]
    if reached:
        told = "; ".join(f"{each['provider']} for {' and '.join(each['webhooks'])}" for each in reached)
        yield ok("webhooks", f"ready to be called by {told}")
    for each in found:
        yield from _called(each["provider"], each["calls"], datetime.now(UTC))


def _called(name: str, calls: Document, now: datetime) -> Findings:
    """Whether what a provider brought lately was turned away."""
    wrong = _age_s(calls["wrong_at"], now)
    taken = _age_s(calls["taken_at"], now)
    if wrong is None or (taken is not None and taken <= wrong and wrong > LATELY_S):
        return
    told = f"{name} came {calls['refused']} times without proof and {calls['unreadable']} times unreadable"
    last = "none was taken" if taken is None else f"the last that was taken came {span(taken)} ago"
    remedy = (
        "Key, secret and [http] public_url must be those the provider has (smsd help webhooks), if these were its own."
    )
    if not calls["refused"]:
        remedy = (
            "The daemon's log says what could not be read; the section's settings, or the provider, say it otherwise."
        )
    text = f"{told} since the daemon's start, the last {span(wrong)} ago: {calls['wrong']}; {last}"
    yield warn("webhooks", text, remedy)


def _age_s(time: str | None, now: datetime) -> float | None:
    return None if time is None else max(0.0, (now - datetime.fromisoformat(time)).total_seconds())


def _lacking(found: Document) -> Finding:
    name = found["provider"]
    return warn("webhooks", f"{name} cannot call back: {' and '.join(found['needs'])} is not set", found["text"])


def _callbacks(client: Client) -> Findings:
    try:
        count = sum(1 for _ in client.callbacks(failed=True, limit=COUNTED))
        waiting = [*client.callbacks(limit=COUNTED)]
    except SmsdError as error:
        yield skip("callbacks", f"cannot be asked: {error.message}")
        return
    now = datetime.now(UTC)
    late = [each for each in waiting if (_age_s(each["created_at"], now) or 0) > LONG_S]
    if count:
        told = f"{_counted(count, count)} given up: applications were not told"
        yield warn("callbacks", told, "smsd callbacks list --failed says why; then: smsd callbacks replay --all")
    if late:
        yield _late(late, _counted(len(late), len(waiting)), now)
    if not count and not late:
        yield ok("callbacks", "none was given up, none waits for long")


def _counted(count: int, of: int) -> str:
    """The count of those that were found among `of`; there may be more if not all were looked at."""
    return f"{count}{' or more' if of == COUNTED else ''}"


def _late(late: list[Document], count: str, now: datetime) -> Finding:
    first = min(late, key=lambda each: str(each["created_at"]))
    why = "it was not tried yet" if first["error"] is None else first["error"]
    told = (
        f"{count} not told for more than {span(LONG_S)}, one since {span(_age_s(first['created_at'], now) or 0)}: {why}"
    )
    remedy = "smsd callbacks list says where and why; when the receiver works: smsd callbacks replay --all"
    return warn("callbacks", told, remedy)
