"""Which calls belong together? What the invariants ask of a history, more than one of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from smsd.core.account import ProviderRules
from smsd.core.message import State
from tests.simulation.history import Call, History, Letter

TAKEN = frozenset({State.SENT, State.DELIVERED, State.UNDELIVERED})
"""What a message can be that a provider has taken, unless it is sent again."""


def sent_again(letter: Letter, since_us: int) -> bool:
    """Whether it was to be sent again after that, by an operator's word or by a receipt's."""
    return any(at_us >= since_us for at_us in (*letter.rounds, *letter.resends))


def rounds(history: History) -> Iterator[tuple[Letter, list[Call]]]:
    """A letter's calls, one list for each of its rounds; an operator's retry opens the next, and so does a receipt by
    which it is sent again."""
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in history.calls:
        calls[call.id].append(call)
    for id, made in calls.items():
        letter = history.by_id[id]
        edges = sorted([-1, *letter.rounds, *letter.resends, 1 << 62])
        for begin, end in pairwise(edges):
            part = [call for call in made if begin <= call.start_us < end]
            if part:
                yield letter, part


def rules_of(history: History, call: Call) -> ProviderRules:
    """The rules of the provider that was called."""
    return history.duties[call.provider].rules


def cut_off(history: History, call: Call) -> bool:
    """Whether it was found open at a start."""
    return any(each.n == call.attempt and each.outcome == "crashed" for each in history.attempts.get(call.id, []))


def doubtful(history: History, call: Call) -> bool:
    """Whether the daemon could not know what became of the call: no readable answer, or it died before writing it."""
    return call.answer in {"unknown", ""} or cut_off(history, call)


def by_provider(history: History) -> dict[str, list[Call]]:
    """In order of their starts, as they were noted."""
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in history.calls:
        calls[call.provider].append(call)
    return calls
