"""Does a client over HTTP understand every answer, and say of every failure whether the request may have been taken?"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from smsd.client import Client, LimitExceeded, NotAllowed, QueueUnavailable, SmsdError, http_link, reach
from smsd.client.http import HttpDoor
from tests.client.conftest import TO
from tests.client.http_daemon import HttpFront, answer
from tests.doubles.fake_daemon import Do, FakeDaemon, RefusedError, view, wait_for

JSON = "Content-Type: application/json"
PROBLEM = "Content-Type: application/problem+json"


class TestAnswers:
    def test_a_refusal_says_when_to_come_again(self, make_http: Any, fake: FakeDaemon) -> None:
        client = make_http()
        for code, kind, seconds in (
            ("backlog_full", QueueUnavailable, 5),
            ("limit_exceeded", LimitExceeded, 5),
            ("unauthenticated", NotAllowed, None),
        ):
            fake.refuse["send"] = RefusedError(code, "Because.", "to")
            with pytest.raises(kind) as caught:
                client.send(TO, "Hello")
            assert (caught.value.code, caught.value.retry_after) == (code, seconds)
            assert caught.value.remedy

    def test_an_answer_of_a_mebibyte_in_pieces(self, make_http: Any, front: HttpFront) -> None:
        text = "x" * (1 << 20)
        body = json.dumps(view("a", text=text)).encode()
        pieces = b"".join(b"%x;why=not\r\n%s\r\n" % (len(p), p) for p in (body[:7], body[7:70_000], body[70_000:]))
        front.raw.append(f"HTTP/1.1 200 OK\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + pieces)
        front.raw[-1] += b"0\r\nTrailer: yes\r\n\r\n"
        client = make_http()
        assert client.get("a")["text"] == text
        front.raw.append(answer("200 OK", body, [JSON]))
        assert client.get("a")["text"] == text
        assert len(front.connections) == 1, "both on one connection"

    def test_an_answer_that_ends_with_the_connection(self, make_http: Any, front: HttpFront) -> None:
        front.closing = True
        front.raw.append(f"HTTP/1.0 200 OK\r\n{JSON}\r\n\r\n".encode() + b'{"pong": true, "version": "1"}')
        client = make_http()
        assert client.ping()["pong"]
        assert client.ping()["pong"]
        assert len(front.connections) == 2

    def test_an_answer_without_end_is_given_up(
        self, make_http: Any, front: HttpFront, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http_link, "ANSWER_BYTES", 1_000)
        front.raw.append(answer("200 OK", b" " * 2_000, [JSON]))
        with pytest.raises(SmsdError, match="is not smsd"):
            make_http().ping()

    @pytest.mark.parametrize(
        "said",
        [
            b"+OK POP3 ready\r\n",
            b"HTTP/1.1 2OO OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            answer("200 OK", b'{"hello": 1}', [JSON]),
            answer("200 OK", b"[" * 100_000, [JSON]),
            answer("200 OK", b"\xff\xfe", [JSON]),
            answer("200 OK", b"<html>", ["Content-Type: text/html"]),
            answer("204 No Content"),
            answer("404 Not Found", b"<html>", ["Content-Type: text/html"]),
            answer("401 Unauthorized", b"{}", [PROBLEM]),
            answer("500 Oops", b'{"code": 7, "errors": []}', [PROBLEM]),
        ],
    )
    def test_what_is_not_smsd_is_named(self, make_http: Any, front: HttpFront, said: bytes) -> None:
        front.closing = True
        front.raw.append(said)
        client = make_http()
        with pytest.raises(SmsdError, match=r"What answers on http://127\.0\.0\.1.* is not smsd") as caught:
            client.ping()
        assert (type(caught.value), caught.value.code) == (SmsdError, "malformed")
        assert "SMSD_URL" in caught.value.remedy
        assert client.ping()["pong"], "the next call starts on a new connection"

    def test_a_redirect_is_named_and_not_followed(self, make_http: Any, front: HttpFront) -> None:
        front.raw.append(
            answer("308 Permanent Redirect", b"", ["Location: https://other.example/v1/messages?t=secret"])
        )
        with pytest.raises(SmsdError, match=r"sends its callers elsewhere \(HTTP 308\)") as caught:
            make_http().send(TO, "Hello")
        assert "https://other.example/v1/messages." in caught.value.message
        assert len(front.heads) == 1

    def test_a_proxy_without_its_daemon_leaves_doubt_only_about_what_acts(
        self, make_http: Any, front: HttpFront
    ) -> None:
        client = make_http()
        for call, code in ((client.ping, "unreachable"), (lambda: client.send(TO, "Hello"), "outcome_unknown")):
            front.raw.append(answer("502 Bad Gateway", b"<html>", ["Content-Type: text/html", "Retry-After: 7"]))
            with pytest.raises(QueueUnavailable, match="A proxy on the way") as caught:
                call()
            assert (caught.value.code, caught.value.retry_after) == (code, 7)
        front.raw.append(answer("502 Bad Gateway", b"<html>", ["Content-Type: text/html"]))
        with pytest.raises(QueueUnavailable) as of_campaign:
            client.campaign_pause("spring")
        assert of_campaign.value.remedy.endswith("smsd campaign.")


class TestConnections:
    def test_one_is_kept_for_many_calls(self, make_http: Any, front: HttpFront) -> None:
        client = make_http()
        for _ in range(5):
            client.send(TO, "Hello")
        with pytest.raises(SmsdError):
            client.get("none")
        client.cancel(client.send(TO, "Hello")["id"])
        client.metrics()
        assert len(front.connections) == 1

    def test_one_that_was_closed_meanwhile_is_not_used(
        self, make_http: Any, fake: FakeDaemon, front: HttpFront
    ) -> None:
        """The server closes idle connections without saying so; a send without a key must not meet that."""
        front.closing = True
        client = make_http()
        for n in range(5):
            client.send(TO, f"{n}")
            time.sleep(0.02)  # let the closing arrive; one that arrives later is in doubt by right
        assert [request["text"] for request in fake.requests] == ["0", "1", "2", "3", "4"]
        assert len(front.connections) == 5

    def test_one_that_was_closed_is_known_before_anything_is_written(self, front: HttpFront) -> None:
        door = HttpDoor(front.url, "", "url")
        link = door.connect(time.monotonic() + 5)
        link.ask(door.prepare({"op": "ping"}, 1), time.monotonic() + 5)
        assert link.idle()
        front.hang_up()
        wait_for(lambda: not link.idle(), seconds=http_link.IDLE_S / 2)  # later it would be too old anyway
        link.close()

    def test_one_unused_for_long_is_not_used(
        self, make_http: Any, front: HttpFront, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http_link, "IDLE_S", -1)
        client = make_http()
        client.ping()
        client.ping()
        assert len(front.connections) == 2

    def test_a_restart_between_two_calls_is_not_noticed(
        self, make_http: Any, fake: FakeDaemon, front: HttpFront
    ) -> None:
        client = make_http()
        client.send(TO, "one")
        front.stop()
        with HttpFront(fake, port=front.port):
            client.send(TO, "two")
        assert [request["text"] for request in fake.requests] == ["one", "two"]
        with pytest.raises(QueueUnavailable, match=r"Nothing listens on 127\.0\.0\.1:\d+") as caught:
            client.send(TO, "three")
        assert (caught.value.code, caught.value.maybe_taken) == ("unreachable", False)

    def test_half_an_answer_is_a_loss(self, make_http: Any, front: HttpFront) -> None:
        front.closing = True
        client = make_http()
        for said in (
            b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"pong": tr',
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n900\r\n{",
            b"HTTP/1.1 200 OK\r\nContent-",
        ):
            front.raw.extend([said] * 3)
            with pytest.raises(QueueUnavailable) as caught:
                client.ping()
            assert caught.value.code == "unreachable", "said twice, and reads are never in doubt"
            with pytest.raises(QueueUnavailable) as caught:
                client.send(TO, "Hello")
            assert caught.value.maybe_taken
            assert not front.raw

    def test_an_answer_that_drips_ends_with_the_time(self, make_http: Any, fake: FakeDaemon) -> None:
        """Each byte comes quickly enough; all of them never do."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ended = threading.Event()
            dripping = threading.Thread(target=_drip, args=(listener, ended))
            dripping.start()
            began = time.monotonic()
            with (
                Client(url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.3) as client,
                pytest.raises(QueueUnavailable, match=r"within 0\.3 s") as caught,
            ):
                client.send(TO, "Hello")
            took = time.monotonic() - began
            ended.set()
            dripping.join()
        assert caught.value.maybe_taken
        assert took < 1.0

    def test_a_name_nobody_knows(self) -> None:
        with Client(url="http://no-such-host.invalid", timeout=5) as client, pytest.raises(QueueUnavailable) as caught:
            client.ping()
        assert "no-such-host.invalid" in str(caught.value)

    def test_a_resolver_that_hangs_costs_no_more_than_the_time_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answered = threading.Event()

        def hang(*_: Any, **__: Any) -> Any:
            answered.wait(5)
            raise OSError("at last")

        monkeypatch.setattr(socket, "getaddrinfo", hang)
        began = time.monotonic()
        result = Client(url="http://slow.invalid").offer(TO, "Hello", timeout=0.1)
        assert result["error"]["code"] == "unreachable"
        assert time.monotonic() - began < 0.5
        answered.set()


