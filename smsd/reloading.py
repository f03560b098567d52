"""How does another configuration come to count without a restart?

The file is read and judged whole before anything changes; a faulty one changes nothing. Then the engine, the HTTP door
and the log are told, in this order, without a dropped connection or message. One reload at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import structlog

from smsd import config, logs
from smsd.assembly import access_of, plan_of, running
from smsd.clock import Clock
from smsd.config import Config, ConfigError
from smsd.config.values import ProviderConfig
from smsd.core.events import Kind
from smsd.engine.bus import Bus
from smsd.engine.engine import Engine
from smsd.engine.service import Reloaded, ReloadRefusedError
from smsd.listeners.http.door import HttpDoor
from smsd.notify import Notifier

log = structlog.get_logger("smsd.reload")


class Reloader:
    """Reads one file again. `config` is what is in force."""

    def __init__(
        self,
        path: Path,
        present: Config,
        clock: Clock,
        bus: Bus,
        engine: Engine,
        http: HttpDoor,
        written: logs.Logs,
        notifier: Notifier,
    ) -> None:
        self._path = path
        self.config = present
        self._clock = clock
        self._bus = bus
        self._engine = engine
        self._http = http
        self._logs = written
        self._notifier = notifier
        self._turn = asyncio.Lock()

    async def reload(self) -> Reloaded:
        """Read the file and let it count. Raises ReloadRefusedError with every fault of the file, StoreError when the
        outbox cannot be read; the old settings then stay."""
        async with self._turn:
            with self._notifier.reloading():
                done = await self._apply(await self._read())
        changed, restart = [*done.changed], [*done.restart]
        self._bus.publish(Kind.CONFIG_RELOADED, self._clock.wall(), changed=changed, restart=restart)
        for warning in done.warnings:
            log.warning(warning)
        return done

    async def _read(self) -> Config:
        try:
            # In a thread: the group database may be on the network.
            return await asyncio.to_thread(config.load, self._path)
        except ConfigError as error:
            faults = tuple((fault.path, fault.message) for fault in error.faults)
            told = [f"{path}: {message}" for path, message in faults]
            self._bus.publish(Kind.CONFIG_REJECTED, self._clock.wall(), faults=told)
            raise ReloadRefusedError(faults) from error

    async def _apply(self, new: Config) -> Reloaded:
        old = self.config
        changes = config.compare(old, new)
        await self._engine.reconfigure(plan_of(new), partial(self._also, new))
        return Reloaded(changes.changed, changes.restart, (*new.warnings, *self._stranded()))

    def _also(self, new: Config) -> None:
        """What counts from the moment on at which the engine's plan does."""
        self._http.change(access_of(new), max_body=new.http.max_body)
        self._logs.change(level=new.logging.level, form=new.logging.format, redact=new.logging.redact)
        self.config = running(self.config, new)

    def _stranded(self) -> tuple[str, ...]:
        return tuple(stranded_text(route, self.config.providers) for route in self._engine.stranded())


def stranded_text(route: str, providers: Iterable[ProviderConfig]) -> str:
    """Why nobody carries the messages of this route (names with commas between them), and what becomes of them."""
    names = route.split(",")
    disabled = [each.name for each in providers if each.name in names and not each.enabled]
    if disabled:
        return f"messages wait for a disabled provider: {' or '.join(disabled)}; they expire unless it is enabled"
    gone = " or ".join(names)
    return f"messages wait for a provider that is not configured any more: {gone}; they expire unless it comes back"
