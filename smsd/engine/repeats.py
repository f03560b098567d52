"""What became of a message whose provider knows its key again?

Such a provider is not asked: the same bytes are sent once more with the same key, and taken before or taken now, the
message is taken once. That is a call like others: it passes the gate, is charged and recorded, and the provider's
health learns from it. Whether its campaign may go is for `reconciler` to know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from smsd.clock import Clock
from smsd.core.account import ProviderRules
from smsd.core.codes import overrule, rule_for
from smsd.core.doubt import Finding, held
from smsd.core.lifecycle import Event
from smsd.core.message import Attempt, Instant, Message
from smsd.core.policy import decide
from smsd.core.settlement import Settlement
from smsd.core.verdict import Category, Fate, Verdict
from smsd.engine.askable import Askable, account_of, as_called
from smsd.engine.carrier import Carrier
from smsd.engine.concluding import Concluding
from smsd.engine.exchange import Answer
from smsd.engine.lane import Lane
from smsd.engine.learning import Heard
from smsd.engine.setting import Setting
from smsd.engine.settler import RetryBook
from smsd.engine.trace import hiding, without_private
from smsd.providers.base import Response, read

log = structlog.get_logger("smsd.reconciler")


@dataclass(slots=True)
class Resolved:
    """What a look-up came to. The rest is there when a call was made for it."""

    settlement: Settlement
    lane: Lane | None = None
    record: Attempt | None = None
    heard: Heard | None = None


class Repeats:
    """Makes such calls. `unanswered` is told (provider, why) of one that proves nothing."""

    def __init__(
        self,
        lanes: Mapping[str, Lane],
        askable: Askable,
        carrier: Carrier,
        retries: RetryBook,
        concluding: Concluding,
        clock: Clock,
        dice: Callable[[], float],
        unanswered: Callable[[str, str], None],
    ) -> None:
        self._lanes = lanes
        self._askable = askable
        self._carrier = carrier
        self._retries = retries
        self._concluding = concluding
        self._clock = clock
        self._dice = dice
        self._unanswered = unanswered

    async def send(self, setting: Setting, message: Message, moved: Callable[[], bool]) -> Resolved:
        """Once more, as soon as the gate lets it. `moved`: whether its campaign may be held up since it was looked at.
        Nothing is sent then, nor once its end of life has come."""
        lane, rules = self._lanes.get(setting.name), setting.rules
        if self._clock.wall() >= message.expires_at:
            return self._uncalled(message, Finding.UNASKABLE, rules)
        started = None if lane is None else await lane.gate.enter(message.segments)
        if lane is None or started is None:
            return self._uncalled(message, Finding.UNANSWERED, rules)
        wall = self._clock.wall()
        if wall >= message.expires_at:
            return self._uncalled(message, Finding.UNASKABLE, rules)
        if lane.is_being_tried() or moved():
            return self._uncalled(message, Finding.UNANSWERED, rules)
        # While it waited, a reload may have brought other credentials.
        setting = self._askable.for_message(message) or setting
        self._retries.called(wall)
        # What another account answers says nothing of the one that the lane has now.
        era = lane.era if account_of(setting.provider) == account_of(lane.provider) else None
        called = await self._call(lane, setting, message, started, rules.timeout_ms)
        if called is None:
            return self._uncalled(message, Finding.UNANSWERED, rules)
        answer, verdict = called
        left = started + answer.left_after_us
        lane.gate.left(started, left)
        record = _record(lane, message, answer, verdict, wall, left)
        return self._judge(lane, setting, message, verdict, record, rules, era)

    def _uncalled(self, message: Message, finding: Finding, rules: ProviderRules) -> Resolved:
        return Resolved(self._concluding.settle(message, finding, "key", rules))

    async def _call(
        self, lane: Lane, setting: Setting, message: Message, started: int, timeout_ms: int
    ) -> tuple[Answer, Verdict] | None:
        """The answer and its meaning; None: the adapter failed, and nobody knows whether anything was sent."""
        lane.begin_call(message, started)
        try:
            request = hiding(setting.provider.prepare(as_called(setting, message)), setting.webhook_secrets)
            answer = await self._carrier.send(setting.provider, request, timeout_ms, self._dice())
            return answer, without_private(read(setting.provider, answer.outcome), answer.request)
        except Exception:
            log.exception("the adapter failed to send a message again by its key", id=message.id)
            return None
        finally:
            lane.end_call(message)

    def _judge(
        self,
        lane: Lane,
        setting: Setting,
        message: Message,
        verdict: Verdict,
        record: Attempt,
        rules: ProviderRules,
        era: int | None,
    ) -> Resolved:
        """`era`: of the lane when the call began; None: the lane is to hear nothing of it."""
        refused = verdict.fate is Fate.REFUSE and not verdict.guessed
        rule = rule_for(verdict, record.http_status, rules.codes)
        if rule is not None:
            verdict = overrule(verdict, rule)
        verdict = lane.weigh(verdict, record.started_at)
        retry = self._retries.rules_for(message, rules)
        settlement = decide(message, verdict, rules, retry, self._clock.wall(), self._dice())
        heard = None
        if era is not None:
            heard = Heard(verdict, settlement.effect, record.started_at, record.started_boot, message.segments, era)
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
            id = verdict.provider_message_id
            settlement = self._concluding.settle(message, Finding.FOUND, "key", setting.rules, id)
            settlement.price = verdict.price
            return settlement
        self._unanswered(setting.name, verdict.message)
        return self._concluding.settle(message, Finding.UNANSWERED, "key", setting.rules, None, verdict.message)


def _record(lane: Lane, message: Message, answer: Answer, verdict: Verdict, wall: Instant, left: int) -> Attempt:
    """The call, begun at `wall`, as it is written down; `left`: when the request had left (boot time, us)."""
    return Attempt(
        n=message.attempt,
        provider=lane.name,
        started_at=wall,
        started_boot=left,
        cost=lane.pacer.cost(message.segments),
        latency_ms=answer.latency_ms,
        outcome=verdict.fate.value,
        http_status=answer.outcome.status if isinstance(answer.outcome, Response) else None,
        code=verdict.code,
        category=verdict.category,
        provider_message_id=verdict.provider_message_id,
        trace=answer.trace,
    )
