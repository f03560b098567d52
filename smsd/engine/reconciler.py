"""What became of the messages whose outcome is not known?

An uncertain message stays `processing` until this settles it: the provider is asked whether it has the message, and
only where it cannot be asked, or cannot tell for sure, the policy decides. Look-ups cost no attempt and no rate; two
are in flight per provider at most. The messages stay in the outbox, earliest look-up first; a bounded number is held.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

import structlog

from smsd.clock import Clock
from smsd.core.message import Instant, Message
from smsd.core.policy import Finding, Settlement, postpone, resolve
from smsd.engine.askable import Askable
from smsd.engine.carrier import Carrier
from smsd.engine.lane import Lane, Setting
from smsd.engine.settler import RetryBook, Settler
from smsd.providers.base import Absent, Call, Found, Response, Unanswered
from smsd.providers.base import Finding as Report
from smsd.store import Records, StoreError

log = structlog.get_logger("smsd.reconciler")

AT_ONCE = 100
"""Uncertain messages of one provider held in memory at most, so that a sick one blocks no other."""

AGAIN_MS = 1_000
"""After a look-up: are there more, or was it not written down?"""

LOOKUPS_PER_PROVIDER = 2

LOOK_AGAIN_S = 30.0


class Reconciler:
    """Looks uncertain messages up and settles them."""

    def __init__(
        self,
        records: Records,
        lanes: Mapping[str, Lane],
        askable: Askable,
        carrier: Carrier,
        settler: Settler,
        retries: RetryBook,
        clock: Clock,
        dice: Callable[[], float],
    ) -> None:
        self._records = records
        self._lanes = lanes
        self._askable = askable
        self._carrier = carrier
        self._settler = settler
        self._retries = retries
        self._clock = clock
        self._dice = dice
        self._next: Instant | None = None
        self._kick = asyncio.Event()
        self._turns: dict[str, asyncio.Semaphore] = {}
        """By provider; bounded by the names ever configured."""
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._asked: Counter[str] = Counter()
        """How many of them are each provider's."""
        self._promised: dict[str, int] = {}
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
                if self._next is not None and self._next <= now:
                    await self._look(now)
                await self._rest()
        finally:
            for task in self._busy.values():
                task.cancel()

    async def _look(self, now: Instant) -> None:
        self._next = None
        crowded = [name for name, count in self._asked.items() if count >= AT_ONCE]
        try:
            found, following = await self._records.uncertain(now, AT_ONCE + len(self._busy), crowded)
        except StoreError as error:
            log.error("the outbox could not be read; asking again", error=str(error))
            self.doubt(now + AGAIN_MS)
            return
        if following is not None:
            self.doubt(following)
        for message in found:
            provider = message.provider or ""
            if message.seq not in self._busy and self._asked[provider] < AT_ONCE:
                self._asked[provider] += 1
                self._busy[message.seq] = asyncio.get_running_loop().create_task(self._settle(message))

    async def _rest(self) -> None:
        wait = LOOK_AGAIN_S
        if self._next is not None:
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
        except Exception:
            log.exception("a look-up met a fault of the daemon; asking again", id=message.id)
        finally:
            del self._busy[message.seq]
            self._asked[message.provider or ""] -= 1
            self._promised = {id: seq for id, seq in self._promised.items() if seq != message.seq}
            self.doubt(self._clock.wall() + AGAIN_MS)

    async def _resolve(self, message: Message) -> Settlement:
        setting = self._askable.for_message(message)
        retry = self._retries.rules_for(message)
        now = self._clock.wall()
        if setting is None or setting.provider.lookup == "none":
            rules = setting.rules if setting is not None else self._askable.gone
            return resolve(message, Finding.UNASKABLE, "none", rules, retry, now, self._dice())
        since = min(now, message.uncertain_since or now)
        earliest = since + setting.rules.reconcile_after_ms
        if message.lookups == 0 and now < earliest:
            return postpone(message, earliest, now)
        async with self._turns.setdefault(setting.name, asyncio.Semaphore(LOOKUPS_PER_PROVIDER)):
            finding, provider_message_id = await self._ask(setting, message)
        now = self._clock.wall()
        quality = setting.provider.lookup
        return resolve(
            message, finding, quality, setting.rules, retry, now, self._dice(), provider_message_id=provider_message_id
        )

    async def _ask(self, setting: Setting, message: Message) -> tuple[Finding, str | None]:
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
                setting.provider, setting.provider.ask(call), setting.rules.timeout_ms, self._dice()
            )
            report: Report = (
                setting.provider.find(answer.outcome, call)
                if isinstance(answer.outcome, Response)
                else Unanswered(answer.outcome.detail)
            )
        except Exception:
            log.exception("the adapter failed to look a message up", id=message.id)
            report = Unanswered("the adapter failed; see the log")
        match report:
            case Found(ids):
                return await self._bind(setting, message, ids)
            case Absent():
                return Finding.ABSENT, None
            case Unanswered():
                return Finding.UNANSWERED, None

    async def _bind(self, setting: Setting, message: Message, ids: tuple[str, ...]) -> tuple[Finding, str | None]:
        """The first candidate that is not another message's: equal texts to one number look alike to the provider."""
        if any(each.calls_alike(message) for each in self._lanes.values()):
            return Finding.UNANSWERED, None
        taken = await self._records.bound(ids)
        for id in ids:
            if id not in taken and id not in self._promised:
                self._promised[id] = message.seq
                return Finding.FOUND, id
        return Finding.ABSENT, None
