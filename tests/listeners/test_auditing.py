"""Does every operator's act leave one line, before it is done, that says what became of it and nothing it must not?"""

from __future__ import annotations

import asyncio
import typing
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from smsd import wire
from smsd.core.events import Event
from smsd.engine.auditing import Act, Auditing
from smsd.engine.bus import Bus
from smsd.engine.service import ReloadRefusedError
from smsd.listeners import auditing
from smsd.listeners.callers import Caller, ProblemError, Scope
from smsd.listeners.http.access import Access
from smsd.listeners.operations import OPERATIONS, Operation
from smsd.store import DiskFullError
from smsd.store.operators import Entry
from tests.listeners.house import NUMBER, Client, House, code
from tests.listeners.http_rig import serving, token

ROOT = Caller("uid 0", "local:0", frozenset(Scope), everyone=True)
SHOP = Caller("token shop", "shop", frozenset(Scope))
APP = Caller("token app", "shop", frozenset({Scope.SEND, Scope.READ}))

NOWHERE = "01a2049a-0000-7000-8000-999999999999"


def is_recorded(operation: Operation) -> bool:
    """As the contract says it, not as the code does."""
    changes_campaign = operation.name.startswith("campaign_") and operation.scope is not Scope.READ
    if operation.name in {"suppressions", "failed", "audit"}:
        return False
    return operation.scope is Scope.ADMIN or changes_campaign or operation.name in {"cancel", "reschedule"}


RECORDED = [operation for operation in OPERATIONS.values() if is_recorded(operation)]


def anything(operation: Operation) -> msgspec.Struct:
    """A request with what it must have."""
    fields: dict[str, Any] = {}
    hints = typing.get_type_hints(operation.request)
    for field in msgspec.structs.fields(operation.request):
        if field.required:
            usual = {"id": NOWHERE, "number": NUMBER}
            fields[field.name] = usual.get(field.name) or some(hints[field.name])
    return operation.request(**fields)


def some(kind: object) -> object:
    """Something of the type."""
    if kind is str:
        return "2026-01-02T03:04:05Z"
    return [] if typing.get_origin(kind) is list else kind() if isinstance(kind, type) else None


async def lines(house: House, tenant: str | None = None) -> Sequence[Entry]:
    found, _ = await house.outbox.desk.audit.page(tenant)
    return found


async def try_it(house: House, caller: Caller, operation: Operation, request: msgspec.Struct) -> str:
    """Perform it; the code of what was wrong."""
    try:
        await operation.handler(house.engine.service, caller, request)
    except ProblemError as problem:
        return problem.faults[0].code
    return "done"


@pytest.mark.parametrize("operation", RECORDED, ids=lambda operation: operation.name)
async def test_each_leaves_exactly_one_line_that_says_how_it_ended(house: House, operation: Operation) -> None:
    outcome = await try_it(house, ROOT, operation, anything(operation))
    [line] = await lines(house)
    assert (line.operation, line.who, line.tenant, line.outcome) == (operation.name, "uid 0", "", outcome)


def test_the_table_has_what_must_be_recorded() -> None:
    assert {"retry", "pause", "resume", "reload", "backup", "suppress", "replay", "cancel"} <= {
        operation.name for operation in RECORDED
    }


async def test_no_other_operation_leaves_a_line(house: House) -> None:
    for operation in OPERATIONS.values():
        if not is_recorded(operation) and operation.name != "metrics":
            await try_it(house, ROOT, operation, anything(operation))
    assert await lines(house) == ()


async def test_an_applications_own_cancel_leaves_no_line(house: House) -> None:
    for name in ("cancel", "reschedule"):
        assert await try_it(house, APP, OPERATIONS[name], anything(OPERATIONS[name])) == "not_found"
    assert await lines(house) == ()


async def test_both_doors_leave_lines(house: House, client: Client) -> None:
    assert (await client.ask(op="pause", provider="main"))["ok"]
    assert code(await client.ask(op="pause", provider="other")) == "not_found"
    async with serving(house, Access((token("ops"),))) as rig:
        paused = await rig.ask("POST", "/v1/providers/main/resume", {}, Authorization="Bearer ops")
        assert paused.status == 200
        refused = await rig.ask("POST", "/v1/messages/none/retry", {"force": True}, Authorization="Bearer ops")
        assert refused.status == 404
    found = [(line.operation, line.subject, line.detail, line.outcome) for line in await lines(house)]
    assert found == [
        ("retry", "none", "force", "not_found"),
        ("resume", "main", "", "done"),
        ("pause", "other", "", "not_found"),
        ("pause", "main", "", "done"),
    ]


async def test_who_is_not_allowed_leaves_no_line(house: House) -> None:
    async with serving(house, Access((token("app", Scope.SEND, Scope.READ),))) as rig:
        refused = await rig.ask("POST", "/v1/providers/main/pause", {}, Authorization="Bearer app")
    assert (refused.status, await lines(house)) == (403, ())


