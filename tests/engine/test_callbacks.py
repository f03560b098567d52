"""Does every callback arrive, signed, once its receiver is there; and does none hold up another, or anything else?"""

from __future__ import annotations

import asyncio
import base64
import gc
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import pytest
from standardwebhooks import WebhookVerificationError
from structlog.testing import capture_logs

from smsd.core.callback import Callback, CallbackRules, place_of
from smsd.core.events import Event, Kind
from smsd.core.message import Instant
from smsd.core.units import DAY, HOUR, MINUTE, SECOND
from smsd.engine.bus import Bus
from smsd.engine.callbacks import HELD, IN_FLIGHT, READ, Callbacks
from smsd.engine.callout import Callout, Look, NoLookUpError
from smsd.engine.places import REMEMBERED, Host, Places
from smsd.engine.receivers import MOST_LINES, Receivers
from smsd.engine.tries import Moment
from smsd.store import AcceptResult, Stored, StoreError, Tracking
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import draft
from tests.doubles.clock import ManualClock
from tests.doubles.inline_connection import inline
from tests.doubles.receiver import OK, Got, Receiver, never, status

OLD, NEW, OTHER = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2, 3))
LOCAL = (ip_network("127.0.0.0/8"),)
RULES = CallbackRules(secret=(OLD,), allowed=LOCAL, timeout_ms=5_000)


class Watched(SqliteOutbox):
    """An outbox that counts what is read of it, and fails or is slow when told to."""

    asked = 0
    reads = 0
    failing = 0

    def __init__(self, path: Path) -> None:
        super().__init__(path, on_fatal=lambda error: None, connect=inline(), synchronous="normal")
        self.answering, self.giving_up = asyncio.Event(), asyncio.Event()
        self.answering.set()
        self.giving_up.set()

    async def callbacks_due(
        self, now: Instant, limit: int, without: Collection[str] = (), but_of: Collection[str] = ()
    ) -> tuple[tuple[Callback, ...], Instant | None]:
        self.asked += 1
        try:
            self._fail()
            found = await super().callbacks_due(now, limit, without, but_of)
            await self.answering.wait()
            return found
        finally:
            self.reads += 1

    async def url_gone(self, tenant: str, url: str, now: Instant) -> int:
        await self.giving_up.wait()
        return await super().url_gone(tenant, url, now)

    async def callback_told(self, ids: Sequence[str]) -> None:
        self._fail()
        await super().callback_told(ids)

    def _fail(self) -> None:
        if self.failing:
            self.failing -= 1
            raise StoreError("the disk went away")


class Post:
    """The real outbox, and the loop that is tried."""

    def __init__(self, directory: Path) -> None:
        # Receivers check the time of a signature by the machine's clock.
        self.clock = ManualClock(wall=int(time.time() * 1_000))
        self.path = directory / "outbox.db"
        self.outbox = Watched(self.path)
        self.events: list[Event] = []
        self.results: Counter[str] = Counter()
        self.drafts = 0
        self.look: Look | None = None
        self.urls: dict[str, str] = {}

    def fill(self, count: int, url: str) -> None:
        """So many callbacks as the outbox would have written them; it is closed."""
        now, place = self.clock.wall(), place_of("shop", url)
        with closing(sqlite3.connect(self.path)) as db, db:
            db.execute(
                "WITH n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT ?) "
                "INSERT INTO callbacks (id, event, tenant, subject, url, place, payload, created_at, due) "
                "SELECT 'evt_' || n, 'message.sent', 'shop', n, ?, ?, ?, ?, ? FROM n",
                (count, url, place, '{"metadata": "' + "x" * 2_000 + '"}', now, now),
            )
            db.execute("INSERT INTO callback_places (place, due) VALUES (?, ?)", (place, now))
            db.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('callbacks_waiting', ?)", (count,))

    async def open(self, rules: CallbackRules = RULES) -> None:
        await self.outbox.open(self.clock.wall())
        self.begin(rules)

    def begin(self, rules: CallbackRules = RULES) -> None:
        """(Again) a loop."""
        bus = Bus()
        bus.subscribe(self.events.append)
        self.callbacks = Callbacks(
            self.outbox,
            self.outbox,
            bus,
            self.clock,
            lambda: 0.5,
            lambda result: self.results.update([result]),
            partial(Callout, look=self.look),
        )
        self.callbacks.rule(rules)
        self.outbox.notify(lambda received: None, self.callbacks.wake)
        self.task = asyncio.create_task(self.callbacks.run())

    async def end(self, grace_s: float = 1.0) -> None:
        self.task.cancel()
        await self.callbacks.close(grace_s)
        await asyncio.gather(self.task, return_exceptions=True)

    async def happens(self, count: int = 1, url: str | None = None, tenant: str = "shop", **fields: object) -> None:
        """So many messages expire, which is told."""
        if url is not None and "callback_url" not in fields:
            self.urls[tenant] = url
            await self.outbox.track(Tracking(callbacks=self.urls))
        now, results = self.clock.wall(), list[AcceptResult]()
        for _ in range(count):
            self.drafts += 1
            self.outbox.accept(
                draft(self.drafts, tenant=tenant, created_at=now, due=now, expires_at=now + 1, **fields), results.append
            )
        self.clock.advance(1)
        await until(lambda: len(results) == count)
        assert all(isinstance(each, Stored) for each in results)
        left = count
        while left:
            expired, _ = await self.outbox.expire(self.clock.wall(), 500)
            left -= len(expired)

    async def later(self, ms: int) -> None:
        """Time passes, and all that is due is tried."""
        self.clock.advance(ms)
        reads = self.outbox.reads
        self.callbacks.wake()
        await until(lambda: self.outbox.reads > reads)
        await self.idle()

    async def idle(self) -> None:
        """Until nothing is called and nothing is left to read."""
        mine, box = self.callbacks, self.outbox
        await until(lambda: not (mine._calls or mine._look or mine._line) and box.asked == box.reads)

    async def idle_but(self, calls: int) -> None:
        """Until no more than these are called."""
        await until(lambda: len(self.callbacks._calls) == calls)

    async def waiting(self) -> list[Callback]:
        return list(await self.outbox.callbacks(None, False, None, 1_000))

    async def failed(self) -> list[Callback]:
        return list(await self.outbox.callbacks(None, True, None, 1_000))

    async def all_in_outbox_told(self) -> None:
        async def none_left() -> bool:
            return (await self.callbacks.counts()).waiting == 0

        await until(none_left)

    async def all_told(self) -> None:
        await self.all_in_outbox_told()
        await self.idle()


