"""Does a shell learn commands, options, values, and the names of providers while nobody waits for them?"""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from tests.cli.fake import PROVIDER, Fake
from tests.cli.helpers import Run, process
from tests.doubles.fake_daemon import Do


def completed(words: str, socket: str | None = None) -> list[str]:
    typed = words.split(" ")
    done = process(
        _SMSD_COMPLETE="bash_complete",
        COMP_WORDS=words,
        COMP_CWORD=str(len(typed) - 1),
        SMSD_SOCKET=socket or os.environ["SMSD_SOCKET"],
    )
    assert done.stderr == b""
    return [line.partition(",")[2] for line in done.stdout.decode().splitlines() if line]


def test_commands_options_and_values(fake: Fake) -> None:
    assert completed("smsd pa") == ["pause"]
    assert "--idempotency" not in completed("smsd send --")
    assert {"--key", "--wait", "--socket", "--url"} <= {*completed("smsd send --")}
    assert completed("smsd list --state f") == ["failed"]
    assert completed("smsd token n") == ["new"]
    assert {"states", "send"} <= {*completed("smsd help s")}
    assert fake.requests == []


def test_names_of_providers(fake: Fake) -> None:
    fake.providing = [{**PROVIDER, "name": name} for name in ("main", "mobile", "other")]
    assert completed("smsd pause m") == ["main", "mobile"]
    assert completed("smsd resume ") == ["main", "mobile", "other"]
    assert completed(f"smsd resume --socket {fake.path} o", socket="/none") == ["other"]


def test_no_names_when_the_daemon_is_gone_or_slow(fake: Fake) -> None:
    assert completed("smsd pause m", socket="/none") == []
    assert completed("smsd pause --token-file /none m") == []
    fake.script.append(Do.STALL)
    began = time.monotonic()
    assert completed("smsd pause m") == []
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(smsd: Run, shell: str) -> None:
    done = smsd("completion", shell)
    assert done.code == 0
    assert f"_SMSD_COMPLETE={shell}_complete" in done.out
    assert smsd("completion", shell, "--json").documents == [{"shell": shell, "script": done.out[:-1]}]
    if shell == "zsh":
        assert done.out.startswith("#compdef smsd")


def test_the_script_of_bash_runs(smsd: Run) -> None:
    script = smsd("completion", "bash").out
    done = subprocess.run(
        ["bash", "-c", script + "\ncomplete -p smsd"], capture_output=True, text=True, check=True, timeout=20
    )
    assert "smsd" in done.stdout


def test_another_shell_is_a_usage_error(smsd: Run) -> None:
    assert smsd("completion", "tcsh").code == 64
