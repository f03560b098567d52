"""What do requests and answers look like as JSON?

One schema for every door: the request types below, their decoding with every fault named, and the views of messages
and attempts. It knows `core` and JSON. It refuses to judge what it reads beyond names and types (numbers, texts and
times are judged in `core.acceptance`), and knows neither sockets nor who asks.

A line is first decoded straight into the type of a submission, which is fast and nearly always right. Only when that
fails is it decoded again into plain values and looked at field by field, because the fast decoder stops at the first
fault and callers are owed all of them. Answers end with the newline that the socket needs.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from types import NoneType
from typing import Any, Final, NamedTuple, get_args, get_origin

import msgspec

from smsd.core.acceptance import Fault
from smsd.core.message import Attempt, Error, Instant, Message, State
from smsd.core.units import rfc3339
from smsd.core.waiting import Waiting

Ref = str | int | float | bool | None
"""What a caller marks a request with; it comes back in the answer."""

MAX_REF: Final = 256
"""Bytes of a ref as JSON."""

MAX_FAULTS: Final = 32
"""Faults named in one answer; a request with more of them is told the first ones."""

SEND: Final = "send"
"""The operation of an object without `op`."""


# -- requests ----------------------------------------------------------------------------------------------------------


class Submission(msgspec.Struct, forbid_unknown_fields=True, rename={"from_": "from"}, gc=False):
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

    op: str = SEND
    ref: Ref = None


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """What every other request has; `op` is read before the type is known, `ref` beside it."""


class Get(Request):
    """One message."""

    id: str


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


class Retry(Request):
    """An operator's retry: attempts and time to live begin anew."""

    id: str
    ttl: str | None = None
    expires_at: str | None = None
    force: bool = False
    """Also one that may have been taken (failed UNCERTAIN)."""


class Stats(Request):
    """Counts of the whole daemon."""


class Providers(Request):
    """The providers and how they stand."""


class Pause(Request):
    """Call a provider no more."""

    provider: str


class Resume(Request):
    """Call it again: lifts pause, halt and cooldown."""

    provider: str


class Ping(Request):
    """Is anybody there?"""


# -- decoding ----------------------------------------------------------------------------------------------------------


class WireError(Exception):
    """A line that is no request. `faults` has at least one; `ref` is the line's own where it could be read.

    `partial`, for a submission: what could be read of it, so that the rest can be judged in the same answer.
    """

    def __init__(self, faults: Sequence[Fault], ref: Ref = None, partial: SendLine | None = None) -> None:
        super().__init__(faults[0].message)
        self.faults = tuple(faults[:MAX_FAULTS])
        self.ref = ref
        self.partial = partial

    def joined(self, others: Iterable[Fault]) -> tuple[Fault, ...]:
        """These faults and those that were found in `partial`; a field that could not be read is named once."""
        named = {fault.field for fault in self.faults}
        return (*self.faults, *(fault for fault in others if fault.field not in named))[:MAX_FAULTS]


class Decoded(NamedTuple):
    """A request, its name and its mark."""

    op: str
    ref: Ref
    request: msgspec.Struct


_send_decoder = msgspec.json.Decoder(SendLine)
_any_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()
_sorted_encoder = msgspec.json.Encoder(order="sorted")


def decode_line(line: bytes, requests: Mapping[str, type[msgspec.Struct]]) -> Decoded:
    """The request on a line. `requests`: the type of each operation but `send`, by name.

    Raises WireError with all faults of the line, codes malformed, unknown_op, unknown_field, missing_field,
    invalid_value.
    """
    try:
        sent = _send_decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _decode_slowly(line, requests)
    if sent.op != SEND or (sent.ref is not None and _too_long(sent.ref)):
        return _decode_slowly(line, requests)
    return Decoded(SEND, sent.ref, sent)


def _decode_slowly(line: bytes, requests: Mapping[str, type[msgspec.Struct]]) -> Decoded:
    found = _object(line)
    ref, ref_fault = _read_ref(found.pop("ref", None))
    faults = [] if ref_fault is None else [ref_fault]
    op = found.pop("op", None)
    if op is None:
        op = SEND
    if not isinstance(op, str):
        raise WireError([*faults, Fault("op", "invalid_value", "`op` must be a string")], ref)
    kind = SendLine if op == SEND else requests.get(op)
    if kind is None:
        known = ", ".join(sorted({SEND, *requests}))
        raise WireError([*faults, Fault("op", "unknown_op", f"`op` must be one of {known}{_got(op)}")], ref)
    values = _values(found, kind, faults)
    if faults:
        raise WireError(faults, ref, SendLine(**values) if kind is SendLine else None)
    return Decoded(op, ref, SendLine(ref=ref, **values) if kind is SendLine else kind(**values))


