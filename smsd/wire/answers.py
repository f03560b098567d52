"""How do answers look as bytes?

The envelope of the socket's answers (`ok`, `ref` and the result or the error, ended by the newline that the socket
needs), plain JSON for HTTP, and the opaque cursors of listings.
"""

from __future__ import annotations

import base64
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


def encode_ok(ref: Ref, answer: msgspec.Struct, envelope: str = "") -> bytes:
    """The answer to any other request that worked, with its newline: the answer's fields beside `ok` and `ref`, or the
    answer as the one field `envelope`."""
    fields = {envelope: answer} if envelope else msgspec.structs.asdict(answer)
    return _encoder.encode({"ok": True, "ref": ref, **fields}) + b"\n"


def encode_error(ref: Ref, faults: Sequence[Fault]) -> bytes:
    """The answer to a request that did not, with its newline. The first of the faults (at least one) leads."""
    errors = error_list(faults)
    first = errors[0]
    error = {"code": first["code"], "message": first["message"], "field": first["field"], "errors": errors}
    return _encoder.encode({"ok": False, "ref": ref, "error": error}) + b"\n"


def error_list(faults: Sequence[Fault]) -> list[dict[str, str | None]]:
    """Every fault as `{field, code, message}`; a fault of no field in particular has a null one."""
    return [{"field": fault.field or None, "code": fault.code, "message": fault.message} for fault in faults]


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
