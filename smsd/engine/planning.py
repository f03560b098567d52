"""What would happen if these messages were handed in?

A Plan takes rows as intake does and accepts each virtually, by the same rules; nothing is stored and no id is used.
What the rows come to is summed (`core.plan`); when they would go, and what decides, is told by `foretelling` and
`deciding`. Plans are bounded: so many at once, so many rows in all of them, of each tenant or operator only a share of
both, and one that nobody adds to for a minute is forgotten; sooner, if who began it needs the place for another. So no
tenant takes all places away, and all tenants together leave some to operators. It refuses to know how rows arrive.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

from smsd.clock import Clock
from smsd.core import address
from smsd.core.acceptance import Fault, MessageRules, Origin, Refusal, Submission
from smsd.core.admission import Key, bound
from smsd.core.campaign import Terms, group
from smsd.core.limits import OF_FLOWS, Action, Rule, Subject
from smsd.core.message import Draft, Instant, Priority
from smsd.core.plan import Sums, Table
from smsd.core.routing import choose, sender_for
from smsd.core.suppression import left_over
from smsd.engine.deciding import Decided, Deciding
from smsd.engine.foretelling import LEDGER, Foretelling
from smsd.engine.intake import Intake
from smsd.engine.lane import Lane
from smsd.engine.limits import Limits
from smsd.engine.terrain import Surveyor
from smsd.store import Records
from smsd.store.operators import Foresight

PLANS: Final = 8
"""Plans open at once."""

EACH: Final = 2
"""Of one tenant, or of one operator; so many are left to operators, too."""

ROWS: Final = 1_000_000
"""Rows of all open plans together; one costs about fifty bytes, and ninety if it has an idempotency key."""

ROWS_EACH: Final = ROWS // 2
"""Of one tenant; an operator may have as many as are left."""

ROWS_LEFT: Final = ROWS // 4
"""Left to operators."""

IDLE_S: Final = 60.0
"""One to which nobody adds in so long is forgotten."""

GIVES_WAY_S: Final = 5.0
"""One to which nobody added for so long gives way to a new one of who began it: a command that was killed says no
goodbye."""

STRIDE: Final = 100
"""Rows accepted in one go, some 5 ms of work; then they are looked up together, and others have their turn."""


class TooManyError(Exception):
    """There is no room for it now; the text says what there is too much of, and what to do."""


class GoneError(LookupError):
    """There is no such plan any more."""

    def __init__(self) -> None:
        super().__init__("`plan` is forgotten: nobody added to it for a minute, or it has ended. Begin a new one.")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer."""

    sums: Sums
    starts_at: Instant | None
    finishes_at: Instant | None
    """None: nothing goes, or nobody knows when (`decided_by` says why)."""
    duration_ms: int | None
    """From now until it finishes."""
    decided_by: Decided | None
    currency: str = ""
    """Of `sums.cost`; empty: the configuration names none."""


class _Row(NamedTuple):
    """Accepted virtually, not looked up yet."""

    number: int
    """By which it is named."""
    draft: Draft
    hash: bytes | None


