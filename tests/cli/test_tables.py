"""Can a table be read on any terminal: no id cut, no state folded, every sentence whole?"""

from __future__ import annotations

import re

import pytest

from smsd.cli.tables import INDENT, READABLE, Table, cells
from tests.cli.fake import PROVIDER, STATS, Fake
from tests.cli.helpers import on_terminal

WIDTHS = [80, 100, 140]
WHY = "Provider main is halted: 401 Unauthorized (code 20003). Mend its credentials, then: smsd resume main"
ERROR = {"category": "REJECTED", "code": "21211", "cause": None, "message": "the number is not in service any more"}
NAME = "twilio-marketing"


def seen(command: str, columns: int) -> list[str]:
    """The lines on a terminal, without colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(command, columns=columns))
    lines = text.replace("\r", "").splitlines()
    assert all(cells(line) <= columns for line in lines), "the terminal itself would fold it"
    return lines


def readable(text: str, lines: list[str]) -> bool:
    """Whether the sentence stands there whole, in order, in lines of several words each."""
    return text in re.sub(r"\s+", " ", " ".join(lines))


def fill(fake: Fake) -> list[str]:
    halted = {"reason": "provider_halted", "until": "2999-01-02T03:04:05.000Z", "text": WHY}
    long = {"to": "+999999999999999", "provider": NAME, "attempts": 12}
    fake.add(**long, waiting=halted, priority="normal")
    fake.add(**long, waiting=halted, state="processing")
    fake.add(**long, waiting=None, state="undelivered", error=ERROR)
    return [*fake.messages]


@pytest.mark.parametrize("columns", WIDTHS)
class TestOnATerminal:
    def test_list(self, fake: Fake, columns: int) -> None:
        ids = fill(fake)
        lines = seen("list", columns)
        for id, state in zip(ids, ("pending", "processing", "undelivered"), strict=True):
            (row,) = [line for line in lines if line.startswith(f"{id}  ")]
            assert row.split()[1] == state
            assert NAME in row.split()
        assert readable(WHY, lines)
        assert readable("REJECTED: the number is not in service any more (code 21211)", lines)
        assert ("ACCEPTED" in lines[0]) == (columns > 100), "what there is room for is shown"

    def test_queue(self, fake: Fake, columns: int) -> None:
        ids = fill(fake)[:2]
        lines = seen("queue", columns)
        for id, state in zip(ids, ("pending", "processing"), strict=True):
            assert [line.split()[1] for line in lines if line.startswith(f"{id}  ")] == [state]
        assert len([line for line in lines if "Provider main is halted" in line]) == 2
        assert readable(WHY, lines)
        assert ("UNTIL" in lines[0]) == (columns > 100)

    @pytest.mark.parametrize("command", ["providers", "stats"])
    def test_providers(self, fake: Fake, columns: int, command: str) -> None:
        state = {"state": "half_open", "until": "2999-01-02T03:04:05.000Z", "rate_now": 37.5, "reason": WHY}
        names = [NAME, "sinch-transactional-eu-west"]
        fake.providing = [{**PROVIDER, "name": name, **state} for name in names]
        fake.stats = {**STATS, "providers": dict(zip(names, fake.providing, strict=True))}
        lines = seen(command, columns)
        for name in names:
            (row,) = [line for line in lines if line.startswith(f"{name} ")]
            assert "half_open" in row.split()
            assert "37.5 of 100/min" in row
        assert readable(WHY, lines)


def test_a_terminal_that_is_far_too_narrow_cuts_nothing() -> None:
    laid = Table(("ID", "TO", "WHY"), [("x" * 36, "+15550100123", WHY), ("y", "+1", "-")], ("TO",)).laid(10)
    assert laid.head == ["ID", INDENT + "WHY"]
    assert laid.body[0] == "x" * 36
    assert laid.body[-1] == "y", "where nothing is to be said there is no line"
    assert readable(WHY, laid.body)


def test_the_sentences_are_a_column_where_there_is_room() -> None:
    table = Table(("ID", "WHY"), [("1", WHY), ("2", "short")])
    wide = table.laid(3 + 2 + len(WHY))
    assert wide.body == [f"1   {WHY}", "2   short"]
    narrower = table.laid(4 + READABLE)
    assert len(narrower.head) == 1
    assert readable(WHY, narrower.body)
    assert all(line.startswith("    ") for line in narrower.body[1:-1])
    assert len(table.laid(4 + READABLE - 1).head) == 2
    assert Table(("ID", "WHY"), [("2", "short")]).laid(9).body == ["2   short"], "a short one needs no more"


def test_the_more_important_columns_stay() -> None:
    table = Table(("ID", "A", "B", "C", "WHY"), [("1", "aaaaaaaaaa", "bbbb", "cc", WHY)], ("B", "A", "C"))
    shown = [table.laid(columns).head[0].split() for columns in (2, 8, 12, 30)]
    assert shown == [["ID"], ["ID", "B"], ["ID", "B", "C"], ["ID", "A", "B", "C"]]


def test_in_a_pipe_every_column_stands_in_its_place() -> None:
    laid = Table(("ID", "TO", "WHY"), [("1", "+15550100123", WHY)], ("TO",)).laid(None)
    assert (laid.head, laid.body) == (["ID  TO            WHY"], [f"1   +15550100123  {WHY}"])


def test_ideographs_take_two_columns() -> None:
    assert [cells(text) for text in ("ab", "日本", "é", "e\u0301")] == [2, 4, 1, 1]
    laid = Table(("NAME", "N", "WHY"), [("日本", "1", "-"), ("ab", "2", "-")]).laid(80)
    assert [cells(line) for line in laid.body] == [10, 10]
