"""Where too many wait to keep a promise for each: does who comes behind get a turn that holds?"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.windows import Window


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 60), max_size=8), st.integers(0, 12), st.integers(1, 6), st.integers(1, 60),
    st.integers(1, 25),
)  # fmt: skip
def test_whoever_is_told_a_turn_finds_room_at_it(
    charges: list[int], kept: int, count: int, span: int, more: int
) -> None:
    """Each is told one turn, and goes at it: nobody is asked twice."""
    now = max(charges, default=0)
    window = Window((moment, -1) for moment in charges)
    turns: list[tuple[int, int]] = []
    for seq in range(kept + more):
        turn = window.turn(count, span, now, behind=True)
        if turn == now:
            window.charge(seq, now)
            continue
        turns.append((turn, seq))
        if seq < kept:
            window.promise(seq, turn)
        else:
            window.queue(turn)
    assert turns == sorted(turns)
    for turn, seq in turns:
        window.come_to(turn)
        assert window.turn(count, span, turn) == turn
        window.charge(seq, turn)


def test_a_turn_beyond_the_promises_is_given_back() -> None:
    window = Window([(0, 1)])
    turns = []
    for _ in range(3):
        turns.append(window.turn(1, 100, 0, behind=True))
        window.queue(turns[-1])
    assert turns == [100, 200, 300]
    window.leave(100)
    assert window.turn(1, 100, 0, behind=True) == 300
    for _ in range(2):
        window.leave(100)
    assert (window.last_turn, window.turn(1, 100, 0, behind=True)) == (None, 100)


def test_nobody_queues_any_more_once_the_last_turn_has_come() -> None:
    window = Window([(0, 1)])
    window.queue(100)
    window.come_to(99)
    assert window.last_turn == 100
    window.come_to(100)
    assert window.turn(1, 100, 100, behind=True) == 100


def test_who_comes_while_others_queue_comes_behind_them() -> None:
    """As it is late in the queue, what lies between is not wasted: as many are outstanding as can be."""
    window = Window()
    for moment in range(0, 100, 10):
        window.charge(moment, moment)
    for _ in range(50):
        window.queue(window.turn(10, 100, 90, behind=True))
    assert window.last_turn == 590
    for moment in range(100, 560, 10):
        window.charge(moment, moment)
    assert window.turn(10, 100, 555, behind=True) == 600
