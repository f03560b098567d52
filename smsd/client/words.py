"""What is said to the daemon, and what does its answer say?

Requests and answers as dictionaries and as lines of JSON, the bounds of both, and which request may be said twice. The
answers are the daemon's own: no field's meaning is known here, and no socket.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from smsd.client.errors import SmsdError, SubmissionInvalid, misuse, refusal
from smsd.client.loss import StrangerError

Document = dict[str, Any]
"""A JSON object as the daemon sent it."""

Documents = list[Document]

TIMEOUT: Final = 30.0
"""Seconds a call may take unless told otherwise: a commit on a busy disk takes seconds, and nothing takes longer. What
a call waits for on purpose (`wait`) comes on top."""

WAIT_MOST: Final = 60.0
"""Seconds for which the daemon holds an answer back at most."""

SNAPSHOT_S: Final = 900.0
"""Seconds the first piece of a backup may take at least: the daemon makes the whole copy before it answers."""

REPORT_S: Final = 300.0
"""Seconds a report may take at least: it reads very many messages, and waits for its turn."""

WINDOW: Final = 256
"""Requests without an answer on one connection; the daemon stops reading at 1,000."""

LINE_BYTES: Final = 65_536
"""Longest request with its newline; the daemon closes the connection above it."""

ANSWER_BYTES: Final = 16 << 20
"""Longest answer taken: a full page of a listing is well below it."""

PAGE: Final = 200
"""Items asked for at once of a listing."""


def submission(to: str, text: str | None, fields: Mapping[str, Any]) -> Document:
    """The request that submits a message. `from_` stands for `from`, a word of Python; None means absent."""
    request: Document = {"op": "send", "to": to}
    for name, value in (("text", text), *fields.items()):
        if value is not None:
            request["from" if name == "from_" else name] = value
    return request


def given(op: str, **fields: Any) -> Document:
    """The request for `op` with those of the fields that are not None."""
    return {"op": op, **{name: value for name, value in fields.items() if value is not None}}


_WAIT: Final = re.compile(r"(?:([0-9]{1,6}(?:\.[0-9]{1,4})?)m)?(?:([0-9]{1,6}(?:\.[0-9]{1,3})?)s)?(?:([0-9]{1,6})ms)?")


def wait_s(wait: str | None) -> float:
    """Seconds in a `wait`; None is none. Raises SubmissionInvalid for what the daemon would refuse: then a message may
    have been sent already, so it is judged here."""
    if wait is None:
        return 0.0
    found = _WAIT.fullmatch(wait) if isinstance(wait, str) else None
    minutes, seconds, thousandths = (float(part or 0) for part in (found.groups() if found else ("", "", "")))
    total = minutes * 60 + seconds + thousandths / 1_000
    if not wait or not found or total > WAIT_MOST:
        raise misuse("wait", f'`wait` is a span of at most {WAIT_MOST:g} s: write "500ms", "5s" or "1m".')
    return total


def submission_of(item: Mapping[str, Any]) -> Document:
    """The request for one item of send_many; what `to` and `text` lack the daemon names."""
    fields = {name: value for name, value in item.items() if name not in {"to", "text"}}
    return submission(item.get("to", ""), item.get("text"), fields)


def encode(request: Document) -> bytes:
    """One line. Raises SubmissionInvalid for what JSON cannot say or the daemon would not read to its end."""
    try:
        line = json.dumps(request, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    except UnicodeEncodeError:
        raise SubmissionInvalid("invalid_value", "It holds characters that are not Unicode text; send UTF-8.") from None
    except (TypeError, ValueError, RecursionError) as error:
        message = f"It holds a value JSON cannot carry ({error}); pass strings, numbers and objects of strings."
        raise SubmissionInvalid("invalid_value", message) from None
    if len(line) > LINE_BYTES:
        raise SubmissionInvalid("too_long", f"It takes {len(line):,} bytes as JSON; at most {LINE_BYTES:,} are read.")
    return line


class Line(NamedTuple):
    """A request as the socket takes it, and what marks its answer."""

    data: bytes
    ref: int


def decode(line: bytes, ref: int) -> Document:
    """The answer, which must be to request `ref`; raises StrangerError when it is not smsd's."""
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        raise StrangerError from None
    if not isinstance(answer, dict) or answer.get("ref") != ref or not isinstance(answer.get("ok"), bool):
        raise StrangerError
    return answer


