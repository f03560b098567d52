"""What must be true of every run, whatever went wrong in it?

Each invariant is one function of a History that returns what breaks it, in sentences; an empty list is a pass. They
know the contract (what smsd promises) and the truth (what the carriers saw), and nothing of how the engine works.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise

from smsd.core.lifecycle import TABLE
from smsd.core.limits import Action
from smsd.core.message import FINAL, Message, State
from smsd.core.pacing import Pace
from smsd.core.verdict import Category
from tests.simulation import limits, receipts, verdicts
from tests.simulation.config import DEFAULT_SENDER
from tests.simulation.history import Call, History, Letter, Rested
from tests.simulation.rounds import TAKEN, by_provider, cut_off, doubtful, rounds, rules_of, sent_again

Invariant = Callable[[History], list[str]]

UNCHARGED = frozenset({"throttled", "suspect", "unauthorized", ""})
"""Answers to calls that cost no attempt; a call whose answer nobody heard is counted apart."""

WINDOW_SLACK = 16
"""Tickets beyond the capacity: one slice that was asked for, and retries that fall inside a full window."""


GIVE_BACK_US = 1_000_000
"""How long a message whose claim failed is kept aside."""


def _messages(history: History) -> dict[str, Message]:
    return {message.id: message for message in history.outbox}


def _acknowledged(history: History) -> Iterator[Letter]:
    return (letter for letter in history.letters if letter.answer == letter.id)


# -- kept -------------------------------------------------------------------------------------------------------------


def kept(history: History) -> list[str]:
    """No acknowledged message is lost, and it says what was submitted."""
    found, messages = [], _messages(history)
    for letter in _acknowledged(history):
        message = messages.get(letter.id)
        if message is None:
            found.append(f"{letter.id[:8]} was acknowledged and is not in the outbox")
            continue
        expected = (letter.recipient, letter.text, letter.tenant, letter.priority, letter.key)
        if expected != (
            message.recipient,
            message.text,
            message.tenant,
            message.priority.label,
            message.idempotency_key,
        ):
            found.append(f"{letter.id[:8]} is not as it was submitted")
    return found


def ended(history: History) -> list[str]:
    """Every message comes to its end once nothing hinders it any more; only what is to be sent later waits."""
    if history.quiet:
        return []
    waiting = [message for message in history.outbox if message.state not in FINAL]
    return [f"{m.id[:8]} is still {m.state.label} (due {m.due}, {m.error})" for m in waiting]


def remembered(history: History) -> list[str]:
    """What is due goes out when nothing hinders it; its end of life is not what ends it then."""
    return [f"{id[:8]} was due and nobody called" for id in history.forgotten]


def answered(history: History) -> list[str]:
    """Every submission gets one answer, unless the daemon died before."""
    ends = [at for at, _ in history.lives[1:]]
    return [
        f"submission {letter.n} was never answered"
        for letter in history.letters
        if letter.answered_us is None and not any(letter.at_us <= at for at in ends)
    ]


def one_message_a_key(history: History) -> list[str]:
    """An idempotency key has one message; the same content gets its id again, other content a conflict."""
    found: list[str] = []
    keys = Counter((m.tenant, m.idempotency_key) for m in history.outbox if m.idempotency_key is not None)
    found += [f"{key} has {count} messages" for key, count in keys.items() if count > 1]
    firsts: dict[tuple[str, str | None], Letter] = {
        (m.tenant, m.idempotency_key): history.by_id[m.id] for m in history.outbox if m.idempotency_key
    }
    for letter in history.letters:
        first = firsts.get((letter.tenant, letter.key))
        if letter.answer is None or letter.key is None or first is None:
            continue
        if letter.answer != first.id or letter.content != first.content:
            found.append(f"submission {letter.n} got {letter.answer[:8]}, the key's message is {first.id[:8]}")
        elif letter.replayed != (letter.id != first.id):
            found.append(f"submission {letter.n}: replayed is {letter.replayed}")
    return found


# -- once -------------------------------------------------------------------------------------------------------------


def sent_once(history: History) -> list[str]:
    """Taken twice only after a call nobody could know the outcome of, where the policy says so: never with `hold`,
    never where a look-up proves absence, never by one who knows a key again. Nothing whose call had not begun is sent
    twice: it would be undoubted."""
    found = []
    twins = Counter((letter.recipient, letter.text) for letter in history.letters)
    for letter, calls in rounds(history):
        taken = [call for call in calls if call.taken]
        for first, second in pairwise(taken):
            where = f"{letter.id[:8]} was taken by call {first.n} and again by {second.n}"
            lookup = history.lookups[first.provider]
            if not doubtful(history, first):
                found.append(f"{where}, though the first answer ({first.answer}) was known")
            elif lookup == "exact" or (lookup == "key" and second.provider == first.provider):
                found.append(f"{where}, though a look-up could have told")
            elif rules_of(history, first).on_uncertain == "hold" and (
                lookup in {"none", "key"} or twins[letter.recipient, letter.text] == 1
            ):
                found.append(f"{where}, though uncertain messages are held")
    return found


def told_truly(history: History) -> list[str]:
    """Sent means taken, by the id that the provider gave; what was taken with an answer heard is sent."""
    found, messages = [], _messages(history)
    owners: dict[tuple[str, str], Call] = {(c.provider, c.pmid): c for c in history.calls if c.pmid is not None}
    for message in history.outbox:
        if message.state in TAKEN:
            call = owners.get((message.provider or "", message.provider_message_id or ""))
            if call is None or (call.recipient, call.text) != (message.recipient, message.text):
                found.append(f"{message.id[:8]} is sent as {message.provider_message_id}, which is not its text")
    bound = Counter(m.provider_message_id for m in history.outbox if m.state in TAKEN)
    found += [f"{name} is bound to {count} messages" for name, count in bound.items() if count > 1]
    for letter, calls in rounds(history):
        told = [call for call in calls if call.answer == "accepted" and not doubtful(history, call)]
        known = messages.get(letter.id)
        if told and (known is None or known.state not in TAKEN) and not sent_again(letter, told[0].start_us):
            found.append(f"{letter.id[:8]} was taken by call {told[0].n}, and is {known and known.state.label}")
        if known is not None and known.state is State.FAILED and calls[-1].start_us > max([-1, *letter.rounds]):
            found += _denied(history, known, calls)
    return found


def _denied(history: History, message: Message, calls: list[Call]) -> list[str]:
    """A failed message whose last attempt was taken, unknown to the daemon, says that it may have been: UNCERTAIN, or
    attempts used up by a doubt. (Or its recipient opted out while it was to be tried again.)"""
    last = [call for call in calls if call.attempt == message.attempt]
    unknown = [call for call in last if call.taken and doubtful(history, call)]
    told = message.error is None or message.error.category in {Category.UNCERTAIN, Category.OPTED_OUT}
    if not unknown or message.error is None or told or message.error.cause is Category.TIMEOUT:
        return []
    return [f"{message.id[:8]} failed as {message.error.category}; its last attempt was taken by call {unknown[0].n}"]


def nothing_unknown(history: History) -> list[str]:
    """Every call is for a message in the outbox, says its text, to its number, as the sender asked for; or as one of
    its provider's own, which a recipient always meets again. It goes to a provider that reaches the number."""
    found, messages = [], _messages(history)
    met: dict[tuple[str, str], str] = {}
    for call in history.calls:
        message, letter, rules = messages.get(call.id), history.by_id[call.id], rules_of(history, call)
        if message is None:
            found.append(f"call {call.n} is for {call.id[:8]}, which is not in the outbox")
        elif (call.recipient, call.text) != (message.recipient, message.text):
            found.append(f"call {call.n} is not what {call.id[:8]} says")
        elif letter.sender is not None and call.sender != letter.sender:
            found.append(f"call {call.n} is sent as {call.sender}, {call.id[:8]} asked for {letter.sender}")
        elif letter.pin is not None and call.provider != letter.pin:
            found.append(f"call {call.n} goes to {call.provider}, {call.id[:8]} is pinned to {letter.pin}")
        elif rules.prefixes and not call.recipient.startswith(rules.prefixes):
            found.append(f"call {call.n} goes to {call.provider}, which does not reach {call.recipient}")
        elif letter.sender is None and call.sender not in (rules.senders or (DEFAULT_SENDER,)):
            found.append(f"call {call.n} is sent as {call.sender}, which is not one of {call.provider}'s")
        elif letter.sender is None and met.setdefault((call.provider, call.recipient), call.sender) != call.sender:
            found.append(f"call {call.n} is sent as {call.sender}, whom {call.recipient} has not met")
    return found


