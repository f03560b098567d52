"""What do figures say to who asks for them?

The operations on reports: (service, caller, request) -> answer. A caller sees those of its tenant. Days are those of
`[daemon] timezone`. It refuses to know how the sums are made, and whether JSON or a table is asked for where no
`format` says it (that is the door's).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Final, TypeVar

from smsd import wire
from smsd.core.acceptance import Fault
from smsd.core.message import State
from smsd.core.report import DAY_MS, MINUTE_MS, WENT, Group, RetrySums, Span, Sums, mean, percent
from smsd.core.units import rfc3339
from smsd.engine.reporting import OF_ONE, BusyError, Line, Reporting
from smsd.engine.service import Service
from smsd.listeners.callers import Caller, ProblemError
from smsd.store.operators import MOST_GROUPS, MOST_ROWS, REST, TooWideError

T = TypeVar("T")

FORMATS: Final = ("json", "csv")

MOST_DAYS: Final = 3_660
"""Of a report by days."""

TOTAL: Final = "total"
NO_CURRENCY: Final = "XXX"
"""ISO 4217's code for no currency."""


async def daily(service: Service, caller: Caller, request: wire.ReportDaily) -> wire.DailyReport:
    """What became of messages, by day or by what they have in common."""
    reporting, span = service.office.reporting, _span(service.office.reporting, caller, request)
    by, table = _by(request.by, Group.DAY, span), _table(request.format)
    sla = _sla(request.sla)
    lines, sums = await _made(reporting.lines(caller.name, span, by))
    await _check_campaign(service, span, sums.count())
    items = [_daily(line.name, line.sums, sla) for line in _from_first(lines, request.since)]
    total = _daily(TOTAL, sums, sla)
    found = wire.DailyReport(rfc3339(span.since), rfc3339(span.until), by.value, request.sla, items, total)
    if table:
        found.csv, found.items = wire.table(wire.DailyLine, [*items, total], by.value), []
    return found


async def cost(service: Service, caller: Caller, request: wire.ReportCost) -> wire.CostReport:
    """What messages cost, by what they have in common."""
    reporting, span = service.office.reporting, _span(service.office.reporting, caller, request)
    by, table = _by(request.by, Group.TENANT, span), _table(request.format)
    lines, sums = await _made(reporting.lines(caller.name, span, by))
    await _check_campaign(service, span, sums.count())
    items = [_cost(line.name, line.sums) for line in _from_first(lines, request.since)]
    total = _cost(TOTAL, sums)
    found = wire.CostReport(rfc3339(span.since), rfc3339(span.until), by.value, items, total)
    if table:
        found.csv, found.items = wire.table(wire.CostLine, [*items, total], by.value), []
    return found


async def errors(service: Service, caller: Caller, request: wire.ReportErrors) -> wire.ErrorReport:
    """Why messages failed, the most frequent reason first."""
    reporting, span = service.office.reporting, _span(service.office.reporting, caller, request)
    table = _table(request.format)
    groups = await _made(reporting.errors(caller.name, span))
    total = sum(failures.messages for _, failures in groups)
    await _check_campaign(service, span, total)
    items = [
        wire.ErrorLine(
            category,
            code or None,
            provider or None,
            failures.messages,
            float(percent(failures.messages, total) or 0),
            failures.example if category != REST else None,
        )
        for (category, code, provider), failures in groups
    ]
    found = wire.ErrorReport(rfc3339(span.since), rfc3339(span.until), total, items)
    if table:
        found.csv, found.items = wire.table(wire.ErrorLine, items), []
    return found


async def retries(service: Service, caller: Caller, request: wire.ReportRetries) -> wire.RetryReport:
    """What calling again was good for, by the number of calls."""
    reporting, span = service.office.reporting, _span(service.office.reporting, caller, request)
    table = _table(request.format)
    by_calls = await _made(reporting.retries(caller.name, span))
    again = [sums for calls, sums in by_calls.items() if calls > 1]
    retried, gone = sum(sums.messages for sums in again), sum(sums.succeeded for sums in again)
    messages = sum(sums.messages for sums in by_calls.values())
    await _check_campaign(service, span, messages)
    called = sum(calls * sums.messages for calls, sums in by_calls.items())
    items = [_retry(calls, sums) for calls, sums in by_calls.items()]
    found = wire.RetryReport(
        rfc3339(span.since),
        rfc3339(span.until),
        retried,
        gone,
        _float(percent(gone, retried)),
        None if not messages else round(called / messages, 2),
        items,
    )
    if table:
        found.csv, found.items = wire.table(wire.RetryLine, items), []
    return found


async def rate(service: Service, caller: Caller, request: wire.ReportRate) -> wire.RateReport:
    """How many messages went and failed in each minute, and in the busiest."""
    reporting, table = service.office.reporting, _table(request.format)
    tenant = caller.bound(request.tenant)
    since, until = _times(reporting.minutes, request.since, request.until)
    if not since < until <= since + MOST_GROUPS:
        text = f"`since` is before `until`, and not more than {MOST_GROUPS} minutes: some 7 days."
        raise ProblemError.of("invalid_value", text, "since")
    found = await _made(reporting.rate(caller.name, since, until, tenant))
    items = [wire.RateLine(rfc3339(minute * MINUTE_MS), sent, failed) for minute, sent, failed in found]
    report = wire.RateReport(
        rfc3339(since * MINUTE_MS),
        rfc3339(until * MINUTE_MS),
        sum(line.sent for line in items),
        sum(line.failed for line in items),
        max(items, key=lambda line: line.sent, default=None),
        items,
    )
    if table:
        report.csv, report.items = wire.table(wire.RateLine, items), []
    return report


