"""A daemon that keeps messages in a dictionary and speaks the contract of the local socket, for tests of its clients.

A real socket on a thread of its own; the same over HTTP is tests/client/http_daemon.py. It can be told to misbehave:
`script` holds, for each of the next requests, what to do instead of answering properly. It validates only what the
tests of the client need.
"""

from __future__ import annotations

import base64
import json
import socket
import socketserver
import threading
import time
from collections import deque
from enum import Enum
from pathlib import Path
from typing import Any, Self

Document = dict[str, Any]


class Do(Enum):
    """What to do with a request instead of carrying it out and answering."""

    PROPERLY = "properly"
    """Nothing else after all."""
    HANG_UP = "hang up"
    """Close the connection; the request is not carried out."""
    ACT_AND_HANG_UP = "act, hang up"
    """Carry it out, then close the connection without an answer."""
    STALL = "stall"
    """Carry it out, and do not answer before the fake ends."""
    BABBLE = "babble"
    """Answer with something that is not smsd's."""


PROVIDER: Document = {
    "name": "main",
    "type": "sandbox",
    "state": "open",
    "until": None,
    "reason": None,
    "rate": "100/min",
    "rate_now": "100/min",
    "recommended_rate": None,
    "in_flight": 0,
    "sent_last_minute": 3,
    "throttles_last_hour": 0,
}

STATS: Document = {
    "states": {"pending": 1, "processing": 0, "sent": 2, "failed": 1},
    "categories": {"REJECTED": 1},
    "providers": {"main": PROVIDER},
    "priorities": {"high": 0, "normal": 1, "bulk": 0},
    "sent_last_minute": 3,
    "sent_last_hour": 40,
    "sent_today": 41,
    "failed_today": 1,
    "processed": 3,
    "oldest_pending_at": "2026-01-02T03:04:05.000Z",
    "eta": None,
    "uptime_s": 3725,
    "version": "0.1.0",
    "alerts": [],
}


COUNTS: Document = {
    "sent_today": 4,
    "sent_last_hour": 2,
    "failed_today": 1,
    "pending": 3,
    "rate_limit_remaining": None,
}

COPY = bytes(range(256)) * 1_024
"""What a backup of this daemon is."""

PIECE = 100_000


REGISTERED: Document = {
    "provider": "main",
    "webhooks": {
        "status": "https://sms.example.org/webhooks/main/status/<webhook_secret>",
        "inbound": "https://sms.example.org/webhooks/main/inbound/<webhook_secret>",
    },
    "needs": [],
    "done": False,
    "text": "Enter these at the provider.",
    "calls": {"taken": 0, "refused": 0, "unreadable": 0, "taken_at": None, "wrong_at": None, "wrong": None},
}


class RefusedError(Exception):
    """The request is answered by an error."""

    def __init__(self, code: str, message: str, field: str | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.error: Document = {"code": code, "message": message, "field": field}
        if retry_after_s is not None:
            self.error["retry_after_s"] = retry_after_s


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        fake = self.server.fake
        fake.connections.append(self.connection)
        for line in self.rfile:
            request = json.loads(line)
            do = fake.next_step(request)
            if do is Do.HANG_UP:
                return
            fake.wait(request)
            answer = fake.answer(request)
            if do is Do.ACT_AND_HANG_UP:
                return
            if do is Do.STALL:
                fake.ended.wait()
                return
            data = b"HTTP/1.1 400 Bad Request\r\n" if do is Do.BABBLE else json.dumps(answer).encode() + b"\n"
            try:
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                return


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path: Path, fake: FakeDaemon) -> None:
        super().__init__(str(path), _Handler)
        self.fake = fake