def _drip(listener: socket.socket, ended: threading.Event) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65_536)
        for letter in "HTTP/1.1 200 OK\r\nX: " + "y" * 1_000:
            if ended.wait(0.02):
                return
            connection.sendall(letter.encode())


class TestBatches:
    def test_many_go_in_batches_on_one_connection(self, fake: FakeDaemon, front: HttpFront) -> None:
        items = ({"to": TO, "text": f"{n}"} for n in range(1_234))
        with Client(url=front.url) as client:
            results = [*client.send_many(items)]
        assert [each["index"] for each in results] == [*range(1_234)]
        assert len({each["id"] for each in results}) == 1_234
        assert [path for _, path, _ in front.heads] == ["/v1/messages/batch"] * 3
        assert len(front.connections) == 1
        assert fake.requests[7] == {"op": "send", "to": TO, "text": "7"}

    def test_items_are_taken_as_they_are_needed(self, fake: FakeDaemon, front: HttpFront) -> None:
        taken = 0

        def items() -> Any:
            nonlocal taken
            for n in range(100_000):
                taken += 1
                yield {"to": TO, "text": f"{n}"}

        with Client(url=front.url) as client:
            stream = client.send_many(items())
            assert next(iter(stream))["ok"]
            assert taken == 500
            stream.close()  # type: ignore[attr-defined]  # it is a generator

    def test_a_batch_refused_as_a_whole_leaves_no_doubt(
        self, make_http: Any, fake: FakeDaemon, front: HttpFront
    ) -> None:
        error: dict[str, Any] = {"code": "shutting_down", "message": "It ends.", "field": None, "errors": []}
        front.refuse_batches["send"] = error
        results = [*make_http().send_many([{"to": TO, "text": "Hello"}] * 3)]
        assert [each["error"]["code"] for each in results] == ["shutting_down"] * 3
        assert fake.requests == []
        with Client(url=front.url) as client, pytest.raises(QueueUnavailable, match="from index 500 on") as caught:
            [*client.send_many({"to": TO, "text": "Hello"} for _ in range(600))]
        assert caught.value.retry_after == 5

    @pytest.mark.parametrize(
        "lines", [b"", b'{"index": 1, "ok": true}\n', b"[]\n", b"nonsense\n", b'{"index": 0, "ok": true, "id"']
    )
    def test_answers_that_do_not_fit_are_no_answers(self, make_http: Any, front: HttpFront, lines: bytes) -> None:
        front.closing = True
        front.raw.extend([answer("200 OK", lines, ["Content-Type: application/x-ndjson"])] * 2)
        results = [*make_http().send_many([{"to": TO, "text": "Hello"}])]
        assert [each["error"]["code"] for each in results] == ["outcome_unknown"]

    def test_the_daemon_dies_half_way(self, make_http: Any, fake: FakeDaemon) -> None:
        fake.script.extend([Do.PROPERLY] * 3 + [Do.ACT_AND_HANG_UP])
        items = [{"to": TO, "text": f"{n}", **({"idempotency_key": f"k{n}"} if n % 2 else {})} for n in range(10)]
        results = [*make_http().send_many(items)]
        assert [each["index"] for each in results if each["ok"]] == [0, 1, 2, 3, 5, 7, 9]
        assert {each["error"]["code"] for each in results if not each["ok"]} == {"outcome_unknown"}
        assert results[3]["replayed"] is True
        texts = [message["text"] for message in fake.messages.values()]
        assert len(texts) == len(set(texts)), "nothing was taken twice"


