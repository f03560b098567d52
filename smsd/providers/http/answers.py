"""How does a configuration say what an answer means?

Conditions on status, code, words and places in JSON, read once at the start; what they hold of an answer is a plain
question. Paths go through JSON by dots ("data.0.id"; a number is a place in a list; a key that itself holds a dot
cannot be named). Which conditions mean acceptance, refusal or presence is said by those who own them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from smsd.core.units import duration_ms
from smsd.core.verdict import Category, Fate, Scope
from smsd.providers.base import Response
from smsd.providers.http.faults import gathered
from smsd.providers.http.patterns import pattern, words_of
from smsd.providers.readings import Reading

_CLASS = re.compile(r"([1-5])xx")
_NO_PATH = re.compile(r"[\s\[\]$*/]")
_ID = re.compile(r"[!-~]{1,128}")
_PRICE = re.compile(r"-?[0-9]{1,9}(?:\.[0-9]{1,9})?(?: ?[A-Za-z]{3})?")

Path = tuple[str, ...]


def path(key: str, text: object) -> Path:
    """Raises ValueError, naming the key, for what is no dotted path. An empty text is an empty path."""
    if not isinstance(text, str):
        raise ValueError(f'{key}: must be a path such as "data.0.id"')
    parts = tuple(text.split(".")) if text else ()
    if _NO_PATH.search(text):
        raise ValueError(f"{key}: dots alone lead through JSON, without brackets, $, *, / and spaces; write data.0.id")
    if not all(parts):
        raise ValueError(f'{key}: has an empty part; write a path such as "data.0.id"')
    return parts


def at(answer: object, where: Path) -> object:
    """What stands there; None when nothing does."""
    for part in where:
        if isinstance(answer, dict):
            answer = answer.get(part)
        elif isinstance(answer, list) and part.isascii() and part.isdigit() and len(part) < 6:
            answer = answer[int(part)] if int(part) < len(answer) else None
        else:
            return None
    return answer


def holds_at(answer: object, where: Path) -> bool:
    """Whether a plain value stands there, which null is and a list or a table is not."""
    inner = at(answer, where[:-1])
    if isinstance(inner, dict):
        return where[-1] in inner and not isinstance(inner[where[-1]], dict | list)
    return text_at(answer, where) is not None


def text_at(answer: object, where: Path) -> str | None:
    """What stands there as text; None for nothing, an empty text, a list and a table. An empty path holds nothing."""
    value = at(answer, where) if where else None
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value or None
        case int() | float():
            return str(value) if abs(value) < 2**64 else None
        case _:
            return None


def id_at(answer: object, where: Path) -> str | None:
    """The provider's id that stands there; None for what can be none."""
    return an_id(text_at(answer, where))


def an_id(text: str | None) -> str | None:
    """The text if it can be an id: 1 to 128 visible ASCII characters. Else None."""
    return text if text is not None and _ID.fullmatch(text) else None


def price_at(answer: object, where: Path) -> str | None:
    """The price that stands there: a number, and a currency of three letters if it names one; None for all else."""
    value = at(answer, where)
    if isinstance(value, float) and abs(value) < 10**9:
        value = f"{value:.9f}".rstrip("0").rstrip(".")
    else:
        value = text_at(answer, where)
    return price_of(value)


def price_of(text: str | None) -> str | None:
    """The text if it is a price: a number, and a currency of three letters if it names one. Else None."""
    return text.upper() if text is not None and _PRICE.fullmatch(text) else None


