"""Which senders does a table name?

`from` is a key of `[messages]`, of every provider and of every tenant; each means something else by it, and all take
the same spellings. What a sender may be is known to `core.address` alone.
"""

from __future__ import annotations

from smsd.config.tables import Table
from smsd.core import address


def senders_in(table: Table) -> tuple[str, ...]:
    """The table's `from`: one or a list, none twice, each in its one spelling; absent or empty: none."""
    senders = tuple(sender_in(table, text) for text in table.texts("from"))
    if len(set(senders)) != len(senders):
        table.fault("from", "names a sender twice; remove one")
    return senders


def sender_in(table: Table, text: str) -> str:
    """One sender of the table's `from` in its one spelling; as it stands after a fault."""
    found = address.sender(text)
    if isinstance(found, address.Problem):
        table.fault("from", f"{text!r} {found.message}")
        return text
    return found
