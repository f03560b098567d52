"""Does `smsd report` ask for what was typed, and show it to a person, a spreadsheet or a program?"""

from __future__ import annotations

from typing import Any

import pytest

from smsd.client import Document
from tests.cli.fake import Fake
from tests.cli.helpers import Run

SPAN = {"since": "2026-01-01T00:00:00.000Z", "until": "2026-01-03T00:00:00.000Z"}


def line(group: str, **fields: Any) -> Document:
    states = ("accepted", "pending", "sent", "delivered", "undelivered", "failed", "expired", "cancelled")
    usual: Document = {
        "group": group,
        **dict.fromkeys(states, 0),
        "segments": 7,
        "cost": {},
        "estimated": None,
        "unpriced": 0,
    }
    return {**usual, "delivery_rate": None, "met": None, **fields}


REPORTS: dict[str, Document] = {
    "daily": {
        **SPAN,
        **{"by": "day", "sla": 99, "total": line("total", delivery_rate=97.5, met=False, cost={"EUR": "1.2"})},
        "items": [line("2026-01-01", accepted=12, delivery_rate=100.0, met=True), line("2026-01-02", unpriced=3)],
    },
    "errors": {
        **{**SPAN, "total": 4},
        "items": [
            {"category": "REJECTED", "code": "\x1b[2J", "provider": None, "messages": 4, "share": 100, "example": "id"}
        ],
    },
    "retries": {
        **{**SPAN, "total_retries": 2, "successful_retries": 1, "success_rate": 50.0, "average_attempts": 1.25},
        "items": [
            {**{"attempts": 2, "messages": 2, "successful": 1, "success_rate": 50.0}, "average_latency_ms": 340,
             "average_time_ms": 61_000}
        ],
    },
    "rate": {
        **{**SPAN, "sent": 9, "failed": 1, "peak": {"minute": "2026-01-02T03:04:00.000Z", "sent": 9, "failed": 1}},
        "items": [{"minute": "2026-01-02T03:04:00.000Z", "sent": 9, "failed": 1}],
    },
    "cost": {
        **{**SPAN, "by": "user", "total": line("total", messages=5)},
        "items": [line("", messages=5, cost={"USD": "0.0075", "XXX": "1"}, estimated="0.4", unpriced=2)],
    },
}  # fmt: skip

SHOWN = {
    "daily": ("2026-01-01 12 0 0 0 0 0 0 0 7 100.00 % met -", "total 0 0 0 0 0 0 0 0 7 97.50 % missed 1.2 EUR"),
    "errors": ("CATEGORY CODE PROVIDER MESSAGES SHARE EXAMPLE", "REJECTED \\x1b[2J - 4 100.00 % id"),
    "retries": ("2 2 1 50.00 % 340 ms 61 s", "Attempts on average 1.25"),
    "rate": ("2026-01-02T03:04:00.000Z 9 1", "Peak 9 at 2026-01-02T03:04:00.000Z"),
    "cost": ("USER MESSAGES SEGMENTS COST", "- 5 7 0.0075 USD, 1 XXX, about 0.4, 2 without a price"),
}


@pytest.mark.parametrize("kind", [*REPORTS])
def test_a_person_sees_a_table(smsd: Run, fake: Fake, kind: str) -> None:
    fake.reports = REPORTS
    done = smsd("report", kind)
    assert (done.code, done.err) == (0, "")
    lines = [" ".join(each.split()) for each in done.out.splitlines()]
    assert lines[0] == f"{SPAN['since']} to {SPAN['until']}"
    assert [each for each in SHOWN[kind] if each not in lines] == []
    assert smsd("report", kind, "--json").documents == [REPORTS[kind]]


def test_what_is_typed_is_asked_for(smsd: Run, fake: Fake) -> None:
    fake.reports = {"daily": {"csv": "day,accepted\r\n2026-01-01,1\r\n"}}
    typed = ("--since", "2026-01-01", "--until", "2026-02-01", "--by", "provider", "--sla", "99.5")
    done = smsd("report", "daily", *typed, "--campaign", "a", "--tenant", "shop", "--csv")
    assert (done.code, done.out) == (0, "day,accepted\r\n2026-01-01,1\r\n")
    asked = {name: value for name, value in fake.requests[-1].items() if name != "ref"}
    assert asked == {
        **{"op": "report_daily", "since": "2026-01-01", "until": "2026-02-01", "by": "provider", "sla": 99.5},
        **{"campaign": "a", "tenant": "shop", "format": "csv"},
    }


@pytest.mark.parametrize(
    "words",
    [("weather",), ("daily", "--sla", "0"), ("rate", "--campaign", "a"), ("errors", "--by", "day"),
     ("cost", "--sla", "9"), ("cost", "--csv", "--json")],
)  # fmt: skip
def test_what_there_is_not_is_a_wrong_command_line(smsd: Run, fake: Fake, words: tuple[str, ...]) -> None:
    assert smsd("report", *words).code == 64
    assert fake.requests == []


def test_nothing_is_said_to_be_nothing(smsd: Run, fake: Fake) -> None:
    empty = {"total_retries": 0, "successful_retries": 0, "success_rate": None, "average_attempts": None}
    fake.reports = {"retries": {**SPAN, **empty, "items": []}}
    assert "No such messages." in smsd("report", "retries").out


def test_that_no_retry_helped_is_a_percentage_too(smsd: Run, fake: Fake) -> None:
    none = {"total_retries": 2, "successful_retries": 0, "success_rate": 0.0, "average_attempts": 2.0}
    fake.reports = {"retries": {**SPAN, **none, "items": []}}
    assert "Success rate 0.00 %" in " ".join(smsd("report", "retries").out.split())
