"""Are refused rows kept as they were meant, so that whoever mends and imports them sends each once and loses none?"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smsd.cli.refusing import Refusals
from smsd.cli.sheets import OUR_OWN, Sheet
from tests.cli.carrying import Carrying
from tests.cli.fake import Fake
from tests.cli.helpers import Run

CELLS = st.text(st.one_of(st.sampled_from("'=+-@\t\r\n ,;|\"\ufeff09"), st.characters(exclude_categories=["Cs"])))
ROWS = st.lists(st.lists(CELLS, min_size=3, max_size=5).filter(any), min_size=1, max_size=3)


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    """Of a file and of its refused rows."""
    return tmp_path / "spring.csv", tmp_path / "refused.csv"


def mend(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text("utf-8-sig").replace(old, new), "utf-8-sig")


def sent(carrying: Fake) -> list[tuple[str, str, str]]:
    return [(each["idempotency_key"], each["to"], each["text"]) for each in carrying.messages.values()]


@settings(max_examples=150, deadline=None)
@given(ROWS, st.sampled_from(["note", "=x", "'=x", "a;b;c;d;e;f;g;h", "Idempotency-Key"]))
@example([["+1 bonus", "=1", "'+1"]], "note")
def test_every_cell_is_found_again(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], name: str) -> None:
    paths = [tmp_path_factory.getbasetemp() / f"{n}.csv" for n in range(3)]
    with paths[0].open("w", encoding="utf-8", newline="") as file:
        file.write("sep=,\n")
        csv.writer(file).writerows([["to", "text", name], *rows])
    first = [*_read(paths[0])]
    for path, following in pairwise(paths):
        _keep(path, following)
        assert [*_read(following)] == first
    if name != "Idempotency-Key":
        assert [cells for *_, cells in first] == rows


def _read(path: Path) -> Iterator[tuple[int, str, bool, list[str]]]:
    """Number, key, whether it cannot be read, and the cells of the first file's columns."""
    with Sheet(path, "spring", {}) as sheet:
        for row in sheet:
            cells = row.cells[len(sheet.header) - 3 :]
            if row.key and sheet.key_place == len(sheet.header) - 1:
                cells[2:] = [row.key]
            yield row.number, "" if row.fault else row.key, bool(row.fault), cells


def _keep(path: Path, refused: Path) -> None:
    """Writes all rows of the first as refused into the second."""
    with Sheet(path, "spring", {}) as sheet, Refusals(refused, sheet) as refusals:
        for row in sheet:
            refusals.add(row, "malformed", "=why")
        refusals.keep()


def test_mended_rows_are_sent_as_they_were_meant_and_once(
    smsd: Run, carrying: Carrying, paths: tuple[Path, Path]
) -> None:
    file, refused = paths
    file.write_text("to,text,idempotency_key\nx1,=sum(1),-k1\nx2,+1 bonus,\nx3,'@Anna,@k3\n+19,Hi,\n")
    assert smsd("import", str(file), "--errors", str(refused)).code == 65
    assert "'=sum(1)" in refused.read_text("utf-8-sig")
    mend(refused, ",x", ",+1555")
    assert smsd("import", str(refused), "--campaign", "spring").out == "campaign spring: 3 accepted\n"
    mended = [
        ("-k1", "+15551", "=sum(1)"),
        ("campaign:spring:2", "+15552", "+1 bonus"),
        ("@k3", "+15553", "'@Anna"),
    ]
    assert sent(carrying) == [("campaign:spring:4", "+19", "Hi"), *mended]
    mend(file, "\nx", "\n+1555")
    assert "4 already there" in smsd("import", str(file)).out
    assert len(carrying.messages) == 4


def test_apostrophes_of_other_files_stay(smsd: Run, carrying: Carrying, paths: tuple[Path, Path]) -> None:
    paths[0].write_text("to,text,error_line\n+1,'=x,\n")
    assert smsd("import", str(paths[0])).code == 0
    assert [text for _, _, text in sent(carrying)] == ["'=x"]


@pytest.mark.parametrize("key", ["", "Idempotency-Key"])
def test_a_row_that_could_not_be_read_keeps_its_number(
    smsd: Run, carrying: Carrying, paths: tuple[Path, Path], key: str
) -> None:
    file, refused = paths
    file.write_text(f"to,text,{key}\n+11,a,\n+12,b,,wide\n+13,c,\n")
    assert smsd("import", str(file), "--errors", str(refused)).code == 65
    mend(refused, ",wide", "")
    assert smsd("import", str(refused), "--campaign", "spring").out == "campaign spring: 1 accepted\n"
    assert sorted(sent(carrying)) == [(f"campaign:spring:{n}", f"+1{n}", text) for n, text in enumerate("abc", 1)]


