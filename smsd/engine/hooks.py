"""What does a request to one of our webhooks bring, and does it come from the provider?

Every configured provider whose dialect knows webhooks (`providers.base.Webhooks`) may call back; also a disabled one,
for what it took is not done yet. A request must prove itself: by its signature, made over the URL as the provider knows
it (`[http] public_url`), or by the secret in its path, or by both. What it brings is durable before it is answered, and
what comes twice changes nothing, so a provider may repeat as it likes. It refuses to know HTTP (the door) and dialects.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from smsd.clock import Clock
from smsd.core.receipt import Receipt, Status, reading_of
from smsd.engine.bus import Bus
from smsd.engine.hook_calls import CallBook, HookCalls
from smsd.engine.inbound import Inbounds
from smsd.engine.meters import Meters
from smsd.engine.receipts import Receipts
from smsd.engine.setting import Setting
from smsd.providers.base import (
    Hook,
    HookAnswer,
    HookKind,
    HookRefusedError,
    HookUnreadableError,
    InboundText,
    Report,
    Webhooks,
)

MOST_ITEMS: Final = 1_000
"""Receipts and texts of one request; one with more is no honest one."""


@dataclass(frozen=True, slots=True)
class Taken:
    """How a request to a webhook is answered.

    200: all is kept. 403: it is not the provider's. 404: there is no such webhook, or not with this secret. 400: it is
    the provider's and cannot be read.
    """

    status: int
    content_type: str = ""
    body: bytes = field(default=b"", repr=False)


_NOT_FOUND: Final = Taken(404)


class Hooks:
    """All webhooks."""

    def __init__(self, receipts: Receipts, inbounds: Inbounds, bus: Bus, clock: Clock, meters: Meters) -> None:
        self._receipts = receipts
        self._inbounds = inbounds
        self._clock = clock
        self._book = CallBook(bus, clock, meters)
        self._known: Mapping[str, tuple[Setting, Webhooks]] = {}
        self._public_url = ""

    def rule(self, settings: Iterable[Setting], public_url: str) -> None:
        """These providers may call back from now on, at this URL (scheme, host and port; empty: it is not known)."""
        # Looked at once: what a protocol asks for takes longer to check than all else that a request meets here.
        self._known = {
            setting.name: (setting, setting.provider) for setting in settings if isinstance(setting.provider, Webhooks)
        }
        self._public_url = public_url
        self._book.know(self._known)

    def calls(self, name: str) -> HookCalls:
        """What came from a provider since the start."""
        return self._book.of(name)

    def close(self) -> None:
        """Tell what was wrong with requests, as far as that was not told yet."""
        self._book.close()

    async def take(
        self,
        name: str,
        kind: HookKind,
        secret: str | None,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> Taken:
        """A request to `/webhooks/{name}/{kind}[/{secret}]`; `target` is its path and query, as sent.

        Raises StoreError: nothing of it is kept, and the provider is to repeat it.
        """
        known = self._known.get(name)
        if known is None:
            return _NOT_FOUND
        setting, dialect = known
        if kind not in dialect.hooks or not self._comes_by_its_path(setting, dialect, secret):
            return _NOT_FOUND
        _, _, query = target.partition("?")
        hook = Hook(kind, method, self._public_url + target, query, headers, body, self._clock.wall())
        try:
            if dialect.signs:
                dialect.verify(hook)
        except HookRefusedError as error:
            self._book.refused(name, self._in_full(str(error)))
            return Taken(403)
        try:
            items = dialect.read(hook)
            if len(items) > MOST_ITEMS:
                raise HookUnreadableError(f"it brings more than {MOST_ITEMS} receipts or texts")
        except HookUnreadableError as error:
            self._book.unreadable(name, f"{kind}: {error}")
            await self._keep(setting, dialect, error.items)
            return Taken(400)
        await self._keep(setting, dialect, items)
        self._book.taken(name)
        answer: HookAnswer = dialect.hook_answer
        return Taken(200, answer.content_type, answer.body)

    def _comes_by_its_path(self, setting: Setting, dialect: Webhooks, secret: str | None) -> bool:
        """Whether it has the secret path that it must have; and none where there is none."""
        wanted = setting.webhook_secrets
        if not wanted:
            return secret is None and dialect.signs
        # All are compared, so that the time says nothing about which it is.
        same = [hmac.compare_digest((secret or "").encode(), each.encode()) for each in wanted]
        if any(same):
            return True
        self._book.refused(setting.name, "its path lacks the webhook_secret, or has another one")
        return False

    async def _keep(self, setting: Setting, dialect: Webhooks, items: tuple[Report | InboundText, ...]) -> None:
        receipts = [self._receipt(setting, dialect, item) for item in items if isinstance(item, Report)]
        if receipts:
            await self._receipts.take(receipts)
        texts = [item for item in items if isinstance(item, InboundText)]
        if texts:
            answers = dialect.answers_words if setting.answer_words is None else setting.answer_words == "provider"
            await self._inbounds.take(setting.name, answers, texts)

    def _receipt(self, setting: Setting, dialect: Webhooks, report: Report) -> Receipt:
        receipt = Receipt(
            provider=setting.name,
            status=report.status,
            provider_message_id=report.provider_message_id,
            id=report.id,
            attempt=report.attempt,
            code=report.code,
            words=report.words,
            at=report.at,
            price=report.price,
        )
        if report.status is not Status.UNDELIVERED:
            return receipt
        known = None if report.code is None else dialect.receipt_reading(report.code)
        if known is None and report.code is not None:
            self._book.unlisted(setting.name, report.code)
        return replace(receipt, reading=reading_of(report.code, known, setting.rules.codes))

    def _in_full(self, reason: str) -> str:
        return reason if self._public_url else f"{reason}; [http] public_url is not set, so the signed URL is not known"


def takes(setting: Setting, kind: HookKind) -> bool:
    """Whether the provider may call this webhook: its dialect knows it, and the request can prove itself."""
    provider = setting.provider
    if not isinstance(provider, Webhooks) or kind not in provider.hooks:
        return False
    return provider.signs or bool(setting.webhook_secret)


def status_url(public_url: str, setting: Setting) -> str | None:
    """Where the provider is to report what becomes of a message; None: nowhere."""
    if not public_url or not takes(setting, HookKind.STATUS):
        return None
    secret = f"/{setting.webhook_secret}" if setting.webhook_secret else ""
    return f"{public_url}/webhooks/{setting.name}/{HookKind.STATUS}{secret}"