def _object(line: bytes) -> dict[str, object]:
    """The JSON object on the line, as plain values."""
    try:
        found = _any_decoder.decode(line)
    except UnicodeDecodeError as error:
        raise WireError([Fault("", "malformed", f"not UTF-8 at byte {error.start} of a string: send UTF-8")]) from None
    except RecursionError:
        raise WireError([Fault("", "malformed", "nested too deeply: send a flat JSON object")]) from None
    except msgspec.MsgspecError as error:
        raise WireError([Fault("", "malformed", f"not JSON ({error}): send one JSON object on one line")]) from None
    if not isinstance(found, dict):
        raise WireError([Fault("", "malformed", f"{_name(found)} is no request: send a JSON object")])
    return found


def _read_ref(value: object) -> tuple[Ref, Fault | None]:
    if value is not None and not isinstance(value, str | int | float | bool):
        return None, Fault("ref", "invalid_value", "`ref` must be a string, a number, true, false or null")
    if _too_long(value):
        return None, Fault("ref", "invalid_value", f"`ref` must be at most {MAX_REF} bytes of JSON")
    return value, None


def _too_long(ref: Ref) -> bool:
    if isinstance(ref, str) and len(ref) * 6 + 2 <= MAX_REF:
        return False  # six bytes are the longest a character can become
    return len(_encoder.encode(ref)) > MAX_REF


