"""Does `smsd suppress` do what it is told to exactly the numbers it is given, and lose none of a file?"""

from __future__ import annotations

from pathlib import Path

import pytest

from smsd.cli import numbers
from tests.cli.fake import Fake
from tests.cli.helpers import TO, Run, process

OTHER = "+15550100124"


def test_add_show_list_remove(smsd: Run, fake: Fake) -> None:
    assert smsd("suppress", "add", TO) == (0, f"{TO}  gets nothing more from every provider\n", "")
    assert smsd("suppress", "add", TO).out == f"{TO}  got nothing more from every provider already\n"
    assert smsd("suppress", "add", OTHER, TO, "--scope", "main").out.splitlines() == [
        f"{OTHER}  gets nothing more from provider main",
        f"{TO}  gets nothing more from provider main",
    ]
    listed = smsd("suppress", "list").out.splitlines()
    assert [line.split()[:2] for line in listed[1:]] == [[TO, "*"], [TO, "main"], [OTHER, "main"]]
    assert "told by an operator" in listed[1]
    assert len(smsd("suppress", "list", "--scope", "*").out.splitlines()) == 2
    assert [each["scope"] for each in smsd("suppress", "show", TO, "--json").documents] == ["*", "main"]
    cut = smsd("suppress", "list", "--limit", "1", "--json")
    assert (len(cut.documents), "there are more" in cut.err) == (1, True)
    assert smsd("suppress", "remove", TO).out == f"{TO}  may be texted again by every provider\n"
    assert [*fake.suppressed] == [(OTHER, "main"), (TO, "main")]
    assert smsd("suppress", "remove", TO, "--scope", "main", "--json").documents == [{"number": TO, "scope": "main"}]
    none = smsd("suppress", "show", TO)
    assert (none.code, none.out, none.err) == (0, "", f"{TO} is not suppressed.\n")


def test_a_number_is_no_command(smsd: Run, fake: Fake) -> None:
    """`smsd suppress NUMBER` could mean add or show: it means neither."""
    done = smsd("suppress", TO)
    assert (done.code, fake.requests) == (64, [])
    for command in ("add", "remove"):
        assert smsd("suppress", command).code == 64


def test_each_number_is_told_by_itself(smsd: Run, fake: Fake) -> None:
    done = smsd("suppress", "add", TO, "nonsense", OTHER)
    assert (done.code, len(done.out.splitlines())) == (65, 2)
    assert "smsd: nonsense: `number` is no number" in done.err
    gone = smsd("suppress", "remove", "+15550100999", TO)
    assert (gone.code, len(gone.out.splitlines())) == (65, 1)
    documents = smsd("suppress", "remove", "+15550100999", "--json").documents
    assert (documents[0]["id"], documents[0]["error"]["code"]) == ("+15550100999", "not_found")


def test_who_may_not_is_told_once(smsd: Run, fake: Fake, tmp_path: Path) -> None:
    done = smsd("suppress", "add", TO, OTHER, "--socket", str(tmp_path / "none"))
    assert (done.code, done.err.count("does not run here")) == (69, 1)


FILE = f"""\
# who opted out by letter
{TO}

"{OTHER}";"Ann";2026-01-02
  nonsense
;Bob
{TO}, main
+15550100125\tmain
"""


def test_a_file_loses_no_line_to_a_bad_one(smsd: Run, fake: Fake, tmp_path: Path) -> None:
    path = tmp_path / "numbers.csv"
    path.write_bytes(b"\xef\xbb\xbf" + FILE.replace("\n", "\r\n").encode())
    done = smsd("suppress", "import", str(path))
    assert (done.code, done.out) == (65, "3 added, 1 there already, 2 bad.\n")
    lines = [line for line in done.err.splitlines() if line.startswith("smsd: ")]
    assert [line.partition(": `")[0] for line in lines] == [f"smsd: {path}:5", f"smsd: {path}:6"]
    assert sorted(fake.suppressed) == [(TO, "*"), (OTHER, "*"), ("+15550100125", "*")]
    told = smsd("suppress", "import", str(path), "--scope", "main", "--json")
    assert told.code == 65
    assert [each.get("line") for each in told.documents] == [5, 6, None]
    assert told.documents[-1] == {"added": 3, "present": 1, "bad": 2}


def test_an_unknown_provider_is_told_once(smsd: Run, fake: Fake, tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_text(f"{TO}\n{OTHER}\n")
    done = smsd("suppress", "import", str(path), "--scope", "mian")
    assert (done.code, done.err.count("mian"), len(fake.requests)) == (65, 1, 1)


def test_what_is_exported_can_be_imported(smsd: Run, fake: Fake, tmp_path: Path) -> None:
    smsd("suppress", "add", TO, OTHER)
    smsd("suppress", "add", TO, "--scope", "main")
    exported = smsd("suppress", "export").out
    assert exported == f"number,scope\n{TO}\n{TO},main\n{OTHER}\n"
    assert smsd("suppress", "export", "--scope", "main").out == f"number,scope\n{TO},main\n"
    assert [each["number"] for each in smsd("suppress", "export", "--json").documents] == [TO, TO, OTHER]
    before = {*fake.suppressed}
    fake.suppressed.clear()
    done = process("suppress", "import", "-", stdin=(exported + f"{OTHER},gone\n").encode())
    assert (done.returncode, done.stdout) == (65, b"3 added, 0 there already, 1 bad.\n")
    assert b"<stdin>:5: `scope`" in done.stderr
    assert {*fake.suppressed} == before


def test_a_daemon_that_goes_away_is_told_with_the_line(smsd: Run, tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_text(f"\n{TO}\n{OTHER}\n")
    done = smsd("suppress", "import", str(path), "--socket", str(tmp_path / "none"))
    assert (done.code, done.err.count("does not run here")) == (69, 1)
    assert f"{path}:2: it ended here, after 0 added" in done.err
    assert smsd("suppress", "import", str(tmp_path / "none")).code == 66


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", []),
        (b"+1", [(1, "+1", "")]),
        (b"number\n+1,main\n", [(2, "+1", "")]),
        (b"Number;Scope\n+1;main\n+2;\n+3\n", [(2, "+1", "main"), (3, "+2", ""), (4, "+3", "")]),
        (b"#\n\nnumber,scope\nnumber,scope\n", [(4, "number", "scope")]),
        (b"+1,main\nnumber,scope\n+2,main\n", [(1, "+1", ""), (2, "number", ""), (3, "+2", "")]),
        (b"\xff\xfe\n+1\n", [(1, "\ufffd\ufffd", ""), (2, "+1", "")]),
        (b"x" * 3 * numbers.LONGEST + b"\n+1\n", [(1, "x" * numbers.LONGEST, ""), (2, "+1", "")]),
        (b"x" * (numbers.LONGEST - 1) + b"\n+1\n", [(1, "x" * (numbers.LONGEST - 1), ""), (2, "+1", "")]),
    ],
)
def test_the_lines_of_a_file(tmp_path: Path, data: bytes, found: list[tuple[int, str, str]]) -> None:
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file:
        assert [*numbers.lines(file)] == found
