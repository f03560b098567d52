"""What becomes of one message for each thing that a provider, or the way to it, can do?

One readable table. The stand-in does what the rules say over a real socket, the engine is the real one (see `live`),
and what counts is where the message ends, how many calls were made and charged, how the provider stands after the
first of them, how long it all waits, and what really arrived. Times are the product's own, and exact.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import trustme

from smsd.core.events import Event, Kind
from smsd.core.message import FINAL, Message
from smsd.providers.base import Provider
from tests.daemon.live import SENDER, Live, dialpad, keyed, messagebird, plain, twilio
from tests.doubles.stand_in import Rule, Sent, StandIn

Make = Callable[[str, str], Provider]

STUCK_S = 25
"""Real seconds until a case that does not end counts as it stands."""

COOLDOWN_S = 20
"""As configured here, for a throttle that names no wait."""


@dataclass(frozen=True)
class Case:
    """One message, to a provider that misbehaves."""

    name: str
    make: Make
    rules: tuple[Rule, ...]
    state: str
    tries: str
    """Outcome and category of its calls, in order: "unknown TIMEOUT, accepted"."""
    charged: int
    stands: str = "open"
    """The provider, when the first answer has been read."""
    waits_s: float | None = None
    """From the first call's end to the second one."""
    category: str | None = None
    """Of the message's error in the end."""
    taken: int = 1
    """How often it reached the phone."""
    lists: int = 0
    """Look-ups."""
    sends: int | None = None
    """How often it arrived; None: once for each call."""
    warm: int = 0
    """Messages that the provider took before."""
    suppressed: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    submit: dict[str, Any] = field(default_factory=dict)
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.make.__name__}: {self.name}"


def https(make: Make) -> Make:
    """The same provider, called with TLS."""

    def made(url: str, name: str) -> Provider:
        return make(url.replace("http://", "https://"), name)

    made.__name__ = make.__name__
    return made


def says(status: int, body: str = "", **headers: str) -> Rule:
    return Rule(
        "answer", status=status, body=body, headers={name.replace("_", "-"): at for name, at in headers.items()}
    )


def code(status: int, code: int, message: str = "scripted", *, times: int | None = None) -> Rule:
    return Rule("code", status=status, code=code, message=message, times=times)


def once(kind: str, *, taken: bool = False, **fields: Any) -> Rule:
    return Rule(kind, taken=taken, times=1, **fields)


def forbidden(message: str, *, times: int | None = 1) -> Rule:
    return Rule("code", status=403, message=message, times=times)


HOLD = {"on_uncertain": "hold"}
U, A, N = "unknown TIMEOUT", "accepted", "defer NETWORK"
THROTTLE, AUTH, SETUP = "defer RATE_LIMITED", "defer AUTH_FAILED", "defer CONFIG_ERROR"

LOST_ANSWERS = [
    once("hang", taken=True),
    once("reset", taken=True),
    once("close", taken=True),
    once("partial", taken=True),
    once("html", taken=True),
    once("malformed"),
    once("oversized"),
    once("trickle", delay_ms=1_000),
    once("garbage", taken=True),
]
"""Taken, and nobody says so."""

LOST_REQUESTS = [once(kind) for kind in ("hang", "reset", "close", "html", "partial", "garbage")]
"""Not taken, and nobody says so."""

