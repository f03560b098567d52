"""How do the engine's answers become the wire's?

Pure translations, and the reading of the few request fields that are more than a name: states, categories, times,
cursors, spans.
"""

from __future__ import annotations

from difflib import get_close_matches

from smsd import __version__, wire
from smsd.core import address, units
from smsd.core.message import FINAL, State
from smsd.core.verdict import Category
from smsd.engine.counting import Stats
from smsd.engine.explaining import Seen
from smsd.engine.roster import ProviderView
from smsd.listeners.callers import ProblemError
from smsd.store import WrongState

LIST_LIMIT = 1_000
LIST_USUAL = 50
WAIT_MAX_MS = 60_000

CATEGORIES = tuple(each.value for each in Category)
"""What a filter by category may name."""


def message(seen: Seen) -> wire.MessageView:
    """A message and why it waits."""
    return wire.message_view(seen.message, seen.waiting, seen.eta)


def provider(view: ProviderView, *, load: bool) -> wire.ProviderView:
    """A provider; `load`: with the figures that are about everybody's messages."""
    return wire.ProviderView(
        name=view.name,
        type=view.type,
        state=view.state.value,
        since=wire.time_text(view.since),
        until=wire.time_text(view.until),
        reason=view.reason or None,
        rate=view.rate,
        rate_now=view.rate_now,
        recommended_rate=view.recommended_rate,
        in_flight=view.in_flight if load else None,
        sent_last_minute=view.sent_last_minute if load else None,
        throttles_last_hour=view.throttles_last_hour if load else None,
    )


def stats(found: Stats, alerts: list[wire.AlertView] | None, *, load: bool) -> wire.StatsView:
    """Counts; `load` as for `provider`. `alerts`: those that are raised, None: the caller may not know."""
    states = {state.label: 0 for state in State}
    priorities: dict[str, int] = {"high": 0, "normal": 0, "bulk": 0}
    for (state, priority), count in found.totals.states.items():
        states[state.label] += count
        if state is State.PENDING:
            priorities[priority.label] += count
    return wire.StatsView(
        states=states,
        categories=found.totals.categories,
        providers={view.name: provider(view, load=load) for view in found.providers},
        priorities=priorities,
        sent_last_minute=found.sent_last_minute,
        sent_last_hour=found.sent_last_hour,
        sent_today=found.sent_today,
        failed_today=found.failed_today,
        processed=sum(count for name, count in states.items() if name not in {"pending", "processing"}),
        oldest_pending_at=wire.time_text(found.totals.oldest_pending_at),
        eta=wire.time_text(found.eta),
        uptime_s=found.uptime_s,
        version=__version__,
        alerts=alerts,
    )


FORCED = "Retry with `force`"


def why_not_retried(found: WrongState, forced: str = FORCED) -> str:
    """Why a message was not opened again. `forced`: how one is that may have been taken."""
    message = found.message
    if found.closed:
        return f"Its campaign {message.campaign} is cancelled: submit it anew, in another campaign or in none."
    if message.redacted:
        return "Its text and its number are redacted ([outbox] redact_text_after): there is nothing left to send."
    if message.state is State.FAILED:
        return f"It failed UNCERTAIN: the provider may have taken it. {forced} if a second copy is acceptable."
    return f"The message is {message.state.label}; only failed, undelivered and expired ones can be retried."


def states(text: str | None) -> tuple[State, ...]:
    """The states named, joined by commas; `queued` stands for those that are not final."""
    if text is None:
        return ()
    known = {state.label: state for state in State}
    chosen: list[State] = []
    for name in text.split(","):
        if name == "queued":
            chosen += [state for state in State if state not in FINAL]
        elif name in known:
            chosen.append(known[name])
        else:
            raise ProblemError.of("invalid_value", f"`state` is one or more of {', '.join(known)}, queued.", "state")
    return tuple(chosen)


def category(text: str | None) -> str | None:
    """One of the errors' vocabulary."""
    if text is None or text in CATEGORIES:
        return text
    near = get_close_matches(text.upper(), CATEGORIES, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise ProblemError.of("invalid_value", f"`category` is one of {', '.join(CATEGORIES)}{hint}", "category")


def recipient(text: str, field: str) -> str:
    """As it is kept. A national number is refused: without the region it was submitted in, it names nobody."""
    found = address.recipient(text, "")
    if isinstance(found, address.Problem):
        raise ProblemError.of("invalid_recipient", f"`{field}` {found.message}", field)
    return found


def instant(text: str | None, field: str) -> int | None:
    """A time of the wire."""
    try:
        return None if text is None else units.instant(text)
    except ValueError as error:
        raise ProblemError.of("invalid_value", f"`{field}`: {error}", field) from error


def cursor(text: str | None, cursors: wire.Cursors) -> int | None:
    """A place in a listing."""
    try:
        return None if text is None else cursors.decode(text)
    except ValueError as error:
        text = "`cursor` is not one that a listing gave. Start again without it."
        raise ProblemError.of("invalid_value", text, "cursor") from error


def limit(asked: int | None) -> int:
    """How many at most."""
    if asked is None:
        return LIST_USUAL
    if not 1 <= asked <= LIST_LIMIT:
        raise ProblemError.of("invalid_value", f"`limit` is 1 to {LIST_LIMIT}.", "limit")
    return asked


def wait_ms(text: str | None) -> int:
    """How long a caller will wait, in milliseconds; 0: not at all."""
    if text is None:
        return 0
    try:
        wait = units.duration_ms(text)
    except ValueError as error:
        raise ProblemError.of("invalid_value", f"`wait`: {error}", "wait") from error
    if not 0 <= wait <= WAIT_MAX_MS:
        raise ProblemError.of("invalid_value", "`wait` is at most 60s.", "wait")
    return wait
