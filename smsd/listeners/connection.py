"""What does one client of the socket get, and what can it cost?

Lines in, answers out in the same order. A request other than a submission begins when all earlier ones on its
connection are answered, so that reads, cancels and retries see what was submitted before them; submissions never wait
for each other. What has begun is carried to its end even if the client goes away: a retry that is on disk must reach
the schedule. Until then the connection counts as one of its user's, so going away buys nothing.

Everything a client can make the daemon hold has a bound (`limits`), and a client that sends much is read in slices, so
that the others are served in between. Who may connect and how many is the door's affair (`unix`); what an operation
means is known by `operations`, what it answers by `answering`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import Protocol, cast

import structlog

from smsd import wire
from smsd.core.acceptance import Fault, Refusal
from smsd.engine.intake import Answer
from smsd.engine.service import Service
from smsd.listeners.answering import Slot, answered, unreadable
from smsd.listeners.callers import INTERNAL
from smsd.listeners.limits import Limits
from smsd.listeners.lines import BLANK, Lines, TooLongError
from smsd.listeners.operations import OPERATIONS, Caller, ProblemError, Scope

__all__ = ["BLANK", "Connection", "Host", "Limits"]

log = structlog.get_logger("smsd.socket")

REQUESTS = {name: operation.request for name, operation in OPERATIONS.items()}

SLICE = 64
"""Lines begun in one go, about 2 ms of work; then the loop's other work has its turn."""

FEW = 16
"""A client that has more requests under way floods, until all are answered: so none of its own overtakes another."""


