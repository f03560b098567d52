"""What follows from a verdict, and from a look-up?

`decide` and `resolve` are the places where a message's next step is chosen: sent, tried again at a time, failed, or
uncertain; and what it means for the provider (a cooldown, a halt). They are told the time and the random draw. Backoff
is capped and jittered; a provider's own wait is never undercut. Nothing here knows codes, clocks or storage.

What costs an attempt: every call, but for those that say nothing about the message (a throttle, a halt), so that a
provider's bad hour never uses up a backlog. An uncertain call is charged when it ends; its look-ups cost nothing.

Why an uncertain message is not simply sent again: the provider may have it. It is asked first, twice, because a
provider's list can lag behind its answers; only a look-up that matches our own id proves absence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from smsd.core.account import ProviderRules
from smsd.core.lifecycle import Event, step
from smsd.core.message import Error, Instant, Message, State
from smsd.core.units import duration_text, rfc3339
from smsd.core.verdict import Category, Fate, Scope, Verdict

MAX_WAIT_MS = 3_600_000
"""A provider's own wait is believed up to this; a slip in a header must not stop a queue for a year."""

MIN_WAIT_MS = 1_000
"""And from this on: a provider that says "wait 0 s" and throttles again would be called in a circle, uncharged."""

SCATTER_MS = 1_000
"""Added at random to what waits for a provider, so that not all come back in the same millisecond."""

ASK_AGAIN_MS = 5_000
"""After the first look-up that failed; then doubling, up to `ASK_AGAIN_MAX_MS`."""
ASK_AGAIN_MAX_MS = 60_000

EMPTY_ANSWERS = 2
"""Look-ups that must answer and not find it before it counts as not there."""


@dataclass(frozen=True, slots=True)
class RetryRules:
    """`[retry]` or one of its profiles. Durations in milliseconds."""

    max_attempts: int = 5
    backoff_ms: int = 3_000
    multiplier: float = 2.0
    max_backoff_ms: int = 3_600_000
    jitter: str = "equal"
    """none | equal (half fixed, half random) | full (all random)"""
    delays_ms: tuple[int, ...] = ()
    """Replaces backoff, multiplier and max_backoff; the last repeats. Jitter applies to them as well."""


@dataclass(frozen=True, slots=True)
class Cooldown:
    """The provider said "too fast": nobody calls it before `until`."""

    until: Instant
    reason: str


@dataclass(frozen=True, slots=True)
class Halt:
    """The provider refuses us: nobody calls it until an operator or changed credentials resume it."""

    reason: str


@dataclass(slots=True)
class Settlement:
    """What the outbox is to write about one attempt, and what the provider's health is to learn from it."""

    seq: int
    attempt: int
    event: Event
    """TAKEN, RETRY, FAIL or DOUBT."""
    state: State
    due: Instant
    """RETRY: the next attempt (of a released one: its due time as it was). DOUBT: the next look-up. Else: now."""
    charged: int
    """The message's count of charged attempts after this one."""
    at: Instant
    error: Error | None = None
    provider_message_id: str | None = None
    price: str | None = None
    lookups: int = 0
    """DOUBT: look-ups in a row that answered and did not find it."""
    effect: Cooldown | Halt | None = None
    released: bool = False
    """The call never began: nothing happened that is worth telling."""

    @property
    def attempt_after(self) -> int:
        """The number the next claim finds: a released attempt was no call, and its number is used again."""
        return self.attempt - 1 if self.released else self.attempt


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


def backoff(rules: RetryRules, failures: int, spread: float) -> int:
    """Milliseconds to wait before the next attempt, `failures` (>= 1) failed ones behind it. Never less than 1.

    `spread` is a draw from [0, 1). Works for any `failures`, also 10,000: the exponent is clamped before the power.
    Raises ValueError for no failures or an unknown jitter.
    """
    if failures < 1:
        raise ValueError(f"backoff follows a failed attempt; failures must be at least 1, not {failures}")
    wait = rules.delays_ms[min(failures, len(rules.delays_ms)) - 1] if rules.delays_ms else _growing(rules, failures)
    match rules.jitter:
        case "none":
            jittered = wait
        case "equal":
            jittered = wait / 2 + spread * wait / 2
        case "full":
            jittered = spread * wait
        case _:
            raise ValueError(f"jitter must be none, equal or full, not {rules.jitter!r}")
    return max(1, int(jittered))


def _growing(rules: RetryRules, failures: int) -> float:
    """backoff x multiplier^(failures - 1), up to max_backoff."""
    if rules.multiplier <= 1 or rules.backoff_ms <= 0:
        return min(rules.backoff_ms, rules.max_backoff_ms)
    at_the_cap = math.log(max(1.0, rules.max_backoff_ms / rules.backoff_ms), rules.multiplier)
    return min(rules.max_backoff_ms, rules.backoff_ms * rules.multiplier ** min(failures - 1, math.ceil(at_the_cap)))


