"""Does the client say what happened to a request, and never guess? Both clients, over a real socket."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from smsd import client as module
from smsd import wire
from smsd.client import (
    AsyncClient,
    Client,
    KeyConflict,
    LimitExceeded,
    NotAllowed,
    NotFound,
    QueueUnavailable,
    SmsdError,
    SubmissionInvalid,
    WrongState,
    socket_path,
)
from smsd.listeners.operations import OPERATIONS
from tests.doubles.fake_daemon import Do, FakeDaemon, RefusedError, wait_for

TO = "+15550100123"


class Blocking:
    """An AsyncClient driven from outside its loop, so that one test serves both clients."""

    def __init__(self, path: Path, *, timeout: float = 5.0) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(path, timeout=timeout)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            return self._runner.run(self._all(result) if hasattr(result, "__aiter__") else result)

        return call

    async def _all(self, items: Any) -> list[Any]:
        return [item async for item in items]

    def shut(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "s") as daemon:
        yield daemon


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Makes clients of the socket `s` (or of another path) and closes them at the end."""
    closing: list[Any] = []

    def client(path: Path | None = None, timeout: float = 5.0) -> Any:
        where = path or tmp_path / "s"
        if request.param == "async":
            blocking = Blocking(where, timeout=timeout)
            closing.append(blocking.shut)
            return blocking
        plain = Client(where, timeout=timeout)
        closing.append(plain.close)
        return plain

    yield client
    for close in closing:
        close()


def test_a_message_goes_in_and_can_be_asked_for(make: Any, fake: FakeDaemon) -> None:
    client = make()
    accepted = client.send(TO, "Hello", from_="+15550100000", ttl="2h", metadata={"order": "7"}, user=None)
    assert accepted == {**accepted, "state": "pending", "segments": 1, "encoding": "gsm7", "replayed": False}
    sent = {name: value for name, value in fake.requests[0].items() if name != "ref"}
    expected = {
        "op": "send",
        "to": TO,
        "text": "Hello",
        "from": "+15550100000",
        "ttl": "2h",
        "metadata": {"order": "7"},
    }
    assert sent == expected, "an absent field is not sent; from_ travels as from"
    assert client.get(accepted["id"])["text"] == client.status(accepted["id"])["text"] == "Hello"
    assert client.attempts(accepted["id"]) == []
    assert client.cancel(accepted["id"])["state"] == "cancelled"
    assert client.retry(accepted["id"], ttl="1h", force=True)["state"] == "pending"
    assert fake.requests[-1].items() >= {"op": "retry", "ttl": "1h", "force": True}.items()


def test_the_daemon_can_be_asked_about_itself(make: Any, fake: FakeDaemon) -> None:
    client = make()
    assert client.ping() == {"pong": True, "version": "0.1.0"}
    assert client.stats()["states"]["sent"] == 2
    assert [each["name"] for each in client.providers()] == ["main"]
    assert client.pause("main")["state"] == "paused"
    assert client.resume("main")["state"] == "open"
    assert client.call("stats")["uptime_s"] == 3725


def test_a_listing_follows_its_pages(make: Any, fake: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 4)
    ids = [fake.add()["id"] for _ in range(10)]
    client = make()
    assert [each["id"] for each in client.list(state="pending", user=None)] == ids[::-1]
    assert [request["limit"] for request in fake.requests] == [4, 4, 4]
    assert "user" not in fake.requests[0]
    assert [each["id"] for each in client.list(limit=6)] == ids[::-1][:6]
    assert [request["limit"] for request in fake.requests[3:]] == [4, 2]
    assert list(client.list(state="failed")) == []


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("invalid_recipient", SubmissionInvalid),
        ("text_too_long", SubmissionInvalid),
        ("no_route", SubmissionInvalid),
        ("not_available", SubmissionInvalid),
        ("backlog_full", QueueUnavailable),
        ("disk_full", QueueUnavailable),
        ("shutting_down", QueueUnavailable),
        ("outcome_unknown", QueueUnavailable),
        ("limit_exceeded", LimitExceeded),
        ("not_allowed", NotAllowed),
        ("unauthenticated", NotAllowed),
        ("not_found", NotFound),
        ("wrong_state", WrongState),
        ("key_conflict", KeyConflict),
        ("internal", SmsdError),
        ("unknown_op", SmsdError),
    ],
)
def test_each_code_is_its_own_kind(make: Any, fake: FakeDaemon, code: str, kind: type[SmsdError]) -> None:
    fake.refuse["send"] = RefusedError(code, "Because.", "to")
    with pytest.raises(SmsdError) as caught:
        make().send(TO, "Hello")
    error = caught.value
    assert type(error) is kind
    assert (error.code, error.message, error.field) == (code, "Because.", "to")
    assert error.errors == [{"code": code, "message": "Because.", "field": "to"}]
    assert str(error).startswith("Because.")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.document(), copy.remedy) == (kind, error.document(), error.remedy)
    if isinstance(error, QueueUnavailable):
        assert error.maybe_taken is (code == "outcome_unknown")


