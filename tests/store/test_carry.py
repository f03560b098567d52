"""Does a restored outbox still know what was called since the backup, and who was told to rest?"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from smsd.core.campaign import Hours, Move, Terms
from smsd.core.health import Health
from smsd.core.lifecycle import Event
from smsd.core.suppression import EVERY, Suppression
from smsd.store import CampaignClosed, Claim, Start, Stored, StoreError, Suppressed, carry
from smsd.store.restore import restore
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW, draft
from tests.store.conftest import Opening, downgrade
from tests.store.contract import LATER, NUMBER, accept, attempt, settlement

PAUSED = Health("main", "f", paused="an operator's word")
BEFORE = Suppression("main", NUMBER, NOW, "provider", "21610")
SINCE = Suppression(EVERY, NUMBER, LATER, "inbound")
LIFTED = Suppression("main", "+14155550199", NOW, "api")


async def sent(box: SqliteOutbox, *numbers: int, keyed: bool = False, **fields: Any) -> list[int]:
    """Messages of these numbers, each sent by a call at NOW + number, boot time number * 1,000."""
    seqs = []
    for n in numbers:
        key = {"idempotency_key": f"k{n}", "content_hash": b"h" * 32} if keyed else {}
        [result] = await accept(box, draft(n, **key, **fields))
        assert isinstance(result, Stored)
        await box.begin([Claim(result.seq, 0, "main", "s")], NOW)
        call = attempt(at=NOW + n, boot=n * 1_000, provider_message_id=f"SM{n}")
        await box.settle(settlement(result.seq, Event.TAKEN, pmid=f"SM{n}"), call)
        seqs.append(result.seq)
    return seqs


async def known(box: SqliteOutbox) -> list[tuple[int, int | None]]:
    """When calls of `main` were started: wall time after NOW, boot time."""
    return [(start.wall - NOW, start.boot) for start in await box.starts("main", NOW, 0, 10_000)]


async def test_the_calls_since_the_backup_still_count(opening: Opening, path: Path, tmp_path: Path) -> None:
    box = (await opening()).box
    await sent(box, 1, 2)
    await box.snapshot(tmp_path / "backup.db")
    await sent(box, 3, 4)
    await box.close()
    done = restore(tmp_path / "backup.db", path.parent, pending="hold")
    assert (done.messages, done.calls, done.ceilings_full, done.keys_forgotten) == (2, 2, False, 0)
    opened = await opening()
    assert await known(opened.box) == [(n, n * 1_000) for n in (1, 2, 3, 4)]
    assert opened.recovery.unknown_before is None
    [seq] = await sent(opened.box, 9)
    assert seq == 3, "the number is given out anew"
    assert [each.provider_message_id for each in await opened.box.attempts(seq)] == ["SM9"], "a call of another message"


async def test_in_another_boot_they_count_by_the_wall_clock(opening: Opening, path: Path, tmp_path: Path) -> None:
    """The same number of a boot must not come to mean two boots."""
    box = (await opening()).box
    await sent(box, 1)
    await box.snapshot(tmp_path / "backup.db")
    await box.close()
    box = (await opening(boot_token="second")).box
    await sent(box, 2)
    await box.close()
    assert restore(tmp_path / "backup.db", path.parent, pending="hold").calls == 1
    box = (await opening(boot_token="second")).box
    assert await known(box) == [(1, None), (2, 2_000)]
    await box.close()
    restore(tmp_path / "backup.db", path.parent, pending="hold")
    assert await known((await opening(boot_token="third")).box) == [(1, None), (2, None)]


async def test_an_open_call_of_the_replaced_outbox_counts_its_segments(
    opening: Opening, path: Path, tmp_path: Path
) -> None:
    box = (await opening()).box
    await box.snapshot(tmp_path / "backup.db")
    [result] = await accept(box, draft(1, segments=3))
    assert isinstance(result, Stored)
    await box.begin([Claim(result.seq, 0, "main", "s")], NOW)
    await box.close()
    assert restore(tmp_path / "backup.db", path.parent, pending="send").calls == 1
    [start] = await (await opening()).box.starts("main", NOW, 0, 10)
    assert (start.boot, start.cost, start.segments) == (None, 3, 3)


async def test_a_held_message_in_a_call_counts_its_segments(opening: Opening, path: Path, tmp_path: Path) -> None:
    box = (await opening()).box
    [result] = await accept(box, draft(1, segments=3))
    assert isinstance(result, Stored)
    await box.begin([Claim(result.seq, 0, "main", "s")], NOW)
    await box.snapshot(tmp_path / "backup.db")
    await box.close()
    restore(tmp_path / "backup.db", path.parent, pending="hold")
    box = (await opening()).box
    assert [each.cost for each in await box.attempts(result.seq)] == [3]


async def test_a_call_costs_its_segments_when_the_unit_changes(opening: Opening, path: Path, tmp_path: Path) -> None:
    box = (await opening()).box
    await box.snapshot(tmp_path / "backup.db")
    await sent(box, 1, segments=4)
    await box.close()
    restore(tmp_path / "backup.db", path.parent, pending="hold")
    assert await (await opening()).box.starts("main", NOW, 0, 10) == [Start(NOW + 1, 1_000, 4, 4)]


async def test_a_pause_is_not_lifted(opening: Opening, path: Path, tmp_path: Path) -> None:
    """Nor does a halt come back that was lifted since."""
    box = (await opening()).box
    await box.save_provider(Health("b", "f", halted="it refused us"))
    await box.save_provider(Health("gone", "f", halted="it refused us"))
    await box.snapshot(tmp_path / "backup.db")
    await box.save_provider(PAUSED)
    await box.save_provider(Health("b", "f"))
    await box.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM providers WHERE name = 'gone'")
        db.commit()
    restore(tmp_path / "backup.db", path.parent, pending="hold")
    found = {health.name: health for health in (await opening()).recovery.providers}
    assert (found["main"], found["b"]) == (PAUSED, Health("b", "f"))
    assert found["gone"].halted is not None


async def test_what_was_learnt_of_a_provider_is_kept(opening: Opening, path: Path, tmp_path: Path) -> None:
    learnt = Health("main", "f", NOW, LATER, "429", None, None, NOW, "timeouts", LATER, 2, 61.5, 80.0, NOW)
    box = (await opening()).box
    await box.snapshot(tmp_path / "backup.db")
    await box.save_provider(learnt)
    await box.close()
    restore(tmp_path / "backup.db", path.parent, pending="hold")
    assert (await opening()).recovery.providers == (learnt,)


async def test_who_opted_out_since_the_backup_has_opted_out(opening: Opening, path: Path, tmp_path: Path) -> None:
    """And one that was lifted since is lifted, when the replaced outbox went on from the backup."""
    box = (await opening()).box
    await sent(box, 1)
    await box.suppress(BEFORE)
    await box.suppress(LIFTED)
    await box.snapshot(tmp_path / "backup.db")
    await box.suppress(SINCE)
    await box.lift(LIFTED.scope, LIFTED.number)
    await box.close()
    restore(tmp_path / "backup.db", path.parent, pending="hold")
    box = (await opening()).box
    assert await box.suppressions_of(NUMBER) == (SINCE, BEFORE)
    assert await box.suppressions_of(LIFTED.number) == ()
    assert await accept(box, draft(7)) == [Suppressed((EVERY,))]


async def test_a_url_that_is_gone_is_told_nothing_more(opening: Opening, path: Path, tmp_path: Path) -> None:
    url = "https://shop.example/hook"
    box = (await opening()).box
    await sent(box, 1, callback_url=url)
    await box.snapshot(tmp_path / "backup.db")
    assert await box.url_gone("shop", url, LATER) == 1
    await box.close()
    restore(tmp_path / "backup.db", path.parent, pending="hold")
    box = (await opening()).box
    assert [each.subject for each in await box.callbacks(None, False, None, 9)] == [draft(1).id], "as in the backup"
    await sent(box, 2, callback_url=url)
    assert [each.subject for each in await box.callbacks(None, True, None, 9)] == [draft(2).id]


async def test_an_outbox_of_version_2_gives_what_it_knew(opening: Opening, path: Path, tmp_path: Path) -> None:
    """It has no suppressions: those of the backup stay."""
    box = (await opening()).box
    await sent(box, 1)
    await box.suppress(BEFORE)
    await box.snapshot(tmp_path / "backup.db")
    await sent(box, 2, recipient="+14155550111")
    await box.save_provider(PAUSED)
    await box.close()
    downgrade(path, to=2)
    done = restore(tmp_path / "backup.db", path.parent, pending="hold")
    assert (done.calls, done.ceilings_full) == (1, False)
    opened = await opening()
    assert opened.recovery.providers == (PAUSED,)
    assert await opened.box.suppressions_of(NUMBER) == (BEFORE,)


async def test_going_back_and_forth_counts_no_call_twice(opening: Opening, path: Path, tmp_path: Path) -> None:
    box = (await opening()).box
    await sent(box, 1)
    await box.snapshot(tmp_path / "backup.db")
    await sent(box, 2)
    await box.close()
    first = restore(tmp_path / "backup.db", path.parent, pending="hold")
    box = (await opening()).box
    await sent(box, 3)
    await box.close()
    again = restore(tmp_path / "backup.db", path.parent, pending="hold")
    assert (again.calls, again.ceilings_full) == (2, False)
    assert first.replaced is not None
    back = restore(first.replaced, path.parent, pending="hold")
    assert (back.calls, back.ceilings_full) == (1, False), "only the third"
    assert await known((await opening()).box) == [(n, n * 1_000) for n in (1, 2, 3)]


async def test_an_id_stays_bound_to_another_message_only(opening: Opening, path: Path, tmp_path: Path) -> None:
    """A look-up for a message of the backup must find what it became, and nothing of a message that came later."""
    box = (await opening()).box
    [mine] = await accept(box, draft(1))
    assert isinstance(mine, Stored)
    await box.snapshot(tmp_path / "backup.db")
    await box.begin([Claim(mine.seq, 0, "main", "s")], NOW)
    await box.settle(settlement(mine.seq, Event.TAKEN, pmid="mine"), attempt(provider_message_id="mine"))
    await sent(box, 2)
    await box.close()
    assert restore(tmp_path / "backup.db", path.parent, pending="send").calls == 2
    assert await (await opening()).box.bound(["mine", "SM2"]) == {"SM2"}


async def test_keys_used_since_are_counted(opening: Opening, path: Path, tmp_path: Path) -> None:
    box = (await opening()).box
    await sent(box, 1, keyed=True)
    await box.snapshot(tmp_path / "backup.db")
    await sent(box, 2, 3, keyed=True)
    await box.close()
    assert restore(tmp_path / "backup.db", path.parent, pending="hold").keys_forgotten == 2


async def test_the_newest_time_is_known(opening: Opening, path: Path, tmp_path: Path) -> None:
    """A clock that was stepped back meanwhile shows."""
    box = (await opening()).box
    await box.snapshot(tmp_path / "backup.db")
    await box.beat(LATER + 5_000)
    await box.close()
    restore(tmp_path / "backup.db", path.parent, pending="hold")
    assert (await opening()).recovery.latest == LATER + 5_000


@pytest.mark.parametrize("kind", ["none", "garbage", "torn", "foreign", "newer", "another"])
async def test_what_nobody_can_tell_is_written_down(opening: Opening, path: Path, tmp_path: Path, kind: str) -> None:
    """The mark also outlives the next backup and restore."""
    box = (await opening()).box
    await sent(box, 1)
    await box.suppress(LIFTED)
    await box.snapshot(tmp_path / "backup.db")
    await sent(box, *range(2, 200))
    await box.save_provider(PAUSED)
    await box.suppress(SINCE)
    await box.lift(LIFTED.scope, LIFTED.number)
    await box.close()
    unknowable(kind, path)
    done = restore(tmp_path / "backup.db", path.parent, pending="hold")
    assert (done.ceilings_full, done.calls) == (True, 0)
    assert messages_in(path) == 1
    opened = await opening()
    mark = opened.recovery.unknown_before
    assert mark is not None
    assert (PAUSED in opened.recovery.providers) is (kind in ("torn", "another")), (
        "a damaged outbox may still tell of a pause"
    )
    told = (SINCE,) if kind in ("torn", "another") else ()
    assert await opened.box.suppressions_of(NUMBER) == told, "and of who opted out"
    assert await opened.box.suppressions_of(LIFTED.number) == (LIFTED,), "nobody can tell why it is not there"
    await opened.box.close()
    assert not restore(tmp_path / "backup.db", path.parent, pending="hold").ceilings_full
    assert (await opening()).recovery.unknown_before == mark


def messages_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        size: int = db.execute("SELECT count(*) FROM messages").fetchone()[0]
    return size


def unknowable(kind: str, path: Path) -> None:
    """Leave nothing, or something that tells too little, in the outbox's place."""
    match kind:
        case "none":
            path.unlink()
        case "garbage":
            path.write_bytes(b"garbage" * 1_000)
        case "torn":
            with closing(sqlite3.connect(path)) as db:
                root = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'attempts'").fetchone()[0]
            with path.open("r+b") as file:
                file.seek((root - 1) * 4096)
                file.write(b"\xa5" * 4096)
        case "another":
            with closing(sqlite3.connect(path)) as db:
                db.execute("DELETE FROM attempts")
                db.commit()
        case _:
            with closing(sqlite3.connect(path)) as db:
                db.execute({"newer": "PRAGMA user_version = 999", "foreign": "PRAGMA application_id = 7"}[kind])


