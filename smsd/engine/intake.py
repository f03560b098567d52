"""How does a submission become an accepted message?

accept -> persist -> schedule -> acknowledge. Nothing is acknowledged before its commit is on disk; nothing is scheduled
that is not. A repeat with the same idempotency key always gets its first answer: it is looked up before any refusal
that depends on limits, backlog or configuration, and while the first is being committed the repeat waits for it. The
doors decide who may submit; this module decides what becomes of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import structlog

from smsd.clock import Clock
from smsd.core.acceptance import Fault, MessageRules, Origin, Refusal, Submission, accept, tenant_of
from smsd.core.events import Kind, about, of_failure
from smsd.core.limits import Per
from smsd.core.message import Draft, Encoding, Instant, MessageId, State
from smsd.core.routing import Routes
from smsd.core.suppression import EVERY
from smsd.engine.bus import Bus
from smsd.engine.feeder import Feeder
from smsd.engine.flood import Flood
from smsd.engine.limits import Limits
from smsd.engine.tally import Tally
from smsd.store import (
    AcceptResult,
    CampaignClosed,
    DiskFullError,
    Due,
    KeyConflict,
    Limited,
    Outbox,
    OutcomeUnknownError,
    Records,
    Replay,
    StoreBrokenError,
    Stored,
    StoreError,
    Suppressed,
)

log = structlog.get_logger("smsd.intake")


class Accepted(NamedTuple):
    """Accepted: it is on disk."""

    id: str
    state: State
    segments: int
    encoding: Encoding
    replayed: bool


_LIMITED_FIELDS: Mapping[Per, str] = {
    Per.RECIPIENT: "to",
    Per.USER: "user",
    Per.TENANT: "tenant",
    Per.CAMPAIGN: "campaign",
    Per.TEXT: "text",
}
"""What a rule counts by, as the submission calls it."""

Answer = Accepted | Refusal
Done = Callable[[Answer], None]

FLOWS_MOST = 20_000
"""Flows with messages beyond which nothing of a campaign is accepted. Each costs a kilobyte or two while it waits; a
label of its own on every message would fill the memory."""


@dataclass(slots=True)
class _Repeat:
    content_hash: bytes | None
    done: Done


class Intake:
    """The one way in. `submit` answers by a callback on the loop: forty thousand a second need no future."""

    def __init__(
        self,
        outbox: Outbox,
        records: Records,
        feeder: Feeder,
        tally: Tally,
        bus: Bus,
        clock: Clock,
        rules: MessageRules,
        routes: Routes,
        new_id: Callable[[], str],
        notice_expiry: Callable[[int], None],
        limits: Limits,
        max_backlog: int,
    ) -> None:
        self._outbox = outbox
        self._records = records
        self._feeder = feeder
        self._tally = tally
        self._bus = bus
        self._clock = clock
        self._rules = rules
        self._routes = routes
        self._new_id = new_id
        self._notice_expiry = notice_expiry
        self._limits = limits
        self._max_backlog = max_backlog
        self._flood = Flood(outbox)
        self._committing: dict[tuple[str, str], list[_Repeat]] = {}
        """Keys whose first message is being committed, with the repeats that wait for it; bounded by the doors."""
        self._lookups: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self.draining = False

    def new_id(self) -> str:
        """An id that nothing has."""
        return self._new_id()

    def rule(self, rules: MessageRules, routes: Routes, max_backlog: int) -> None:
        """New rules count for what is submitted from now on."""
        self._rules, self._routes, self._max_backlog = rules, routes, max_backlog

    def submit(
        self,
        submission: Submission,
        origin: Origin,
        content_hash: bytes | None,
        done: Done,
        *,
        exempt: bool = False,
        flood: object | None = None,
    ) -> None:
        """Validate, persist, then call `done` exactly once. Never raises for what a caller sent.

        `exempt`: smsd's own answer to a STOP, START or HELP. It may go to a number that is suppressed, and neither what
        its tenant is bound to nor how long texts may be counts for it. `flood`: whoever hands it in with very many
        others at once (module `flood`); a client's own keep their order as long as it does not say so of some only.
        """
        now = self._clock.wall()
        rules = replace(self._rules, tenants={}, max_chars=0, max_segments=0) if exempt else self._rules
        found = accept(submission, rules, self._routes, origin, now, MessageId(self._new_id()), content_hash)
        if isinstance(found, Refusal):
            self._refuse(found, submission, origin, content_hash, done)
            return
        found.exempt = exempt
        obstacle = self._obstacle(found)
        if obstacle is not None:
            self._refuse(obstacle, submission, origin, content_hash, done)
            return
        if found.idempotency_key is not None and self._waits_for_first(found, done):
            return
        self._under_way += 1
        if flood is None:
            self._flood.one(found, partial(self._stored, found, done))
        else:
            self._flood.one_of_many(found, partial(self._stored, found, done), flood)

    def preview(self, submission: Submission, origin: Origin) -> Draft | Refusal:
        """What would become of a submission, before the outbox is asked: nothing is accepted; the draft has no id."""
        return accept(submission, self._rules, self._routes, origin, self._clock.wall(), MessageId(""))

    def examine(self, submission: Submission, origin: Origin) -> tuple[Fault, ...]:
        """All that is wrong with a submission (of which the door could perhaps read a part); nothing is accepted."""
        now = self._clock.wall()
        found = accept(submission, self._rules, self._routes, origin, now, MessageId(self._new_id()))
        return found.faults if isinstance(found, Refusal) else ()

    def _obstacle(self, draft: Draft) -> Refusal | None:
        if self.draining:
            return _refusal("shutting_down", "smsd is shutting down. Submit again; with an idempotency key if unsure.")
        if self._tally.backlog + self._under_way >= self._max_backlog:
            text = f"The backlog holds {self._max_backlog} messages ([outbox] max_backlog). Submit again later."
            return _refusal("backlog_full", text)
        if draft.campaign is not None and self._feeder.flows >= FLOWS_MOST:
            text = "Messages of too many campaigns wait at once. `campaign` is for many messages under one name; "
            return _refusal("backlog_full", text + "use `metadata` or `type` for a label of each. Submit again later.")
        return None

    # -- repeats -----------------------------------------------------------------------------------------------------

    def _refuse(
        self, refusal: Refusal, submission: Submission, origin: Origin, content_hash: bytes | None, done: Done
    ) -> None:
        key = submission.idempotency_key
        if key is None or content_hash is None or not refusal.depends_on_configuration:
            done(refusal)
            return
        tenant = tenant_of(submission, origin)
        if isinstance(tenant, Fault):
            done(refusal)
            return
        repeats = self._committing.get((tenant, key))
        if repeats is not None:
            repeats.append(_Repeat(content_hash, done))
            return
        task = asyncio.get_running_loop().create_task(self._replay_or(refusal, tenant, key, content_hash, done))
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)

    async def _replay_or(self, refusal: Refusal, tenant: str, key: str, content_hash: bytes, done: Done) -> None:
        try:
            found = await self._records.find_key(tenant, key, content_hash)
        except StoreError as error:
            log.error("an idempotency key could not be looked up; the refusal stands", error=str(error))
            found = None
        done(_replayed(found) if found is not None else refusal)

    def _waits_for_first(self, draft: Draft, done: Done) -> bool:
        name = (draft.tenant, draft.idempotency_key or "")
        repeats = self._committing.get(name)
        if repeats is None:
            self._committing[name] = []
            return False
        repeats.append(_Repeat(draft.content_hash, done))
        return True

    def _answer_repeats(self, draft: Draft, first: Answer) -> None:
        for repeat in self._committing.pop((draft.tenant, draft.idempotency_key or ""), ()):
            if isinstance(first, Refusal):
                repeat.done(first)
            elif repeat.content_hash == draft.content_hash:
                repeat.done(Accepted(first.id, first.state, first.segments, first.encoding, replayed=True))
            else:
                repeat.done(_conflict(first.id))

    # -- the commit's answer -----------------------------------------------------------------------------------------

    def _stored(self, draft: Draft, done: Done, result: AcceptResult) -> None:
        self._under_way -= 1
        if isinstance(result, Stored):
            state = State.PENDING if result.failed is None else result.failed.state
            answer: Answer = Accepted(draft.id, state, draft.segments, draft.encoding, replayed=False)
            self._tell(draft)
            if result.failed is None:
                self._schedule(draft, result)
            else:
                self._bus.publish(Kind.MESSAGE_FAILED, draft.created_at, **of_failure(result.failed))
        elif isinstance(result, StoreError):
            answer = _failed(result)
        elif isinstance(result, Suppressed):
            answer = _suppressed(result)
        elif isinstance(result, CampaignClosed):
            answer = _closed(result)
        elif isinstance(result, Limited):
            answer = _limited(result, self._clock.wall())
            self._limits.rejected(draft, result)
        else:
            answer = _replayed(result)
        if draft.idempotency_key is not None:
            self._answer_repeats(draft, answer)
        done(answer)

    def _schedule(self, draft: Draft, stored: Stored) -> None:
        due = Due(stored.seq, 0, draft.due, draft.segments)
        self._feeder.add(stored.flow, draft.route, draft, due)
        self._feeder.wake()
        self._notice_expiry(draft.expires_at)

    def _tell(self, draft: Draft) -> None:
        self._bus.publish(
            Kind.MESSAGE_ACCEPTED,
            draft.created_at,
            **about(draft),
            priority=draft.priority.label,
            segments=draft.segments,
        )


def _refusal(code: str, message: str) -> Refusal:
    return Refusal((Fault("", code, message, circumstantial=True),))


def _conflict(id: str) -> Refusal:
    text = f"This idempotency key was used for other content (message {id}). Use a new key for a new message."
    return Refusal((Fault("idempotency_key", "key_conflict", text),))


def _replayed(found: Replay | KeyConflict) -> Answer:
    if isinstance(found, KeyConflict):
        return _conflict(found.id)
    return Accepted(found.id, found.state, found.segments, Encoding(found.encoding), replayed=True)


def _suppressed(found: Suppressed) -> Refusal:
    whose = "any sender" if EVERY in found.scopes else "the senders of the providers that would carry it"
    text = f"`to` opted out of texts from {whose}: do not text it, unless the recipient asks for it again."
    return Refusal((Fault("to", "recipient_suppressed", text, circumstantial=True),))


def _closed(found: CampaignClosed) -> Refusal:
    text = f"Campaign {found.campaign} is cancelled and takes no more messages. Use another id for a new campaign."
    return Refusal((Fault("campaign", "wrong_state", text, circumstantial=True),))


def _limited(found: Limited, now: Instant) -> Refusal:
    """A repeat later may be accepted: when, is told. Whose window it is, is named by the field it is counted by."""
    wait_s = max(1, -(-(found.until - now) // 1_000))
    text = f"Rate limit exceeded ({found.rule.words}): submit it again in {wait_s} s."
    name = _LIMITED_FIELDS.get(found.rule.per, "")
    return Refusal((Fault(name, "limit_exceeded", text, circumstantial=True, retry_after_s=wait_s),))


def _failed(error: StoreError) -> Refusal:
    match error:
        case DiskFullError():
            return _refusal("disk_full", "The outbox has no room; nothing was accepted. Free disk space and repeat.")
        case OutcomeUnknownError():
            text = "The commit failed: whether it was accepted is not known. Repeat with the same idempotency key."
            return _refusal("outcome_unknown", text)
        case StoreBrokenError():
            return _refusal(
                "shutting_down", "The outbox stopped; nothing was accepted. Submit again after the restart."
            )
        case _:
            return _refusal("internal", f"The outbox could not take it: {error}. Nothing was accepted; repeat it.")