async def test_the_line_is_there_before_the_act(house: House) -> None:
    seen: list[Entry] = []

    async def handler(service: Any, caller: Caller, request: Any) -> msgspec.Struct:
        """Look."""
        seen.extend(await lines(house))
        return wire.Pong(True, "")

    wrapped = auditing.audited("pause", Scope.ADMIN, handler)
    await wrapped(house.engine.service, ROOT, wire.Pause("main"))
    assert [(line.operation, line.outcome) for line in seen] == [("pause", None)]
    assert [line.outcome for line in await lines(house)] == ["done"]
    assert wrapped.__doc__ == "Look."


class Full:
    """An audit without room."""

    def __init__(self, at: str) -> None:
        self._at = at
        self.begun = 0

    async def begin(self, entry: Entry) -> int:
        if self._at == "begin":
            raise DiskFullError("no room")
        self.begun += 1
        return self.begun

    async def end(self, nr: int, outcome: str, detail: str | None = None) -> None:
        raise DiskFullError("no room")

    async def reopen(self, nr: int) -> bool:
        raise AssertionError

    async def page(self, *args: Any, **filters: Any) -> tuple[tuple[Entry, ...], int | None]:
        raise AssertionError


def fill(house: House, at: str) -> list[Event]:
    """From now on nothing can be written down; the events."""
    told: list[Event] = []
    bus = Bus()
    bus.subscribe(told.append)
    house.engine.office.auditing = Auditing(Full(at), bus, house.clock)
    return told


async def state_of_main(client: Client) -> str:
    [provider] = (await client.ask(op="providers"))["providers"]
    return str(provider["state"])


async def test_what_cannot_be_written_down_is_not_done(house: House, client: Client) -> None:
    told = fill(house, "begin")
    assert code(await client.ask(op="resume", provider="main")) == "disk_full"
    assert (await state_of_main(client), told) == ("paused", [])


async def test_what_was_done_is_told_as_done_though_the_line_could_not_be_closed(house: House, client: Client) -> None:
    told = fill(house, "end")
    assert (await client.ask(op="resume", provider="main"))["ok"]
    assert await state_of_main(client) == "open"
    assert [event.fields["outcome"] for event in told] == ["done"]


async def test_each_act_is_told_and_to_no_tenant(house: House, client: Client) -> None:
    await client.ask(op="retry", id=NOWHERE)
    told = (await client.ask(op="events", kinds="operator.acted", after="00000000-0"))["events"]
    usual = {"who": "uid 0", "operation": "retry", "subject": NOWHERE, "detail": "", "outcome": "not_found"}
    assert [event["data"] for event in told] == [usual]
    assert "tenant" not in told[0]["data"]


SECRETS = wire.SendLine(
    to="+12015550123",
    text="quagga",
    vars={"code": "quagga"},
    metadata={"a": "quagga"},
    callback_url="https://quagga.example.org",
    idempotency_key="quagga",
    user="quagga",
    campaign="call +12015550124\n",
    max_attempts=3,
    ttl="2h",
)


def test_a_line_holds_no_text_no_secret_and_no_whole_number() -> None:
    act = auditing.act_of(ROOT, "some", SECRETS)
    assert act.subject == "call +1201*****24?"
    assert (
        act.detail == "to +1201*****23, text, vars, ttl 2h, idempotency_key, user, metadata, callback_url, max_attempts"
    )
    assert auditing.act_of(ROOT, "suppress", wire.Suppress("+12015550123", "main")) == Act(
        "uid 0", "", "suppress", "+1201*****23", "scope main"
    )
    assert auditing.act_of(SHOP, "suppress", wire.Suppress("0201 5550123")).subject == "**** *****23"


def test_a_line_has_a_bound() -> None:
    ids = [f"{n:036d}" for n in range(200)]
    assert auditing.act_of(ROOT, "replay", wire.Replay(ids)).detail == f"ids (200): {ids[0]}, {ids[1]}, {ids[2]} ..."
    long = auditing.act_of(ROOT, "list", wire.List(state="x" * 9_999, category="y" * 9_999, since="z" * 9_999, to="+1"))
    assert len(long.detail) < 500
    assert len(auditing.act_of(ROOT, "retry", wire.Retry("i" * 9_999)).subject) == 128


async def test_only_the_first_piece_of_a_backup_is_an_act(house: House) -> None:
    backup = OPERATIONS["backup"]
    assert await try_it(house, ROOT, backup, wire.Backup()) == "not_available"
    assert await try_it(house, ROOT, backup, wire.Backup("snap", 4_096)) == "not_available"
    assert [line.outcome for line in await lines(house)] == ["not_available"]


