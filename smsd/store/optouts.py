"""Is this number to get no more texts, and from whom?

The suppressions, as the transitions ask for them inside the open transaction. As long as there is none, which is one
kept fact, no statement is spent on the question; otherwise one for a whole batch. What follows for a message is decided
by the transition (`transitions`), which providers are left over by `core.suppression`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from smsd.core.message import Error, Instant
from smsd.core.suppression import EVERY, Suppression, left_over
from smsd.core.verdict import Category
from smsd.store.connection import Handle
from smsd.store.rows import suppression_row
from smsd.store.statements import change, look_up
from smsd.store.statements.suppressing import ADD_SUPPRESSIONS, ANY_SUPPRESSION, LIFT_SUPPRESSION, SUPPRESSED

Codes = Mapping[str, str | None]
"""The scopes in which a number is suppressed, and the provider's code that each came with."""


class OptOuts:
    """What is known of the suppressions. undone() ends a transaction that was rolled back."""

    __slots__ = ("_any",)

    def __init__(self) -> None:
        self._any: bool | None = None
        """Whether there is any; None: the database must be asked."""

    def undone(self) -> None:
        """What was written is not there, and what was deleted is."""
        self._any = None

    def of(self, db: Handle, numbers: Iterable[str]) -> Mapping[str, Codes]:
        """Those of the numbers that are suppressed anywhere."""
        if self._any is None:
            self._any = db.execute(ANY_SUPPRESSION).fetchone() is not None
        if not self._any:
            return {}
        found: dict[str, dict[str, str | None]] = {}
        for number, scope, code in look_up(db, SUPPRESSED, [(number,) for number in sorted(set(numbers))]):
            found.setdefault(number, {})[scope] = code
        return found

    def add(self, db: Handle, suppressions: Sequence[Suppression]) -> int:
        """Keep them; how many were not there yet. One that was keeps its first time and source."""
        if not suppressions:
            return 0
        self._any = True
        return change(db, ADD_SUPPRESSIONS, [suppression_row(one) for one in suppressions])

    def lift(self, db: Handle, scope: str, number: str) -> bool:
        """Take one away; whether it was there."""
        gone = db.execute(LIFT_SUPPRESSION, (scope, number)).rowcount == 1
        self._any = None
        return gone


def refused(route: str, codes: Codes) -> tuple[str, ...]:
    """The scopes that leave no provider of the route to carry it; none: one of them may, or the route is empty."""
    if EVERY in codes:
        return (EVERY,)
    names = providers(route)
    return () if left_over(names, codes) else tuple(name for name in names if name in codes)


def way_around(route: str, codes: Codes) -> str | None:
    """The route without the providers that may not carry it; None: nothing is left, or nothing changes."""
    names = providers(route)
    left = left_over(names, codes)
    return ",".join(left) if left and left != names else None


def providers(route: str) -> tuple[str, ...]:
    """The names in it; none in the empty one."""
    return tuple(route.split(",")) if route else ()


def forbids(codes: Codes, provider: str) -> bool:
    """Whether the provider may not text the number."""
    return provider in codes or EVERY in codes


def opted_out_of(scopes: Sequence[str], codes: Codes, now: Instant) -> Error:
    """Why a message of a campaign fails that nobody may carry: its recipient is suppressed in these scopes."""
    of = "all texts" if EVERY in scopes else f"the texts of {', '.join(scopes)}"
    text = f"The recipient opted out of {of}: lift the suppression if the recipient asked for them again"
    return Error(Category.OPTED_OUT, text, now, codes[scopes[0]])


def opted_out(codes: Codes, provider: str, now: Instant) -> Error:
    """Why a claim for the provider failed."""
    scope = EVERY if EVERY in codes else provider
    of = "all texts" if scope == EVERY else f"the texts of {provider}"
    text = f"The recipient opted out of {of}: lift the suppression if the recipient asked for them again"
    return Error(Category.OPTED_OUT, text, now, codes[scope], provider)
