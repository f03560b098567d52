"""Which keys describe a gateway, and can a gateway so described work?

The adapter's settings with what is made of them once: templates, paths, patterns, rules. Everything is judged when it
is made, so that no message meets a mistake that the file already shows. Nothing is sent or read here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from types import MappingProxyType
from typing import TypeAlias

from smsd.core.verdict import Scope
from smsd.providers.base import check_secret
from smsd.providers.http.answers import ErrorRule, Path, Success, error_rules, path, success_of
from smsd.providers.http.faults import gathered, judged
from smsd.providers.http.lookup import LookUp, look_up, masked_look_up
from smsd.providers.http.patterns import pattern
from smsd.providers.http.templates import ADDRESSES, FIELDS, Node, Template, masked, names_in, tree
from smsd.providers.http.urls import header_name, header_templates, is_secret, masked_url, url_template

METHODS = ("GET", "POST", "PUT")
BODIES = ("json", "form", "query")
AUTHS = ("none", "bearer", "basic", "header", "query")

_OF_THE_BODY = frozenset({"content-type", "content-encoding", "accept"})

Faults: TypeAlias = Iterator[tuple[str, str]]
"""Keys, each with what is wrong and the remedy."""


@dataclass(frozen=True)
class Settings:
    """A gateway's keys. Raises SettingsError with all keys, and the remedies, of what cannot work."""

    name: str
    url: str = field(repr=False, metadata={"shown": masked_url})
    """https, or http to this machine. {to}, {to_digits}, {from}, {from_digits} and {id} may stand behind the host."""
    fields: Mapping[str, object] = field(repr=False, metadata={"raw": True, "shown": masked})
    """What is sent: texts with placeholders (see `templates`), numbers, lists; in JSON tables too. Constants are not
    shown, nor those of a URL's query, because many a key travels so."""
    method: str = "POST"
    """GET | POST | PUT"""
    body: str = "json"
    """json | form | query: how the fields travel."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, metadata={"secret": True})
    """More headers; placeholders but {text} may stand in them. Never shown, because many a key travels so."""
    auth: str = "none"
    """none | bearer | basic (username and token) | header | query (token as the header or parameter `auth_name`)"""
    token: str | None = field(default=None, repr=False, metadata={"secret": True})
    """The secret that `auth` or the placeholder {token} uses."""
    username: str | None = None
    auth_name: str | None = None
    """The header's or parameter's name, for auth = "header" or "query"."""
    success: Mapping[str, object] = field(default_factory=dict, metadata={"raw": True})
    """{status = [200, 201, 202], match = "regex", path = "status", equals = "ok"}; all that is set must hold."""
    id_path: str | None = None
    """Where an accepted answer has the gateway's id, such as "data.0.id"."""
    id_match: str | None = None
    """Instead of id_path, where the answer is no JSON: a regular expression whose one group is the id."""
    ids: bool = True
    """false: its answers carry no id. Then success must look at more than the status, and reports must name ours."""
    price_path: str | None = None
    segments_path: str | None = None
    error_code_path: str | None = None
    error_message_path: str | None = None
    errors: Sequence[Mapping[str, object]] = field(default=(), metadata={"raw": True})
    """[{status = 429 | "4xx" | [...], code = "..." | [...], match = "regex", category = "...", scope, fate, wait}]"""
    idempotency_header: str | None = None
    """The header that carries our id where the gateway takes one id once; an uncertain message is then sent again."""
    look_up: Mapping[str, object] | None = field(
        default=None, repr=False, metadata={"raw": True, "shown": masked_look_up}
    )
    """{url = "https://.../{id}", id_path = "id", where = {reference = "{id}"}}: one GET that shows the message, and
    what must stand in it. With items = "data" and page_size = 20: a list, which is searched; a full page without it
    proves nothing, nor does an entry without what `where` compares. match = "regex": what every honest answer holds;
    absent_status = 404 (204, 410) needs it, because a wrong URL and a proxy answer so too. quality = "fuzzy" where
    number and text are compared and not our id."""
    encodings: Mapping[str, str] = field(default_factory=dict)
    """What {encoding} says, such as {gsm7 = "plain", ucs2 = "unicode"}."""

    def __post_init__(self) -> None:
        gathered(
            lambda: judged(self._wrong_choices()),
            lambda: self._url, lambda: self._fields, lambda: self._header_templates, lambda: self._paths,
            lambda: self._id_match, lambda: self._success, lambda: self._errors, lambda: self._look_up,
            lambda: judged(self._wrong_fields()), self._check_secret_names, self._check_token, self._check_auth_name,
            lambda: judged(self._wrong_credentials()), self._check_doubled_headers, lambda: judged(self._wrong_ids()),
            lambda: judged(self._wrong_errors()), lambda: judged(self._wrong_look_up()),
            lambda: judged(self._wrong_idempotency()),
        )  # fmt: skip

    @property
    def lookup(self) -> str:
        """With an idempotency header "key", with look_up its quality, else "none"."""
        if self.idempotency_header:
            return "key"
        return "none" if self._look_up is None else self._look_up.quality

    @property
    def picks_sender(self) -> bool:
        """It does where no field sends one."""
        return not {"from", "from_digits"} & self._names

    # Read once

    @cached_property
    def _url(self) -> Template:
        return url_template("url", self.url, ADDRESSES)

    @cached_property
    def _fields(self) -> dict[str, Node]:
        if not isinstance(self.fields, Mapping) or not self.fields:
            raise ValueError('fields: must be a table such as {to = "{to}", text = "{text}"}')
        gathered(*(partial(tree, f"fields.{name}", each, FIELDS) for name, each in self.fields.items()))
        return {str(name): tree(f"fields.{name}", each, FIELDS) for name, each in self.fields.items()}

    @cached_property
    def _header_templates(self) -> Mapping[str, Template]:
        return header_templates("headers", self.headers)

    @cached_property
    def _names(self) -> frozenset[str]:
        """All placeholders of a send."""
        return names_in(self._fields) | self._url.names | names_in(list(self._header_templates.values()))

    @cached_property
    def _paths(self) -> Mapping[str, Path]:
        keys = ("id_path", "price_path", "segments_path", "error_code_path", "error_message_path")
        gathered(*(partial(path, key, getattr(self, key) or "") for key in keys))
        return MappingProxyType({key: path(key, getattr(self, key) or "") for key in keys})

    @cached_property
    def _id_match(self) -> re.Pattern[str] | None:
        return pattern("id_match", self.id_match) if self.id_match else None

    @cached_property
    def _success(self) -> Success:
        return success_of("success", self.success)

    @cached_property
    def _errors(self) -> tuple[ErrorRule, ...]:
        return error_rules("errors", self.errors)

    @cached_property
    def _look_up(self) -> LookUp | None:
        return None if self.look_up is None else look_up("look_up", self.look_up)

    @cached_property
    def _auth_headers(self) -> Mapping[str, str]:
        match self.auth:
            case "bearer":
                return {"Authorization": f"Bearer {self.token}"}
            case "basic":
                credentials = base64.b64encode(f"{self.username}:{self.token}".encode()).decode()
                return {"Authorization": f"Basic {credentials}"}
            case "header":
                return {self.auth_name or "": self.token or ""}
            case _:
                return {}

    # Judged once

    def _wrong_choices(self) -> Faults:
        for key, known in (("method", METHODS), ("body", BODIES), ("auth", AUTHS)):
            if getattr(self, key) not in known:
                yield key, f"must be one of {', '.join(known)}"
        if self.method == "GET" and self.body != "query":
            yield "body", 'a GET has none; write body = "query"'
        if unknown := set(self.encodings) - {"gsm7", "ucs2"}:
            yield f"encodings.{min(unknown)}", "unknown; the encodings are gsm7 and ucs2"

    def _wrong_fields(self) -> Faults:
        if "text" not in self._names:
            yield "fields", "none sends {text}; name the field that carries the message's text"
        if not {"to", "to_digits"} & self._names:
            yield "fields", "none sends {to} or {to_digits}; name the field that carries the recipient"
        for name, each in self._fields.items():
            if self.body != "json" and any(isinstance(one, dict | list) for one in _entries(each)):
                yield f"fields.{name}", 'a table or a list of lists travels only with body = "json"'

    def _check_secret_names(self) -> None:
        judged(
            (key, 'looks like a secret; write it as token, and "{token}" here')
            for name, each in self._fields.items()
            for key in _open_secrets(f"fields.{name}", name, each)
        )

    def _check_token(self) -> None:
        if self.token is None:
            if self.auth != "none" or "token" in self._names:
                raise ValueError("token: missing, though auth or a field uses it")
            return
        if self.auth == "bearer" and self.token.lower().startswith("bearer "):
            raise ValueError('token: begins with "Bearer", which auth = "bearer" adds; write what follows it')
        check_secret("token", self.token, "your gateway's settings", spaces=self.auth != "bearer")
        if self.auth == "none" and "token" not in self._names:
            raise ValueError('token: nothing uses it; set auth, or write "{token}" in fields')

    def _check_auth_name(self) -> None:
        if (self.auth in {"header", "query"}) != bool(self.auth_name):
            raise ValueError('auth_name: goes with auth = "header" (its name) or "query" (the parameter)')
        if self.auth == "header" and header_name("auth_name", self.auth_name or "").lower() in _OF_THE_BODY:
            raise ValueError(
                "auth_name: says what the body is and is no credential; write the name of the key's header"
            )

    def _wrong_credentials(self) -> Faults:
        if self.auth == "basic" and (not self.username or ":" in self.username):
            yield "username", 'auth = "basic" needs one, without a colon (RFC 7617)'
        elif "username" in self._names and not self.username:
            yield "username", "missing, though a field sends {username}"

    def _check_doubled_headers(self) -> None:
        taken = {name.lower() for name in self._header_templates} & {name.lower() for name in self._auth_headers}
        judged((f"headers.{name}", "auth sets it too; keep one") for name in sorted(taken))

    def _wrong_ids(self) -> Faults:
        if self.ids == (not self._paths["id_path"] and self._id_match is None):
            yield (
                "id_path",
                "where does an accepted answer have the id? Set id_path or id_match, or ids = false for none",
            )
        if self._paths["id_path"] and self._id_match is not None:
            yield "id_match", "goes instead of id_path; keep one"
        elif self._id_match is not None and self._id_match.groups != 1:
            yield "id_match", "must have exactly one group, which is the id; write (?:...) for others"
        if not self.ids and not self._success.looks_inside:
            yield "success", "without ids it must look at more than the status; set match, or path and equals"

    def _wrong_errors(self) -> Faults:
        if any(rule.codes for rule in self._errors) and not self.error_code_path:
            yield "error_code_path", "missing; errors with a code need to know where it stands"
        for n, rule in enumerate(self._errors):
            if not rule.codes and not rule.match and rule.statuses & self._success.statuses:
                yield f"errors.{n}.status", "means success too; add code or match"
            if rule.reading.scope is Scope.SENDER and self.picks_sender:
                yield f"errors.{n}.scope", "no field sends {from}, so the sender is not ours; remove it"

    def _wrong_look_up(self) -> Faults:
        if self._look_up is None:
            return
        if self.idempotency_header:
            yield "look_up", "goes instead of idempotency_header; keep one"
        elif self._look_up.quality == "exact" and "id" not in self._names:
            yield "look_up", 'asks by {id}, but no field sends it; add one such as reference = "{id}"'

    def _wrong_idempotency(self) -> Faults:
        if not self.idempotency_header:
            return
        name = header_name("idempotency_header", self.idempotency_header).lower()
        if name in {each.lower() for each in (*self._header_templates, *self._auth_headers)}:
            yield "idempotency_header", "headers or auth set it too; keep one"
        if not self.ids:
            yield "ids", "an answer to the same key must show the id; set id_path or id_match"
        if changing := self._names & {"attempt", "validity_s"}:
            yield "fields", f"{{{min(changing)}}} changes from call to call, but one key goes with the same bytes"


def _entries(node: Node) -> list[Node]:
    """What would stand in a form; a list repeats its name, a table is one entry."""
    return node if isinstance(node, list) else [node]


def _open_secrets(key: str, name: str, node: Node) -> Iterator[str]:
    """The keys of constants, at any depth, that stand under a secret's name."""
    if isinstance(node, dict):
        for inner, each in node.items():
            yield from _open_secrets(f"{key}.{inner}", inner, each)
    elif isinstance(node, list):
        for n, each in enumerate(node):
            yield from _open_secrets(f"{key}.{n}", name, each)
    elif (
        is_secret(name)
        and not isinstance(node, bool)
        and not (isinstance(node, Template) and (node.names or not node.parts))
    ):
        yield key
