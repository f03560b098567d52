"""What went wrong on the way, and may the daemon have acted all the same?

A lost connection, time that is up, an answer that is not smsd's: first as what a connection sees (LostError, LateError,
StrangerError, which no caller of the client meets), then as the SmsdError that tells a person. `name` is where the
daemon was looked for, a socket's path or a URL. `doubtful` decides between `unreachable` and `outcome_unknown`; who
knows whether there is doubt is `tries`, not this module. `op` is the operation, where one request was lost: what to do
about an unknown outcome depends on it.
"""

from __future__ import annotations

from typing import Final

from smsd.client.errors import QueueUnavailable, SmsdError, remedy_of

_GATEWAY: Final = {502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout"}
"""What a proxy answers when it is the daemon that cannot be reached (RFC 9110, 15.6.3 to 15.6.5)."""


class LostError(Exception):
    """The connection ended. `written`: the whole request had left, so the daemon may have acted on it."""

    def __init__(self, written: bool) -> None:
        super().__init__(written)
        self.written = written


class LateError(Exception):
    """The time given is up. `written` as in LostError."""

    def __init__(self, written: bool) -> None:
        super().__init__(written)
        self.written = written


class StrangerError(Exception):
    """Something answered that does not speak smsd's protocol.

    Over HTTP: `status` of its answer, `location` it sends elsewhere to, `retry_after` in seconds.
    """

    def __init__(self, status: int | None = None, location: str = "", retry_after: float | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.location = location
        self.retry_after = retry_after


def not_smsd(name: str, stranger: StrangerError | None = None, doubtful: bool = False, op: str = "") -> SmsdError:
    """Something else answers there. `doubtful`: it may be a proxy that passed the request on."""
    status = stranger.status if stranger is not None else None
    if stranger is None or status is None:
        place = "SMSD_URL at smsd's own address" if "://" in name else "SMSD_SOCKET at smsd's own socket"
        return SmsdError("malformed", f"What answers on {name} is not smsd.", remedy=f"Point {place}.")
    if 300 <= status < 400:
        message = f"{name} sends its callers elsewhere (HTTP {status}), to {stranger.location or 'no place it names'}."
        return SmsdError(
            "malformed", message, remedy="smsd never does; point SMSD_URL at the address where it answers."
        )
    if status in _GATEWAY:
        message = f"A proxy on the way to {name} answers HTTP {status} {_GATEWAY[status]}."
        return _unreached(message, doubtful, "See whether the daemon runs behind the proxy.", op, stranger.retry_after)
    message = f"What answers on {name} is not smsd: an answer with HTTP status {status} that smsd does not give."
    return SmsdError("malformed", message, remedy="Point SMSD_URL at smsd's own address.")


def connection_lost(name: str, doubtful: bool, op: str = "") -> QueueUnavailable:
    """The connection is gone. `doubtful`: the daemon may have acted on the request."""
    if doubtful:
        message = f"The connection to {name} ended before the answer came; the request may have been taken."
        return QueueUnavailable("outcome_unknown", message, remedy=remedy_of("outcome_unknown", op))
    remedy = "See whether the daemon keeps running: systemctl status smsd."
    return QueueUnavailable("unreachable", f"The connection to {name} ended without an answer.", remedy=remedy)


def time_is_up(name: str, seconds: float, doubtful: bool, op: str = "") -> QueueUnavailable:
    """Time is up. `doubtful`: the daemon may have acted on the request."""
    remedy = "The daemon is overloaded or stopped in its tracks: see its log, or allow more time."
    return _unreached(f"No answer from {name} within {seconds:g} s.", doubtful, remedy, op)


def accepted_all_the_same(id: str, error: SmsdError) -> QueueUnavailable:
    """The message `id` is on the daemon's disk; what became of it could not be asked because of `error`."""
    message = f"The message was accepted as {id} and goes on; what became of it is not known: {error.message}"
    return QueueUnavailable("outcome_unknown", message, remedy=f"Do not send it again; ask for it later: {id}.")


def _unreached(
    message: str, doubtful: bool, remedy: str, op: str, retry_after: float | None = None
) -> QueueUnavailable:
    if doubtful:
        told = f"{message[:-1]}; the request may have been taken."
        remedy_then = remedy_of("outcome_unknown", op)
        return QueueUnavailable("outcome_unknown", told, remedy=remedy_then, retry_after=retry_after)
    return QueueUnavailable("unreachable", message, remedy=remedy, retry_after=retry_after)
