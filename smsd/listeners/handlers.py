"""What does each operation do?

One function an operation: (service, caller, request) -> answer. The caller's scope was judged before; here its tenant
is, because only here it is known whose message is asked for. What cannot be done raises ProblemError.
"""

from __future__ import annotations

import asyncio
import base64

from smsd import __version__, wire
from smsd.core.acceptance import Fault, Refusal
from smsd.core.message import Message, State
from smsd.core.suppression import EVERY
from smsd.engine.explaining import Seen
from smsd.engine.intake import Accepted, Answer
from smsd.engine.roster import UnknownProviderError
from smsd.engine.service import SLICE, ReloadRefusedError, Service
from smsd.engine.snapshots import GoneError, OffsetError
from smsd.engine.stream import UnknownKindError, wanted
from smsd.listeners import alerting, showing
from smsd.listeners.callers import Caller, ProblemError
from smsd.listeners.events import event_view
from smsd.listeners.metrics import exposition
from smsd.store import Person, Query, WrongState


async def send(service: Service, caller: Caller, request: wire.Submission) -> wire.Acceptance:
    """Accept a message."""
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    content_hash = wire.content_hash(request) if request.idempotency_key is not None else None
    service.intake.submit(request, caller.origin, content_hash, answered.set_result)
    answer = await answered
    if isinstance(answer, Refusal):
        raise ProblemError(*answer.faults)
    return acceptance(answer)


def acceptance(receipt: Accepted) -> wire.Acceptance:
    """The answer to an accepted submission."""
    return wire.Acceptance(receipt.id, receipt.state.label, receipt.segments, receipt.encoding.label, receipt.replayed)


async def get(service: Service, caller: Caller, request: wire.Get) -> wire.MessageView:
    """One message; if asked, only when it has left the queue."""
    seen = await service.wait(request.id, caller.sees, showing.wait_ms(request.wait))
    return showing.message(_found(seen, request.id))


async def list_(service: Service, caller: Caller, request: wire.List) -> wire.MessageList:
    """Messages, newest first."""
    query = Query(
        tenant=caller.bound(request.tenant),
        states=showing.states(request.state),
        recipient=None if request.to is None else showing.recipient(request.to, "to"),
        user=request.user,
        campaign=request.campaign,
        category=showing.category(request.category),
        since=showing.instant(request.since, "since"),
        before=showing.cursor(request.cursor, wire.Cursors(service.cursor_key)),
        limit=showing.limit(request.limit),
    )
    return await listed(service, query)


async def listed(service: Service, query: Query) -> wire.MessageList:
    """What the query finds, as a page of a listing."""
    items, following = await service.page(query)
    cursors = wire.Cursors(service.cursor_key)
    cursor = None if following is None else cursors.encode(following)
    views: list[wire.MessageView] = []
    for seen in items:
        views.append(showing.message(seen))
        if len(views) % SLICE == 0:
            await asyncio.sleep(0)  # a long page holds nobody else up
    return wire.MessageList(views, cursor)


async def attempts(service: Service, caller: Caller, request: wire.Attempts) -> wire.AttemptList:
    """The attempts of a message."""
    found = await service.attempts(request.id, caller.sees)
    if found is None:
        raise _not_found(request.id)
    return wire.AttemptList([wire.attempt_view(attempt) for attempt in found])


async def cancel(service: Service, caller: Caller, request: wire.Cancel) -> wire.MessageView:
    """Cancel a pending message."""
    found = await service.cancel(request.id, caller.sees)
    if isinstance(found, WrongState):
        text = f"The message is {found.message.state.label}; only a pending one can be cancelled."
        raise ProblemError.of("wrong_state", text, "id")
    return showing.message(_found(found, request.id))


async def reschedule(service: Service, caller: Caller, request: wire.Reschedule) -> wire.MessageView:
    """Another time for a pending message."""
    found = await service.reschedule(
        request.id, caller.sees, send_at=request.send_at, ttl=request.ttl, expires_at=request.expires_at
    )
    if isinstance(found, tuple):
        raise ProblemError(*found)
    if isinstance(found, WrongState):
        raise ProblemError.of("wrong_state", _why_not_rescheduled(found.message), "id")
    return showing.message(_found(found, request.id))


def _why_not_rescheduled(message: Message) -> str:
    if message.state is State.PENDING:
        return "The message has reached the end of its life and expires now; submit a new one."
    return f"The message is {message.state.label}; only a pending one can be given another time."


async def retry(service: Service, caller: Caller, request: wire.Retry) -> wire.MessageView:
    """Begin a new round for a message."""
    found = await service.retry(
        request.id, caller.sees, ttl=request.ttl, expires_at=request.expires_at, force=request.force
    )
    if isinstance(found, Fault):
        raise ProblemError(found)
    if isinstance(found, WrongState):
        raise ProblemError.of("wrong_state", showing.why_not_retried(found), "id")
    return showing.message(_found(found, request.id))


