"""Each thing that can go wrong on a real socket becomes the right outcome."""

from __future__ import annotations

import asyncio
import gzip
import io
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import pytest

from smsd.core.verdict import Category, Fate
from smsd.engine.exchange import Answer, Exchange
from smsd.providers.base import Absent, Found, NoAnswer, NoConnection, Request, Response, Unanswered, read
from smsd.providers.console import Console
from smsd.providers.sandbox import Sandbox
from smsd.providers.twilio import Twilio
from tests.doubles.stand_in import ACCOUNT, TOKEN, Rule, StandIn
from tests.providers.calls import CALL, call

TIMEOUT_MS = 5_000
SHORT_MS = 150


@pytest.fixture
async def exchange() -> AsyncIterator[Exchange]:
    made = Exchange()
    await made.start()
    yield made
    await made.close()


def twilio(url: str) -> Twilio:
    return Twilio("main", ACCOUNT, TOKEN, base_url=url)


async def attempt(exchange: Exchange, url: str, timeout_ms: int = TIMEOUT_MS) -> Answer:
    provider = twilio(url)
    return await exchange.send(provider, provider.prepare(CALL), timeout_ms, 0.5)


async def test_a_send_arrives_as_it_was_meant(exchange: Exchange) -> None:
    async with StandIn() as stand_in:
        stand_in.record_headers = True
        text = "a&b=c+d é€ 😀\r\n"
        provider = twilio(stand_in.url)
        answer = await exchange.send(provider, provider.prepare(call(text=text)), TIMEOUT_MS, 0.5)
        verdict = read(provider, answer.outcome)
        [sent] = stand_in.calls
        assert (sent.to, sent.sender, sent.body, sent.sid) == (
            CALL.recipient, CALL.sender, text, verdict.provider_message_id,
        )  # fmt: skip
        assert verdict.fate is Fate.ACCEPTED
        [(method, target, headers)] = stand_in.requests
        assert (method, target) == ("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json")
        assert headers["content-type"] == "application/x-www-form-urlencoded"
        assert headers["user-agent"].startswith("smsd/")
        assert "cookie" not in headers and "accept-encoding" not in headers


async def test_connections_are_kept_and_used_again(exchange: Exchange) -> None:
    async with StandIn() as stand_in:
        for _ in range(5):
            await attempt(exchange, stand_in.url)
        assert (stand_in.sends, stand_in.connections) == (5, 1)


