"""Is the machine as the daemon needs it?

The clock, the number of files the daemon may open, and what systemd says of the unit. Read from the kernel and from
systemctl; whatever is not there (a container without systemd, another user's /proc) is said to be not there.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
from pathlib import Path
from typing import Final

from smsd.cli.doctor.finding import Finding, fail, ok, skip, warn

UNIT: Final = "smsd.service"
ENOUGH_FILES: Final = 4_096
"""1,024 connections a uid on the socket (listeners/unix.py), as many on HTTP, and what the daemon opens itself."""

PATIENCE_S: Final = 3.0

TIMEX_BYTES: Final = 512
"""More than struct timex of any Linux architecture (adjtimex(2): 208 bytes on x86-64)."""

TIME_ERROR: Final = 5
"""What adjtimex(2) returns while the clock is not synchronised."""


def clock() -> Finding:
    """Whether the clock follows a time server: send_at, quiet times and ttl go by it."""
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    except (OSError, AttributeError):
        state = -1
    if state < 0:
        return skip("clock", "this process may not ask the kernel whether it is synchronised")
    if state == TIME_ERROR:
        return warn("clock", "is not synchronised with a time server", "timedatectl set-ntp true, or start chrony.")
    return ok("clock", "synchronised")


def unit() -> tuple[int | None, list[Finding]]:
    """The daemon's process as systemd knows it (None: it does not), and what is to be said of the unit."""
    if not Path("/run/systemd/system").is_dir():
        return None, [skip("systemd", "does not run here")]
    command = ["systemctl", "show", UNIT, "--property=LoadState,ActiveState,SubState,NRestarts,MainPID,Result"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)  # noqa: S603 - fixed words
    except (OSError, subprocess.SubprocessError) as error:
        return None, [skip("systemd", f"systemctl does not answer ({type(error).__name__})")]
    facts = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    pid = int(facts.get("MainPID") or 0) or None
    return pid, [unit_state(facts)]


def unit_state(facts: dict[str, str]) -> Finding:
    """What the properties of the unit (systemctl show) mean."""
    if facts.get("LoadState") != "loaded":
        return skip("systemd", f"{UNIT} is not installed; the daemon is started in another way")
    state = f"{UNIT} is {facts.get('ActiveState')} ({facts.get('SubState')})"
    restarts = int(facts.get("NRestarts") or 0)
    if facts.get("ActiveState") not in {"active", "reloading"}:
        text = f"{state}, result {facts.get('Result')}"
        return fail("systemd", text, f"journalctl -u {UNIT} -n 50, then: systemctl start {UNIT}")
    if restarts:
        return warn("systemd", f"{state}, restarted {restarts} times", f"journalctl -u {UNIT} says why it ended.")
    return ok("systemd", state)


def file_limit(pid: int | None) -> Finding:
    """How many files the daemon may open. `pid`: its process, None when nobody knows it."""
    if pid is None:
        return skip("file limit", "the daemon's process is not known")
    try:
        limits = Path(f"/proc/{pid}/limits").read_text()
        used = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - only their number is wanted
    except OSError as error:
        return skip("file limit", f"process {pid} cannot be looked at by this user ({error.strerror})")
    found = re.search(r"^Max open files +([0-9]+)", limits, re.MULTILINE)
    most = int(found[1]) if found else 0
    text = f"{used} of {most} files are open in process {pid}" if found else f"process {pid} has no file limit"
    if found and used > 0.9 * most:
        return fail("file limit", text, "New connections will be refused: LimitNOFILE=65536 in the unit, then restart.")
    if found and most < ENOUGH_FILES:
        return warn("file limit", text, "LimitNOFILE=65536 in the unit (or ulimit -n), then restart.")
    return ok("file limit", text)


def processes(passed: tuple[int | None, ...]) -> int | None:
    """The first that can be the daemon: process 1 only holds its socket open (socket activation)."""
    return next((pid for pid in passed if pid is not None and pid > 1), None)
