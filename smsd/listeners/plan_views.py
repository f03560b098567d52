"""How is what a plan comes to shown?

The engine's answer in the form of the wire. Apart from `planning`, because the doors of campaigns show plans too.
"""

from __future__ import annotations

from smsd import wire
from smsd.engine.planning import Outcome


def plan_view(outcome: Outcome) -> wire.PlanView:
    """As every door shows it."""
    sums, decided = outcome.sums, outcome.decided_by
    return wire.PlanView(
        rows=sums.rows,
        valid=sums.valid,
        invalid=sums.invalid,
        errors=[wire.PlanFault(each.index, each.field or None, each.code, each.message) for each in sums.errors],
        codes=sums.codes,
        suppressed=sums.suppressed,
        duplicates=sums.duplicates,
        already_there=sums.already_there,
        limited=sums.limited,
        truncated=sums.truncated,
        segments=sums.segments,
        encodings=sums.encodings,
        cost={outcome.currency: f"{sums.cost.normalize():f}"} if sums.priced else {},
        unpriced=sums.unpriced,
        held_by_quiet_hours=sums.quiet,
        quiet_until=wire.time_text(sums.quiet_until),
        expiring=sums.expiring,
        starts_at=wire.time_text(outcome.starts_at),
        finishes_at=wire.time_text(outcome.finishes_at),
        duration_s=None if outcome.duration_ms is None else outcome.duration_ms / 1e3,
        decided_by=None if decided is None else wire.DecidingView(decided.limit, decided.words),
    )
