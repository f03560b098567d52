"""Is an outbox put back only when somebody means it, and is it said what became of what waited?"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from smsd.store.guard import FileLock
from smsd.store.migrate import migrate
from smsd.store.sqlite import SqliteOutbox
from tests.cli.helpers import Run, process
from tests.doubles.builders import NOW, draft
from tests.store.contract import accept


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """An outbox without messages."""
    path = tmp_path / "backup.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        migrate(db)
    return path


async def one_waits(path: Path) -> None:
    """A message of tenant shop is in the outbox."""
    box = SqliteOutbox(path, on_fatal=lambda error: None)
    await box.open(NOW, ())
    await accept(box, draft(1, tenant="shop"))
    await box.close()


def test_into_an_empty_place(smsd: Run, backup: Path, tmp_path: Path) -> None:
    place = tmp_path / "state"
    done = smsd("restore", str(backup), "--state-dir", str(place), "--yes")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"0 messages are in {place}.\n")
    assert "every provider's rate counts as used up" in done.out
    assert "idempotency keys used since the backup are forgotten" in done.out
    assert (place / "outbox.db").exists()


def test_what_was_there_is_kept(smsd: Run, backup: Path, tmp_path: Path) -> None:
    place = str(tmp_path / "state")
    smsd("restore", str(backup), "--state-dir", place, "--yes")
    done = smsd("restore", str(backup), "--state-dir", place, "--yes", "--pending", "send", "--json")
    document = done.documents[0]
    assert (done.code, document["messages"], document["held"]) == (0, 0, 0)
    assert Path(document["replaced"]).exists()
    assert {"calls", "ceilings_full", "keys_forgotten"} <= set(document)


def test_the_place_is_the_configurations(smsd: Run, backup: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'[daemon]\nstate_dir = "{tmp_path}/there"\n[providers.a]\ntype = "sandbox"\nrate = "1/s"\n')
    assert smsd("restore", str(backup), "--config", str(config), "--yes").code == 0
    assert (tmp_path / "there" / "outbox.db").exists()
    assert smsd("restore", str(backup), "--config", str(tmp_path / "none.toml"), "--yes").code == 78


def test_nobody_to_ask(backup: Path, tmp_path: Path) -> None:
    done = process("restore", str(backup), "--state-dir", str(tmp_path / "state"))
    assert (done.returncode, done.stdout) == (64, b"")
    assert b"--yes" in done.stderr
    assert not (tmp_path / "state").exists()


def test_while_the_daemon_runs(smsd: Run, backup: Path, tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "outbox.lock")
    lock.acquire()
    try:
        done = smsd("restore", str(backup), "--state-dir", str(tmp_path), "--yes")
    finally:
        lock.release()
    assert (done.code, done.out) == (74, "")
    assert "stop it" in done.err
    assert "Nothing was changed. A daemon is stopped by: systemctl stop smsd.service smsd.socket" in done.err


def test_what_is_no_backup(smsd: Run, tmp_path: Path) -> None:
    place = str(tmp_path / "state")
    assert smsd("restore", str(tmp_path / "none"), "--state-dir", place, "--yes").code == 66
    assert smsd("restore", str(tmp_path), "--state-dir", place, "--yes").code == 66
    (tmp_path / "noise").write_bytes(b"noise" * 1_000)
    noise = smsd("restore", str(tmp_path / "noise"), "--state-dir", place, "--yes")
    assert noise.code == 74
    assert noise.err.splitlines()[1:] == ["      Nothing was changed."]


def test_two_places(smsd: Run, backup: Path, tmp_path: Path) -> None:
    words = ("--state-dir", str(tmp_path), "--config", str(tmp_path / "c.toml"))
    assert smsd("restore", str(backup), *words, "--yes").code == 64


def test_the_tenants_urls_are_the_configurations(smsd: Run, backup: Path, tmp_path: Path) -> None:
    """Whoever is called back is told what is held; --state-dir names no configuration."""
    config = tmp_path / "c.toml"
    config.write_text(
        f'[daemon]\nstate_dir = "{tmp_path}/there"\n[providers.a]\ntype = "sandbox"\nrate = "1/s"\n'
        '[tenants.shop]\ncallback_url = "https://1.1.1.1/hook"\ncallback_secret = '
        '"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="\n'
    )
    asyncio.run(one_waits(backup))
    told = []
    for where in (("--config", str(config)), ("--state-dir", str(tmp_path / "other"))):
        done = smsd("restore", str(backup), *where, "--yes", "--json")
        assert (done.code, done.documents[0]["held"]) == (0, 1)
        place = tmp_path / ("there" if where[0] == "--config" else "other")
        with closing(sqlite3.connect(place / "outbox.db")) as db:
            told.append(db.execute("SELECT tenant, event, url FROM callbacks").fetchall())
    assert told == [[("shop", "message.failed", "https://1.1.1.1/hook")], []]
