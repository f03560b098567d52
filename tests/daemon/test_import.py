"""Is every row of a file sent for exactly once, whatever is killed while `smsd import` runs?

Real daemon, real command: both are killed with SIGKILL at random moments and started again. In the end every row must
stand in the outbox once, in its campaign, with its own text. With --long the file has 200,000 rows, and the importer's
memory must stay flat.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.daemon.harness import ROOT, Site, number, text, until

KILLS = 5
FIRST = 3_000_000


def sheet(path: Path, rows: int) -> Path:
    """Rows whose numbers and texts are those of no other."""
    with path.open("w", encoding="utf-8") as file:
        file.write("phone;text;user;metadata.row\n")
        file.writelines(f'{number(FIRST + n)};"{text(n)}; row {n}";u{n % 97};{n}\n' for n in range(rows))
    return path


class Importer:
    """The command as a process."""

    def __init__(self, site: Site, file: Path) -> None:
        self._site = site
        self.file = file
        self.said = site.directory / "said"
        self.peak_kib = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "smsd", "import", str(self.file), "--campaign", "spring"]
        with self.said.open("ab") as said:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, "SMSD_SOCKET": str(self._site.socket)}, stdout=said, stderr=said
            )

    def running(self) -> bool:
        """Looks at its memory too."""
        status = Path(f"/proc/{self.process.pid}/status")
        if self.process.poll() is None and (found := re.search(r"VmHWM:\s+(\d+)", status.read_text())):
            self.peak_kib = max(self.peak_kib, int(found[1]))
        return self.process.poll() is None

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(20)

    def end(self, patience_s: float) -> int:
        """Until it has ended by itself; its exit code."""
        until(lambda: not self.running(), f"the import ends: {self.said.read_text()[-2_000:]}", patience_s)
        return self.process.wait()


def taken(site: Site) -> int:
    with site.client() as client:
        return sum(client.states().values())


def reached(site: Site, importer: Importer, goal: int) -> bool:
    """Whether so many rows are taken, or there is nothing more to wait for."""
    return taken(site) >= goal or not importer.running()


def outbox(site: Site) -> list[tuple[str, str, str, str]]:
    """(recipient, text, campaign, key) of every message there is."""
    query = "SELECT m.recipient, m.text, m.campaign, k.key FROM messages AS m JOIN keys AS k ON k.seq = m.seq"
    with closing(sqlite3.connect(f"file:{site.state / 'outbox.db'}?mode=ro", uri=True)) as db:
        return list(db.execute(query))


def test_every_row_is_there_once_after_five_interruptions(site: Site, request: pytest.FixtureRequest) -> None:
    long = request.config.getoption("--long", default=False)
    rows, patience_s = (200_000, 600.0) if long else (6_000, 60.0)
    dice = random.Random(7)
    carrier = site.carrier()
    site.configure(carrier.url, rate="1/min", sections={"http": {"listen": []}})
    site.start()
    file = sheet(site.directory / "spring.csv", rows)
    importer = Importer(site, file)
    for n in range(KILLS):
        goal = rows * (n + 1) // (KILLS + 4)  # what is left gives a slow look time
        until(partial(reached, site, importer, goal), f"{goal} rows are taken", patience_s)
        time.sleep(dice.uniform(0, 0.02))
        assert importer.running(), f"over before it was interrupted, which proves nothing: {importer.said.read_text()}"
        if n % 2:
            site.kill()
            site.start()
        else:
            importer.kill()
            importer.start()
    assert importer.end(patience_s) == 0, importer.said.read_text()
    found = outbox(site)
    assert Counter(found).most_common(1)[0][1] == 1
    wanted = [(number(FIRST + n), f"{text(n)}; row {n}", "spring", f"campaign:spring:{n + 1}") for n in range(rows)]
    assert sorted(found) == sorted(wanted)
    print(importer.said.read_text(), f"memory of the importer: {importer.peak_kib / 1024:.0f} MiB")
    assert importer.peak_kib < 100 * 1024
    again = Importer(site, file)
    assert again.end(patience_s) == 0
    assert f"0 accepted, {rows:,} already there" in again.said.read_text()
