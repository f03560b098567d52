"""Which keys describe a gateway, and can a gateway so described work?

The adapter's settings with what is made of them once: templates, paths, patterns, rules. Everything is judged when it
is made, so that no message meets a mistake that the file already shows. Nothing is sent or read here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from smsd.core.verdict import Scope
from smsd.providers.base import check_secret
from smsd.providers.http.answers import ErrorRule, Path, Success, error_rules, path, pattern, success_of
from smsd.providers.http.lookup import LookUp, look_up
from smsd.providers.http.templates import ADDRESSES, FIELDS, Node, Template, names_in, tree
from smsd.providers.http.urls import header_name, header_templates, url_template

METHODS = ("GET", "POST", "PUT")
BODIES = ("json", "form", "query")
AUTHS = ("none", "bearer", "basic", "header", "query")

_SECRET_KEY = re.compile(r"pass(word|wd|phrase)?$|secret|token$|api_?key", re.IGNORECASE)


@dataclass(frozen=True)
class Settings:
    """A gateway's keys. Raises ValueError (naming key and remedy) for what cannot work."""

    name: str
    url: str
    """https, or http to this machine. {to}, {to_digits}, {from}, {from_digits} and {id} may stand behind the host."""
    fields: Mapping[str, object] = field(repr=False, metadata={"raw": True})
    """What is sent: texts with placeholders (see `templates`), numbers, lists; in JSON tables too."""
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
    """false: its answers carry no id. Then success must look at more than the status, and no report can be matched."""
    price_path: str | None = None
    segments_path: str | None = None
    error_code_path: str | None = None
    error_message_path: str | None = None
    errors: Sequence[Mapping[str, object]] = field(default=(), metadata={"raw": True})
    """[{status = 429 | "4xx" | [...], code = "..." | [...], match = "regex", category = "...", scope, fate, wait}]"""
    idempotency_header: str | None = None
    """The header that carries our id where the gateway takes one id once; an uncertain message is then sent again."""
    look_up: Mapping[str, object] | None = field(default=None, metadata={"raw": True})
    """{url = "https://.../{id}", id_path = "id"}: one GET that shows the message; 404 (`absent_status`) is "not there".
    With items = "data", where = {reference = "{id}"}, page_size = 20: a list, which is searched; a full page without it
    proves nothing. match = "regex": what every honest answer holds. quality = "fuzzy" where our id is not compared."""
    encodings: Mapping[str, str] = field(default_factory=dict)
    """What {encoding} says, such as {gsm7 = "plain", ucs2 = "unicode"}."""

    def __post_init__(self) -> None:
        for key, known in (("method", METHODS), ("body", BODIES), ("auth", AUTHS)):
            if getattr(self, key) not in known:
                raise ValueError(f"{key}: must be one of {', '.join(known)}")
        if self.method == "GET" and self.body != "query":
            raise ValueError('body: a GET has none; write body = "query"')
        self._check_request()
        self._check_credentials()
        self._check_answers()
        self._check_doubt()

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

    def _check_request(self) -> None:
        if "text" not in self._names:
            raise ValueError("fields: none sends {text}; name the field that carries the message's text")
        if not {"to", "to_digits"} & self._names:
            raise ValueError("fields: none sends {to} or {to_digits}; name the field that carries the recipient")
        for name, each in self._fields.items():
            if self.body != "json" and any(isinstance(one, dict | list) for one in _entries(each)):
                raise ValueError(f'fields.{name}: a table or a list of lists travels only with body = "json"')
            if isinstance(each, Template) and each.parts and not each.names and _SECRET_KEY.search(name):
                raise ValueError(f'fields.{name}: looks like a secret; write it as token, and "{{token}}" here')
        if self._names & {"username"} and not self.username:
            raise ValueError("username: missing, though a field sends {username}")

    def _check_credentials(self) -> None:
        if self.token is not None:
            check_secret("token", self.token, "your gateway's settings")
        elif self.auth != "none" or "token" in self._names:
            raise ValueError("token: missing, though auth or a field uses it")
        if self.auth == "none" and self.token is not None and "token" not in self._names:
            raise ValueError('token: nothing uses it; set auth, or write "{token}" in fields')
        if self.auth == "basic" and (not self.username or ":" in self.username):
            raise ValueError('username: auth = "basic" needs one, without a colon (RFC 7617)')
        if (self.auth in {"header", "query"}) != bool(self.auth_name):
            raise ValueError('auth_name: goes with auth = "header" (its name) or "query" (the parameter)')
        if self.auth == "header":
            header_name("auth_name", self.auth_name or "")
        taken = {name.lower() for name in self._header_templates} & {name.lower() for name in self._auth_headers}
        if taken:
            raise ValueError(f"headers.{min(taken)}: auth sets it too; keep one")

    def _check_answers(self) -> None:
        success = self._success
        if self.ids == (not self._paths["id_path"] and self._id_match is None):
            raise ValueError(
                "id_path: where does an accepted answer have the id? Set id_path or id_match, or ids = false for none"
            )
        if self._paths["id_path"] and self._id_match is not None:
            raise ValueError("id_match: goes instead of id_path; keep one")
        if self._id_match is not None and self._id_match.groups != 1:
            raise ValueError("id_match: must have exactly one group, which is the id; write (?:...) for others")
        if not self.ids and not success.looks_inside:
            raise ValueError("success: without ids it must look at more than the status; set match, or path and equals")
        for n, rule in enumerate(self._errors):
            if rule.codes and not self.error_code_path:
                raise ValueError(f"error_code_path: missing; errors.{n} needs to know where the code stands")
            if not rule.codes and not rule.match and rule.statuses & success.statuses:
                raise ValueError(f"errors.{n}.status: means success too; add code or match")
            if rule.reading.scope is Scope.SENDER and self.picks_sender:
                raise ValueError(f"errors.{n}.scope: no field sends {{from}}, so the sender is not ours; remove it")

    def _check_doubt(self) -> None:
        if unknown := set(self.encodings) - {"gsm7", "ucs2"}:
            raise ValueError(f"encodings.{min(unknown)}: unknown; the encodings are gsm7 and ucs2")
        if self._look_up is not None and self._look_up.quality == "exact" and "id" not in self._names:
            raise ValueError('look_up: asks by {id}, but no field sends it; add one such as reference = "{id}"')
        if not self.idempotency_header:
            return
        header_name("idempotency_header", self.idempotency_header)
        if self.idempotency_header.lower() in {name.lower() for name in (*self._header_templates, *self._auth_headers)}:
            raise ValueError("idempotency_header: headers or auth set it too; keep one")
        if self._look_up is not None:
            raise ValueError("look_up: goes instead of idempotency_header; keep one")
        if not self.ids:
            raise ValueError("ids: an answer to the same key must show the id; set id_path or id_match")
        if changing := self._names & {"attempt", "validity_s"}:
            raise ValueError(
                f"fields: {{{min(changing)}}} changes from call to call, but one key goes with the same bytes"
            )


def _entries(node: Node) -> list[Node]:
    """What would stand in a form; a list repeats its name, a table is one entry."""
    return node if isinstance(node, list) else [node]
