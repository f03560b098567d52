"""Why has it not gone? One reason, its end, one sentence."""

from __future__ import annotations

import pytest

from smsd.core.health import Standing
from smsd.core.message import FINAL, Error, State
from smsd.core.units import rfc3339
from smsd.core.verdict import Category
from smsd.core.waiting import Block, Outlook, Reason, explain
from tests.doubles.builders import NOW, message

OPEN = Outlook(Standing.OPEN, None, "", NOW)
PAUSED = Outlook(Standing.PAUSED, None, "paused by uid 0", NOW)
HALTED = Outlook(Standing.HALTED, None, "AUTH_FAILED: the token is refused", NOW)
COOLING = Outlook(Standing.COOLING, NOW + 60_000, "too many requests", NOW)
ERROR = Error(Category.NETWORK, "No connection", NOW)


@pytest.mark.parametrize("state", sorted(FINAL))
def test_a_final_message_waits_for_nothing(state: State) -> None:
    assert explain(message(state=state), {}, store_full=True, now=NOW) is None


@pytest.mark.parametrize(
    ("what", "outlooks", "reason", "until", "words"),
    [
        ({}, {"main": OPEN}, Reason.QUEUE, None, "waits for its turn"),
        ({"due": NOW + 500}, {"main": OPEN}, Reason.SCHEDULED, NOW + 500, rfc3339(NOW + 500)),
        (
            {"due": NOW + 500, "attempt": 1, "error": ERROR},
            {"main": OPEN},
            Reason.RETRY,
            NOW + 500,
            "NETWORK: No connection",
        ),
        ({}, {"main": COOLING}, Reason.PROVIDER_COOLDOWN, NOW + 60_000, "main rests until"),
        ({}, {"main": PAUSED}, Reason.PROVIDER_PAUSED, None, "smsd resume main"),
        ({}, {"main": HALTED}, Reason.PROVIDER_HALTED, None, "smsd resume main"),
        ({}, {}, Reason.NO_ROUTE, None, "main"),
        (
            {},
            {"main": Outlook(Standing.OPEN, None, "", NOW + 900)},
            Reason.PROVIDER_RATE,
            NOW + 900,
            "next call begin at",
        ),
        ({"state": State.PROCESSING, "attempt": 2, "provider": "main"}, {}, Reason.QUEUE, None, "Attempt 2 at main"),
        (
            {"state": State.PROCESSING, "uncertain": True, "due": NOW + 5_000, "provider": "main"},
            {"main": OPEN},
            Reason.UNCERTAIN,
            NOW + 5_000,
            "not known",
        ),
    ],
)
def test_each_reason(
    what: dict[str, object], outlooks: dict[str, Outlook], reason: Reason, until: int | None, words: str
) -> None:
    waiting = explain(message(**what), outlooks, store_full=False, now=NOW)
    assert waiting is not None
    assert (waiting.reason, waiting.until) == (reason, until)
    assert words in waiting.text


def test_of_several_reasons_the_one_that_ends_last_decides() -> None:
    soon = message(due=NOW + 1_000)
    late = message(due=NOW + 100_000)
    assert explain(soon, {"main": COOLING}, store_full=False, now=NOW).reason is Reason.PROVIDER_COOLDOWN  # type: ignore[union-attr]
    assert explain(late, {"main": COOLING}, store_full=False, now=NOW).reason is Reason.SCHEDULED  # type: ignore[union-attr]


def test_a_reason_whose_end_is_unknown_beats_all() -> None:
    waiting = explain(message(due=NOW + 10**9), {"main": OPEN}, store_full=True, now=NOW)
    assert waiting is not None
    assert waiting.reason is Reason.STORE


def test_one_open_provider_of_the_route_is_enough() -> None:
    waiting = explain(message(), {"main": HALTED, "backup": OPEN}, store_full=False, now=NOW)
    assert waiting is not None
    assert waiting.reason is Reason.QUEUE


def test_of_several_blocked_providers_the_one_that_comes_back_first_is_named() -> None:
    waiting = explain(message(), {"main": HALTED, "backup": COOLING}, store_full=False, now=NOW)
    assert waiting is not None
    assert (waiting.reason, waiting.until) == (Reason.PROVIDER_COOLDOWN, NOW + 60_000)
    assert "backup" in waiting.text


