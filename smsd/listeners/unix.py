"""How do local programs talk to the daemon?

Newline-delimited JSON over a Unix socket: requests may be pipelined, answers come in the order of their requests. A
request other than a submission begins when all earlier ones on its connection are answered, so that reads, cancels and
retries see what was submitted before them; submissions never wait for each other.

Every buffer has a bound: 64 KiB a line, 1,000 requests in flight (then the daemon stops reading), 256 KiB of unread
answers (then it stops reading, and drops the client that still does not read after 30 s), 1,024 connections a uid
(then the longest idle one is closed). No bytes of a client ever end the daemon.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
import struct
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import msgspec
import structlog

from smsd import wire
from smsd.core.acceptance import Fault, Refusal
from smsd.engine.intake import Answer
from smsd.engine.service import Service
from smsd.listeners.operations import OPERATIONS, Caller, Operation, ProblemError, Scope
from smsd.store import StoreError

log = structlog.get_logger("smsd.socket")

LINE_MAX = 65_536
IN_FLIGHT_MAX = 1_000
UNREAD_MAX = 262_144
UNREAD_S = 30.0
CONNECTIONS_PER_UID = 1_024
BACKLOG = 512
SO_PEERGROUPS = 59
"""Linux: all groups of the peer (socket(7) names only SO_PEERCRED; include/uapi/asm-generic/socket.h)."""

REQUESTS = {name: operation.request for name, operation in OPERATIONS.items()}


@dataclass(frozen=True, slots=True)
class Peers:
    """Who has which role. Ids, not names: the loop never asks the name service."""

    own_uid: int
    admin_gid: int | None

    def caller(self, uid: int, groups: Iterable[int]) -> Caller:
        """root, the daemon's user and the admin group may do everything; others send and read their own."""
        admin = uid in {0, self.own_uid} or (self.admin_gid is not None and self.admin_gid in groups)
        scopes = frozenset(Scope) if admin else frozenset({Scope.SEND, Scope.READ})
        return Caller(f"uid {uid}", f"local:{uid}", scopes, everyone=admin)


def peer_of(connection: socket.socket) -> tuple[int, list[int]]:
    """The peer's uid and all its groups, as they were when it connected."""
    _, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    groups = array.array("I")
    with contextlib.suppress(OSError):  # more groups than asked for: the primary one still counts
        groups.frombytes(connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * 4_096))
    return uid, [gid, *groups]


