"""Is a request that failed on the way said again, and what is its caller told if not?

One value for each request, whatever it travels on. A request that surely did not reach the daemon is repeated once on
a new connection; one that may have, only when that cannot do harm (words.repeatable). Connections are not known here,
only how they fail.
"""

from __future__ import annotations

from smsd.client.errors import SmsdError
from smsd.client.loss import LateError, LostError, StrangerError, connection_lost, not_smsd, time_is_up
from smsd.client.words import Document, acts, repeatable


class Tries:
    """What is known of one request. `name`: where the daemon is; `seconds`: what the call may take, for the message."""

    def __init__(self, request: Document, name: str, seconds: float) -> None:
        self._op = str(request["op"])
        self._name = name
        self._seconds = seconds
        self._acts = acts(request)
        self._repeatable = repeatable(request)
        self._repeated = False
        self._doubtful = False
        """A connection took the request whole and was lost."""

    def failed(self, error: Exception, *, final: bool = False) -> None:
        """Returns when the request is to be said again on a new connection. Otherwise raises what its caller is told.

        `final`: the client is being closed; nothing is said again.
        """
        match error:
            case LostError():
                self._doubtful = self._doubtful or (error.written and self._acts)
                if final or self._repeated or (error.written and not self._repeatable):
                    raise connection_lost(self._name, self._doubtful, self._op) from None
                self._repeated = True
            case LateError():
                doubtful = self._doubtful or (error.written and self._acts)
                raise time_is_up(self._name, self._seconds, doubtful, self._op) from None
            case StrangerError():
                raise not_smsd(self._name, error, self._acts, self._op) from None
            case SmsdError() if self._doubtful:  # it left on the first connection, and there is no second one
                raise connection_lost(self._name, True, self._op) from None
            case _:
                raise error
