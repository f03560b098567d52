"""Can each invariant fail? One deliberate bug for each, put in place of one sound part, and it must turn red.

A bug is a subclass of the engine or of the outbox that behaves otherwise in exactly one respect. Seeds are tried until
one shows it; an invariant that no seed can break would prove nothing by being green.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pytest

from smsd.core.budget import RetryBudget
from smsd.core.flows import Share
from smsd.core.health import Health
from smsd.core.lifecycle import Event, may
from smsd.core.message import Attempt, Draft, Instant, Message, State
from smsd.core.pacing import Pace
from smsd.core.receipt import Receipt
from smsd.core.schedule import Flow, Lane, Ticket
from smsd.core.settlement import Settlement
from smsd.core.waiting import Reason, Waiting
from smsd.engine.ceilings import Repacing
from smsd.engine.engine import Engine
from smsd.engine.explaining import Seen
from smsd.engine.fleet import Fleet, Prepared
from smsd.engine.lane import Lane as FleetLane
from smsd.engine.setting import Setting
from smsd.store import AcceptResult, Blocked, Claim, Received, Recovery, Replay, Stored, WrongState, rows
from smsd.store.sqlite import SqliteOutbox
from smsd.store.statements import arrays
from smsd.store.statements.changing import BY_SEQ
from tests.simulation.invariants import ALL
from tests.simulation.judge import judge
from tests.simulation.limit_bugs import (
    ChargesAgain,
    ExplainsWithThePast,
    FavoursCampaigns,
    ForgetsCharges,
    HasNoLimits,
    OnlySaysRefused,
    OnlySaysRescheduled,
    StaysBehind,
    WakesEverybody,
)
from tests.simulation.receipt_bugs import (
    ForgetsEarlyOnes,
    IgnoresLateDeliveries,
    KeepsQuiet,
    LetsWordsFall,
    MakesNewIds,
    SendsAgainAnyway,
)
from tests.simulation.stories import (
    Contest,
    DiesOfAText,
    Failover,
    FullAtTheClaim,
    LateAnswer,
    LaterAll,
    SetBack,
)
from tests.simulation.world import Parts, Run

SEEDS = 200
"""Seeds tried at most."""

LATEST = "SELECT json_array(json_array(attempt)) FROM messages WHERE seq = ?"

PATIENCE_S = 12 * 3_600


def put(owner: object, name: str, part: object) -> None:
    """Put another part in the place of a sound one."""
    assert hasattr(owner, name)
    setattr(owner, name, part)


# -- the outbox -------------------------------------------------------------------------------------------------------


class AcknowledgesBeforeCommit(SqliteOutbox):
    """The answer does not wait for the disk."""

    def accept(self, draft: Draft, done: Callable[[AcceptResult], None]) -> None:
        super().accept(draft, lambda result: None)
        done(Replay(draft.id, State.PENDING, draft.segments, int(draft.encoding)))


class AnswersOnlySuccess(SqliteOutbox):
    """Who cannot be served hears nothing."""

    def accept(self, draft: Draft, done: Callable[[AcceptResult], None]) -> None:
        super().accept(draft, lambda result: done(result) if isinstance(result, Stored) else None)


class ReplaysAnew(SqliteOutbox):
    """A repeat with a key is told another id."""

    def accept(self, draft: Draft, done: Callable[[AcceptResult], None]) -> None:
        def told(result: AcceptResult) -> None:
            done(replace(result, id=draft.id) if isinstance(result, Replay) else result)

        super().accept(draft, told)


class SendsAtOnce(SqliteOutbox):
    """`send_at` is not heeded."""

    def accept(self, draft: Draft, done: Callable[[AcceptResult], None]) -> None:
        super().accept(replace(draft, due=draft.created_at), done)


class BeginsAfterTheCall(SqliteOutbox):
    """The claim is on disk some time after the call began."""

    async def begin(self, claims: Sequence[Claim], now: Instant) -> list[Message | Blocked | None]:
        found: list[Message | Blocked | None] = []
        for claim in claims:
            message = await self._by_seq(claim.seq)
            mine = message.state is State.PENDING and message.attempt == claim.attempt and message.expires_at > now
            found.append(_claimed(message, claim, now) if mine else None)
        loop = asyncio.get_running_loop()
        loop.call_later(0.05, lambda: loop.create_task(self._begin_late(claims, now)))
        return found

    async def _by_seq(self, seq: int) -> Message:
        return rows.message((await self._read(lambda db: arrays(db, BY_SEQ, (seq,))))[0])

    async def _begin_late(self, claims: Sequence[Claim], now: Instant) -> None:
        await super().begin(claims, now)

    async def settle(self, settlement: Settlement, attempt: Attempt | None) -> bool:
        await asyncio.sleep(0.1)
        return await super().settle(settlement, attempt)


def _claimed(message: Message, claim: Claim, now: Instant) -> Message:
    n, sender = message.attempt + 1, message.sender or claim.sender
    return replace(
        message, state=State.PROCESSING, attempt=n, provider=claim.provider, sender=sender, claimed_at=now, lookups=0
    )


class IgnoresExpiry(SqliteOutbox):
    """A message has no end of life."""

    async def begin(self, claims: Sequence[Claim], now: Instant) -> list[Message | Blocked | None]:
        statement = "UPDATE messages SET expires_at = 9007199254740991 WHERE state = 0"
        await self._change(lambda db, _: db.execute(statement).rowcount)
        return await super().begin(claims, now)

    async def expire(self, now: Instant, limit: int) -> tuple[list[Message], Instant | None]:
        return [], None


class IgnoresTheSender(SqliteOutbox):
    """Sent as the provider's own number, whatever was asked for."""

    async def begin(self, claims: Sequence[Claim], now: Instant) -> list[Message | Blocked | None]:
        found = await super().begin(claims, now)
        return [
            replace(each, sender=claim.sender) if isinstance(each, Message) else each
            for each, claim in zip(found, claims, strict=True)
        ]


