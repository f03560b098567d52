"""Is every row of a file read as its author meant it, and is what cannot be read named with its line?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smsd.cli.sheets import Row, Sheet, SheetError, campaign_of


def rows(tmp_path: Path, content: str | bytes, skipped: tuple[str, ...] = (), **usual: Any) -> list[Row]:
    path = tmp_path / "spring.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with Sheet(path, "spring", usual, skipped) as sheet:
        return [*sheet]


def fields(tmp_path: Path, content: str | bytes, skipped: tuple[str, ...] = (), **usual: Any) -> list[dict[str, Any]]:
    """Without what all have."""
    found = [row.fields for row in rows(tmp_path, content, skipped, **usual)]
    for each in found:
        assert each.pop("campaign") == "spring"
    return found


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_what_spreadsheets_write(tmp_path: Path, delimiter: str, mark: str, newline: str) -> None:
    lines = [["Phone", "Text"], ["+1", '"Hello, you; ""there""\tÜ"'], ["+2", '"two\nlines"']]
    content = mark + newline.join(delimiter.join(line) for line in lines)
    assert fields(tmp_path, content) == [
        {"to": "+1", "text": 'Hello, you; "there"\tÜ', "idempotency_key": "campaign:spring:1"},
        {"to": "+2", "text": "two\nlines", "idempotency_key": "campaign:spring:2"},
    ]


def test_excels_own_first_line(tmp_path: Path) -> None:
    [row] = rows(tmp_path, "sep=;\r\nto;text\r\n+1;a,b\r\n")
    assert (row.fields["text"], row.line) == ("a,b", 3)


def test_empty_lines_before_the_header(tmp_path: Path) -> None:
    [row] = rows(tmp_path, "\n ;;\r\nto;text\n+1;a\n")
    assert (row.fields["text"], row.line) == ("a", 4)


def test_blanks_around_a_value(tmp_path: Path) -> None:
    content = "to,text,priority,user,metadata.a,idempotency_key,max_attempts\n +1 , Hi , HIGH,\tann , b , k , 3\n"
    [found] = fields(tmp_path, content)
    assert found == {
        **{"to": "+1", "text": " Hi ", "priority": "HIGH", "user": "ann", "metadata": {"a": " b "}},
        **{"idempotency_key": " k ", "max_attempts": 3},
    }


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (b"+2,caf\xe9", "The byte 0xE9 is not UTF-8"),
        (b"+2," + b"x" * 70_000, "A cell is of more than 65,536 characters"),
    ],
)
def test_a_row_that_cannot_be_read_is_one_row(tmp_path: Path, row: bytes, why: str) -> None:
    found = rows(tmp_path, b"to,text\n" + b"+1,Hi\n" * 20_000 + row + b"\n+3,Hi\n")
    assert [(each.line, each.number) for each in found if each.fault] == [(20_002, 20_001)]
    assert why in found[-2].fault
    assert found[-1].fields["idempotency_key"] == "campaign:spring:20002"


@pytest.mark.parametrize("name", ["to", "TO", "phone", "Number", " mobile ", "Recipient", "Phone Number"])
def test_names_of_the_number(tmp_path: Path, name: str) -> None:
    assert fields(tmp_path, f"{name}\n+1\n", text="Hi")[0]["to"] == "+1"


def test_columns_are_fields_vars_and_metadata(tmp_path: Path) -> None:
    content = (
        "to,Send-At,User,type,name,vars.type,metadata.row,idempotency_key,max_attempts,priority,note\n"
        "+1,2026-01-02T03:04:05Z,ann,promo,Ann,VIP,7,own,3,,x\n"
        "+2,,,,,,,,,high,\n"
    )
    first, second = fields(tmp_path, content, ("note",), template="hello", priority="bulk", user="all")
    assert first == {
        **{"to": "+1", "send_at": "2026-01-02T03:04:05Z", "user": "ann", "type": "promo", "template": "hello"},
        **{"priority": "bulk", "idempotency_key": "own", "max_attempts": 3},
        **{"vars": {"name": "Ann", "type": "VIP"}, "metadata": {"row": "7"}},
    }
    assert second == {
        **{"to": "+2", "user": "all", "template": "hello", "priority": "high"},
        **{"idempotency_key": "campaign:spring:2", "vars": {"name": "", "type": ""}, "metadata": {"row": ""}},
    }


def test_without_a_template_other_columns_are_not_used(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("to,text,name,vars.note\n+1,Hi,Ann,x\n")
    with Sheet(path, "a", {}) as sheet:
        assert sheet.unused == ["name", "vars.note"]
        assert [{*row.fields} for row in sheet] == [{"to", "text", "campaign", "idempotency_key"}]


def test_lines_and_numbers_of_rows(tmp_path: Path) -> None:
    found = rows(tmp_path, 'to,text\n\n+1,"a\nb"\n,\n+2,c\n+3,d,e\n+4\n')
    assert [(row.line, row.number) for row in found] == [(4, 1), (6, 2), (7, 3), (8, 4)]
    assert found[2].fault.startswith("The row has 3 columns, the header 2")
    assert "text" not in found[3].fields


def test_a_refused_row_that_was_mended_keeps_its_key(tmp_path: Path) -> None:
    content = "error_line,error_row,error_code,error_message,idempotency_key,to,text\n7,5,x,y,campaign:spring:5,+1,Hi\n"
    assert fields(tmp_path, content) == [{"idempotency_key": "campaign:spring:5", "to": "+1", "text": "Hi"}]


@pytest.mark.parametrize("number", ["many", "9" * 5_000])
def test_a_number_that_is_none_is_the_rows_fault(tmp_path: Path, number: str) -> None:
    [row] = rows(tmp_path, f"to,text,max_attempts\n+1,Hi,{number}\n")
    assert (row.fault, row.fields) == ("`max_attempts` is a number.", {})


WRONG: list[tuple[str | bytes, dict[str, Any], str]] = [
    ("", {"text": "x"}, "no header"),
    ("name,text\nAnn,x\n", {}, "No column has the numbers; there are: name, text."),
    ("to,phone\n+1,+2\n", {"text": "x"}, "Two columns are for 'to'"),
    ("to\n+1\n", {}, "Nothing says what to send"),
    ("to,text\n+1,Hi\n", {"text": "x"}, "has a column `text`"),
    ("to,text\n+1,Hi\n", {"template": "x"}, "has a text and a template"),
    ("to,text,campaign\n+1,Hi,x\n", {}, "One import is one campaign"),
    ("to,text\n+1,Hi\n".encode("utf-16"), {}, "UTF-16"),
    (b"to,text,caf\xe9\n+1,Hi\n", {}, "Line 1 is not UTF-8"),
    ("to," + "x" * 1_100_000 + "\n", {"text": "x"}, "Line 1 has more than"),
    ('to,text\n+1,Hi\n+2,"open\n', {}, "row that begins in line 3 is no CSV"),
    ('to,text\n+2,"a"b"\n', {}, "is no CSV"),
    ('to,text\n+1,Hi\n+2,"' + "x\n" * 40_000 + '"\n', {}, "row that begins in line 3 has a cell of more than 65,536"),
    ('to,text\n+1,Hi\n+2,"' + "x\n" * 600_000, {}, "row that begins in line 3 is no CSV"),
    ("to,text\n+2," + "x" * 1_100_000, {}, "Line 2 has more than"),
]


@pytest.mark.parametrize(("content", "usual", "why"), WRONG)
def test_what_will_not_do(tmp_path: Path, content: str | bytes, usual: dict[str, Any], why: str) -> None:
    with pytest.raises(SheetError) as wrong:
        rows(tmp_path, content, **usual)
    assert why in wrong.value.message
    assert wrong.value.remedy


def test_skipping_undoes_what_stands_in_the_way(tmp_path: Path) -> None:
    assert fields(tmp_path, "to,text,phone\n+1,Hi,+2\n", ("Text", "phone"), text="x")[0]["text"] == "x"


def test_an_id_is_made_of_the_files_name() -> None:
    assert campaign_of(Path("/a/Spring sale (2).csv")) == "Spring-sale-2"
    assert campaign_of(Path("год.csv")) == ""
