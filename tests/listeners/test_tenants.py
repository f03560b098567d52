"""Can a tenant reach what is another's: a message, a count, an event, by any operation, in any order?

Every operation of the table is tried by every kind of caller with every message, user and number there is, in random
order, on a real engine and outbox. What a tenant is answered never names anything of another's, its counts are its
own, and what it does changes nothing of another's.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from smsd import wire
from smsd.core.campaign import Status
from smsd.core.message import State
from smsd.listeners.callers import Caller, ProblemError, Reach, Scope
from smsd.listeners.operations import OPERATIONS
from smsd.listeners.unix import Peers
from smsd.store import Query
from tests.listeners.house import House, running

ALL = frozenset(Scope)

SHOP = Caller("token shop", "shop", ALL)
BANK = Caller("token bank", "bank", ALL)
LOCAL = Peers(own_uid=1, admin_gid=None).caller(1000, ())
ROOT = Caller("root", "local:0", ALL, everyone=True)
CALLERS = (SHOP, BANK, LOCAL, ROOT)

NUMBERS = ("+14155550101", "+14155550102")
USERS = ("ann", "bob")
TENANTS = (None, "shop", "bank", "local:1000", "local:0")


def _some(values: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


Build = Callable[[Any, list[str]], msgspec.Struct]

REQUESTS: dict[str, Build] = {
    "send": lambda draw, ids: wire.SendLine(
        to=draw(_some(NUMBERS)), text="?", user=draw(_some((None, *USERS))), tenant=draw(_some(TENANTS)),
        idempotency_key=draw(_some((None, "one", "two"))), campaign=draw(_some((None, "spring"))),
    ),
    "get": lambda draw, ids: wire.Get(draw(_some(tuple(ids)))),
    "list": lambda draw, ids: wire.List(
        to=draw(_some((None, *NUMBERS))), user=draw(_some((None, *USERS))), tenant=draw(_some(TENANTS)),
        cursor=draw(_some((None, CURSORS.encode(5)))),
    ),
    "attempts": lambda draw, ids: wire.Attempts(draw(_some(tuple(ids)))),
    "cancel": lambda draw, ids: wire.Cancel(draw(_some(tuple(ids)))),
    "reschedule": lambda draw, ids: wire.Reschedule(draw(_some(tuple(ids))), "2026-01-02T03:04:05Z"),
    "retry": lambda draw, ids: wire.Retry(draw(_some(tuple(ids))), force=True),
    "campaign": lambda draw, ids: wire.CampaignNamed("spring", draw(_some(TENANTS))),
    "campaigns": lambda draw, ids: wire.Campaigns(draw(_some(TENANTS)), cursor=draw(_some((None, CURSORS.encode(5))))),
    "campaign_create": lambda draw, ids: wire.CampaignCreate("spring", tenant=draw(_some(TENANTS))),
    "campaign_pause": lambda draw, ids: wire.CampaignPause("spring", draw(_some(TENANTS))),
    "campaign_resume": lambda draw, ids: wire.CampaignResume("spring", draw(_some(TENANTS))),
    "campaign_cancel": lambda draw, ids: wire.CampaignCancel("spring", draw(_some(TENANTS))),
    "campaign_delete": lambda draw, ids: wire.CampaignDelete("spring", draw(_some(TENANTS))),
    "campaign_status": lambda draw, ids: wire.CampaignStatus("spring", draw(_some(TENANTS))),
    "stats": lambda draw, ids: wire.Stats(),
    "user": lambda draw, ids: wire.User(draw(_some(USERS)), draw(_some(TENANTS))),
    "recipient": lambda draw, ids: wire.Recipient(draw(_some(NUMBERS)), draw(_some(TENANTS))),
    "suppressions": lambda draw, ids: wire.Suppressions(),
    "suppress": lambda draw, ids: wire.Suppress("+14155550199", "main"),
    "unsuppress": lambda draw, ids: wire.Unsuppress("+14155550199", "main"),
    "inbound": lambda draw, ids: wire.Inbound(
        from_=draw(_some((None, *NUMBERS))), tenant=draw(_some(TENANTS)), cursor=draw(_some((None, CURSORS.encode(5)))),
    ),
    "report_daily": lambda draw, ids: wire.ReportDaily(tenant=draw(_some(TENANTS)), by=draw(_some((None, "tenant")))),
    "report_errors": lambda draw, ids: wire.ReportErrors(tenant=draw(_some(TENANTS))),
    "report_retries": lambda draw, ids: wire.ReportRetries(tenant=draw(_some(TENANTS))),
    "report_rate": lambda draw, ids: wire.ReportRate(tenant=draw(_some(TENANTS))),
    "report_cost": lambda draw, ids: wire.ReportCost(tenant=draw(_some(TENANTS)), by=draw(_some((None, "user")))),
    "providers": lambda draw, ids: wire.Providers(),
    "pause": lambda draw, ids: wire.Pause("main"),
    "resume": lambda draw, ids: wire.Resume("nobody"),
    "register": lambda draw, ids: wire.Register("main", draw(st.booleans())),
    "callbacks": lambda draw, ids: wire.Callbacks(failed=draw(st.booleans()), tenant=draw(_some(TENANTS))),
    "replay": lambda draw, ids: wire.Replay(draw(_some((None, [f"evt_{ids[0]}_1_sent"])))),
    "failed": lambda draw, ids: wire.Failed(
        tenant=draw(_some(TENANTS)), user=draw(_some((None, *USERS))), cursor=draw(_some((None, CURSORS.encode(5)))),
    ),
    "failed_retry": lambda draw, ids: wire.FailedRetry(
        ids=draw(_some((None, [ids[0]], ids[-2:]))), tenant=draw(_some(TENANTS)), all=draw(st.booleans()), force=True,
    ),
    "failed_delete": lambda draw, ids: wire.FailedDelete(
        ids=draw(_some((None, [ids[0]], ids[-2:]))), tenant=draw(_some(TENANTS)), all=draw(st.booleans()),
    ),
    "plan": lambda draw, ids: wire.Plan(
        rows=[{"to": "+14155550123", "text": "x"}], end=True, tenant=draw(_some(TENANTS))
    ),
    "audit": lambda draw, ids: wire.Audit(tenant=draw(_some(TENANTS)), operation="pause"),
    "alerts": lambda draw, ids: wire.Alerts(),
    "events": lambda draw, ids: wire.Events(after=draw(_some((None, "00000000-0")))),
    "reload": lambda draw, ids: wire.Reload(),
    "backup": lambda draw, ids: wire.Backup(),
    "metrics": lambda draw, ids: wire.Metrics(),
    "ping": lambda draw, ids: wire.Ping(),
}  # fmt: skip
"""How each operation is tried; one that is not here fails the test below."""


def test_every_operation_is_tried() -> None:
    assert {*REQUESTS} == {*OPERATIONS}


class Ledger:
    """Whose each message is, and what only its owner may see."""

    def __init__(self) -> None:
        self.owner: dict[str, str] = {"01a2049a-0000-7000-8000-999999999999": "nobody"}

    @property
    def ids(self) -> list[str]:
        return [*self.owner]

    def secrets(self, caller: Caller) -> list[str]:
        """What no answer to this caller may hold: ids, and the words in others' texts."""
        foreign = {tenant for tenant in self.owner.values() if tenant != caller.tenant}
        ids = [id for id, tenant in self.owner.items() if tenant in foreign]
        return ids + [f"secret of {tenant}." for tenant in foreign]

    def count(self, tenant: str) -> int:
        return sum(each == tenant for each in self.owner.values())


