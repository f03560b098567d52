"""Do the retry policies of config.toml.example keep their times to the millisecond?

Each is put in force as a person would do it, by taking the `#` away, and run by the engine in virtual time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from smsd.assembly import plan_of
from smsd.core.message import Message, State
from smsd.core.verdict import Category
from smsd.engine.engine import Plan
from smsd.providers.base import Outcome
from tests.config.files import EXAMPLE, load, with_alternative, without_comment
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
