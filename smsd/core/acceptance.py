"""May this submission become a message, and if so, which?

`accept` turns what a caller asked for into a Draft, or says everything that is wrong with it at once, each fault with
its field, a code of a closed list, and the remedy. It is told the rules, the routes, who asks and what time it is.
What a tenant is bound to is judged by `bounds`, for the tenant the message will be of, whoever submits it.
It refuses to know the shape of the wire (types are checked there), the outbox (idempotency keys, backlog), limits and
opt-outs. A fault never repeats the text, and repeats other values only when they are short.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from smsd.core import address
from smsd.core.bounds import UNBOUND, priority_of, route_of
from smsd.core.message import Draft, Encoding, Instant, MessageId
from smsd.core.routing import Routes
from smsd.core.segments import Measure, fits, measure, plain, truncate
from smsd.core.submission import Fault, MessageRules, Origin, Refusal, Submission, TenantRules, one_of
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
MAX_TENANT = 128
MAX_METADATA = 2_048
"""Bytes of the metadata as JSON without spaces, non-ASCII as UTF-8."""
MAX_ATTEMPTS = 20

_FORBIDDEN = re.compile("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters (C0, DEL, C1) but LF and CR, and lone surrogates, which no encoding can carry."""

_ESCAPED = re.compile('["\\\\\b\t\n\f\r]')
_ESCAPED_LONG = re.compile("[\x00-\x07\x0b\x0e-\x1f]")
_SURROGATE = re.compile("[\ud800-\udfff]")

_OVERFLOWS = ("reject", "truncate")


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
    text, size, truncated = _text(submission, rules, faults)
    sender, route = route_of(submission, bounds, routes, recipient, faults)
    send_at, due, expires_at = _times(submission, rules, now, faults)
    priority = priority_of(submission.priority, bounds, faults)
    max_attempts = _max_attempts(submission, rules, faults)
    if isinstance(tenant, Fault):
        faults.append(tenant)
    _labels(submission, faults)
    if faults or isinstance(tenant, Fault):
        return Refusal(tuple(faults))
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
        profile=submission.retry,
        metadata=submission.metadata,
        idempotency_key=submission.idempotency_key,
        content_hash=content_hash,
    )


def tenant_of(submission: Submission, origin: Origin) -> str | Fault:
    """In whose name it is submitted: idempotency keys belong to a tenant, so a replay is looked for under this name."""
    asked = submission.tenant
    if asked is None or asked == origin.tenant:
        return origin.tenant
    if not origin.may_set_tenant:
        return Fault("tenant", "not_allowed", "`tenant` may be set only by an administrator: leave it out", True)
    return _label("tenant", asked, MAX_TENANT) or asked


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


_NOTHING = Measure(Encoding.GSM7, 0, 1)


def _text(submission: Submission, rules: MessageRules, faults: list[Fault]) -> tuple[str, Measure, bool]:
    """The text as it will be sent, its size, and whether it was cut."""
    overflow = submission.overflow
    if overflow is None:
        overflow = rules.overflow
    elif overflow not in _OVERFLOWS:
        faults.append(one_of("overflow", overflow, _OVERFLOWS))
    text = submission.text
    if text is None or submission.template is not None or submission.vars is not None or submission.lang is not None:
        faults.append(_no_text(submission))
        return "", _NOTHING, False
    size = measure(text)
    fault = _unsendable(text, size)
    if fault is not None:
        faults.append(fault)
        return "", size, False
    if rules.smart_encoding and size.encoding is Encoding.UCS2:
        text = plain(text)
        size = measure(text)
    cut = overflow == "truncate"
    if not (cut and rules.truncate_chars) and fits(size, rules.max_chars, rules.max_segments):
        return text, size, False
    return _cut(text, size, rules, faults) if cut else _too_long(size, rules, faults)


def _no_text(submission: Submission) -> Fault:
    for name in ("template", "vars", "lang"):
        if getattr(submission, name) is not None:
            return Fault(name, "not_available", "templates are not available yet; send `text`")
    return Fault("text", "missing_field", "`text` is missing: give what is to be sent")


