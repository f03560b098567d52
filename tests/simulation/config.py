"""What is configured in the world of a seed?

Providers of every pace, patience and honesty, accounts that they share, routing, retry rules, profiles, the operator's
word on codes. Paces run from one a minute to two thousand a
second; how much is submitted follows from the slowest, so that every run comes to its end in hours of virtual time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC
from random import Random

from smsd.core.acceptance import MessageRules
from smsd.core.account import ProviderRules
from smsd.core.admission import AdmissionRules
from smsd.core.breaker import BreakerRules
from smsd.core.codes import CodeBook, CodeRule
from smsd.core.pacing import Pace, Window
from smsd.core.retry import RetryRules
from smsd.core.routing import RoutingRules
from smsd.core.schedule import CAPACITY
from smsd.core.verdict import Category, Scope
from smsd.engine.configuration import Plan
from smsd.engine.setting import Setting
from smsd.engine.settler import RetryBook
from tests.simulation.carrier import Account
from tests.simulation.dialects import DIALECTS
from tests.simulation.governed import UNGOVERNED, Governed
from tests.simulation.way_back import SILENT, Back

SECOND_US = 1_000_000
DAY_MS = 86_400_000

DEFAULT_SENDER = "+12025550100"

RATES = (
    (1, 60 * SECOND_US),
    (1, 2 * SECOND_US),
    (10, 60 * SECOND_US),
    (100, 60 * SECOND_US),
    (10, SECOND_US),
    (600, 60 * SECOND_US),
    (2_000, SECOND_US),
)
"""(units, span): 1/min, 0.5/s, 10/min, 100/min, 10/s, 600/min, 2000/s."""


@dataclass(slots=True)
class Provider:
    """One provider's configuration, and the account behind it."""

    name: str
    lookup: str
    rules: ProviderRules
    account: Account
    credentials: int = 1
    enabled: bool = True
    slowed: int = 1
    """So many times fewer than the rules say are allowed in each window just now."""
    back: str = ""
    """How its receipts name a message; empty: it sends none."""

    @property
    def pace(self) -> Pace:
        """The ceilings in force."""
        return slower(self.rules.pace, self.slowed)

    def setting(self) -> Setting:
        """What the engine is given of it."""
        dialect = DIALECTS[self.lookup](self.name, f"credentials-{self.credentials}", self.back)
        return Setting(self.name, dialect, replace(self.rules, pace=self.pace))


