"""What became of the messages whose outcome is not known?

An uncertain message stays `processing` until this settles it: the provider is asked whether it has the message, and
only where it cannot be asked, or cannot tell for sure, the policy decides. Look-ups cost no attempt and no rate; two
are in flight per provider at most. A provider that knows an idempotency key again is not asked but sent the same bytes
once more: that is a call like others and passes its gate, and waits as long as its campaign is held up. Of a cancelled
campaign nothing is sent again: what cannot be cleared up fails. The messages stay in the outbox, earliest look-up
first; a bounded number is held.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from smsd.clock import Clock
from smsd.core.account import ProviderRules
from smsd.core.campaign import Campaign, gate
from smsd.core.codes import CodeRule, overrule, rule_for
from smsd.core.doubt import KEY_KEPT_MS, Finding, held, postpone, resolve
from smsd.core.lifecycle import Event
from smsd.core.message import Attempt, Error, Instant, Message
from smsd.core.policy import decide
from smsd.core.settlement import Settlement
from smsd.core.verdict import Category, Fate, Verdict
from smsd.engine.askable import Askable, carrier_of
from smsd.engine.carrier import Carrier
from smsd.engine.fleet import LOOKUPS_PER_PROVIDER
from smsd.engine.lane import Lane, Setting
from smsd.engine.learning import Heard
from smsd.engine.settler import RetryBook, Settler
from smsd.engine.trace import hiding, without_private
from smsd.providers.base import Absent, Call, Found, Response, Unanswered, read
from smsd.providers.base import Finding as Report
from smsd.store import Records, StoreError
from smsd.store.operators import Campaigns

log = structlog.get_logger("smsd.reconciler")

AT_ONCE = 100
"""Uncertain messages of one provider held in memory at most, so that a sick one blocks no other."""

TOLD_AGAIN_US = 60_000_000

AGAIN_MS = 1_000
"""After a look-up: are there more, or was it not written down?"""

HELD_UP_MS = 60_000
"""Between two looks at whether a paused campaign was resumed."""

LOOK_AGAIN_S = 30.0

MISSED_MOST = 10_000
"""Messages that a look-up did not find that are remembered; at so many those are forgotten that may be asked again."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What asking brought; `detail`: why nothing."""

    finding: Finding
    id: str | None = None
    detail: str = ""


