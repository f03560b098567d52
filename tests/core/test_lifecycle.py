"""Is the life of a message the one that was promised?

The table is written out a second time here, as its readers know it: a change in one place only is red.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.lifecycle import START, TABLE, Event, IllegalTransitionError, diagram, edges, may, step
from smsd.core.message import FINAL, State

PROMISED = """
    pending      claim    processing
    pending      cancel   cancelled
    pending      expire   expired
    pending      fail     failed
    pending      taken    sent
    pending      deliver  delivered
    processing   taken    sent
    processing   retry    pending
    processing   doubt    processing
    processing   fail     failed
    processing   deliver  delivered
    sent         deliver  delivered
    sent         miss     undelivered
    undelivered  resend   pending
    undelivered  reopen   pending
    undelivered  deliver  delivered
    failed       reopen   pending
    failed       taken    sent
    failed       deliver  delivered
    expired      reopen   pending
"""
LEGAL = {
    (state, event): following for state, event, following in (line.split() for line in PROMISED.split("\n") if line)
}


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State, ids=lambda state: state.label)
def test_every_pair_of_state_and_event(state: State, event: Event) -> None:
    following = LEGAL.get((state.label, event.value))
    if following is not None:
        assert step(state, event).label == following
        assert may(state, event)
        return
    assert not may(state, event)
    with pytest.raises(IllegalTransitionError, match=f"{state.label} cannot meet the event {event}") as caught:
        step(state, event)
    assert (caught.value.state, caught.value.event) == (state, event)


def test_the_table_is_whole() -> None:
    assert set(TABLE) == set(State)
    assert {event for _, event, _ in edges()} == set(Event)
    assert {(a.label, e.value): b.label for a, e, b in edges()} == LEGAL


def test_every_state_can_be_reached() -> None:
    reached, frontier = {START}, [START]
    while frontier:
        for following in TABLE[frontier.pop()].values():
            if following not in reached:
                reached.add(following)
                frontier.append(following)
    assert reached == set(State)


def test_only_a_claim_leads_to_a_call_and_only_waiting_messages_are_claimed() -> None:
    into = [(state, event) for state, event, following in edges() if following is State.PROCESSING]
    assert into == [(State.PENDING, Event.CLAIM), (State.PROCESSING, Event.DOUBT)]


def test_final_means_that_nothing_leads_on_by_itself() -> None:
    """What leaves a final state is a receipt, late proof, the code table or an operator, never the daemon itself."""
    outside = {Event.DELIVER, Event.MISS, Event.TAKEN, Event.RESEND, Event.REOPEN}
    assert set(State) - {State.PENDING, State.PROCESSING} == FINAL
    for state in FINAL:
        assert set(TABLE[state]) <= outside


def test_delivered_and_cancelled_are_for_ever() -> None:
    assert [state for state in State if not TABLE[state]] == [State.DELIVERED, State.CANCELLED]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(Event), max_size=30))
def test_no_life_takes_a_proof_back(events: list[Event]) -> None:
    """Along any life: once delivered always delivered; once sent never waiting again but by way of `undelivered`."""
    state = START
    for event in events:
        if not may(state, event):
            continue
        before, state = state, step(state, event)
        assert before is not State.DELIVERED
        if before is State.SENT:
            assert state in (State.DELIVERED, State.UNDELIVERED)


def test_the_stored_numbers_never_change() -> None:
    assert [(state.value, state.label) for state in State] == [
        (0, "pending"),
        (1, "processing"),
        (2, "sent"),
        (3, "delivered"),
        (4, "undelivered"),
        (5, "failed"),
        (6, "cancelled"),
        (7, "expired"),
    ]


def test_the_diagram_shows_every_edge_once() -> None:
    lines = diagram().splitlines()
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> pending: accept"]
    assert "    undelivered --> pending: resend, reopen" in lines
    assert lines[-2:] == ["    delivered --> [*]", "    cancelled --> [*]"]
    drawn = {
        (line.split()[0], name): line.split()[2].rstrip(":")
        for line in lines[2:-2]
        for name in line.split(": ")[1].split(", ")
    }
    assert drawn == LEGAL
