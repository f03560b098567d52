"""Is the daemon alive, all of it?

Feeds systemd's watchdog, and only while the event loop, the outbox's writer and the dispatcher all are: a process that
still answers and sends nothing is worse than one that is restarted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from smsd import notify
from smsd.store import StoreError

log = structlog.get_logger("smsd.watch")

STATUS_S = 10.0
"""How often `systemctl status` is told how things are, and the watchdog's proofs are looked at, at least."""

TICK_MAX_US = 45_000_000
"""The dispatcher looks at least every 30 s; later than this it is stuck."""


class Watch:
    """Feeds systemd's watchdog while the loop, the outbox's writer and the dispatcher are all alive.

    `beat` returns when the outbox has committed something; `unlooked_us` tells how long the dispatcher has not looked.
    """

    def __init__(
        self,
        notifier: notify.Notifier,
        beat: Callable[[], Awaitable[None]],
        unlooked_us: Callable[[], int],
        status: Callable[[], str],
    ) -> None:
        self._notifier = notifier
        self._beat = beat
        self._unlooked_us = unlooked_us
        self._status = status

    async def run(self) -> None:
        """Until cancelled. Never raises: whoever is watched must not die of it."""
        usec = self._notifier.watchdog_usec
        pause = STATUS_S if usec is None else min(STATUS_S, usec / 4e6)
        while True:
            await asyncio.sleep(pause)
            try:
                await self.look()
            except Exception:
                log.exception("the watch met a fault of the daemon")

    async def look(self) -> None:
        """One proof of life; a full disk is no reason to be ended, a dispatcher that does not look is."""
        try:
            await self._beat()
        except StoreError as error:
            log.warning("the outbox's heartbeat failed", error=str(error))
        stuck = self._unlooked_us()
        if stuck > TICK_MAX_US:
            log.critical("the dispatcher is stuck", seconds=stuck // 1_000_000)
            return
        self._notifier.watchdog()
        self._notifier.status(self._status())
