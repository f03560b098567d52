"""Does a thousand faults in a row double or lose a message?

Real engine, real sockets (see `live`). A thousand messages and more go through a carrier that meets their calls with
faults drawn at random; an operator ends each halt. Whether one may be sent twice, or be held, follows from what can be
asked about it and from the policy, and from nothing else. Then two carriers, one of which goes away in the middle and
comes back; and the real process, killed while it speaks with a carrier that cannot be asked.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from smsd.core.acceptance import MessageRules
from smsd.core.breaker import BreakerRules
from smsd.core.events import Kind
from smsd.core.message import Attempt, Message, State
from smsd.core.retry import RetryRules
from smsd.core.verdict import Category
from smsd.providers.base import Provider
from tests.daemon.harness import Site, exactly_once
from tests.daemon.live import Live, dialpad, keyed, messagebird, plain, twilio
from tests.daemon.test_kill import SLOW_MS, crashed, kills, run_under_fire
from tests.doubles.stand_in import TOKEN, Rule, StandIn

Make = Callable[[str, str], Provider]

FEW, MANY = 400, 1_000
"""Messages of one run; so many faults they meet as well. The three runs with look-up, few each, meet over 1,000."""


@pytest.fixture
def messages(request: pytest.FixtureRequest) -> int:
    return MANY if request.config.getoption("--long", default=False) else FEW


SEED = int(os.environ.get("SMSD_FAULT_SEED", "1"))
"""What is drawn. What meets it depends on the machine as well, so one seed is many stories."""

BLIND = 0.1
"""How likely a look-up meets a fault."""

FAULTS = {
    # nobody knows whether it was taken
    **dict.fromkeys(("hang", "reset", "close", "partial", "html", "garbage"), 40),
    # it was taken, and the answer does not say so
    **dict.fromkeys(("malformed", "oversized", "trickle"), 40),
    # it was not
    "busy": 40,
    # nothing is, for a while; few, because after each of them the provider begins again with a single call
    **dict.fromkeys(("throttle", "401", "redirect"), 1),
}
"""Kind -> how often, beside the others."""


class Bad:
    """A carrier's luck: this share of its calls meets a fault."""

    def __init__(self, seed: int, share: float) -> None:
        self._dice = random.Random(seed)
        self._share = share
        self.count: Counter[str] = Counter()
        """Faults made, by kind."""

    def draw(self, on: str, *_: str) -> Rule | None:
        """The fault that this request meets."""
        chance = self._dice.random()
        if chance >= (BLIND if on == "list" else self._share):
            return None
        if on == "list":
            self.count["look-up"] += 1
            return Rule(self._dice.choice(("hang", "html", "malformed", "reset")))
        kind = self._dice.choices([*FAULTS], [*FAULTS.values()])[0]
        taken = self._dice.random() < 0.5
        self.count[kind] += 1
        match kind:
            case "busy":
                return Rule("answer", status=self._dice.choice((408, 425, 503)))
            case "401":
                return Rule("answer", status=401)
            case "throttle":
                return Rule("throttle", retry_after="2")
            case "trickle":
                return Rule("trickle", delay_ms=1_000)
            case "malformed" | "oversized" | "redirect":
                return Rule(kind)
            case _:
                return Rule(kind, taken=taken)


@dataclass
class Told:
    """What became of one message, and how often it was taken."""

    message: Message
    outcomes: list[str]
    """Of its calls."""
    taken: int

    @property
    def doubts(self) -> int:
        """Calls after which nobody knew."""
        return self.outcomes.count("unknown")


async def operate(live: Live) -> None:
    """Ends each halt, as an operator does."""
    halts = 0
    while True:
        await live.told(Kind.PROVIDER_HALTED, halts := halts + 1)
        await live.engine.service.resume("main")


