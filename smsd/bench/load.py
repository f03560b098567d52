"""How fast does one client hand messages over, and when did each leave?

    python -m smsd.bench.load --socket PATH --first N --count N [--rate R] [--fields JSON]

One connection to the daemon's socket. Everything is encoded before it begins: then it prints `ready`, waits for a line
on its standard input, and writes as fast as the daemon reads (or R lines a second, evenly, each with the time at which
it left). Last it prints one line of JSON, see Result. It shares the machine's few cores with the daemon, so it counts
answers and does not decode them; the first refusal is kept as it came.

Message N goes to the recipient with number N and says so in its text; the stand-in reads it there.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

WORD: Final = "bench"
NUMBERS: Final = "+1201"
"""New Jersey; message N goes to it followed by N in seven digits."""
FIRST: Final = 2_000_000
LAST: Final = 9_999_999
"""Message numbers. Area code 201 followed by a digit of 2 to 9 is a possible number of North America."""

BLOCK: Final = 500
"""Lines a write."""
RECEIVE_BYTES: Final = 1 << 18

_REFUSED: Final = b'"ok":false'


def recipient(number: int) -> str:
    """Whom message `number` goes to (E.164)."""
    return f"{NUMBERS}{number:07d}"


def text(number: int) -> str:
    """What message `number` says: 21 characters, one segment."""
    return f"a smsd {WORD} {number:07d}"


def line(number: int, fields: Mapping[str, str]) -> bytes:
    """The submission of message `number`."""
    return json.dumps({"to": recipient(number), "text": text(number), **fields}).encode() + b"\n"


@dataclass(slots=True)
class Result:
    """What became of a load. Times are CLOCK_MONOTONIC in ns."""

    began: int = 0
    ended: int = 0
    """When the last answer was read."""
    answered: int = 0
    refused: int = 0
    refusal: str = ""
    """The first one."""
    sent: list[int] = field(default_factory=list)
    """When each line left; only with a rate."""


class Answers:
    """Counts answers in a stream that is cut anywhere."""

    def __init__(self, result: Result) -> None:
        self._result = result
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Some bytes as they came. Raises ConnectionResetError at the stream's end."""
        if not data:
            raise ConnectionResetError("the daemon closed the connection")
        data = self._rest + data
        whole = data.rfind(b"\n") + 1
        self._rest = data[whole:]
        self._result.answered += data.count(b"\n", 0, whole)
        refused = data.count(_REFUSED, 0, whole)
        if refused:
            self._result.refused += refused
            if not self._result.refusal:
                self._result.refusal = next(each for each in data.split(b"\n") if _REFUSED in each).decode()


def flood(
    connection: socket.socket, blocks: Sequence[bytes], count: int, reader: Callable[[Result], Answers] = Answers
) -> Result:
    """Write all as fast as the other side reads, read answers meanwhile, until `count` came."""
    result = Result(began=time.monotonic_ns())
    answers = reader(result)
    connection.setblocking(False)
    poll = select.poll()
    poll.register(connection, select.POLLIN | select.POLLOUT)
    waiting = _views(blocks)
    view = next(waiting, None)
    while result.answered < count:
        (_, ready), *_ = poll.poll()
        if ready & ~select.POLLOUT:
            answers.feed(connection.recv(RECEIVE_BYTES))
        if ready & select.POLLOUT and view is not None:
            view = view[connection.send(view) :] or next(waiting, None)
            if view is None:
                poll.modify(connection, select.POLLIN)
    result.ended = time.monotonic_ns()
    return result


def _views(blocks: Sequence[bytes]) -> Iterator[memoryview]:
    return (memoryview(block) for block in blocks)


def drip(connection: socket.socket, lines: Sequence[bytes], rate: float) -> Result:
    """Write one line each 1/rate seconds. A late line does not make the next ones late."""
    result = Result(began=time.monotonic_ns())
    answers = Answers(result)
    for n, each in enumerate(lines):
        left = result.began + round(n * 1e9 / rate) - time.monotonic_ns()
        if left > 0:
            time.sleep(left / 1e9)
        result.sent.append(time.monotonic_ns())
        connection.sendall(each)
        if select.select([connection], [], [], 0)[0]:
            answers.feed(connection.recv(RECEIVE_BYTES))
    while result.answered < len(lines):
        answers.feed(connection.recv(RECEIVE_BYTES))
    result.ended = time.monotonic_ns()
    return result


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser(prog="smsd.bench.load", description="One client of the daemon's socket.")
    parser.add_argument("--socket", required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.0, help="lines a second; 0: as fast as they are read")
    parser.add_argument("--fields", type=json.loads, default={}, help="further fields of each submission")
    given = parser.parse_args()
    lines = [line(number, given.fields) for number in range(given.first, given.first + given.count)]
    blocks = [b"".join(lines[at : at + BLOCK]) for at in range(0, len(lines), BLOCK)]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(given.socket)
        print("ready", flush=True)
        if not sys.stdin.readline():
            return
        result = drip(connection, lines, given.rate) if given.rate else flood(connection, blocks, given.count)
    print(json.dumps(asdict(result)), flush=True)


if __name__ == "__main__":
    main()