CASES = [
    *(Case("no fault", make, (), "sent", A, 1) for make in (twilio, dialpad, messagebird, plain, keyed)),
    Case("slow, but in time", twilio, (once("ok", delay_ms=3_000),), "sent", A, 1),
    # -- nobody knows whether it was taken
    *(Case(f"{r.kind}, taken", twilio, (r,), "sent", U, 1, lists=1) for r in LOST_ANSWERS),
    *(Case(f"{r.kind}, taken", messagebird, (r,), "sent", U, 1, lists=1) for r in LOST_ANSWERS),
    *(Case(f"{r.kind}, not taken", twilio, (r,), "sent", f"{U}, {A}", 2, lists=2) for r in LOST_REQUESTS),
    *(Case(f"{r.kind}, not taken", messagebird, (r,), "sent", f"{U}, {A}", 2, lists=2) for r in LOST_REQUESTS),
    Case("hang, not taken, hold", twilio, (once("hang"),), "failed", U, 1, "open", None, "UNCERTAIN", 0, 2,
         config=HOLD),
    Case("hang, not taken, hold", messagebird, (once("hang"),), "sent", f"{U}, {A}", 2, lists=2, config=HOLD),
    *(
        Case(f"{r.kind}, taken, {policy}", make, (r,), state, tries, charged, "open", None, category, taken,
             config={"on_uncertain": policy})
        for make in (dialpad, plain)
        for r in LOST_ANSWERS
        for policy, state, tries, charged, category, taken in (
            ("hold", "failed", U, 1, "UNCERTAIN", 1),
            ("retry", "sent", f"{U}, {A}", 2, None, 2),
        )
    ),
    *(Case(f"{r.kind}, taken", keyed, (r,), "sent", f"{U}, {A}", 1) for r in LOST_ANSWERS),
    *(Case(f"{r.kind}, not taken", keyed, (r,), "sent", f"{U}, {A}", 1) for r in LOST_REQUESTS),
    Case("a 500", twilio, (once("code", status=500, code=20500, taken=True),), "sent", U, 1, lists=1),
    Case("a 503 of Dialpad's", dialpad, (says(503),), "failed", U, 1, "open", None, "UNCERTAIN", 0, config=HOLD),
    # -- too fast
    Case("429", twilio, (once("throttle"),), "sent", f"{THROTTLE}, {A}", 1, "cooling", COOLDOWN_S, sends=2),
    Case("429, 30 s", twilio, (once("throttle", retry_after="30"),), "sent", f"{THROTTLE}, {A}", 1, "cooling", 30),
    Case("429, a date", twilio, (once("throttle", retry_after="date"),), "sent", f"{THROTTLE}, {A}", 1, "cooling", 30),
    Case("429, 5 s", twilio, (once("throttle", retry_after="5"),), "sent", f"{THROTTLE}, {A}", 1, "cooling",
         COOLDOWN_S),
    Case("429, 5 s, honoured", twilio, (once("throttle", retry_after="5"),), "sent", f"{THROTTLE}, {A}", 1, "cooling",
         5, config={"retry_after": "honour"}),
    Case("429, 30 s, ignored", twilio, (once("throttle", retry_after="30"),), "sent", f"{THROTTLE}, {A}", 1, "cooling",
         COOLDOWN_S, config={"retry_after": "ignore"}),
    Case("429", messagebird, (once("throttle"),), "sent", f"{THROTTLE}, {A}", 1, "cooling", COOLDOWN_S),
    Case("429, a date", messagebird, (once("throttle", retry_after="date"),), "sent", f"{THROTTLE}, {A}", 1, "cooling",
         30),
    Case("429", dialpad, (once("throttle"),), "sent", f"{THROTTLE}, {A}", 1, "cooling", 60),
    Case("429, 90 s", dialpad, (once("throttle", retry_after="90"),), "sent", f"{THROTTLE}, {A}", 1, "cooling", 90),
    Case("a code with a wait", plain, (code(400, 72, times=1),), "sent", f"{THROTTLE}, {A}", 1, "cooling", 30),
    Case("its sender's queue is full", twilio, (code(429, 21611),), "pending", THROTTLE, 0, "open", 300,
         "RATE_LIMITED", 0),
    Case("too often to one number", twilio, (code(429, 14107, times=1),), "sent", f"{THROTTLE}, {A}", 1, "open", 30),
    # -- 403 of each kind
    Case("403, rate limit exceeded", dialpad, (forbidden("Rate limit exceeded"),), "sent", f"{THROTTLE}, {A}", 1,
         "cooling", 60),
    Case("403, quota", dialpad, (forbidden("API quota reached"),), "sent", f"{THROTTLE}, {A}", 1, "cooling", 60),
    Case("403, opted out", dialpad, (forbidden("Recipient has opted out"),), "failed", "refuse OPTED_OUT", 1, "open",
         None, "OPTED_OUT", 0, suppressed=True),
    Case("403, no permission", dialpad, (forbidden("You do not have permission"),), "pending", AUTH, 0, "halted", None,
         "AUTH_FAILED", 0),
    Case("403, not registered", dialpad, (forbidden("A2P campaign missing"),), "pending", SETUP, 0, "halted", None,
         "CONFIG_ERROR", 0),
    Case("403, unexplained after a 200", dialpad, (forbidden("Forbidden"),), "sent", f"{THROTTLE}, {A}", 1, "cooling",
         60, warm=1),
    Case("403, unexplained twice after a 200", dialpad, (forbidden("Forbidden", times=2),), "sent",
         f"{THROTTLE}, {THROTTLE}, {A}", 1, "cooling", 60, warm=1),
    Case("403, unexplained and first", dialpad, (forbidden("Forbidden", times=None),), "pending", AUTH, 0, "halted",
         None, "AUTH_FAILED", 0),
    Case("403, unexplained for ever", dialpad, (forbidden("Forbidden", times=None),), "pending",
         f"{THROTTLE}, {THROTTLE}, {THROTTLE}, {AUTH}", 0, "cooling", 60, "AUTH_FAILED", 0, warm=1),
    Case("403, an empty page", dialpad, (says(403),), "pending", AUTH, 0, "halted", None, "AUTH_FAILED", 0),
    Case("403, too many", twilio, (Rule("answer", status=403, body="too many requests", times=1),), "sent",
         f"{THROTTLE}, {A}", 1, "cooling", COOLDOWN_S),
    Case("403", twilio, (code(403, 20403),), "pending", AUTH, 0, "halted", None, "AUTH_FAILED", 0),
    Case("403", messagebird, (says(403, "Forbidden"),), "pending", AUTH, 0, "halted", None, "AUTH_FAILED", 0),
    # -- we are refused
    *(Case("401", make, (code(401, n),), "pending", AUTH, 0, "halted", None, "AUTH_FAILED", 0)
      for make, n in ((twilio, 20003), (dialpad, 401), (messagebird, 2), (plain, 1), (keyed, 1))),
    Case("401, and told to fail", twilio, (code(401, 20003),), "failed", AUTH, 1, "open", None, "AUTH_FAILED", 0,
         config={"on_auth_failure": "fail"}),
    *(Case("a redirect", make, (Rule("redirect"),), "pending", SETUP, 0, "halted", None, "CONFIG_ERROR", 0)
      for make in (twilio, dialpad, messagebird, plain)),
    *(Case("404", make, (says(404, "not here"),), "pending", SETUP, 0, "halted", None, "CONFIG_ERROR", 0)
      for make in (twilio, dialpad, messagebird, plain)),
    Case("our sender is not known", twilio, (code(400, 21606),), "pending", "refuse CONFIG_ERROR", 0, "halted", None,
         "CONFIG_ERROR", 0),
    Case("the caller's sender is not known", twilio, (code(400, 21606),), "failed", "refuse CONFIG_ERROR", 1, "open",
         None, "CONFIG_ERROR", 0, submit={"from_": SENDER}),
    # -- the message is refused
    *(Case("no such number", make, (code(400, n, "to_numbers"),), "failed", "refuse INVALID_RECIPIENT", 1, "open", None,
           "INVALID_RECIPIENT", 0)
      for make, n in ((twilio, 21211), (dialpad, 400), (plain, 71))),
    Case("opted out", twilio, (code(400, 21610),), "failed", "refuse OPTED_OUT", 1, "open", None, "OPTED_OUT", 0,
         suppressed=True),
    Case("a code of nobody's", twilio, (code(400, 29999),), "failed", "refuse REJECTED", 1, "open", None, "REJECTED",
         0),
    # -- it may pass later
    Case("503, twice", twilio, (code(503, 20503, times=2),), "sent",
         f"defer PROVIDER_ERROR, defer PROVIDER_ERROR, {A}", 3, "open", 1),
    Case("503 for ever", twilio, (code(503, 20503),), "failed", ", ".join(["defer PROVIDER_ERROR"] * 5), 5, "open", 1,
         "EXHAUSTED", 0),
    # -- nobody is reached
    Case("a certificate of nobody's", twilio, (), "pending", f"{N}, {N}", 0, "open", 1, "NETWORK", 0, sends=0,
         tls=True),
    Case("no TLS where TLS is due", https(dialpad), (), "pending", f"{N}, {N}", 0, "open", 1, "NETWORK", 0, sends=0),
    Case("no TLS, and it costs attempts", https(twilio), (), "failed", ", ".join([N] * 5), 5, "open", 1, "EXHAUSTED", 0,
         sends=0, config={"network_costs_attempt": True}),
]  # fmt: skip


