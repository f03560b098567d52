"""How are bytes brought to an address of the network and back, each until a deadline?

Name, TCP, TLS, and a socket whose every read and write keeps to the deadline of the call under way: http.client's own
timeout is one for each piece, and a peer that drips would be waited for without end. Certificates are verified as
Python's default context does (SSL_CERT_FILE names other authorities). What is said is not known here.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import threading
import time
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from smsd.client.errors import QueueUnavailable
from smsd.client.link import end, left
from smsd.client.loss import LateError

if TYPE_CHECKING:
    from ssl import SSLContext

LOOKUPS: Final = threading.BoundedSemaphore(16)
"""Look-ups of names under way; each has a thread of its own, because the resolver cannot be told to give up."""

Address = tuple[int, int, int, tuple[Any, ...]]
"""Family, type, protocol, address, as getaddrinfo gives them."""


class Peer(NamedTuple):
    """Where to connect. `port`: None for the scheme's own."""

    host: str
    given_port: int | None
    tls: bool

    @property
    def port(self) -> int:
        return self.given_port or (443 if self.tls else 80)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Wire:
    """A connection. `deadline`: the time.monotonic() value until which reads and writes may take; `written`: a request
    is on it whose answer has not been read whole."""

    def __init__(self, peer: Peer, deadline: float) -> None:
        """Raises QueueUnavailable, LateError."""
        self.deadline = deadline
        self.written = False
        self._socket = _connect(peer, deadline)

    def fileno(self) -> int:
        return self._socket.fileno()

    def sendall(self, data: bytes) -> None:
        """For http.client."""
        self._socket.settimeout(left(self.deadline))
        self._socket.sendall(data)

    def recv_into(self, buffer: Any) -> int:
        """Some bytes into a writable buffer (typing has no name for one before Python 3.12); 0 at the end."""
        self._socket.settimeout(left(self.deadline, self.written))
        return self._socket.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        """For http.client, which reads each answer through one."""
        return io.BufferedReader(_Reading(self), 65_536)

    def abort(self) -> None:
        """End it from another thread."""
        end(self._socket)

    def close(self) -> None:
        self._socket.close()


class _Reading(io.RawIOBase):
    """Closing it leaves the connection open: http.client closes one with each answer."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._wire.recv_into(buffer)


class Connection(http.client.HTTPConnection):
    """HTTP/1.1 on a Wire. It never connects by itself; `sock` is None once the server said it will close."""

    auto_open = 0
    sock: Any

    def __init__(self, peer: Peer, wire: Wire) -> None:
        super().__init__(peer.host, peer.port)
        self.default_port = 443 if peer.tls else 80  # then `Host` names no port
        self.sock = _Borrowed(wire)


class _Borrowed:
    """The wire as http.client sees it, which would close it before the last answer is read; its owner closes it."""

    def __init__(self, wire: Wire) -> None:
        self.sendall = wire.sendall
        self.makefile = wire.makefile

    def close(self) -> None:
        """Nothing: see above."""


def _connect(peer: Peer, deadline: float) -> socket.socket:
    """The first address that answers."""
    failure: OSError | None = None
    for family, kind, protocol, address in _addresses(peer, deadline):
        try:
            connection = socket.socket(family, kind, protocol)
        except OSError as error:
            failure = error
            continue
        try:
            connection.settimeout(left(deadline))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return _secured(connection, peer, deadline) if peer.tls else connection
        except TimeoutError:
            connection.close()
            raise LateError(written=False) from None
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
    raise _no_connection(peer, failure)


def _secured(connection: socket.socket, peer: Peer, deadline: float) -> socket.socket:
    connection.settimeout(left(deadline))
    return _context().wrap_socket(connection, server_hostname=peer.host)


@cache
def _context() -> SSLContext:
    """One for the process: reading the authorities takes some 20 ms."""
    import ssl

    return ssl.create_default_context()


def _no_connection(peer: Peer, error: OSError | None) -> QueueUnavailable:
    """Why nobody answers there, and what to do about it."""
    if isinstance(error, ConnectionRefusedError):
        message = f"Nothing listens on {peer}: the daemon does not run, or not there."
        return QueueUnavailable("unreachable", message, remedy="Compare SMSD_URL with `listen` in the daemon's [http].")
    why = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or error
    if getattr(error, "verify_code", None) is not None:  # ssl.SSLCertVerificationError, without importing ssl for http
        remedy = "Use the name the certificate is for; SSL_CERT_FILE names a file of other authorities."
        return QueueUnavailable("unreachable", f"The certificate of {peer} is not valid: {why}.", remedy=remedy)
    remedy = "Check SMSD_URL, and whether it begins with http:// or https://."
    return QueueUnavailable("unreachable", f"Cannot connect to {peer}: {why}.", remedy=remedy)


def _addresses(peer: Peer, deadline: float) -> list[Address]:
    """Those of the peer's name. Raises QueueUnavailable, LateError."""
    try:
        ipaddress.ip_address(peer.host)
    except ValueError:
        found = _looked_up(peer, deadline)
    else:
        found = _resolve(peer)
    if isinstance(found, OSError):
        message = f"The name {peer.host} is not known: {found.strerror or found}."
        raise QueueUnavailable("unreachable", message, remedy="Check the host in SMSD_URL, and the machine's resolver.")
    return found


def _resolve(peer: Peer) -> list[Address] | OSError:
    try:
        found = socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
    except OSError as error:
        return error
    except UnicodeError:  # a label of more than 63 letters
        return OSError("it is no host's name")
    return [(family, kind, protocol, address) for family, kind, protocol, _, address in found]


def _looked_up(peer: Peer, deadline: float) -> list[Address] | OSError:
    """The same in a thread of its own. One that is late goes on and is not waited for."""
    if not LOOKUPS.acquire(timeout=left(deadline)):
        raise LateError(written=False)
    found: list[list[Address] | OSError] = []

    def look() -> None:
        try:
            found.append(_resolve(peer))
        finally:
            LOOKUPS.release()

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(max(0.0, deadline - time.monotonic()))
    if not found:
        raise LateError(written=False)
    return found[0]
