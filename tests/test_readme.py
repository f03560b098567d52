"""Does the README tell the truth? Its printed parts, its paths, and its examples, run as a reader would run them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from smsd import config
from smsd.providers import TYPES
from tests import readme

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
READY_S = 20


def test_printed_parts_are_what_the_code_says() -> None:
    assert readme.renewed(TEXT) == TEXT, "run: python -m tests.readme"


def test_every_file_it_names_exists() -> None:
    named = set(re.findall(r"`((?:smsd|tests|systemd)/[\w./]+)`", TEXT))
    assert named
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing


LOOK_UPS = {"none": "not to be asked", "fuzzy": "(fuzzy)", "exact": "(exact)", "key": "same key"}


def test_its_table_of_providers_says_how_each_can_be_asked() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|", TEXT, re.MULTILINE))
    for kind, adapter in TYPES.items():
        assert kind in rows, kind
        if isinstance(adapter.lookup, str):  # else it depends on what is configured
            assert LOOK_UPS[adapter.lookup] in rows[kind], kind


def test_ci_runs_exactly_its_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "<!-- test command -->" in script
    command = readme.code(TEXT, "test command").strip()
    assert command.startswith("python3 -m venv .venv && ")
    assert command.endswith("-m tests")


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The daemon of the README's first command, in an empty folder; and what it said."""
    folder = tmp_path_factory.mktemp("dev")
    program = "import sys; from smsd.cli.main import main; sys.argv[0] = 'smsd'; main()"
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-c", program, "run", "--dev"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield folder, _said(daemon)
    finally:
        daemon.terminate()
        daemon.communicate(timeout=READY_S)
    assert daemon.returncode == 0


def _said(daemon: subprocess.Popen[str]) -> str:
    assert daemon.stdout is not None
    said = ""
    for line in daemon.stdout:
        said += line
        if "Ctrl-C" in line:
            break
    return said


def url_of(said: str) -> str:
    """Where the daemon says that HTTP is answered: another port when the usual one is taken on this machine."""
    found = re.search(r"curl -s (http://127\.0\.0\.1:\d+)/v1/messages", said)
    assert found is not None, said
    return found[1]


def run(folder: Path, code: str, url: str = "") -> str:
    """Run a shell example in the daemon's folder."""
    code = code.replace("http://127.0.0.1:7670", url) if url else code
    code = code.replace("python3 -", f"{sys.executable} -").replace(".venv/bin/smsd", f"{sys.executable} -m smsd")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SMSD_SOCKET": str(folder / "smsd-dev" / "smsd.sock")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_command_delivers_a_message_and_says_what_to_type_next(dev: tuple[Path, str]) -> None:
    _, said = dev
    assert "was accepted and synced to disk, and sent by the sandbox" in said
    assert 'smsd send +14155550123 "Your code is 123456"' in said


def test_the_shell_example(dev: tuple[Path, str]) -> None:
    shown = run(dev[0], readme.code(TEXT, "example: shell"))
    assert "+14155550123" in shown
    assert "sent" in shown


def test_the_example_of_other_times(dev: tuple[Path, str]) -> None:
    shown = run(dev[0], readme.code(TEXT, "example: times"))
    assert "scheduled" in shown
    assert "cancelled" in shown


def test_the_example_of_consent(dev: tuple[Path, str]) -> None:
    shown = run(dev[0], readme.code(TEXT, "example: consent"))
    assert shown.count("+14155550199") >= 2
    assert "every provider" in shown


def test_the_curl_example(dev: tuple[Path, str]) -> None:
    code = readme.code(TEXT, "example: curl")
    assert "http://127.0.0.1:7670/v1/messages" in code
    shown = run(dev[0], code, url_of(dev[1]))
    joined = re.sub(r"}\s*{", "},{", shown)
    first, second, *batch = json.loads(f"[{joined}]")
    assert (first["replayed"], second["state"]) == (False, "sent")
    assert [(line["index"], line["ok"]) for line in batch] == [(0, True), (1, False)]
    assert batch[1]["error"]["code"] == "invalid_recipient"
    assert '"replayed":true' in run(dev[0], code, url_of(dev[1]))