class _Slot:
    """One request's place in the order of answers."""

    __slots__ = ("answer", "operation", "ref", "request", "started")

    def __init__(self, answer: bytes | None = None) -> None:
        self.answer = answer
        self.operation: Operation | None = None
        self.request: msgspec.Struct | None = None
        self.ref: wire.Ref = None
        self.started = False


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, door: UnixDoor) -> None:
        self._door = door
        self._buffer = bytearray()
        self._scanned = 0
        self._slots: deque[_Slot] = deque()
        self._flushing = False
        self._reading = True
        self._ending = False
        """No more requests are read; it closes when all answers are out."""
        self._last = False
        """The client has said its last; it closes when all of it is answered."""
        self._unread: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self.uid = -1

    # -- the transport's calls ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without inheriting from it
        self._transport.set_write_buffer_limits(high=UNREAD_MAX)
        self.uid, groups = peer_of(self._transport.get_extra_info("socket"))
        self._caller = self._door.peers.caller(self.uid, groups)
        self._door.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ending = True
        self._slots.clear()
        self._stop_unread_timer()
        if self._task is not None:
            self._task.cancel()
        self._door.left(self)

    def data_received(self, data: bytes) -> None:
        self._door.active(self)
        if not self._ending:
            self._buffer += data
            self._parse()

    def eof_received(self) -> bool:
        if self._buffer and not self._ending:
            self._buffer += b"\n"
            self._parse()
        self._last = True
        if not self._buffer:
            self.end()
        return True

    def pause_writing(self) -> None:
        self._unread = asyncio.get_running_loop().call_later(UNREAD_S, self._drop)
        self._set_reading()

    def resume_writing(self) -> None:
        self._stop_unread_timer()
        self._parse()

    # -- requests ----------------------------------------------------------------------------------------------------

    def _parse(self) -> None:
        """Begin every complete line for which there is room."""
        start = 0
        while not self._ending and not self._full():
            end = self._buffer.find(b"\n", max(start, self._scanned))
            if end < 0:
                self._scanned = len(self._buffer)
                break
            self._scanned = 0
            if end - start > LINE_MAX:
                self._too_long()
                break
            if end > start:
                self._begin(bytes(self._buffer[start:end]))
            start = end + 1
        if start:
            del self._buffer[:start]
            self._scanned = max(0, self._scanned - start)
        if self._scanned > LINE_MAX and not self._ending:
            self._too_long()
        if self._last and not self._buffer:
            self.end()
        self._set_reading()
        self._flush_soon()

    def _begin(self, line: bytes) -> None:
        slot = _Slot()
        self._slots.append(slot)
        try:
            decoded = wire.decode_line(line, REQUESTS)
            operation = OPERATIONS[decoded.op]
            slot.ref = decoded.ref
            operation.admit(self._caller)
        except wire.WireError as error:
            slot.answer = wire.encode_error(error.ref, self._all_faults(error))
            return
        except ProblemError as problem:
            slot.answer = wire.encode_error(slot.ref, problem.faults)
            return
        if isinstance(decoded.request, wire.Submission):
            self._submit(slot, decoded.request)
        else:
            slot.operation, slot.request = operation, decoded.request

    def _all_faults(self, error: wire.WireError) -> tuple[Fault, ...]:
        """Those of the line, and those of what could be read of a submission."""
        if error.partial is None:
            return error.faults
        return error.joined(self._door.service.intake.examine(error.partial, self._caller.origin))

    def _submit(self, slot: _Slot, submission: wire.Submission) -> None:
        content_hash = wire.content_hash(submission) if submission.idempotency_key is not None else None
        try:
            self._door.service.intake.submit(
                submission, self._caller.origin, content_hash, partial(self._submitted, slot)
            )
        except Exception:
            log.exception("a submission met a fault of the daemon")
            slot.answer = wire.encode_error(slot.ref, (INTERNAL,))

    def _submitted(self, slot: _Slot, answer: Answer) -> None:
        if isinstance(answer, Refusal):
            slot.answer = wire.encode_error(slot.ref, answer.faults)
        else:
            slot.answer = wire.encode_accepted(
                slot.ref, answer.id, answer.state.label, answer.segments, answer.encoding.label, answer.replayed
            )
        self._flush_soon()

    async def _perform(self, slot: _Slot, operation: Operation) -> None:
        try:
            result = await operation.handler(self._door.service, self._caller, slot.request)
            slot.answer = wire.encode_ok(slot.ref, result)
        except ProblemError as problem:
            slot.answer = wire.encode_error(slot.ref, problem.faults)
        except StoreError as error:
            log.error("an operation met a fault of the outbox", op=operation.name, error=str(error))
            slot.answer = wire.encode_error(slot.ref, (Fault("", "internal", f"The outbox: {error}"),))
        except Exception:
            log.exception("an operation met a fault of the daemon", op=operation.name)
            slot.answer = wire.encode_error(slot.ref, (INTERNAL,))
        self._task = None
        self._flush_soon()

    def _too_long(self) -> None:
        self._slots.append(_Slot(wire.encode_error(None, (TOO_LONG,))))
        self._buffer.clear()
        self._scanned = 0
        self.end()

    # -- answers -----------------------------------------------------------------------------------------------------

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Write every answer whose turn has come in one go; begin the operation whose turn has come."""
        self._flushing = False
        slots = self._slots
        out: list[bytes] = []
        while slots and slots[0].answer is not None:
            answer = slots.popleft().answer
            assert answer is not None
            out.append(answer)
        if out:
            self._transport.write(b"".join(out))
        if slots and slots[0].operation is not None and not slots[0].started:
            slots[0].started = True
            self._task = asyncio.get_running_loop().create_task(self._perform(slots[0], slots[0].operation))
        if self._ending:
            if not slots:
                self._transport.close()
        elif out and self._buffer:
            self._parse()
        elif out:
            self._set_reading()

    # -- bounds ------------------------------------------------------------------------------------------------------

    def _full(self) -> bool:
        return len(self._slots) >= IN_FLIGHT_MAX or self._unread is not None

    def _set_reading(self) -> None:
        wanted = not self._full() and not self._ending
        if wanted != self._reading and not self._transport.is_closing():
            self._reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _stop_unread_timer(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _drop(self) -> None:
        log.warning("a client that does not read its answers is dropped", uid=self.uid)
        self._transport.abort()

    @property
    def busy(self) -> bool:
        """Whether an answer is owed."""
        return bool(self._slots)

    def end(self) -> None:
        """Read no more; close when every answer is out."""
        self._ending = True
        self._flush_soon()

    def abort(self) -> None:
        """Close now, whatever is owed."""
        self._transport.abort()


INTERNAL = Fault("", "internal", "smsd met a fault of its own; it is in the log. The request may be repeated.")
TOO_LONG = Fault("", "too_long", f"A line is at most {LINE_MAX} bytes. The connection is closed; connect again.")


class UnixDoor:
    """The listening socket and its clients."""

    def __init__(self, service: Service, peers: Peers) -> None:
        self.service = service
        self.peers = peers
        self._clients: dict[int, OrderedDict[Connection, None]] = {}
        self._servers: list[asyncio.AbstractServer] = []
        self._empty = asyncio.Event()

    async def listen(self, sockets: Iterable[socket.socket]) -> None:
        """Serve on sockets that are bound already."""
        loop = asyncio.get_running_loop()
        for each in sockets:
            server = await loop.create_unix_server(self._connection, sock=each, backlog=BACKLOG)
            self._servers.append(server)

    def _connection(self) -> Connection:
        return Connection(self)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return sum(len(each) for each in self._clients.values())

    def joined(self, connection: Connection) -> None:
        """A client connected; above the bound the longest idle one of the same uid is closed."""
        mine = self._clients.setdefault(connection.uid, OrderedDict())
        mine[connection] = None
        if len(mine) > CONNECTIONS_PER_UID:
            idle = next((each for each in mine if not each.busy), connection)
            del mine[idle]
            idle.end()

    def active(self, connection: Connection) -> None:
        """A client said something."""
        mine = self._clients.get(connection.uid)
        if mine is not None and connection in mine:
            mine.move_to_end(connection)

    def left(self, connection: Connection) -> None:
        """A client is gone."""
        mine = self._clients.get(connection.uid)
        if mine is not None:
            mine.pop(connection, None)
            if not mine:
                del self._clients[connection.uid]
        if not self._clients:
            self._empty.set()

    def stop_listening(self) -> None:
        """Connect no one any more; those connected are still answered."""
        for server in self._servers:
            server.close()

    async def close(self, timeout_s: float = 2.0) -> None:
        """Let every owed answer out, then close all connections."""
        self.stop_listening()
        for connection in self._everyone():
            connection.end()
        if self._clients:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), timeout_s)
        for connection in self._everyone():
            connection.abort()

    def _everyone(self) -> list[Connection]:
        return [connection for mine in self._clients.values() for connection in mine]


def bind(path: Path, mode: int, gid: int | None) -> socket.socket:
    """A listening socket file with the given mode and group. Raises OSError with a remedy in its text.

    A file left by a daemon that died is replaced; one that somebody answers on is not.
    """
    _remove_stale(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    before = os.umask(0o777)
    try:
        listening.bind(os.fspath(path))
    finally:
        os.umask(before)
    if gid is not None:
        os.chown(path, -1, gid)
    path.chmod(mode)
    return listening


def _remove_stale(path: Path) -> None:
    if not path.is_socket():
        if path.exists():
            raise FileExistsError(f"{path} exists and is not a socket; remove it or set another [socket] path")
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise FileExistsError(f"another program answers on {path}; stop it or set another [socket] path")
