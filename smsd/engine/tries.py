"""What does one try of a callback come to, and what is written of it?

Signed by all secrets of its tenant at that moment (Standard Webhooks, https://www.standardwebhooks.com), called, and
what came of it made durable: one that came through is deleted, one that did not is kept with its next time, and after
its last try as given up. One that may not be sent at all, because its tenant has no secret or its host is private, is
given up at once: it stays, and an operator who has mended that replays it. It refuses to know which callback is next
(`callbacks`) and how a call is made (`callout`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from traceback import extract_tb
from typing import Final, TypeVar

import structlog
from standardwebhooks import Webhook

from smsd.clock import Clock
from smsd.core.callback import Callback, CallbackRules
from smsd.core.callee import Network
from smsd.core.calling import next_due
from smsd.core.events import Kind
from smsd.core.message import Instant
from smsd.engine.bus import Bus
from smsd.engine.callout import Callout, Reply
from smsd.store import Outbox, StoreError

T = TypeVar("T")

log = structlog.get_logger("smsd.callbacks")

TRY_AGAIN_S: Final = 1.0
"""After the outbox has failed."""

GONE: Final = 410
"""The answer of a URL that takes no more callbacks."""

UNSIGNED: Final = "its tenant has no secret to sign with: set [callbacks] secret or the tenant's callback_secret"


@dataclass(frozen=True, slots=True)
class Moment:
    """By both clocks."""

    wall: Instant
    boot_us: int


class Tries:
    """Performs callbacks, one at a time each, as the rules of that moment say."""

    def __init__(
        self,
        outbox: Outbox,
        bus: Bus,
        clock: Clock,
        dice: Callable[[], float],
        ended: Callable[[str], None],
        callout: Callable[[Sequence[Network]], Callout],
    ) -> None:
        """`ended` is told how each try went: told, failed, gone, given_up or refused."""
        self._outbox = outbox
        self._bus = bus
        self._clock = clock
        self._dice = dice
        self._ended = ended
        self._make_callout = callout
        self._callout = callout(())
        self._old: list[Callout] = []
        self.rules = CallbackRules()

    def rule(self, rules: CallbackRules) -> None:
        """These rules count from the next try on."""
        if rules.allowed != self.rules.allowed:
            # Its idle connections may lead where nothing may be called any more.
            self._old.append(self._callout)
            self._callout = self._make_callout(rules.allowed)
        self.rules = rules

    async def close_old(self) -> None:
        """Sessions of rules that count no more are closed when their last call has ended."""
        for callout in [each for each in self._old if not each.calls]:
            self._old.remove(callout)
            await callout.close()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        for callout in (*self._old, self._callout):
            await callout.close()

    async def perform(self, callback: Callback, read: Moment, heard: Callable[[Reply], None]) -> Instant | None:
        """Try it once. Returns when it is tried next, None: never. `read`: when it was read from the outbox. `heard` is
        told the answer before anything is written; not of one that may not be sent. For one that could not be called
        for want of means nothing is written: it stays due, and None is returned."""
        rules = self.rules
        secrets = rules.secrets_of(callback.tenant)
        if not secrets:
            await self._give_up(callback, Reply(error=UNSIGNED), "refused")
            return None
        reply = await self._called(callback, secrets, rules.timeout_ms)
        if reply.refused:
            await self._give_up(callback, reply, "refused")
            return None
        heard(reply)
        if reply.postponed:
            return None
        if reply.status is None or not (200 <= reply.status < 300 or reply.status == GONE):
            return await self._failed(callback, reply, rules.give_up_ms, read)
        if reply.status == GONE:
            await self._gone(callback)
        else:
            self._ended("told")
            await self._write(lambda: self._outbox.callback_told([callback.id]))
        return None

    async def _called(self, callback: Callback, secrets: Sequence[str], timeout_ms: int) -> Reply:
        """Whatever a URL or a receiver brings about ends this try, not the daemon."""
        try:
            headers, body = signed(callback, secrets, self._clock.wall()), callback.payload.encode()
            return await self._callout.call(callback.url, headers, body, timeout_ms, callback.tenant)
        except Exception as error:
            # Not the error's own words, nor a traceback with them: the URL may be in them, and secrets in that.
            what, where = type(error).__name__, extract_tb(error.__traceback__)[-1]
            place = f"{where.filename}:{where.lineno}"
            log.error("a callback could not be called", callback=callback.id, error=what, where=place)
            return Reply(error=f"smsd could not make the call ({what}): see its log")

    async def _failed(self, callback: Callback, reply: Reply, give_up_ms: int, read: Moment) -> Instant | None:
        # Its times are of the clock by which it was read: a step since then says nothing of its age.
        was = read.wall + (self._clock.boot() - read.boot_us) // 1_000
        due = next_due(callback, give_up_ms, was, self._dice(), reply.wait_ms)
        if due is None:
            await self._give_up(callback, reply, "given_up")
            return None
        self._ended("failed")
        now = self._clock.wall()
        due += now - was
        tried = _tried(callback, reply, now, due)
        log.debug("a callback failed", callback=callback.id, origin=callback.origin, tries=tried.tries, why=tried.error)
        await self._write(lambda: self._outbox.callback_failed(tried))
        return due

    async def _give_up(self, callback: Callback, reply: Reply, result: str) -> None:
        now = self._clock.wall()
        self._ended(result)
        tried = _tried(callback, reply, now, None)
        await self._write(lambda: self._outbox.callback_failed(tried))
        self._tell(tried, now, 1)

    async def _gone(self, callback: Callback) -> None:
        """Nothing more is sent there, until an operator replays something."""
        now = self._clock.wall()
        self._ended("gone")
        count = await self._write(lambda: self._outbox.url_gone(callback.tenant, callback.url, now))
        if count:
            self._tell(_tried(callback, Reply(GONE), now, None), now, count)

    async def _write(self, write: Callable[[], Awaitable[T]]) -> T:
        """The call was made, so what came of it is written, however long that takes."""
        while True:
            try:
                return await write()
            except StoreError as error:
                log.error("what became of a callback could not be written; trying again", error=str(error))
                await asyncio.sleep(TRY_AGAIN_S)

    def _tell(self, callback: Callback, now: Instant, count: int) -> None:
        """`count`: how many were given up with it. The URL is not told: secrets may be in it."""
        self._bus.publish(
            Kind.CALLBACK_FAILED,
            now,
            id=callback.subject,
            callback=callback.id,
            about=callback.event.value,
            tenant=callback.tenant,
            origin=callback.origin,
            tries=callback.tries,
            error=callback.error,
            http_status=callback.http_status,
            callbacks=count,
        )


def signed(callback: Callback, secrets: Sequence[str], now: Instant) -> dict[str, str]:
    """The headers of Standard Webhooks, with a signature by each of the secrets. The id is the event's."""
    at = datetime.fromtimestamp(now // 1_000, UTC)
    return {
        "webhook-id": callback.id,
        "webhook-timestamp": str(now // 1_000),
        "webhook-signature": " ".join(Webhook(each).sign(callback.id, at, callback.payload) for each in secrets),
    }


def _tried(callback: Callback, reply: Reply, now: Instant, due: Instant | None) -> Callback:
    error = reply.error if reply.status is None else f"HTTP {reply.status}"
    return replace(callback, due=due, tries=callback.tries + 1, error=error, http_status=reply.status, tried_at=now)
