"""Who performs a request?

`exchange.Exchange` does, over the network; tests in virtual time pass a scripted carrier. The rest of the engine knows
only this.
"""

from __future__ import annotations

from typing import Protocol

from smsd.engine.exchange import Answer
from smsd.providers.base import Provider, Request


class Carrier(Protocol):
    """Performs requests."""

    async def send(self, provider: Provider, request: Request, timeout_ms: int, draw: float) -> Answer:
        """Perform it. Never raises for what a network or a provider does; cancelling it abandons the exchange."""
        ...
