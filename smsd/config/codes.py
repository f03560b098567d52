"""What does `[retry.codes.TYPE]` say about a provider's codes?

Each line becomes a CodeRule, and those of one type its CodeBook, for every provider of that type. It counts for answers
to calls and for delivery receipts alike. A line that contradicts itself or can never count is a fault: whoever wrote it
would wait for what it promises. One that counts for nothing as things stand (attempts that nobody has, the scope of a
receipt) is a warning. Which line counts, and what follows from it, is known to `core.codes` and `core.receipt`.

Some codes and categories come in receipts alone. There a message was taken and has ended: a line without a fate changes
waits and attempts only where the dialect's table sends it again, and a throttle is a call like any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

from smsd.config.tables import Table
from smsd.core.codes import CodeBook, CodeRule
from smsd.core.receipt import ReceiptReading
from smsd.core.verdict import Category, Scope
from smsd.providers import TYPES, messagebird, twilio

MAX_CODE: Final = 64

FATES: Final = ("retry", "fail", "throttle", "halt", "suppress")
"""What may follow from an answer; the empty text, as the dialect's table says."""

CLASSES: Final = ("http_4xx", "http_5xx", "default")

ANSWERS: Final = tuple(
    category
    for category in Category
    if category
    not in {Category.UNDELIVERED, Category.LIMIT_EXCEEDED, Category.EXHAUSTED, Category.EXPIRED, Category.UNCERTAIN}
)
"""What the answer to a call can be; the others come from receipts or from smsd itself."""

RECEIVED: Final = (Category.UNDELIVERED, Category.EXPIRED)
"""What only a receipt says: that it did not arrive, or not in time. Receipts have those of answers too."""

_IN_DOUBT: Final = (
    "counts for nothing: whether the message was taken is found out first, and then on_uncertain decides; "
    "remove it, or write a line for the provider's code"
)

_CATEGORIES: Final = frozenset(category.value for category in Category)
_CAPITALS: Final = re.compile(r"[A-Z_]+")
_LIKE_A_CLASS: Final = re.compile(r"(http[ _-]?)?[1-5](xx|\dx)", re.IGNORECASE)


def _without(received: Mapping[str, ReceiptReading], *answered: Mapping[str, object]) -> Mapping[str, ReceiptReading]:
    known = frozenset[str]().union(*answered)
    return MappingProxyType({code: reading for code, reading in received.items() if code not in known})


IN_RECEIPTS: Final[Mapping[str, Mapping[str, ReceiptReading]]] = MappingProxyType(
    {
        twilio.Twilio.type: _without(twilio.RECEIPTS, twilio.CODES),
        messagebird.MessageBird.type: _without(messagebird.RECEIPTS, messagebird.CODES, messagebird.FAILED),
    }
)
"""Type -> codes that its provider says in delivery receipts and never in the answer to a call, and what they mean.
Dialpad's receipts use the words of its answers; what a described gateway's codes mean its own section says."""

_ENDED: Final = "the message has ended and is not sent again"

_NOT_AGAIN: Final[Mapping[str, tuple[tuple[str, ...], str]]] = MappingProxyType(
    {
        "fail": (("max_attempts", "delays"), _ENDED),
        "suppress": (("max_attempts", "delays"), _ENDED),
        "halt": (("max_attempts", "delays"), _ENDED),
    }
)
"""As _WITHOUT, of a receipt."""

_AGAIN: Final = frozenset({"retry", "throttle"})

_BY_ACTION: Final[Mapping[str, str]] = MappingProxyType({"final": "fail", "halt": "halt", "suppress": "suppress"})
"""What a dialect's table does at a receipt -> the fate that is the same."""

_WITHOUT: Final[Mapping[str, tuple[tuple[str, ...], str]]] = MappingProxyType(
    {
        "fail": (("max_attempts", "delays"), "the message fails at once"),
        "suppress": (("max_attempts", "delays"), "the message fails at once"),
        "halt": (("max_attempts", "delays"), "the provider halts until it is resumed, and its messages wait with it"),
        "throttle": (("max_attempts",), "a throttle costs no attempt"),
    }
)
"""Fate -> keys that cannot count beside it, and why."""

_FATES: Final[Mapping[str, str]] = MappingProxyType(
    {
        Category.RATE_LIMITED: "throttle",
        Category.INVALID_RECIPIENT: "fail",
        Category.OPTED_OUT: "fail",
        Category.REJECTED: "fail",
    }
)
"""Category -> its fate where a line says none. The others' depends on the answer or on the provider's settings."""

_SCOPES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "throttle": ("provider", "sender", "recipient"),
        "halt": ("provider",),
        "suppress": ("recipient",),
    }
)
"""Fate -> the scopes it can have; those not named can have any."""


