"""What does systemd know of this process, and which sockets did it hand over?

The two small contracts of a Type=notify service: messages about its life (sd_notify(3)), sent as datagrams to
$NOTIFY_SOCKET, and listening sockets it was started with (sd_listen_fds(3)). It refuses to know when the daemon is
ready, healthy or stopping: `daemon` says so. Outside systemd every call does nothing, so that nobody has to ask.

Sending does not wait. systemd reads promptly; if it should not, a status line is lost and a missed watchdog message is
followed by the next one, which is better than an event loop that waits for PID 1. READY=1 comes once and systemd ends a
service that never says it, so that one waits, for a second at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator, MutableMapping
from typing import Final

from systemd_watchdog.systemd_watchdog import WatchDog

FIRST_FD: Final = 3
"""SD_LISTEN_FDS_START of sd_listen_fds(3)."""

READY_PATIENCE_S: Final = 1.0

EXTENSION_USEC: Final = 60_000_000
"""How much longer systemd is asked to wait, from each asking on."""

EXTEND_EVERY_S = 20.0
"""Between two askings: systemd gives up when none came within the time that the last one asked for."""

_VARIABLES: Final = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


class Notifier:
    """Tells systemd how the process is doing. Does nothing when `environ` names no NOTIFY_SOCKET.

    No method raises: an unreachable notify socket is counted in `lost` and never stops a daemon that sends texts.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._watchdog: WatchDog | None = None
        self.lost = 0
        """Messages that systemd did not take."""
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            self._watchdog = WatchDog(self._socket, self._address)
        self._stopping = False
        self.watchdog_usec = _watchdog_usec(environ) if self._address else None
        """systemd ends the process when no `watchdog()` arrives for this long (us); None: it does not watch."""

    def ready(self) -> None:
        """The start is over: doors are open, recovery is done."""
        if self._watchdog is not None and self._socket is not None:
            self._socket.settimeout(READY_PATIENCE_S)
            self._guard(self._watchdog.ready)
            self._socket.settimeout(0)

    def status(self, text: str) -> None:
        """One line for `systemctl status`. Line breaks become spaces: a second line would be read as a message."""
        line = " ".join(text.split())
        if self._watchdog is not None:
            watchdog = self._watchdog
            self._guard(lambda: watchdog.status(line))

    def watchdog(self) -> None:
        """The process is healthy; call it at least every half of `watchdog_usec`."""
        if self._watchdog is not None and self.watchdog_usec is not None:
            self._guard(self._watchdog.notify)

    def stopping(self) -> None:
        """The end has begun."""
        self._stopping = True
        self._send(b"STOPPING=1\n")

    def extend(self, usec: int) -> None:
        """The start or the end in progress needs up to `usec` microseconds more from now."""
        self._send(b"EXTEND_TIMEOUT_USEC=%d\n" % usec)

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """The configuration is being read again; systemd counts the service as reloading until the block ends
        (sd_notify(3): RELOADING=1 with the monotonic time, then READY=1)."""
        self._send(b"RELOADING=1\nMONOTONIC_USEC=%d\n" % (time.monotonic_ns() // 1_000))
        try:
            yield
        finally:
            if not self._stopping:
                self.ready()

    @contextlib.contextmanager
    def extended(self) -> Iterator[None]:
        """systemd's patience with the start or the end lasts as long as the block and the event loop live, and
        EXTENSION_USEC longer. Whoever enters the block bounds it: nothing here does."""
        self.extend(EXTENSION_USEC)
        asking = asyncio.get_running_loop().create_task(self._keep_asking())
        try:
            yield
        finally:
            asking.cancel()

    async def _keep_asking(self) -> None:
        while True:
            await asyncio.sleep(EXTEND_EVERY_S)
            self.extend(EXTENSION_USEC)

    def close(self) -> None:
        """Release the socket; later calls do nothing."""
        if self._socket is not None:
            self._socket.close()
        self._socket = self._watchdog = None

    def _send(self, message: bytes) -> None:
        """What systemd_watchdog has no word for."""
        sender = self._socket
        if sender is not None:
            self._guard(lambda: sender.sendto(message, self._address))

    def _guard(self, send: Callable[[], object]) -> None:
        try:
            send()
        except OSError:
            self.lost += 1


def _watchdog_usec(environ: MutableMapping[str, str]) -> int | None:
    """WATCHDOG_USEC if it is meant for this process (sd_watchdog_enabled(3))."""
    usec = environ.get("WATCHDOG_USEC", "")
    pid = environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(usec)


def listen_fds(environ: MutableMapping[str, str] = os.environ) -> list[tuple[str, socket.socket]]:
    """The listening sockets systemd passed to this process, as (FileDescriptorName, socket), in order.

    Empty when there are none or when they are meant for another process. The variables are removed, so that no child
    and no second call takes the same descriptors; the descriptors are made close-on-exec and non-blocking.
    Raises OSError when a descriptor that was announced is not an open socket.
    """
    count, pid, names = (environ.pop(name, "") for name in _VARIABLES)
    if not count.isdecimal() or pid != str(os.getpid()):
        return []
    labels = names.split(":") if names else []
    passed: list[tuple[str, socket.socket]] = []
    for index in range(int(count)):
        fd = FIRST_FD + index
        os.set_inheritable(fd, False)
        listener = socket.socket(fileno=fd)
        listener.setblocking(False)
        passed.append((labels[index] if index < len(labels) else "unknown", listener))
    return passed


class HandedOver:
    """Those sockets, sorted: systemd keeps them open while the daemon restarts, so that nobody is refused."""

    def __init__(self, sockets: Iterable[tuple[str, socket.socket]]) -> None:
        passed = [each for _, each in sockets]
        self.local = [each for each in passed if each.family == socket.AF_UNIX]
        self._others = [each for each in passed if each.family != socket.AF_UNIX]

    def of(self, addresses: Collection[tuple[str, int]]) -> tuple[dict[tuple[str, int], socket.socket], list[str]]:
        """Those that listen on one of these (host, port) pairs, and where the others listen, which are closed: whoever
        connects there waits in vain."""
        found: dict[tuple[str, int], socket.socket] = {}
        strays: list[str] = []
        for each in self._others:
            host, port = each.getsockname()[:2]
            if (host, port) in addresses:
                found[host, port] = each
            else:
                each.close()
                strays.append(f"{host}:{port}")
        return found, strays