@dataclass
class Seen:
    """What became of a case."""

    message: Message
    tries: list[str]
    stands: str
    delay_ms: object
    calls: list[Sent]
    """What arrived."""
    stats: dict[str, int]
    suppressed: bool


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """Every case in one run of the engine, each at a provider of its own; the longest begin first."""
    live = Live(tmp_path_factory.mktemp("verdicts"), lambda: 0.0, speed=50)  # a pause of the machine is soon a timeout
    found: dict[str, Seen] = {}
    turns = asyncio.Semaphore(12)
    carriers = {str(case): live.stand_in(tls=_untrusted() if case.tls else None) for case in CASES}
    assert len(carriers) == len(CASES), "two cases have one name"
    for n, case in enumerate(CASES):
        rules = {"cooldown_ms": COOLDOWN_S * 1_000, "timeout_ms": 20_000, **case.config}
        live.provider(case.make(carriers[str(case)].url, f"p{n}"), **rules)

    async def play(n: int, case: Case) -> None:
        async with turns:
            found[str(case)] = await _story(live, carriers[str(case)], case, f"p{n}")

    async def story() -> None:
        waits = [(case.warm * case.tries.count(THROTTLE), n) for n, case in enumerate(CASES)]
        await asyncio.gather(*(play(n, CASES[n]) for _, n in sorted(waits, reverse=True)))

    live.run(story())
    return found


