"""Does a backup come back whole, is nothing sent twice by it, and is neither outbox ever lost on the way?"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from subprocess import PIPE

import pytest

from smsd.core.lifecycle import Event
from smsd.core.message import State
from smsd.core.verdict import Category
from smsd.store import Claim, Query, Replay, Stored, StoreError, WrongState
from smsd.store.restore import STEP_ROWS, Restored, restore
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW, draft
from tests.store.conftest import Opening, downgrade
from tests.store.contract import SOON, accept, attempt, error, settlement


async def lived(box: SqliteOutbox) -> None:
    """One sent, one failed, one in a call, one uncertain, one retried and pending, some pending; two tenants."""
    drafts = [draft(n, tenant="ab"[n % 2], idempotency_key=f"k{n}", content_hash=b"h" * 32) for n in range(1, 10)]
    results = await accept(box, *drafts)
    seqs = [result.seq for result in results if isinstance(result, Stored)]
    await box.begin([Claim(seq, 0, "main", "s") for seq in seqs[:5]], NOW)
    await box.settle(settlement(seqs[0], Event.TAKEN, pmid="SM1"), attempt(provider_message_id="SM1"))
    await box.settle(settlement(seqs[1], Event.FAIL, error=error(Category.REJECTED)), attempt(outcome="refuse"))
    await box.settle(settlement(seqs[2], Event.DOUBT, due=SOON, error=error(Category.TIMEOUT)), attempt())
    await box.settle(settlement(seqs[3], Event.RETRY, due=SOON, error=error(Category.NETWORK)), attempt())


async def backed_up(opening: Opening, target: Path) -> None:
    """A backup of a lived outbox; afterwards one more was accepted, and it is closed."""
    box = (await opening()).box
    await lived(box)
    await box.snapshot(target)
    await accept(box, draft(99, tenant="a"))
    await box.close()


async def check(box: SqliteOutbox) -> None:
    """The kept counts are those of the messages."""
    messages = (await box.page(Query(limit=10_000))).items
    for tenant in (None, "a", "b"):
        own = [m for m in messages if tenant in (None, m.tenant)]
        totals = await box.totals(0, tenant)
        assert totals.states == dict(Counter((m.state, m.priority) for m in own))
        failed = [m for m in own if m.state is State.FAILED]
        assert totals.categories == dict(Counter(str(m.error.category) for m in failed if m.error))
        assert sum(row.failed for row in totals.minutes) == len(failed)
        assert totals.oldest_pending_at == min((m.due for m in own if m.state is State.PENDING), default=None)


async def test_what_waited_is_held_until_somebody_says_force(opening: Opening, path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    await backed_up(opening, backup)
    untouched = backup.read_bytes()
    result = restore(backup, path.parent, pending="hold")
    assert (result.messages, result.held) == (9, 7)
    assert backup.read_bytes() == untouched
    opened = await opening()
    assert (opened.recovery.flows, opened.recovery.reopened, opened.recovery.next_uncertain) == ((), 0, None)
    messages = (await opened.box.page(Query())).items[::-1]
    assert [m.state for m in messages] == [State.SENT] + [State.FAILED] * 8
    assert messages[1].error == error(Category.REJECTED)
    for message in messages[2:]:
        assert message.error is not None
        assert message.error.category is Category.UNCERTAIN
        assert "may have been sent since" in message.error.message
        assert not message.uncertain
        assert isinstance(await opened.box.reopen(message.id, None, NOW, SOON, False), WrongState)
    assert [m.error.cause for m in messages[2:5] if m.error] == [Category.TIMEOUT, Category.NETWORK, None]
    assert [a.outcome for a in await opened.box.attempts(messages[4].seq)] == ["crashed"], "it was in a call"
    await check(opened.box)
    again = await accept(opened.box, draft(50, tenant="b", idempotency_key="k7", content_hash=b"h" * 32))
    assert [type(answer) for answer in again] == [Replay]
    await opened.box.reopen(messages[8].id, None, NOW, SOON, True)
    assert len(await opened.box.begin([Claim(messages[8].seq, 0, "main", "s")], NOW)) == 1


async def test_who_is_called_back_is_told_what_is_held(opening: Opening, path: Path, tmp_path: Path) -> None:
    """Tenant a has a URL, one message of b came with its own; what had ended before is not told again."""
    box = (await opening()).box
    await lived(box)
    own = draft(10, tenant="b", callback_url="https://own.example/hook")
    await accept(box, own)
    await box.snapshot(tmp_path / "backup.db")
    await box.close()
    url = "https://a.example/hook"
    restore(tmp_path / "backup.db", path.parent, pending="hold", urls={"a": url})
    box = (await opening()).box
    waiting = await box.callbacks(None, False, None, 100)
    wanted = {draft(n).id: url for n in (4, 6, 8)} | {own.id: "https://own.example/hook"}
    assert {each.subject: each.url for each in waiting} == wanted
    assert {str(each.event) for each in waiting} == {"message.failed"}
    assert all('"UNCERTAIN"' in each.payload for each in waiting)
    assert (await box.callback_counts()).waiting == 4
    due, _ = await box.callbacks_due(waiting[0].created_at, 100)
    assert len(due) == 4, "the next start sends them"


async def test_what_waited_is_sent_when_so_wished(opening: Opening, path: Path, tmp_path: Path) -> None:
    await backed_up(opening, tmp_path / "backup.db")
    result = restore(tmp_path / "backup.db", path.parent, pending="send")
    assert (result.messages, result.held) == (9, 0)
    opened = await opening()
    assert opened.recovery.reopened == 1, "an open attempt is recovered as after a crash"
    assert sum(flow.pending for flow in opened.recovery.flows) == 5
    states = Counter(m.state for m in (await opened.box.page(Query())).items)
    assert states == {State.PENDING: 5, State.PROCESSING: 2, State.SENT: 1, State.FAILED: 1}


async def test_the_outbox_of_before_can_be_opened_again(opening: Opening, path: Path, tmp_path: Path) -> None:
    await backed_up(opening, tmp_path / "backup.db")
    first = restore(tmp_path / "backup.db", path.parent, pending="hold")
    assert first.replaced is not None
    with closing(sqlite3.connect(first.replaced)) as db:
        assert db.execute("SELECT count(*) FROM messages").fetchone() == (10,)
    assert path.stat().st_mode & 0o777 == 0o600
    back = restore(first.replaced, path.parent, pending="send")
    assert back.messages == 10
    assert len((await (await opening()).box.page(Query())).items) == 10
    names = {p.name for p in path.parent.iterdir()}
    kept = {p.name for p in (first.replaced, back.replaced) if p is not None}
    assert names == {"outbox.db", "outbox.db-wal", "outbox.db-shm", "outbox.lock", *kept}


async def test_a_machine_without_an_outbox_gets_one(opening: Opening, tmp_path: Path) -> None:
    await backed_up(opening, tmp_path / "backup.db")
    new = tmp_path / "new" / "state"
    assert restore(tmp_path / "backup.db", new, pending="hold") == Restored(9, 7, None, 0, True, None)
    assert sorted(p.name for p in new.iterdir()) == ["outbox.db", "outbox.lock"]
    assert new.stat().st_mode & 0o777 == 0o700


async def test_more_than_one_step_is_held(opening: Opening, path: Path, tmp_path: Path) -> None:
    box = (await opening()).box
    await accept(box, *(draft(n, tenant="ab"[n % 2]) for n in range(1, 2 * STEP_ROWS + 10)))
    await box.snapshot(tmp_path / "backup.db")
    await box.close()
    assert restore(tmp_path / "backup.db", path.parent, pending="hold").held == 2 * STEP_ROWS + 9
    await check((await opening()).box)


async def test_a_running_smsd_is_left_alone(opening: Opening, path: Path, tmp_path: Path) -> None:
    box = (await opening()).box
    await box.snapshot(tmp_path / "backup.db")
    before = path.stat().st_ino
    with pytest.raises(StoreError, match="smsd runs"):
        restore(tmp_path / "backup.db", path.parent, pending="hold")
    assert path.stat().st_ino == before
    assert len(list(path.parent.iterdir())) == 4
    await accept(box, draft(1))


async def test_a_backup_with_a_wal_beside_it_is_read_with_it(opening: Opening, path: Path, tmp_path: Path) -> None:
    """Somebody's cp of both files of an outbox whose smsd was killed."""
    box = (await opening()).box
    await lived(box)
    for ending in ("", "-wal"):
        shutil.copy(f"{path}{ending}", f"{tmp_path / 'copied.db'}{ending}")
    await box.close()
    assert restore(tmp_path / "copied.db", path.parent, pending="hold").messages == 9


