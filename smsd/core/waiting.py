"""Why has this message not gone yet?

Every message that is not final has an answer: a reason from a closed list, when it ends (if anybody knows) and one
sentence. Of several reasons the one that ends last is given, because it is the one that decides; one whose end is
unknown beats all. The same facts that schedule the message explain it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from smsd.core.health import Standing
from smsd.core.message import FINAL, Instant, Message, State
from smsd.core.units import rfc3339

SCATTER_MS = 1_000
"""By so much at most a throttled message is due later than its provider's rest ends (see policy)."""


class Reason(StrEnum):
    """The closed list; values are public."""

    SCHEDULED = "scheduled"
    RETRY = "retry"
    RECIPIENT_LIMIT = "recipient_limit"
    USER_LIMIT = "user_limit"
    TENANT_LIMIT = "tenant_limit"
    CAMPAIGN_LIMIT = "campaign_limit"
    CAMPAIGN_PAUSED = "campaign_paused"
    SENDER_LIMIT = "sender_limit"
    QUIET_HOURS = "quiet_hours"
    PROVIDER_COOLDOWN = "provider_cooldown"
    PROVIDER_PAUSED = "provider_paused"
    PROVIDER_HALTED = "provider_halted"
    PROVIDER_RATE = "provider_rate"
    BREAKER_OPEN = "breaker_open"
    ACCOUNT_LIMIT = "account_limit"
    NO_ROUTE = "no_route"
    STORE = "store"
    QUEUE = "queue"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why, until when (None: nobody knows), and a sentence for a person."""

    reason: Reason
    until: Instant | None
    text: str


@dataclass(frozen=True, slots=True)
class Block:
    """A limit on the tenant or the campaign of a message has no room, or the campaign is held up as a whole: nothing of
    it is written on the message."""

    reason: Reason
    until: Instant | None
    """When there is room again, or the campaign may go; None: nobody knows."""
    rule: str
    """Which limit, in words (limits.Rule.words); or which campaign, and what holds it up (campaign.Gate.words)."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known now of a provider that may carry the message."""

    standing: Standing
    until: Instant | None
    reason: str
    next_start: Instant
    """When its rate next lets a call begin."""
    by_account: bool = False
    """Whether it is the rate of its account, shared with others, that decides this."""


_STANDING: Mapping[Standing, tuple[Reason, str]] = {
    Standing.PAUSED: (Reason.PROVIDER_PAUSED, "Provider {name} is paused: {reason}. Resume it: smsd resume {name}"),
    Standing.HALTED: (
        Reason.PROVIDER_HALTED,
        "Provider {name} is halted: {reason}. Mend its credentials or settings, then: smsd resume {name}",
    ),
    Standing.BROKEN: (
        Reason.BREAKER_OPEN,
        "Provider {name} does not answer as it should ({reason}); a call tries it again at {until}",
    ),
    Standing.HALF_OPEN: (
        Reason.BREAKER_OPEN,
        "Provider {name} did not answer as it should ({reason}); one call at a time tries it now",
    ),
    Standing.COOLING: (Reason.PROVIDER_COOLDOWN, "Provider {name} rests until {until}: {reason}"),
}


def explain(
    message: Message,
    carriers: Mapping[str, Outlook],
    *,
    store_full: bool,
    now: Instant,
    blocks: Sequence[Block] = (),
) -> Waiting | None:
    """The reason that decides; None for a final message. `carriers`: those of its route that exist; `blocks`: what
    holds all messages of its tenant or campaign up."""
    if message.state in FINAL:
        return None
    if message.state is State.PROCESSING:
        return _processing(message, now)
    reasons = [*_own(message, now), *_of_flow(message, blocks, now), *_of_route(message, carriers, now)]
    if store_full:
        reasons.append(Waiting(Reason.STORE, None, "The outbox has no room to record a call. Free disk space."))
    _one_rest(reasons)
    if not reasons:
        return Waiting(Reason.QUEUE, None, "It is due and waits for its turn in the queue.")
    return max(reasons, key=lambda waiting: float("inf") if waiting.until is None else waiting.until)