class Planning:
    """The open plans. `rule` before use."""

    def __init__(
        self,
        intake: Intake,
        records: Records,
        foresight: Foresight,
        surveyor: Surveyor,
        lanes: Mapping[str, Lane],
        limits: Limits,
        clock: Clock,
    ) -> None:
        self.intake = intake
        self.records = records
        self.foresight = foresight
        self.surveyor = surveyor
        self.lanes = lanes
        self.limits = limits
        self.clock = clock
        self.rules = MessageRules()
        self._open: dict[str, Plan] = {}
        self._ending = asyncio.Lock()

    def rule(self, rules: MessageRules) -> None:
        """New rules count from now on."""
        self.rules = rules

    def open(self, origin: Origin, owner: str = "", *, campaign: str | None = None, terms: Terms | None = None) -> Plan:
        """A new plan in the name of `origin`; `owner`: who may find it again. `terms`: what would be said about the
        campaign (rows without one count as its own); None: what was said already. Raises TooManyError."""
        self._make_place(origin, owner)
        plan = Plan(self, secrets.token_hex(8), origin, owner, campaign, terms)
        self._open[plan.id] = plan
        plan.stay()
        return plan

    def find(self, id: str, owner: str) -> Plan:
        """One of the caller's own. Raises GoneError."""
        plan = self._open.get(id)
        if plan is None or plan.owner != owner:
            raise GoneError
        return plan

    def _make_place(self, origin: Origin, owner: str) -> None:
        """For one plan more. Raises TooManyError."""
        payer = payer_of(origin, owner)
        own = [plan for plan in self._open.values() if plan.payer == payer]
        left = PLANS if origin.may_set_tenant else PLANS - EACH
        if len(own) < EACH and len(self._open) < left:
            return
        idle = [plan for plan in own if plan.owner == owner and plan.idle_s() >= GIVES_WAY_S]
        if idle:
            max(idle, key=Plan.idle_s).close()
        elif len(own) >= EACH:
            raise TooManyError(f"{EACH} plans of yours are open at once; wait until one has ended, at most a minute.")
        else:
            raise TooManyError(f"{left} plans are open at once; wait until one has ended, at most a minute.")

    def make_room(self, plan: Plan) -> None:
        """For one row more of it. Raises TooManyError, and GoneError when it was forgotten."""
        if plan.id not in self._open:
            raise GoneError
        is_bound = not plan.origin.may_set_tenant
        if sum(each.sums.rows for each in self._open.values()) >= (ROWS - ROWS_LEFT if is_bound else ROWS):
            raise TooManyError(f"Open plans hold {ROWS:,} rows at most; plan a part of the file at a time.")
        if is_bound and sum(each.sums.rows for each in self._open.values() if each.payer == plan.payer) >= ROWS_EACH:
            raise TooManyError(f"Your plans hold {ROWS_EACH:,} rows at most; plan a part of the file at a time.")

    def forget(self, plan: Plan) -> None:
        """It has ended. Idempotent."""
        self._open.pop(plan.id, None)

    async def foretell(
        self, plan: Plan, table: Table, rules: Sequence[Rule], names: Sequence[dict[int, Key]]
    ) -> Outcome:
        """When its rows would go. One at a time: each costs tenths of a second."""
        async with self._ending:
            book = self.rules.quiet
            telling = Foretelling(table, plan.sums, rules, names, book, self.surveyor, self.records)
            if not await telling.begin(plan.said()):
                return Outcome(plan.sums, None, None, None, None)
            deciding = Deciding(telling, self.lanes, self.surveyor, plan.origin.may_set_tenant)
            seen = await deciding.look()
            decided = await deciding.decide(seen)
            took = None if seen.end is None else seen.end - telling.terrain.now
            return Outcome(plan.sums, seen.begin, seen.end, took, decided)


def payer_of(origin: Origin, owner: str) -> tuple[bool, str]:
    """Whose share a plan is of: an operator has one of its own, all callers of a tenant have one together."""
    return (True, owner) if origin.may_set_tenant else (False, origin.tenant)


