"""What can an operator do about what failed?

The operations on the failed queue, and the records of `/api/admin/retry-failed-sms`: (service, caller, request) ->
answer. An admin of a tenant works with its own messages only. Which of them an operation is about must be said: ids,
a filter, or all; a request that says nothing touches nothing. What one call leaves, its cursor goes on with.
"""

from __future__ import annotations

from smsd import wire
from smsd.core.acceptance import Fault
from smsd.core.message import Message, State
from smsd.core.units import rfc3339
from smsd.engine.failed import OFFSET_MOST, STATES, Chosen, Place, Skipped, Swept, Terms
from smsd.engine.service import Service
from smsd.listeners import handlers, showing
from smsd.listeners.callers import Caller, ProblemError, store_fault
from smsd.store import Query, StoreError, WrongState

MOST_IDS = 500
"""Messages that one call names; they fit into a line of the socket."""

MOST = 10_000
"""Messages that one call deals with."""

USUAL = 1_000

RECORDS_MOST = 500
RECORDS_USUAL = 50

FORCED = "Retry it by POST /v1/messages/ID/retry with `force`"
"""A record's retry has no such field."""

FILTERS = ("tenant", "campaign", "category", "user", "to", "provider", "since", "until")


class StateError(ProblemError):
    """The state of the message stands in the way."""

    def __init__(self, text: str, state: State) -> None:
        super().__init__(Fault("id", "wrong_state", text))
        self.state = state


async def failed(service: Service, caller: Caller, request: wire.Failed) -> wire.MessageList:
    """Messages that failed or were not delivered, newest first."""
    before = showing.cursor(request.cursor, wire.Cursors(service.cursor_key))
    return await handlers.listed(service, _query(caller, request, showing.limit(request.limit), before))


async def failed_retry(service: Service, caller: Caller, request: wire.FailedRetry) -> wire.RetriedView:
    """Try messages of the failed queue again."""
    terms = Terms(request.ttl, request.rate, request.force)
    swept = await service.office.failed.retry(_chosen(service, caller, request), terms)
    if isinstance(swept, Fault):
        raise ProblemError(swept)
    cursor, last_at = _cursor(service, swept), wire.time_text(swept.last_due)
    return wire.RetriedView(swept.done, _skipped(swept), swept.skipped_count, cursor is not None, cursor, last_at)


async def failed_delete(service: Service, caller: Caller, request: wire.FailedDelete) -> wire.DeletedView:
    """Take messages of the failed queue away."""
    swept = await service.office.failed.delete(_chosen(service, caller, request))
    cursor = _cursor(service, swept)
    return wire.DeletedView(swept.done, _skipped(swept), swept.skipped_count, cursor is not None, cursor)


def _query(caller: Caller, request: wire.Failed | wire.FailedDelete, limit: int, before: int | None = None) -> Query:
    return Query(
        tenant=caller.bound(request.tenant),
        states=STATES,
        recipient=None if request.to is None else showing.recipient(request.to, "to"),
        user=request.user,
        campaign=request.campaign,
        category=showing.category(request.category),
        since=showing.instant(request.since, "since"),
        until=showing.instant(request.until, "until"),
        provider=request.provider,
        before=before,
        limit=limit,
    )


def _chosen(service: Service, caller: Caller, request: wire.FailedDelete) -> Chosen:
    """Raises ProblemError unless it is said, in one way, which messages are meant."""
    filters = [name for name in FILTERS if getattr(request, name) is not None]
    if request.all and any(name != "tenant" for name in filters):
        raise ProblemError.of("invalid_value", "`all` and filters exclude each other: leave one of them out.", "all")
    if request.ids is None and not request.all and not filters:
        raise ProblemError.of("missing_field", f"Say which: `ids`, a filter ({', '.join(FILTERS)}), or `all`.", "ids")
    limit = USUAL if request.limit is None else request.limit
    if not 1 <= limit <= MOST:
        raise ProblemError.of("invalid_value", f"`limit` is 1 to {MOST}.", "limit")
    query = _query(caller, request, limit)
    if request.ids is None:
        return Chosen(query, place=_place(service, request.cursor))
    if filters or request.all or request.cursor is not None or request.limit is not None:
        raise ProblemError.of("invalid_value", "`ids` stands alone: leave filters, `all`, limit and cursor out.", "ids")
    if not 1 <= len(request.ids) <= MOST_IDS:
        raise ProblemError.of("invalid_value", f"`ids` names 1 to {MOST_IDS} messages.", "ids")
    return Chosen(query, tuple(request.ids))


