"""Does `smsd import` leave no campaign behind of which no row was taken, and keep one that another run brings to?"""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import IO

import pytest

from smsd.cli import trying
from tests.cli.carrying import HI, Carrying, sends
from tests.cli.helpers import Run
from tests.daemon.harness import until
from tests.doubles.fake_daemon import Do, Document, RefusedError

NOBODY = {
    "all refused": ("to,text\nnobody,a\nnone,b\n", 65),
    "a header only": ("to,text\n", 0),
    "a bad quote in the first row": ('to,text\n+1,"a"b"\n+2,Hi\n', 65),
}


@pytest.mark.parametrize(("rows", "code"), NOBODY.values(), ids=NOBODY)
def test_no_campaign_without_a_message_is_left_behind(
    smsd: Run, carrying: Carrying, tmp_path: Path, rows: str, code: int
) -> None:
    (tmp_path / "bad.csv").write_text(rows)
    done = smsd("import", str(tmp_path / "bad.csv"), "--tenant", "shop")
    assert (done.code, "stays" in done.err) == (code, False)
    assert carrying.campaigns == set()
    assert carrying.requests[-1].items() >= {"op": "campaign_delete", "id": "bad", "tenant": "shop"}.items()


def test_nor_when_it_gives_up(smsd: Run, carrying: Carrying, file: Path) -> None:
    carrying.refuse["send"] = RefusedError("disk_full", "No room.")
    assert smsd("import", str(file), *HI, "--patience", "50ms").code == 75
    assert carrying.campaigns == set()


@pytest.mark.parametrize("do", [Do.HANG_UP, Do.ACT_AND_HANG_UP])
def test_it_stays_where_rows_may_still_come(smsd: Run, carrying: Carrying, file: Path, do: Do) -> None:
    carrying.script.extend([Do.PROPERLY] + [do] * 200)
    assert smsd("import", str(file), *HI, "--patience", "0s").code == 75
    assert carrying.campaigns == {"spring"}


