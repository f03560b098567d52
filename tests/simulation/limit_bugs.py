"""Which deliberate bugs make the invariants of limits and of time red? See test_bugs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from smsd.core.admission import AdmissionRules
from smsd.core.limits import Action, Per, Rule
from smsd.core.message import Draft, Instant, Message, Priority
from smsd.engine.engine import Engine
from smsd.engine.explaining import Seen
from smsd.store import AcceptResult, Blocked, Claim, Limited, Recovery, Step, Stored, WrongState
from smsd.store.sqlite import SqliteOutbox


class HasNoLimits(SqliteOutbox):
    """Whatever is configured."""

    async def govern(self, rules: AdmissionRules) -> None:
        await super().govern(replace(rules, limits=()))


class ForgetsCharges(SqliteOutbox):
    """After a restart every window is empty."""

    async def open(self, now: Instant, by_segments: Collection[str] = ()) -> Recovery:
        found = await super().open(now, by_segments)
        await self._change(lambda db, _: db.execute("DELETE FROM charges").rowcount)
        return found


class ChargesAgain(SqliteOutbox):
    """A message is asked at each claim, not once."""

    async def begin(self, claims: Sequence[Claim], now: Instant) -> list[Message | Blocked | None]:
        await self._change(lambda db, _: db.execute("UPDATE messages SET admitted = 0").rowcount)
        return await super().begin(claims, now)


class WakesEverybody(SqliteOutbox):
    """Quiet hours are not asked for at the claim, and not heeded at the acceptance."""

    async def govern(self, rules: AdmissionRules) -> None:
        await super().govern(replace(rules, quiet=None))

    def accept(self, draft: Draft, done: Callable[[AcceptResult], None]) -> None:
        super().accept(replace(draft, due=draft.created_at, held=None, held_by=None), done)


class OnlySaysRefused(SqliteOutbox):
    """What is said to be refused is kept all the same."""

    def accept(self, draft: Draft, done: Callable[[AcceptResult], None]) -> None:
        rule = Rule(Per.RECIPIENT, 1, 1_000, Action.REJECT)

        def told(result: AcceptResult) -> None:
            wrong = isinstance(result, Stored) and result.seq % 5 == 0
            done(Limited(rule, draft.created_at + 1_000) if wrong else result)

        super().accept(draft, told)


class OnlySaysRescheduled(SqliteOutbox):
    """Another time is answered and not written."""

    async def reschedule(
        self,
        id: str,
        tenant: str | None,
        due: Instant,
        send_at: Instant,
        expires_at: Instant,
        held: str | None,
        held_by: str | None,
        now: Instant,
    ) -> Message | WrongState | None:
        message = await self.get(id, tenant)
        return message and replace(message, send_at=send_at)


class StaysBehind(SqliteOutbox):
    """Nothing follows the wall clock."""

    async def follow_step(self, step: Step) -> Step | None:
        return None


class FavoursCampaigns(Engine):
    """Each campaign counts as a tenant of its own."""

    async def _compose(self, recovery: Recovery) -> None:
        await super()._compose(recovery)
        sound = self.way_out.schedule.know_flow

        def know(
            id: int,
            route: str,
            lane: str,
            priority: Priority,
            *,
            next_due: Instant | None,
            tenant: str = "",
            campaign: str | None = None,
        ) -> None:
            sound(id, route, lane, priority, next_due=next_due, tenant=f"{tenant}{id}", campaign=campaign)

        assert hasattr(self.way_out.schedule, "know_flow")
        setattr(self.way_out.schedule, "know_flow", know)  # noqa: B010 - a bug stands in the place of a sound part


class ExplainsWithThePast(Engine):
    """The end of a reason is long over."""

    async def _compose(self, recovery: Recovery) -> None:
        await super()._compose(recovery)
        sound = self.service.explaining.see

        def see(message: Message) -> Seen:
            seen = sound(message)
            if seen.waiting is None or seen.waiting.until is None:
                return seen
            return replace(seen, waiting=replace(seen.waiting, until=self._clock.wall() - 120_000))

        setattr(self.service.explaining, "see", see)  # noqa: B010
