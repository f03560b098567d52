"""Do the unit files hold what they promise, and does smsd speak systemd's two protocols?"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from smsd.config import DaemonConfig, HttpConfig
from smsd.core.units import duration_ms
from smsd.notify import EXTEND_EVERY_S, EXTENSION_USEC, Notifier, listen_fds
from tests.daemon.harness import Site, until
from tests.doubles.stand_in import Rule

UNITS = Path(__file__).parents[2] / "systemd"
EXPOSURE_BAR = 1.3


def directives(name: str) -> dict[str, list[str]]:
    """Every directive of a unit with its values in order; the sections share no names."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as systemd would load them, with a program that exists on this machine in the place of ours."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing: THE UNIT FILES WERE NOT CHECKED (Debian: apt-get install systemd)")
    for name in ("smsd.service", "smsd.socket", "smsd-http.socket"):
        text = (UNITS / name).read_text()
        (tmp_path / name).write_text(text.replace("=/usr/bin/smsd", f"={shutil.which('true')}"))
    return tmp_path


def analyze(*arguments: str) -> str:
    done = subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_finds_no_fault_in_the_units(units: Path) -> None:
    output = analyze("verify", *(str(units / name) for name in ("smsd.service", "smsd.socket", "smsd-http.socket")))
    assert str(units) not in output


def test_the_exposure_is_low(units: Path) -> None:
    output = analyze("security", "--offline=true", str(units / "smsd.service"))
    match = re.search(r"Overall exposure level for smsd\.service: ([0-9.]+)", output)
    assert match is not None, output
    assert float(match[1]) <= EXPOSURE_BAR


def test_a_stop_may_last_as_long_as_the_drain() -> None:
    (limit,) = directives("smsd.service")["TimeoutStopSec"]
    assert duration_ms(limit) > DaemonConfig().drain_timeout_ms


def test_clients_keep_their_uid() -> None:
    """In a user namespace SO_PEERCRED shows every client as 65534, and all roles would be lost."""
    assert directives("smsd.service")["PrivateUsers"] == ["no"]


def test_the_service_never_gives_up_but_on_a_refused_configuration() -> None:
    service = directives("smsd.service")
    assert service["Restart"] == ["on-failure"]
    assert service["StartLimitIntervalSec"] == ["0"]
    assert service["RestartPreventExitStatus"] == ["78"]


def test_the_socket_survives_the_service_and_keeps_one_owner() -> None:
    """RuntimeDirectory= is removed at a stop unless preserved; one owned by another user is given away recursively."""
    service, listener = directives("smsd.service"), directives("smsd.socket")
    assert service["RuntimeDirectoryPreserve"] == ["yes"]
    assert listener["ListenStream"] == ["/run/" + service["RuntimeDirectory"][0] + "/smsd.sock"]
    assert (listener["SocketUser"], listener["SocketGroup"]) == (service["User"], service["Group"])
    (entry,) = [line for line in (UNITS / "smsd.tmpfiles").read_text().splitlines() if not line.startswith("#")]
    assert entry.split() == [
        "d",
        "/run/smsd",
        service["RuntimeDirectoryMode"][0],
        service["User"][0],
        service["Group"][0],
        "-",
    ]
    assert listener["DirectoryMode"] == service["RuntimeDirectoryMode"]


def test_the_http_unit_listens_where_the_daemon_does_by_default() -> None:
    listener = directives("smsd-http.socket")
    assert listener["ListenStream"] == [str(each) for each in HttpConfig().listen]
    assert listener["Service"] == ["smsd.service"]


def test_the_user_and_groups_are_made() -> None:
    lines = [line.split() for line in (UNITS / "smsd.sysusers").read_text().splitlines() if line[:1] in ("u", "g")]
    assert [(line[0], line[1]) for line in lines] == [("u", "smsd"), ("g", "smsd-admin")]


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is missing: FILE NOT CHECKED")
def test_sysusers_reads_its_file(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", str(UNITS / "smsd.sysusers")],
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert "smsd:" in (tmp_path / "etc/passwd").read_text()
    assert "smsd-admin:" in (tmp_path / "etc/group").read_text()


class Manager:
    """systemd's end of the notify socket."""

    def __init__(self, path: Path | str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(2)

    def read(self) -> str:
        return self.socket.recv(4096).decode()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.socket.close()


@pytest.fixture
def notifier(manager: Manager) -> Iterator[Notifier]:
    made = Notifier({"NOTIFY_SOCKET": manager.socket.getsockname(), "WATCHDOG_USEC": "30000000"})
    yield made
    made.close()


def test_every_message_as_sd_notify_writes_it(manager: Manager, notifier: Notifier) -> None:
    notifier.extend(60_000_000)
    notifier.ready()
    notifier.status("7 waiting\nREADY=0")
    notifier.watchdog()
    notifier.stopping()
    assert [manager.read() for _ in range(5)] == [
        "EXTEND_TIMEOUT_USEC=60000000\n",
        "READY=1\n",
        "STATUS=7 waiting READY=0\n",
        "WATCHDOG=1\n",
        "STOPPING=1\n",
    ]
    assert notifier.watchdog_usec == 30_000_000
    assert notifier.lost == 0


def test_an_abstract_address() -> None:
    name = f"smsd-test-{os.getpid()}"
    manager = Manager(f"\0{name}")
    notifier = Notifier({"NOTIFY_SOCKET": f"@{name}"})
    notifier.ready()
    assert manager.read() == "READY=1\n"
    notifier.close()
    manager.socket.close()


def test_outside_systemd_nothing_happens() -> None:
    notifier = Notifier({"WATCHDOG_USEC": "1000"})
    notifier.ready()
    notifier.status("x")
    notifier.extend(1)
    notifier.watchdog()
    notifier.stopping()
    notifier.close()
    assert (notifier.watchdog_usec, notifier.lost) == (None, 0)


@pytest.mark.parametrize(
    "environ", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}]
)
def test_no_watchdog_is_fed_that_nobody_set(manager: Manager, environ: dict[str, str]) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.socket.getsockname(), **environ})
    notifier.watchdog()
    notifier.ready()
    assert manager.read() == "READY=1\n"
    assert notifier.watchdog_usec is None
    notifier.close()


