"""How does a configuration say what a delivery report means?

`reports` names the places of its values and the provider's words for each status; `reports.codes` what a code means
where a message did not arrive. All is judged at the start. What follows from a report is not decided here.

Whose message it is about: our id, at `reference` or in the callback URL that went out with the message (then the
attempt too); the gateway's id, at `id`; or both. The URL's mark counts only where the request brings one report, for
one that brings several was called at one message's URL with other messages' reports.

A status that stands in no list is a fault that is told, not a guess. Read as "sent" it would hide that a new word means
"lost"; passed over in silence it would leave messages waiting for a receipt that has come. So what else the request
brings is kept, the request itself is answered as unreadable, and the provider brings it again once the list is mended.
Who would rather not be asked says so: `ignored = ["read"]`, or `queued = ["*"]` for every other word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final, get_args

from smsd.core.receipt import Action, ReceiptReading, Status
from smsd.core.units import MINUTE, duration_ms
from smsd.core.verdict import Category
from smsd.providers.base import HookUnreadableError, Report
from smsd.providers.forms import instant_of, mark_of
from smsd.providers.http.answers import Path, an_id, choice, path, table, texts
from smsd.providers.http.faults import gathered, judged
from smsd.providers.http.places import Entry, Place, conditions, place
from smsd.providers.readings import MAX_CODE, as_id, as_price, plain

OTHERS: Final = "*"
"""Stands in a list of statuses for every word that is in none."""

IGNORED: Final = "ignored"

MAX_REFERENCE: Final = 64
"""Characters of our message id; ours have 36."""

_STATUSES: Final[Mapping[str, Status | None]] = MappingProxyType(
    {**{status.name.lower(): status for status in Status}, IGNORED: None}
)
_PLACES: Final = ("status", "id", "reference", "attempt", "code", "words", "price", "currency", "at")
_KEYS: Final = frozenset({"items", "when", "statuses", "codes", *_PLACES})
_SHOWN: Final = re.compile(r"[A-Za-z][A-Za-z_-]{0,31}|[0-9]{1,4}")
"""What may be shown of a status: what can be neither a phone number nor a sentence."""

_ATTEMPT: Final = re.compile(r"[0-9]{1,6}")

_CATEGORIES: Final = frozenset(
    {
        *(Category.RATE_LIMITED, Category.AUTH_FAILED, Category.CONFIG_ERROR, Category.PROVIDER_ERROR),
        *(Category.INVALID_RECIPIENT, Category.OPTED_OUT, Category.REJECTED, Category.UNDELIVERED, Category.EXPIRED),
    }
)
"""Why a message that was taken did not arrive."""

_USUAL: Final[Mapping[Category, Action]] = MappingProxyType(
    {Category.OPTED_OUT: "suppress", Category.AUTH_FAILED: "halt"}
)
"""What follows unless the line says otherwise; of all others "final": sent again, it might arrive twice."""

DELAYS_MS: Final = (2 * MINUTE,)
CALLS: Final = 2
"""Of a code that is sent again, unless its line says otherwise."""


@dataclass(frozen=True, slots=True)
class Reports:
    """`reports`, read once."""

    items: Path
    when: Mapping[Place, frozenset[str]]
    places: Mapping[str, Place]
    statuses: Mapping[str, Status | None]
    """By the provider's word, folded; None: it is about nothing."""
    codes: Mapping[str, ReceiptReading]

    def read(self, entry: Entry) -> Report | None:
        """What it says; None: nothing that is to be kept. Raises HookUnreadableError."""
        status = self._status(entry.needed(self.places["status"]))
        if status is None:
            return None
        theirs, ours = an_id(self._text(entry, "id")), self._ours(entry)
        if theirs is None and ours[0] is None:
            raise HookUnreadableError("no id stands where reports.id, reports.reference or the callback URL has one")
        return Report(
            status,
            theirs,
            *ours,
            code=_code(self._text(entry, "code")),
            words=plain(self._text(entry, "words") or ""),
            at=instant_of(self._text(entry, "at")),
            price=self._price(entry),
        )

    def _text(self, entry: Entry, name: str) -> str | None:
        return entry.text(self.places.get(name))

    def _status(self, word: str) -> Status | None:
        for listed in (word.strip().casefold(), OTHERS):
            if listed in self.statuses:
                return self.statuses[listed]
        shown = f'"{word}"' if _SHOWN.fullmatch(word) else "that is not shown"
        raise HookUnreadableError(f"a status {shown} stands in no list of reports.statuses; add it to one")

    def _ours(self, entry: Entry) -> tuple[str | None, int | None]:
        """Our id and the attempt: what the report itself says, else what its URL does."""
        marked, by_mark = mark_of(entry.hook) if entry.alone else (None, None)
        id = as_id(self._text(entry, "reference"), MAX_REFERENCE)
        if id is None:
            return marked, by_mark
        attempt = self._text(entry, "attempt") or ""
        if _ATTEMPT.fullmatch(attempt):
            return id, int(attempt)
        return id, by_mark if id == marked else None

    def _price(self, entry: Entry) -> str | None:
        amount = entry.price(self.places.get("price"))
        if "currency" not in self.places:
            return amount
        currency = self._text(entry, "currency")
        return as_price(amount, None if currency is None else currency.upper())


