"""Does what is kept for a client come back whole and in order, and how small is it meanwhile?"""

from __future__ import annotations

import uuid_utils
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.listeners.http.unread import PIECE, Unread

LINE = '{"index":%d,"ok":true,"id":"%s","state":"pending","segments":1,"encoding":"gsm7","replayed":false}\n'


def ignore(change: int) -> None:
    """Nobody counts."""


def taken(unread: Unread) -> bytes:
    """All of it."""
    found = bytearray()
    while block := unread.take():
        found += block
    return bytes(found)


def test_two_hundred_thousand_answers_are_kept_in_a_few_mebibytes() -> None:
    changes: list[int] = []
    unread = Unread(changes.append)
    blocks = [
        b"".join((LINE % (n, uuid_utils.uuid7())).encode() for n in range(first, first + 500))
        for first in range(0, 200_000, 500)
    ]
    for block in blocks:
        unread.put(block)
    assert unread.size < 6 << 20
    assert sum(changes) == unread.size
    assert taken(unread) == b"".join(blocks)
    assert unread.size == sum(changes) == 0


def test_pieces_come_back_one_at_a_time() -> None:
    unread = Unread(ignore)
    for _ in range(100):
        unread.put(b"x" * PIECE)
    assert all(len(unread.take()) == PIECE for _ in range(100))
    assert unread.take() == b""


def test_nothing_is_compressed_for_a_client_that_keeps_up() -> None:
    unread = Unread(ignore)
    for _ in range(3):
        unread.put(b"x" * (3 * PIECE))
        assert unread.size == 3 * PIECE
        assert len(unread.take()) == 3 * PIECE


def test_what_is_forgotten_counts_no_more() -> None:
    changes: list[int] = []
    unread = Unread(changes.append)
    for _ in range(5):
        unread.put(b"x" * PIECE)
    unread.clear()
    assert sum(changes) == 0
    assert unread.take() == b""


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | st.tuples(st.binary(min_size=1, max_size=5), st.integers(1, 3 * PIECE)), max_size=30))
def test_whatever_is_put_and_taken_when_it_stays_in_order(steps: list[tuple[bytes, int] | None]) -> None:
    changes: list[int] = []
    unread = Unread(changes.append)
    came, went = bytearray(), bytearray()
    for step in steps:
        if step is None:
            went += unread.take()
        else:
            block = (step[0] * (step[1] // len(step[0]) + 1))[: step[1]]
            unread.put(block)
            came += block
        assert sum(changes) == unread.size >= 0
    assert went + taken(unread) == came
