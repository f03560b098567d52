"""What does the outbox promise to who changes something?

The protocol of the transitions: each is durable (committed and synced) before it reports success. The meaning is
executable in tests/store/contract.py. It speaks in the words of `core`, never in queries, so that another database is
another binding of the same contract; `sqlite` is the one there is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from smsd.core.admission import AdmissionRules
from smsd.core.callback import Callback
from smsd.core.health import Health
from smsd.core.message import Attempt, Draft, Instant, Message
from smsd.core.receipt import Receipt
from smsd.core.settlement import Settlement
from smsd.core.suppression import Suppression
from smsd.store.answers import AcceptResult, Blocked, WrongState
from smsd.store.incoming import Arrival, Arrived, Received, Tracking
from smsd.store.opening import Recovery, Step
from smsd.store.pending import Claim


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
        """An operator's retry: failed, undelivered, expired -> pending, a new round, due at `due` (None: now) but not
        before its `send_at`; it ends as much later as it is due later by that. A failed UNCERTAIN one only with
        `force`. A due time and expiry anew, crashes forgotten; history stays."""
        ...

    async def receive(self, receipts: Sequence[Receipt], now: Instant, spread: float = 0.0) -> list[Received]:
        """Apply delivery receipts, in one transaction; one result each, in order. Many at once hold up all others.

        By our id and attempt, else by the provider's id (Tracking.ids). The attempt learns the provider's id, unless it
        has another one, or a look-up found that for another message. An id that an answer gave to another message is
        believed: our id was told to this provider with this message only.

        One of nothing that is known and that has the provider's id is kept for a day; settle() and another receipt
        apply it when the id becomes known, and tell `received` of notify(). The rules are `core.receipt.judge`.
        Where the code says that every message would end so, the provider's health says that it is halted, by the same
        transaction; unless it was resumed, or its credentials changed, after that call was claimed.
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