def test_the_python_example_over_http(dev: tuple[Path, str]) -> None:
    code = readme.code(TEXT, "example: python").replace('"smsd-dev/smsd.sock"', f'url="{url_of(dev[1])}"')
    shown = run(dev[0], f"python3 - <<'PY'\n{code}\nPY")
    assert shown.split()[0] in {"pending", "processing", "sent"}


def test_what_it_shows_of_the_configuration_is_one(tmp_path: Path) -> None:
    """All its lines of configuration (tokens, tenants, codes, routing) with the smallest useful file before them."""
    tokens, smallest, *others = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    file = tmp_path / "config.toml"
    smallest = re.sub(r"\{env = [^}]*\}", '"AC0123456789abcdef0123456789abcdef"', smallest)
    file.write_text("\n".join([smallest, tokens, *others]))
    found = config.load(file, {"SHOP_CALLBACK_SECRET": "whsec_" + b64encode(bytes(32)).decode()})
    assert found.callbacks.urls == {"web": "https://shop.example.com/sms-events"}
    assert found.http.tokens[0].tenant == "shop"
    assert found.tenants["shop"].senders == ("+15005550006",)
    assert [str(rule.per) for rule in found.limits] == ["recipient", "recipient", "user"]
    assert found.quiet_hours is not None
    assert set(found.messages.templates) == {"code"}
    assert [rule.words for rule in found.guards] == [
        "loop guard, 5/hour of one text to one recipient",
        "duplicate window, 10m",
    ]


def test_the_socket_example(dev: tuple[Path, str]) -> None:
    code = readme.code(TEXT, "example: socket")
    assert '"ok":true' in run(dev[0], code)
    assert '"replayed":true' in run(dev[0], code)


def test_the_python_example(dev: tuple[Path, str]) -> None:
    code = readme.code(TEXT, "example: python")
    assert run(dev[0], f"python3 - <<'PY'\n{code}\nPY").split()[0] in {"pending", "processing", "sent"}


def test_an_installation_puts_every_file_where_the_file_says_it_is(tmp_path: Path) -> None:
    """Its lines that copy are run, below another root, by somebody who is not root."""
    (code,) = re.findall(r"## Running it as a service\n\n```sh\n(.*?)```", TEXT, re.DOTALL)
    lines = [line for line in code.replace("\\\n", "").splitlines() if re.match(r"cp|install|sed", line)]
    script = re.sub(r"&& systemd-\w+[^#\n]*| -g smsd", "", "\n".join(lines))
    script = re.sub(r"(?<= )/(?=etc|usr)", f"{tmp_path}/", script)
    for folder in ("etc/systemd/system", "usr/lib/sysusers.d", "usr/lib/tmpfiles.d"):
        (tmp_path / folder).mkdir(parents=True)
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=ROOT, check=True, timeout=20)
    units = {f"/etc/systemd/system/{each.name}": each for each in (ROOT / "systemd").glob("smsd.so*")}
    units["/etc/systemd/system/smsd.service"] = ROOT / "systemd" / "smsd.service"
    for each in (ROOT / "systemd" / "smsd.sysusers", ROOT / "systemd" / "smsd.tmpfiles"):
        found = re.search(r"Installed as (\S+)\.", each.read_text())
        assert found is not None, each
        units[found[1]] = each
    for place, source in units.items():
        assert (tmp_path / place.lstrip("/")).read_text() == source.read_text()
    written = tomllib.loads((tmp_path / "etc/smsd/config.toml").read_text())
    assert (written["socket"]["group"], written["socket"]["admin_group"]) == ("smsd", "smsd-admin")
    assert {**written, "socket": None} == {**tomllib.loads((ROOT / "config.toml.example").read_text()), "socket": None}