async def test_a_backup_on_a_medium_that_only_reads(opening: Opening, path: Path, tmp_path: Path) -> None:
    """Even one that says "write-ahead log" itself: a plain copy of a closed outbox."""
    await backed_up(opening, tmp_path / "unused.db")
    medium = tmp_path / "medium"
    medium.mkdir()
    shutil.copy(path, medium / "copied.db")
    medium.chmod(0o500)
    try:
        assert restore(medium / "copied.db", path.parent, pending="hold").messages == 10
        assert [p.name for p in medium.iterdir()] == ["copied.db"]
    finally:
        medium.chmod(0o700)


async def test_an_older_backup_is_brought_up(opening: Opening, path: Path, tmp_path: Path) -> None:
    await backed_up(opening, tmp_path / "backup.db")
    downgrade(tmp_path / "backup.db")
    assert restore(tmp_path / "backup.db", path.parent, pending="hold").held == 7
    await check((await opening()).box)


def spoiled(kind: str, backup: Path) -> None:
    """Make the backup unusable."""
    match kind:
        case "text":
            backup.write_text("hello, this is not a database at all")
        case "empty":
            backup.write_bytes(b"")
        case "short":
            os.truncate(backup, backup.stat().st_size // 2)
        case "garbage":
            with backup.open("r+b") as file:
                file.seek(8 * 4096)
                file.write(b"\xa5" * 4096 * 4)
        case "missing":
            backup.unlink()
        case _:
            with closing(sqlite3.connect(backup)) as db:
                db.execute({"newer": "PRAGMA user_version = 999", "foreign": "PRAGMA application_id = 7"}[kind])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("text", "not a database|damaged"),
        ("empty", "empty"),
        ("short", "damaged"),
        ("garbage", "damaged"),
        ("missing", "not a file"),
        ("newer", "newer smsd"),
        ("foreign", "another program"),
    ],
)
async def test_what_is_no_backup_changes_nothing(
    opening: Opening, path: Path, tmp_path: Path, kind: str, said: str
) -> None:
    await backed_up(opening, tmp_path / "backup.db")
    spoiled(kind, tmp_path / "backup.db")
    before = (path.stat().st_ino, path.read_bytes())
    with pytest.raises(StoreError, match=said):
        restore(tmp_path / "backup.db", path.parent, pending="hold")
    assert (path.stat().st_ino, path.read_bytes()) == before
    assert {p.name for p in path.parent.iterdir()} == {"outbox.db", "outbox.lock"}