HELD = [
    (Reason.RECIPIENT_LIMIT, "5/hour per recipient", "waits for its turn: 5/hour per recipient. Its turn is at {}"),
    (Reason.USER_LIMIT, "10/hour per user", "waits for its turn: 10/hour per user. Its turn is at {}"),
    (Reason.SENDER_LIMIT, "1/s per sender", "waits for its turn: 1/s per sender. Its turn is at {}"),
    (Reason.RECIPIENT_LIMIT, "loop guard, 5/hour of one text to one recipient", "turn: loop guard, 5/hour of one text"),
    (Reason.QUIET_HOURS, "21:00-08:00", "quiet hours where the recipient is (21:00-08:00); it goes at {}"),
]


@pytest.mark.parametrize(("reason", "words", "sentence"), HELD)
def test_what_a_rule_or_the_hours_put_off(reason: Reason, words: str, sentence: str) -> None:
    held = message(due=NOW + 500, held=str(reason), held_by=words, attempt=1, error=ERROR)
    waiting = explain(held, {"main": OPEN}, store_full=False, now=NOW)
    assert waiting is not None
    assert (waiting.reason, waiting.until) == (reason, NOW + 500)
    assert sentence.format(rfc3339(NOW + 500)) in waiting.text
    come = explain(held, {"main": OPEN}, store_full=False, now=NOW + 500)
    assert come is not None and come.reason is Reason.QUEUE


TENANT = Block(Reason.TENANT_LIMIT, NOW + 700, "10/s per tenant")
CAMPAIGN = Block(Reason.CAMPAIGN_LIMIT, NOW + 900, "2/min per campaign")


@pytest.mark.parametrize(
    ("blocks", "due", "reason", "until", "words"),
    [
        (
            [TENANT],
            NOW,
            Reason.TENANT_LIMIT,
            NOW + 700,
            "All messages of tenant shop wait for a limit: 10/s per tenant",
        ),
        (
            [TENANT, CAMPAIGN],
            NOW,
            Reason.CAMPAIGN_LIMIT,
            NOW + 900,
            "of campaign spring of tenant shop wait for a limit: 2/",
        ),
        ([CAMPAIGN, TENANT], NOW + 800, Reason.CAMPAIGN_LIMIT, NOW + 900, "room again at " + rfc3339(NOW + 900)),
        ([TENANT], NOW + 800, Reason.SCHEDULED, NOW + 800, "It is to be sent at"),
        ([Block(Reason.TENANT_LIMIT, NOW, "10/s per tenant")], NOW, Reason.QUEUE, None, "its turn in the queue"),
    ],
)
def test_what_holds_up_a_tenant_or_a_campaign(
    blocks: list[Block], due: int, reason: Reason, until: int | None, words: str
) -> None:
    waiting = explain(
        message(tenant="shop", campaign="spring", due=due), {"main": OPEN}, store_full=False, now=NOW, blocks=blocks
    )
    assert waiting is not None
    assert (waiting.reason, waiting.until) == (reason, until)
    assert words in waiting.text


def test_a_provider_that_is_away_for_longer_than_the_limit_decides() -> None:
    waiting = explain(message(), {"main": COOLING}, store_full=False, now=NOW, blocks=[TENANT])
    assert waiting is not None and waiting.reason is Reason.PROVIDER_COOLDOWN
    waiting = explain(message(state=State.SENT), {"main": COOLING}, store_full=False, now=NOW, blocks=[TENANT])
    assert waiting is None


def test_an_attempt_that_a_limit_cost_is_a_retry() -> None:
    error = Error(Category.LIMIT_EXCEEDED, "Rate limit exceeded (1/min per tenant)", NOW)
    waiting = explain(message(due=NOW + 3_000, error=error), {"main": OPEN}, store_full=False, now=NOW)
    assert waiting is not None and waiting.reason is Reason.RETRY
    assert waiting.text.endswith("after LIMIT_EXCEEDED: Rate limit exceeded (1/min per tenant)")
