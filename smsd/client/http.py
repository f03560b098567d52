"""Which requests does the daemon get over HTTP, and where?

Each operation goes to its route (`routes`), and the answer comes back in the form it has on the socket (`answers`), so
that nothing above knows the difference. Redirects are not followed and proxies of the environment are not asked: a
message and a token go to the address given, or nowhere.

This module is imported only when a URL is given: http.client and ssl cost more than `smsd send` takes in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from smsd.client.batches import BATCH, Batches
from smsd.client.errors import misuse
from smsd.client.http_link import HttpLink, Said
from smsd.client.reach import Peer
from smsd.client.routes import target
from smsd.client.words import Document, encode, submission_of

BATCH_LINES: Final = 500
"""Submissions of send_many in one request: some 100 KiB, and what a lost connection leaves in doubt."""


class HttpDoor:
    """The daemon's address. The token is in no text this makes, neither repr nor errors."""

    sends_and_waits = True
    window = BATCH_LINES
    refill = 0

    def __init__(self, url: str, token: str, source: str) -> None:
        """`source`: where the URL comes from, for errors. Raises SubmissionInvalid."""
        parts = _checked(url, source)
        self._peer = Peer(parts.hostname or "", parts.port, parts.scheme == "https")
        self._base = parts.path.rstrip("/")
        self._name = url.rstrip("/")
        self._headers = {"Accept": "application/json", "User-Agent": "smsd-client"}
        if token:
            if not token.isascii() or not token.isprintable() or " " in token:
                raise misuse("token", "`token` holds blanks or characters that no token has; give it as it was made.")
            self._headers["Authorization"] = f"Bearer {token}"

    def __repr__(self) -> str:
        return f"HttpDoor({self._name!r})"

    @property
    def name(self) -> str:
        return self._name

    def prepare(self, request: Document, ref: int) -> Said:
        """`ref` is for doors where answers could be mixed up; here each belongs to its request."""
        found = target(request)
        if found.body is None:
            accept = {} if found.route.proof else {"Accept": "text/plain"}
            return Said(found.route, self._base + found.path, None, {**self._headers, **accept})
        headers = {**self._headers, "Content-Type": "application/json"}
        return Said(found.route, self._base + found.path, encode(found.body), headers)

    def connect(self, deadline: float) -> HttpLink:
        return HttpLink(self._peer, deadline)

    def item(self, item: Mapping[str, Any], index: int) -> bytes:
        """The line for one item of send_many; its place in the batch is its index. Raises SubmissionInvalid."""
        request = submission_of(item)
        del request["op"]
        return encode(request)

    def pipe(self, deadline: float) -> Batches:
        """For send_many: batches one after the other."""
        return Batches(self._base + BATCH.path, self._headers, self.connect, deadline)


def _checked(url: str, source: str) -> SplitResult:
    """The URL in parts. What is wrong with it is told without it: it may hold a password."""
    try:
        parts = urlsplit(url)
        valid = parts.port != 0 and url.isascii() and url.isprintable() and " " not in url
    except ValueError:
        raise misuse(source, f"`{source}` is not a URL; write http://HOST:PORT or https://HOST.") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not valid:
        text = f"`{source}` is no http or https URL; write http://HOST:PORT or https://HOST (a socket is `socket`)."
        raise misuse(source, text)
    if parts.username is not None or parts.password is not None:
        raise misuse(source, f"`{source}` holds a user or a password; leave them out and give the token in SMSD_TOKEN.")
    if parts.query or parts.fragment:
        raise misuse(
            source, f"`{source}` has a query or a fragment; end it after the host, the port and the base path."
        )
    return parts