def result_of(answer: Document, op: str = "") -> Document:
    """The answer to the operation `op` without its envelope. Raises what the daemon's error says."""
    if answer["ok"]:
        return {name: value for name, value in answer.items() if name not in {"ok", "ref"}}
    raise refusal(answer.get("error") or {}, op)


def document_at(result: Document, name: str) -> Document:
    """The one object the result carries under `name`."""
    found: Document = result[name]
    return found


def documents_at(result: Document, name: str) -> Documents:
    """The list of objects the result carries under `name`."""
    found: Documents = result[name]
    return found


def line_of_result(index: int, outcome: Document | SmsdError) -> Document:
    """What send_many says of one message."""
    if isinstance(outcome, SmsdError):
        return {"index": index, "ok": False, "error": outcome.document()}
    return {"index": index, "ok": True, **outcome}


def page_request(op: str, filters: Mapping[str, Any], limit: int | None, cursor: str | None) -> Document:
    """The request for the next page of a listing of which `limit` items are still wanted (None: all)."""
    size = PAGE if limit is None else min(limit, PAGE)
    return given(op, **filters, limit=size, cursor=cursor)


def retry_request(id: str, ttl: str | None, expires_at: str | None, force: bool) -> Document:
    """The request that opens a new round for a message."""
    return given("retry", id=id, ttl=ttl, expires_at=expires_at, force=force or None)


def failed_request(op: str, ids: Iterable[str] | None, every: bool, fields: Mapping[str, Any]) -> Document:
    """The request that deals with messages of the failed queue."""
    return given(op, ids=None if ids is None else [*ids], all=every or None, **fields)


def reschedule_request(id: str, send_at: str, ttl: str | None, expires_at: str | None) -> Document:
    """The request that gives a message another time."""
    return given("reschedule", id=id, send_at=send_at, ttl=ttl, expires_at=expires_at)


def report_request(kind: str, fields: Mapping[str, Any]) -> Document:
    """The request for a report. Raises SubmissionInvalid for a kind there is not."""
    if kind not in REPORTS:
        raise misuse("kind", f"`kind` is one of {', '.join(REPORTS)}.")
    return given(f"report_{kind}", **fields)


def send_now_request(request: Document, wait: str) -> Document:
    """A submission whose answer is waited for, for doors that do both in one."""
    return {**request, "op": "send_now", "wait": wait}


REPORTS: Final = ("daily", "errors", "retries", "rate", "cost")

READS: Final = frozenset(
    {
        *(f"report_{kind}" for kind in REPORTS),
        *("get", "list", "attempts", "stats", "user", "recipient", "providers", "inbound", "suppressions", "callbacks"),
        *("campaign", "campaigns", "campaign_status"),
        *("events", "backup", "metrics", "ping", "audit", "failed", "alerts"),
    }
)
"""Operations that change nothing."""

_REPEATABLE: Final = READS | {
    *("pause", "resume", "suppress"),
    *("campaign_pause", "campaign_resume", "campaign_cancel", "campaign_delete"),
}
"""Operations that do no harm when the daemon sees them twice."""

_SENDS: Final = frozenset({"send", "send_now"})


def repeatable(request: Document) -> bool:
    """Whether it may be said again when nobody knows if the daemon saw it."""
    if request["op"] == "campaign_create":
        return bool(request.get("id"))
    return request["op"] in _REPEATABLE or (request["op"] in _SENDS and bool(request.get("idempotency_key")))


def acts(request: Document) -> bool:
    """Whether it changes something, so that it matters if the daemon saw it."""
    return request["op"] not in READS