def _one_rest(reasons: list[Waiting]) -> None:
    """A message that was throttled comes back a moment after its provider: that is one reason, the provider's."""
    ends = {waiting.reason: waiting.until for waiting in reasons}
    due, rest = ends.get(Reason.RETRY), ends.get(Reason.PROVIDER_COOLDOWN)
    if due is not None and rest is not None and rest <= due <= rest + SCATTER_MS:
        reasons[:] = [waiting for waiting in reasons if waiting.reason is not Reason.RETRY]


def _processing(message: Message, now: Instant) -> Waiting:
    if not message.uncertain:
        return Waiting(Reason.QUEUE, None, f"Attempt {message.attempt} at {message.provider} is under way.")
    until = message.due if message.due > now else None
    text = (
        f"Whether {message.provider} took attempt {message.attempt} is not known; that is settled before anything is "
        f"sent again, {'now' if until is None else f'next at {rfc3339(until)}'} (look-ups that did not find it so far: "
        f"{message.lookups})."
    )
    return Waiting(Reason.UNCERTAIN, until, text)


def _own(message: Message, now: Instant) -> list[Waiting]:
    if message.due <= now:
        return []
    at = rfc3339(message.due)
    if message.held is not None:
        return [_held(Reason(message.held), message, at)]
    if message.error is not None:
        return [Waiting(Reason.RETRY, message.due, f"It is tried again at {at} after {message.error}")]
    return [Waiting(Reason.SCHEDULED, message.due, f"It is to be sent at {at}.")]


def _held(reason: Reason, message: Message, at: str) -> Waiting:
    """What was written down when a rule, or the hours, put its due time off."""
    if reason is Reason.QUIET_HOURS:
        text = f"Its time falls into quiet hours where the recipient is ({message.held_by}); it goes at {at}."
    else:
        text = f"It waits for its turn: {message.held_by}. Its turn is at {at}."
    return Waiting(reason, message.due, text)


def _of_flow(message: Message, blocks: Sequence[Block], now: Instant) -> list[Waiting]:
    lasting = [block for block in blocks if block.until is None or block.until > now]
    return [Waiting(block.reason, block.until, _held_up(message, block)) for block in lasting]


def _held_up(message: Message, block: Block) -> str:
    """All messages of the tenant or campaign wait for the same; which of them goes first then is the schedule's."""
    if block.until is None:
        return f"{_sentence(block.rule)}."
    if block.reason is Reason.QUIET_HOURS:
        return f"{_sentence(block.rule)}; it goes on at {rfc3339(block.until)}."
    whose = f"tenant {message.tenant}"
    if block.reason is Reason.CAMPAIGN_LIMIT:
        whose = f"campaign {message.campaign} of {whose}"
    return f"All messages of {whose} wait for a limit: {block.rule}. It has room again at {rfc3339(block.until)}."


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _of_route(message: Message, carriers: Mapping[str, Outlook], now: Instant) -> list[Waiting]:
    if not carriers:
        names = message.route or "none"
        text = f"No provider of its route ({names}) is configured and enabled. Enable one, or cancel the message."
        return [Waiting(Reason.NO_ROUTE, None, text)]
    if all(carrier.standing is not Standing.OPEN for carrier in carriers.values()):
        return [_blocked(carriers)]
    first = min(
        (each for each in carriers.values() if each.standing is Standing.OPEN), key=lambda each: each.next_start
    )
    at = first.next_start
    if at > now:
        if first.by_account:
            text = f"The rate of the provider's account lets the next call begin at {rfc3339(at)}."
            return [Waiting(Reason.ACCOUNT_LIMIT, at, text)]
        return [Waiting(Reason.PROVIDER_RATE, at, f"The provider's rate lets the next call begin at {rfc3339(at)}.")]
    return []


def _blocked(carriers: Mapping[str, Outlook]) -> Waiting:
    """The provider that comes back first decides; one whose end is unknown comes back last."""
    name = min(carriers, key=lambda each: (carriers[each].until is None, carriers[each].until or 0))
    carrier = carriers[name]
    reason, form = _STANDING[carrier.standing]
    until = rfc3339(carrier.until) if carrier.until is not None else "an unknown time"
    text = form.format(name=name, reason=carrier.reason.rstrip(". "), until=until)
    return Waiting(reason, carrier.until, text)