class FakeDaemon:
    """`with FakeDaemon(path) as fake:`. `requests`: all that came, in order; `messages`: by id; `script`: see Do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[Document] = []
        self.messages: dict[str, Document] = {}
        self.attempts: dict[str, list[Document]] = {}
        self.keys: dict[str, str] = {}
        self.suppressed: dict[tuple[str, str], Document] = {}
        self.texts: list[Document] = []
        """Received, oldest first."""
        self.callbacks: list[Document] = []
        """Those that wait, and those that were given up (no `next_try_at`)."""
        self.replay_most = 1_000
        self.sweep_most = 1_000
        self.swept_ids: list[str] = []
        self.registered: Document = REGISTERED
        self.refuse: dict[str, RefusedError] = {}
        """Operations that are answered by this error."""
        self.settle_as: str | None = None
        """The state a message has when it is asked for the second time; None: it stays pending."""
        self.patient = False
        """Whether it holds answers back as `wait` says."""
        self.script: deque[Do] = deque()
        self.happened: list[Document] = []
        """Events, in order."""
        self.alerts: list[Document] = []
        self.lose_events = False
        """Whether the next answer to `events` says that some are missing."""
        self.connections: list[socket.socket] = []
        self.ended = threading.Event()
        """Whoever stalls lets go."""
        self._stopped = False
        self._lock = threading.Lock()
        self._asked: set[str] = set()

    def __enter__(self) -> Self:
        self._server = _Server(self.path, self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close everything, as a stopped daemon does; its socket file stays."""
        self.ended.set()
        if self._stopped:
            return
        self._stopped = True
        self._server.shutdown()
        self._thread.join()
        self.hang_up()
        self._server.server_close()

    def hang_up(self) -> None:
        """Close every connection."""
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed by the other side

    def next_step(self, request: Document) -> Do:
        with self._lock:
            self.requests.append(request)
            return self.script.popleft() if self.script else Do.PROPERLY

    def answer(self, request: Document) -> Document:
        with self._lock:
            try:
                return {"ok": True, "ref": request.get("ref"), **self._carry_out(request)}
            except RefusedError as refused:
                error = {**refused.error, "errors": [refused.error]}
                return {"ok": False, "ref": request.get("ref"), "error": error}

    def add(self, **fields: Any) -> Document:
        """Put a message in; its view."""
        n = len(self.messages) + 1
        id = f"01920000-0000-7000-8000-{n:012d}"
        self.messages[id] = view(id, **fields)
        return self.messages[id]

    def happen(self, event: str, **data: Any) -> None:
        """Something happens."""
        n = len(self.happened) + 1
        at = "2026-01-02T03:04:05.000Z"
        self.happened.append({"id": f"0badcafe-{n}", "event": event, "at": at, "data": data})

    def wait(self, request: Document) -> None:
        """Hold the answer back as `wait` says, if there is nothing to tell."""
        if not self.patient or "wait" not in request:
            return
        seconds = float(request["wait"].removesuffix("s"))
        if request["op"] == "events":
            self._until(lambda: len(self.happened) > _number(request.get("after")), seconds)
        elif request.get("id") in self.messages:
            message = self.messages[request["id"]]
            self._until(lambda: message["state"] not in {"pending", "processing"}, seconds)

    def _until(self, condition: Any, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not condition() and not self.ended.is_set():
            time.sleep(0.005)

    def _carry_out(self, request: Document) -> Document:
        op = request["op"]
        if op in self.refuse:
            raise self.refuse[op]
        handler = getattr(self, f"_{op}", None)
        if handler is None:
            raise RefusedError("unknown_op", f"`op`: there is no {op}.", "op")
        result: Document = handler(request)
        return result

    def _send(self, request: Document) -> Document:
        if not request["to"].startswith("+"):
            raise RefusedError("invalid_recipient", "`to` is not a number.", "to")
        key = request.get("idempotency_key")
        if key is not None and key in self.keys:
            return self._acceptance(self.messages[self.keys[key]], replayed=True)
        fields = {name: value for name, value in request.items() if name not in {"op", "ref"}}
        message = self.add(**fields)
        if key is not None:
            self.keys[key] = message["id"]
        return self._acceptance(message, replayed=False)

    def _acceptance(self, message: Document, *, replayed: bool) -> Document:
        return {**{name: message[name] for name in ("id", "state", "segments", "encoding")}, "replayed": replayed}

    def _found(self, request: Document) -> Document:
        if request["id"] not in self.messages:
            raise RefusedError("not_found", f"There is no message {request['id']}.", "id")
        return self.messages[request["id"]]

    def _get(self, request: Document) -> Document:
        message = self._found(request)
        if self.settle_as is not None and request["id"] in self._asked:
            message.update(state=self.settle_as, waiting=None, sent_at="2026-01-02T03:04:06.000Z")
        self._asked.add(request["id"])
        return {"message": message}

    def _attempts(self, request: Document) -> Document:
        return {"attempts": self.attempts.get(self._found(request)["id"], [])}

    def _list(self, request: Document) -> Document:
        states = set(request.get("state", "").replace("queued", "pending,processing").split(",")) - {""}
        found = [
            message
            for message in reversed(self.messages.values())
            if (not states or message["state"] in states) and request.get("to") in {None, message["to"]}
        ]
        start = int(request.get("cursor", 0))
        end = start + request.get("limit", 50)
        return {"items": found[start:end], "next_cursor": str(end) if end < len(found) else None}

    def _cancel(self, request: Document) -> Document:
        message = self._found(request)
        if message["state"] != "pending":
            raise RefusedError("wrong_state", f"The message is {message['state']}.", "id")
        message.update(state="cancelled", waiting=None)
        return {"message": message}

    def _reschedule(self, request: Document) -> Document:
        message = self._found(request)
        if message["state"] != "pending":
            raise RefusedError("wrong_state", f"The message is {message['state']}.", "id")
        at = request["send_at"]
        message.update(send_at=at, waiting={"reason": "scheduled", "until": at, "text": f"It is to be sent at {at}."})
        return {"message": message}

    def _retry(self, request: Document) -> Document:
        message = self._found(request)
        if message["state"] == "pending":
            raise RefusedError("wrong_state", "The message is pending.", "id")
        message.update(state="pending", error=None)
        return {"message": message}

    def _failed(self, request: Document) -> Document:
        return self._list({**request, "state": "failed,undelivered"})

    def _failed_retry(self, request: Document) -> Document:
        swept = self._swept(request, "retried")
        return swept | {"last_at": "2026-01-02T03:04:05.000Z" if swept["retried"] else None}

    def _failed_delete(self, request: Document) -> Document:
        return self._swept(request, "deleted")

    def _swept(self, request: Document, done: str) -> Document:
        """One call deals with at most `sweep_most`. One that is there and failed UNCERTAIN needs `force`."""
        after = int(request.get("cursor", 0))
        failed = {id: each for id, each in self.messages.items() if each["state"] in {"failed", "undelivered"}}
        if "ids" not in request and not after:
            self.swept_ids = [*failed]
        ids = request.get("ids") or self.swept_ids[after : after + self.sweep_most]
        forced = request.get("force", done == "deleted")
        doubtful = {id for id, each in failed.items() if "UNCERTAIN" in str(each["error"]) and not forced}
        codes = {
            id: "wrong_state" if id in doubtful else "not_found" for id in ids if id not in failed or id in doubtful
        }
        for id in (each for each in ids if each not in codes):
            if done == "deleted":
                del self.messages[id]
            else:
                self.messages[id].update(state="pending", error=None)
        more = "ids" not in request and after + len(ids) < len(self.swept_ids)
        return {
            **{done: len(ids) - len(codes), "skipped_total": len(codes), "more": more},
            "skipped": [{"id": id, "code": code, "message": f"It is {code}."} for id, code in codes.items()][:100],
            "next_cursor": str(after + len(ids)) if more else None,
        }

    def _stats(self, request: Document) -> Document:
        return STATS

    def _alerts(self, request: Document) -> Document:
        return {"items": self.alerts}

    def _providers(self, request: Document) -> Document:
        return {"providers": [PROVIDER], "disabled": []}

    def _pause(self, request: Document) -> Document:
        return {"provider": {**self._provider(request), "state": "paused", "reason": "paused by root"}}

    def _resume(self, request: Document) -> Document:
        return {"provider": self._provider(request)}

    def _provider(self, request: Document) -> Document:
        if request["provider"] != PROVIDER["name"]:
            raise RefusedError("not_found", f"There is no provider {request['provider']}.", "provider")
        return PROVIDER

    def _user(self, request: Document) -> Document:
        return {"user_id": request["user"], **COUNTS}

    def _recipient(self, request: Document) -> Document:
        return {"recipient": request["number"], **COUNTS}

    def _inbound(self, request: Document) -> Document:
        names = {"from", "to", "tenant"} & request.keys()
        found = [each for each in self.texts[::-1] if all(each[name] == request[name] for name in names)]
        start = int(request.get("cursor", 0))
        end = start + request.get("limit", 50)
        return {"items": found[start:end], "next_cursor": str(end) if end < len(found) else None}

    def _suppressions(self, request: Document) -> Document:
        names = {"number", "scope"} & request.keys()
        every = [each for _, each in sorted(self.suppressed.items())]
        found = [each for each in every if all(each[name] == request[name] for name in names)]
        start = int(request.get("cursor", 0))
        end = start + request.get("limit", 50)
        return {"items": found[start:end], "next_cursor": str(end) if end < len(found) else None}

    def _suppress(self, request: Document) -> Document:
        number, scope = request["number"], request.get("scope") or "*"
        if not number.startswith("+"):
            raise RefusedError("invalid_recipient", "`number` is no number: write it in E.164.", "number")
        if scope not in {"*", PROVIDER["name"]}:
            raise RefusedError("invalid_value", f"`scope`: No provider {scope!r} is enabled.", "scope")
        added = (number, scope) not in self.suppressed
        fields = {"at": "2026-01-02T03:04:05.000Z", "source": "operator", "code": None}
        kept = self.suppressed.setdefault((number, scope), {"number": number, "scope": scope, **fields})
        return {**kept, "added": added}

    def _unsuppress(self, request: Document) -> Document:
        number, scope = request["number"], request.get("scope") or "*"
        if self.suppressed.pop((number, scope), None) is None:
            raise RefusedError("not_found", f"{number} is not suppressed there.", "number")
        return {"number": number, "scope": scope}

    def _register(self, request: Document) -> Document:
        self._provider(request)
        return self.registered

    def _callbacks(self, request: Document) -> Document:
        failed = request.get("failed", False)
        found = [each for each in self.callbacks if (each["next_try_at"] is None) == failed]
        start = int(request.get("cursor", 0))
        end = start + request.get("limit", 50)
        return {"items": found[start:end], "next_cursor": str(end) if end < len(found) else None}

    def _replay(self, request: Document) -> Document:
        failed = [each for each in self.callbacks if each["next_try_at"] is None]
        waiting = [each for each in self.callbacks if each["error"] is not None and each not in failed]
        if "ids" in request:
            chosen = [each for each in self.callbacks if each["id"] in request["ids"]]
        else:
            chosen = failed[: self.replay_most]
            chosen += waiting if len(chosen) == len(failed) else []
        for each in chosen:
            each.update(next_try_at="2026-01-02T03:04:05.000Z", error=None)
        return {"replayed": len(chosen), "left": sum(each["next_try_at"] is None for each in self.callbacks)}

    def _reload(self, request: Document) -> Document:
        return {"changed": ["providers.main.rate"], "restart": [], "warnings": []}

    def _metrics(self, request: Document) -> Document:
        return {"text": "smsd_messages 3\n"}

    def _events(self, request: Document) -> Document:
        after = _number(request.get("after")) if "after" in request else len(self.happened)
        lost, self.lose_events = self.lose_events, False
        return {"events": self.happened[after:], "last": f"0badcafe-{len(self.happened)}", "lost": lost}

    def _backup(self, request: Document) -> Document:
        offset = request.get("offset") or 0
        if request.get("snapshot") not in {None, "snap"}:
            raise RefusedError("not_found", "There is no such snapshot.", "snapshot")
        data = COPY[offset : offset + PIECE]
        done = offset + len(data) >= len(COPY)
        text = base64.b64encode(data).decode()
        return {"snapshot": "snap", "size": len(COPY), "offset": offset, "data": text, "done": done}

    def _ping(self, request: Document) -> Document:
        return {"pong": True, "version": "0.1.0"}


def _number(id: str | None) -> int:
    return int((id or "0badcafe-0").rpartition("-")[2])


def view(id: str, **fields: Any) -> Document:
    """A message view, pending unless `fields` say otherwise."""
    return {
        "id": id,
        "state": "pending",
        "to": "+15550100123",
        "from": None,
        "text": "Hello",
        "tenant": "local:0",
        "user": None,
        "type": None,
        "campaign": None,
        "priority": "normal",
        "segments": 1,
        "encoding": "gsm7",
        "length": 5,
        "attempts": 0,
        "max_attempts": 5,
        "created_at": "2026-01-02T03:04:05.000Z",
        "send_at": None,
        "expires_at": "2026-01-05T03:04:05.000Z",
        "next_attempt_at": "2026-01-02T03:04:05.000Z",
        "sent_at": None,
        "processed_at": None,
        "delivered_at": None,
        "provider": None,
        "provider_message_id": None,
        "price": None,
        "error": None,
        "waiting": {"reason": "queue", "until": None, "text": "It is due and waits for its turn in the queue."},
        "metadata": None,
        "idempotency_key": None,
        "truncated": False,
        **fields,
    }


def wait_for(condition: Any, seconds: float = 5.0) -> None:
    """Return when `condition()` holds; fails after `seconds`. For what happens on the fake's threads."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)