def code_books(table: Table, most: int) -> Mapping[str, CodeBook]:
    """`[retry.codes]`: by provider type. `most`: the attempts that `[retry]` and its profiles grant at most."""
    books: dict[str, CodeBook] = {}
    for name, section in table.tables():
        if name not in TYPES:
            table.fault(name, f"is not a provider type; write one of {', '.join(TYPES)}")
        books[name] = _book(section, most, IN_RECEIPTS.get(name, {}))
    return MappingProxyType(books)


def _book(table: Table, most: int, received: Mapping[str, ReceiptReading]) -> CodeBook:
    codes: dict[str, CodeRule] = {}
    categories: dict[Category, CodeRule] = {}
    classes: dict[str, CodeRule] = {}
    for key, section in table.tables():
        if not isinstance(table.raw(key), dict):
            continue  # noted
        rule = _rule(section, most)
        if key in received or key in RECEIVED:
            _agrees_with_receipt(section, rule, received.get(key))
        else:
            _agrees(section, rule, _WITHOUT, _FATES.get(key, ""))
        if key in CLASSES:
            classes[key] = rule
        elif key in ANSWERS or key in RECEIVED:
            categories[Category(key)] = rule
        else:
            _is_code(table, key)
            codes[key] = rule
        for each in ("fate", "scope"):
            if key == Category.TIMEOUT and section.has(each):
                section.fault(each, _IN_DOUBT)
    return CodeBook(codes, categories, classes.get("http_4xx"), classes.get("http_5xx"), classes.get("default"))


def _is_code(table: Table, key: str) -> None:
    """Note a key that can be no provider's code, or is surely meant to be something else."""
    known = ", ".join((*ANSWERS, *RECEIVED))
    if key in _CATEGORIES:
        table.fault(key, f"is said by smsd itself, never by a provider; a category here is one of {known}")
    elif key.lower().startswith("http_") or _LIKE_A_CLASS.fullmatch(key):
        table.fault(key, "is no class of answers; write http_4xx, http_5xx, a category or a provider's code")
    elif _CAPITALS.fullmatch(key) and (near := get_close_matches(key, (*ANSWERS, *RECEIVED), n=1, cutoff=0.85)):
        table.fault(key, f"is not a category; did you mean `{near[0]}`?")
    elif not (key.strip() and key.isprintable() and len(key) <= MAX_CODE):
        table.fault(key, f"is no provider's code; write at most {MAX_CODE} printable characters")


def _rule(table: Table, most: int) -> CodeRule:
    """One line."""
    before = len(table.report.faults)
    fate = table.choice("fate", "", FATES) if table.has("fate") else ""
    scope = table.choice("scope", Scope.MESSAGE.value, tuple(Scope)) if table.has("scope") else None
    rule = CodeRule(
        fate=fate,
        scope=None if scope is None else Scope(scope),
        max_attempts=table.integer("max_attempts", 1, 1, 20) if table.has("max_attempts") else None,
        delays_ms=table.durations("delays"),
    )
    for each in ("fate", "scope", "max_attempts"):
        table.ask(each)
    if rule == CodeRule() and len(table.report.faults) == before:
        table.fault("fate", f"missing, and nothing else is said; write one of {', '.join(FATES)}, or remove the line")
    if rule.max_attempts is not None and rule.max_attempts > most:
        text = f"is more than the {most} that [retry] and its profiles grant, and a line only ever lowers that"
        table.warn("max_attempts", f"{text}; it counts only for messages that ask for more themselves")
    table.done()
    return rule


def _agrees(table: Table, rule: CodeRule, without: Mapping[str, tuple[tuple[str, ...], str]], usual: str) -> None:
    """Note what a fate excludes, the line's own or the one that comes without a word of it (`usual`, if it is always
    the same)."""
    excluded, why = without.get(rule.fate or usual, ((), ""))
    for key in excluded:
        if not table.has(key):
            continue
        if rule.fate:
            table.fault(key, f'contradicts fate = "{rule.fate}": {why}; remove one or the other')
        else:
            table.fault(key, f'counts for nothing: {why}; remove it, or add fate = "retry"')
    scopes = _SCOPES.get(rule.fate)
    if scopes is not None and rule.scope is not None and rule.scope not in scopes:
        table.fault("scope", f'of fate = "{rule.fate}" must be {" or ".join(scopes)}; got {rule.scope.value!r}')


def _agrees_with_receipt(table: Table, rule: CodeRule, known: ReceiptReading | None) -> None:
    """`_agrees`, of a line that counts in receipts alone; `known`: what the dialect's table says."""
    _agrees(table, rule, _NOT_AGAIN, "" if known is None else _BY_ACTION.get(known.action, ""))
    if rule.scope is not None:
        table.warn("scope", "counts for nothing in a delivery receipt, which is about its message alone")
    if rule.max_attempts == 1 and rule.fate in _AGAIN:
        table.fault("max_attempts", f'contradicts fate = "{rule.fate}": the first call counts; write 2 or more')
