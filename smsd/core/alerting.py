"""What is raised, what is cleared, and in which words?

An alert is raised as soon as what it watches reaches its bound, and cleared when that has stayed below CALM of the
bound for HOLD_MS: what goes up and down around the bound is told once. So between two raises of one alert lies at least
that hold, whatever the readings do. It refuses to know where readings come from, who is told, and what time it is:
`now` is given, in ms that never run backward (boot time), because a clock that is set back must hold up no recovery.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from smsd.core import address, units
from smsd.core.message import Instant

CALM: Final = 0.8
"""Share of the bound below which a reading is calm."""

HOLD_MS: Final = 60_000
"""Calm for so long, an alert is cleared."""

MOST_WORDS: Final = 200
"""Characters of words that come from outside (why a provider was halted) in an alert's text."""

_NUMBER: Final = re.compile(r"\+?\d{7,15}")


class Watch(StrEnum):
    """What is watched; an alert's name begins with it. Values are public."""

    AUTH_HALT = "auth_halt"
    ERROR_RATE = "error_rate"
    BACKLOG = "backlog"
    COOLDOWNS = "cooldowns"
    OLDEST_PENDING = "oldest_pending"
    DISK = "disk"


OF_PROVIDERS: Final = frozenset({Watch.AUTH_HALT, Watch.COOLDOWNS})
"""Watched for each provider by itself; the names are such as `auth_halt:main`."""


@dataclass(frozen=True, slots=True)
class AlertRules:
    """The bounds. 0 and False: not watched."""

    auth_halt: bool = False
    """A provider is halted."""
    disk: bool = False
    """The outbox has no room."""
    error_rate: float = 0.0
    """failed / (sent + failed) over the window, 0 to 1."""
    error_window_ms: int = 15 * units.MINUTE
    error_minimum: int = 100
    """Messages in the window below which the rate raises nothing."""
    backlog: int = 0
    """Pending and processing messages, but for those of campaigns that are paused or have a rate or hours."""
    cooldowns: int = 0
    """Of one provider within `cooldowns_span_ms`."""
    cooldowns_span_ms: int = units.HOUR
    oldest_pending_ms: int = 0
    """For how long the message that has been due longest has been due."""

    @property
    def any(self) -> bool:
        """Whether anything is watched."""
        watched = (self.error_rate, self.backlog, self.cooldowns, self.oldest_pending_ms)
        return self.auth_halt or self.disk or any(watched)


@dataclass(frozen=True, slots=True)
class Reading:
    """How what is watched stands."""

    value: float
    bound: float = 1.0
    enough: bool = True
    """Whether it says enough to raise the alert. To keep it raised any reading does."""
    category: str = ""
    """The category of the errors behind it; empty: none, or none alone."""
    words: str = ""
    """More about it, in words that may come from outside."""
    of: int = 0
    """Of how many messages the value is a share."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Whether one alert is raised, and since when (ms of boot time) its readings are calm."""

    raised: bool = False
    calm_since: int | None = None

    @property
    def clears_at(self) -> int | None:
        """When it is cleared if it stays calm; None: it is not calm."""
        return None if self.calm_since is None else self.calm_since + HOLD_MS


QUIET: Final = Alarm()
RAISED: Final = Alarm(raised=True)


def step(alarm: Alarm, reading: Reading, now: int) -> Alarm:
    """How the alarm stands after this reading."""
    if not alarm.raised:
        return RAISED if reading.enough and reading.value >= reading.bound else QUIET
    if reading.value >= CALM * reading.bound:
        return RAISED
    since = now if alarm.calm_since is None else alarm.calm_since
    return QUIET if now - since >= HOLD_MS else Alarm(raised=True, calm_since=since)


def unread(alarm: Alarm) -> Alarm:
    """How it stands while nobody knows how what it watches stands: as it did, and what is not known is not calm."""
    return RAISED if alarm.raised else QUIET


@dataclass(frozen=True, slots=True)
class Notice:
    """What is told of an alert: that it is raised, or that it is over."""

    name: str
    raised: bool
    at: Instant
    category: str
    """An error category where one stands behind it, else what is watched. The same when it is raised and cleared."""
    text: str
    """One sentence. No text of a message, no whole number."""
    remedy: str
    """What to do; empty when it is over."""
    value: float | None = None
    """As it is read now (a share, a count, ms); None: it is not watched any more."""
    bound: float | None = None

    @property
    def state(self) -> str:
        """raised | cleared"""
        return "raised" if self.raised else "cleared"


