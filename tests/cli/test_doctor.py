"""Does the doctor see what is wrong, say what to do, and work without a daemon and without permissions?"""

from __future__ import annotations

import http.server
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smsd.cli.doctor import doors, files, machine
from smsd.cli.doctor.finding import Finding, Level
from tests.cli.fake import PROVIDER, Fake
from tests.cli.helpers import Run, on_terminal

GOOD = """
[daemon]
state_dir = "{place}/state"
runtime_dir = "{place}"
[outbox]
min_free = "0B"
[socket]
path = "{place}/s"
[http]
listen = []
[providers.main]
type = "sandbox"
rate = "100/min"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir(mode=0o700)
    path = tmp_path / "config.toml"
    path.write_text(GOOD.format(place=tmp_path))
    path.chmod(0o600)
    return path


def examined(smsd: Run, *args: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """The exit code, and the findings by check."""
    done = smsd("doctor", "--json", *args)
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in done.documents[0]["findings"]:
        assert (finding["remedy"] is None) == (finding["level"] in {"ok", "skip"})
        found.setdefault(finding["check"], []).append(finding)
    return done.code, found


class TestAHealthyDaemon:
    def test_no_check_fails(self, smsd: Run, fake: Fake, config: Path) -> None:
        code, found = examined(smsd, "--config", str(config))
        assert code == 0
        for check in ("configuration", "state directory", "free space", "socket", "daemon", "file limit"):
            assert found[check][0]["level"] == "ok", found[check]
        assert found["provider main"][0]["text"] == "open"
        assert "0.1.0" in found["daemon"][0]["text"]
        assert f"process {os.getpid()}" in found["file limit"][0]["text"]

    def test_a_line_for_each_check(self, smsd: Run, fake: Fake, config: Path) -> None:
        fake.providing = [{**PROVIDER, "state": "halted", "reason": "401 \x1b[2J"}]
        done = smsd("doctor", "--config", str(config))
        assert done.code == 1
        assert "\nFAIL  provider main    halted: 401 \\x1b[2J\n" in done.out
        assert "-> Mend its credentials or settings, then: smsd resume main\n" in done.out

    def test_the_configurations_own_socket_is_asked(
        self, smsd: Run, fake: Fake, config: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SMSD_SOCKET")
        assert examined(smsd, "--config", str(config))[0] == 0
        assert str(fake.path) in examined(smsd, "--config", str(config))[1]["daemon"][0]["text"]

    def test_colours_only_for_who_wants_them(self, fake: Fake, config: Path) -> None:
        assert "\x1b[32mok" in on_terminal("doctor", "--config", str(config))
        assert "\x1b" not in on_terminal("doctor", "--config", str(config), NO_COLOR="1")


class TestWhatTheDaemonSays:
    @pytest.mark.parametrize(
        ("state", "level"),
        [("open", "ok"), ("cooling", "warn"), ("paused", "warn"), ("half_open", "warn"), ("halted", "fail")],
    )
    def test_a_provider(self, smsd: Run, fake: Fake, config: Path, state: str, level: str) -> None:
        until = "2999-01-02T03:04:05.000Z" if state == "cooling" else None
        fake.providing = [{**PROVIDER, "state": state, "reason": "because", "until": until}, {**PROVIDER, "name": "b"}]
        code, found = examined(smsd, "--config", str(config))
        assert found["provider main"][0]["level"] == level
        assert ("2999" in found["provider main"][0]["text"]) == (state == "cooling")
        assert code == (1 if level == "fail" else 0)
        assert "sending" not in found

    def test_none_open(self, smsd: Run, fake: Fake, config: Path) -> None:
        fake.providing = [{**PROVIDER, "state": "paused"}]
        code, found = examined(smsd, "--config", str(config))
        assert (code, found["sending"][0]["level"]) == (1, "fail")

    def test_the_backlog_and_what_it_waits_for(self, smsd: Run, fake: Fake, config: Path) -> None:
        cooling = {"reason": "provider_cooldown", "until": None, "text": "It rests, first."}
        for n in range(3):
            fake.add(waiting={**cooling, "text": f"It rests, {n}."})
        fake.add(waiting={"reason": "no_route", "until": None, "text": "No provider."})
        found = examined(smsd, "--config", str(config))[1]
        assert found["backlog"][0]["level"] == "warn"
        assert "the oldest is due for" in found["backlog"][0]["text"]
        assert [each["level"] for each in found["waiting"]] == ["ok", "fail"]
        told = found["waiting"][0]["text"]
        assert told == "3 of the newest 4: provider_cooldown; the oldest of them: It rests, 0."

    def test_another_version(self, smsd: Run, fake: Fake, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("smsd.cli.doctor.daemon.__version__", "9.9.9")
        found = examined(smsd, "--config", str(config))[1]
        assert found["daemon"][0]["level"] == "warn"
        assert "this command is 9.9.9" in found["daemon"][0]["text"]


class TestWithoutADaemon:
    def test_it_says_so_and_goes_on(self, smsd: Run, config: Path) -> None:
        code, found = examined(smsd, "--config", str(config))
        assert code == 69
        assert (found["socket"][0]["level"], found["daemon"][0]["level"]) == ("fail", "fail")
        assert found["state directory"][0]["level"] == "ok"
        assert found["file limit"][0]["level"] == "skip"
        assert "backlog" not in found

    def test_a_socket_nobody_listens_on(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(tmp_path / "s"))
        assert doors.local(str(tmp_path / "s"))[1][0].level is Level.FAIL
        (tmp_path / "file").touch()
        assert "is not a socket" in doors.local(str(tmp_path / "file"))[1][0].text

    def test_without_a_configuration(
        self, smsd: Run, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(files, "CONFIG", tmp_path / "none.toml")
        code, found = examined(smsd)
        assert (code, found["configuration"][0]["level"]) == (0, "skip")
        missing = examined(smsd, "--config", str(tmp_path / "none.toml"))[1]["configuration"]
        assert [(each["level"], each["remedy"]) for each in missing] == [
            ("fail", "Name the daemon's own: --config FILE")
        ]

    def test_beside_run_dev(self, smsd: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(files, "CONFIG", tmp_path / "none.toml")
        (tmp_path / "smsd-dev").mkdir(mode=0o700)
        with Fake(tmp_path / "smsd-dev" / "smsd.sock"):
            found = examined(smsd)[1]
        assert "smsd-dev" in found["configuration"][0]["text"]
        assert found["daemon"][0]["level"] == "ok"


class TestTheConfigurationAndItsDirectory:
    def test_every_fault(self, smsd: Run, fake: Fake, config: Path) -> None:
        config.write_text(config.read_text().replace("100/min", "fast") + "[nonsense]\n")
        code, found = examined(smsd, "--config", str(config))
        assert code == 1
        assert len(found["configuration"]) == 2
        assert f"smsd check-config --config {config}; a daemon that runs" in found["configuration"][0]["remedy"]
        assert found["daemon"][0]["level"] == "ok"

    @pytest.mark.parametrize("secret", ['{env = "NOT_SET_HERE"}', '{credential = "x"}', '{file = "none"}'])
    def test_a_secret_that_only_the_daemon_has(self, smsd: Run, fake: Fake, config: Path, secret: str) -> None:
        config.write_text(
            config.read_text() + f'[providers.b]\ntype = "twilio"\naccount_sid = "AC{"0" * 32}"\n'
            f'auth_token = {secret}\nfrom = "+15005550006"\nrate = "1/s"\n'
        )
        code, found = examined(smsd, "--config", str(config))
        assert (code, [each["level"] for each in found["configuration"]]) == (0, ["warn"])
        assert found["state directory"][0]["level"] == "ok", "the rest of the file is known all the same"

    def test_a_file_that_is_not_toml(self, smsd: Run, fake: Fake, config: Path) -> None:
        config.write_text("= nonsense")
        code, found = examined(smsd, "--config", str(config))
        assert (code, found["configuration"][0]["level"]) == (1, "fail")
        assert "state directory" not in found

    def test_its_warnings(self, smsd: Run, fake: Fake, config: Path) -> None:
        config.write_text(config.read_text().replace("[outbox]", '[outbox]\nsynchronous = "normal"'))
        assert [each["level"] for each in examined(smsd, "--config", str(config))[1]["configuration"]] == ["ok", "warn"]

    @pytest.mark.parametrize(
        ("mode", "level", "writers"),
        [
            (0o700, Level.OK, "root"),
            (0o755, Level.WARN, "root"),
            (0o770, Level.WARN, "root, its group"),
            (0o777, Level.WARN, "root, its group, everybody"),
        ],
    )
    def test_who_may_write(self, tmp_path: Path, mode: int, level: Level, writers: str) -> None:
        tmp_path.chmod(mode)
        finding = next(iter(files.state_directory(tmp_path, 0)))
        assert finding.level is level
        assert f"writable by {writers}, mode" in finding.text.replace(tmp_path.owner(), "root")

    def test_room(self, tmp_path: Path) -> None:
        system = os.statvfs(tmp_path)
        free = system.f_bavail * system.f_frsize
        room = {floor: [*files.state_directory(tmp_path, floor)][1].level for floor in (0, free * 2 // 3, free * 2)}
        assert [*room.values()] == [Level.OK, Level.WARN, Level.FAIL]

    def test_no_directory(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert [each.level for each in files.state_directory(tmp_path / "none", 0)] == [Level.FAIL]
        assert [each.level for each in files.state_directory(tmp_path / "file", 0)] == [Level.FAIL]
        assert [each.level for each in files.state_directory(tmp_path / "file" / "x", 0)] == [Level.SKIP]


class TestTheMachine:
    def test_the_clock_is_told_in_one_line(self) -> None:
        assert machine.clock().level in {Level.OK, Level.WARN, Level.SKIP}

    def test_the_file_limit(self) -> None:
        assert machine.file_limit(os.getpid()).level in {Level.OK, Level.WARN}
        assert machine.file_limit(None).level is Level.SKIP
        assert machine.file_limit(2**22 + 1).level is Level.SKIP, "a process that is not there"

    def test_process_1_only_holds_the_socket(self) -> None:
        assert machine.processes((None, 1)) is None
        assert machine.processes((None, 77)) == 77
        assert machine.processes((88, 1)) == 88

    @pytest.mark.parametrize(
        ("facts", "level"),
        [
            ({"LoadState": "not-found"}, Level.SKIP),
            ({"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "NRestarts": "0"}, Level.OK),
            ({"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "NRestarts": "3"}, Level.WARN),
            ({"LoadState": "loaded", "ActiveState": "failed", "SubState": "failed", "Result": "exit-code"}, Level.FAIL),
        ],
    )
    def test_the_unit(self, facts: dict[str, str], level: Level) -> None:
        assert machine.unit_state(facts).level is level


class _Health(http.server.BaseHTTPRequestHandler):
    answers: dict[str, tuple[int, object]]

    def do_GET(self) -> None:
        status, document = self.answers[self.path]
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


class TestHttp:
    @pytest.fixture
    def port(self) -> Iterator[int]:
        _Health.answers = {"/healthz": (200, {"status": "ok"}), "/readyz": (200, {"status": "ok", "reasons": []})}
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Health) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            yield server.server_port
            server.shutdown()
            thread.join()

    def levels(self, findings: list[Finding]) -> list[tuple[str, str]]:
        return [(finding.check, finding.level.value) for finding in findings]

    def test_alive_and_ready(self, port: int) -> None:
        assert self.levels(doors.http_address("127.0.0.1", port)) == [("http", "ok"), ("ready", "ok")]
        assert self.levels(doors.http_address("0.0.0.0", port)) == [("http", "ok"), ("ready", "ok")]

    def test_alive_and_not_ready(self, port: int) -> None:
        _Health.answers["/readyz"] = (503, {"status": "unready", "reasons": ["no provider is open", "store full"]})
        findings = doors.http_address("127.0.0.1", port)
        assert self.levels(findings) == [("http", "ok"), ("ready", "warn"), ("ready", "warn")]
        assert findings[1].text == "no provider is open"

    def test_somebody_else(self, port: int) -> None:
        _Health.answers["/healthz"] = (404, ["no"])
        assert self.levels(doors.http_address("127.0.0.1", port)) == [("http", "fail")]

    def test_nobody(self, port: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            assert self.levels(doors.http_address("127.0.0.1", free.getsockname()[1])) == [("http", "fail")]
        assert self.levels(doors.http_address("127.0.0.1", 0)) == [("http", "skip")]
