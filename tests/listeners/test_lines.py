"""What is answered to a line that is no request, and does the door live on?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smsd.listeners.connection import BLANK
from tests.listeners.house import NUMBER, Client, House, code, running

LINE = 65_536
GOOD = b'{"to":"+14155550123","text":"hi"'


def padded(size: int) -> bytes:
    """A ping of exactly so many bytes: blanks are allowed around JSON."""
    ping = b'{"op":"ping"}'
    return ping + b" " * (size - len(ping))


FAULTS = [
    # line, code, field, part of the message
    (b"hello", "malformed", None, "not JSON"),
    (b"{", "malformed", None, "not JSON"),
    (b'{"op":"ping"} {"op":"ping"}', "malformed", None, "not JSON"),
    (b'{"op":"ping",}', "malformed", None, "not JSON"),
    (b"[1]", "malformed", None, "an array is no request"),
    (b"null", "malformed", None, "null is no request"),
    (b'"send"', "malformed", None, "a string is no request"),
    (b'{"text":"\xff"}', "malformed", None, "not UTF-8"),
    (b'{"text":"\xed\xa0\x80"}', "malformed", None, "not UTF-8"),
    (b"\xff\xfe{}", "malformed", None, "not JSON"),
    (b'\xef\xbb\xbf{"op":"ping"}', "malformed", None, "not JSON"),
    (b"\x00", "malformed", None, "not JSON"),
    (b'{"op":"ping"}\x00', "malformed", None, "not JSON"),
    (b'{"text":"a\x00b"}', "malformed", None, "not JSON"),
    (b'{"text":"a\tb"}', "malformed", None, "not JSON"),
    (b'{"text":"\\ud800"}', "malformed", None, "half of a surrogate pair"),
    (b'{"text":"\\ud800\\u0041"}', "malformed", None, "surrogate"),
    (b"[" * 60_000, "malformed", None, "nested too deeply"),
    (b'{"vars":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001, "malformed", None, "nested too deeply"),
    (b'{"ref":1e999}', "malformed", None, "out of range"),
    (b'{"ref":NaN}', "malformed", None, "not JSON"),
    (b'{"op":"fly"}', "unknown_op", "op", "got 'fly'"),
    (b'{"op":"SEND"}', "unknown_op", "op", "send"),
    (b'{"op":7}', "invalid_value", "op", "must be a string"),
    (b'{"op":["send"]}', "invalid_value", "op", "must be a string"),
    (b'{"op":"get"}', "missing_field", "id", "`id` is missing"),
    (b'{"op":"get","id":7}', "invalid_value", "id", "must be a string; got a number"),
    (b'{"op":"get","id":null}', "invalid_value", "id", "got null"),
    (b'{"op":"get","id":"x"}', "not_found", "id", "no message x"),
    (b'{"op":"get","id":"x","to":"y"}', "unknown_field", "to", "not a field of this request"),
    (b'{"op":"list","limit":0}', "invalid_value", "limit", "1 to 1000"),
    (b'{"op":"list","limit":1001}', "invalid_value", "limit", "1 to 1000"),
    (b'{"op":"list","limit":1.5}', "invalid_value", "limit", "must be a whole number"),
    (b'{"op":"list","limit":' + b"9" * 40 + b"}", "invalid_value", "limit", ""),
    (b'{"op":"list","state":"lost"}', "invalid_value", "state", "pending"),
    (b'{"to":"+14155550123","text":"hi","to":"+14155550199"}', "invalid_value", "to", "stands twice"),
    (b'{"op":"list","cursor":"?"}', "invalid_value", "cursor", "Start again"),
    (b'{"op":"list","since":"yesterday"}', "invalid_value", "since", "RFC 3339"),
    (b'{"op":"list","to":"4155550123"}', "invalid_recipient", "to", "+"),
    (b'{"op":"reschedule","id":"x"}', "missing_field", "send_at", "`send_at`"),
    (b'{"op":"retry","id":"x","force":1}', "invalid_value", "force", "true or false"),
    (b'{"op":"retry","id":"x","ttl":"soon"}', "invalid_value", "ttl", "`ttl`"),
    (b'{"op":"retry","id":"x","ttl":"1h","expires_at":"2030-01-01T00:00:00Z"}', "invalid_value", "ttl", "exclude"),
    (b'{"op":"retry","id":"x","expires_at":"2001-01-01T00:00:00Z"}', "invalid_value", "expires_at", "past"),
    (b'{"op":"pause","provider":"nobody"}', "not_found", "provider", "main"),
    (b'{"op":"resume","provider":"nobody"}', "not_found", "provider", "main"),
    (b"{}", "missing_field", "to", "`to` is missing"),
    (b'{"to":"+14155550123"}', "missing_field", "text", "`text` is missing"),
    (b'{"to":14155550123,"text":"hi"}', "invalid_value", "to", "must be a string"),
    (b'{"to":"hello","text":"hi"}', "invalid_recipient", "to", "`to`"),
    (GOOD + b',"metadata":{"a":1}}', "invalid_value", "metadata", "an object of strings"),
    (GOOD + b',"max_attempts":true}', "invalid_value", "max_attempts", "a whole number"),
    (GOOD + b',"max_attempts":' + b"9" * 40 + b"}", "invalid_value", "max_attempts", "max_attempts"),
    (GOOD + b',"form":"x"}', "unknown_field", "form", "did you mean `from`?"),
    (GOOD + b',"idempotency_key":""}', "invalid_value", "idempotency_key", "idempotency_key"),
    (GOOD + b',"ref":{}}', "invalid_value", "ref", "must be a string"),
    (GOOD + b',"ref":["a"]}', "invalid_value", "ref", "must be a string"),
    (GOOD + b',"ref":"' + b"x" * 255 + b'"}', "invalid_value", "ref", "at most 256 bytes"),
    (GOOD + b',"ref":' + b"9" * 257 + b"}", "invalid_value", "ref", "at most 256 bytes"),
    (b'{"to":"+14155550123","text":"\\u0007"}', "invalid_value", "text", "U+0007"),
    (b'{"to":"+14155550123","text":"' + b"x" * 500 + b'"}', "text_too_long", "text", "shorten"),
]


@pytest.mark.parametrize(("line", "wanted", "field", "part"), FAULTS, ids=range(len(FAULTS)))
async def test_every_bad_line_gets_its_named_error(
    client: Client, line: bytes, wanted: str, field: str | None, part: str
) -> None:
    await client.raw(line + b'\n{"op":"ping","ref":"after"}\n')
    refused, after = await client.answers(2)
    assert refused["ok"] is False
    error = refused["error"]
    assert (error["code"], error["field"]) == (wanted, field)
    assert part in error["message"]
    assert {"code": wanted, "field": field, "message": error["message"]} == error["errors"][0]
    assert (after["ok"], after["ref"]) == (True, "after"), "the connection lives on"


async def test_all_names_that_stand_twice_come_in_one_answer(client: Client) -> None:
    await client.raw(b'{"op":"fly","op":"ping","ref":1,"ref":2}\n')
    answer = await client.answer()
    assert (answer["ok"], answer["ref"]) == (False, 2)
    assert [(fault["field"], fault["code"]) for fault in answer["error"]["errors"]] == [
        ("op", "invalid_value"),
        ("ref", "invalid_value"),
    ]


@pytest.mark.parametrize("blank", [b"", b"\r", b" ", b"\t \r"], ids=repr)
async def test_empty_lines_are_ignored(client: Client, blank: bytes) -> None:
    await client.raw((blank + b"\n") * 300 + b'{"op":"ping","ref":7}\n')
    assert (await client.answer())["ref"] == 7


async def test_line_ends_of_other_systems_are_read(client: Client) -> None:
    await client.raw(b'{"op":"ping","ref":1}\r\n\r\n{"op":"ping","ref":2}\r\n')
    assert [each["ref"] for each in await client.answers(2)] == [1, 2]


@pytest.mark.parametrize("ref", ["x" * 254, "\x00", "é", 0, -1.5, True, False, 2**64, 10**255], ids=range(9))
async def test_a_ref_comes_back(client: Client, ref: object) -> None:
    assert (await client.ask(op="ping", ref=ref))["ref"] == ref
    assert (await client.ask(op="fly", ref=ref))["ref"] == ref


async def test_all_faults_of_a_submission_come_in_one_answer(client: Client) -> None:
    answer = await client.ask(
        to="nobody", text=7, ttl="soon", form="x", priority="urgent", metadata=[], idempotency_key="\n", ref="all"
    )
    found = {(fault["field"], fault["code"]) for fault in answer["error"]["errors"]}
    assert answer["ref"] == "all"
    assert found == {
        ("text", "invalid_value"),
        ("form", "unknown_field"),
        ("metadata", "invalid_value"),
        ("to", "invalid_recipient"),
        ("ttl", "invalid_value"),
        ("priority", "invalid_value"),
        ("idempotency_key", "invalid_value"),
    }


async def test_the_text_never_comes_back_in_an_error(client: Client) -> None:
    answer = await client.ask(to=NUMBER, text="the secret\x07 word", vars="the secret word")
    assert "secret" not in json.dumps(answer)


async def test_the_longest_line_is_read_and_one_byte_more_is_not(house: House) -> None:
    client = await house.client()
    await client.raw(padded(LINE) + b"\n")
    assert (await client.answer())["ok"] is True
    await client.raw(b'{"op":"ping","ref":1}\n' + padded(LINE + 1) + b'\n{"op":"ping"}\n')
    assert (await client.answer())["ref"] == 1
    refused = await client.answer()
    assert (code(refused), refused["ref"]) == ("too_long", None)
    assert "65536 bytes" in refused["error"]["message"]
    assert await client.ends() == b"", "nothing after it is read"


async def test_a_line_too_long_is_refused_before_its_end(house: House) -> None:
    client = await house.client()
    await client.raw(b"x" * (LINE + 1))
    assert code(await client.answer()) == "too_long"
    assert await client.ends() == b""


@pytest.mark.parametrize("last", [b'{"op":"ping","ref":2}', b'{"op":"ping","ref":2}\n'], ids=["unended", "ended"])
async def test_the_last_line_needs_no_newline(house: House, last: bytes) -> None:
    client = await house.client()
    await client.raw(b'{"op":"ping","ref":1}\n' + last)
    client.finish()
    refs = [json.loads(line)["ref"] for line in (await client.ends()).splitlines()]
    assert refs == [1, 2]


async def test_half_a_line_at_the_end_is_answered_too(house: House) -> None:
    client = await house.client()
    await client.raw(b'{"to":"+14155550123","te')
    client.finish()
    (answer,) = [json.loads(line) for line in (await client.ends()).splitlines()]
    assert code(answer) == "malformed"


# -- whatever comes ---------------------------------------------------------------------------------------------------

VALID = [
    b'{"to":"+14155550123","text":"hi","ref":1}',
    b'{"op":"get","id":"01a2049a-0000-7000-8000-000000000001"}',
    b'{"op":"list","state":"pending","limit":3}',
    b'{"op":"cancel","id":"x","ref":"y"}',
    b'{"op":"send","to":"+14155550123","text":"hi","idempotency_key":"k","metadata":{"a":"b"},"vars":{"c":[1,{}]}}',
    b'{"op":"ping","ref":null}',
    b'{"op":"stats"}',
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid line with some bytes changed, cut out or put in."""
    line = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(line)))
        line[at : at + draw(st.integers(0, 3))] = draw(
            st.one_of(st.binary(max_size=3), st.sampled_from([b'"', b"{", b"}", b"\\u", b"\xff", b",", b":", b"null"]))
        )
    return bytes(line)


