"""How is a data file of adapter cases read?

One TOML file a dialect in `cases/`: tables of codes, requests to the byte, answers with their verdicts. They are
written from the provider's documentation, so that the adapter's tables and these say the same thing twice.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from smsd.core.receipt import ReceiptReading
from smsd.core.units import duration_ms
from smsd.core.verdict import Category, Fate, Scope, Verdict
from smsd.providers.base import Call, Response
from smsd.providers.readings import Reading
from tests.providers.calls import call

CASES = Path(__file__).parent / "cases"


@dataclass(frozen=True)
class RequestCase:
    """What an adapter with `settings` must send for `call`."""

    name: str
    settings: Mapping[str, Any]
    call: Call
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class AnswerCase:
    """What an adapter with `settings` must read in `response`."""

    name: str
    settings: Mapping[str, Any]
    response: Response
    verdict: Verdict


@cache
def _file(dialect: str) -> Mapping[str, Any]:
    return tomllib.loads((CASES / f"{dialect}.toml").read_text())


def readings(dialect: str, table: str) -> dict[str, Reading]:
    """Lines like `21611 = "RATE_LIMITED sender defer 5m"`."""
    return {code: _reading(*line.split()) for code, line in _file(dialect)[table].items()}


def _reading(category: str, scope: str, fate: str, wait: str | None = None) -> Reading:
    return Reading(Category(category), Scope(scope), Fate(fate), None if wait is None else duration_ms(wait))


def receipts(dialect: str) -> dict[str, ReceiptReading]:
    """Lines like `30001 = "RATE_LIMITED resend 60s,120s 3"`."""
    return {code: _receipt(*line.split()) for code, line in _file(dialect)["receipts"].items()}


def _receipt(category: str, action: Any, waits: str = "", calls: str = "1") -> ReceiptReading:
    delays = tuple(duration_ms(wait) for wait in waits.split(",") if wait)
    return ReceiptReading(Category(category), action, delays, int(calls))


def requests(dialect: str) -> list[RequestCase]:
    """The requests, in the order of the file."""
    return [
        RequestCase(
            case["name"],
            case["settings"],
            call(**case.get("call", {})),
            case["url"],
            case["headers"],
            case["body"].encode(),
        )
        for case in _file(dialect)["request"]
    ]


def answers(dialect: str) -> list[AnswerCase]:
    """The answers, in the order of the file."""
    return [
        AnswerCase(
            case["name"],
            case.get("settings", {}),
            Response(case["status"], case.get("headers", {}), case["body"].encode()),
            _verdict(**case["verdict"]),
        )
        for case in _file(dialect)["answer"]
    ]


def _verdict(fate: str, category: str | None = None, scope: str = "message", **rest: Any) -> Verdict:
    return Verdict(Fate(fate), None if category is None else Category(category), Scope(scope), **rest)
