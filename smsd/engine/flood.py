"""How much of what very many hand in at once goes into the next commit?

A campaign's recipients, a batch and a long pipeline of one connection come faster than they can be committed, and one
commit answers all that waits. So a message that comes by itself would wait behind hundreds that nobody waits for one by
one: for the commit they fill, for the one after it, and for their answers. Therefore the outbox is handed only so many
of a flood at a time, far fewer while others have submitted lately; the rest waits here, in its order, floods by turns,
and follows as those before it are answered. What comes by itself is handed over at once. So each has its part of every
commit: neither ever waits for the other to end. Who is a flood is said by the doors; what waits here is bounded by
them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from smsd.core.message import Draft
from smsd.store import AcceptResult, Outbox

Done = Callable[[AcceptResult], None]

MOST: Final = 1_000
"""Of a flood in one commit while nobody else submits: more would not make it quicker."""

BESIDE: Final = 48
"""While others submit: some 5 ms of commit and answers. A flood then keeps about half of its pace."""

LATELY_S: Final = 1.0
"""After the last message that came by itself it is taken that others will follow."""


class Flood:
    """Hands acceptances to the outbox. Belongs to the event loop."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._waiting: dict[object, deque[tuple[Draft, Done]]] = {}
        """By who hands them in; nobody stays here with nothing."""
        self._turns: deque[object] = deque()
        """Who comes next: a batch of two does not wait for a campaign."""
        self._handed = 0
        """Of all floods, not answered yet."""
        self._handing = False
        self._beside_until = 0.0
        """Until then (the loop's time, s) others are expected."""

    def one(self, draft: Draft, done: Done) -> None:
        """A message that comes by itself: it is in the next commit."""
        self._beside_until = asyncio.get_running_loop().time() + LATELY_S
        self._outbox.accept(draft, done)

    def one_of_many(self, draft: Draft, done: Done, of: object) -> None:
        """One of the flood that is called `of`: behind those of the same that came before it, by turns with others."""
        line = self._waiting.get(of)
        if line is None:
            line = self._waiting[of] = deque()
            self._turns.append(of)
        line.append((draft, done))
        self._go_on()

    def _go_on(self) -> None:
        """Hand over as many as there is room for. An outbox that is closed answers at once: that must not nest."""
        if self._handing or not self._turns:
            return
        beside = asyncio.get_running_loop().time() < self._beside_until
        most = BESIDE if beside else MOST
        self._handing = True
        try:
            while self._turns and self._handed < most:
                draft, done = self._next()
                self._handed += 1
                self._outbox.accept(draft, partial(self._answered, done))
        finally:
            self._handing = False

    def _next(self) -> tuple[Draft, Done]:
        of = self._turns.popleft()
        line = self._waiting[of]
        found = line.popleft()
        if line:
            self._turns.append(of)
        else:
            del self._waiting[of]
        return found

    def _answered(self, done: Done, result: AcceptResult) -> None:
        self._handed -= 1
        try:
            done(result)
        finally:
            self._go_on()
