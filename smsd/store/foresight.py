"""What would the outbox say to messages that may come?

Who of them is suppressed, and whose idempotency key is known: many at once, on the reading connection. Nothing is
written, and no place is kept for anybody. It refuses to know what a plan is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from smsd.store.connection import Handle
from smsd.store.hands import Hands
from smsd.store.statements import look_up, look_up_plain
from smsd.store.statements.accepting import FIND_KEYS
from smsd.store.statements.suppressing import ANY_SUPPRESSION, SUPPRESSED


class SqliteForesight:
    """Foresight over one SQLite file."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands

    async def suppressed(self, numbers: Sequence[str]) -> Mapping[str, frozenset[str]]:
        """See Foresight.suppressed."""
        return await self._hands.read(lambda db: _suppressed(db, numbers))

    async def hashes(self, keys: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], bytes]:
        """See Foresight.hashes."""
        return await self._hands.read(lambda db: _hashes(db, keys))

    def same(self, kept: bytes, content: bytes) -> bool:
        """See Foresight.same."""
        return self._hands.redaction.same(kept, content)


def _suppressed(db: Handle, numbers: Sequence[str]) -> Mapping[str, frozenset[str]]:
    if db.execute(ANY_SUPPRESSION).fetchone() is None:
        return {}
    found: dict[str, set[str]] = {}
    for number, scope, _ in look_up(db, SUPPRESSED, [(number,) for number in sorted(set(numbers))]):
        found.setdefault(number, set()).add(scope)
    return {number: frozenset(scopes) for number, scopes in found.items()}


def _hashes(db: Handle, keys: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], bytes]:
    rows = look_up_plain(db, FIND_KEYS, sorted(set(keys)))
    return {(tenant, key): hash for tenant, key, hash, *_ in rows}
