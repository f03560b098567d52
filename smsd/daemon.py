"""How is the daemon put together, and how does its life go?

The composition root: the only module, with `config`, that names concrete things. Built and started in order (log,
engine with its outbox, doors, readiness), stopped in reverse; half a start is undone. SIGTERM and SIGINT drain: no new
work, calls in flight end and are settled, the outbox is checkpointed, exit 0; a second signal ends at once, and the
attempts still open are uncertain at the next start. SIGHUP, or the operation `reload`, reads the configuration again: a
faulty one changes nothing. A broken outbox ends the process with a failure, so that systemd
starts it anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import gc
import os
import random
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import structlog
import uuid_utils
import uvloop

from smsd import __version__, boot, config, logs, notify
from smsd.assembly import access_of, plan_of
from smsd.clock import SystemClock
from smsd.config import Config, ConfigError
from smsd.core.events import Kind
from smsd.core.health import Standing
from smsd.engine.auditing import Act
from smsd.engine.bus import Bus
from smsd.engine.engine import Engine
from smsd.engine.exchange import Exchange
from smsd.engine.service import Reloaded, ReloadRefusedError
from smsd.engine.snapshots import Snapshots
from smsd.listeners.auditing import SIGNAL, code_of
from smsd.listeners.http.door import HttpDoor
from smsd.listeners.unix import Peers, UnixDoor, bind
from smsd.reloading import Reloader
from smsd.store import StoreError
from smsd.store.sqlite import SqliteOutbox
from smsd.watch import Watch
from smsd.welcome import welcome

log = structlog.get_logger("smsd.daemon")

EX_OK = 0
EX_SOFTWARE = 70
EX_OSERR = 71
EX_IOERR = 74
EX_TEMPFAIL = 75
EX_CONFIG = 78

SYSTEM_CONFIG = Path("/etc/smsd/config.toml")

COLLECT_AFTER = (20_000, 20, 50)
"""Garbage is collected after so many new objects (Python: 700). Messages make hundreds each and next to no cycles;
looking for them at Python's pace took 7 % of the daemon's time."""

SWITCH_S = 0.0005
"""How long the outbox's thread, back from a sync, waits for the interpreter while the loop is busy. At Python's 5 ms
every commit under load took ten times as long as its sync."""


class Daemon:
    """One running smsd."""

    def __init__(self, settings: Config, written: logs.Logs, path: Path | None) -> None:
        """`path`: where the configuration was read; None: it is embedded (run --dev), and newcomers are greeted."""
        self._config = settings
        self._path = path
        self._greet = path is None
        self._logs = written
        self._clock = SystemClock()
        self._bus = Bus()
        self._notifier = notify.Notifier()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._signals = 0
        self._reloads: set[asyncio.Task[None]] = set()
        self._full = False
        self._ready = False
        self._draining = False
        self._exchange = Exchange()
        self._store = self._outbox()
        self._engine = Engine(
            plan_of(settings),
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
            on_commit=self._committed,
        )

    def _fail(self, error: BaseException) -> None:
        """Something that must not end has ended: so does the process, with a failure."""
        if self._failure is None:
            self._failure = error
            self._bus.publish(Kind.OUTBOX_BROKEN, self._clock.wall(), error=str(error))
        self._stop.set()

    def _committed(self, seconds: float, rows: int) -> None:
        self._engine.meters.committed(seconds, rows)

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
                story = welcome(self._bus, self._config.socket.path, self._url())
                greeting = asyncio.get_running_loop().create_task(story)
                stack.callback(greeting.cancel)
            await self._stop.wait()
            await self._drain()
        self._notifier.close()
        return EX_SOFTWARE if self._failure is not None else EX_OK

    async def _stop_engine(self) -> None:
        await self._engine.stop(orderly=self._failure is None)

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        self._bus.subscribe(self._logs.events)
        await self._exchange.start()
        stack.push_async_callback(self._exchange.close)
        stack.push_async_callback(self._stop_engine)
        await self._engine.start()
        self._ready = True
        self._engine.service.store_full = self._full
        service = self._engine.service
        service.snapshots = Snapshots(self._store, self._config.daemon.state_dir)
        stack.callback(service.snapshots.close)
        handed = notify.HandedOver(notify.listen_fds())
        self._door = UnixDoor(service, self._peers())
        stack.push_async_callback(self._door.close)
        await self._door.listen(handed.local or [self._own_socket(stack)])
        http = self._http = HttpDoor(
            service, self._engine.unready, access_of(self._config), max_body=self._config.http.max_body
        )
        stack.push_async_callback(http.close)
        await self._listen(http, handed)
        if self._path is not None:
            reloader = Reloader(
                self._path, self._config, self._clock, self._bus, self._engine, http, self._logs, self._notifier
            )
            service.reloader = functools.partial(self._reload, reloader)
        watch = Watch(self._notifier, self._beat, self._unlooked_us, self._status)
        watching = asyncio.get_running_loop().create_task(watch.run())
        stack.callback(watching.cancel)
        gc.collect()
        gc.freeze()  # what lives as long as the daemon need not be walked at every collection
        gc.set_threshold(*COLLECT_AFTER)
        self._tell_ready(http)

    async def _reload(self, reloader: Reloader) -> Reloaded:
        """Read the configuration again. Raises ReloadRefusedError, StoreError; the old settings then stay."""
        if self._draining:
            raise ReloadRefusedError((("", "smsd is shutting down; the next start reads the file"),))
        done = await reloader.reload()
        self._config = reloader.config
        return done

    def _hung_up(self) -> None:
        """SIGHUP. What is wrong stands in the log; nobody waits for an answer."""
        task = asyncio.get_running_loop().create_task(self._reload_on_signal())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload_on_signal(self) -> None:
        reload = self._engine.service.reloader if self._ready else None
        if reload is None:
            log.warning("SIGHUP: there is no configuration file to read again, or not yet")
            return
        auditing = self._engine.service.office.auditing
        try:
            await auditing.recorded(Act(SIGNAL, "", "reload"), reload, code_of)
        except ReloadRefusedError:
            return  # told by the event
        except Exception:
            log.exception("the configuration was read and could not be applied; the old settings count")

    async def _listen(self, http: HttpDoor, handed: notify.HandedOver) -> None:
        """A taken port is a fault, but not for a newcomer who tries `run --dev` beside something else."""
        addresses = [(each.host, each.port) for each in self._config.http.listen]
        kept, strays = handed.of(addresses)
        for stray in strays:
            log.error("a socket unit listens where [http] listen does not: name it there, or stop it", at=stray)
        try:
            await http.listen([each for each in addresses if each not in kept], kept.values())
        except OSError as error:
            if not self._greet or error.errno != errno.EADDRINUSE:
                raise
            log.warning("the HTTP port is taken; health is answered on another one", error=str(error))
            await http.listen([(host, 0) for host, _ in addresses])

    def _peers(self) -> Peers:
        group = self._config.socket.admin_group
        return Peers(os.getuid(), None if group is None else group.gid)

    def _own_socket(self, stack: contextlib.AsyncExitStack) -> socket.socket:
        """One of our own, whose file goes when it does."""
        door = self._config.socket
        own = bind(door.path, door.mode, None if door.group is None else door.group.gid)
        stack.callback(door.path.unlink, missing_ok=True)
        return own

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

    def _url(self) -> str:
        """Where HTTP is answered, for a newcomer to copy."""
        host, port = self._http.addresses[0]
        return f"http://{host}:{port}"

    def _handle_signals(self) -> Callable[[], None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)

        def undo() -> None:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
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
        self._http.stop_listening()
        try:
            await self._end_calls()
        finally:
            # Whoever waits for something to happen waits in vain now; the doors close when they have answered.
            self._engine.stream.close()
            self._engine.watchers.close()

    async def _end_calls(self) -> None:
        if isinstance(self._failure, StoreError):
            return
        self._bus.publish(Kind.DAEMON_DRAINING, self._clock.wall(), in_flight=self._engine.way_out.dispatcher.in_flight)
        with self._notifier.extended():
            left = await self._engine.drain(self._config.daemon.drain_timeout_ms / 1e3)
        self._notifier.extend(notify.EXTENSION_USEC)  # for the last checkpoint, once: an end that hangs is cut short
        self._bus.publish(Kind.DAEMON_STOPPED, self._clock.wall(), open_attempts=left)

    # -- how it is ---------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        await self._store.beat(self._clock.wall())

    def _unlooked_us(self) -> int:
        """How long the dispatcher has not looked; while draining it has no more to look for."""
        waited_s = asyncio.get_running_loop().time() - self._engine.last_tick()
        return 0 if self._draining else int(waited_s * 1e6)

    def _status(self) -> str:
        lanes = self._engine.lanes.values()
        shut = [f"{lane.name} {lane.standing()}" for lane in lanes if lane.standing() is not Standing.OPEN]
        backlog = self._engine.tally.backlog
        sent = self._engine.tally.sent_last_minute()
        return f"{backlog} waiting, {sent} sent in the last minute" + (f"; {', '.join(shut)}" if shut else "")


def main(config_path: Path | None, dev: bool) -> int:
    """`smsd run`. Returns the exit code: 0 stopped as asked, 78 configuration, else a failure."""
    path = None if dev else (config_path or SYSTEM_CONFIG).absolute()
    try:
        settings = _settings(path)
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
        return uvloop.run(_run(settings, written, path))
    finally:
        written.close()


def _settings(path: Path | None) -> Config:
    if path is None:
        return config.embedded_dev(Path.cwd() / "smsd-dev")
    return config.load(path)


async def _run(settings: Config, written: logs.Logs, path: Path | None) -> int:
    return await Daemon(settings, written, path).run()
