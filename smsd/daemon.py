"""How is the daemon put together, and how does its life go?

The composition root: the only module, with `config`, that names concrete things. Built and started in order (log,
engine with its outbox, doors, readiness), stopped in reverse; half a start is undone. SIGTERM and SIGINT drain: no new
work, calls in flight end and are settled, the outbox is checkpointed, exit 0; a second signal ends at once, and the
attempts still open are uncertain at the next start. A broken outbox ends the process with a failure, so that systemd
starts it anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import random
import signal
import socket
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import structlog
import uuid_utils
import uvloop

from smsd import __version__, boot, config, logs, notify
from smsd.clock import SystemClock
from smsd.config import Config, ConfigError
from smsd.core.events import Kind
from smsd.core.health import Standing
from smsd.engine.bus import Bus
from smsd.engine.engine import Engine, Plan
from smsd.engine.exchange import Exchange
from smsd.engine.lane import Setting
from smsd.engine.settler import RetryBook
from smsd.listeners.http import HttpDoor
from smsd.listeners.unix import Peers, UnixDoor, bind
from smsd.store import StoreError
from smsd.store.sqlite import SqliteOutbox
from smsd.welcome import welcome

log = structlog.get_logger("smsd.daemon")

EX_OK = 0
EX_SOFTWARE = 70
EX_OSERR = 71
EX_IOERR = 74
EX_TEMPFAIL = 75
EX_CONFIG = 78

COLLECT_AFTER = (20_000, 20, 50)
"""Garbage is collected after so many new objects (Python: 700). Messages make hundreds each and next to no cycles;
looking for them at Python's pace took 7 % of the daemon's time."""

SWITCH_S = 0.0005
"""How long the outbox's thread, back from a sync, waits for the interpreter while the loop is busy. At Python's 5 ms
every commit under load took ten times as long as its sync."""

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


class Daemon:
    """One running smsd."""

    def __init__(self, settings: Config, written: logs.Logs, *, greet: bool = False) -> None:
        self._config = settings
        self._greet = greet
        self._logs = written
        self._clock = SystemClock()
        self._bus = Bus()
        self._notifier = notify.Notifier()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._signals = 0
        self._full = False
        self._ready = False
        self._draining = False
        self._exchange = Exchange()
        self._store = self._outbox()
        self._engine = Engine(
            self._plan(),
            self._store,
            self._exchange,
            self._clock,
            self._bus,
            random.random,
            lambda: str(uuid_utils.uuid7()),
            self._fail,
        )

    # -- parts -------------------------------------------------------------------------------------------------------

    def _outbox(self) -> SqliteOutbox:
        state, outbox = self._config.daemon, self._config.outbox
        return SqliteOutbox(
            state.state_dir / "outbox.db",
            synchronous=outbox.synchronous,
            boot_token=boot.token(state.runtime_dir),
            boot_us=self._clock.boot,
            floor_bytes=outbox.min_free,
            ballast_bytes=outbox.ballast,
            on_fatal=self._fail,
            on_full=self._filled,
        )

    def _plan(self) -> Plan:
        settings = [
            (Setting(each.name, each.adapter, each.rules, each.needs_sender), each.enabled)
            for each in self._config.providers
        ]
        return Plan(
            settings=tuple(setting for setting, enabled in settings if enabled),
            retired=tuple(setting for setting, enabled in settings if not enabled),
            on_uncertain=self._config.retry.on_uncertain,
            rules=self._config.messages,
            retries=RetryBook(self._config.retry.default, self._config.retry.profiles),
            zone=_zone(self._config.daemon.timezone),
            max_backlog=self._config.outbox.max_backlog,
        )

    def _fail(self, error: BaseException) -> None:
        """Something that must not end has ended: so does the process, with a failure."""
        if self._failure is None:
            self._failure = error
            self._bus.publish(Kind.OUTBOX_BROKEN, self._clock.wall(), error=str(error))
        self._stop.set()

    def _filled(self, is_full: bool) -> None:
        """Also called while the outbox is opened, when there is no service yet to be told."""
        self._full = is_full
        if self._ready:
            self._engine.service.store_full = is_full
        self._bus.publish(Kind.OUTBOX_FULL if is_full else Kind.OUTBOX_RECOVERED, self._clock.wall())

    # -- life --------------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """From start to end; the exit code."""
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._handle_signals())
            try:
                with self._notifier.extended():  # a migration, or the replay of a long -wal, takes what it takes
                    await self._start(stack)
            except StoreError as error:
                log.critical("the outbox cannot be used", error=str(error))
                return EX_IOERR
            except OSError as error:
                log.critical("a door cannot be opened", error=str(error))
                return EX_OSERR
            if self._greet:
                greeting = asyncio.get_running_loop().create_task(welcome(self._bus, self._config.socket.path))
                stack.callback(greeting.cancel)
            await self._stop.wait()
            await self._drain()
        self._notifier.close()
        return EX_SOFTWARE if self._failure is not None else EX_OK

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        self._bus.subscribe(self._logs.events)
        await self._exchange.start()
        stack.push_async_callback(self._exchange.close)
        stack.push_async_callback(self._engine.stop)
        await self._engine.start()
        self._ready = True
        self._engine.service.store_full = self._full
        self._door = UnixDoor(self._engine.service, self._peers())
        stack.push_async_callback(self._door.close)
        await self._door.listen(self._sockets(stack))
        http = HttpDoor(self._engine.unready)
        stack.push_async_callback(http.close)
        await self._listen(http)
        watch = Watch(self._notifier, self._beat, self._unlooked_us, self._status)
        watching = asyncio.get_running_loop().create_task(watch.run())
        stack.callback(watching.cancel)
        gc.collect()
        gc.freeze()  # what lives as long as the daemon need not be walked at every collection
        gc.set_threshold(*COLLECT_AFTER)
        self._tell_ready(http)

    async def _listen(self, http: HttpDoor) -> None:
        """A taken port is a fault, but not for a newcomer who tries `run --dev` beside something else."""
        addresses = [(each.host, each.port) for each in self._config.http.listen]
        try:
            await http.listen(addresses)
        except OSError as error:
            if not self._greet or error.errno != errno.EADDRINUSE:
                raise
            log.warning("the HTTP port is taken; health is answered on another one", error=str(error))
            await http.listen([(host, 0) for host, _ in addresses])

    def _peers(self) -> Peers:
        group = self._config.socket.admin_group
        return Peers(os.getuid(), None if group is None else group.gid)

    def _sockets(self, stack: contextlib.AsyncExitStack) -> list[socket.socket]:
        """What systemd handed over and keeps, or a socket of our own, whose file goes when it does."""
        passed = [each for _, each in notify.listen_fds() if each.family == socket.AF_UNIX]
        if passed:
            return passed
        door = self._config.socket
        own = bind(door.path, door.mode, None if door.group is None else door.group.gid)
        stack.callback(door.path.unlink, missing_ok=True)
        return [own]

    def _tell_ready(self, http: HttpDoor) -> None:
        self._bus.publish(
            Kind.DAEMON_READY,
            self._clock.wall(),
            version=__version__,
            socket=str(self._config.socket.path),
            http=[f"{host}:{port}" for host, port in http.addresses],
            providers=list(self._engine.lanes),
            sqlite=sqlite3.sqlite_version,
        )
        self._notifier.ready()
        self._notifier.status(self._status())

    def _handle_signals(self) -> Callable[[], None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)

        def undo() -> None:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

        return undo

    def _signalled(self) -> None:
        self._signals += 1
        if self._signals > 1:
            self._logs.close(0.2)
            os._exit(EX_TEMPFAIL)
        self._stop.set()

    async def _drain(self) -> None:
        self._draining = True
        self._notifier.stopping()
        self._door.stop_listening()
        if isinstance(self._failure, StoreError):
            return
        self._bus.publish(Kind.DAEMON_DRAINING, self._clock.wall(), in_flight=self._engine.dispatcher.in_flight)
        with self._notifier.extended():
            left = await self._engine.drain(self._config.daemon.drain_timeout_ms / 1e3)
        self._notifier.extend(notify.EXTENSION_USEC)  # for the last checkpoint, once: an end that hangs is cut short
        self._bus.publish(Kind.DAEMON_STOPPED, self._clock.wall(), open_attempts=left)

    # -- how it is ---------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        await self._store.beat(self._clock.wall())

    def _unlooked_us(self) -> int:
        """How long the dispatcher has not looked; while draining it has no more to look for."""
        return 0 if self._draining else self._clock.boot() - self._engine.last_tick()

    def _status(self) -> str:
        lanes = self._engine.lanes.values()
        shut = [f"{lane.name} {lane.standing()}" for lane in lanes if lane.standing() is not Standing.OPEN]
        backlog = self._engine.tally.backlog
        sent = self._engine.tally.sent_last_minute()
        return f"{backlog} waiting, {sent} sent in the last minute" + (f"; {', '.join(shut)}" if shut else "")


def main(config_path: Path | None, dev: bool) -> int:
    """`smsd run`. Returns the exit code: 0 stopped as asked, 78 configuration, else a failure."""
    try:
        settings = _settings(config_path, dev)
    except ConfigError as error:
        sys.stderr.write(f"smsd: {error}\n")
        return EX_CONFIG
    written = logs.start(
        SystemClock(), level=settings.logging.level, form=settings.logging.format, redact=settings.logging.redact
    )
    sys.setswitchinterval(SWITCH_S)
    try:
        for warning in settings.warnings:
            log.warning(warning)
        return uvloop.run(_run(settings, written, greet=dev))
    finally:
        written.close()


def _settings(config_path: Path | None, dev: bool) -> Config:
    if dev:
        return config.embedded_dev(Path.cwd() / "smsd-dev")
    return config.load(config_path or Path("/etc/smsd/config.toml"))


def _zone(name: str) -> tzinfo:
    """The zone; UTC needs no time zone database."""
    return UTC if name == "UTC" else ZoneInfo(name)


async def _run(settings: Config, written: logs.Logs, *, greet: bool) -> int:
    return await Daemon(settings, written, greet=greet).run()
