"""How does a configuration say where a message that may have been taken can be looked up?

`look_up` describes one GET and how its answer is read. It answers Found, Absent or, whenever that is not certain,
Unanswered: a wrong "absent" doubles a message. So a wrong URL, a proxy's page, a path that leads nowhere and an id that
is none all prove nothing. How often and when it is asked is not decided here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial

from smsd.providers.base import Absent, Finding, Found, Response, Unanswered
from smsd.providers.http.answers import Path, at, holds_at, id_at, path, statuses, table, text_at
from smsd.providers.http.faults import gathered, judged
from smsd.providers.http.patterns import pattern, words_of
from smsd.providers.http.templates import ADDRESSES, LOOK_UP, Template, Values, template
from smsd.providers.http.urls import masked_url, url_template
from smsd.providers.readings import json_value

NO_CONTENT = 204
"""An answer without a body (RFC 9110, section 15.3.5)."""

_KEYS = frozenset({"url", "id_path", "items", "where", "page_size", "match", "absent_status", "quality"})


class _Entry(Enum):
    """What an entry without a usable id of ours is."""

    ANOTHER = auto()
    UNCLEAR = auto()


@dataclass(frozen=True, slots=True)
class LookUp:
    """One way to ask. What the keys mean stands at Http.look_up."""

    url: Template
    id_path: Path
    items: Path
    where: Mapping[Path, Template]
    page_size: int
    match: re.Pattern[str] | None
    absent: frozenset[int]
    quality: str

    def find(self, response: Response, values: Values) -> Finding:
        """Whether the answer holds the message with these values."""
        if response.status == NO_CONTENT and response.status in self.absent:
            return Absent()
        if self.match is not None and self.match.search(words_of(response)) is None:
            return Unanswered(f"the look-up's answer does not match look_up.match (HTTP {response.status})")
        if response.status in self.absent:
            return Absent()
        answer = json_value(response.body)
        if not 200 <= response.status < 300 or not isinstance(answer, dict | list):
            return Unanswered(f"the look-up's answer could not be read (HTTP {response.status})")
        return self._among(answer, values) if self.items else self._one(answer, values)

    def _one(self, answer: object, values: Values) -> Finding:
        match self._read(answer, values):
            case str(id):
                return Found((id,))
            case _Entry.ANOTHER:
                return Unanswered("the look-up's answer shows another message")
            case _:
                return Unanswered("the look-up's answer holds nothing usable at look_up.where or look_up.id_path")

    def _among(self, answer: object, values: Values) -> Finding:
        listed = at(answer, self.items)
        if not isinstance(listed, list):
            return Unanswered("the look-up's answer holds no list at look_up.items")
        read = [self._read(item, values) for item in listed]
        ids = tuple(each for each in read if isinstance(each, str))
        if ids:
            return Found(ids)
        if _Entry.UNCLEAR in read:
            return Unanswered("an entry of the list holds nothing usable at look_up.where or look_up.id_path")
        if len(listed) >= self.page_size:
            return Unanswered(f"a page of {len(listed)} messages does not prove that it is not there")
        return Absent()

    def _read(self, item: object, values: Values) -> str | _Entry:
        """Its id if it is ours. It is another one only if it has all that is compared and something differs."""
        same = True
        for where, wanted in self.where.items():
            if not holds_at(item, where):
                return _Entry.UNCLEAR
            same = same and _trimmed(text_at(item, where) or "") == _trimmed(wanted.fill(values) or "")
        return (id_at(item, self.id_path) or _Entry.UNCLEAR) if same else _Entry.ANOTHER


def _trimmed(text: str) -> str:
    """Providers trim space around a text and change its line ends."""
    return text.replace("\r\n", "\n").strip()


def look_up(key: str, value: object) -> LookUp:
    """Raises SettingsError, naming keys, for what cannot be asked or would prove nothing."""
    given = table(key, value, _KEYS)
    readers = (_url, _id_path, _items, _where, _page_size, _match, _absent, _quality)
    gathered(*(partial(reader, key, given) for reader in readers))
    found = LookUp(
        _url(key, given),
        _id_path(key, given),
        _items(key, given),
        _where(key, given),
        _page_size(key, given),
        _match(key, given),
        _absent(key, given),
        _quality(key, given),
    )
    judged((f"{key}.{name}", message) for name, message in _unproved(found))
    return found


def masked_look_up(value: object) -> object:
    """The table as it may be shown, without the constants of its URL's query."""
    return {**value, "url": masked_url(value.get("url"))} if isinstance(value, Mapping) else value


