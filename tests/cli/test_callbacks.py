"""Do `smsd callbacks` and `smsd provider` say what the daemon says, and do no more than they were told to?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cli.fake import Fake
from tests.cli.helpers import Run
from tests.doubles.fake_daemon import REGISTERED, RefusedError

PRIVATE = "The address 127.0.0.1 is private: allow it in [callbacks] allow_private."


def callback(n: int, *, failed: bool = False) -> dict[str, Any]:
    return {
        "id": f"evt_01920000-0000-7000-8000-{n:012d}_1_delivered",
        "event": "message.delivered",
        "subject": f"01920000-0000-7000-8000-{n:012d}",
        "tenant": "shop",
        "url": "https://shop.example.org/hooks?...",
        "created_at": "2026-01-02T03:04:05.000Z",
        "next_try_at": None if failed else "2026-01-02T03:05:05.000Z",
        "tries": 3,
        "error": PRIVATE if failed else "HTTP 500",
        "http_status": None if failed else 500,
        "tried_at": "2026-01-02T03:04:35.000Z",
    }


@pytest.fixture
def queue(fake: Fake) -> list[dict[str, Any]]:
    """Two that wait, and three that were given up."""
    fake.callbacks = [callback(n, failed=n > 2) for n in range(1, 6)]
    return fake.callbacks


def test_list(smsd: Run, fake: Fake, queue: list[dict[str, Any]]) -> None:
    head, *rows = smsd("callbacks", "list").out.splitlines()
    assert head.split()[:4] == ["CALLBACK", "EVENT", "URL", "TRIED"]
    assert "NEXT TRY" in head
    assert [row.split()[0] for row in rows] == [each["id"] for each in queue[:2]]
    assert all(row.endswith("HTTP 500") for row in rows)
    failed = smsd("callbacks", "list", "--failed")
    assert "LAST TRY" in failed.out.splitlines()[0]
    assert failed.out.count(PRIVATE) == 3
    assert smsd("callbacks", "list", "--failed", "--json").documents == queue[2:]
    cut = smsd("callbacks", "list", "--failed", "--limit", "2", "--tenant", "shop")
    assert (len(cut.out.splitlines()), "there are more" in cut.err) == (3, True)
    assert fake.requests[-1].items() >= {"failed": True, "tenant": "shop", "limit": 3}.items()
    assert "failed" not in fake.requests[0]


def test_nothing_to_tell(smsd: Run, fake: Fake) -> None:
    assert smsd("callbacks", "list") == (0, "", "Applications have been told everything.\n")
    assert smsd("callbacks", "list", "--failed").err == "None was given up.\n"


def test_replay_of_those_named(smsd: Run, fake: Fake, queue: list[dict[str, Any]]) -> None:
    waits, third, fourth = (each["id"] for each in (queue[0], *queue[2:4]))
    done = smsd("callbacks", "replay", waits, third, fourth, third)
    assert done == (0, "3 tried again, 1 left that were given up.\n", "")
    done = smsd("callbacks", "replay", queue[4]["id"], "evt_nothing")
    assert (done.code, done.out) == (65, "1 tried again, 0 left that were given up.\n")
    assert "1 of them neither wait nor were given up" in done.err
    assert smsd("callbacks", "replay", "evt_nothing", "--json").documents == [{"replayed": 0, "left": 0}]


def test_very_many_are_named_in_several_requests(smsd: Run, fake: Fake) -> None:
    fake.callbacks = [callback(n, failed=True) for n in range(1, 1_102)]
    ids = [each["id"] for each in fake.callbacks]
    assert smsd("callbacks", "replay", *ids).out == "1101 tried again, 0 left that were given up.\n"
    assert [len(request["ids"]) for request in fake.requests] == [500, 500, 101]


def test_replay_of_all(smsd: Run, fake: Fake, queue: list[dict[str, Any]]) -> None:
    fake.replay_most = 2
    assert smsd("callbacks", "replay", "--all").out == "5 tried again, 0 left that were given up.\n"
    assert len(fake.requests) == 2


def test_what_fails_again_at_once_is_not_replayed_for_ever(
    smsd: Run, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that says 410 gives its callbacks up as fast as they are replayed."""
    monkeypatch.setattr(fake, "_replay", lambda request: {"replayed": 2, "left": 3})
    assert smsd("callbacks", "replay", "--all", "--json").documents == [{"replayed": 6, "left": 3}]
    assert len(fake.requests) == 3


