"""Does the provider have this message?

It is asked, and what it shows is compared with what is known: an id is the message's only if no other call can have
brought it. A look-up costs no attempt and no rate. What follows from the answer is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from smsd.clock import Clock
from smsd.core.doubt import Finding
from smsd.core.message import Message
from smsd.engine.askable import Askable, as_called, carrier_of
from smsd.engine.carrier import Carrier
from smsd.engine.lane import Lane
from smsd.engine.setting import Setting
from smsd.providers.base import Absent, Found, Response, Unanswered
from smsd.providers.base import Finding as Report
from smsd.store import Records

log = structlog.get_logger("smsd.reconciler")

TOLD_AGAIN_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Looked:
    """What asking brought; `detail`: why nothing."""

    finding: Finding
    id: str | None = None
    detail: str = ""


class Inquiry:
    """Asks providers. Raises StoreError when the outbox cannot be read."""

    def __init__(
        self,
        records: Records,
        lanes: Mapping[str, Lane],
        askable: Askable,
        carrier: Carrier,
        clock: Clock,
        dice: Callable[[], float],
    ) -> None:
        self._records = records
        self._lanes = lanes
        self._askable = askable
        self._carrier = carrier
        self._clock = clock
        self._dice = dice
        self._told: dict[str, int] = {}
        """When the failing look-ups of a provider are told again (boot time, us); bounded by the names configured."""
        self.promised: dict[tuple[tuple[str, str], str], int] = {}
        """Provider ids found by a look-up that is being written down, and for which message: never given twice."""

    async def ask(self, setting: Setting, message: Message) -> Looked:
        """One look-up. An id that it brings is the message's until `forget`."""
        call = as_called(setting, message)
        try:
            answer = await self._carrier.send(
                setting.provider, setting.provider.ask(call), setting.rules.timeout_ms, self._dice()
            )
            report: Report = (
                setting.provider.find(answer.outcome, call)
                if isinstance(answer.outcome, Response)
                else Unanswered(answer.outcome.detail)
            )
        except Exception:
            log.exception("the adapter failed to look a message up", id=message.id)
            report = Unanswered("the adapter failed; see the log")
        match report:
            case Found(ids):
                return await self._bind(setting, message, ids)
            case Absent():
                return Looked(Finding.ABSENT)
            case Unanswered(detail):
                self.unanswered(setting.name, detail)
                return Looked(Finding.UNANSWERED, None, detail)

    async def _bind(self, setting: Setting, message: Message, ids: tuple[str, ...]) -> Looked:
        """The first candidate that is not another call's. Equal texts to one number look alike to the provider: those
        of other messages, and those of this one's other calls (a receipt may have had it sent again)."""
        if any(each.calls.alike(message) for each in self._lanes.values()):
            return Looked(Finding.UNANSWERED, None, "a call with the same text to the same number is under way")
        taken = await self._records.bound(ids, self._askable.strangers(setting))
        if message.attempt > 1:
            others = await self._records.attempts(message.seq)
            taken |= {each.provider_message_id or "" for each in others if each.n != message.attempt}
        carrier = carrier_of(setting.provider)
        for id in ids:
            if id not in taken and (carrier, id) not in self.promised:
                self.promised[carrier, id] = message.seq
                return Looked(Finding.FOUND, id)
        return Looked(Finding.ABSENT)

    def forget(self, message: Message) -> None:
        """What was found of it is written down, or will be asked for again."""
        self.promised = {id: seq for id, seq in self.promised.items() if seq != message.seq}

    def unanswered(self, name: str, detail: str) -> None:
        """It could not say. Told once a minute for each provider: hundreds of messages may wait for the same."""
        now = self._clock.boot()
        if now >= self._told.get(name, now):
            self._told[name] = now + TOLD_AGAIN_US
            log.warning("a look-up of an uncertain message failed; asked again", provider=name, detail=detail)
