"""Which processes does a measure need, and how does each of them end?

A Site is a directory with one configuration, a carrier (the stand-in) and a daemon. It is a context: they run inside it
and are gone behind it. The daemon is killed and not asked, since its state is thrown away. It does not know what is
measured.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import re
import time
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from smsd.bench.load import Result
from smsd.bench.processes import START_S, Child, Deadline, MeasureError
from smsd.bench.stand_in import ACCOUNT, PATH, SENDER, TOKEN
from smsd.client import Client, QueueUnavailable

UNLIMITED: Final = "100000/s"
"""A rate that no client reaches; a provider of the type twilio must state one."""

CALL_S: Final = 30.0
"""Patience with one answer of the daemon or the carrier."""
STARTING_LOOK_S: Final = 0.002

HTTP_TOKEN: Final = "bench-http-token"  # noqa: S105 -- it opens a daemon of ours, on 127.0.0.1, for a minute
LISTENING: Final = re.compile(rb'"event":"daemon.ready".*"http":\["127\.0\.0\.1:(\d+)"')
"""In the daemon's log."""


class Carrier:
    """The stand-in's process, and a connection to ask it."""

    def __init__(self, deadline: Deadline, directory: Path, latency_ms: float) -> None:
        self._deadline = deadline
        self._process = Child(deadline, directory, "smsd.bench.stand_in", "--latency-ms", str(latency_ms))
        try:
            self.url = f"http://127.0.0.1:{self._process.line()}"
        except BaseException:
            self._process.kill()
            raise
        self.send_url = self.url + PATH
        self._connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=CALL_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.kill()

    def ask(self, method: str, path: str) -> bytes:
        """One request. MeasureError when there is no answer."""
        try:
            self._connection.request(method, path)
            return self._connection.getresponse().read()
        except OSError as error:
            raise MeasureError(f"the stand-in does not answer: {error}") from error

    def arrived(self) -> int:
        """How many messages came."""
        return int(json.loads(self.ask("GET", "/count"))["arrived"])

    def arrivals(self) -> dict[int, int]:
        """Message number -> when it came (CLOCK_MONOTONIC, ns), in order of arrival."""
        pairs = array("q", self.ask("GET", "/arrivals"))
        return dict(zip(pairs[::2], pairs[1::2], strict=True))

    def forget(self) -> None:
        """Forget what came so far."""
        self.ask("DELETE", "/arrivals")

    def wait_for(self, count: int, seconds: float) -> None:
        """Until `count` messages came."""
        try:
            self._deadline.until(lambda: self.arrived() >= count, "all", seconds)
        except MeasureError as error:
            raise MeasureError(f"{self.arrived():,} of {count:,} messages reached the carrier; {error}") from None