class ForgetsDoubt(SqliteOutbox):
    """What may have been taken is simply sent again."""

    async def settle(self, settlement: Settlement, attempt: Attempt | None) -> bool:
        if settlement.event is Event.DOUBT:
            settlement = replace(settlement, event=Event.RETRY, state=State.PENDING, due=settlement.at)
        return await super().settle(settlement, attempt)


class SettlesUnfenced(SqliteOutbox):
    """Late news changes whatever attempt is open by then."""

    async def settle(self, settlement: Settlement, attempt: Attempt | None) -> bool:
        loop = asyncio.get_running_loop()
        if settlement.event is Event.RETRY and not settlement.released:
            loop.call_later(3, lambda: loop.create_task(self._late(settlement)))
        return await super().settle(settlement, attempt)

    async def _late(self, settlement: Settlement) -> None:
        if self._reading is not None:
            current = (await self._read(lambda db: arrays(db, LATEST, (settlement.seq,))))[0][0]
            await super().settle(replace(settlement, attempt=current), None)


class ChargesNothing(SqliteOutbox):
    """No attempt counts."""

    async def settle(self, settlement: Settlement, attempt: Attempt | None) -> bool:
        return await super().settle(replace(settlement, charged=0), attempt)


class FailsWithoutReason(SqliteOutbox):
    """A failure keeps no error."""

    async def settle(self, settlement: Settlement, attempt: Attempt | None) -> bool:
        return await super().settle(replace(settlement, error=None), attempt)


class ForgetsBoundIds(SqliteOutbox):
    """A provider's id may belong to two messages."""

    async def bound(self, provider_message_ids: Sequence[str], without: Collection[str] = ()) -> set[str]:
        return set()


class SendsElsewhereInDoubt(SqliteOutbox):
    """What may have been taken goes by the next provider of its route at once."""

    async def settle(self, settlement: Settlement, attempt: Attempt | None) -> bool:
        route = (await self._read(lambda db: arrays(db, "SELECT json_array(json_array(route)) FROM messages", ())))[0][
            0
        ]
        if settlement.event is Event.DOUBT and attempt is not None and "," in route:
            first, _, rest = route.partition(",")
            route = f"{rest},{first}"
            settlement = replace(settlement, event=Event.RETRY, state=State.PENDING, due=settlement.at, route=route)
        return await super().settle(settlement, attempt)


class SuppressesNobody(SqliteOutbox):
    """An opt-out is told and not kept."""

    async def settle(self, settlement: Settlement, attempt: Attempt | None) -> bool:
        return await super().settle(replace(settlement, suppress=None), attempt)


class ForgetsCrashes(SqliteOutbox):
    """No message is ever parked."""

    async def begin(self, claims: Sequence[Claim], now: Instant) -> list[Message | Blocked | None]:
        await self._change(lambda db, _: db.execute("UPDATE messages SET crashes = 0").rowcount)
        return await super().begin(claims, now)


