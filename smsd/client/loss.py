"""What went wrong on the way, and may the daemon have acted all the same?

A lost connection, time that is up, an answer that is not smsd's: first as what a connection sees (LostError, LateError,
StrangerError, which no caller of the client meets), then as the SmsdError that tells a person. `doubtful` decides
between `unreachable` and `outcome_unknown`; who knows whether there is doubt is the client, not this module.
"""

from __future__ import annotations

from smsd.client.errors import QueueUnavailable, SmsdError


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
    """Something answered that does not speak smsd's protocol."""


def not_smsd(path: str) -> SmsdError:
    """Something else listens on that path."""
    remedy = "Point SMSD_SOCKET at smsd's own socket."
    return SmsdError("malformed", f"What answers on {path} is not smsd.", remedy=remedy)


def connection_lost(path: str, doubtful: bool) -> QueueUnavailable:
    """The connection is gone. `doubtful`: the daemon may have acted on the request."""
    if doubtful:
        message = f"The connection to {path} ended before the answer came; the request may have been taken."
        return QueueUnavailable("outcome_unknown", message)
    remedy = "See whether the daemon keeps running: systemctl status smsd."
    return QueueUnavailable("unreachable", f"The connection to {path} ended without an answer.", remedy=remedy)


def time_is_up(path: str, seconds: float, doubtful: bool) -> QueueUnavailable:
    """Time is up. `doubtful`: the daemon may have acted on the request."""
    if doubtful:
        message = f"No answer from {path} within {seconds:g} s; the request may have been taken."
        return QueueUnavailable("outcome_unknown", message)
    remedy = "The daemon is overloaded or stopped in its tracks: see its log, or allow more time."
    return QueueUnavailable("unreachable", f"No answer from {path} within {seconds:g} s.", remedy=remedy)