def test_every_op_of_the_daemon_has_a_method(fake: FakeDaemon) -> None:
    for name in OPERATIONS:
        assert callable(getattr(Client, name))
        assert callable(getattr(AsyncClient, name))
    text = " ".join((Client.send.__doc__ or "").split())
    later = {"template", "vars", "lang", "campaign", "callback_url"}
    for name in set(wire.Submission.__struct_fields__) - {"to", "text"} - later:
        assert name in text, "the docstring names every field the daemon takes"
    filters = " ".join((Client.list.__doc__ or "").split())
    for name in set(wire.List.__struct_fields__) - {"limit", "cursor"}:
        assert name in filters
    assert set(module._READS) | {"send", "cancel", "retry", "pause", "resume"} == set(OPERATIONS)


class TestALostConnection:
    def test_a_restart_between_two_calls_is_not_noticed(self, make: Any, tmp_path: Path) -> None:
        client = make()
        with FakeDaemon(tmp_path / "s") as first:
            client.send(TO, "one")
            assert len(first.requests) == 1
        (tmp_path / "s").unlink()
        with FakeDaemon(tmp_path / "s") as second:
            client.send(TO, "two")
            assert [request["text"] for request in second.requests] == ["two"]

    @pytest.mark.parametrize("do", [Do.HANG_UP, Do.ACT_AND_HANG_UP])
    def test_a_send_without_a_key_is_never_repeated(self, make: Any, fake: FakeDaemon, do: Do) -> None:
        fake.script.append(do)
        with pytest.raises(QueueUnavailable) as caught:
            make().send(TO, "Hello")
        assert caught.value.maybe_taken
        assert "same idempotency key" in str(caught.value)
        assert len(fake.requests) == 1

    @pytest.mark.parametrize("do", [Do.HANG_UP, Do.ACT_AND_HANG_UP])
    def test_a_send_with_a_key_is_repeated_once(self, make: Any, fake: FakeDaemon, do: Do) -> None:
        fake.script.append(do)
        accepted = make().send(TO, "Hello", idempotency_key="k")
        assert accepted["replayed"] is (do is Do.ACT_AND_HANG_UP)
        assert len(fake.requests) == 2
        assert len(fake.messages) == 1

    def test_a_second_loss_is_told(self, make: Any, fake: FakeDaemon) -> None:
        fake.script.extend([Do.HANG_UP, Do.HANG_UP])
        with pytest.raises(QueueUnavailable) as caught:
            make().send(TO, "Hello", idempotency_key="k")
        assert caught.value.maybe_taken
        assert len(fake.requests) == 2

    def test_a_daemon_that_goes_for_good_leaves_doubt(self, make: Any, tmp_path: Path) -> None:
        """The first connection took the line, the second is refused: what became of the first is not known."""
        path = tmp_path / "s"
        client = make()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            ending = threading.Thread(target=_take_one_line_and_end, args=(listener,))
            ending.start()
            with pytest.raises(QueueUnavailable) as caught:
                client.send(TO, "Hello", idempotency_key="k")
            ending.join()
        assert caught.value.maybe_taken

    def test_reads_are_repeated_and_never_in_doubt(self, make: Any, fake: FakeDaemon) -> None:
        client = make()
        fake.script.append(Do.HANG_UP)
        assert client.ping()["pong"]
        fake.script.extend([Do.HANG_UP, Do.HANG_UP])
        with pytest.raises(QueueUnavailable) as caught:
            client.stats()
        assert (caught.value.code, caught.value.maybe_taken) == ("unreachable", False)

    def test_a_cancel_is_not_repeated(self, make: Any, fake: FakeDaemon) -> None:
        message = fake.add()
        fake.script.append(Do.ACT_AND_HANG_UP)
        with pytest.raises(QueueUnavailable) as caught:
            make().cancel(message["id"])
        assert caught.value.maybe_taken
        assert message["state"] == "cancelled"

    def test_another_protocol_is_named(self, make: Any, fake: FakeDaemon) -> None:
        fake.script.append(Do.BABBLE)
        client = make()
        with pytest.raises(SmsdError, match="is not smsd"):
            client.ping()
        assert client.ping()["pong"], "the next call starts on a new connection"


