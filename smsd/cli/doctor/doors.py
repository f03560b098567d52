"""Is anybody behind the doors, and may I come in?

The socket is tried as the kernel sees it (is it there, whose is it, does somebody listen, who); the HTTP addresses by
the two routes that need no token, /healthz and /readyz. What the daemon says once it is asked is known by daemon.py.
"""

from __future__ import annotations

import grp
import http.client
import json
import os
import pwd
import socket
import stat
import struct
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from smsd.cli.doctor.finding import Finding, fail, ok, skip, warn

PATIENCE_S: Final = 3.0
MAX_BYTES: Final = 65_536

START: Final = "Start the daemon: systemctl start smsd (or `smsd run --dev` to try it)."


def local(path: str) -> tuple[int | None, list[Finding]]:
    """The process that listens on the socket (None: it cannot be known), and what is to be said of it."""
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return None, [fail("socket", f"there is no {path}", START)]
    except OSError as error:
        return None, [fail("socket", f"{path} cannot be seen ({error.strerror})", "Ask as root.")]
    if not stat.S_ISSOCK(found.st_mode):
        return None, [fail("socket", f"{path} is not a socket", "Name smsd's own socket in SMSD_SOCKET.")]
    text = f"{path}, {_who_may(found)}"
    try:
        return _listener(path), [ok("socket", text)]
    except PermissionError:
        return None, [fail("socket", f"{text}; you may not", "sudo usermod -aG GROUP $USER, then log in anew.")]
    except OSError as error:
        return None, [fail("socket", f"{text}; nobody listens ({error.strerror})", START)]


def _who_may(found: os.stat_result) -> str:
    mode = stat.S_IMODE(found.st_mode)
    may = [_name(found.st_uid)]
    if mode & 0o020:
        may.append(f"group {_group(found.st_gid)}")
    if mode & 0o002:
        may.append("everybody")
    return f"mode {mode:04o}: {', '.join(may)} may connect"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _listener(path: str) -> int:
    """The process that called listen(2) (SO_PEERCRED, socket(7)). Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PATIENCE_S)
        probe.connect(path)
        pid, _, _ = struct.unpack("iII", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)


def http_address(host: str, port: int) -> list[Finding]:
    """Of one address of [http] listen. Port 0 is any free one, which only the daemon's log tells."""
    if port == 0:
        return [skip("http", f"{host} has port 0: the daemon's log says which one it got")]
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - the address is compared, not bound
    return http_door(f"http://{f'[{reached}]' if ':' in reached else reached}:{port}")


def http_door(url: str) -> list[Finding]:
    """Whether the daemon lives and is ready, by the routes that need no token."""
    try:
        status, health = _get(url, "/healthz")
        if status != http.client.OK or health.get("status") != "ok":
            return [fail("http", f"{url}/healthz answers {status}", "Another program has the port: ss -ltnp")]
        status, ready = _get(url, "/readyz")
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return [fail("http", f"{url} does not answer ({why})", "See [http] listen and the daemon's log.")]
    findings = [ok("http", f"{url} answers")]
    if status == http.client.OK:
        return [*findings, ok("ready", "accepts messages and can send")]
    told = ready.get("reasons")
    reasons = told if isinstance(told, list) and told else [f"/readyz answers {status}"]
    return [
        *findings,
        *(warn("ready", str(reason), "smsd providers; smsd queue; the daemon's log") for reason in reasons),
    ]


def _get(url: str, path: str) -> tuple[int, dict[str, object]]:
    """Raises OSError, ValueError, HTTPException."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", parts.path.rstrip("/") + path)
        answer = connection.getresponse()
        document = json.loads(answer.read(MAX_BYTES))
        return answer.status, document if isinstance(document, dict) else {}
    finally:
        connection.close()
