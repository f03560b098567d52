"""Does `smsd import` hand over every row once, wait out what passes, and say of the rest what to do?"""

from __future__ import annotations

import csv
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from smsd.cli import feeding
from smsd.cli.feeding import Feeding, GaveUpError
from smsd.cli.sheets import Sheet, harmless, meant
from smsd.cli.terms import hours
from smsd.client import Client, QueueUnavailable
from tests.cli.carrying import HI, Carrying, sends
from tests.cli.helpers import Run, process
from tests.daemon.harness import until
from tests.doubles.fake_daemon import Do, Document, RefusedError

BAD = "+15550100999"


def test_all_rows_are_taken_and_a_second_run_takes_none(smsd: Run, carrying: Carrying, file: Path) -> None:
    done = smsd("import", str(file), *HI, "--from", "12345", "--ttl", "2h")
    assert done == (
        0,
        "campaign spring: 10 accepted\n",
        "smsd: columns not used: name\n      Only a template has blanks: --template NAME.\n",
    )
    made, first, *_ = carrying.requests
    assert made.items() >= {"op": "campaign_create", "id": "spring"}.items()
    usual = {"text": "Hi", "from": "12345", "ttl": "2h", "priority": "bulk", "campaign": "spring"}
    assert first == {"op": "send", "ref": 0, "to": "+15550100000", "idempotency_key": "campaign:spring:1", **usual}
    again = smsd("import", str(file), *HI, "--from", "12345", "--ttl", "2h")
    assert (again.code, again.out) == (0, "campaign spring: 0 accepted, 10 already there\n")
    assert len(carrying.messages) == 10


def test_terms_of_the_campaign(smsd: Run, carrying: Carrying, file: Path) -> None:
    terms = ("--campaign", "s1", "--name", "Spring", "--rate", "1000/hour", "--between", "09:00-18:00 Europe/Berlin")
    assert smsd("import", str(file), "--template", "hello", "--lang", "de", *terms).code == 0
    made, first, *_ = carrying.requests
    between = {"from": "09:00", "to": "18:00", "zone": "Europe/Berlin"}
    assert made == {**made, "id": "s1", "name": "Spring", "rate": "1000/hour", "send_between": between}
    assert (first["template"], first["lang"], first["vars"]) == ("hello", "de", {"name": "Ann 0"})


def test_hours() -> None:
    assert hours("9:00-18:00") == {"from": "9:00", "to": "18:00"}
    assert hours(None) is None