async def until(true: Callable[[], bool | Awaitable[bool]], seconds: float = 30.0) -> None:
    """Real calls take real time: wait for what they come to."""
    async with asyncio.timeout(seconds):
        while True:
            found = true()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.002)


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    post = Post(tmp_path)
    await post.open()
    yield post
    await post.end()
    await post.outbox.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = await Receiver().start()
    yield receiver
    await receiver.stop()


# -- what arrives ------------------------------------------------------------------------------------------------------


async def test_what_happened_is_told_once_and_signed(post: Post, receiver: Receiver) -> None:
    await post.happens(3, receiver.url)
    await post.all_told()
    assert len(receiver.got) == len(set(receiver.ids)) == 3
    for got in receiver.got:
        assert got.verified_by(OLD)
        with pytest.raises(WebhookVerificationError):
            got.verified_by(NEW)
        assert got.event["type"] == "message.expired"
        assert got.id == f"evt_{got.event['data']['id']}_0_expired"
        assert "Your code" not in got.body.decode()
    assert post.results == {"told": 3}
    assert post.events == []
    counts = await post.callbacks.counts()
    assert (counts.waiting, counts.failed, counts.in_flight, counts.resting) == (0, 0, 0, 0)


async def test_a_message_may_name_its_own_url(post: Post, receiver: Receiver) -> None:
    own = await Receiver().start()
    await post.happens(1, receiver.url, callback_url=own.url)
    await post.happens(1, receiver.url)
    await post.all_told()
    await own.stop()
    assert len(own.got) == len(receiver.got) == 1
    assert own.got[0].verified_by(OLD)


async def test_both_secrets_sign_while_they_are_changed(post: Post, receiver: Receiver) -> None:
    post.callbacks.rule(replace(RULES, secret=(OTHER,), secrets={"shop": (OLD, NEW)}))
    await post.happens(2, receiver.url)
    await post.all_told()
    for got in receiver.got:
        assert got.verified_by(OLD) and got.verified_by(NEW)
        with pytest.raises(WebhookVerificationError):
            got.verified_by(OTHER)


async def test_each_try_is_signed_anew_by_the_secrets_of_its_moment(post: Post, receiver: Receiver) -> None:
    receiver.answer = lambda got: status(500)
    await post.happens(1, receiver.url)
    await until(lambda: post.results["failed"] == 1)
    await post.idle()
    post.callbacks.rule(replace(RULES, secret=(NEW,)))
    receiver.answer = lambda got: OK
    await post.later(5 * SECOND)
    await post.all_told()
    first, second = receiver.got
    assert first.verified_by(OLD) and second.verified_by(NEW)
    with pytest.raises(WebhookVerificationError):
        second.verified_by(OLD)
    assert (first.id, first.body) == (second.id, second.body)
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) >= 5


