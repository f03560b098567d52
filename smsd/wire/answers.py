"""How do answers look as bytes?

The envelope of the socket's answers (`ok`, `ref` and the result or the error, ended by the newline that the socket
needs), the result lines of a batch, and plain JSON for HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from smsd.core.acceptance import Fault
from smsd.wire.requests import Ref

_encoder = msgspec.json.Encoder()


def encode(answer: object) -> bytes:
    """Any answer as JSON."""
    return _encoder.encode(answer)


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


class _Taken(msgspec.Struct, gc=False):
    index: int
    ok: bool
    id: str
    state: str
    segments: int
    encoding: str
    replayed: bool


def encode_taken(index: int, id: str, state: str, segments: int, encoding: str, replayed: bool) -> bytes:
    """The result of a batch's submission that was, with its newline."""
    return _encoder.encode(_Taken(index, True, id, state, segments, encoding, replayed)) + b"\n"


def encode_ok(ref: Ref, answer: msgspec.Struct, envelope: str = "") -> bytes:
    """The answer to any other request that worked, with its newline: the answer's fields beside `ok` and `ref`, or the
    answer as the one field `envelope`."""
    fields = {envelope: answer} if envelope else _said(answer)
    return _encoder.encode({"ok": True, "ref": ref, **fields}) + b"\n"


def _said(answer: msgspec.Struct) -> dict[str, object]:
    """The fields that have a value, which only `answer` itself could leave out."""
    return {name: value for name, value in msgspec.structs.asdict(answer).items() if value is not msgspec.UNSET}


def encode_error(ref: Ref, faults: Sequence[Fault]) -> bytes:
    """The answer to a request that did not, with its newline."""
    return _encoder.encode({"ok": False, "ref": ref, "error": _error(faults)}) + b"\n"


def encode_refused(index: int, faults: Sequence[Fault]) -> bytes:
    """The result of a batch's submission that was not taken, with its newline."""
    return _encoder.encode({"index": index, "ok": False, "error": _error(faults)}) + b"\n"


def _error(faults: Sequence[Fault]) -> dict[str, object]:
    """The first of the faults (at least one) leads; all are in `errors`. One of no field in particular has a null
    one. `retry_after_s` is there only where somebody knows it."""
    errors = [{"field": fault.field or None, "code": fault.code, "message": fault.message} for fault in faults]
    first = errors[0]
    wait_s = faults[0].retry_after_s
    known = {} if wait_s is None else {"retry_after_s": wait_s}
    return {"code": first["code"], "message": first["message"], "field": first["field"], **known, "errors": errors}
