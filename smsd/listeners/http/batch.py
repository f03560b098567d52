"""How are very many submissions taken in one request?

`POST /v1/messages/batch`: submissions in, as lines (NDJSON) or as the elements of a JSON array; one result line for
each out, in their order. Both directions stream: the answer begins before the body, and a client may read as it writes.
One that writes everything first need not read meanwhile: its answers are kept for it (`unread`), up to a bound.
`index` counts the lines that are not empty, or the elements, from 0. A bad one fails alone.

The status is 200 before the first line is read, so whatever goes wrong later is told in the stream. What ends it early
is told by a last line with the index of the first submission that was not taken: a body that stands still, one whose
packing is broken, an array that never begins or ends, a daemon that stops (`shutting_down`). What the client still
sends is then read and dropped while the answers go out: it may be one that writes everything first (a daemon that stops
waits for it as long as for any answer). Where even that cannot be told (a fault of the daemon, a client that does not
read) the connection is aborted: an answer that ends properly has a line for every submission, or says where it ends.

What was read is submitted, even if the client goes away before it hears so: a repeat with the same idempotency keys
doubles nothing. Who may ask, and whether the connection may live so long, is known by the door.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from functools import partial

import structlog
from aiohttp import web

from smsd import wire
from smsd.core.acceptance import Fault, Refusal
from smsd.engine.intake import Answer
from smsd.engine.service import Service
from smsd.listeners.callers import Caller, ProblemError, all_faults
from smsd.listeners.http import problems
from smsd.listeners.http.batch_limits import BatchLimits
from smsd.listeners.http.inflow import BROKEN, STOPPING, EndingError, Inflow
from smsd.listeners.http.splitting import Elements, Lines, Piece, Splitter
from smsd.listeners.http.unread import Unread

__all__ = ["BatchLimits", "batch"]

log = structlog.get_logger("smsd.http")

LINES = frozenset({"application/x-ndjson", "application/jsonl"})
ARRAY = "application/json"

SLICE = 128
"""Submissions begun in one go, about 4 ms of work; then the loop's other work has its turn."""

HEADERS = {**problems.HEADERS, "Content-Type": "application/x-ndjson"}


async def batch(request: web.Request, caller: Caller, service: Service, limits: BatchLimits) -> web.StreamResponse:
    """Answer the request. Raises ProblemError unsupported_media_type, invalid_value or shutting_down before anything is
    answered."""
    splitter = _splitter(request, limits.line)
    if limits.together.ended:
        raise ProblemError(STOPPING)
    response = web.StreamResponse(headers=HEADERS)
    work = _Batch(request, response, splitter, caller, service, limits)
    await work.run()
    return response


def _splitter(request: web.Request, most: int) -> Splitter:
    if "Idempotency-Key" in request.headers:
        text = "`Idempotency-Key` is for one message: give each line its own `idempotency_key`"
        raise ProblemError.of("invalid_value", text, "Idempotency-Key")
    if (request.charset or "utf-8").lower() in {"utf-8", "utf8", "us-ascii"}:
        if request.content_type in LINES:
            return Lines(most)
        if request.content_type == ARRAY:
            return Elements(most)
    text = "Send lines as application/x-ndjson or a JSON array as application/json, in UTF-8."
    raise ProblemError.of("unsupported_media_type", text, "Content-Type")


class _Slot:
    """One submission's place in the order of answers."""

    __slots__ = ("answer", "index")

    def __init__(self, index: int) -> None:
        self.index = index
        self.answer: bytes | None = None


