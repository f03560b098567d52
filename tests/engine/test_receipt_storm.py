"""Is every final state right when ten thousand receipts come in any order, doubled, early and late?

Virtual time, the real engine, outbox and dialects. A carrier takes calls and lets receipts come whenever it likes:
before the call is answered, seconds after it, an hour later, each perhaps twice. What must become of each message is
worked out a second time by Ledger, some lines that know the contract and nothing of how smsd does it. Once by a dialect
whose receipts name our id and attempt, once by one that names only its own id, so that an early receipt has no message
yet.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from email.utils import formatdate
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from smsd.core.codes import CodeBook, CodeRule
from smsd.core.events import Kind
from smsd.providers.base import NoAnswer, Outcome, Request, Response
from tests.doubles.reporting import Posted
from tests.engine.rig import Rig, answer, form, twilio
from tests.engine.way_back import PUBLIC, dialpad, dialpad_report, post, twilio_report
from tests.simulation import look

MESSAGES = 1_250
RECEIPTS = 5_000
"""Of each of the two dialects."""

HOUR_S = 3_600.0
GRID_S = 0.1
"""Receipts come in crowds: at the same instants, in which nothing else happens."""

RANKS = ("queued", "sent", "undelivered", "delivered")
"""A greater word comes later."""

FATES = (
    (("queued", "sent", "delivered"), "", 45),
    (("queued", "sent"), "", 10),
    (("queued", "sent", "undelivered"), "final", 15),
    (("queued", "sent", "undelivered"), "again", 15),
    (("sent", "undelivered", "delivered"), "again", 5),
    (("sent", "undelivered", "delivered"), "final", 10),
)
"""(what the receipts of a call say, what the code of a bad one means, weight)."""

CALLS = 3
WAITS_MS = (60_000, 120_000)
SLACK_MS = 1_100
"""A resend is scattered by a second."""


@dataclass
class Ledger:
    """What must be true of one message, by what is known of it so far."""

    state: str = "pending"
    calls: int = 0
    due: int | None = None
    words: dict[int, str] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    """Its way through the states that end a receipt's work."""
    wrong: list[str] = field(default_factory=list)

    def called(self, now: int) -> None:
        self.calls += 1
        if self.state != "pending":
            self.wrong.append(f"it was called when it was {self.state}")
        if self.due is not None and not -2 <= now - self.due <= SLACK_MS:
            self.wrong.append(f"it was called {now - self.due} ms after it was due")
        self.state, self.due = "processing", None

    def accepted(self, n: int) -> None:
        if n == self.calls and self.state == "processing":
            self.state = "sent"

    def lost(self) -> None:
        """Nobody knows what became of a call, and nobody can be asked: it is held."""
        if self.state == "processing":
            self.state = "failed"

    def heard(self, n: int, word: str, meaning: str, now: int) -> None:
        """A receipt of call n that is known to be its."""
        if n in self.words and RANKS.index(word) <= RANKS.index(self.words[n]):
            return
        self.words[n] = word
        if self.state == "delivered":
            return
        if word == "delivered":
            self.state, self.due = "delivered", None
            self.told.append("delivered")
        elif word != "undelivered":
            self.state = "sent" if self.state == "processing" and n == self.calls else self.state
        elif n == self.calls and self.state in {"processing", "sent"}:
            if meaning == "again" and self.calls < CALLS:
                self.state, self.due = "pending", now + WAITS_MS[self.calls - 1]
                self.told.append("again")
            else:
                self.state = "undelivered"
                self.told.append("undelivered")


@dataclass
class Sent:
    """One call as the carrier saw it."""

    text: str
    n: int
    id: str
    url: str
    at: int
    answered: bool = False
    lost: bool = False
    early: list[tuple[str, str]] = field(default_factory=list)
    """Receipts that came before anybody could know whose they are."""