def play(tmp_path: Path, make: Make, policy: str, share: float, messages: int) -> tuple[list[Told], StandIn]:
    """Send them all, and see what became of each. `share`: of the calls that meet a fault."""
    bad = Bad(SEED, share)
    live = Live(tmp_path, random.Random(SEED).random)
    live.messages = MessageRules(max_attempts=20)
    live.retry = RetryRules(backoff_ms=200, multiplier=1.5, max_backoff_ms=2_000)
    carrier = live.stand_in(draw=bad.draw)
    live.provider(
        make(carrier.url, "main"),
        on_uncertain=policy,
        timeout_ms=4_000,
        max_in_flight=12,  # so many calls must go well after each rest until all places are open again
        reconcile_timeout_ms=3_600_000,
        cooldown_ms=1_000,
        retry_after="honour",
        breaker=None,  # it would rest the provider for most of the run
        adaptive=False,
    )
    told: list[Told] = []

    async def story() -> None:
        operator = live.loop.create_task(operate(live))
        ended = await live.final(await live.send_many(messages))
        operator.cancel()
        taken = Counter((sent.to, sent.body) for sent in carrier.taken_calls())
        for message in ended:
            outcomes = [attempt.outcome for attempt in await live.attempts(message.id)]
            told.append(Told(message, outcomes, taken[message.recipient, message.text]))

    live.run(story())
    print(f"seed {SEED}: {bad.count.total()} faults {dict(bad.count)}, {carrier.stats()}")
    assert len(told) == messages
    assert bad.count.total() >= 0.5 * messages
    assert sum(each.doubts > 0 for each in told) > 0.3 * messages, "few calls were in doubt: the run proves little"
    return told, carrier


@pytest.mark.parametrize(
    ("make", "policy", "share"),
    [
        (twilio, "retry", 0.68),
        (messagebird, "hold", 0.68),
        pytest.param(messagebird, "retry", 0.68, marks=pytest.mark.long),
        (keyed, "hold", 0.52),
        pytest.param(keyed, "retry", 0.52, marks=pytest.mark.long),
    ],
)
def test_where_it_can_be_known_nothing_is_doubled_or_lost(
    make: Make, policy: str, share: float, messages: int, tmp_path: Path
) -> None:
    told, carrier = play(tmp_path, make, policy, share, messages)
    assert Counter(each.taken for each in told) == {1: messages}
    assert Counter(each.message.state for each in told) == {State.SENT: messages}
    assert (carrier.replays > 0.1 * messages) is (make is keyed)
    assert [each for each in told if each.outcomes.count("accepted") > 1] == []


@pytest.mark.parametrize("make", [dialpad, pytest.param(plain, marks=pytest.mark.long)])
def test_held_where_nobody_knows_nothing_is_doubled_and_what_is_lost_is_held(
    make: Make, messages: int, tmp_path: Path
) -> None:
    told, _ = play(tmp_path, make, "hold", 0.55, 2 * messages)
    assert max(each.taken for each in told) == 1
    for each in told:
        if each.message.state is State.SENT:
            assert (each.taken, each.doubts) == (1, 0)
            continue
        assert each.message.error is not None
        assert (each.message.state, each.message.error.category) == (State.FAILED, Category.UNCERTAIN)
        assert (each.outcomes[-1], each.doubts) == ("unknown", 1)
    assert sum(each.taken == 0 for each in told) > 0.1 * messages


@pytest.mark.parametrize("make", [plain, pytest.param(dialpad, marks=pytest.mark.long)])
def test_sent_again_where_nobody_knows_nothing_is_lost_and_doubled_only_by_a_doubt(
    make: Make, messages: int, tmp_path: Path
) -> None:
    told, _ = play(tmp_path, make, "retry", 0.52, messages)
    assert Counter(each.message.state for each in told) == {State.SENT: messages}
    assert min(each.taken for each in told) == 1
    assert [each for each in told if each.taken > 1 + each.doubts] == []
    assert sum(each.taken > 1 for each in told) > 0.1 * messages


# -- two carriers ----------------------------------------------------------------------------------------------------

PROBE_MS = 3_000


