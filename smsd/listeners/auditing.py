"""Which operations are written down, and in which words?

Whatever needs the scope admin and does more than look, whatever changes a campaign, and cancelling and rescheduling
when an admin does it: a line before it is done, closed by what became of it; by how many messages it was done to, where
one act is about many. The table of operations wraps its handlers
here, so that no door and no later operation can go past it. The pieces of a backup after its first are one act with
that, and so are those of a bulk retry or deletion. What only tries what would be done (`dry_run`) is none.

Somebody who may not ask for an operation leaves no line: nothing is done, and anybody could fill the disk by it.

A line holds no text of a message, no secret and no whole number. So only fields whose values are known to be harmless
are written down with them (`_PLAIN`, `_NUMBERS`); of any other field a line says only that it was given. A field that
somebody adds later is one of those until it is named here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import msgspec

from smsd import wire
from smsd.core.address import mask
from smsd.core.units import rfc3339
from smsd.engine.auditing import Act, Much
from smsd.engine.service import ReloadRefusedError, Service
from smsd.listeners import showing
from smsd.listeners.callers import INTERNAL, Caller, ProblemError, Scope, store_fault
from smsd.store import StoreError
from smsd.store.operators import Entry

Handler = Callable[[Service, Caller, Any], Awaitable[msgspec.Struct]]

BY_ADMINS: Final = frozenset({"cancel", "reschedule"})
"""Operations of applications, too: recorded when an admin asks."""

LOOKS: Final = frozenset({"suppressions", "failed", "audit"})
"""Operations that need the scope admin and change nothing: a page that shows them anew each second leaves no lines."""

CAMPAIGNS: Final = "campaign_"
"""How operations begin that change a campaign."""

SIGNAL: Final = "signal"
"""Who asked for what came as a signal to the process."""

_SUBJECTS: Final = ("id", "provider", "campaign", "number", "snapshot")
"""The first of them that is given is what it is about."""

_NUMBERS: Final = frozenset({"number", "to", "from_"})
_PLAIN: Final = frozenset(
    {
        *("id", "ids", "provider", "campaign", "snapshot", "state", "scope", "category", "operation", "who", "kind"),
        *("since", "until", "send_at", "ttl", "expires_at", "limit", "rate", "send_between", "priority", "type"),
        *("tenant", "force", "failed", "dry_run", "offset", "format", "by", "sla"),
    }
)
_QUIET: Final = frozenset({"cursor", "offset"})
"""Of no interest to who reads it."""

_MOST: Final = 500
"""Characters of a line's detail."""
_LONGEST: Final = 128
"""Characters of a value."""
_NAMED: Final = 3
"""Items of a list that are named; the rest is counted."""

_LEAK: Final = re.compile(r"\+[1-9][0-9]{6,14}")


def audited(name: str, scope: Scope, handler: Handler) -> Handler:
    """The handler of the operation `name`, which leaves a line where one is due."""
    if name in LOOKS:
        return handler
    always = scope is Scope.ADMIN or (name.startswith(CAMPAIGNS) and scope is not Scope.READ)
    if not always and name not in BY_ADMINS:
        return handler

    @functools.wraps(handler)
    async def recorded(service: Service, caller: Caller, request: Any) -> msgspec.Struct:
        if not (always or Scope.ADMIN in caller.scopes) or _goes_on(request) or _only_tries(request):
            return await handler(service, caller, request)
        act, further = act_of(caller, name, request), _is_further(request)
        recorded = service.office.auditing.recorded
        return await recorded(act, lambda: handler(service, caller, request), code_of, much_of, further=further)

    return recorded


def _goes_on(request: Any) -> bool:
    """Whether it is a further piece of something that was begun, and recorded, before."""
    return isinstance(request, wire.Backup) and request.snapshot is not None


def _only_tries(request: Any) -> bool:
    return getattr(request, "dry_run", False) is True


def _is_further(request: Any) -> bool:
    """Whether it says where the piece before it ended."""
    return isinstance(request, wire.FailedDelete) and request.cursor is not None


def act_of(caller: Caller, name: str, request: msgspec.Struct) -> Act:
    """The operation in words."""
    given = dict(_given(request))
    about = next((field for field in _SUBJECTS if field in given), "")
    subject = _value(about, given.pop(about)) if about else ""
    detail = ", ".join(_worded(field, value) for field, value in given.items() if field not in _QUIET)
    if len(detail) > _MOST:
        detail = f"{detail[: _MOST - 3]}..."
    return Act(_safe(caller.name), caller.sees or "", name, _safe(subject), _safe(detail))


def _given(request: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    """The fields that say something."""
    for field in msgspec.structs.fields(request):
        value = getattr(request, field.name)
        if value is not None and value is not False:
            yield field.name, value


def _worded(field: str, value: Any) -> str:
    if field not in _PLAIN and field not in _NUMBERS:
        return f"{field} ({len(value)})" if isinstance(value, list) else field
    return field if value is True else f"{field} {_value(field, value)}"


def _value(field: str, value: Any) -> str:
    if isinstance(value, list):
        named = ", ".join(_cut(str(each)) for each in value[:_NAMED])
        return f"({len(value)}): {named}{' ...' if len(value) > _NAMED else ''}"
    if isinstance(value, dict):
        return " ".join(_cut(str(each)) for each in value.values())
    return mask(_cut(str(value))) if field in _NUMBERS else _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _safe(text: str) -> str:
    """Without whole numbers, wherever somebody put one, and without what a terminal would obey."""
    shown = _LEAK.sub(lambda found: mask(found[0]), text)
    return shown if shown.isprintable() else "".join(each if each.isprintable() else "?" for each in shown)


def much_of(answer: msgspec.Struct) -> Much | None:
    """To how many messages it was done, of an act that is about many."""
    match answer:
        case wire.RetriedView():
            return Much({"retried": answer.retried, "skipped": answer.skipped_total}, answer.more)
        case wire.DeletedView():
            return Much({"deleted": answer.deleted, "skipped": answer.skipped_total}, answer.more)
    return None


def code_of(error: Exception) -> str:
    """What the caller is told of it, as a code."""
    match error:
        case ProblemError():
            return error.faults[0].code
        case StoreError():
            return store_fault(error).code
        case ReloadRefusedError():
            return "invalid_value"
    return INTERNAL.code


async def audit(service: Service, caller: Caller, request: wire.Audit) -> wire.AuditList:
    """What operators did, newest first."""
    cursors = wire.Cursors(service.cursor_key)
    auditing = service.office.auditing
    found, following = await auditing.page(
        caller.bound(request.tenant),
        operation=request.operation,
        who=request.who,
        since=showing.instant(request.since, "since"),
        before=showing.cursor(request.cursor, cursors),
        limit=showing.limit(request.limit),
    )
    items = [_view(each, under_way=auditing.under_way(each.nr)) for each in found]
    return wire.AuditList(items, None if following is None else cursors.encode(following))


def _view(entry: Entry, *, under_way: bool) -> wire.AuditEntry:
    outcome = "under_way" if entry.outcome is None and under_way else entry.outcome
    return wire.AuditEntry(
        rfc3339(entry.at), entry.who, entry.tenant, entry.operation, entry.subject, entry.detail, outcome
    )