def decide(
    message: Message,
    verdict: Verdict,
    rules: ProviderRules,
    retry: RetryRules,
    now: Instant,
    spread: float,
) -> Settlement:
    """The settlement of the message's open attempt. `message.attempt` is that attempt's number.

    `message.max_attempts` counts, not the one in `retry`: a submission may name its own. A retry may lie beyond
    `expires_at`; the outbox expires it in time.
    """
    if verdict.fate is Fate.ACCEPTED:
        return _settle(
            message,
            Event.TAKEN,
            now,
            charged=message.charged + 1,
            provider_message_id=verdict.provider_message_id,
            price=verdict.price,
        )
    if verdict.category is None:
        raise ValueError(f"a verdict that is not accepted names its category; this one is {verdict.fate}")
    error = Error(
        verdict.category, verdict.message or "The provider gave no reason", now, verdict.code, message.provider
    )
    if verdict.fate is Fate.UNKNOWN:
        due = now + rules.reconcile_after_ms
        return _settle(message, Event.DOUBT, now, due=due, charged=message.charged + 1, error=error)
    if _refuses_us(verdict) and rules.on_auth_failure != "retry":
        return _refused_us(message, error, rules, now)
    if verdict.fate is Fate.REFUSE and not _refuses_us(verdict):
        return _settle(message, Event.FAIL, now, charged=message.charged + 1, error=error)
    if verdict.category is Category.RATE_LIMITED:
        return _throttled(message, verdict, rules, retry, now, spread)
    wait = backoff(retry, message.charged + 1, spread)
    if verdict.retry_after_ms is not None and rules.retry_after != "ignore":
        wait = max(wait, _believed(verdict.retry_after_ms) + _scatter(spread))
    return _again(message, error, now, due=now + wait, charged=message.charged + 1)


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
) -> Settlement:
    """The settlement of an uncertain message after a look-up (or without one: UNASKABLE).

    `quality` is the provider's: none, fuzzy or exact (ValueError else). `provider_message_id` comes with FOUND and is
    not bound to another message; if all that were found are, the finding is ABSENT. No look-up is charged.
    """
    proof = Quality(quality)
    if finding is Finding.FOUND:
        if provider_message_id is None:
            raise ValueError("a message that was found has a provider_message_id")
        return _settle(message, Event.TAKEN, now, provider_message_id=provider_message_id)
    if finding is Finding.UNASKABLE or proof is Quality.NONE:
        return _unproven(message, "the provider cannot be asked", rules, retry, now, spread)
    if finding is Finding.UNANSWERED:
        return _unanswered(message, rules, retry, now, spread)
    empty = message.lookups + 1
    if empty < EMPTY_ANSWERS:
        due = now + rules.reconcile_again_ms
        return _settle(message, Event.DOUBT, now, due=due, error=message.error, lookups=empty)
    if proof is Quality.FUZZY:
        why = "the provider's list does not show it, which is no proof"
        return _unproven(message, why, rules, retry, now, spread)
    error = Error(
        Category.TIMEOUT, "The provider was asked and does not have it: it was not taken", now, None, message.provider
    )
    return _again(message, error, now, due=_after_doubt(message, retry, now, spread), charged=message.charged)


def release(message: Message, now: Instant) -> Settlement:
    """The claim is given back: its call did not begin, and never will. It keeps its place, its charge and its error."""
    return _settle(message, Event.RETRY, now, due=message.due, released=True)


def postpone(message: Message, due: Instant, now: Instant) -> Settlement:
    """An uncertain message is looked up at `due`, not now; nothing was learnt."""
    return _settle(message, Event.DOUBT, now, due=due, error=message.error, lookups=message.lookups)


def _refuses_us(verdict: Verdict) -> bool:
    """Whether the provider refuses the account or the set-up, whoever the message is for."""
    return verdict.category is Category.AUTH_FAILED or (
        verdict.category is Category.CONFIG_ERROR and verdict.scope is Scope.PROVIDER
    )


def _refused_us(message: Message, error: Error, rules: ProviderRules, now: Instant) -> Settlement:
    if rules.on_auth_failure == "fail":
        return _settle(message, Event.FAIL, now, charged=message.charged + 1, error=error)
    return _settle(message, Event.RETRY, now, error=error, effect=Halt(str(error)))


