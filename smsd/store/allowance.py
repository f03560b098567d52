"""How many more messages may this person get?

The limits, read from the ledger of charges as it lies in the table: on the reading connection, beside the writer and
its windows in memory. Counted like there, by the same line of time, so both say the same of what is committed; but in
SQL, because a window may hold a hundred thousand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from smsd.core.admission import At, Key, ledger_key
from smsd.core.limits import Per, Rule, Subject, key_of
from smsd.core.message import Instant
from smsd.core.windows import Moment
from smsd.store.connection import Handle
from smsd.store.reading import tenants_of
from smsd.store.statements import with_rows
from smsd.store.statements.charging import COUNT_CHARGES
from smsd.store.timeline import Timeline
from smsd.store.views import Person

END = 2**62
"""Later than all moments and instants."""


def remaining(db: Handle, rules: Sequence[Rule], line: Timeline, person: Person, at: At) -> int | None:
    """See Records.remaining."""
    left: list[int] = []
    for rule in rules:
        left += [rule.count - charged(db, rule, key, line, at) for key in keys_of(db, rule, person)]
    return max(0, min(left)) if left else None


def charged(db: Handle, rule: Rule, key: Key, line: Timeline, at: At) -> int:
    """How many of the charges under this key lie in the rule's window, as far as its count."""
    since = at.moment - rule.span_ms * 1_000
    wall, boots = since_of(line, since)
    statement = with_rows(COUNT_CHARGES, 2, len(boots))
    boot = -1 if line.us is None else line.boot  # without a boot clock, all is told by the wall clock
    values = (*chain.from_iterable(boots.items()), *key, rule.count, wall, boot)
    found: int = db.execute(statement, values).fetchone()[0]
    return found


def since_of(line: Timeline, since: Moment) -> tuple[Instant, Mapping[int, Moment]]:
    """What is later than `since` by line.moment(): what the wall clock dated after the first, or the boot clock, by
    number of boot, after the second. `since` is in the past. What has boot time of this boot is told by that alone.
    """
    if line.us is None:
        return since // 1_000, {line.boot: END}
    if line.us <= since:  # all earlier boots are before it, whatever their clocks said
        return END, {line.boot: since}
    # wall - at < (us - since) / 1000, in whole numbers
    wall = line.wall - -(-(line.us - since) // 1_000)
    earlier = {boot: (wall - ahead) * 1_000 for boot, ahead in sorted(line.clocks.items(), reverse=True)}
    return wall, {line.boot: since, **earlier}


def keys_of(db: Handle, rule: Rule, person: Person) -> Iterator[Key]:
    """Where the rule looks for what concerns the person; nowhere, when it does not bind it."""
    if rule.tenant is not None and person.tenant not in (None, rule.tenant):
        return
    match rule.per:
        case Per.USER if person.user is not None:
            tenants = [rule.tenant or person.tenant]
        case Per.RECIPIENT if person.recipient is not None:
            tenants = [rule.tenant or person.tenant or ""]
        case Per.TENANT if person.tenant is not None:
            tenants = [person.tenant]
        case _:
            return
    # Whose user it is, the messages tell; nobody's has been charged nothing.
    for tenant in [*tenants_of(db, person.user or ""), ""] if tenants == [None] else tenants:
        subject = Subject(person.recipient or "", tenant or "", person.user, None, None, "")
        key = key_of(rule.per, subject)
        if key is not None:
            yield ledger_key(rule, key)
