"""How does one speak with a gateway that smsd has no dialect for?

A dialect that the configuration describes: which request sends a message, what an accepted answer looks like, where the
id stands in it, what errors mean, how the gateway can be asked, and what it says when it calls back (see `hooks`). It
knows no gateway, opens no socket and keeps nothing between calls. All of it is read and judged at the start.

An answer is read in this order: the first of `errors` whose conditions hold, except that one with `match` cannot turn
an accepted answer into an error (an answer may repeat the message's text); then `success`, which also needs the id;
then the HTTP status. A 2xx that is neither is uncertain: it may have been taken. So is an answer for which `success`
holds but that has no id where `id_path` or `id_match` says; its verdict tells so. An id is visible ASCII of at most 128
characters, a price a number with or without a currency of three letters; what is neither is not kept.

A gateway that takes JSON::

    [providers.acme]
    type = "http"
    from = "+15005550006"
    rate = "10/s"
    url = "https://api.acme.example/v2/messages"
    auth = "bearer"
    token = {env = "ACME_TOKEN"}
    signing_key = {env = "ACME_SIGNING_KEY"}
    fields = {to = "{to}", from = "{from}", text = "{text}", reference = "{id}", options = {ttl = "{validity_s}"}}
    id_path = "data.0.id"
    segments_path = "data.0.parts"
    error_code_path = "error.code"
    error_message_path = "error.text"
    errors = [
        {code = "opted_out", category = "OPTED_OUT"},
        {code = ["bad_number", "landline"], category = "INVALID_RECIPIENT"},
        {code = "bad_sender", category = "CONFIG_ERROR", scope = "sender"},
        {status = 409, category = "PROVIDER_ERROR", wait = "5s"},
    ]
    [providers.acme.look_up]
    url = "https://api.acme.example/v2/messages?reference={id}"
    items = "data"
    where = {reference = "{id}"}
    id_path = "id"
    page_size = 20
    [providers.acme.signature]
    scheme = "hmac"
    header = "X-Acme-Signature"
    [providers.acme.reports]
    items = "data"
    id = "id"
    reference = "reference"
    status = "state"
    statuses = {delivered = ["delivered"], undelivered = ["failed", "expired"], sent = ["sent"]}
    code = "error.code"
    [providers.acme.inbound]
    items = "data"
    from = "from"
    to = "to"
    text = "text"
    id = "id"

A gateway that takes a form and answers in words::

    [providers.box]
    type = "http"
    rate = "30/min"
    url = "http://127.0.0.1:8080/sendsms"
    body = "form"
    username = "smsd"
    token = {credential = "box-password"}
    fields = {user = "{username}", pass = "{token}", to = "{to_digits}", text = "{text}", charset = "{encoding}"}
    encodings = {gsm7 = "default", ucs2 = "utf-16"}
    success = {status = 200, match = "^OK "}
    id_match = "^OK ([0-9a-f]+)"
    errors = [
        {match = "(?i)slow down", category = "RATE_LIMITED", wait = "30s"},
        {match = "(?i)no credit|login", category = "AUTH_FAILED"},
    ]
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote_plus, urlencode

import msgspec

from smsd.core.verdict import Fate, Verdict
from smsd.providers.base import Call, Finding, Request, Response
from smsd.providers.http.answers import an_id, id_at, price_at, text_at
from smsd.providers.http.hooks import Hooked
from smsd.providers.http.lookup import LookUp
from smsd.providers.http.patterns import words_of
from smsd.providers.http.templates import Values, in_header, in_path, json_of, pairs_of, values_of
from smsd.providers.readings import UNCERTAIN, by_status, json_value, retry_after_ms

MAX_PAGE = 1_048_576
"""Bytes of a look-up's answer."""


