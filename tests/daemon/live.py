"""How does a test run the real engine, on real sockets and a real outbox, without waiting for the real clock?

The engine, its HTTP exchange and the SQLite outbox are the product's own; the stand-in answers over a real socket in
the same loop. Only the clock is not: it goes a hundred times faster, for timers and time stamps alike, so that a
look-up after 5 s or a rest of a minute is over in a moment and everything keeps its product value. A machine that
stalls makes calls time out that would not have; what is asserted must allow that.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC
from itertools import count
from pathlib import Path
from typing import Any

from smsd.core.acceptance import MessageRules, Origin
from smsd.core.account import ProviderRules
from smsd.core.events import Event, Kind
from smsd.core.message import FINAL, Attempt, Message
from smsd.core.pacing import Pace, Window
from smsd.core.retry import RetryRules
from smsd.core.routing import RoutingRules
from smsd.engine.bus import Bus
from smsd.engine.configuration import Plan
from smsd.engine.engine import Engine
from smsd.engine.exchange import Exchange
from smsd.engine.intake import Accepted, Answer
from smsd.engine.setting import Setting
from smsd.engine.settler import RetryBook
from smsd.providers.base import Provider
from smsd.providers.dialpad import Dialpad
from smsd.providers.http import Http
from smsd.providers.messagebird import MessageBird
from smsd.providers.twilio import Twilio
from smsd.store import StoreError
from smsd.store.sqlite import SqliteOutbox
from smsd.wire import Submission
from tests.doubles.stand_in import ACCOUNT, TOKEN, Rule, StandIn

SPEED = 100
"""Seconds of the engine's in one of ours."""

PATIENCE_S = 40.0
"""Real seconds until a story that does not end is a failure."""

ANY = "any"
"""Whatever an event is about."""

SENDER = "+15005550006"
SHOP = Origin("shop")


class _Hasty(selectors.DefaultSelector):
    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(None if timeout is None else timeout / self._speed)


class FastLoop(asyncio.SelectorEventLoop):
    """Real sockets and threads, fast time."""

    def __init__(self, speed: float = SPEED) -> None:
        self.speed = speed
        self._began = time.monotonic()
        super().__init__(_Hasty(speed))

    def time(self) -> float:
        return (time.monotonic() - self._began) * self.speed


class FastClock:
    """Both times, as fast as the loop's."""

    def __init__(self, loop: FastLoop) -> None:
        self._loop = loop
        self._wall0 = time.time_ns() // 1_000_000

    def wall(self) -> int:
        return self._wall0 + int(self._loop.time() * 1e3)

    def boot(self) -> int:
        return 3_600_000_000 + int(self._loop.time() * 1e6)

    def unix(self) -> float:
        """For the stand-in."""
        return self.wall() / 1e3


def twilio(url: str, name: str = "main") -> Provider:
    return Twilio(name, account_sid=ACCOUNT, auth_token=TOKEN, base_url=url)


def dialpad(url: str, name: str = "main") -> Provider:
    return Dialpad(name, api_key=TOKEN, base_url=url)


def messagebird(url: str, name: str = "main") -> Provider:
    return MessageBird(name, access_key=TOKEN, base_url=url)


def plain(url: str, name: str = "main", idempotency_header: str = "") -> Provider:
    """A gateway that only the configuration describes; it cannot be asked."""
    return Http(
        name,
        url=f"{url}/plain/send",
        fields={"to": "{to}", "from": "{from}", "text": "{text}", "ref": "{id}"},
        auth="bearer",
        token=TOKEN,
        success={"path": "result", "equals": "accepted"},
        id_path="message.id",
        error_code_path="error.code",
        error_message_path="error.text",
        errors=[
            {"code": "71", "category": "INVALID_RECIPIENT"},
            {"code": "72", "category": "RATE_LIMITED", "wait": "30s"},
        ],
        idempotency_header=idempotency_header,
    )


def keyed(url: str, name: str = "main") -> Provider:
    """The same, but it takes one key once."""
    return plain(url, name, "Idempotency-Key")


