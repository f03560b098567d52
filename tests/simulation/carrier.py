"""What do the providers do, and what do they really know?

A Network stands where engine.exchange does. Every call is drawn a fate: taken, refused, throttled, a passing error,
credentials refused, no connection, an answer lost after the text was taken, a call lost before, a slow one. A call that
has left is on its way whatever becomes of the daemon. Each Account takes no more than its own true limit, so throttles
happen by themselves too. What an answer means for the provider is told its Duty, as the operator wants it read.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random

from smsd.core.account import ProviderRules
from smsd.core.codes import CodeRule, overrule, rule_for
from smsd.core.health import Health
from smsd.core.verdict import Category, Fate, Scope, Verdict
from smsd.engine.exchange import Answer
from smsd.providers.base import NoAnswer, NoConnection, Outcome, Provider, Request, Response, read
from tests.simulation.clock import SimulatedClock
from tests.simulation.dialects import DIALECTS
from tests.simulation.history import Call, History, LookUp
from tests.simulation.loop import VirtualLoop

# -- accounts ---------------------------------------------------------------------------------------------------------

CALM = {"taken": 100}
"""Nothing but texts taken."""

FATES = (
    "taken",
    "refused",
    "throttled",
    "deferred",
    "opted out",
    "unowned",
    "unauthorized",
    "suspect",
    "unreached",
    "lost answer",
    "lost call",
    "garbled",
    "slow",
)


EXCUSES = frozenset({"unauthorized", "deferred", "unowned", "suspect", "throttled"})
"""Fates of calls that it answers before it looks at them."""


@dataclass(slots=True)
class Weather:
    """How a provider behaves for a while."""

    fates: dict[str, int] = field(default_factory=lambda: dict(CALM))
    """Fate -> weight."""
    latency_ms: tuple[int, int] = (5, 200)
    lookups_fail: float = 0.0


@dataclass(slots=True)
class Taken:
    """A text that reached a phone."""

    pmid: str
    id: str
    recipient: str
    text: str
    at_us: int


class Account:
    """One provider's side of the wire."""

    def __init__(
        self,
        name: str,
        rules: ProviderRules,
        lookup: str,
        limit: tuple[int, int] | None,
        lag_us: int,
        *,
        silent: bool = False,
    ) -> None:
        self.name = name
        self.rules = rules
        self.lookup = lookup
        """none | fuzzy | exact: what its list shows; key: it takes one id once."""
        self.limit = limit
        """(units, span in us) beyond which it throttles; None: no limit of its own."""
        self.lag_us = lag_us
        """How long a taken text is missing from its list."""
        self.silent = silent
        """Beyond its limit it refuses without a reason."""
        self.weather = Weather()
        self.taken: list[Taken] = []
        self.known: dict[str, str] = {}
        """Keys it has taken, and the ids it gave."""
        self.bytes: dict[str, bytes] = {}
        """What came with a key first."""
        self._arrivals: deque[tuple[int, int]] = deque()

    def too_fast(self, at_us: int, cost: int) -> bool:
        """Whether this arrival exceeds the true limit (it counts if it does not)."""
        if self.limit is None:
            return False
        units, span_us = self.limit
        while self._arrivals and self._arrivals[0][0] <= at_us - span_us:
            self._arrivals.popleft()
        if self._arrivals and sum(each for _, each in self._arrivals) + cost > units:
            return True
        self._arrivals.append((at_us, cost))
        return False

    def take(self, call: Call, at_us: int) -> None:
        """The text goes out."""
        call.taken = True
        call.pmid = f"{self.name}-{len(self.taken) + 1}"
        self.taken.append(Taken(call.pmid, call.id, call.recipient, call.text, at_us))
        if self.lookup == "key":
            self.known[call.id] = call.pmid


