"""Does a window say when there is room, against a count of every span by hand?"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.windows import BREAK_US, Window

HOUR = 3_600_000_000


def most_in_a_span(moments: list[int], span: int) -> int:
    return max((sum(last - span < each <= last for each in moments) for last in moments), default=0)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 200), max_size=25), st.lists(st.integers(0, 300), max_size=12), st.integers(1, 6),
    st.integers(1, 80), st.booleans(),
)  # fmt: skip
def test_a_turn_is_the_first_moment_with_room(
    charges: list[int], turns: list[int], count: int, span: int, behind: bool
) -> None:
    window = Window((moment, seq) for seq, moment in enumerate(charges))
    for seq, turn in enumerate(turns, 100):
        window.promise(seq, turn)
    now = max(charges, default=0)
    turn = window.turn(count, span, now, behind=behind)
    counted = charges + (turns if behind else [])
    first = max([now, *turns]) if behind else now

    def room(at: int) -> bool:
        return sum(at - span < each <= at for each in counted) < count

    assert turn == next(at for at in range(first, 1_000) if room(at))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60), st.integers(1, 4), st.integers(1, 60))
def test_who_comes_at_their_turn_never_exceeds_the_count(steps: list[tuple[int, bool]], count: int, span: int) -> None:
    """Whoever waits comes at the turn it was told; whoever is new queues behind."""
    window, now = Window(), 0
    went: list[int] = []
    waiting: dict[int, int] = {}
    for seq, (pause, forget) in enumerate(steps):
        now += pause
        for due, other in sorted((due, other) for other, due in waiting.items() if due <= now):
            turn = window.turn(count, span, max(due, went[-1] if went else 0))
            assert turn <= max(due, went[-1]), "its turn was kept for it"
            window.charge(other, turn)
            went.append(turn)
            del waiting[other]
        turn = window.turn(count, span, now, behind=True)
        assert turn >= max(waiting.values(), default=0), "turns are in order"
        if turn == now:
            window.charge(seq, now)
            went.append(now)
        else:
            window.promise(seq, turn)
            waiting[seq] = turn
        if forget:
            window.forget(now - span, count)
    assert most_in_a_span(went, span) <= count


def test_the_nth_that_waits_is_told_its_own_turn() -> None:
    window = Window((n, n) for n in range(5))
    turns = []
    for seq in range(6, 13):
        turns.append(window.turn(5, HOUR, 10, behind=True))
        window.promise(seq, turns[-1])
    assert turns == [HOUR, HOUR + 1, HOUR + 2, HOUR + 3, HOUR + 4, 2 * HOUR, 2 * HOUR + 1]


def test_a_released_turn_is_free_again() -> None:
    window = Window([(0, 1)])
    window.promise(2, window.turn(1, HOUR, 5, behind=True))
    window.promise(3, window.turn(1, HOUR, 5, behind=True))
    assert window.turn(1, HOUR, 5, behind=True) == 3 * HOUR
    window.release(3)
    window.release(3)
    assert (window.promises, window.promised(2), window.promised(3)) == (1, HOUR, None)
    assert window.turn(1, HOUR, 5, behind=True) == 2 * HOUR


def test_what_was_promised_is_kept_by_the_charge() -> None:
    window = Window([(0, 1)])
    window.promise(2, HOUR)
    window.charge(2, HOUR)
    assert window.promises == 0
    assert window.turn(1, HOUR, HOUR + 1, behind=True) == 2 * HOUR


def test_a_charge_one_span_ago_is_out_of_it() -> None:
    window = Window([(0, 1)])
    assert (window.charged(HOUR, HOUR - 1), window.charged(HOUR, HOUR)) == (1, 0)
    assert (window.holds(1, HOUR, HOUR - 1), window.holds(1, HOUR, HOUR)) == (True, False)
    assert (window.oldest(HOUR, HOUR - 1), window.oldest(HOUR, HOUR)) == (1, None)


def test_a_charge_can_come_late_and_be_taken_back() -> None:
    window = Window([(10, 1), (30, 3)])
    window.charge(2, 20)
    assert window.turn(2, 100, 40) == 120
    assert window.take_back(2)
    assert not window.take_back(2)
    assert window.turn(2, 100, 40) == 110


def test_what_is_forgotten_takes_no_room() -> None:
    window = Window()
    for n in range(10_000):
        window.charge(n, n)
        window.promise(1_000_000 + n, n)
        window.forget(n - 100, 7)
    assert window.size == 7
    assert window.promises <= 101
    assert len(window._moments) < 200


def test_it_is_held_up_without_a_break_until_there_is_room_that_nobody_wants() -> None:
    window = Window([(0, 1)])
    assert window.held_since(50) == 50
    window.hold_up(50, 100)
    window.hold_up(100 + BREAK_US, 9 * BREAK_US)
    assert window.held_since(10 * BREAK_US) == 50
    assert window.held_since(10 * BREAK_US + 1) == 10 * BREAK_US + 1
    window.charge(2, 9 * BREAK_US)
    assert window.held_since(9 * BREAK_US) == 50, "it came at its turn"
    window.charge(3, 9 * BREAK_US - 1)
    assert window.held_since(9 * BREAK_US) == 9 * BREAK_US, "there was room before: other rules count"


def test_a_message_is_found_among_the_charges_of_the_span() -> None:
    window = Window((n, n * 256) for n in range(1, 1_000))  # the bytes of 1 lie between two of them
    assert [window.holds(seq, 500, 999) for seq in (256 * 999, 256 * 500, 256 * 499, 1, 0)] == [
        True, True, False, False, False
    ]  # fmt: skip
