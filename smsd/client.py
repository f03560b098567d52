"""How does another program hand smsd a message and ask what became of it?

Over the daemon's local socket: one JSON object a line each way, answers in the order of their requests. Answers are the
plain dictionaries of the daemon; this module knows no field's meaning and refuses to know the daemon's inside. It uses
the standard library only and imports asyncio when an AsyncClient is used, so that a shell loop of `smsd send` starts
quickly and an application takes on no dependency.

Whether a message was taken must never be guessed. A request that surely did not reach the daemon is repeated once on a
new connection; one that may have is repeated only when that cannot do harm: reads, pause and resume, and a send with an
`idempotency_key`. Everything else raises QueueUnavailable with `maybe_taken`.

    with smsd.client.Client() as client:
        print(client.send("+15550100123", "Your code is 2417", ttl="10m")["id"])

The socket: the argument, else $SMSD_SOCKET, else /run/smsd/smsd.sock, else ./smsd-dev/smsd.sock when it exists.
"""

from __future__ import annotations

import json
import os
import select
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    import asyncio

Document = dict[str, Any]
"""A JSON object as the daemon sent it."""

Documents = list[Document]

SYSTEM_SOCKET: Final = "/run/smsd/smsd.sock"
DEV_SOCKET: Final = "smsd-dev/smsd.sock"
"""Where `smsd run --dev` listens, below the directory it was started in."""

TIMEOUT: Final = 30.0
"""Seconds a call may take unless told otherwise: a commit on a busy disk takes seconds, and nothing takes longer."""

WINDOW: Final = 256
"""Requests without an answer on one connection; the daemon stops reading at 1,000."""

LINE_BYTES: Final = 65_536
"""Longest request with its newline; the daemon closes the connection above it."""

ANSWER_BYTES: Final = 16 << 20
"""Longest answer taken: a full page of a listing is well below it."""

PAGE: Final = 200
"""Messages asked for at once by list()."""

_REMEDIES: Final[Mapping[str, str]] = {
    "backlog_full": "Try again later, with the same idempotency key; `smsd queue` shows what waits and why.",
    "disk_full": "Free space where the outbox lies, then try again.",
    "shutting_down": "Try again in a moment; the daemon is being stopped or restarted.",
    "outcome_unknown": "Repeat it with the same idempotency key; without one look first: smsd list --to NUMBER.",
    "limit_exceeded": "Try again when the limit's window has passed.",
    "not_allowed": "Ask as root, as the daemon's user, or as a member of its admin group.",
    "not_found": "Check the id or the name; you see only what is yours.",
    "key_conflict": "Use a key of its own for each message.",
    "wrong_state": "Its state says what can still be done: smsd show ID.",
    "no_route": "See `smsd providers`; leave out the sender or provider asked for, or configure one that carries it.",
    "not_available": "Leave it out; this version of smsd cannot do it.",
    "unknown_op": "Daemon and client differ in version: restart the daemon after an upgrade.",
    "internal": "The daemon's log says what happened.",
}


class SmsdError(Exception):
    """The daemon refused a request, or could not be asked.

    `code` is one of the daemon's error codes, or `unreachable`. `errors` lists every fault as `{field, code, message}`.
    `remedy` says what to do, and may be empty when the message does.
    """

    def __init__(
        self,
        code: str,
        message: str,
        field: str | None = None,
        errors: Iterable[Document] = (),
        remedy: str | None = None,
    ) -> None:
        self.code = code
        self.message = message
        self.field = field
        self.errors = [*errors]
        self.remedy = _REMEDIES.get(code, "") if remedy is None else remedy
        super().__init__(code, message, field, self.errors, self.remedy)

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip() if self.remedy else self.message

    def document(self) -> Document:
        """As the daemon writes an error: `{code, message, field, errors}`."""
        return {"code": self.code, "message": self.message, "field": self.field, "errors": self.errors}


class SubmissionInvalid(SmsdError):  # noqa: N818 - the name is part of the contract
    """The request itself is wrong; repeating it unchanged will not help."""


class QueueUnavailable(SmsdError):  # noqa: N818 - the name is part of the contract
    """The daemon cannot be reached or cannot take it now; later it may."""

    @property
    def maybe_taken(self) -> bool:
        """Whether the daemon may have taken the request all the same. Then repeat it only with the same key."""
        return self.code == "outcome_unknown"