class Network:
    """All accounts, for every life of the daemon."""

    def __init__(self, loop: VirtualLoop, clock: SimulatedClock, random: Random, history: History) -> None:
        self.loop = loop
        self.clock = clock
        self.random = random
        self.history = history
        self.accounts: dict[str, Account] = {}
        self.next_call = asyncio.Event()
        """Set whenever a call begins."""
        self.health: Callable[[str], Health | None] = lambda name: None
        """What the engine that lives now knows of a provider."""
        self.disabled: Callable[[], frozenset[str]] = frozenset
        """Providers that are out of service."""
        self.made: set[tuple[str, int]] = set()
        """Attempts called."""
        self.taken: Callable[[Call], None] = lambda call: None
        """Told of every call that a provider took."""

    def line(self, life: int, alive: Callable[[], bool]) -> Line:
        """The carrier of one life of the daemon."""
        return Line(self, life, alive)

    def began(self, provider: str, request: Request, life: int) -> Call:
        """A call leaves the machine."""
        id, recipient, text, sender, segments, *_ = json.loads(request.body)
        account, wall, letter = self.accounts[provider], self.clock.wall(), self.history.by_id.get(id)
        attempt, duty = int(request.headers["x-attempt"]), self.history.duties[provider]
        call = Call(
            n=len(self.history.calls),
            provider=provider,
            id=id,
            attempt=attempt,
            recipient=recipient,
            text=text,
            sender=sender,
            cost=segments if account.rules.pace.unit == "segments" else 1,
            segments=segments,
            life=life,
            start_us=self.loop.now_us,
            wall=wall,
            again=(id, attempt) in self.made,
            disabled=self.disabled(),
            latest_wall=self.clock.latest(0 if letter is None else letter.at_us),
            send_at=None if letter is None else letter.send_at,
            expires_at=None if letter is None else letter.expires_at,
        )
        duty.began(call)
        self.made.add((id, attempt))
        if account.lookup == "key" and account.bytes.setdefault(id, request.body) != request.body:
            self.history.faults.append(f"call {call.n} comes with the key of {id[:8]} and other bytes")
        self.history.calls.append(call)
        self.next_call.set()
        return call

    def draw(self, account: Account) -> str:
        fates = account.weather.fates
        return self.random.choices(list(fates), list(fates.values()))[0]

    def arrive(self, account: Account, call: Call, fate: str) -> None:
        """A call reaches the provider, whatever became of the daemon meanwhile."""
        now = self.loop.now_us
        call.arrived_us = now
        if (pmid := account.known.get(call.id)) is not None and fate not in EXCUSES:
            call.pmid = pmid
        elif fate not in EXCUSES and account.too_fast(now, call.cost):
            call.over_limit = True
        elif fate in {"taken", "lost answer", "slow"} or (fate == "garbled" and self.random.random() < 0.5):
            account.take(call, now)
            self.taken(call)

    def believe(self, call: Call) -> None:
        """What the engine made of the answer, at the instant it was given."""
        health, suspect = self.health(call.provider), call.answer == "suspect"
        if health is None:
            return
        duty, wall, now_us = self.history.duties[call.provider], self.clock.wall(), self.loop.now_us
        duty.believe(health, wall, now_us, suspect=suspect)
        suspect = suspect and not call.again and duty.is_told_by(call)
        if suspect and health.halted is None and duty.rules.on_auth_failure == "halt":
            left_ms = (health.cooling_until or 0) - wall
            if left_ms <= 0 or (health.cooling_since == wall and left_ms < 60_000):
                self.history.judged.append(f"call {call.n} was refused without a reason, and {call.provider} goes on")