def recorded(history: History) -> list[str]:
    """Nothing reaches the wire that is not on disk: every call is an attempt of its own, written down before it began,
    so that it is known after a crash. Only by a provider's key is the same attempt sent again."""
    found = []
    made = Counter((call.id, call.attempt) for call in history.calls if history.lookups[call.provider] != "key")
    found += [f"attempt {n} of {id[:8]} was called {count} times" for (id, n), count in made.items() if count > 1]
    for call in history.calls:
        kept = [each.provider for each in history.attempts.get(call.id, []) if each.n == call.attempt]
        if set(kept) != {call.provider}:
            found.append(
                f"call {call.n} (attempt {call.attempt} of {call.id[:8]} at {call.provider}) is kept as {kept}"
            )
    return found


# -- limits -----------------------------------------------------------------------------------------------------------


def ceilings(history: History) -> list[str]:
    """In every window of a provider at most its units were started, by true time, through restarts, reboots and
    changes of the pace (which counts, from the reload on, what was started before). A message of more units than a
    window holds goes alone."""
    found = []
    for name, calls in by_provider(history).items():
        paces = history.duties[name].paces
        for number, windows in enumerate(zip(*(pace.windows for _, pace in paces), strict=True)):
            span_us = windows[0].span_us
            first, units = 0, 0
            for place, call in enumerate(calls):
                units += call.cost
                while calls[first].start_us <= call.start_us - span_us:
                    units -= calls[first].cost
                    first += 1
                limit = max(pace.windows[number].limit for pace in _in_force(paces, call.start_us))
                if units > limit and first < place:
                    found.append(f"{name}: {units} units in {span_us} us up to call {call.n}; {limit} are allowed")
    return found


