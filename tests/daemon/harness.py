"""How do the tests of the real process see it from outside?

A Site is one directory with one configuration, one provider that is really there (the stand-in, a process of its own
that survives every crash of the daemon) and the daemon itself, started as a user starts it and ended by its process id.
A Client speaks the socket's newline JSON; a Load submits in a thread and remembers every id it was promised. Nothing
here knows the daemon's inside; what is asserted is what an application, the provider and the log reader can see.

Every text holds WORD and every number begins with NUMBERS, so that the log of any test can be searched for them.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.doubles.stand_in import ACCOUNT, TOKEN, Rule

ROOT = Path(__file__).parents[2]
WORD = "quagga"
NUMBERS = "+1201"
PATIENCE_S = 20.0

Json = dict[str, Any]
_numbers = itertools.count(2_000_000)


def text(n: int) -> str:
    """A text of which no other message has the same."""
    return f"{WORD} {n}"


def number(n: int) -> str:
    """A number that no other message has."""
    return f"{NUMBERS}{n:07d}"


def fresh() -> tuple[str, str]:
    """A recipient and a text that nobody used yet."""
    n = next(_numbers)
    return number(n), text(n)


def until(holds: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Look every 10 ms until it holds; AssertionError when it never does."""
    end = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"not within {patience_s:g} s: {what}")
        time.sleep(0.01)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Carrier:
    """The stand-in as a process."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.doubles.stand_in", *arguments], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body)
            return connection.getresponse().read()
        finally:
            connection.close()

    def stats(self) -> dict[str, int]:
        found: dict[str, int] = json.loads(self._ask("GET", "/_calls"))
        return found

    def calls(self) -> list[Json]:
        """Every send in order of arrival."""
        return [json.loads(line) for line in self._ask("GET", "/_calls.ndjson").splitlines()]

    def taken(self) -> dict[tuple[str, str], int]:
        """How often each (recipient, text) reached its phone."""
        found: dict[tuple[str, str], int] = {}
        for call in self.calls():
            if call["sid"] is not None:
                key = (call["to"], call["body"])
                found[key] = found.get(key, 0) + 1
        return found

    def script(self, *rules: Rule) -> None:
        """Replace the rules in force."""
        self._ask("POST", "/_script", json.dumps([asdict(rule) for rule in rules]).encode())


class Client:
    """One connection to the daemon's socket."""

    def __init__(self, path: Path, timeout_s: float = PATIENCE_S) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def write(self, *requests: Json) -> None:
        self._socket.sendall(b"".join(json.dumps(each).encode() + b"\n" for each in requests))

    def read(self) -> Json:
        """The next answer. Raises ConnectionError when the daemon is gone."""
        line = self._lines.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the daemon closed the connection")
        answer: Json = json.loads(line)
        return answer

    def ask(self, op: str, **fields: Any) -> Json:
        """One request and its answer."""
        self.write({"op": op, **fields})
        return self.read()

    def send(self, to: str | None = None, body: str | None = None, **fields: Any) -> str:
        """Submit one message; its id."""
        some_to, some_text = fresh()
        answer = self.ask("send", to=to or some_to, text=body or some_text, **fields)
        assert answer["ok"], answer
        return str(answer["id"])

    def send_many(self, count: int, **fields: Any) -> dict[str, tuple[str, str]]:
        """Submit many, pipelined; id -> (recipient, text)."""
        sent: dict[str, tuple[str, str]] = {}
        while len(sent) < count:
            some = [fresh() for _ in range(min(500, count - len(sent)))]
            self.write(*({"to": to, "text": body, **fields} for to, body in some))
            for each in some:
                answer = self.read()
                assert answer["ok"], answer
                sent[answer["id"]] = each
        return sent

    def view(self, id: str) -> Json:
        answer = self.ask("get", id=id)
        assert answer["ok"], answer
        message: Json = answer["message"]
        return message

    def views(self) -> Iterator[Json]:
        """Every message there is, newest first."""
        cursor: str | None = None
        while True:
            page = self.ask("list", limit=1_000, **({} if cursor is None else {"cursor": cursor}))
            assert page["ok"], page
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def states(self) -> dict[str, int]:
        answer = self.ask("stats")
        assert answer["ok"], answer
        counts: dict[str, int] = answer["states"]
        return counts

    def open_count(self) -> int:
        """How many messages are not final."""
        states = self.states()
        return states.get("pending", 0) + states.get("processing", 0)


class Load(threading.Thread):
    """Submits until stopped, whatever happens to the daemon, and remembers what it was promised."""

    def __init__(self, path: Path, burst: int = 20, pause_s: float = 0.02) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._burst = burst
        self._pause_s = pause_s
        self._stopping = threading.Event()
        self.promised: dict[str, tuple[str, str]] = {}
        """id -> (recipient, text) of every acknowledgement that was read."""
        self.refused: list[Json] = []

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                with Client(self._path) as client:
                    self._stream(client)
            except OSError:
                time.sleep(0.01)

    def _stream(self, client: Client) -> None:
        while not self._stopping.is_set():
            some = [fresh() for _ in range(self._burst)]
            client.write(*({"to": to, "text": body} for to, body in some))
            for each in some:
                answer = client.read()
                if answer["ok"]:
                    self.promised[answer["id"]] = each
                else:
                    self.refused.append(answer)
            time.sleep(self._pause_s)

    def stop(self) -> None:
        self._stopping.set()
        self.join(PATIENCE_S)
        assert not self.is_alive()