class Host(Protocol):
    """The door, as a connection sees it."""

    service: Service
    limits: Limits
    under_way: int
    """Requests begun and not answered, of all connections."""

    def joined(self, connection: Connection) -> Caller:
        """A client connected: who is it?"""
        ...

    def active(self, connection: Connection) -> None:
        """A client said something."""
        ...

    def holds(self, connection: Connection, change: int) -> None:
        """So many bytes more (or less) are held for it."""
        ...

    def left(self, connection: Connection) -> None:
        """A client is gone and nothing is under way for it."""
        ...


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, door: Host) -> None:
        self._door = door
        self._limits = door.limits
        self._lines = Lines(door.limits.line)
        self._slots: deque[Slot] = deque()
        self._under_way = 0
        """Requests begun and not answered."""
        self._floods = False
        self._waiting = 0
        """Bytes of the requests that wait for their turn."""
        self._parsing = False
        self._flushing = False
        self._reading = True
        self._ending = False
        """No more requests are read; it closes when all answers are out."""
        self._last = False
        """The client has said its last; it closes when all of it is answered."""
        self._lost = False
        self._behind: asyncio.TimerHandle | None = None
        """Set while the client is behind in reading; it drops the client."""
        self._leaving: asyncio.TimerHandle | None = None
        """Set while the last answers go out; likewise."""
        self._task: asyncio.Task[bytes] | None = None
        self._only_reads = False
        """Whether that changes nothing, so that it may be given up with the connection."""
        self.uid = -1
        self.held = 0
        """Bytes it was last seen to hold."""

    # -- the transport's calls ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one without inheriting from it
        self.transport.set_write_buffer_limits(high=self._limits.unread)
        try:
            self._caller = self._door.joined(self)
        except OSError:
            log.exception("the system does not say who a client is; it is closed")
            self.abort()
            return
        self._origin = self._caller.origin
        self._intake = self._door.service.intake

    def connection_lost(self, exc: Exception | None) -> None:
        self._ending = self._lost = True
        self._slots.clear()
        self._lines.clear()
        self._waiting = 0
        for timer in (self._behind, self._leaving):
            if timer is not None:
                timer.cancel()
        self._recount()
        if self._task is not None and self._only_reads:
            self._task.cancel()  # it may wait for a minute for something to happen
        if not self._under_way:
            self._door.left(self)

    def data_received(self, data: bytes) -> None:
        if not self._ending:
            self._door.active(self)
            self._lines.feed(data)
            self._go_on()

    def eof_received(self) -> bool:
        if self._lines and not self._ending:
            self._lines.feed(b"\n")
        self._last = True
        self._go_on()
        return True

    def pause_writing(self) -> None:
        self._behind = asyncio.get_running_loop().call_later(
            self._limits.unread_s, self.drop, "it does not read its answers"
        )
        self._set_reading()

    def resume_writing(self) -> None:
        if self._behind is not None:
            self._behind.cancel()
            self._behind = None
        if not self._lost:
            self._flush_soon()
            self._go_on()

    # -- requests -----------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        if not self._parsing:
            self._parse()

    def _parse(self) -> None:
        """Begin the complete lines for which there is room, a slice of them."""
        self._parsing = False
        if not self._floods or not self._under_way:
            self._floods = self._under_way + self._lines.count() > FEW
        begun = 0
        while begun < SLICE and not self._ending and not self._full():
            try:
                line = self._lines.take()
            except TooLongError:
                self._too_long()
                break
            if line is None:
                break
            if line.strip(BLANK):
                self._begin(line)
            begun += 1
        self._lines.forget()
        if self._lines.is_too_long and not self._ending:
            self._too_long()
        if begun == SLICE and self._lines and not self._ending:
            self._parsing = True
            asyncio.get_running_loop().call_soon(self._parse)
        if self._last and not self._lines:
            self.end()
        self._set_reading()
        self._flush_soon()

    def _begin(self, line: bytes) -> None:
        slot = Slot()
        self._slots.append(slot)
        try:
            op, slot.ref, request = wire.decode_line(line, REQUESTS)
            operation = OPERATIONS[op]
            operation.admit(self._caller)
        except wire.WireError as error:
            slot.answer = unreadable(self._door.service, self._caller, error)
            return
        except ProblemError as problem:
            slot.answer = wire.encode_error(slot.ref, problem.faults)
            return
        if isinstance(request, wire.Submission):
            self._submit(slot, request)
        else:
            slot.operation, slot.request, slot.size = operation, request, len(line)
            self._waiting += slot.size

    def _submit(self, slot: Slot, submission: wire.Submission) -> None:
        self._started()
        try:
            content_hash = wire.content_hash(submission) if submission.idempotency_key is not None else None
            done = partial(self._submitted, slot)
            self._intake.submit(submission, self._origin, content_hash, done, flood=self if self._floods else None)
        except RecursionError:
            self._answer(slot, wire.encode_error(slot.ref, (wire.TOO_DEEP,)))
        except Exception:
            log.exception("a submission met a fault of the daemon")
            self._answer(slot, wire.encode_error(slot.ref, (INTERNAL,)))

    def _submitted(self, slot: Slot, answer: Answer) -> None:
        if isinstance(answer, Refusal):
            self._answer(slot, wire.encode_error(slot.ref, answer.faults))
        else:
            id, state, segments, encoding, replayed = answer
            self._answer(slot, wire.encode_accepted(slot.ref, id, state.label, segments, encoding.label, replayed))

    def _performed(self, slot: Slot, task: asyncio.Task[bytes]) -> None:
        self._task = None
        self._answer(slot, b"" if task.cancelled() else task.result())

    def _too_long(self) -> None:
        fault = Fault("", "too_long", f"a line is at most {self._limits.line} bytes: connect again and send less")
        self._slots.append(Slot(wire.encode_error(None, (fault,))))
        self._lines.clear()
        self.end()

    # -- answers ------------------------------------------------------------------------------------------------------

    def _started(self) -> None:
        self._under_way += 1
        self._door.under_way += 1

    def _answer(self, slot: Slot, answer: bytes) -> None:
        slot.answer = answer
        self._under_way -= 1
        self._door.under_way -= 1
        if not self._lost:
            self._flush_soon()
        elif not self._under_way:
            self._door.left(self)

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Write every answer whose turn has come in one go; begin the operation whose turn has come."""
        self._flushing = False
        if self._lost:
            return
        slots = self._slots
        out: list[bytes] = []
        while slots and (answer := slots[0].answer) is not None:
            slots.popleft()
            out.append(answer)
        if out:
            self.transport.write(b"".join(out))
        if slots and self._behind is None:
            self._begin_operation(slots[0])
        if self._ending and not slots:
            self._close()
        elif out:
            self._go_on()
        self._recount()

    def _begin_operation(self, slot: Slot) -> None:
        operation = slot.operation
        if operation is not None:
            slot.operation = None
            self._waiting -= slot.size
            self._started()
            self._task = asyncio.get_running_loop().create_task(
                answered(self._door.service, self._caller, operation, slot)
            )
            self._task.add_done_callback(partial(self._performed, slot))
            self._only_reads = operation.scope is Scope.READ

    # -- bounds -------------------------------------------------------------------------------------------------------

    def _full(self) -> bool:
        if self._behind is not None or len(self._slots) >= self._limits.in_flight:
            return True
        return self._under_way > 0 and self._door.under_way >= self._limits.in_flight_all

    def _set_reading(self) -> None:
        wanted = not (self._ending or self._parsing or self._full())
        if wanted != self._reading and not self.transport.is_closing():
            self._reading = wanted
            if wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def measure(self) -> int:
        """Look again how much is held for this client; returns the change."""
        unread = 0 if self._lost else self.transport.get_write_buffer_size()
        before, self.held = self.held, len(self._lines) + self._waiting + unread
        return self.held - before

    def _recount(self) -> None:
        change = self.measure()
        if change:
            self._door.holds(self, change)

    @property
    def busy(self) -> bool:
        """Whether an answer is owed."""
        return bool(self._slots) or self._under_way > 0

    # -- the end ------------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Read no more; close when every answer is out."""
        self._ending = True
        self._flush_soon()

    def _close(self) -> None:
        self.transport.close()
        if self._leaving is None and self.transport.get_write_buffer_size():
            self._leaving = asyncio.get_running_loop().call_later(
                self._limits.unread_s, self.drop, "it does not read its last answers"
            )

    def drop(self, reason: str) -> None:
        """Close now, whatever is owed, and say why in the log."""
        log.warning("a client is dropped", uid=self.uid, reason=reason)
        self.abort()

    def abort(self) -> None:
        """Close now, whatever is owed; what the system took already can still be read."""
        self._ending = True
        if not self._lost:
            self.transport.abort()
