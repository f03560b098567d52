"""May this submission become a message, and if so, which?

`accept` turns what a caller asked for into a Draft, or says everything that is wrong with it at once, each fault with
its field, a code of a closed list, and the remedy. It is told the rules, the routes, who asks and what time it is.
What a tenant is bound to is judged by `bounds`, for the tenant the message will be of, whoever submits it; what is sent
and how long it is, by `content`.
It refuses to know the shape of the wire (types are checked there), the outbox (idempotency keys, backlog), limits and
opt-outs. A fault never repeats the text, and repeats other values only when they are short.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from smsd.core import address, quiet
from smsd.core.bounds import UNBOUND, priority_of, route_of
from smsd.core.callback import CallbackRules
from smsd.core.callee import callee_of, may_name
from smsd.core.content import content_of, json_size
from smsd.core.message import Draft, Instant, MessageId
from smsd.core.routing import Routes
from smsd.core.submission import Fault, MessageRules, Origin, Refusal, Submission, TenantRules
from smsd.core.units import DAY, duration_ms, duration_text, instant

__all__ = [
    "Fault",
    "MessageRules",
    "Origin",
    "Refusal",
    "Submission",
    "TenantRules",
    "accept",
    "end_of_life",
    "first_moment",
    "tenant_of",
]

MAX_AHEAD_MS = 366 * DAY
"""How far ahead a message may be scheduled: a year, and a day for leap years."""

MAX_TTL_MS = 30 * DAY
"""Longest life after the first moment it may be sent; by then nobody expects the text any more."""

MIN_TTL_MS = 1_000

MAX_KEY = 255
MAX_USER = 128
MAX_TYPE = 64
MAX_CAMPAIGN = 128
MAX_TENANT = 128
MAX_METADATA = 2_048
"""Bytes of the metadata as JSON without spaces, non-ASCII as UTF-8."""
MAX_ATTEMPTS = 20

_SURROGATE = re.compile("[\ud800-\udfff]")


def accept(
    submission: Submission,
    rules: MessageRules,
    routes: Routes,
    origin: Origin,
    now: Instant,
    id: MessageId,
    content_hash: bytes | None = None,
) -> Draft | Refusal:
    """The Draft of a valid submission, or all its faults. `content_hash` is given exactly when there is a key."""
    faults: list[Fault] = []
    tenant = tenant_of(submission, origin)
    bounds = UNBOUND
    if rules.tenants:
        bounds = rules.tenants.get(origin.tenant if isinstance(tenant, Fault) else tenant, UNBOUND)
    recipient = _recipient(submission.to, rules, faults)
    text, size, truncated = content_of(submission, rules, faults)
    sender, route = route_of(submission, bounds, routes, recipient, faults)
    send_at, due, expires_at = _times(submission, rules, now, faults)
    priority = priority_of(submission.priority, bounds, faults)
    max_attempts = _max_attempts(submission, rules, faults)
    if isinstance(tenant, Fault):
        faults.append(tenant)
    _labels(submission, faults)
    if submission.callback_url is not None:
        _callback(submission.callback_url, tenant, rules.callbacks, faults)
    if faults or isinstance(tenant, Fault):
        return Refusal(tuple(faults))
    due, held, held_by = quiet.start(rules.quiet, tenant, recipient, priority, due)
    return Draft(
        id=id,
        recipient=recipient,
        text=text,
        tenant=tenant,
        route=route,
        priority=priority,
        created_at=now,
        due=due,
        expires_at=expires_at,
        segments=size.segments,
        encoding=size.encoding,
        length=size.length,
        max_attempts=max_attempts,
        sender=sender,
        send_at=send_at,
        truncated=truncated,
        pinned=submission.provider is not None,
        user=submission.user,
        type=submission.type,
        campaign=submission.campaign,
        profile=submission.retry,
        metadata=submission.metadata,
        idempotency_key=submission.idempotency_key,
        content_hash=content_hash,
        held=held,
        held_by=held_by,
        callback_url=submission.callback_url,
    )


def tenant_of(submission: Submission, origin: Origin) -> str | Fault:
    """In whose name it is submitted: idempotency keys belong to a tenant, so a replay is looked for under this name."""
    asked = submission.tenant
    if asked is None or asked == origin.tenant:
        return origin.tenant
    if not origin.may_set_tenant:
        return Fault("tenant", "not_allowed", "`tenant` may be set only by an administrator: leave it out", True)
    return _label("tenant", asked, MAX_TENANT) or asked


def first_moment(send_at: str, now: Instant) -> Instant | Fault:
    """The moment that `send_at` names; what is past is as good as now. Also for a message that is rescheduled."""
    try:
        asked = instant(send_at)
    except ValueError as error:
        return Fault("send_at", "invalid_value", f"`send_at` is {error}")
    if asked - now > MAX_AHEAD_MS:
        return Fault("send_at", "invalid_value", "`send_at` must be within a year from now")
    return asked


def end_of_life(
    ttl: str | None, expires_at: str | None, start: Instant, now: Instant, default_ms: int
) -> Instant | Fault:
    """When a message that may first be sent at `start` (not before `now`) expires: `ttl` counts from `start`,
    `expires_at` is an instant after it, neither means `default_ms`. Also for an operator's retry, where both are now.
    """
    if ttl is None and expires_at is None:
        return start + default_ms
    if ttl is not None and expires_at is not None:
        return Fault("ttl", "invalid_value", "`ttl` and `expires_at` exclude each other: give one")
    try:
        end = start + duration_ms(ttl) if ttl is not None else instant(expires_at or "")
    except ValueError as error:
        name = "ttl" if ttl is not None else "expires_at"
        return Fault(name, "invalid_value", f"`{name}` is {error}")
    return _within_life(end, start, now, "ttl" if ttl is not None else "expires_at")


def _within_life(end: Instant, start: Instant, now: Instant, name: str) -> Instant | Fault:
    if name == "ttl" and end - start < MIN_TTL_MS:
        return Fault(name, "invalid_value", f"`ttl` must be {duration_text(MIN_TTL_MS)} or more")
    if end <= start and start > now:
        return Fault(name, "invalid_value", "`expires_at` must be after `send_at`")
    if end <= start:
        # It may have been in time when the same submission came first.
        return Fault(name, "invalid_value", "`expires_at` is past: choose a later end", circumstantial=True)
    if end - start > MAX_TTL_MS:
        longest = duration_text(MAX_TTL_MS)
        return Fault(name, "invalid_value", f"`{name}` must end within {longest} of the first moment it may be sent")
    return end


def _recipient(raw: str | None, rules: MessageRules, faults: list[Fault]) -> str:
    if raw is None:
        faults.append(Fault("to", "missing_field", f"`to` is missing: give the number, e.g. {address.EXAMPLE}"))
        return ""
    found = address.recipient(raw, rules.default_region)
    if isinstance(found, str):
        return found
    national = "+" not in raw
    faults.append(Fault("to", "invalid_recipient", f"`to` {found.message}", circumstantial=national and raw != ""))
    return ""


def _times(
    submission: Submission, rules: MessageRules, now: Instant, faults: list[Fault]
) -> tuple[Instant | None, Instant, Instant]:
    """When it was asked to be sent, when that is, when it expires."""
    send_at = None
    if submission.send_at is not None:
        asked = first_moment(submission.send_at, now)
        if isinstance(asked, Fault):
            faults.append(asked)
        else:
            send_at = asked
    due = now if send_at is None else max(now, send_at)
    end = end_of_life(submission.ttl, submission.expires_at, due, now, rules.ttl_ms)
    if isinstance(end, Fault):
        faults.append(end)
        return send_at, due, due
    return send_at, due, end


def _max_attempts(submission: Submission, rules: MessageRules, faults: list[Fault]) -> int:
    """Calls the message may cost: what was asked, else its profile's, else the default."""
    asked, profile = submission.max_attempts, submission.retry
    if profile is not None and profile not in rules.profiles:
        known = ", ".join(sorted(rules.profiles)) or "none is configured"
        faults.append(
            Fault("retry", "invalid_value", f"`retry` must name a retry profile ({known})", circumstantial=True)
        )
    if asked is None:
        return rules.max_attempts if profile is None else rules.profiles.get(profile, rules.max_attempts)
    if not 1 <= asked <= MAX_ATTEMPTS:
        faults.append(Fault("max_attempts", "invalid_value", f"`max_attempts` must be from 1 to {MAX_ATTEMPTS}"))
    return asked