def _unproved(found: LookUp) -> Iterator[tuple[str, str]]:
    """An answer that nothing is compared with would be taken for any message's."""
    compared = frozenset[str]().union(*(each.names for each in found.where.values()))
    asked = found.url.names | compared
    if found.items and not found.where:
        yield "where", 'missing; say which entry of the list is ours, such as {reference = "{id}"}'
    elif found.quality == "fuzzy" and not ({"to", "to_digits"} & asked and "text" in compared):
        yield "where", 'fuzzy goes by number and text; compare both, such as {to = "{to}", body = "{text}"}'
    elif found.quality == "exact" and found.items and "id" not in compared:
        yield "where", 'compares no {id}; say where an entry of the list has it, such as {reference = "{id}"}'
    elif not found.where and found.match is None:
        yield "where", 'missing; compare what is answered, such as {reference = "{id}"}, or set match'
    if found.quality == "exact" and "id" not in asked:
        yield "url", 'asks without {id}, which proves nothing exactly; use it, or quality = "fuzzy"'
    if found.absent - {NO_CONTENT} and (found.match is None or found.match.search("")):
        yield "absent_status", "a wrong URL and a proxy say so too; set match to what every honest answer holds"


def _url(key: str, given: Mapping[str, object]) -> Template:
    return url_template(f"{key}.url", _needed(f"{key}.url", given.get("url")), ADDRESSES | {"since"})


def _id_path(key: str, given: Mapping[str, object]) -> Path:
    return path(f"{key}.id_path", _needed(f"{key}.id_path", given.get("id_path")))


def _needed(key: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key}: missing; a look-up needs it")
    return value


def _items(key: str, given: Mapping[str, object]) -> Path:
    return path(f"{key}.items", given.get("items", ""))


def _quality(key: str, given: Mapping[str, object]) -> str:
    quality = given.get("quality", "exact")
    if quality not in ("exact", "fuzzy"):
        raise ValueError(f"{key}.quality: must be exact (matched by our id) or fuzzy (matched by content)")
    return str(quality)


def _match(key: str, given: Mapping[str, object]) -> re.Pattern[str] | None:
    return pattern(f"{key}.match", given["match"]) if "match" in given else None


def _where(key: str, given: Mapping[str, object]) -> Mapping[Path, Template]:
    where = given.get("where", {})
    key = f"{key}.where"
    if not isinstance(where, Mapping) or not all(isinstance(each, str) for each in where.values()):
        raise ValueError(f'{key}: must be a table of paths such as {{reference = "{{id}}"}}')
    if "" in where:
        raise ValueError(f'{key}: has an empty path; write one such as {{reference = "{{id}}"}}')
    return {path(f"{key}.{name}", name): template(f"{key}.{name}", each, LOOK_UP) for name, each in where.items()}


def _page_size(key: str, given: Mapping[str, object]) -> int:
    size = given.get("page_size", 0)
    if not isinstance(size, int) or isinstance(size, bool) or (size < 1 if _items(key, given) else size != 0):
        raise ValueError(
            f"{key}.page_size: how many entries a full page has; goes with items, and a list without it proves nothing"
        )
    return size


def _absent(key: str, given: Mapping[str, object]) -> frozenset[int]:
    """None unless it is said: what is not there and a wrong URL are told apart by `match` alone."""
    if "absent_status" not in given:
        return frozenset()
    found = statuses(f"{key}.absent_status", given["absent_status"])
    if found - {204, 404, 410}:
        raise ValueError(f"{key}.absent_status: only 204, 404 and 410 say that something is not there")
    return found