@dataclass(frozen=True)
class Http(Hooked):
    """A gateway described in the configuration. Raises SettingsError with all faults of it."""

    type: ClassVar[str] = "http"

    def prepare(self, call: Call) -> Request:
        """The request that sends it."""
        values = self._values(call)
        url = self._with_auth(self._url.fill(values, in_path) or "")
        headers = self._headers(values)
        if self.idempotency_header:
            headers[self.idempotency_header] = in_header(call.id)
        body = b""
        if self.body == "json":
            body = msgspec.json.encode(json_of(self._fields, values))
        elif self.body == "form":
            body = urlencode(list(pairs_of(self._fields, values))).encode("ascii")
        else:
            url = _extended(url, urlencode(list(pairs_of(self._fields, values))))
        if self.body != "query" and "content-type" not in {name.lower() for name in headers}:
            headers["Content-Type"] = "application/json" if self.body == "json" else "application/x-www-form-urlencoded"
        return Request(self.method, url, headers, body, self._private(call))

    def classify(self, response: Response) -> Verdict:
        """What the answer means; the order stands at the top of this module."""
        answer = json_value(response.body)
        code = text_at(answer, self._paths["error_code_path"])
        holds = self._success.holds(response, answer)
        taken = self._taken(response, answer) if holds else None
        words = text_at(answer, self._paths["error_message_path"])
        for n, rule in enumerate(self._errors):
            if not (taken and rule.match) and rule.holds(response, code):
                told = words or f"The gateway answered HTTP {response.status}, which errors.{n} describes"
                return rule.reading.verdict(told, code, retry_after_ms(response))
        if taken:
            return taken
        if holds:
            words = words or f"accepted, but no id stands at {'id_match' if self.id_match else 'id_path'}"
            words = f"{words} (HTTP {response.status}{f', code {code}' if code else ''})"
            verdict = UNCERTAIN.verdict(words, code, None)
            verdict.unlisted = code is not None
            return verdict
        return by_status(response, {"message": words} if words else None, code)

    def ask(self, call: Call) -> Request:
        """The request that `look_up` describes. Raises LookupError when there is none."""
        asked = self._asked()
        values = self._values(call)
        url = self._with_auth(asked.url.fill(values, in_path) or "")
        headers = {name: each for name, each in self._headers(values).items() if name.lower() != "content-type"}
        return Request("GET", url, headers, private=self._private(call), max_answer=MAX_PAGE)

    def find(self, response: Response, call: Call) -> Finding:
        """Whether the look-up's answer holds the call's message. Raises LookupError when there is no `look_up`."""
        return self._asked().find(response, self._values(call))

    def fingerprint(self) -> str:
        """SHA-256 over everything that a request is made of: mending any of it ends a halt."""
        parts = (
            self.url, self.method, self.body, self.fields, dict(self.headers), self.auth, self.token, self.username,
            self.auth_name, dict(self.encodings), self.idempotency_header,
        )  # fmt: skip
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _values(self, call: Call) -> Values:
        once = bool(self.idempotency_header)
        return values_of(call, self.encodings, once=once, username=self.username or "", token=self.token or "")

    def _headers(self, values: Values) -> dict[str, str]:
        own = {name: each.fill(values, in_header) or "" for name, each in self._header_templates.items()}
        return {**self._auth_headers, **own}

    def _with_auth(self, url: str) -> str:
        if self.auth != "query":
            return url
        return _extended(url, f"{quote_plus(self.auth_name or '')}={quote_plus(self.token or '')}")

    def _private(self, call: Call) -> tuple[str, ...]:
        """A short token is part of many a word and would blank them all."""
        secret = (self.token,) if self.token and len(self.token) >= 8 else ()
        return (call.text, call.recipient, call.recipient.lstrip("+"), *secret)

    def _taken(self, response: Response, answer: object) -> Verdict | None:
        id = self._id(response, answer)
        if self.ids and id is None:
            return None
        parts = text_at(answer, self._paths["segments_path"]) or ""
        return Verdict(
            Fate.ACCEPTED,
            provider_message_id=id,
            price=price_at(answer, self._paths["price_path"]),
            segments=int(parts) or None if parts.isascii() and parts.isdigit() and len(parts) < 4 else None,
        )

    def _id(self, response: Response, answer: object) -> str | None:
        if self._id_match is None:
            return id_at(answer, self._paths["id_path"])
        found = self._id_match.search(words_of(response))
        return None if found is None else an_id(found[1])

    def _asked(self) -> LookUp:
        if self._look_up is None:
            raise LookupError("no look_up is set, so this gateway cannot be asked")
        return self._look_up


def _extended(url: str, query: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{query}"
