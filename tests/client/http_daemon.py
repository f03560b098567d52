"""The fake daemon over HTTP: the same messages, the same script of misdeeds, on 127.0.0.1.

Which path means which operation is read from the daemon's own table, so that a client that goes astray is answered 404
here too. `raw` holds bytes to send instead of a proper answer, for what no daemon would say.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections import deque
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from smsd.listeners.callers import ProblemError
from smsd.listeners.http.problems import RETRY_AFTER, STATUS
from smsd.listeners.http.routes import Map, WrongMethodError
from tests.doubles.fake_daemon import Do, Document, FakeDaemon

ENVELOPES = {
    "get": "message",
    "cancel": "message",
    "reschedule": "message",
    "retry": "message",
    "pause": "provider",
    "resume": "provider",
}


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.front.connections.append(self.connection)

    def do_GET(self) -> None:
        self._serve("")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def do_PUT(self) -> None:
        self.do_POST()

    def do_DELETE(self) -> None:
        self._serve("")

    def _serve(self, body: str) -> None:
        front = self.server.front
        front.heads.append((self.command, self.path, dict(self.headers)))
        self.close_connection = False
        if front.raw:
            self.wfile.write(front.raw.popleft())
            self.close_connection = front.closing
            return
        if self.path.startswith(front.base + "/v1/messages/batch"):
            self._batch(body)
            return
        try:
            request = self._request(body)
        except (ProblemError, WrongMethodError):
            self._refuse({"code": "unknown_op", "message": "There is nothing.", "field": None, "errors": []})
            return
        do = front.fake.next_step(request)
        if self._misbehaves(do, lambda: front.fake.answer(request)):
            return
        front.fake.wait(request)
        self._answer(request, front.fake.answer(request))
        self.close_connection = front.closing

    def _misbehaves(self, do: Do, act: Any) -> bool:
        if do is Do.PROPERLY:
            return False
        self.close_connection = True
        if do is Do.BABBLE:
            self.wfile.write(b"+OK smtp it is not\r\n")
        if do in {Do.ACT_AND_HANG_UP, Do.STALL}:
            act()
        if do is Do.STALL:
            self.server.front.fake.ended.wait()
        return True

    def _request(self, body: str) -> Document:
        parts = urlsplit(self.path)
        route, found = Map().find(self.command, parts.path.removeprefix(self.server.front.base))
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        numbers = {name: int(query[name]) for name in ("limit", "offset") if name in query}
        fields = json.loads(body) if body else {}
        if self.command in {"POST", "PUT"}:
            assert self.headers["Content-Type"] == "application/json"
        assert hasattr(route, "operation")
        return {"op": route.operation.name, **fields, **query, **numbers, **found}

    def _answer(self, request: Document, answer: Document) -> None:
        if not answer["ok"]:
            self._refuse(answer["error"])
            return
        op = request["op"]
        result = {name: value for name, value in answer.items() if name not in {"ok", "ref"}}
        if op == "metrics":
            self._reply(200, "text/plain; version=0.0.4", result["text"].encode())
            return
        if op == "send" and "wait" in request:
            fake = self.server.front.fake
            waited = {"op": "get", "id": result["id"], "wait": request["wait"]}
            fake.wait(waited)
            result = fake.messages[result["id"]]
        found = result[ENVELOPES[op]] if op in ENVELOPES else result
        self._reply(202 if op == "send" else 200, "application/json", json.dumps(found).encode())

    def _batch(self, body: str) -> None:
        """Lines answered as they are read; the script counts lines."""
        fake = self.server.front.fake
        assert self.headers["Content-Type"] == "application/x-ndjson"
        if "send" in self.server.front.refuse_batches:
            self._refuse(self.server.front.refuse_batches["send"])
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for index, line in enumerate(body.splitlines()):
            request = {"op": "send", **json.loads(line)}
            do = fake.next_step(request)
            if self._misbehaves(do, lambda request=request: fake.answer(request)):
                return
            answer = fake.answer(request)
            told = {"index": index, **{name: answer[name] for name in answer if name != "ref"}}
            self._chunk(json.dumps(told).encode() + b"\n")
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _refuse(self, error: Document) -> None:
        code = error["code"]
        status = STATUS.get(code, 422)
        problem = {"type": f"urn:smsd:problem:{code}", "title": "No", "status": status, "detail": error["message"]}
        data = json.dumps({**problem, "code": code, "errors": error["errors"]}).encode()
        known = error.get("retry_after_s")
        wait = RETRY_AFTER.get(code) if known is None else str(known)
        self._reply(status, "application/problem+json", data, wait)

    def _reply(self, status: int, kind: str, data: bytes, retry_after: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(data)

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, front: HttpFront, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.front = front


class HttpFront:
    """`with HttpFront(fake) as front:`. `heads`: (method, path, headers) of all requests; `base`: of its URL.

    `closing`: whether it hangs up after each answer without saying so before.
    """

    def __init__(self, fake: FakeDaemon, *, port: int = 0, base: str = "", tls: ssl.SSLContext | None = None) -> None:
        self.fake = fake
        self.base = base
        self.raw: deque[bytes] = deque()
        self.closing = False
        self.refuse_batches: dict[str, Document] = {}
        self.heads: list[tuple[str, str, dict[str, str]]] = []
        self.connections: list[socket.socket] = []
        self._scheme = "http" if tls is None else "https"
        self._server = _Server(self, port)
        if tls is not None:  # the handshake is made in the thread of the connection, when it first reads
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}{self.base}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close everything, as a stopped daemon does."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close every connection."""
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed already


def answer(status: str, body: bytes = b"", headers: Iterable[str] = ()) -> bytes:
    """An HTTP answer, for `raw`."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body
