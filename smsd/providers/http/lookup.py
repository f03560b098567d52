"""How does a configuration say where a message that may have been taken can be looked up?

`look_up` describes one GET and how its answer is read. It answers Found, Absent or, whenever that is not certain,
Unanswered: a wrong "absent" doubles a message. How often and when it is asked is not decided here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from smsd.providers.base import Absent, Finding, Found, Response, Unanswered
from smsd.providers.http.answers import Path, at, json_value, path, pattern, statuses, table, text_at, words_of
from smsd.providers.http.templates import ADDRESSES, LOOK_UP, Template, Values, template
from smsd.providers.http.urls import url_template

MAX_ID = 128

_KEYS = frozenset({"url", "id_path", "items", "where", "page_size", "match", "absent_status", "quality"})


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
        if response.status in self.absent:
            return Absent()
        answer = json_value(response.body)
        if not 200 <= response.status < 300 or not isinstance(answer, dict | list):
            return Unanswered(f"the look-up's answer could not be read (HTTP {response.status})")
        if self.match is not None and self.match.search(words_of(response)) is None:
            return Unanswered("the look-up's answer does not match look_up.match")
        if not self.items:
            id = self._ours(answer, values)
            return Unanswered("the look-up's answer shows another message or no id") if id is None else Found((id,))
        listed = at(answer, self.items)
        if not isinstance(listed, list):
            return Unanswered("the look-up's answer holds no list at look_up.items")
        ids = tuple(id for item in listed if (id := self._ours(item, values)) is not None)
        if ids:
            return Found(ids)
        if len(listed) >= self.page_size or not all(isinstance(item, dict) for item in listed):
            return Unanswered(f"a page of {len(listed)} messages does not prove that it is not there")
        return Absent()

    def _ours(self, item: object, values: Values) -> str | None:
        for where, wanted in self.where.items():
            said = text_at(item, where)
            if said is None or _trimmed(said) != _trimmed(wanted.fill(values) or ""):
                return None
        id = text_at(item, self.id_path)
        return id if id is not None and len(id) <= MAX_ID else None


def _trimmed(text: str) -> str:
    """Providers trim space around a text and change its line ends."""
    return text.replace("\r\n", "\n").strip()


def look_up(key: str, value: object) -> LookUp:
    """Raises ValueError, naming the key, for what cannot be asked or would prove nothing."""
    given = table(key, value, _KEYS)
    for needed in ("url", "id_path"):
        if not isinstance(given.get(needed), str) or not given[needed]:
            raise ValueError(f"{key}.{needed}: missing; a look-up needs it")
    url = url_template(f"{key}.url", str(given["url"]), ADDRESSES | {"since"})
    where = _where(f"{key}.where", given.get("where", {}))
    quality = given.get("quality", "exact")
    if quality not in {"exact", "fuzzy"}:
        raise ValueError(f"{key}.quality: must be exact (matched by our id) or fuzzy (matched by content)")
    asked = url.names.union(*(each.names for each in where.values()))
    if quality == "exact" and "id" not in asked:
        raise ValueError(f'{key}.url: asks without {{id}}, which proves nothing exactly; use it, or quality = "fuzzy"')
    items = path(f"{key}.items", given.get("items", ""))
    if items and not where:
        raise ValueError(f'{key}.where: missing; say which entry of the list is ours, such as {{reference = "{{id}}"}}')
    return LookUp(
        url,
        path(f"{key}.id_path", given["id_path"]),
        items,
        where,
        _page_size(f"{key}.page_size", given, items),
        pattern(f"{key}.match", given["match"]) if "match" in given else None,
        _absent(f"{key}.absent_status", given, items),
        str(quality),
    )


def _where(key: str, value: object) -> Mapping[Path, Template]:
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value.values()):
        raise ValueError(f'{key}: must be a table of paths such as {{reference = "{{id}}"}}')
    return {path(f"{key}.{name}", name): template(f"{key}.{name}", each, LOOK_UP) for name, each in value.items()}


def _page_size(key: str, given: Mapping[str, object], items: Path) -> int:
    size = given.get("page_size", 0)
    if not isinstance(size, int) or isinstance(size, bool) or (size < 1 if items else size != 0):
        raise ValueError(
            f"{key}: how many entries a full page has; goes with items, and a list without it proves nothing"
        )
    return size


def _absent(key: str, given: Mapping[str, object], items: Path) -> frozenset[int]:
    """A list that is not there is a wrong URL; one message that is not there is an answer."""
    if "absent_status" not in given:
        return frozenset() if items else frozenset({404})
    found = statuses(key, given["absent_status"])
    if found - {204, 404, 410}:
        raise ValueError(f"{key}: only 204, 404 and 410 say that something is not there")
    return found