class Live:
    """One engine and what it told."""

    def __init__(self, directory: Path, dice: Callable[[], float], speed: float = SPEED) -> None:
        self.loop = FastLoop(speed)
        self.clock = FastClock(self.loop)
        self.events: list[Event] = []
        self.about: defaultdict[str, list[Event]] = defaultdict(list)
        """Events by message."""
        self.settings: list[Setting] = []
        self.retry = RetryRules(jitter="none", backoff_ms=1_000)
        self.messages = MessageRules()
        self.routing = RoutingRules()
        self.budget: float | None = None
        self._deaths: list[BaseException] = []
        self._dice = dice
        self._stand_ins: list[StandIn] = []
        self._path = directory / "outbox.db"
        self._told: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._ids = count()
        self._numbers = count(2_000_000)

    def stand_in(self, *rules: Rule, **options: Any) -> StandIn:
        """A carrier; it listens until the story ends."""
        made = StandIn(*rules, now=self.clock.unix, ids_from=1_000_000 * len(self._stand_ins), **options)
        self.loop.run_until_complete(made.open())
        self._stand_ins.append(made)
        return made

    def provider(self, provider: Provider, **fields: Any) -> None:
        """One more, in routing order; with product defaults but for its rate."""
        rules: dict[str, Any] = {
            "pace": Pace((Window(10_000, 1_000_000),), burst=1_000),
            "senders": (SENDER,),
            "max_in_flight": 64,
            **fields,
        }
        name: str = getattr(provider, "name", "main")
        self.settings.append(Setting(name, provider, ProviderRules(**rules)))

    def run(self, story: Coroutine[Any, Any, None]) -> None:
        """Play a story from the engine's start to its stop."""
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(asyncio.wait_for(self._play(story), PATIENCE_S * self.loop.speed))
        finally:
            for stand_in in self._stand_ins:
                self.loop.run_until_complete(stand_in.close())
            asyncio.set_event_loop(None)
            self.loop.close()
        assert self._deaths == []

    async def _play(self, story: Coroutine[Any, Any, None]) -> None:
        await self.start()
        try:
            await story
        finally:
            await self.engine.drain(20)
            await self.engine.stop()
            await self._exchange.close()

    async def start(self) -> None:
        bus = Bus()
        bus.subscribe(self._hear)
        self.store = SqliteOutbox(self._path, on_fatal=self._died, boot_token="one", synchronous="normal")
        self._exchange = Exchange()
        await self._exchange.start()
        plan = Plan(
            tuple(self.settings),
            self.messages,
            RetryBook(self.retry, {}, self.budget),
            UTC,
            routing=self.routing,
        )
        self.engine = Engine(
            plan, self.store, self._exchange, self.clock, bus, self._dice, self._new_id, self._deaths.append
        )
        await self.engine.start()

    def _died(self, error: StoreError) -> None:
        self._deaths.append(error)

    def _new_id(self) -> str:
        return f"01a2049a-0000-7000-8000-{next(self._ids):012d}"

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        about = str(event.fields.get("id", ""))
        self.about[about].append(event)
        for each in {about, ANY} & self._told.keys():
            self._told.pop(each).set()

    # -- doing -------------------------------------------------------------------------------------------------------

    def submit(self, to: str | None = None, text: str | None = None, **fields: Any) -> asyncio.Future[Answer]:
        """What a door does with a submission; number and text are new unless given."""
        n = next(self._numbers)
        submission = Submission(to=to or f"+1201{n:07d}", text=text or f"quagga {n}", **fields)
        done: asyncio.Future[Answer] = self.loop.create_future()
        self.engine.intake.submit(submission, SHOP, None, done.set_result)
        return done

    async def send(self, **fields: Any) -> str:
        """Submit; the id of the accepted message."""
        receipt = await self.submit(**fields)
        assert isinstance(receipt, Accepted), receipt
        return receipt.id

    async def send_many(self, number: int) -> list[str]:
        """Submit so many; their ids."""
        receipts = await asyncio.gather(*(self.submit() for _ in range(number)))
        return [receipt.id for receipt in receipts if isinstance(receipt, Accepted)]

    # -- seeing ------------------------------------------------------------------------------------------------------

    async def news(self, id: str = ANY) -> None:
        """Until something more is told, of this message."""
        await self._told[id].wait()

    async def told(self, kind: Kind, number: int = 1) -> Event:
        """The `number`-th event of this kind, when it comes."""
        while True:
            found = [event for event in self.events if event.kind is kind]
            if len(found) >= number:
                return found[number - 1]
            await self.news()

    def kinds(self) -> list[Kind]:
        return [event.kind for event in self.events]

    async def message(self, id: str) -> Message:
        """As the outbox has it."""
        found = await self.store.get(id, None)
        assert found is not None
        return found

    async def attempts(self, id: str) -> list[Attempt]:
        """Its calls, first to last."""
        found = await self.engine.service.attempts(id, None)
        assert found is not None
        return found

    async def final(self, ids: Sequence[str]) -> list[Message]:
        """The messages, once none of them is open."""
        leaving = {Kind.MESSAGE_SENT, Kind.MESSAGE_RECONCILED, Kind.MESSAGE_FAILED, Kind.MESSAGE_EXPIRED}
        open_ids = set(ids)
        seen = 0
        while True:
            for event in self.events[seen:]:
                if event.kind in leaving:
                    open_ids.discard(str(event.fields["id"]))
            seen = len(self.events)
            if not open_ids:
                break
            await self.news()
        messages = [await self.message(id) for id in ids]
        assert all(message.state in FINAL for message in messages)
        return messages