async def test_without_a_secret_nothing_goes_out(post: Post, receiver: Receiver) -> None:
    post.callbacks.rule(replace(RULES, secret=()))
    await post.happens(1, receiver.url)
    await until(lambda: bool(post.events))
    (failed,) = await post.failed()
    assert failed.error is not None and failed.error.startswith("its tenant has no secret to sign with: set")
    assert failed.tries == 1
    assert receiver.connections == 0
    post.callbacks.rule(RULES)
    assert await post.outbox.replay_callbacks([failed.id], None, post.clock.wall(), 10) == 1
    await post.all_told()
    assert receiver.ids == [failed.id]


# -- what does not -----------------------------------------------------------------------------------------------------


async def test_a_failed_try_is_kept_with_why_and_when(post: Post, receiver: Receiver) -> None:
    receiver.answer = lambda got: status(500, body=b"hush")
    await post.happens(1, receiver.url)
    await until(lambda: post.results["failed"] == 1)
    await post.idle()
    (kept,) = await post.waiting()
    now = post.clock.wall()
    assert (kept.tries, kept.error, kept.http_status, kept.tried_at) == (1, "HTTP 500", 500, now)
    assert kept.due == now + 5 * SECOND
    for n, wait in enumerate((5 * SECOND, 30 * SECOND, 2 * MINUTE, 10 * MINUTE), 1):
        await post.later(wait - 1)
        assert len(receiver.got) == n, "not before its time"
        await post.later(1)
        assert len(receiver.got) == n + 1
    assert post.events == [], "no single try is an event"


async def test_after_its_time_it_is_given_up_and_may_be_replayed(post: Post, receiver: Receiver) -> None:
    receiver.answer = lambda got: status(404)
    await post.happens(1, f"{receiver.url}?key=hush")
    await until(lambda: post.results["failed"] == 1)
    while not post.events:
        await post.later(9 * HOUR)
    assert len(receiver.got) == 9, "at 0, then every 9 hours while the clock is looked at so seldom"
    (event,) = post.events
    (failed,) = await post.failed()
    assert event.kind is Kind.CALLBACK_FAILED
    assert event.fields == {
        "id": failed.subject,
        "callback": failed.id,
        "about": "message.expired",
        "tenant": "shop",
        "origin": f"http://127.0.0.1:{receiver.port}",
        "tries": 9,
        "error": "HTTP 404",
        "http_status": 404,
        "callbacks": 1,
    }
    assert await post.waiting() == []
    receiver.answer = lambda got: OK
    await post.outbox.replay_callbacks(None, None, post.clock.wall(), 10)
    await post.all_told()
    assert set(receiver.ids) == {failed.id} and len(receiver.got) == 10


async def test_the_receiver_may_ask_for_time(post: Post, receiver: Receiver) -> None:
    receiver.answer = lambda got: status(429, "Retry-After: 90")
    await post.happens(1, receiver.url)
    await until(lambda: post.results["failed"] == 1)
    await post.later(89 * SECOND)
    assert len(receiver.got) == 1
    receiver.answer = lambda got: status(503, "Retry-After: 86400")
    await post.later(1 * SECOND)
    assert len(receiver.got) == 2
    await post.later(HOUR - 1)
    assert len(receiver.got) == 2
    await post.later(1)
    assert len(receiver.got) == 3, "a day is more than it may ask for"


async def test_a_redirect_fails_and_is_never_followed(post: Post, receiver: Receiver) -> None:
    trap = await Receiver().start()
    receiver.answer = lambda got: status(307, f"Location: {trap.url}")
    await post.happens(1, receiver.url)
    await until(lambda: post.results["failed"] == 1)
    await post.idle()
    (kept,) = await post.waiting()
    await trap.stop()
    assert kept.error == "HTTP 307"
    assert trap.connections == 0


async def test_a_private_address_is_given_up_at_once(post: Post, receiver: Receiver) -> None:
    post.callbacks.rule(replace(RULES, allowed=()))
    await post.happens(1, f"http://localhost:{receiver.port}/told")
    await until(lambda: bool(post.events))
    assert post.results == {"refused": 1}
    (failed,) = await post.failed()
    assert failed.error is not None and "which is not a public address" in failed.error
    assert receiver.connections == 0


async def test_a_name_that_turns_private_is_never_connected(tmp_path: Path, receiver: Receiver) -> None:
    post = Post(tmp_path)
    answers = [["2d00::1"], ["127.0.0.1"]]

    async def look(host: str) -> Sequence[str]:
        return answers.pop(0)

    post.look = look
    await post.open()
    post.callbacks.rule(replace(RULES, allowed=(), timeout_ms=200))
    await post.happens(1, f"http://shop.example:{receiver.port}/told")
    await until(lambda: post.results["failed"] == 1)
    await post.later(5 * SECOND)
    await until(lambda: post.results["refused"] == 1)
    await post.end()
    await post.outbox.close()
    assert answers == []
    assert receiver.connections == 0