class ForgetsProofs(SqliteOutbox):
    """A receipt is believed and not written down."""

    async def receive(self, receipts: Sequence[Receipt], now: Instant, spread: float = 0.0) -> list[Received]:
        return [await self._believed(receipt) for receipt in receipts]

    async def _believed(self, receipt: Receipt) -> Received:
        message = None if receipt.id is None else await self.get(receipt.id, None)
        if message is None or not may(message.state, Event.TAKEN):
            return Received(receipt, message)
        sent = replace(message, state=State.SENT)
        return Received(receipt, sent, message.state, receipt.attempt, news=True, proved=True)


class OnlySaysCancelled(SqliteOutbox):
    """A cancel is answered and not written."""

    async def cancel(self, id: str, tenant: str | None, now: Instant) -> Message | WrongState | None:
        message = await self.get(id, tenant)
        return message and replace(message, state=State.CANCELLED)


class CancelsAnything(SqliteOutbox):
    """Also what is being sent."""

    async def cancel(self, id: str, tenant: str | None, now: Instant) -> Message | WrongState | None:
        statement = "UPDATE messages SET state = 6 WHERE id = ? AND state IN (0, 1)"
        await self._change(lambda db, _: db.execute(statement, (id,)).rowcount)
        return await self.get(id, tenant)


class CountsNothing(SqliteOutbox):
    """A cancelled message stays in the kept counts as pending."""

    async def cancel(self, id: str, tenant: str | None, now: Instant) -> Message | WrongState | None:
        statement = "UPDATE messages SET state = 6 WHERE id = ? AND state = 0"
        await self._change(lambda db, _: db.execute(statement, (id,)).rowcount)
        return await self.get(id, tenant)


# -- the engine -------------------------------------------------------------------------------------------------------


class OtherFleet(Engine):
    """With another fleet in the sound one's place."""

    kind: type[Fleet]

    def _fleet(self) -> Fleet:
        return self.kind(self._store, self._store, self._bus, self._clock, self._lane_changed)


class ForgetsWindows(OtherFleet):
    """After a restart nobody remembers the calls of before."""

    class kind(Fleet):  # noqa: N801 - it is a value of the class around it
        async def _seed_from_outbox(self, lane: FleetLane) -> None:
            pass


class ForgetsWindowsAtReload(OtherFleet):
    """A changed pace begins with empty windows."""

    class kind(Fleet):  # noqa: N801
        async def prepare(
            self, settings: Sequence[Setting], accounts: Mapping[str, Pace], retired: Sequence[Setting] = ()
        ) -> Prepared:
            prepared = await super().prepare(settings, accounts, retired)
            for each in prepared.repacings:
                put(each, "finish", partial(self._begin_empty, each))
            return prepared

        @staticmethod
        def _begin_empty(repacing: Repacing, now: int) -> None:
            repacing.lane.gate.change(repacing.pacer)


class CallsTheGone(OtherFleet):
    """A provider that is configured no more goes on."""

    class kind(Fleet):  # noqa: N801
        def become(self, settings: Sequence[Setting], made: Mapping[str, FleetLane]) -> list[str]:
            return super().become(settings, {**made, **self.lanes})


class ForgetsHalts(OtherFleet):
    """After a restart every provider is fit."""

    class kind(Fleet):  # noqa: N801
        def _known_health(self, setting: Setting, kept: Health | None) -> Health:
            return Health(setting.name, setting.fingerprint())


class SharesNothing(OtherFleet):
    """Providers of one account know nothing of each other."""

    class kind(Fleet):  # noqa: N801
        def _join(self, lane: FleetLane, account: str) -> None:
            lane.follow_rate()


class Altered(Engine):
    """Composed, then one part is put in another's place."""

    async def _compose(self, recovery: Recovery) -> None:
        await super()._compose(recovery)
        self.alter()

    def alter(self) -> None:
        raise NotImplementedError


class DropsTickets(Altered):
    """Every seventh message that becomes pending is not scheduled."""

    def alter(self) -> None:
        sound, count = self.way_out.feeder.add, iter(range(10**9))

        def add(*what: object) -> None:
            if next(count) % 7 != 6:
                sound(*what)  # type: ignore[arg-type]  # passed through

        put(self.way_out.feeder, "add", add)


class IgnoresCooldowns(Altered):
    """A throttle teaches nothing."""

    def alter(self) -> None:
        for lane in self.lanes.values():
            put(lane, "hear", lambda heard: None)


class IgnoresGaps(Altered):
    """`min_gap` is not heeded."""

    def alter(self) -> None:
        for lane in self.lanes.values():
            put(lane.pacer, "_gap", 0)


class IgnoresPlaces(Altered):
    """`max_in_flight` is not heeded."""

    def alter(self) -> None:
        for lane in self.lanes.values():
            put(lane, "rules", replace(lane.rules, max_in_flight=1_000))