async def test_the_outbox_is_not_its_own_backup(opening: Opening, path: Path) -> None:
    await (await opening()).box.close()
    with pytest.raises(StoreError, match="the outbox itself"):
        restore(path, path.parent, pending="hold")
    with pytest.raises(ValueError, match="pending must be one of hold, send"):
        restore(path, path.parent, pending="drop")


CUT = """
import os, signal, sys
from pathlib import Path
from smsd.store.restore import restore

def begin(backup, place, last):
    steps = 0
    def hook(event, args):
        nonlocal steps
        if event in ("os.link", "os.rename", "os.remove", "os.mkdir") or (event == "open" and "state" in str(args[0])):
            steps += 1
            if steps == last:
                os._exit(77)
    sys.addaudithook(hook)
    restore(Path(backup), Path(place), pending="hold")

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        code = 1
        try:
            begin(*line.split()[:2], int(line.split()[2]))
            code = 0
        finally:
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""For each line of a backup, a directory and n: a process that restores and dies right before its n-th step. They are
forked because the imports take longer than all else."""


def messages_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA quick_check").fetchone() == ("ok",)
        size: int = db.execute("SELECT count(*) FROM messages").fetchone()[0]
    return size


@pytest.mark.parametrize("killed", [False, True], ids=["closed in order", "killed"])
async def test_dying_at_any_step_loses_neither(opening: Opening, path: Path, tmp_path: Path, killed: bool) -> None:
    """`killed`: the last commits of the old outbox are only in its -wal."""
    box = (await opening()).box
    await lived(box)
    await box.snapshot(tmp_path / "backup.db")
    await accept(box, draft(99))
    state = tmp_path / "image"
    if not killed:
        await box.close()
    shutil.copytree(path.parent, state, ignore=shutil.ignore_patterns("*-shm", "*.lock"))
    await box.close()
    seen = Counter[str]()
    with subprocess.Popen([sys.executable, "-c", CUT], stdin=PIPE, stdout=PIPE, text=True, bufsize=1) as process:
        die_at_each_step(process, state, tmp_path, seen)
    assert seen["old"] > 5
    assert seen["new"] > 1


