"""What does the carrier of a benchmark see, and when?

    python -m smsd.bench.stand_in --latency-ms 0        (prints its port; ends when its standard input ends)

It answers Twilio's two endpoints for messages, each send after `--latency-ms`, and remembers when the first request
for each message arrived (CLOCK_MONOTONIC, the clock that all processes of a machine share). It must be faster than any
client it serves, or it would be measured itself: so it parses by hand what well-formed clients send, finds a message
by the number in its text (see load.line) and checks nothing. It is no test double: it never misbehaves.

    GET    /count      {"arrived": distinct messages, "again": further requests for the same}
    GET    /arrivals   pairs of native 64-bit integers: message number, arrival in ns; in order of arrival
    DELETE /arrivals   forget them

Bound: a request of more than REQUEST_BYTES closes its connection. Arrivals take 100 bytes a message until forgotten.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from array import array
from email.utils import formatdate
from typing import Final, cast

import uvloop

from smsd.bench.http11 import HEAD_END, content_length
from smsd.bench.load import NUMBERS, WORD, recipient, text

ACCOUNT: Final = "AC" + "0" * 32
TOKEN: Final = "bench-token"  # noqa: S105 -- the stand-in asks for none
SENDER: Final = "+15005550006"
PATH: Final = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"

REQUEST_BYTES: Final = 65_536
BACKLOG: Final = 4_096

_MARK: Final = f"{WORD}+".encode()
_QUERY: Final = f"To=%2B{NUMBERS.removeprefix('+')}".encode()
_HEAD: Final = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def resource(number: int, created: str) -> dict[str, object]:
    """A message as Twilio shows it (https://www.twilio.com/docs/messaging/api/message-resource)."""
    sid = f"SM{number:032x}"
    return {
        "account_sid": ACCOUNT,
        "api_version": "2010-04-01",
        "body": text(number),
        "date_created": created,
        "date_sent": None,
        "date_updated": created,
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": SENDER,
        "messaging_service_sid": None,
        "num_media": "0",
        "num_segments": "1",
        "price": None,
        "price_unit": None,
        "sid": sid,
        "status": "queued",
        "subresource_uris": {"media": f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}/Media.json"},
        "to": recipient(number),
        "uri": f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}.json",
    }


class Carrier:
    """What arrived."""

    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s
        self.arrivals: dict[int, int] = {}
        self.again = 0
        self._created = formatdate()
        self._pattern = _pattern(self._created)

    def send(self, body: bytes) -> bytes:
        """Take one message; the answer."""
        at = body.find(_MARK) + len(_MARK)
        digits = body[at : at + 7]
        number = int(digits)
        if number in self.arrivals:
            self.again += 1
        else:
            self.arrivals[number] = time.monotonic_ns()
        return self._pattern.replace(b"%NUMBER", digits).replace(b"%SID", b"SM%032x" % number)

    def look_up(self, query: bytes) -> bytes:
        """The messages to a recipient: one that arrived, or none."""
        at = query.find(_QUERY) + len(_QUERY)
        number = int(query[at : at + 7])
        found = [resource(number, self._created)] if number in self.arrivals else []
        return _answer(b"200 OK", json.dumps({"messages": found, "next_page_uri": None}).encode())

    def control(self, head: bytes) -> bytes:
        """What the benchmark itself asks."""
        if head.startswith(b"GET /count "):
            counts = {"arrived": len(self.arrivals), "again": self.again}
            return _answer(b"200 OK", json.dumps(counts).encode())
        if head.startswith(b"GET /arrivals "):
            pairs = array("q", [each for pair in self.arrivals.items() for each in pair])
            return _answer(b"200 OK", pairs.tobytes())
        if head.startswith(b"DELETE /arrivals "):
            self.arrivals.clear()
            self.again = 0
            return _answer(b"200 OK", b"{}")
        return _answer(b"404 Not Found", b'{"code": 20404, "message": "not here", "status": 404}')


def _pattern(created: str) -> bytes:
    """The answer to any send. Number and sid are put in its place for each, at a fifth of the cost of encoding it."""
    shown = resource(0, created)
    sid = str(shown["sid"])
    answer = _answer(b"201 Created", json.dumps(shown).encode())
    return answer.replace(sid.encode(), b"%SID").replace(text(0)[-7:].encode(), b"%NUMBER")


def _answer(status: bytes, body: bytes) -> bytes:
    return _HEAD % (status, len(body)) + body


class Connection(asyncio.Protocol):
    """One client. Splits the stream into requests and answers each in its turn."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._rest = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without inheriting from it

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        while (end := data.find(HEAD_END) + 4) > 3:
            head = data[:end]
            whole = end + content_length(head)
            if len(data) < whole:
                break
            self._request(head, data[end:whole])
            data = data[whole:]
        self._rest = data
        if len(data) > REQUEST_BYTES:
            self._transport.close()

    def _request(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"POST /2010-04-01/"):
            self._later(self._carrier.send(body))
        elif head.startswith(b"GET /2010-04-01/"):
            self._later(self._carrier.look_up(head))
        else:
            self._transport.write(self._carrier.control(head))

    def _later(self, answer: bytes) -> None:
        if self._carrier.latency_s:
            self._loop.call_later(self._carrier.latency_s, self._write, answer)
        else:
            self._transport.write(answer)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


async def serve(latency_s: float) -> None:
    """Print the port, then serve until standard input ends."""
    loop = asyncio.get_running_loop()
    carrier = Carrier(latency_s)
    server = await loop.create_server(lambda: Connection(carrier), "127.0.0.1", 0, backlog=BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    server.close()


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser(prog="smsd.bench.stand_in", description="A carrier that is fast and never fails.")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    uvloop.run(serve(parser.parse_args().latency_ms / 1_000))


if __name__ == "__main__":
    main()
