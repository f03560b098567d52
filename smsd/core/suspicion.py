"""Too fast, or not allowed? What does a refusal mean that gives no reason?

Some providers answer 403 both to a call beyond the rate and to a key that may not send, with the same words or none
(Dialpad; its users report sporadic 403s under load, its manual knows 403 as "no permission" only). The dialect marks
such a verdict `suspect`; this module weighs it with what is known of the provider: whether it took messages lately, how
near its ceiling it was called, how often in a row it refused. It never lets the customer's message fail for it: either
the provider rests and its messages with it, or it is halted for a person to look at.

It refuses to know calls and clocks: the caller counts a call begun before the rest as no further strike, and starts
again from 0 at any acceptance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from smsd.core.message import Instant
from smsd.core.verdict import Category, Fate, Scope, Verdict

RECENT_MS = 3_600_000
"""An acceptance within this time shows that the key may send."""

BUSY = 0.8
"""From this share of the ceiling on, too fast is likelier than not allowed."""

FIRST_REST_MS = 60_000
"""How long the provider rests after the first strike; twice as long after each further one."""

STRIKES = 4
"""The first refusal and three probes, each after a rest: the rate cannot be the reason any more."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a provider when it refuses without a reason."""

    accepted_at: Instant | None
    """When it last took a message, by the clock of `now`; None: never, as far as anybody remembers."""
    strikes: int
    """Suspect refusals in a row before this one."""
    load: float
    """Calls started in the last window / the ceiling, 0 to 1; 0 when unlimited."""


def weigh(verdict: Verdict, evidence: Evidence, now: Instant) -> tuple[Verdict, int]:
    """The verdict that counts, and the new number of strikes. One that is not suspect changes nothing."""
    if not verdict.suspect:
        return verdict, evidence.strikes
    strikes = evidence.strikes + 1
    if strikes == 1 and not _took_lately(evidence, now) and evidence.load < BUSY:
        why = "no reason given, and it took nothing in the last hour: taken as not allowed"
    elif strikes >= STRIKES:
        why = f"no reason given, {strikes} times in a row with a rest before each: taken as not allowed"
    else:
        why = "no reason given: taken as too fast"
        rest_ms = FIRST_REST_MS << strikes - 1
        return _judged(verdict, Category.RATE_LIMITED, why, rest_ms), strikes
    return _judged(verdict, Category.AUTH_FAILED, why, None), strikes


def _took_lately(evidence: Evidence, now: Instant) -> bool:
    return evidence.accepted_at is not None and now - evidence.accepted_at <= RECENT_MS


def _judged(verdict: Verdict, category: Category, why: str, cooldown_ms: int | None) -> Verdict:
    message = f"{verdict.message} ({why})" if verdict.message else why.capitalize()
    return replace(
        verdict, fate=Fate.DEFER, category=category, scope=Scope.PROVIDER, message=message, cooldown_ms=cooldown_ms
    )