class LimitExceeded(SmsdError):  # noqa: N818 - the name is part of the contract
    """A limit of smsd's own refuses this message now."""


class NotAllowed(SmsdError):  # noqa: N818 - the name is part of the contract
    """The caller may not do this."""


class NotFound(SmsdError):  # noqa: N818 - named like its neighbours
    """No such message or provider, or not the caller's."""


class WrongState(SmsdError):  # noqa: N818 - named like its neighbours
    """The message's state does not allow it."""


class KeyConflict(SmsdError):  # noqa: N818 - named like its neighbours
    """The idempotency key was used for another content."""


_KINDS: Final[Mapping[str, type[SmsdError]]] = {
    **dict.fromkeys(
        (
            *("malformed", "too_long", "unknown_field", "missing_field", "invalid_value", "invalid_recipient"),
            *("invalid_sender", "text_too_long", "recipient_suppressed", "unsupported_media_type", "no_route"),
            "not_available",
        ),
        SubmissionInvalid,
    ),
    **dict.fromkeys(("unreachable", "outcome_unknown", "backlog_full", "disk_full", "shutting_down"), QueueUnavailable),
    "limit_exceeded": LimitExceeded,
    "not_allowed": NotAllowed,
    "unauthenticated": NotAllowed,
    "not_found": NotFound,
    "wrong_state": WrongState,
    "key_conflict": KeyConflict,
}
"""Codes that are not here raise SmsdError itself."""


def socket_path(given: str | os.PathLike[str] | None = None) -> str:
    """The path of the daemon's socket, found as the module says."""
    chosen = given if given is not None else os.environ.get("SMSD_SOCKET")
    if chosen:
        return os.fspath(chosen)
    if not os.path.exists(SYSTEM_SOCKET) and os.path.exists(DEV_SOCKET):  # noqa: PTH110 - pathlib costs `smsd send` its start
        return DEV_SOCKET
    return SYSTEM_SOCKET


# --- what is said, in both clients ---


def submission(to: str, text: str, fields: Mapping[str, Any]) -> Document:
    """The request that submits a message. `from_` stands for `from`, a word of Python; None means absent."""
    request: Document = {"op": "send", "to": to, "text": text}
    for name, value in fields.items():
        if value is not None:
            request["from" if name == "from_" else name] = value
    return request


def _of_item(item: Mapping[str, Any]) -> Document:
    fields = {name: value for name, value in item.items() if name not in {"to", "text"}}
    return submission(item.get("to", ""), item.get("text", ""), fields)


