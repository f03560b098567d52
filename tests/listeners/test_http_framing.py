"""Which requests are refused because others may read them differently, and which form of an answer is preferred?"""

from __future__ import annotations

from typing import Any

import pytest

from smsd.listeners.http.accepting import Rank, rank
from tests.listeners.house import House
from tests.listeners.http_rig import Rig, request, serving

MESSAGE = b'{"to":"+14155550123","text":"hello"}'


@pytest.fixture
async def rig(house: House) -> Any:
    async with serving(house) as found:
        yield found


def chunked(coding: str, version: str = "1.1", also: str = "") -> bytes:
    """A whole message in chunks, and a request behind it that must not be read."""
    head = f"POST /v1/messages HTTP/{version}\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(MESSAGE), MESSAGE)
    fields = f"Transfer-Encoding: {coding}\r\n{also}Connection: keep-alive\r\n\r\n"
    return (head + fields).encode() + body + request("GET", "/healthz")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /healthz HTTP/1.2\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
        (b"GET /healthz HTTP/0.9\r\nHost: localhost\r\n\r\n", 505),
        (chunked("gzip, chunked"), 501),
        (chunked(", chunked"), 501),
        (chunked("chunked, chunked"), 400),
        (chunked("chunked", also="Transfer-Encoding: chunked\r\n"), 400),
        (chunked("chunked", "1.0"), 400),
        (b"GET ftp://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://evil/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ],
)
async def test_what_others_may_read_differently_is_refused(rig: Rig, data: bytes, status: int) -> None:
    client = await rig.client()
    client.say(data)
    reply = await client.reply()
    assert (reply.status, reply.codes) == (status, [(None, "malformed")])
    if b"http:" not in data and b"ftp:" not in data:
        client.writer.write_eof()
        assert await client.ends() == b"", "what follows is not read"
    assert (await rig.ask("GET", "/v1/messages")).json["items"] == []


@pytest.mark.parametrize("target", ["/healthz", "http://localhost/healthz", "https://localhost/healthz"])
async def test_what_is_ours_is_answered(rig: Rig, target: str) -> None:
    assert (await rig.raw(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())).status == 200


@pytest.mark.parametrize("packets", [1, 2, 7])
async def test_a_head_has_the_same_bound_in_any_number_of_packets(rig: Rig, packets: int) -> None:
    for extra, status in ((15_000, 200), (17_000, 431)):
        fields = "".join(f"A{n}: {'x' * 990}\r\n" for n in range(extra // 1_000))
        data = f"GET /healthz HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode()
        client = await rig.client()
        step = len(data) // packets + 1
        for at in range(0, len(data), step):
            client.say(data[at : at + step])
            await client.writer.drain()
        reply = await client.reply()
        assert reply.status == status
        if status == 431:
            assert reply.codes == [(None, "too_long")]


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("expected", ["miracles", "100-continue, miracles", "100-continue\r\nExpect: miracles"])
async def test_another_expectation_is_refused_whenever_the_body_comes(rig: Rig, apart: bool, expected: str) -> None:
    client = await rig.client()
    headers = {"Expect": expected, "Content-Length": str(len(MESSAGE))}
    client.say(request("POST", "/v1/messages", None if apart else MESSAGE, headers))
    reply = await client.reply()
    assert (reply.status, reply.codes) == (417, [(None, "malformed")])


async def test_an_expectation_that_is_met_already_needs_no_word(rig: Rig) -> None:
    client = await rig.client()
    assert (await client.ask("POST", "/v1/messages", MESSAGE, {"Expect": "100-Continue"})).status == 202


@pytest.mark.parametrize("second", ["gzip", "identity, gzip", ""])
async def test_every_content_encoding_counts(rig: Rig, second: str) -> None:
    for path in ("/v1/messages", "/v1/messages/batch"):
        double = {"Content-Encoding": f"identity\r\nContent-Encoding: {second}"}
        assert (await rig.ask("POST", path, MESSAGE, **double)).status == 415
    assert (await rig.ask("POST", "/v1/messages", MESSAGE, Content_Encoding="Identity")).status == 202


# -- Accept -----------------------------------------------------------------------------------------------------------

STREAM, DOCUMENT = "text/event-stream", "application/json"


@pytest.mark.parametrize(
    ("accept", "stream", "document"),
    [
        ([], Rank(1, 0), Rank(1, 0)),
        ([""], Rank(1, 0), Rank(1, 0)),
        (["*/*"], Rank(1, 0), Rank(1, 0)),
        (["Text/Event-Stream"], Rank(1, 2), Rank(0, 0)),
        (["application/json-seq"], Rank(0, 0), Rank(0, 0)),
        (["text/event-stream-not, application/json"], Rank(0, 0), Rank(1, 2)),
        (["application/json, */*"], Rank(1, 0), Rank(1, 2)),
        (["text/*;q=0.5", "application/json ; Q = 0.4"], Rank(0.5, 1), Rank(0.4, 2)),
        (["text/event-stream;q=0, */*;q=0.1"], Rank(-1, 0), Rank(0.1, 0)),
        (["application/json;charset=utf-8;q=0.3, text/event-stream"], Rank(1, 2), Rank(0.3, 2)),
        (['application/json;x="a,text/event-stream;q=1"'], Rank(0, 0), Rank(1, 2)),
        (["application/json;q=7, text/event-stream;q=x"], Rank(1, 2), Rank(1, 2)),
    ],
)
def test_how_much_is_wanted(accept: list[str], stream: Rank, document: Rank) -> None:
    assert (rank(accept, STREAM), rank(accept, DOCUMENT)) == (stream, document)


@pytest.mark.parametrize(
    ("accept", "streams"),
    [
        ("", True),
        ("*/*", True),
        ("text/event-stream", True),
        ("text/html, */*;q=0.8", True),
        ("application/json, text/event-stream", True),
        ("application/json", False),
        ("application/json, text/plain, */*", False),
        ("application/json, text/event-stream;q=0", False),
        ("text/event-stream;q=0.5, application/json", False),
        ("text/event-stream;q=0", False),
        ("application/*", False),
    ],
)
async def test_events_come_in_the_form_that_is_preferred(rig: Rig, accept: str, streams: bool) -> None:
    client = await rig.client()
    client.say(request("GET", "/v1/events", None, {"Accept": accept}))
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert (b"Content-Type: text/event-stream" in head) == streams
    assert (b"Content-Type: application/json" in head) != streams


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
@pytest.mark.parametrize(
    ("query", "field"), [("limit=0", "limit"), ("limit=1001", "limit"), ("wait=99h", "wait"), ("wait=x", "wait")]
)
async def test_what_is_wrong_with_a_stream_is_told_as_without_one(
    rig: Rig, accept: str, query: str, field: str
) -> None:
    reply = await rig.ask("GET", f"/v1/events?{query}", Accept=accept)
    assert (reply.status, reply.codes) == (422, [(field, "invalid_value")])