def name_of(watch: Watch, provider: str = "") -> str:
    """An alert's name."""
    return f"{watch.value}:{provider}" if watch in OF_PROVIDERS else watch.value


def parts_of(name: str) -> tuple[Watch, str]:
    """What an alert's name says: what is watched, and of which provider. Raises ValueError."""
    watch, _, provider = name.partition(":")
    return Watch(watch), provider


def category_of(name: str, reading: Reading) -> str:
    """The alert's category while this is the reading that raises it."""
    return reading.category or parts_of(name)[0].value


def raised_text(name: str, reading: Reading, rules: AlertRules) -> str:
    """One sentence on what is wrong."""
    watch, provider = parts_of(name)
    words = plain(reading.words)
    match watch:
        case Watch.AUTH_HALT:
            return f"Provider {provider} is halted" + (f": {_ended(words)}" if words else ".")
        case Watch.ERROR_RATE:
            most = f", most of them {reading.category}" if reading.category else ""
            return (
                f"{_share(reading.value)} of {reading.of} messages failed in the last "
                f"{units.duration_text(rules.error_window_ms)}{most}; the bound is {_share(reading.bound)}."
            )
        case Watch.BACKLOG:
            return f"{reading.value:.0f} messages wait; the bound is {reading.bound:.0f}."
        case Watch.COOLDOWNS:
            span = units.duration_text(rules.cooldowns_span_ms)
            return f"Provider {provider} has said {reading.value:.0f} times within {span} that it is called too fast."
        case Watch.OLDEST_PENDING:
            return f"A message has been due for {_span(reading.value)}; the bound is {_span(reading.bound)}."
        case Watch.DISK:
            return "The outbox has no room: messages are refused; those accepted before are still sent."


def cleared_text(name: str, reading: Reading | None, lasted_ms: int) -> str:
    """One sentence on its end. None: it is not watched any more."""
    after = f" after {_span(max(0, lasted_ms))}"
    if reading is None:
        return f"{name} is not watched any more{after}."
    watch, provider = parts_of(name)
    match watch:
        case Watch.AUTH_HALT:
            return f"Provider {provider} is not halted any more{after}."
        case Watch.ERROR_RATE:
            return f"The error rate is back at {_share(reading.value)}{after}."
        case Watch.BACKLOG:
            return f"The backlog is back at {reading.value:.0f} messages{after}."
        case Watch.COOLDOWNS:
            return f"Provider {provider} is called too fast no more{after}."
        case Watch.OLDEST_PENDING:
            return f"No message has been due for longer than {_span(reading.value)}{after}."
        case Watch.DISK:
            return f"The outbox has room again{after}."


def remedy_of(name: str) -> str:
    """What to do about it, in one sentence."""
    watch, provider = parts_of(name)
    match watch:
        case Watch.AUTH_HALT:
            return f"Mend the account or [providers.{provider}]; then `smsd reload`, or `smsd resume {provider}`."
        case Watch.ERROR_RATE:
            return "See `smsd failed` and `smsd help errors`; what was mended is sent again by `smsd retry`."
        case Watch.BACKLOG:
            return "See `smsd providers` and `smsd queue`: is a provider at rest, or is more submitted than its rate?"
        case Watch.COOLDOWNS:
            return f"Lower `rate` of [providers.{provider}]; `smsd providers` shows what it was found to take."
        case Watch.OLDEST_PENDING:
            return "See `smsd queue`, and `smsd show ID` for why a message waits."
        case Watch.DISK:
            return "Make room on the file system of [daemon] state_dir; smsd goes on by itself."


def plain(text: str) -> str:
    """Words from outside as they may be told: short, one line, numbers masked."""
    short = " ".join(text.split())[:MOST_WORDS]
    return _NUMBER.sub(lambda match: address.mask(match[0]), short)


def _ended(words: str) -> str:
    return words if words[-1] in ".!?" else f"{words}."


def _share(value: float) -> str:
    return f"{value * 100:.3g} %"


def _span(ms: float) -> str:
    """To the second: nobody acts on less."""
    return units.duration_text(round(ms / units.SECOND) * units.SECOND).replace("0ms", "0s")