def _untrusted() -> ssl.SSLContext:
    """A certificate of an authority that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


async def _story(live: Live, carrier: StandIn, case: Case, name: str) -> Seen:
    await live.final([await live.send(provider=name) for _ in range(case.warm)])
    carrier.reset()
    carrier.script(replace(rule) for rule in case.rules)
    id = await live.send(provider=name, **case.submit)
    while not (told := [event for event in live.about[id] if _counts(event)]):
        await live.news(id)
    stands = live.engine.lanes[name].standing().value
    most = len(case.tries.split(", "))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STUCK_S * live.loop.speed):
            while (message := await live.message(id)).state not in FINAL:
                if case.state == "pending" and sum(map(_counts, live.about[id])) == most:
                    break
                await live.news(id)
    suppressed = bool(await live.store.suppressions_of(message.recipient))
    delay_ms = told[0].fields.get("delay_ms")
    tries = await _tries(live, id)
    if N not in case.tries:
        # A machine that pauses for a fifth of a second is, in this fast time, one that does not connect: no attempt.
        tries = [each for each in tries if each != N]
    tries = tries[: most if message.state not in FINAL else None]  # the next one may have begun
    return Seen(message, tries, stands, delay_ms, [*carrier.calls], carrier.stats(), suppressed)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_fault_has_its_consequence(case: Case, seen: dict[str, Seen]) -> None:
    was = seen[str(case)]
    message, tries = was.message, case.tries.split(", ")
    assert (message.state.label, was.tries) == (case.state, tries), message.error
    assert message.charged == case.charged
    assert was.stands == case.stands
    if case.waits_s is not None:
        assert was.delay_ms == case.waits_s * 1_000
    _check_error(message, case)
    arrived = {name: was.stats[name] for name in ("sends", "taken", "lists", "elsewhere")}
    sends = len(tries) if case.sends is None else case.sends
    assert arrived == {"sends": sends, "taken": case.taken, "lists": case.lists, "elsewhere": 0}
    assert {(sent.to, sent.body) for sent in was.calls} <= {(message.recipient, message.text)}
    assert was.suppressed is case.suppressed


def _counts(event: Event) -> bool:
    """Whether it tells the end of a call."""
    return event.kind.startswith("message.") and event.kind not in {Kind.MESSAGE_ACCEPTED, Kind.MESSAGE_RECONCILED}


async def _tries(live: Live, id: str) -> list[str]:
    attempts = await live.attempts(id)
    return [each.outcome if each.category is None else f"{each.outcome} {each.category}" for each in attempts]


def _check_error(message: Message, case: Case) -> None:
    """What a person is told: the category, never the text or the number."""
    if case.category is None:
        assert message.state.label == "sent"
        return
    assert message.error is not None
    assert message.error.category.value == case.category
    assert message.text not in message.error.message
    assert message.recipient not in message.error.message
