"""Is the configuration sound, and has the outbox its place?

The configuration is read as the daemon reads it, by the same module, which is imported inside: no other command pays
for it. The directory is looked at from outside only; whether the outbox in it is sound the daemon knows.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smsd.cli.doctor.finding import Finding, Findings, fail, ok, skip, warn
from smsd.cli.render import size
from smsd.cli.service import CONFIG

DEV: Final = Path("smsd-dev")
"""Where `smsd run --dev` keeps everything, below the directory it was started in."""

AMPLE: Final = 2
"""Times min_free: below that the operator has not much time left."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the other checks need of the configuration."""

    state_dir: Path
    min_free: int
    socket: Path
    http: tuple[tuple[str, int], ...]


def configuration(path: Path | None) -> tuple[Settings | None, list[Finding]]:
    """The settings (None: they cannot be had) and what is to be said of them."""
    from smsd.config import ConfigError, embedded_dev, load

    dev = path is None and not CONFIG.exists() and DEV.is_dir()
    if path is None and not dev and not CONFIG.exists():
        return None, [skip("configuration", f"there is no {CONFIG}; name the daemon's own with --config FILE")]
    file = path or CONFIG
    shown = f"embedded defaults of `smsd run --dev` ({DEV})" if dev else str(file)
    try:
        config = embedded_dev(DEV) if dev else load(file, os.environ)
    except ConfigError as error:
        if file.exists() and not os.access(file, os.R_OK):
            told = f"{file} cannot be read by this user; run the doctor as root or as the daemon's user"
            return None, [skip("configuration", told)]
        if not file.exists():
            return None, [fail("configuration", f"there is no {file}", "Name the daemon's own: --config FILE")]
        return _in_part(file), [_fault(str(fault), file) for fault in error.faults]
    findings = [ok("configuration", shown)]
    findings += [warn("configuration", text, "smsd help config") for text in config.warnings]
    http = tuple((each.host, each.port) for each in config.http.listen)
    return Settings(config.daemon.state_dir, config.outbox.min_free, config.socket.path, http), findings


ELSEWHERE: Final = ("set it for the daemon's process", "$CREDENTIALS_DIRECTORY is not set", "the daemon user's rights")
"""In the words of config/sources.py: what only the daemon's own process can have. A test has the two agree."""


def _fault(fault: str, file: Path) -> Finding:
    if any(words in fault for words in ELSEWHERE):
        return warn("configuration", fault, "This user's process lacks it; whether the daemon's does, its log tells.")
    check = "smsd check-config" if file == CONFIG else f"smsd check-config --config {file}"
    return fail("configuration", fault, f"Mend it, then: {check}; a daemon that runs takes it by: smsd reload")


def _in_part(file: Path) -> Settings | None:
    """What the other checks need of a configuration with faults; what is at fault has its default."""
    import tomllib

    from smsd.config import sections
    from smsd.config.http import http
    from smsd.config.sources import Sources
    from smsd.config.tables import Report, Table

    try:
        root = Table(tomllib.loads(file.read_text(encoding="utf-8")), Report(Sources({}, file.parent)))
    except (OSError, ValueError):
        return None
    daemon = sections.daemon(root.table("daemon"))
    outbox = sections.outbox(root.table("outbox"))
    socket = sections.socket(root.table("socket"), daemon.runtime_dir)
    web = http(root.table("http"))
    return Settings(
        daemon.state_dir, outbox.min_free, socket.path, tuple((each.host, each.port) for each in web.listen)
    )


def state_directory(place: Path, min_free: int) -> Findings:
    """Whether it is there, whose it is, and how much room is left."""
    try:
        found = place.stat()
    except FileNotFoundError:
        yield fail("state directory", f"{place} does not exist", "The daemon makes it at its start; see its log.")
        return
    except OSError as error:
        yield skip("state directory", f"{place} cannot be seen by this user ({error.strerror}); ask as root")
        return
    if not stat.S_ISDIR(found.st_mode):
        yield fail("state directory", f"{place} is not a directory", "Set [daemon] state_dir to one.")
        return
    mode = stat.S_IMODE(found.st_mode)
    text = f"{place}, writable by {_writers(found.st_uid, mode)}, mode {mode:04o}"
    if mode & 0o022:
        yield warn("state directory", text, f"Others can put files there: chmod go-w {place}")
    elif mode & 0o005:
        yield warn("state directory", text, f"Every user can look into it: chmod o-rx {place}")
    else:
        yield ok("state directory", text)
    yield _room(place, min_free)


def _writers(uid: int, mode: int) -> str:
    try:
        owner = pwd.getpwuid(uid).pw_name
    except KeyError:
        owner = f"uid {uid}"
    others = [who for bit, who in ((0o020, "its group"), (0o002, "everybody")) if mode & bit]
    return ", ".join([owner, *others])


def _room(place: Path, min_free: int) -> Finding:
    try:
        system = os.statvfs(place)
    except OSError as error:
        return skip("free space", f"cannot be seen ({error.strerror})")
    free = system.f_bavail * system.f_frsize
    text = f"{size(free)} free; below {size(min_free)} submissions are refused"
    if free < min_free:
        return fail("free space", text, f"Free space on the file system of {place}; submissions resume by themselves.")
    if free < AMPLE * min_free:
        return warn("free space", text, f"Free space on the file system of {place} soon.")
    return ok("free space", text)
