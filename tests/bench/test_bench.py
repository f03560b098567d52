"""Does `smsd bench` measure with real processes, say why where it cannot, and leave nothing behind?"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from smsd.bench.bars import ROWS
from smsd.bench.ground import QUICK, Bench
from smsd.bench.main import run, take
from smsd.bench.measures import MEASURES, most_within
from smsd.bench.processes import Deadline, MeasureError
from smsd.bench.report import Reading, Report, file_system
from smsd.bench.site import Site

BENCH = [sys.executable, "-m", "smsd", "bench", "--quick"]


def processes_in(directory: Path) -> list[str]:
    """Who works in this directory or below it, as the kernel sees it."""
    found: list[str] = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):  # it ended while we looked
                if str((process / "cwd").readlink()).startswith(str(directory)):
                    found.append(process.name)
    return found


def test_two_measures_end_to_end_as_json(tmp_path: Path) -> None:
    done = subprocess.run(
        [*BENCH, "--json", "--dir", str(tmp_path), "--only", "memory", "send"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["smsd: measuring memory", "smsd: measuring send"]
    found = json.loads(done.stdout)
    assert found["quick"] is True
    assert found["pending"] == QUICK.pending
    idle, send = found["measures"]
    assert (idle["name"], idle["unit"], idle["bar"], idle["goal"]) == ("memory_idle", "MiB", 70, 50)
    assert 10 < idle["value"] < 1_000
    assert idle["ratio"] == pytest.approx(idle["value"] / 70, abs=1e-3)
    assert send["name"] == "send"
    assert 1 < send["value"] < 60_000
    assert {idle["failure"], send["failure"]} == {None}
    assert not [*tmp_path.iterdir()]
    assert not processes_in(tmp_path)


def test_accepting_by_http_is_measured_on_the_real_daemon(tmp_path: Path) -> None:
    bench = Bench(tmp_path, replace(QUICK, accept=2_000, posts=500))
    readings = {reading.row.name: reading for reading in take("http", bench)}
    assert {reading.failure for reading in readings.values()} == {""}
    assert {*readings} == {*MEASURES["http"].rows}
    assert all(reading.value and reading.value > 0 for reading in readings.values())
    assert not processes_in(tmp_path)


def test_one_measure_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--quick", "--dir", str(tmp_path), "--only", "memory"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "SQLite" in lines[0]
    assert lines[2].split() == ["MEASURE", "VALUE", "UNIT", "BAR", "GOAL", "VALUE/BAR", "VERDICT"]
    assert lines[3].startswith("memory, idle ")
    assert lines[-1].startswith("Quick: 100,000 messages lie pending")


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    process = subprocess.Popen([*BENCH, "--dir", str(tmp_path), "--only", "latency"], stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 30
        while len(processes_in(tmp_path)) < 3:  # carrier, daemon, load
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 130
    finally:
        process.kill()
        process.wait()
    assert not processes_in(tmp_path)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "speed"], "invalid choice: 'speed'"),
        (["--dir", "/nowhere"], "/nowhere is not a directory"),
        (["--frequency"], "unrecognized arguments: --frequency"),
    ],
)
def test_a_wrong_command_line_ends_with_64(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    assert ended.value.code == 64
    assert said in capsys.readouterr().err


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with pytest.raises(SystemExit):
        run(["--dir", str(deep)])
    assert "too long for a socket" in capsys.readouterr().err


def test_a_measure_that_fails_says_why_for_each_of_its_rows(tmp_path: Path) -> None:
    bench = Bench(tmp_path, replace(QUICK, limit_s=0))
    readings = [*take("latency", bench)]
    assert [reading.row.name for reading in readings] == ["latency_p50", "latency_p99", "latency_commits"]
    assert {reading.failure for reading in readings} == {"the 0 s of the whole run are over"}
    assert {reading.verdict for reading in readings} == {"failed"}
    assert not processes_in(tmp_path)


def test_a_daemon_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match=r"smsd ended with 78: .*rate"), Site(tmp_path, Deadline(30), rate="fast"):
        pass
    assert not processes_in(tmp_path)


def test_every_row_belongs_to_one_measure() -> None:
    assert sorted(row for measure in MEASURES.values() for row in measure.rows) == sorted(ROWS)


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        ("accept", 40_000, "goal"),
        ("accept", 20_000, "bar"),
        ("accept", 19_999, "missed"),
        ("latency_p50", 1, "goal"),
        ("latency_p50", 2, "bar"),
        ("latency_p50", 2.01, "missed"),
        ("ceiling_peak", 500, "goal"),
        ("ceiling_peak", 501, "missed"),
        ("deliver_share", 0.39, "below goal"),
        ("commits", 5_000, ""),
    ],
)
def test_verdicts(name: str, value: float, verdict: str) -> None:
    assert ROWS[name].verdict(value) == verdict


def test_the_table_shows_what_failed_and_what_missed() -> None:
    readings = [
        Reading(ROWS["accept"], 19_000.4),
        Reading(ROWS["commits"], 1_234.5),
        Reading(ROWS["ready"], None, "the daemon said no"),
    ]
    report = Report(readings, "a machine", 0.6, 1_000_000, quick=False, seconds=61.0)
    text = report.text().splitlines()
    assert text[3].endswith("19,000  messages/s  >= 20,000  >= 40,000       0.95  BAR MISSED")
    assert text[4].split() == ["bare", "sqlite3,", "WAL,", "FULL,", "one", "row", "a", "commit", "1,234", "commits/s"]
    assert text[5].startswith("ready after kill -9, 1,000,000 pending")
    assert text[5].endswith("failed")
    assert text[-2] == "ready failed: the daemon said no"
    assert "(load 0.6 at the start)" in text[-1]
    document = json.loads(json.dumps(report.document()))
    accept, commits, ready = document["measures"]
    assert (accept["ratio"], accept["verdict"]) == (0.95, "missed")
    assert (commits["ratio"], commits["verdict"]) == (None, None)
    assert (ready["value"], ready["verdict"], ready["failure"]) == (None, "failed", "the daemon said no")


@pytest.mark.parametrize(
    ("times", "most"), [([], 0), ([5], 1), ([0, 999], 2), ([0, 1_000], 1), ([0, 1, 1_000, 1_000, 1_001], 3)]
)
def test_the_fullest_window(times: list[int], most: int) -> None:
    assert most_within(times, 1_000) == most


def test_the_file_system_is_that_of_the_innermost_mount() -> None:
    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(Path("/")) != "proc"
