"""Who is left of a route for a number that wants no more texts?"""

from __future__ import annotations

import pytest

from smsd.core.suppression import EVERY, left_over


@pytest.mark.parametrize(
    ("scopes", "left"),
    [
        ((), ("main", "spare", "third")),
        (("main",), ("spare", "third")),
        (("third", "main"), ("spare",)),
        (("main", "spare", "third"), ()),
        ((EVERY,), ()),
        (("main", EVERY), ()),
        (("gone",), ("main", "spare", "third")),
    ],
)
def test_left_over(scopes: tuple[str, ...], left: tuple[str, ...]) -> None:
    route = ("main", "spare", "third")
    assert left_over(route, scopes) == left
    assert left_over(route, set(scopes)) == left
    assert left_over((), scopes) == ()
