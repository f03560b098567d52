"""Do suppressions set by an operator hold at every door, and may nobody else set, lift or list them?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from smsd import wire
from smsd.core.suppression import EVERY, Suppression
from smsd.listeners.callers import Caller, ProblemError, Scope
from smsd.listeners.http.access import Access
from smsd.listeners.operations import OPERATIONS
from tests.listeners.house import NUMBER, House, code, running
from tests.listeners.http_rig import serving, token

ROOT = Caller("root", "local:0", frozenset(Scope), everyone=True)
GONE = "+14155550199"
ROUTE = f"/v1/suppressions/{GONE}"


async def asked(house: House, name: str, request: msgspec.Struct) -> Any:
    return await OPERATIONS[name].handler(house.engine.service, ROOT, request)


async def refused(house: House, name: str, request: msgspec.Struct) -> tuple[str, str, str]:
    """Field, code and message of the one fault."""
    with pytest.raises(ProblemError) as caught:
        await asked(house, name, request)
    (fault,) = caught.value.faults
    return fault.field, fault.code, fault.message


async def test_what_is_set_over_the_socket_holds_over_http_and_the_other_way(house: House) -> None:
    socket = await house.client()
    kept = await socket.ask(op="suppress", number="+1 (415) 555-0199")
    at = wire.time_text(house.clock.wall())
    entry = {"number": GONE, "scope": "*", "at": at, "source": "operator", "code": None}
    assert kept == {"ok": True, "ref": None, **entry, "added": True}
    async with serving(house) as rig:
        again = await rig.ask("PUT", ROUTE, {})
        assert (again.status, again.json) == (200, {**entry, "added": False})
        narrower = await rig.ask("PUT", ROUTE, {"scope": "main"})
        assert (narrower.status, narrower.json) == (201, {**entry, "scope": "main", "added": True})
        for path in ("/v1/suppressions", ROUTE, f"/v1/suppressions?number={GONE}"):
            listed = (await rig.ask("GET", path)).json
            assert listed == {"items": [entry, {**entry, "scope": "main"}], "next_cursor": None}
        assert (await rig.ask("GET", "/v1/suppressions/+14155550100")).json == {"items": [], "next_cursor": None}
        assert (await rig.ask("GET", f"{ROUTE}?scope=*")).json["items"] == [entry]
        lifted = await rig.ask("DELETE", ROUTE)
        assert (lifted.status, lifted.json) == (200, {"number": GONE, "scope": "*"})
        gone = await rig.ask("DELETE", f"{ROUTE}?scope=*")
        assert (gone.status, gone.codes) == (404, [("number", "not_found")])
    left = await socket.ask(op="suppressions")
    assert [each["scope"] for each in left["items"]] == ["main"]
    assert (await socket.ask(op="unsuppress", number=GONE, scope="main"))["scope"] == "main"
    assert (await socket.ask(op="suppressions"))["items"] == []


async def test_a_submission_is_refused_until_it_is_lifted(house: House) -> None:
    socket = await house.client()
    for scope in (None, "main"):
        await socket.ask(op="suppress", number=NUMBER, scope=scope)
        assert code(await socket.send()) == "recipient_suppressed"
        await socket.ask(op="unsuppress", number=NUMBER, scope=scope)
        assert (await socket.send())["ok"] is True


async def test_who_did_it_is_told_and_only_to_operators(house: House) -> None:
    for name in ("suppress", "suppress", "unsuppress"):
        await OPERATIONS[name].handler(house.engine.service, ROOT, OPERATIONS[name].request(GONE, "*"))
    await asked(house, "suppress", wire.Suppress(GONE, "main"))
    page = await asked(house, "events", wire.Events(after="00000000-0", kinds="suppression.*"))
    told = {"to": page.events[0].data["to"], "provider": "*", "source": "operator", "code": None, "by": "root"}
    assert [(each.event, each.data) for each in page.events] == [
        ("suppression.added", told),
        ("suppression.removed", told),
        ("suppression.added", {**told, "provider": "main"}),
    ]
    assert GONE not in str(page.events)
    shop = Caller("token shop", "shop", frozenset(Scope))
    theirs = await OPERATIONS["events"].handler(house.engine.service, shop, wire.Events(after="00000000-0"))
    assert isinstance(theirs, wire.EventList)
    assert theirs.events == []
    assert house.engine.meters.suppressions == {"main": 1, "": 1}


async def test_a_scope_must_be_a_provider_to_be_set_and_none_to_be_lifted(house: House) -> None:
    field, fault, message = await refused(house, "suppress", wire.Suppress(GONE, "mian"))
    assert (field, fault) == ("scope", "invalid_value")
    assert "'mian'" in message
    assert "main" in message
    assert await house.outbox.suppress(Suppression("old", GONE, 5, "provider", "21610"))
    assert (await asked(house, "suppressions", wire.Suppressions(scope="old"))).items[0].code == "21610"
    field, fault, message = await refused(house, "unsuppress", wire.Unsuppress(GONE))
    assert (field, fault) == ("number", "not_found")
    assert message == f"{GONE} is not suppressed at every provider; its `scope` is old."
    assert (await asked(house, "unsuppress", wire.Unsuppress(GONE, "old"))).scope == "old"
    assert "nor anywhere else" in (await refused(house, "unsuppress", wire.Unsuppress(GONE, "old")))[2]


@pytest.mark.parametrize(
    ("name", "request_", "fault"),
    [
        ("suppress", wire.Suppress("555"), ("number", "invalid_recipient")),
        ("suppress", wire.Suppress("4155550199"), ("number", "invalid_recipient")),
        ("suppress", wire.Suppress(GONE, ""), ("scope", "invalid_value")),
        ("unsuppress", wire.Unsuppress(""), ("number", "invalid_recipient")),
        ("unsuppress", wire.Unsuppress(GONE, ""), ("scope", "invalid_value")),
        ("suppressions", wire.Suppressions(number="x"), ("number", "invalid_recipient")),
        ("suppressions", wire.Suppressions(scope=""), ("scope", "invalid_value")),
        ("suppressions", wire.Suppressions(limit=0), ("limit", "invalid_value")),
        ("suppressions", wire.Suppressions(limit=1_001), ("limit", "invalid_value")),
        *(
            ("suppressions", wire.Suppressions(cursor=text), ("cursor", "invalid_value"))
            for text in ("", "x", "é", wire.encode_place("+1"), wire.encode_place("+1", "a", "b"), "_w==", "LzE\n")
        ),
    ],
)
async def test_what_is_wrong_is_named(
    house: House, name: str, request_: msgspec.Struct, fault: tuple[str, str]
) -> None:
    assert (await refused(house, name, request_))[:2] == fault


@pytest.mark.parametrize("number", [None, GONE])
@pytest.mark.parametrize("limit", [1, 2, 3, 50])
async def test_pages_hold_all_of_it_once(house: House, number: str | None, limit: int) -> None:
    numbers = [GONE] if number else [f"+1415555010{n}" for n in range(3)]
    every = [(each, scope) for each in numbers for scope in (EVERY, "main", "old")]
    for each, scope in every:
        assert await house.outbox.suppress(Suppression(scope, each, 5, "operator"))
    found: list[tuple[str, str]] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        page = await asked(house, "suppressions", wire.Suppressions(number=number, limit=limit, cursor=cursor))
        found += [(each.number, each.scope.replace("*", EVERY)) for each in page.items]
        cursor, pages = page.next_cursor, pages + 1
    assert found == every
    assert pages == -(-len(every) // limit)


async def test_over_http_a_plus_is_a_plus_and_nothing_is_passed_over(house: House) -> None:
    async with serving(house) as rig:
        assert (await rig.ask("PUT", ROUTE)).status == 201
        assert len((await rig.ask("GET", f"/v1/suppressions?number={GONE}")).json["items"]) == 1
        assert (await rig.ask("PUT", ROUTE, {}, Content_Type="text/plain")).status == 415
        assert (await rig.ask("PUT", ROUTE, {"number": GONE})).codes == [("number", "unknown_field")]
        assert (await rig.ask("PUT", f"{ROUTE}?scope=main", {})).codes == [("scope", "unknown_field")]
        body = await rig.ask("DELETE", ROUTE, {"scope": "main"})
        assert (body.status, body.codes) == (400, [(None, "malformed")])
        assert (await rig.ask("DELETE", f"{ROUTE}?scop=main")).codes == [("scop", "unknown_field")]
        assert (await rig.ask("POST", ROUTE, {})).headers["allow"] == "DELETE, GET, HEAD, PUT"
        assert len((await rig.ask("GET", ROUTE)).json["items"]) == 1, "nothing of it lifted anything"


async def test_a_tenants_admin_and_who_may_not_administer_are_turned_away(tmp_path: Path) -> None:
    access = Access((token("ops"), token("shop", tenant="shop"), token("reader", Scope.SEND, Scope.READ)))
    async with running(tmp_path) as house, serving(house, access) as rig:
        calls: list[tuple[str, str, object]] = [
            ("GET", "/v1/suppressions", None),
            ("GET", ROUTE, None),
            ("PUT", ROUTE, {}),
            ("DELETE", ROUTE, None),
        ]
        for method, path, body in calls:
            assert (await rig.ask(method, path, body)).status == 401
            for name in ("shop", "reader"):
                answer = await rig.ask(method, path, body, Authorization=f"Bearer {name}")
                assert (answer.status, answer.codes) == (403, [(None, "not_allowed")])
        assert await house.outbox.suppressions_of(GONE) == ()
        statuses = [(await rig.ask(*call, Authorization="Bearer ops")).status for call in calls]
        assert statuses == [200, 200, 201, 200]
