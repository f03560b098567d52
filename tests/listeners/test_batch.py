"""What does a client of a batch get, line by line, whatever it sends and however it behaves?"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from smsd.engine.flood import MOST
from smsd.engine.intake import Done
from smsd.engine.service import Service
from smsd.listeners.http.batch import BatchLimits
from smsd.listeners.http.batch_limits import Together
from smsd.store import DiskFullError
from tests.listeners.batch_rig import (
    JSON,
    NDJSON,
    Door,
    Json,
    Raw,
    door,
    exchange,
    good,
    line,
    lines,
    parse,
    raw,
    stored,
)
from tests.listeners.house import House, code, running, until

GOOD = line(1)


@pytest.fixture
async def found(house: House) -> AsyncIterator[Door]:
    async with door(house) as each:
        yield each


def codes(answers: list[Json]) -> list[str]:
    assert [each["index"] for each in answers] == list(range(len(answers)))
    return [code(each) for each in answers]


# -- lines and elements ------------------------------------------------------------------------------------------------


async def test_each_line_gets_its_result(found: Door, tmp_path: Path) -> None:
    answers = await exchange(found, line(1) + b"\n\r\n\n" + line(2, priority="high") + b"\n" + line(3))
    assert good(answers, 3)
    assert answers[0] == {
        "index": 0,
        "ok": True,
        "id": "01a2049a-0000-7000-8000-000000000001",
        "state": "pending",
        "segments": 1,
        "encoding": "gsm7",
        "replayed": False,
    }
    assert stored(tmp_path) == 3
    assert found.idle


BAD = [
    (b"{", "malformed", None),
    (b"[]", "malformed", None),
    (b'{"to": "+12012000001", "text": "\xff"}', "malformed", None),
    (b"[" * 60_000, "malformed", None),
    (b'{"to": "+12012000001", "text": "' + b"x" * 65_536 + b'"}', "too_long", None),
    (line(1, op="send"), "unknown_field", "op"),
    (line(1, ref=7), "unknown_field", "ref"),
    (line(1, to="12"), "invalid_recipient", "to"),
    (line(1, tenant="other"), "not_allowed", "tenant"),
    (b"{}", "missing_field", "to"),
]


@pytest.mark.parametrize(("bad", "wrong", "field"), BAD)
async def test_a_bad_line_fails_alone(found: Door, bad: bytes, wrong: str, field: str | None) -> None:
    answers = await exchange(found, line(1) + b"\n" + bad + b"\n" + line(2) + b"\n")
    assert codes(answers) == ["", wrong, ""]
    assert answers[1]["error"]["field"] == field
    assert answers[1]["error"]["message"]


@pytest.mark.parametrize(("bad", "wrong", "field"), [each for each in BAD if each[0] not in {b"{", b"[" * 60_000}])
async def test_a_bad_element_fails_alone(found: Door, bad: bytes, wrong: str, field: str | None) -> None:
    answers = await exchange(found, b"[" + line(1) + b",\n" + bad + b"," + line(2) + b"]", content_type=JSON)
    assert codes(answers) == ["", wrong, ""]
    assert answers[1]["error"]["field"] == field


async def test_all_faults_of_a_line_are_told(found: Door) -> None:
    (answer,) = await exchange(found, b'{"to": "12", "color": 1, "max_attempts": "many"}\n')
    errors = {each["field"]: each["code"] for each in answer["error"]["errors"]}
    assert errors == {
        "to": "invalid_recipient",
        "text": "missing_field",
        "color": "unknown_field",
        "max_attempts": "invalid_value",
    }


async def test_an_array_with_brackets_in_its_strings(found: Door, tmp_path: Path) -> None:
    texts = ["}", "[{", '"', "\\", '\\"]', ',"', "[[[[", "}, {"]
    body = json.dumps([{"to": "+12012000001", "text": text, "metadata": {"a": text}} for text in texts])
    assert good(await exchange(found, body.encode(), content_type=JSON), len(texts))
    assert stored(tmp_path) == len(texts)


async def test_an_array_that_is_cut_short(found: Door, tmp_path: Path) -> None:
    answers = await exchange(found, b"[" + line(1) + b"," + line(2)[:-5], content_type=JSON)
    assert codes(answers) == ["", "malformed"]
    assert "`]`" in answers[1]["error"]["message"]
    assert stored(tmp_path) == 1


async def test_what_is_no_array_is_read_to_its_end_and_answered_once(found: Door, tmp_path: Path) -> None:
    answers = await exchange(found, lines(20_000), content_type=JSON)
    assert codes(answers) == ["malformed"]
    assert "application/x-ndjson" in answers[0]["error"]["message"]
    assert stored(tmp_path) == 0


@pytest.mark.parametrize(("content_type", "body"), [(NDJSON, b""), (NDJSON, b"\n \n"), (JSON, b" [ ] ")])
async def test_nothing_is_answered_with_nothing(found: Door, content_type: str, body: bytes) -> None:
    assert await exchange(found, *([body] if body else []), content_type=content_type) == []


@pytest.mark.parametrize("content_type", [NDJSON, JSON])
async def test_bytes_that_come_one_by_one(found: Door, content_type: str) -> None:
    body = line(1) + b"\n{\n" + line(2) if content_type == NDJSON else b"[" + line(1) + b",x," + line(2) + b"]"
    answers = await exchange(found, *(body[n : n + 1] for n in range(len(body))), content_type=content_type)
    assert codes(answers) == ["", "malformed", ""]


async def test_repeats_within_one_batch(found: Door, tmp_path: Path) -> None:
    first, other = line(1, idempotency_key="k"), line(2, idempotency_key="k")
    answers = await exchange(found, b"\n".join([first, first, other]))
    assert codes(answers) == ["", "", "key_conflict"]
    assert [each.get("replayed") for each in answers] == [False, True, None]
    assert answers[0]["id"] == answers[1]["id"]
    assert stored(tmp_path) == 1


async def test_messages_belong_to_the_callers_tenant(found: Door, house: House) -> None:
    (answer,) = await exchange(found, GOOD)
    assert await house.engine.service.get(answer["id"], "shop") is not None
    assert await house.engine.service.get(answer["id"], "other") is None


# -- a daemon that stops -----------------------------------------------------------------------------------------------


def taken(answers: list[Json]) -> int:
    """How many were, according to a batch that a stop broke off."""
    last = len(answers) - 1
    assert good(answers[:-1], last)
    assert answers[-1]["index"] == last
    assert code(answers[-1]) == "shutting_down"
    assert "after it were not taken" in answers[-1]["error"]["message"]
    return last


async def test_a_stop_breaks_off_where_it_says(house: House, tmp_path: Path) -> None:
    """The client writes megabytes before it reads anything, and the system keeps few of its answers."""
    async with door(house, small=True) as found, raw(found, small=True) as client:
        client.transport.pause_reading()
        await client.say(lines(4_000))
        await until(lambda: stored(tmp_path) >= 4_000)
        async with asyncio.timeout(10):
            sending = asyncio.ensure_future(client.say(lines(60_000)))
            await asyncio.sleep(0)
            found.limits.together.end()
            await sending
            client.finish()
        client.transport.resume_reading()
        await client.head()
        count = taken(await client.lines())
        assert 4_000 <= count < 64_000
        assert stored(tmp_path) == count
        await until(lambda: found.idle)
        assert not found.limits.together.on_end


async def test_a_stop_does_not_wait_for_a_body_that_pauses(found: Door) -> None:
    async with raw(found) as client:
        await client.say(line(1) + b"\n" + line(2)[:-1])
        head = await client.head()
        first = await client.chunk()
        found.limits.together.end()
        assert taken([*parse(first), *await client.lines()]) == 1
    assert head.startswith(b"HTTP/1.1 200 ")


async def test_a_stop_adds_nothing_to_a_batch_that_was_read_to_its_end(found: Door, house: House) -> None:
    house.outbox.held = []
    async with raw(found) as client:
        await client.say(lines(10))
        client.finish()
        await until(lambda: len(house.outbox.held or ()) == 10)
        found.limits.together.end()
        house.outbox.release()
        await client.head()
        assert good(await client.lines(), 10)


async def test_a_stop_ends_a_batch_whose_client_leaves_too_much_unread(house: House) -> None:
    async with door(house, BatchLimits(unread=1, waiting=1, in_flight=1)) as found, raw(found) as client:
        house.outbox.held = []
        await client.say(lines(10))
        await until(lambda: len(house.outbox.held or ()) == 1)
        found.limits.together.end()
        house.outbox.release()
        await client.head()
        assert taken(await client.lines()) == 1


async def test_a_batch_is_refused_once_the_daemon_stops(found: Door) -> None:
    found.limits.together.end()
    headers = {"Content-Type": NDJSON}
    async with aiohttp.ClientSession(headers=headers) as session, session.post(found.url, data=GOOD) as answer:
        assert (await answer.json())["code"] == "shutting_down"


# -- the request -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "wrong"),
    [
        ({"Content-Type": "application/json-seq"}, "unsupported_media_type"),
        ({"Content-Type": "text/plain"}, "unsupported_media_type"),
        ({"Content-Type": "application/json; charset=utf-16"}, "unsupported_media_type"),
        ({"Content-Type": NDJSON, "Idempotency-Key": "k"}, "invalid_value"),
    ],
)
async def test_what_is_refused_before_it_begins(found: Door, headers: dict[str, str], wrong: str) -> None:
    async with aiohttp.ClientSession() as session, session.post(found.url, data=GOOD, headers=headers) as answer:
        assert answer.status == 422
        assert (await answer.json())["code"] == wrong


@pytest.mark.parametrize("kind", [NDJSON, "application/jsonl", "application/x-ndjson; charset=UTF-8"])
async def test_the_names_of_lines(found: Door, kind: str) -> None:
    assert good(await exchange(found, GOOD, content_type=kind), 1)


async def test_a_client_may_read_as_it_writes(found: Door) -> None:
    async with raw(found) as client:
        assert (await client.head()).startswith(b"HTTP/1.1 200 ")
        for n in range(3):
            await client.say(line(n) + b"\n")
            assert json.loads(await client.chunk())["index"] == n
        client.finish()
        assert await client.lines() == []


async def test_a_client_that_asks_before_it_sends(found: Door) -> None:
    async with raw(found, Expect="100-continue") as client:
        assert (await client.head()).startswith(b"HTTP/1.1 100 ")
        assert (await client.head()).startswith(b"HTTP/1.1 200 ")
        await client.say(GOOD)
        client.finish()
        assert good(await client.lines(), 1)


async def test_a_connection_can_carry_one_batch_after_another(found: Door) -> None:
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector, headers={"Content-Type": NDJSON}) as session:
        ports = set()
        for _ in range(3):
            async with session.post(found.url, data=lines(10)) as answer:
                assert answer.connection is not None and answer.connection.transport is not None
                ports.add(answer.connection.transport.get_extra_info("sockname"))
                assert len((await answer.read()).splitlines()) == 10
        assert len(ports) == 1


async def test_an_old_client(found: Door) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
    body = lines(3)
    head = f"POST /v1/messages/batch HTTP/1.0\r\nContent-Type: {NDJSON}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    assert answer.partition(b"\r\n\r\n")[2].count(b'"ok":true') == 3


# -- how a batch can end -----------------------------------------------------------------------------------------------


async def test_a_body_that_stands_still_is_told_where_it_ended(house: House, tmp_path: Path) -> None:
    async with door(house, BatchLimits(idle_s=0.1)) as found, raw(found) as client:
        await client.say(line(1) + b"\n" + line(2))
        assert b"connection: close" not in (await client.head()).lower()
        answers = await client.lines()
        assert codes(answers) == ["", "malformed"]
        assert "stood still for 0.1 s" in answers[1]["error"]["message"]
        assert await client.ended() == b""
        assert stored(tmp_path) == 1
        await until(lambda: found.idle)


async def test_a_body_that_drips_stands_still(house: House) -> None:
    async with door(house, BatchLimits(idle_s=0.3)) as found, raw(found) as client:
        for _ in range(20):
            await client.say(b" ")
            await asyncio.sleep(0.05)
            if not found.running:
                break
        else:
            pytest.fail("it may drip for ever")
        await client.head()
        assert codes(await client.lines()) == ["malformed"]


async def test_a_slow_body_is_taken(house: House) -> None:
    async with door(house, BatchLimits(idle_s=0.2, least=10)) as found, raw(found) as client:
        for part in (line(1) + b"\n", b"\n" * 10, line(2)[:20], line(2)[20:] + b"\n"):
            await asyncio.sleep(0.12)
            await client.say(part)
        client.finish()
        await client.head()
        assert good(await client.lines(), 2)


async def test_broken_framing_is_as_if_the_body_stood_still(house: House, tmp_path: Path) -> None:
    async with door(house, BatchLimits(idle_s=0.1)) as found, raw(found) as client:
        await client.say(line(1) + b"\n")
        await client.head()
        assert good([json.loads(await client.chunk())], 1)
        client.writer.write(b"no size\r\n" + line(2) + b"\r\n")
        assert b'"index":1,"ok":false' in await client.ended()
        assert stored(tmp_path) == 1
        await until(lambda: found.idle)


async def test_a_packed_body(found: Door) -> None:
    async with raw(found, Content_Encoding="gzip") as client:
        await client.say(gzip.compress(lines(2_000)))
        client.finish()
        await client.head()
        assert good(await client.lines(), 2_000)


async def test_a_packed_body_that_is_broken_is_told_where_it_ended(found: Door) -> None:
    async with raw(found, Content_Encoding="gzip") as client:
        await client.say(b"no gzip at all" + lines(10))
        await client.head()
        answers = await client.lines()
        assert codes(answers) == ["malformed"]
        assert "cannot be read on" in answers[0]["error"]["message"]
        await client.ended()
        await until(lambda: found.idle)


async def test_a_client_that_goes_away_leaves_its_messages_and_nothing_else(found: Door, tmp_path: Path) -> None:
    async with raw(found) as client:
        await client.say(lines(500))
        await client.head()
        await client.chunk()
    await until(lambda: found.idle)
    await until(lambda: stored(tmp_path) == 500)


async def test_a_client_that_goes_away_while_its_messages_are_committed(found: Door, house: House) -> None:
    house.outbox.held = []
    async with raw(found) as client:
        await client.say(lines(100))
        await until(lambda: len(house.outbox.held or ()) == 100)
    await until(lambda: not found.running)
    assert found.limits.together.in_flight == 100
    house.outbox.release()
    await until(lambda: found.idle)


async def test_a_daemon_that_drains_refuses_the_rest(found: Door, house: House, tmp_path: Path) -> None:
    async with raw(found) as client:
        await client.head()
        await client.say(line(1) + b"\n")
        assert json.loads(await client.chunk())["ok"]
        await house.engine.drain(1)
        await client.say(line(2) + b"\n" + line(1) + b"\n")
        client.finish()
        assert [code(each) for each in await client.lines()] == ["shutting_down", "shutting_down"]
    assert stored(tmp_path) == 1


async def test_an_outbox_without_room_refuses_line_by_line(found: Door, house: House) -> None:
    house.outbox.fault = DiskFullError("full")
    assert codes(await exchange(found, lines(300))) == ["disk_full"] * 300


class Faulty:
    """An intake that meets a fault of its own at the third submission."""

    def __init__(self, service: Service) -> None:
        self.intake = self
        self._real = service.intake
        self._count = 0

    def submit(self, submission: object, origin: object, content_hash: object, done: Done, *, flood: bool) -> None:
        self._count += 1
        if self._count == 3:
            raise ZeroDivisionError
        self._real.submit(submission, origin, content_hash, done, flood=flood)  # type: ignore[arg-type]  # as they came


async def test_after_a_fault_of_the_daemon_no_answer_ends_properly(found: Door) -> None:
    found.service = cast(Service, Faulty(found.service))
    async with raw(found) as client:
        await client.head()
        await client.say(line(1) + b"\n")
        assert json.loads(await client.chunk())["ok"]
        await client.say(line(2) + b"\n" + line(3) + b"\n" + line(4) + b"\n")
        answer = await client.ended()
        assert b"0\r\n\r\n" not in answer
        await until(lambda: found.idle)


# -- bounds ------------------------------------------------------------------------------------------------------------


async def test_so_many_and_no_more_are_under_way(found: Door, house: House) -> None:
    house.outbox.held = []
    async with raw(found) as client:
        await client.say(lines(3_000))
        client.finish()
        together = found.limits.together
        await until(lambda: together.in_flight == 1_000)
        await asyncio.sleep(0.05)
        assert together.in_flight == 1_000
        assert len(house.outbox.held) == MOST, "a flood is handed to the outbox in parts"
        held, house.outbox.held = house.outbox.held, None
        for draft, done in held:
            house.outbox.accept(draft, done)
        await client.head()
        assert good(await client.lines(), 3_000)


async def test_all_batches_together_have_so_many_under_way(house: House) -> None:
    together = Together(in_flight=10)
    house.outbox.held = []
    async with door(house, BatchLimits(together=together)) as found:
        asking = [asyncio.ensure_future(exchange(found, lines(100))) for _ in range(5)]
        await until(lambda: together.in_flight >= 10)
        await asyncio.sleep(0.05)
        assert together.in_flight <= 10 + 4
        held, house.outbox.held = house.outbox.held, None
        for draft, done in held:
            house.outbox.accept(draft, done)
        for answers in await asyncio.gather(*asking):
            assert good(answers, 100)
        assert found.idle


async def test_answers_that_wait_for_an_earlier_one_are_bounded(house: House) -> None:
    house.outbox.held = []
    async with door(house, BatchLimits(waiting=20_000)) as found, raw(found) as client:
        await client.say(line(1) + b"\n" + b"{}\n" * 5_000 + line(2) + b"\n")
        client.finish()
        await until(lambda: len(house.outbox.held or ()) == 1)
        await asyncio.sleep(0.1)
        assert len(house.outbox.held) == 1
        house.outbox.release()
        house.outbox.held = None
        await client.head()
        assert codes(await client.lines()) == ["", *["missing_field"] * 5_000, ""]


WIDE = b"{}\n" * 20_000
"""Sixty kilobytes that are answered with seven megabytes."""


async def flood(client: Raw) -> None:
    """Send, and never read."""
    while True:
        await client.say(WIDE)


async def full(together: Together, unread: int) -> None:
    """Until so many bytes are kept, and the system takes no more of them."""
    while together.unread < unread:
        await until(lambda: together.unread >= unread)
        await asyncio.sleep(0.2)


async def test_a_client_that_never_reads_is_read_no_further_then_dropped(tmp_path: Path) -> None:
    limits = BatchLimits(unread=20_000, unread_least=10_000, stuck_s=0.5)
    async with running(tmp_path) as house, door(house, limits) as found, raw(found) as deaf:
        deaf.transport.pause_reading()
        flooding = asyncio.ensure_future(flood(deaf))
        await full(limits.together, 20_000)
        for _ in range(5):
            assert good(await exchange(found, lines(100)), 100)
        assert limits.together.unread < 20_000 + 300_000
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(flooding, 10)
        await until(lambda: found.idle)


async def test_a_bound_for_all_holds_only_those_who_do_not_read(tmp_path: Path) -> None:
    together = Together(unread=30_000)
    limits = BatchLimits(unread_least=10_000, together=together)
    async with (
        running(tmp_path) as house,
        door(house, limits, small=True) as found,
        raw(found) as deaf,
        raw(found) as other,
    ):
        await other.head()
        deaf.transport.pause_reading()
        flooding = asyncio.ensure_future(flood(deaf))
        await full(together, 30_000)
        await other.say(lines(2_000))
        other.finish()
        assert good(await other.lines(), 2_000)
        assert together.unread >= 30_000
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)


async def test_who_waits_for_all_goes_on_when_another_is_gone(tmp_path: Path) -> None:
    together = Together(unread=30_000)
    limits = BatchLimits(unread_least=0, together=together)
    async with running(tmp_path) as house, door(house, limits, small=True) as found, raw(found) as deaf:
        deaf.transport.pause_reading()
        flooding = asyncio.ensure_future(flood(deaf))
        await full(together, 30_000)
        asking = asyncio.ensure_future(exchange(found, lines(2_000)))
        await asyncio.sleep(0.1)
        assert not asking.done()
        flooding.cancel()
        deaf.transport.abort()
        assert good(await asking, 2_000)
        await until(lambda: found.idle)


async def test_who_reads_again_gets_all_of_it(tmp_path: Path) -> None:
    limits = BatchLimits(unread=20_000, stuck_s=30)
    async with running(tmp_path) as house, door(house, limits) as found, raw(found) as client:
        client.transport.pause_reading()

        async def some() -> None:
            for _ in range(3):
                await client.say(WIDE)
            client.finish()

        flooding = asyncio.ensure_future(some())
        await full(limits.together, 20_000)
        client.transport.resume_reading()
        await client.head()
        assert codes(await client.lines()) == ["missing_field"] * 60_000
        await flooding
        assert limits.together.unread == 0