def die_at_each_step(process: subprocess.Popen[str], state: Path, tmp_path: Path, seen: Counter[str]) -> None:
    """Until one came to its end; which outbox each of them left."""
    assert process.stdin is not None
    assert process.stdout is not None
    for step in range(1, 40):
        place = tmp_path / "state" / str(step)
        shutil.copytree(state, place)
        process.stdin.write(f"{tmp_path / 'backup.db'} {place} {step}\n")
        code = int(process.stdout.readline())
        inside = messages_in(place / "outbox.db")
        replaced = [p for p in place.iterdir() if ".replaced-" in p.name and not p.name.endswith(("-wal", "-shm"))]
        assert inside in (9, 10)
        if inside == 9:
            assert [messages_in(p) for p in replaced] == [10], "the old one is lost"
        else:
            assert restore(tmp_path / "backup.db", place, pending="hold").messages == 9, "cannot be done again"
        seen["new" if inside == 9 else "old"] += 1
        if code == 0:
            return
        assert code == 77
    pytest.fail("it never came to an end")


@pytest.mark.parametrize("spoilt", [b"", b"rubbish"], ids=["its -wal is sound", "its -wal is not"])
async def test_an_outbox_that_cannot_be_read_is_kept_as_it_is(
    opening: Opening, path: Path, tmp_path: Path, spoilt: bytes
) -> None:
    """A sound -wal of the old one would be applied to the new one, were it left in its place."""
    box = (await opening()).box
    await lived(box)
    await box.snapshot(tmp_path / "backup.db")
    writing = box._writing
    assert writing is not None
    await writing.run(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())
    await box.beat(NOW)  # writes no first page, so the -wal cannot heal the file
    wal = spoilt + path.with_name("outbox.db-wal").read_bytes()
    await box.close()
    path.write_bytes(b"garbage" * 1_000)
    path.with_name("outbox.db-wal").write_bytes(wal)
    result = restore(tmp_path / "backup.db", path.parent, pending="hold")
    assert not path.with_name("outbox.db-wal").exists()
    assert result.replaced is not None
    assert result.replaced.read_bytes() == b"garbage" * 1_000
    assert result.replaced.with_name(result.replaced.name + "-wal").read_bytes() == wal
    assert messages_in(path) == 9
    await check((await opening()).box)


async def test_a_disk_without_room_is_left_as_it_is(opening: Opening, path: Path, tmp_path: Path) -> None:
    """Eight tebibytes of nothing, as a sparse file."""
    await (await opening()).box.close()
    with (tmp_path / "huge.db").open("wb") as file:
        file.truncate(2**43)
    with pytest.raises(StoreError, match="no room"):
        restore(tmp_path / "huge.db", path.parent, pending="hold")
    assert {p.name for p in path.parent.iterdir()} == {"outbox.db", "outbox.lock"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_what_root_restores_belongs_to_the_daemons_user(opening: Opening, tmp_path: Path) -> None:
    await backed_up(opening, tmp_path / "backup.db")
    place = tmp_path / "other"
    place.mkdir()
    os.chown(place, 4_711, 4_712)
    restore(tmp_path / "backup.db", place, pending="hold")
    for name in ("outbox.db", "outbox.lock"):
        owner = (place / name).stat()
        assert (owner.st_uid, owner.st_gid) == (4_711, 4_712), name