async def test_the_pieces_of_a_bulk_deletion_are_one_act(house: House) -> None:
    """Each is written down before it is done; whoever else deletes has a line of its own."""
    open_ones: list[int] = []

    async def handler(service: Any, caller: Caller, request: Any) -> msgspec.Struct:
        open_ones.append(sum(line.outcome is None for line in await lines(house)))
        if request.cursor == "bad":
            raise ZeroDivisionError
        more = request.cursor != "end"
        return wire.DeletedView(100, [], 1, more, "next" if more else None)

    async def delete(caller: Caller, cursor: str | None) -> None:
        request = wire.FailedDelete(all=True, limit=100, cursor=cursor)
        await auditing.audited("failed_delete", Scope.ADMIN, handler)(house.engine.service, caller, request)

    for cursor in (None, "next"):
        await delete(ROOT, cursor)
    await delete(SHOP, "next")
    with pytest.raises(ZeroDivisionError):
        await delete(ROOT, "bad")
    details = {line.who: (line.detail, line.outcome) for line in await lines(house)}
    assert details == {
        "uid 0": ("all, limit 100: 200 deleted, 2 skipped so far", "internal"),
        "token shop": ("all, limit 100: 100 deleted, 1 skipped so far", "done"),
    }
    await delete(ROOT, "end")
    await delete(ROOT, "end")
    found = [(line.who, line.detail, line.outcome) for line in await lines(house) if line.who == "uid 0"]
    assert sorted(found) == [
        ("uid 0", "all, limit 100: 100 deleted, 1 skipped", "done"),
        ("uid 0", "all, limit 100: 300 deleted, 3 skipped", "done"),
    ]
    assert open_ones == [1] * 6


async def test_what_only_tries_is_no_act(house: House) -> None:
    await try_it(house, ROOT, OPERATIONS["register"], wire.Register("main", dry_run=True))
    assert not await lines(house)


async def test_a_fault_of_the_daemon_is_an_outcome_too(house: House) -> None:
    async def handler(service: Any, caller: Caller, request: Any) -> msgspec.Struct:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await auditing.audited("pause", Scope.ADMIN, handler)(house.engine.service, ROOT, wire.Pause("main"))
    assert [line.outcome for line in await lines(house)] == ["internal"]
    assert auditing.code_of(ReloadRefusedError((("", "x"),))) == "invalid_value"


async def test_the_audit_is_read_by_pages_and_a_tenant_sees_its_own(house: House) -> None:
    retry = OPERATIONS["retry"]
    for n in range(5):
        house.clock.advance(1_000)
        await try_it(house, SHOP if n % 2 else ROOT, retry, wire.Retry(str(n)))
    access = Access((token("ops"), token("shop", tenant="shop"), token("app", Scope.READ)))
    async with serving(house, access) as rig:

        async def ask(who: str, query: str = "") -> Any:
            reply = await rig.ask("GET", f"/v1/audit{query}", Authorization=f"Bearer {who}")
            return reply.json if reply.status == 200 else reply.status

        assert await ask("app") == 403
        assert await ask("shop", "?tenant=bank") == 403
        mine = await ask("shop", "?operation=retry")
        assert [item["subject"] for item in mine["items"]] == ["3", "1"]
        assert {item["tenant"] for item in mine["items"]} == {"shop"}
        first = await ask("ops", "?operation=retry&limit=3")
        rest = await ask("ops", f"?operation=retry&limit=3&cursor={first['next_cursor']}")
        assert [item["subject"] for page in (first, rest) for item in page["items"]] == ["4", "3", "2", "1", "0"]
        assert rest["next_cursor"] is None
        at = first["items"][1]["at"]
        assert [item["subject"] for item in (await ask("ops", f"?operation=retry&since={at}"))["items"]] == ["4", "3"]
        assert (await ask("ops", "?operation=audit"))["items"] == []  # who looks leaves no line
        assert await ask("ops", "?since=yesterday") == 422


async def test_smsds_end_in_between_leaves_the_outcome_unknown(house: House) -> None:
    async def handler(service: Any, caller: Caller, request: Any) -> msgspec.Struct:
        await asyncio.Event().wait()
        raise AssertionError

    wrapped = auditing.audited("pause", Scope.ADMIN, handler)
    act = asyncio.ensure_future(wrapped(house.engine.service, ROOT, wire.Pause("main")))
    while not await lines(house):
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)  # its row is there a moment before its own task knows
    asked = await auditing.audit(house.engine.service, ROOT, wire.Audit())
    assert [item.outcome for item in asked.items] == ["under_way"]
    act.cancel()
    await asyncio.wait([act])
    asked = await auditing.audit(house.engine.service, ROOT, wire.Audit())
    assert [(item.operation, item.outcome) for item in asked.items] == [("pause", None)]