def test_one_of_two_carriers_goes_away_and_comes_back_and_each_message_is_delivered_once(tmp_path: Path) -> None:
    live = Live(tmp_path, random.Random(SEED).random)
    alpha, beta = live.stand_in(latency_ms=300), live.stand_in(latency_ms=300)
    for name, carrier in (("alpha", alpha), ("beta", beta)):
        live.provider(twilio(carrier.url, name), breaker=BreakerRules(probe_every_ms=PROBE_MS), max_in_flight=16)
    tries: list[list[Attempt]] = []
    at_alpha = [0, 0]

    async def story() -> None:
        ids = await live.send_many(1_500)
        await live.told(Kind.MESSAGE_SENT, 300)
        await alpha.close()
        opened = await live.told(Kind.PROVIDER_BREAKER_OPENED)
        assert opened.fields["provider"] == "alpha"
        await live.told(Kind.MESSAGE_SENT, 1_400)
        at_alpha[0] = alpha.sends
        await alpha.open()
        await live.told(Kind.PROVIDER_BREAKER_CLOSED)
        ids += await live.send_many(500)
        assert {message.state for message in await live.final(ids)} == {State.SENT}
        at_alpha[1] = alpha.sends
        tries.extend([await live.attempts(id) for id in ids])

    live.run(story())
    taken = Counter((sent.to, sent.body) for carrier in (alpha, beta) for sent in carrier.taken_calls())
    assert len(taken) == 2_000
    assert set(taken.values()) == {1}
    assert at_alpha[0] < 600
    assert at_alpha[1] - at_alpha[0] > 100
    _check_outage(live, [attempt for each in tries for attempt in each if attempt.provider == "alpha"])


def _check_outage(live: Live, at_alpha: list[Attempt]) -> None:
    """Who was not reached goes elsewhere at once; while the breaker is open only probes try."""
    opened, closed = (
        next(event for event in live.events if event.kind is kind)
        for kind in (Kind.PROVIDER_BREAKER_OPENED, Kind.PROVIDER_BREAKER_CLOSED)
    )
    until = opened.fields["until"]
    assert isinstance(until, int)
    since = until - PROBE_MS  # it is told a little later, when it has been written down
    refused = [
        event.fields["delay_ms"]
        for event in live.events
        if event.kind is Kind.MESSAGE_RETRY_SCHEDULED and event.fields["category"] == "NETWORK"
    ]
    assert len(refused) >= 5
    assert set(refused) == {0}
    probes = sorted(each.started_at for each in at_alpha if since < each.started_at < closed.at)
    assert probes
    assert [later - earlier for earlier, later in pairwise([since, *probes]) if later - earlier < PROBE_MS] == []


# -- the real process ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_uncertain", ["hold", "retry"])
def test_a_kill_while_the_carrier_cannot_be_asked(
    site: Site, on_uncertain: str, request: pytest.FixtureRequest
) -> None:
    """Dialpad lists nothing and knows no key: only what was under way at a kill is in doubt."""
    carrier = site.carrier("--latency-ms", SLOW_MS)
    carrier.script(Rule("code", every=9, status=409, message="come again"))
    nothing = {"account_sid": None, "auth_token": None}
    site.configure(
        carrier.url,
        sections={"retry": {"budget": False}},
        type="dialpad",
        api_key=TOKEN,
        rate="1000/s",
        on_uncertain=on_uncertain,
        **nothing,
    )
    load = run_under_fire(site, max(1, kills(request) // 8), SEED)
    taken = carrier.taken()
    lost, doubled = exactly_once(load.promised.values(), taken)
    with site.client() as client:
        views = {(view["to"], view["text"]): view for view in client.views()}
        in_doubt = {key: crashed(client, view["id"]) for key, view in views.items()}
    held = {key for key, view in views.items() if view["state"] == "failed"}
    assert {view["state"] for view in views.values()} <= {"sent", "failed"}
    assert sum(in_doubt.values()) > 0, "no kill met an open call: the test proves nothing"
    assert [key for key in doubled if taken[key] > 1 + in_doubt[key]] == []
    if on_uncertain == "hold":
        assert doubled == []
        assert held == {key for key, count in in_doubt.items() if count}
        assert {views[key]["error"]["category"] for key in held} == {"UNCERTAIN"}
        assert set(lost) <= held
    else:
        assert (held, lost) == (set(), [])
        assert doubled != []
