"""What follows from an answer?

`decide` is the place where a message's next step after a call is chosen: sent, tried again at a time, failed, or
uncertain; and what it means for others (the provider rests or is halted, a sender waits, a recipient is suppressed). It
is told the time and the random draw. A provider's own wait is never undercut. Nothing here knows codes, clocks or
storage; what becomes of an uncertain message is `doubt`'s matter.

What costs an attempt: every call, but for those that say nothing about the message (a throttle, a halt, a provider that
cannot be reached, a probe that failed), so that a provider's bad hour never uses up a backlog. An uncertain call is
charged when it ends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from smsd.core.account import ProviderRules
from smsd.core.codes import CodeRule
from smsd.core.lifecycle import Event
from smsd.core.message import Error, Instant, Message
from smsd.core.retry import RetryRules, backoff
from smsd.core.settlement import Cooldown, Effect, Halt, Rest, Settlement, again, settled
from smsd.core.suppression import Suppression
from smsd.core.units import rfc3339
from smsd.core.verdict import Category, Fate, Scope, Verdict

MAX_WAIT_MS = 3_600_000
"""A provider's own wait is believed up to this; a slip in a header must not stop a queue for a year."""

MIN_WAIT_MS = 1_000
"""And from this on: a provider that says "wait 0 s" and throttles again would be called in a circle, uncharged."""

SCATTER_MS = 1_000
"""Added at random to what waits for a provider, so that not all come back in the same millisecond."""

SENDER_WAIT_MS = 600_000
"""Between two calls as a tenant's sender that the provider does not know."""

UNREACHED_WAIT_MS = 300_000
"""Longest wait after a call that reached nobody, however often that was: the provider may be back at any time, and its
breaker sees to it that few messages try. Delays that the operator wrote down are kept as they are."""

FAILS_OVER = frozenset({Category.NETWORK, Category.PROVIDER_ERROR})
"""What proves that the message was not taken and says nothing against it: another provider may have it."""


@dataclass(frozen=True, slots=True)
class Around:
    """What is known of the call beside its verdict."""

    rule: CodeRule | None = None
    """The operator's word on this code; its fate and scope are in the verdict already."""
    probe: bool = False
    """It tried a provider that is out of order: its failure says nothing about the message."""
    other: str | None = None
    """The route by which the message goes if it was surely not taken; None: it stays."""
    over_ms: int | None = None
    """A rest longer than this is not waited for where `other` is there (`failover_after`); None: it always is."""
    most: int | None = None
    """Attempts that the provider's own retry profile grants; None: it has none."""
    bound_sender: bool = False
    """The sender is one that the configuration gives the message's tenant."""


ALONE = Around()


def decide(
    message: Message,
    verdict: Verdict,
    rules: ProviderRules,
    retry: RetryRules,
    now: Instant,
    spread: float,
    around: Around = ALONE,
) -> Settlement:
    """The settlement of the message's open attempt. `message.attempt` is that attempt's number.

    `message.max_attempts` counts, not the one in `retry`: a submission may name its own; `around` can only lower it.
    A retry may lie beyond `expires_at`; the outbox expires it in time.
    """
    if verdict.fate is Fate.ACCEPTED:
        taken = settled(
            message,
            Event.TAKEN,
            now,
            charged=message.charged + 1,
            provider_message_id=verdict.provider_message_id,
            price=verdict.price,
        )
        if verdict.segments != message.segments:
            taken.segments = verdict.segments
        return taken
    if verdict.category is None:
        raise ValueError(f"a verdict that is not accepted names its category; this one is {verdict.fate}")
    error = Error(
        verdict.category, verdict.message or "The provider gave no reason", now, verdict.code, message.provider
    )
    if verdict.fate is Fate.UNKNOWN:
        due = now + rules.reconcile_after_ms
        return settled(message, Event.DOUBT, now, due=due, charged=message.charged + 1, error=error)
    if around.bound_sender and _is_about_sender(verdict) and message.asked_sender is not None:
        return _sender_refused(message, error, now)
    refuses_us = _refuses_us(message, verdict)
    # A refusal without a reason halts whatever is configured: no customer's message fails for it.
    must_halt = _says(around, "halt") or verdict.suspect
    if refuses_us and (rules.on_auth_failure != "retry" or must_halt):
        return _refused_us(message, error, rules, now, halt=must_halt)
    if verdict.fate is Fate.REFUSE and not refuses_us:
        return _refused(message, error, verdict, now)
    if verdict.category is Category.RATE_LIMITED:
        return _throttled(message, verdict, rules, retry, now, spread, around)
    return _later(message, error, verdict, rules, _by_rule(retry, around.rule), now, spread, around)


def release(message: Message, now: Instant) -> Settlement:
    """The claim is given back: its call did not begin, and never will. It keeps its place, its charge and its error. It
    was due, and is, also if the clock was set back since."""
    return settled(message, Event.RETRY, now, due=min(message.due, now), released=True)


def hold_back(message: Message, due: Instant, now: Instant) -> Settlement:
    """The claim is given back, because its sender (or sender and recipient) rests at this provider; it is due then."""
    text = f"Rate limited for this sender, retrying at {rfc3339(due)}"
    error = Error(Category.RATE_LIMITED, text, now, None, message.provider)
    return settled(message, Event.RETRY, now, due=due, error=error, released=True)


def _says(around: Around, fate: str) -> bool:
    return around.rule is not None and around.rule.fate == fate


def _by_rule(retry: RetryRules, rule: CodeRule | None) -> RetryRules:
    return retry if rule is None or not rule.delays_ms else replace(retry, delays_ms=rule.delays_ms)


def _most(around: Around) -> int | None:
    limits = [around.most, None if around.rule is None else around.rule.max_attempts]
    return min((limit for limit in limits if limit is not None), default=None)