class Line:
    """The engine's Carrier during one life."""

    def __init__(self, network: Network, life: int, alive: Callable[[], bool]) -> None:
        self._network = network
        self._life = life
        self._alive = alive

    async def send(self, provider: Provider, request: Request, timeout_ms: int, draw: float) -> Answer:
        """See engine.carrier.Carrier."""
        if not self._alive():
            raise asyncio.CancelledError
        name = request.url.split("/")[2]
        begun = self._network.loop.now_us
        if request.method == "GET":
            outcome = await self._look_up(name, request, timeout_ms)
        else:
            outcome = await self._send(name, request, timeout_ms)
        return Answer(outcome, (self._network.loop.now_us - begun) // 1_000, request)

    async def _send(self, name: str, request: Request, timeout_ms: int) -> Outcome:
        network = self._network
        account, call = network.accounts[name], network.began(name, request, self._life)
        fate = network.draw(account)
        network.history.note(network.loop.now_us, f"call {call.n} to {name}: {call.id[:8]} #{call.attempt} ({fate})")
        if fate == "unreached":
            await asyncio.sleep(network.random.randint(1, min(500, timeout_ms)) / 1e3)
            return self._learn(call, NoConnection("refused"))
        total = network.random.randint(*account.weather.latency_ms) / 1e3
        if fate == "slow":
            total = network.random.uniform(0.5, 1.5) * timeout_ms / 1e3
        if fate != "lost call":
            network.loop.call_later(total / 2, network.arrive, account, call, fate)
        if fate in {"lost answer", "lost call"}:
            await asyncio.sleep(max(total / 2 + 0.01, network.random.uniform(0.1, 1) * timeout_ms / 1e3))
            return self._learn(call, NoAnswer("the connection was lost"))
        if total > timeout_ms / 1e3:
            await asyncio.sleep(timeout_ms / 1e3)
            return self._learn(call, NoAnswer("no answer in time"))
        await asyncio.sleep(total + 0.002)
        return self._answer(account, call, fate)

    def _answer(self, account: Account, call: Call, fate: str) -> Outcome:
        """What the provider says once the call has arrived."""
        network = self._network
        if fate == "garbled":
            return self._learn(call, _says(500, word="nonsense"))
        if call.pmid is not None:
            return self._learn(call, _says(201, word="accepted", id=call.pmid))
        if call.over_limit and account.silent:
            return self._learn(call, _says(403, word="suspect"))
        if call.over_limit or fate == "throttled":
            wait = network.random.choice([None, None, 0, 2_000, 45_000])
            whole = call.over_limit or network.random.random() < 0.7
            scope = "provider" if whole else network.random.choice(["recipient", "sender"])
            return self._learn(call, _says(429, word="throttled", wait=wait, scope=scope))
        return self._learn(call, _says(400, word=fate))

    def _learn(self, call: Call, outcome: Outcome) -> Outcome:
        """The daemon hears of it."""
        network = self._network
        account, duty, now_us = (
            network.accounts[call.provider],
            network.history.duties[call.provider],
            network.loop.now_us,
        )
        verdict = read(DIALECTS[account.lookup](call.provider), outcome)
        status = outcome.status if isinstance(outcome, Response) else None
        rule = rule_for(verdict, status, account.rules.codes)
        verdict = verdict if rule is None else overrule(verdict, rule)
        if call.again:
            rule = None  # it says what the answer means, and not how long to wait for a message that is in doubt
        call.answer, call.end_us = self._word(call, verdict), now_us
        if call.answer == "throttled" and verdict.scope is not Scope.PROVIDER:
            call.rests = "recipient" if verdict.scope is Scope.RECIPIENT else "sender"
        elif call.answer == "throttled":
            wait = _by_rule(rule, self._place(call)) or duty.rest_ms(verdict.retry_after_ms)
            duty.throttled(call.wall, network.clock.wall(), now_us, wait)
        elif call.answer == "unauthorized":
            duty.refused(call, now_us, halt=rule is not None and rule.fate == "halt")
        duty.answered(call, verdict, now_us)
        network.loop.call_soon(partial(network.believe, call))
        return outcome

    def _place(self, call: Call) -> int:
        """Which call of its message's round it is: an operator's retry begins anew, and then only what costs an attempt
        is counted."""
        letter = self._network.history.by_id.get(call.id)
        if letter is None or not letter.rounds:
            return call.attempt
        before = [c for c in self._network.history.calls if c.id == call.id and c.n < call.n]
        before = [c for c in before if c.start_us >= letter.rounds[-1]]
        return 1 + sum(c.answer not in {"throttled", "suspect", "unreached", "unauthorized"} for c in before)

    def _word(self, call: Call, verdict: Verdict) -> str:
        """What it means, in one word."""
        letter = self._network.history.by_id.get(call.id)
        match verdict.fate, verdict.category:
            case (Fate.ACCEPTED, _):
                return "accepted"
            case (Fate.UNKNOWN, _):
                return "unknown"
            case (_, Category.RATE_LIMITED):
                return "suspect" if verdict.suspect else "throttled"
            case (_, Category.AUTH_FAILED):
                return "unauthorized"
            case (_, Category.CONFIG_ERROR):
                ours = verdict.scope is Scope.PROVIDER or letter is None or letter.sender is None
                return "unauthorized" if ours and verdict.scope is not Scope.MESSAGE else "refused"
            case (_, Category.OPTED_OUT):
                return "opted out"
            case (Fate.REFUSE, _):
                return "refused"
            case (_, Category.NETWORK):
                return "unreached"
            case _:
                return "deferred"

    async def _look_up(self, name: str, request: Request, timeout_ms: int) -> Outcome:
        network = self._network
        account = network.accounts[name]
        id, recipient, text = json.loads(request.body)
        await asyncio.sleep(min(network.random.randint(5, 300), timeout_ms) / 1e3)
        if network.random.random() < account.weather.lookups_fail:
            lost: list[Outcome] = [Response(503, {}, b""), NoAnswer("timeout"), NoConnection("refused")]
            network.history.looks.append(LookUp(network.loop.now_us, name, id, answered=False))
            return network.random.choice(lost)
        shown = [each for each in account.taken if each.at_us + account.lag_us <= network.loop.now_us]
        if account.lookup == "exact":
            ids = [each.pmid for each in shown if each.id == id]
        else:
            ids = [each.pmid for each in shown if (each.recipient, each.text) == (recipient, text)]
        network.history.looks.append(LookUp(network.loop.now_us, name, id, answered=True))
        network.history.note(network.loop.now_us, f"look-up at {name}: {id[:8]} -> {ids}")
        return Response(200, {}, json.dumps(ids[::-1]).encode())


def _by_rule(rule: CodeRule | None, attempt: int) -> int | None:
    """The wait that the operator wrote down for this call."""
    return (
        rule.delays_ms[min(max(1, attempt), len(rule.delays_ms)) - 1] if rule is not None and rule.delays_ms else None
    )


def _says(status: int, **said: object) -> Response:
    return Response(status, {}, json.dumps(said).encode())
