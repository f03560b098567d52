"""Which of the daemon's doors does a client go to, and how is it spoken to there?

The arguments decide, else the environment: a socket, or a URL with a token. Requests for the socket are made here; what
belongs to HTTP is imported only when a URL is given, because `smsd send` over the socket stands in shell loops and
http.client and ssl would double what it takes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from smsd.client.errors import misuse
from smsd.client.link import Link
from smsd.client.place import socket_path
from smsd.client.words import WINDOW, Document, Line, encode, submission_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from smsd.client.http import HttpDoor
    from smsd.client.many import Pipe


class SocketDoor:
    """The daemon's local socket. Its path is looked up for every connection: it may be set later than the client is
    made."""

    sends_and_waits = False
    window = WINDOW
    """Submissions of send_many under way."""
    refill = WINDOW // 2
    """How many may still be unanswered when more are written."""

    def __init__(self, given: str | os.PathLike[str] | None) -> None:
        self._given = given

    @property
    def name(self) -> str:
        return socket_path(self._given)

    def prepare(self, request: Document, ref: int) -> Line:
        return Line(encode({**request, "ref": ref}), ref)

    def connect(self, deadline: float) -> Link:
        return Link(self.name, deadline)

    def item(self, item: Mapping[str, Any], index: int) -> bytes:
        """The line for one item of send_many. Raises SubmissionInvalid."""
        return encode({**submission_of(item), "ref": index})

    def pipe(self, deadline: float) -> Pipe:
        """A connection for send_many."""
        return self.connect(deadline)


def find(socket: str | os.PathLike[str] | None, url: str | None, token: str | None) -> SocketDoor | HttpDoor:
    """The door that the arguments name, else $SMSD_URL (with $SMSD_TOKEN), else the socket (place.socket_path).

    Raises SubmissionInvalid, never with the token in it, for arguments that contradict each other or are no address.
    """
    if socket is not None:
        if url is not None or token is not None:
            what = "url" if url is not None else "token"
            text = (
                "`socket` and `url` name two doors of the daemon" if url is not None else "`token` belongs to a `url`"
            )
            raise misuse(what, f"{text}; give one of them: the socket needs no token.")
        return SocketDoor(socket)
    source = "url"
    if url is None:
        source, url = "SMSD_URL", os.environ.get("SMSD_URL")
    if not url:
        if source == "url":
            raise misuse("url", "`url` is empty; give the daemon's address, such as http://127.0.0.1:7670.")
        if token is not None:
            raise misuse("token", "`token` belongs to a URL; give `url` too, or set SMSD_URL.")
        return SocketDoor(None)
    from smsd.client.http import HttpDoor

    return HttpDoor(url, os.environ.get("SMSD_TOKEN", "") if token is None else token, source)