class TestTls:
    def test_a_certificate_that_is_vouched_for(self, secure: HttpFront, authorities: Path, fake: FakeDaemon) -> None:
        reach._context().load_verify_locations(authorities)
        with Client(url=secure.url, timeout=5) as client:
            id = client.send(TO, "Hello")["id"]
            assert client.get(id)["text"] == "Hello"
            assert [each["ok"] for each in client.send_many([{"to": TO, "text": "x"}] * 3)] == [True] * 3
        assert len(secure.connections) == 2, "one for the calls, one for the batch"
        assert secure.heads[0][2]["Host"] == f"127.0.0.1:{secure.port}"

    def test_one_that_is_not_is_refused(self, make_http: Any, secure: HttpFront, fake: FakeDaemon) -> None:
        with Client(url=secure.url, timeout=5) as client, pytest.raises(QueueUnavailable) as caught:
            client.send(TO, "Hello")
        assert "is not valid: unable to get local issuer certificate" in caught.value.message
        assert (caught.value.code, fake.requests) == ("unreachable", [])
        assert "SSL_CERT_FILE" in caught.value.remedy

    def test_one_for_another_name_is_refused(self, secure: HttpFront, authorities: Path, fake: FakeDaemon) -> None:
        reach._context().load_verify_locations(authorities)
        url = secure.url.replace("127.0.0.1", "localhost")
        with Client(url=url, timeout=5) as client, pytest.raises(QueueUnavailable, match="is not valid: Hostname"):
            client.send(TO, "Hello")
        assert fake.requests == []

    def test_https_where_there_is_none_and_the_other_way_round(self, front: HttpFront, secure: HttpFront) -> None:
        with (
            Client(url=front.url.replace("http:", "https:"), timeout=5) as client,
            pytest.raises(QueueUnavailable, match="Cannot connect") as caught,
        ):
            client.ping()
        assert "http:// or https://" in caught.value.remedy
        with Client(url=secure.url.replace("https:", "http:"), timeout=5) as client, pytest.raises(SmsdError):
            client.ping()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def authorities(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path / "ca.pem"


@pytest.fixture
def secure(fake: FakeDaemon, authority: trustme.CA) -> Iterator[HttpFront]:
    """The front with a certificate for 127.0.0.1; what this process trusts is forgotten before and after."""
    reach._context.cache_clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with HttpFront(fake, tls=context) as front:
        yield front
    reach._context.cache_clear()
