"""How does a described gateway call back?

The keys that describe it, judged at the start beside those that describe sending, and what comes in read by them. A
gateway for which neither `reports` nor `inbound` is set has no webhooks at all. A request is read by the table of the
webhook that it came in at; the other table is looked at too if it has `when`, for a gateway that knows one URL for
everything. Whether the request proves itself is judged before it is read; how it travels is known to neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TypeAlias

from smsd.core.receipt import ReceiptReading
from smsd.providers.base import Hook, HookAnswer, HookKind, HookUnreadableError, InboundText, Report
from smsd.providers.http.answers import table
from smsd.providers.http.faults import gathered, judged
from smsd.providers.http.inbound import Inbound, inbound_of
from smsd.providers.http.places import Entry, content_of, entries_of
from smsd.providers.http.reports import Reports, reports_of
from smsd.providers.http.settings import Faults, Settings
from smsd.providers.http.signed import Signature, signature_of
from smsd.providers.keys import by_any, keys_of, named

MAX_ANSWER = 1_024
"""Characters of what a gateway wants to hear."""

MAX_FAULTS = 5
"""Of one request's entries that are told; the others are told once these are mended."""

Reader: TypeAlias = Callable[[Entry], Report | InboundText | None]


@dataclass(frozen=True)
class Hooked(Settings):
    """A gateway's keys, with those of its webhooks. Raises SettingsError with all that cannot work."""

    reports: Mapping[str, object] | None = field(default=None, metadata={"raw": True})
    """{items = "results", id = "messageId", reference = "callbackData", status = "status.name", statuses = {delivered =
    ["DELIVERED"], undelivered = [...], sent = [...], queued = [...], ignored = [...]}, code = "error.id", words =
    "error.name", price = "price.amount", currency = "price.currency", at = "doneAt", codes = [{code = ["1", "9"],
    category = "INVALID_RECIPIENT"}]}: where a delivery report's values stand and what its words mean. `when = {event =
    "status"}`: only what has these values is a report. A place is a path, "query:NAME" or "header:NAME"."""
    inbound: Mapping[str, object] | None = field(default=None, metadata={"raw": True})
    """{items = "results", from = "from", to = "to", text = "text", id = "messageId", at = "receivedAt"}, and `when`."""
    answer: Mapping[str, object] = field(default_factory=dict, metadata={"raw": True})
    """{content_type = "text/plain", body = ""}: what the gateway wants to hear once all is kept."""
    signature: Mapping[str, object] | None = field(default=None, metadata={"raw": True})
    """{scheme = "hmac", header = "X-Signature"}, also algorithm, encoding, prefix, timestamp_header, separator and
    window; or scheme = "vonage", "plivo-v3", "telnyx", "standard-webhooks" or "twilio"."""
    signing_key: str | tuple[str, ...] | None = field(default=None, repr=False, metadata={"secret": True})
    """The key of `signature`, as the gateway shows it; for Telnyx its public key. Several while it is changed."""
    answers_words: bool = False
    """Whether the gateway itself answers STOP, START and HELP."""

    def __post_init__(self) -> None:
        gathered(
            super().__post_init__,
            lambda: self._reports, lambda: self._inbound, lambda: self._signature, lambda: self.hook_answer,
            self._check_key, lambda: judged(self._useless()), lambda: judged(self._unmatched()),
        )  # fmt: skip

    # Webhooks

    @property
    def hooks(self) -> frozenset[HookKind]:
        """The webhooks that are described."""
        described = ((HookKind.STATUS, self._reports), (HookKind.INBOUND, self._inbound))
        return frozenset(kind for kind, of in described if of is not None)

    @property
    def signs(self) -> bool:
        """Whether a signature is described."""
        return self._signature is not None

    @property
    def reports_by_id(self) -> bool:
        """Whether a report may name its own id alone. It may wherever that has a place: also a gateway that knows our
        id leaves it out of some reports, and the URL's mark does not count where a request brings several."""
        return self._reports is not None and "id" in self._reports.places and self.ids

    @cached_property
    def hook_answer(self) -> HookAnswer:
        """What it wants to hear."""
        given = table("answer", self.answer, frozenset({"content_type", "body"}))
        kind, body = given.get("content_type", HookAnswer().content_type), given.get("body", "")
        if not isinstance(kind, str) or not kind.isascii() or not kind.isprintable() or "/" not in kind:
            raise ValueError('answer.content_type: must be a media type such as "application/json"')
        if not isinstance(body, str) or len(body) > MAX_ANSWER:
            raise ValueError(f"answer.body: must be a text of at most {MAX_ANSWER} characters")
        return HookAnswer(kind, body.encode())

    def verify(self, hook: Hook) -> None:
        """Raises HookRefusedError unless its signature is right and fresh."""
        if self._signature is not None:
            by_any(keys_of(self.signing_key), partial(self._signature.verify, hook))

    def read(self, hook: Hook) -> tuple[Report | InboundText, ...]:
        """What it says. Raises HookUnreadableError, which holds what could be read of it all the same."""
        found: list[Report | InboundText] = []
        faults: dict[str, None] = {}
        for entry, reader in self._readers(hook):
            try:
                item = reader(entry)
            except HookUnreadableError as error:
                faults[str(error)] = None
            else:
                found += () if item is None else (self._told_apart(item, hook),)
        if faults:
            raise HookUnreadableError("; ".join([*faults][:MAX_FAULTS]), tuple(found))
        return tuple(found)

    def _told_apart(self, item: Report | InboundText, hook: Hook) -> Report | InboundText:
        """A text without an id, with what is signed of the request that brings it: the same request given again by
        somebody else, as may be done while its time is fresh, is then no second text."""
        if self._signature is None or isinstance(item, Report) or item.provider_message_id is not None:
            return item
        of = self._signature.signed_id(hook)
        if of is None:
            return item if item.at is not None else replace(item, at=self._signature.signed_at(hook))
        said = "\0".join((of, item.sender, item.recipient, item.text)).encode("utf-8", "replace")
        return replace(item, provider_message_id=f"sha256:{hashlib.sha256(said).hexdigest()}")

    def receipt_reading(self, code: str) -> ReceiptReading | None:
        """What `reports.codes` says of it."""
        return None if self._reports is None else self._reports.codes.get(code)

    def _readers(self, hook: Hook) -> list[tuple[Entry, Reader]]:
        """Each entry that is to be read, with what reads it. Raises HookUnreadableError where no table finds any."""
        content = content_of(hook)
        found: list[tuple[Entry, Reader]] = []
        looked_at: list[str] = []
        any_there = False
        for kind, key, of in (
            (HookKind.STATUS, "reports", self._reports),
            (HookKind.INBOUND, "inbound", self._inbound),
        ):
            if of is None or not (hook.kind is kind or of.when):
                continue
            entries = entries_of(content, of.items, hook)
            looked_at.append(f"{key}.items")
            any_there = any_there or entries is not None
            found += ((entry, of.read) for entry in entries or () if entry.fulfils(of.when))
        if not any_there:
            raise HookUnreadableError(f"neither a list nor a table stands where {' or '.join(looked_at)} says")
        return found

    # Read once

    @cached_property
    def _reports(self) -> Reports | None:
        return None if self.reports is None else reports_of("reports", self.reports)

    @cached_property
    def _inbound(self) -> Inbound | None:
        return None if self.inbound is None else inbound_of("inbound", self.inbound)

    @cached_property
    def _signature(self) -> Signature | None:
        return None if self.signature is None else signature_of("signature", self.signature)

    def _names_ours(self, reports: Reports) -> bool:
        return "reference" in reports.places or "callback_url" in self._names

    # Judged once

    def _check_key(self) -> None:
        if (self.signing_key is None) != (self.signature is None):
            raise ValueError("signing_key: goes with signature, which says how it is used; set both or neither")
        if self._signature is not None:
            gathered(*(partial(self._signature.check_key, *each) for each in named("signing_key", self.signing_key)))

    def _useless(self) -> Faults:
        if self.reports is None and self.inbound is None:
            for key in ("signature", "answer", "answers_words"):
                if getattr(self, key):
                    yield key, "counts for nothing: no webhook is described; set reports or inbound, or remove it"
        elif self.answers_words and self.inbound is None:
            yield "answers_words", "is about inbound texts, and none are described; set inbound, or remove it"

    def _unmatched(self) -> Faults:
        reports = self._reports
        if reports is None:
            return
        if "reference" in reports.places and "id" not in self._names and not self.idempotency_header:
            yield "reports.reference", 'is our id, but no field sends it; add one such as reference = "{id}"'
        if self._names_ours(reports):
            return
        if "id" not in reports.places:
            yield (
                "reports.id",
                "whose report is it? Say where its id stands, or reference, or send {callback_url} in a field",
            )
        elif not self.ids:
            yield "reports.id", "no answer has an id to compare it with (ids = false); send {callback_url} in a field"