def test_own_keys_that_were_passed_over_stay_so(smsd: Run, carrying: Carrying, paths: tuple[Path, Path]) -> None:
    file, refused = paths
    file.write_text("to,text,idempotency_key\nx1,a,k1\n")
    skip = ("--campaign", "spring", "--skip", "idempotency_key")
    assert smsd("import", str(file), *skip, "--errors", str(refused)).code == 65
    mend(refused, "x1", "+1")
    assert smsd("import", str(refused), *skip).code == 0
    assert sent(carrying) == [("campaign:spring:1", "+1", "a")]


def test_a_row_that_was_added_needs_a_key(smsd: Run, carrying: Carrying, paths: tuple[Path, Path]) -> None:
    paths[0].write_text(",".join(OUR_OWN) + ",idempotency_key,to,text\n,,,,,+11,a\n,,,,mine,+12,b\n")
    done = smsd("import", str(paths[0]), "--campaign", "spring")
    assert done.code == 65
    assert "needs an `idempotency_key` of its own" in done.err
    assert sent(carrying) == [("mine", "+12", "b")]


def test_without_refused_rows_nothing_is_touched(smsd: Run, carrying: Carrying, paths: tuple[Path, Path]) -> None:
    file, refused = paths
    file.write_text("to,text\n+1,a\n")
    refused.write_text("precious\n")
    assert smsd("import", str(file), "--errors", str(refused)).code == 0
    assert refused.read_text() == "precious\n"
    assert {path.name for path in file.parent.iterdir()} == {"s", "spring.csv", "refused.csv"}
    file.write_text("no,header\n")
    assert smsd("import", str(file), "--errors", str(refused)).code == 65
    assert refused.read_text() == "precious\n"


def test_what_stood_there_is_set_aside(smsd: Run, carrying: Carrying, paths: tuple[Path, Path]) -> None:
    file, refused = paths
    file.write_text("to,text\nx1,a\n")
    again = ("import", str(file), "--errors", str(refused))
    for _ in range(2):
        assert "stood" not in smsd(*again).err
    for n in (1, 2):
        refused.write_text(f"mended by hand {n}\n")
        assert f"what stood in {refused} is in {refused}.{n} now" in smsd(*again).err
        assert Path(f"{refused}.{n}").read_text() == f"mended by hand {n}\n"
    assert "x1" in refused.read_text()
    assert len([*file.parent.iterdir()]) == 5


def test_a_link_stays_one(smsd: Run, carrying: Carrying, paths: tuple[Path, Path], tmp_path: Path) -> None:
    file, refused = paths
    file.write_text("to,text\nx1,a\n")
    (tmp_path / "there").mkdir()
    refused.symlink_to(tmp_path / "there" / "r.csv")
    assert smsd("import", str(file), "--errors", str(refused)).code == 65
    assert "x1" in (tmp_path / "there" / "r.csv").read_text()
    assert refused.is_symlink()


def test_a_device_is_written_to_and_not_replaced(smsd: Run, carrying: Carrying, paths: tuple[Path, Path]) -> None:
    paths[0].write_text("to,text\nx1,a\n")
    assert smsd("import", str(paths[0]), "--errors", "/dev/null").code == 65
    assert Path("/dev/null").is_char_device()


def test_the_imported_file_itself_is_refused_by_any_name(
    smsd: Run, carrying: Carrying, paths: tuple[Path, Path]
) -> None:
    file, refused = paths
    file.write_text("to,text\nx1,a\n")
    refused.hardlink_to(file)
    assert smsd("import", str(file), "--errors", str(refused)).code == 64
    assert (carrying.requests, refused.read_text()) == ([], "to,text\nx1,a\n")


def test_bytes_that_are_no_utf8_are_kept(smsd: Run, carrying: Carrying, paths: tuple[Path, Path]) -> None:
    file, refused = paths
    file.write_bytes(b"to,text\n+11,a\n+12,caf\xe9\n+13,b\n")
    done = smsd("import", str(file), "--errors", str(refused))
    assert (done.code, done.out) == (65, "campaign spring: 2 accepted, 1 refused\n")
    assert "line 3: malformed: The byte 0xE9 is not UTF-8." in done.err
    assert b"+12,caf\xe9" in refused.read_bytes()
    again = smsd("import", str(refused), "--campaign", "spring")
    assert (again.code, again.out) == (65, "")
    assert "Line 2 has the byte 0xE9, which is not UTF-8; nothing was sent." in again.err
    refused.write_bytes(refused.read_bytes().replace(b"\xe9", "é".encode()))
    assert smsd("import", str(refused), "--campaign", "spring").code == 0
    assert sent(carrying)[-1] == ("campaign:spring:2", "+12", "café")
