"""What does this TOML table say, and what is wrong with it?

A strict reader: every key is asked for by name and kind, everything wrong is noted as a Fault with its path and remedy,
and reading goes on with the default, so that one run reports all faults. Keys nobody asked for are faults too. It knows
kinds (durations, sizes, secrets) and refuses to know what any key means; its neighbours do.

A secret's value is never part of a fault. Durations are returned in milliseconds, sizes in bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final, TypeVar

from smsd.config.sources import Secret, Sources
from smsd.core import units

T = TypeVar("T")
N = TypeVar("N", int, float)

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_SIZE: Final = re.compile(r"(\d{1,9})(B|KiB|MiB|GiB|TiB)")
_FACTORS: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with the configuration."""

    path: str
    """The key with its tables, as in `providers.main.rate`."""
    message: str
    """What is wrong and what to do."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class ConfigError(Exception):
    """The configuration cannot be used; a person must act. Holds every fault found."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


@dataclass(slots=True)
class Report:
    """What the reading of one file has found so far; shared by all its tables."""

    sources: Sources
    faults: list[Fault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """What is allowed and unwise."""
    literal_secrets: list[str] = field(default_factory=list)
    """Paths of the secrets that stand in the file itself."""


class Table:
    """One table of the file. Every reading method returns a usable value even when it notes a fault."""

    def __init__(self, values: Mapping[str, object], report: Report, path: str = "") -> None:
        self._values = values
        self._asked: set[str] = set()
        self.report = report
        self.path = path

    # -- faults

    def path_of(self, key: str) -> str:
        """The full path of a key of this table."""
        name = key_text(key)
        return f"{self.path}.{name}" if self.path else name

    def fault(self, key: str, message: str) -> None:
        """Note that something is wrong with a key."""
        self.report.faults.append(Fault(self.path_of(key), message))

    def warn(self, key: str, message: str) -> None:
        """Note that a key's value is allowed and unwise."""
        self.report.warnings.append(f"{self.path_of(key)}: {message}")

    def done(self, hints: Mapping[str, str] = MappingProxyType({})) -> None:
        """Note every key nobody asked for; `hints` says what some must be."""
        for key in self._values:
            if key in self._asked:
                continue
            if key in hints:
                self.fault(key, hints[key])
                continue
            near = get_close_matches(key, sorted(self._asked), n=1)
            known = ", ".join(sorted(self._asked))
            self.fault(key, f"unknown key; did you mean `{near[0]}`?" if near else f"unknown key; known here: {known}")

    # -- kinds

    def has(self, key: str) -> bool:
        """Whether the file sets the key."""
        return key in self._values

    def ask(self, key: str) -> None:
        """Make the key known without reading it."""
        self._asked.add(key)

    def raw(self, key: str) -> object | None:
        """The value as it stands, of whatever kind; absent: None."""
        self._asked.add(key)
        return self._values.get(key)

    def table(self, key: str) -> Table:
        """The table under a key; an empty one when it is absent."""
        value = self._take(key, dict, {}, "a table")
        return Table(value, self.report, self.path_of(key))

    def tables(self) -> Iterator[tuple[str, Table]]:
        """Every key of this table, each of which must be a table: `[providers.NAME]`."""
        for key in list(self._values):
            yield key, self.table(key)

    def items(self, key: str) -> Iterator[Table]:
        """The tables of a list, `[[http.tokens]]`; absent: none. In paths they are counted from 1."""
        name = self.path_of(key)
        for number, item in enumerate(self._take(key, list, [], f"sections headed [[{name}]]"), 1):
            if isinstance(item, dict):
                yield Table(item, self.report, f"{name}[{number}]")
            else:
                self.fault(key, f"must hold tables only, each headed [[{name}]]; got {_kind(item)}")

    def names(self) -> tuple[str, ...]:
        """Every key the file sets here, known or not."""
        return tuple(self._values)

    def boolean(self, key: str, default: bool) -> bool:
        """`true` or `false`."""
        return self._take(key, bool, default, "true or false")

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number within [low, high]."""
        return self._bounded(key, self._take(key, int, default, "a whole number"), default, low, high)

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A number within [low, high]."""
        value = self._take(key, (int, float), default, "a number")
        return self._bounded(key, float(value), default, low, high)

    def text(self, key: str, default: str) -> str:
        """A text without control characters; may be empty."""
        value = self._take(key, str, default, "a text in quotes")
        return self._clean(key, value, default)

    def choice(self, key: str, default: str, options: Collection[str]) -> str:
        """One of the options."""
        value = self.text(key, default)
        if value in options:
            return value
        self.fault(key, f"must be one of {', '.join(options)}; got {_shown(value)}")
        return default

    def texts(self, key: str) -> tuple[str, ...]:
        """A text or a list of texts; absent or empty: none."""
        value = self._take(key, (str, list), [], "a text or a list of texts")
        items = [value] if isinstance(value, str) else value
        if not all(isinstance(item, str) for item in items):
            self.fault(key, "must be a text or a list of texts")
            return ()
        return tuple(item for item in items if item)

    def choices(self, key: str, options: Collection[str]) -> frozenset[str]:
        """Some of the options; absent or empty: none."""
        found = self.texts(key)
        for text in found:
            if text not in options:
                self.fault(key, f"may hold {', '.join(options)}; got {_shown(text)}")
        return frozenset(found).intersection(options)

    def duration(self, key: str, default: int, low: int, high: int) -> int:
        """Milliseconds of a text such as "30s" or "1h30m", within [low, high]."""
        return self._converted(key, default, lambda text: _in_range(text, low, high), 'a duration such as "30s"')

    def durations(self, key: str) -> tuple[int, ...]:
        """A list of durations in milliseconds; absent: none. Each is more than zero."""
        value = self._take(key, list, [], 'a list of durations such as ["60s", "120s"]')
        found: list[int] = []
        for item in value:
            try:
                if not isinstance(item, str):
                    raise ValueError(f'must be a list of texts such as ["60s", "120s"]; it holds {_kind(item)}')
                found.append(_in_range(item, 1, 7 * 86_400_000))
            except ValueError as error:
                self.fault(key, str(error))
        return tuple(found)

    def size(self, key: str, default: int, low: int, high: int) -> int:
        """Bytes of a text such as "256MiB", within [low, high]."""

        def convert(text: str) -> int:
            match = _SIZE.fullmatch(text)
            if match is None:
                raise ValueError(f'{_shown(text)} is not a size; write a whole number and a unit, such as "256MiB"')
            value = int(match[1]) * _FACTORS[match[2]]
            if not low <= value <= high:
                raise ValueError(f"must be between {size_text(low)} and {size_text(high)}; got {_shown(text)}")
            return value

        return self._converted(key, default, convert, 'a size such as "256MiB"')

    def referred(self, key: str, default: str | None = None) -> str | None:
        """A text that may also stand elsewhere: {env}, {file}, {credential}. An empty one is a fault."""
        self._asked.add(key)
        if key not in self._values:
            return default
        value = self._values[key]
        try:
            if isinstance(value, dict):
                value = self.report.sources.fetch(value)
            if not isinstance(value, str):
                raise ValueError(f"must be a text in quotes or a reference such as {{env = ...}}; got {_kind(value)}")
            if not value.strip():
                raise ValueError("is empty; give it a value, or remove the key")
            if value != value.strip() or not value.isprintable():
                raise ValueError("holds spaces at an end, a line break or a control character; copy it again")
        except ValueError as error:
            self.fault(key, str(error))
            return default
        return value

    def secret(self, key: str) -> Secret | None:
        """As `referred`, and the value is never shown."""
        if isinstance(self._values.get(key), str):
            self.report.literal_secrets.append(self.path_of(key))
        value = self.referred(key)
        return None if value is None else Secret(value)

    def shares(self, key: str) -> dict[str, float]:
        """A table of numbers between 0 and 1; absent: empty."""
        value = self._take(key, dict, {}, "a table such as {NETWORK = 0.1}")
        found: dict[str, float] = {}
        for name, share in value.items():
            if isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 1:
                found[str(name)] = float(share)
            else:
                self.fault(key, f"`{name}` must be a share between 0 and 1; got {_kind(share)}")
        return found

    # -- within

    def _take(self, key: str, kinds: type[T] | tuple[type[T], ...], default: T, wanted: str) -> T:
        self._asked.add(key)
        value = self._values.get(key, default)
        if isinstance(value, kinds) and (kinds is bool or not isinstance(value, bool)):
            return value
        self.fault(key, f"must be {wanted}; got {_kind(value)}")
        return default

    def _bounded(self, key: str, value: N, default: N, low: N, high: N) -> N:
        if low <= value <= high:
            return value
        self.fault(key, f"must be between {low} and {high}; got {value}")
        return default

    def _clean(self, key: str, value: str, default: str) -> str:
        if value.isprintable():
            return value
        self.fault(key, "holds a line break or a control character; remove it")
        return default

    def _converted(self, key: str, default: int, convert: Callable[[str], int], wanted: str) -> int:
        self._asked.add(key)
        if key not in self._values:
            return default
        value = self._values[key]
        try:
            if not isinstance(value, str):
                raise ValueError(f"must be {wanted}, in quotes; got {_kind(value)}")
            return convert(value)
        except ValueError as error:
            self.fault(key, str(error))
            return default


def _in_range(text: str, low: int, high: int) -> int:
    value = units.duration_ms(text)
    if not low <= value <= high:
        bounds = f"{units.duration_text(low)} and {units.duration_text(high)}"
        raise ValueError(f"must be between {bounds}; got {_shown(text)}")
    return value


def key_text(key: str) -> str:
    """A key as TOML spells it: in quotes unless it is a bare one."""
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def size_text(size: int) -> str:
    """The size in the largest unit that divides it, as `Table.size` reads it."""
    unit = next(unit for unit in reversed(_FACTORS) if size % _FACTORS[unit] == 0 and (size or unit == "B"))
    return f"{size // _FACTORS[unit]}{unit}"


def _shown(value: str) -> str:
    """A value of the file inside a sentence: quoted and never long."""
    return repr(value if len(value) <= 60 else value[:57] + "...")


def _kind(value: object) -> str:
    """What a TOML value is, in words; the value itself may be a secret and is not shown."""
    match value:
        case bool():
            return "true or false"
        case str():
            return "a text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or time"
