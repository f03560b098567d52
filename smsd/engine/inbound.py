"""What happens when a text comes in?

Keep it (`store`: whose it is, what a STOP or START does, whom it is told to), tell the bus, and answer a STOP, START or
HELP that changed something, unless the provider has answered it itself. The answer is a message that goes through the
same door as any other (`intake`), with three differences: it may go to a number that is suppressed, it goes by the
provider and as the number that the word came to, and its tenant's bounds do not count, for it is not the tenant's
wish. Limits count: whoever writes STOP and START all day is not to be texted all day. It comes after the word has taken
effect, and if it cannot be accepted, that is logged and the word has taken effect all the same.

A provider brings a text again when it did not hear that it was kept. Then smsd may have ended between keeping it and
answering it; so the answer is submitted again, under the same idempotency key, if it is still true.

It refuses to know how texts came in and in which dialect (`hooks`), and who may read them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from smsd.clock import Clock
from smsd.core import address
from smsd.core.consent import Word, keyword
from smsd.core.events import Kind
from smsd.core.inbound import InboundRules, holder_of, made_up_id, reply
from smsd.core.message import Instant
from smsd.core.submission import Origin, Refusal, TenantRules
from smsd.core.suppression import EVERY, shown
from smsd.core.units import DAY
from smsd.engine.bus import Bus
from smsd.engine.intake import Answer, Intake
from smsd.providers.base import InboundText
from smsd.store import Arrival, Arrived, Inbound, Outbox, Records

log = structlog.get_logger("smsd.inbound")

SOURCE: Final = "inbound"
"""Where a suppression comes from that a text made."""

MOST_CHARS: Final = 39_015
"""Of a text: 255 parts of 153 septets, which is the longest there can be (3GPP TS 23.040, 9.2.3.24.1)."""

MOST_ID: Final = 255
"""Characters of a provider's id of a text; of a longer one a digest is kept."""

MOST_PARTY: Final = 64
"""Characters of a number or name."""

ANSWERED_LATE_MS: Final = DAY
"""A text that is brought again after so long is answered no more."""


class Inbounds:
    """Takes texts in."""

    def __init__(
        self, outbox: Outbox, records: Records, bus: Bus, clock: Clock, intake: Intake, new_id: Callable[[], str]
    ) -> None:
        self._outbox = outbox
        self._records = records
        self._bus = bus
        self._clock = clock
        self._intake = intake
        self._new_id = new_id
        self._rules = InboundRules()
        self._tenants: Mapping[str, TenantRules] = {}

    def rule(self, rules: InboundRules, tenants: Mapping[str, TenantRules]) -> None:
        """These rules, and these tenants' numbers, count from now on."""
        self._rules, self._tenants = rules, tenants

    async def take(self, provider: str, answers_words: bool, texts: Sequence[InboundText]) -> None:
        """They are kept when it comes back. Raises StoreError: some of them are not, and are to be brought again.

        `answers_words`: the provider itself answers STOP, START and HELP.
        """
        now = self._clock.wall()
        arrivals = [self._arrival(provider, text, now) for text in texts]
        # Handed in in one go and in order: one commit, and of two words of one writer the later one holds.
        found = await asyncio.gather(*map(self._outbox.arrive, arrivals), return_exceptions=True)
        kept = [each for each in found if isinstance(each, Arrived)]
        for each in kept:
            if each.first:
                self._tell(each)
        if not answers_words:
            await asyncio.gather(*map(self._answer, kept))
        for failed in found:
            if isinstance(failed, BaseException):
                raise failed

    def _arrival(self, provider: str, text: InboundText, now: Instant) -> Arrival:
        sender, recipient = _party(text.sender), _party(text.recipient)
        content = text.text[:MOST_CHARS]
        if len(text.text) > MOST_CHARS:
            log.warning("a text was cut: it is longer than a text message can be", provider=provider)
        word = keyword(content) if text.word is None else text.word
        if word is Word.STOP and not sender.startswith("+"):
            log.warning("a STOP changes nothing: its writer is not given as a number in E.164", provider=provider)
        given = text.provider_message_id
        if not given:
            given = made_up_id(sender, recipient, text.text, now if text.at is None else text.at)
        elif len(given) > MOST_ID:
            given = f"sha256:{hashlib.sha256(given.encode('utf-8', 'replace')).hexdigest()}"
        return Arrival(
            id=self._new_id(),
            provider=provider,
            provider_message_id=given,
            sender=sender,
            recipient=recipient,
            text=content,
            word=word,
            sent_at=text.at,
            received_at=now,
            owner=self._rules.owner_of(recipient, self._tenants),
            owned=holder_of(recipient, self._tenants) is not None,
        )

    # -- telling -----------------------------------------------------------------------------------------------------

    def _tell(self, arrived: Arrived) -> None:
        inbound = arrived.inbound
        word = None if inbound.word is None else inbound.word.value
        fields: dict[str, object] = {"tenant": inbound.tenant, "provider": inbound.provider, "from": inbound.sender}
        fields |= {"to": inbound.recipient, "inbound": inbound.id, "message": inbound.message, "word": word}
        self._bus.publish(Kind.INBOUND_RECEIVED, inbound.received_at, **fields)
        if arrived.suppressed:
            self._tell_of(Kind.SUPPRESSION_ADDED, inbound, inbound.provider)
        for scope in arrived.lifted:
            self._tell_of(Kind.SUPPRESSION_REMOVED, inbound, scope)

    def _tell_of(self, kind: Kind, inbound: Inbound, scope: str) -> None:
        self._bus.publish(
            kind,
            inbound.received_at,
            to=inbound.sender,
            tenant=inbound.tenant,
            provider=shown(scope),
            source=SOURCE,
        )

    # -- answering ---------------------------------------------------------------------------------------------------

    async def _answer(self, arrived: Arrived) -> None:
        inbound = arrived.inbound
        text = "" if inbound.word is None else self._rules.replies.get(inbound.word, "")
        if inbound.word is None or not inbound.news or not text:
            return
        if not arrived.first and not await self._is_still_true(inbound, inbound.word):
            return
        submission = reply(inbound.id, inbound.word, inbound.sender, inbound.recipient, inbound.provider, text)
        # Of the key alone: another text since then makes no other answer of it.
        digest = hashlib.sha256((submission.idempotency_key or "").encode()).digest()
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(answer: Answer) -> None:
            if not answered.done():  # who waited may have gone away
                answered.set_result(answer)

        self._intake.submit(submission, Origin(inbound.tenant), digest, done, exempt=True)
        answer = await answered
        if isinstance(answer, Refusal):
            log.warning(
                "a STOP, START or HELP took effect, and is not answered",
                provider=inbound.provider,
                tenant=inbound.tenant,
                inbound=inbound.id,
                word=inbound.word.value,
                reasons=[f"{fault.code}: {fault.message}" for fault in answer.faults],
            )

    async def _is_still_true(self, inbound: Inbound, word: Word) -> bool:
        """Whether the answer would be, to a text that is brought again. Raises StoreError."""
        if self._clock.wall() - inbound.received_at > ANSWERED_LATE_MS:
            return False
        scopes = {each.scope for each in await self._records.suppressions_of(inbound.sender)}
        match word:
            case Word.STOP:
                return inbound.provider in scopes
            case Word.START:
                return scopes.isdisjoint({inbound.provider, EVERY})
            case Word.HELP:
                return True


def _party(raw: str) -> str:
    """A number in E.164 where it is one; a short code or a name as it came."""
    found = address.recipient(raw, "")
    return found if isinstance(found, str) else raw.strip()[:MOST_PARTY]
