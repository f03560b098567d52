"""Is the same text sent again and again, as the file says it: `loop_guard`, `duplicate_window`?

Three keys of `[messages]` become rules of the kind that `[[limits]]` has, because a text that was sent is counted as
everything else is. What follows when there is no room is known to `core.limits` and the outbox.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from smsd.config.tables import Table
from smsd.core import units
from smsd.core.limits import LEDGER_MS, MAX_COUNT, Action, Per, Rule
from smsd.core.units import DAY

OFF: Final = "off"

LONGEST_REPEAT_MS: Final = 7 * DAY
"""Who submits the same text a week later means it."""

_ACTIONS: Final = {"reject": Action.REJECT, "hold": Action.DEFER}


def guards(table: Table) -> tuple[Rule, ...]:
    """Those of `[messages]`; none by default."""
    found: list[Rule] = []
    action = _ACTIONS[table.choice("loop_guard_action", "reject", _ACTIONS)]
    text = table.text("loop_guard", OFF)
    if text != OFF and (window := _window(table, text)) is not None:
        found.append(Rule(Per.TEXT, *window, action))
    span_ms = table.duration("duplicate_window", 0, 0, LONGEST_REPEAT_MS)
    if span_ms:
        found.append(Rule(Per.REPEAT, 1, span_ms, Action.REPLAY))
    return tuple(found)


def _window(table: Table, text: str) -> tuple[int, int] | None:
    """How many in how many ms; None after a fault."""
    try:
        count, span_ms = units.rate(text)
    except ValueError as error:
        table.fault("loop_guard", f'{error}; or "{OFF}"')
        return None
    if count > MAX_COUNT:
        table.fault("loop_guard", f"counts {MAX_COUNT} at most; write fewer over a shorter time")
    elif span_ms > LEDGER_MS:
        kept = units.duration_text(LEDGER_MS)
        table.fault("loop_guard", f"what was sent is remembered for {kept}; write a window no longer than that")
    else:
        return count, span_ms
    return None


def shown_guards(rules: Sequence[Rule]) -> Mapping[str, object]:
    """The three keys as the file would say them."""
    by = {rule.per: rule for rule in rules}
    loop, repeat = by.get(Per.TEXT), by.get(Per.REPEAT)
    return {
        "loop_guard": OFF if loop is None else units.rate_text(loop.count, loop.span_ms),
        "loop_guard_action": next(name for name, each in _ACTIONS.items() if loop is None or each is loop.action),
        "duplicate_window": units.duration_text(repeat.span_ms) if repeat else "0s",
    }
