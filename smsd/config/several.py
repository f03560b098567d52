"""Does this key hold one secret, or several of which the first is the one in use?

For secrets that two sides know: while they change from one to the next, both count. What a secret must look like, and
what follows from its place in the list, is its neighbours' to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from smsd.config.sources import Secret
from smsd.config.tables import Table

MOST_SECRETS: Final = 4
"""At a time: each is tried on what comes in, and signs what goes out."""


def secrets_in(table: Table, key: str, read: Callable[[Table, str], str | None]) -> tuple[str, ...]:
    """The secrets in their order, each read by `read(table, key)`, which notes its faults; none after a fault."""
    value, before = table.raw(key), len(table.report.faults)
    if isinstance(value, list):
        several = {str(number): each for number, each in enumerate(value, 1)}
        if not 0 < len(several) <= MOST_SECRETS:
            table.fault(key, f"must be a secret or a list of 1 to {MOST_SECRETS}; got {len(several)}")
        place = Table(several, table.report, table.path_of(key))
        found = [read(place, each) for each in several]
    else:
        found = [read(table, key)]
    kept = tuple(each for each in found if each is not None)
    if len(set(kept)) != len(kept):
        table.fault(key, "holds a secret twice; remove one")
    return kept if len(table.report.faults) == before else ()


def any_secret(table: Table, key: str) -> str | None:
    """A secret of any form, for `secrets_in`."""
    found = table.secret(key)
    return None if found is None else found.reveal()


def shown_secrets(secrets: tuple[str, ...]) -> object:
    """As the file would say them; None: there is none."""
    shown = [Secret(each) for each in secrets]
    return shown[0] if len(shown) == 1 else shown or None