@pytest.mark.parametrize("args", [(), ("evt_x", "--all")])
def test_what_is_to_be_replayed_must_be_said(smsd: Run, fake: Fake, args: tuple[str, ...]) -> None:
    assert smsd("callbacks", "replay", *args).code == 64
    assert fake.requests == []


def test_register(smsd: Run, fake: Fake) -> None:
    fake.registered = {**REGISTERED, "done": True, "text": "The webhook and the subscription are there."}
    done = smsd("provider", "register", "main")
    assert done.code == 0
    assert done.out.splitlines() == [
        "main: The webhook and the subscription are there.",
        "  status   https://sms.example.org/webhooks/main/status/<webhook_secret>",
        "  inbound  https://sms.example.org/webhooks/main/inbound/<webhook_secret>",
    ]
    assert "dry_run" not in fake.requests[-1]
    assert smsd("provider", "register", "nobody").code == 65


@pytest.mark.parametrize(
    ("code", "exit_code", "remedy"),
    [
        ("not_available", 78, "Mend what it says in [providers.NAME]"),
        ("outcome_unknown", 69, "Repeat it: what is done"),
    ],
)
def test_a_provider_that_cannot_be_told(smsd: Run, fake: Fake, code: str, exit_code: int, remedy: str) -> None:
    fake.refuse["register"] = RefusedError(code, "main was not told where to call back. HTTP 401.", "provider")
    refused = smsd("provider", "register", "main")
    assert (refused.code, "was not told" in refused.err, remedy in refused.err) == (exit_code, True, True)
    assert "version of smsd" not in refused.err
    assert "idempotency" not in refused.err


def test_what_is_missing_is_said_with_an_exit_code_of_its_own(smsd: Run, fake: Fake) -> None:
    text = "Set [http] public_url first (smsd help webhooks)."
    fake.registered = {**REGISTERED, "webhooks": {}, "needs": ["[http] public_url"], "text": text}
    done = smsd("provider", "register", "main")
    assert (done.code, done.out) == (78, f"main: {text}\n")
    assert smsd("provider", "webhooks").code == 0


def test_webhooks(smsd: Run, fake: Fake) -> None:
    done = smsd("provider", "webhooks")
    assert (done.code, done.out.count("<webhook_secret>")) == (0, 2)
    assert fake.requests[-1].items() >= {"op": "register", "provider": "main", "dry_run": True}.items()
    assert smsd("provider", "webhooks", "main", "--json").documents == [REGISTERED]
    fake.providing = []
    assert "No provider is configured" in smsd("provider", "webhooks").err
    fake.disabled = ["main"]
    done = smsd("provider", "webhooks")
    assert (done.code, done.out.count("<webhook_secret>")) == (0, 2), "a disabled one may still call back"


def test_show_tells_the_receipts(smsd: Run, fake: Fake) -> None:
    message = fake.add(state="undelivered", attempts=1)
    attempt = {"n": 1, "started_at": "2026-01-02T03:04:05.000Z", "latency_ms": 20, "provider": "main",
               "outcome": "accepted", "http_status": 201, "code": None, "category": None, "provider_message_id": "SM1",
               "trace": None}  # fmt: skip
    receipt = {"receipt": "undelivered", "receipt_code": "30003", "receipt_at": "2026-01-02T03:05:05.000Z"}
    fake.attempts[message["id"]] = [{**attempt, **receipt}]
    assert "Receipt        undelivered (it did not arrive) (code 30003), 2026-01-02" in smsd("show", message["id"]).out
    fake.attempts[message["id"]] = [{**attempt, **dict.fromkeys(receipt)}]
    assert "Receipt" not in smsd("show", message["id"]).out