CURSORS: wire.Cursors = wire.Cursors(bytes(16))


async def state_of(house: House) -> dict[str, tuple[str, State, int]]:
    """Every message as the outbox has it."""
    page = await house.outbox.page(Query(limit=1_000))
    return {each.id: (each.tenant, each.state, each.due) for each in page.items}


async def settle(house: House) -> None:
    """A cancelled campaign's messages are cancelled behind the answer: that is not the next caller's doing."""
    campaigns = house.engine.office.campaigns
    async with asyncio.timeout(10):
        while any(one.status is Status.CANCELLED and one.counts.queued for one in await campaigns.find("spring", None)):
            await asyncio.sleep(0.001)


async def try_out(house: House, ledger: Ledger, caller: Caller, name: str, request: msgspec.Struct) -> None:
    """One request, and what must be true of its answer and of its effect."""
    if isinstance(request, wire.SendLine):
        request.text = f"secret of {request.tenant or caller.tenant}."
    before = await state_of(house)
    operation = OPERATIONS[name]
    asked = str(msgspec.to_builtins(request))
    try:
        operation.admit(caller)
        answer = await operation.handler(house.engine.service, caller, request)
        told = msgspec.json.encode(answer).decode()
    except ProblemError as problem:
        answer, told = None, " ".join(fault.message for fault in problem.faults)
    if isinstance(answer, wire.Acceptance) and not answer.replayed:
        assert isinstance(request, wire.SendLine)
        ledger.owner[answer.id] = request.tenant or caller.tenant
    await settle(house)
    if caller.everyone:
        return
    seen = [secret for secret in ledger.secrets(caller) if secret in told and secret not in asked]
    assert not seen, f"{caller.name} saw {seen} by {name}"
    own_counts(ledger, caller, answer)
    after = await state_of(house)
    changed = {id for id in after if before.get(id) != after[id]}
    assert {after[id][0] for id in changed} <= {caller.tenant}, f"{caller.name} changed another's by {name}"