def _encode(request: Document) -> bytes:
    """One line. Raises SubmissionInvalid for what JSON cannot say or the daemon would not read to its end."""
    try:
        line = json.dumps(request, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    except UnicodeEncodeError:
        raise SubmissionInvalid("invalid_value", "It holds characters that are not Unicode text; send UTF-8.") from None
    except (TypeError, ValueError, RecursionError) as error:
        message = f"It holds a value JSON cannot carry ({error}); pass strings, numbers and objects of strings."
        raise SubmissionInvalid("invalid_value", message) from None
    if len(line) > LINE_BYTES:
        raise SubmissionInvalid("too_long", f"It takes {len(line):,} bytes as JSON; at most {LINE_BYTES:,} are read.")
    return line


def _decode(line: bytes, ref: int) -> Document:
    """The answer, which must be to request `ref`; raises _StrangerError when it is not smsd's."""
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        raise _StrangerError from None
    if not isinstance(answer, dict) or answer.get("ref") != ref or not isinstance(answer.get("ok"), bool):
        raise _StrangerError
    return answer


def _result(answer: Document) -> Document:
    """The answer without its envelope. Raises what the daemon's error says."""
    if answer["ok"]:
        return {name: value for name, value in answer.items() if name not in {"ok", "ref"}}
    error = answer.get("error") or {}
    code = str(error.get("code", "internal"))
    message = str(error.get("message") or "The daemon gave no reason.")
    raise _KINDS.get(code, SmsdError)(code, message, error.get("field"), error.get("errors") or ())


def _line_of_result(index: int, outcome: Document | SmsdError) -> Document:
    """What send_many and offer say of one message."""
    if isinstance(outcome, SmsdError):
        return {"index": index, "ok": False, "error": outcome.document()}
    return {"index": index, "ok": True, **outcome}


_READS: Final = frozenset({"get", "list", "attempts", "stats", "providers", "ping"})
_REPEATABLE: Final = _READS | {"pause", "resume"}
"""Operations that do no harm when the daemon sees them twice."""


def _repeatable(request: Document) -> bool:
    return request["op"] in _REPEATABLE or (request["op"] == "send" and bool(request.get("idempotency_key")))


def _acts(request: Document) -> bool:
    """Whether it changes something, so that it matters if the daemon saw it."""
    return request["op"] not in _READS


# --- what can go wrong on the way ---


class _LostError(Exception):
    """The connection ended. `written`: the whole request had left, so the daemon may have acted on it."""

    def __init__(self, written: bool) -> None:
        super().__init__(written)
        self.written = written


class _LateError(Exception):
    """The time given is up. `written` as in _LostError."""

    def __init__(self, written: bool) -> None:
        super().__init__(written)
        self.written = written


class _StrangerError(Exception):
    """Something answered that does not speak smsd's protocol."""


def _stranger(path: str) -> SmsdError:
    remedy = "Point SMSD_SOCKET at smsd's own socket."
    return SmsdError("malformed", f"What answers on {path} is not smsd.", remedy=remedy)


def _lost(path: str, doubtful: bool) -> QueueUnavailable:
    """The connection is gone. `doubtful`: the daemon may have acted on the request."""
    if doubtful:
        message = f"The connection to {path} ended before the answer came; the request may have been taken."
        return QueueUnavailable("outcome_unknown", message)
    remedy = "See whether the daemon keeps running: systemctl status smsd."
    return QueueUnavailable("unreachable", f"The connection to {path} ended without an answer.", remedy=remedy)


def _late(path: str, seconds: float, doubtful: bool) -> QueueUnavailable:
    """Time is up. `doubtful`: the daemon may have acted on the request."""
    if doubtful:
        message = f"No answer from {path} within {seconds:g} s; the request may have been taken."
        return QueueUnavailable("outcome_unknown", message)
    remedy = "The daemon is overloaded or stopped in its tracks: see its log, or allow more time."
    return QueueUnavailable("unreachable", f"No answer from {path} within {seconds:g} s.", remedy=remedy)


def _no_connection(path: str, error: OSError) -> SmsdError:
    """Why nobody answers there, and what to do about it."""
    start = "Start the daemon (systemctl start smsd, or `smsd run --dev` to try it), or name its socket in SMSD_SOCKET."
    if isinstance(error, PermissionError):
        remedy = "Join the group, then log in anew: sudo usermod -aG GROUP $USER"
        return NotAllowed("not_allowed", f"You may not connect to {path}{_owner(path)}.", remedy=remedy)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return QueueUnavailable("unreachable", f"smsd does not run here: there is no {path}.", remedy=start)
    if str(error) == "AF_UNIX path too long":
        remedy = "Use a path of at most 107 bytes (unix(7)), or a relative one."
        return QueueUnavailable("unreachable", f"{path} is too long for a socket's path.", remedy=remedy)
    if not _is_socket(path):
        return QueueUnavailable("unreachable", f"{path} is not a socket.", remedy="Point SMSD_SOCKET at smsd's socket.")
    if isinstance(error, ConnectionRefusedError):
        message = f"Nothing listens on {path}: the daemon was stopped or has died."
        return QueueUnavailable("unreachable", message, remedy=start)
    return QueueUnavailable("unreachable", f"Cannot connect to {path}: {error.strerror or error}.", remedy=start)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)  # noqa: PTH116 - pathlib costs `smsd send` its start
    except OSError:
        return True


def _owner(path: str) -> str:
    """` (group smsd, mode 0660)` when that can be seen."""
    import grp

    try:
        found = os.stat(path)  # noqa: PTH116 - pathlib costs `smsd send` its start
        return f" (group {grp.getgrgid(found.st_gid).gr_name}, mode {stat.S_IMODE(found.st_mode):04o})"
    except (OSError, KeyError):
        return ""


