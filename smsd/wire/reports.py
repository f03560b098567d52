"""How is a report asked for, and what does it look like, as JSON and as a table?

Names and types; what the figures mean is `core.report`'s. A table (CSV) has a line for each item and one for their
total where there is one, under heads that are the names of the fields; costs get a column for each currency.

Texts in it come from applications and providers and are opened by spreadsheets, which take what begins like a formula
for one (https://owasp.org/www-community/attacks/CSV_Injection): such a text gets an apostrophe in front. Numbers of
smsd's own do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from smsd.wire.requests import Request

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a formula may begin with."""

_AMOUNTS: Final = frozenset({"cost", "estimated"})
"""Fields whose texts are numbers of our own."""

Value = str | int | float | bool | None


# -- what is asked for ------------------------------------------------------------------------------------------------


class Reported(Request):
    """Of messages accepted in [since, until): RFC 3339 times, or dates, of which `until` is the last day."""

    since: str | None = None
    until: str | None = None
    tenant: str | None = None
    campaign: str | None = None
    format: str | None = None
    """json (as if absent) or csv."""


class ReportDaily(Reported):
    """What became of the messages."""

    by: str | None = None
    """day (as if absent), tenant, campaign, user, type or provider."""
    sla: float | None = None
    """A delivery rate in percent that was agreed on."""


class ReportErrors(Reported):
    """Why messages failed."""


class ReportRetries(Reported):
    """What calling again was good for."""


class ReportCost(Reported):
    """What messages cost."""

    by: str | None = None
    """tenant (as if absent), campaign, user, type, provider or day."""


class ReportRate(Request):
    """How many messages went and failed in each minute of [since, until)."""

    since: str | None = None
    until: str | None = None
    tenant: str | None = None
    format: str | None = None
    """json (as if absent) or csv."""


# -- what is answered -------------------------------------------------------------------------------------------------


class DailyLine(msgspec.Struct):
    """Messages by what they are now. `accepted` is the sum of the seven behind it; `sent`: nothing further was heard;
    `pending`: still queued. `segments` and costs: as in CostLine. `delivery_rate`, in percent: sent and delivered ones
    of all but pending and cancelled ones; `met`: whether it is the agreed one at least."""

    group: str
    accepted: int
    pending: int
    sent: int
    delivered: int
    undelivered: int
    failed: int
    expired: int
    cancelled: int
    segments: int
    cost: dict[str, str]
    estimated: str | None
    unpriced: int
    delivery_rate: float | None
    met: bool | None


class CostLine(msgspec.Struct):
    """`messages`: taken by a provider, and `segments` theirs. `cost`: by currency (ISO 4217; XXX: none was named), as
    answers and receipts told; `estimated`: of the messages without such a price, by `[providers.NAME] price`;
    `unpriced`: those without either."""

    group: str
    messages: int
    segments: int
    cost: dict[str, str]
    estimated: str | None
    unpriced: int


class ErrorLine(msgspec.Struct):
    """Messages that failed, or were reported undelivered, for the same reason. `share`, in percent; `example`: the
    newest one's id."""

    category: str
    code: str | None
    provider: str | None
    messages: int
    share: float
    example: str | None


class RetryLine(msgspec.Struct):
    """Messages that were called so often. `success_rate` in percent; `average_latency_ms`: of a call;
    `average_time_ms`: from acceptance, or the time asked for, to the end."""

    attempts: int
    messages: int
    successful: int
    success_rate: float | None
    average_latency_ms: int | None
    average_time_ms: int | None


class RateLine(msgspec.Struct):
    """One minute."""

    minute: str
    sent: int
    failed: int


class DailyReport(msgspec.Struct):
    """`items`: a line for each day (without `since`: from the first with a message on), or each group. `csv`: the
    table instead of the items, if that was asked for."""

    since: str
    until: str
    by: str
    sla: float | None
    items: list[DailyLine]
    total: DailyLine
    csv: str | UnsetType = UNSET


class CostReport(msgspec.Struct):
    """The same about costs."""

    since: str
    until: str
    by: str
    items: list[CostLine]
    total: CostLine
    csv: str | UnsetType = UNSET


class ErrorReport(msgspec.Struct):
    """The most frequent first. `total`: messages."""

    since: str
    until: str
    total: int
    items: list[ErrorLine]
    csv: str | UnsetType = UNSET


class RetryReport(msgspec.Struct):
    """Of messages that are final: those called more than once, those of them that went, in percent; how often a message
    was called on average; and all by the number of calls."""

    since: str
    until: str
    total_retries: int
    successful_retries: int
    success_rate: float | None
    average_attempts: float | None
    items: list[RetryLine]
    csv: str | UnsetType = UNSET


class RateReport(msgspec.Struct):
    """Minutes in which anything went or failed, and the busiest."""

    since: str
    until: str
    sent: int
    failed: int
    peak: RateLine | None
    items: list[RateLine]
    csv: str | UnsetType = UNSET


Report = DailyReport | CostReport | ErrorReport | RetryReport | RateReport
Lines = Sequence[DailyLine] | Sequence[CostLine] | Sequence[ErrorLine] | Sequence[RetryLine] | Sequence[RateLine]


# -- as a table -------------------------------------------------------------------------------------------------------


def table(kind: type[msgspec.Struct], lines: Lines, group: str = "group") -> str:
    """The lines (all of this kind) as CSV by RFC 4180; `group`: the head of what they are by."""
    currencies = sorted({name for line in lines for name in getattr(line, "cost", {})})
    heads: list[str] = []
    for name in kind.__struct_fields__:
        costs = [f"cost_{currency}" for currency in currencies]
        heads += costs if name == "cost" else [group if name == "group" else name]
    rows = [",".join(heads)]
    rows += (",".join(_fields(line, currencies)) for line in lines)
    return "\r\n".join(rows) + "\r\n"


def _fields(line: msgspec.Struct, currencies: Sequence[str]) -> list[str]:
    fields: list[str] = []
    for name in line.__struct_fields__:
        value = getattr(line, name)
        if name == "cost":
            fields += (value.get(currency, "") for currency in currencies)
        else:
            fields.append(csv_field(value, own=name in _AMOUNTS))
    return fields


def csv_field(value: Value, *, own: bool = False) -> str:
    """One value. `own`: a text that is a number of smsd's own."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str) or own:
        return str(value)
    text = f"'{value}" if value.startswith(FORMULA) else value
    if any(letter in text for letter in ',"\r\n'):
        doubled = text.replace('"', '""')
        return f'"{doubled}"'
    return text