def own_counts(ledger: Ledger, caller: Caller, answer: object) -> None:
    """Counts in an answer are of the caller's own messages."""
    match answer:
        case wire.StatsView():
            assert sum(answer.states.values()) == ledger.count(caller.tenant)
            assert all(view.in_flight is None for view in answer.providers.values())
        case wire.DailyReport():
            assert answer.total.accepted == ledger.count(caller.tenant)
            assert {line.group for line in answer.items if answer.by == "tenant"} <= {caller.tenant}
        case wire.UserView() | wire.RecipientView():
            assert answer.pending <= ledger.count(caller.tenant)
        case wire.CampaignView() | wire.CampaignMade():
            assert answer.tenant == caller.tenant
            assert answer.total <= ledger.count(caller.tenant)
        case wire.CampaignList():
            assert {view.tenant for view in answer.items} <= {caller.tenant}
        case wire.CampaignStatusView():
            assert answer.campaign.total <= ledger.count(caller.tenant)
        case wire.EventList():
            assert {event.data["tenant"] for event in answer.events} <= {caller.tenant}
        case wire.ProviderList():
            assert all(view.sent_last_minute is None for view in answer.providers)
        case _:
            pass


async def play(data: st.DataObject, directory: Path) -> None:
    async with running(directory) as house:
        ledger = Ledger()
        house.engine.service.cursor_key = bytes(16)
        for _ in range(data.draw(st.integers(5, 25))):
            caller = data.draw(_some(CALLERS))
            name = data.draw(st.one_of(st.just("send"), _some(tuple(OPERATIONS))))
            await try_out(house, ledger, caller, name, REQUESTS[name](data.draw, ledger.ids))
        for tenant in {*ledger.owner.values()} - {"nobody"}:
            caller = Caller("check", tenant, ALL)
            page = await OPERATIONS["list"].handler(house.engine.service, caller, wire.List(limit=1_000))
            assert isinstance(page, wire.MessageList)
            assert {item.id for item in page.items} == {id for id, own in ledger.owner.items() if own == tenant}
            found = await OPERATIONS["stats"].handler(house.engine.service, caller, wire.Stats())
            assert isinstance(found, wire.StatsView)
            counted = Counter(item.state for item in page.items)
            assert {state: count for state, count in found.states.items() if count} == counted


@settings(max_examples=30, deadline=None, phases=(Phase.generate,))  # shrinking starts an engine a hundred times
@given(st.data())
def test_no_tenant_reaches_what_is_anothers(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory(prefix="smsd-") as directory:
        asyncio.run(play(data, Path(directory)))


def scope_sets() -> Iterator[frozenset[Scope]]:
    for size in range(len(Scope) + 1):
        for some in combinations(Scope, size):
            yield frozenset(some)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_needs_exactly_its_scope_and_its_reach(name: str) -> None:
    operation = OPERATIONS[name]
    for scopes in scope_sets():
        for everyone in (False, True):
            caller = Caller("somebody", "shop", scopes, everyone=everyone)
            allowed = operation.scope in scopes and (everyone or operation.reach is Reach.OWN)
            if allowed:
                operation.admit(caller)
                continue
            with pytest.raises(ProblemError) as caught:
                operation.admit(caller)
            assert caught.value.faults[0].code == "not_allowed"


async def test_who_paused_a_provider_is_told_to_operators_only(house: House) -> None:
    service = house.engine.service
    await OPERATIONS["pause"].handler(service, ROOT, wire.Pause("main"))
    accepted = await OPERATIONS["send"].handler(service, SHOP, wire.SendLine(to=NUMBERS[0], text="hello"))
    assert isinstance(accepted, wire.Acceptance)
    for name, request in (("providers", wire.Providers()), ("stats", wire.Stats()), ("get", wire.Get(accepted.id))):
        told = msgspec.json.encode(await OPERATIONS[name].handler(service, SHOP, request)).decode()
        assert "paused by an operator" in told
        assert ROOT.name not in told
    page = await OPERATIONS["events"].handler(service, ROOT, wire.Events(after="00000000-0"))
    assert isinstance(page, wire.EventList)
    assert [event.data["by"] for event in page.events if event.event == "provider.paused"][-1] == ROOT.name


async def test_a_page_of_large_messages_ends_early_and_the_next_goes_on(house: House) -> None:
    service = house.engine.service
    for number in range(300):
        request = wire.SendLine(to=NUMBERS[0], text=f"{number:03} " + "x" * 440, metadata={"m": "y" * 1_500})
        await OPERATIONS["send"].handler(service, SHOP, request)
    found: list[str] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        page = await OPERATIONS["list"].handler(service, SHOP, wire.List(limit=1_000, cursor=cursor))
        assert isinstance(page, wire.MessageList)
        assert len(msgspec.json.encode(page)) < 600_000
        found += [item.id for item in page.items]
        cursor, pages = page.next_cursor, pages + 1
    assert (len(found), len({*found})) == (300, 300)
    assert pages > 1
