"""Which state may follow which, and by what event?

The whole life of a message is the one table below; `step` is the only way to the next state, and an illegal pair
raises. The diagram in the README is printed from this table by `diagram()` and a test compares the two. Whether an
event should happen is decided elsewhere (`policy`); this module only knows whether it may.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType

from smsd.core.message import State


class Event(StrEnum):
    """What can happen to a message."""

    CLAIM = "claim"
    """The attempt is written down; the call may begin."""
    TAKEN = "taken"
    """The provider has it (answer, look-up, or a receipt that outran them)."""
    RETRY = "retry"
    """Surely not taken (or the policy says at-least-once): it waits for its next attempt."""
    DOUBT = "doubt"
    """It may have been taken: it stays processing, uncertain, until settled."""
    FAIL = "fail"
    """Permanent, exhausted, a limit of our own, or held as UNCERTAIN."""
    CANCEL = "cancel"
    EXPIRE = "expire"
    DELIVER = "deliver"
    """Receipt: it arrived."""
    MISS = "miss"
    """Receipt: it did not arrive."""
    RESEND = "resend"
    """The code table sends an undelivered one again."""
    REOPEN = "reopen"
    """An operator's retry: a new round."""


class IllegalTransitionError(RuntimeError):
    """A promise of the program was broken: this event cannot happen in this state."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"a message that is {state.label} cannot meet the event {event}")
        self.state = state
        self.event = event


START = State.PENDING

TABLE: Mapping[State, Mapping[Event, State]] = MappingProxyType(
    {
        State.PENDING: {
            Event.CLAIM: State.PROCESSING,
            Event.CANCEL: State.CANCELLED,
            Event.EXPIRE: State.EXPIRED,
            Event.FAIL: State.FAILED,
            Event.TAKEN: State.SENT,
            Event.DELIVER: State.DELIVERED,
        },
        State.PROCESSING: {
            Event.TAKEN: State.SENT,
            Event.RETRY: State.PENDING,
            Event.DOUBT: State.PROCESSING,
            Event.FAIL: State.FAILED,
            Event.DELIVER: State.DELIVERED,
        },
        State.SENT: {
            Event.DELIVER: State.DELIVERED,
            Event.MISS: State.UNDELIVERED,
        },
        State.DELIVERED: {},
        State.UNDELIVERED: {
            Event.RESEND: State.PENDING,
            Event.REOPEN: State.PENDING,
            Event.DELIVER: State.DELIVERED,
        },
        State.FAILED: {
            Event.REOPEN: State.PENDING,
            Event.TAKEN: State.SENT,
            Event.DELIVER: State.DELIVERED,
        },
        State.CANCELLED: {},
        State.EXPIRED: {
            Event.REOPEN: State.PENDING,
        },
    }
)


def step(state: State, event: Event) -> State:
    """The state that follows. Raises IllegalTransitionError for a pair that is not in TABLE."""
    try:
        return TABLE[state][event]
    except KeyError:
        raise IllegalTransitionError(state, event) from None


def may(state: State, event: Event) -> bool:
    """Whether the pair is in TABLE."""
    return event in TABLE[state]


def edges() -> Iterator[tuple[State, Event, State]]:
    """Every legal transition, in table order."""
    for state, row in TABLE.items():
        for event, following in row.items():
            yield state, event, following


def diagram() -> str:
    """The table as a Mermaid state diagram; parallel edges share one arrow."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for state, event, following in edges():
        arrows.setdefault((state, following), []).append(event.value)
    lines = ["stateDiagram-v2", f"    [*] --> {START.label}: accept"]
    lines += [f"    {a.label} --> {b.label}: {', '.join(names)}" for (a, b), names in arrows.items()]
    lines += [f"    {state.label} --> [*]" for state in State if not TABLE[state]]
    return "\n".join(lines) + "\n"
