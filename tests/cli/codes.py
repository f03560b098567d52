"""The topic `codes` (smsd help codes), printed from the providers' tables: python -m tests.cli.codes writes it anew.

The commands must start without the adapters, so they read a text. What a code means to smsd stands in the adapters'
tables; what it means to the provider stands in meanings.toml, for all of them and for no others.
"""

from __future__ import annotations

import sys
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from smsd.cli.help import TOPICS
from smsd.core.receipt import ReceiptReading
from smsd.core.units import duration_text
from smsd.core.verdict import Category, Fate, Scope
from smsd.providers import TYPES
from smsd.providers.readings import BY_STATUS, Reading

FILE = TOPICS / "codes.txt"
MEANINGS = Path(__file__).with_name("meanings.toml")
WIDTH = 78
CATEGORIES = [*Category]

HEAD = """\
What the codes of the providers mean, and what smsd does

The code in an answer counts before its HTTP status. [retry.codes.TYPE] says
otherwise for single codes (smsd help retry). "The provider is halted" and
"rests": its messages wait, or go by another one (smsd help routing).
"""

RECEIPTS = """\
In delivery receipts ([retry.codes.{kind}] says otherwise for single ones):
"""

OWN_STATUSES = "Its HTTP statuses, where neither a code nor its words say more:\n"

FAILED = "An answer that says the message has failed already:\n"

STATUSES = """\
Answers without a code that stands above, by their HTTP status

A code in no table is logged loudly: tell us, or say in [retry.codes.TYPE]
what it means.
"""

DOES: Mapping[tuple[Category, Scope], str] = {
    (Category.RATE_LIMITED, Scope.PROVIDER): "the provider rests; costs no attempt",
    (Category.RATE_LIMITED, Scope.SENDER): "this sender rests here; costs no attempt",
    (Category.RATE_LIMITED, Scope.RECIPIENT): "this sender and recipient rest here; costs no attempt",
    (Category.AUTH_FAILED, Scope.PROVIDER): "the provider is halted",
    (Category.CONFIG_ERROR, Scope.PROVIDER): "the provider is halted",
    (Category.CONFIG_ERROR, Scope.SENDER): "the message fails if it named the sender; else the provider is halted",
    (Category.OPTED_OUT, Scope.RECIPIENT): "the message fails, the number is suppressed",
}
BY_FATE: Mapping[Fate, str] = {
    Fate.DEFER: "tried again, by the next provider first",
    Fate.REFUSE: "the message fails",
    Fate.UNKNOWN: "it may have been taken: asked first (smsd help uncertain)",
}


def document() -> str:
    """The whole topic."""
    meanings = tomllib.loads(MEANINGS.read_text())
    parts = [HEAD]
    for kind, adapter in TYPES.items():
        parts += _dialect(kind, adapter, meanings.get(kind, {}))
    parts.append(STATUSES)
    parts += _groups({str(status): _does(reading) for status, reading in BY_STATUS.items()}, _STATUS)
    return "\n".join(parts)


def _dialect(kind: str, adapter: type[Any], listed: Mapping[str, Any]) -> Iterator[str]:
    """One type's tables, if it has any. `listed`: its section of meanings.toml, where codes of receipts that mean
    something else than those of answers have a section of their own, and so have HTTP statuses."""
    module = import_module(adapter.__module__)
    codes = cast(Mapping[str, Reading], getattr(module, "CODES", {}))
    receipts = cast(Mapping[str, ReceiptReading], getattr(module, "RECEIPTS", {}))
    failed = cast(Mapping[str, Reading], getattr(module, "FAILED", {}))
    statuses = cast(Mapping[int, Reading], getattr(module, "STATUSES", {}))
    if not (codes or receipts or listed):
        return
    words = _words({code: said for code, said in listed.items() if code not in {"note", "receipts", "statuses"}})
    of_receipts = {**words, **_words(listed.get("receipts", {}))}
    _must_agree(kind, {*words, *of_receipts}, {*codes, *failed, *receipts})
    yield "\n".join([kind, *textwrap.wrap(listed.get("note", ""), WIDTH)]) + "\n"
    yield from _groups({code: _does(reading, adapter.lookup) for code, reading in codes.items()}, words)
    if statuses:
        yield OWN_STATUSES
        of_statuses = {**_STATUS, **listed.get("statuses", {})}
        yield from _groups(
            {str(each): _does(reading, adapter.lookup) for each, reading in statuses.items()}, of_statuses
        )
    if failed:
        yield FAILED
        yield from _groups({code: _does(reading, adapter.lookup) for code, reading in failed.items()}, of_receipts)
    if receipts:
        yield RECEIPTS.format(kind=kind)
        yield from _groups({code: _follows(reading) for code, reading in receipts.items()}, of_receipts)


