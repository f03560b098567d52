"""How does a provider stand, in a sentence?

For `providers`, `stats`, `queue` and `doctor`: what the daemon says of a provider, with since when, why, until when
and, where its rate was lowered, what was learnt. Why it stands so is the daemon's own sentence; here only times and
figures are put around it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from smsd.cli.render import when
from smsd.client import Document

_TRIED: Final = {
    "broken": "the next probe is due {until}",
    "half_open": "one call at a time tries it now",
}


def told(provider: Document, now: datetime) -> str | None:
    """The sentence; None for one that is open and as fast as configured."""
    state, reason = provider["state"], provider["reason"]
    if state == "open":
        return slowed(provider)
    parts = []
    if provider.get("since"):
        parts.append(f"since {when(provider['since'], now)}")
    if reason:
        parts.append(reason.rstrip(". "))
    if state in _TRIED:
        parts.append(_TRIED[state].format(until=when(provider["until"], now)))
    return "; ".join(parts) or "no reason given"


def slowed(provider: Document) -> str | None:
    """Why it is called slower than it is configured to be; None: it is not.

    A recommended rate was learnt from "too fast". Without one the daemon does not say which of two reasons it is.
    """
    ceiling, now, better = provider["rate"], provider["rate_now"], provider["recommended_rate"]
    if better is not None:
        return f'"too fast" has taught smsd a lower rate; recommended: rate = "{as_setting(better)}"'
    if ceiling is None or now is None or now >= ceiling:
        return None
    return '"too fast" lowered it and too little is learnt yet, or the rate of its account is lower'


def as_setting(a_minute: float) -> str:
    """A rate as the configuration takes it, a whole number of calls, rounded down: `51/min`, `90/hour`."""
    return f"{int(a_minute)}/min" if a_minute >= 10 else f"{max(1, int(a_minute * 60))}/hour"


def rate(provider: Document) -> str:
    """`100/min`, `50 of 100/min` while it is slowed down, `unlimited`."""
    ceiling, now = number(provider["rate"]), number(provider["rate_now"])
    if ceiling is None:
        return "unlimited" if now is None else f"{now}/min"
    return f"{ceiling}/min" if now in {None, ceiling} else f"{now} of {ceiling}/min"


def number(value: Any) -> str | None:
    """A rate, to two digits behind the point at most."""
    return None if value is None else f"{round(value, 2):.10g}"
