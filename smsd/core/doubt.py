"""What becomes of a message when nobody knows whether the provider took it?

It is not simply sent again: the provider may have it. It is asked first, twice, because a provider's list can lag
behind its answers; only a look-up that matches our own id proves absence. Where nobody can tell, `on_uncertain`
decides. `resolve` is told what asking brought; how one asks is the dialect's matter.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from smsd.core.account import ProviderRules
from smsd.core.lifecycle import Event
from smsd.core.message import Error, Instant, Message
from smsd.core.retry import RetryRules, backoff
from smsd.core.settlement import Settlement, again, settled
from smsd.core.units import duration_text
from smsd.core.verdict import Category

ASK_AGAIN_MS = 5_000
"""After the first look-up that failed; then doubling, up to `ASK_AGAIN_MAX_MS`."""
ASK_AGAIN_MAX_MS = 60_000

LOOK_UP_FAILED = ". The last look-up failed: "
"""Between why a message is uncertain and why that is not cleared up yet."""

KEY_KEPT_MS = 82_800_000
"""23 h. So long the same bytes are sent again by their key: that never doubles, as long as the provider remembers it
(providers keep keys for 24 h), and whatever else one might do could."""

WITHDRAWN = "withdrawn"
"""In the place of `on_uncertain` for a message whose campaign is cancelled: it is held, and a retry is refused."""

EMPTY_ANSWERS = 2
"""Look-ups that must answer and not find it before it counts as not there."""


class Finding(StrEnum):
    """What asking the provider about an uncertain message brought."""

    FOUND = "found"
    ABSENT = "absent"
    """It answered, and the message is not there."""
    UNANSWERED = "unanswered"
    """The look-up itself failed."""
    UNASKABLE = "unaskable"
    """This provider has no look-up."""


class Quality(StrEnum):
    """What a provider's look-up can prove."""

    NONE = "none"
    FUZZY = "fuzzy"
    """It matches by content: a find is a find, an empty answer proves nothing."""
    EXACT = "exact"
    """It matches by our own id: an empty answer proves absence."""
    KEY = "key"
    """It cannot be asked, but it knows an idempotency key again: the same bytes are sent once more."""


def resolve(
    message: Message,
    finding: Finding,
    quality: str,
    rules: ProviderRules,
    retry: RetryRules,
    now: Instant,
    spread: float,
    *,
    provider_message_id: str | None = None,
    detail: str = "",
    most: int | None = None,
) -> Settlement:
    """The settlement of an uncertain message after a look-up (or without one: UNASKABLE).

    `quality` is the provider's: none, fuzzy or exact (ValueError else). `provider_message_id` comes with FOUND and is
    not bound to another message; if all that were found are, the finding is ABSENT. `detail`: why one is UNANSWERED.
    `most`: see settlement.again. No look-up is charged.
    """
    proof = Quality(quality)
    if finding is Finding.FOUND:
        if provider_message_id is None:
            raise ValueError("a message that was found has a provider_message_id")
        return settled(message, Event.TAKEN, now, provider_message_id=provider_message_id)
    if finding is Finding.UNASKABLE or proof is Quality.NONE:
        return _unproven(message, "the provider cannot be asked", rules, retry, now, spread, most)
    if finding is Finding.UNANSWERED:
        patience = KEY_KEPT_MS if proof is Quality.KEY else rules.reconcile_timeout_ms
        return _unanswered(message, detail, patience, rules, retry, now, spread, most)
    empty = message.lookups + 1
    if empty < EMPTY_ANSWERS:
        due = now + rules.reconcile_again_ms
        return settled(message, Event.DOUBT, now, due=due, error=message.error, lookups=empty)
    if proof is Quality.FUZZY:
        why = "the provider's list does not show it, which is no proof"
        return _unproven(message, why, rules, retry, now, spread, most)
    error = Error(
        Category.TIMEOUT, "The provider was asked and does not have it: it was not taken", now, None, message.provider
    )
    return again(message, error, now, due=_after_doubt(message, retry, now, spread), charged=message.charged, most=most)


def postpone(message: Message, due: Instant, now: Instant) -> Settlement:
    """An uncertain message is looked up at `due`, not now; nothing was learnt."""
    return settled(message, Event.DOUBT, now, due=due, error=message.error, lookups=message.lookups)


def _unanswered(
    message: Message,
    detail: str,
    patience_ms: int,
    rules: ProviderRules,
    retry: RetryRules,
    now: Instant,
    spread: float,
    most: int | None,
) -> Settlement:
    """The look-up failed: asked again, less and less often, until `reconcile_timeout` since the doubt began."""
    waited = now - _since(message, now)
    if waited >= patience_ms:
        why = f"the provider did not answer our look-ups for {duration_text(patience_ms)}"
        return _unproven(message, why, rules, retry, now, spread, most)
    # As long as it has waited already, it waits again: that doubles, and needs no count of failed look-ups.
    pause = min(max(waited, ASK_AGAIN_MS), ASK_AGAIN_MAX_MS, patience_ms - waited)
    error = message.error
    if error is not None and detail:
        error = replace(error, message=f"{error.message.split(LOOK_UP_FAILED)[0]}{LOOK_UP_FAILED}{detail}")
    return settled(message, Event.DOUBT, now, due=now + pause, error=error, lookups=message.lookups)


def _unproven(
    message: Message,
    why: str,
    rules: ProviderRules,
    retry: RetryRules,
    now: Instant,
    spread: float,
    most: int | None,
) -> Settlement:
    """Nobody can say whether it was taken: `on_uncertain` decides, and its end of life forbids a second sending."""
    if rules.on_uncertain == WITHDRAWN:
        return held(message, f"{why}; not sent again, because its campaign is cancelled", now)
    if rules.on_uncertain == "hold":
        return held(message, f"{why}; held for an operator, whose forced retry sends it again", now)
    due = _after_doubt(message, retry, now, spread)
    if due >= message.expires_at:
        return held(message, f"{why}; not sent again, because that would be past its end of life", now)
    error = Error(Category.TIMEOUT, f"It may have been sent: {why}", now, None, message.provider)
    return again(message, error, now, due=due, charged=message.charged, most=most)


def held(message: Message, why: str, now: Instant) -> Settlement:
    """It fails, UNCERTAIN: an operator decides."""
    error = Error(Category.UNCERTAIN, f"It may have been sent: {why}", now, None, message.provider)
    return settled(message, Event.FAIL, now, error=error)


def _since(message: Message, now: Instant) -> Instant:
    """When the doubt began; never later than now, also when the wall clock was set back meanwhile."""
    return now if message.uncertain_since is None else min(now, message.uncertain_since)


def _after_doubt(message: Message, retry: RetryRules, now: Instant, spread: float) -> Instant:
    """The backoff counts from the end of the failed attempt; time spent on look-ups is not waited again."""
    return max(now, _since(message, now) + backoff(retry, max(1, message.charged), spread))
