"""What do the providers do, and what do they really know?

A Network stands where engine.exchange does. Every call is drawn a fate: taken, refused, throttled, a passing error,
credentials refused, no connection, an answer lost after the text was taken, a call lost before, a slow one. A call that
has left is on its way whatever becomes of the daemon. Each Account takes no more than its own true limit, so throttles
happen by themselves too. The dialects say exactly what the wire says, and differ in what a look-up can prove.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar

from smsd.core.account import ProviderRules
from smsd.core.verdict import Category, Fate, Scope, Verdict, accepted
from smsd.engine.exchange import Answer
from smsd.providers.base import (
    Absent,
    Finding,
    Found,
    NoAnswer,
    NoConnection,
    Outcome,
    Provider,
    Request,
    Response,
    Unanswered,
)
from smsd.providers.base import Call as Prepared
from tests.simulation.clock import SimulatedClock
from tests.simulation.history import Call, History
from tests.simulation.loop import VirtualLoop

# -- dialects ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scripted:
    """A provider whose wire is a JSON object with one word in it."""

    name: str
    credentials: str = "first"

    type: ClassVar[str] = "scripted"
    lookup: ClassVar[str] = "none"

    def prepare(self, call: Prepared) -> Request:
        return Request("POST", f"sim://{self.name}/send", {}, _body(call), private=(call.text, call.recipient))

    def classify(self, response: Response) -> Verdict:
        said = json.loads(response.body)
        match said["word"]:
            case "accepted":
                return accepted(said["id"])
            case "refused":
                return Verdict(Fate.REFUSE, Category.INVALID_RECIPIENT, Scope.RECIPIENT, "No such number", "R1")
            case "throttled":
                scope = Scope(said["scope"])
                return Verdict(Fate.DEFER, Category.RATE_LIMITED, scope, "Too fast", "T1", retry_after_ms=said["wait"])
            case "unauthorized":
                return Verdict(Fate.DEFER, Category.AUTH_FAILED, Scope.PROVIDER, "Credentials refused", "A1")
            case "deferred":
                return Verdict(Fate.DEFER, Category.PROVIDER_ERROR, Scope.MESSAGE, "Later", "E1")
            case word:
                return Verdict(Fate.UNKNOWN, Category.TIMEOUT, Scope.MESSAGE, f"It said {word}", "X1")

    def ask(self, call: Prepared) -> Request:
        return Request("GET", f"sim://{self.name}/find", {}, _body(call))

    def find(self, response: Response, call: Prepared) -> Finding:
        if response.status != 200:
            return Unanswered("the list is not to be had")
        ids = tuple(json.loads(response.body))
        return Found(ids) if ids else Absent()

    def fingerprint(self) -> str:
        return f"{self.name}:{self.credentials}"


@dataclass(frozen=True)
class Fuzzy(Scripted):
    """Its list shows number and text."""

    type: ClassVar[str] = "scripted-fuzzy"
    lookup: ClassVar[str] = "fuzzy"


@dataclass(frozen=True)
class Exact(Scripted):
    """Its list shows our id."""

    type: ClassVar[str] = "scripted-exact"
    lookup: ClassVar[str] = "exact"


DIALECTS: dict[str, type[Scripted]] = {"none": Scripted, "fuzzy": Fuzzy, "exact": Exact}


def _body(call: Prepared) -> bytes:
    return json.dumps(
        [call.id, call.attempt, call.recipient, call.text, call.sender, call.segments, call.expires_at, call.now]
    ).encode()


# -- accounts ---------------------------------------------------------------------------------------------------------

CALM = {"taken": 100}
"""Nothing but texts taken."""

FATES = (
    "taken",
    "refused",
    "throttled",
    "deferred",
    "unauthorized",
    "unreached",
    "lost answer",
    "lost call",
    "garbled",
    "slow",
)


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
        self, name: str, rules: ProviderRules, lookup: str, limit: tuple[int, int] | None, lag_us: int
    ) -> None:
        self.name = name
        self.rules = rules
        self.lookup = lookup
        """none | fuzzy | exact: what its list shows."""
        self.limit = limit
        """(units, span in us) beyond which it throttles; None: no limit of its own."""
        self.lag_us = lag_us
        """How long a taken text is missing from its list."""
        self.weather = Weather()
        self.taken: list[Taken] = []
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

    def line(self, life: int, alive: Callable[[], bool]) -> Line:
        """The carrier of one life of the daemon."""
        return Line(self, life, alive)

    def began(self, provider: str, request: Request, life: int) -> Call:
        """A call leaves the machine."""
        id, attempt, recipient, text, sender, segments, _, _ = json.loads(request.body)
        account, wall, letter = self.accounts[provider], self.clock.wall(), self.history.by_id.get(id)
        call = Call(
            n=len(self.history.calls),
            provider=provider,
            id=id,
            attempt=attempt,
            recipient=recipient,
            text=text,
            sender=sender,
            cost=segments if account.rules.pace.unit == "segments" else 1,
            life=life,
            start_us=self.loop.now_us,
            wall=wall,
            forbidden=self.history.duties[provider].forbids(self.loop.now_us),
            latest_wall=self.clock.latest(0 if letter is None else letter.at_us),
            expires_at=None if letter is None else letter.expires_at,
        )
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
        if fate not in {"unauthorized", "deferred"} and account.too_fast(now, call.cost):
            call.over_limit = True
        elif fate in {"taken", "lost answer", "slow"} or (fate == "garbled" and self.random.random() < 0.5):
            account.take(call, now)


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
            return self._learn(call, "unreached", NoConnection("refused"))
        total = network.random.randint(*account.weather.latency_ms) / 1e3
        if fate == "slow":
            total = network.random.uniform(0.5, 1.5) * timeout_ms / 1e3
        if fate != "lost call":
            network.loop.call_later(total / 2, network.arrive, account, call, fate)
        if fate in {"lost answer", "lost call"}:
            await asyncio.sleep(max(total / 2 + 0.01, network.random.uniform(0.1, 1) * timeout_ms / 1e3))
            return self._learn(call, "unknown", NoAnswer("the connection was lost"))
        if total > timeout_ms / 1e3:
            await asyncio.sleep(timeout_ms / 1e3)
            return self._learn(call, "unknown", NoAnswer("no answer in time"))
        await asyncio.sleep(total + 0.002)
        return self._answer(account, call, fate)

    def _answer(self, account: Account, call: Call, fate: str) -> Outcome:
        """What the provider says once the call has arrived."""
        network = self._network
        if fate == "garbled":
            return self._learn(call, "unknown", _says(500, word="nonsense"))
        if call.taken:
            return self._learn(call, "accepted", _says(201, word="accepted", id=call.pmid))
        if call.over_limit or fate == "throttled":
            wait = network.random.choice([None, None, 0, 2_000, 45_000])
            scope = "provider" if call.over_limit or network.random.random() < 0.7 else "recipient"
            if scope == "provider":
                network.history.duties[account.name].throttled(
                    call.wall, network.clock.wall(), network.loop.now_us, wait
                )
            return self._learn(call, "throttled", _says(429, word="throttled", wait=wait, scope=scope))
        if fate == "unauthorized":
            network.history.duties[account.name].refused(call.start_us, network.loop.now_us)
        return self._learn(call, fate, _says(400, word=fate))

    def _learn(self, call: Call, answer: str, outcome: Outcome) -> Outcome:
        call.answer = answer
        call.end_us = self._network.loop.now_us
        return outcome

    async def _look_up(self, name: str, request: Request, timeout_ms: int) -> Outcome:
        network = self._network
        account = network.accounts[name]
        await asyncio.sleep(min(network.random.randint(5, 300), timeout_ms) / 1e3)
        if network.random.random() < account.weather.lookups_fail:
            lost: list[Outcome] = [Response(503, {}, b""), NoAnswer("timeout"), NoConnection("refused")]
            return network.random.choice(lost)
        id, _, recipient, text, *_ = json.loads(request.body)
        shown = [each for each in account.taken if each.at_us + account.lag_us <= network.loop.now_us]
        if account.lookup == "exact":
            ids = [each.pmid for each in shown if each.id == id]
        else:
            ids = [each.pmid for each in shown if (each.recipient, each.text) == (recipient, text)]
        network.history.note(network.loop.now_us, f"look-up at {name}: {id[:8]} -> {ids}")
        return Response(200, {}, json.dumps(ids[::-1]).encode())


def _says(status: int, **said: object) -> Response:
    return Response(status, {}, json.dumps(said).encode())
