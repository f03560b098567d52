"""How does Sentry hear of an alert?

As an event of its own for each raise and each end, grouped by one fingerprint for each category, so that Sentry shows
one issue for all halts and not one for each. The SDK is an optional package and is imported here alone, in a thread and
when the first alert goes there: whoever has no DSN does not pay for it, and the loop does not stand still while it is
read from disk. Notices that wait for that are WAITING at most; one more pushes the oldest out, which is logged. One
that cannot be captured is logged by its name and dropped, and holds up no other: neither one that the SDK refuses, nor
where the SDK cannot be imported or its client cannot be made, whatever that raises.

The client stands by itself. No integration is on, so it hooks neither logging nor asyncio nor the process's exceptions;
it sends no personal data, no stack, no local variables, and of an alert only what the Notice says. It delivers on a
thread of its own with a bounded queue, so nothing here waits; at the end it is given FLUSH_S, and what it had
not sent by then is logged. It refuses to know when an alert is raised.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Final

import structlog

from smsd import __version__
from smsd.core.alerting import Notice

if TYPE_CHECKING:
    import sentry_sdk
    from sentry_sdk.transport import Transport
    from sentry_sdk.types import Event

log = structlog.get_logger("smsd.alerts")

FLUSH_S: Final = 2.0

ASK_S: Final = 0.05
"""The SDK says to who asks again whether something is left. How many, it says too high: it adds its own reports."""

WAITING: Final = 100


class SentrySounder:
    """Captures each notice with a client of its own."""

    answers = False
    """The SDK says of none whether it arrived."""

    def __init__(self, dsn: str, source: str, transport: type[Transport] | None = None) -> None:
        """`source`: what this smsd is called. `transport`: how events travel (the SDK's way)."""
        self._dsn = dsn
        self._source = source
        self._transport = transport
        self._client: sentry_sdk.Client | None = None
        self._waiting: deque[Notice] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    def sound(self, notice: Notice) -> None:
        """See alarms.Sounder."""
        if self._closed:
            log.error("an alert came after the end of Sentry's line; it is not told there", alert=notice.name)
            return
        if len(self._waiting) >= WAITING:
            log.error("too many alerts wait for Sentry; the oldest is not told", alert=self._waiting.popleft().name)
        self._waiting.append(notice)
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work(), name="alerts sentry")

    async def _work(self) -> None:
        """Until nothing waits any more."""
        try:
            while self._waiting:
                await self._capture(self._waiting[0])
        finally:
            self._worker = None

    async def _capture(self, first: Notice) -> None:
        """Tell the first in line. It stays there while the SDK is read."""
        fault = ""
        try:
            await asyncio.to_thread(import_module, "sentry_sdk")
        except Exception as error:  # not there, or there and broken: that raises what it likes
            fault = type(error).__name__
        if not self._waiting or self._waiting[0] is not first:
            return  # it was pushed out, or another place has it now
        self._waiting.popleft()
        try:
            if not fault:
                self._opened().capture_event(event_of(first))
        except Exception as error:  # whatever the SDK raises: an alert's delivery stops nothing
            fault = type(error).__name__
        if fault:
            log.error("an alert was not told to Sentry", alert=first.name, error=fault)

    def hand_over(self) -> list[Notice]:
        """See alarms.Sounder. What the SDK was given stays with it."""
        self._closed = True
        waiting = [*self._waiting]
        self._waiting.clear()
        return waiting

    async def close(self) -> None:
        """See alarms.Sounder."""
        self._closed = True
        if self._worker is not None:
            worker = self._worker
            await asyncio.wait([worker], timeout=FLUSH_S)
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
        if self._waiting:
            names = [notice.name for notice in self._waiting]
            log.warning("alerts were not told to Sentry before the end", alerts=len(names), names=names)
            self._waiting.clear()
        client, self._client = self._client, None
        # It waits for its thread; the loop has other things to end.
        if client is not None and not await asyncio.to_thread(_ended, client):
            log.warning("the client of Sentry had not sent all alerts before the end")

    def _opened(self) -> sentry_sdk.Client:
        if self._client is None:
            import sentry_sdk

            self._client = sentry_sdk.Client(
                dsn=self._dsn,
                transport=self._transport,
                release=f"smsd@{__version__}",
                server_name=self._source,
                default_integrations=False,
                auto_enabling_integrations=False,
                # No personal data: what says so (send_default_pii) is off unless set, and warns when it is set.
                attach_stacktrace=False,
                include_local_variables=False,
                auto_session_tracking=False,
                send_client_reports=False,
                max_breadcrumbs=0,
                shutdown_timeout=FLUSH_S,
            )
        return self._client


def _ended(client: sentry_sdk.Client) -> bool:
    """End the client; whether it had sent all it was given. Blocks for about FLUSH_S at most."""
    left: list[int] = []
    client.flush(timeout=FLUSH_S)
    client.flush(timeout=ASK_S, callback=lambda pending, _: left.append(pending))
    client.close(timeout=0.0)
    return not left


def event_of(notice: Notice) -> Event:
    """What Sentry is sent."""
    return {
        "level": "error" if notice.raised else "info",
        "logger": "smsd.alerts",
        "message": notice.text,
        "timestamp": datetime.fromtimestamp(notice.at / 1e3, UTC),
        "fingerprint": ["smsd", notice.category],
        "tags": {"alert": notice.name, "state": notice.state, "category": notice.category},
        "extra": {"value": notice.value, "bound": notice.bound, "remedy": notice.remedy},
    }
