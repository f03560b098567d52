"""Do the commands and the real daemon understand each other, over both doors?"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from smsd.client import Client
from tests.daemon.harness import Site, free_port, short_directory, until

TO = "+12015550100"


class Done(NamedTuple):
    code: int
    out: str
    err: str

    def documents(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Shell:
    """Types commands at a site: over the socket, or over HTTP."""

    def __init__(self, site: Site, environ: dict[str, str]) -> None:
        self.site = site
        self.environ = {**os.environ, **environ}

    def __call__(self, *args: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "smsd", *args],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env=self.environ,
            cwd=self.site.directory,
        )
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A daemon with a carrier, an HTTP door, one token that may everything and one that may only read."""
    with short_directory() as directory:
        site = Site(Path(directory))
        try:
            carrier = site.carrier()
            port = free_port()
            entry, reader = made_token(site, "ops", "send", "read", "admin"), made_token(site, "reader", "read")
            site.configure(carrier.url, sections={"http": {"listen": [f"127.0.0.1:{port}"]}})
            with site.config.open("a") as file:
                file.write("\n" + entry["config"] + "\n" + reader["config"] + "\n")
            (site.directory / "token").write_text(entry["token"] + "\n")
            (site.directory / "reader").write_text(reader["token"])
            (site.directory / "url").write_text(f"http://127.0.0.1:{port}")
            site.start()
            yield site
        finally:
            site.close()


def made_token(site: Site, name: str, *scopes: str) -> dict[str, str]:
    words = ["token", "new", "--json", "--name", name, *(word for scope in scopes for word in ("--scope", scope))]
    found: dict[str, str] = Shell(site, {})(*words).documents()[0]
    return found


@pytest.fixture(params=["socket", "http"])
def shell(site: Site, request: pytest.FixtureRequest) -> Shell:
    if request.param == "socket":
        return Shell(site, {"SMSD_SOCKET": str(site.socket)})
    token = (site.directory / "token").read_text().strip()
    return Shell(site, {"SMSD_URL": (site.directory / "url").read_text(), "SMSD_TOKEN": token})


def test_a_message_from_the_shell_to_the_carrier(shell: Shell) -> None:
    done = shell("send", TO, "quagga", "--user", "alice", "--wait")
    assert (done.code, done.err) == (0, "")
    id, told = done.out.splitlines()
    assert told == "sent by main"
    assert re.search(r"Attempt 1 at main: accepted \(", shell("show", id, "--attempts").out)
    assert shell("show", id, "--json").documents()[0]["message"]["state"] == "sent"
    assert shell("user", "alice", "--json").documents()[0]["sent_today"] >= 1
    assert "Sent" in shell("recipient", TO).out
    assert shell("list", "--user", "alice", "--json").documents()[0]["id"] == id


def test_one_that_waits(shell: Shell) -> None:
    assert shell("pause", "main").code == 0
    try:
        done = shell("send", TO, "quagga", "--wait=0.3s")
        assert done.code == 75
        assert "paused" in done.err
        assert "smsd resume main" in shell("queue").out
        doctor = shell("doctor", "--config", str(shell.site.config))
        assert "WARN  provider main" in doctor.out
        assert doctor.code == 1, "no provider is open"
        assert shell("cancel", done.out.strip()).code == 0
    finally:
        assert shell("resume", "main").code == 0


def test_refusals(shell: Shell) -> None:
    assert shell("send", "nonsense", "quagga").code == 65
    assert shell("show", "01920000-0000-7000-8000-999999999999").code == 65
    assert shell("pause", "nobody").code == 65


def test_all_that_a_filter_finds(shell: Shell) -> None:
    assert shell("pause", "main").code == 0
    try:
        ids = {shell("send", TO, "quagga", "--user", "bob").out.strip() for _ in range(2)}
        other = shell("send", TO, "quagga", "--user", "carol").out.strip()
        done = shell("cancel", "--user", "bob", "--since", "2026-01-01T00:00:00Z", "--to", TO, "--yes")
        assert (done.code, {line.split()[0] for line in done.out.splitlines()}) == (0, ids)
        assert shell("cancel", other).out == f"{other}  cancelled\n"
    finally:
        assert shell("resume", "main").code == 0


