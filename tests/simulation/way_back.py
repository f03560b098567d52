"""What do the carriers of a world say afterwards, and who is told what happened?

Drawn from dice of their own, so that a world without receipts is the same as ever. A provider reports by our id and the
attempt, by its own id only, or never. It repeats what was not answered 200, whatever becomes of the daemon. Tenants may
have an application that is told; it fails now and then, and what it hears is kept even if the daemon never learns so.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from smsd.core.callback import CallbackRules
from smsd.engine.callout import Reply

if TYPE_CHECKING:
    from tests.simulation.history import Call

URL = "https://{}.example/told"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

WORDS = ("queued", "sent", "undelivered", "delivered")
"""A greater word comes later; as smsd numbers them."""

PLANS: tuple[tuple[tuple[str, ...], str, int], ...] = (
    (("queued", "sent", "delivered"), "", 40),
    (("sent",), "", 10),
    ((), "", 5),
    (("sent", "undelivered"), "D1", 12),
    (("queued", "undelivered"), "D2", 15),
    (("undelivered", "delivered"), "D2", 8),
    (("undelivered", "delivered"), "D1", 8),
    (("undelivered",), "D3", 3),
    (("undelivered",), "D4", 1),
)
"""(what the receipts of a call say, their code, weight). D1: final, D2: sent again, D3: suppresses, D4: halts."""


@dataclass(slots=True)
class Report:
    """One receipt, as the carrier sent it."""

    call: Call
    word: str
    code: str
    answered_us: int | None = None
    """True time at which it was first answered 200."""


@dataclass(slots=True)
class Told:
    """One callback, as the application heard it."""

    id: str
    body: str
    at_us: int


@dataclass(frozen=True, slots=True)
class Back:
    """What comes back in a world."""

    modes: Mapping[str, str] = field(default_factory=dict)
    """By provider: "marked" (its receipts name our id and attempt) or "id" (only its own); missing: it sends none."""
    tenants: tuple[str, ...] = ()
    """Those with an application."""

    @property
    def rules(self) -> CallbackRules:
        """The configuration of callbacks."""
        return CallbackRules(urls={name: URL.format(name) for name in self.tenants}, secret=(SECRET,))


SILENT = Back()


def draw(random: Random, providers: list[str]) -> Back:
    """In every other world something comes back."""
    if random.random() < 0.5:
        return SILENT
    modes = {name: random.choice(["marked", "marked", "id", ""]) for name in providers}
    tenants = random.choice([(), ("shop",), ("shop", "bank")])
    return Back({name: mode for name, mode in modes.items() if mode}, tenants)


def plan(random: Random, call: Call) -> list[tuple[float, Report]]:
    """What is reported of a call, and how many seconds from now: early, late, doubled, shuffled."""
    words, code, _ = random.choices(PLANS, [weight for *_, weight in PLANS])[0]
    spans = [(0.0, 0.3), (0.0, 3.0), (0.0, 60.0), (60.0, 600.0)]
    return [
        (random.uniform(*random.choice(spans)), Report(call, word, code if word == "undelivered" else ""))
        for word in words
        for _ in range(random.choice([1, 1, 2]))
    ]


def request_of(report: Report) -> bytes:
    """The body of its request."""
    call = report.call
    return json.dumps([WORDS.index(report.word), call.pmid, call.id, call.attempt, report.code or None]).encode()


class Application:
    """Every tenant's, on no socket. `well`: from now on nothing fails."""

    def __init__(self, random: Random, now_us: Callable[[], int]) -> None:
        self.told: list[Told] = []
        self.well = False
        self._random = random
        self._now_us = now_us
        self._down_until_us = 0

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """How a call goes. What was heard counts, also if nobody learns of it."""
        random = self._random
        if self.well:
            return self._hear(headers, body, Reply(204))
        await asyncio.sleep(random.uniform(0.001, 0.4))
        if random.random() < 0.02:
            self._down_until_us = self._now_us() + random.choice([5, 60]) * 1_000_000
        if self._now_us() < self._down_until_us:
            return Reply(error="connection refused")
        reply = random.choices([Reply(204), Reply(500), Reply(error="no answer")], [20, 2, 1])[0]
        found = self._hear(headers, body, reply)
        await asyncio.sleep(random.uniform(0.001, 0.4))
        return found

    def _hear(self, headers: Mapping[str, str], body: bytes, reply: Reply) -> Reply:
        self.told.append(Told(headers["webhook-id"], body.decode(), self._now_us()))
        return reply