def _refuses_us(message: Message, verdict: Verdict) -> bool:
    """Whether the provider refuses the account or the set-up, whoever the message is for.

    A sender that the caller named is a value of the submission; one that the configuration chose is our set-up, and a
    typo in it must not fail a backlog.
    """
    if verdict.category is Category.AUTH_FAILED:
        return True
    ours = verdict.scope is Scope.PROVIDER or (_is_about_sender(verdict) and message.asked_sender is None)
    return verdict.category is Category.CONFIG_ERROR and ours


def _is_about_sender(verdict: Verdict) -> bool:
    return verdict.category is Category.CONFIG_ERROR and verdict.scope is Scope.SENDER


def _sender_refused(message: Message, error: Error, now: Instant) -> Settlement:
    """A tenant's sender is configured and the provider does not know it: what has it waits until that is mended, and
    nobody else."""
    due = now + SENDER_WAIT_MS
    return settled(message, Event.RETRY, now, due=due, error=error, effect=Rest(message.sender or "", None, due))


def _refused_us(message: Message, error: Error, rules: ProviderRules, now: Instant, *, halt: bool) -> Settlement:
    if rules.on_auth_failure == "fail" and not halt:
        return settled(message, Event.FAIL, now, charged=message.charged + 1, error=error)
    return settled(message, Event.RETRY, now, error=error, effect=Halt(str(error)))


def _refused(message: Message, error: Error, verdict: Verdict, now: Instant) -> Settlement:
    """It never will be taken; a recipient who opted out is not texted again by this provider's senders."""
    suppress = None
    if verdict.category is Category.OPTED_OUT and message.provider is not None:
        suppress = Suppression(message.provider, message.recipient, now, "provider", verdict.code)
    return settled(message, Event.FAIL, now, charged=message.charged + 1, error=error, suppress=suppress)


def _throttled(
    message: Message,
    verdict: Verdict,
    rules: ProviderRules,
    retry: RetryRules,
    now: Instant,
    spread: float,
    around: Around,
) -> Settlement:
    """Too fast: the whole provider cools down, or only this pair of sender and recipient waits. Costs no attempt."""
    asked = (
        None if verdict.retry_after_ms is None or rules.retry_after == "ignore" else _believed(verdict.retry_after_ms)
    )
    effect: Effect
    # Charged calls do not grow while it is throttled; calls do, so that the waits grow as well.
    calls = _calls(message)
    if verdict.scope is Scope.PROVIDER:
        wait = _rest(verdict, rules, around.rule, asked, calls)
        effect = Cooldown(now + wait, verdict.message or "The provider says: too fast")
        due = now + wait + _scatter(spread)
        if around.other is not None and around.over_ms is not None and wait > around.over_ms:
            due = now  # another provider of its route has it, as it has what is accepted from now on
    else:
        by_rule = around.rule is not None and bool(around.rule.delays_ms)
        wait = backoff(_by_rule(retry, around.rule), calls, spread) if asked is None or by_rule else asked
        due = now + wait + (0 if asked is None else _scatter(spread))
        recipient = message.recipient if verdict.scope is Scope.RECIPIENT else None
        effect = Rest(message.sender or "", recipient, due)
    text = f"Rate limited, retrying at {rfc3339(due)}" if due > now else "Rate limited, going by another provider"
    error = Error(Category.RATE_LIMITED, text, now, verdict.code, message.provider)
    return settled(message, Event.RETRY, now, due=due, error=error, effect=effect)


def _calls(message: Message) -> int:
    """Calls of this round, as far as they are known: an operator's retry begins anew."""
    return max(1, message.attempt if message.round == 0 else message.charged + 1)


def _rest(verdict: Verdict, rules: ProviderRules, rule: CodeRule | None, asked: int | None, calls: int) -> int:
    """How long a throttled provider rests, in ms."""
    if rule is not None and rule.delays_ms:
        return rule.delays_ms[min(calls, len(rule.delays_ms)) - 1]
    if verdict.cooldown_ms is not None:
        return max(verdict.cooldown_ms, asked or 0)
    if asked is None:
        return rules.cooldown_ms
    return max(asked, rules.cooldown_ms) if rules.retry_after == "at_least_cooldown" else asked


def _later(
    message: Message,
    error: Error,
    verdict: Verdict,
    rules: ProviderRules,
    retry: RetryRules,
    now: Instant,
    spread: float,
    around: Around,
) -> Settlement:
    """It was surely not taken and may pass later, or at another provider."""
    unreached = verdict.category is Category.NETWORK
    free = around.probe or (unreached and not rules.network_costs_attempt)
    charged = message.charged + (0 if free else 1)
    route = around.other if verdict.category in FAILS_OVER else None
    if route is not None and _calls(message) % (route.count(",") + 1):
        # Not all of its providers have been tried in this turn: the next one has it at once.
        wait = 0
    elif around.probe:
        wait = 0  # its provider rests, and the message in place with it
    else:
        wait = backoff(retry, _calls(message) if free else charged or 1, spread)
        if free and not retry.delays_ms:
            wait = min(wait, UNREACHED_WAIT_MS)
    if verdict.retry_after_ms is not None and rules.retry_after != "ignore" and route is None:
        wait = max(wait, _believed(verdict.retry_after_ms) + _scatter(spread))
    if free:
        return settled(message, Event.RETRY, now, due=now + wait, charged=charged, error=error, route=route)
    return again(message, error, now, due=now + wait, charged=charged, most=_most(around), route=route)


def _believed(retry_after_ms: int) -> int:
    return min(max(retry_after_ms, MIN_WAIT_MS), MAX_WAIT_MS)


def _scatter(spread: float) -> int:
    return int(spread * SCATTER_MS)
