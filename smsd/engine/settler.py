"""How does a settlement become true?

First in the outbox, then everywhere else: the schedule hears of a message that is pending again, the reconciler of one
that is uncertain, the provider's lane of a cooldown or a halt, and the bus of what happened. The dispatcher (answers)
and the reconciler (look-ups) settle through here, so a fact has one consequence however it was learnt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from smsd.core.account import ProviderRules
from smsd.core.budget import RetryBudget
from smsd.core.events import Kind, about
from smsd.core.lifecycle import Event
from smsd.core.message import Attempt, Instant, Message, Priority, State
from smsd.core.retry import RetryRules
from smsd.core.settlement import Halt, Settlement
from smsd.core.verdict import Category
from smsd.engine.bus import Bus
from smsd.engine.feeder import Feeder
from smsd.engine.lane import Lane
from smsd.engine.learning import Heard
from smsd.store import Due, Outbox


class RetryBook:
    """The default retry rules and the named profiles; a profile that is gone from the configuration is the default.

    And how many retries there may be: their share of all calls.
    """

    def __init__(self, default: RetryRules, profiles: Mapping[str, RetryRules], share: float | None = None) -> None:
        self._default = default
        self._profiles = profiles
        self._share = share
        self._budget = RetryBudget(share)

    def become(self, other: RetryBook) -> None:
        """Another book's rules count from now on."""
        self._default, self._profiles = other._default, other._profiles
        if other._share != self._share:
            self._share, self._budget = other._share, other._budget

    def called(self, now: Instant) -> None:
        """A call begins."""
        self._budget.called(now)

    def paced(self, message: Message, settlement: Settlement, now: Instant) -> Settlement:
        """The settlement, its retry put off as far as the budget says: not one of a `high` message, and never beyond
        the message's end of life."""
        retry = settlement.event is Event.RETRY and settlement.effect is None and not settlement.released
        if retry and message.priority is not Priority.HIGH:
            due = self._budget.reserve(settlement.due, now)
            settlement.due = due if due < message.expires_at else settlement.due
        return settlement

    def rules_for(self, message: Message, rules: ProviderRules) -> RetryRules:
        """The rules this message is retried by: its own profile, its provider's, or the default."""
        profile = message.profile or rules.profile
        return self._profiles.get(profile, self._default) if profile else self._default

    def most_for(self, message: Message, rules: ProviderRules) -> int | None:
        """The attempts that its provider's profile grants a message without one that only this provider may carry;
        None: as the message says. (Whose calls they were is not counted by provider.)"""
        if message.profile or "," in message.route or rules.profile not in self._profiles:
            return None
        return self._profiles[rules.profile].max_attempts


class Settler:
    """Writes settlements down and lets them take effect."""

    def __init__(
        self,
        outbox: Outbox,
        feeder: Feeder,
        bus: Bus,
        doubt: Callable[[Instant], None],
        notice_expiry: Callable[[Instant], None],
        attempted: Callable[[Attempt], None],
    ) -> None:
        self._outbox = outbox
        self._feeder = feeder
        self._bus = bus
        self._doubt = doubt
        self._notice_expiry = notice_expiry
        self._attempted = attempted

    async def write(
        self, lane: Lane | None, settlement: Settlement, attempt: Attempt | None, heard: Heard | None = None
    ) -> bool:
        """Make it durable, and the provider's health with it. False: late news, nothing changed. Raises StoreError.

        `attempt`: the call that was made, if one was; it is counted whatever becomes of the writing.
        """
        if attempt is not None:
            self._attempted(attempt)
        news = lane.hear(heard) if lane is not None and heard is not None else None
        if news is None:
            return await self._outbox.settle(settlement, attempt)
        written, _ = await asyncio.gather(self._outbox.settle(settlement, attempt), news)
        return written

    def apply(self, message: Message, settlement: Settlement, *, looked_up: bool = False) -> None:
        """Let a written settlement take effect in memory, and tell."""
        match settlement.state:
            case State.PENDING:
                supply = Due(message.seq, settlement.attempt_after, settlement.due, message.segments)
                if settlement.flow is not None and settlement.route is not None:
                    self._feeder.add(settlement.flow, settlement.route, message, supply)
                else:
                    self._feeder.add(message.flow, message.route, message, supply)
                # Its end of life may have come while it was not pending, and passed unnoticed.
                self._notice_expiry(message.expires_at)
            case State.PROCESSING:
                self._doubt(settlement.due)
            case _:
                pass
        self._tell(message, settlement, looked_up=looked_up)
        if settlement.suppress is not None:
            self._bus.publish(
                Kind.SUPPRESSION_ADDED,
                settlement.at,
                **about(message),
                provider=settlement.suppress.scope,
                source=settlement.suppress.source,
                code=settlement.suppress.code,
            )

    def _tell(self, message: Message, settlement: Settlement, *, looked_up: bool) -> None:
        if settlement.released or (settlement.event is Event.DOUBT and message.uncertain):
            return  # no call was made; or the doubt was told when it began
        error = settlement.error
        kind = _kind(settlement, looked_up=looked_up)
        fields: dict[str, object] = {
            **about(message),
            "provider": message.provider,
            "priority": message.priority.label,
            "attempt": settlement.attempt,
        }
        if settlement.event is Event.TAKEN:
            fields["provider_message_id"] = settlement.provider_message_id
            fields["since_accepted_ms"] = settlement.at - message.created_at
            if settlement.segments is not None:
                fields["segments_by_provider"] = settlement.segments
        if settlement.event is Event.RETRY:
            fields["max_attempts"] = message.max_attempts
            fields["delay_ms"] = max(0, settlement.due - settlement.at)
        if error is not None and settlement.event is not Event.TAKEN:
            fields["category"] = error.category.value
            fields["code"] = error.code
            fields["error"] = error.message
        self._bus.publish(kind, settlement.at, **fields)


def _kind(settlement: Settlement, *, looked_up: bool) -> Kind:
    match settlement.event:
        case Event.TAKEN:
            return Kind.MESSAGE_RECONCILED if looked_up else Kind.MESSAGE_SENT
        case Event.RETRY:
            if isinstance(settlement.effect, Halt):
                return Kind.MESSAGE_DEFERRED  # no retry is scheduled: it waits for a person
            throttled = settlement.error is not None and settlement.error.category is Category.RATE_LIMITED
            return Kind.MESSAGE_THROTTLED if throttled else Kind.MESSAGE_RETRY_SCHEDULED
        case Event.DOUBT:
            return Kind.MESSAGE_UNCERTAIN
        case _:
            return Kind.MESSAGE_FAILED