@dataclass(slots=True)
class Resolved:
    """What a look-up came to. The rest is there when a call was made for it."""

    settlement: Settlement
    lane: Lane | None = None
    record: Attempt | None = None
    heard: Heard | None = None


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
        self._ended: set[int] = set()
        """Settled while the outbox was being read: what it shows of them is stale."""
        self._asked: Counter[str] = Counter()
        """How many of them are each provider's."""
        self._told: dict[str, int] = {}
        """When the failing look-ups of a provider are told again (boot time, us); bounded by the names configured."""
        self._missed: dict[int, int] = {}
        """Messages that a look-up did not find, and when that was (boot time, us): whatever is done to the wall clock,
        the next one comes no sooner than it should."""
        self._promised: dict[tuple[tuple[str, str], str], int] = {}
        """Provider ids found by a look-up that is being written down, and for which message: never given twice."""

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
            self._promised = {id: seq for id, seq in self._promised.items() if seq != message.seq}
            self.doubt(self._clock.wall() + AGAIN_MS)

    async def _resolve(self, message: Message) -> Resolved:
        setting = self._askable.for_message(message)
        now = self._clock.wall()
        rules = self._askable.gone if setting is None else setting.rules
        moves = self._moves
        campaign = await self._campaign_of(message)
        if campaign is not None and campaign.cancelled_at is not None:
            rules = replace(rules, on_uncertain="hold")
        if setting is None or setting.provider.lookup == "none":
            return Resolved(self._conclude(message, Finding.UNASKABLE, "none", rules))
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
                return await self._send_again(setting, message, moves)
            looked = await self._ask(setting, message)
        if looked.finding is Finding.ABSENT:
            self._miss(message, rules)
        return Resolved(self._conclude(message, looked.finding, quality, rules, looked.id, looked.detail))

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
            return self._conclude(message, Finding.UNASKABLE, "key", rules)
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

    def _conclude(
        self,
        message: Message,
        finding: Finding,
        quality: str,
        rules: ProviderRules,
        id: str | None = None,
        detail: str = "",
    ) -> Settlement:
        retry, most = self._retries.rules_for(message, rules), self._retries.most_for(message, rules)
        rule = None if message.error is None else _rule_of(message.error, rules)
        if rule is not None:
            retry = replace(retry, delays_ms=rule.delays_ms or retry.delays_ms)
            most = min((n for n in (most, rule.max_attempts) if n is not None), default=None)
        return resolve(
            message,
            finding,
            quality,
            rules,
            retry,
            self._clock.wall(),
            self._dice(),
            provider_message_id=id,
            detail=detail,
            most=most,
        )

    def _tell_unanswered(self, name: str, detail: str) -> None:
        """Once a minute for each provider: hundreds of messages may wait for the same look-ups."""
        now = self._clock.boot()
        if now >= self._told.get(name, now):
            self._told[name] = now + TOLD_AGAIN_US
            log.warning("a look-up of an uncertain message failed; asked again", provider=name, detail=detail)

    async def _send_again(self, setting: Setting, message: Message, moves: int) -> Resolved:
        """The same bytes with the same key: taken before or taken now, it is taken once. `moves`: as when its campaign
        was looked at."""
        lane, rules = self._lanes.get(setting.name), setting.rules
        if self._clock.wall() >= message.expires_at:
            return Resolved(self._conclude(message, Finding.UNASKABLE, "key", rules))
        started = None if lane is None else await lane.gate.enter(message.segments)
        if lane is None or started is None:
            return Resolved(self._conclude(message, Finding.UNANSWERED, "key", rules))
        wall = self._clock.wall()
        if wall >= message.expires_at:
            return Resolved(self._conclude(message, Finding.UNASKABLE, "key", rules))
        if lane.is_being_tried() or (message.campaign is not None and moves != self._moves):
            return Resolved(self._conclude(message, Finding.UNANSWERED, "key", rules))
        # While it waited, a reload may have brought other credentials.
        setting = self._askable.for_message(message) or setting
        self._retries.called(wall)
        lane.begin_call(message, started)
        try:
            request = hiding(setting.provider.prepare(self._call(setting, message)), setting.webhook_secrets)
            answer = await self._carrier.send(setting.provider, request, rules.timeout_ms, self._dice())
            verdict = without_private(read(setting.provider, answer.outcome), answer.request)
        except Exception:
            log.exception("the adapter failed to send a message again by its key", id=message.id)
            return Resolved(self._conclude(message, Finding.UNANSWERED, "key", rules))
        finally:
            lane.end_call(message)
        lane.gate.left(started, started + answer.left_after_us)
        record = Attempt(
            n=message.attempt,
            provider=lane.name,
            started_at=wall,
            started_boot=started + answer.left_after_us,
            cost=lane.pacer.cost(message.segments),
            latency_ms=answer.latency_ms,
            outcome=verdict.fate.value,
            http_status=answer.outcome.status if isinstance(answer.outcome, Response) else None,
            code=verdict.code,
            category=verdict.category,
            provider_message_id=verdict.provider_message_id,
            trace=answer.trace,
        )
        refused = verdict.fate is Fate.REFUSE and not verdict.guessed
        rule = rule_for(verdict, record.http_status, rules.codes)
        if rule is not None:
            verdict = overrule(verdict, rule)
        verdict = lane.weigh(verdict, wall)
        retry = self._retries.rules_for(message, rules)
        settlement = decide(message, verdict, rules, retry, self._clock.wall(), self._dice())
        heard = Heard(verdict, settlement.effect, wall, record.started_boot, message.segments)
        if verdict.fate is Fate.ACCEPTED or settlement.event is not Event.FAIL or not refused:
            settlement = self._of_second_answer(setting, message, verdict)
        elif verdict.category is Category.CONFIG_ERROR:
            # Who may send may have changed since the first time: that it is refused now proves nothing of then.
            why = f"sent again by its key it was refused ({verdict.message})"
            settlement = held(message, why, self._clock.wall())
        settlement.charged = message.charged  # by the attempt that is settled now: it was one
        return Resolved(settlement, lane, record, heard)

    def _of_second_answer(self, setting: Setting, message: Message, verdict: Verdict) -> Settlement:
        """Taken; or neither taken nor refused for a reason that the dialect knows ("that key is under way", perhaps),
        which says nothing of the first time."""
        if verdict.fate is Fate.ACCEPTED:
            settlement = self._conclude(message, Finding.FOUND, "key", setting.rules, verdict.provider_message_id)
            settlement.price = verdict.price
            return settlement
        self._tell_unanswered(setting.name, verdict.message)
        return self._conclude(message, Finding.UNANSWERED, "key", setting.rules, None, verdict.message)

    @staticmethod
    def _call(setting: Setting, message: Message) -> Call:
        return Call(
            id=message.id,
            attempt=message.attempt,
            recipient=message.recipient,
            sender=message.sender or "",
            text=message.text,
            encoding=message.encoding,
            segments=message.segments,
            expires_at=message.expires_at,
            now=message.claimed_at or message.created_at,
            callback_url=setting.status_url,
            asked=message.asked_sender is not None,
        )

    async def _ask(self, setting: Setting, message: Message) -> Looked:
        call = self._call(setting, message)
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
                return Looked(Finding.ABSENT)
            case Unanswered(detail):
                self._tell_unanswered(setting.name, detail)
                return Looked(Finding.UNANSWERED, None, detail)

    async def _bind(self, setting: Setting, message: Message, ids: tuple[str, ...]) -> Looked:
        """The first candidate that is not another call's. Equal texts to one number look alike to the provider: those
        of other messages, and those of this one's other calls (a receipt may have had it sent again)."""
        if any(each.calls_alike(message) for each in self._lanes.values()):
            return Looked(Finding.UNANSWERED, None, "a call with the same text to the same number is under way")
        taken = await self._records.bound(ids, self._askable.strangers(setting))
        if message.attempt > 1:
            others = await self._records.attempts(message.seq)
            taken |= {each.provider_message_id or "" for each in others if each.n != message.attempt}
        carrier = carrier_of(setting.provider)
        for id in ids:
            if id not in taken and (carrier, id) not in self._promised:
                self._promised[carrier, id] = message.seq
                return Looked(Finding.FOUND, id)
        return Looked(Finding.ABSENT)


def _rule_of(error: Error, rules: ProviderRules) -> CodeRule | None:
    """The operator's word on what left the message in doubt, as far as it is about the calls that follow."""
    return rule_for(Verdict(Fate.UNKNOWN, error.category, code=error.code), None, rules.codes)
