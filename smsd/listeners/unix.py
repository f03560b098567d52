"""How do local programs reach the daemon?

A Unix socket: who may connect is said by the mode and group of its file, who connected by the kernel (SO_PEERCRED and
SO_PEERGROUPS, as they were when it connected), never by the client. The door knows its clients by uid and keeps each
uid within bounds: above 1,024 connections the longest idle one is closed, above 64 MiB held who holds most is dropped.
What a client says and is answered is known by `connection`. No bytes of a client ever end the daemon.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import os
import socket
import stat
import struct
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from smsd.engine.service import Service
from smsd.listeners.connection import Connection, Limits
from smsd.listeners.operations import Caller, Scope

log = structlog.get_logger("smsd.socket")

BACKLOG = 512
SO_PEERGROUPS = 59
"""Linux: all groups of the peer (socket(7) names only SO_PEERCRED; include/uapi/asm-generic/socket.h)."""

GROUP_BYTES = 1_024
"""256 groups of 4 bytes: the most that Python's getsockopt takes."""


@dataclass(frozen=True, slots=True)
class Peers:
    """Who has which role. Ids, not names: the loop never asks the name service."""

    own_uid: int
    admin_gid: int | None

    def caller(self, uid: int, groups: Iterable[int]) -> Caller:
        """root, the daemon's user and the admin group may do everything; others send and read their own."""
        admin = uid in {0, self.own_uid} or (self.admin_gid is not None and self.admin_gid in groups)
        scopes = frozenset(Scope) if admin else frozenset({Scope.SEND, Scope.READ})
        return Caller(f"uid {uid}", f"local:{uid}", scopes, everyone=admin)


def peer_of(connection: socket.socket) -> tuple[int, list[int]]:
    """The peer's uid and all its groups, as they were when it connected. Of a peer in more than 256 supplementary
    groups only the primary one is known: it may be less than it should, never more."""
    _, uid, gid = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    groups = array.array("I")
    try:
        groups.frombytes(connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, GROUP_BYTES))
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise
        log.warning("a client is in more groups than can be read; only its primary one counts", uid=uid)
    return uid, [gid, *groups]


@dataclass(slots=True)
class _Clients:
    """The connections of one uid, the longest idle first."""

    connections: OrderedDict[Connection, None] = field(default_factory=OrderedDict)
    held: int = 0
    crowded: bool = False
    """The log was told that there are too many."""


