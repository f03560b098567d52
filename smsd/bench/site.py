"""Which processes does a measure need, and how does each of them end?

A Site is a directory with one configuration, a carrier (the stand-in) and a daemon, each a process that is started as a
user would start it and ended by its process id, whatever happened meanwhile: a Site is a context. The daemon is killed
and not asked, since its state is thrown away. All that can go wrong here is a MeasureError whose text is the reason:
the daemon's own last words where it has any.

It knows Linux's /proc for what a process cost. It does not know what is measured.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Self

from smsd.bench.load import Result
from smsd.bench.stand_in import ACCOUNT, PATH, SENDER, TOKEN
from smsd.client import Client, QueueUnavailable

UNLIMITED: Final = "100000/s"
"""A rate that no client reaches; a provider of the type twilio must state one."""

START_S: Final = 30.0
"""Patience with any process until it is ready."""
CALL_S: Final = 30.0
"""Patience with one answer of the daemon or the carrier."""
LOOK_S: Final = 0.03
"""Between looks at the carrier's count. A look costs it 0.2 ms."""
STARTING_LOOK_S: Final = 0.002

_LEFT_OUT: Final = ("SMSD_", "NOTIFY_", "LISTEN_", "WATCHDOG_")
"""Variables that would make a daemon believe that systemd or an operator meant it."""


class MeasureError(Exception):
    """A measure could not be taken; the text says why."""


class Deadline:
    """The end of the whole run (`seconds` from now)."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._at = time.monotonic() + seconds

    def within(self, seconds: float) -> float:
        """The earlier of `seconds` from now and the run's end, as time.monotonic(). MeasureError when it is past."""
        self._not_over()
        return min(time.monotonic() + seconds, self._at)

    def until(self, holds: Callable[[], bool], what: str, seconds: float, look_s: float = LOOK_S) -> None:
        """Look until it holds. MeasureError, naming `what`, when it does not within `seconds` or by the run's end."""
        end = self.within(seconds)
        while not holds():
            if time.monotonic() > end:
                self._not_over()
                raise MeasureError(f"{what}: not within {seconds:g} s")
            time.sleep(look_s)

    def _not_over(self) -> None:
        if time.monotonic() >= self._at:
            raise MeasureError(f"the {self._seconds:g} s of the whole run are over")


class Child:
    """`python -m ARGUMENTS` as a process of its own session, so that Ctrl-C reaches us and not it."""

    def __init__(self, deadline: Deadline, directory: Path, *arguments: str) -> None:
        self._deadline = deadline
        self.name = arguments[0]
        self._log = directory / f"{self.name}.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_LEFT_OUT)}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 -- our own modules, with arguments we wrote
                [sys.executable, "-m", *arguments],
                cwd=directory,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._said = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """End it at once. Idempotent."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # unsent input of a process that is dead
                pipe.close()
        self._process.wait()

    def tell(self, text: str) -> None:
        """A line on its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode() + b"\n")
        self._process.stdin.flush()

    def line(self, seconds: float = START_S) -> str:
        """The next line it prints. MeasureError when it ends or says nothing within `seconds`."""
        end = self._deadline.within(seconds)
        assert self._process.stdout is not None
        while b"\n" not in self._said:
            if not select.select([self._process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                self._deadline.within(0)
                raise MeasureError(f"{self.name} said nothing within {seconds:g} s")
            data = os.read(self._process.stdout.fileno(), 1 << 16)
            if not data:
                raise MeasureError(self.last_words())
            self._said += data
        said, _, self._said = self._said.partition(b"\n")
        return said.decode()

    def alive(self) -> bool:
        return self._process.poll() is None

    def last_words(self) -> str:
        """Why it ended: the last line on its standard error."""
        code = self._process.wait()
        words = self._log.read_text(errors="replace").splitlines()
        return f"{self.name} ended with {code}: {words[-1] if words else 'it said nothing'}"

    def cpu_s(self) -> float:
        """Seconds of CPU it used so far, user and system, all threads (proc_pid_stat(5))."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self, what: str = "VmRSS") -> float:
        """Resident memory now, or (`VmHWM`) at its peak (proc_pid_status(5))."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what)) / 1_024


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

    def __init__(self, deadline: Deadline, directory: Path, *arguments: str) -> None:
        self._child = Child(deadline, directory, "smsd.bench.load", *arguments)

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
    ) -> None:
        """`idle`: further providers, name -> rate, to which only messages go that name them."""
        self.directory = directory
        self.deadline = deadline
        self.socket = directory / "s"
        self._latency_ms = latency_ms
        self._providers = {"main": rate, **(idle or {})}
        self._max_in_flight = max_in_flight
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