def _in_force(paces: list[tuple[int, Pace]], at_us: int) -> list[Pace]:
    """The pace at that time; at the very instant of a change, both."""
    return [next(pace for since, pace in reversed(paces) if since < at_us)] + [
        p for since, p in paces if since == at_us
    ]


def gaps(history: History) -> list[str]:
    """Between two starts lies at least `min_gap`."""
    found = []
    for name, calls in by_provider(history).items():
        least = history.duties[name].rules.pace.min_gap_us
        for before, after in pairwise(calls):
            if after.start_us - before.start_us < least:
                found.append(f"{name}: {after.start_us - before.start_us} us between calls {before.n} and {after.n}")
    return found


def in_flight(history: History) -> list[str]:
    """At no time are more calls of one life under way than `max_in_flight`; those by a key have their own bound."""
    found = []
    for name, made in by_provider(history).items():
        most = history.duties[name].rules.max_in_flight
        calls = [call for call in made if not call.again]
        for life in {call.life for call in calls}:
            edges = []
            for call in calls:
                if call.life == life:
                    end = call.end_us if call.end_us is not None else 1 << 62
                    edges += [(call.start_us, 1), (end, -1)]
            under_way = highest = 0
            for _, change in sorted(edges):
                under_way += change
                highest = max(highest, under_way)
            if highest > most:
                found.append(f"{name}: {highest} calls under way in life {life}; {most} are allowed")
    return found


def attempts(history: History) -> list[str]:
    """No round of a message costs more calls than `max_attempts`; throttled and halting calls cost none, nor does one
    that reached nobody, that tried a provider out of order, that repeated a key, or that a crash cut off."""
    found = [
        f"{m.id[:8]} is charged {m.charged} of {m.max_attempts} attempts"
        for m in history.outbox
        if m.charged > m.max_attempts
    ]
    messages = _messages(history)
    for letter, calls in rounds(history):
        message = messages.get(letter.id)
        heard = [call for call in calls if _costs(history, call)]
        if message is not None and len(heard) > message.max_attempts:
            found.append(f"{letter.id[:8]} was called {len(heard)} times; {message.max_attempts} are allowed")
    return found


