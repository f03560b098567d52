"""What does a request over HTTP ask for?

Path, query and body become the same request that a line on the socket would be, with the same words for what is wrong,
all of it at once. Query values are texts; a number or a truth value is read from its plain spelling only, so that a
typo is an error and not a default. It refuses to judge values (the handlers do), and knows neither sockets nor callers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from types import NoneType
from typing import get_args
from urllib.parse import parse_qsl

import msgspec

from smsd import wire
from smsd.core.acceptance import Fault
from smsd.listeners.callers import ProblemError

MAX_PARAMETERS = 64
"""Parameters of a query; no operation has a third of them."""

_NUMBER = re.compile(r"-?[0-9]{1,18}")
_DECIMAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_ESCAPE = re.compile(r"\\(.)")


def parameters(query: str, known: Iterable[str], faults: list[Fault]) -> dict[str, str]:
    """The parameters of a query as texts. What is unknown or given twice goes to `faults`. Raises ProblemError
    malformed for what is no query."""
    if not query:
        return {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeDecodeError:
        raise ProblemError.of("malformed", "The query is not UTF-8: percent-encode it as UTF-8.") from None
    except ValueError:
        raise ProblemError.of("malformed", f"The query has more than {MAX_PARAMETERS} parameters.") from None
    allowed = frozenset(known)
    found: dict[str, str] = {}
    doubled: set[str] = set()
    for name, value in pairs:
        if name not in allowed:
            faults.append(_unknown(name, allowed))
        elif name not in found:
            found[name] = value
        elif name not in doubled:
            doubled.add(name)
            faults.append(Fault(name, "invalid_value", f"`{name}` is given more than once: give it once"))
    return found


def _unknown(name: str, allowed: frozenset[str]) -> Fault:
    if len(name) > 32 or not name.isprintable():
        return Fault("", "unknown_field", "a parameter's name is not one of this route: remove it")
    near = get_close_matches(name, allowed, n=1)
    remedy = f"did you mean `{near[0]}`?" if near else "remove it"
    return Fault(name, "unknown_field", f"`{name}` is not a parameter of this route: {remedy}")


def typed(kind: type[msgspec.Struct], texts: Mapping[str, str]) -> dict[str, object]:
    """The texts of a query as the values their fields want; a text that is none stays, for `wire.build` to refuse."""
    fields = wire.fields_of(kind)
    return {name: _value(fields[name].type, text) for name, text in texts.items()}


def _value(wanted: object, text: str) -> object:
    kinds = {option for option in get_args(wanted) if option is not NoneType} or {wanted}
    if int in kinds:
        return int(text) if _NUMBER.fullmatch(text) else text
    if float in kinds:
        return float(text) if _DECIMAL.fullmatch(text) else text
    if bool in kinds:
        return _TRUTH.get(text, text)
    return text


def mend_number(texts: dict[str, str], name: str) -> None:
    """In a query `+` means a blank (WHATWG URL), but no number begins with one: `?to=+49...` means what it says."""
    text = texts.get(name, "")
    if text.startswith(" "):
        texts[name] = "+" + text[1:]


def submission_of(body: bytes) -> wire.Submission:
    """The one submission in a body. Raises wire.WireError."""
    try:
        return wire.decode_submission(body)
    except wire.WireError as error:
        if error.partial is None and body.lstrip()[:1] == b"[":
            text = "an array is no message: send one JSON object, or many messages to /v1/messages/batch"
            raise wire.WireError([Fault("", "malformed", text)]) from None
        raise


def add_key(submission: wire.Submission, values: Sequence[str], faults: list[Fault]) -> None:
    """Put what the header `Idempotency-Key` says into the submission: a text, or a quoted string
    (draft-ietf-httpapi-idempotency-key-header). Whether it may be a key is judged with the other fields."""
    key = _unquoted(values[0])
    if len(values) > 1:
        faults.append(_key_fault("`Idempotency-Key` is given more than once: give it once"))
    elif key is None:
        faults.append(_key_fault("`Idempotency-Key` begins with a quotation mark, but is no quoted string: end it"))
    elif submission.idempotency_key not in {None, key}:
        faults.append(_key_fault("`Idempotency-Key` and `idempotency_key` differ: give one of them"))
    else:
        submission.idempotency_key = key


def _unquoted(value: str) -> str | None:
    if not value.startswith('"'):
        return value
    match = _QUOTED.fullmatch(value)
    return None if match is None else _ESCAPE.sub(r"\1", match[1])


def _key_fault(message: str) -> Fault:
    return Fault("idempotency_key", "invalid_value", message)
