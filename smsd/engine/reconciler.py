"""What became of the messages whose outcome is not known?

An uncertain message stays `processing` until this settles it: the provider is asked whether it has the message
(`inquiry`), and only where it cannot be asked, or cannot tell for sure, the policy decides (`concluding`). Two look-ups
are in flight per provider at most. A provider that knows an idempotency key again is not asked but sent the same bytes
once more (`repeats`): that waits as long as its campaign is held up. Of a cancelled campaign nothing is sent again:
what cannot be cleared up fails. The messages stay in the outbox, earliest look-up first; a bounded number is held.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from smsd.clock import Clock
from smsd.core.account import ProviderRules
from smsd.core.campaign import Campaign, gate
from smsd.core.doubt import KEY_KEPT_MS, WITHDRAWN, Finding, held, postpone
from smsd.core.message import Instant, Message
from smsd.core.settlement import Settlement
from smsd.engine.askable import Askable
from smsd.engine.carrier import Carrier
from smsd.engine.concluding import Concluding
from smsd.engine.fleet import LOOKUPS_PER_PROVIDER
from smsd.engine.inquiry import Inquiry
from smsd.engine.lane import Lane
from smsd.engine.repeats import Repeats, Resolved
from smsd.engine.settler import RetryBook, Settler
from smsd.store import Records, StoreError
from smsd.store.operators import Campaigns

log = structlog.get_logger("smsd.reconciler")

AT_ONCE = 100
"""Uncertain messages of one provider held in memory at most, so that a sick one blocks no other."""

AGAIN_MS = 1_000
"""After a look-up: are there more, or was it not written down?"""

HELD_UP_MS = 60_000
"""Between two looks at whether a paused campaign was resumed."""

LOOK_AGAIN_S = 30.0

MISSED_MOST = 10_000
"""Messages that a look-up did not find that are remembered; at so many those are forgotten that may be asked again."""


class Reconciler:
    """Looks uncertain messages up and settles them."""

    def __init__(
        self,
        records: Records,
        campaigns: Campaigns,
        lanes: Mapping[str, Lane],
        askable: Askable,
        carrier: Carrier,
        settler: Settler,
        retries: RetryBook,
        clock: Clock,
        dice: Callable[[], float],
    ) -> None:
        self._records = records
        self._campaigns = campaigns
        self._moves = 0
        """How often something else was said about a campaign."""
        self._askable = askable
        self._settler = settler
        self._retries = retries
        self._clock = clock
        self.inquiry = Inquiry(records, lanes, askable, carrier, clock, dice)
        self._concluding = Concluding(retries, clock, dice)
        self._repeats = Repeats(
            lanes, askable, carrier, retries, self._concluding, clock, dice, self.inquiry.unanswered
        )
        self._next: Instant | None = None
        self._kick = asyncio.Event()
        self._turns: dict[str, asyncio.Semaphore] = {}
        """By provider; bounded by the names ever configured."""
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._ended: set[int] = set()
        """Settled while the outbox was being read: what it shows of them is stale."""
        self._asked: Counter[str] = Counter()
        """How many of them are each provider's."""
        self._missed: dict[int, int] = {}
        """Messages that a look-up did not find, and when that was (boot time, us): whatever is done to the wall clock,
        the next one comes no sooner than it should."""

    def doubt(self, due: Instant) -> None:
        """A message became, or stays, uncertain; it is to be looked up at `due`."""
        if self._next is None or due < self._next:
            self._next = due
            self._kick.set()

    def campaign_changed(self) -> None:
        """A campaign may be held up now, or may not be any more."""
        self._moves += 1

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
        self._ended.clear()
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
            fresh = message.seq not in self._busy and message.seq not in self._ended
            if fresh and self._asked[provider] < AT_ONCE:
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
            found = await self._resolve(message)
            settlement = self._retries.paced(message, found.settlement, self._clock.wall())
            if await self._settler.write(found.lane, settlement, found.record, found.heard):
                self._settler.apply(message, settlement, looked_up=True)
        except StoreError as error:
            log.error("a look-up could not be written down; asking again", id=message.id, error=str(error))
        except Exception:
            log.exception("a look-up met a fault of the daemon; asking again", id=message.id)
        finally:
            del self._busy[message.seq]
            self._ended.add(message.seq)
            self._asked[message.provider or ""] -= 1
            self.inquiry.forget(message)
            self.doubt(self._clock.wall() + AGAIN_MS)

    async def _resolve(self, message: Message) -> Resolved:
        setting = self._askable.for_message(message)
        now = self._clock.wall()
        rules = self._askable.gone if setting is None else setting.rules
        moves = self._moves
        campaign = await self._campaign_of(message)
        if campaign is not None and campaign.cancelled_at is not None:
            rules = replace(rules, on_uncertain=WITHDRAWN)
        if setting is None or setting.provider.lookup == "none":
            return Resolved(self._concluding.settle(message, Finding.UNASKABLE, "none", rules))
        quality = setting.provider.lookup
        since = min(now, message.uncertain_since or now)
        earliest = since + rules.reconcile_after_ms
        if message.lookups == 0 and now < earliest:
            return Resolved(postpone(message, earliest, now))
        if message.lookups and (left_ms := self._too_soon(message, rules)) > 0:
            return Resolved(postpone(message, now + left_ms, now))
        async with self._turns.setdefault(setting.name, asyncio.Semaphore(LOOKUPS_PER_PROVIDER)):
            if quality == "key":
                if campaign is not None and (waits := self._held_up(message, campaign, rules)) is not None:
                    return Resolved(waits)
                return await self._repeats.send(
                    setting, message, lambda: message.campaign is not None and moves != self._moves
                )
            looked = await self.inquiry.ask(setting, message)
        if looked.finding is Finding.ABSENT:
            self._miss(message, rules)
        return Resolved(self._concluding.settle(message, looked.finding, quality, rules, looked.id, looked.detail))

    async def _campaign_of(self, message: Message) -> Campaign | None:
        if message.campaign is None:
            return None
        found = await self._campaigns.find(message.campaign, message.tenant)
        return found[0] if found else None

    def _held_up(self, message: Message, campaign: Campaign, rules: ProviderRules) -> Settlement | None:
        """What becomes of it instead of a call by its key; None: its campaign may go. As long as the provider knows the
        key it waits; then, or at its end of life, it is settled like one that cannot be asked."""
        now = self._clock.wall()
        if campaign.cancelled_at is not None:
            return held(message, "its campaign was cancelled before that was known; it is not sent again", now)
        found = gate(campaign, now)
        if found is None:
            return None
        last = min(message.expires_at, min(now, message.uncertain_since or now) + KEY_KEPT_MS)
        if now >= last:
            return self._concluding.settle(message, Finding.UNASKABLE, "key", rules)
        return postpone(message, min(last, found.until or now + HELD_UP_MS), now)

    def _too_soon(self, message: Message, rules: ProviderRules) -> int:
        """Milliseconds that must pass before it is looked up again."""
        missed_us = self._missed.get(message.seq)
        return 0 if missed_us is None else rules.reconcile_again_ms - (self._clock.boot() - missed_us) // 1_000

    def _miss(self, message: Message, rules: ProviderRules) -> None:
        now = self._clock.boot()
        if len(self._missed) >= MISSED_MOST:
            past = now - rules.reconcile_again_ms * 1_000
            self._missed = {seq: at for seq, at in self._missed.items() if at > past}
        self._missed[message.seq] = now
