"""Are flows of campaigns forgotten that nothing belongs to any more, and no others? And is what was held up let go?"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from smsd.core.lifecycle import Event
from smsd.core.message import Message, State
from smsd.core.settlement import Settlement
from smsd.core.verdict import Category
from smsd.store import Claim, Stored, release
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW, draft
from tests.store.conftest import Opening
from tests.store.contract import accept, attempt, error, settlement


def campaigns(path: Path) -> list[str | None]:
    """Of the flows there are."""
    with closing(sqlite3.connect(path)) as db:
        return [row[0] for row in db.execute("SELECT campaign FROM flows ORDER BY id")]


async def stored(box: SqliteOutbox, number: int, campaign: str | None) -> int:
    found = (await accept(box, draft(number, campaign=campaign)))[0]
    assert isinstance(found, Stored)
    return found.seq


def failed(seq: int) -> Settlement:
    return settlement(seq, Event.FAIL, error=error(Category.REJECTED, at=NOW))


async def test_flows_of_campaigns_without_messages_go_and_come_again(opening: Opening, path: Path) -> None:
    box = (await opening()).box
    await stored(box, 1, None)
    await stored(box, 2, "waits")
    under_way = await stored(box, 3, "under way")
    ended = await stored(box, 4, "ended")
    await box.begin([Claim(seq, 0, "main", "") for seq in (under_way, ended)], NOW)
    await box.settle(failed(ended), attempt())
    await box.beat(NOW)
    assert campaigns(path) == [None, "waits", "under way"]

    # What is under way comes back to its flow, an operator's retry and a new message make theirs anew.
    await box.settle(settlement(under_way, Event.RETRY, due=NOW + 5), attempt())
    again = await box.reopen(draft(4).id, None, NOW, NOW + 1_000, force=False)
    assert isinstance(again, Message)
    assert again.state is State.PENDING
    await stored(box, 5, "ended")
    assert campaigns(path) == [None, "waits", "under way", "ended"]
    await box.close()
    recovery = (await opening()).recovery
    assert {(flow.campaign, flow.pending) for flow in recovery.flows} == {
        (None, 1),
        ("waits", 1),
        ("under way", 1),
        ("ended", 2),
    }


async def test_a_flow_made_in_the_transaction_that_sweeps_stays(opening: Opening, path: Path) -> None:
    box = (await opening()).box
    answers: list[object] = []
    box.accept(draft(1, campaign="new"), answers.append)
    await box.beat(NOW)  # one commit with the acceptance
    assert isinstance(answers[0], Stored)
    assert campaigns(path) == ["new"]


async def test_the_sweep_gets_round_to_every_flow(opening: Opening, path: Path) -> None:
    box = (await opening()).box
    await accept(box, *(draft(n, campaign=f"{n}") for n in range(1, 1_201)))
    for n in range(1, 1_201):
        await box.cancel(draft(n).id, None, NOW)
    for _ in range(4):
        await box.beat(NOW)
    assert campaigns(path) == []


async def test_what_other_rules_held_up_is_let_go_in_pieces(opening: Opening, path: Path) -> None:
    box = (await opening()).box
    count = release.PIECE + 10
    await accept(box, *(draft(n) for n in range(1, count + 1)), draft(count + 1, send_at=NOW + 500))
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE messages SET due = ?, held = 'recipient_limit', held_by = 'words'", (NOW + 99_000,))
        db.commit()
    first = await box.release_held("one", -1, NOW)
    assert first == release.PIECE
    with closing(sqlite3.connect(path)) as db:  # as the rules in force do meanwhile
        db.execute("UPDATE messages SET held = 'user_limit', held_by = 'words', due = ? WHERE seq = 2", (NOW + 7,))
        db.commit()
    assert await box.release_held("one", first, NOW) == count + 1
    assert await box.release_held("one", count + 1, NOW) is None
    for number, due in ((1, NOW), (count, NOW), (count + 1, NOW + 500)):
        found = await box.get(draft(number).id, None)
        assert found is not None
        assert (found.due, found.held, found.held_by) == (due, None, None)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT next_due FROM flows").fetchall() == [(NOW,)]
    again = await box.get(draft(2).id, None)
    assert again is not None
    assert (again.due, again.held) == (NOW + 7, "user_limit")
    assert await box.release_held("one", -1, NOW) is None  # these very rules hold it up
    assert await box.release_held("two", -1, NOW) == 2
