"""Do the policies of config.toml.example, for retries and for limits, do what they say, to the millisecond?

Each is put in force as a person would do it, by taking the `#` away, and run by the engine in virtual time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
from twilio.request_validator import RequestValidator

from smsd.assembly import plan_of
from smsd.core.message import Message, State
from smsd.core.receipt import SCATTER_MS
from smsd.core.verdict import Category
from smsd.engine.configuration import Plan
from smsd.providers.base import HookKind, Outcome
from tests.config.files import ENVIRON, EXAMPLE, load, with_alternative, with_limits, without_comment
from tests.engine.rig import REFUSED, Rig, answer

BUSY = answer(503, code=20503, message="Service unavailable")


class Configured(Rig):
    """A rig whose engine is told what a configuration says."""

    def __init__(self, directory: Path, text: str) -> None:
        super().__init__(directory)
        self.config = load(directory, text)
        self.carrier.latency_ms = 0

    def plan(self) -> Plan:
        """As the daemon makes it."""
        return plan_of(self.config)


def example(*sections: str, **alternatives: str) -> str:
    """The example with these sections in force, and these alternatives of keys."""
    text = without_comment(EXAMPLE.read_text(), *sections)
    for key, value in alternatives.items():
        text = with_alternative(text, text.splitlines().index(f"#{key} = {value}"))
    return text


def calls(rig: Rig, said: Outcome, profile: str | None = None, seconds: float = 3_600) -> tuple[list[float], Message]:
    """Seconds from the first call to each call of a message whose every call ends so, and the message after so long."""
    rig.carrier.answers = lambda name, form: said
    found: list[Message] = []

    async def story() -> None:
        await rig.start()
        id = await rig.accepted(retry=profile)
        await rig.seconds(seconds)
        found.append(await rig.message(id))
        await rig.stop()

    rig.run(story)
    begun = [at for at, _ in rig.carrier.sends]
    return [(at - begun[0]) / 1_000 for at in begun], found[0]


@pytest.fixture
def configured(tmp_path: Path) -> Callable[[str], Configured]:
    return lambda text: Configured(tmp_path, text)


PROFILES = [
    ("urgent", [0, 1, 3]),
    ("patient", [0, 600, 1_800]),
    ("doubling", [0, 3, 9, 21, 45]),
]


@pytest.mark.parametrize(("profile", "times"), PROFILES)
def test_a_profile_that_a_submission_names(
    profile: str, times: list[float], configured: Callable[[str], Configured]
) -> None:
    rig = configured(example(f"retry.profiles.{profile}"))
    begun, message = calls(rig, BUSY, profile)
    assert begun == times
    assert message.state is State.FAILED
    assert message.error is not None
    assert (message.error.category, message.error.cause) == (Category.EXHAUSTED, Category.PROVIDER_ERROR)
    assert message.charged == len(times)


def test_a_profile_that_a_provider_names(configured: Callable[[str], Configured]) -> None:
    begun, message = calls(configured(example("retry.profiles.patient", retry='"patient"')), BUSY)
    assert begun == [0, 600, 1_800]
    assert message.state is State.FAILED


def test_calls_without_a_connection_count_where_they_are_to(configured: Callable[[str], Configured]) -> None:
    rig = configured(example("retry.profiles.urgent", network_costs_attempt="true"))
    begun, message = calls(rig, REFUSED, "urgent")
    assert begun == [0, 1, 3]
    assert message.error is not None
    assert (message.error.category, message.error.cause) == (Category.EXHAUSTED, Category.NETWORK)


def test_else_they_cost_nothing(configured: Callable[[str], Configured]) -> None:
    begun, message = calls(configured(example("retry.profiles.urgent")), REFUSED, "urgent", seconds=10)
    assert begun == [0, 1, 3, 5, 7, 9]
    assert (message.state, message.charged) == (State.PENDING, 0)


CODES = [
    (30001, [0, 60, 180]),
    (30002, [0, 120, 240]),
    (30003, [0, 300]),
    (30004, [0, 180]),
    (20503, [0, 120]),
    (29999, [0, 120]),
    (30006, [0]),
    (30007, [0]),
    (30008, [0]),
    (21211, [0]),
    (21214, [0]),
    (21610, [0]),
]


@pytest.mark.parametrize(("code", "times"), CODES)
def test_the_table_of_codes(code: int, times: list[float], configured: Callable[[str], Configured]) -> None:
    rig = configured(example("retry.codes.twilio", jitter='"none"'))
    begun, message = calls(rig, answer(400, code=code, message="No"))
    assert begun == times
    assert message.state is State.FAILED
    assert message.error is not None
    assert (message.error.category is Category.EXHAUSTED) == (len(times) > 1)
    assert message.error.code == str(code)


class Reported(Configured):
    """One whose carrier takes everything and reports a moment later that it did not arrive, with this code."""

    LATER_MS = 10

    def __init__(self, directory: Path, text: str, code: int | None) -> None:
        super().__init__(directory, text)
        self.code = code
        self.sent: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self.carrier.answers = self._take

    def _take(self, name: str, form: dict[str, str]) -> Outcome:
        self.sent.put_nowait(form)
        return self.carrier.take(form)

    async def report_each(self) -> None:
        """Never ends."""
        hooks = self.engine.service.hooks
        assert hooks is not None
        while True:
            form = await self.sent.get()
            await self.seconds(self.LATER_MS / 1_000)
            fields = {"MessageSid": self.carrier.taken[-1]["sid"], "MessageStatus": "undelivered"}
            fields |= {} if self.code is None else {"ErrorCode": str(self.code)}
            url = form["StatusCallback"]
            signature = RequestValidator(ENVIRON["TWILIO_AUTH_TOKEN"]).compute_signature(url, fields)
            headers = {"x-twilio-signature": signature, "content-type": "application/x-www-form-urlencoded"}
            target = url.removeprefix("https://sms.example.com")
            body = urlencode(fields).encode()
            for _ in range(2):  # it comes twice and means the same
                taken = await hooks.take("main", HookKind.STATUS, None, "POST", target, headers, body)
                assert taken.status == 200


@pytest.mark.parametrize(("code", "times"), [*CODES, (None, [0, 120])])
def test_the_table_of_codes_in_receipts(code: int | None, times: list[float], tmp_path: Path) -> None:
    rig = Reported(tmp_path, example("retry.codes.twilio", public_url='"https://sms.example.com"'), code)
    found: list[Message] = []

    async def story() -> None:
        await rig.start()
        id = await rig.accepted()
        reporting = asyncio.create_task(rig.report_each())
        await rig.seconds(3_600)
        reporting.cancel()
        found.append(await rig.message(id))
        await rig.stop()

    rig.run(story)
    begun = [at for at, _ in rig.carrier.sends]
    late_ms = Reported.LATER_MS + SCATTER_MS // 2  # the rig draws 0.5 for how far what is sent again is spread
    assert [at - begun[0] for at in begun] == [1_000 * time + n * late_ms for n, time in enumerate(times)]
    assert found[0].state is State.UNDELIVERED
    assert found[0].charged == len(times)
    assert found[0].error is not None
    assert found[0].error.code == (None if code is None else str(code))


EXCEEDED = "LIMIT_EXCEEDED: Rate limit exceeded ({})"


def number(n: int) -> str:
    return f"+1415555{n:04d}"


def test_five_an_hour_to_a_number_and_a_sixth_fails(configured: Callable[[str], Configured]) -> None:
    rig = configured(with_limits(EXAMPLE.read_text(), "fail"))

    async def story() -> None:
        await rig.start()
        for _ in range(5):
            await rig.accepted()
        await rig.seconds(10)
        await rig.crash()
        await rig.start()
        sixth = await rig.accepted()
        await rig.seconds(1)
        message = await rig.message(sixth)
        assert (message.state, str(message.error)) == (State.FAILED, EXCEEDED.format("5/hour per recipient"))
        assert message.attempt == 0
        await rig.accepted(number(1))
        await rig.seconds(3_600)
        await rig.accepted()
        await rig.seconds(10)
        assert len(rig.carrier.sends) == 7
        await rig.stop()

    rig.run(story)


def test_ten_an_hour_about_a_user_and_the_eleventh_is_refused(configured: Callable[[str], Configured]) -> None:
    rig = configured(with_limits(EXAMPLE.read_text(), "reject"))

    async def story() -> None:
        await rig.start()
        ids = [await rig.accepted(number(n), user="ada") for n in range(10)]
        assert await rig.refused(number(10), user="ada") == "limit_exceeded"
        await rig.accepted(number(10), user="bob")
        await rig.seconds(60)
        await rig.crash()
        await rig.start()
        assert await rig.refused(number(11), user="ada") == "limit_exceeded"
        await rig.seconds(3_541)
        await rig.accepted(number(11), user="ada")
        assert [await rig.state(id) for id in ids] == ["sent"] * 10
        await rig.stop()

    rig.run(story)


ONE_TENANT = "retry.profiles.doubling"


def tenant_limit(rate: str) -> str:
    text = without_comment(with_limits(EXAMPLE.read_text(), "retry"), ONE_TENANT)
    return text.replace('rate = "1/min"', f'rate = "{rate}"', 1)


def test_what_a_tenant_has_too_much_of_is_tried_again_until_its_attempts_are_used_up(
    configured: Callable[[str], Configured],
) -> None:
    """Refused at once and 3, 6, 12 and 24 s later: 45 s, and the window is a minute long."""
    rig = configured(tenant_limit("1/min"))

    async def story() -> None:
        await rig.start()
        first, second = await rig.accepted(number(1)), await rig.accepted(number(2), retry="doubling")
        await rig.seconds(1)
        refused_at = (await rig.message(second)).due - 3_000
        for charged, wait in enumerate((3, 6, 12, 24), 1):
            message = await rig.message(second)
            assert (message.state, message.charged, message.attempt) == (State.PENDING, charged, 0)
            assert message.due - refused_at == wait * 1_000
            assert str(message.error) == EXCEEDED.format("1/min per tenant")
            refused_at = message.due
            await rig.seconds(wait)
        message = await rig.message(second)
        assert (message.state, str(message.error)) == (State.FAILED, EXCEEDED.format("1/min per tenant"))
        assert message.charged == 5
        assert await rig.state(first) == "sent"
        await rig.stop()

    rig.run(story)


def test_it_goes_when_the_window_opens_before_that(configured: Callable[[str], Configured]) -> None:
    rig = configured(tenant_limit("1/20s"))

    async def story() -> None:
        await rig.start()
        await rig.accepted(number(1), retry="doubling")
        await rig.accepted(number(2), retry="doubling")
        await rig.seconds(60)
        assert len(rig.carrier.sends) == 2
        # It was refused when the first had just gone, and then after 3, 9 and 21 s.
        assert 21_000 <= rig.carrier.sends[1][0] - rig.carrier.sends[0][0] <= 22_000
        await rig.stop()

    rig.run(story)


def test_all_three_together(configured: Callable[[str], Configured]) -> None:
    """Each binds where it is full; what one refuses costs the others nothing."""
    text = without_comment(with_limits(EXAMPLE.read_text(), "fail", "reject", "retry"), ONE_TENANT)
    rig = configured(text.replace('rate = "1/min"', 'rate = "8/min"', 1))

    async def story() -> None:
        await rig.start()
        to_one = [await rig.accepted(user="ada") for _ in range(6)]
        await rig.seconds(10)
        assert [await rig.state(id) for id in to_one] == ["sent"] * 5 + ["failed"]
        others = [await rig.accepted(number(n), user="ada", retry="doubling") for n in range(4)]
        assert await rig.refused(number(5), user="ada") == "limit_exceeded"
        await rig.seconds(10)
        assert [await rig.state(id) for id in others] == ["sent"] * 3 + ["pending"]
        assert str((await rig.message(others[3])).error) == EXCEEDED.format("8/min per tenant")
        await rig.seconds(60)
        assert await rig.state(others[3]) == "failed"
        await rig.stop()

    rig.run(story)


def test_what_is_deferred_keeps_its_turn_and_its_wait(configured: Callable[[str], Configured]) -> None:
    """2 a minute and 20 a day to a number, for an hour at most, of the tenant `shop`."""
    rig = configured(with_limits(EXAMPLE.read_text(), "defer"))

    async def story() -> None:
        await rig.start()
        ids = [await rig.accepted() for _ in range(21)]
        await rig.seconds(30)
        assert await rig.waiting(ids[2]) == ("recipient_limit", (await rig.message(ids[2])).due)
        last = await rig.message(ids[20])
        assert (last.state, str(last.error)) == (State.FAILED, EXCEEDED.format("20/day per recipient of shop"))
        await rig.seconds(570)
        assert [await rig.state(id) for id in ids] == ["sent"] * 20 + ["failed"]
        times = [at for at, _ in rig.carrier.sends]
        gaps = [later - earlier for earlier, later in zip(times, times[2:], strict=False)]
        assert min(gaps) >= 60_000
        assert max(gaps) <= 62_000, "each goes as soon as its turn has come"
        await rig.stop()

    rig.run(story)