def _throttled(
    message: Message, verdict: Verdict, rules: ProviderRules, retry: RetryRules, now: Instant, spread: float
) -> Settlement:
    """Too fast: the whole provider cools down, or only this pair of sender and recipient waits. Costs no attempt."""
    asked = (
        None if verdict.retry_after_ms is None or rules.retry_after == "ignore" else _believed(verdict.retry_after_ms)
    )
    effect: Cooldown | None = None
    if verdict.scope is Scope.PROVIDER:
        wait = rules.cooldown_ms if asked is None else asked
        if rules.retry_after == "at_least_cooldown":
            wait = max(wait, rules.cooldown_ms)
        effect = Cooldown(now + wait, verdict.message or "The provider says: too fast")
        due = now + wait + _scatter(spread)
    elif asked is not None:
        due = now + asked + _scatter(spread)
    else:
        # Charged calls do not grow while it is throttled; calls do, so that the waits grow as well.
        due = now + backoff(retry, max(1, message.attempt), spread)
    text = f"Rate limited, retrying at {rfc3339(due)}"
    error = Error(Category.RATE_LIMITED, text, now, verdict.code, message.provider)
    return _settle(message, Event.RETRY, now, due=due, error=error, effect=effect)


def _again(message: Message, error: Error, now: Instant, *, due: Instant, charged: int) -> Settlement:
    """Surely not taken: tried again at `due`, unless the attempts are used up."""
    if charged < message.max_attempts:
        return _settle(message, Event.RETRY, now, due=due, charged=charged, error=error)
    return _settle(message, Event.FAIL, now, charged=charged, error=_exhausted(message, error))


def _unanswered(message: Message, rules: ProviderRules, retry: RetryRules, now: Instant, spread: float) -> Settlement:
    """The look-up failed: asked again, less and less often, until `reconcile_timeout` since the doubt began."""
    waited = now - _since(message, now)
    if waited >= rules.reconcile_timeout_ms:
        why = f"the provider did not answer our look-ups for {duration_text(rules.reconcile_timeout_ms)}"
        return _unproven(message, why, rules, retry, now, spread)
    # As long as it has waited already, it waits again: that doubles, and needs no count of failed look-ups.
    pause = min(max(waited, ASK_AGAIN_MS), ASK_AGAIN_MAX_MS, rules.reconcile_timeout_ms - waited)
    return postpone(message, now + pause, now)


def _unproven(
    message: Message, why: str, rules: ProviderRules, retry: RetryRules, now: Instant, spread: float
) -> Settlement:
    """Nobody can say whether it was taken: `on_uncertain` decides, and its end of life forbids a second sending."""
    if rules.on_uncertain == "hold":
        return _held(message, f"{why}; held for an operator, whose forced retry sends it again", now)
    due = _after_doubt(message, retry, now, spread)
    if due >= message.expires_at:
        return _held(message, f"{why}; not sent again, because that would be past its end of life", now)
    error = Error(Category.TIMEOUT, f"It may have been sent: {why}", now, None, message.provider)
    return _again(message, error, now, due=due, charged=message.charged)


def _held(message: Message, why: str, now: Instant) -> Settlement:
    error = Error(Category.UNCERTAIN, f"It may have been sent: {why}", now, None, message.provider)
    return _settle(message, Event.FAIL, now, error=error)


def _exhausted(message: Message, last: Error) -> Error:
    text = f"All {message.max_attempts} attempts are used up; the last one: {last}"
    return Error(Category.EXHAUSTED, text, last.at, last.code, last.provider, cause=last.category)


def _since(message: Message, now: Instant) -> Instant:
    """When the doubt began; never later than now, also when the wall clock was set back meanwhile."""
    return now if message.uncertain_since is None else min(now, message.uncertain_since)


def _after_doubt(message: Message, retry: RetryRules, now: Instant, spread: float) -> Instant:
    """The backoff counts from the end of the failed attempt; time spent on look-ups is not waited again."""
    return max(now, _since(message, now) + backoff(retry, max(1, message.charged), spread))


def _believed(retry_after_ms: int) -> int:
    return min(max(retry_after_ms, MIN_WAIT_MS), MAX_WAIT_MS)


def _scatter(spread: float) -> int:
    return int(spread * SCATTER_MS)


def _settle(
    message: Message,
    event: Event,
    now: Instant,
    *,
    due: Instant | None = None,
    charged: int | None = None,
    error: Error | None = None,
    provider_message_id: str | None = None,
    price: str | None = None,
    lookups: int = 0,
    effect: Cooldown | Halt | None = None,
    released: bool = False,
) -> Settlement:
    """What is not said stays as it is: due now, charged as before."""
    return Settlement(
        seq=message.seq,
        attempt=message.attempt,
        event=event,
        state=step(message.state, event),
        due=now if due is None else due,
        charged=message.charged if charged is None else charged,
        at=now,
        error=error,
        provider_message_id=provider_message_id,
        price=price,
        lookups=lookups,
        effect=effect,
        released=released,
    )