def _take_one_line_and_end(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65_536)
        listener.close()


class TestTime:
    def test_no_answer_in_time_may_have_been_taken(self, make: Any, fake: FakeDaemon) -> None:
        client = make(timeout=0.1)
        fake.script.append(Do.STALL)
        with pytest.raises(QueueUnavailable, match=r"within 0\.1 s") as caught:
            client.send(TO, "Hello", idempotency_key="k")
        assert caught.value.maybe_taken
        fake.script.append(Do.STALL)
        fresh = make(timeout=0.1)
        with pytest.raises(QueueUnavailable) as caught:
            fresh.ping()
        assert not caught.value.maybe_taken

    def test_an_offer_neither_raises_nor_blocks(self, make: Any, fake: FakeDaemon, tmp_path: Path) -> None:
        client = make()
        assert client.offer(TO, "Hello")["ok"] is True
        assert client.offer("nonsense", "Hello")["error"]["code"] == "invalid_recipient"
        assert client.offer(TO, "Hello", metadata={"at": object()})["error"]["code"] == "invalid_value"
        assert make(tmp_path / "none").offer(TO, "Hello")["error"]["code"] == "unreachable"
        fake.script.append(Do.STALL)
        began = time.monotonic()
        assert client.offer(TO, "Hello", timeout=0.1)["error"]["code"] == "outcome_unknown"
        assert time.monotonic() - began < 0.5

    def test_a_full_queue_of_connections_is_waited_for(self, tmp_path: Path) -> None:
        path = str(tmp_path / "s")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(0)
            with socket.socket(socket.AF_UNIX) as first:
                first.connect(path)
                with (
                    Client(path, timeout=0.1) as client,
                    pytest.raises(QueueUnavailable, match=r"within 0\.1 s") as caught,
                ):
                    client.ping()
        assert not caught.value.maybe_taken

    def test_a_thread_that_waits_for_its_turn_gives_up_in_time(self, fake: FakeDaemon) -> None:
        fake.script.append(Do.STALL)
        with Client(fake.path, timeout=1.0) as client:
            slow = threading.Thread(target=client.offer, args=(TO, "slow"), kwargs={"timeout": 1.0})
            slow.start()
            wait_for(lambda: fake.requests)
            began = time.monotonic()
            assert client.offer(TO, "quick", timeout=0.05)["error"]["code"] == "unreachable"
            assert time.monotonic() - began < 0.5
            slow.join()


