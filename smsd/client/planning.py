"""How do very many rows of a plan reach the daemon, in requests that are not too long?

A conversation in steps: each request, then its answer. The first one begins the plan, the last one ends it. No door is
known here; whoever has one asks.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any, Final

from smsd.client.words import Document, given

PIECE_BYTES: Final = 48_000
"""Bytes of rows in one request; a line holds words.LINE_BYTES."""

PLAN_S: Final = 300.0
"""Seconds that the last request may take at least: what very many rows come to takes a while."""


def plan_requests(
    rows: Iterable[Mapping[str, Any]], said: Mapping[str, Any]
) -> Generator[Document, Document, Document]:
    """The requests, to be sent the answer of each; the result is the plan's. `said`: when it begins."""
    step: Document = {}
    for piece, last in _pieces(rows):
        request = given("plan", rows=piece, end=True if last else None, **({} if step else said))
        if step:
            request["plan"] = step["plan"]
        step = yield request
    result: Document = step["result"]
    return result


def _pieces(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[list[Document], bool]]:
    """Rows that fit into one request, and whether they are the last."""
    piece: list[Document] = []
    size = 0
    for row in rows:
        fields = {"from" if name == "from_" else name: value for name, value in row.items() if value is not None}
        length = len(json.dumps(fields)) + 2
        if piece and size + length > PIECE_BYTES:
            yield piece, False
            piece, size = [], 0
        piece.append(fields)
        size += length
    yield piece, True