def begun(shell: Shell, client: Client, campaign: str) -> subprocess.Popen[str]:
    """An import that has asked for its campaign and waits for its next row."""
    before = len([*client.audit(operation="campaign_create")])
    words = ("import", "-", "--campaign", campaign, "--rate", "5/min", "--text", "quagga")
    found = subprocess.Popen(
        [sys.executable, "-m", "smsd", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=shell.environ,
    )
    assert found.stdin is not None
    found.stdin.write("to\nnobody\n")
    found.stdin.flush()
    until(lambda: len([*client.audit(operation="campaign_create")]) > before, "it asked for its campaign")
    return found


@pytest.mark.parametrize("brings", ["maker", "other", "neither"])
def test_of_two_imports_at_once_none_takes_the_rate_of_the_other_away(site: Site, brings: str) -> None:
    """One ends without a row that was taken while the other has not handed its own in."""
    with Client(str(site.socket)) as client:
        shell = Shell(site, {"SMSD_SOCKET": str(site.socket)})
        runs = {who: begun(shell, client, f"twice-{brings}") for who in ("maker", "other")}
        for who in sorted(runs, key=lambda who: who == brings):
            out, _ = runs[who].communicate(f"{TO}\n" if who == brings else "")
            assert ("1 accepted" in out, runs[who].returncode) == (who == brings, 65)
        found = [(one["rate"], one["total"]) for one in client.campaigns() if one["id"] == f"twice-{brings}"]
        assert found == ([] if brings == "neither" else [("5/min", 1)])


def test_an_import_of_nobody_leaves_the_campaign_of_another_tenant_alone(site: Site, tmp_path: Path) -> None:
    (tmp_path / "both.csv").write_text("to,text\nnobody,quagga\n")
    with Client(str(site.socket)) as client:
        client.campaign_create("both", tenant="bank")
        done = Shell(site, {"SMSD_SOCKET": str(site.socket)})("import", str(tmp_path / "both.csv"))
        assert (done.code, "stays" in done.err) == (65, False)
        assert [one["tenant"] for one in client.campaigns() if one["id"] == "both"] == ["bank"]


def test_a_campaign_before_its_messages(shell: Shell) -> None:
    id = "early-" + ("url" if "SMSD_URL" in shell.environ else "socket")
    terms = ("--rate", "5/min", "--send-between", "09:00-18:00 Europe/Berlin")
    assert shell("campaign", "create", id, *terms).out == f"{id}  made\n"
    assert shell("campaign", "create", id, *terms).out == f"{id}  was there already, sending, 0 messages\n"
    other = shell("campaign", "create", id, "--rate", "6/min")
    assert (other.code, "another name, rate or hours" in other.err, id in other.err) == (65, True, True)
    assert shell("campaign", "delete", id).code == 0


def test_figures(shell: Shell) -> None:
    assert shell("stats").out.startswith("smsd 0.")
    assert "main" in shell("providers").out
    place = shell("ping", "--json").documents()[0]
    assert ("url" in place) == ("SMSD_URL" in shell.environ)


def test_reports(shell: Shell) -> None:
    """As a table, as CSV and as JSON: the same over both doors."""
    assert shell("send", TO, "quagga", "--user", "=rita", "--wait").code == 0
    asked = ("report", "daily", "--by", "user", "--sla", "1")
    found = shell(*asked, "--json").documents()[0]
    assert next(each["met"] for each in found["items"] if each["group"] == "=rita") is True
    assert "=rita" in shell(*asked).out
    table = subprocess.run(
        [sys.executable, "-m", "smsd", *asked, "--csv"], capture_output=True, check=True, timeout=30, env=shell.environ
    )
    assert table.stdout.startswith(b"user,accepted,pending,")
    assert b"\r\n'=rita," in table.stdout
    for kind in ("errors", "retries", "rate", "cost"):
        assert shell("report", kind).code == 0


def test_events(shell: Shell) -> None:
    command = [sys.executable, "-u", "-m", "smsd", "watch", "--json", "--kind", "message.*"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=shell.environ) as watching:
        try:
            assert watching.stdout is not None
            until(lambda: shell("send", TO, "quagga").code == 0 and _readable(watching), "an event comes")
            event = json.loads(watching.stdout.readline())
        finally:
            watching.kill()
    assert event["event"].startswith("message.")
    assert TO not in json.dumps(event)


def _readable(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 0.2)[0])


