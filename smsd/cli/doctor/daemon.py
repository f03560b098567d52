"""What does the daemon say of itself, its alerts, its providers and its backlog?

Asked through the client, so it works over the socket and over HTTP, and shows what the caller may see.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Final

from smsd import __version__
from smsd.cli import standing
from smsd.cli.doctor.finding import Finding, Findings, Level, fail, ok, skip, warn
from smsd.cli.render import span, when
from smsd.client import Client, Document, NotAllowed, SmsdError

OLD_S: Final = 15 * 60
"""A message that is due for longer is worth a look."""

LOOKED_AT: Final = 1_000
"""Of the newest waiting messages, to see what they wait for: one page of a listing."""

LEVELS: Final = {"halted": Level.FAIL, "broken": Level.FAIL}
"""Of the state of a provider that is not open; the others are WARN."""


def answers(client: Client) -> tuple[bool, Finding]:
    """Whether there is a daemon to ask, and whether it is of the same version as this command."""
    try:
        version = client.ping()["version"]
    except NotAllowed as error:
        return False, fail("daemon", error.message, error.remedy or "Ask as somebody who may.")
    except SmsdError as error:
        return False, fail("daemon", error.message, error.remedy or "See its log: journalctl -u smsd")
    text = f"smsd {version} answers on {client.path}"
    if version != __version__:
        return True, warn(
            "daemon", f"{text}; this command is {__version__}", "Restart the daemon: systemctl restart smsd"
        )
    return True, ok("daemon", text)


def alerts(client: Client) -> Findings:
    """Each that is raised, since when."""
    try:
        raised = [each for each in client.alerts() if each["state"] == "raised"]
    except SmsdError as error:
        yield skip("alerts", f"cannot be asked: {error.message}")
        return
    now = datetime.now(UTC)
    for each in raised:
        yield warn(f"alert {each['name']}", f"since {when(each['raised_at'], now)}: {each['text']}", each["remedy"])
    if not raised:
        yield ok("alerts", "none is raised")


def providers(client: Client) -> Findings:
    """Each with its state, and until when and why."""
    try:
        found = client.providers()
    except SmsdError as error:
        yield skip("providers", f"cannot be asked: {error.message}")
        return
    if not found:
        yield warn("providers", "none is configured and enabled for you", "Add a [providers.NAME]: smsd help config")
    now = datetime.now(UTC)
    for each in found:
        yield _provider(each, now)
    if found and all(each["state"] != "open" for each in found):
        yield fail("sending", "no provider is open: nothing is being sent", "See the providers above.")


def _provider(provider: Document, now: datetime) -> Finding:
    name, state = provider["name"], provider["state"]
    if state == "open":
        return _open(provider)
    until = f" until {when(provider['until'], now)}" if provider["until"] and state == "cooling" else ""
    remedy = {
        "halted": f"Mend its credentials or settings, then: smsd resume {name}",
        "broken": f"See the provider's status page. It is tried again by itself; at once: smsd resume {name}",
        "half_open": "If the call goes well, it is open again.",
        "paused": f"smsd resume {name}",
    }.get(state, f"It comes back by itself; at once: smsd resume {name}")
    text = f"{state}{until}: {standing.told(provider, now)}"
    return Finding(LEVELS.get(state, Level.WARN), f"provider {name}", text, remedy)


def _open(provider: Document) -> Finding:
    """Whether it is as fast as configured."""
    check, slowed = f"provider {provider['name']}", standing.slowed(provider)
    if slowed is None:
        return ok(check, "open")
    text = f"open, {standing.rate(provider)}: {slowed}"
    if provider["recommended_rate"] is None:
        return ok(check, text)
    return warn(check, text, f"Set the rate of [providers.{provider['name']}] so, then: smsd reload")


def backlog(client: Client) -> Findings:
    """How much waits, how long, and for what."""
    try:
        stats = client.stats()
    except SmsdError as error:
        yield skip("backlog", f"cannot be asked: {error.message}")
        return
    waiting = sum(stats["states"].get(state, 0) for state in ("pending", "processing"))
    failed = stats["failed_today"]
    text = f"{waiting} waiting, {stats['sent_last_minute']} sent in the last minute, {failed} failed today"
    oldest = stats["oldest_pending_at"]
    age = 0.0 if oldest is None else (datetime.now(UTC) - datetime.fromisoformat(oldest)).total_seconds()
    if age > OLD_S:
        yield warn("backlog", f"{text}; the oldest is due for {span(age)}", "smsd queue says what each waits for.")
    else:
        yield ok("backlog", text)
    if waiting:
        yield from _reasons(client)


def _reasons(client: Client) -> Findings:
    try:
        found = [*client.list(state="pending,processing", limit=LOOKED_AT)]
    except SmsdError as error:
        yield skip("waiting", f"cannot be listed: {error.message}")
        return
    reasons = Counter(message["waiting"]["reason"] for message in found if message["waiting"])
    texts = {message["waiting"]["reason"]: message["waiting"]["text"] for message in found if message["waiting"]}
    for reason, count in reasons.most_common():
        told = f"{count} of the newest {len(found)}: {reason}; the oldest of them: {texts[reason]}"
        if reason in {"no_route", "provider_halted", "store"}:
            yield fail("waiting", told, f"smsd help waiting; {reason} does not end by itself")
        else:
            yield ok("waiting", told)
