"""The whole engine in virtual time, with a script for a carrier: what a story about it needs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from smsd.core.acceptance import MessageRules, Origin, Refusal
from smsd.core.account import ProviderRules
from smsd.core.admission import AdmissionRules
from smsd.core.events import Event, Kind
from smsd.core.limits import Rule
from smsd.core.message import Message
from smsd.core.pacing import Pace, Window
from smsd.core.quiet import QuietBook
from smsd.core.retry import RetryRules
from smsd.core.routing import RoutingRules
from smsd.engine.bus import Bus
from smsd.engine.configuration import Plan
from smsd.engine.engine import Engine
from smsd.engine.hooks import status_url
from smsd.engine.intake import Accepted, Answer
from smsd.engine.setting import Setting
from smsd.engine.settler import RetryBook
from smsd.providers.base import NoAnswer, NoConnection, Outcome, Provider, Request, Response
from smsd.providers.twilio import Twilio
from smsd.store.sqlite import SqliteOutbox
from smsd.wire import Submission, content_hash
from tests.doubles.called import Application, telling
from tests.doubles.inline_connection import inline
from tests.doubles.scripted import Script, ScriptedExchange
from tests.simulation.clock import SimulatedClock
from tests.simulation.loop import VirtualLoop

TO = "+14155550123"
SHOP = Origin("shop")

ACCEPTED = "accepted"
LOST = NoAnswer("the connection was reset")
REFUSED = NoConnection("refused")


def twilio(name: str = "main", token: str = "secret") -> Twilio:
    """A provider that can be asked. Its host begins with its name."""
    sid = "AC0123456789abcdef0123456789abcdef"
    return Twilio(name, account_sid=sid, auth_token=token, base_url=f"https://{name}.example.com")


def answer(status: int, headers: dict[str, str] | None = None, /, **body: object) -> Response:
    """An answer as Twilio gives it."""
    return Response(status, headers or {}, json.dumps(body).encode())


def form(request: Request) -> dict[str, str]:
    """What a send carried."""
    return {name: values[0] for name, values in parse_qs(request.body.decode()).items()}


class Carrier:
    """A Twilio of which each test says what it answers next; by default it takes everything and lists it."""

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock = clock
        self.script: list[Outcome | str] = []
        """Answers to the next sends; then everything is accepted."""
        self.answers: Callable[[str, dict[str, str]], Outcome | str] | None = None
        """(provider, form) -> the answer, when the script is used up."""
        self.names: list[str] = []
        """Which provider each send was for."""
        self.look_up: Callable[[Request], Outcome] | None = None
        self.sends: list[tuple[int, dict[str, str]]] = []
        """(wall time, form) of every send."""
        self.taken: list[dict[str, str]] = []
        """What a list shows."""
        self.look_ups = 0
        self.latency_ms = 5

    def __call__(self, request: Request, n: int) -> tuple[Outcome, int]:
        if request.method == "GET":
            self.look_ups += 1
            return (self.look_up or self.listed)(request), self.latency_ms
        fields = form(request)
        self.sends.append((self._clock.wall(), fields))
        name = (urlsplit(request.url).hostname or "").split(".")[0]
        self.names.append(name)
        said: Outcome | str = ACCEPTED
        if self.script:
            said = self.script.pop(0)
        elif self.answers is not None:
            said = self.answers(name, fields)
        if isinstance(said, str):
            return self.take(fields), self.latency_ms
        return said, self.latency_ms

    def take(self, fields: dict[str, str]) -> Response:
        """The message reaches the phone."""
        sid = f"SM{len(self.taken):032d}"
        seconds = self._clock.wall() // 1_000
        self.taken.append({**fields, "sid": sid, "date": str(seconds)})
        return answer(201, sid=sid, status="queued", num_segments="1", price=None)

    def listed(self, request: Request) -> Outcome:
        """What the list shows."""
        query = parse_qs(urlsplit(request.url).query)
        rows = [
            {"sid": row["sid"], "body": row["Body"], "status": "sent", "date_created": _date(int(row["date"]))}
            for row in reversed(self.taken)
            if row["To"] == query["To"][0]
        ]
        return answer(200, messages=rows)

    @property
    def bodies(self) -> list[str]:
        return [fields["Body"] for _, fields in self.sends]


def _date(seconds: int) -> str:
    from email.utils import formatdate

    return formatdate(seconds, usegmt=True).replace("GMT", "+0000")


def setting(provider: Provider, rules: ProviderRules, public_url: str = "") -> Setting:
    made = Setting(cast(Any, provider).name, provider, rules)
    return replace(made, status_url=status_url(public_url, made))


class Rig:
    """One outbox directory over several runs of the engine."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "outbox.db"
        self.loop = VirtualLoop()
        self.clock = SimulatedClock(self.loop, boot_us=3_600_000_000)
        self.carrier = Carrier(self.clock)
        self.script: Script | None = None
        """Stands in for the carrier, if set before the start."""
        self.left_after_ms = 0
        """How long every call waits for a connection."""
        self.events: list[Event] = []
        self.providers: list[tuple[Provider, ProviderRules]] = [(twilio(), self.rules())]
        self.settings: tuple[Setting, ...] = ()
        """In the place of `providers`, if there are any."""
        self.retired: list[tuple[Provider, ProviderRules]] = []
        self.on_uncertain = "retry"
        self.max_backlog = 5_000_000
        self.messages = MessageRules()
        self.retry = RetryRules(jitter="none")
        self.profiles: dict[str, RetryRules] = {}
        self.routing = RoutingRules()
        self.accounts: dict[str, Pace] = {}
        self.budget: float | None = None
        self.limits: tuple[Rule, ...] = ()
        self.quiet: QuietBook | None = None
        self.public_url = ""
        self.application: Application | None = None
        """Who is called back; None: whoever is there."""
        self.deaths: list[BaseException] = []
        self.outbox: type[SqliteOutbox] = SqliteOutbox
        self._ids = 0

    @staticmethod
    def rules(**fields: Any) -> ProviderRules:
        """Fast and roomy, unless said."""
        pace = fields.pop("pace", Pace((Window(1_000, 1_000_000),), burst=50))
        return ProviderRules(pace=pace, senders=fields.pop("senders", ("+15005550006",)), **fields)

    def run(self, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Play a story in virtual time."""
        try:
            self.loop.run_until_complete(story())
        finally:
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            if left:
                self.loop.run_until_complete(asyncio.wait(left))
            self.loop.close()

    async def start(self) -> None:
        """Begin (again) on the same outbox."""
        bus = Bus()
        bus.subscribe(self.events.append)
        self.store = self.outbox(
            self.path,
            on_fatal=self.deaths.append,
            connect=inline(),
            boot_token=self.clock.boot_token,
            boot_us=self.clock.boot,
            synchronous="normal",  # nothing here cuts the power, and these stories commit thousands of times
        )
        kind = Engine if self.application is None else telling(Engine, self.application)
        self.engine = kind(
            self.plan(),
            self.store,
            ScriptedExchange(self.script or self.carrier, left_after_ms=self.left_after_ms),
            self.clock,
            bus,
            lambda: 0.5,
            self._new_id,
            self.deaths.append,
        )
        await self.engine.start()

    def plan(self) -> Plan:
        """What the engine is told."""
        return Plan(
            self.settings or tuple(setting(*each, self.public_url) for each in self.providers),
            self.messages,
            RetryBook(self.retry, self.profiles, self.budget),
            UTC,
            max_backlog=self.max_backlog,
            retired=tuple(setting(*each, self.public_url) for each in self.retired),
            on_uncertain=self.on_uncertain,
            routing=self.routing,
            accounts=self.accounts,
            admission=AdmissionRules(self.limits, self.quiet, self.profiles, self.retry),
            public_url=self.public_url,
        )

    async def stop(self) -> None:
        """Drain and close."""
        await self.engine.drain(30)
        await self.engine.stop()

    async def crash(self) -> None:
        """The process dies: nothing more is written, not even answers that are known."""
        doomed = asyncio.all_tasks() - {asyncio.current_task()}
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        await self.store._release()

    def _new_id(self) -> str:
        self._ids += 1
        return f"01a2049a-0000-7000-8000-{self._ids:012d}"

    async def submit(self, to: str = TO, text: str = "Your code is 1", origin: Origin = SHOP, **fields: Any) -> Answer:
        """What a door does with a submission."""
        submission = Submission(to=to, text=text, **fields)
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        digest = content_hash(submission) if submission.idempotency_key else None
        self.engine.intake.submit(submission, origin, digest, done.set_result)
        return await done

    async def accepted(self, *args: Any, **fields: Any) -> str:
        """Submit; the id of the accepted message."""
        receipt = await self.submit(*args, **fields)
        assert isinstance(receipt, Accepted), receipt
        return receipt.id

    async def refused(self, *args: Any, **fields: Any) -> str:
        """Submit; the code of the refusal."""
        refusal = await self.submit(*args, **fields)
        assert isinstance(refusal, Refusal), refusal
        return refusal.faults[0].code

    async def message(self, id: str) -> Message:
        """The message as the outbox has it."""
        found = await self.store.get(id, None)
        assert found is not None
        return found

    async def state(self, id: str) -> str:
        return (await self.message(id)).state.label

    async def waiting(self, id: str) -> tuple[str, int | None]:
        """Why it waits, and until when."""
        seen = await self.engine.service.get(id, None)
        assert seen is not None
        assert seen.waiting is not None
        return seen.waiting.reason.value, seen.waiting.until

    async def seconds(self, seconds: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(seconds)

    def kinds(self) -> list[Kind]:
        return [event.kind for event in self.events]
