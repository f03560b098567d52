"""How does another program hand smsd a message and ask what became of it?

Over the daemon's local socket (one JSON object a line each way) or over HTTP: methods, answers and errors are the same.
Answers are the plain dictionaries of the daemon; the client knows no field's meaning and refuses to know the daemon's
inside. It uses the standard library only, so that an application takes on no dependency.

    with smsd.client.Client() as client:
        print(client.send("+15550100123", "Your code is 2417", ttl="10m")["id"])

    smsd.client.Client(url="https://sms.example.org", token=TOKEN)

Whether a message was taken must never be guessed. A request that surely did not reach the daemon is repeated once on a
new connection; one that may have is repeated only when that cannot do harm: reads, pause, resume and suppress, and a
send with an `idempotency_key`. Everything else raises QueueUnavailable with `maybe_taken`.

    sync.py       Client                                    aio.py         AsyncClient
    asking.py     at once, aside, page after page           aio_asking.py  the same
    channel.py    a connection below Client, and spare ones  aio_socket.py  those below AsyncClient, pipelined
    many.py       send_many                                 aio_many.py    the same
    paging.py     listings                                  aio_threads.py  HTTP for AsyncClient, in threads
    doors.py      socket or URL; the socket's requests      http.py        HTTP's requests
    link.py       bytes over the socket                     http_link.py, reach.py   bytes over HTTP, TCP and TLS
    place.py      where the socket is                       routes.py, answers.py, batches.py   HTTP's paths and bodies
    words.py      requests, answers and their bounds        following.py, copying.py   events() and backup()
    errors.py     what is raised, and when                  loss.py, tries.py   what went wrong, and whether to repeat

AsyncClient and HTTP are imported when they are asked for: asyncio alone takes two thirds of what `smsd send` takes in
all (39 of 57 ms of processor time), http.client as much, and that stands in shell loops.
"""

from typing import TYPE_CHECKING

from smsd.client.errors import (
    KeyConflict,
    LimitExceeded,
    NotAllowed,
    NotFound,
    QueueUnavailable,
    SmsdError,
    SubmissionInvalid,
    WrongState,
)
from smsd.client.place import socket_path
from smsd.client.sync import Client
from smsd.client.words import LINE_BYTES, TIMEOUT, WINDOW, Document, submission

__all__ = [
    "LINE_BYTES",
    "TIMEOUT",
    "WINDOW",
    "AsyncClient",
    "Client",
    "Document",
    "KeyConflict",
    "LimitExceeded",
    "NotAllowed",
    "NotFound",
    "QueueUnavailable",
    "SmsdError",
    "SubmissionInvalid",
    "WrongState",
    "socket_path",
    "submission",
]

if TYPE_CHECKING:
    from smsd.client.aio import AsyncClient
else:

    def __getattr__(name: str) -> object:
        """PEP 562. Hidden from type checkers, which would otherwise take every name for one of this package."""
        if name != "AsyncClient":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from smsd.client.aio import AsyncClient

        return AsyncClient