def _values(found: dict[str, object], kind: type[msgspec.Struct], faults: list[Fault]) -> dict[str, Any]:
    """The fields of `kind` that can be read, by their names in Python; what is wrong goes to `faults`."""
    fields = _fields(kind)
    values: dict[str, Any] = {}
    for name, value in found.items():
        if len(faults) >= MAX_FAULTS:
            break
        field = fields.get(name)
        if field is None:
            faults.append(_unknown(name, fields))
            continue
        try:
            values[field.name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            faults.append(Fault(name, "invalid_value", f"`{name}` must be {_kind(field.type)}; {_why(value)}"))
    for name, field in fields.items():
        if field.required and name not in found:
            faults.append(Fault(name, "missing_field", f"`{name}` is missing: give {_kind(field.type)}"))
    return values


@cache
def _fields(kind: type[msgspec.Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    """By name on the wire; without what is read before the type is known."""
    fields = msgspec.structs.fields(kind)
    return {field.encode_name: field for field in fields if field.encode_name not in {"op", "ref"}}


def _unknown(name: str, fields: Mapping[str, object]) -> Fault:
    if len(name) > 32 or not name.isprintable():
        return Fault("", "unknown_field", "a field's name is not one of this request: remove it")
    near = get_close_matches(name, fields, n=1)
    remedy = f"did you mean `{near[0]}`?" if near else "remove it"
    return Fault(name, "unknown_field", f"`{name}` is not a field of this request: {remedy}")


def _kind(wanted: object) -> str:
    """A field's type in words."""
    options = [option for option in get_args(wanted) if option is not NoneType] or [wanted]
    option = wanted if get_origin(wanted) is dict else options[0]
    return _WORDS[get_origin(option) or option, get_args(option)]


_WORDS: Mapping[tuple[object, tuple[object, ...]], str] = {
    (str, ()): "a string",
    (int, ()): "a whole number",
    (bool, ()): "true or false",
    (dict, (str, str)): "an object of strings",
    (dict, (str, object)): "an object",
}


def _why(value: object) -> str:
    return "what is in it is not" if isinstance(value, dict) else f"got {_name(value)}"


def _name(value: object) -> str:
    """What kind of JSON value it is; never the value: it may be a text."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int():
            return "a number"
        case float():
            return "a number with a fraction"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def _got(value: str) -> str:
    return f"; got '{value}'" if len(value) <= 32 and value.isprintable() else ""


def content_hash(submission: Submission) -> bytes:
    """SHA-256 over what the caller sent: canonical JSON (names sorted, no spaces) of the fields that are not null.

    Without the key itself and without `op` and `ref`: the same message sent by another door, or with another mark, is
    the same content.
    """
    values = {field.encode_name: getattr(submission, field.name) for field in _fields(type(submission)).values()}
    del values["idempotency_key"]
    sent = {name: value for name, value in values.items() if value is not None}
    return hashlib.sha256(_sorted_encoder.encode(sent)).digest()


# -- views -------------------------------------------------------------------------------------------------------------


class ErrorView(msgspec.Struct):
    """Why something did not work."""

    category: str
    code: str | None
    message: str
    provider: str | None
    at: str
    cause: str | None


class WaitingView(msgspec.Struct):
    """Why it has not gone yet."""

    reason: str
    until: str | None
    text: str


class MessageView(msgspec.Struct, rename={"from_": "from"}):
    """A message as every door shows it; times RFC 3339 UTC, what is absent null."""

    id: str
    state: str
    to: str
    from_: str | None
    text: str
    tenant: str
    user: str | None
    type: str | None
    campaign: str | None
    priority: str
    segments: int
    encoding: str
    length: int
    attempts: int
    max_attempts: int
    created_at: str
    send_at: str | None
    expires_at: str
    next_attempt_at: str | None
    sent_at: str | None
    processed_at: str | None
    delivered_at: str | None
    provider: str | None
    provider_message_id: str | None
    price: str | None
    error: ErrorView | None
    waiting: WaitingView | None
    metadata: dict[str, str] | None
    idempotency_key: str | None
    truncated: bool


class AttemptView(msgspec.Struct):
    """One call to a provider."""

    n: int
    started_at: str
    latency_ms: int | None
    provider: str
    outcome: str
    http_status: int | None
    code: str | None
    category: str | None
    provider_message_id: str | None
    trace: str | None


def message_view(message: Message, waiting: Waiting | None) -> MessageView:
    """The view of a message; `waiting` is None exactly for a final one."""
    return MessageView(
        id=message.id,
        state=message.state.label,
        to=message.recipient,
        from_=message.sender,
        text=message.text,
        tenant=message.tenant,
        user=message.user,
        type=message.type,
        campaign=message.campaign,
        priority=message.priority.label,
        segments=message.segments,
        encoding=message.encoding.label,
        length=message.length,
        attempts=message.attempt,
        max_attempts=message.max_attempts,
        created_at=rfc3339(message.created_at),
        send_at=_time(message.send_at),
        expires_at=rfc3339(message.expires_at),
        next_attempt_at=rfc3339(message.due) if message.state is State.PENDING else None,
        sent_at=_time(message.sent_at),
        processed_at=_time(message.processed_at),
        delivered_at=_time(message.delivered_at),
        provider=message.provider,
        provider_message_id=message.provider_message_id,
        price=message.price,
        error=None if message.error is None else _error_view(message.error),
        waiting=None if waiting is None else WaitingView(waiting.reason, _time(waiting.until), waiting.text),
        metadata=message.metadata,
        idempotency_key=message.idempotency_key,
        truncated=message.truncated,
    )


def _error_view(error: Error) -> ErrorView:
    return ErrorView(error.category, error.code, error.message, error.provider, rfc3339(error.at), error.cause)


def attempt_view(attempt: Attempt) -> AttemptView:
    """The view of an attempt, its redacted trace included."""
    return AttemptView(
        n=attempt.n,
        started_at=rfc3339(attempt.started_at),
        latency_ms=attempt.latency_ms,
        provider=attempt.provider,
        outcome=attempt.outcome,
        http_status=attempt.http_status,
        code=attempt.code,
        category=attempt.category,
        provider_message_id=attempt.provider_message_id,
        trace=attempt.trace,
    )


def _time(at: Instant | None) -> str | None:
    return None if at is None else rfc3339(at)


# -- answers -----------------------------------------------------------------------------------------------------------


class _Accepted(msgspec.Struct, gc=False):
    ok: bool
    ref: Ref
    id: str
    state: str
    segments: int
    encoding: str
    replayed: bool


def encode_accepted(ref: Ref, id: str, state: str, segments: int, encoding: str, replayed: bool) -> bytes:
    """The answer to an accepted submission, with its newline."""
    return _encoder.encode(_Accepted(True, ref, id, state, segments, encoding, replayed)) + b"\n"


def encode_ok(ref: Ref, result: Mapping[str, object]) -> bytes:
    """The answer to any other request that worked, with its newline."""
    return _encoder.encode({"ok": True, "ref": ref, **result}) + b"\n"


def encode_error(ref: Ref, faults: Sequence[Fault]) -> bytes:
    """The answer to a request that did not, with its newline. The first of the faults (at least one) leads."""
    errors = [{"field": fault.field or None, "code": fault.code, "message": fault.message} for fault in faults]
    first = errors[0]
    error = {"code": first["code"], "message": first["message"], "field": first["field"], "errors": errors}
    return _encoder.encode({"ok": False, "ref": ref, "error": error}) + b"\n"


def encode_cursor(seq: int) -> str:
    """The opaque text of a place in a listing."""
    return base64.urlsafe_b64encode(seq.to_bytes(8, "big")).decode().rstrip("=")


def decode_cursor(text: str) -> int:
    """The place a cursor names. Raises ValueError for what encode_cursor did not make."""
    try:
        seq = int.from_bytes(base64.b64decode(text + "=", altchars=b"-_", validate=True), "big")
    except ValueError:
        seq = -1
    if seq < 0 or seq >= 2**63 or encode_cursor(seq) != text:
        raise ValueError("not a cursor that a listing gave: start again without one")
    return seq
