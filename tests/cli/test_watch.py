"""Are events and figures shown as they come, does a lost daemon end nothing, and is Ctrl-C a clean end?"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from smsd.cli.watch import event_line
from tests.cli.fake import STATS, Fake
from tests.cli.helpers import Run
from tests.doubles.fake_daemon import RefusedError, wait_for


@contextmanager
def running(*args: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on until it is interrupted."""
    with subprocess.Popen(
        [sys.executable, "-m", "smsd", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TZ": "UTC", **environ},
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def interrupted(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    return process.returncode, out, err


class TestEvents:
    def test_one_line_each(self, fake: Fake) -> None:
        fake.happen("message.sent", id="m-1", to="+1555****23", provider="main", attempt=1, category=None)
        fake.happen("provider.halted", provider="main", reason="401 from it")
        with running("watch", "--after", "0badcafe-0") as process:
            assert process.stdout is not None
            lines = [process.stdout.readline().rstrip() for _ in range(2)]
            fake.happen("message.failed", id="m-2", to="+1555****24", provider="main", category="REJECTED")
            lines.append(process.stdout.readline().rstrip())
            assert interrupted(process) == (0, "", "")
        assert lines == [
            "2026-01-02 03:04:01.500+00:00  message.sent             m-1  +1555****23  main  -  attempt=1",
            '2026-01-02 03:04:02.500+00:00  provider.halted          main  reason="401 from it"',
            "2026-01-02 03:04:03.500+00:00  message.failed           m-2  +1555****24  main  REJECTED",
        ]

    def test_as_json_and_only_some(self, fake: Fake) -> None:
        fake.happen("message.sent", id="m-1")
        with running(
            "watch", "--json", "--kind", "message.*", "--kind", "provider.halted", "--after", "0badcafe-0"
        ) as p:
            assert p.stdout is not None
            assert json.loads(p.stdout.readline()) == fake.happened[0]
            assert interrupted(p)[0] == 0
        asked = next(request for request in fake.requests if request["op"] == "events")
        assert asked.items() >= {"kinds": "message.*,provider.halted", "after": "0badcafe-0"}.items()

    def test_what_may_be_missing_is_said(self, fake: Fake) -> None:
        fake.lose_events = True
        with running("watch", "--after", "feedf00d-7") as process:
            assert process.stdout is not None
            assert "stream.lost" in process.stdout.readline()
            assert interrupted(process)[0] == 0

    def test_a_restarted_daemon_is_found_again(self, fake: Fake, tmp_path: Path) -> None:
        with running("watch", "--after", "0badcafe-0") as process:
            assert process.stdout is not None
            wait_for(lambda: len(fake.requests) > 1)
            fake.stop()
            fake.path.unlink()
            with Fake(fake.path) as again:
                again.happen("daemon.ready", version="0.1.0")
                assert "daemon.ready" in process.stdout.readline()
                assert interrupted(process)[0] == 0

    def test_one_who_may_not(self, smsd: Run, fake: Fake) -> None:
        fake.refuse["events"] = RefusedError("not_allowed", "No.")
        assert smsd("watch").code == 77

    def test_what_a_provider_says_cannot_drive_the_terminal(self) -> None:
        line = event_line(
            {"id": "1", "event": "message.failed", "at": None, "data": {"id": "\x1b[2J", "error": "\x07"}}
        )
        assert "\x1b" not in line
        assert "\x07" not in line


class TestFigures:
    def test_block_after_block_in_a_pipe(self, fake: Fake) -> None:
        with running("providers", "--watch=0.1s") as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(6)]
            code, _, err = interrupted(process)
        assert (code, err) == (0, "")
        assert [line[:2] for line in lines] == ["# ", "PR", "ma", "# ", "PR", "ma"]

    def test_documents(self, fake: Fake) -> None:
        with running("stats", "--json", "--watch=100ms") as process:
            assert process.stdout is not None
            assert [json.loads(process.stdout.readline()) for _ in range(2)] == [STATS, STATS]
            assert interrupted(process)[0] == 0

    def test_a_daemon_that_goes_away_is_waited_for(self, fake: Fake) -> None:
        fake.add()
        with running("queue", "--watch=0.1s") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline().startswith("# ")
            fake.stop()
            assert "smsd: " in process.stderr.readline()
            fake.path.unlink()
            with Fake(fake.path):
                while "pending, 0 processing" not in process.stdout.readline():
                    assert process.poll() is None
                before = time.monotonic()
                while not process.stdout.readline().startswith("# "):
                    assert time.monotonic() - before < 10
                assert interrupted(process)[0] == 0

    def test_a_daemon_that_never_was(self, smsd: Run, tmp_path: Path) -> None:
        assert smsd("stats", "--watch", "--socket", str(tmp_path / "none")).code == 69

    @pytest.mark.parametrize("span", ["0s", "-1", "2h", "fast", ""])
    def test_a_pace_that_will_not_do(self, smsd: Run, fake: Fake, span: str) -> None:
        assert smsd("stats", f"--watch={span}").code == 64

    def test_in_place_on_a_terminal(self, fake: Fake) -> None:
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (50, 200))
        command = [sys.executable, "-m", "smsd", "providers", "--watch=0.1s"]
        with subprocess.Popen(
            command, stdout=theirs, stderr=subprocess.PIPE, env={**os.environ, "TERM": "xterm"}
        ) as process:
            os.close(theirs)
            seen = b""
            while seen.count(b"PROVIDER") < 3:
                seen += os.read(ours, 65_536)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
        os.close(ours)
        assert (process.returncode, err) == (0, b"")
        assert b"\x1b[1A" in seen, "the cursor goes back up"