class _Backwards(Lane):
    @staticmethod
    def _from(ring: deque[Share]) -> Ticket | None:
        while ring:
            share = ring[0]
            flow = next((flow for flow in share.flows.values() if flow.ready and not flow.block), None)
            if flow is not None and not share.block:
                flow.held -= 1
                share.ready -= 1
                return flow.ready.pop()
            ring.popleft().in_ring = False
        return None


class LastComesFirst(Altered):
    """A flow's newest message goes first."""

    def alter(self) -> None:
        for name, lane in self.way_out.schedule._lanes.items():
            backwards = _Backwards(name)
            backwards.open = lane.open
            self.way_out.schedule._lanes[name] = backwards


class _Sticky(Lane):
    def leave(self, flow: Flow) -> None:
        ring, was_in_ring = flow.share.ring, flow.in_ring
        super().leave(flow)
        if was_in_ring:
            ring.append(flow)
            flow.in_ring = True


class _Forgetful(Lane):
    def promote(self, now: Instant) -> None:
        flows = [flow for shares in self.shares.values() for share in shares.values() for flow in share.flows.values()]
        before = {id(ticket) for flow in flows for ticket in flow.ready}
        super().promote(now)
        for flow in flows:
            kept = [ticket for ticket in flow.ready if id(ticket) in before]
            new = [ticket for ticket in flow.ready if id(ticket) not in before]
            flow.ready.clear()
            flow.ready.extend([*kept, *new])


class LosesItsPlace(Altered):
    """A message whose claim failed queues up anew, behind its flow's others (a bug that once was)."""

    def alter(self) -> None:
        for name, lane in self.way_out.schedule._lanes.items():
            forgetful = _Forgetful(name)
            forgetful.open = lane.open
            self.way_out.schedule._lanes[name] = forgetful


class LeavesFlowsInTheirRing(Altered):
    """A flow that moves to another provider is still served in the first one's turn (a bug that once was)."""

    def alter(self) -> None:
        for name, lane in self.way_out.schedule._lanes.items():
            sticky = _Sticky(name)
            sticky.open = lane.open
            self.way_out.schedule._lanes[name] = sticky


class HoldsEverything(Altered):
    """The window has no bound."""

    def alter(self) -> None:
        put(self.way_out.schedule._hunger, "part", lambda priority: 10**9)
        put(self.way_out.schedule, "_takes_offers", lambda flow: True)


class ExplainsNothing(Altered):
    """No reason is given."""

    def alter(self) -> None:
        put(self.service.explaining, "see", lambda message: Seen(message, None))


class AlwaysTheSameExcuse(Altered):
    """A reason is given that may not be true."""

    def alter(self) -> None:
        excuse = Waiting(Reason.PROVIDER_HALTED, None, "It is halted.")
        put(self.service.explaining, "see", lambda message: Seen(message, excuse))


class KeepsRecipients(Altered):
    """Who was called once counts as being called for ever."""

    def alter(self) -> None:
        for lane in self.lanes.values():
            put(lane, "end_call", lambda recipient: None)


class DiesOfExpiry(Altered):
    """A part of the loop ends by an exception."""

    def alter(self) -> None:
        async def expire() -> None:
            raise ZeroDivisionError

        put(self.way_out.janitor, "_expire", expire)


class MissesLateExpiry(Altered):
    """A message whose end of life came while it was being sent is not expired (a bug that once was)."""

    def alter(self) -> None:
        put(self.way_out.settler, "_notice_expiry", lambda expires_at: None)


class TriesWithMany(Altered):
    """A broken provider that may be tried is tried by all who wait."""

    def alter(self) -> None:
        for lane in self.lanes.values():
            put(lane, "_places", lambda lane=lane: lane.rules.max_in_flight)


class OnlySaysSlower(Altered):
    """The rate that was learnt is told and not kept to."""

    def alter(self) -> None:
        for lane in self.lanes.values():
            put(lane.gate, "learn", lambda pacer: None)


class RetriesAtWill(Altered):
    """Retries have no budget."""

    def alter(self) -> None:
        put(self.way_out.retries, "_budget", RetryBudget(None))


class RestsNobody(Altered):
    """A throttle of a sender teaches nothing."""

    def alter(self) -> None:
        for lane in self.lanes.values():
            put(lane, "_rest", lambda rest: None)


class FailsForOurFault(Altered):
    """A halt costs the message that met it."""

    def alter(self) -> None:
        for lane in self.lanes.values():
            lane.rules = replace(lane.rules, on_auth_failure="fail")