@pytest.mark.parametrize(
    "wrong", [("--between", "nine to five"), ("--errors", "spring.csv"), ("--priority", "low"), ("--patience", "long")]
)
def test_wrong_use(
    smsd: Run, carrying: Carrying, file: Path, wrong: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    before = file.read_text()
    assert smsd("import", file.name, *HI, *wrong).code == 64
    assert (carrying.requests, file.read_text()) == ([], before)


def test_what_will_not_do_is_told_with_its_remedy(smsd: Run, carrying: Carrying, file: Path) -> None:
    done = smsd("import", str(file))
    assert done.code == 65
    assert "Nothing says what to send." in done.err
    assert "--text TEXT" in done.err
    assert smsd("import", str(file.with_name("none.csv")), *HI).code == 66
    file.with_name("год.csv").write_text("to\n+1\n")
    assert "--campaign" in smsd("import", str(file.with_name("год.csv")), *HI).err


def test_refused_rows_stand_in_a_file_that_can_be_mended(smsd: Run, carrying: Carrying, tmp_path: Path) -> None:
    file, errors = tmp_path / "spring.csv", tmp_path / "refused.csv"
    file.write_text('to,text,note\n+15550100001,Hi,\nnobody,Hi,"=1+1"\n+15550100002,Hi,,too many\n+15550100003,Hi,\n')
    done = smsd("import", str(file), "--errors", str(errors))
    assert done.code == 65
    assert done.out == "campaign spring: 2 accepted, 2 refused\n"
    assert "smsd: line 3: invalid_recipient: `to` is not a number.\n" in done.err
    assert oct(errors.stat().st_mode & 0o777) == "0o600"
    head, *lines = csv.reader(errors.read_text("utf-8-sig").splitlines())
    assert head == ["error_line", "error_row", "error_code", "error_message", "idempotency_key", "to", "text", "note"]
    by_line = {line[0]: line for line in lines}
    assert by_line["3"][1:3] == ["2", "invalid_recipient"]
    assert by_line["3"][4:] == ["campaign:spring:2", "nobody", "Hi", "'=1+1"]
    assert by_line["4"][2] == "malformed"
    errors.write_text(errors.read_text("utf-8-sig").replace("nobody", "+15550100004"), "utf-8-sig")
    mended = smsd("import", str(errors), "--campaign", "spring")
    assert mended.out.startswith("campaign spring: 1 accepted")
    assert "campaign:spring:2" in carrying.keys


@pytest.mark.parametrize("cell", ["=1+1", "+1+1", "-x", "@SUM(A1)", "\tx", "\rx", "=cmd|' /C calc'!A0", "+1 2"])
def test_what_a_spreadsheet_would_calculate_is_text(cell: str) -> None:
    assert harmless(cell) == f"'{cell}"
    assert meant(harmless(cell)) == cell
    assert harmless(f"'{cell}") == f"''{cell}"


@pytest.mark.parametrize("cell", ["", "Ann", "+15550100001", "-5", "1=1", "3,5", "'", "'s"])
def test_what_it_would_not_stays(cell: str) -> None:
    assert harmless(cell) == meant(cell) == cell


def test_a_file_that_cannot_be_written(smsd: Run, carrying: Carrying, file: Path) -> None:
    assert smsd("import", str(file), *HI, "--errors", "/proc/none/x.csv").code == 73
    assert carrying.requests == []


def test_only_the_first_reasons_are_told(smsd: Run, carrying: Carrying, file: Path) -> None:
    carrying.refuse["send"] = RefusedError("key_conflict", "The key was used.", "idempotency_key")
    done = smsd("import", str(file), *HI)
    assert done.code == 65
    assert done.err.count("--campaign NEW sends it as it is now") == 5
    assert "and 5 more" in done.err
    assert smsd("import", str(file), *HI, "--json").documents[-1]["refused"] == 10


def test_what_passes_is_waited_out(smsd: Run, carrying: Carrying, file: Path) -> None:
    full = RefusedError("backlog_full", "The backlog is full.")
    carrying.refusing = {"*": [full, full, RefusedError("internal", "A fault."), RefusedError("disk_full", "No room.")]}
    done = smsd("import", str(file), *HI)
    assert (done.code, done.out) == (0, "campaign spring: 10 accepted\n")
    assert "The backlog is full. Trying again in" in done.err


@pytest.mark.parametrize("do", [Do.HANG_UP, Do.ACT_AND_HANG_UP])
def test_lost_connections_double_nothing(smsd: Run, carrying: Carrying, file: Path, do: Do) -> None:
    for _ in range(4):
        carrying.script.extend([Do.PROPERLY, Do.PROPERLY, do])
    assert smsd("import", str(file), *HI).code == 0
    assert len(carrying.messages) == 10
    assert len(sends(carrying)) > 10


def test_a_row_that_a_limit_refuses_waits_alone(smsd: Run, carrying: Carrying, file: Path) -> None:
    carrying.refusing = {"+15550100003": [RefusedError("limit_exceeded", "5/hour.", None, 0)]}
    assert smsd("import", str(file), *HI).code == 0
    assert [request["to"][-1] for request in sends(carrying)] == [*"01234567893"]


def test_a_limit_that_takes_too_long_is_for_another_run(smsd: Run, carrying: Carrying, file: Path) -> None:
    carrying.refusing = {"+15550100003": [RefusedError("limit_exceeded", "5/hour.", None, 3_600)]}
    done = smsd("import", str(file), *HI)
    assert (done.code, done.out) == (75, "campaign spring: 9 accepted, 1 not now\n")
    assert "Run the same command again" in done.err
    assert smsd("import", str(file), *HI).out == "campaign spring: 1 accepted, 9 already there\n"


def test_it_gives_up_when_patience_ends(smsd: Run, carrying: Carrying, file: Path) -> None:
    carrying.refuse["send"] = RefusedError("disk_full", "No room.")
    done = smsd("import", str(file), *HI, "--patience", "50ms")
    assert (done.code, done.out) == (75, "campaign spring: 0 accepted\n")
    assert "No room." in done.err


def test_what_is_wrong_for_all_rows_ends_it(smsd: Run, carrying: Carrying, file: Path) -> None:
    carrying.refuse["send"] = RefusedError("not_allowed", "It lacks the scope send.")
    assert smsd("import", str(file), *HI).code == 77
    carrying.refuse["send"] = RefusedError("wrong_state", "The campaign is cancelled.", "campaign")
    assert smsd("import", str(file), *HI).code == 65


def test_a_campaign_that_cannot_be_made_gets_no_rows(smsd: Run, carrying: Carrying, file: Path) -> None:
    carrying.refuse["campaign_create"] = RefusedError("key_conflict", "It has other terms.", "id")
    assert smsd("import", str(file), *HI).code == 65
    assert sends(carrying) == []


def test_no_daemon(smsd: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSD_SOCKET", str(file.with_name("nobody")))
    assert smsd("import", str(file), *HI).code == 69


def test_a_file_that_ends_to_be_readable_keeps_what_was_taken(smsd: Run, carrying: Carrying, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("to,text\n" + "+15550100001,Hi\n" * 90 + 'nobody,Hi\n+1,"a"b"\n+2,Hi\n')
    done = smsd("import", str(path))
    assert (done.code, done.out) == (65, "campaign a: 90 accepted, 1 refused\n")
    assert "The row that begins in line 93 is no CSV" in done.err
    assert "The rows above were handed over" in done.err
    path.write_text(path.read_text().replace('"a"b"', "ab"))
    assert smsd("import", str(path)).out == "campaign a: 2 accepted, 90 already there, 1 refused\n"


def test_standard_input(carrying: Carrying) -> None:
    rows = b"to|text\n+1|a\n+2|b\n"
    assert process("import", "-", stdin=rows).returncode == 64
    assert carrying.requests == []
    assert process("import", "-", "--campaign", "x", stdin=rows).stdout == b"campaign x: 2 accepted\n"


def test_what_is_wrong_with_a_campaign_has_remedies_of_its_own(smsd: Run, carrying: Carrying, file: Path) -> None:
    carrying.refuse["send"] = RefusedError("wrong_state", "The campaign is cancelled.", "campaign")
    assert "smsd campaign show spring" in smsd("import", str(file), *HI).err
    carrying.refuse["campaign_create"] = RefusedError("key_conflict", "It has other terms.", "id")
    err = smsd("import", str(file), *HI).err
    assert "--campaign NEW" in err
    assert "key of its own" not in err


def test_an_interrupt_says_how_to_go_on(carrying: Carrying, file: Path) -> None:
    carrying.script.extend([Do.PROPERLY] * 4 + [Do.STALL])
    running = subprocess.Popen(
        [sys.executable, "-m", "smsd", "import", str(file), *HI], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    until(lambda: len(sends(carrying)) == 4, "it stalls")
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=20)
    assert running.returncode == 130
    assert out.startswith(b"campaign spring: ")
    assert b"Run the same command again" in err


def test_a_bar_on_a_terminal_and_no_rich_elsewhere(carrying: Carrying, file: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "smsd", "import", str(file), *HI]
    done = subprocess.run(command, stderr=theirs, stdout=subprocess.PIPE, check=False, timeout=20)
    os.close(theirs)
    seen = os.read(ours, 65_536).decode()
    os.close(ours)
    assert (done.returncode, done.stdout) == (0, b"campaign spring: 10 accepted\n")
    assert "━" in seen
    code = (
        "import sys\nfrom smsd.cli.main import main\n"
        f"sys.argv = ['smsd', 'import', {str(file)!r}, '--text', 'Hi']\n"
        "try: main()\nexcept SystemExit: print([name for name in ('rich', 'asyncio', 'ssl') if name in sys.modules])\n"
    )
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert plain.stdout.splitlines()[-1] == "[]"


def test_rows_that_wait_for_a_limit_are_bounded(
    carrying: Carrying, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "LATE", 3)
    time, told = [0.0], list[str]()

    def sleep(seconds: float) -> None:
        time[0] += seconds + 1e-6

    carrying.refusing = {f"+1555010{n:04d}": [RefusedError("limit_exceeded", "5/hour.", None, 60)] for n in range(10)}
    with Sheet(file, "spring", {"text": "Hi"}) as sheet, Client(carrying.path) as client:
        it = Feeding(client, 600, told.append, lambda: time[0], sleep)
        found = [row.number for row, answer in it.verdicts(iter(sheet)) if answer["ok"]]
    assert sorted(found) == [*range(1, 11)]
    assert told[0].endswith("rows wait for a limit; going on in 60 s")


def test_pauses_grow_and_patience_ends(carrying: Carrying, file: Path) -> None:
    time, pauses = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        time[0] += seconds

    carrying.refuse["send"] = RefusedError("backlog_full", "The backlog is full.")
    with Sheet(file, "spring", {"text": "Hi"}) as sheet, Client(carrying.path) as client:
        it = Feeding(client, 60, lambda text: None, lambda: time[0], sleep)
        with pytest.raises(GaveUpError) as given_up:
            list(it.verdicts(iter(sheet)))
    assert given_up.value.error.code == "backlog_full"
    assert pauses[:3] == [0.001, 0.002, 0.004]
    assert max(pauses) == 10.0
    assert 60 < sum(pauses) < 75


class Breaking:
    """A client whose stream ends without a word about what it took."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.broken = False

    def send_many(self, items: Iterator[Document]) -> Iterator[Document]:
        for n, item in enumerate(items):
            if n == 3 and not self.broken:
                self.broken = True
                raise QueueUnavailable("unreachable", "It is gone.")
            self.seen.append(item["to"])
            if n != 2 or self.broken:
                yield {"ok": True, "state": "pending", "replayed": False}


def test_rows_that_nothing_was_said_of_are_said_again(file: Path) -> None:
    client = Breaking()
    with Sheet(file, "spring", {"text": "Hi"}) as sheet:
        it = Feeding(cast(Client, client), 60, lambda text: None, sleep=lambda seconds: None)
        found = [row.number for row, _ in it.verdicts(iter(sheet))]
    assert found == [*range(1, 11)]
    assert len(client.seen) == 11


def test_a_file_in_another_encoding_is_found_before_its_first_row(
    smsd: Run, carrying: Carrying, tmp_path: Path
) -> None:
    file = tmp_path / "spring.csv"
    file.write_bytes(b"to,text\n" + b"+1,Hi\n" * 20_000 + "+2,Grüße\n".encode("latin-1"))
    done = smsd("import", str(file))
    assert (done.code, done.out, carrying.requests) == (65, "", [])
    assert "Line 20002 has the byte 0xFC, which is not UTF-8; nothing was sent." in done.err
    assert "Convert the file: iconv -f WINDOWS-1252 -t UTF-8. Or keep such rows for later: --errors" in done.err
