"""How fast may be called, as a table says it: rate, burst, min_gap, unit?

The four keys that a provider and an account share. What a ceiling is, and that a burst is taken out of it, is known to
`core.pacing`; whose calls are counted is known to nobody here.
"""

from __future__ import annotations

from collections.abc import Sequence

from smsd.config.tables import Table
from smsd.core import units
from smsd.core.pacing import MAX_LIMIT, Pace, Window
from smsd.core.units import HOUR


def pace_in(table: Table, *, default: Sequence[str] = (), free: bool = False, needed: bool = True) -> Pace:
    """The table's ceilings. `default`: the rate where it states none; `free`: it may say "unlimited", which is no
    windows; `needed`: it may not be silent. No windows after a fault either."""
    usual = Pace()
    windows = _windows(table, tuple(default), free=free, needed=needed)
    burst = table.integer("burst", usual.burst, 1, MAX_LIMIT)
    min_gap_ms = table.duration("min_gap", usual.min_gap_us // 1_000, 0, HOUR)
    unit = table.choice("unit", usual.unit, ("messages", "segments"))
    try:
        return Pace(windows, burst, min_gap_ms * 1_000, unit)
    except ValueError as error:
        # Each value alone is fine by now; what is left is a burst that its rate cannot hold.
        table.fault("burst", str(error))
        return usual


def _windows(table: Table, default: tuple[str, ...], *, free: bool, needed: bool) -> tuple[Window, ...]:
    texts = table.texts("rate") or default
    if not texts:
        if needed:
            hint = 'what the carrier allows, such as "100/min"' + (', or "unlimited"' if free else "")
            table.fault("rate", f"missing; write {hint}")
        return ()
    if texts == ("unlimited",) and free:
        return ()
    windows: dict[int, Window] = {}
    for text in texts:
        try:
            limit, span_ms = units.rate(text)
            window = Window(limit, span_ms * 1_000)
        except ValueError as error:
            table.fault("rate", f"{text!r}: {error}")
            continue
        if span_ms in windows:
            table.fault("rate", f"states two limits for {units.duration_text(span_ms)}; keep the lower one")
        windows[span_ms] = window
    return tuple(windows.values())