class Load:
    """A load generator that is ready to go."""

    def __init__(self, deadline: Deadline, directory: Path, *arguments: str, program: str = "smsd.bench.load") -> None:
        self._child = Child(deadline, directory, program, *arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()

    def run(self, seconds: float) -> Result:
        """Go; what became of it, within `seconds`. MeasureError when the daemon refused a message."""
        if self._child.line() != "ready":
            raise MeasureError("the load generator is not ready")
        self._child.tell("go")
        result = Result(**json.loads(self._child.line(seconds)))
        if result.refused:
            raise MeasureError(f"the daemon refused {result.refused:,} messages, the first with {result.refusal}")
        return result


def http_load(deadline: Deadline, directory: Path, port: int, first: int, count: int, *, batch: bool) -> Load:
    """A generator of `count` messages from number `first` on, by HTTP; with the token of a Site's daemon."""
    given = ("--port", str(port), "--token", HTTP_TOKEN, "--first", str(first), "--count", str(count))
    return Load(deadline, directory, *given, *(["--batch"] if batch else []), program="smsd.bench.http_load")


class Site:
    """One configuration with its carrier and its daemon. A context; both run inside it."""

    def __init__(
        self,
        directory: Path,
        deadline: Deadline,
        *,
        latency_ms: float = 0,
        rate: str = UNLIMITED,
        max_in_flight: int = 64,
        idle: Mapping[str, str] | None = None,
        by_http: bool = False,
    ) -> None:
        """`idle`: further providers, name -> rate, to which only messages go that name them. `by_http`: messages are
        taken by HTTP too, with HTTP_TOKEN."""
        self.directory = directory
        self.deadline = deadline
        self.socket = directory / "s"
        self._latency_ms = latency_ms
        self._providers = {"main": rate, **(idle or {})}
        self._max_in_flight = max_in_flight
        self._by_http = by_http
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.carrier = stack.enter_context(Carrier(self.deadline, self.directory, self._latency_ms))
            (self.directory / "config.toml").write_text(self._configuration())
            self.start_daemon()
            stack.callback(self._end_daemon)
            self.client = stack.enter_context(Client(self.socket, timeout=CALL_S))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _configuration(self) -> str:
        """All that is not named here has its default: what is measured is what users get."""
        own: dict[str, Mapping[str, object]] = {
            "daemon": {"state_dir": str(self.directory / "state"), "runtime_dir": str(self.directory / "runtime")},
            "socket": {"path": str(self.socket)},
            "http": {"listen": ["127.0.0.1:0"]},
        }
        if self._by_http:
            digest = hashlib.sha256(HTTP_TOKEN.encode()).hexdigest()
            own["[http.tokens]"] = {"name": "bench", "sha256": digest, "scopes": ["send"]}  # an array of tables
        providers = {
            f"providers.{name}": {
                "type": "twilio",
                "account_sid": ACCOUNT,
                "auth_token": TOKEN,
                "base_url": self.carrier.url,
                "from": SENDER,
                "rate": rate,
                "max_in_flight": self._max_in_flight,
            }
            for name, rate in self._providers.items()
        }
        return "".join(_section(name, values) for name, values in {**own, **providers}.items())

    def start_daemon(self) -> float:
        """Start it anew; seconds until it answers on its socket."""
        began = time.monotonic()
        daemon = Child(self.deadline, self.directory, "smsd", "run", "--config", "config.toml")
        try:
            self.deadline.until(lambda: self._answers(daemon), "the daemon answers", START_S, STARTING_LOOK_S)
        except BaseException:
            daemon.kill()
            raise
        self.daemon = daemon
        return time.monotonic() - began

    def _end_daemon(self) -> None:
        self.daemon.kill()

    def _answers(self, daemon: Child) -> bool:
        if not daemon.alive():
            raise MeasureError(daemon.last_words())
        if not self.socket.is_socket():
            return False
        try:
            with Client(self.socket, timeout=CALL_S) as client:
                client.ping()
        except QueueUnavailable:
            return False
        return True

    def http_port(self) -> int:
        """Where the daemon listens; it took any free port, and its log says which."""
        log = self.directory / "smsd.log"

        def said() -> list[bytes]:
            return LISTENING.findall(log.read_bytes())

        self.deadline.until(lambda: bool(said()), "the daemon says where it listens", START_S)
        return int(said()[-1])

    def load(self, first: int, count: int, *, rate: float = 0, fields: Mapping[str, str] | None = None) -> Load:
        """A generator of `count` messages from number `first` on; `rate` a second, 0: as fast as they are taken."""
        arguments = {"socket": self.socket, "first": first, "count": count, "rate": rate}
        given = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
        return Load(self.deadline, self.directory, *given, "--fields", json.dumps(fields or {}))

    def wait_until_settled(self, seconds: float) -> None:
        """Until nothing is pending or being sent."""

        def settled() -> bool:
            states: dict[str, int] = self.client.stats()["states"]
            return not (states.get("pending") or states.get("processing"))

        self.deadline.until(settled, "all messages are settled", seconds)


def _section(name: str, values: Mapping[str, object]) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
