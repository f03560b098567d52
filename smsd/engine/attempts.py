"""What is the story of one attempt?

Pass the gate, send, classify, decide, settle. Nothing reaches the wire that is not on disk; a settlement names the
attempt it settles and changes nothing if that attempt is no longer open. If a settlement cannot be written before the
process dies, the open attempt is found at the next start and is uncertain. Which message is next is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from smsd.clock import Clock
from smsd.core.bounds import UNBOUND
from smsd.core.codes import overrule, rule_for
from smsd.core.doubt import postpone
from smsd.core.message import Attempt, Instant, Message
from smsd.core.policy import ALONE, Around, decide, hold_back, release
from smsd.core.routing import RoutingRules, next_route
from smsd.core.settlement import Settlement
from smsd.core.submission import TenantRules
from smsd.core.verdict import Category, Fate, Scope, Verdict
from smsd.engine.carrier import Carrier
from smsd.engine.exchange import Answer
from smsd.engine.lane import Lane
from smsd.engine.learning import Heard
from smsd.engine.settler import RetryBook, Settler
from smsd.engine.trace import hiding, without_private
from smsd.providers.base import Call, NoAnswer, Provider, Request, Response, read
from smsd.store import OutcomeUnknownError, StoreBrokenError

log = structlog.get_logger("smsd.attempts")

STALE_MS = 500
"""A request that waited longer than this at the gate is prepared again: it may say how long it is worth delivering."""

UNLISTED_MOST = 1_000
"""Codes that no table knows which are told in one run; those after them are in the attempts all the same."""


class Attempts:
    """Makes them."""

    def __init__(
        self,
        lanes: Mapping[str, Lane],
        carrier: Carrier,
        settler: Settler,
        retries: RetryBook,
        clock: Clock,
        dice: Callable[[], float],
        default_sender: str,
        routing: RoutingRules,
        tenants: Mapping[str, TenantRules],
    ) -> None:
        self._lanes = lanes
        self._carrier = carrier
        self._settler = settler
        self._retries = retries
        self._clock = clock
        self._dice = dice
        self._default_sender = default_sender
        self._routing = routing
        self._tenants = tenants
        self._withdrawn: set[str] = set()
        """Claims that a proof has overtaken; those of them that wait at a gate are given back there."""
        self._at_gate: set[str] = set()
        self._unlisted: set[tuple[str, str]] = set()
        """Codes of dialects that were told."""

    def follow(self, default_sender: str, routing: RoutingRules, tenants: Mapping[str, TenantRules]) -> None:
        """Other rules count from now on."""
        self._default_sender, self._routing, self._tenants = default_sender, routing, tenants

    def withdraw(self, id: str) -> None:
        """The message was proven sent, or is about to be: if its call has not begun, it need not."""
        if id in self._at_gate:
            self._withdrawn.add(id)

    async def make(self, lane: Lane, message: Message, passed: Callable[[], None]) -> Settlement | None:
        """From the gate to the settlement, which is durable when it comes back; None: late news.

        `passed` is called when the call begins, or never will. Raises StoreError.
        """
        if lane.needs_sender and not message.sender:
            return await self._settle(lane, message, _anonymous(lane), None)
        provider = lane.provider
        request = self._prepare(lane, message)
        if request is None:
            return await self._settle(lane, message, _unprepared(lane), None)
        prepared_at = self._clock.wall()
        rested = lane.resting_until(message)
        started = None if rested is not None else await self._enter(lane, message)
        passed()
        wall = self._clock.wall()
        if started is None or wall >= message.expires_at:
            # Turned away; or its end of life came while it waited for its slot, and the janitor expires it.
            settlement = release(message, wall) if rested is None else hold_back(message, rested, wall)
            return settlement if await self._settler.write(None, settlement, None) else None
        probe, era = lane.begin_call(message, started), lane.era
        self._retries.called(wall)
        try:
            if lane.provider is not provider or wall - prepared_at > STALE_MS:
                # A reload came while it waited; or what it says of its end of life is not true any more.
                provider = lane.provider
                request = self._prepare(lane, message) or request
            answer = await self._send(provider, lane, message, request)
            left = started + answer.left_after_us
            lane.gate.left(started, left)
            return await self._learn(provider, lane, message, answer, wall, left, era, probe=probe)
        finally:
            lane.end_call(message)

    async def _enter(self, lane: Lane, message: Message) -> int | None:
        """When its call was charged; None: it must not begin."""
        self._at_gate.add(message.id)
        try:
            started = await lane.gate.enter(message.segments)
            return None if message.id in self._withdrawn else started
        finally:
            self._at_gate.discard(message.id)
            self._withdrawn.discard(message.id)

    def _prepare(self, lane: Lane, message: Message) -> Request | None:
        try:
            return hiding(lane.provider.prepare(self._call(lane, message)), lane.webhook_secrets)
        except Exception:
            log.exception("the adapter could not prepare the call; nothing was sent", id=message.id)
            return None

    async def _send(self, provider: Provider, lane: Lane, message: Message, request: Request) -> Answer:
        try:
            return await self._carrier.send(provider, request, lane.rules.timeout_ms, self._dice())
        except Exception:
            log.exception("the exchange failed; the outcome is unknown", id=message.id)
            return Answer(NoAnswer("smsd's own exchange failed; see the log"), 0, request)

    async def _learn(
        self,
        provider: Provider,
        lane: Lane,
        message: Message,
        answer: Answer,
        wall: Instant,
        boot: int,
        era: int,
        *,
        probe: bool,
    ) -> Settlement | None:
        verdict = without_private(_verdict(provider, lane.name, message, answer), answer.request)
        status = answer.outcome.status if isinstance(answer.outcome, Response) else None
        around = ALONE
        if verdict.fate is not Fate.ACCEPTED:
            verdict, around = self._judge(lane, message, verdict, status, wall, probe=probe)
        record = Attempt(
            n=message.attempt,
            provider=lane.name,
            started_at=wall,
            started_boot=boot,
            cost=lane.pacer.cost(message.segments),
            latency_ms=answer.latency_ms,
            outcome=verdict.fate.value,
            http_status=status,
            code=verdict.code,
            category=verdict.category,
            provider_message_id=verdict.provider_message_id,
            trace=answer.brief if verdict.fate is Fate.ACCEPTED else answer.trace,
        )
        return await self._settle(lane, message, verdict, record, around, era)

    def _judge(
        self, lane: Lane, message: Message, verdict: Verdict, status: int | None, wall: Instant, *, probe: bool
    ) -> tuple[Verdict, Around]:
        """What counts of a verdict that is not "accepted", and what there is to know beside it."""
        if verdict.unlisted:
            self._tell_unlisted(lane, verdict, status)
        rule = rule_for(verdict, status, lane.rules.codes)
        if rule is not None:
            verdict = overrule(verdict, rule)
        verdict = lane.weigh(verdict, wall)
        return verdict, Around(
            rule=rule,
            probe=probe,
            other=self._other(lane, message, verdict),
            over_ms=self._routing.failover_after_ms,
            most=self._retries.most_for(message, lane.rules),
            bound_sender=message.sender in self._tenants.get(message.tenant, UNBOUND).senders,
        )

    def _tell_unlisted(self, lane: Lane, verdict: Verdict, status: int | None) -> None:
        """Loudly, and once for each code in a run: somebody should add it to the table, or to [retry.codes]."""
        key = (lane.provider.type, verdict.code or "")
        if key not in self._unlisted and len(self._unlisted) < UNLISTED_MOST:
            self._unlisted.add(key)
            log.error(
                "a provider's code is in no table; it was read by the HTTP status alone. "
                "Say what it means under [retry.codes] (for type http: in its `errors`)",
                provider=lane.name,
                type=lane.provider.type,
                code=verdict.code,
                http_status=status,
                category=verdict.category,
            )

    def _other(self, lane: Lane, message: Message, verdict: Verdict) -> str | None:
        """The route by which the message goes on should it surely not have been taken here."""
        if verdict.fate is not Fate.DEFER or "," not in message.route:
            return None
        standings = {name: self._lanes[name].standing() for name in message.route.split(",") if name in self._lanes}
        return next_route(message.route, lane.name, standings, pinned=message.pinned, rules=self._routing)

    async def _settle(
        self,
        lane: Lane,
        message: Message,
        verdict: Verdict,
        record: Attempt | None,
        around: Around = ALONE,
        era: int | None = None,
    ) -> Settlement | None:
        retry = self._retries.rules_for(message, lane.rules)
        now = self._clock.wall()
        settlement = decide(message, verdict, lane.rules, retry, now, self._dice(), around)
        settlement = self._retries.paced(message, settlement, now)
        heard = Heard(verdict, settlement.effect, now, None)
        if record is not None:
            heard = Heard(verdict, settlement.effect, record.started_at, record.started_boot, message.segments, era)
        return settlement if await self._settler.write(lane, settlement, record, heard) else None

    def _call(self, lane: Lane, message: Message) -> Call:
        return Call(
            id=message.id,
            attempt=message.attempt,
            recipient=message.recipient,
            sender=message.sender or self._default_sender,
            text=message.text,
            encoding=message.encoding,
            segments=message.segments,
            expires_at=message.expires_at,
            now=self._clock.wall(),
            callback_url=lane.status_url,
            asked=message.asked_sender is not None,
        )

    async def doubt(self, lane: Lane, message: Message) -> Settlement | None:
        """What became of the call cannot be written down as it was: then at least that nobody knows."""
        now = self._clock.wall()
        settlement = postpone(message, now + lane.rules.reconcile_after_ms, now)
        try:
            return settlement if await self._settler.write(None, settlement, None) else None
        except (StoreBrokenError, OutcomeUnknownError) as error:
            # The process ends because of it; the open attempt is found at the next start.
            log.error("an attempt stays open; the next start looks it up", id=message.id, error=str(error))
            return None


def _unprepared(lane: Lane) -> Verdict:
    detail = f"The adapter of {lane.name} could not prepare the call; nothing was sent. See the log."
    return Verdict(Fate.DEFER, Category.PROVIDER_ERROR, Scope.MESSAGE, detail)


def _anonymous(lane: Lane) -> Verdict:
    detail = f"{lane.name} has no sender: set its `from`, or [messages] from, and reload; messages wait until then."
    return Verdict(Fate.REFUSE, Category.CONFIG_ERROR, Scope.PROVIDER, detail)


def _verdict(provider: Provider, name: str, message: Message, answer: Answer) -> Verdict:
    try:
        return read(provider, answer.outcome)
    except Exception:
        log.exception("the adapter could not read the answer; the outcome is unknown", id=message.id)
        detail = f"The adapter of {name} could not read the answer. See the log."
        return Verdict(Fate.UNKNOWN, Category.TIMEOUT, Scope.MESSAGE, detail)