def test_a_deaf_manager_never_blocks_nor_raises(manager: Manager, notifier: Notifier) -> None:
    for _ in range(5_000):
        notifier.watchdog()
    assert 0 < notifier.lost < 5_000
    manager.socket.close()
    lost = notifier.lost
    notifier.ready()
    assert notifier.lost == lost + 1


EXTENSION = f"EXTEND_TIMEOUT_USEC={EXTENSION_USEC}\n"


class Impatient(Site):
    """A daemon that asks for more time every 20 ms, so that a test need not wait for 20 s."""

    def command(self) -> list[str]:
        code = (
            "import pathlib, sys; from smsd import daemon, notify; notify.EXTEND_EVERY_S = 0.02;"
            "sys.exit(daemon.main(pathlib.Path(sys.argv[1]), dev=False))"
        )
        return [sys.executable, "-W", "error", "-c", code, str(self.config)]


@pytest.fixture
def impatient(site: Site) -> Iterator[Impatient]:
    made = Impatient(site.directory)
    yield made
    made.close()


def test_a_question_for_more_time_comes_before_the_last_one_runs_out() -> None:
    """One that is late leaves systemd one more chance."""
    assert EXTEND_EVERY_S * 1e6 * 3 <= EXTENSION_USEC
    (limit,) = directives("smsd.service")["TimeoutStartSec"]
    assert duration_ms(limit) > EXTEND_EVERY_S * 1_000


def told(manager: Manager, last: Callable[[list[str]], bool]) -> list[str]:
    """All messages until `last` holds of them; the watchdog's are none's business here."""
    heard: list[str] = []
    while not last(heard):
        heard.append(manager.read())
    return heard


def test_a_long_start_keeps_systemd_waiting_until_it_is_ready(impatient: Impatient, manager: Manager) -> None:
    """The outbox is really not to be had: somebody writes in it."""
    impatient.configure("http://127.0.0.1:9")
    impatient.start()
    assert impatient.stop() == 0
    with closing(sqlite3.connect(impatient.state / "outbox.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        impatient.start(ready=False, environ={"NOTIFY_SOCKET": manager.socket.getsockname()})
        assert told(manager, lambda heard: len(heard) == 10) == [EXTENSION] * 10
        other.execute("ROLLBACK")
    heard = told(manager, lambda heard: heard[-1:] == ["READY=1\n"])
    assert set(heard[:-1]) <= {EXTENSION}
    assert manager.read().startswith("STATUS=")
    manager.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        manager.read()
    assert impatient.stop() == 0


def test_a_long_drain_keeps_systemd_waiting_until_its_end(impatient: Impatient, manager: Manager) -> None:
    carrier = impatient.carrier()
    carrier.script(Rule("hang", taken=True))
    impatient.configure(carrier.url, sections={"daemon": {"drain_timeout": "500ms"}})
    impatient.start(environ={"NOTIFY_SOCKET": manager.socket.getsockname()})
    with impatient.client() as client:
        client.send()
    until(lambda: carrier.stats()["sends"] == 1, "the call is in flight")
    impatient.signal(signal.SIGTERM)
    told(manager, lambda heard: heard[-1:] == ["STOPPING=1\n"])
    assert told(manager, lambda heard: len(heard) == 10) == [EXTENSION] * 10
    assert impatient.wait() == 0


CHILD = """
    import os, sys
    from smsd.notify import listen_fds
    environ = {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "smsd:http", "LISTEN_PID": str(os.getpid())}
    passed = listen_fds(environ)
    names = [(name, s.fileno(), s.getblocking(), os.get_inheritable(s.fileno())) for name, s in passed]
    assert not environ and listen_fds(environ) == []
    connection = None
    while connection is None:
        try:
            connection, _ = passed[0][1].accept()
        except BlockingIOError:
            pass
    connection.sendall(repr(names).encode())
"""


def test_sockets_of_systemd_are_taken_over(tmp_path: Path) -> None:
    """A real process gets descriptors 3 and 4 as systemd passes them, and serves a client that connected earlier."""
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    unix.bind(str(tmp_path / "door"))
    unix.listen()
    http = socket.create_server(("127.0.0.1", 0))
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(10)
    client.connect(str(tmp_path / "door"))
    shell = f"exec {sys.executable} - 3<&{unix.fileno()} 4<&{http.fileno()}"
    done = subprocess.run(
        ["bash", "-c", shell],
        input=textwrap.dedent(CHILD).encode(),
        pass_fds=(unix.fileno(), http.fileno()),
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert client.recv(4096).decode() == "[('smsd', 3, False, False), ('http', 4, False, False)]"
    for each in (unix, http, client):
        each.close()


@pytest.mark.parametrize("environ", [{}, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}, {"LISTEN_FDS": "1"}])
def test_sockets_for_another_process_are_left_alone(environ: dict[str, str]) -> None:
    assert listen_fds(environ) == []
    assert not environ


def test_an_announced_descriptor_that_is_none_is_an_error() -> None:
    """Serving less than systemd announced would lose the clients that wait in it."""
    code = (
        "import os; from smsd.notify import listen_fds; os.closerange(3, 9);"
        "listen_fds({'LISTEN_FDS': '1', 'LISTEN_PID': str(os.getpid())})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=20, check=False)
    assert b"OSError" in done.stderr
