"""The stand-in itself: other tests believe its counts."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from smsd.providers.base import Found, Response
from smsd.providers.twilio import Twilio
from tests.doubles.scripted import ScriptedExchange
from tests.doubles.stand_in import ACCOUNT, TOKEN, Rule, StandIn
from tests.providers.calls import CALL, answer, call

ROOT = Path(__file__).parents[2]


@contextmanager
def running(*options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The stand-in as a process of its own: its URL."""
    command = [sys.executable, "-m", "tests.doubles.stand_in", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}", process
        finally:
            process.terminate()
            process.wait(10)


def send(url: str, text: str) -> int:
    made = Twilio("main", ACCOUNT, TOKEN, base_url=url).prepare(call(text=text))
    try:
        with urlopen(Request(made.url, made.body, dict(made.headers))) as response:
            return int(response.status)
    except HTTPError as error:
        with error:
            return error.code


def fetch(url: str, body: object = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data)) as response:
        return bytes(response.read())


def test_as_a_process_it_counts_journals_and_takes_a_script(tmp_path: Path) -> None:
    journal = tmp_path / "calls.ndjson"
    with running("--latency-ms", "1", "--journal", str(journal), "--rate", "3/60000") as (url, process):
        assert [send(url, text) for text in ("one", "one", "two", "three")] == [201, 201, 201, 429]
        fetch(f"{url}/_script", [{"kind": "code", "status": 400, "code": 21610, "times": 1}])
        assert json.loads(fetch(f"{url}/_calls")) == {
            "sends": 4, "taken": 3, "distinct": 2, "again": 1, "saturated": 0, "throttled": 1, "lists": 0,
            "elsewhere": 0, "connections": 6,
        }  # fmt: skip
        rows = [json.loads(line) for line in fetch(f"{url}/_calls.ndjson").splitlines()]
        assert [(row["n"], row["body"], row["sid"] is not None) for row in rows] == [
            (1, "one", True), (2, "one", True), (3, "two", True), (4, "three", False),
        ]  # fmt: skip
        assert [row["at_ns"] for row in rows] == sorted(row["at_ns"] for row in rows)
        assert abs(rows[-1]["at_ns"] - time.monotonic_ns()) < 60e9
        fetch(f"{url}/_reset", {})
        assert send(url, "four") == 400
        process.terminate()
        assert process.wait(10) == 0
    lines = [json.loads(line)["body"] for line in journal.read_text().splitlines()]
    assert lines == ["one", "one", "two", "three", "four"]


async def test_rules_strike_by_number_turn_and_times() -> None:
    rules = (
        Rule("answer", to="+14155550001", times=2),
        Rule("answer", nth=3, status=418),
        Rule("answer", every=5, status=419),
    )
    async with StandIn(*rules) as stand_in:

        def status(to: str) -> int:
            made = Twilio("main", ACCOUNT, TOKEN, base_url=stand_in.url).prepare(call(recipient=to))
            try:
                with urlopen(Request(made.url, made.body, dict(made.headers))) as response:
                    return int(response.status)
            except HTTPError as error:
                with error:
                    return error.code

        numbers = ["+14155550001", "+14155550001", "+14155550001", "+14155550001", "+14155550002"]
        assert [await asyncio.to_thread(status, to) for to in numbers] == [400, 400, 418, 201, 419]
        assert [sent.fault for sent in stand_in.calls] == ["answer", "answer", "answer", "", "answer"]
        assert len(stand_in.taken_calls()) == 1


async def test_only_so_many_calls_are_kept_and_all_are_counted() -> None:
    async with StandIn(keep=3) as stand_in:
        for n in range(5):
            assert await asyncio.to_thread(send, stand_in.url, f"text {n}") == 201
        assert [sent.body for sent in stand_in.calls] == ["text 2", "text 3", "text 4"]
        assert stand_in.stats()["taken"] == 5
        provider = Twilio("main", ACCOUNT, TOKEN, base_url=stand_in.url)
        now = stand_in.calls[0].created * 1_000
        asked = provider.ask(call(text="text 3", now=now))

        def listing() -> bytes:
            with urlopen(Request(asked.url, headers=dict(asked.headers))) as response:
                return bytes(response.read())

        body = await asyncio.to_thread(listing)
        assert len(json.loads(body)["messages"]) == 3
        assert provider.find(answer(200, body), call(text="text 3", now=now)) == Found((f"SM{4:032x}",))


async def test_without_credentials_it_refuses() -> None:
    async with StandIn() as stand_in:
        made = Twilio("main", ACCOUNT, TOKEN, base_url=stand_in.url).prepare(CALL)
        with pytest.raises(HTTPError) as caught:
            await asyncio.to_thread(urlopen, Request(made.url, made.body))
        caught.value.close()
        assert (caught.value.code, stand_in.sends) == (401, 0)


def test_a_rule_of_no_known_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind"):
        Rule("explode")


async def test_the_scripted_exchange_answers_in_order_and_counts() -> None:
    twilio = Twilio("main", ACCOUNT, TOKEN)
    scripted = ScriptedExchange(lambda request, n: (answer(201, {"sid": f"SM{n}"}), 20 if n else 60_000))
    made = twilio.prepare(CALL)
    first, second = await asyncio.gather(*(scripted.send(twilio, made, 50, 0.5) for _ in range(2)))
    assert not isinstance(first.outcome, Response)
    assert isinstance(second.outcome, Response)
    assert (first.latency_ms, second.latency_ms) == (50, 20)
    assert (len(scripted.requests), scripted.in_flight, scripted.most_in_flight) == (2, 0, 2)
