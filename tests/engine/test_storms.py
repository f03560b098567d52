"""Does the whole engine come through what carriers do for hours: limits, bad days, outages?

Virtual time on the real engine and outbox. The default sizes show the shape in seconds; `--long` runs the full ones.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from smsd.core.events import Kind
from smsd.core.pacing import Pace, Window
from smsd.engine.setting import Setting
from smsd.providers.base import Outcome, Request, Response
from smsd.providers.dialpad import Dialpad
from tests.engine.rig import ACCEPTED, LOST, REFUSED, Carrier, Rig, answer, twilio

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

LONG = pytest.mark.long


def per_minute(units: int) -> Pace:
    return Pace((Window(units, 60_000_000),))


async def offer(rig: Rig, a_minute: int, minutes: int, **fields: str) -> int:
    """So many texts a minute, evenly, each to another number; how many."""
    total, began = a_minute * minutes, rig.clock.wall()
    for n in range(total):
        due = began + n * MINUTE // a_minute
        if due > rig.clock.wall():
            await rig.seconds((due - rig.clock.wall()) / SECOND)
        await rig.accepted(to=f"+1415555{n % 10_000:04d}", text=f"text {n}", **fields)
    return total


async def states(rig: Rig) -> Counter[str]:
    """How many messages are in each state."""
    totals = await rig.store.totals(0)
    found: Counter[str] = Counter()
    for (state, _), count in totals.states.items():
        found[state.label] += count
    return +found


async def come_to_rest(rig: Rig, minutes: int) -> Counter[str]:
    """Until nothing waits any more, or for so long; the states then."""
    for _ in range(minutes):
        found = await states(rig)
        if not found["pending"] and not found["processing"]:
            return found
        await rig.seconds(60)
    return await states(rig)


def most_in(span_ms: int, starts: list[int]) -> int:
    """The most calls in any window of that length."""
    inside: deque[int] = deque()
    most = 0
    for at in starts:
        inside.append(at)
        while inside[0] <= at - span_ms:
            inside.popleft()
        most = max(most, len(inside))
    return most


def cooled_ms(rig: Rig, since: int, until: int) -> int:
    """How long the provider rested after throttles within that time."""
    spans: list[tuple[int, int]] = []
    for event in rig.events:
        if event.kind is Kind.PROVIDER_COOLDOWN:
            end = event.fields["until"]
            assert isinstance(end, int)
            spans.append((max(since, event.at), min(until, end)))
    return sum(max(0, end - begin) for begin, end in spans)


# -- a limit that nobody told us of -----------------------------------------------------------------------------------


class Limited(Carrier):
    """It takes so many calls in any 60 s, and refuses what is beyond in its own words."""

    def __init__(self, rig: Rig, allowed: int, beyond: Response, taken: Callable[[int], Response]) -> None:
        super().__init__(rig.clock)
        self._rig = rig
        self._allowed = allowed
        self._beyond = beyond
        self._taken = taken
        self._lately: deque[int] = deque()
        self.took: list[int] = []
        """When it took one (wall time)."""
        self.throttled: list[int] = []

    def __call__(self, request: Request, n: int) -> tuple[Outcome, int]:
        now = self._rig.clock.wall()
        while self._lately and self._lately[0] <= now - MINUTE:
            self._lately.popleft()
        if len(self._lately) >= self._allowed:
            self.throttled.append(now)
            return self._beyond, 40
        self._lately.append(now)
        self.took.append(now)
        return self._taken(len(self.took)), 40


TOO_FAST = {
    "429 of twilio": answer(429, code=20429, message="Too Many Requests"),
    "403 of dialpad": Response(403, {}, b'{"error": {"code": 403, "message": "Forbidden"}}'),
}


def taken_by_twilio(n: int) -> Response:
    return answer(201, sid=f"SM{n:032d}", status="queued", num_segments="1", price=None)


def taken_by_dialpad(n: int) -> Response:
    return Response(200, {}, json.dumps({"id": n, "message_status": "pending"}).encode())


@pytest.mark.parametrize(
    ("offered", "allowed", "minutes", "refused"),
    [pytest.param(70, 10, 9, 8, id="small"), pytest.param(700, 100, 100, 70, id="full", marks=LONG)],
)
@pytest.mark.parametrize("how", TOO_FAST)
def test_seven_times_too_much_is_all_delivered(
    rig: Rig, how: str, offered: int, allowed: int, minutes: int, refused: int
) -> None:
    """The rate is set to what is offered, as by somebody who does not know the carrier's limit.

    At most `refused` calls are throttled: the first ones until the rate is learnt (each brings a rest), then at most
    one an hour, when it is put to the test. In full that is under 0.1 % of the calls.
    """
    rules = rig.rules(pace=per_minute(offered))
    rig.providers = [(twilio(), rules)]
    dialpad = how == "403 of dialpad"
    carrier = Limited(rig, allowed, TOO_FAST[how], taken_by_dialpad if dialpad else taken_by_twilio)
    rig.carrier = carrier

    async def story() -> None:
        await rig.start()
        if dialpad:
            setting = Setting("main", Dialpad("main", api_key="key"), rules)
            await rig.engine.reconfigure(replace(rig.plan(), settings=(setting,)))
        total = await offer(rig, offered, minutes)
        assert await come_to_rest(rig, 3 * total // allowed) == {"sent": total}
        assert not rig.deaths
        first, last = carrier.throttled[0], carrier.took[-1]
        calm = last - first - cooled_ms(rig, first, last)
        used = len([at for at in carrier.took if at > first]) / (allowed * calm / MINUTE)
        assert len(carrier.throttled) <= refused
        assert used >= 0.85
        await rig.stop()

    rig.run(story)


# -- a bad day --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [2_000, pytest.param(10_000, marks=LONG)])
def test_a_bad_day(rig: Rig, total: int) -> None:
    """5 % of the calls meet a passing error, 1 % a throttle; 1 % of the numbers are none.

    A throttle of the whole provider rests it: here for a second, as the provider asks. These throttles have nothing to
    do with the rate, so none is learnt of them (`adaptive = false`).
    """
    random, calls = Random(4), Counter[str]()
    wrong = {f"text {n}" for n in range(total) if random.random() < 0.01}
    later, slower = answer(503), answer(429, {"retry-after": "1"}, code=20429, message="Too Many Requests")

    def said(name: str, fields: dict[str, str]) -> Outcome | str:
        calls[fields["Body"]] += 1
        if fields["Body"] in wrong:
            return answer(400, code=21614, message="not a mobile number")
        return _drawn(random, later, slower)

    rig.carrier.answers = said
    pace = per_minute(3_000)
    rig.providers = [(twilio(), rig.rules(pace=pace, cooldown_ms=1_000, retry_after="honour", adaptive=False))]
    rig.budget = 0.2

    async def story() -> None:
        await rig.start()
        await offer(rig, 1_000, total // 1_000)
        found = await come_to_rest(rig, 60)
        delivered = {fields["Body"] for fields in rig.carrier.taken}
        again = {body for body, n in calls.items() if n > 1}
        assert found["sent"] == len(rig.carrier.taken) == len(delivered)
        assert found.keys() <= {"sent", "failed"}
        assert len(delivered) > 0.99 * (total - len(wrong))
        assert len(again) > 0.04 * total
        assert len(again & delivered) > 0.8 * len(again)
        assert sum(calls[body] - 1 for body in again) < 1.5 * len(again)
        await rig.stop()

    rig.run(story)


def _drawn(random: Random, later: Outcome, slower: Outcome) -> Outcome | str:
    luck = random.random()
    return slower if luck < 0.01 else later if luck < 0.06 else ACCEPTED


# -- outages ----------------------------------------------------------------------------------------------------------


def probes(rig: Rig, name: str, until: int) -> list[int]:
    """Calls of a provider from its breaker's opening to then (wall times)."""
    opened = next(
        each.at for each in rig.events if each.kind is Kind.PROVIDER_BREAKER_OPENED and each.fields["provider"] == name
    )
    return [at for at in starts(rig, name) if opened < at < until]


