"""Do answers tell the truth about what came before them: order, repeats, refusals, faults of the outbox?"""

from __future__ import annotations

from pathlib import Path

import pytest

from smsd.store import DiskFullError, OutcomeUnknownError, StoreBrokenError, StoreError
from tests.listeners.house import NUMBER, Client, House, code, running, until


async def test_what_follows_a_submission_sees_it(client: Client, house: House) -> None:
    """All in one write: the ids are the house's, counted from 1."""
    one, two = (f"01a2049a-0000-7000-8000-{n:012d}" for n in (1, 2))
    await client.say(
        {"to": NUMBER, "text": "one"},
        {"op": "get", "id": one},
        {"to": NUMBER, "text": "two"},
        {"op": "cancel", "id": one},
        {"op": "list"},
        {"op": "cancel", "id": one},
        {"op": "retry", "id": two},
        {"op": "attempts", "id": two},
        {"op": "stats"},
    )
    sent, seen, also, cancelled, listed, again, retried, attempts, stats = await client.answers(9)
    assert (sent["id"], also["id"]) == (one, two)
    assert seen["message"]["text"] == "one"
    assert seen["message"]["waiting"]["reason"] == "provider_paused"
    assert cancelled["message"]["state"] == "cancelled"
    assert [each["id"] for each in listed["items"]] == [two, one]
    assert code(again) == "wrong_state"
    assert "cancelled" in again["error"]["message"]
    assert code(retried) == "wrong_state"
    assert "pending" in retried["error"]["message"]
    assert attempts["attempts"] == []
    assert (stats["states"]["pending"], stats["states"]["cancelled"]) == (1, 1)


async def test_an_operation_waits_for_the_submissions_before_it(client: Client, house: House) -> None:
    house.outbox.held = []
    await client.say({"to": NUMBER, "text": "hi"}, {"op": "list"}, {"to": NUMBER, "text": "ho"})
    await until(lambda: len(house.outbox.held or ()) == 2)
    house.outbox.release(1)
    _, listed = await client.answers(2)
    assert len(listed["items"]) == 1, "and not for those after it"
    house.outbox.release()
    assert (await client.answer())["ok"] is True


async def test_what_was_sent_is_seen_as_sent(client: Client, house: House) -> None:
    await house.engine.service.resume("main")
    id = (await client.send())["id"]
    await until(lambda: house.engine.tally.sent_last_minute() == 1)
    view = (await client.ask(op="get", id=id))["message"]
    (attempt,) = (await client.ask(op="attempts", id=id))["attempts"]
    assert (view["state"], view["attempts"], view["waiting"]) == ("sent", 1, None)
    assert attempt["provider_message_id"] == view["provider_message_id"]


async def test_an_operator_retries_what_failed(client: Client, house: House) -> None:
    await house.engine.service.resume("main")
    id = (await client.ask(to="+15005550001", text="to nobody"))["id"]
    await until(lambda: house.engine.tally.backlog == 0)
    assert (await client.ask(op="get", id=id))["message"]["state"] == "failed"
    await house.engine.service.pause("main", "for the test")
    again = (await client.ask(op="retry", id=id, ttl="1h"))["message"]
    assert again["state"] == "pending"
    assert again["waiting"]["reason"] == "provider_paused"


# -- repeats ----------------------------------------------------------------------------------------------------------


async def test_a_repeat_gets_the_first_answer(client: Client) -> None:
    first = await client.send(idempotency_key="k", ref=1)
    again = await client.send(idempotency_key="k", ref=2)
    assert (first["replayed"], again["replayed"]) == (False, True)
    assert again["id"] == first["id"]


async def test_another_text_under_the_same_key_is_a_conflict(client: Client) -> None:
    first = await client.send("one", idempotency_key="k")
    other = await client.send("two", idempotency_key="k")
    assert (code(other), other["error"]["field"]) == ("key_conflict", "idempotency_key")
    assert first["id"] in other["error"]["message"]


async def test_a_key_twice_in_one_write(client: Client, house: House) -> None:
    same = {"to": NUMBER, "text": "hi", "idempotency_key": "k"}
    await client.say(same, {**same, "ref": 1}, {**same, "text": "ho"}, {"op": "stats"})
    first, again, other, stats = await client.answers(4)
    assert (again["id"], again["replayed"]) == (first["id"], True)
    assert code(other) == "key_conflict"
    assert stats["states"]["pending"] == 1


async def test_a_key_is_kept_within_a_tenant(client: Client) -> None:
    first = await client.send(idempotency_key="k")
    other = await client.send(idempotency_key="k", tenant="shop")
    assert other["ok"] is True
    assert other["id"] != first["id"]