# --- synchronous ---


class _Link:
    """One connection; `deadline` is a time.monotonic() value everywhere."""

    def __init__(self, path: str, deadline: float) -> None:
        try:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:  # no file descriptor left
            raise _no_connection(path, error) from None
        self._received = bytearray()
        self.pid = os.getpid()
        try:
            self._connect(path, deadline)
        except BaseException:
            self._socket.close()
            raise

    def _connect(self, path: str, deadline: float) -> None:
        while True:
            self._socket.settimeout(_left(deadline))
            try:
                return self._socket.connect(path)
            except BlockingIOError:
                # unix(7): a full queue of connections answers EAGAIN at once instead of waiting.
                time.sleep(min(0.01, _left(deadline)))
            except TimeoutError:
                raise
            except OSError as error:
                raise _no_connection(path, error) from None

    def write(self, data: bytes, deadline: float) -> None:
        """Send whole lines. Raises _LostError(written=False), TimeoutError; then a single line has not left whole."""
        self._socket.settimeout(_left(deadline))
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise
        except OSError:
            raise _LostError(written=False) from None

    def read(self, ref: int, deadline: float) -> Document:
        """The next answer, which is the one to `ref`. Raises _LostError, TimeoutError, _StrangerError."""
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            if searched > ANSWER_BYTES:
                raise _StrangerError
            self._socket.settimeout(_left(deadline))
            try:
                data = self._socket.recv(65_536)
            except TimeoutError:
                raise
            except OSError:
                raise _LostError(written=True) from None
            if not data:
                raise _LostError(written=True)
            self._received += data
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return _decode(line, ref)

    def idle(self) -> bool:
        """Whether it can take the next request: this process's own, open, and nothing unread in it."""
        if self.pid != os.getpid():
            return False  # after a fork two processes would read each other's answers
        self._socket.settimeout(0)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        self._socket.close()


