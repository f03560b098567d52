"""Where is the daemon's socket, and why does nobody answer there?

The path: the argument, else $SMSD_SOCKET, else /run/smsd/smsd.sock, else ./smsd-dev/smsd.sock when it exists. Whoever
may not or cannot connect is told what to do about it. Nothing is said to the daemon here.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from smsd.client.errors import NotAllowed, QueueUnavailable, SmsdError

SYSTEM_SOCKET: Final = "/run/smsd/smsd.sock"
DEV_SOCKET: Final = "smsd-dev/smsd.sock"
"""Where `smsd run --dev` listens, below the directory it was started in."""


def socket_path(given: str | os.PathLike[str] | None = None) -> str:
    """The path of the daemon's socket, found as this module says."""
    chosen = given if given is not None else os.environ.get("SMSD_SOCKET")
    if chosen:
        return os.fspath(chosen)
    if not os.path.exists(SYSTEM_SOCKET) and os.path.exists(DEV_SOCKET):  # noqa: PTH110 - pathlib costs `smsd send` its start
        return DEV_SOCKET
    return SYSTEM_SOCKET


def no_connection(path: str, error: OSError) -> SmsdError:
    """Why nobody answers there, and what to do about it."""
    start = "Start the daemon (systemctl start smsd, or `smsd run --dev` to try it), or name its socket in SMSD_SOCKET."
    if isinstance(error, PermissionError):
        remedy = "Join the group, then log in anew: sudo usermod -aG GROUP $USER"
        return NotAllowed("not_allowed", f"You may not connect to {path}{_owner(path)}.", remedy=remedy)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return QueueUnavailable("unreachable", f"smsd does not run here: there is no {path}.", remedy=start)
    if str(error) == "AF_UNIX path too long":
        remedy = "Use a path of at most 107 bytes (unix(7)), or a relative one."
        return QueueUnavailable("unreachable", f"{path} is too long for a socket's path.", remedy=remedy)
    if not _is_socket(path):
        return QueueUnavailable("unreachable", f"{path} is not a socket.", remedy="Point SMSD_SOCKET at smsd's socket.")
    if isinstance(error, ConnectionRefusedError):
        message = f"Nothing listens on {path}: the daemon was stopped or has died."
        return QueueUnavailable("unreachable", message, remedy=start)
    return QueueUnavailable("unreachable", f"Cannot connect to {path}: {error.strerror or error}.", remedy=start)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)  # noqa: PTH116 - pathlib costs `smsd send` its start
    except OSError:
        return True


def _owner(path: str) -> str:
    """` (group smsd, mode 0660)` when that can be seen."""
    import grp

    try:
        found = os.stat(path)  # noqa: PTH116 - pathlib costs `smsd send` its start
        return f" (group {grp.getgrgid(found.st_gid).gr_name}, mode {stat.S_IMODE(found.st_mode):04o})"
    except (OSError, KeyError):
        return ""