class _Batch:
    """One request: a task that reads and submits, and a task that writes what is answered."""

    def __init__(
        self,
        request: web.Request,
        response: web.StreamResponse,
        splitter: Splitter,
        caller: Caller,
        service: Service,
        limits: BatchLimits,
    ) -> None:
        self._request = request
        self._response = response
        self._splitter = splitter
        self._caller = caller
        self._origin = caller.origin
        self._intake = service.intake
        self._limits = limits
        self._together = limits.together
        self._loop = asyncio.get_running_loop()
        self._inflow = Inflow(request, limits)
        self._slots: deque[_Slot] = deque()
        self._unread = Unread(self._together.change_unread)
        self._index = 0
        """That of the next submission."""
        self._in_flight = 0
        self._waiting = 0
        """Bytes of answers in the slots."""
        self._written = 0
        """Bytes of answers given to the transport."""
        self._flushing = False
        self._ended = False
        """Nothing more is taken."""
        self._lost = False
        self._room = asyncio.Event()
        """Something was answered or read; there may be room for more."""
        self._news = asyncio.Event()
        """There is something to write, or nothing ever will be."""

    async def run(self) -> None:
        """Until every answer is written, or the client is gone."""
        self._together.waiting.add(self._room)
        self._together.on_end.add(self._hurry)
        self._watch(None)
        try:
            await self._response.prepare(self._request)
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._read())
                await self._write()
                await self._response.write_eof()
                reading.cancel()
        except* ConnectionError:
            log.info("a client left its batch", caller=self._caller.name, submitted=self._index)
        except* Exception:
            log.exception("a batch met a fault of the daemon; its connection is aborted", caller=self._caller.name)
            self._abort()
        finally:
            self._lost = True
            self._watching.cancel()
            self._together.waiting.discard(self._room)
            self._together.on_end.discard(self._hurry)
            self._slots.clear()
            self._unread.clear()

    # -- in -----------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            self._inflow.mark(0)
            while data := await self._inflow.more(self._index):
                await self._submit_all(self._splitter.feed(data))
            await self._submit_all(self._splitter.end())
        except EndingError:
            self._break_off("shutting_down", "smsd is shutting down")
        except TimeoutError:
            self._break_off("malformed", f"the body stood still for {self._limits.idle_s:g} s")
        except BROKEN:
            self._break_off("malformed", "the body's packing or framing is broken; it cannot be read on")
        self._ended = True
        self._news.set()
        await self._inflow.drop()

    def _hurry(self) -> None:
        """The daemon ends: wait neither for bytes of the body nor for room."""
        self._room.set()
        self._inflow.hurry()

    async def _submit_all(self, pieces: Iterator[Piece]) -> None:
        for piece in pieces:
            if self._together.ended:
                raise EndingError
            self._begin(piece)
            if self._full():
                await self._until_room()
            elif self._index % SLICE == 0:
                await asyncio.sleep(0)

    def _full(self) -> bool:
        limits, together = self._limits, self._together
        if self._in_flight >= limits.in_flight or self._waiting >= limits.waiting or self._unread.size >= limits.unread:
            return True
        if together.in_flight >= together.most_in_flight and self._in_flight:
            return True
        return together.unread >= together.most_unread and self._unread.size >= limits.unread_least

    async def _until_room(self) -> None:
        while self._full() and not self._together.ended:
            self._room.clear()
            await self._room.wait()
        self._inflow.mark(self._index)

    def _begin(self, piece: Piece) -> None:
        slot = _Slot(self._index)
        self._index += 1
        self._slots.append(slot)
        if isinstance(piece, Fault):
            self._answer(slot, wire.encode_refused(slot.index, (piece,)))
            return
        try:
            submission = wire.decode_submission(piece)
        except wire.WireError as error:
            self._answer(slot, wire.encode_refused(slot.index, all_faults(error, self._intake, self._origin)))
            return
        self._submit(slot, submission)

    def _submit(self, slot: _Slot, submission: wire.Submission) -> None:
        try:
            content_hash = wire.content_hash(submission) if submission.idempotency_key is not None else None
        except RecursionError:
            self._answer(slot, wire.encode_refused(slot.index, (wire.TOO_DEEP,)))
            return
        self._in_flight += 1
        self._together.change_in_flight(1)
        try:
            self._intake.submit(submission, self._origin, content_hash, partial(self._submitted, slot), flood=self)
        except Exception:
            self._together.change_in_flight(-1)
            raise

    def _submitted(self, slot: _Slot, answer: Answer) -> None:
        self._in_flight -= 1
        self._together.change_in_flight(-1)
        if self._lost:
            return
        if isinstance(answer, Refusal):
            line = wire.encode_refused(slot.index, answer.faults)
        else:
            id, state, segments, encoding, replayed = answer
            line = wire.encode_taken(slot.index, id, state.label, segments, encoding.label, replayed)
        self._answer(slot, line)

    def _break_off(self, code: str, what: str) -> None:
        """Tell where it ends. As the body was not read to its end, aiohttp closes the connection after the answer."""
        text = f"{what}: this submission and all after it were not taken; send them again"
        self._begin(Fault("", code, text))

    # -- out ----------------------------------------------------------------------------------------------------------

    def _answer(self, slot: _Slot, line: bytes) -> None:
        slot.answer = line
        self._waiting += len(line)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Every answer whose turn has come may be written, all in one go."""
        self._flushing = False
        slots = self._slots
        out: list[bytes] = []
        while slots and (line := slots[0].answer) is not None:
            slots.popleft()
            out.append(line)
        if out and not self._lost:
            block = b"".join(out)
            self._waiting -= len(block)
            self._unread.put(block)
            self._news.set()
        self._room.set()

    async def _write(self) -> None:
        """Give the transport what it takes; the rest waits in `unread`."""
        while not (self._ended and not self._slots and not self._unread.size):
            block = self._unread.take()
            if not block:
                self._news.clear()
                await self._news.wait()
                continue
            self._room.set()
            self._written += len(block)
            await self._response.write(block)

    # -- clients that do not read -------------------------------------------------------------------------------------

    def _watch(self, before: tuple[int, int, int] | None) -> None:
        """Look every `stuck_s` whether a byte moved."""
        transport = self._request.transport
        behind = 0 if transport is None else transport.get_write_buffer_size()
        now = (self._inflow.received, self._written, behind)
        if behind and now == before:
            log.warning("a batch client is dropped: it does not read its answers", caller=self._caller.name)
            self._abort()
            return
        self._watching = self._loop.call_later(self._limits.stuck_s, self._watch, now)

    def _abort(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()
