"""Are quiet hours read as they were meant, and is what cannot be meant found at once?"""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from smsd.assembly import plan_of, quiet_book
from smsd.core.quiet import QuietBook, QuietHours
from tests.config.files import SANDBOX, faults, load

NIGHT = QuietHours(21 * 60, 8 * 60)
SECTION = '[quiet_hours]\nfrom = "21:00"\nto = "08:00"\n'


def test_there_are_none_unless_they_are_set(tmp_path: Path) -> None:
    loaded = load(tmp_path, SANDBOX)
    assert loaded.quiet_hours is None
    assert quiet_book(loaded) is None
    assert quiet_book(load(tmp_path, f"[tenants.shop]\nquiet_hours = false\n{SANDBOX}")) is None


def test_the_book_says_whose_messages_keep_which(tmp_path: Path) -> None:
    tenants = """
        [tenants.shop]
        quiet_hours = {from = "12:00", to = "12:30"}
        [tenants.free]
        quiet_hours = false
        [tenants.other]
        max_priority = "bulk"
        """
    loaded = load(tmp_path, f'[daemon]\ntimezone = "Europe/Zurich"\n{SECTION}{tenants}{SANDBOX}')
    assert loaded.quiet_hours == NIGHT
    own = {"shop": QuietHours(720, 750), "free": None}
    book = QuietBook(NIGHT, own, ZoneInfo("Europe/Zurich"))
    assert quiet_book(loaded) == book
    assert plan_of(loaded).rules.quiet == book
    assert [book.hours_of(name) for name in ("shop", "free", "other", "unknown")] == [
        own["shop"],
        None,
        NIGHT,
        NIGHT,
    ]
    alone = load(tmp_path, f"{tenants}{SANDBOX}")
    assert quiet_book(alone) == QuietBook(None, own, UTC), "a tenant may have some where nobody else has"


@pytest.mark.parametrize(
    ("keys", "path", "message"),
    [
        ('to = "08:00"', "quiet_hours.from", 'missing; write a time of day, such as "21:00"'),
        ('from = "21:00"', "quiet_hours.to", 'missing; write a time of day, such as "08:00"'),
        ('from = "21:00"\nto = "21:00"', "quiet_hours.to", "nobody can tell whether that is never or always"),
        ('from = "21"\nto = "08:00"', "quiet_hours.from", "'21' is not a time of day; write 00:00 to 23:59"),
        ('from = "9:00"\nto = "08:00"', "quiet_hours.from", "'9:00' is not a time of day"),
        ('from = "21:00"\nto = "24:00"', "quiet_hours.to", "'24:00' is not a time of day"),
        ('from = "21:00:30"\nto = "08:00"', "quiet_hours.from", "is not a time of day"),
        ('from = 21:00:00\nto = "08:00"', "quiet_hours.from", "must be a text in quotes; got a date or time"),
        ('from = "21:00"\nto = "08:00"\nzone = "UTC"', "quiet_hours.zone", "unknown key; known here: from, to"),
    ],
)
def test_each_fault(keys: str, path: str, message: str, tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, f"[quiet_hours]\n{keys}\n{SANDBOX}").items()
    assert fault[0] == path
    assert message in fault[1]


def test_all_faults_are_found_in_one_run(tmp_path: Path) -> None:
    text = f'[quiet_hours]\n[tenants.shop]\nquiet_hours = {{from = "x", to = "y"}}\n{SANDBOX}'
    found = faults(tmp_path, text)
    assert {*found} == {f"{each}quiet_hours.{key}" for each in ("", "tenants.shop.") for key in ("from", "to")}


def test_a_machine_without_time_zones_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(SECTION + SANDBOX)
    path.chmod(0o600)
    code = (
        "import sys, zoneinfo\n"
        "sys.modules['tzdata'] = None\n"
        "zoneinfo.reset_tzpath(to=[])\n"
        "from pathlib import Path\n"
        "from smsd import config\n"
        f"try: config.load(Path({str(path)!r}))\n"
        "except config.ConfigError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout.startswith("quiet_hours.from: needs a time zone database, and this machine has none")
