"""What is one run?

A seed is drawn into a configuration and a script; the world performs the script on the real engine over the real store,
through as many lives of the daemon as there are crashes and restarts, on one file, one clock, one network. At the end
there is peace: fair weather, room on the disk, every provider resumed. The engine has time to come to rest; then
everything is looked at once more and the invariants are asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any, cast

from structlog.testing import capture_logs

from smsd.core.acceptance import Origin
from smsd.core.events import Event, Kind
from smsd.core.health import Health
from smsd.core.message import FINAL, State
from smsd.core.receipt import Receipt, Status
from smsd.core.suppression import EVERY, Suppression
from smsd.core.units import rfc3339
from smsd.core.verdict import Category
from smsd.engine.bus import Bus
from smsd.engine.engine import Engine
from smsd.engine.explaining import Seen
from smsd.engine.intake import Accepted, Answer
from smsd.engine.service import Service
from smsd.providers.base import HookKind
from smsd.store import Query, StoreError
from smsd.store import statements as sql
from smsd.store.migrate import migrate
from smsd.store.rows import ATTEMPT_VIEW, MESSAGE_COLUMNS, attempt, message
from smsd.store.sqlite import SqliteOutbox
from smsd.store.statements import arrays, grouped
from tests.doubles.called import telling
from tests.simulation import config, governed, look, script, way_back
from tests.simulation.carrier import Network, Weather
from tests.simulation.clock import SimulatedClock
from tests.simulation.duty import Duty
from tests.simulation.faults import Disk, Links, watched
from tests.simulation.history import Call, History, Letter, Opening, Rested, Suppressed
from tests.simulation.loop import VirtualLoop
from tests.simulation.script import Act
from tests.simulation.way_back import Application, Report

FAR_MS = 20 * 86_400_000
"""What is to be sent later than this is still waiting at the end, and rightly so."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the daemon is made of; a deliberate bug is another part."""

    engine: type[Engine] = Engine
    outbox: type[SqliteOutbox] = SqliteOutbox
    patience_s: int = 3 * 86_400
    """How long peace may last before the run counts as stuck."""


SOUND = Parts()

REPEATED = ("recipient", "text", "tenant", "priority", "sender", "pin", "max_attempts", "key", "campaign", "user")
"""What a client says again when it repeats a submission, beside `send_at`."""

IDLE_MS = 100 * 60_000
"""What is due, and nobody calls for so long in fair weather, is forgotten: the longest window after a reboot, and the
longest rest, are over by then."""

LATE_US = 40_000_000
"""A message is expired at the latest when the daemon next looks at the clock anyhow, which is after 30 s."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What a caller asks for (core.acceptance.Submission)."""

    to: str | None
    text: str | None
    from_: str | None
    priority: str | None
    send_at: str | None
    ttl: str | None
    idempotency_key: str | None
    provider: str | None
    max_attempts: int | None
    retry: str | None
    expires_at: str | None = None
    template: str | None = None
    vars: dict[str, object] | None = None
    lang: str | None = None
    campaign: str | None = None
    user: str | None = None
    type: str | None = None
    metadata: dict[str, str] | None = None
    tenant: str | None = None
    callback_url: str | None = None
    overflow: str | None = None


class Life:
    """The daemon from one start to its end."""

    def __init__(self, n: int, engine: Engine, store: SqliteOutbox, links: Links) -> None:
        self.n = n
        self.engine = engine
        self.store = store
        self.links = links


