"""What really happened?

The truth of one run, kept by those who cannot be wrong about it: the world notes what it asked for and was answered,
the carrier notes every call and whether it took the text, both by true time. A Duty is what the engine must know about
a provider; it is worked out here a second time, from the answers, so that an engine that forgets is found out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from smsd.core.account import ProviderRules
from smsd.core.message import Attempt, Message, State
from smsd.core.policy import MAX_WAIT_MS, MIN_WAIT_MS

HOUR_MS = 3_600_000


@dataclass(slots=True)
class Letter:
    """One submission, what was answered, and what operators did to it."""

    n: int
    id: str
    """The id smsd drew while it was submitted; the message's, if it became one."""
    recipient: str
    text: str
    tenant: str
    priority: str
    sender: str | None
    pin: str | None
    send_at: int | None
    ttl_ms: int
    max_attempts: int | None
    profile: str | None
    key: str | None
    at_us: int
    wall: int
    answer: str | None = None
    """The id acknowledged; None: refused, or never answered."""
    answered_us: int | None = None
    replayed: bool = False
    faults: tuple[str, ...] = ()
    cancelled_us: int | None = None
    expires_at: int = 0
    """Wall time, as the submission or the last operator's retry says."""
    rounds: list[int] = field(default_factory=list)
    """True times at which an operator's retry was asked for."""

    @property
    def content(self) -> tuple[object, ...]:
        """What an idempotency key stands for."""
        return (self.recipient, self.text, self.priority, self.sender, self.pin, self.send_at, self.max_attempts)


@dataclass(slots=True)
class Call:
    """One call to a provider, as the carrier saw it."""

    n: int
    provider: str
    id: str
    attempt: int
    recipient: str
    text: str
    sender: str
    cost: int
    life: int
    """Which start of the daemon made it."""
    start_us: int
    wall: int
    forbidden: str = ""
    """Why it should not have been made, known when it was: paused, halted or cooling."""
    latest_wall: int = 0
    """The latest that the wall clock had shown by then, since the message was submitted."""
    expires_at: int | None = None
    """The message's end of life, as it was known when it was made."""
    arrived_us: int | None = None
    over_limit: bool = False
    """It exceeded the carrier's own limit."""
    taken: bool = False
    pmid: str | None = None
    end_us: int | None = None
    answer: str = ""
    """The fate the daemon learnt: accepted, refused, throttled, deferred, unauthorized, unreached, unknown; empty: the
    daemon was gone before."""


@dataclass(slots=True)
class Probe:
    """A message that was not final when somebody asked why."""

    at_us: int
    message: Message
    reason: str | None
    until: int | None
    text: str
    wrong: str = ""
    """Why the given reason is not true."""


Kept = tuple[bool, bool, tuple[int, int] | None]
"""Paused, halted, cooling as (since, until) by the wall clock."""


