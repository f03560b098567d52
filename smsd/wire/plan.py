"""How is a plan asked for, and what does it answer?

A plan is what would happen if messages were handed in. Its rows come in several requests, because a line of the socket
is short and a file is long: the first one names none and gets the plan's id, the last one says `end`. Names and types
only; what a row may be is judged as for any message.
"""

from __future__ import annotations

import msgspec

from smsd.wire.requests import Request


class Plan(Request):
    """Begin a plan, add rows to it, end it; all in one request, or in several."""

    plan: str | None = None
    """The plan these rows are added to; absent: a new one begins."""
    rows: list[object] | None = None
    """Objects with the fields of a message."""
    end: bool = False
    """These were the last rows: answer what would happen. The plan is forgotten after that."""
    campaign: str | None = None
    """With a new plan: the campaign its rows belong to."""
    rate: str | None = None
    """Its own rate ("1000/hour"), as for a campaign."""
    send_between: str | dict[str, str] | None = None
    """Its hours of the day, as for a campaign."""
    tenant: str | None = None
    """On whose behalf rows are that name none."""


class PlanFault(msgspec.Struct):
    """Why a row would be refused. `index`: from 0, in the order they were given."""

    index: int
    field: str | None
    code: str
    message: str


class DecidingView(msgspec.Struct):
    """The limit that decides when a plan finishes, and its numbers in a sentence."""

    limit: str
    words: str


class PlanView(msgspec.Struct, kw_only=True):
    """What would happen. `valid` rows are those that are not refused for what they are; of these `already_there`
    (their idempotency key is known), `suppressed` and `limited` (a limit would refuse or fail them) are not sent, and
    what is summed up is of the others. `cost` by currency; the empty name: the configuration's, which names none."""

    rows: int
    valid: int
    invalid: int
    errors: list[PlanFault]
    """Of the first 100 invalid rows."""
    codes: dict[str, int]
    """Invalid rows by the code of their first fault."""
    suppressed: int
    duplicates: int
    """Rows to a number that has one already; they are sent."""
    already_there: int
    limited: int
    truncated: int
    segments: int
    encodings: dict[str, int]
    cost: dict[str, str]
    unpriced: int
    """Rows for which no price is configured."""
    held_by_quiet_hours: int
    """Rows that would wait for the end of quiet hours at first."""
    quiet_until: str | None
    """When the last of them might go."""
    expiring: int
    """Rows that would reach the end of their life before their turn, about."""
    starts_at: str | None
    finishes_at: str | None
    """null: no row would be sent, or nobody knows when; then `decided_by` says why."""
    duration_s: float | None
    """From now until then."""
    decided_by: DecidingView | None


class PlanStep(msgspec.Struct):
    """How far a plan is. `result`: once it has ended."""

    plan: str
    rows: int
    result: PlanView | None = None