async def exchange(house: House, payload: bytes, cuts: list[int]) -> list[bytes]:
    """What is answered to these bytes, sent in pieces."""
    client = await house.client()
    edges = [0, *sorted(cuts), len(payload)]
    for start, end in pairwise(edges):
        await client.raw(payload[start:end])
    client.finish()
    answers = (await client.ends()).split(b"\n")
    assert answers.pop() == b""
    other = await house.client()
    assert (await other.ask(op="ping"))["ok"] is True, "the door is alive"
    return answers


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[bytes, list[int]], list[bytes]]]:
    """Exchanges with one house, on a loop of its own: examples are many and tests without a loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        keeper = running(tmp_path_factory.mktemp("lasting"))
        house = runner.run(keeper.__aenter__())
        yield lambda payload, cuts: runner.run(exchange(house, payload, cuts))
        runner.run(keeper.__aexit__(None, None, None))


@given(
    lines=st.lists(st.one_of(st.binary(max_size=40), mutated()), max_size=30),
    cuts=st.lists(st.integers(0, 600), max_size=6),
)
@example(lines=[b"\xff", b"", b'{"op":"ping"}'], cuts=[1, 2, 3])
@settings(max_examples=150, deadline=None)
def test_one_answer_a_line_in_order(
    lasting: Callable[[bytes, list[int]], list[bytes]], lines: list[bytes], cuts: list[int]
) -> None:
    marked: list[bytes] = []
    for number, line in enumerate(lines):
        marked += [line, b'{"op":"ping","ref":"mark %d"}' % number]
    payload = b"\n".join(marked)
    answers = lasting(payload, [cut for cut in cuts if cut < len(payload)])
    wanted = [line for line in payload.split(b"\n") if line.strip(BLANK)]
    assert len(answers) == len(wanted)
    for line, answer in zip(wanted, answers, strict=True):
        found = json.loads(answer)
        if b'"mark ' in line and line in marked:
            assert found["ref"] == json.loads(line)["ref"], "in order"
        assert found["ok"] or found["error"]["code"] != "internal", line


# -- cursors -----------------------------------------------------------------------------------------------------------


async def test_a_cursor_outlives_a_restart_and_is_of_one_outbox(tmp_path: Path) -> None:
    places = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        async with running(tmp_path / name) as house:
            client = await house.client()
            for n in range(3):
                await client.send(str(n))
            places.append((await client.ask(op="list", limit=1))["next_cursor"])
    assert places[0] != places[1]
    async with running(tmp_path / "one") as house:
        client = await house.client()
        page = await client.ask(op="list", limit=1, cursor=places[0])
        assert [each["text"] for each in page["items"]] == ["1"]
        assert page["next_cursor"] not in {None, places[0]}
        assert code(await client.ask(op="list", limit=1, cursor=places[1])) == "invalid_value"
