"""Does one answer tell all that is wrong with a campaign and with its recipients?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from smsd.listeners.campaign_terms import LOOKED_AT
from tests.listeners.batch_rig import stored
from tests.listeners.house import Client, House
from tests.listeners.http_rig import HOST, Rig, serving
from tests.listeners.test_campaigns import ACCESS, NDJSON, TEXT, auth, get, lines, number, post

Codes = list[tuple[str | None, str]]

ROWS = [number(1), "12", {"to": number(2), "colour": "red"}, 7]
OF_ROWS: Codes = [
    ("recipients[1]", "invalid_recipient"),
    ("recipients[2]", "unknown_field"),
    ("recipients[3]", "invalid_value"),
]


@pytest.fixture
async def rig(house: House) -> AsyncIterator[Rig]:
    async with serving(house, ACCESS) as found:
        yield found


CASES: dict[str, tuple[dict[str, Any], Codes]] = {
    "a value": ({"rate": "fast"}, [("rate", "invalid_value")]),
    "a type": ({"rate": 5}, [("rate", "invalid_value")]),
    "what all bring": ({"text": 5, "ttl": "soon"}, [("text", "invalid_value"), ("ttl", "invalid_value")]),
    "its id": ({"id": "x" * 200}, [("id", "invalid_value")]),
    "its tenant": ({"tenant": "bank"}, [("tenant", "not_allowed")]),
    "a name": ({"colour": "red"}, [("colour", "unknown_field")]),
}


@pytest.mark.parametrize("query", ["", "?dry_run=1"])
@pytest.mark.parametrize(("wrong", "codes"), CASES.values(), ids=CASES)
async def test_its_own_faults_come_first(
    rig: Rig, tmp_path: Path, query: str, wrong: dict[str, Any], codes: Codes
) -> None:
    reply = await post(rig, {"id": "c", "text": TEXT, "recipients": ROWS, **wrong}, query=query)
    assert (reply.status, reply.codes) == (403 if "tenant" in wrong else 422, codes + OF_ROWS)
    assert (stored(tmp_path), (await get(rig, "/v1/campaigns")).json["items"]) == (0, [])


async def test_a_fault_of_all_is_not_told_of_each_but_what_one_says_itself_is(rig: Rig) -> None:
    rows = [number(1), {"to": number(2), "ttl": "later"}, {"to": number(3), "ttl": "1h"}]
    reply = await post(rig, {"text": TEXT, "ttl": "soon", "recipients": rows})
    assert reply.codes == [("ttl", "invalid_value"), ("recipients[1]", "invalid_value")]


async def test_the_first_hundred_recipients_are_named(rig: Rig) -> None:
    reply = await post(rig, {"text": TEXT, "rate": "fast", "recipients": [number(1), *["1"] * 150]})
    fields = [field for field, _ in reply.codes]
    assert (len(fields), fields[0], fields[1], fields[-1]) == (101, "rate", "recipients[1]", "recipients[100]")


async def test_of_very_many_the_first_are_judged(rig: Rig) -> None:
    """Nobody waits for a judgement of all of them; those behind are told of when the campaign is mended."""
    rows = [number(1)] * LOOKED_AT
    last = await post(rig, {"text": TEXT, "rate": "fast", "recipients": [*rows[:-1], "12", "12"]})
    assert last.codes == [("rate", "invalid_value"), (f"recipients[{LOOKED_AT - 1}]", "invalid_recipient")]


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        ({"rate": "fast"}, [("rate", "invalid_value"), ("recipients", "missing_field")]),
        ({"rate": "fast", "recipients": []}, [("rate", "invalid_value"), ("recipients", "invalid_value")]),
    ],
)
async def test_that_there_are_none_is_told_beside(rig: Rig, body: dict[str, Any], codes: Codes) -> None:
    assert (await post(rig, body)).codes == codes


async def test_of_lines_that_begin_with_a_wrong_one_no_other_is_awaited(rig: Rig) -> None:
    """The answer is there while more are still to come."""
    body = lines({"id": "c", "text": TEXT, "rate": "fast"}, "12")
    client = await rig.client()
    head = {"Host": HOST, **auth("shop"), **NDJSON, "Content-Length": str(len(body) + 100)}
    client.say("\r\n".join(["POST /v1/campaigns HTTP/1.1", *(f"{k}: {v}" for k, v in head.items()), "", ""]).encode())
    client.say(body)
    reply = await client.reply()
    assert (reply.status, reply.codes) == (422, [("rate", "invalid_value")])


async def test_over_the_socket(client: Client) -> None:
    for wrong in ({"rate": "fast"}, {"rate": 5}):
        answer = await client.ask(op="campaign_create", text=TEXT, recipients=ROWS, **wrong)
        fields = [fault["field"] for fault in answer["error"]["errors"]]
        assert fields == ["rate", *(field for field, _ in OF_ROWS)]
