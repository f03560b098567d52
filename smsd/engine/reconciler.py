"""What became of the messages whose outcome is not known?

An uncertain message stays `processing` until this settles it: the provider is asked whether it has the message, and
only where it cannot be asked, or cannot tell for sure, the policy decides. Look-ups cost no attempt and no rate; two
are in flight per provider at most. The messages stay in the outbox, earliest look-up first; a bounded number is held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from smsd.clock import Clock
from smsd.core.account import ProviderRules
from smsd.core.message import Instant, Message
from smsd.core.pacing import Pace
from smsd.core.policy import Finding, Settlement, postpone, resolve
from smsd.engine.carrier import Carrier
from smsd.engine.lane import Lane
from smsd.engine.settler import RetryBook, Settler
from smsd.providers.base import Absent, Call, Found, Response, Unanswered
from smsd.providers.base import Finding as Report
from smsd.store import Records, StoreError

log = structlog.get_logger("smsd.reconciler")

AT_ONCE = 100
"""Uncertain messages held in memory at most."""

LOOKUPS_PER_PROVIDER = 2

LOOK_AGAIN_S = 30.0

GONE = ProviderRules(pace=Pace())
"""The rules for a message whose provider is no longer configured: it cannot be asked, the default policy decides."""


class Reconciler:
    """Looks uncertain messages up and settles them."""

    def __init__(
        self,
        records: Records,
        lanes: Mapping[str, Lane],
        carrier: Carrier,
        settler: Settler,
        retries: RetryBook,
        clock: Clock,
        dice: Callable[[], float],
    ) -> None:
        self._records = records
        self._lanes = lanes
        self._carrier = carrier
        self._settler = settler
        self._retries = retries
        self._clock = clock
        self._dice = dice
        self._next: Instant | None = None
        self._kick = asyncio.Event()
        self._turns = {name: asyncio.Semaphore(LOOKUPS_PER_PROVIDER) for name in lanes}
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._promised: dict[tuple[str, str], int] = {}
        """Provider ids found by a look-up that is being written down, and for which message: never given twice."""

    def doubt(self, due: Instant) -> None:
        """A message became, or stays, uncertain; it is to be looked up at `due`."""
        if self._next is None or due < self._next:
            self._next = due
            self._kick.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._kick.clear()
                now = self._clock.wall()
                if self._next is not None and self._next <= now and len(self._busy) < AT_ONCE:
                    await self._look(now)
                await self._rest()
        finally:
            for task in self._busy.values():
                task.cancel()

    async def _look(self, now: Instant) -> None:
        try:
            found, self._next = await self._records.uncertain(now, AT_ONCE + len(self._busy))
        except StoreError as error:
            log.error("the outbox could not be read; asking again", error=str(error))
            self._next = now + 1_000
            return
        for message in found:
            if message.seq not in self._busy and len(self._busy) < AT_ONCE:
                task = asyncio.get_running_loop().create_task(self._settle(message))
                self._busy[message.seq] = task

    async def _rest(self) -> None:
        wait = LOOK_AGAIN_S
        if self._next is not None and len(self._busy) < AT_ONCE:
            wait = min(wait, max(0.0, (self._next - self._clock.wall()) / 1e3))
        timer = asyncio.get_running_loop().call_later(wait, self._kick.set)
        try:
            await self._kick.wait()
        finally:
            timer.cancel()

    async def _settle(self, message: Message) -> None:
        try:
            settlement = await self._resolve(message)
            if await self._settler.write(None, settlement, None):
                self._settler.apply(message, settlement, looked_up=True)
        except StoreError as error:
            log.error("a look-up could not be written down; asking again", id=message.id, error=str(error))
        finally:
            del self._busy[message.seq]
            self._promised = {key: seq for key, seq in self._promised.items() if seq != message.seq}
            self._next = min(self._next or self._clock.wall(), self._clock.wall() + 1_000)
            self._kick.set()

    async def _resolve(self, message: Message) -> Settlement:
        lane = self._lanes.get(message.provider or "")
        retry = self._retries.rules_for(message)
        if lane is None or lane.provider.lookup == "none":
            rules = lane.rules if lane is not None else GONE
            return resolve(message, Finding.UNASKABLE, "none", rules, retry, self._clock.wall(), self._dice())
        earliest = (message.uncertain_since or 0) + lane.rules.reconcile_after_ms
        if message.lookups == 0 and self._clock.wall() < earliest:
            return postpone(message, earliest, self._clock.wall())
        async with self._turns[lane.name]:
            finding, provider_message_id = await self._ask(lane, message)
        now = self._clock.wall()
        quality = lane.provider.lookup
        return resolve(
            message, finding, quality, lane.rules, retry, now, self._dice(), provider_message_id=provider_message_id
        )

    async def _ask(self, lane: Lane, message: Message) -> tuple[Finding, str | None]:
        call = Call(
            id=message.id,
            attempt=message.attempt,
            recipient=message.recipient,
            sender=message.sender or "",
            text=message.text,
            encoding=message.encoding,
            segments=message.segments,
            expires_at=message.expires_at,
            now=message.claimed_at or message.created_at,
        )
        try:
            answer = await self._carrier.send(
                lane.provider, lane.provider.ask(call), lane.rules.timeout_ms, self._dice()
            )
            report: Report = (
                lane.provider.find(answer.outcome, call)
                if isinstance(answer.outcome, Response)
                else Unanswered(answer.outcome.detail)
            )
        except Exception:
            log.exception("the adapter failed to look a message up", id=message.id)
            report = Unanswered("the adapter failed; see the log")
        match report:
            case Found(ids):
                return await self._bind(lane, message, ids)
            case Absent():
                return Finding.ABSENT, None
            case Unanswered():
                return Finding.UNANSWERED, None

    async def _bind(self, lane: Lane, message: Message, ids: tuple[str, ...]) -> tuple[Finding, str | None]:
        """The first candidate that is not another message's: equal texts to one number look alike to the provider."""
        if lane.calls_to[message.recipient]:
            return Finding.UNANSWERED, None
        taken = await self._records.bound(lane.name, ids)
        for id in ids:
            if id not in taken and (lane.name, id) not in self._promised:
                self._promised[lane.name, id] = message.seq
                return Finding.FOUND, id
        return Finding.ABSENT, None