class Site:
    """One directory, one configuration, one carrier, one daemon at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "smsd.sock"
        self.state = directory / "state"
        self.config = directory / "config.toml"
        self.log_file = directory / "log"
        self.port = 0
        """Of the HTTP door; 0: none."""
        self.process: subprocess.Popen[bytes] | None = None
        self.carriers: list[Carrier] = []

    # -- setting up --------------------------------------------------------------------------------------------------

    def carrier(self, *arguments: str) -> Carrier:
        """Start a stand-in; it ends with the site."""
        carrier = Carrier(*arguments)
        self.carriers.append(carrier)
        return carrier

    def with_http(self, **tokens: Json) -> Json:
        """The keys of `[http]` for a door on a free port; tokens by name: {scopes, tenant}. The token is its name."""
        self.port = self.port or free_port()
        named = [
            {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "scopes": ["send", "read"], **keys}
            for name, keys in tokens.items()
        ]
        return {"listen": [f"127.0.0.1:{self.port}"], "tokens": named}

    def http(self, method: str, path: str, body: object = None, token: str = "", **headers: str) -> tuple[int, Any]:
        """One request on a connection of its own: status and JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            return ask_http(connection, method, path, body, token, **headers)
        finally:
            connection.close()

    def configure(self, url: str, *, sections: dict[str, Json] | None = None, **provider: Any) -> None:
        """Write the configuration: defaults made for tests, overridden by `sections` and the provider's own keys; a key
        that is None is left out."""
        main = {
            "type": "twilio",
            "account_sid": ACCOUNT,
            "auth_token": TOKEN,
            "base_url": url,
            "from": "+15005550006",
            "rate": "2000/s",
            "reconcile_after": "200ms",
            "reconcile_again": "200ms",
            **provider,
        }
        tables: dict[str, Json] = {
            "daemon": {"state_dir": str(self.state), "runtime_dir": str(self.directory)},
            "outbox": {"min_free": "0B", "ballast": "1MiB"},
            "socket": {"path": str(self.socket)},
            "http": {"listen": []},
            "retry": {"backoff": "50ms", "max_attempts": 20},
            "logging": {"format": "json"},
        }
        for name, keys in (sections or {}).items():
            tables[name] = {**tables.get(name, {}), **keys}
        tables["providers.main"] = {key: value for key, value in main.items() if value is not None}
        self.config.write_text("\n".join(_table(name, keys) for name, keys in tables.items()))

    # -- life --------------------------------------------------------------------------------------------------------

    def command(self) -> list[str]:
        return [sys.executable, "-W", "error", "-m", "smsd", "run", "--config", str(self.config)]

    def start(self, *, ready: bool = True, environ: dict[str, str] | None = None, **popen: Any) -> None:
        """Start the daemon; with `ready`, return when it answers."""
        assert self.process is None, "one daemon at a time"
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=ROOT, stderr=log, env={**os.environ, **(environ or {})}, **popen
            )
        if ready:
            self.wait_ready()

    def wait_ready(self) -> None:
        until(self._answers, "the daemon answers")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}:\n{self.log()[-3000:]}"
        try:
            with Client(self.socket) as client:
                answers = bool(client.ask("ping")["ok"])
            if f":{self.port}" in self.config.read_text():
                socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S).close()
            return answers
        except OSError:
            return False

    def kill(self) -> None:
        """As a power cut would, but for the page cache."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def wait(self, patience_s: float = PATIENCE_S) -> int:
        """Until it has ended; the exit code."""
        assert self.process is not None
        code = self.process.wait(patience_s)
        self.process = None
        return code

    def close(self) -> None:
        """End what still runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        for carrier in self.carriers:
            carrier.close()

    # -- seeing ------------------------------------------------------------------------------------------------------

    def client(self) -> Client:
        return Client(self.socket)

    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def events(self, kind: str) -> list[Json]:
        """The log's lines of one event. They come a little after the fact: wait for them, or for the daemon's end."""
        whole = (line for line in self.log().splitlines(keepends=True) if line.endswith("}\n"))
        lines = (json.loads(line) for line in whole if line.startswith("{"))
        return [line for line in lines if line.get("event") == kind]

    def settled(self, patience_s: float = 60.0) -> None:
        """Until no message is open any more."""
        with self.client() as client:
            until(lambda: client.open_count() == 0, "every message is final", patience_s)

    def leaks(self) -> list[str]:
        """What stands in the log and must not: texts, whole numbers, credentials, faults nobody handled."""
        log = self.log()
        credentials = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
        private = {WORD, TOKEN, credentials, credentials[:20], "Traceback", "never retrieved", "Exception ignored"}
        found = [word for word in private if word in log]
        return found + re.findall(r"\b1201\d{7}\b", log)[:3]


def ask_http(
    connection: http.client.HTTPConnection, method: str, path: str, body: object = None, token: str = "", **headers: str
) -> tuple[int, Any]:
    """One request on an open connection: status and JSON (None when the answer is no JSON)."""
    data = None if body is None else json.dumps(body).encode()
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection.request(method, path, data, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    raw = answer.read()
    return answer.status, json.loads(raw) if "json" in answer.headers.get("Content-Type", "") else None


def _table(name: str, keys: Json) -> str:
    lines = (f"{key} = {_value(value)}" for key, value in keys.items())
    return f"[{name}]\n" + "\n".join(lines) + "\n"


def _value(value: object) -> str:
    """JSON's spelling of strings, numbers, lists and booleans is TOML's too."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value)


def short_directory() -> tempfile.TemporaryDirectory[str]:
    """A Unix socket's path has at most 107 bytes, and pytest's own directories have long names."""
    return tempfile.TemporaryDirectory(prefix="smsd-", ignore_cleanup_errors=True)


def exactly_once(promised: Iterable[tuple[str, str]], taken: dict[tuple[str, str], int]) -> tuple[list[Any], list[Any]]:
    """What was promised and never taken, and what was taken more than once."""
    lost = [each for each in promised if each not in taken]
    doubled = [each for each, count in taken.items() if count > 1]
    return lost, doubled
