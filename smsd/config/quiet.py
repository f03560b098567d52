"""At which hours is nobody to be texted, as the file says it: `[quiet_hours]`, and a tenant's own?

Times are the recipient's, so no zone is written here. Hours that begin when they end are refused: nobody could tell
whether they mean never or always. Zones need a time zone database; a machine without one is found out here and not by
the first message. What the hours mean for a number is known to `core.quiet`.
"""

from __future__ import annotations

import re
import zoneinfo
from typing import Final, Literal

from smsd.config.tables import Table
from smsd.core.quiet import QuietHours

_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")

_ANY_ZONE: Final = "Europe/London"
"""A zone that every time zone database has."""


def quiet_hours(root: Table) -> QuietHours | None:
    """`[quiet_hours]`; None: there is none. `root`: the whole file."""
    section = root.table("quiet_hours")
    return _hours(section) if root.has("quiet_hours") else None


def own_quiet_hours(tenant: Table) -> QuietHours | Literal[False] | None:
    """`quiet_hours` of a tenant's section: its own, False (none), or None (as everybody's)."""
    value = tenant.raw("quiet_hours")
    if value is False or value is None:
        return value
    if not isinstance(value, dict):
        tenant.fault("quiet_hours", 'must be a table such as {from = "21:00", to = "08:00"}, or false')
        return None
    return _hours(tenant.table("quiet_hours"))


def _hours(table: Table) -> QuietHours | None:
    """None after a fault."""
    start, end = _minute(table, "from", "21:00"), _minute(table, "to", "08:00")
    if start is not None and start == end:
        table.fault("to", "is the same as `from`: nobody can tell whether that is never or always; write another time")
    if not _knows_zones():
        text = "needs a time zone database, and this machine has none: install tzdata (from the system or from PyPI)"
        table.fault("from", text)
    table.done()
    return None if start is None or end is None or start == end else QuietHours(start, end)


def _minute(table: Table, key: str, example: str) -> int | None:
    """A time of day in minutes."""
    if not table.has(key):
        table.ask(key)
        table.fault(key, f'missing; write a time of day, such as "{example}"')
        return None
    before = len(table.report.faults)
    text = table.text(key, "")
    found = _CLOCK.fullmatch(text)
    if found is None:
        if len(table.report.faults) == before:
            table.fault(key, f'{text[:32]!r} is not a time of day; write 00:00 to 23:59, such as "{example}"')
        return None
    return int(found[1]) * 60 + int(found[2])


def _knows_zones() -> bool:
    try:
        zoneinfo.ZoneInfo.no_cache(_ANY_ZONE)
    except (zoneinfo.ZoneInfoNotFoundError, OSError):
        return False
    return True