def starts(rig: Rig, name: str) -> list[int]:
    return [at for (at, _), each in zip(rig.carrier.sends, rig.carrier.names, strict=True) if each == name]


@pytest.mark.parametrize(("hours", "a_minute"), [(1, 20), pytest.param(3, 60, marks=LONG)])
def test_an_outage_of_one_of_two_providers_fails_nothing(rig: Rig, hours: int, a_minute: int) -> None:
    """The other one carries it all, and what waited goes out under its rate."""
    rate = a_minute + 10
    pace = per_minute(rate)
    rig.providers = [(twilio("alpha"), rig.rules(pace=pace)), (twilio("beta"), rig.rules(pace=pace))]
    begin = rig.clock.wall() + 2 * MINUTE
    end = begin + hours * HOUR
    rig.carrier.answers = lambda name, fields: (
        REFUSED if name == "alpha" and begin <= rig.clock.wall() < end else ACCEPTED
    )

    async def story() -> None:
        await rig.start()
        total = await offer(rig, a_minute, 60 * hours + 10)
        assert await come_to_rest(rig, 30) == {"sent": total}
        assert len(rig.carrier.taken) == total
        tried = probes(rig, "alpha", end)
        assert 100 * hours <= len(tried) <= 120 * hours
        assert min(b - a for a, b in pairwise(tried)) >= 30 * SECOND
        assert most_in(MINUTE, starts(rig, "alpha")) <= rate
        assert most_in(MINUTE, starts(rig, "beta")) <= rate
        assert len([at for at in starts(rig, "alpha") if at >= end]) > a_minute * 6  # it carries them again
        events = Counter(event.kind for event in rig.events)
        assert (events[Kind.PROVIDER_BREAKER_OPENED], events[Kind.PROVIDER_BREAKER_CLOSED]) == (1, 1)
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize(("hours", "a_minute"), [(2, 4), pytest.param(3, 60, marks=LONG)])
def test_an_outage_of_the_only_provider_expires_what_is_too_old_and_paces_the_rest(
    rig: Rig, hours: int, a_minute: int
) -> None:
    """Of messages that are worth an hour."""
    rate = 6 * a_minute
    rig.providers = [(twilio(), rig.rules(pace=per_minute(rate)))]
    begin = rig.clock.wall() + MINUTE
    end = begin + hours * HOUR
    rig.carrier.answers = lambda name, fields: REFUSED if begin <= rig.clock.wall() < end else ACCEPTED

    async def story() -> None:
        await rig.start()
        total = await offer(rig, a_minute, 60 * hours + 20, ttl="1h")
        found = await come_to_rest(rig, 60)
        assert found.keys() == {"sent", "expired"}
        assert found.total() == total
        # What was submitted in the last hour of the outage, but for its first seconds, is still worth sending.
        assert a_minute * (60 * (hours - 1) - 1) <= found["expired"] <= a_minute * (60 * (hours - 1) + 2)
        assert len(probes(rig, "main", end)) <= 120 * hours
        flush = [at for at in starts(rig, "main") if at >= end]
        assert most_in(MINUTE, flush) <= rate
        assert flush[60 * a_minute] - flush[0] <= 14 * MINUTE  # an hour's backlog, and what came meanwhile
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("how", ["answers 503", "takes it and hangs", "hangs"])
def test_nothing_is_doubled_and_nothing_fails_in_an_outage(rig: Rig, how: str) -> None:
    """A provider that can be asked, whose list works all the time. What hangs is charged: it may have been sent."""
    rig.providers = [(twilio(), rig.rules(pace=per_minute(60), timeout_ms=5_000))]
    begin = rig.clock.wall() + MINUTE
    end = begin + 10 * MINUTE

    def said(name: str, fields: dict[str, str]) -> Outcome | str:
        rig.carrier.latency_ms = 5
        if not begin <= rig.clock.wall() < end:
            return ACCEPTED
        if how == "answers 503":
            return answer(503)
        if how == "takes it and hangs":
            rig.carrier.take(fields)
        rig.carrier.latency_ms = 60_000
        return LOST

    def listed(request: Request) -> Outcome:
        rig.carrier.latency_ms = 5
        return rig.carrier.listed(request)

    rig.carrier.answers, rig.carrier.look_up = said, listed

    async def story() -> None:
        await rig.start()
        total = await offer(rig, 30, 13)
        found = await come_to_rest(rig, 60)
        assert found == {"sent": total}
        taken = Counter(fields["Body"] for fields in rig.carrier.taken)
        assert len(taken) == total
        assert set(taken.values()) == {1}
        assert len(probes(rig, "main", end)) <= 20
        assert len([at for at in starts(rig, "main") if begin <= at < end]) <= 20 + 32
        assert most_in(MINUTE, starts(rig, "main")) <= 60
        await rig.stop()

    rig.run(story)


