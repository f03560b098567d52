"""Why did this text not go? One command answers, for each thing that can be in its way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.cli.fake import PROVIDER, Fake
from tests.cli.helpers import TO, Run
from tests.doubles.fake_daemon import Document, RefusedError

AT = "2026-01-02T03:04:05.000Z"
PROBE = "2999-01-02T03:04:05.000Z"
BROKEN = {
    **PROVIDER,
    **{"state": "broken", "since": AT, "until": PROBE},
    "reason": "60% of its calls in the last 1m failed; the last one: refused.",
}


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times are shown in UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def error(category: str, message: str, code: str | None = None) -> dict[str, Any]:
    return {"category": category, "code": code, "message": message, "provider": "main", "at": AT, "cause": None}


def attempt(outcome: str, **facts: Any) -> dict[str, Any]:
    usual = {"n": 1, "started_at": AT, "latency_ms": 12, "provider": "main", "outcome": outcome, "http_status": None}
    return {**usual, "code": None, "category": None, "provider_message_id": None, "trace": None, **facts}


def test_an_uncertain_one_says_what_is_being_done(smsd: Run, fake: Fake) -> None:
    waiting = {"reason": "uncertain", "until": PROBE, "text": "It is looked up before anything else."}
    id = fake.add(state="processing", waiting=waiting, error=error("TIMEOUT", "No readable answer"))["id"]
    fake.attempts[id] = [attempt("unknown", category="TIMEOUT", trace="no answer: timed out")]
    told = smsd("show", id).out
    for expected in (
        "  Waiting       uncertain: It is looked up before anything else.\n",
        "  Until         2999-01-02 03:04:05+00:00\n",
        "  Error         TIMEOUT: No readable answer\n",
        "  Said by       main, 2026-01-02 03:04:05+00:00\n",
        "  Attempt 1 at main: unknown (it may have been taken)\n",
        "    Category  TIMEOUT\n",
        "      | no answer: timed out\n",
    ):
        assert expected in told
    assert "To do" not in told


@pytest.mark.parametrize(
    ("state", "category", "advice"),
    [
        ("failed", "UNCERTAIN", "smsd retry ID --force"),
        ("failed", "OPTED_OUT", f"smsd recipient {TO}"),
        ("failed", "INVALID_RECIPIENT", "Submit it anew to a number"),
        ("failed", "REJECTED", "smsd help codes"),
        ("failed", "CONFIG_ERROR", "smsd help codes. Mend the cause, then: smsd retry ID"),
        ("failed", "EXHAUSTED", "Mend the cause, then: smsd retry ID"),
        ("failed", "AUTH_FAILED", "Mend the cause, then: smsd retry ID"),
        ("undelivered", "UNDELIVERED", "Mend the cause, then: smsd retry ID"),
        ("expired", None, "smsd retry ID --ttl 1h"),
    ],
)
def test_one_that_ended_says_what_to_do(smsd: Run, fake: Fake, state: str, category: str | None, advice: str) -> None:
    why = None if category is None else error(category, "Because.", "21610")
    id = fake.add(state=state, waiting=None, error=why)["id"]
    (line,) = [line for line in smsd("show", id).out.splitlines() if line.startswith("  To do")]
    assert advice.replace("ID", id) in line


@pytest.mark.parametrize("category", ["UNCERTAIN", "NETWORK"])
def test_a_retry_is_not_advised_where_it_would_be_refused(smsd: Run, fake: Fake, category: str) -> None:
    why = error(category, "Because.")
    id = fake.add(state="failed", waiting=None, error=why, campaign="spring")["id"]
    for status, advice in (("cancelled", "submit it anew, in another campaign"), ("sending", f"smsd retry {id}")):
        fake.__dict__["_campaign"] = partial(_campaign, status)
        (line,) = [line for line in smsd("show", id).out.splitlines() if line.startswith("  To do")]
        assert advice in line
    fake.refuse["campaign"] = RefusedError("not_found", "There is no campaign spring.", "id")
    assert f"smsd retry {id}" in smsd("show", id).out


def _campaign(status: str, request: Document) -> Document:
    return {"campaign": {"id": request["id"], "tenant": request["tenant"], "status": status}}


@pytest.mark.parametrize("state", ["sent", "delivered", "cancelled", "pending"])
def test_there_is_nothing_to_do_about_the_others(smsd: Run, fake: Fake, state: str) -> None:
    assert "To do" not in smsd("show", fake.add(state=state, error=error("NETWORK", "refused"))["id"]).out


def test_every_call_is_told_with_code_status_and_trace(smsd: Run, fake: Fake) -> None:
    id = fake.add(attempts=3)["id"]
    fake.attempts[id] = [
        attempt("defer", category="NETWORK", trace="no connection: refused"),
        attempt(
            "defer",
            n=2,
            provider="second",
            http_status=429,
            code="20429",
            category="RATE_LIMITED",
            trace="HTTP 429\n{}",
        ),
        attempt("open", n=3),
    ]
    told = smsd("show", id).out
    assert "  Attempt 1 at main: defer (surely not taken, may pass later)\n" in told
    assert "  Attempt 2 at second: defer (" in told
    assert "    HTTP status  429\n    Code         20429\n    Category     RATE_LIMITED\n" in told
    assert "      | HTTP 429\n      | {}\n" in told
    assert "  Attempt 3 at main: open (the call is under way)\n" in told


@pytest.mark.parametrize("command", ["providers", "stats", "queue", "doctor"])
def test_a_broken_provider_says_since_when_why_and_when_it_is_tried(smsd: Run, fake: Fake, command: str) -> None:
    fake.providing = [BROKEN]
    fake.stats = {**fake.stats, "providers": {"main": BROKEN}}
    told = smsd(command).out
    for expected in ("broken", "since 2026-01-02", "60% of its calls", "; the next probe is due 2999-01-02 03:04:05"):
        assert expected in told


def test_one_that_is_tried_says_so(smsd: Run, fake: Fake) -> None:
    fake.providing = [{**BROKEN, "state": "half_open", "until": None}]
    for command in ("providers", "doctor"):
        assert "; one call at a time tries it now" in smsd(command).out


def test_doctor_warns_of_a_rate_that_is_too_high(smsd: Run, fake: Fake) -> None:
    fake.providing = [{**PROVIDER, "rate_now": 50.0, "recommended_rate": 51.3}]
    found = {each["check"]: each for each in smsd("doctor", "--json").documents[0]["findings"]}
    assert found["provider main"]["level"] == "warn"
    assert 'rate = "51/min"' in found["provider main"]["text"]
    assert "smsd reload" in found["provider main"]["remedy"]
    fake.providing = [{**PROVIDER, "rate_now": 50.0}]
    found = {each["check"]: each for each in smsd("doctor", "--json").documents[0]["findings"]}
    assert (found["provider main"]["level"], "account" in found["provider main"]["text"]) == ("ok", True)


def test_a_recipient_who_opted_out(smsd: Run, fake: Fake) -> None:
    fake.opted_out = [
        {"scope": "main", "at": AT, "source": "provider", "code": "21610"},
        {"scope": "*", "at": AT, "source": "api", "code": None},
    ]
    told = smsd("recipient", TO).out.splitlines()
    assert told[-2:] == [
        "  Opted out     of provider main since 2026-01-02 03:04:05+00:00, told by its answer (code 21610)",
        "  Opted out     of every provider since 2026-01-02 03:04:05+00:00, source: api",
    ]
    assert smsd("recipient", TO, "--json").documents[0]["suppression"] == fake.opted_out
