"""What must be true of receipts and of what applications are told?

Invariants like those of `invariants`. What a carrier said, and was answered 200 for, is compared with what the outbox
kept; what an application heard, with what SQLite itself saw of the messages' states.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator

from smsd.core.callback import TOLD
from smsd.core.lifecycle import TABLE, Event
from smsd.core.message import Message, State
from tests.simulation.history import History, Move
from tests.simulation.way_back import WORDS, Report

CLAIMED_US = 100_000
"""How long a claim made in time may wait for its slot and its commit."""

CHAINS = ((Event.TAKEN, Event.MISS), (Event.MISS, Event.RESEND), (Event.TAKEN, Event.MISS, Event.RESEND))
"""What one receipt can do to a message at once, beside single events."""


def by_receipt(state: State) -> set[State]:
    """The states that one receipt can bring a message to by several events."""
    found = set()
    for chain in CHAINS:
        at: State | None = state
        for event in chain:
            at = None if at is None else TABLE[at].get(event)
        if at is not None:
            found.add(at)
    return found


def _known(history: History) -> Iterator[tuple[Report, Message]]:
    """Receipts that were answered 200 and whose attempt, in the end, has the id they name, and nobody else; with their
    messages. What was deleted before is unknown to them."""
    messages: dict[str, Message] = {message.id: message for message in history.outbox}
    deleted = {message.id for message in history.deleted}
    owners: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for id, attempts in history.attempts.items():
        for attempt in attempts:
            if attempt.provider_message_id is not None:
                owners[attempt.provider, attempt.provider_message_id].append((id, attempt.n))
    for report in history.reports:
        call = report.call
        mine = owners[call.provider, call.pmid or ""] == [(call.id, call.attempt)]
        if report.answered_us is not None and mine and call.id not in deleted:
            yield report, messages[call.id]


def _out_of_life(history: History) -> set[str]:
    """Messages that were cancelled or expired at some time: a receipt changes nothing of them then."""
    return {move.id for move in history.moves if move.after in {State.CANCELLED, State.EXPIRED}}


def words_kept(history: History) -> list[str]:
    """Of each attempt the greatest word is kept, in whatever order the words came."""
    greatest: dict[tuple[str, int], int] = {}
    for report, message in _known(history):
        key = (message.id, report.call.attempt)
        greatest[key] = max(greatest.get(key, 0), WORDS.index(report.word))
    found = []
    for (id, n), word in greatest.items():
        # What was sent again by its key has two rows of one number.
        words = [attempt.receipt for attempt in history.attempts[id] if attempt.n == n]
        kept = max((each for each in words if each is not None), default=None)
        if kept != word:
            found.append(f"attempt {n} of {id[:8]} was reported {WORDS[word]}, and {kept} is kept")
    return found


def ends_as_reported(history: History) -> list[str]:
    """What was delivered, by whichever attempt, ends so. What did not arrive by its last attempt does not end as
    sent."""
    found, exempt = [], _out_of_life(history)
    for report, message in _known(history):
        if message.id in exempt:
            continue
        if report.word == "delivered" and message.state is not State.DELIVERED:
            found.append(f"{message.id[:8]} was reported delivered and is {message.state.label}")
        missed = report.word == "undelivered" and report.call.attempt == message.attempt
        if missed and message.state is State.SENT:
            found.append(f"{message.id[:8]} was reported undelivered and is {message.state.label}")
    return found


def not_after_delivery(history: History) -> list[str]:
    """What is known to have arrived goes out no more."""
    since: dict[str, int] = {}
    exempt = _out_of_life(history)
    for report, message in _known(history):
        marked = history.back.modes.get(report.call.provider) == "marked"
        if report.word == "delivered" and marked and message.id not in exempt and report.answered_us is not None:
            since[message.id] = min(since.get(message.id, 1 << 62), report.answered_us)
    return [
        f"call {call.n} is for {call.id[:8]}, which had arrived"
        for call in history.calls
        if call.start_us > since.get(call.id, 1 << 62) + CLAIMED_US and not call.again
    ]


def _reached(history: History) -> dict[str, Move]:
    """The id of everything that is to be told, and how it came about."""
    tenants = {letter.id: letter.tenant for letter in history.letters}
    return {
        f"evt_{move.id}_{move.round}_{move.after.label}": move
        for move in history.moves
        if move.before is not move.after and move.after in TOLD and tenants[move.id] in history.back.tenants
    }


def told_all(history: History) -> list[str]:
    """Whatever state a message reached, its tenant's application hears of it, at least once."""
    heard = {told.id for told in history.told}
    return [f"nobody was told {id}" for id in _reached(history) if id not in heard and history.quiet]


def told_as_it_was(history: History) -> list[str]:
    """No state is told that was not reached. A repeat has the same id and the same body."""
    found, reached = [], _reached(history)
    bodies: dict[str, set[str]] = defaultdict(set)
    for told in history.told:
        bodies[told.id].add(told.body)
        move, said = reached.get(told.id), json.loads(told.body)
        if move is None:
            found.append(f"{told.id} was told and never was")
        elif (said["data"]["id"], said["data"]["state"]) != (move.id, move.after.label):
            found.append(f"{told.id} says {said['data']['state']} of {said['data']['id'][:8]}")
    found += [f"{id} was told with {len(different)} bodies" for id, different in bodies.items() if len(different) > 1]
    return found


ALL = (words_kept, ends_as_reported, not_after_delivery, told_all, told_as_it_was)
