"""How do very many submissions travel over HTTP?

In batches (POST /v1/messages/batch), one after the other on one connection: lines out, a line for each back, in order.
A batch is written whole before its answers are read; the daemon keeps them meanwhile, and a batch is far below what it
keeps. Which submissions they are and what becomes of a lost one is decided by `many`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http.client import HTTPResponse
from typing import Final

from smsd.client.answers import PROBLEM, kind, problem
from smsd.client.errors import refusal
from smsd.client.http_link import HttpLink, Said
from smsd.client.loss import LostError, StrangerError
from smsd.client.many import TurnedDownError
from smsd.client.routes import Route
from smsd.client.words import Document

NDJSON: Final = "application/x-ndjson"

BATCH: Final = Route("POST", "/v1/messages/batch", "index")


class Batches:
    """What `write` is given is one request, `read` gives the lines of its answer."""

    def __init__(self, path: str, headers: Mapping[str, str], connect: Callable[[float], HttpLink], deadline: float):
        """`path`: of BATCH, below the base path. Raises what `connect` raises."""
        self._path = path
        self._headers = {**headers, "Content-Type": NDJSON, "Accept": f"{NDJSON}, {PROBLEM}"}
        self._connect = connect
        self._link = connect(deadline)
        self._response: HTTPResponse | None = None
        self._lines = self._next = 0

    def write(self, data: bytes, deadline: float) -> None:
        """Send one batch and read the head of its answer. Raises TurnedDownError, LostError, LateError, StrangerError.

        After a loss any of its lines may have been taken: the daemon takes them as they arrive.
        """
        if self._lines and not self._link.idle():  # one just made may have TLS tickets to read, and is as good as any
            self._link.close()
            self._link = self._connect(deadline)
        self._lines, self._next = data.count(b"\n"), 0
        response = self._link.begin(Said(BATCH, self._path, data, self._headers), deadline)
        if response.status != 200:
            refused = problem(response.status, response.headers, self._link.body(response))
            raise TurnedDownError(refusal(refused))
        if kind(response.headers) != NDJSON:
            raise StrangerError(response.status)
        self._response = response

    def read(self, ref: int, deadline: float) -> Document:
        """The next line as the socket would give it, to the item with the index `ref`. Raises as `write`."""
        if self._response is None:
            raise LostError(written=True)
        line = self._link.line(self._response, deadline)
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            raise StrangerError(200) from None
        if not isinstance(document, dict) or document.pop("index", None) != self._next or "ok" not in document:
            raise StrangerError(200)
        self._next += 1
        if self._next == self._lines:
            self._link.finish(self._response)
            self._response = None
        return {**document, "ref": ref}

    def close(self) -> None:
        self._link.close()