def _labels(submission: Submission, faults: list[Fault]) -> None:
    """What is only kept, counted and shown: key, user, type, campaign, metadata."""
    for name, value, longest in (
        ("idempotency_key", submission.idempotency_key, MAX_KEY),
        ("user", submission.user, MAX_USER),
        ("type", submission.type, MAX_TYPE),
        ("campaign", submission.campaign, MAX_CAMPAIGN),
    ):
        if value is not None and (fault := _label(name, value, longest)) is not None:
            faults.append(fault)
    if submission.metadata is not None:
        _metadata(submission.metadata, faults)


def _label(name: str, value: str, longest: int) -> Fault | None:
    if 0 < len(value) <= longest and value.isprintable():
        return None
    return Fault(name, "invalid_value", f"`{name}` must be 1 to {longest} printable characters")


def _metadata(metadata: Mapping[str, str], faults: list[Fault]) -> None:
    size = 1 + len(metadata) * 2 + sum(json_size(k) + json_size(v) for k, v in metadata.items())
    if size > MAX_METADATA:
        message = f"`metadata` is {size} bytes of JSON; at most {MAX_METADATA} are kept: shorten it"
        faults.append(Fault("metadata", "invalid_value", message))
    if any(_SURROGATE.search(text) for pair in metadata.items() for text in pair):
        faults.append(Fault("metadata", "invalid_value", "`metadata` holds half a surrogate pair: remove it"))


def _callback(url: str, tenant: str | Fault, rules: CallbackRules, faults: list[Fault]) -> None:
    """What is wrong with where it is to be told what happens to a message of `tenant` (a Fault: nobody knows whose)."""
    callee = callee_of(url)
    if isinstance(callee, str):
        faults.append(Fault("callback_url", "invalid_value", f"`callback_url` {callee}"))
        return
    if not may_name(callee, rules.allowed):
        message = "`callback_url` names a private address: name a public one, or ask the operator of smsd to allow it"
        faults.append(Fault("callback_url", "not_allowed", message, circumstantial=True))
    if not isinstance(tenant, Fault) and not rules.secrets_of(tenant):
        message = "`callback_url` needs a secret to sign with: ask the operator of smsd for one, or leave it out"
        faults.append(Fault("callback_url", "not_available", message, circumstantial=True))
