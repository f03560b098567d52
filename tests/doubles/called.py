"""An application without a socket, for engines in virtual time.

Everything of the callbacks' queue is the product's own but the call itself: an engine made by `telling` hands each call
to a function that says how the application answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import cast

from smsd.core.callee import Network
from smsd.engine.callbacks import Callbacks
from smsd.engine.callout import Callout, Reply
from smsd.engine.engine import Engine

Application = Callable[[str, Mapping[str, str], bytes], Awaitable[Reply]]
"""(URL, headers, body) -> how the call went."""


class Called(Callout):
    """Calls the application, whatever address it has."""

    def __init__(self, application: Application) -> None:
        super().__init__()
        self._application = application

    async def call(self, url: str, headers: Mapping[str, str], body: bytes, timeout_ms: int, tenant: str = "") -> Reply:
        return await self._application(url, headers, body)


def telling(engine: type[Engine], application: Application) -> type[Engine]:
    """The engine, but that its callbacks go to this application."""

    def compose(self: Engine) -> None:
        engine._compose_way_back(self)

        def made(allowed: Sequence[Network]) -> Callout:
            return Called(application)

        way_back = self.way_back
        callbacks = way_back.callbacks = Callbacks(
            self._store, self._store, self._bus, self._clock, self._dice, self.meters.callback, made
        )
        callbacks.rule(self._plan.rules.callbacks)
        self._store.notify(way_back._received, callbacks.wake)

    return cast(type[Engine], type(engine.__name__, (engine,), {"_compose_way_back": compose}))
