"""Does a text that comes in have its effect once, and is a STOP confirmed although its writer is suppressed?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import structlog

from smsd.core.acceptance import MessageRules, Origin, TenantRules
from smsd.core.callback import CallbackRules
from smsd.core.consent import Word
from smsd.core.events import Kind
from smsd.core.inbound import REPLIES, InboundRules
from smsd.core.limits import Action, Per, Rule
from smsd.core.message import Message, Priority
from smsd.core.suppression import EVERY
from smsd.core.units import DAY, HOUR
from smsd.engine.callout import Reply
from smsd.engine.inbound import MOST_CHARS, Inbounds
from smsd.providers.base import HookKind, InboundText
from smsd.store import Arrival, Arrived, Inbound, Query, StoreError, Tracking
from tests.doubles.reporting import Posted, by_twilio
from tests.engine.rig import TO, Rig, answer, setting, twilio
from tests.engine.way_back import PUBLIC, TOKEN

OURS = "+15005550006"
SECRET = "whsec_" + "QUJD" * 8
IDS = count(1)


def text(words: str, **fields: Any) -> InboundText:
    """A text that a person sends to us."""
    usual = {"sender": TO, "recipient": OURS, "provider_message_id": f"SMin{next(IDS)}"}
    return InboundText(text=words, **{**usual, **fields})


async def come(rig: Rig, *texts: InboundText, answers_words: bool = False) -> None:
    await rig.engine.way_back.inbounds.take("main", answers_words, texts)


async def kept(rig: Rig) -> list[Inbound]:
    """Oldest first."""
    found, _ = await rig.store.inbound(None, limit=1_000)
    return [*reversed(found)]


async def replies(rig: Rig) -> list[Message]:
    """The messages that answer words, oldest first."""
    page = await rig.store.page(Query(limit=1_000))
    return [each for each in reversed(page.items) if each.type == "consent"]


def told(rig: Rig, kind: Kind) -> list[dict[str, object]]:
    return [event.fields for event in rig.events if event.kind is kind]


def test_stop_is_confirmed_once_although_suppressed_and_nothing_else_goes(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        await rig.store.track(Tracking(threads=frozenset({"main"})))
        first = await rig.accepted(text="Your table is ready", from_=OURS)
        await rig.seconds(1)
        await come(rig, text("Stop."))
        assert await rig.refused(text="And now?", from_=OURS) == "recipient_suppressed"
        await rig.seconds(1)
        [reply] = await replies(rig)
        assert (reply.state.label, reply.recipient, reply.sender, reply.text) == ("sent", TO, OURS, REPLIES[Word.STOP])
        assert (reply.tenant, reply.priority, reply.exempt) == ("shop", Priority.HIGH, True)
        [arrived] = await kept(rig)
        assert (arrived.tenant, arrived.message, arrived.word) == ("shop", first, Word.STOP)
        await come(rig, text("STOP"))
        await rig.seconds(1)
        assert rig.carrier.bodies == ["Your table is ready", REPLIES[Word.STOP]]
        assert [each.news for each in await kept(rig)] == [True, False]
        await rig.stop()

    rig.run(story)


def test_from_the_providers_signed_request_to_the_reply_and_the_callback(rig: Rig) -> None:
    """As Twilio posts it; who answers words is what the dialect says, unless the operator says otherwise."""
    told_to: list[dict[str, Any]] = []

    async def application(url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        told_to.append(json.loads(body))
        return Reply(204)

    def posted(words: str) -> Posted:
        fields = {"MessageSid": "SM" + "1" * 32, "AccountSid": "AC0", "From": TO, "To": OURS, "Body": words}
        return by_twilio(f"{PUBLIC}/webhooks/main/inbound", TOKEN, **fields)

    async def bring(post: Posted) -> int:
        take = rig.engine.way_back.hooks.take
        return (await take("main", HookKind.INBOUND, None, "POST", post.target, post.headers, post.body)).status

    async def story() -> None:
        rig.settings = (replace(setting(twilio(), rig.rules()), answer_words="smsd"),)
        await rig.start()
        sent = await rig.accepted(text="Your table is ready", from_=OURS)
        await rig.seconds(1)
        assert [await bring(posted("STOP")) for _ in range(3)] == [200] * 3
        assert await bring(replace(posted("STOP"), headers={"x-twilio-signature": "forged"})) == 403
        await rig.seconds(5)
        assert rig.carrier.bodies == ["Your table is ready", REPLIES[Word.STOP]]
        [came] = await kept(rig)
        assert (came.tenant, came.message) == ("shop", sent)
        [told] = [each for each in told_to if each["type"] == "inbound.received"]
        assert (told["data"]["id"], told["data"]["text"], told["data"]["word"]) == (came.id, "STOP", "stop")
        await rig.stop()

    rig.public_url = PUBLIC
    rig.application = application
    rig.messages = MessageRules(
        callbacks=CallbackRules(urls={"shop": "https://shop.example.com/sms"}, secret=(SECRET,))
    )
    rig.run(story)


def test_start_lifts_it_and_is_answered(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        await come(rig, text("STOP"))
        await come(rig, text("Start"))
        await come(rig, text("START"))
        await rig.accepted(text="Hello again")
        await rig.seconds(1)
        assert rig.carrier.bodies == [REPLIES[Word.STOP], REPLIES[Word.START], "Hello again"]
        [added], [removed] = told(rig, Kind.SUPPRESSION_ADDED), told(rig, Kind.SUPPRESSION_REMOVED)
        usual = {"to": TO, "tenant": "default", "provider": "main", "source": "inbound"}
        assert (added, removed) == (usual, usual)
        await rig.stop()

    rig.run(story)


def test_two_machines_that_answer_each_other_stop(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        for _ in range(30):
            await come(rig, text("HELP"))
            await rig.seconds(100)
        assert rig.carrier.bodies == [REPLIES[Word.HELP]]
        await rig.seconds(3_601)
        await come(rig, text("info"))
        await rig.seconds(1)
        assert rig.carrier.bodies == [REPLIES[Word.HELP]] * 2
        assert not told(rig, Kind.SUPPRESSION_ADDED)
        await rig.stop()

    rig.run(story)


def test_what_the_provider_answers_smsd_does_not(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        stop, wanted = text("arrêt"), text("Please, no more", word=Word.STOP, sender="+14155550124")
        await come(rig, stop, wanted, text("HELP", sender="+14155550125"), answers_words=True)
        await rig.seconds(1)
        assert rig.carrier.bodies == []
        assert [each.word for each in await kept(rig)] == [Word.STOP, Word.STOP, Word.HELP]
        assert await rig.refused(to="+14155550124") == "recipient_suppressed"
        await rig.stop()

    rig.run(story)


def test_replies_are_the_operators_and_none_is_none(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        long = "Example Co: no more texts. " * 20
        rules = InboundRules("desk", {Word.STOP: long, Word.START: ""})
        rig.engine.way_back.inbounds.rule(rules, {})
        await come(rig, text("STOP"), text("START"), text("HELP"))
        await rig.seconds(1)
        assert rig.carrier.bodies == [long], "of any length"
        assert {each.tenant for each in await kept(rig)} == {"desk"}
        await rig.stop()

    rig.messages = MessageRules(max_segments=1)
    rig.run(story)


def test_what_its_tenant_is_bound_to_does_not_count_for_a_reply(rig: Rig) -> None:
    async def story() -> None:
        rig.providers = [(twilio(name), rig.rules()) for name in ("main", "second")]
        bounds = TenantRules(("+15005550009",), ("second",), Priority.BULK)
        rig.messages = MessageRules(tenants={"shop": bounds}, max_segments=1)
        await rig.start()
        rig.engine.way_back.inbounds.rule(InboundRules("shop"), rig.messages.tenants)
        await come(rig, text("STOP"))
        await rig.seconds(1)
        [reply] = await replies(rig)
        assert (reply.tenant, reply.route, reply.sender, reply.priority) == ("shop", "main", OURS, Priority.HIGH)
        assert reply.state.label == "sent"
        await rig.stop()

    rig.run(story)


def test_limits_count_for_replies(rig: Rig) -> None:
    """Whoever writes STOP and START all day is not to be texted all day; the words have their effect all the same."""

    async def story() -> None:
        await rig.start()
        with structlog.testing.capture_logs() as lines:
            for words in ("STOP", "START", "STOP", "START", "STOP"):
                await come(rig, text(words))
            await rig.seconds(1)
        assert rig.carrier.bodies == [REPLIES[Word.STOP], REPLIES[Word.START]]
        assert await rig.refused() == "recipient_suppressed"
        refused = [line for line in lines if "is not answered" in line["event"]]
        assert len(refused) == 3
        assert all(line["reasons"][0].startswith("limit_exceeded") for line in refused)
        assert TO not in str(refused)
        await rig.stop()

    rig.limits = (Rule(Per.RECIPIENT, 2, HOUR, Action.REJECT),)
    rig.run(story)


@pytest.mark.parametrize("sender", ["12345", "+1415"])
def test_who_cannot_be_answered_is_kept(rig: Rig, sender: str) -> None:
    async def story() -> None:
        await rig.start()
        await come(rig, text("STOP", sender=sender))
        await rig.seconds(1)
        [arrived] = await kept(rig)
        assert (arrived.sender, arrived.word) == (sender, Word.STOP)
        assert rig.carrier.bodies == []
        await rig.stop()

    rig.run(story)


def test_a_number_of_ours_that_the_provider_does_not_own_gives_no_reply(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        with structlog.testing.capture_logs() as lines:
            await come(rig, text("STOP", recipient="+15005550001"))
        [line] = [line for line in lines if "is not answered" in line["event"]]
        assert line["reasons"][0].startswith("no_route")
        assert len(await rig.store.suppressions_of(TO)) == 1
        await rig.stop()

    rig.run(story)


def test_what_comes_twice_has_its_effect_once(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        stop, start = text("STOP"), text("START")
        for each in (stop, stop, start, start, stop, start):
            await come(rig, each)
            await rig.seconds(1)
        assert rig.carrier.bodies == [REPLIES[Word.STOP], REPLIES[Word.START]]
        assert len(told(rig, Kind.INBOUND_RECEIVED)) == len(await kept(rig)) == 2
        assert await rig.store.suppressions_of(TO) == ()
        await rig.stop()

    rig.run(story)


def test_a_reply_that_a_crash_prevented_is_made_up_for_while_it_is_true(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        early, late, stop = text("HELP", sender="+14155550124"), text("HELP", sender="+14155550125"), text("STOP")
        await silent_take(rig, early, late, stop)
        await rig.crash()
        await rig.start()
        await come(rig, early)
        await come(rig, early)
        await come(rig, stop)
        await rig.seconds(1)
        assert rig.carrier.bodies == [REPLIES[Word.HELP], REPLIES[Word.STOP]]
        rig.carrier.sends.clear()
        again = text("STOP", sender="+14155550126")
        await silent_take(rig, again)
        await come(rig, text("START", sender="+14155550126"), answers_words=True)
        await come(rig, again)
        lifted = [text(words, sender="+14155550127") for words in ("STOP", "START")]
        await silent_take(rig, *lifted)
        await rig.engine.service.optouts.suppress("+14155550127", EVERY, "uid 0")
        await come(rig, *lifted)
        await rig.seconds(DAY / 1_000 + 1)
        await come(rig, late)
        await rig.seconds(1)
        assert rig.carrier.bodies == [], "it is true no more, or too long ago"
        await rig.stop()

    rig.run(story)


async def silent_take(rig: Rig, *texts: InboundText) -> None:
    """Kept, and ended before it is answered."""
    silent = Inbounds(rig.store, rig.store, rig.engine._bus, rig.clock, rig.engine.intake, rig._new_id)
    silent.rule(InboundRules(replies={}), {})
    await silent.take("main", False, texts)


def test_a_text_without_an_id_is_known_by_its_content_and_time(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        for at in (1_000, 1_000, 2_000, None, None):
            await come(rig, text("Yes?", provider_message_id=None, at=at))
            await rig.seconds(1)
        assert [each.sent_at for each in await kept(rig)] == [1_000, 2_000, None, None]
        await rig.stop()

    rig.run(story)


def test_numbers_are_kept_in_one_spelling_and_what_is_too_long_is_cut(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        odd = text("x" * (MOST_CHARS + 9), sender=" +1 (415) 555-0123", provider_message_id="i" * 5_000)
        with structlog.testing.capture_logs() as lines:
            await come(rig, odd, odd, text("Hi", sender="Example Co", recipient="+1 500 555 0006"))
        assert [line["event"] for line in lines if "was cut" in line["event"]]
        first, second = await kept(rig)
        assert (first.sender, len(first.text), len(first.provider_message_id)) == (TO, MOST_CHARS, 71)
        assert (second.sender, second.recipient) == ("Example Co", OURS)
        await rig.stop()

    rig.run(story)


def test_it_is_told_without_its_text(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        await come(rig, text("my secret"), text("HELP"))
        [plain, word] = told(rig, Kind.INBOUND_RECEIVED)
        first, _ = await kept(rig)
        usual = {"tenant": "default", "provider": "main", "from": TO, "to": OURS, "message": None}
        assert plain == {**usual, "inbound": first.id, "word": None}
        assert word["word"] == "help"
        assert "secret" not in str([event.fields for event in rig.events])
        await rig.stop()

    rig.run(story)


def test_while_it_drains_texts_are_kept_and_not_answered(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        rig.engine.intake.draining = True
        await come(rig, text("STOP"))
        assert len(await rig.store.suppressions_of(TO)) == 1
        assert await replies(rig) == []
        await rig.stop()

    rig.run(story)


class Failing:
    """An outbox that cannot keep some texts."""

    def __init__(self, rig: Rig, refused: Sequence[str]) -> None:
        self._store = rig.store
        self.refused = refused

    async def arrive(self, arrival: Arrival) -> Arrived:
        if arrival.text in self.refused:
            raise StoreError("no room")
        return await self._store.arrive(arrival)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_of_several_those_that_were_kept_count_and_the_others_come_again(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        outbox: Any = Failing(rig, ["second"])
        inbounds = Inbounds(outbox, rig.store, rig.engine._bus, rig.clock, rig.engine.intake, rig._new_id)
        texts = [text("STOP"), text("second"), text("third")]
        with pytest.raises(StoreError, match="no room"):
            await inbounds.take("main", False, texts)
        outbox.refused = ()
        await inbounds.take("main", False, texts)
        await rig.seconds(1)
        assert sorted(each.text for each in await kept(rig)) == ["STOP", "second", "third"]
        assert rig.carrier.bodies == [REPLIES[Word.STOP]]
        await rig.stop()

    rig.run(story)


def test_a_reply_that_the_provider_refuses_is_a_message_that_failed(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        rig.carrier.script = [answer(400, code=21610, message="unsubscribed")]
        await come(rig, text("STOP"))
        await rig.seconds(1)
        assert [each.state.label for each in await replies(rig)] == ["failed"]
        assert await rig.refused(origin=Origin("other")) == "recipient_suppressed"
        await rig.stop()

    rig.run(story)