# -- what is asked for ------------------------------------------------------------------------------------------------


def _span(reporting: Reporting, caller: Caller, request: wire.Reported) -> Span:
    tenant = caller.bound(request.tenant)
    since, until = _times(reporting.ends, request.since, request.until)
    if since >= until:
        raise ProblemError.of("invalid_value", "`since` must be before `until`.", "since")
    return Span(since, until, tenant, request.campaign)


def _times(
    read: Callable[[str | None, str | None], tuple[int, int]], since: str | None, until: str | None
) -> tuple[int, int]:
    """As they are read; raises ProblemError with what is wrong with each."""
    faults: list[Fault] = []
    for field, ends in (("since", (since, None)), ("until", (None, until))):
        try:
            read(*ends)
        except ValueError as error:
            faults.append(Fault(field, "invalid_value", f'`{field}`: {error}; or a date: "2026-01-31".'))
    if faults:
        raise ProblemError(*faults)
    return read(since, until)


def _by(text: str | None, usual: Group, span: Span) -> Group:
    if text is not None and text not in {*Group}:
        raise ProblemError.of("invalid_value", f"`by` is one of {', '.join(Group)}.", "by")
    by = usual if text is None else Group(text)
    if by is Group.DAY and span.until - span.since > MOST_DAYS * DAY_MS:
        raise ProblemError.of("invalid_value", f"A report by days is of at most {MOST_DAYS} days.", "since")
    return by


def _table(text: str | None) -> bool:
    if text is not None and text not in FORMATS:
        raise ProblemError.of("invalid_value", f"`format` is one of {', '.join(FORMATS)}.", "format")
    return text == "csv"


def _sla(asked: float | None) -> Decimal | None:
    if asked is None:
        return None
    if not 0 < asked <= 100:
        raise ProblemError.of("invalid_value", "`sla` is a percentage above 0, at most 100.", "sla")
    return Decimal(str(asked))


async def _made(report: Awaitable[T]) -> T:
    """The report, or why there is none."""
    try:
        return await report
    except BusyError as error:
        if error.own:
            text = f"{OF_ONE} reports that you asked for are not done yet: ask for one after the other."
            raise ProblemError.of("limit_exceeded", text) from error
        raise ProblemError.of("backlog_full", "Too many reports wait. Repeat it later.") from error
    except TooWideError as error:
        text = f"{error.rows} messages lie between `since` and `until`, at most {MOST_ROWS} are looked at: take less."
        raise ProblemError.of("invalid_value", text, "since") from error


async def _check_campaign(service: Service, span: Span, messages: int) -> None:
    """Nothing of a campaign that there is, is an answer; of one that there is not, a typo."""
    if messages or span.campaign is None:
        return
    if not await service.office.campaigns.find(span.campaign, span.tenant):
        raise ProblemError.of("invalid_value", f"There is no campaign {span.campaign[:64]}.", "campaign")


# -- what is answered -------------------------------------------------------------------------------------------------


def _from_first(lines: Sequence[Line], since: str | None) -> Sequence[Line]:
    """Where nobody asked for a beginning, days before the first message are nothing to tell of; the last is told."""
    if since is not None:
        return lines
    first = next((place for place, line in enumerate(lines) if line.sums.count()), len(lines) - 1)
    return lines[max(0, first) :]


def _daily(name: str, sums: Sums, sla: Decimal | None) -> wire.DailyLine:
    states = {state: sums.states.get(state, 0) for state in State}
    return wire.DailyLine(
        group=name,
        accepted=sums.count(),
        pending=states[State.PENDING] + states[State.PROCESSING],
        sent=states[State.SENT],
        delivered=states[State.DELIVERED],
        undelivered=states[State.UNDELIVERED],
        failed=states[State.FAILED],
        expired=states[State.EXPIRED],
        cancelled=states[State.CANCELLED],
        segments=sums.segments,
        cost=_told(sums),
        estimated=_money(sums.estimated),
        unpriced=sums.unpriced,
        delivery_rate=_float(sums.delivery_rate),
        met=None if sla is None else sums.meets(sla),
    )


def _cost(name: str, sums: Sums) -> wire.CostLine:
    return wire.CostLine(name, sums.count(WENT), sums.segments, _told(sums), _money(sums.estimated), sums.unpriced)


def _retry(calls: int, sums: RetrySums) -> wire.RetryLine:
    return wire.RetryLine(
        calls,
        sums.messages,
        sums.succeeded,
        _float(percent(sums.succeeded, sums.messages)),
        mean(sums.latency_ms, sums.timed),
        mean(sums.wait_ms, sums.messages),
    )


def _told(sums: Sums) -> dict[str, str]:
    return {currency or NO_CURRENCY: format(amount, "f") for currency, amount in sorted(sums.told.items())}


def _money(amount: Decimal | None) -> str | None:
    return None if amount is None else format(amount, "f")


def _float(rate: Decimal | None) -> float | None:
    return None if rate is None else float(rate)