def test_a_reload(shell: Shell) -> None:
    site = shell.site
    good = site.config.read_text()
    assert shell("reload").out == "Nothing has changed.\n"
    try:
        site.config.write_text(
            good.replace('level = "info"', "").replace('format = "json"', 'format = "json"\nlevel = "debug"')
        )
        assert "changed: logging.level" in shell("reload").out
        site.config.write_text(good.replace("2000/s", "fast"))
        done = shell("reload")
        assert (done.code, done.out) == (78, "")
        assert "providers.main.rate" in done.err
    finally:
        site.config.write_text(good)
        assert shell("reload").code == 0


def test_a_token_that_is_wrong_or_missing(site: Site) -> None:
    url = (site.directory / "url").read_text()
    assert Shell(site, {"SMSD_URL": url})("stats").code == 77
    assert Shell(site, {"SMSD_URL": url, "SMSD_TOKEN": "x" * 40})("stats").code == 77
    assert Shell(site, {})("stats", "--url", url, "--token-file", str(site.directory / "token")).code == 0
    assert Shell(site, {})("stats", "--url", url, "--token-file", "/none").code == 66


def test_a_token_that_may_less_is_told_which_would_do(site: Site) -> None:
    url = (site.directory / "url").read_text()
    done = Shell(site, {"SMSD_URL": url, "SMSD_TOKEN": (site.directory / "reader").read_text()})("reload")
    assert (done.code, done.out) == (77, "")
    assert "Use a token with the scope it needs" in done.err
    assert "root" not in done.err


def test_a_healthy_daemon_passes_the_doctor(shell: Shell) -> None:
    done = shell("doctor", "--config", str(shell.site.config))
    assert done.code == 0, done.out
    assert "FAIL" not in done.out


def test_a_backup_is_restored_and_what_waited_is_held(site: Site, tmp_path: Path) -> None:
    shell = Shell(site, {"SMSD_SOCKET": str(site.socket)})
    shell("pause", "main")
    id = shell("send", TO, "quagga").out.strip()
    token = (site.directory / "token").read_text().strip()
    over_http = Shell(site, {"SMSD_URL": (site.directory / "url").read_text(), "SMSD_TOKEN": token})
    for each, name in ((shell, "a.db"), (over_http, "b.db")):
        assert each("backup", str(tmp_path / name)).code == 0
    running = shell("restore", str(tmp_path / "a.db"), "--config", str(site.config), "--yes")
    assert (running.code, "stop it" in running.err) == (74, True)
    site.stop()
    done = shell("restore", str(tmp_path / "b.db"), "--config", str(site.config), "--yes")
    assert done.code == 0, done.err
    assert "1 of them were not sent" in done.out
    look, go_on = (line.split()[1:] for line in done.out.splitlines() if line.startswith("  smsd "))
    site.start()
    shell("resume", "main")
    assert [message["id"] for message in shell(*look, "--json").documents()] == [id]
    assert shell("retry", id).code == 65
    assert shell(*go_on).code == 64, "nobody was asked"
    assert over_http(*go_on, "--yes") == (0, f"{id}  pending\n", "")
    until(lambda: shell("show", id, "--json").documents()[0]["message"]["state"] == "sent", "it is sent at last")
