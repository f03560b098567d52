"""What must be true of limits, quiet hours and the times that smsd counts itself?

Invariants like those of `invariants`. Windows are measured by true time, from what SQLite itself saw of acceptances and
claims; the ledger is not asked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import zip_longest

from smsd.core.admission import kind_of
from smsd.core.limits import AT_ACCEPTANCE, OF_FLOWS, Action, Per, Rule, Subject, key_of
from smsd.core.message import Message, Priority, State
from tests.simulation.history import Claimed, History

CLAIMING_MS = 1_000
"""A claim is judged by the time at which it was asked for; it is written a commit later, or several when the database
is busy."""

COMMIT_US = 100_000
"""How much later that is when nothing is wrong."""

FOREVER = 1 << 62

BOUND_ANEW = frozenset({*OF_FLOWS, Per.SENDER})
"""What binds a message that an operator sends again as any other."""


def limits_kept(history: History) -> list[str]:
    """In no window of any rule is more claimed, or accepted, than it allows: through restarts, reboots, steps of the
    wall clock and deletions."""
    found = []
    for rule in history.governed.rules:
        events = _accepted(history, rule) if rule.action in AT_ACCEPTANCE else _charged(history, rule)
        for key, times in events.items():
            for place in range(rule.count, len(times)):
                span_us = times[place] - times[place - rule.count]
                late_us = CLAIMING_MS * 1_000 if _failed_at(history, times[place - rule.count]) else COMMIT_US
                if span_us < rule.span_ms * 1_000 - late_us:
                    found.append(f"{rule.count + 1} in {span_us} us for {key!r}; allowed are {rule.words}")
    return found


def _failed_at(history: History, at_us: int) -> bool:
    return any(0 <= at_us - failed_us <= 2 * CLAIMING_MS * 1_000 for failed_us in history.store_failures)


def _bound(rule: Rule, message: Message) -> bool:
    if rule.per is Per.REPEAT and message.idempotency_key is not None:
        return False
    return rule.tenant is None or rule.tenant == message.tenant


def _key(rule: Rule, message: Message, sender: str | None) -> str | None:
    of = Subject(message.recipient, message.tenant, message.user, message.campaign, sender, message.text)
    return key_of(rule.per, of)


def _charged(history: History, rule: Rule) -> dict[str, list[int]]:
    """When each key was charged: at the first claim of each round that the rule binds."""
    messages = {message.seq: message for message in history.outbox}
    events: dict[str, list[int]] = defaultdict(list)
    last: dict[tuple[str, int], int] = {}
    for claim in _first_claims(history):
        message = messages[claim.seq]
        key = _key(rule, message, claim.sender) if _bound(rule, message) else None
        if key is None or (claim.round and rule.per not in BOUND_ANEW):
            continue
        if claim.at_us - last.get((key, claim.seq), -(1 << 62)) < rule.span_ms * 1_000 + CLAIMING_MS * 1_000:
            continue  # it is in the window already
        last[key, claim.seq] = claim.at_us
        events[key].append(claim.at_us)
    return events


def _first_claims(history: History) -> Iterator[Claimed]:
    seen: set[tuple[int, int]] = set()
    for claim in history.claims:
        if (claim.seq, claim.round) not in seen:
            seen.add((claim.seq, claim.round))
            yield claim


def _accepted(history: History, rule: Rule) -> dict[str, list[int]]:
    """When each key was charged at an acceptance; those that were cancelled while they would count are left out. So
    are, where a repeat is answered with the first message, those that were deleted by then: there is no answer."""
    events: dict[str, list[tuple[int, int]]] = defaultdict(list)
    entered = dict(history.entered)
    for message in history.outbox:
        key = _key(rule, message, message.asked_sender) if _bound(rule, message) else None
        if key is not None and message.state is not State.CANCELLED:
            events[key].append((entered[message.seq], message.seq))
    gone = history.gone if rule.action is Action.REPLAY else {}
    return {key: _not_gone(sorted(each), gone) for key, each in events.items()}


def _not_gone(events: list[tuple[int, int]], gone: Mapping[int, int]) -> list[int]:
    """The times of those that were there when the next one came."""
    later = [at_us for at_us, _ in events[1:]]
    return [
        at_us
        for (at_us, seq), next_us in zip_longest(events, later)
        if next_us is None or gone.get(seq, FOREVER) > next_us
    ]


SENDERS = kind_of(Rule(Per.SENDER, 1, 1))


def charged_once(history: History) -> list[str]:
    """No message is charged twice for one thing in one round; but a sender's limit counts each time that it goes."""
    rounds = {message.seq: message.round for message in history.outbox}
    charges = Counter(history.charges)
    return [
        f"message {seq} was charged {n} times as {kind} for {key!r}; it has had {rounds.get(seq, 0) + 1} rounds"
        for (kind, key, seq), n in charges.items()
        if n > rounds.get(seq, 0) + 1 and kind != SENDERS
    ]


def quiet_kept(history: History) -> list[str]:
    """Nothing but what is urgent is claimed in quiet hours, by the clock that woke whoever sleeps."""
    messages = {message.seq: message for message in history.outbox}
    found = []
    for claim in history.claims:
        message = messages[claim.seq]
        stepped = any(abs(claim.at_us - at_us) <= CLAIMING_MS * 1_000 for at_us in history.step_times)
        quiet = all(history.governed.quiet_at(message.tenant, claim.wall - ms) for ms in (0, CLAIMING_MS))
        if quiet and not stepped and message.priority is not Priority.HIGH:
            found.append(f"{message.id[:8]} was claimed in quiet hours")
    return found


def refused_stay_out(history: History) -> list[str]:
    """What was refused is neither kept nor called, unless nobody can know; a repeat that is answered with the first
    message of its kind is not kept either."""
    kept = {message.id for message in history.outbox} | {call.id for call in history.calls}
    return [
        f"submission {letter.n} was refused ({', '.join(letter.faults)}) or replayed, and is in the outbox"
        for letter in history.letters
        if (letter.faults or letter.replayed) and letter.id in kept and letter.answer != letter.id
        if "outcome_unknown" not in letter.faults
    ]


def follows_the_clock(history: History) -> list[str]:
    """What nobody asked to be later, and nothing holds, is due; also soon after the clock was set back. A retry is
    not due later than the longest wait there is."""
    return history.stalled


def fair(history: History) -> list[str]:
    """As long as two tenants have something that waits, neither gets more than one turn ahead of the other."""
    if history.contest is None:
        return []
    one, two = history.contest
    waiting = Counter(history.by_id[call.id].tenant for call in history.calls)
    sent: Counter[str] = Counter()
    found = []
    for call in history.calls:
        sent[history.by_id[call.id].tenant] += 1
        if min(waiting[one] - sent[one], waiting[two] - sent[two]) <= 0:
            break
        if abs(sent[one] - sent[two]) > TURNS_AHEAD:
            found.append(f"after call {call.n} {one} has had {sent[one]} turns and {two} {sent[two]}")
    return found


TURNS_AHEAD = 2
"""One turn, and one that was claimed with it."""

ALL = (limits_kept, charged_once, quiet_kept, refused_stay_out, follows_the_clock, fair)