# -- what was learnt --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["crash", "reload", "slower"])
def test_a_learnt_rate_outlives(rig: Rig, how: str) -> None:
    """A crash, a reload, a reload that changes the rate: it is called no faster than what it was taught."""
    rules = rig.rules(pace=per_minute(120), cooldown_ms=60_000)
    rig.providers = [(twilio(), rules)]
    limited = Limited(rig, 20, TOO_FAST["429 of twilio"], taken_by_twilio)
    rig.carrier = limited

    async def story() -> None:
        await rig.start()
        await offer(rig, 40, 9)
        (before,) = rig.engine.service.providers()
        assert before.rate_now is not None
        assert before.rate_now < 25
        throttled = len(limited.throttled)
        if how == "crash":
            await rig.crash()
            await rig.start()
        else:
            changed = replace(rules, pace=per_minute(100 if how == "slower" else 120), max_in_flight=20)
            rig.providers = [(twilio(), changed)]
            await rig.engine.reconfigure(rig.plan())
        (after,) = rig.engine.service.providers()
        assert after.rate_now == pytest.approx(before.rate_now)
        assert after.recommended_rate == before.recommended_rate
        began = rig.clock.wall()
        await rig.seconds(600)
        assert len([at for at in limited.took if at > began]) > 15 * 9
        assert len(limited.throttled) == throttled
        await rig.stop()

    rig.run(story)
