"""What does a caller's JSON ask for, and what is wrong with it?

A submission is first decoded straight into its type, which is fast and nearly always right. Only when that fails is it
decoded again into plain values and looked at field by field, because the fast decoder stops at the first fault and
callers are owed all of them. It refuses to judge what it reads beyond names and types.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from types import NoneType
from typing import Any, Final, NamedTuple, TypeVar, get_args, get_origin

import msgspec

from smsd.core.acceptance import Fault
from smsd.wire.doubles import Double, doubles, proven
from smsd.wire.requests import SEND, Ref, SendLine, Submission

MAX_REF: Final = 256
"""Bytes of a ref as JSON."""

MAX_FAULTS: Final = 32
"""Faults named in one answer; a request with more of them is told the first ones."""

TOO_DEEP: Final = Fault("", "malformed", "nested too deeply: send a flat JSON object")

_ESCAPE = re.compile(rb"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_HIGH = re.compile(rb"u[dD][89abAB]")
_LOW = re.compile(rb"u[dD][c-fC-F]")
"""Halves of a pair of escapes (RFC 8259, section 7)."""

S = TypeVar("S", bound=msgspec.Struct)


class WireError(Exception):
    """A line that is no request. `faults` has at least one; `ref` is the line's own where it could be read.

    `partial`: what could be read of it, so that the rest can be judged in the same answer; None: too little.
    """

    def __init__(self, faults: Sequence[Fault], ref: Ref = None, partial: msgspec.Struct | None = None) -> None:
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
_submission_decoder = msgspec.json.Decoder(Submission)
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
    if not proven(line, sent) or (sent.ref is not None and _too_long(sent.ref)):
        return _decode_slowly(line, requests)
    if sent.op is not None:
        if sent.op != SEND:
            return _decode_slowly(line, requests)
        sent.op = None
    return Decoded(SEND, sent.ref, sent)


def _decode_slowly(line: bytes, requests: Mapping[str, type[msgspec.Struct]]) -> Decoded:
    found = _object(line)
    twice = _twice(line, found)
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
    _add(faults, twice)
    if faults:
        raise WireError(faults, ref, _partial(kind, values))
    return Decoded(op, ref, SendLine(ref=ref, **values) if kind is SendLine else kind(**values))


def _partial(kind: type[msgspec.Struct], values: Mapping[str, object]) -> msgspec.Struct | None:
    is_whole = all(field.name in values for field in fields_of(kind).values() if field.required)
    return kind(**values) if is_whole else None


def decode_submission(body: bytes) -> Submission:
    """The one submission in a body or an element of a batch. Raises WireError as decode_line does.

    `op` and `ref` belong to the socket and are unknown here.
    """
    try:
        submission = _submission_decoder.decode(body)
        if proven(body, submission):
            return submission
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    faults: list[Fault] = []
    found = _object(body)
    values = _values(found, Submission, faults)
    _add(faults, _twice(body, found))
    if faults:
        raise WireError(faults, partial=Submission(**values))
    return Submission(**values)


def build(kind: type[S], found: Mapping[str, object], faults: Iterable[Fault] = ()) -> S:
    """A request of this type from plain values by their names on the wire. Raises WireError with all faults.

    `faults`: those the door found in reading the values; they come first.
    """
    wrong = [*faults]
    values = _values(found, kind, wrong)
    if wrong:
        raise WireError(wrong)
    return kind(**values)


def decode_object(line: bytes) -> dict[str, object]:
    """The JSON object on the line, as plain values. Raises WireError malformed, and invalid_value for names that stand
    twice."""
    found = _object(line)
    twice = _twice(line, found)
    if twice:
        raise WireError(twice)
    return found


def _object(line: bytes) -> dict[str, object]:
    try:
        found = _any_decoder.decode(line)
    except UnicodeDecodeError as error:
        raise WireError([Fault("", "malformed", f"not UTF-8 at byte {error.start} of a string: send UTF-8")]) from None
    except RecursionError:
        raise WireError([TOO_DEEP]) from None
    except msgspec.MsgspecError as error:
        raise WireError([_unreadable(line, error)]) from None
    if not isinstance(found, dict):
        raise WireError([Fault("", "malformed", f"{_name(found)} is no request: send a JSON object")])
    return found


def _unreadable(line: bytes, error: msgspec.MsgspecError) -> Fault:
    """The decoder calls half a pair cut short, as if bytes were missing."""
    half = _lone_half(line)
    if half is None:
        return Fault("", "malformed", f"not JSON ({error}): send one JSON object on one line")
    what, at = half
    text = f"the escape {what} at byte {at} is half of a surrogate pair: send both halves, or the character as UTF-8"
    return Fault("", "malformed", text)


def _lone_half(line: bytes) -> tuple[str, int] | None:
    """The first escape that is half of a pair without its other half, and where it stands."""
    high: re.Match[bytes] | None = None
    for escape in _ESCAPE.finditer(line):
        follows = high is not None and escape.start() == high.end()
        is_low = _LOW.match(escape[1]) is not None
        if high is not None and not (follows and is_low):
            break
        if is_low and high is None:
            high = escape
            break
        high = escape if _HIGH.match(escape[1]) else None
    return None if high is None else (high[0].decode(), high.start())


def _twice(line: bytes, found: Mapping[str, object]) -> list[Fault]:
    """A fault for each field that stands twice, or under which a name does."""
    if proven(line, found):
        return []
    return [_doubled(double) for double in doubles(line)]


def _doubled(double: Double) -> Fault:
    name, inner = double
    if not _can_be_shown(name):
        return Fault("", "invalid_value", "a name stands twice in an object: give it once")
    what = f"a name in `{name}`" if inner else f"`{name}`"
    return Fault(name, "invalid_value", f"{what} stands twice: give it once")


def _add(faults: list[Fault], others: Iterable[Fault]) -> None:
    """Those of fields that are not named yet."""
    named = {fault.field for fault in faults}
    faults += (fault for fault in others if fault.field not in named)


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


def _values(found: Mapping[str, object], kind: type[msgspec.Struct], faults: list[Fault]) -> dict[str, Any]:
    """The fields of `kind` that can be read, by their names in Python; what is wrong goes to `faults`."""
    fields = fields_of(kind)
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
def fields_of(kind: type[msgspec.Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    """The fields of a request by their names on the wire, without `op` and `ref`, which are read before its type."""
    fields = msgspec.structs.fields(kind)
    return {field.encode_name: field for field in fields if field.encode_name not in {"op", "ref"}}


def _unknown(name: str, fields: Mapping[str, object]) -> Fault:
    if not _can_be_shown(name):
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
    (float, ()): "a number",
    (bool, ()): "true or false",
    (list, (str,)): "an array of strings",
    (list, (object,)): "an array",
    (dict, (str, str)): "an object of strings",
    (dict, (str, object)): "an object",
}


def _why(value: object) -> str:
    return "what is in it is not" if isinstance(value, dict | list) else f"got {_name(value)}"


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
    return f"; got '{value}'" if _can_be_shown(value) else ""


def _can_be_shown(text: str) -> bool:
    return len(text) <= 32 and text.isprintable()


def content_hash(submission: Submission) -> bytes:
    """SHA-256 over what the caller sent: canonical JSON (names sorted, no spaces) of the fields that are not null.

    Without the key itself and without `op` and `ref`: the same message sent by another door, or with another mark, is
    the same content.
    """
    values = {field.encode_name: getattr(submission, field.name) for field in fields_of(type(submission)).values()}
    del values["idempotency_key"]
    sent = {name: value for name, value in values.items() if value is not None}
    return hashlib.sha256(_sorted_encoder.encode(sent)).digest()
