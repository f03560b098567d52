"""What can the daemon say happened?

One name per fact; the same name stands in the log, the metrics, the event stream, the callbacks and the tests. An
Event carries plain fields and never a text body; recipients in it are full numbers, so every sink that leaves the
process masks them (`logs`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from smsd.core.message import Draft, Instant, Message


class Kind(StrEnum):
    """The names. Values are public: log searches and stream clients rely on them."""

    MESSAGE_ACCEPTED = "message.accepted"
    MESSAGE_SENT = "message.sent"
    MESSAGE_RETRY_SCHEDULED = "message.retry_scheduled"
    MESSAGE_THROTTLED = "message.throttled"
    MESSAGE_DEFERRED = "message.deferred"
    MESSAGE_FAILED = "message.failed"
    MESSAGE_DELIVERED = "message.delivered"
    MESSAGE_UNDELIVERED = "message.undelivered"
    MESSAGE_EXPIRED = "message.expired"
    MESSAGE_CANCELLED = "message.cancelled"
    MESSAGE_REOPENED = "message.reopened"
    MESSAGE_RESCHEDULED = "message.rescheduled"
    MESSAGE_UNCERTAIN = "message.uncertain"
    MESSAGE_RECONCILED = "message.reconciled"
    PROVIDER_COOLDOWN = "provider.cooldown"
    PROVIDER_RECOVERED = "provider.recovered"
    PROVIDER_HALTED = "provider.halted"
    PROVIDER_RESUMED = "provider.resumed"
    PROVIDER_PAUSED = "provider.paused"
    PROVIDER_BREAKER_OPENED = "provider.breaker_opened"
    PROVIDER_BREAKER_CLOSED = "provider.breaker_closed"
    PROVIDER_RATE_CHANGED = "provider.rate_changed"
    LIMIT_HIT = "limit.hit"
    SUPPRESSION_ADDED = "suppression.added"
    SUPPRESSION_REMOVED = "suppression.removed"
    INBOUND_RECEIVED = "inbound.received"
    RECEIPT_UNMATCHED = "receipt.unmatched"
    WEBHOOK_REFUSED = "webhook.refused"
    CALLBACK_FAILED = "callback.failed"
    CAMPAIGN_CREATED = "campaign.created"
    CAMPAIGN_DELETED = "campaign.deleted"
    CAMPAIGN_PAUSED = "campaign.paused"
    CAMPAIGN_RESUMED = "campaign.resumed"
    CAMPAIGN_CANCELLED = "campaign.cancelled"
    CAMPAIGN_COMPLETED = "campaign.completed"
    ALERT_RAISED = "alert.raised"
    ALERT_CLEARED = "alert.cleared"
    OPERATOR_ACTED = "operator.acted"
    CONFIG_RELOADED = "config.reloaded"
    CONFIG_REJECTED = "config.rejected"
    DAEMON_READY = "daemon.ready"
    DAEMON_DRAINING = "daemon.draining"
    DAEMON_STOPPED = "daemon.stopped"
    OUTBOX_FULL = "outbox.full"
    OUTBOX_RECOVERED = "outbox.recovered"
    OUTBOX_BROKEN = "outbox.broken"


class Level(StrEnum):
    """How loud a fact is in the log."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


LEVELS: dict[Kind, Level] = {
    Kind.MESSAGE_THROTTLED: Level.WARNING,
    Kind.MESSAGE_DEFERRED: Level.WARNING,
    Kind.MESSAGE_FAILED: Level.ERROR,
    Kind.MESSAGE_UNDELIVERED: Level.WARNING,
    Kind.MESSAGE_EXPIRED: Level.WARNING,
    Kind.MESSAGE_UNCERTAIN: Level.WARNING,
    Kind.LIMIT_HIT: Level.WARNING,
    Kind.PROVIDER_COOLDOWN: Level.WARNING,
    Kind.PROVIDER_PAUSED: Level.WARNING,
    Kind.PROVIDER_HALTED: Level.CRITICAL,
    Kind.PROVIDER_BREAKER_OPENED: Level.ERROR,
    Kind.WEBHOOK_REFUSED: Level.WARNING,
    Kind.CALLBACK_FAILED: Level.WARNING,
    Kind.ALERT_RAISED: Level.ERROR,
    Kind.CONFIG_REJECTED: Level.ERROR,
    Kind.OUTBOX_FULL: Level.ERROR,
    Kind.OUTBOX_BROKEN: Level.CRITICAL,
}
"""Kinds not named here are INFO."""


@dataclass(slots=True)
class Event:
    """One fact."""

    kind: Kind
    at: Instant
    fields: dict[str, object] = field(default_factory=dict)


def of_failure(message: Message) -> dict[str, object]:
    """What MESSAGE_FAILED says of a message that has failed without a call of its own."""
    fields = about(message)
    fields |= {"provider": message.provider, "priority": message.priority.label, "attempt": message.attempt}
    if message.error is not None:
        fields |= {"category": message.error.category.value, "code": message.error.code, "error": message.error.message}
    return fields


def about(message: Draft | Message) -> dict[str, object]:
    """What every event about a message says of it: whose it is decides who may see the event."""
    fields: dict[str, object] = {"id": message.id, "to": message.recipient, "tenant": message.tenant}
    if message.campaign is not None:
        fields["campaign"] = message.campaign
    return fields
