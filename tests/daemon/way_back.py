"""Who calls the daemon back, and whom does it call?

A Reporter sends receipts as the two providers do and repeats each until it is answered 200, whatever becomes of the
daemon meanwhile. A Receiver is an application: it verifies each callback with the Standard Webhooks library, keeps
every body it is told, and is not always well.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from zlib import crc32

from standardwebhooks import Webhook, WebhookVerificationError

from tests.daemon.harness import PATIENCE_S, Json
from tests.doubles.reporting import Posted, by_twilio
from tests.doubles.stand_in import ACCOUNT, TOKEN

PUBLIC = "https://sms.example.com"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PATH_SECRET = "nobody-knows-this-path"
UNWELL = 25
"""Of so many events one is answered 500 at first, and one not at all."""

WORKERS = 8


def arrives(text: str) -> bool:
    """Whether the message with this text reaches its phone, whichever call took it."""
    return not text.endswith(("0", "5"))


@dataclass(frozen=True, slots=True)
class Told:
    """A callback as it came."""

    id: str
    body: bytes

    @property
    def said(self) -> Json:
        found: Json = json.loads(self.body)
        return found


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Kills cut calls off; that is what they are for."""


class Receiver:
    """An application on loopback. It notes what it is told before it answers, or fails to."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.forged: list[str] = []
        """Why a callback was not believed."""
        self._first: set[str] = set()
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver._take(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing is told."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/told"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE_S)

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        id = handler.headers["webhook-id"]
        with self._lock:
            try:
                Webhook(SECRET).verify(body, dict(handler.headers.items()))
            except WebhookVerificationError as error:
                self.forged.append(str(error))
            again = id in self._first
            self._first.add(id)
            self.told.append(Told(id, body))
        mood = UNWELL if again else crc32(id.encode()) % UNWELL
        if mood == 1:
            handler.close_connection = True
            return
        handler.send_response(500 if mood == 0 else 204)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def ids(self) -> set[str]:
        with self._lock:
            return set(self._first)

    def bodies(self) -> dict[str, list[bytes]]:
        """By id, in order of arrival."""
        found: dict[str, list[bytes]] = {}
        with self._lock:
            for each in self.told:
                found.setdefault(each.id, []).append(each.body)
        return found


class Reporter:
    """Both providers' receipts, in any order, some twice."""

    def __init__(self, port: int, seed: int) -> None:
        self.answered = 0
        """Receipts that were answered 200."""
        self.statuses: Counter[int] = Counter()
        """0: no answer."""
        self._port = port
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._waiting: list[Posted] = []
        self._under_way = 0
        self._known: set[str] = set()
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(WORKERS)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()

    @property
    def idle(self) -> bool:
        with self._lock:
            return not self._waiting and not self._under_way

    def about(self, calls: Iterable[Json]) -> None:
        """What is to be said of these calls, those that are known left out."""
        with self._lock:
            for call in calls:
                if call["sid"] is not None and call["sid"] not in self._known:
                    self._known.add(call["sid"])
                    self._waiting += self._receipts(call)

    def _receipts(self, call: Json) -> list[Posted]:
        made = [_report(call, word) for word in ("sent", "delivered" if arrives(call["body"]) else "undelivered")]
        return made + [each for each in made if self._random.random() < 0.2]

    def _next(self) -> Posted | None:
        with self._lock:
            if not self._waiting:
                return None
            self._under_way += 1
            place = self._random.randrange(len(self._waiting))
            self._waiting[place], self._waiting[-1] = self._waiting[-1], self._waiting[place]
            return self._waiting.pop()

    def _work(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        while not self._closing.is_set():
            posted = self._next()
            if posted is None:
                time.sleep(0.005)
                continue
            status = _status(connection, posted)
            with self._lock:
                self._under_way -= 1
                self.statuses[status] += 1
                self.answered += status == 200
                if status != 200:
                    self._waiting.append(posted)
            if status != 200:
                connection.close()
                time.sleep(0.02)
        connection.close()


def _status(connection: http.client.HTTPConnection, posted: Posted) -> int:
    try:
        connection.request("POST", posted.target, posted.body, posted.headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return 0


def _report(call: Json, word: str) -> Posted:
    """As the provider that took the call says it: Twilio at the address that came with the message, the other one at
    the address that its customer has written into its console."""
    if call["callback"]:
        fields = {"MessageSid": call["sid"], "MessageStatus": word, "AccountSid": ACCOUNT, "To": call["to"]}
        fields |= {"ErrorCode": "30005"} if word == "undelivered" else {}
        return by_twilio(call["callback"], TOKEN, **fields)
    said = {"event": "dlr", "id": call["sid"], "ref": call["reference"], "status": word.upper(), "to": call["to"]}
    said |= {"why": "absent"} if word == "undelivered" else {}
    headers = {"content-type": "application/json"}
    return Posted(f"/webhooks/plain/status/{PATH_SECRET}", headers, json.dumps(said).encode())


def gateway(url: str) -> Json:
    """A `[providers.plain]` whose receipts name both ids and come by a secret path."""
    return {
        "type": "http",
        "url": f"{url}/plain/send",
        "fields": {"to": "{to}", "from": "{from}", "text": "{text}", "ref": "{id}"},
        "auth": "bearer",
        "token": TOKEN,
        "from": "+15005550006",
        "rate": "1000/s",
        "success": {"path": "result", "equals": "accepted"},
        "id_path": "message.id",
        "webhook_secret": PATH_SECRET,
        "reports": {
            "when": {"event": "dlr"},
            "id": "id",
            "reference": "ref",
            "status": "status",
            "code": "why",
            "statuses": {"sent": ["SENT"], "delivered": ["DELIVERED"], "undelivered": ["UNDELIVERED"]},
            "codes": [{"code": "absent", "category": "INVALID_RECIPIENT"}],
        },
    }