def test_an_interrupted_call_does_not_shift_answers(fake: FakeDaemon) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    fake.script.append(Do.STALL)
    with Client(fake.path, timeout=5) as client:
        try:
            with pytest.raises(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                client.ping()
        finally:
            signal.signal(signal.SIGALRM, before)
        assert client.stats()["uptime_s"] == 3725
    assert len(fake.connections) == 2


class TestNobodyThere:
    def test_no_socket(self, make: Any, tmp_path: Path) -> None:
        with pytest.raises(
            QueueUnavailable, match=r"does not run here: there is no .*none.*systemctl start smsd"
        ) as caught:
            make(tmp_path / "none").ping()
        assert (caught.value.code, caught.value.maybe_taken) == ("unreachable", False)

    def test_a_stopped_daemon_left_its_socket(self, make: Any, tmp_path: Path) -> None:
        with FakeDaemon(tmp_path / "s"):
            assert make().ping()["pong"]
        with pytest.raises(QueueUnavailable, match=r"Nothing listens on .*stopped or has died"):
            make().ping()

    def test_not_a_socket(self, make: Any, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(QueueUnavailable, match="is not a socket"):
            make(tmp_path / "file").ping()

    def test_a_datagram_socket(self, make: Any, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.bind(str(tmp_path / "log"))
            with pytest.raises(QueueUnavailable, match=r"Cannot connect to .*rotocol wrong type"):
                make(tmp_path / "log").ping()

    def test_a_path_too_long(self, make: Any, tmp_path: Path) -> None:
        with pytest.raises(QueueUnavailable, match="too long for a socket's path"):
            make(tmp_path / ("x" * 120)).ping()

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody who may not connect")
    def test_not_permitted(self) -> None:
        # After the change of user, Python's own directories may be closed to it: everything is imported before.
        code = (
            "import grp, os, sys\n"
            "from smsd.client import Client, NotAllowed\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "try: Client(sys.argv[1]).ping()\n"
            "except NotAllowed as error: print(error)\n"
        )
        with tempfile.TemporaryDirectory() as directory, FakeDaemon(Path(directory) / "s") as fake:
            Path(directory).chmod(0o755)
            fake.path.chmod(0o600)
            command = [sys.executable, "-c", code, str(fake.path)]
            done = run(command, capture_output=True, text=True, check=True, timeout=20)
        assert "You may not connect to" in done.stdout
        assert "(group root, mode 0600)" in done.stdout
        assert "usermod -aG" in done.stdout


def test_where_the_socket_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SMSD_SOCKET", raising=False)
    monkeypatch.setattr(module, "SYSTEM_SOCKET", str(tmp_path / "system"))
    assert socket_path() == str(tmp_path / "system")
    (tmp_path / "smsd-dev").mkdir()
    (tmp_path / "smsd-dev/smsd.sock").touch()
    assert socket_path() == "smsd-dev/smsd.sock"
    (tmp_path / "system").touch()
    assert socket_path() == str(tmp_path / "system")
    monkeypatch.setenv("SMSD_SOCKET", "/elsewhere")
    assert socket_path() == "/elsewhere"
    assert socket_path(tmp_path / "given") == str(tmp_path / "given")


class TestWhatCannotBeSaid:
    def test_values_json_does_not_know(self, make: Any, fake: FakeDaemon) -> None:
        client = make()
        for field in ({"metadata": {"at": object()}}, {"max_attempts": float("nan")}, {"user": "\udcff"}):
            with pytest.raises(SubmissionInvalid):
                client.send(TO, "Hello", **field)
        assert fake.requests == []

    def test_a_line_the_daemon_would_not_read(self, make: Any, fake: FakeDaemon) -> None:
        with pytest.raises(SubmissionInvalid, match="at most 65,536") as caught:
            make().send(TO, "x" * 65_536)
        assert caught.value.code == "too_long"
        assert fake.requests == []


class TestMany:
    def test_results_come_in_order_and_one_bad_one_fails_alone(self, make: Any, fake: FakeDaemon) -> None:
        items = [{"to": TO if n % 100 else "bad", "text": f"{n}", "from_": "smsd"} for n in range(1_000)]
        items[7]["metadata"] = object()  # type: ignore[assignment]  # what JSON cannot carry
        results = list(make().send_many(items))
        assert [each["index"] for each in results] == [*range(1_000)]
        bad = [each["index"] for each in results if not each["ok"]]
        assert bad == [0, 7, *range(100, 1_000, 100)]
        assert results[100]["error"]["code"] == "invalid_recipient"
        assert [request["text"] for request in fake.requests] == [f"{n}" for n in range(1_000) if n != 7]
        assert results[1]["id"] in fake.messages
        assert list(make().send_many([])) == []

    def test_what_has_a_key_survives_a_loss_and_the_rest_is_told(self, make: Any, fake: FakeDaemon) -> None:
        fake.script.extend([Do.PROPERLY] * 5 + [Do.ACT_AND_HANG_UP])
        items = [{"to": TO, "text": f"{n}", **({"idempotency_key": f"k{n}"} if n % 2 else {})} for n in range(20)]
        client = make()
        results = list(client.send_many(items))
        assert [each["index"] for each in results] == [*range(20)]
        assert all(each["ok"] for each in results if each["index"] % 2)
        unknown = [each["index"] for each in results if not each["ok"]]
        if isinstance(client, Client):
            assert unknown == [6, 8, 10, 12, 14, 16, 18]
        assert set(unknown) <= {6, 8, 10, 12, 14, 16, 18}, "those that had not left yet may have gone by the new one"
        assert {each["error"]["code"] for each in results if not each["ok"]} <= {"outcome_unknown"}
        texts = [message["text"] for message in fake.messages.values()]
        assert len(texts) == len(set(texts)), "nothing was taken twice"

    def test_a_daemon_that_is_gone_is_told_with_the_place(self, fake: FakeDaemon) -> None:
        results = []
        with (
            Client(fake.path, timeout=5) as client,
            pytest.raises(QueueUnavailable, match="Nothing was sent from index"),
        ):
            for result in client.send_many({"to": TO, "text": f"{n}"} for n in range(100_000)):
                results.append(result)
                if len(results) == 300:
                    fake.stop()
        taken = len(fake.messages)
        assert [each["index"] for each in results] == [*range(len(results))]
        assert taken <= len(results) <= taken + 2 * module.WINDOW
        lost = [each for each in results if not each["ok"]]
        assert lost, "what was on its way has a result each"
        assert {each["error"]["code"] for each in lost} <= {"outcome_unknown", "unreachable"}

    def test_nobody_there_at_all(self, tmp_path: Path) -> None:
        with Client(tmp_path / "none") as client:
            results = list(client.send_many([{"to": TO, "text": "Hello"}]))
            assert results[0]["error"]["code"] == "unreachable"
            with pytest.raises(QueueUnavailable, match="from index 256 on"):
                list(client.send_many({"to": TO, "text": "Hello"} for _ in range(300)))

    def test_a_silent_daemon_is_given_up(self, fake: FakeDaemon) -> None:
        fake.script.extend([Do.PROPERLY, Do.STALL])
        with Client(fake.path, timeout=0.1) as client:
            results = list(client.send_many({"to": TO, "text": "Hello"} for _ in range(3)))
        assert [each["ok"] for each in results] == [True, False, False]
        assert results[2]["error"]["code"] == "outcome_unknown"

    def test_other_calls_go_on_meanwhile(self, make: Any, fake: FakeDaemon) -> None:
        with Client(fake.path) as client:
            for result in client.send_many({"to": TO, "text": "Hello"} for _ in range(5)):
                assert client.get(result["id"])["id"] == result["id"]


def test_threads_share_a_client(fake: FakeDaemon) -> None:
    with Client(fake.path) as client:
        seen: list[bool] = []

        def work(n: int) -> None:
            for _ in range(20):
                id = client.send(TO, f"from {n}")["id"]
                seen.append(client.get(id)["text"] == f"from {n}")

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [True] * 80


def test_a_forked_process_has_a_connection_of_its_own(fake: FakeDaemon) -> None:
    code = (
        "import os, sys\n"
        "from smsd.client import Client\n"
        "client = Client(sys.argv[1], timeout=10)\n"
        "client.ping()\n"
        "if (child := os.fork()) == 0:\n"
        "    ok = client.ping()['pong']\n"
        "    os._exit(0 if ok else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert client.ping()['pong']\n"
        "client.close()\n"
    )
    run([sys.executable, "-c", code, str(fake.path)], check=True, timeout=20)
    assert len(fake.connections) == 2


class TestAsyncOnly:
    async def test_tasks_share_one_connection(self, fake: FakeDaemon) -> None:
        async with AsyncClient(fake.path) as client:
            results = await asyncio.gather(*(client.send(TO, f"{n}") for n in range(1_000)))
        assert len({result["id"] for result in results}) == 1_000
        assert len(fake.connections) == 1
        assert [request["text"] for request in fake.requests] == [f"{n}" for n in range(1_000)]

    async def test_a_cancelled_call_does_not_shift_answers(self, fake: FakeDaemon) -> None:
        async with AsyncClient(fake.path) as client:
            await client.ping()
            abandoned = asyncio.create_task(client.send(TO, "abandoned"))
            await asyncio.sleep(0)
            abandoned.cancel()
            assert (await client.stats())["uptime_s"] == 3725
            with pytest.raises(asyncio.CancelledError):
                await abandoned
            assert len(fake.connections) == 1

    async def test_leaving_a_stream_early_leaves_nothing_behind(self, fake: FakeDaemon) -> None:
        async with AsyncClient(fake.path) as client:
            stream = client.send_many({"to": TO, "text": f"{n}"} for n in range(50))
            async for result in stream:
                assert result["ok"]
                break
            await stream.aclose()  # type: ignore[attr-defined]  # it is an async generator
            assert (await client.ping())["pong"]
            assert len(asyncio.all_tasks()) <= 2, "this test and the connection's reader"

    def test_one_client_in_two_loops(self, fake: FakeDaemon) -> None:
        client = AsyncClient(fake.path)

        async def several() -> int:
            return len(await asyncio.gather(*(client.ping() for _ in range(5))))

        assert asyncio.run(several()) == asyncio.run(several()) == 5
        assert len(fake.connections) == 2
