"""A carrier for virtual time: no sockets, no threads, only the loop's own sleep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from smsd.engine.exchange import Answer
from smsd.providers.base import Local, NoAnswer, Outcome, Provider, Request

Script = Callable[[Request, int], "Outcome | tuple[Outcome, int]"]
"""(request, how many came before it) -> the outcome, or the outcome and its latency in ms."""


@dataclass(slots=True)
class ScriptedExchange:
    """Same `send` as Exchange. Without a script it can serve Local providers (sandbox, console) only.

    `requests` keeps all requests in order of their start; `in_flight` and `most_in_flight` count those under way.
    """

    script: Script | None = None
    latency_ms: int = 0
    """For outcomes whose script names no latency."""
    left_after_ms: int = 0
    """How long after its start a request leaves, at the latest when it ends: it waits for a connection."""
    requests: list[Request] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def start(self) -> None:
        """Nothing to open; here because Exchange has it."""

    async def close(self) -> None:
        """Nothing to close; here because Exchange has it."""

    async def send(self, provider: Provider, request: Request, timeout_ms: int, draw: float) -> Answer:
        """The script's outcome after its latency; NoAnswer at the timeout when that is earlier."""
        n = len(self.requests)
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            outcome, latency_ms = self._outcome(provider, request, n, draw)
            if latency_ms > timeout_ms:
                outcome, latency_ms = NoAnswer(f"no answer within {timeout_ms} ms"), timeout_ms
            await asyncio.sleep(latency_ms / 1_000)
        finally:
            self.in_flight -= 1
        return Answer(outcome, latency_ms, request, min(self.left_after_ms, latency_ms) * 1_000)

    def _outcome(self, provider: Provider, request: Request, n: int, draw: float) -> tuple[Outcome, int]:
        if self.script is not None:
            scripted = self.script(request, n)
            return scripted if isinstance(scripted, tuple) else (scripted, self.latency_ms)
        if isinstance(provider, Local):
            performance = provider.perform(request, draw)
            return performance.outcome, performance.latency_ms
        raise AssertionError(f"{provider.type} needs a script")