def _costs(history: History, call: Call) -> bool:
    """Whether it surely counts against `max_attempts`."""
    if call.answer == "unreached" and not rules_of(history, call).network_costs_attempt:
        return False
    free = call.again or (call.probe and call.answer in {"deferred", "unreached"})
    return not free and call.answer not in UNCHARGED and not cut_off(history, call)


# -- at the right time ------------------------------------------------------------------------------------------------


def resting(history: History) -> list[str]:
    """No call begins while its provider is paused, halted or cooling, also after a restart."""
    return [
        f"call {c.n} began while {c.provider} was {c.forbidden}"
        for c in history.calls
        if c.forbidden and c.forbidden not in verdicts.OUT_OF_ORDER
    ]


def not_too_late(history: History) -> list[str]:
    """No call begins after the message's end of life."""
    return [
        f"call {c.n} of {c.id[:8]} began {c.wall - c.expires_at} ms after its end of life"
        for c in history.calls
        if c.expires_at is not None and c.wall >= c.expires_at
    ]


def not_too_early(history: History) -> list[str]:
    """No call begins before `send_at`: the wall clock has shown it by then."""
    return [
        f"call {call.n} of {call.id[:8]} began {call.send_at - call.latest_wall} ms before send_at"
        for call in history.calls
        if call.send_at is not None and call.latest_wall < call.send_at
    ]


def expired_in_time(history: History) -> list[str]:
    """A pending message whose end of life has come is expired soon, whatever became of its attempts."""
    return [f"{id} is long past its end of life" for id in history.overdue]


def not_cancelled(history: History) -> list[str]:
    """A message that was cancelled is not sent after that, and stays cancelled."""
    found, messages = [], _messages(history)
    for letter in history.letters:
        at = letter.cancelled_us
        if at is None:
            continue
        found += [
            f"call {c.n} of {c.id[:8]} began after it was cancelled"
            for c in history.calls
            if c.id == letter.id and c.start_us > at
        ]
        if messages[letter.id].state is not State.CANCELLED:
            found.append(f"{letter.id[:8]} was cancelled and is {messages[letter.id].state.label}")
    return found


def in_order(history: History) -> list[str]:
    """Messages of one flow to one number are first called in the order of their due times, then of acceptance. One
    whose claim the outbox could not take is tried again after a second; meanwhile others may pass. So may they while
    one waits because its sender was too fast: that one is rescheduled."""
    found = []
    first: dict[str, Call] = {}
    for call in history.calls:
        first.setdefault(call.id, call)
    flows: dict[tuple[int, str, str | None], list[Message]] = defaultdict(list)
    parted: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for seq, at_us, flow in history.parted:
        parted[seq].append((at_us, flow))
    for message in history.outbox:
        start, changes = first.get(message.id), parted[message.seq]
        # One that was claimed before (given back, or cut off by a crash) has had its turn. One that came from another
        # flow (its recipient had opted out of a provider on its way) stood in that one's order while it waited.
        if start is None or start.attempt != 1 or (changes and changes[0][0] <= start.start_us):
            continue
        flow = changes[0][1] if changes else message.flow
        flows[flow, message.recipient, history.by_id[message.id].sender].append(message)
    for members in flows.values():
        for place, later in enumerate(members):
            found += [
                f"{later.id[:8]} was called before {earlier.id[:8]}, which was first"
                for earlier in members[:place]
                if _overtaken(history, first[earlier.id], first[later.id])
            ]
    return found


def _overtaken(history: History, earlier: Call, later: Call) -> bool:
    one, two = history.by_id[earlier.id], history.by_id[later.id]
    if _rescheduled(history, one) or _rescheduled(history, two) or _differ(history, one, two):
        return False
    if max(one.send_at or 0, one.wall) > max(two.send_at or 0, two.wall):
        return False
    if any(0 <= later.start_us - at_us < GIVE_BACK_US for at_us in history.store_failures):
        return False
    if any(each.from_us < earlier.start_us and one.at_us < each.until_us for each in _rests_of(history, earlier)):
        return False
    ready = max(one.answered_us or 0, one.at_us)
    return one.answered_us is not None and later.start_us < earlier.start_us and later.start_us > ready


