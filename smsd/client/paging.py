"""Which page of a listing is asked for next, and which is the last?

The state of one listing, for both clients: requests out, pages in. No more is asked for than is still wanted. What the
items are, and how a request reaches the daemon, is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smsd.client.words import Document, Documents, page_request


class Paging:
    """One listing. `limit`: items wanted, None: all. `done`: there is nothing more to ask for."""

    def __init__(self, op: str, filters: Mapping[str, Any], limit: int | None) -> None:
        self.done = limit is not None and limit <= 0
        self._op = op
        self._filters = filters
        self._left = limit
        self._cursor: str | None = None

    def request(self) -> Document:
        """The one for the next page."""
        return page_request(self._op, self._filters, self._left, self._cursor)

    def take(self, page: Document) -> Documents:
        """The items of the answer."""
        items: Documents = page["items"]
        self._cursor = page.get("next_cursor")
        if self._left is not None:
            self._left -= len(items)
        self.done = self._cursor is None or (self._left is not None and self._left <= 0)
        return items
