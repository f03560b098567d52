"""Does an answer that the account is refused halt its provider only if it was given to a call begun since somebody said
that the cause is mended?

By a resume, or by other credentials. Neither clock can tell: a call may begin in the very instant of either, and it
leaves the machine later than it was made ready.
"""

from __future__ import annotations

import pytest

from smsd.core.events import Kind
from smsd.core.health import Standing
from smsd.providers.base import Outcome, Request
from smsd.providers.twilio import Twilio
from tests.engine.rig import LOST, Rig, answer, twilio

UNAUTHORIZED = answer(401, code=20003, message="Authenticate")

LATE_MS = 3_000


def standing(rig: Rig) -> Standing:
    return rig.engine.lanes["main"].standing()


async def mend(rig: Rig, how: str) -> None:
    """Somebody says that the cause is mended."""
    if how == "resumed":
        await rig.engine.service.resume("main")
    else:
        rig.providers = [(twilio(token="renewed"), rig.rules())]
        await rig.engine.reconfigure(rig.plan())


@pytest.mark.parametrize("how", ["resumed", "other credentials"])
def test_a_call_begun_in_the_instant_of_the_mending_halts(rig: Rig, how: str) -> None:
    """The first call that is refused afterwards is enough: no second one is made in vain."""
    rig.carrier.answers = lambda name, fields: UNAUTHORIZED

    async def story() -> None:
        await rig.start()
        await rig.accepted()
        await rig.seconds(1)
        assert (standing(rig), len(rig.carrier.sends)) == (Standing.HALTED, 1)
        at = rig.clock.wall()
        await mend(rig, how)
        await rig.seconds(5)
        assert (standing(rig), len(rig.carrier.sends)) == (Standing.HALTED, 2)
        assert rig.carrier.sends[1][0] == at, "it began in that very instant"
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("how", ["resumed", "other credentials"])
def test_a_late_refusal_of_a_call_begun_before_undoes_no_mending(rig: Rig, how: str) -> None:
    """The second of two calls is refused after the halt that the first one brought has been lifted."""

    def script(request: Request, n: int) -> tuple[Outcome, int]:
        return (UNAUTHORIZED, (5, LATE_MS)[n]) if n < 2 else rig.carrier(request, n)

    rig.script = script

    async def story() -> None:
        await rig.start()
        ids = [await rig.accepted(text=f"number {n}") for n in range(2)]
        await rig.seconds(1)
        assert standing(rig) is Standing.HALTED
        await mend(rig, how)
        await rig.seconds(10)
        assert standing(rig) is Standing.OPEN
        assert [await rig.state(id) for id in ids] == ["sent", "sent"]
        assert rig.kinds().count(Kind.PROVIDER_HALTED) == 1
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("how", ["resumed", "other credentials"])
def test_a_call_made_ready_before_the_mending_undoes_nothing_though_it_left_after(rig: Rig, how: str) -> None:
    """It waited for a connection."""
    rig.carrier.script = [UNAUTHORIZED]
    rig.carrier.latency_ms = LATE_MS
    rig.left_after_ms = LATE_MS - 10

    async def story() -> None:
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(1)
        await mend(rig, how)
        await rig.seconds(10)
        assert (standing(rig), await rig.state(id)) == (Standing.OPEN, "sent")
        await rig.stop()

    rig.run(story)


class Keyed(Twilio):
    """It knows a message by its key, which may be sent again."""

    lookup = "key"


@pytest.mark.parametrize(("before", "expected"), [(True, Standing.OPEN), (False, Standing.HALTED)])
def test_a_call_repeated_by_its_key_is_judged_alike(rig: Rig, before: bool, expected: Standing) -> None:
    base = twilio()
    keyed = Keyed(base.name, account_sid=base.account_sid, auth_token=base.auth_token, base_url=base.base_url)
    rig.providers = [(keyed, rig.rules(reconcile_after_ms=5_000))]
    rig.carrier.script = [LOST, UNAUTHORIZED]

    async def story() -> None:
        await rig.start()
        await rig.accepted()
        await rig.seconds(4)
        rig.carrier.latency_ms = LATE_MS
        if not before:
            await rig.engine.service.resume("main")
        await rig.seconds(2)
        assert len(rig.carrier.sends) == 2, "it is being sent again"
        if before:
            await rig.engine.service.resume("main")
        await rig.seconds(3)
        assert standing(rig) is expected
        await rig.stop()

    rig.run(story)


def test_a_refusal_by_the_account_of_before_says_nothing_of_the_one_of_now(rig: Rig) -> None:
    """The call is repeated where it was made, and nowhere else; nothing is called with the new account."""

    def keyed(sid: str) -> Keyed:
        base = twilio()
        return Keyed(base.name, account_sid=sid, auth_token=base.auth_token, base_url=base.base_url)

    rig.providers = [(keyed("AC" + "1" * 32), rig.rules(reconcile_after_ms=5_000))]
    rig.carrier.script = [LOST, UNAUTHORIZED]

    async def story() -> None:
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(2)
        rig.providers = [(keyed("AC" + "2" * 32), rig.rules(reconcile_after_ms=5_000))]
        await rig.engine.reconfigure(rig.plan())
        await rig.seconds(10)
        assert len(rig.carrier.sends) == 3, "refused, and asked again"
        assert (standing(rig), await rig.state(id)) == (Standing.OPEN, "sent")
        assert Kind.PROVIDER_HALTED not in rig.kinds()
        await rig.stop()

    rig.run(story)