async def test_a_rule_that_allows_no_more_counts_for_open_connections_too(post: Post, receiver: Receiver) -> None:
    await post.happens(1, receiver.url)
    await post.all_told()
    assert receiver.connections == 1
    post.callbacks.rule(replace(RULES, allowed=()))
    await post.happens(1, receiver.url)
    await until(lambda: post.results["refused"] == 1)
    assert len(receiver.got) == 1


async def test_410_ends_it_for_the_url(post: Post, receiver: Receiver) -> None:
    receiver.answer = lambda got: status(410) if "gone" in got.line else OK
    await post.outbox.track(Tracking())
    gone = f"{receiver.url}/gone"
    await post.end()
    await post.happens(30, callback_url=gone)
    await post.happens(5, callback_url=receiver.url)
    post.begin()
    await post.all_told()
    lines = Counter(got.line for got in receiver.got)
    assert lines["POST /told HTTP/1.1"] == 5
    assert 1 <= lines["POST /told/gone HTTP/1.1"] <= RULES.per_host, "none was begun after the first answer"
    failed = await post.failed()
    assert len(failed) == 30 and {each.http_status for each in failed} == {410}
    (event,) = post.events
    assert (event.fields["callbacks"], event.fields["http_status"]) == (30, 410)
    await post.happens(1, callback_url=gone)
    await post.idle()
    assert len(await post.failed()) == 31, "nothing more is sent there"
    receiver.answer = lambda got: OK
    await post.outbox.replay_callbacks([failed[0].id], None, post.clock.wall(), 10)
    await post.all_told()
    assert receiver.ids[-1] == failed[0].id


# -- what was read may be old ------------------------------------------------------------------------------------------


class Held:
    """Answers when it is let go."""

    def __init__(self, said: bytes) -> None:
        self.said = said
        self.free = asyncio.Event()

    async def __call__(self, got: Got) -> bytes:
        await self.free.wait()
        return self.said


async def test_what_is_in_flight_is_not_called_again(post: Post, receiver: Receiver) -> None:
    held = receiver.answer = Held(OK)
    await post.happens(2, receiver.url)
    await until(lambda: receiver.open_now == 2)
    reads = post.outbox.reads
    await post.happens(1, receiver.url)
    await until(lambda: receiver.open_now == 3 and post.outbox.reads > reads)
    held.free.set()
    await post.all_told()
    assert len(receiver.ids) == len(set(receiver.ids)) == 3


async def test_what_came_through_while_the_outbox_was_read_is_not_called_again(post: Post, receiver: Receiver) -> None:
    held = receiver.answer = Held(OK)
    await post.happens(1, receiver.url)
    await until(lambda: receiver.open_now == 1)
    post.outbox.answering.clear()
    post.callbacks.wake()
    await until(lambda: post.outbox.asked > post.outbox.reads)
    held.free.set()
    await post.all_in_outbox_told()
    post.outbox.answering.set()
    await post.idle()
    assert len(receiver.got) == 1


@pytest.mark.parametrize("slow", ["answering", "giving_up"])
async def test_nothing_is_called_of_a_url_that_went_meanwhile(slow: str, post: Post, receiver: Receiver) -> None:
    """Its callbacks were read before it said so, or before they were given up."""
    post.callbacks.rule(replace(RULES, per_host=2))
    held = receiver.answer = Held(status(410))
    await post.happens(1, receiver.url)
    await until(lambda: receiver.open_now == 1)
    gate: asyncio.Event = getattr(post.outbox, slow)
    gate.clear()
    reads = post.outbox.reads
    if slow == "answering":
        await post.happens(30, receiver.url)
        await until(lambda: post.outbox.asked > post.outbox.reads)
        held.free.set()
        await post.all_in_outbox_told()
    else:
        held.free.set()
        await until(lambda: post.results["gone"] == 1)
        await post.happens(30, receiver.url)
        await until(lambda: post.outbox.reads > reads)
    gate.set()
    await post.all_told()
    assert len(receiver.got) == 1
    assert len(await post.failed()) == 31


# -- those that are down, or slow --------------------------------------------------------------------------------------


