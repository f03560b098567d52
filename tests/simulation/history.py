"""What really happened?

The truth of one run, kept by those who cannot be wrong about it: the world notes what it asked for and was answered,
the carrier notes every call and whether it took the text, both by true time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from smsd.core.message import Attempt, Message, State
from smsd.core.pacing import Pace
from tests.simulation.duty import Duty
from tests.simulation.governed import UNGOVERNED, Governed
from tests.simulation.way_back import SILENT, Back, Report, Told


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
    """As the submission or the last one who rescheduled it says."""
    ttl_ms: int
    max_attempts: int | None
    profile: str | None
    key: str | None
    at_us: int
    wall: int
    campaign: str | None = None
    user: str | None = None
    rescheduled: bool = False
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
    resends: list[int] = field(default_factory=list)
    """True times at which a receipt said that it did not arrive, and that it is sent again."""

    asked_at: int | None = None
    """`send_at` as the submission says."""

    @property
    def content(self) -> tuple[object, ...]:
        """What an idempotency key stands for."""
        return (
            self.recipient, self.text, self.priority, self.sender, self.pin, self.asked_at, self.max_attempts,
            self.campaign, self.user,
        )  # fmt: skip


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
    """In the unit of its provider."""
    segments: int
    life: int
    """Which start of the daemon made it."""
    start_us: int
    wall: int
    again: bool = False
    """The same attempt is sent once more, by its key."""
    disabled: frozenset[str] = frozenset()
    """Providers that were out of service when it began."""
    forbidden: str = ""
    """Why it should not have been made, known when it was: paused, halted, cooling, broken, or being tried already."""
    latest_wall: int = 0
    """The latest that the wall clock had shown by then, since the message was submitted."""
    send_at: int | None = None
    """The time that was named for the message, as it was known when it was made."""
    expires_at: int | None = None
    """The message's end of life, as it was known when it was made."""
    arrived_us: int | None = None
    over_limit: bool = False
    """It exceeded the carrier's own limit."""
    taken: bool = False
    pmid: str | None = None
    end_us: int | None = None
    answer: str = ""
    """What the daemon learnt, as the operator wants it read: accepted, refused, opted out, throttled, suspect,
    deferred, unauthorized, unreached, unknown; empty: the daemon was gone before."""
    rests: str = ""
    """It was too fast for its sender ("sender"), or for the two of them ("recipient"), who wait now."""
    probe: bool = False
    """It tried a provider that was out of order."""


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


@dataclass(slots=True)
class Move:
    """A change of a message's state, as SQLite itself saw it."""

    seq: int
    before: State
    after: State
    attempt_before: int
    attempt_after: int
    id: str
    round: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """pending -> processing, as SQLite itself saw it; `at_us` by true time, `wall` by the clock."""

    seq: int
    round: int
    sender: str | None
    at_us: int
    wall: int


@dataclass(frozen=True, slots=True)
class LookUp:
    """A question about an uncertain message."""

    at_us: int
    provider: str
    id: str
    answered: bool


@dataclass(frozen=True, slots=True)
class Opening:
    """From when on (true time) an account has this rate, shared by these."""

    at_us: int
    pace: Pace
    members: frozenset[str]


@dataclass(frozen=True, slots=True)
class Rested:
    """A pair of sender and recipient (None: any) was told to wait."""

    provider: str
    sender: str
    recipient: str | None
    from_us: int
    until_us: int
    life: int


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A number was opted out at a provider (empty: everywhere)."""

    scope: str
    number: str
    from_us: int


@dataclass(slots=True)
class History:
    """Everything that is known about one run."""

    letters: list[Letter] = field(default_factory=list)
    by_id: dict[str, Letter] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    governed: Governed = UNGOVERNED
    claims: list[Claimed] = field(default_factory=list)
    entered: list[tuple[int, int]] = field(default_factory=list)
    """(message, true time) of every acceptance."""
    parted: list[tuple[int, int, int]] = field(default_factory=list)
    """(message, true time, flow) of every time that one left its flow for another, because it goes another way."""
    charges: list[tuple[int, str, int]] = field(default_factory=list)
    """(kind, key, message) of everything that was ever charged."""
    deleted: list[Message] = field(default_factory=list)
    """Messages whose time to be kept was over, as they were then."""
    gone: dict[int, int] = field(default_factory=dict)
    """Message -> true time at which it was deleted."""
    step_times: list[int] = field(default_factory=list)
    """True times at which the wall clock was stepped."""
    stalled: list[str] = field(default_factory=list)
    """Messages seen with a due time that the clock was set back under."""
    contest: tuple[str, str] | None = None
    """Two tenants whose messages wait for the same provider from the start."""
    duties: dict[str, Duty] = field(default_factory=dict)
    lookups: dict[str, str] = field(default_factory=dict)
    """Provider -> what its look-up proves."""
    looks: list[LookUp] = field(default_factory=list)
    accounts: dict[str, list[Opening]] = field(default_factory=dict)
    """What is in force of each account, in order of time."""
    failover: bool = True
    """Whether a provider that is out of order hands its messages over."""
    rested: list[Rested] = field(default_factory=list)
    resumes: list[tuple[str, int]] = field(default_factory=list)
    """(provider, true time) at which an operator lifted everything."""
    suppressed: list[Suppressed] = field(default_factory=list)
    lifted: list[tuple[str, str, int]] = field(default_factory=list)
    """(scope, number, true time at which that was asked for)"""
    steps: int = 0
    """How often the wall clock was stepped."""
    retries: list[tuple[int, int, int]] = field(default_factory=list)
    """(life, steps, due by the wall clock) of every retry after an answer."""
    budget: float | None = None
    """Share of the calls that retries may be."""
    rates: dict[str, list[tuple[int, float | None]]] = field(default_factory=dict)
    """(true time, units a minute) from which on a provider is called with a learnt rate; None: as configured, or
    nobody knows."""
    views: list[tuple[str, float | None, float | None, float | None]] = field(default_factory=list)
    """(provider, its rate now, the recommended one, the configured one), units a minute, whenever somebody looked."""
    judged: list[str] = field(default_factory=list)
    """What is wrong with what the engine made of refusals without a reason."""
    proofs: list[tuple[str, int]] = field(default_factory=list)
    """(message, true time) of receipts that proved it was taken."""
    back: Back = SILENT
    reports: list[Report] = field(default_factory=list)
    """Every receipt that a carrier has sent, or will send."""
    told: list[Told] = field(default_factory=list)
    """Every callback that an application heard."""
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
    forgotten: set[str] = field(default_factory=set)
    """Messages that were due for long in fair weather, while no call was made."""
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