def _unsendable(text: str, size: Measure) -> Fault | None:
    """What no carrier could send: nothing visible, control characters, half a surrogate pair."""
    if not text or text.isspace():
        return Fault("text", "invalid_value", "`text` is empty: give at least one visible character")
    if size.encoding is Encoding.GSM7 and "\f" not in text:
        return None  # of all that is forbidden, the GSM alphabet holds only the form feed
    found = _FORBIDDEN.search(text)
    if found is None:
        return None
    which = f"U+{ord(found[0]):04X} at position {found.start()}"
    return Fault("text", "invalid_value", f"`text` holds {which}: of control characters only LF and CR may be sent")


def _cut(text: str, size: Measure, rules: MessageRules, faults: list[Fault]) -> tuple[str, Measure, bool]:
    """A text too long is cut to `truncate_chars`. A greater `max_chars` beside it stays what it is without: the length
    from which a text is refused; else the two could not both mean something."""
    target, most = rules.truncate_chars, rules.max_chars
    if 0 < target < most < size.length:
        return _too_long(size, rules, faults)
    short = truncate(text, min(filter(None, (target, most)), default=0), rules.max_segments)
    if not short:
        return _too_long(size, rules, faults)
    return short, measure(short), short != text


def _too_long(size: Measure, rules: MessageRules, faults: list[Fault]) -> tuple[str, Measure, bool]:
    unit = "septets" if size.encoding is Encoding.GSM7 else "UTF-16 units"
    allowed = [f"{rules.max_segments} segments"] if rules.max_segments else []
    allowed += [f"{rules.max_chars} {unit}"] if rules.max_chars else []
    message = (
        f"`text` is {size.length} {unit} long ({size.encoding.label}) and needs {size.segments} segments; "
        f"at most {' and '.join(allowed)} are allowed: shorten it"
    )
    faults.append(Fault("text", "text_too_long", message, circumstantial=True))
    return "", size, False


def _times(
    submission: Submission, rules: MessageRules, now: Instant, faults: list[Fault]
) -> tuple[Instant | None, Instant, Instant]:
    """When it was asked to be sent, when it is due, when it expires."""
    send_at, due = None, now
    if submission.send_at is not None:
        try:
            send_at = instant(submission.send_at)
        except ValueError as error:
            faults.append(Fault("send_at", "invalid_value", f"`send_at` is {error}"))
        else:
            due = max(now, send_at)
            if due - now > MAX_AHEAD_MS:
                faults.append(Fault("send_at", "invalid_value", "`send_at` must be within a year from now"))
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
    """What is only kept and shown: key, user, type, metadata; and what is not there yet."""
    for name, value, longest in (
        ("idempotency_key", submission.idempotency_key, MAX_KEY),
        ("user", submission.user, MAX_USER),
        ("type", submission.type, MAX_TYPE),
    ):
        if value is not None and (fault := _label(name, value, longest)) is not None:
            faults.append(fault)
    if submission.metadata is not None:
        _metadata(submission.metadata, faults)
    if submission.campaign is not None:
        faults.append(Fault("campaign", "not_available", "campaigns are not available yet; leave `campaign` out"))
    if submission.callback_url is not None:
        faults.append(Fault("callback_url", "not_available", "callbacks are not available yet; leave it out"))


def _label(name: str, value: str, longest: int) -> Fault | None:
    if 0 < len(value) <= longest and value.isprintable():
        return None
    return Fault(name, "invalid_value", f"`{name}` must be 1 to {longest} printable characters")


def _metadata(metadata: Mapping[str, str], faults: list[Fault]) -> None:
    size = 1 + len(metadata) * 2 + sum(_json_size(k) + _json_size(v) for k, v in metadata.items())
    if size > MAX_METADATA:
        message = f"`metadata` is {size} bytes of JSON; at most {MAX_METADATA} are kept: shorten it"
        faults.append(Fault("metadata", "invalid_value", message))
    if any(_SURROGATE.search(text) for pair in metadata.items() for text in pair):
        faults.append(Fault("metadata", "invalid_value", "`metadata` holds half a surrogate pair: remove it"))


def _json_size(text: str) -> int:
    """Bytes of a string in JSON, quotes included, non-ASCII characters unescaped."""
    escapes = len(_ESCAPED.findall(text)) + 5 * len(_ESCAPED_LONG.findall(text))
    return 2 + len(text.encode("utf-8", "surrogatepass")) + escapes
