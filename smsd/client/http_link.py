"""How do a request and its answer travel over one HTTP connection?

For a thread that waits: each exchange until a deadline, and at every failure it is known whether the request had left.
http.client frames, `reach` carries; what an answer means is said by `answers`, and whether a request is repeated by
`tries`.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse, IncompleteRead, RemoteDisconnected
from typing import Final, NamedTuple

from smsd.client.answers import answer, kind
from smsd.client.loss import LateError, LostError, StrangerError
from smsd.client.reach import Connection, Peer, Wire
from smsd.client.routes import Route
from smsd.client.words import ANSWER_BYTES, Document

IDLE_S: Final = 4.0
"""A connection unused for longer is not used again: servers and proxies close idle ones, some after 5 s, and a request
that meets the closing is in doubt."""


class Said(NamedTuple):
    """A request with all that is needed to write it. `path` begins with a slash; `data` is the body."""

    route: Route
    path: str
    data: bytes | None
    headers: Mapping[str, str]


class HttpLink:
    """One connection, used by one request at a time; `deadline` is a time.monotonic() value everywhere."""

    def __init__(self, peer: Peer, deadline: float) -> None:
        """Raises SmsdError when nobody answers there, LateError."""
        self._wire = Wire(peer, deadline)
        self._http = Connection(peer, self._wire)
        self._pid = os.getpid()
        self._used = time.monotonic()

    def ask(self, said: Said, deadline: float) -> Document:
        """The answer in the socket's form. Raises LostError, LateError, StrangerError."""
        response = self.begin(said, deadline)
        bounded = response.chunked or response.length is not None
        body = self.body(response)
        try:
            return answer(said.route, response.status, response.headers, body)
        except StrangerError:
            if not bounded and (not body or kind(response.headers) == "application/json"):
                # Nothing said how long it is, so the end of the connection ended it: it may have been cut off.
                raise LostError(written=True) from None
            raise

    def begin(self, said: Said, deadline: float) -> HTTPResponse:
        """Write a request and read the head of its answer. Raises as ask."""
        self._wire.deadline = deadline
        try:
            self._http.request(said.route.method, said.path, said.data, dict(said.headers))
        except TimeoutError:
            raise LateError(written=False) from None
        except OSError:
            raise LostError(written=False) from None
        self._wire.written = True
        try:
            return self._http.getresponse()
        except TimeoutError:
            raise LateError(written=True) from None
        except (RemoteDisconnected, OSError):
            raise LostError(written=True) from None
        except (HTTPException, ValueError):
            raise StrangerError from None

    def body(self, response: HTTPResponse) -> bytes:
        """The whole body; the connection is free then. Raises as ask."""
        data = _read(response, ANSWER_BYTES + 1, line=False)
        if len(data) > ANSWER_BYTES:
            raise StrangerError(response.status)
        if response.length:  # http.client tells a body that ended early by what is left of it
            raise LostError(written=True)
        self._free(response)
        return data

    def line(self, response: HTTPResponse, deadline: float) -> bytes:
        """The next line of the body, with its newline. Raises as ask; LostError when there is none."""
        self._wire.deadline = deadline
        line = _read(response, ANSWER_BYTES + 1, line=True)
        if len(line) > ANSWER_BYTES:
            raise StrangerError(response.status)
        if not line.endswith(b"\n"):
            raise LostError(written=True)
        return line

    def finish(self, response: HTTPResponse) -> None:
        """All lines that matter were read; when no more come the connection is free. Raises as ask."""
        if _read(response, 1, line=False):
            raise StrangerError(response.status)
        self._free(response)

    def _free(self, response: HTTPResponse) -> None:
        response.close()
        self._wire.written = False
        self._used = time.monotonic()

    def idle(self) -> bool:
        """Whether it can take the next request: this process's own, open, fresh, and nothing unread in it."""
        if self._http.sock is None or self._wire.written or self._pid != os.getpid():
            return False
        if time.monotonic() - self._used > IDLE_S:
            return False
        poll = select.poll()
        poll.register(self._wire.fileno(), select.POLLIN | select.POLLRDHUP)
        return not poll.poll(0)

    def abort(self) -> None:
        """End it from another thread; a call under way on it raises LostError at once."""
        self._wire.abort()

    def close(self) -> None:
        self._http.close()
        self._wire.close()


def _read(response: HTTPResponse, most: int, *, line: bool) -> bytes:
    """At most so many bytes of the body, or a line of it."""
    try:
        return response.readline(most) if line else response.read(most)
    except TimeoutError:
        raise LateError(written=True) from None
    except (OSError, IncompleteRead):
        raise LostError(written=True) from None
    except (HTTPException, ValueError):
        raise StrangerError(response.status) from None