async def test_a_receiver_that_is_down_for_a_day(post: Post, receiver: Receiver) -> None:
    post.clock.step(-DAY)
    post.callbacks.rule(replace(RULES, per_host=16))
    await receiver.stop()
    await post.happens(400, receiver.url)
    waited = 0
    while waited < DAY:
        wait = 10 * SECOND if waited < 3 * MINUTE else 40 * MINUTE
        await post.later(wait)
        waited += wait
        assert len(post.callbacks._calls) == post.callbacks._held == 0, "nothing of it is held while it rests"
    tries = post.results["failed"]
    assert 30 < tries < 70, "one at a time"
    assert (await post.callbacks.counts()).waiting == 400
    await receiver.start()
    receiver.got.clear()
    for _ in range(8):
        await post.later(5 * MINUTE)
    await post.all_told()
    assert len(receiver.ids) == len(set(receiver.ids)) == 400
    assert all(got.event["type"] == "message.expired" for got in receiver.got)
    assert receiver.most_at_once <= 16
    assert post.events == []


async def test_twenty_thousand_waiting_are_not_in_memory(tmp_path: Path, receiver: Receiver) -> None:
    post = Post(tmp_path)
    await post.outbox.open(post.clock.wall())
    await post.outbox.close()
    post = Post(tmp_path)
    post.fill(20_000, receiver.url)
    await post.open(replace(RULES, per_host=1))
    asked = asyncio.Event()

    async def hold(got: Got) -> bytes:
        await asked.wait()
        return OK

    receiver.answer = hold
    await until(lambda: bool(receiver.got) and not post.callbacks._look)
    gc.collect()
    here = sum(type(each) is Callback for each in gc.get_objects())
    assert 1 <= here <= READ + IN_FLIGHT
    assert (await post.callbacks.counts()).waiting == 20_000
    reads = post.outbox.reads
    post.callbacks.wake()
    await until(lambda: post.outbox.reads > reads)
    gc.collect()
    assert sum(type(each) is Callback for each in gc.get_objects()) == here, "what is not needed is not read"
    asked.set()
    await until(lambda: len(receiver.got) > 200)
    await post.end()
    await post.outbox.close()


async def test_one_that_is_slow_holds_up_no_other(post: Post, receiver: Receiver) -> None:
    slow = await Receiver(never).start()
    await post.happens(200, slow.url, "slow")
    alone = RULES.per_host - 1
    await until(lambda: slow.open_now == alone)
    await post.happens(50, receiver.url)
    await until(lambda: len(receiver.got) == 50)
    assert len(slow.got) == alone
    await post.idle_but(alone)
    assert (await post.callbacks.counts()).in_flight == alone
    await post.end(0)
    await slow.stop()


async def test_many_slow_ones_leave_room_in_the_end(post: Post, receiver: Receiver) -> None:
    slow = [await Receiver(never).start() for _ in range(24)]
    post.callbacks.rule(replace(RULES, timeout_ms=300))
    for n, each in enumerate(slow):
        await post.happens(8, each.url, f"slow{n}")
    await until(lambda: len(post.callbacks._calls) > IN_FLIGHT - 3)
    await post.happens(5, receiver.url)
    await until(lambda: len(receiver.got) == 5)
    await post.end(0)
    await asyncio.gather(*(each.stop() for each in slow))


async def test_one_that_answers_no_is_not_left_alone(post: Post, receiver: Receiver) -> None:
    """A URL that is wrong says nothing of its neighbours at the same host."""
    receiver.answer = lambda got: OK if got.line == "POST /told HTTP/1.1" else status(404)
    await post.happens(40, f"{receiver.url}/wrong", "wrong")
    await post.happens(10, receiver.url)
    await until(lambda: post.results == {"failed": 40, "told": 10})


async def test_while_one_rests_nothing_is_read_again_and_again(post: Post, receiver: Receiver) -> None:
    await receiver.stop()
    await post.happens(50, receiver.url)
    await until(lambda: post.results["failed"] >= 5)
    await post.later(0)
    reads = post.outbox.reads
    assert reads < 10
    await asyncio.sleep(0.1)
    assert post.outbox.reads == reads
    assert (await post.callbacks.counts()).resting == 1


def test_only_so_many_places_are_remembered() -> None:
    made, places = Callback("evt", Kind.MESSAGE_SENT, "shop", "1", "http://x", "x", "{}", 1, 1), Places()
    for n in range(REMEMBERED + 50):
        place = places.of(replace(made, tenant=f"t{n // 2}", origin=f"o{n}"))
        place.rest.failed(0)
        places.failed(place)
        places.forget(place)
    assert len(places) == len(list(places.hosts)) == REMEMBERED
    assert [next(iter(places)).name, place.name] == ["t25 o50", f"t{(REMEMBERED + 49) // 2} o{REMEMBERED + 49}"]


# -- one tenant, many hosts --------------------------------------------------------------------------------------------


