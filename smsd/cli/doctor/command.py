"""Which checks are made, and what is their sum?

`smsd doctor`: one command that works without a daemon, without permissions and over HTTP; then it asks what can be
asked. Over HTTP the machine that is looked at is another one, so only the daemon is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from smsd.cli.doctor import daemon, doors, files, machine, way_back
from smsd.cli.doctor.finding import Finding, Level
from smsd.cli.frame import (
    AS_JSON,
    DOOR,
    EX_FAILED,
    EX_UNAVAILABLE,
    Out,
    connect,
    examples,
    exit_code,
    leave,
    printable,
)
from smsd.cli.render import coloured
from smsd.cli.service import CONFIG_OPTION
from smsd.client import Client, SmsdError

_COLOURS: Final = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red", Level.SKIP: "bright_black"}


def _doors(function: click.decorators.FC) -> click.decorators.FC:
    for option in (*DOOR, AS_JSON, CONFIG_OPTION):
        function = option(function)
    return function


@click.command(
    "doctor",
    short_help="Find out what is wrong.",
    epilog=examples(
        "smsd doctor",
        "sudo smsd doctor --config /etc/smsd/config.toml",
        "smsd doctor --url https://sms.example.org --token-file /run/smsd-token",
        "smsd doctor --json | jq -r '.findings[] | select(.level == \"fail\") | .remedy'",
    ),
)
@_doors
def doctor_command(
    path: Path | None, as_json: bool, socket: str | None, url: str | None, token_file: str | None
) -> None:
    """Look at everything that can be wrong: each check one line, with what to do about it.

    Levels: ok; WARN, somebody should look at it by day; FAIL, it does not work or will not much longer; skip, this user
    or this machine cannot look at it. Exit code 0 without a FAIL, 69 when the daemon does not answer, else 1.
    """
    out = Out(as_json)
    try:
        reached, findings = _examined(path, socket, url, token_file)
    except SmsdError as error:  # not even a place to look at: a URL that is none
        out.problem(error)
        leave(exit_code(error))
    _tell(out, findings)
    if not reached:
        leave(EX_UNAVAILABLE)
    if any(finding.level is Level.FAIL for finding in findings):
        leave(EX_FAILED)


def _examined(
    path: Path | None, socket: str | None, url: str | None, token_file: str | None
) -> tuple[bool, list[Finding]]:
    """Whether the daemon answered, and all findings."""
    settings, findings = None, list[Finding]()
    if not _is_remote(socket, url, token_file):
        settings, findings = files.configuration(path)
        if settings is not None and not _is_named(socket):
            socket = str(settings.socket)
    with connect(socket, url, token_file) as client:
        findings += _remote(client) if "://" in client.path else _here(client, settings)
        reached, asked = _daemon(client)
    return reached, findings + asked


def _is_remote(socket: str | None, url: str | None, token_file: str | None) -> bool:
    with connect(socket, url, token_file) as client:
        return "://" in client.path


def _is_named(socket: str | None) -> bool:
    before = click.get_current_context().find_root().params.get("socket")
    return bool(socket or before or os.environ.get("SMSD_SOCKET"))


def _here(client: Client, settings: files.Settings | None) -> list[Finding]:
    """Everything of this machine that can be seen without asking the daemon."""
    findings: list[Finding] = []
    if settings is not None:
        findings += files.state_directory(settings.state_dir, settings.min_free)
    findings.append(machine.clock())
    main_pid, unit = machine.unit()
    listener, door = doors.local(client.path)
    findings += [*unit, *door, machine.file_limit(machine.processes((main_pid, listener)))]
    for host, port in settings.http if settings is not None else ():
        findings += doors.http_address(host, port)
    return findings


def _remote(client: Client) -> list[Finding]:
    return doors.http_door(client.path)


def _daemon(client: Client) -> tuple[bool, list[Finding]]:
    reached, finding = daemon.answers(client)
    if not reached:
        return False, [finding]
    return True, [
        finding,
        *daemon.alerts(client),
        *daemon.providers(client),
        *daemon.backlog(client),
        *way_back.examined(client),
    ]


def _tell(out: Out, findings: Iterable[Finding]) -> None:
    findings = [*findings]
    worst = next(
        (level for level in (Level.FAIL, Level.WARN) if any(each.level is level for each in findings)), Level.OK
    )
    if out.json:
        listed = [
            {"level": each.level.value, "check": each.check, "text": each.text, "remedy": each.remedy or None}
            for each in findings
        ]
        out.document({"worst": worst.value, "findings": listed})
        return
    width = max(len(each.check) for each in findings)
    for each in findings:
        out.line(f"{_label(each.level)}  {each.check.ljust(width)}  {printable(each.text)}")
        if each.remedy:
            out.line(f"      {' ' * width}  -> {printable(each.remedy)}")


def _label(level: Level) -> str:
    shown = (level.value if level in {Level.OK, Level.SKIP} else level.value.upper()).ljust(4)
    return coloured(shown, _COLOURS[level])