async def test_the_newest_calls_are_enough(
    opening: Opening, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carry, "CALLS_MATTERING", 3)
    box = (await opening()).box
    await box.snapshot(tmp_path / "backup.db")
    await sent(box, *range(1, 8))
    await box.close()
    assert restore(tmp_path / "backup.db", path.parent, pending="hold").calls == 3
    assert await known((await opening()).box) == [(n, n * 1_000) for n in (5, 6, 7)]


async def test_words_for_a_backup_not_for_a_directory(opening: Opening, path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as db:
        db.execute("CREATE TABLE x (a)")
    with pytest.raises(StoreError, match=r"other\.db belongs to another program: name a backup that smsd made"):
        restore(tmp_path / "other.db", path.parent, pending="hold")


async def test_what_an_operator_said_of_campaigns_holds_on(opening: Opening, path: Path, tmp_path: Path) -> None:
    """What was cancelled since the backup is not sent again; what was resumed since goes on."""
    box = (await opening()).box
    campaigns = box.desk.campaigns
    await accept(box, *(draft(n, campaign=f"c{n}") for n in range(1, 5)))
    for id in ("c1", "c2"):
        await campaigns.move("shop", id, Move.PAUSE, NOW)
    await box.snapshot(tmp_path / "backup.db")
    await campaigns.move("shop", "c2", Move.RESUME, LATER)
    await campaigns.move("shop", "c3", Move.CANCEL, LATER)
    await campaigns.make("shop", "c4", Terms("Four", (5, 60_000)), LATER)
    await campaigns.make("shop", "new", Terms("New", None, Hours(60, 120, "UTC")), LATER)
    await campaigns.move("shop", "new", Move.PAUSE, LATER)
    await campaigns.move("shop", "new", Move.CANCEL, LATER)
    await box.close()
    restore(tmp_path / "backup.db", path.parent, pending="send")
    opened = await opening(LATER)
    campaigns = opened.box.desk.campaigns
    found = {one.id: one for one in await campaigns.page(None, None, 9)}
    assert {id: (one.paused_at, one.cancelled_at) for id, one in found.items()} == {
        "c1": (NOW, None), "c2": (None, None), "c3": (None, LATER), "c4": (None, None), "new": (LATER, LATER),
    }  # fmt: skip
    assert (found["c4"].terms, found["c4"].counts.total) == (Terms("Four", (5, 60_000)), 1)
    assert (found["new"].terms, found["new"].counts.total) == (Terms("New", None, Hours(60, 120, "UTC")), 0)
    assert await campaigns.cancelled() == (("shop", "c3"),)
    assert await accept(opened.box, draft(9, campaign="new")) == [CampaignClosed("new")]


async def test_a_backup_of_another_outbox_resumes_no_campaign(opening: Opening, path: Path, tmp_path: Path) -> None:
    box = (await opening()).box
    await accept(box, draft(1, campaign="c"))
    await box.desk.campaigns.move("shop", "c", Move.PAUSE, NOW)
    await box.snapshot(tmp_path / "backup.db")
    await box.close()
    path.unlink()
    box = (await opening()).box
    await accept(box, draft(2, campaign="c"))
    await box.close()
    restore(tmp_path / "backup.db", path.parent, pending="send")
    [found] = await (await opening()).box.desk.campaigns.find("c", "shop")
    assert found.paused_at == NOW
