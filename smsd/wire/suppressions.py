"""How do numbers that get nothing more look to a caller?

Who may see them, and at which providers they hold, is decided elsewhere. Times are RFC 3339 UTC with `Z`.
"""

from __future__ import annotations

import msgspec

from smsd.core.suppression import Suppression, shown
from smsd.core.units import rfc3339


class SuppressionView(msgspec.Struct):
    """A number that gets nothing more. `scope`: the provider whose senders it opted out of, or "*": every one;
    `source`: "provider" (its answer), "operator" or "inbound"; `code`: of the provider's answer."""

    number: str
    scope: str
    at: str
    source: str
    code: str | None


class SuppressionList(msgspec.Struct):
    """A page of them, in order of numbers; the end is a null cursor."""

    items: list[SuppressionView]
    next_cursor: str | None


class KeptSuppression(SuppressionView):
    """One that holds. `added`: it is new; else it was there already and stays as it was."""

    added: bool


class LiftedSuppression(msgspec.Struct):
    """One that holds no more."""

    number: str
    scope: str


def suppression_view(suppression: Suppression) -> SuppressionView:
    """The view of a suppression."""
    return SuppressionView(
        number=suppression.number,
        scope=shown(suppression.scope),
        at=rfc3339(suppression.at),
        source=suppression.source,
        code=suppression.code,
    )


def kept_suppression(suppression: Suppression, *, added: bool) -> KeptSuppression:
    """The view of a suppression that was asked for."""
    view = suppression_view(suppression)
    return KeptSuppression(view.number, view.scope, view.at, view.source, view.code, added)