def _left(deadline: float) -> float:
    """Seconds until `deadline`; raises TimeoutError when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class Client:
    """A connection to the daemon for programs without an event loop. Threads may share one; their calls take turns.

    It connects at the first call and again after a loss. `timeout`: seconds a call may take. Calls raise SmsdError or
    one of its kinds.
    """

    def __init__(self, socket: str | os.PathLike[str] | None = None, *, timeout: float = TIMEOUT) -> None:
        self._given = socket
        self._timeout = timeout
        self._lock = threading.Lock()
        self._link: _Link | None = None
        self._refs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> str:
        """The socket it talks to."""
        return socket_path(self._given)

    def close(self) -> None:
        """Close the connection, after the call under way if there is one; the next call opens a new one."""
        with self._lock:
            self._drop()

    def call(self, op: str, **fields: Any) -> Document:
        """Any operation of the daemon by its name; the answer without `ok` and `ref`."""
        return self._call({"op": op, **fields})

    def send(self, to: str, text: str, **fields: Any) -> Document:
        """Submit a message: `{id, state, segments, encoding, replayed}`, once it is durable.

        Fields: from_, priority (high, normal, bulk), send_at, ttl ("2h") or expires_at (RFC 3339), idempotency_key,
        user, type, metadata, tenant, provider, max_attempts, retry, overflow.
        """
        return self._call(submission(to, text, fields))

    def send_many(self, items: Iterable[Mapping[str, Any]]) -> Iterator[Document]:
        """Submit many, each a mapping of fields with `to` and `text`; results in their order, one bad one fails alone.

        A result is `{index, ok: True, id, state, ...}` or `{index, ok: False, error: {code, message, field, errors}}`.
        Uses a connection of its own and reads up to WINDOW items ahead. Raises QueueUnavailable when the daemon is gone
        for good, after the results of all items taken; its message says from which index on nothing was sent.
        """
        return _Stream(self.path, self._timeout).run(items)

    def offer(self, to: str, text: str, *, timeout: float = 0.25, **fields: Any) -> Document:
        """Submit a message from code that must not fail because of it: never raises, takes at most `timeout` seconds.

        `{ok: True, id, ...}` or `{ok: False, error: {...}}`; error code outcome_unknown: it may have been taken.
        """
        try:
            return {"ok": True, **self._call(submission(to, text, fields), timeout)}
        except SmsdError as error:
            return {"ok": False, "error": error.document()}

    def get(self, id: str) -> Document:
        """Everything known of a message (the message view)."""
        return _dict(self._call({"op": "get", "id": id}), "message")

    status = get

    def list(self, *, limit: int | None = None, **filters: Any) -> Iterator[Document]:
        """Messages, newest first, at most `limit`; pages are fetched as the iterator moves.

        Filters: state, to, user, tenant, campaign, category, since (RFC 3339).
        """
        cursor: str | None = None
        while limit is None or limit > 0:
            page = self._call(_page(filters, limit, cursor))
            yield from page["items"]
            cursor = page.get("next_cursor")
            limit = None if limit is None else limit - len(page["items"])
            if cursor is None:
                return

    def attempts(self, id: str) -> Documents:
        """The calls made for a message, oldest first."""
        return _items(self._call({"op": "attempts", "id": id}), "attempts")

    def cancel(self, id: str) -> Document:
        """Cancel a pending message; its view. Raises WrongState once it is being sent."""
        return _dict(self._call({"op": "cancel", "id": id}), "message")

    def retry(self, id: str, *, ttl: str | None = None, force: bool = False) -> Document:
        """Open a new round for a failed, undelivered or expired message; its view.

        `ttl` ("2h"): its new time to live. `force`: also one that failed UNCERTAIN, which may then arrive twice.
        """
        return _dict(self._call(_retry(id, ttl, force)), "message")

    def stats(self) -> Document:
        """Counts of states, categories, providers; throughput; uptime_s; version."""
        return self._call({"op": "stats"})

    def providers(self) -> Documents:
        """Each provider with its state, rate and load."""
        return _items(self._call({"op": "providers"}), "providers")

    def pause(self, provider: str) -> Document:
        """Begin no more calls at a provider; its view."""
        return _dict(self._call({"op": "pause", "provider": provider}), "provider")

    def resume(self, provider: str) -> Document:
        """Lift a provider's pause, halt or cooldown; its view."""
        return _dict(self._call({"op": "resume", "provider": provider}), "provider")

    def ping(self) -> Document:
        """`{pong: True, version}`"""
        return self._call({"op": "ping"})

    def _call(self, request: Document, seconds: float | None = None) -> Document:
        seconds = self._timeout if seconds is None else seconds
        deadline = time.monotonic() + seconds
        if not self._lock.acquire(timeout=max(0.0, seconds)):
            raise _late(self.path, seconds, doubtful=False)
        try:
            self._refs += 1
            return _result(self._ask({**request, "ref": self._refs}, seconds, deadline))
        finally:
            self._lock.release()

    def _ask(self, request: Document, seconds: float, deadline: float) -> Document:
        """One exchange, repeated once on a new connection where that is safe."""
        line = _encode(request)
        repeated = doubtful = False
        while True:
            try:
                link = self._connected(deadline)
                link.write(line, deadline)
                doubtful = _acts(request)
                return link.read(request["ref"], deadline)
            except _LostError as lost:
                self._drop()
                if repeated or (lost.written and not _repeatable(request)):
                    raise _lost(self.path, doubtful) from None
                repeated = True
            except TimeoutError:
                self._drop()
                raise _late(self.path, seconds, doubtful) from None
            except _StrangerError:
                self._drop()
                raise _stranger(self.path) from None
            except SmsdError:
                if doubtful:  # it left on the first connection, and there is no second one
                    raise _lost(self.path, doubtful) from None
                raise
            except BaseException:
                self._drop()  # an interrupt between question and answer: the answer must not meet the next question
                raise

    def _connected(self, deadline: float) -> _Link:
        if self._link is not None and not self._link.idle():
            self._drop()
        if self._link is None:
            self._link = _Link(self.path, deadline)
        return self._link

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()


def _dict(result: Document, name: str) -> Document:
    found: Document = result[name]
    return found


def _items(result: Document, name: str) -> Documents:
    found: Documents = result[name]
    return found


def _page(filters: Mapping[str, Any], limit: int | None, cursor: str | None) -> Document:
    size = PAGE if limit is None else min(limit, PAGE)
    given = {name: value for name, value in filters.items() if value is not None}
    return {"op": "list", **given, "limit": size, **({} if cursor is None else {"cursor": cursor})}