def slower(pace: Pace, times: int) -> Pace:
    """So many times fewer units in each window."""
    windows = tuple(Window(max(1, each.limit // times), each.span_us) for each in pace.windows)
    burst = min([pace.burst, *(each.limit for each in windows)])
    return Pace(windows, burst, pace.min_gap_us, pace.unit)


@dataclass(slots=True)
class World:
    """The configuration of one seed."""

    providers: dict[str, Provider]
    retry: RetryRules
    patient: RetryRules
    ttl_ms: int
    capacity: int
    max_backlog: int
    crash_ready: bool
    """Faults of process and store happen in this seed."""
    steps_forward: bool
    """The wall clock may be set forward; then the machine is not rebooted: nobody could tell the two apart."""
    routing: RoutingRules = field(default_factory=RoutingRules)
    shared: Pace | None = None
    """The rate of the account that some providers share; None: there is none."""
    shared_slowed: int = 1
    budget: float | None = 0.2
    governed: Governed = UNGOVERNED
    back: Back = SILENT

    @property
    def accounts(self) -> dict[str, Pace]:
        """As configured just now."""
        return {} if self.shared is None else {"both": slower(self.shared, self.shared_slowed)}

    def plan(self) -> Plan:
        """What the engine is started with now."""
        settings = tuple(each.setting() for each in self.providers.values() if each.enabled)
        retired = tuple(each.setting() for each in self.providers.values() if not each.enabled)
        profiles = {"patient": self.patient}
        rules = MessageRules(
            sender=DEFAULT_SENDER,
            ttl_ms=self.ttl_ms,
            max_attempts=self.retry.max_attempts,
            profiles={name: each.max_attempts for name, each in profiles.items()},
            quiet=self.governed.quiet,
            callbacks=self.back.rules,
        )
        return Plan(
            settings=settings,
            rules=rules,
            retries=RetryBook(self.retry, profiles, self.budget),
            zone=UTC,
            max_backlog=self.max_backlog,
            retired=retired,
            window=self.capacity,
            routing=self.routing,
            accounts=self.accounts,
            admission=AdmissionRules(self.governed.rules, self.governed.quiet, profiles, self.retry),
            public_url="https://sim.example",
        )


def configure(random: Random) -> World:
    """Draw a configuration."""
    names = ["alpha", "beta", "gamma"][: random.choice([1, 1, 2, 2, 3])]
    shared = _pace(random) if random.random() < 0.35 else None
    strategy = random.choice(["priority", "priority", "weighted", "cheapest"])
    return World(
        providers={name: _provider(random, name, place, shared) for place, name in enumerate(names)},
        retry=_retry(random),
        patient=RetryRules(max_attempts=6, delays_ms=(60_000, 120_000), jitter=random.choice(["none", "equal"])),
        ttl_ms=random.choice([600_000, 3_600_000, DAY_MS, 3 * DAY_MS]),
        capacity=random.choice([CAPACITY, CAPACITY, 12, 24]),
        max_backlog=random.choice([5_000_000, 5_000_000, 40]),
        crash_ready=random.random() < 0.75,
        steps_forward=random.random() < 0.5,
        routing=RoutingRules(strategy, random.choice([30_000, 30_000, None])),
        shared=shared,
        budget=random.choice([0.2, 0.2, 0.05, None]),
    )


def _provider(random: Random, name: str, place: int, shared: Pace | None) -> Provider:
    lookup = random.choice(["none", "fuzzy", "exact", "key"])
    account = "both" if shared is not None and random.random() < 0.7 else ""
    pace = Pace(unit=random.choice(["messages", "segments"])) if account and random.random() < 0.3 else _pace(random)
    rules = ProviderRules(
        pace=pace,
        max_in_flight=random.choice([1, 1, 2, 8, 32]),
        timeout_ms=random.choice([2_000, 10_000]),
        cooldown_ms=random.choice([5_000, 60_000, 300_000]),
        retry_after=random.choice(["honour", "at_least_cooldown", "ignore"]),
        on_auth_failure=random.choice(["halt", "halt", "halt", "fail", "retry"]),
        on_uncertain=random.choice(["retry", "hold"]),
        # A look-up that proves absence is never given up in this world: then nothing may ever be taken twice.
        reconcile_timeout_ms=30 * DAY_MS if lookup == "exact" else random.choice([30_000, 600_000]),
        weight=random.choice([1, 3]),
        senders=_senders(random, place),
        adaptive=random.random() < 0.7,
        breaker=_breaker(random),
        halt_probe=random.random() < 0.3,
        account=account,
        prefixes=random.choice([(), (), (), ("+12025550101", "+12025550102", "+12025550103")]) if place else (),
        prices=random.choice([{}, {"": 0.05}, {"": 0.08, "+12025550101": 0.01}]),
        codes=_codes(random),
        profile=random.choice(["", "", "", "patient"]),
        network_costs_attempt=random.random() < 0.3,
    )
    limit = None
    if pace.windows and random.random() < 0.6:
        units, span = pace.shortest.limit, pace.shortest.span_us
        limit = (max(1, int(units * random.choice([0.5, 1.0, 2.0]))), span)
    lag_us = random.choice([0, 1, 8]) * SECOND_US
    silent = random.random() < 0.2
    return Provider(name, lookup, rules, Account(name, rules, lookup, limit, lag_us, silent=silent))


def _senders(random: Random, place: int) -> tuple[str, ...]:
    """None, or a pool."""
    if place == 0 and random.random() < 0.5:
        return ()
    return tuple(f"+120255501{n}{place}" for n in range(random.choice([1, 2, 4])))


def _breaker(random: Random) -> BreakerRules | None:
    if random.random() < 0.25:
        return None
    return BreakerRules(
        window_ms=random.choice([10_000, 60_000]),
        failures=random.choice([0.3, 0.5, 1.0]),
        min_calls=random.choice([1, 3, 10]),
        probe_every_ms=random.choice([2_000, 30_000, 120_000]),
    )


def _codes(random: Random) -> CodeBook:
    """What the operator says about codes: in most worlds nothing."""
    if random.random() < 0.6:
        return CodeBook()
    codes = {
        "R1": [CodeRule("retry", None, 2, (1_000, 30_000)), CodeRule("suppress")],
        "E1": [
            CodeRule("fail"),
            CodeRule("halt"),
            CodeRule("throttle", None, None, (3_000, 20_000)),
            CodeRule("throttle", Scope.SENDER),
            CodeRule("", None, 1),
        ],
        "X1": [CodeRule("fail")],
        "T1": [CodeRule("retry")],
        "F1": [CodeRule("throttle")],
    }
    return CodeBook(
        codes={code: random.choice(rules) for code, rules in codes.items() if random.random() < 0.3},
        categories={Category.PROVIDER_ERROR: CodeRule("", None, 2, (500,))} if random.random() < 0.3 else {},
        http_4xx=random.choice([None, None, CodeRule("", None, 3)]),
        http_5xx=random.choice([None, None, CodeRule("retry")]),
        default=random.choice([None, None, CodeRule("retry", None, 3), CodeRule("fail")]),
    )


def _pace(random: Random) -> Pace:
    if random.random() < 0.1:
        return Pace()
    units, span = random.choice(RATES)
    windows = [Window(units, span)]
    if random.random() < 0.4:
        longer = span * random.choice([5, 60])
        windows.append(Window(max(1, int(units * longer // span * random.choice([0.3, 0.8]))), longer))
    return Pace(
        windows=tuple(windows),
        burst=random.choice([1, 1, min(units, 5), units]) if units <= 100 else 1,
        min_gap_us=random.choice([0, 0, 0, 50_000, 1_500_000]),
        unit=random.choice(["messages", "messages", "segments"]),
    )


def _retry(random: Random) -> RetryRules:
    return RetryRules(
        max_attempts=random.choice([1, 2, 3, 5]),
        backoff_ms=random.choice([200, 3_000, 20_000]),
        multiplier=random.choice([1.0, 2.0, 3.0]),
        max_backoff_ms=random.choice([30_000, 600_000]),
        jitter=random.choice(["none", "equal", "full"]),
        delays_ms=random.choice([(), (), (1_000, 5_000)]),
    )


def slowest_us(world: World) -> int:
    """How long one segment of a message takes at the slowest provider, in the long run."""
    paces = [each.rules.pace for each in world.providers.values()] + [world.shared or Pace()]
    spans = [window.span_us // window.limit for pace in paces for window in pace.windows]
    gaps = [pace.min_gap_us for pace in paces]
    return max([1_000, *spans, *gaps])
