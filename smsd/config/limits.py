"""How often may somebody be texted, as the file says it: `[[limits]]`?

Each rate of a section becomes one Rule. What can never mean anything is found here, because nobody would notice it
later: a window longer than charges are remembered, a wait that no action asks for, two rules of which only the stricter
could count. How a window is counted, and what follows when it is full, is known to `core`.
"""

from __future__ import annotations

from typing import Final

from smsd.config.tables import Table
from smsd.config.tenants import TENANT_NAME, TENANT_REMEDY
from smsd.core import units
from smsd.core.limits import AT_ACCEPTANCE, LEDGER_MS, MAX_COUNT, Action, Per, Rule
from smsd.core.units import DAY

PERS: Final = tuple(each.value for each in Per if each not in {Per.TEXT, Per.REPEAT})
"""What `per` may say; the other two have settings of their own in `[messages]`."""

ACTIONS: Final = tuple(each.value for each in Action if each is not Action.REPLAY)
"""What `action` may say."""

MAX_WAIT_MS: Final = 30 * DAY
"""As long as a message may live at most (`[messages] ttl`)."""


def limits(root: Table) -> tuple[Rule, ...]:
    """`[[limits]]`, in the order of the file. `root`: the whole file."""
    found: list[Rule] = []
    for section in root.items("limits"):
        before = len(root.report.faults)
        rules = _rules(section)
        section.done()
        if len(root.report.faults) == before:
            _twice(section, rules, found)
            found += rules
    return tuple(found)


def _rules(table: Table) -> list[Rule]:
    """Those of one section; after a fault perhaps none."""
    per = _per(table)
    windows = _windows(table)
    action = Action(table.choice("action", Action.DEFER, ACTIONS))
    if action is Action.REJECT and per is Per.SENDER:
        table.fault("action", '"reject" cannot be: the sender is chosen when it is sent; write defer, retry or fail')
    tenant = table.text("tenant", "") if table.has("tenant") else None
    if tenant is not None and not TENANT_NAME.fullmatch(tenant):
        table.fault("tenant", TENANT_REMEDY)
    wait_ms = _max_wait(table, action)
    if per is None:
        return []
    return [Rule(per, count, span_ms, action, wait_ms, tenant) for count, span_ms in windows]


def _per(table: Table) -> Per | None:
    if not table.has("per"):
        table.ask("per")
        table.fault("per", f"missing; write what is counted, one of {', '.join(PERS)}")
        return None
    return Per(table.choice("per", Per.RECIPIENT, PERS))


def _max_wait(table: Table, action: Action) -> int | None:
    """Milliseconds; None: as long as the message lives."""
    wait_ms = table.duration("max_wait", 0, units.SECOND, MAX_WAIT_MS)
    if not table.has("max_wait"):
        return None
    if action is not Action.DEFER:
        table.fault("max_wait", 'is only for action = "defer", with which a message waits for its turn; remove it')
    return wait_ms


def _windows(table: Table) -> list[tuple[int, int]]:
    """(count, span_ms) of each rate."""
    before = len(table.report.faults)
    texts = table.texts("rate")
    if not texts and len(table.report.faults) == before:
        table.fault("rate", 'missing; write how many and in which time, such as "5/hour"')
    found: dict[int, int] = {}
    for text in texts:
        try:
            count, span_ms = units.rate(text)
        except ValueError as error:
            table.fault("rate", f"{text!r}: {error}")
            continue
        if count > MAX_COUNT:
            table.fault("rate", f"{text!r}: a limit counts {MAX_COUNT} at most; write fewer over a shorter time")
        elif span_ms > LEDGER_MS:
            kept = units.duration_text(LEDGER_MS)
            table.fault("rate", f"{text!r}: what was sent is remembered for {kept}; write a window no longer than that")
        elif span_ms in found:
            table.fault("rate", f"states two limits for {units.duration_text(span_ms)}; keep the lower one")
        else:
            found[span_ms] = count
    return [(count, span_ms) for span_ms, count in found.items()]


def _twice(table: Table, rules: list[Rule], earlier: list[Rule]) -> None:
    """Note a window that an earlier section has already for the same: the lower count alone would ever be felt."""
    known = {_counted(rule): rule for rule in earlier}
    for rule in rules:
        if other := known.get(_counted(rule)):
            table.fault("rate", f"there is a rule for this window already ({other.words}); keep one of them")


def _counted(rule: Rule) -> tuple[Per, int, str | None, bool]:
    """What a rule counts. One that counts what is accepted and one that counts what is claimed do not meet."""
    return rule.per, rule.span_ms, rule.tenant, rule.action in AT_ACCEPTANCE
