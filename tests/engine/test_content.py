"""Is a text sent again and again held up, is a repeat one message, and does a template say what it said?

Played by the whole engine in virtual time. What the file's keys become, `tests/config` tells; here it is what a caller
sees of `loop_guard`, `duplicate_window` and `[templates]`, also after a restart and a reload.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from smsd.core.acceptance import MessageRules, Origin, Refusal
from smsd.core.limits import Action, Per, Rule
from smsd.core.units import HOUR, MINUTE, rfc3339
from smsd.engine.intake import Accepted
from smsd.templates import TextTemplate
from tests.engine.rig import Rig
from tests.simulation.clock import EPOCH_MS

OTHER = "+14155550199"
SOON = rfc3339(EPOCH_MS + HOUR)
REPEATS = Rule(Per.REPEAT, 1, 10 * MINUTE, Action.REPLAY)


def guard(action: Action) -> Rule:
    """Three an hour."""
    return Rule(Per.TEXT, 3, HOUR, action)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.mark.parametrize("restart", [False, True])
def test_a_text_in_a_loop_is_refused(rig: Rig, *, restart: bool) -> None:
    rig.limits = (guard(Action.REJECT),)

    async def story() -> None:
        await rig.start()
        for _ in range(3):
            await rig.accepted(text="Disk full")
        if restart:
            await rig.crash()
            await rig.start()
        refusal = await rig.submit(text="Disk full")
        assert isinstance(refusal, Refusal)
        (fault,) = refusal.faults
        assert fault.code == "limit_exceeded"
        assert "loop guard" in fault.message
        assert "Disk" not in fault.message
        assert fault.retry_after_s is not None
        assert 3_500 < fault.retry_after_s <= 3_600
        assert await rig.refused(text="Disk full", idempotency_key="k", origin=Origin("another")) == "limit_exceeded"
        await rig.accepted(text="Disk full!")
        await rig.accepted(text="Disk full", to=OTHER)
        await rig.seconds(fault.retry_after_s)
        await rig.accepted(text="Disk full")
        await rig.seconds(1)
        await rig.stop()

    rig.run(story)
    assert len(rig.carrier.sends) == 6


def test_what_was_cancelled_counts_no_more(rig: Rig) -> None:
    rig.limits = (guard(Action.REJECT),)

    async def story() -> None:
        await rig.start()
        ids = [await rig.accepted(text="Disk full", send_at=SOON) for _ in range(3)]
        assert await rig.refused(text="Disk full") == "limit_exceeded"
        await rig.engine.service.cancel(ids[1], None)
        await rig.accepted(text="Disk full")
        assert await rig.refused(text="Disk full") == "limit_exceeded"
        await rig.stop()

    rig.run(story)


def test_a_text_in_a_loop_is_held(rig: Rig) -> None:
    rig.limits = (guard(Action.DEFER),)

    async def story() -> None:
        await rig.start()
        ids = [await rig.accepted(text="Disk full") for _ in range(4)]
        other = await rig.accepted(text="All well")
        await rig.seconds(1)
        assert [await rig.state(id) for id in (*ids, other)] == ["sent"] * 3 + ["pending", "sent"]
        assert "loop guard" in ((await rig.message(ids[3])).held_by or "")
        assert (await rig.waiting(ids[3]))[0] == "recipient_limit"
        await rig.seconds(3_600)
        assert await rig.state(ids[3]) == "sent"
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("restart", [False, True])
def test_a_repeat_is_the_first_message(rig: Rig, *, restart: bool) -> None:
    rig.limits = (REPEATS,)

    async def story() -> None:
        await rig.start()
        first = await rig.accepted()
        if restart:
            await rig.crash()
            await rig.start()
        again = await rig.submit()
        assert isinstance(again, Accepted)
        assert (again.id, again.replayed) == (first, True)
        others = [
            await rig.accepted(text="Your code is 2"),
            await rig.accepted(to=OTHER),
            await rig.accepted(origin=Origin("another")),
            await rig.accepted(from_="+15005550006"),
            await rig.accepted(idempotency_key="k"),
        ]
        assert first not in others
        assert len({*others}) == 5
        await rig.seconds(601)
        late = await rig.submit()
        assert isinstance(late, Accepted)
        assert not late.replayed
        await rig.seconds(1)
        await rig.stop()

    rig.run(story)
    assert len(rig.carrier.sends) == 7


def test_repeats_at_once_are_one_message(rig: Rig) -> None:
    rig.limits = (REPEATS,)

    async def story() -> None:
        await rig.start()
        found = await asyncio.gather(*(rig.submit() for _ in range(5)))
        receipts = [each for each in found if isinstance(each, Accepted)]
        assert len({each.id for each in receipts}) == 1
        assert sorted(each.replayed for each in receipts) == [False, True, True, True, True]
        await rig.seconds(1)
        await rig.stop()

    rig.run(story)
    assert len(rig.carrier.sends) == 1


def test_what_was_cancelled_is_not_repeated(rig: Rig) -> None:
    rig.limits = (REPEATS,)

    async def story() -> None:
        await rig.start()
        first = await rig.accepted(send_at=SOON)
        await rig.engine.service.cancel(first, None)
        again = await rig.submit()
        assert isinstance(again, Accepted)
        assert (again.id != first, again.replayed) == (True, False)
        await rig.stop()

    rig.run(story)


def rules(**texts: str) -> MessageRules:
    return MessageRules(templates={name: TextTemplate({"": text}) for name, text in texts.items()})


def test_a_template_counts_for_what_is_submitted_after_it(rig: Rig) -> None:
    rig.messages = rules(code="Your code is {{ code }}")
    asked: dict[str, Any] = {"text": None, "template": "code", "vars": {"code": 17}}

    async def story() -> None:
        await rig.start()
        first = await rig.accepted(**asked, idempotency_key="k", send_at=SOON)
        rig.messages = rules(code="The code: {{ code }} ({{ name }})")
        await rig.engine.reconfigure(rig.plan())
        assert (await rig.message(first)).text == "Your code is 17", "it keeps the text it was accepted with"
        again = await rig.submit(**asked, idempotency_key="k", send_at=SOON)
        assert isinstance(again, Accepted), "a replay gets its first answer whatever the templates say now"
        assert (again.id, again.replayed) == (first, True)
        assert await rig.refused(**asked) == "missing_field"
        second = await rig.accepted(**{**asked, "vars": {"code": 17, "name": "Ann"}})
        assert (await rig.message(second)).text == "The code: 17 (Ann)"
        rig.messages = MessageRules()
        await rig.engine.reconfigure(rig.plan())
        assert await rig.refused(**asked) == "invalid_value"
        await rig.stop()

    rig.run(story)


def test_texts_of_a_template_are_guarded_as_any(rig: Rig) -> None:
    rig.limits = (Rule(Per.TEXT, 1, HOUR, Action.REJECT),)
    rig.messages = rules(code="Your code is {{ code }}")

    async def story() -> None:
        await rig.start()
        await rig.accepted(text=None, template="code", vars={"code": "1"})
        assert await rig.refused(text="Your code is 1") == "limit_exceeded"
        await rig.accepted(text=None, template="code", vars={"code": "2"})
        await rig.stop()

    rig.run(story)