_STATUS: Mapping[str, str] = {
    "400": "the request is refused",
    "401": "not authorised",
    "402": "no funds",
    "403": "refused; RATE_LIMITED when the answer speaks of a rate limit",
    "404": "the URL is wrong",
    "405": "the URL is wrong",
    "407": "a proxy wants credentials",
    "408": "the request came too slowly",
    "409": "conflict",
    "413": "too large",
    "425": "too early",
    "429": "too fast",
    "500": "internal error",
    "501": "not implemented",
    "502": "no answer behind a gateway",
    "503": "not available",
    "504": "no answer in time behind a gateway",
}


def _words(listed: Mapping[str, str]) -> dict[str, str]:
    """Code -> meaning; `a-b` stands for all from a to b."""
    words: dict[str, str] = {}
    for code, meaning in listed.items():
        first, _, last = code.partition("-")
        if last.isdigit():
            words |= {str(each): meaning for each in range(int(first), int(last) + 1)}
        else:
            words[code] = meaning
    return words


def _must_agree(kind: str, words: set[str], codes: set[str]) -> None:
    missing, stale = codes - words, words - codes
    if missing or stale:
        raise AssertionError(f"meanings.toml, [{kind}]: missing {sorted(missing)}, in no table {sorted(stale)}")


def _does(reading: Reading, lookup: str = "") -> tuple[int, str]:
    """What smsd does about it, and where that stands in the order. `lookup`: the dialect's."""
    does = DOES.get((reading.category, reading.scope)) if reading.fate is not Fate.UNKNOWN else None
    wait = f"; waits {duration_text(reading.wait_ms)}" if reading.wait_ms is not None else ""
    scope = "" if reading.scope is Scope.MESSAGE else f" ({reading.scope})"
    if reading.fate is Fate.UNKNOWN and lookup == "none":
        does = "it may have been taken, and nobody can be asked: on_uncertain decides"
    text = f"{reading.category}{scope}: {does or BY_FATE[reading.fate]}{wait}"
    return CATEGORIES.index(reading.category), text


def _follows(reading: ReceiptReading) -> tuple[int, str]:
    match reading.action:
        case "resend":
            waits = ", ".join(duration_text(each) for each in reading.delays_ms)
            does = f"sent again after {waits}; at most {reading.max_attempts} calls"
        case "halt":
            does = "the provider is halted"
        case "suppress":
            does = "undelivered, the number is suppressed"
        case "final":
            does = "undelivered"
    return CATEGORIES.index(reading.category), f"{reading.category}: {does}"


def _groups(codes: Mapping[str, tuple[int, str]], words: Mapping[str, str]) -> Iterator[str]:
    """What smsd does, and under it the codes about which it does that."""
    for _, does in sorted(set(codes.values())):
        width = max(len(label) for label, _ in _rows([c for c in codes if codes[c][1] == does], words))
        lines = textwrap.wrap(does, WIDTH - 2, initial_indent="  ", subsequent_indent="    ")
        for label, meaning in _rows([c for c in codes if codes[c][1] == does], words):
            margin = " " * (width + 6)
            lines += textwrap.wrap(f"    {label:{width}}  {meaning}", WIDTH, subsequent_indent=margin)
        yield "\n".join(lines) + "\n"


def _rows(codes: Iterable[str], words: Mapping[str, str]) -> list[tuple[str, str]]:
    """(code, or codes in a row that mean the same; meaning)."""
    rows: list[tuple[str, str, str]] = []
    for code in sorted(codes, key=lambda each: (len(each) if each.isdigit() else 0, each)):
        first, last, meaning = rows[-1] if rows else ("", "", "")
        if meaning == words[code] and last.isdigit() and code.isdigit() and int(code) == int(last) + 1:
            rows[-1] = (first, code, meaning)
        else:
            rows.append((code, code, words[code]))
    return [(first if first == last else f"{first}-{last}", meaning) for first, last, meaning in rows]


if __name__ == "__main__":
    FILE.write_text(document())
    sys.exit(0)