def test_one_row_is_enough_and_one_that_was_there_stays(smsd: Run, carrying: Carrying, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("to,text\nnobody,Hi\n+15550100001,Hi\n")
    assert smsd("import", str(path)).code == 65
    assert carrying.campaigns == {"a"}
    path.write_text("to,text\nnobody,Hi\n")
    assert smsd("import", str(path)).code == 65
    carrying.campaigns.add("b")
    assert smsd("import", str(path), "--campaign", "b").code == 65
    assert carrying.campaigns == {"a", "b"}
    assert "campaign_delete" not in {request["op"] for request in carrying.requests}


def test_each_run_says_under_its_own_word_that_it_brings_nothing(smsd: Run, carrying: Carrying, tmp_path: Path) -> None:
    """So the daemon knows that another run is still at it."""
    (tmp_path / "bad.csv").write_text("to,text\nnobody,Hi\n")
    for _ in range(2):
        assert smsd("import", str(tmp_path / "bad.csv")).code == 65
    asked = [request for request in carrying.requests if request["op"].startswith("campaign_")]
    words = [request["trial"] for request in asked]
    assert {request["tenant"] for request in asked if request["op"] == "campaign_delete"} == {"local:0"}, (
        "as it was made"
    )
    assert (words[0], words[2], len({*words})) == (words[1], words[3], 2)


def test_one_that_cannot_be_taken_back_is_told_in_a_line(smsd: Run, carrying: Carrying, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("to,text\n")
    carrying.refuse["campaign_delete"] = RefusedError("disk_full", "No room.")
    assert smsd("import", str(tmp_path / "bad.csv")) == (
        0,
        "campaign bad: 0 accepted\n",
        "smsd: campaign bad stays: No room.\n",
    )
    carrying.tried = True
    carrying.refuse["campaign_delete"] = RefusedError("wrong_state", "Others try it.", "id")
    for tenant, options in (("local:0", ()), ("shop", ("--tenant", "shop"))):
        told = smsd("import", str(tmp_path / "bad.csv"), *options).err
        assert "campaign bad stays: Others try it." in told, "it was there, and on trial"
        assert f"smsd campaign delete bad --tenant {tenant}" in told
    carrying.refuse["campaign_delete"] = RefusedError("not_found", "There is no campaign bad.", "id")
    carrying.campaigns.clear()
    assert smsd("import", str(tmp_path / "bad.csv")).err == ""


def unread(pipe: IO[bytes] | None) -> int:
    """Bytes written and not read yet; ioctl_tty(2), FIONREAD."""
    assert pipe is not None
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.parametrize("rows", [0, 3])
def test_an_interrupt_when_no_row_may_come_leaves_no_campaign(carrying: Carrying, rows: int) -> None:
    """Before the first is read, or when all that were handed over are answered."""
    carrying.refuse["send"] = RefusedError("backlog_full", "No room.", retry_after_s=10)
    command = [sys.executable, "-m", "smsd", "import", "-", "--campaign", "spring"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stderr is not None
        running.stdin.write(b"to,text\n" + b"+15550100001,Hi\n" * rows)
        running.stdin.flush()
        until(lambda: bool(carrying.campaigns), "it has begun")
        running.stdin.write(b"\n")
        running.stdin.flush()
        until(lambda: not unread(running.stdin), "it has its campaign and reads on")
        if rows:
            running.stdin.close()
            assert b"Trying again in 10.0 s" in running.stderr.readline()
        running.send_signal(signal.SIGINT)
        running.wait(20)
    assert (running.returncode, len(sends(carrying)), carrying.campaigns) == (130, rows, set())


def test_an_interrupt_while_a_row_may_still_come_does_not_undo_its_campaign(carrying: Carrying, file: Path) -> None:
    carrying.script.extend([Do.PROPERLY, Do.STALL])
    command = [sys.executable, "-m", "smsd", "import", str(file), *HI]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        until(lambda: bool(sends(carrying)), "it stalls")
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=20)
    assert (running.returncode, carrying.campaigns) == (130, {"spring"})


def test_its_word_is_said_again_until_a_row_is_taken(
    smsd: Run, carrying: Carrying, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A campaign that was taken away meanwhile is made again before the first row comes."""
    monkeypatch.setattr(trying, "RENEW_S", -1.0)
    (tmp_path / "s.csv").write_text("to,text\n" + "".join(f"+1555010{n:04d},Hi\n" for n in range(3)))
    busy = [RefusedError("backlog_full", "No room.") for _ in range(3)]
    carrying.refusing = {"*": busy}
    assert smsd("import", str(tmp_path / "s.csv"), "--rate", "5/min").code == 0
    made = [n for n, request in enumerate(carrying.requests) if request["op"] == "campaign_create"]
    rows = [n for n, request in enumerate(carrying.requests) if request["op"] == "send"]
    assert made[1] < rows[0]
    assert rows[2] < made[-1] < rows[3], "again after the pause"
    assert {(carrying.requests[n]["trial"], carrying.requests[n]["rate"]) for n in made} == {
        (carrying.requests[0]["trial"], "5/min")
    }
    carrying.requests.clear()
    monkeypatch.setattr(trying, "RENEW_S", 60.0)
    carrying.refusing = {"*": [RefusedError("backlog_full", "No room.")]}
    assert smsd("import", str(tmp_path / "s.csv"), "--campaign", "soon").code == 0
    assert [request["op"] for request in carrying.requests].count("campaign_create") == 1


def test_one_that_was_made_otherwise_meanwhile_gets_no_rows(
    smsd: Run, carrying: Carrying, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trying, "RENEW_S", -1.0)
    carrying.script.append(Do.PROPERLY)

    def create(request: Document) -> Document:
        carrying.refuse["campaign_create"] = RefusedError("key_conflict", "It has other terms.", "id")
        return Carrying._campaign_create(carrying, request)

    carrying.__dict__["_campaign_create"] = create
    done = smsd("import", str(file), *HI)
    assert (done.code, sends(carrying)) == (65, [])
    assert "If it has no message: smsd campaign delete spring" in done.err


@pytest.mark.parametrize("error", ["backlog_full", "shutting_down", "disk_full"])
def test_patience_that_ends_while_the_campaign_is_made_is_told(
    smsd: Run, carrying: Carrying, file: Path, error: str
) -> None:
    carrying.refuse["campaign_create"] = RefusedError(error, "Not now.")
    done = smsd("import", str(file), *HI, "--patience", "20ms")
    assert done.code == 75
    assert "Not now." in done.err
    assert "Traceback" not in done.err


def test_one_that_is_interrupted_while_it_is_made_is_taken_back(carrying: Carrying, file: Path) -> None:
    carrying.script.append(Do.STALL)
    command = [sys.executable, "-m", "smsd", "import", str(file), *HI, "--patience", "1h"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        until(lambda: bool(carrying.campaigns), "it is made")
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=20)
    assert (running.returncode, carrying.campaigns) == (130, set())
    assert b"Run the same command again" in told


def test_its_word_is_said_again_when_the_daemon_was_away(smsd: Run, carrying: Carrying, file: Path) -> None:
    """It may be another process, which knows of no word."""
    carrying.script.extend([Do.PROPERLY, *[Do.HANG_UP] * 4])
    assert smsd("import", str(file), *HI).code == 0
    asked = [request["op"] for request in carrying.requests]
    first = next(n for n, answer in enumerate(asked) if answer == "send")
    again = asked.index("campaign_create", first)
    assert asked[again:].count("send") == 10


def test_one_of_which_nobody_knows_whether_it_was_taken_back(smsd: Run, carrying: Carrying, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("to,text\n")
    carrying.script.extend([Do.PROPERLY, *[Do.ACT_AND_HANG_UP] * 9])
    told = smsd("import", str(tmp_path / "bad.csv")).err
    assert told == "" or "may be there still" in told
    assert carrying.campaigns == set()