def _place(service: Service, cursor: str | None) -> Place | None:
    """A place in a sweep is two numbers, each written as a cursor: the message's, and the next due time."""
    if cursor is None:
        return None
    cursors, half = wire.Cursors(service.cursor_key), len(cursor) // 2
    before, due = (showing.cursor(text, cursors) for text in (cursor[:half], cursor[half:]))
    return Place(before or 0, due or 0)


def _cursor(service: Service, swept: Swept) -> str | None:
    if swept.place is None:
        return None
    cursors = wire.Cursors(service.cursor_key)
    return cursors.encode(swept.place.before) + cursors.encode(swept.place.due)


def _skipped(swept: Swept) -> list[wire.SkippedView]:
    return [wire.SkippedView(each.id, *_why(each)) for each in swept.skipped]


def _why(skipped: Skipped) -> tuple[str, str]:
    match skipped.why:
        case None:
            return "not_found", "There is no such message."
        case StoreError() as error:
            fault = store_fault(error)
            return fault.code, fault.message
        case WrongState() as found:
            return "wrong_state", showing.why_not_retried(found)
        case State() as state:
            return "wrong_state", _why_not_deleted(state)


def _why_not_deleted(state: State) -> str:
    return f"The message is {state.label}; only failed and undelivered ones can be deleted."


# -- records ----------------------------------------------------------------------------------------------------------


async def records(service: Service, caller: Caller, request: wire.Records) -> wire.RecordList:
    """The failed queue as records, newest first."""
    limit = RECORDS_USUAL if request.limit is None else request.limit
    offset = request.offset or 0
    faults = []
    if not 1 <= limit <= RECORDS_MOST:
        faults.append(Fault("limit", "invalid_value", f"`limit` is 1 to {RECORDS_MOST}."))
    if not 0 <= offset <= OFFSET_MOST:
        text = f"`offset` is 0 to {OFFSET_MOST}. What lies further back: GET /v1/failed with its cursors."
        faults.append(Fault("offset", "invalid_value", text))
    if faults:
        raise ProblemError(*faults)
    found, total = await service.office.failed.page_at(caller.sees, offset, limit)
    following = offset + len(found)
    more = bool(found) and following < min(total, OFFSET_MOST + 1)  # what cannot be asked for is not promised
    return wire.RecordList(True, [_record(each) for each in found], wire.Pagination(total, limit, offset, more))


def _record(message: Message) -> wire.RecordView:
    return wire.RecordView(
        id=message.id,
        phone=message.recipient,
        message=message.text,
        error=None if message.error is None else str(message.error),
        attempts=message.attempt,
        created_at=rfc3339(message.created_at),
        last_attempt_at=wire.time_text(message.claimed_at),
    )


async def retry_record(service: Service, caller: Caller, request: wire.RetryRecord) -> wire.RecordRetried:
    """Try one message of the failed queue again; who waits for what becomes of it asks for the message."""
    found = await service.retry(request.id, caller.sees, ttl=None, expires_at=None, force=False)
    if isinstance(found, Fault):
        raise ProblemError(found)
    if isinstance(found, WrongState):
        raise StateError(showing.why_not_retried(found, FORCED), found.message.state)
    if found is None:
        raise _no_record(request.id)
    return wire.RecordRetried(True, "SMS retry pending", None, found.message.state.label)


async def delete_record(service: Service, caller: Caller, request: wire.DeleteRecord) -> wire.RecordDeleted:
    """Take one message of the failed queue away."""
    swept = await service.office.failed.delete(Chosen(Query(tenant=caller.sees), (request.id,)))
    if swept.done:
        return wire.RecordDeleted(True, "Failed SMS record deleted")
    state = swept.skipped[0].why
    if isinstance(state, State):
        raise StateError(_why_not_deleted(state), state)
    raise _no_record(request.id)


def _no_record(id: str) -> ProblemError:
    return ProblemError.of("not_found", f"There is no failed SMS {id[:64]}.", "id")