class Duty:
    """What the engine must know of one provider. `kept`: what survives a crash."""

    def __init__(self, rules: ProviderRules) -> None:
        self.rules = rules
        self.paces = [(-1, rules.pace)]
        """The ceilings in force, each with the true time from which on (us)."""
        self.renewed_us = -1
        """When a reload brought other credentials, by true time."""
        self.disabled = False
        """A reload has taken it out of service."""
        self.paused = False
        self.halted = False
        self.cooling: tuple[int, int] | None = None
        """(since, until) by the wall clock, as it is written down."""
        self.cool_until_us = 0
        """The cooldown's end by true time: within one life nobody's steps of the wall clock change it."""
        self.kept: Kept = (False, False, None)
        self.unsure = False
        """The database failed when the daemon told of a change: what is kept is what the file says."""
        self._learnt_us = -1
        """True time of the last answer that taught something: at that very instant the engine may not know yet."""

    def forbids(self, now_us: int) -> str:
        """Why no call may begin now; empty: it may."""
        if now_us == self._learnt_us:
            return ""
        if self.disabled:
            return "disabled"
        if self.paused:
            return "paused"
        if self.halted:
            return "halted"
        return "cooling" if self.is_cooling(now_us) else ""

    def is_cooling(self, now_us: int) -> bool:
        """Whether it rests; its end is a whole millisecond of either clock."""
        return self.cooling is not None and now_us < self.cool_until_us - 1_000

    def throttled(self, began: int, now: int, now_us: int, asked_ms: int | None) -> None:
        """A throttle of the whole provider was answered at `now` to a call begun at `began` (wall clock)."""
        self._learnt_us = now_us
        rules = self.rules
        wait = rules.cooldown_ms
        if asked_ms is not None and rules.retry_after != "ignore":
            believed = min(max(asked_ms, MIN_WAIT_MS), MAX_WAIT_MS)
            wait = believed if rules.retry_after == "honour" else max(believed, wait)
        until, until_us = now + wait, now_us + wait * 1_000
        if self.cooling is not None and now_us < self.cool_until_us:
            if began <= self.cooling[0]:
                return
            until, until_us = max(until, self.cooling[1]), max(until_us, self.cool_until_us)
        self.cooling, self.cool_until_us = (now, until), until_us

    def refused(self, began_us: int, now_us: int) -> None:
        """Credentials or set-up were refused to a call begun then. Those of before a reload say nothing of today's."""
        self._learnt_us = now_us
        if self.rules.on_auth_failure == "halt" and began_us > self.renewed_us:
            self.halted = True

    def resumed(self) -> None:
        """An operator lifted everything."""
        self.paused, self.halted, self.cooling = False, False, None
        self.kept = (False, False, None)

    def keep(self, what: str, now_us: int) -> None:
        """The daemon has written this down."""
        paused, halted, cooling = self.kept
        match what:
            case "provider.paused":
                self.kept = (self.paused, halted, cooling)
            case "provider.halted":
                self.kept = (paused, self.halted, cooling)
            case "provider.cooldown":
                self.kept = (paused, halted, self.cooling)
            case "provider.recovered":
                self.kept = (paused, halted, None)
                if not self.is_cooling(now_us):
                    self.cooling = None
            case _:
                pass

    def restarted(self, now: int, now_us: int) -> None:
        """A daemon starts and knows what was kept; a cooldown that a wrong clock wrote is cut short."""
        self.paused, self.halted, self.cooling = self.kept
        if self.cooling is not None:
            since, until = self.cooling
            if until > now + max(HOUR_MS, self.rules.cooldown_ms):
                until = now + self.rules.cooldown_ms
            self.cooling, self.cool_until_us = (since, until), now_us + (until - now) * 1_000
        self.kept = (self.paused, self.halted, self.cooling)


@dataclass(slots=True)
class Move:
    """A change of a message's state, as SQLite itself saw it."""

    seq: int
    before: State
    after: State
    attempt_before: int
    attempt_after: int


@dataclass(slots=True)
class History:
    """Everything that is known about one run."""

    letters: list[Letter] = field(default_factory=list)
    by_id: dict[str, Letter] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    duties: dict[str, Duty] = field(default_factory=dict)
    lookups: dict[str, str] = field(default_factory=dict)
    """Provider -> what its look-up proves."""
    lives: list[tuple[int, str]] = field(default_factory=list)
    """Starts of the daemon: (true time, how the one before ended)."""
    store_failures: list[int] = field(default_factory=list)
    """True times at which the database failed."""
    faults: list[str] = field(default_factory=list)
    """What no run may bring: parts that died, exceptions nobody caught, answers given twice."""
    recounts: list[str] = field(default_factory=list)
    """Where kept counts differed from a recount."""
    leftovers: list[str] = field(default_factory=list)
    """What the engine still held when all was quiet."""
    overdue: list[str] = field(default_factory=list)
    """Messages seen pending too long after their end of life."""
    most_held: int = 0
    """Tickets in memory at most, without those being sent."""
    capacity: int = 0
    outbox: list[Message] = field(default_factory=list)
    """All messages at the end."""
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    quiet: bool = False
    """Whether all that could end had ended before the last look."""
    trace: list[tuple[int, str]] = field(default_factory=list)
    """(true time, what): for a person."""

    def note(self, at_us: int, what: str) -> None:
        self.trace.append((at_us, what))