@dataclass(frozen=True)
class Case:
    bug: type[Engine] | type[SqliteOutbox]
    invariant: str
    story: type[Run] = Run
    """Where it shows; Run: in a world of chance."""
    first: int = 0
    """The seed to begin with: some bugs show seldom."""

    @property
    def parts(self) -> Parts:
        if issubclass(self.bug, Engine):
            return Parts(engine=self.bug, patience_s=PATIENCE_S)
        return Parts(outbox=self.bug, patience_s=PATIENCE_S)


CASES = [
    Case(AcknowledgesBeforeCommit, "kept"),
    Case(DropsTickets, "ended", first=35),
    Case(DropsTickets, "remembered", first=59),
    Case(MissesLateExpiry, "expired_in_time", LateAnswer),
    Case(AnswersOnlySuccess, "answered"),
    Case(ReplaysAnew, "one_message_a_key"),
    Case(BeginsAfterTheCall, "recorded", first=18),
    Case(ForgetsDoubt, "sent_once", first=41),
    Case(SettlesUnfenced, "told_truly", first=262),
    Case(ForgetsBoundIds, "told_truly", first=50),
    Case(IgnoresTheSender, "nothing_unknown"),
    Case(ForgetsWindows, "ceilings", first=50),
    Case(ForgetsWindowsAtReload, "ceilings", first=89),
    Case(IgnoresGaps, "gaps", first=11),
    Case(IgnoresPlaces, "in_flight"),
    Case(LeavesFlowsInTheirRing, "LivelockError", Failover),
    Case(ChargesNothing, "attempts", first=18),
    Case(ForgetsHalts, "resting", first=7),
    Case(CallsTheGone, "resting", first=24),
    Case(IgnoresCooldowns, "resting", first=21),
    Case(IgnoresExpiry, "not_too_late"),
    Case(SendsAtOnce, "not_too_early"),
    Case(OnlySaysCancelled, "not_cancelled"),
    Case(TriesWithMany, "tried_seldom", first=88),
    Case(SharesNothing, "shared_ceilings"),
    Case(OnlySaysSlower, "learnt_rates", first=182),
    Case(RetriesAtWill, "in_budget", LaterAll),
    Case(SuppressesNobody, "not_suppressed", first=115),
    Case(RestsNobody, "rested", first=100),
    Case(SendsElsewhereInDoubt, "settled_first", first=41),
    Case(FailsForOurFault, "not_for_our_fault", first=63),
    Case(ForgetsCrashes, "parked", DiesOfAText),
    Case(ForgetsProofs, "proved", first=158),
    Case(LetsWordsFall, "words_kept"),
    Case(ForgetsEarlyOnes, "words_kept", first=12),
    Case(IgnoresLateDeliveries, "ends_as_reported", first=7),
    Case(SendsAgainAnyway, "not_after_delivery", first=18),
    Case(KeepsQuiet, "told_all", first=3),
    Case(MakesNewIds, "told_as_it_was", first=6),
    Case(HasNoLimits, "limits_kept"),
    Case(ForgetsCharges, "limits_kept", first=35),
    Case(ChargesAgain, "charged_once", first=12),
    Case(WakesEverybody, "quiet_kept", first=23),
    Case(OnlySaysRefused, "refused_stay_out"),
    Case(OnlySaysRescheduled, "not_too_early", first=31),
    Case(StaysBehind, "follows_the_clock", SetBack),
    Case(FavoursCampaigns, "fair", Contest),
    Case(ExplainsWithThePast, "explained"),
    Case(LastComesFirst, "in_order", first=16),
    Case(LosesItsPlace, "in_order", FullAtTheClaim),
    Case(CancelsAnything, "legal", first=3),
    Case(CountsNothing, "counted"),
    Case(ExplainsNothing, "explained"),
    Case(AlwaysTheSameExcuse, "explained"),
    Case(FailsWithoutReason, "failed_with_reason"),
    Case(HoldsEverything, "bounded", first=42),
    Case(KeepsRecipients, "nothing_left"),
    Case(DiesOfExpiry, "unhurt"),
]


def first_red(case: Case) -> int | None:
    """The first seed that shows the bug."""
    for seed in range(case.first, case.first + (SEEDS if case.story is Run else 1)):
        if case.invariant in judge(seed, case.parts, case.story):
            return seed
    return None


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.bug.__name__}-{case.invariant}")
def test_a_deliberate_bug_is_found_out(case: Case) -> None:
    assert first_red(case) is not None


def test_every_invariant_has_its_bug() -> None:
    assert {case.invariant for case in CASES} == {*ALL, "LivelockError"}
