"""What does the outbox promise?

Two protocols. Outbox: the transitions, each durable (committed and synced) before it reports success; the meaning is
executable in tests/store/contract.py. Records: the read side. They speak in the words of `core`, never in queries, so
that another database is another binding of the same contract.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from smsd.core.admission import AdmissionRules, Key
from smsd.core.bunches import Line
from smsd.core.callback import Callback
from smsd.core.campaign import Gate
from smsd.core.consent import Word
from smsd.core.health import Health
from smsd.core.limits import Rule
from smsd.core.message import Attempt, Draft, Instant, Message, Priority, State
from smsd.core.receipt import Receipt
from smsd.core.settlement import Settlement
from smsd.core.suppression import Suppression


class StoreError(Exception):
    """The outbox could not do it. The message says what happened and what to do."""


class DiskFullError(StoreError):
    """There is no room. Nothing was written; nothing was promised; it may work again once space is freed."""


class OutcomeUnknownError(StoreError):
    """The commit or its sync failed: it may or may not be on disk. The outbox is broken after this; restart smsd."""


class StoreBrokenError(StoreError):
    """The outbox stopped for good (corrupt, replaced, read-only, I/O error). Nothing was promised."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The draft is durable as message `seq` in flow `flow`."""

    seq: int
    flow: int
    failed: Message | None = None
    """Its recipient opted out, and it is of a campaign: it is stored as this, FAILED, OPTED_OUT. None: it waits."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The key was used before for the same content: this is the message of that time."""

    id: str
    state: State
    segments: int
    encoding: int


@dataclass(frozen=True, slots=True)
class KeyConflict:
    """The key was used before for other content."""

    id: str


@dataclass(frozen=True, slots=True)
class Suppressed:
    """No provider of the draft's route may text its recipient. Nothing was stored, and no key is bound. (One of a
    campaign is stored, as failed, so that the campaign's counts add up.)"""

    scopes: tuple[str, ...]
    """Those of its suppressions that stand in the way: providers' names, or `suppression.EVERY` alone."""


@dataclass(frozen=True, slots=True)
class Limited:
    """A limit with action `reject` has no room for the draft. Nothing was stored, and no key is bound."""

    rule: Rule
    until: Instant
    """When there is room again, as far as is known now."""


@dataclass(frozen=True, slots=True)
class CampaignClosed:
    """The draft's campaign is cancelled. Nothing was stored, and no key is bound."""

    campaign: str


AcceptResult = Stored | Replay | KeyConflict | Suppressed | Limited | CampaignClosed | StoreError