async def hang(servers: AsyncExitStack, hosts: int) -> int:
    """So many hosts (127.0.1.1 ...) accept and never answer. Their port."""
    port = 0
    for n in range(hosts):
        each = Receiver(never, host=f"127.0.1.{n + 1}", port=port)
        port = (await each.start()).port
        servers.push_async_callback(each.stop)
    return port


async def test_a_tenant_with_many_hosts_that_hang_holds_up_no_other(post: Post, receiver: Receiver) -> None:
    async with AsyncExitStack() as servers:
        port = await hang(servers, 100)
        for each in range(100):
            await post.happens(4, callback_url=f"http://127.0.1.{each + 1}:{port}/", tenant="evil")
        await until(lambda: len(post.callbacks._calls) == IN_FLIGHT // 2 and not post.callbacks._look)
        assert post.callbacks._held <= HELD // 2
        for count in range(1, 6):
            at = time.monotonic()
            await post.happens(1, receiver.url, "bank")
            await until(lambda: len(receiver.got) == count)  # noqa: B023 - awaited at once
            assert time.monotonic() - at < 1
        await post.happens(100, receiver.url, "bank")
        await until(lambda: len(receiver.got) == 105)
        await post.idle_but(IN_FLIGHT // 2)
        reads = post.outbox.reads
        await asyncio.sleep(0.1)
        assert post.outbox.reads == reads, "what is left of the other's is not read again and again"
        await post.end(0)


async def test_what_a_tenant_had_to_leave_in_the_outbox_is_told_too(post: Post, receiver: Receiver) -> None:
    post.callbacks.rule(replace(RULES, timeout_ms=60_000))
    held = Held(OK)
    async with AsyncExitStack() as servers:
        others = [Receiver(held, host=f"127.0.1.{n + 1}", port=receiver.port) for n in range(24)]
        for each in others:
            servers.push_async_callback((await each.start()).stop)
            await post.happens(20, callback_url=each.url)
        mine = post.callbacks
        await until(lambda: (len(mine._calls), mine._held) == (IN_FLIGHT // 2, HELD // 2) and not mine._look)
        await post.happens(40, callback_url=receiver.url, tenant="bank")
        await until(lambda: len(receiver.got) == 40)
        held.free.set()
        await post.all_told()
        assert sum(len(each.got) for each in others) == 480
        assert list(mine._places.shares) == []


async def test_receivers_that_are_slow_hold_up_no_other_of_their_tenant(post: Post, receiver: Receiver) -> None:
    async with AsyncExitStack() as servers:
        port = await hang(servers, 8)
        for each in range(8):
            await post.happens(100, callback_url=f"http://127.0.1.{each + 1}:{port}/")
        await until(lambda: len(post.callbacks._calls) == 8 * (RULES.per_host - 1))
        await post.happens(50, receiver.url)
        await until(lambda: len(receiver.got) == 50)
        await post.end(0)


async def test_names_that_are_not_looked_up_are_no_tries(tmp_path: Path, receiver: Receiver) -> None:
    free = False

    async def look(host: str) -> Sequence[str]:
        if not free:
            raise NoLookUpError("too many names are being looked up")
        return ["127.0.0.1"]

    post = Post(tmp_path)
    post.look = look
    await post.open()
    await post.happens(20, f"http://shop.example:{receiver.port}/told")
    await post.idle()
    assert {(each.tries, each.error) for each in await post.waiting()} == {(0, None)}
    assert (await post.callbacks.counts()).resting == 1
    assert (post.results, post.outbox.reads < 10) == ({}, True)
    free = True
    await post.later(5 * SECOND)
    await post.all_told()
    assert len(receiver.got) == 20
    await post.end()
    await post.outbox.close()


# -- what is said of one that is down ----------------------------------------------------------------------------------


async def test_one_that_is_down_is_logged_once_and_when_it_is_back(post: Post, receiver: Receiver) -> None:
    await receiver.stop()
    with capture_logs() as logs:
        await post.happens(20, f"{receiver.url}?token=hush")
        await until(lambda: post.results["failed"] >= 5)
        await post.idle()
        for _ in range(4):
            await post.later(5 * MINUTE)
        await receiver.start()
        for _ in range(4):
            await post.later(10 * MINUTE)
        await post.all_told()
    down, up = [each for each in logs if each["log_level"] != "debug"]
    origin = f"http://127.0.0.1:{receiver.port}"
    assert down == {
        "event": "a receiver does not work: its callbacks wait, and it is tried now and then",
        "log_level": "warning",
        "tenant": "shop",
        "origin": origin,
        "why": f"no connection to 127.0.0.1:{receiver.port} (Connection refused)",
        "rest_s": 5,
    }
    assert up == {"event": "a receiver works again", "log_level": "info", "tenant": "shop", "origin": origin}


def test_many_that_are_down_do_not_fill_the_log() -> None:
    clock = ManualClock()
    receivers = Receivers(clock)
    with capture_logs() as logs:
        for n in range(1_000):
            receivers.is_down("shop", f"http://{n}.example:80", "HTTP 500", 5_000_000)
        assert len(logs) == MOST_LINES
        clock.advance(60_000)
        receivers.works("shop", "http://1.example:80")
        receivers.works("shop", "http://2.example:80")
    assert [each.get("lines_left_out") for each in logs[MOST_LINES:]] == [1_000 - MOST_LINES, None]


@pytest.mark.parametrize(("tenant", "tried"), [("shop", True), (None, True), ("bank", False)])
async def test_an_operator_ends_rests(tenant: str | None, tried: bool, post: Post, receiver: Receiver) -> None:
    await receiver.stop()
    await post.happens(50, receiver.url)
    await until(lambda: post.results["failed"] >= 5)
    await post.idle()
    await receiver.start()
    post.callbacks.end_rests(tenant)
    if tried:
        await until(lambda: post.results["told"] == 50 - post.results["failed"])
        assert (await post.callbacks.counts()).resting == 0
    else:
        await asyncio.sleep(0.1)
        assert receiver.got == []


# -- one host, several tenants -----------------------------------------------------------------------------------------


def shop_fails(bad: bytes | Callable[[Got], Awaitable[bytes]]) -> Callable[[Got], bytes | Awaitable[bytes]]:
    """The URL /told/shop does."""

    def answer(got: Got) -> bytes | Awaitable[bytes]:
        if "/shop" not in got.line:
            return OK
        return bad if isinstance(bad, bytes) else bad(got)

    return answer


def of_bank(receiver: Receiver) -> int:
    return sum(got.event["data"]["tenant"] == "bank" for got in receiver.got)


@pytest.mark.parametrize("bad", [status(500), never], ids=["answers 500", "hangs"])
async def test_one_tenants_mistake_is_no_others_at_the_same_host(
    bad: bytes | Callable[[Got], Awaitable[bytes]], post: Post, receiver: Receiver
) -> None:
    receiver.answer = shop_fails(bad)
    await post.happens(60, f"{receiver.url}/shop")
    await until(lambda: len(receiver.got) >= RULES.per_host - 1)
    for _ in range(3):
        before, at = of_bank(receiver), time.monotonic()
        await post.happens(20, receiver.url, "bank")
        await until(lambda: of_bank(receiver) == before + 20)  # noqa: B023 - awaited at once
        assert time.monotonic() - at < 2
    assert receiver.most_at_once <= RULES.per_host
    assert post.results["told"] >= 60 - RULES.per_host
    if bad is not never:
        assert (await post.callbacks.counts()).resting == 1, "the shop's, and nobody else's"
    await post.end(0)


async def test_a_host_is_called_by_all_together_no_more_often_than_it_may_be(post: Post, receiver: Receiver) -> None:
    receiver.answer = shop_fails(never)
    await post.happens(20, f"{receiver.url}/shop")
    await until(lambda: receiver.open_now == 3)
    for tenant in ("a", "b", "c"):
        await post.happens(40, receiver.url, tenant)
    await until(lambda: post.results["told"] == 120)
    assert receiver.most_at_once == RULES.per_host
    await post.end(0)


def test_turns_at_a_host() -> None:
    places, per_host = Places(), 6
    made = Callback("evt", Kind.MESSAGE_SENT, "shop", "1", "http://x", "x", "{}", 1, 1)

    def begun(host: Host) -> list[str]:
        names = []
        while (place := host.next(0, per_host, host.calls, IN_FLIGHT)) is not None:
            place.begin()
            names.append(place.name)
        return names

    for _ in range(10):
        places.of(made).add(made, Moment(0, 0))
    shop = places.of(made)
    assert begun(shop.host) == ["shop x"] * 5, "the last is for others"
    other = replace(made, tenant="bank")
    for _ in range(20):
        places.of(other).add(other, Moment(0, 0))
    assert begun(shop.host) == ["bank x"]
    shop.ended()
    assert begun(shop.host) == [], "the last again"
    shop.ended()
    assert begun(shop.host) == ["bank x"]
    shop.ended()
    assert begun(shop.host) == ["shop x"], "in turn"
    for _ in range(3):
        places.of(other).ended()
        assert begun(shop.host) == ["bank x"], "the shop has half of them"
    shop.let_go(lambda callback: False)
    places.of(other).ended()
    assert begun(shop.host) == ["bank x"]
    shop.ended()
    assert begun(shop.host) == ["bank x"], "nobody else waits"
    assert (shop.calls, places.of(other).calls, shop.host.calls) == (2, 3, 5)
    per_host = 1
    alone = places.of(replace(made, origin="y"))
    alone.add(made, Moment(0, 0))
    assert begun(alone.host) == ["shop y"], "where there is one, it is nobody's"


# -- the clock ---------------------------------------------------------------------------------------------------------


async def test_a_step_of_the_clock_says_nothing_of_the_age_of_what_is_called(post: Post, receiver: Receiver) -> None:
    held = receiver.answer = Held(status(500))
    await post.happens(1, receiver.url)
    await until(lambda: receiver.open_now == 1)
    post.clock.step(4 * DAY)
    held.free.set()
    await until(lambda: post.results["failed"] == 1)
    await post.idle()
    (kept,) = await post.waiting()
    assert kept.due == post.clock.wall() + 5 * SECOND
    assert post.events == []


async def test_while_the_outbox_follows_a_step_nothing_is_read(post: Post, receiver: Receiver) -> None:
    post.outbox.answering.clear()
    await post.happens(2, receiver.url)
    await until(lambda: post.outbox.asked > post.outbox.reads)
    post.callbacks.hold(True)
    reads = post.outbox.reads
    post.outbox.answering.set()
    await until(lambda: post.outbox.reads > reads)
    post.callbacks.wake()
    await asyncio.sleep(0.1)
    assert (receiver.got, post.outbox.asked) == ([], post.outbox.reads), "what was read meanwhile counts for nothing"
    post.callbacks.hold(False)
    await post.all_told()
    assert len(receiver.got) == 2


# -- what nobody foresaw -----------------------------------------------------------------------------------------------


async def test_no_call_ends_the_daemon(tmp_path: Path, receiver: Receiver) -> None:
    """Whatever its URL or its receiver brings about in whatever carries it."""

    async def look(host: str) -> Sequence[str]:
        if host == "odd.example":
            raise ValueError("http://odd.example/?token=hush")
        return ["127.0.0.1"]

    post = Post(tmp_path)
    post.look = look
    await post.open()
    await post.happens(1, callback_url="http://odd.example/?token=hush")
    await until(lambda: post.results["failed"] == 1)
    await post.idle()
    await post.happens(1, receiver.url)
    await until(lambda: post.results["told"] == 1)
    (kept,) = await post.waiting()
    assert kept.error == "smsd could not make the call (ValueError): see its log"
    assert not post.task.done()
    await post.end()
    await post.outbox.close()


# -- the outbox, and the end -------------------------------------------------------------------------------------------


async def test_what_came_through_is_not_told_again_when_the_outbox_fails(post: Post, receiver: Receiver) -> None:
    await post.happens(0, receiver.url)
    post.outbox.failing = 2  # the read, and then what became of it
    await post.happens(1, receiver.url)
    await post.all_told()
    assert post.outbox.failing == 0
    assert len(receiver.got) == 1


async def test_at_the_end_calls_have_a_moment_and_else_stay_due(post: Post, receiver: Receiver) -> None:
    slow = await Receiver(never).start()
    release = asyncio.Event()

    async def in_a_moment(got: Got) -> bytes:
        await release.wait()
        return OK

    receiver.answer = in_a_moment
    await post.happens(1, receiver.url)
    await post.happens(1, slow.url, "slow")
    await until(lambda: receiver.open_now == slow.open_now == 1)
    (lost,) = slow.ids
    asyncio.get_running_loop().call_later(0.05, release.set)
    before = asyncio.get_running_loop().time()
    await post.end(0.4)
    assert asyncio.get_running_loop().time() - before < 2
    (left,) = await post.waiting()
    assert (left.id, left.tries, left.due is not None and left.due <= post.clock.wall()) == (lost, 0, True)
    slow.answer = lambda got: OK
    post.begin()
    await post.all_told()
    await slow.stop()
    assert slow.ids == [lost, lost]
    assert slow.got[0].body == slow.got[1].body
    assert len(receiver.got) == 1


async def test_what_waits_at_the_start_is_told(post: Post, receiver: Receiver) -> None:
    await post.end()
    await post.happens(3, receiver.url)
    assert receiver.got == []
    post.begin()
    await post.all_told()
    assert len(receiver.got) == 3


async def test_five_hundred_for_one_receiver_are_told_in_no_time(post: Post, receiver: Receiver) -> None:
    post.callbacks.rule(replace(RULES, per_host=8))
    await post.happens(500, receiver.url)
    await post.all_told()
    assert len(set(receiver.ids)) == len(receiver.ids) == 500
    assert receiver.most_at_once <= 8
    # A read brings a quarter of READ of one place, among them at most what is being called: on a slow machine all of
    # it. A few more are those that new callbacks wake, and the last, which find nothing.
    assert post.outbox.reads <= 500 / (READ // 4 - 8) + 10