async def test_a_proxy_in_the_environment_is_not_used(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    async with StandIn() as stand_in:
        assert isinstance((await attempt(exchange, stand_in.url)).outcome, Response)


async def test_no_cookie_is_kept(exchange: Exchange) -> None:
    async with StandIn(Rule("answer", headers={"Set-Cookie": "a=1; Path=/"})) as stand_in:
        stand_in.record_headers = True
        for _ in range(2):
            await attempt(exchange, stand_in.url.replace("127.0.0.1", "localhost"))
        assert all("cookie" not in headers for _, _, headers in stand_in.requests)


async def test_a_url_arrives_as_the_dialect_wrote_it(exchange: Exchange) -> None:
    async with StandIn() as stand_in:
        stand_in.record_headers = True
        for target in ("/%7Ea/b%2Fc", "/a?To=%2B1%7E&x=%41"):
            await exchange.send(twilio("http://x"), Request("GET", stand_in.url + target, {}), TIMEOUT_MS, 0.5)
            assert stand_in.requests[-1][1] == target


@pytest.mark.parametrize(
    ("rule", "status", "fate", "category", "wait_ms"),
    [
        (Rule("throttle"), 429, Fate.DEFER, Category.RATE_LIMITED, None),
        (Rule("throttle", retry_after="30"), 429, Fate.DEFER, Category.RATE_LIMITED, 30_000),
        (Rule("throttle", retry_after="date"), 429, Fate.DEFER, Category.RATE_LIMITED, 30_000),
        (Rule("code", status=400, code=21610), 400, Fate.REFUSE, Category.OPTED_OUT, None),
        (Rule("code", status=401, code=20003), 401, Fate.DEFER, Category.AUTH_FAILED, None),
        (Rule("answer", status=403, body="forbidden"), 403, Fate.DEFER, Category.AUTH_FAILED, None),
        (Rule("answer", status=403, body="rate limit"), 403, Fate.DEFER, Category.RATE_LIMITED, None),
        (Rule("answer", status=503), 503, Fate.DEFER, Category.PROVIDER_ERROR, None),
        (Rule("html", taken=True), 502, Fate.UNKNOWN, Category.TIMEOUT, None),
        (Rule("malformed"), 201, Fate.UNKNOWN, Category.TIMEOUT, None),
        (Rule("oversized"), 201, Fate.UNKNOWN, Category.TIMEOUT, None),
        (Rule("redirect"), 307, Fate.DEFER, Category.CONFIG_ERROR, None),
        (Rule("ok", delay_ms=50), 201, Fate.ACCEPTED, None, None),
    ],
    ids=lambda value: value.kind if isinstance(value, Rule) else "",
)
async def test_an_answer_is_an_answer(
    exchange: Exchange, rule: Rule, status: int, fate: Fate, category: Category | None, wait_ms: int | None
) -> None:
    async with StandIn(replace(rule)) as stand_in:
        answer = await attempt(exchange, stand_in.url)
        assert isinstance(answer.outcome, Response)
        assert answer.outcome.status == status
        verdict = read(twilio(stand_in.url), answer.outcome)
        assert (verdict.fate, verdict.category, verdict.retry_after_ms) == (fate, category, wait_ms)
        assert (stand_in.sends, stand_in.elsewhere) == (1, 0), "no redirect is followed, nothing is repeated"


@pytest.mark.parametrize(
    ("rule", "detail"),
    [
        (Rule("hang", taken=True), f"no answer within {SHORT_MS} ms"),
        (Rule("reset", taken=True), "the connection broke (Connection reset by peer)"),
        (Rule("close", taken=True), "the provider closed the connection"),
        (Rule("partial", taken=True), "HTTP 201, but the rest of the answer did not come"),
        (Rule("trickle", delay_ms=10), f"no answer within {SHORT_MS} ms"),
        (Rule("garbage", taken=True), "not understood as HTTP"),
        (Rule("answer", status=201, hex="ff00", headers={"Content-Encoding": "gzip"}), "HTTP 201, but the rest"),
        (Rule("answer", status=201, headers={"Transfer-Encoding": "chunked"}, body="zz"), "not understood as HTTP"),
    ],
    ids=lambda value: value.kind if isinstance(value, Rule) else "",
)
async def test_without_a_whole_answer_nobody_knows(exchange: Exchange, rule: Rule, detail: str) -> None:
    async with StandIn(replace(rule)) as stand_in:
        answer = await attempt(exchange, stand_in.url, SHORT_MS)
        assert isinstance(answer.outcome, NoAnswer)
        assert answer.outcome.detail.startswith(detail)
        assert answer.trace == f"no answer: {answer.outcome.detail}"
        assert stand_in.sends == 1, "nothing is repeated"


async def test_a_kept_connection_that_breaks_is_uncertain_and_not_repeated(exchange: Exchange) -> None:
    async with StandIn(Rule("close", nth=2)) as stand_in:
        await attempt(exchange, stand_in.url)
        answer = await attempt(exchange, stand_in.url)
        assert isinstance(answer.outcome, NoAnswer)
        assert (stand_in.sends, stand_in.connections) == (2, 1)


@pytest.mark.parametrize("kind", ["close", "reset"])
async def test_a_get_is_not_repeated_either(exchange: Exchange, kind: str) -> None:
    async with StandIn(Rule("ok", on="list", nth=1), Rule(kind, on="list")) as stand_in:
        provider = twilio(stand_in.url)
        for expected in (Response, NoAnswer):
            answer = await exchange.send(provider, provider.ask(CALL), TIMEOUT_MS, 0.5)
            assert isinstance(answer.outcome, expected)
        assert stand_in.lists == 2


async def test_the_whole_timeout_counts_not_each_byte(exchange: Exchange) -> None:
    async with StandIn(Rule("trickle", delay_ms=20)) as stand_in:
        answer = await attempt(exchange, stand_in.url, 300)
        assert isinstance(answer.outcome, NoAnswer)
        assert 290 <= answer.latency_ms < 1_500


async def test_an_answer_too_long_is_cut_and_its_connection_closed(exchange: Exchange) -> None:
    async with StandIn(Rule("oversized", nth=1)) as stand_in:
        answer = await attempt(exchange, stand_in.url)
        assert isinstance(answer.outcome, Response)
        assert len(answer.outcome.body) == 65_536
        assert len(answer.trace) < 1_400
        await attempt(exchange, stand_in.url)
        assert stand_in.connections == 2


async def test_a_look_up_may_be_longer_than_a_send(exchange: Exchange) -> None:
    async with StandIn() as stand_in:
        provider = twilio(stand_in.url)
        now = int(asyncio.get_running_loop().time())
        for n in range(50):
            made = provider.prepare(call(text=f"{n} " + "ж" * 300, now=now))
            await exchange.send(provider, made, TIMEOUT_MS, 0.5)
        asked = call(text="7 " + "ж" * 300, now=stand_in.calls[0].created * 1_000)
        answer = await exchange.send(provider, provider.ask(asked), TIMEOUT_MS, 0.5)
        assert isinstance(answer.outcome, Response)
        assert len(answer.outcome.body) > 65_536
        assert provider.find(answer.outcome, asked) == Found((f"SM{8:032x}",))


@pytest.mark.parametrize(
    ("rules", "finding"),
    [
        ([Rule("hang", taken=True)], Found((f"SM{1:032x}",))),
        ([Rule("hang", taken=False)], Absent()),
        ([Rule("hang", taken=True, listed=False)], Absent()),
        ([Rule("hang", taken=True), Rule("answer", on="list", status=503)], Unanswered),
        ([Rule("hang", taken=True), Rule("malformed", on="list")], Unanswered),
    ],
)
async def test_an_uncertain_send_can_be_looked_up(exchange: Exchange, rules: list[Rule], finding: object) -> None:
    async with StandIn(*rules) as stand_in:
        assert isinstance((await attempt(exchange, stand_in.url, SHORT_MS)).outcome, NoAnswer)
        provider = twilio(stand_in.url)
        asked = call(now=stand_in.calls[0].created * 1_000)
        answer = await exchange.send(provider, provider.ask(asked), TIMEOUT_MS, 0.5)
        assert isinstance(answer.outcome, Response)
        found = provider.find(answer.outcome, asked)
        assert found == finding or (isinstance(finding, type) and isinstance(found, finding))


# No connection: nothing was taken.


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def full_backlog() -> Iterator[int]:
    """The port of a listener that takes no further connection and refuses none: what a dead host looks like."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        try:
            yield int(listener.getsockname()[1])
        finally:
            for each in waiting:
                each.close()


async def test_a_refused_connection_is_no_connection(exchange: Exchange) -> None:
    port = free_port()
    answer = await attempt(exchange, f"http://127.0.0.1:{port}")
    assert isinstance(answer.outcome, NoConnection)
    assert f"127.0.0.1:{port}" in answer.outcome.detail
    assert read(twilio("http://x"), answer.outcome).category is Category.NETWORK


async def test_a_host_that_does_not_take_the_connection_in_time_is_no_connection(exchange: Exchange) -> None:
    with full_backlog() as port:
        answer = await attempt(exchange, f"http://127.0.0.1:{port}", 400)
    assert answer.outcome == NoConnection("no connection within 200 ms")
    assert answer.latency_ms < 390


async def test_a_name_that_does_not_exist_is_no_connection(exchange: Exchange) -> None:
    answer = await attempt(exchange, "http://no-such-host.invalid", 4_000)
    assert isinstance(answer.outcome, NoConnection)


async def test_tls_with_a_server_that_speaks_none_is_no_connection(exchange: Exchange) -> None:
    async with StandIn() as stand_in:
        answer = await attempt(exchange, f"https://127.0.0.1:{stand_in.port}")
        assert isinstance(answer.outcome, NoConnection)
        assert stand_in.sends == 0


async def test_a_certificate_nobody_trusts_is_no_connection(exchange: Exchange) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).with_name("localhost.pem"))
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        answer = await attempt(exchange, f"https://127.0.0.1:{port}")
        assert isinstance(answer.outcome, NoConnection)
        assert "certificate" in answer.outcome.detail
        assert not any(seen), "nothing was sent to it"


async def test_a_url_that_is_none_is_no_connection(exchange: Exchange) -> None:
    for url in ("http://", "gopher://x/", "http://:80/"):
        request = Request("POST", url, {}, b"x")
        answer = await exchange.send(twilio("http://x"), request, TIMEOUT_MS, 0.5)
        assert isinstance(answer.outcome, NoConnection)


# Life of an exchange


async def test_a_cancelled_exchange_is_abandoned(exchange: Exchange) -> None:
    async with StandIn(Rule("hang")) as stand_in:
        task = asyncio.create_task(attempt(exchange, stand_in.url))
        while not stand_in.sends:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await attempt(exchange, stand_in.url, SHORT_MS)
        assert stand_in.connections == 2, "its connection is not used again"


async def test_an_exchange_that_is_not_open_says_so() -> None:
    exchange = Exchange()
    with pytest.raises(RuntimeError, match="not started"):
        await attempt(exchange, "http://127.0.0.1:1")
    await exchange.start()
    await exchange.close()
    await exchange.close()
    with pytest.raises(RuntimeError, match="closed"):
        await attempt(exchange, "http://127.0.0.1:1")


async def test_many_calls_at_once_are_not_queued(exchange: Exchange) -> None:
    async with StandIn(latency_ms=100) as stand_in:
        answers = await asyncio.gather(*(attempt(exchange, stand_in.url) for _ in range(150)))
        assert all(isinstance(answer.outcome, Response) for answer in answers)
        assert stand_in.connections == 150


async def test_no_trace_shows_credentials_number_or_text(exchange: Exchange) -> None:
    async with StandIn(
        Rule("ok", nth=1),
        Rule("code", code=21211, message=f"The 'To' number {CALL.recipient} is not valid: {CALL.text}"),
    ) as stand_in:
        for _ in range(2):
            trace = (await attempt(exchange, stand_in.url)).trace
            for secret in (TOKEN, "Basic", CALL.recipient[1:], CALL.text, "4711"):
                assert secret not in trace
        assert "21211" in trace


# Providers inside this process


async def test_a_local_provider_answers_after_its_latency(exchange: Exchange) -> None:
    sandbox = Sandbox("s", latency=60)
    answer = await exchange.send(sandbox, sandbox.prepare(CALL), TIMEOUT_MS, 0.5)
    assert read(sandbox, answer.outcome).fate is Fate.ACCEPTED
    assert 55 <= answer.latency_ms < 1_000


async def test_a_local_provider_meets_the_timeout_too(exchange: Exchange) -> None:
    sandbox = Sandbox("s", latency=60_000)
    answer = await exchange.send(sandbox, sandbox.prepare(CALL), 30, 0.5)
    assert answer.outcome == NoAnswer("no answer within 30 ms")


async def test_the_console_prints_and_a_closed_output_is_no_connection() -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    console = Console("c")

    async def printed(out: TextIO) -> Answer:
        return await Exchange(out).send(console, console.prepare(CALL), TIMEOUT_MS, 0.5)

    out = io.StringIO()
    assert read(console, (await printed(out)).outcome).fate is Fate.ACCEPTED
    assert out.getvalue() == '+14155550123 <- +15005550006: "Your code is 4711"\n'
    assert (await printed(Full())).outcome == NoConnection("standard output: No space left on device")


async def test_a_compressed_answer_is_read(exchange: Exchange) -> None:
    body = gzip.compress(b'{"sid": "SM9"}').hex()
    async with StandIn(Rule("answer", status=201, hex=body, headers={"Content-Encoding": "gzip"})) as stand_in:
        answer = await attempt(exchange, stand_in.url)
        assert read(twilio(stand_in.url), answer.outcome).provider_message_id == "SM9"