class Storm:
    """The carrier, its receipts and what should come of them."""

    def __init__(self, rig: Rig, *, by_our_id: bool, seed: int) -> None:
        self.rig = rig
        self.by_our_id = by_our_id
        self.random = Random(seed)
        self.ledgers: dict[str, Ledger] = {}
        self.calls: dict[str, Sent] = {}
        self.sent = 0
        self.answers: Counter[int] = Counter()
        self.early = 0
        self.tasks: set[asyncio.Task[None]] = set()

    # -- the carrier -------------------------------------------------------------------------------------------------

    def __call__(self, request: Request, n: int) -> tuple[Outcome, int]:
        if request.method == "GET":
            return self._listed(request), 50
        fields = form(request) if self.by_our_id else json.loads(request.body)
        text = fields["Body" if self.by_our_id else "text"]
        ledger = self.ledgers[text]
        ledger.called(self.rig.clock.wall())
        id = f"SM{len(self.calls):032d}" if self.by_our_id else str(5_000_000_000_000_000 + len(self.calls))
        call = self.calls[id] = Sent(text, ledger.calls, id, fields.get("StatusCallback", ""), self.rig.clock.wall())
        latency_ms = self.random.randint(5, 4_000)
        call.lost = self.random.random() < 0.03
        loop = asyncio.get_running_loop()
        loop.call_later(latency_ms / 1_000 + 1e-4, self._answered, call)
        self._schedule(call, latency_ms / 1_000)
        if call.lost:
            return NoAnswer("the connection was reset"), latency_ms
        if self.by_our_id:
            return answer(201, sid=id, status="queued", num_segments="1", price=None), latency_ms
        return Response(200, {}, json.dumps({"id": id, "message_status": "pending"}).encode()), latency_ms

    def _listed(self, request: Request) -> Outcome:
        to = parse_qs(urlsplit(request.url).query)["To"][0]
        calls = [call for call in self.calls.values() if number(int(call.text)) == to]
        rows = [
            {
                "sid": call.id,
                "body": call.text,
                "status": "sent",
                "date_created": formatdate(call.at // 1_000, usegmt=True),
            }
            for call in calls
        ]
        return answer(200, messages=rows)

    def _answered(self, call: Sent) -> None:
        call.answered, ledger = True, self.ledgers[call.text]
        if call.lost and not self.by_our_id:
            ledger.lost()
            return
        ledger.accepted(call.n)
        for word, meaning in sorted(call.early, key=lambda each: RANKS.index(each[0]))[-1:]:
            ledger.heard(call.n, word, meaning, self.rig.clock.wall())

    # -- receipts ----------------------------------------------------------------------------------------------------

    def _schedule(self, call: Sent, latency_s: float) -> None:
        words, meaning, _ = self.random.choices(FATES, [weight for *_, weight in FATES])[0]
        loop = asyncio.get_running_loop()
        for word in words:
            for _ in range(self.random.choice([1, 1, 2])):
                spans = [(0, latency_s), (latency_s, 50.0), (latency_s, 300.0), (HOUR_S, HOUR_S + 60)]
                at = loop.time() + self.random.uniform(*self.random.choice(spans))
                at = (int(at / GRID_S) + 1) * GRID_S - GRID_S / 3
                loop.call_at(at if at > loop.time() else at + GRID_S, self._send, call, word, meaning)
                self.sent += 1

    def _send(self, call: Sent, word: str, meaning: str) -> None:
        self.early += not call.answered
        task = asyncio.get_running_loop().create_task(self._post(call, word, meaning))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _post(self, call: Sent, word: str, meaning: str) -> None:
        now, ledger = self.rig.clock.wall(), self.ledgers[call.text]
        if self.by_our_id or (call.answered and not call.lost):
            ledger.heard(call.n, word, meaning, now)
        elif not call.lost:
            call.early.append((word, meaning))
        self.answers[await post(self.rig, self._posted(call, word, meaning, now))] += 1

    def _posted(self, call: Sent, word: str, meaning: str, now: int) -> Posted:
        if self.by_our_id:
            code = {"": None, "final": 30005, "again": 30001}[meaning] if word == "undelivered" else None
            return twilio_report(call.url, call.id, word, code)
        words = {"queued": "pending", "sent": "success", "undelivered": "failed", "delivered": "delivered"}
        result = {"": None, "final": "no_route", "again": "time_out"}[meaning] if word == "undelivered" else "accepted"
        return dialpad_report(call.id, words[word], result, now)


def number(n: int) -> str:
    return f"+1415555{n:04d}"


AGAIN = CodeBook(codes={"time_out": CodeRule("retry", None, CALLS, WAITS_MS)})
"""Twilio's table says the same of 30001 by itself."""


def prepare(rig: Rig, dialect: str) -> Storm:
    storm = Storm(rig, by_our_id=dialect == "twilio", seed=6)
    rules = rig.rules(max_in_flight=400, on_uncertain="hold", codes=AGAIN)
    rig.providers = [(twilio() if dialect == "twilio" else dialpad(), rules)]
    rig.public_url = PUBLIC
    rig.script = storm
    return storm


@pytest.mark.parametrize("dialect", ["twilio", "dialpad"])
def test_ten_thousand_receipts_in_any_order(rig: Rig, dialect: str) -> None:
    """Also: no call too many or too early, kept counts are a recount's, nothing is told twice, nothing is held."""
    storm = prepare(rig, dialect)

    async def story() -> None:
        await rig.start()
        ids: dict[str, str] = {}
        for n in range(MESSAGES):
            storm.ledgers[str(n)] = Ledger()
            ids[await rig.accepted(to=number(n), text=str(n))] = str(n)
            await rig.seconds(0.01)
        await rig.seconds(4 * HOUR_S)
        assert storm.tasks == set()
        assert storm.answers == {200: storm.sent}
        assert storm.sent > RECEIPTS
        assert storm.early > storm.sent / 10
        await check(rig, storm, ids)
        assert look.leftovers(rig.engine) == []
        await rig.stop()

    rig.run(story)


async def check(rig: Rig, storm: Storm, ids: dict[str, str]) -> None:
    """All that must be true in the end."""
    wrong = {text: ledger.wrong for text, ledger in storm.ledgers.items() if ledger.wrong}
    assert wrong == {}
    found = read(rig, "SELECT m.id, m.state FROM messages AS m")
    states = ("pending", "processing", "sent", "delivered", "undelivered", "failed")
    differ = {
        ids[id]: (states[n], storm.ledgers[ids[id]]) for id, n in found if states[n] != storm.ledgers[ids[id]].state
    }
    assert differ == {}
    words = read(rig, "SELECT m.id, a.n, a.receipt FROM attempts AS a JOIN messages AS m USING (seq)")
    kept = {(ids[id], n): None if rank is None else RANKS[rank] for id, n, rank in words}
    expected = {
        (text, n): ledger.words.get(n) for text, ledger in storm.ledgers.items() for n in range(1, ledger.calls + 1)
    }
    assert kept == expected
    with sqlite3.connect(rig.path) as database:
        assert look.recount(database) == []
    database.close()
    told = Counter((ids[str(event.fields["id"])], event.kind) for event in rig.events if event.kind in TOLD)
    assert told == Counter((text, KINDS[each]) for text, ledger in storm.ledgers.items() for each in ledger.told)
    # Nothing is known of those whose answer was lost and that nobody can be asked for; for a day they wait.
    unknown = {call.id for call in storm.calls.values() if call.lost and not storm.by_our_id}
    assert {id for (id,) in read(rig, "SELECT provider_message_id FROM receipts")} <= unknown


KINDS = {
    "delivered": Kind.MESSAGE_DELIVERED,
    "undelivered": Kind.MESSAGE_UNDELIVERED,
    "again": Kind.MESSAGE_RETRY_SCHEDULED,
}
TOLD = frozenset(KINDS.values())


def read(rig: Rig, query: str) -> list[Any]:
    """Straight from the file."""
    database = sqlite3.connect(rig.path)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()
