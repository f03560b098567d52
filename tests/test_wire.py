"""The JSON of requests and answers: what is read, what is refused and how, and what every view holds."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd import wire
from smsd.core.acceptance import Fault
from smsd.core.message import Attempt, Encoding, Error, Message, MessageId, Priority, State
from smsd.core.units import rfc3339
from smsd.core.verdict import Category
from smsd.core.waiting import Reason, Waiting
from smsd.wire import SendLine, WireError

REQUESTS: dict[str, type[msgspec.Struct]] = {
    "send": SendLine,
    "get": wire.Get,
    "list": wire.List,
    "attempts": wire.Attempts,
    "cancel": wire.Cancel,
    "reschedule": wire.Reschedule,
    "retry": wire.Retry,
    "stats": wire.Stats,
    "providers": wire.Providers,
    "pause": wire.Pause,
    "resume": wire.Resume,
    "ping": wire.Ping,
}


def refusal(line: bytes) -> WireError:
    with pytest.raises(WireError) as caught:
        wire.decode_line(line, REQUESTS)
    assert caught.value.faults
    return caught.value


# -- decoding ----------------------------------------------------------------------------------------------------------


def test_an_object_without_op_is_a_message() -> None:
    found = wire.decode_line(b'{"to": "+14155550123", "text": "hi", "from": "ACME", "ref": 7}', REQUESTS)
    assert found == ("send", 7, SendLine(to="+14155550123", text="hi", from_="ACME", ref=7))
    same = wire.decode_line(b'{"op": "send", "to": "+14155550123", "text": "hi", "from": "ACME", "ref": 7}', REQUESTS)
    assert same == found


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (b'{"op":"get","id":"x"}', wire.Get("x")),
        (b'{"op":"list","state":"failed","limit":5}', wire.List(state="failed", limit=5)),
        (b'{"op":"attempts","id":"x"}', wire.Attempts("x")),
        (b'{"op":"cancel","id":"x"}', wire.Cancel("x")),
        (b'{"op":"reschedule","id":"x","send_at":"now","ttl":"1h"}', wire.Reschedule("x", "now", "1h")),
        (b'{"op":"retry","id":"x","force":true,"ttl":"1h"}', wire.Retry("x", ttl="1h", force=True)),
        (b'{"op":"stats"}', wire.Stats()),
        (b'{"op":"providers"}', wire.Providers()),
        (b'{"op":"pause","provider":"main"}', wire.Pause("main")),
        (b'{"op":"resume","provider":"main"}', wire.Resume("main")),
        (b'{"op":"ping"}', wire.Ping()),
    ],
)
def test_every_operation(line: bytes, request_: msgspec.Struct) -> None:
    marked = line[:-1] + b',"ref":"r"}'
    assert wire.decode_line(marked, REQUESTS) == (json.loads(line)["op"], "r", request_)


@pytest.mark.parametrize("ref", [None, True, False, 0, -1, 2**80, 1.5, "", "r" * 254, "é" * 127])
def test_refs_come_back(ref: wire.Ref) -> None:
    line = json.dumps({"op": "ping", "ref": ref}).encode()
    assert wire.decode_line(line, REQUESTS).ref == ref
    sent = json.dumps({"to": "x", "ref": ref}).encode()
    found = wire.decode_line(sent, REQUESTS)
    assert found.ref == ref
    assert type(found.ref) is type(ref)


MALFORMED = [
    b"", b"{", b"[]", b'"x"', b"1", b"null", b"{} {}", b"not json", b"\xff\xfe", b'{"text": "\xff"}',
    b'{"\xc3\x28": 1}', b'{"text": "\\ud800"}', b'{"text": "\x00"}',
    b"[" * 60_000, b'{"a":' * 10_000, b'{"ref": 1e999}', b"\x00" * 100,
    b'{"to": "+1"', b"{'to': 1}", b'{"to": 01}', b'{"to": NaN}', b"9" * 60_000,
]  # fmt: skip


@pytest.mark.parametrize("line", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_lines(line: bytes) -> None:
    found = refusal(line)
    assert [fault.code for fault in found.faults] == ["malformed"]
    assert ":" in found.faults[0].message
    assert found.ref is None
    assert found.partial is None


@pytest.mark.parametrize(
    ("line", "faults"),
    [
        (b'{"op":"sned"}', [("op", "unknown_op")]),
        (b'{"op":5}', [("op", "invalid_value")]),
        (b'{"op":"get"}', [("id", "missing_field")]),
        (b'{"op":"get","id":null}', [("id", "invalid_value")]),
        (b'{"op":"get","id":7}', [("id", "invalid_value")]),
        (b'{"op":"get","id":"x","text":"y"}', [("text", "unknown_field")]),
        (b'{"op":"list","limit":"5"}', [("limit", "invalid_value")]),
        (b'{"op":"list","limit":1.5}', [("limit", "invalid_value")]),
        (b'{"op":"retry","force":1}', [("force", "invalid_value"), ("id", "missing_field")]),
        (b'{"op":"ping","ref":[1]}', [("ref", "invalid_value")]),
        (b'{"to":1,"txt":"y","metadata":{"a":1}}',
         [("to", "invalid_value"), ("txt", "unknown_field"), ("metadata", "invalid_value")]),
        (b'{"to":["a"],"max_attempts":true,"vars":3}',
         [("to", "invalid_value"), ("max_attempts", "invalid_value"), ("vars", "invalid_value")]),
        (b'{"from_":"x"}', [("from_", "unknown_field")]),
        (b'{"\\u0000":1}', [("", "unknown_field")]),
    ],
)  # fmt: skip
def test_all_faults_of_a_line(line: bytes, faults: list[tuple[str, str]]) -> None:
    found = refusal(line)
    assert [(fault.field, fault.code) for fault in found.faults] == faults
    marked = refusal(line[:-1] + b',"ref":"mine"}' if b"ref" not in line else line)
    assert marked.ref == (None if b"ref" in line else "mine")


def test_a_fault_names_the_remedy_and_not_the_value() -> None:
    assert refusal(b'{"txet":"secret words"}').faults[0].message.endswith("did you mean `text`?")
    for line in (
        b'{"text":["secret words"]}',
        b'{"to":{"secret words":1}}',
        b'{"secret words secret words secrets":1}',
    ):
        assert "secret" not in refusal(line).faults[0].message
    assert "one of attempts, cancel" in refusal(b'{"op":"x"}').faults[0].message
    assert "xxxxx" not in refusal(b'{"op":"' + b"x" * 40 + b'"}').faults[0].message


@pytest.mark.parametrize("ref", [b'"' + b"x" * 300 + b'"', b"1" * 300, b'"' + b"\\n" * 200 + b'"', b"{}", b"[]"])
@pytest.mark.parametrize("rest", [b'"op":"ping"', b'"to":"x"'])
def test_refs_that_are_refused(ref: bytes, rest: bytes) -> None:
    found = refusal(b"{" + rest + b',"ref":' + ref + b"}")
    assert [(fault.field, fault.code) for fault in found.faults] == [("ref", "invalid_value")]
    assert found.ref is None


LONE = [
    (rb'{"text": "\ud800"}', r"\ud800", 10),
    (rb'{"to": "x", "text": "a\\\udbffb\udc00"}', r"\udbff", 24),
    (rb'{"text": "\uDC00\uD800"}', r"\uDC00", 10),
    (rb'{"text": "\ud83d\ude00 \ud83d\ud83d\ude00"}', r"\ud83d", 23),
    (rb'{"\ud83d": 1}', r"\ud83d", 2),
]


@pytest.mark.parametrize(("line", "escape", "at"), LONE)
def test_half_a_surrogate_pair_is_named(line: bytes, escape: str, at: int) -> None:
    (fault,) = refusal(line).faults
    assert (fault.code, fault.field) == ("malformed", "")
    assert f"{escape} at byte {at} " in fault.message
    assert "send both halves" in fault.message
    with pytest.raises(WireError, match="surrogate pair"):
        wire.decode_submission(line)


def test_a_cut_line_is_not_blamed_on_its_pairs() -> None:
    assert "not JSON" in refusal(rb'{"text": "\ud83d\ude00", "to": "\\ud800').faults[0].message


TWICE = [
    (b'{"to":"+14155550123","text":"hi","to":"+14155550199"}', [("to", "`to`")]),
    (b'{"to" \t:"a","text":"hi","to"\n:"b"}', [("to", "`to`")]),
    (b'{"text":"hi","to":"a","t\\u006f":"b"}', [("to", "`to`")]),
    (b'{"to":"a\\u003ab","text":"c","to":"d"}', [("to", "`to`")]),
    (b'{"to":"d","to":"a\\u003ab","text":"c"}', [("to", "`to`")]),
    (b'{"to":null,"text":"hi","to":"b"}', [("to", "`to`")]),
    (b'{"to":":","text":"hi","to":"b"}', [("to", "`to`")]),
    (b'{"to":"b","text":"c","ref":1,"ref":1}', [("ref", "`ref`")]),
    (b'{"op":"send","to":"b","op":"send"}', [("op", "`op`")]),
    (b'{"to":"b","metadata":{"a":"1","a":"1"}}', [("metadata", "a name in `metadata`")]),
    (b'{"to":"b","metadata":{"a":"1","a":":"}}', [("metadata", "a name in `metadata`")]),
    (b'{"to":"b","vars":{"a":[{"b":1},{"b":1,"b":2}]}}', [("vars", "a name in `vars`")]),
    (b'{"to":"b","text":"c","to":"b","text":"c","to":"b"}', [("to", "`to`"), ("text", "`text`")]),
]


@pytest.mark.parametrize(("line", "faults"), TWICE)
def test_a_name_that_stands_twice_is_refused(line: bytes, faults: list[tuple[str, str]]) -> None:
    found = refusal(line)
    assert [(fault.field, fault.code) for fault in found.faults] == [(field, "invalid_value") for field, _ in faults]
    assert [fault.message for fault in found.faults] == [f"{what} stands twice: give it once" for _, what in faults]
    if b'"op"' not in line and b'"ref"' not in line:
        with pytest.raises(WireError, match="stands twice"):
            wire.decode_submission(line)
    with pytest.raises(WireError, match="stands twice"):
        wire.decode_object(line)


def test_names_that_stand_twice_are_told_with_the_rest() -> None:
    found = refusal(b'{"ref":7,"to":1,"to":2,"txt":1,"txt":1,"ttl":"1h","ttl":"2h"}')
    assert found.ref == 7
    assert [(fault.field, fault.code) for fault in found.faults] == [
        ("to", "invalid_value"),
        ("txt", "unknown_field"),
        ("ttl", "invalid_value"),
    ]
    assert [fault.field for fault in refusal(b'{"op":"get","id":"a","id":"b"}').faults] == ["id"]
    secret = b"secret " * 8
    assert "secret" not in refusal(b'{"' + secret + b'":1,"' + secret + b'":1}').faults[0].message


TRICKY = st.text(st.sampled_from('":{}\\ a\n,é😀'), max_size=8)
SUBMISSIONS = st.fixed_dictionaries(
    {"to": TRICKY, "text": TRICKY},
    optional={
        "user": TRICKY,
        "send_at": st.none() | TRICKY,
        "metadata": st.dictionaries(TRICKY, TRICKY, max_size=3),
        "vars": st.dictionaries(TRICKY, TRICKY | st.dictionaries(TRICKY, TRICKY, max_size=2), max_size=3),
    },
)
PLACES = st.sampled_from(["to", "text", "metadata", "vars"])


@settings(max_examples=200, deadline=None)
@given(SUBMISSIONS, st.booleans(), st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t : ")]), PLACES, TRICKY)
def test_exactly_the_names_that_stand_twice_are_refused(
    found: dict[str, Any], ascii: bool, separators: tuple[str, str], place: str, value: str
) -> None:
    body = json.dumps(found, ensure_ascii=ascii, separators=separators)
    assert wire.decode_submission(body.encode()) == wire.build(wire.Submission, found)
    assert wire.decode_line(body.encode(), REQUESTS).request == wire.build(SendLine, found)
    again = {place: {"x": value} if place in {"metadata", "vars"} else value}
    doubled = body[:-1] + separators[0] + json.dumps(again, ensure_ascii=ascii, separators=separators)[1:]
    if place not in found:
        assert wire.decode_submission(doubled.encode()) == wire.build(wire.Submission, {**found, **again})
        return
    with pytest.raises(WireError) as caught:
        wire.decode_submission(doubled.encode())
    assert [(fault.field, fault.code) for fault in caught.value.faults] == [(place, "invalid_value")]
    assert [fault.field for fault in refusal(doubled.encode()).faults] == [place]


def test_many_faults_are_bounded() -> None:
    line = json.dumps({f"field{n}": n for n in range(5_000)}).encode()
    assert len(refusal(line).faults) == wire.MAX_FAULTS


def test_what_can_be_read_is_judged_in_the_same_answer() -> None:
    found = refusal(b'{"to":"12","text":5,"priority":"urgent","bogus":1}')
    assert found.partial == SendLine(to="12", priority="urgent")
    others = [Fault("to", "invalid_recipient", "a"), Fault("text", "missing_field", "b")]
    assert [(fault.field, fault.code) for fault in found.joined(others)] == [
        ("text", "invalid_value"),
        ("bogus", "unknown_field"),
        ("to", "invalid_recipient"),
    ]
    assert refusal(b'{"op":"get"}').partial is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([*wire.fields_of(SendLine), "op", "ref", "id", "limit", "force"]) | st.text(max_size=8)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(NAMES, JSON | st.sampled_from(sorted(REQUESTS)), max_size=6))
def test_any_object_is_a_request_or_gets_named_errors(found: dict[str, Any]) -> None:
    line = json.dumps(found).encode()
    try:
        decoded = wire.decode_line(line, REQUESTS)
    except WireError as error:
        answer = json.loads(wire.encode_error(error.ref, error.faults))
        assert answer["ok"] is False
        assert answer["error"]["code"] in {
            "malformed", "unknown_op", "unknown_field", "missing_field", "invalid_value",
        }  # fmt: skip
    else:
        assert isinstance(decoded.request, REQUESTS[decoded.op])
        assert msgspec.convert(msgspec.to_builtins(decoded.request), type(decoded.request)) == decoded.request


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.builds(lambda a, b: b'{"to":"' + a + b'","ref":' + b, st.binary(), st.binary()))
def test_no_bytes_raise_anything_else(line: bytes) -> None:
    try:
        wire.decode_line(line, REQUESTS)
    except WireError as error:
        assert error.faults


# -- content -----------------------------------------------------------------------------------------------------------


def test_content_is_what_was_sent_without_its_envelope() -> None:
    def hashed(line: bytes) -> bytes:
        request = wire.decode_line(line, REQUESTS).request
        assert isinstance(request, SendLine)
        return wire.content_hash(request)

    first = hashed(b'{"to":"+1","text":"a","metadata":{"x":"1","y":"2"},"idempotency_key":"k"}')
    assert len(first) == 32
    assert hashed(b'{"op":"send","ref":9,"metadata":{"y":"2","x":"1"},"text":"a","to":"+1","ttl":null}') == first
    for other in (
        b'{"to":"+1","text":"b","metadata":{"x":"1","y":"2"}}',
        b'{"to":"+1","text":"a","metadata":{"x":"1","y":"3"}}',
        b'{"to":"+1","text":"a","metadata":{"x":"1","y":"2"},"priority":"normal"}',
        b'{"to":"a","text":"+1","metadata":{"x":"1","y":"2"}}',
    ):
        assert hashed(other) != first
    bare = wire.Submission(to="+1", text="a", metadata={"x": "1", "y": "2"}, idempotency_key="other")
    assert wire.content_hash(bare) == first


# -- views -------------------------------------------------------------------------------------------------------------

AT = 1_790_000_000_000
MESSAGE = Message(
    seq=7,
    id=MessageId("01990000-0000-7000-8000-000000000000"),
    state=State.PENDING,
    recipient="+14155550123",
    text="hi",
    tenant="shop",
    route="main",
    flow=1,
    priority=Priority.HIGH,
    created_at=AT,
    due=AT + 5_000,
    expires_at=AT + 60_000,
    segments=1,
    encoding=Encoding.GSM7,
    length=2,
    max_attempts=5,
    attempt=1,
    provider="main",
    metadata={"order": "17"},
    error=Error(Category.NETWORK, "No connection", AT + 1, code="7", provider="main", cause=None),
)


def as_json(view: object) -> dict[str, Any]:
    found = json.loads(msgspec.json.encode(view))
    assert isinstance(found, dict)
    return found


def test_a_redacted_message_is_shown_without_its_text() -> None:
    hidden = dataclasses.replace(MESSAGE, state=State.EXPIRED, text="", recipient="#0123", redacted=True)
    shown = as_json(wire.message_view(hidden, None))
    assert (shown["to"], shown["text"], shown["redacted"]) == ("#0123", None, True)


def test_a_pending_message_is_shown_in_full() -> None:
    waiting = Waiting(Reason.RETRY, AT + 5_000, "It is tried again.")
    shown = as_json(wire.message_view(MESSAGE, waiting))
    assert list(shown) == [
        "id", "state", "to", "from", "text", "tenant", "user", "type", "campaign", "priority", "segments", "encoding",
        "length", "attempts", "max_attempts", "created_at", "send_at", "expires_at", "next_attempt_at", "sent_at",
        "processed_at", "delivered_at", "provider", "provider_message_id", "price", "error", "waiting", "metadata",
        "idempotency_key", "truncated", "eta", "redacted",
    ]  # fmt: skip
    assert shown == {
        "id": MESSAGE.id, "state": "pending", "to": "+14155550123", "from": None, "text": "hi", "tenant": "shop",
        "user": None, "type": None, "campaign": None, "priority": "high", "segments": 1, "encoding": "gsm7",
        "length": 2, "attempts": 1, "max_attempts": 5, "created_at": rfc3339(AT), "send_at": None,
        "expires_at": rfc3339(AT + 60_000), "next_attempt_at": rfc3339(AT + 5_000), "sent_at": None,
        "processed_at": None, "delivered_at": None, "provider": "main", "provider_message_id": None, "price": None,
        "error": {"category": "NETWORK", "code": "7", "message": "No connection", "provider": "main",
                  "at": rfc3339(AT + 1), "cause": None},
        "waiting": {"reason": "retry", "until": rfc3339(AT + 5_000), "text": "It is tried again."},
        "metadata": {"order": "17"}, "idempotency_key": None, "truncated": False, "eta": None, "redacted": False,
    }  # fmt: skip


def test_a_message_that_is_done_waits_for_nothing() -> None:
    done = msgspec.structs.asdict(
        wire.message_view(dataclasses.replace(MESSAGE, state=State.SENT, error=None, sent_at=AT), None)
    )
    assert (done["next_attempt_at"], done["waiting"], done["error"]) == (None, None, None)
    assert done["sent_at"] == rfc3339(AT)


def test_an_attempt() -> None:
    attempt = Attempt(
        n=1, provider="main", started_at=AT, started_boot=5, cost=1, latency_ms=40, outcome="refuse", http_status=400,
        code="21211", category=Category.INVALID_RECIPIENT, provider_message_id=None, trace="400",
    )  # fmt: skip
    assert as_json(wire.attempt_view(attempt)) == {
        "n": 1, "started_at": rfc3339(AT), "latency_ms": 40, "provider": "main", "outcome": "refuse",
        "http_status": 400, "code": "21211", "category": "INVALID_RECIPIENT", "provider_message_id": None,
        "trace": "400", "receipt": None, "receipt_code": None, "receipt_at": None,
    }  # fmt: skip


# -- answers -----------------------------------------------------------------------------------------------------------


def test_an_acceptance() -> None:
    line = wire.encode_accepted("r", "some-id", "pending", 2, "ucs2", False)
    assert line == (
        b'{"ok":true,"ref":"r","id":"some-id","state":"pending","segments":2,"encoding":"ucs2","replayed":false}\n'
    )


def test_other_answers() -> None:
    pong = wire.Pong(True, "1")
    assert wire.encode_ok(None, pong) == b'{"ok":true,"ref":null,"pong":true,"version":"1"}\n'
    assert wire.encode_ok(7, pong, "it") == b'{"ok":true,"ref":7,"it":{"pong":true,"version":"1"}}\n'
    faults = (Fault("to", "missing_field", "no to"), Fault("", "backlog_full", "full"))
    answer = wire.encode_error(3, faults)
    assert answer.endswith(b"\n")
    assert json.loads(answer) == {
        "ok": False,
        "ref": 3,
        "error": {
            "code": "missing_field",
            "message": "no to",
            "field": "to",
            "errors": [
                {"field": "to", "code": "missing_field", "message": "no to"},
                {"field": None, "code": "backlog_full", "message": "full"},
            ],
        },
    }


def test_an_answer_is_one_line() -> None:
    assert wire.encode_ok("a\nb", wire.Exposition("c\r\nd\u2028")).count(b"\n") == 1


CURSORS = wire.Cursors(bytes(range(16)))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**63 - 1))
def test_a_cursor_comes_back(seq: int) -> None:
    assert CURSORS.decode(CURSORS.encode(seq)) == seq
    with pytest.raises(ValueError, match="not a cursor"):
        wire.Cursors(bytes(16)).decode(CURSORS.encode(seq))


def test_cursors_tell_nothing_of_their_places() -> None:
    """Neighbours differ in half of their bits, wherever they stand, and no two are the same."""
    blocks = [int.from_bytes(base64.urlsafe_b64decode(CURSORS.encode(seq)), "big") for seq in range(2_000)]
    assert len(set(blocks)) == len(blocks)
    changed = [(one ^ other).bit_count() for one, other in itertools.pairwise(blocks)]
    assert 46 < sum(changed) / len(changed) < 50
    for bit in range(96):
        assert 800 < sum(block >> bit & 1 for block in blocks) < 1_200


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=12, max_size=12))
def test_what_a_stranger_made_is_no_cursor(block: bytes) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        CURSORS.decode(base64.urlsafe_b64encode(block).decode())


@pytest.mark.parametrize(
    "text",
    ["", "x", "AAAAAAAAAAA", "A" * 16, "A" * 15, "é" * 16, "A" * 99, f"{CURSORS.encode(1)}=", "_" * 16],
)
def test_what_is_no_cursor(text: str) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        CURSORS.decode(text)


def test_an_error_says_when_to_come_again_only_where_it_is_known() -> None:
    known = Fault("to", "limit_exceeded", "`to` gets no more now", circumstantial=True, retry_after_s=1_800)
    error = {"code": "limit_exceeded", "message": "`to` gets no more now", "field": "to", "retry_after_s": 1_800}
    errors = [{name: error[name] for name in ("code", "message", "field")}]
    assert json.loads(wire.encode_error(7, [known]))["error"] == {**error, "errors": errors}
    assert json.loads(wire.encode_refused(0, [known]))["error"] == {**error, "errors": errors}
    other = dataclasses.replace(known, retry_after_s=None)
    assert "retry_after_s" not in json.loads(wire.encode_error(7, [other]))["error"]
