"""What can be asked for, and with which fields?

One type for every request, whatever the door: names and types only. What a number, a text or a time may be is judged in
`core.acceptance`; whether the caller may ask is judged in `listeners.operations`.
"""

from __future__ import annotations

from typing import Final

import msgspec

Ref = str | int | float | bool | None
"""What a caller marks a request with; it comes back in the answer."""

SEND: Final = "send"
"""The operation of an object without `op`."""


class Submission(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, rename={"from_": "from"}, gc=False):
    """A message to send, as the caller wrote it; null and absent are the same. core.acceptance says what is valid."""

    to: str | None = None
    text: str | None = None
    template: str | None = None
    vars: dict[str, object] | None = None
    lang: str | None = None
    from_: str | None = None
    priority: str | None = None
    send_at: str | None = None
    ttl: str | None = None
    expires_at: str | None = None
    idempotency_key: str | None = None
    campaign: str | None = None
    user: str | None = None
    type: str | None = None
    metadata: dict[str, str] | None = None
    tenant: str | None = None
    provider: str | None = None
    callback_url: str | None = None
    max_attempts: int | None = None
    retry: str | None = None
    overflow: str | None = None


class SendLine(Submission, gc=False):
    """A submission on a line of its own."""

    op: str | None = None
    """None: `send`; a line that was read never says it again."""
    ref: Ref = None


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """What every other request has; `op` is read before the type is known, `ref` beside it."""


class Get(Request):
    """One message."""

    id: str
    wait: str | None = None
    """A duration ("5s"): answer when it has left the queue, or after this long."""


class List(Request):
    """Messages, newest first; every filter narrows."""

    state: str | None = None
    """Names joined by commas."""
    to: str | None = None
    user: str | None = None
    tenant: str | None = None
    campaign: str | None = None
    category: str | None = None
    since: str | None = None
    limit: int | None = None
    cursor: str | None = None


class Attempts(Request):
    """The attempts of one message."""

    id: str


class Cancel(Request):
    """Cancel a pending message."""

    id: str


class Reschedule(Request):
    """Another time for a pending message."""

    id: str
    send_at: str
    """What is past means now."""
    ttl: str | None = None
    expires_at: str | None = None
    """Neither: it lives as long from its new time on as it would have from the old one."""


class Retry(Request):
    """An operator's retry: attempts and time to live begin anew."""

    id: str
    ttl: str | None = None
    expires_at: str | None = None
    force: bool = False
    """Also one that may have been taken (failed UNCERTAIN)."""


class Stats(Request):
    """Counts: of the whole daemon, or of the caller's tenant."""


class User(Request):
    """Counts of the messages about one user."""

    user: str
    tenant: str | None = None


class Recipient(Request):
    """Counts of the messages to one number, and where it opted out."""

    number: str
    tenant: str | None = None


class Suppressions(Request):
    """Numbers that get nothing more, in order; every filter narrows."""

    scope: str | None = None
    """A provider's name, or "*": those that hold at every one."""
    number: str | None = None
    limit: int | None = None
    cursor: str | None = None


class Suppress(Request):
    """Text this number no more."""

    number: str
    scope: str | None = None
    """The provider whose senders text it no more; "*" or absent: all."""


class Unsuppress(Request):
    """This number may be texted again."""

    number: str
    scope: str | None = None
    """As for Suppress; what holds in another scope stays."""


class Inbound(Request, rename={"from_": "from"}):
    """Texts received, newest first; every filter narrows."""

    from_: str | None = None
    """Who wrote them."""
    to: str | None = None
    """Our number."""
    tenant: str | None = None
    since: str | None = None
    limit: int | None = None
    cursor: str | None = None


class Providers(Request):
    """The providers and how they stand."""


class Pause(Request):
    """Call a provider no more."""

    provider: str


class Resume(Request):
    """Call it again: lifts pause, halt, open breaker and cooldown."""

    provider: str


class Register(Request):
    """Let a provider know where to call back, by its API if it has one for that."""

    provider: str
    dry_run: bool = False
    """Only say where that is."""


class Callbacks(Request):
    """What applications were not told yet, oldest first."""

    failed: bool = False
    """Those that were given up, instead of those that wait."""
    tenant: str | None = None
    limit: int | None = None
    cursor: str | None = None


class Replay(Request):
    """Try callbacks again that were given up."""

    ids: list[str] | None = None
    """The events' ids; absent: all, the oldest first, a bounded number at once."""


class Events(Request):
    """What happened: after an event seen before, or from now on."""

    after: str | None = None
    """The id of the last event seen."""
    wait: str | None = None
    """A duration ("20s"): answer when something has happened, or after this long."""
    limit: int | None = None
    kinds: str | None = None
    """Names joined by commas; `message.*` stands for all that begin so."""


class Reload(Request):
    """Read the configuration again."""


class Backup(Request):
    """A piece of a copy of the outbox; without `snapshot` a new copy is made."""

    snapshot: str | None = None
    offset: int = 0


class Metrics(Request):
    """The daemon's figures for Prometheus."""


class Ping(Request):
    """Is anybody there?"""
