"""What must be true of what follows from the carriers' answers?

Invariants like those of `invariants`: of breakers, shared and learnt rates, the budget of retries, opt-outs, failover,
doubt and crashes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

from smsd.core.message import State
from smsd.core.pacing import Pace
from smsd.core.verdict import Category
from tests.simulation.history import Call, History, Letter, Opening
from tests.simulation.rounds import TAKEN, cut_off, doubtful, rounds, rules_of, sent_again

OUT_OF_ORDER = frozenset({"broken", "being tried"})

CLAIMED_US = 100_000
"""How long a claim made in time may wait for its slot and its commit."""

FLOOR_PER_S = 5
"""Retries that are let through in any second."""

CRASHES = 3
"""The crash of this number, with the message in a call each time, parks it."""


def tried_seldom(history: History) -> list[str]:
    """What is out of order gets one call at a time, and one each `probe_every`, also after a restart."""
    return [
        f"call {c.n} began while {c.provider} was {c.forbidden}" for c in history.calls if c.forbidden in OUT_OF_ORDER
    ]


def shared_ceilings(history: History) -> list[str]:
    """In every window of an account at most its units were started by all its providers together, through restarts and
    changes. A message of more units than a window holds goes alone."""
    found = []
    for name, openings in history.accounts.items():
        for number in range(len(openings[0].pace.windows)):
            found += [f"{name}: {each}" for each in _over(history, openings, number)]
    return found


def _over(history: History, openings: list[Opening], number: int) -> list[str]:
    found = []
    span_us = openings[0].pace.windows[number].span_us
    by_segments = openings[0].pace.unit == "segments"
    for place, call in enumerate(history.calls):
        inside = [
            each
            for each in _since(history.calls, place, call.start_us - span_us)
            if each.provider in _in_force(openings, call.start_us)[0].members
        ]
        if not inside or inside[-1] is not call:
            continue
        units = sum(each.segments if by_segments else 1 for each in inside)
        limit = max(each.pace.windows[number].limit for each in _in_force(openings, call.start_us))
        if units > limit and len(inside) > 1:
            found.append(f"{units} units in {span_us} us up to call {call.n}; {limit} are allowed")
    return found


def _since(calls: list[Call], place: int, after_us: int) -> list[Call]:
    first = place
    while first > 0 and calls[first - 1].start_us > after_us:
        first -= 1
    return calls[first : place + 1]


def _in_force(openings: list[Opening], at_us: int) -> list[Opening]:
    """What counts at that time; at the very instant of a change, both."""
    return [next(each for each in reversed(openings) if each.at_us < at_us)] + [
        each for each in openings if each.at_us == at_us
    ]


def learnt_rates(history: History) -> list[str]:
    """What was learnt of a provider never lets more through than what is configured, and what it is said to be called
    with it is called with."""
    found = []
    for name, now, recommended, configured in history.views:
        for rate in (now, recommended):
            if configured is not None and (rate is None or rate > configured * (1 + 1e-9)) and rate is not recommended:
                found.append(f"{name} is called at {rate} a minute; {configured} is configured")
            elif configured is not None and rate is not None and rate > configured * (1 + 1e-9):
                found.append(f"{rate} a minute is recommended for {name}; {configured} is configured")
    for name, rates in history.rates.items():
        for (since_us, rate), (until_us, _) in pairwise([*rates, (1 << 62, None)]):
            if rate is not None:
                found += _faster(history, name, rate, since_us, until_us)
    return found


def _faster(history: History, name: str, rate: float, since_us: int, until_us: int) -> list[str]:
    """Calls beyond a learnt rate while it counted."""
    duty = history.duties[name]
    pace = next(pace for at_us, pace in reversed(duty.paces) if at_us <= since_us)
    pace = pace if pace.windows else _shared(history, name, since_us)
    calls = [c for c in history.calls if c.provider == name and since_us < c.start_us < until_us]
    if not pace.windows or not calls:
        return []
    ceilings = [window.limit * 60_000_000 / window.span_us for window in pace.windows]
    ceilings += [60_000_000 / pace.min_gap_us] if pace.min_gap_us else []
    if rate >= (1 - 1e-3) * min(ceilings):
        return []  # as configured again
    allowed = rate * pace.shortest.span_us / 60_000_000
    cost = [call.segments if pace.unit == "segments" else 1 for call in calls]
    for place, call in enumerate(calls):
        inside = [n for n in range(place + 1) if calls[n].start_us > call.start_us - pace.shortest.span_us]
        units = sum(cost[n] for n in inside)
        if units > allowed + 1 + max(cost):
            return [
                f"{name}: {units} units in {pace.shortest.span_us} us up to call {call.n}; {allowed:.1f} are learnt"
            ]
    return []


def _shared(history: History, name: str, at_us: int) -> Pace:
    openings = history.accounts.get(history.duties[name].rules.account, [])
    return next((each.pace for each in reversed(openings) if each.at_us <= at_us), Pace())


def in_budget(history: History) -> list[str]:
    """Of the retries after an answer no more are due in a second than the floor, or their share of the calls."""
    if history.budget is None:
        return []
    by_second = sorted(call.wall // 1_000 for call in history.calls)
    first = most = 0
    for place, second in enumerate(by_second):
        while by_second[first] < second - 10:
            first += 1
        most = max(most, place - first + 1)
    allowed = max(FLOOR_PER_S, int(history.budget * most / 10))
    due = Counter((life, steps, at // 1_000) for life, steps, at in history.retries)
    return [f"{n} retries are due in second {key}; {allowed} are allowed" for key, n in due.items() if n > allowed]


def not_suppressed(history: History) -> list[str]:
    """Who opted out is not called by that provider any more, once that is durable."""
    found = []
    for each in history.suppressed:
        ends = [at for scope, number, at in history.lifted if (scope, number) == (each.scope, each.number)]
        until_us = min((at for at in ends if at >= each.from_us), default=1 << 62)
        found += [
            f"call {call.n} goes to {call.recipient}, who opted out of {call.provider or 'everything'}"
            for call in history.calls
            if call.recipient == each.number
            and each.scope in {"", call.provider}
            and each.from_us + CLAIMED_US < call.start_us < until_us
            and not call.again
        ]
    return found


def rested(history: History) -> list[str]:
    """A sender, or a pair of sender and recipient, that was too fast waits; unless an operator resumes the provider."""
    found = []
    for each in history.rested:
        resumed = [at for name, at in history.resumes if name == each.provider and at >= each.from_us]
        until_us = min([each.until_us - 1_000, *resumed])
        found += [
            f"call {call.n} from {call.sender} to {call.recipient} began while they had to wait"
            for call in history.calls
            if (call.life, call.provider, call.sender) == (each.life, each.provider, each.sender)
            and each.recipient in {None, call.recipient}
            and each.from_us + CLAIMED_US < call.start_us < until_us
            and not call.again
        ]
    return found


def settled_first(history: History) -> list[str]:
    """Nothing is sent again, or elsewhere, before its last call has ended and what became of it is settled: by two
    empty look-ups where the provider can be asked, never where uncertain messages are held. Without failover no message
    moves, but from a provider that is gone or that its recipient opted out of."""
    found = []
    for letter, calls in rounds(history):
        for first, second in pairwise(calls):
            wrong = "" if second.again else _unsettled(history, letter, first, second)
            if wrong:
                found.append(f"{letter.id[:8]} went by call {first.n} and by {second.n}: {wrong}")
    return found


def _unsettled(history: History, letter: Letter, first: Call, second: Call) -> str:
    if first.end_us is not None and first.end_us > second.start_us and first.life == second.life:
        return "the first was under way"
    moved = first.provider != second.provider
    gone = first.provider in second.disabled or any(
        each.number == letter.recipient and each.scope == first.provider for each in history.suppressed
    )
    if moved and not history.failover and not gone and _stays(history, letter):
        return "nothing fails over here"
    if not doubtful(history, first):
        return ""
    lookup, rules = history.lookups[first.provider], rules_of(history, first)
    looks = [each for each in history.looks if each.id == letter.id and first.start_us < each.at_us <= second.start_us]
    if rules.on_uncertain == "hold" and lookup != "exact":
        return "uncertain messages are held"
    if lookup == "exact" and sum(each.answered for each in looks) < 2:
        return "it was not asked for often enough"
    return "it was not asked for" if lookup == "fuzzy" and not looks else ""


def _stays(history: History, letter: Letter) -> bool:
    """Whether its round had one provider only to go by from the start; unknown once providers came and went."""
    calls = [call for call in history.calls if call.id == letter.id]
    return not any(call.disabled for call in calls)


def not_for_our_fault(history: History) -> list[str]:
    """No message fails because the provider refuses us, or without a reason, unless the operator wants that."""
    found = list(history.judged)
    for message in history.outbox:
        if message.state is not State.FAILED or message.error is None:
            continue
        ours = {message.error.category, message.error.cause} & {Category.AUTH_FAILED, Category.CONFIG_ERROR}
        asked = history.by_id[message.id].sender is not None and Category.CONFIG_ERROR in ours
        if ours and not asked and history.duties[message.provider or ""].rules.on_auth_failure == "halt":
            found.append(f"{message.id[:8]} failed: {message.error}")
    return found


def parked(history: History) -> list[str]:
    """A message that was in a call at three crashes is not called again, unless an operator wants it."""
    ends = dict(enumerate(why for _, why in history.lives[1:]))
    found = []
    for letter, calls in rounds(history):
        crashes = 0
        for call in calls:
            if crashes >= CRASHES:
                found.append(f"call {call.n} is for {letter.id[:8]}, which was in a call at {crashes} crashes")
            crashes += _crashed(history, call, ends.get(call.life, ""))
    return found


def _crashed(history: History, call: Call, end: str) -> bool:
    orderly = end.startswith(("a restart", "peace"))
    return not call.again and call.end_us is None and not orderly and bool(end) and cut_off(history, call)


def proved(history: History) -> list[str]:
    """What a receipt proved was taken is sent, and goes out no more."""
    found = []
    states: dict[str, State] = {message.id: message.state for message in history.outbox}
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in history.calls:
        calls[call.id].append(call)
    for id, at_us in history.proofs:
        if sent_again(history.by_id[id], at_us):
            continue
        if states[id] not in TAKEN:
            found.append(f"{id[:8]} was proved to be taken and is {states[id].label}")
        later = [call for call in calls[id] if call.start_us > at_us + CLAIMED_US and not call.again]
        found += [f"call {call.n} is for {id[:8]}, which was proved to be taken" for call in later]
    return found


ALL = (
    tried_seldom,
    shared_ceilings,
    learnt_rates,
    in_budget,
    not_suppressed,
    rested,
    settled_first,
    not_for_our_fault,
    parked,
    proved,
)