def _rescheduled(history: History, letter: Letter) -> bool:
    """Whether it was given another time, by an operator or because a limit counts refusals as attempts."""
    backs_off = any(rule.action is Action.RETRY for rule in history.governed.rules)
    return bool(letter.rounds) or letter.rescheduled or backs_off


def _differ(history: History, one: Letter, two: Letter) -> bool:
    """Whether limits may hold one of them up and not the other."""
    return history.governed.active and (one.user, one.text) != (two.user, two.text)


def _rests_of(history: History, call: Call) -> list[Rested]:
    return [each for each in history.rested if each.sender == call.sender and each.recipient in {None, call.recipient}]


# -- books ------------------------------------------------------------------------------------------------------------


def legal(history: History) -> list[str]:
    """Every change of state is in the table of the lifecycle; only a claim opens the next attempt, and one whose call
    never began may give its number back."""
    found = []
    for move in history.moves:
        live = move.before in {State.PENDING, State.PROCESSING}  # a limit refuses it; its outcome stays unknown
        allowed = {*TABLE[move.before].values(), *({move.before} if live else ()), *receipts.by_receipt(move.before)}
        if move.after not in allowed:
            found.append(f"message {move.seq} went from {move.before.label} to {move.after.label}")
        step = move.attempt_after - move.attempt_before
        claimed = move.before is State.PENDING and move.after is State.PROCESSING
        given_back = step == -1 and move.before is State.PROCESSING and move.after is State.PENDING
        if step != int(claimed) and not given_back:
            found.append(f"message {move.seq}: attempt {move.attempt_before} became {move.attempt_after}")
    return found


def counted(history: History) -> list[str]:
    """Kept counters and flows equal a recount, after every life."""
    return history.recounts


def explained(history: History) -> list[str]:
    """Every message that is not final says why it waits, and it is true; a final one gives no reason."""
    return [
        f"{p.message.id[:8]} ({p.message.state.label}) says {p.reason}: {p.wrong}" for p in history.probes if p.wrong
    ]


def failed_with_reason(history: History) -> list[str]:
    """What failed says why; one that may have been sent and is not looked up any further says UNCERTAIN or why not."""
    return [
        f"{m.id[:8]} is {m.state.label} without a reason"
        for m in history.outbox
        if m.state in {State.FAILED, State.EXPIRED, State.UNDELIVERED} and m.error is None
    ] + [
        f"{m.id[:8]} is exhausted without its last error"
        for m in history.outbox
        if m.error is not None and m.error.category is Category.EXHAUSTED and m.error.cause is None
    ]


def bounded(history: History) -> list[str]:
    """The schedule never holds more tickets than its window."""
    over = history.most_held - history.capacity
    return [f"{history.most_held} tickets in a window of {history.capacity}"] if over > WINDOW_SLACK else []


def nothing_left(history: History) -> list[str]:
    """When all is done the engine holds nothing: no ticket, no call, no task, no key."""
    return history.leftovers


def unhurt(history: History) -> list[str]:
    """No part of the loop dies, no exception goes uncaught, no submission is answered twice."""
    return history.faults


ALL: dict[str, Invariant] = {
    each.__name__: each
    for each in (
        kept,
        ended,
        remembered,
        answered,
        one_message_a_key,
        sent_once,
        told_truly,
        nothing_unknown,
        recorded,
        ceilings,
        gaps,
        in_flight,
        attempts,
        resting,
        expired_in_time,
        not_too_late,
        not_too_early,
        not_cancelled,
        in_order,
        legal,
        counted,
        explained,
        failed_with_reason,
        bounded,
        nothing_left,
        unhurt,
        *verdicts.ALL,
        *limits.ALL,
        *receipts.ALL,
    )
}


def broken(history: History) -> dict[str, list[str]]:
    """The invariants that this run breaks, and how."""
    found = {name: each(history) for name, each in ALL.items()}
    return {name: sentences for name, sentences in found.items() if sentences}
