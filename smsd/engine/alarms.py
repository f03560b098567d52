"""Who is told of an alert beside the log, and what if they cannot be reached?

Each place that is told is a Sounder: it takes a Notice at once, delivers it by itself, and whatever happens to it holds
up nobody else. Here is the one that posts to a webhook, in a form that Slack's incoming webhooks and their imitators
read: {"text": ...} with the same facts in fields of their own beside it. It has a session of its own (`callout`),
apart from the providers' and the callbacks'. The URL is a secret and stands in no log line.

Notices wait in order, at most WAITING of them; one more pushes the oldest out, which is logged. One that the receiver
cannot take now is tried again with growing pauses until it is GIVE_UP_S old; each is tried once at least. What the
receiver refuses in its own words (a 4xx but 408, 425 and 429) is not tried again. When a notice is done with - taken,
given up, or pushed out - that is said; of one that still waits at the end it is not, so the next start tells it again.
So a notice may come twice, when its answer or its end in the outbox is lost: Slack and its like have no key by which a
receiver would know a repetition.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final, Protocol

import structlog

from smsd.clock import Clock
from smsd.core.alerting import Notice
from smsd.core.callee import Network
from smsd.core.units import rfc3339
from smsd.engine.callout import Callout, Reply

log = structlog.get_logger("smsd.alerts")

WAITING: Final = 100
"""Notices that wait for the receiver at most."""

TIMEOUT_MS: Final = 10_000

PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
"""Before each further try; the last one repeats."""

GIVE_UP_S: Final = 600.0

GRACE_S: Final = 2.0
"""At the end, what waits is given so long."""

ANYWHERE: Final = (ip_network("0.0.0.0/0"), ip_network("::/0"))
"""The operator names the receiver, so it may be on a private network."""

_TRY_AGAIN: Final = frozenset({408, 425, 429})


Done = Callable[[Notice], None]
"""Hears that a notice is done with: the place took it, or never will."""


def unheard(notice: Notice) -> None:
    """A Done of one who need not know."""


class Sounder(Protocol):
    """A place where alerts are told."""

    @property
    def answers(self) -> bool:
        """Whether it says when it is done with a notice. One that does not counts as done at once."""
        ...

    def sound(self, notice: Notice) -> None:
        """Take the notice. Returns at once and raises nothing."""
        ...

    def hand_over(self) -> list[Notice]:
        """End at once: what it is not done with, in order, the one under way first. It says of none of them that it is
        done. `close` follows."""
        ...

    async def close(self) -> None:
        """Let what was taken go out, for a short time, and log what did not. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class _Waiting:
    notice: Notice
    taken_us: int


class WebhookSounder:
    """Posts each notice to one URL, in order."""

    answers = True

    def __init__(
        self,
        url: str,
        source: str,
        clock: Clock,
        callout: Callable[[Sequence[Network]], Callout] = Callout,
        done: Done = unheard,
    ) -> None:
        """`source`: what this smsd is called."""
        self._url = url
        self._source = source
        self._clock = clock
        self._callout = callout(ANYWHERE)
        self._done = done
        self._waiting: deque[_Waiting] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._closing = False

    def sound(self, notice: Notice) -> None:
        """See Sounder."""
        if self._closing:
            log.error("an alert came after the end of the webhook's line; it is not told there", alert=notice.name)
            return
        if len(self._waiting) >= WAITING:
            dropped = self._waiting.popleft().notice
            log.error("too many alerts wait for the webhook; the oldest is not told", alert=dropped.name)
            self._done(dropped)
        self._waiting.append(_Waiting(notice, self._clock.boot()))
        if self._worker is None:
            self._begin()

    def _begin(self) -> None:
        self._worker = asyncio.get_running_loop().create_task(self._work(), name="alerts webhook")
        self._worker.add_done_callback(self._ended)

    def hand_over(self) -> list[Notice]:
        """See Sounder."""
        self._closing = True
        if self._worker is not None:
            self._worker.cancel()
        waiting = [each.notice for each in self._waiting]
        self._waiting.clear()
        return waiting

    async def close(self) -> None:
        """See Sounder."""
        self._closing = True
        if self._worker is not None:
            worker = self._worker
            await asyncio.wait([worker], timeout=GRACE_S)
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
        if self._waiting:
            names = [each.notice.name for each in self._waiting]
            log.warning("alerts were not told to the webhook before the end", alerts=len(names), names=names)
            self._waiting.clear()
        await self._callout.close()

    def _ended(self, worker: asyncio.Task[None]) -> None:
        self._worker = None
        if not worker.cancelled() and (error := worker.exception()) is not None:
            log.error("telling alerts to the webhook failed", exc_info=error)
            if self._waiting:
                self._done(self._waiting.popleft().notice)  # what cannot be told holds up no other
        if self._waiting and not self._closing:
            self._begin()  # it came between the worker's end and this

    async def _work(self) -> None:
        """Until nothing waits any more. A notice stays in the line until it is done with."""
        while self._waiting:
            first = self._waiting[0]
            await self._tell(first)
            if self._waiting and self._waiting[0] is first:  # it may have been pushed out
                self._done(self._waiting.popleft().notice)

    async def _tell(self, waiting: _Waiting) -> None:
        body = self.body(waiting.notice)
        tries = 0
        while True:
            reply = await self._callout.call(self._url, {}, body, TIMEOUT_MS)
            if reply.status is not None and 200 <= reply.status < 300:
                return
            pause_s = max(PAUSES_S[min(tries, len(PAUSES_S) - 1)], reply.wait_ms / 1e3)
            tries += 1
            late = (self._clock.boot() - waiting.taken_us) / 1e6 + pause_s > GIVE_UP_S
            if late or _is_refusal(reply):
                why = reply.error or f"HTTP {reply.status}"
                log.error("an alert was not told to the webhook", alert=waiting.notice.name, error=why, tries=tries)
                return
            await asyncio.sleep(pause_s)

    def body(self, notice: Notice) -> bytes:
        """What is posted."""
        mark = "ALERT" if notice.raised else "OK"
        text = f"[{mark}] smsd {self._source}: {notice.text}" + (f" {notice.remedy}" if notice.remedy else "")
        fields = {
            "text": text,
            "name": notice.name,
            "state": notice.state,
            "at": rfc3339(notice.at),
            "source": self._source,
            "category": notice.category,
            "value": notice.value,
            "bound": notice.bound,
            "remedy": notice.remedy,
        }
        return json.dumps(fields).encode()


def _is_refusal(reply: Reply) -> bool:
    """Whether another try would be answered the same."""
    if reply.status is None:
        return reply.refused
    return 300 <= reply.status < 500 and reply.status not in _TRY_AGAIN