class UnixDoor:
    """The listening socket and its clients."""

    def __init__(self, service: Service, peers: Peers, limits: Limits | None = None) -> None:
        self.service = service
        self.limits = limits or Limits()
        self.under_way = 0
        self.peers = peers
        self._clients: dict[int, _Clients] = {}
        self._servers: list[asyncio.AbstractServer] = []
        self._empty = asyncio.Event()
        self._closing = False

    async def listen(self, sockets: Iterable[socket.socket]) -> None:
        """Serve on sockets that are bound already."""
        loop = asyncio.get_running_loop()
        for each in sockets:
            server = await loop.create_unix_server(self._connection, sock=each, backlog=BACKLOG)
            self._servers.append(server)

    def _connection(self) -> Connection:
        return Connection(self)

    # -- the connections' calls ---------------------------------------------------------------------------------------

    @property
    def connections(self) -> int:
        """How many clients are connected, or gone with something under way."""
        return sum(len(each.connections) for each in self._clients.values())

    def joined(self, connection: Connection) -> Caller:
        """See connection.Host. Above the bound the longest idle one of the same uid is closed."""
        connection.uid, groups = peer_of(connection.transport.get_extra_info("socket"))
        mine = self._clients.setdefault(connection.uid, _Clients())
        mine.connections[connection] = None
        if len(mine.connections) > self.limits.connections:
            if not mine.crowded:
                log.warning("too many connections; the longest idle ones are closed", uid=connection.uid)
            mine.crowded = True
            idle = next((each for each in mine.connections if not each.busy), connection)
            del mine.connections[idle]
            idle.abort()
        if self._closing:  # the system had connected it before the door was shut
            asyncio.get_running_loop().call_soon(connection.end)
        return self.peers.caller(connection.uid, groups)

    def active(self, connection: Connection) -> None:
        """See connection.Host."""
        mine = self._clients.get(connection.uid)
        if mine is not None and connection in mine.connections:
            mine.connections.move_to_end(connection)

    def holds(self, connection: Connection, change: int) -> None:
        """See connection.Host. Above the bound who holds most of the same uid is dropped."""
        mine = self._clients.get(connection.uid)
        if mine is not None:
            mine.held += change
            if mine.held > self.limits.held and change > 0:
                self._relieve(mine)

    def _relieve(self, mine: _Clients) -> None:
        """Drop who holds most until half of the bound is free, so that this is not done again at once."""
        mine.held += sum(each.measure() for each in mine.connections)
        if mine.held <= self.limits.held:
            return
        left = mine.held
        for each in sorted(mine.connections, key=lambda each: each.held, reverse=True):
            if left <= self.limits.held // 2:
                break
            left -= each.held
            each.drop("too much is held for its uid")

    def left(self, connection: Connection) -> None:
        """See connection.Host."""
        mine = self._clients.get(connection.uid)
        if mine is not None:
            mine.connections.pop(connection, None)
            if len(mine.connections) <= self.limits.connections // 2:
                mine.crowded = False
            if not mine.connections:
                del self._clients[connection.uid]
        if not self._clients:
            self._empty.set()

    # -- the end ------------------------------------------------------------------------------------------------------

    def stop_listening(self) -> None:
        """Connect no one any more; those connected are still answered."""
        for server in self._servers:
            server.close()

    async def close(self, timeout_s: float = 2.0) -> None:
        """Let every owed answer out, then close all connections. Idempotent."""
        self.stop_listening()
        self._closing = True
        for connection in self.everyone():
            connection.end()
        if self._clients:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), timeout_s)
        for connection in self.everyone():
            connection.abort()

    def everyone(self) -> list[Connection]:
        """All connections, those included that are gone with something under way."""
        return [connection for mine in self._clients.values() for connection in mine.connections]


# -- the socket file --------------------------------------------------------------------------------------------------


def bind(path: Path, mode: int, gid: int | None) -> socket.socket:
    """A socket bound to a file with the given mode and group, at no moment more open than that. Raises OSError with a
    remedy in its text.

    A file left by a daemon that died is replaced; one that somebody answers on is not.
    """
    _remove_stale(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        _bind_closed(bound, path)
        _open_to(path, mode, gid)
    except OSError:
        bound.close()
        raise
    return bound


def _bind_closed(bound: socket.socket, path: Path) -> None:
    """The file appears without any permission, whatever the umask."""
    before = os.umask(0o777)
    try:
        bound.bind(os.fspath(path))
    except OSError as error:
        raise OSError(error.errno, f"cannot bind {path} ({error}): set another [socket] path") from error
    finally:
        os.umask(before)


def _open_to(path: Path, mode: int, gid: int | None) -> None:
    try:
        if gid is not None:
            os.chown(path, -1, gid)
        path.chmod(mode)
    except OSError as error:
        path.unlink(missing_ok=True)
        text = f"cannot give {path} to group {gid} ({error.strerror}): make smsd's user a member of [socket] group"
        raise OSError(error.errno, text) from error


def _remove_stale(path: Path) -> None:
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise FileExistsError(
            errno.EEXIST, f"{path} exists and is not a socket: remove it or set another [socket] path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # its queue of new connections is full, so somebody is there
        except OSError as error:
            text = f"{path} exists and cannot be tried ({error.strerror}): remove it or set another [socket] path"
            raise OSError(error.errno, text) from error
    raise FileExistsError(errno.EEXIST, f"another program answers on {path}: stop it or set another [socket] path")