def doctored(smsd: Run) -> dict[str, list[tuple[str, str]]]:
    """Levels and texts by check."""
    found: dict[str, list[tuple[str, str]]] = {}
    for each in smsd("doctor", "--json").documents[0]["findings"]:
        found.setdefault(each["check"], []).append((each["level"], each["text"]))
    return found


def test_the_doctor_looks_at_the_way_back(smsd: Run, fake: Fake, queue: list[dict[str, Any]]) -> None:
    for each in queue[:2]:
        each["created_at"] = ago(500)
    found = doctored(smsd)
    assert found["webhooks"] == [("ok", "ready to be called by main for status and inbound")]
    assert found["callbacks"] == [("warn", "3 given up: applications were not told")]
    fake.callbacks = []
    fake.registered = {**REGISTERED, "webhooks": {}, "needs": ["[http] public_url"]}
    found = doctored(smsd)
    assert [level for level, _ in found["webhooks"]] == ["warn"]
    assert "public_url is not set" in found["webhooks"][0][1]
    assert found["callbacks"] == [("ok", "none was given up, none waits for long")]
    fake.registered = {**REGISTERED, "webhooks": {}, "needs": ["[providers.main] webhook_secret"]}
    assert "webhook_secret is not set" in doctored(smsd)["webhooks"][0][1]
    fake.registered = REGISTERED
    fake.refuse["register"] = RefusedError("not_allowed", "Only for administrators.")
    fake.refuse["callbacks"] = RefusedError("unknown_op", "There is no such operation.")
    found = doctored(smsd)
    assert [level for check in ("webhooks", "callbacks") for level, _ in found[check]] == ["skip", "skip"]


def test_the_doctor_tells_of_what_waits_for_long(smsd: Run, fake: Fake) -> None:
    """A receiver that is down is no fault of ours; but who is not told must be seen before it is given up."""
    fake.callbacks = [callback(n) | {"created_at": ago(seconds)} for n, seconds in enumerate((500, 700, 7_300, 9))]
    assert doctored(smsd)["callbacks"] == [("warn", "2 not told for more than 10 min, one since 2 h: HTTP 500")]
    fake.callbacks[2]["error"] = None
    told = smsd("doctor")
    assert "it was not tried yet" in told.out
    assert "smsd callbacks list" in told.out
    fake.callbacks = [callback(n) for n in range(1_001)]
    assert doctored(smsd)["callbacks"][0][1].startswith("1000 or more not told for more than 10 min")


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("taken", "wrong", "told"),
    [
        (None, None, None),
        (10, None, None),
        (None, 90_000, "none was taken"),
        (1_830, 600, "the last that was taken came 30 min ago"),
        (90, 600, "the last that was taken came 1 min ago"),
        (90, 7_200, None),
        (9_000, 7_200, "the last that was taken came 2 h ago"),
    ],
)
def test_the_doctor_tells_of_what_was_turned_away(
    smsd: Run, fake: Fake, taken: float | None, wrong: float | None, told: str | None
) -> None:
    calls = {
        "taken": 3,
        "refused": 2,
        "unreadable": 1,
        "wrong": None if wrong is None else "it is another's",
        "taken_at": None if taken is None else ago(taken),
        "wrong_at": None if wrong is None else ago(wrong),
    }
    fake.registered = {**REGISTERED, "calls": calls}
    found = [text for level, text in doctored(smsd)["webhooks"] if level == "warn"]
    assert len(found) == (told is not None)
    if told is not None:
        assert found[0].startswith("main came 2 times without proof and 1 times unreadable")
        assert "it is another's" in found[0]
        assert found[0].endswith(told)
