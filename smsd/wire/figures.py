"""How do providers, and counts of messages, look to a caller?

The answers that say how the daemon, a user or a recipient stands; what is counted is known to the engine. Times are RFC
3339 UTC with `Z`; what is absent is null. Who may see them is the doors' affair.
"""

from __future__ import annotations

import msgspec

from smsd.wire.alerts import AlertView
from smsd.wire.suppressions import SuppressionView


class ProviderView(msgspec.Struct):
    """A provider. Rates are messages (or segments) a minute; null: unlimited.

    `rate_now` is below `rate` when the provider's "too fast" has taught smsd a lower one; `recommended_rate` is what
    `rate` might then be set to. `until` of a broken one is its next probe. The last three are null for a caller who
    sees only a tenant's messages: they are about everybody's.
    """

    name: str
    type: str
    state: str
    since: str | None
    until: str | None
    reason: str | None
    rate: float | None
    rate_now: float | None
    recommended_rate: float | None
    in_flight: int | None
    sent_last_minute: int | None
    throttles_last_hour: int | None


class ProviderList(msgspec.Struct):
    """The providers, in the order in which they are preferred. `disabled`: names of those that send nothing and may
    still call back; empty for a caller who sees only a tenant's messages."""

    providers: list[ProviderView]
    disabled: list[str] = []


class StatsView(msgspec.Struct):
    """Counts: of the whole daemon, or of a tenant. `eta` is when the backlog would be gone; null: nothing waits, or
    nobody knows. `processed` counts the messages that are sent or final. `alerts`: those that are raised, oldest first;
    null for who may not know."""

    states: dict[str, int]
    categories: dict[str, int]
    providers: dict[str, ProviderView]
    priorities: dict[str, int]
    sent_last_minute: int
    sent_last_hour: int
    sent_today: int
    failed_today: int
    processed: int
    oldest_pending_at: str | None
    eta: str | None
    uptime_s: int
    version: str
    alerts: list[AlertView] | None = None


class UserView(msgspec.Struct):
    """Counts of the messages about one user. `rate_limit_remaining`: how many more may go now by the limits on users
    (and on the tenant the read is bound to), the least of all; null where none applies."""

    user_id: str
    sent_today: int
    sent_last_hour: int
    failed_today: int
    pending: int
    rate_limit_remaining: int | None = None


class RecipientView(msgspec.Struct):
    """The same of one number, and where it opted out, as far as the caller may know."""

    recipient: str
    sent_today: int
    sent_last_hour: int
    failed_today: int
    pending: int
    suppression: list[SuppressionView]
    rate_limit_remaining: int | None = None
