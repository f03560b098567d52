"""Is what holds campaigns up the same in memory as in the table, also after a transaction was rolled back?"""

from __future__ import annotations

import sqlite3

import pytest

from smsd.core.campaign import Move, Terms
from smsd.core.units import HOUR
from smsd.store import StoreError
from smsd.store.campaigns import make, moved
from smsd.store.connection import Handle
from smsd.store.gates import GATED, Gates
from tests.doubles.builders import NOW
from tests.store.conftest import Opening

RATED = Terms(rate=(5, HOUR))
ALL = ("rated", "paused", "gone", "plain", "new")


def seen(gates: Gates) -> object:
    """All that it answers."""
    held = [gates.gate("shop", id, NOW) for id in ALL]
    rated = [gates.rule("shop", id) for id in ALL]
    closed = [gates.is_closed("shop", id) for id in ALL]
    return held, rated, closed, len(gates.rules()), gates.are_unrated(), gates.any()


async def test_a_rollback_takes_back_what_was_said_and_reads_nothing_again(opening: Opening) -> None:
    box = (await opening()).box
    kept, ledger, gates = box.desk.campaigns, box._ledger, box._ledger.gates
    for id in ("rated", "paused", "gone", "plain"):
        await kept.make("shop", id, Terms() if id in ("paused", "plain") else RATED, NOW)
    await kept.move("shop", "paused", Move.PAUSE, NOW)
    statements: list[str] = []
    before = seen(gates)

    def fails(db: Handle, _: object) -> None:
        assert isinstance(db, sqlite3.Connection)
        db.set_trace_callback(statements.append)
        make(db, ledger, "shop", "new", RATED, NOW)
        for id, move in (("rated", Move.CANCEL), ("paused", Move.RESUME), ("paused", Move.CANCEL)):
            moved(db, ledger, "shop", id, move, NOW)
        gates.removed([("shop", "gone"), ("shop", "never was")])
        raise ValueError("one row cannot be stored")

    for _ in range(2):
        with pytest.raises(StoreError):
            await box._change(fails)
        assert seen(gates) == before
    assert await kept.make("shop", "more", Terms(), NOW)
    assert statements
    assert GATED not in statements

    await kept.move("shop", "rated", Move.CANCEL, NOW)
    with pytest.raises(StoreError):
        await box._change(fails)
    after = seen(gates)
    assert after != before
    await box.close()
    assert seen((await opening()).box._ledger.gates) == after
