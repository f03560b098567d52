"""How many more messages may this person get?

The limits, read from the ledger of charges as it lies in the table: on the reading connection, beside the writer and
its windows in memory. Counted like there, by the same line of time, so both say the same of what is committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from smsd.core.admission import At, Key, ledger_key
from smsd.core.limits import Per, Rule, Subject, key_of
from smsd.store import Person
from smsd.store import statements as sql
from smsd.store.connection import Handle
from smsd.store.reading import tenants_of
from smsd.store.statements import look_up
from smsd.store.timeline import Timeline


def remaining(db: Handle, rules: Sequence[Rule], line: Timeline, person: Person, at: At) -> int | None:
    """See Records.remaining."""
    left: list[int] = []
    for rule in rules:
        left += [rule.count - charged(db, rule, key, line, at) for key in keys_of(db, rule, person)]
    return max(0, min(left)) if left else None


def charged(db: Handle, rule: Rule, key: Key, line: Timeline, at: At) -> int:
    """How many of the charges under this key lie in the rule's window, as far as its count."""
    charges = look_up(db, sql.charges_of(rule.count), [key])
    since = at.moment - rule.span_ms * 1_000
    return sum(line.moment(wall, boot, boot_us, at.moment) > since for _, _, wall, boot, boot_us, _ in charges)


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