def _code(text: str | None) -> str | None:
    """None too for "0" and "000", which say that there was no error."""
    code = "" if text is None else plain(text)
    return code if code.strip("0") and len(code) <= MAX_CODE else None


def reports_of(key: str, value: object) -> Reports:
    """Raises SettingsError, naming keys, for what could not be read."""
    given = table(key, value, _KEYS)
    readers = (_places, _items, _when, _statuses, _codes)
    gathered(*(partial(reader, key, given) for reader in readers))
    found = Reports(
        _items(key, given), _when(key, given), _places(key, given), _statuses(key, given), _codes(key, given)
    )
    judged((f"{key}.{name}", message) for name, message in _lacking(found))
    return found


def _lacking(found: Reports) -> Iterator[tuple[str, str]]:
    if "attempt" in found.places and "reference" not in found.places:
        yield "attempt", "goes with reference, whose attempt it is; set both or remove it"
    if "currency" in found.places and "price" not in found.places:
        yield "currency", "goes with price; set both or remove it"
    if found.codes and "code" not in found.places:
        yield "code", "missing; codes need to know where it stands"


def _places(key: str, given: Mapping[str, object]) -> Mapping[str, Place]:
    if "status" not in given:
        raise ValueError(f'{key}.status: missing; say where the status stands, such as "data.status"')
    named = [name for name in _PLACES if name in given]
    gathered(*(partial(place, f"{key}.{name}", given[name]) for name in named))
    return MappingProxyType({name: place(f"{key}.{name}", given[name]) for name in named})


def _items(key: str, given: Mapping[str, object]) -> Path:
    return path(f"{key}.items", given.get("items", ""))


def _when(key: str, given: Mapping[str, object]) -> Mapping[Place, frozenset[str]]:
    return conditions(f"{key}.when", given["when"]) if "when" in given else {}


def _statuses(key: str, given: Mapping[str, object]) -> Mapping[str, Status | None]:
    key = f"{key}.statuses"
    known = frozenset(_STATUSES)
    said = table(key, given.get("statuses", {}), known)
    gathered(*(partial(texts, f"{key}.{name}", words) for name, words in said.items()))
    found: dict[str, Status | None] = {}
    for name, words in said.items():
        for word in texts(f"{key}.{name}", words):
            if found.setdefault(word.casefold(), _STATUSES[name]) is not _STATUSES[name]:
                raise ValueError(f"{key}.{name}: {word!r} stands in another list too; keep one")
    if not {Status.DELIVERED, Status.UNDELIVERED} & set(found.values()):
        raise ValueError(
            f'{key}: names no word for the end of a message; write {{delivered = ["DELIVERED"], undelivered = ["..."]}}'
        )
    return MappingProxyType(found)


def _codes(key: str, given: Mapping[str, object]) -> Mapping[str, ReceiptReading]:
    key, lines = f"{key}.codes", given.get("codes", ())
    if not isinstance(lines, Sequence) or isinstance(lines, str):
        raise ValueError(f'{key}: must be a list such as [{{code = "27", category = "INVALID_RECIPIENT"}}]')
    gathered(*(partial(_line, f"{key}.{n}", line) for n, line in enumerate(lines)))
    found: dict[str, ReceiptReading] = {}
    for n, line in enumerate(lines):
        codes, reading = _line(f"{key}.{n}", line)
        for code in codes:
            if code in found:
                raise ValueError(f"{key}.{n}.code: {code!r} stands in another line too; keep one")
            found[code] = reading
    return MappingProxyType(found)


def _line(key: str, value: object) -> tuple[frozenset[str], ReceiptReading]:
    given = table(key, value, frozenset({"code", "category", "action", "delays", "max_attempts"}))
    if "code" not in given:
        raise ValueError(f"{key}.code: missing; which codes is it about?")
    codes = texts(f"{key}.code", given["code"])
    if unread := sorted(code for code in codes if _code(code) != code):
        raise ValueError(
            f"{key}.code: {unread[0]!r} is never read as a code; write at most {MAX_CODE} characters, and not 0"
        )
    category = Category(choice(f"{key}.category", given.get("category"), {each.value for each in _CATEGORIES}))
    action = _action(f"{key}.action", given.get("action", _USUAL.get(category, "final")))
    if action != "resend":
        for name in ("delays", "max_attempts"):
            if name in given:
                raise ValueError(f'{key}.{name}: goes with action = "resend" alone; remove it')
        return codes, ReceiptReading(category, action)
    delays = _delays(f"{key}.delays", given["delays"]) if "delays" in given else DELAYS_MS
    return codes, ReceiptReading(
        category, action, delays, _calls(f"{key}.max_attempts", given.get("max_attempts", CALLS))
    )


def _action(key: str, value: object) -> Action:
    for action in _ACTIONS:
        if value == action:
            return action
    raise ValueError(f"{key}: must be one of {', '.join(_ACTIONS)}")


_ACTIONS: Final[tuple[Action, ...]] = get_args(Action)


def _delays(key: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ValueError(f'{key}: must be a list of durations such as ["60s", "120s"]')
    return tuple(_delay(key, each) for each in value)


def _delay(key: str, value: object) -> int:
    try:
        found = duration_ms(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
    if not found:
        raise ValueError(f"{key}: must be more than zero")
    return found


def _calls(key: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 2 <= value <= 20:
        raise ValueError(f"{key}: must be a whole number from 2 to 20, the first call included")
    return value