NEVER: Instant = 253_402_300_799_999
"""The last millisecond of the year 9999: an end that nobody knows."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """A limit on a tenant or campaign has no room, or a campaign is held up: nothing was written, and none of its
    messages can be claimed."""

    rule: Rule | None
    """The limit; None: it is no limit but `gate`."""
    group: str
    """Whose messages (limits.groups_of)."""
    until: Instant
    """When there is room again; NEVER: when an operator says so."""
    gate: Gate | None = None
    """What holds the campaign up."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Begin the next attempt of message `seq` (`attempt` calls known so far) at `provider`.

    `sender` is used unless the caller asked for one; or, where it is told, what `pick` makes of the recipient (a pure
    function, called on the outbox's thread).
    """

    seq: int
    attempt: int
    provider: str
    sender: str
    pick: Callable[[str], str] | None = None
    spread: float = 0.0
    """A draw from [0, 1): scatters the retry of one that a limit with action `retry` refuses."""
    due: Instant = 0
    """When it was found due, by a clock that may have been set back since: what is due then is due."""


@dataclass(slots=True)
class Due:
    """What the schedule needs to know of a pending message; never its text."""

    seq: int
    attempt: int
    due: Instant
    segments: int


@dataclass(frozen=True, slots=True)
class Slice:
    """A flow's next pending messages in (due, seq) order. `next_due`: the due time of the first one beyond `until`, if
    the slice is complete up to `until`; None: there is none. `complete` is False when `limit` cut the slice."""

    items: tuple[Due, ...]
    complete: bool
    next_due: Instant | None


@dataclass(frozen=True, slots=True)
class FlowRow:
    """A flow: messages that share route, priority, tenant and campaign."""

    id: int
    route: str
    priority: Priority
    tenant: str
    campaign: str | None
    pending: int
    next_due: Instant | None
    """Earliest due time of its pending messages; None when there is none."""


@dataclass(frozen=True, slots=True)
class Start:
    """A call that was started, for the pacing windows. `boot`: CLOCK_BOOTTIME microseconds; None when it was made in
    another boot."""

    wall: Instant
    boot: int | None
    cost: int
    """What it took out of the rate, in the unit of that time."""
    segments: int
    """Of its message: what it would have taken had the rate counted segments."""


@dataclass(frozen=True, slots=True)
class Step:
    """The wall clock was stepped, and what is due is to follow it."""

    by_ms: int
    """So far it was set back; less than 0: so far ahead."""
    now: Instant
    """What it showed when that was noticed."""
    after: tuple[int, int, int, int] | None = None
    """Where following it goes on; None: at the beginning. The outbox's own."""

    @property
    def before(self) -> Instant:
        """What it would have shown then without the step."""
        return self.now + self.by_ms


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was found at opening."""

    flows: tuple[FlowRow, ...]
    """Those with pending messages."""
    providers: tuple[Health, ...]
    reopened: int
    """Open attempts found and marked uncertain (without the parked ones)."""
    next_uncertain: Instant | None
    next_expiry: Instant | None
    latest: Instant | None
    """The latest wall time found written down; a clock that is behind it has been stepped back."""
    counts: dict[tuple[State, Priority], int]
    unknown_before: Instant | None = None
    """Not all calls before this wall time are known (a backup was restored then, and what was called since it was made
    is lost): a window that reaches back beyond it is full."""
    cursor_key: bytes = field(default=b"", compare=False, repr=False)
    """16 bytes drawn by lot when the outbox was made: cursors of listings are hidden by it."""
    steps: tuple[Step, ...] = ()
    """Steps of the wall clock that the due times have not followed yet, in order."""
    parked: tuple[Message, ...] = ()
    """Messages found in a call for the third time (`core.crashes`), as they are now: failed, UNCERTAIN."""


@dataclass(frozen=True, slots=True)
class Tracking:
    """What is to be written down for the way back; all of it costs something for each message sent."""

    ids: frozenset[str] = frozenset()
    """Providers whose receipts name only their own id of a message: it is looked up by that."""
    threads: frozenset[str] = frozenset()
    """Providers whose recipients can answer: who texted whom last is remembered."""
    callbacks: Mapping[str, str] = field(default_factory=dict)
    """By tenant: where what happens to its messages is told, unless a message says otherwise."""


@dataclass(frozen=True, slots=True)
class Received:
    """What a receipt changed."""

    receipt: Receipt
    message: Message | None
    """As it is now; None: no message is known by these ids. Then it is kept for a day, if it has the provider's id."""
    before: State | None = None
    """Its state before; None: as `message`."""
    n: int | None = None
    """The attempt it is about."""
    news: bool = False
    """It says more than was known: the attempt's row says so now."""
    proved: bool = False
    """That the provider took the call was not known before."""
    resent: bool = False
    """The message did not arrive and is pending again, due as it says."""
    suppressed: bool = False
    """The recipient was not suppressed at that provider, and is now."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A text that came in, before it is known whose it is."""

    id: str
    """Ours, UUID version 7."""
    provider: str
    provider_message_id: str
    sender: str = field(repr=False)
    recipient: str
    text: str = field(repr=False)
    word: Word | None
    sent_at: Instant | None
    received_at: Instant
    owner: str
    """The tenant that gets it where the two numbers have no message between them."""
    owned: bool = False
    """The number is the owner's own. Else the provider may have chosen it for a message that named another sender, or
    none: then the last one that this provider took for the writer counts before `owner`."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """A text that was received, as it is kept."""

    nr: int
    """Order of arrival; the outbox's own handle."""
    id: str
    provider: str
    provider_message_id: str
    sender: str = field(repr=False)
    recipient: str
    text: str = field(repr=False)
    tenant: str
    message: str | None
    """The id of the last message between the two numbers."""
    word: Word | None
    news: bool
    """The word changed something (a suppression came or went; a HELP after some quiet), so it is to be answered."""
    sent_at: Instant | None
    received_at: Instant
    redacted: bool = False
    """Its text is gone, and a keyed hash stands for its sender."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """What became of an Arrival. `first` False: it was there already, and nothing was done."""

    inbound: Inbound
    first: bool
    suppressed: bool = False
    """A STOP: the sender was not suppressed there, and is now."""
    lifted: tuple[str, ...] = ()
    """A START: the scopes in which the sender was suppressed, and is no more."""


@dataclass(frozen=True, slots=True)
class CallbackCounts:
    """Kept counts of callbacks."""

    waiting: int
    failed: int
    oldest_due: Instant | None
    """Of those that wait."""
    dropped: int = 0
    """Went at the bound of all that are kept, over all time, before they were told."""


@dataclass(frozen=True, slots=True)
class WrongState:
    """The transition is not possible from this state."""

    message: Message
    closed: bool = False
    """Its campaign is cancelled: its own state is not what stands in the way."""


@dataclass(frozen=True, slots=True)
class MinuteRow:
    """Counts of one provider in one minute (`minute` = Instant // 60000)."""

    minute: int
    provider: str
    sent: int
    failed: int
    throttled: int


@dataclass(frozen=True, slots=True)
class Query:
    """A listing, newest first. None: any. `before`: only messages with a smaller seq (the cursor)."""

    tenant: str | None = None
    states: tuple[State, ...] = ()
    recipient: str | None = None
    user: str | None = None
    campaign: str | None = None
    category: str | None = None
    since: Instant | None = None
    before: int | None = None
    limit: int = 50
    until: Instant | None = None
    """Accepted before then."""
    provider: str | None = None
    """The provider of the last call."""


@dataclass(frozen=True, slots=True)
class Page:
    """`next_before`: the cursor of the next page, None at the end. A page may be short, even empty, before the end:
    one page looks at a bounded number of rows."""

    items: tuple[Message, ...]
    next_before: int | None


@dataclass(frozen=True, slots=True)
class Totals:
    """Kept counts; never counted over the table."""

    states: dict[tuple[State, Priority], int]
    categories: dict[str, int]
    """Messages that ended in `failed`, by error category, over all time."""
    minutes: tuple[MinuteRow, ...]
    """From `since_minute` of the call on."""
    oldest_pending_at: Instant | None
    """Due time of the message that has been due longest; None when nothing is pending."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whom messages are about (`user`, a name its tenant gave) or whom they go to (`recipient`, E.164): exactly one of
    the two. `tenant` None: whoever submitted them. Raises ValueError."""

    tenant: str | None
    user: str | None = None
    recipient: str | None = None

    def __post_init__(self) -> None:
        if (self.user is None) == (self.recipient is None):
            raise ValueError("a person is either a user or a recipient")


@dataclass(frozen=True, slots=True)
class PersonCounts:
    """A person's messages: sent since the day began and in the last hour (whatever became of them later; an operator's
    retry makes a message unsent again), failed or undelivered since the day began, pending or processing now."""

    sent_today: int
    sent_last_hour: int
    failed_today: int
    pending: int


class Outbox(Protocol):
    """The transitions. Each is durable before it reports success. All may raise StoreError."""

    async def open(self, now: Instant, by_segments: Collection[str] = ()) -> Recovery:
        """Lock, migrate, check, recover. Open attempts become uncertain: recorded with outcome "crashed", due for
        their first look-up at `now`, at the cost of their segments at the providers `by_segments` (those whose rate
        counts segments), else of 1. Unless the outbox was closed in order, this is a crash of their messages; a
        message's third one parks it: it fails, UNCERTAIN. Raises StoreError when the outbox cannot be used."""
        ...

    async def close(self, *, orderly: bool = True) -> None:
        """Finish what waits, write down that smsd ended in order, checkpoint, close, unlock. Idempotent.

        `orderly` False: a fault of the daemon ends it, and what is open now counts as open in a crash.
        """
        ...

    def accept(self, draft: Draft, done: Callable[[AcceptResult], None]) -> None:
        """Queue the draft; `done` is called on the event loop, in order of the calls, once it is durable (or not).
        Order of calls is order of acceptance. Keys are looked up before suppressions, which are exact: one that was
        reported kept before this call is met. Then limits that count acceptances are asked."""
        ...

    async def begin(self, claims: Sequence[Claim], now: Instant) -> list[Message | Blocked | None]:
        """Claim: pending -> processing, in one transaction. One result per claim; None: no longer ours (not pending,
        other attempt, or past its expiry). The Message is as after the claim (attempt is the new attempt's number). One
        that is not due at `now`, because it was rescheduled meanwhile, stays PENDING as it is.

        A recipient who is suppressed at the claim's provider gets no call: the message stays PENDING and goes by what
        is left of its route (route and flow are the new ones), or is FAILED, OPTED_OUT, when nothing is left or it is
        pinned. Its attempt is as before.

        Before that its campaign is asked: one that is paused, or outside its hours, is Blocked, with a gate; one that
        is cancelled makes the message CANCELLED, as which it is answered.

        Then quiet hours and limits (govern()), and the campaign's own rate, are asked, message by message in the order
        of the claims, all limits of a message before any is charged. Only what is claimed is charged. Without room the
        Message is PENDING with `held` set, due when its turn comes, or with an error LIMIT_EXCEEDED, due for its next
        attempt; or FAILED, LIMIT_EXCEEDED. Blocked: a limit on its tenant or campaign has no room, or its campaign is
        held up, and nothing was written."""
        ...

    async def settle(self, settlement: Settlement, attempt: Attempt | None) -> bool:
        """Apply the settlement if attempt `settlement.attempt` is still the open one, and record `attempt` in any case
        (None: nothing to record, e.g. the outcome of a look-up). False: late news; it changed nothing. A provider
        message id that is already bound to another message raises nothing: see bound().

        With a route the message goes by that from now on; its flow is written into the settlement. A suppression is
        kept in any case, also by late news. Raises ValueError for a route of what is not tried again."""
        ...

    async def expire(self, now: Instant, limit: int) -> tuple[list[Message], Instant | None]:
        """Pending messages whose time is up become expired (at most `limit`). Returns them and the next expiry."""
        ...

    async def cancel(self, id: str, tenant: str | None, now: Instant) -> Message | WrongState | None:
        """pending -> cancelled. None: no such message (of this tenant). It counts as accepted no more."""
        ...

    async def reschedule(
        self,
        id: str,
        tenant: str | None,
        due: Instant,
        send_at: Instant,
        expires_at: Instant,
        held: str | None,
        held_by: str | None,
        now: Instant,
    ) -> Message | WrongState | None:
        """Another time for a pending message whose end of life has not come: it is due then, and held up by what is
        told. It has no turn any more that a limit promised it. None: no such message (of this tenant)."""
        ...

    async def reopen(
        self,
        id: str,
        tenant: str | None,
        now: Instant,
        expires_at: Instant,
        force: bool,
        due: Instant | None = None,
    ) -> Message | WrongState | None:
        """An operator's retry: failed, undelivered, expired -> pending, a new round, due at `due` (None: now). A failed
        UNCERTAIN one only with `force`. A due time and expiry anew, crashes forgotten; history stays."""
        ...

    async def receive(self, receipts: Sequence[Receipt], now: Instant, spread: float = 0.0) -> list[Received]:
        """Apply delivery receipts, in one transaction; one result each, in order. Many at once hold up all others.

        By our id and attempt, else by the provider's id (Tracking.ids). The attempt learns the provider's id, unless it
        has another one, or a look-up found that for another message. An id that an answer gave to another message is
        believed: our id was told to this provider with this message only.

        One of nothing that is known and that has the provider's id is kept for a day; settle() and another receipt
        apply it when the id becomes known, and tell `received` of notify(). The rules are `core.receipt.judge`.
        `spread`: a draw from [0, 1) that scatters what is sent again.
        """
        ...

    async def arrive(self, arrival: Arrival) -> Arrived:
        """Keep a text that came in. Its tenant is that of the last message between the two numbers (Tracking.threads);
        unless the number is somebody's own, of the last one to its writer by this provider; else `owner`. One that is
        known by its provider's id changes nothing.

        A STOP suppresses its sender at the provider. A START lifts that, and a suppression that is global, unless an
        operator made it. It is told to the tenant's URL."""
        ...

    async def callback_told(self, ids: Sequence[str]) -> None:
        """These callbacks came through: they are deleted."""
        ...

    async def callback_failed(self, callback: Callback) -> None:
        """One did not: its due time (None: it is given up), tries, error, http_status and tried_at are kept. One that
        is there no more stays away."""
        ...

    async def url_gone(self, tenant: str, url: str, now: Instant) -> int:
        """The URL said 410: what waits for it is given up, and what comes for it is kept as given up. How many."""
        ...

    async def replay_callbacks(self, ids: Sequence[str] | None, tenant: str | None, now: Instant, limit: int) -> int:
        """Callbacks of this tenant are due now, with tries from 0 and their age from now: these, or (None) at most
        `limit` that were given up, oldest first, and if those are fewer all that wait for a later time. The URLs of
        those named or given up count as gone no more. How many."""
        ...

    def notify(
        self,
        received: Callable[[Sequence[Received]], None],
        callbacks: Callable[[], None],
    ) -> None:
        """Called on the event loop after commits: `received` with kept receipts that were applied by another transition
        than receive(), `callbacks` when callbacks were added or are due anew. May be called before open()."""
        ...

    async def track(self, tracking: Tracking) -> None:
        """This is written down from now on. May be called before open()."""
        ...

    async def suppress(self, suppression: Suppression) -> bool:
        """Keep it. False: that number is suppressed in that scope already, which stays as it is."""
        ...

    async def lift(self, scope: str, number: str) -> bool:
        """The number may be texted again in this scope. False: it was not suppressed in it."""
        ...

    async def save_provider(self, health: Health) -> None:
        """Keep a provider's health."""
        ...

    async def govern(self, rules: AdmissionRules) -> None:
        """These limits and quiet hours count for whatever is asked after it. What was charged is kept a day
        longer than the longest window of its kind, whatever becomes of the messages. May be called before open()."""
        ...

    async def release_held(self, digest: str, after: int, now: Instant) -> int | None:
        """Let go of a bounded number of messages that limits or quiet hours hold up, unless they did so by the rules of
        this digest: they are due now, or when their callers said, and meet the rules in force when they are claimed.
        In order of their numbers, above `after` (-1: from the first on). The number that it came to; None: all that is
        held up is held up by these rules."""
        ...

    async def follow_step(self, step: Step) -> Step | None:
        """Let due times follow a step of the wall clock, a bounded number of rows at once. Returns what is left to be
        done; None: nothing.

        Set back: what was due is due, and what the outbox was told to be due later (not by `send_at`, not for quiet
        hours) comes so much earlier, in the same order; look-ups and the beginnings of doubts and waits too. Set ahead:
        retries and look-ups come so much later. Ends of life stay.
        """
        ...


class Records(Protocol):
    """The read side. Reads see everything committed before the call."""

    async def get(self, id: str, tenant: str | None) -> Message | None: ...

    async def attempts(self, seq: int) -> list[Attempt]:
        """In order of their numbers; without the open one."""
        ...

    async def suppressions_of(self, number: str) -> tuple[Suppression, ...]:
        """All of the number, in order of their scopes."""
        ...

    async def suppressions(
        self, scope: str | None, after: tuple[str, str] | None, limit: int
    ) -> tuple[Suppression, ...]:
        """At most `limit` of the scope (None: of every one) behind the place `after` (number, scope; of a scope the
        number alone counts), in order of (number, scope)."""
        ...

    async def callbacks_due(
        self, now: Instant, limit: int, without: Collection[str] = (), but_of: Collection[str] = ()
    ) -> tuple[tuple[Callback, ...], Instant | None]:
        """Callbacks that are due, at most `limit`, fairly by place (of each at most `limit` / 4, earliest first, and
        the place first whose first has been due longest); and when the next of all others is due.

        `without`: none of these places (`Callback.place`). `but_of`: none of these tenants. What it costs is bounded by
        `limit`, `without` and the number of places of `but_of`, however much waits.
        """
        ...

    async def callbacks(self, tenant: str | None, failed: bool, after: str | None, limit: int) -> tuple[Callback, ...]:
        """At most `limit` that wait (or, with `failed`, that were given up), in order of their ids, which is that of
        the messages' and inbound texts' coming, behind the id `after`, whether it is still there or not."""
        ...

    async def callback_counts(self) -> CallbackCounts: ...

    async def inbound(
        self,
        tenant: str | None,
        *,
        sender: str | None = None,
        recipient: str | None = None,
        since: Instant | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> tuple[tuple[Inbound, ...], int | None]:
        """Texts received, newest first, and the `before` of the next page (None: that was all). A page may be short
        before the end: it looks at a bounded number of rows."""
        ...

    async def find_key(self, tenant: str, key: str, content_hash: bytes) -> Replay | KeyConflict | None: ...

    async def page(self, query: Query) -> Page: ...

    async def totals(self, since_minute: int, tenant: str | None = None) -> Totals:
        """Of all, or of one tenant. A tenant's minutes are not by provider (`provider` is "", `throttled` 0) and are
        kept for two days."""
        ...

    async def counts_of(self, person: Person, day_since: Instant, hour_since: Instant) -> PersonCounts:
        """What was sent to or about the person since these times, and what waits.

        The counts are exact as long as the person's messages lie within what is looked at, and else too low. Looked at
        are: a user's newest 20,000 messages (with `tenant` None: of each of at most 100 tenants); for a recipient,
        whom no index knows, the newest 200,000 messages of the outbox.
        """
        ...

    async def remaining(self, person: Person, now: Instant) -> int | None:
        """How many more messages the limits let go to or about the person now: the smallest over all that bind it, the
        one on its tenant included where that is named; never below 0. Of a user of no named tenant, the smallest of all
        tenants that have one (of at most 100). None: no limit binds it."""
        ...

    async def feed(self, flow: int, after: tuple[Instant, int] | None, until: Instant, limit: int) -> Slice:
        """The flow's pending messages with (due, seq) > `after` and due <= `until`."""
        ...

    async def uncertain(
        self, until: Instant, limit: int, without: Collection[str] = ()
    ) -> tuple[list[Message], Instant | None]:
        """Uncertain messages whose look-up is due by `until`, earliest first; and when the next after them is due.

        `without`: none of these providers' messages.
        """
        ...

    async def bound(self, provider_message_ids: Sequence[str], without: Collection[str] = ()) -> set[str]:
        """Those of the ids that already belong to a message, whichever provider it went to.

        Two sections may be one account, and a section may be renamed: an id may have been bound under another name.
        `without`: not those of these providers, which are known to be other carriers; their ids may be the same.
        """
        ...

    async def lines(self, most: int, now: Instant) -> tuple[Line, ...]:
        """What waits, for the look ahead: the `most` largest flows, the largest first; what waits in others as one flow
        for each route and priority, numbered below 0. Due times and segments of a bounded sample."""
        ...

    async def place(self, flow: int, due: Instant, seq: int) -> int:
        """How many pending messages of the flow go before the one with this (due, seq). Exact within 20,000 of either
        end, in between by the numbers of the messages."""
        ...

    async def charged(self, key: Key, most: int, step: int) -> tuple[tuple[Instant, int | None], ...]:
        """Of the newest `most` charges under a limit's key every `step`-th, the newest first: when by the wall clock,
        and when by the boot clock (us) if it was in this boot."""
        ...

    async def starts(self, provider: str, since: Instant, since_boot: int, limit: int) -> list[Start]:
        """Calls started lately at the provider, oldest first (at most the newest `limit`), from the attempts.

        Those of this boot after `since_boot` (CLOCK_BOOTTIME, us), whatever the wall clock did meanwhile; those of
        earlier boots after `since` by the wall clock, the only time that outlives a boot.
        """
        ...