async def stats(service: Service, caller: Caller, request: wire.Stats) -> wire.StatsView:
    """Counts of what the caller sees."""
    found = await service.counting.stats(caller.sees)
    return showing.stats(found, alerting.raised(service) if caller.everyone else None, load=caller.everyone)


async def user(service: Service, caller: Caller, request: wire.User) -> wire.UserView:
    """Counts of the messages about one user."""
    if not request.user:
        raise ProblemError.of("invalid_value", "`user` must not be empty.", "user")
    person = Person(caller.bound(request.tenant), user=request.user)
    counts = await service.counting.counts_of(person)
    remaining = await service.counting.remaining(person)
    return wire.UserView(
        request.user, counts.sent_today, counts.sent_last_hour, counts.failed_today, counts.pending, remaining
    )


async def recipient(service: Service, caller: Caller, request: wire.Recipient) -> wire.RecipientView:
    """Counts of the messages to one number."""
    number = showing.recipient(request.number, "number")
    person = Person(caller.bound(request.tenant), recipient=number)
    counts = await service.counting.counts_of(person)
    suppression = await _suppression(service, caller, number)
    remaining = await service.counting.remaining(person)
    return wire.RecipientView(
        number, counts.sent_today, counts.sent_last_hour, counts.failed_today, counts.pending, suppression, remaining
    )


async def _suppression(service: Service, caller: Caller, number: str) -> list[wire.SuppressionView]:
    """Where the number opted out: a tenant is told of the providers it may use, and of what holds everywhere."""
    found = await service.suppressions_of(number)
    if not caller.everyone:
        its_own = {EVERY, *(view.name for view in service.providers(caller.sees))}
        found = tuple(each for each in found if each.scope in its_own)
    return [wire.suppression_view(each) for each in found]


async def providers(service: Service, caller: Caller, request: wire.Providers) -> wire.ProviderList:
    """The providers that may carry the caller's messages."""
    found = service.providers(caller.sees)
    enabled = {view.name for view in found}
    others = [name for name in service.registering.names if name not in enabled] if caller.everyone else []
    return wire.ProviderList([showing.provider(view, load=caller.everyone) for view in found], others)


async def pause(service: Service, caller: Caller, request: wire.Pause) -> wire.ProviderView:
    """Call a provider no more."""
    try:
        return showing.provider(await service.pause(request.provider, by=caller.name), load=True)
    except UnknownProviderError as error:
        raise ProblemError.of("not_found", str(error), "provider") from error


async def resume(service: Service, caller: Caller, request: wire.Resume) -> wire.ProviderView:
    """Call it again."""
    try:
        return showing.provider(await service.resume(request.provider, by=caller.name), load=True)
    except UnknownProviderError as error:
        raise ProblemError.of("not_found", str(error), "provider") from error


async def events(service: Service, caller: Caller, request: wire.Events) -> wire.EventList:
    """What happened, of what the caller sees."""
    try:
        chosen = wanted(request.kinds, caller.sees)
    except UnknownKindError as error:
        raise ProblemError.of("invalid_value", f"`kinds`: {error}", "kinds") from error
    wait_s = showing.wait_ms(request.wait) / 1e3
    batch = await service.stream.read(request.after, wait_s, showing.limit(request.limit), chosen)
    return wire.EventList([event_view(id, event) for id, event in batch.events], batch.last, batch.lost)


async def reload(service: Service, caller: Caller, request: wire.Reload) -> wire.ReloadView:
    """Read the configuration again."""
    if service.reloader is None:
        text = "This daemon was started without a configuration file (run --dev); there is nothing to read again."
        raise ProblemError.of("not_available", text)
    try:
        done = await service.reloader()
    except ReloadRefusedError as error:
        faults = [Fault(path, "invalid_value", f"{path}: {message}") for path, message in error.faults]
        raise ProblemError(*faults) from error
    return wire.ReloadView([*done.changed], [*done.restart], [*done.warnings])


async def backup(service: Service, caller: Caller, request: wire.Backup) -> wire.Chunk:
    """A piece of a consistent copy of the outbox."""
    if service.snapshots is None:
        raise ProblemError.of("not_available", "This daemon's outbox cannot be copied.")
    try:
        piece = await service.snapshots.read(request.snapshot, request.offset)
    except OffsetError as error:
        raise ProblemError.of("invalid_value", str(error), "offset") from error
    except GoneError as error:
        raise ProblemError.of("not_found", str(error), "snapshot") from error
    return wire.Chunk(piece.id, piece.size, piece.offset, base64.b64encode(piece.data).decode(), piece.done)


async def metrics(service: Service, caller: Caller, request: wire.Metrics) -> wire.Exposition:
    """The daemon's figures for Prometheus."""
    return wire.Exposition(await exposition(service))


async def ping(service: Service, caller: Caller, request: wire.Ping) -> wire.Pong:
    """Somebody is there."""
    return wire.Pong(True, __version__)


def _found(seen: Seen | None, id: str) -> Seen:
    if seen is None:
        raise _not_found(id)
    return seen


def _not_found(id: str) -> ProblemError:
    return ProblemError.of("not_found", f"There is no message {id[:64]}.", "id")