class Run:
    """One seed. A scenario is a subclass that configures, writes or composes otherwise."""

    def __init__(self, seed: int, directory: Path, loop: VirtualLoop, parts: Parts = SOUND) -> None:
        self.random = Random(seed)
        self.more = Random(seed + 10**8)
        """The dice for what limits and quiet hours bring: without them a seed means what it always meant."""
        self.later = Random(seed + 2 * 10**8)
        """The dice for what comes back."""
        self.config = self.configure()
        self.acts, self.horizon = self.write()
        self.parts = parts
        self.loop = loop
        self.path = directory / "outbox.db"
        self.clock = SimulatedClock(loop, self.random.randrange(10**6, 10**12))
        self.history = History(capacity=self.config.capacity, governed=self.config.governed, back=self.config.back)
        self.application = Application(self.later, lambda: loop.now_us)
        self.history.told = self.application.told
        self.network = Network(loop, self.clock, self.random, self.history)
        self.disk = Disk(lambda: loop.now_us, self.clock.wall)
        self.history.store_failures = self.disk.failures
        self.life: Life | None = None
        self._ending: Life | None = None
        """One that was asked to stop and lets its calls end."""
        self.broken = asyncio.Event()
        self.down_us = 0
        """How long the daemon was down on purpose: the script waits for it."""
        self._ids = 0
        self._fair_us = 0
        """Since when nothing hinders it."""
        self._overdue: dict[str, int] = {}
        self._stalled: dict[str, int] = {}
        self._clients: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()
        self._credentials: dict[str, int] = {}
        """Those that each provider was last called with."""
        self.network.health = self._health
        self.network.taken = self._taken
        self.network.disabled = self._disabled
        self.history.failover = self.config.routing.failover_after_ms is not None
        self.history.budget = self.config.budget
        for name, each in self.config.providers.items():
            self.network.accounts[name] = each.account
            self.history.duties[name] = Duty(each.rules)
            self.history.lookups[name] = each.lookup

    def _health(self, name: str) -> Health | None:
        life = self.life or self._ending
        lane = None if life is None else life.engine.fleet.known.get(name)
        return None if lane is None else lane.health

    def _disabled(self) -> frozenset[str]:
        return frozenset(name for name, duty in self.history.duties.items() if duty.disabled)

    def configure(self) -> config.World:
        """What is configured."""
        made = replace(config.configure(self.random), governed=governed.draw(self.more))
        made.back = way_back.draw(self.later, [*made.providers])
        for name, mode in made.back.modes.items():
            made.providers[name].back = mode
        return made

    def write(self) -> tuple[list[Act], int]:
        """What happens, and until when."""
        acts, horizon = script.write(self.random, self.config)
        if self.config.governed.active:
            acts = sorted([*acts, *script.govern(self.more, self.config, horizon)], key=lambda act: act.at_us)
        return acts, horizon

    def note(self, what: str) -> None:
        self.history.note(self.loop.now_us, what)

    # -- the story ---------------------------------------------------------------------------------------------------

    async def tell(self) -> History:
        """The whole run; its history."""
        self.loop.set_exception_handler(self._stray)
        await self._start("the first start")
        for act in self.acts:
            await self._until(act.at_us + self.down_us)
            self.note(f"{act.what} {act.amount}" if act.amount else act.what)
            await self._perform(act)
            self._audit()
        await self._until(self.horizon + self.down_us)
        await self._make_peace()
        await self._come_to_rest()
        await self._look_back()
        return self.history

    def _stray(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.history.faults.append(f"nobody caught: {context.get('message')} {context.get('exception')!r}")

    async def _until(self, at_us: int) -> None:
        """Let time pass; a daemon whose outbox broke is ended and started anew, as systemd does."""
        while (wait_us := at_us - self.loop.now_us) > 0:
            try:
                await asyncio.wait_for(self.broken.wait(), wait_us / 1e6)
            except TimeoutError:
                continue
            await self._crash()
            await asyncio.sleep(1)
            await self._start("its outbox broke")

    def _audit(self) -> None:
        """Note what stays pending although its end of life has come, unless clock or disk are to blame."""
        if self.life is None or self.disk.full:
            self._overdue.clear()
            self._stalled.clear()
            return
        query = "SELECT id FROM messages WHERE state = 0 AND expires_at <= ?"
        found = [id for (id,) in self.life.links.database.execute(query, (self.clock.wall(),)).fetchall()]
        self._overdue = {id: self._overdue.get(id, self.loop.now_us) for id in found}
        late = [id for id, since_us in self._overdue.items() if self.loop.now_us - since_us > LATE_US]
        self.history.overdue += [f"{id[:8]} at {self.loop.now_us} us" for id in late]
        self._audit_due()

    def _audit_due(self) -> None:
        """Note what is due later than it should be, once the engine has had the time to look at the clock."""
        assert self.life is not None
        found = look.stalled(self.life.links.database, self.clock.wall())
        self._stalled = {id: self._stalled.get(id, self.loop.now_us) for id in found}
        late = [id for id, since_us in self._stalled.items() if self.loop.now_us - since_us > LATE_US]
        self.history.stalled += [f"{id[:8]} is due too late, at {self.loop.now_us} us" for id in late]

    async def _perform(self, act: Act) -> None:
        handler: Callable[[Act], Coroutine[object, object, None]] = getattr(self, f"_act_{act.what}")
        await handler(act)

    # -- life and death ----------------------------------------------------------------------------------------------

    async def _start(self, why: str) -> None:
        while self.life is None:
            try:
                await self._try_to_start(why)
            except StoreError as error:
                self.note(f"no start: {str(error).replace(str(self.path), self.path.name)}")
                await self._bury(self._links)
                await asyncio.sleep(5)

    async def _try_to_start(self, why: str) -> None:
        self.broken.clear()
        n = len(self.history.lives)
        self._links = links = Links(self.disk, self.random, self.random.choice([0.0, 0.002, 0.02]), self._take_stock)
        bus = Bus()
        engine: Engine

        def full(is_full: bool) -> None:
            if self.life is not None:
                engine.service.store_full = is_full

        store = self.parts.outbox(
            self.path,
            on_fatal=lambda error: self._broke(links, error),
            on_full=full,
            connect=links.connect,
            boot_token=self.clock.boot_token,
            boot_us=self.clock.boot,
            floor_bytes=1,
            free=self.disk.free,
        )
        self._store = store
        line = self.network.line(n, lambda: links.alive)
        kind = telling(self.parts.engine, self.application)
        engine = kind(self.config.plan(), store, line, self.clock, bus, self.random.random, self._new_id, self._died)
        self._trust()
        for each in self.history.duties.values():
            each.restarted(self.clock.wall(), self.loop.now_us)
        self._count()
        self.history.rates = {name: [*each, (self.loop.now_us, None)] for name, each in self._rates()}
        bus.subscribe(self._heard)
        await engine.start()
        engine.service.store_full = store.full
        self.history.lives.append((self.loop.now_us, why))
        self.life = Life(n, engine, store, links)
        self._overdue.clear()
        self._stalled.clear()
        self.note(f"life {n} begins ({why})")

    def _broke(self, links: Links, error: StoreError) -> None:
        if links.alive:
            self.note(f"the outbox broke: {str(error).replace(str(self.path), self.path.name)}")
            self.broken.set()

    def _died(self, error: BaseException) -> None:
        if not self.broken.is_set():
            self.history.faults.append(f"a part of the loop died: {error!r}")

    def _heard(self, event: Event) -> None:
        fields = event.fields
        if self.life is not None:
            self.history.most_held = max(
                self.history.most_held,
                self.life.engine.way_out.schedule.held - self.life.engine.way_out.dispatcher.in_flight,
            )
        self.note(f"  {event.kind} {fields.get('provider') or ''} {str(fields.get('id') or '')[:8]}")
        match event.kind:
            case Kind.SUPPRESSION_ADDED:
                opted_out = Suppressed(str(fields["provider"]), str(fields["to"]), self.loop.now_us)
                self.history.suppressed.append(opted_out)
            case Kind.MESSAGE_THROTTLED | Kind.MESSAGE_RETRY_SCHEDULED:
                self._retried(event)
            case Kind.PROVIDER_RATE_CHANGED:
                rates = self.history.rates.setdefault(str(fields["provider"]), [])
                rates.append((self.loop.now_us, cast("float | None", fields["rate"])))
            case _:
                pass
        if not event.kind.startswith("provider."):
            return
        duty = self.history.duties[str(fields["provider"])]
        if event.kind is Kind.PROVIDER_HALTED and "receipt" in str(fields["reason"]):
            duty.reported(self.loop.now_us)
        duty.keep(event.kind.value, self.clock.wall(), self.loop.now_us)
        duty.unsure = duty.unsure or self.broken.is_set() or self.disk.failed_lately()

    def _rates(self) -> list[tuple[str, list[tuple[int, float | None]]]]:
        return [(name, self.history.rates.get(name, [])) for name in self.config.providers]

    def _retried(self, event: Event) -> None:
        """A message goes again: within the budget, or after the rest that its sender, or the two of them, were told."""
        fields, history = event.fields, self.history
        if fields.get("undelivered"):
            history.by_id[str(fields["id"])].resends.append(self.loop.now_us)
            return
        if fields.get("category") == Category.LIMIT_EXCEEDED:
            return
        due, provider = event.at + cast(int, fields["delay_ms"]), str(fields["provider"])
        calls = [call for call in history.calls if (call.id, call.attempt) == (fields["id"], fields["attempt"])]
        if not calls or self.life is None:
            return
        last = calls[-1]
        if last.rests:
            until_us = self.loop.now_us + (due - self.clock.wall()) * 1_000
            recipient = last.recipient if last.rests == "recipient" else None
            rested = Rested(provider, last.sender, recipient, self.loop.now_us, until_us, self.life.n)
            history.rested.append(rested)
        elif last.answer in {"deferred", "unreached"} and fields["category"] != Category.TIMEOUT:
            letter = next(each for each in history.letters if each.id == fields["id"])
            if letter.priority != "high" and letter.expires_at - due > 600_000:
                # What is urgent is not held up by the budget, nor what would expire by it.
                history.retries.append((self.life.n, history.steps, due))

    def _new_id(self) -> str:
        self._ids += 1
        return f"{self._ids:08d}-0000-7000-8000-000000000000"

    async def _crash(self) -> None:
        """Everything the daemon does ends at once; only what was committed stays."""
        life, self.life = self.life, None
        if life is None:
            return
        self.note(f"life {life.n} ends in a crash")
        await self._bury(life.links)

    async def _bury(self, links: Links) -> None:
        links.alive = False
        # Again and again: the end of one task may begin another, which a process that is dead does not.
        while doomed := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in doomed:
                task.cancel()
            await asyncio.gather(*doomed, return_exceptions=True)
        links.cut()
        await self._store._release()  # the files are closed already; this lets the lock file go

    def _take_stock(self, database: sqlite3.Connection) -> None:
        """At the end of a life: what SQLite saw, whether the kept counts are a recount's, what is kept of providers."""
        for name, duty in self.history.duties.items():
            fingerprint = self.config.providers[name].setting().fingerprint()
            duty.take_stock(look.written(database, name, fingerprint))
        watched(database, self.history)
        self.history.recounts += look.recount(database)

    async def _stop(self, drain_s: float) -> None:
        life, self.life = self.life, None
        if life is None:
            return
        self.note(f"life {life.n} is asked to stop")
        self._ending = life
        left = await life.engine.drain(drain_s)
        self._ending = None
        for task in self._clients:
            task.cancel()
        await asyncio.sleep(0)
        links = life.links
        self.note(f"life {life.n} ends; {left} attempts stay open")
        await life.engine.stop()
        links.alive = False
        stray = asyncio.all_tasks() - {asyncio.current_task()} - self._clients
        if stray:
            self.history.faults.append(f"tasks outlive the daemon: {[task.get_coro() for task in stray]}")

    def sweep(self) -> None:
        """After a run that may have ended anyhow: no task and no file stays open."""
        self.loop.set_exception_handler(lambda loop, context: None)
        self._links.alive = False
        doomed = asyncio.all_tasks(self.loop)
        for task in doomed:
            task.cancel()
        self.loop.refresh()
        if doomed:
            self.loop.run_until_complete(asyncio.wait(doomed, timeout=1))
        self._links.cut()

    # -- what happens ------------------------------------------------------------------------------------------------

    async def _act_submit(self, act: Act) -> None:
        for _ in range(act.amount):
            if self.life is None:
                return
            self._submit(self.compose())
            if self.random.random() < 0.3:
                await asyncio.sleep(self.random.random() / 10)

    def compose(self) -> Letter:
        """A submission."""
        random, n, wall = self.random, len(self.history.letters), self.clock.wall()
        names = list(self.config.providers)
        text = random.choice(["short", "x" * 200, f"number {n}", f"number {n} " + "y" * 350])
        send_at = random.choice([None] * 6 + [wall + 30_000, wall + 1_200_000, wall - 5_000])
        if random.random() < 0.03:
            send_at = wall + 2 * FAR_MS
        letter = Letter(
            n=n,
            id="",
            recipient=f"+120255501{random.randrange(8):02d}",
            text=text,
            tenant=random.choice(["shop", "shop", "bank"]),
            priority=random.choice(["high", "normal", "normal", "bulk"]),
            sender=random.choice([None] * 12 + ["+12025550100", "+12025550111", "+12025550999"]),
            pin=random.choice([None] * 16 + [*names, "nobody"]),
            send_at=send_at,
            ttl_ms=random.choice([0, 0, 0, 1_500, 5_000, 60_000, 900_000]) or self.config.ttl_ms,
            max_attempts=random.choice([None, None, None, 1, 4]),
            profile=random.choice([None, None, None, "patient"]),
            key=f"key-{n}" if random.random() < 0.4 else None,
            at_us=self.loop.now_us,
            wall=wall,
        )
        if self.config.governed.active:
            letter.campaign = self.more.choice([None, *governed.CAMPAIGNS])
            letter.user = self.more.choice([None, *governed.USERS])
        return letter

    def _submit(self, letter: Letter) -> None:
        assert self.life is not None
        letter.asked_at = letter.send_at
        letter.expires_at = max(letter.send_at or 0, letter.wall) + letter.ttl_ms
        submission = Submission(
            to=letter.recipient,
            text=letter.text,
            from_=letter.sender,
            priority=letter.priority,
            send_at=None if letter.send_at is None else rfc3339(letter.send_at),
            ttl=f"{letter.ttl_ms}ms",
            idempotency_key=letter.key,
            provider=letter.pin,
            max_attempts=letter.max_attempts,
            retry=letter.profile,
            campaign=letter.campaign,
            user=letter.user,
        )
        digest = None if letter.key is None else hashlib.sha256(repr(letter.content).encode()).digest()
        self.history.letters.append(letter)
        letter.id = f"{self._ids + 1:08d}-0000-7000-8000-000000000000"
        self.history.by_id[letter.id] = letter
        done = partial(self._answered, letter, self.life)
        self.life.engine.intake.submit(submission, Origin(letter.tenant), digest, done)

    def _answered(self, letter: Letter, life: Life, answer: Answer) -> None:
        if not life.links.alive:
            return
        if letter.answered_us is not None:
            self.history.faults.append(f"submission {letter.n} was answered twice")
        letter.answered_us = self.loop.now_us
        if isinstance(answer, Accepted):
            letter.answer, letter.replayed = answer.id, answer.replayed
        else:
            letter.faults = tuple(fault.code for fault in answer.faults)

    async def _act_replay(self, act: Act) -> None:
        """A client repeats a submission with its key, perhaps at once, perhaps with other content."""
        keyed = [each for each in self.history.letters if each.key is not None]
        if self.life is None or not keyed:
            return
        old = self.random.choice(keyed)
        for _ in range(self.random.choice([1, 2])):
            again = self.compose()
            for name in REPEATED:
                setattr(again, name, getattr(old, name))
            again.send_at = old.asked_at
            if self.random.random() < 0.2:
                again.text += " changed"
            self._submit(again)

    def _client(self, story: Callable[[], Coroutine[object, object, None]]) -> None:
        """Somebody asks something of the daemon; it may be gone before it answers."""

        async def ask() -> None:
            with contextlib.suppress(StoreError):
                await story()

        task = self.loop.create_task(ask())
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    def _service(self) -> Service:
        assert self.life is not None
        return self.life.engine.service

    def _some_letter(self) -> Letter | None:
        known = [each for each in self.history.letters if each.answer == each.id]
        return self.random.choice(known) if known else None

    async def _act_cancel(self, act: Act) -> None:
        if self.life is not None:
            self._client(partial(self._cancel, self._service(), self._some_letter()))

    async def _cancel(self, service: Service, letter: Letter | None) -> None:
        """Any message, or one that is being sent at this moment."""
        under_way, _ = await service.page(Query(states=(State.PROCESSING,), limit=20))
        if under_way and self.random.random() < 0.7:
            letter = self.history.by_id[self.random.choice(under_way).message.id]
        if letter is None:
            return
        found = await service.cancel(letter.id, letter.tenant)
        if isinstance(found, Seen):
            letter.cancelled_us = self.loop.now_us

    async def _act_retry(self, act: Act) -> None:
        if self.life is not None:
            self._client(partial(self._retry, self._service(), force=self.random.random() < 0.5))

    async def _retry(self, service: Service, *, force: bool) -> None:
        states = (State.FAILED, State.EXPIRED, *((State.UNDELIVERED,) if self.config.back.modes else ()))
        ended, _ = await service.page(Query(states=states, limit=20))
        if not ended:
            return
        letter = self.history.by_id[self.random.choice(ended).message.id]
        letter.rounds.append(self.loop.now_us)
        letter.expires_at = max(letter.expires_at, self.clock.wall() + self.config.ttl_ms)
        found = await service.retry(letter.id, None, ttl=None, expires_at=None, force=force)
        if isinstance(found, Seen):
            letter.expires_at = found.message.expires_at

    def _some_provider(self) -> str:
        return self.random.choice([name for name, each in self.config.providers.items() if each.enabled])

    async def _act_pause(self, act: Act) -> None:
        if self.life is not None:
            self._client(partial(self._pause, self._service(), self._some_provider()))

    async def _pause(self, service: Service, name: str) -> None:
        self.history.duties[name].paused = True
        await service.pause(name, "an operator said so")

    async def _act_resume(self, act: Act) -> None:
        if self.life is not None:
            self._client(partial(self._resume, self._service(), self._some_provider()))

    async def _resume(self, service: Service, name: str) -> None:
        self.history.duties[name].resumed(len(self.history.calls))
        self.history.resumes.append((name, self.loop.now_us))
        await service.resume(name)

    async def _act_receipt(self, act: Act) -> None:
        taken = [call for call in self.history.calls if call.pmid is not None]
        if self.life is not None and taken:
            self._client(partial(self._prove, self._service(), self.random.choice(taken[-12:])))

    async def _prove(self, service: Service, call: Call) -> None:
        """The provider says of its own accord that it took it, perhaps before it answers."""
        assert call.pmid is not None
        receipt = Receipt(call.provider, Status.SENT, call.pmid, call.id, call.attempt)
        [received] = await service.receipts.take([receipt])
        if received.proved:
            self.history.proofs.append((call.id, self.loop.now_us))

    # -- the way back ------------------------------------------------------------------------------------------------

    def _taken(self, call: Call) -> None:
        """A provider took a call, and reports of it from now on."""
        if call.provider not in self.config.back.modes:
            return
        for delay_s, report in way_back.plan(self.later, call):
            self.history.reports.append(report)
            self.loop.call_later(delay_s, self._send_report, report)

    def _send_report(self, report: Report) -> None:
        """It is repeated until it is answered."""
        if self.life is not None:
            self._client(partial(self._report, self.life, report))
        if report.answered_us is None:
            self.loop.call_later(self.later.uniform(3, 40), self._repeat, report)

    def _repeat(self, report: Report) -> None:
        if report.answered_us is None:
            self._send_report(report)

    async def _report(self, life: Life, report: Report) -> None:
        name = report.call.provider
        hooks = life.engine.service.hooks
        assert hooks is not None
        target, body = f"/webhooks/{name}/status", way_back.request_of(report)
        taken = await hooks.take(name, HookKind.STATUS, None, "POST", target, {}, body)
        if not life.links.alive:
            return
        if taken.status != 200:
            self.history.faults.append(f"a receipt of call {report.call.n} was answered {taken.status}")
        report.answered_us = report.answered_us or self.loop.now_us
        self.note(f"  {name} reports {report.word} {report.code} of {report.call.id[:8]} #{report.call.attempt}")

    async def _act_suppress(self, act: Act) -> None:
        if self.life is not None:
            scope = self.random.choice([EVERY, *self.config.providers])
            self._client(partial(self._suppress, self.life, scope, self.compose().recipient))

    async def _suppress(self, life: Life, scope: str, number: str) -> None:
        await life.store.suppress(Suppression(scope, number, self.clock.wall(), "api"))
        self.history.suppressed.append(Suppressed(scope, number, self.loop.now_us))

    async def _act_lift(self, act: Act) -> None:
        if self.life is not None and self.history.suppressed:
            self._client(partial(self._lift, self.life, self.random.choice(self.history.suppressed)))

    async def _lift(self, life: Life, opted_out: Suppressed) -> None:
        self.history.lifted.append((opted_out.scope, opted_out.number, self.loop.now_us))
        await life.store.lift(opted_out.scope, opted_out.number)
        self.history.lifted.append((opted_out.scope, opted_out.number, self.loop.now_us))

    async def _act_reload(self, act: Act) -> None:
        if self.life is not None:
            self._client(partial(self._reload, self.life))

    async def _reload(self, life: Life) -> None:
        """Somebody edits the configuration while the daemon runs, and has it read again."""
        async with self._reloading:
            before = {name: (each.enabled, each.credentials, each.slowed) for name, each in self._providers()}
            slowed = self.config.shared_slowed
            self._edit()
            try:
                await life.engine.reconfigure(self.config.plan(), self._trust)
            except StoreError as error:
                self.note(f"  not reloaded: {error}")
                for name, each in self._providers():
                    each.enabled, each.credentials, each.slowed = before[name]
                self.config.shared_slowed = slowed
                return
            self._count()

    def _providers(self) -> list[tuple[str, config.Provider]]:
        return [*self.config.providers.items()]

    def _edit(self) -> None:
        if self.config.shared is not None and self.random.random() < 0.3:
            self.config.shared_slowed = 1 if self.config.shared_slowed > 1 else self.random.choice([2, 5])
            self.note(f"  the account: slowed={self.config.shared_slowed}")
        elif self.random.random() < 0.5:
            name, each = self.random.choice(self._providers())
            each.slowed = 1 if each.slowed > 1 else self.random.choice([2, 5])
            self.note(f"  {name}: slowed={each.slowed}")
        else:
            self._reconfigure()

    def _trust(self) -> None:
        """Calls are made with the configured credentials from now on."""
        for name, each in self._providers():
            if each.credentials != self._credentials.get(name, each.credentials):
                self.history.duties[name].mended(len(self.history.calls))
            self._credentials[name] = each.credentials

    def _count(self) -> None:
        """What is configured is in force."""
        for name, each in self._providers():
            duty = self.history.duties[name]
            duty.disabled = not each.enabled
            if duty.paces[-1][1] != each.pace:
                duty.paces.append((self.loop.now_us, each.pace))
        for name, pace in self.config.accounts.items():
            members = frozenset(each.name for _, each in self._providers() if each.rules.account == name)
            openings = self.history.accounts.setdefault(name, [])
            if not openings or (openings[-1].pace, openings[-1].members) != (pace, members):
                openings.append(Opening(self.loop.now_us if openings else -1, pace, members))

    async def _act_probe(self, act: Act) -> None:
        if self.life is not None:
            self._client(partial(self._probe, self.life))

    async def _probe(self, life: Life) -> None:
        # While a reload is under way, what is configured and what counts are not the same.
        views = () if self._reloading.locked() else life.engine.service.providers()
        for view in views:
            self.history.views.append((view.name, view.rate_now, view.recommended_rate, _a_minute(self, view.name)))
        waiting, _ = await life.engine.service.page(Query(states=(State.PENDING, State.PROCESSING), limit=100))
        others = [letter.id for letter in self.random.sample(self.history.letters, min(2, len(self.history.letters)))]
        for id in [*(each.message.id for each in self.random.sample(waiting, min(6, len(waiting)))), *others]:
            seen = await life.engine.service.get(id, None)
            if seen is not None:
                self.history.probes.append(look.probe(seen, self.loop.now_us, self.clock.wall(), self))

    async def _act_weather(self, act: Act) -> None:
        account = self.random.choice(list(self.network.accounts.values()))
        account.weather = script.turn(self.random)
        self.note(f"  {account.name}: {account.weather}")

    async def _act_step(self, act: Act) -> None:
        self.clock.step(act.amount)
        self.history.steps += 1
        self.history.step_times.append(self.loop.now_us)
        self._overdue.clear()
        self._stalled.clear()

    async def _act_reschedule(self, act: Act) -> None:
        if self.life is not None:
            self._client(partial(self._reschedule, self._service()))

    async def _reschedule(self, service: Service) -> None:
        """A pending message is given another time; until that is answered it may go by either."""
        pending, _ = await service.page(Query(states=(State.PENDING,), limit=20))
        if not pending:
            return
        letter = self.history.by_id[self.more.choice(pending).message.id]
        send_at = self.clock.wall() + self.more.choice([-5_000, 2_000, 120_000, 3_600_000])
        before, letter.rescheduled = letter.send_at, True
        letter.send_at = None
        letter.expires_at = max(letter.expires_at, send_at + letter.ttl_ms)
        found = await service.reschedule(
            letter.id, None, send_at=rfc3339(send_at), ttl=f"{letter.ttl_ms}ms", expires_at=None
        )
        letter.send_at = before
        if isinstance(found, Seen):
            letter.send_at, letter.expires_at = found.message.send_at, found.message.expires_at

    async def _act_delete(self, act: Act) -> None:
        """Messages whose time to be kept is over are deleted; what was charged for them is not."""
        if self.life is not None:
            deleted = look.delete(self.life.links.database, self.more)
            self.history.deleted += deleted
            self.history.gone |= {each.seq: self.loop.now_us for each in deleted}

    async def _act_full(self, act: Act) -> None:
        await self._moment()
        self.disk.full = True
        self.loop.call_later(act.amount / 1e3, setattr, self.disk, "full", False)

    async def _act_commit(self, act: Act) -> None:
        await self._moment()
        self.disk.fail_commit = self.random.choice(["written", "lost"])

    async def _act_busy(self, act: Act) -> None:
        await self._moment()
        self.disk.busy = self.random.choice([1, 5])

    async def _act_reads(self, act: Act) -> None:
        self.disk.fail_reads = self.random.choice([1, 3])

    async def _moment(self) -> None:
        """Most faults come at a bad moment: just when a call begins, or a little later."""
        began_us = self.loop.now_us
        if self.life is not None and self.random.random() < 0.7:
            self.network.next_call.clear()
            signs = [self.loop.create_task(each.wait()) for each in (self.network.next_call, self.broken)]
            await asyncio.wait(signs, timeout=self.random.choice([30, 600]), return_when=asyncio.FIRST_COMPLETED)
            for sign in signs:
                sign.cancel()
            await asyncio.sleep(self.random.choice([0, 0, 0.001, 0.02, 0.2, 2.0]))
        self.down_us += self.loop.now_us - began_us

    async def _act_crash(self, act: Act) -> None:
        await self._moment()
        await self._crash()
        await self._be_down(act, "a crash")

    async def _act_restart(self, act: Act) -> None:
        await self._moment()
        await self._stop(self.random.choice([0.01, 1.0, 30.0]))
        await self._be_down(act, "a restart")

    async def _be_down(self, act: Act, why: str) -> None:
        began_us = self.loop.now_us
        await asyncio.sleep(self.random.choice([0.001, act.amount / 1e3]))
        if not self.config.steps_forward and self.random.random() < 0.4:
            boot_s = self.random.choice([5, 40])
            await asyncio.sleep(boot_s)
            self.clock.reboot(boot_s * 1_000_000)
            why += " and a reboot"
        if self.random.random() < 0.3:
            self._reconfigure()
        self.down_us += self.loop.now_us - began_us
        await self._start(why)

    def _reconfigure(self) -> None:
        """Somebody edits the configuration while the daemon is down."""
        name = self.random.choice(list(self.config.providers))
        each = self.config.providers[name]
        others = [other for other in self.config.providers.values() if other.enabled and other is not each]
        if others and self.random.random() < 0.5:
            each.enabled = not each.enabled
        else:
            each.credentials += 1
        self.note(f"  {name}: enabled={each.enabled} credentials={each.credentials}")

    # -- the end -----------------------------------------------------------------------------------------------------

    async def _make_peace(self) -> None:
        self.note("peace")
        self.disk.full, self.disk.fail_commit, self.disk.busy, self.disk.fail_reads = False, "", 0, 0
        self.application.well = True
        for account in self.network.accounts.values():
            account.weather, account.limit = Weather(), None
        slowed = self.config.shared_slowed > 1
        if slowed or not all(each.enabled and each.slowed == 1 for each in self.config.providers.values()):
            await self._stop(1.0)
            self.config.shared_slowed = 1
            for each in self.config.providers.values():
                each.enabled, each.slowed = True, 1
        await self._start("peace")
        for _ in range(2):
            await self._until(self.loop.now_us + 30_000_000)
            for name in self.config.providers:
                await self._resume(self._service(), name)

    async def _come_to_rest(self) -> None:
        """Until nothing is left that could end."""
        self._fair_us = self.loop.now_us
        end = self._fair_us + self.parts.patience_s * 1_000_000
        while self.loop.now_us < end:
            await self._until(self.loop.now_us + 20_000_000)
            self._audit()
            self._audit_forgotten()
            for name in [name for name, duty in self.history.duties.items() if duty.halted]:
                await self._resume(self._service(), name)  # a late receipt said that all would end so
            assert self.life is not None
            database = self.life.links.database
            far = self.clock.wall() + FAR_MS
            live = "SELECT count(*) FROM messages WHERE state IN (0, 1) AND NOT (state = 0 AND due > ?)"
            told = database.execute("SELECT count(*) FROM callbacks").fetchone()[0] == 0
            heard = all(report.answered_us is not None for report in self.history.reports)
            if told and heard and database.execute(live, (far,)).fetchone()[0] == 0:
                self.history.quiet = True
                return

    def _audit_forgotten(self) -> None:
        """Note what is due since long although its provider has nothing else to do and nothing hinders it."""
        last_us = max([self._fair_us, *(call.start_us for call in self.history.calls[-1:])])
        if self.config.governed.quiet is not None or self.loop.now_us - last_us < IDLE_MS * 1_000:
            return
        assert self.life is not None
        query = "SELECT id FROM messages WHERE state = 0 AND due <= ? AND held IS NULL"
        found = self.life.links.database.execute(query, (self.clock.wall() - IDLE_MS,)).fetchall()
        self.history.forgotten |= {id for (id,) in found}

    async def _look_back(self) -> None:
        await self._until(self.loop.now_us + 60_000_000)
        assert self.life is not None
        life, history = self.life, self.history
        if history.quiet:
            history.leftovers = look.leftovers(life.engine)
        database = life.links.database
        live = [message(row) for row in arrays(database, grouped(MESSAGE_COLUMNS, "messages ORDER BY seq"))]
        history.outbox = sorted([*live, *history.deleted], key=lambda each: each.seq)
        attempts = arrays(database, grouped(f"seq, {ATTEMPT_VIEW}", "(SELECT * FROM attempts ORDER BY nr)"))
        ids = {each.seq: each.id for each in history.outbox}
        for row in attempts:
            history.attempts.setdefault(ids[row[0]], []).append(attempt(row[1:]))
        for each in live:
            if each.state not in FINAL or self.random.random() < 0.1:
                seen = Seen(each, None) if (found := await self._service().get(each.id, None)) is None else found
                history.probes.append(look.probe(seen, self.loop.now_us, self.clock.wall(), self))
        await self._stop(5.0)


def _a_minute(run: Run, name: str) -> float | None:
    """Units a minute that are configured of a provider, or of its account; None: any."""
    each = run.config.providers[name]
    shared = run.config.accounts.get(each.rules.account)
    windows = [*each.pace.windows, *(() if shared is None else shared.windows)]
    return min((window.limit * 60_000_000 / window.span_us for window in windows), default=None)


# -- running ----------------------------------------------------------------------------------------------------------


@cache
def template() -> bytes:
    """An empty outbox, migrated once per process."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "outbox.db"
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        database.execute("PRAGMA journal_mode = WAL")
        migrate(database)
        database.execute(sql.CHECKPOINT_LAST).fetchone()
        database.close()
        return path.read_bytes()


@contextlib.contextmanager
def state_directory() -> Iterator[Path]:
    """A directory in memory if there is one: durability is tested elsewhere, by losing power."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="smsd-simulation-", dir=base))
    try:
        (directory / "outbox.db").write_bytes(template())
        yield directory
    finally:
        shutil.rmtree(directory)


def lateness(seed: int) -> Callable[[], int] | None:
    """How punctual the loop's timers are in this seed: exact, a little early or late, or often late."""
    random = Random(seed + 10**9)
    return random.choice([None, lambda: random.choice([0, 0, -400, 100, 1_500]), lambda: int(random.expovariate(1e-3))])


def run(seed: int, parts: Parts = SOUND, story: type[Run] = Run) -> History:
    """Run one seed to its end. Raises DeadlockError and LivelockError."""
    loop = VirtualLoop(lateness(seed))
    with state_directory() as directory, capture_logs() as logged, contextlib.closing(loop):
        told = story(seed, directory, loop, parts)
        try:
            history = loop.run_until_complete(told.tell())
        finally:
            told.sweep()
        unread = "what was charged cannot be read"  # then limits are not heeded, and here nothing makes it so
        history.faults += [f"logged: {each}" for each in logged if each.get("exc_info") or unread in each["event"]]
    return history