class Plan:
    """Rows of one plan. `add` each, then `end`; or `close`."""

    def __init__(
        self, planning: Planning, id: str, origin: Origin, owner: str, campaign: str | None, terms: Terms | None
    ) -> None:
        self.id = id
        self.owner = owner
        self.origin = origin
        self.payer = payer_of(origin, owner)
        self.sums = Sums()
        self._planning = planning
        self._campaign = campaign
        self._terms = terms
        rules = planning.limits.rules
        self._rules = tuple(rule for rule in rules if rule.per not in OF_FLOWS or rule.action is not Action.DEFER)
        self._table = Table(len(self._rules))
        self._names: tuple[dict[int, Key], ...] = tuple({} for _ in self._rules)
        self._keys: set[int] = set()
        self._fresh: list[_Row] = []
        self._tenants: dict[str, None] = {}
        self._idle: asyncio.TimerHandle | None = None

    async def add(self, index: int, submission: Submission, content_hash: bytes | None = None) -> None:
        """One more row. `index`: by which it is named if it is not valid; `content_hash`: given when it has an
        idempotency key. Raises TooManyError, GoneError, StoreError."""
        self._planning.make_room(self)
        found = self._planning.intake.preview(submission, self.origin)
        if isinstance(found, Refusal):
            self.refuse(index, found.faults)
        else:
            self.sums.rows += 1
            self.sums.valid += 1
            if found.campaign is None:
                found.campaign = self._campaign
            self._fresh.append(_Row(index, found, content_hash))
        if len(self._fresh) >= STRIDE or self.sums.rows % STRIDE == 0:
            await self._look_up()

    def refuse(self, index: int, faults: Sequence[Fault]) -> None:
        """A row that cannot even be read; at least one fault."""
        self.sums.refuse(index, faults)

    async def end(self) -> Outcome:
        """What they come to, and when they would go. The plan is gone after it. Raises StoreError."""
        try:
            await self._look_up()
            self._stop_idling()
            return await self._planning.foretell(self, self._table, self._rules, self._names)
        finally:
            self.close()

    def close(self) -> None:
        """Forget it. Idempotent."""
        self._stop_idling()
        self._planning.forget(self)

    def stay(self) -> None:
        """Somebody is there: it is kept for another minute."""
        self._stop_idling()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.close)

    def idle_s(self) -> float:
        """For how long nobody added to it; 0 once it is being ended."""
        return 0.0 if self._idle is None else IDLE_S - (self._idle.when() - asyncio.get_running_loop().time())

    def _stop_idling(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def said(self) -> dict[str, tuple[str, Terms]]:
        """By group of a campaign its tenant, and the terms it would have."""
        if self._terms is None or self._campaign is None:
            return {}
        return {group(tenant, self._campaign): (tenant, self._terms) for tenant in self._tenants}

    # -- rows ---------------------------------------------------------------------------------------------------------

    async def _look_up(self) -> None:
        """What the outbox would say to those that came since."""
        self.stay()
        rows, self._fresh = self._fresh, []
        keys = [(row.draft.tenant, key) for row in rows if (key := row.draft.idempotency_key) is not None]
        known = await self._planning.foresight.hashes(keys) if keys else {}
        suppressed = await self._planning.foresight.suppressed([row.draft.recipient for row in rows]) if rows else {}
        for row in rows:
            self._take(row, known, suppressed.get(row.draft.recipient, frozenset()))
        await asyncio.sleep(0)

    def _take(self, row: _Row, known: Mapping[tuple[str, str], bytes], scopes: frozenset[str]) -> None:
        draft, sums = row.draft, self.sums
        key = None if draft.idempotency_key is None else (draft.tenant, draft.idempotency_key)
        if key is not None:
            same = self._planning.foresight.same
            if key in known and row.hash is not None and not same(known[key], row.hash):
                sums.rows, sums.valid = sums.rows - 1, sums.valid - 1
                text = "This idempotency key was used for other content. Use a new key for a new message."
                self.refuse(row.number, (Fault("idempotency_key", "key_conflict", text),))
                return
            if key in known or hash(key) in self._keys:
                sums.already_there += 1
                return
            self._keys.add(hash(key))
        left = left_over(draft.route.split(","), scopes)
        if not left:
            sums.suppressed += 1
            return
        self._tenants[draft.tenant] = None
        provider = self._provider(left)
        sums.count(draft, self._price(provider, draft.recipient))
        self._table.add(draft, self._zones(draft), self._counted(draft, provider))

    def _provider(self, names: Sequence[str]) -> str:
        """Which of the route would carry it, as things stand."""
        lanes = self._planning.lanes
        standings = {name: lanes[name].standing() for name in names if name in lanes}
        until = {name: lanes[name].until() for name in standings}
        return choose(standings, until, self._planning.clock.wall()) or names[0]

    def _price(self, provider: str, recipient: str) -> Decimal | None:
        lane = self._planning.lanes.get(provider)
        price = None if lane is None else lane.candidate.price(recipient)
        return None if price is None else Decimal(str(price))

    def _zones(self, draft: Draft) -> tuple[str, ...] | None:
        book = self._planning.rules.quiet
        if book is None or draft.priority is Priority.HIGH or book.hours_of(draft.tenant) is None:
            return None
        return address.zones(draft.recipient)

    def _counted(self, draft: Draft, provider: str) -> list[Key | None]:
        """What it counts for under each rule."""
        if not self._rules:
            return []
        lane = self._planning.lanes.get(provider)
        sender = draft.sender
        if lane is not None:
            sender = sender_for(lane.candidate, draft.sender, self._planning.rules.sender, draft.recipient)
        subject = Subject(draft.recipient, draft.tenant, draft.user, draft.campaign, sender, draft.text)
        found: list[Key | None] = []
        for rule, names in zip(self._rules, self._names, strict=True):
            one = bound((rule,), subject)
            key = one[0].key if one else None
            if key is not None and len(names) < LEDGER:
                names.setdefault(hash(key) or 1, key)
            found.append(key)
        return found