def _retry(id: str, ttl: str | None, force: bool) -> Document:
    return {"op": "retry", "id": id, **({} if ttl is None else {"ttl": ttl}), **({"force": True} if force else {})}


class _Flight:
    """One submission of a stream: not yet written, written and unanswered, or decided."""

    __slots__ = ("index", "line", "outcome", "repeatable", "repeated", "written")

    def __init__(self, index: int, item: Mapping[str, Any]) -> None:
        request = _of_item(item)
        self.index = index
        self.line = b""
        self.repeatable = _repeatable(request)
        self.repeated = False
        self.written = False
        self.outcome: Document | SmsdError | None = None
        try:
            self.line = _encode({**request, "ref": index})
        except SmsdError as error:
            self.outcome = error


class _Stream:
    """send_many's connection and the submissions on it, at most WINDOW."""

    def __init__(self, path: str, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._link: _Link | None = None
        self._flights: deque[_Flight] = deque()
        self._gone: SmsdError | None = None

    def run(self, items: Iterable[Mapping[str, Any]]) -> Iterator[Document]:
        feed = enumerate(items)
        try:
            while self._load(feed):
                flight = self._flights[0]
                while flight.outcome is None:
                    self._advance(flight)
                self._flights.popleft()
                yield _line_of_result(flight.index, flight.outcome)
        finally:
            self._drop()

    def _load(self, feed: Iterator[tuple[int, Mapping[str, Any]]]) -> bool:
        """Take items when half the window is free; whether anything is left to report."""
        if self._gone is None and len(self._flights) <= WINDOW // 2:
            self._flights.extend(_Flight(index, item) for index, item in islice(feed, WINDOW - len(self._flights)))
        if self._flights or self._gone is None:
            return bool(self._flights)
        if (following := next(feed, None)) is not None:
            gone, message = self._gone, f"{self._gone.message} Nothing was sent from index {following[0]} on."
            raise type(gone)(gone.code, message, remedy=gone.remedy)
        return False

    def _advance(self, flight: _Flight) -> None:
        """Write what is not written, or read the answer to `flight`, which is the oldest undecided one."""
        deadline = time.monotonic() + self._seconds
        try:
            if self._link is None:
                self._link = _Link(self._path, deadline)
            if flight.written:
                flight.outcome = _outcome(self._link.read(flight.index, deadline))
            else:
                self._write(self._link, deadline)
        except _LostError:
            self._mend()
        except TimeoutError:
            of_written = _late(self._path, self._seconds, doubtful=True)
            self._give_up(_late(self._path, self._seconds, doubtful=False), of_written)
        except _StrangerError:
            self._give_up(_stranger(self._path), _lost(self._path, doubtful=True))
        except SmsdError as error:
            self._give_up(error, _lost(self._path, doubtful=True))

    def _write(self, link: _Link, deadline: float) -> None:
        waiting = [each for each in self._flights if not each.written and each.outcome is None]
        for each in waiting:
            each.written = True  # before the write: of one that fails half-way nobody knows which lines left
        link.write(b"".join(each.line for each in waiting), deadline)

    def _mend(self) -> None:
        """The connection ended: what may be repeated is written again, once; the rest may have been taken."""
        self._drop()
        for each in self._flights:
            if each.written and each.outcome is None:
                if each.repeated or not each.repeatable:
                    each.outcome = _lost(self._path, doubtful=True)
                each.written, each.repeated = False, True

    def _give_up(self, error: SmsdError, of_written: SmsdError) -> None:
        """Nobody to talk to: every submission taken gets its result, and run() raises `error` for the rest."""
        self._drop()
        self._gone = error
        for each in self._flights:
            if each.outcome is None:
                each.outcome = of_written if each.written or each.repeated else error

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()


def _outcome(answer: Document) -> Document | SmsdError:
    try:
        return _result(answer)
    except SmsdError as error:
        return error


# --- asynchronous ---


class _AsyncLink:
    """One connection of an event loop: many requests on it, answers handed out in order by one reading task."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._writer = writer
        self._waiting: deque[tuple[int, asyncio.Future[Document]]] = deque()
        self._slots = asyncio.Semaphore(WINDOW)
        self.open = True
        self.reading = self._loop.create_task(self._read())

    async def ask(self, line: bytes, ref: int, seconds: float) -> Document:
        """The answer. Raises _LostError, _LateError, _StrangerError.

        A slot stays taken until its answer comes, also when nobody waits for it any more: that bounds what is
        unanswered, and with LINE_BYTES what is buffered.
        """
        import asyncio

        written = False
        try:
            async with asyncio.timeout(seconds):
                await self._slots.acquire()
                self.open = self.open and not self._hung_up()
                if not self.open:
                    self._slots.release()
                    raise _LostError(written=False)
                answer: asyncio.Future[Document] = self._loop.create_future()
                self._waiting.append((ref, answer))
                self._writer.write(line)
                written = True
                return await answer
        except TimeoutError:
            raise _LateError(written) from None

    def _hung_up(self) -> bool:
        """Whether the daemon has closed it; the reading task sees that only when the loop comes round to it."""
        poll = select.poll()
        poll.register(self._writer.get_extra_info("socket"), select.POLLRDHUP)
        return bool(poll.poll(0))

    async def _read(self) -> None:
        failure: Exception = _LostError(written=True)
        try:
            while (line := await self._reader.readline()).endswith(b"\n"):
                self._hand_out(line)
        except (_StrangerError, ValueError):
            failure = _StrangerError()
        except OSError:
            failure = _LostError(written=True)
        finally:
            self._end(failure)

    def _hand_out(self, line: bytes) -> None:
        if not self._waiting:
            raise _StrangerError
        ref, answer = self._waiting[0]
        document = _decode(line, ref)
        self._waiting.popleft()
        self._slots.release()
        if not answer.done():
            answer.set_result(document)

    def _end(self, failure: Exception) -> None:
        self.open = False
        self._writer.close()
        while self._waiting:
            _, answer = self._waiting.popleft()
            self._slots.release()
            if not answer.done():
                answer.set_exception(failure)

    async def close(self) -> None:
        import asyncio

        self.reading.cancel()
        await asyncio.wait([self.reading])
        try:
            await self._writer.wait_closed()
        except OSError:
            return  # the other side was quicker; closed is closed


class AsyncClient:
    """A connection to the daemon for asyncio programs. Tasks share it; their requests are pipelined on one connection.

    Methods are those of Client, as coroutines; list and send_many are asynchronous iterators. It belongs to one event
    loop at a time. A call that is cancelled or late may have been taken.
    """

    def __init__(self, socket: str | os.PathLike[str] | None = None, *, timeout: float = TIMEOUT) -> None:
        self._given = socket
        self._timeout = timeout
        self._refs = 0
        self._link: _AsyncLink | None = None
        self._home: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def path(self) -> str:
        """The socket it talks to."""
        return socket_path(self._given)

    async def close(self) -> None:
        """Close the connection; the next call opens a new one. Calls under way end as if the connection were lost."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def call(self, op: str, **fields: Any) -> Document:
        """Any operation of the daemon by its name; the answer without `ok` and `ref`."""
        return await self._call({"op": op, **fields})

    async def send(self, to: str, text: str, **fields: Any) -> Document:
        """Submit a message; see Client.send."""
        return await self._call(submission(to, text, fields))

    async def send_many(self, items: Iterable[Mapping[str, Any]]) -> AsyncIterator[Document]:
        """Submit many; results as Client.send_many's, in order. A daemon that is gone fails each item by itself."""
        import asyncio

        flights: deque[asyncio.Task[Document]] = deque()
        try:
            for index, item in enumerate(items):
                if len(flights) >= WINDOW:
                    yield await flights.popleft()
                flights.append(asyncio.create_task(self._one_of_many(index, item)))
            while flights:
                yield await flights.popleft()
        finally:
            for flight in flights:
                flight.cancel()

    async def _one_of_many(self, index: int, item: Mapping[str, Any]) -> Document:
        try:
            return _line_of_result(index, await self._call(_of_item(item)))
        except SmsdError as error:
            return _line_of_result(index, error)

    async def offer(
        self,
        to: str,
        text: str,
        *,
        timeout: float = 0.25,  # noqa: ASYNC109 - the bound is what offer() is for
        **fields: Any,
    ) -> Document:
        """Submit a message; never raises, takes at most `timeout` seconds; see Client.offer."""
        try:
            return {"ok": True, **await self._call(submission(to, text, fields), timeout)}
        except SmsdError as error:
            return {"ok": False, "error": error.document()}

    async def get(self, id: str) -> Document:
        """Everything known of a message (the message view)."""
        return _dict(await self._call({"op": "get", "id": id}), "message")

    status = get

    async def list(self, *, limit: int | None = None, **filters: Any) -> AsyncIterator[Document]:
        """Messages, newest first; see Client.list."""
        cursor: str | None = None
        while limit is None or limit > 0:
            page = await self._call(_page(filters, limit, cursor))
            for item in page["items"]:
                yield item
            cursor = page.get("next_cursor")
            limit = None if limit is None else limit - len(page["items"])
            if cursor is None:
                return

    async def attempts(self, id: str) -> Documents:
        """The calls made for a message, oldest first."""
        return _items(await self._call({"op": "attempts", "id": id}), "attempts")

    async def cancel(self, id: str) -> Document:
        """Cancel a pending message; its view. Raises WrongState once it is being sent."""
        return _dict(await self._call({"op": "cancel", "id": id}), "message")

    async def retry(self, id: str, *, ttl: str | None = None, force: bool = False) -> Document:
        """Open a new round for a failed, undelivered or expired message; see Client.retry."""
        return _dict(await self._call(_retry(id, ttl, force)), "message")

    async def stats(self) -> Document:
        """Counts of states, categories, providers; throughput; uptime_s; version."""
        return await self._call({"op": "stats"})

    async def providers(self) -> Documents:
        """Each provider with its state, rate and load."""
        return _items(await self._call({"op": "providers"}), "providers")

    async def pause(self, provider: str) -> Document:
        """Begin no more calls at a provider; its view."""
        return _dict(await self._call({"op": "pause", "provider": provider}), "provider")

    async def resume(self, provider: str) -> Document:
        """Lift a provider's pause, halt or cooldown; its view."""
        return _dict(await self._call({"op": "resume", "provider": provider}), "provider")

    async def ping(self) -> Document:
        """`{pong: True, version}`"""
        return await self._call({"op": "ping"})

    async def _call(self, request: Document, seconds: float | None = None) -> Document:
        seconds = self._timeout if seconds is None else seconds
        self._refs += 1
        return _result(await self._ask({**request, "ref": self._refs}, seconds))

    async def _ask(self, request: Document, seconds: float) -> Document:
        """One exchange, repeated once on a new connection where that is safe."""
        line = _encode(request)
        deadline = time.monotonic() + seconds
        repeated = doubtful = False
        while True:
            try:
                link = await self._connected(deadline)
                return await link.ask(line, request["ref"], max(0.0, deadline - time.monotonic()))
            except _LostError as lost:
                doubtful = doubtful or (lost.written and _acts(request))
                if repeated or (lost.written and not _repeatable(request)):
                    raise _lost(self.path, doubtful) from None
                repeated = True
            except _LateError as late:
                raise _late(self.path, seconds, doubtful or (late.written and _acts(request))) from None
            except _StrangerError:
                raise _stranger(self.path) from None
            except SmsdError:
                if doubtful:  # it left on the first connection, and there is no second one
                    raise _lost(self.path, doubtful) from None
                raise

    async def _connected(self, deadline: float) -> _AsyncLink:
        import asyncio

        path = self.path
        connecting = self._at_home()
        try:
            async with asyncio.timeout(deadline - time.monotonic()), connecting:
                if self._link is None or not self._link.open:
                    reader, writer = await asyncio.open_unix_connection(path, limit=ANSWER_BYTES)
                    self._link = _AsyncLink(reader, writer)
                return self._link
        except TimeoutError:
            raise _LateError(written=False) from None
        except OSError as error:
            raise _no_connection(path, error) from None

    def _at_home(self) -> asyncio.Lock:
        """The lock under which this event loop connects. A connection of an earlier loop was closed when that ended."""
        import asyncio

        loop = asyncio.get_running_loop()
        if self._home is None or self._home[0] is not loop:
            self._home, self._link = (loop, asyncio.Lock()), None
        return self._home[1]
