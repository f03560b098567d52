"""Does reload tell what it changed, and is a backup either whole or not there?"""

from __future__ import annotations

import fcntl
import stat
from pathlib import Path

import pytest

from smsd.client import errors
from tests.cli.fake import COPY, Fake
from tests.cli.helpers import Run, process
from tests.doubles.fake_daemon import Do, RefusedError


class TestReload:
    def test_tells_what_changed(self, smsd: Run, fake: Fake) -> None:
        fake.reloaded = {"changed": ["providers.main.rate"], "restart": ["http.listen"], "warnings": ["outbox: odd"]}
        assert smsd("reload") == (
            *(0, "changed: providers.main.rate\nneeds a restart: http.listen\n"),
            "smsd: warning: outbox: odd\n",
        )
        assert smsd("reload", "--json").documents == [fake.reloaded]

    def test_nothing_changed(self, smsd: Run, fake: Fake) -> None:
        assert smsd("reload") == (0, "Nothing has changed.\n", "")

    def test_a_faulty_file_is_78_with_all_its_faults(self, smsd: Run, fake: Fake) -> None:
        fake.refuse["reload"] = RefusedError("invalid_value", "is not a rate", "providers.main.rate")
        done = smsd("reload")
        assert (done.code, done.out) == (78, "")
        assert done.err.splitlines() == [
            "smsd: providers.main.rate: is not a rate",
            "      The old settings stay in force.",
        ]
        as_json = smsd("reload", "--json")
        assert (as_json.code, as_json.documents[0]["error"]["errors"][0]["field"]) == (78, "providers.main.rate")

    def test_one_who_may_not(self, smsd: Run, fake: Fake) -> None:
        fake.refuse["reload"] = RefusedError("not_allowed", "No.")
        assert smsd("reload").code == 77


class TestBackup:
    def test_writes_the_whole_copy(self, smsd: Run, fake: Fake, tmp_path: Path) -> None:
        target = tmp_path / "b.db"
        assert smsd("backup", str(target)) == (0, f"{target}: 256.0 KiB\n", "")
        assert target.read_bytes() == COPY
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        assert not (tmp_path / "b.db.part").exists()

    def test_replaces_only_by_force(self, smsd: Run, fake: Fake, tmp_path: Path) -> None:
        target = tmp_path / "b.db"
        target.write_bytes(b"old")
        done = smsd("backup", str(target))
        assert (done.code, target.read_bytes()) == (73, b"old")
        assert "--force" in done.err
        assert smsd("backup", "--force", str(target), "--json").documents == [{"file": str(target), "bytes": len(COPY)}]
        assert target.read_bytes() == COPY

    def test_a_lost_connection_leaves_nothing(self, smsd: Run, fake: Fake, tmp_path: Path) -> None:
        target = tmp_path / "b.db"
        fake.script.extend([Do.PROPERLY, *[Do.HANG_UP] * 10])
        done = smsd("backup", str(target))
        assert done.code in {69, 75}
        assert [*tmp_path.glob("b.db*")] == []

    def test_what_a_killed_one_left_is_taken_over(self, smsd: Run, fake: Fake, tmp_path: Path) -> None:
        part = tmp_path / "b.db.part"
        part.write_bytes(b"x" * 1_000_000)
        part.chmod(0o644)
        assert smsd("backup", str(tmp_path / "b.db")).code == 0
        assert (tmp_path / "b.db").read_bytes() == COPY
        assert stat.S_IMODE((tmp_path / "b.db").stat().st_mode) == 0o600

    def test_two_at_once(self, smsd: Run, fake: Fake, tmp_path: Path) -> None:
        with (tmp_path / "b.db.part").open("wb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            assert smsd("backup", str(tmp_path / "b.db")).code == 73
        assert fake.requests == []

    def test_to_standard_output(self, fake: Fake) -> None:
        done = process("backup", "-")
        assert (done.returncode, done.stdout, done.stderr) == (0, COPY, b"")

    @pytest.mark.parametrize(("words", "code"), [(("-", "--json"), 64), (("/proc/none/b",), 73), (("/",), 64)])
    def test_places_that_will_not_do(self, smsd: Run, fake: Fake, words: tuple[str, ...], code: int) -> None:
        assert smsd("backup", *words).code == code

    def test_a_full_disk_at_the_daemon(self, smsd: Run, fake: Fake, tmp_path: Path) -> None:
        fake.refuse["backup"] = RefusedError("disk_full", "No room for a copy.")
        done = smsd("backup", str(tmp_path / "b.db"))
        assert (done.code, "No room" in done.err) == (75, True)
        assert errors.KINDS["disk_full"] is errors.QueueUnavailable