def table(key: str, value: object, known: frozenset[str]) -> Mapping[str, object]:
    """A table with no other keys than these. Raises ValueError, naming the key."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{key}: must be a table such as {{{min(known)} = ...}}")
    for name in value:
        if name not in known:
            raise ValueError(f"{key}.{name}: unknown; the keys are {', '.join(sorted(known))}")
    return value


def statuses(key: str, value: object) -> frozenset[int]:
    """404, "4xx" or a list of such. Raises ValueError, naming the key."""
    found: set[int] = set()
    for each in value if isinstance(value, Sequence) and not isinstance(value, str) else [value]:
        family = _CLASS.fullmatch(each) if isinstance(each, str) else None
        if family is not None:
            found.update(range(int(family[1]) * 100, int(family[1]) * 100 + 100))
        elif isinstance(each, int) and not isinstance(each, bool) and 100 <= each <= 599:
            found.add(each)
        else:
            raise ValueError(f'{key}: must be an HTTP status such as 429, "4xx", or a list of them')
    if not found:
        raise ValueError(f"{key}: is empty; name a status or leave it out")
    return frozenset(found)


def texts(key: str, value: object) -> frozenset[str]:
    """Texts and whole numbers, one or a list, as texts. Raises ValueError, naming the key."""
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    found = {_text(key, each) for each in items}
    if not found:
        raise ValueError(f"{key}: is empty; name a value or leave it out")
    return frozenset(found)


def _text(key: str, value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str() if value:
            return value
        case _:
            raise ValueError(f"{key}: must be a text or a whole number, or a list of them")


@dataclass(frozen=True, slots=True)
class Success:
    """What an accepted answer looks like: all that is set holds."""

    statuses: frozenset[int]
    match: re.Pattern[str] | None
    path: Path
    equals: frozenset[str]

    def holds(self, response: Response, answer: object) -> bool:
        """Whether it does of this answer."""
        if response.status not in self.statuses or (self.path and text_at(answer, self.path) not in self.equals):
            return False
        return self.match is None or self.match.search(words_of(response)) is not None

    @property
    def looks_inside(self) -> bool:
        """Whether more than the status counts."""
        return self.match is not None or bool(self.path)


TAKEN = frozenset({*range(200, 300), 409})
"""Statuses that can mean acceptance. 409: where it says that it has this key already."""


def success_of(key: str, value: object) -> Success:
    """{status = [200, 201, 202], match = "...", path = "...", equals = "..."}. Raises ValueError, naming the key."""
    given = table(key, value, frozenset({"status", "match", "path", "equals"}))
    found = statuses(f"{key}.status", given.get("status", [200, 201, 202]))
    if found - TAKEN:
        raise ValueError(f"{key}.status: only 2xx and 409 can mean that a message was taken")
    if ("path" in given) != ("equals" in given):
        raise ValueError(f"{key}.path: goes with equals; set both or neither")
    match = pattern(f"{key}.match", given["match"]) if "match" in given else None
    where = path(f"{key}.path", given["path"]) if "path" in given else ()
    return Success(found, match, where, texts(f"{key}.equals", given["equals"]) if where else frozenset())


_USUAL: Mapping[Category, tuple[Scope, Fate]] = MappingProxyType(
    {
        Category.RATE_LIMITED: (Scope.PROVIDER, Fate.DEFER),
        Category.AUTH_FAILED: (Scope.PROVIDER, Fate.DEFER),
        Category.CONFIG_ERROR: (Scope.PROVIDER, Fate.DEFER),
        Category.PROVIDER_ERROR: (Scope.MESSAGE, Fate.DEFER),
        Category.TIMEOUT: (Scope.MESSAGE, Fate.UNKNOWN),
        Category.INVALID_RECIPIENT: (Scope.RECIPIENT, Fate.REFUSE),
        Category.OPTED_OUT: (Scope.RECIPIENT, Fate.REFUSE),
        Category.REJECTED: (Scope.MESSAGE, Fate.REFUSE),
    }
)
"""What an answer can mean, and what follows unless the rule says otherwise."""

_SCOPES: Mapping[Category, frozenset[Scope]] = MappingProxyType(
    {
        Category.RATE_LIMITED: frozenset({Scope.PROVIDER, Scope.SENDER, Scope.RECIPIENT}),
        Category.CONFIG_ERROR: frozenset({Scope.PROVIDER, Scope.SENDER, Scope.MESSAGE}),
    }
)
"""Scopes of the categories that have more than their usual one."""


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """One line of `errors`: all that is set holds."""

    statuses: frozenset[int]
    codes: frozenset[str]
    match: re.Pattern[str] | None
    reading: Reading

    def holds(self, response: Response, code: str | None) -> bool:
        """Whether it does of this answer, whose error has this code."""
        if (self.statuses and response.status not in self.statuses) or (self.codes and code not in self.codes):
            return False
        return self.match is None or self.match.search(words_of(response)) is not None


def error_rules(key: str, value: object) -> tuple[ErrorRule, ...]:
    """The list `errors`. Raises ValueError, naming the key; SettingsError with the faults of all its lines."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f'{key}: must be a list such as [{{status = 429, category = "RATE_LIMITED"}}]')
    gathered(*(partial(_error_rule, f"{key}.{n}", each) for n, each in enumerate(value)))
    return tuple(_error_rule(f"{key}.{n}", each) for n, each in enumerate(value))


def _error_rule(key: str, value: object) -> ErrorRule:
    given = table(key, value, frozenset({"status", "code", "match", "category", "scope", "fate", "wait"}))
    if not {"status", "code", "match"} & set(given):
        raise ValueError(f"{key}: names no answer; set status, code or match")
    return ErrorRule(
        statuses(f"{key}.status", given["status"]) if "status" in given else frozenset(),
        texts(f"{key}.code", given["code"]) if "code" in given else frozenset(),
        pattern(f"{key}.match", given["match"]) if "match" in given else None,
        _reading(key, given),
    )


def _reading(key: str, given: Mapping[str, object]) -> Reading:
    name = choice(f"{key}.category", given.get("category"), {category.value for category in _USUAL})
    category = Category(name)
    scope, fate = _USUAL[category]
    if "scope" in given:
        scopes = _SCOPES.get(category, frozenset({scope}))
        scope = Scope(choice(f"{key}.scope", given["scope"], {each.value for each in scopes}))
    if category is Category.CONFIG_ERROR and scope is not Scope.PROVIDER:
        fate = Fate.REFUSE
    if "fate" in given:
        fates = {fate.value, Fate.UNKNOWN.value} if category is Category.PROVIDER_ERROR else {fate.value}
        fate = Fate(choice(f"{key}.fate", given["fate"], fates))
    return Reading(category, scope, fate, _wait(f"{key}.wait", given["wait"], fate) if "wait" in given else None)


def choice(key: str, value: object, known: set[str]) -> str:
    """One of these texts. Raises ValueError, naming the key."""
    if not isinstance(value, str) or value not in known:
        said = "missing" if value is None else f"{value!r} does not go here"
        raise ValueError(f"{key}: {said}; write one of {', '.join(sorted(known))}")
    return value


def _wait(key: str, value: object, fate: Fate) -> int:
    if fate is not Fate.DEFER:
        raise ValueError(f"{key}: there is nothing to wait for, because this error is not tried again; remove it")
    try:
        return duration_ms(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