async def test_a_replay_gets_its_first_answer_though_nothing_new_is_taken(tmp_path: Path) -> None:
    async with running(tmp_path, max_backlog=1) as house:
        client = await house.client()
        first = await client.send(idempotency_key="k")
        refused = await client.send(idempotency_key="new")
        assert code(refused) == "backlog_full"
        assert "max_backlog" in refused["error"]["message"]
        again = await client.send(idempotency_key="k")
        assert (again["ok"], again["id"], again["replayed"]) == (True, first["id"], True)
        assert code(await client.send("other", idempotency_key="k")) == "key_conflict"
        house.engine.intake.draining = True
        assert (await client.send(idempotency_key="k"))["id"] == first["id"]


async def test_who_is_leaving_takes_nothing_new(client: Client, house: House) -> None:
    await house.engine.drain(0.1)
    refused = await client.send()
    assert code(refused) == "shutting_down"
    assert "Submit again" in refused["error"]["message"]
    assert (await client.ask(op="list"))["items"] == [], "what only looks is still answered"


# -- faults of the outbox ---------------------------------------------------------------------------------------------

STORE_FAULTS = [
    (DiskFullError("no room"), "disk_full", "Free disk space"),
    (OutcomeUnknownError("fsync failed"), "outcome_unknown", "not known"),
    (StoreBrokenError("corrupt"), "shutting_down", "after the restart"),
    (StoreError("locked by another process"), "internal", "locked by another process"),
]


@pytest.mark.parametrize(("fault", "wanted", "remedy"), STORE_FAULTS, ids=[wanted for _, wanted, _ in STORE_FAULTS])
async def test_a_fault_of_the_outbox_is_told(
    client: Client, house: House, fault: StoreError, wanted: str, remedy: str
) -> None:
    id = (await client.send())["id"]
    house.outbox.fault = fault
    for request in ({"to": NUMBER, "text": "hi"}, {"op": "cancel", "id": id}, {"op": "retry", "id": id}):
        answer = await client.ask(**request)
        assert code(answer) == wanted, request
        assert remedy in answer["error"]["message"]
    house.outbox.fault = None
    assert (await client.send())["ok"] is True


async def test_a_refused_submission_binds_no_key(client: Client, house: House) -> None:
    house.outbox.fault = DiskFullError("no room")
    same = {"to": NUMBER, "text": "hi", "idempotency_key": "k"}
    await client.say(same, same)
    assert [code(each) for each in await client.answers(2)] == ["disk_full", "disk_full"]
    house.outbox.fault = None
    first = await client.ask(**same)
    assert (first["ok"], first["replayed"]) == (True, False)


async def test_answers_keep_their_order_whatever_they_wait_for(client: Client, house: House) -> None:
    await client.say(
        {"to": NUMBER, "text": "hi", "ref": 0},
        {"op": "fly", "ref": 1},
        {"op": "stats", "ref": 2},
        {"to": "x", "text": "hi", "ref": 3},
        {"op": "list", "ref": 4},
        {"op": "ping", "ref": 5},
        {"to": NUMBER, "text": "hi", "idempotency_key": "k", "ref": 6},
        {"to": NUMBER, "text": "hi", "idempotency_key": "k", "ref": 7},
        {"op": "pause", "provider": "main", "ref": 8},
    )
    assert [each["ref"] for each in await client.answers(9)] == list(range(9))


async def test_providers_are_paused_and_resumed(client: Client) -> None:
    (seen,) = (await client.ask(op="providers"))["providers"]
    assert (seen["name"], seen["state"]) == ("main", "paused")
    resumed = await client.ask(op="resume", provider="main")
    assert resumed["provider"]["state"] == "open"
    paused = await client.ask(op="pause", provider="main")
    assert (paused["provider"]["state"], paused["provider"]["reason"]) == ("paused", "paused by an operator")


async def test_a_listing_is_read_page_by_page(client: Client) -> None:
    await client.say(*({"to": NUMBER, "text": f"{n}", "user": "u"} for n in range(25)))
    assert all(each["ok"] for each in await client.answers(25))
    assert (await client.ask(to="+14155550199", text="other", user="u"))["ok"] is True
    assert (await client.send("another user's"))["ok"] is True
    seen: list[str] = []
    cursor = None
    while True:
        page = await client.ask(op="list", limit=10, cursor=cursor, to="+1 (415) 555-0123", user="u")
        seen += [each["text"] for each in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [str(n) for n in reversed(range(25))]
