"""Who may do what? Asked by processes of other users and groups, told apart by the kernel alone."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from smsd.core.message import State
from smsd.listeners.operations import OPERATIONS, Caller, Operation, ProblemError, Reach, Scope
from smsd.listeners.unix import Peers
from tests.listeners.house import NUMBER, House, Json, code, running, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN AS ROOT: THE ROLES OF OTHER USERS WERE NOT CHECKED")

ALICE, BOB = 41_001, 41_002
STAFF, OTHERS = 42_001, 42_002

SPEAK = """
import json, os, socket, sys
user, group, extra = json.loads(sys.argv[1])
os.setgroups(extra)
os.setgid(group)
os.setuid(user)
door = socket.socket(socket.AF_UNIX)
door.connect("smsd.sock")
door.sendall(sys.stdin.buffer.read())
door.shutdown(socket.SHUT_WR)
while data := door.recv(65_536):
    sys.stdout.buffer.write(data)
"""
"""It becomes somebody else by itself: the interpreter may lie where only root can start it."""


async def ask(house: House, user: int, *requests: Json, group: int = OTHERS, extra: tuple[int, ...] = ()) -> list[Json]:
    """The answers that a process of this user and these groups gets."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-I", "-S", "-c", SPEAK, json.dumps([user, group, extra])],
        input=b"".join(json.dumps(each).encode() + b"\n" for each in requests),
        stdout=subprocess.PIPE,
        cwd=house.path.parent,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(requests)
    return answers


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """One whose socket everybody may reach."""
    tmp_path.chmod(0o711)
    async with running(tmp_path, admin_gid=STAFF, mode=0o666) as found:
        yield found


SEND = {"to": NUMBER, "text": "hi"}


async def test_others_send_and_see_their_own(house: House) -> None:
    mine, listed = await ask(house, ALICE, SEND, {"op": "list"})
    (theirs,) = await ask(house, BOB, SEND)
    (message,) = listed["items"]
    assert (message["id"], message["tenant"]) == (mine["id"], f"local:{ALICE}")
    seen, attempts, cancelled, foreign, foreign_cancel = await ask(
        house,
        ALICE,
        {"op": "get", "id": mine["id"]},
        {"op": "attempts", "id": mine["id"]},
        {"op": "cancel", "id": mine["id"]},
        {"op": "get", "id": theirs["id"]},
        {"op": "cancel", "id": theirs["id"]},
    )
    assert [code(each) for each in (seen, attempts, cancelled)] == ["", "", ""]
    assert [code(each) for each in (foreign, foreign_cancel)] == ["not_found", "not_found"]


async def test_others_may_not_speak_for_another_tenant(house: House) -> None:
    refused, own, listed = await ask(
        house,
        ALICE,
        {**SEND, "tenant": "shop"},
        {**SEND, "tenant": f"local:{ALICE}"},
        {"op": "list", "tenant": f"local:{BOB}"},
    )
    assert (code(refused), refused["error"]["field"]) == ("not_allowed", "tenant")
    assert own["ok"] is True
    assert (code(listed), listed["error"]["field"]) == ("not_allowed", "tenant")


ADMIN_ONLY: list[Json] = [
    {"op": "retry", "id": "x"},
    {"op": "pause", "provider": "main"},
    {"op": "resume", "provider": "main"},
    {"op": "suppress", "number": NUMBER, "scope": "main"},
    {"op": "suppressions"},
    {"op": "unsuppress", "number": NUMBER, "scope": "main"},
    {"op": "metrics"},
    {"op": "register", "provider": "main"},
    {"op": "replay"},
]


async def test_others_may_not_operate_the_daemon(house: House) -> None:
    answers = await ask(house, ALICE, *ADMIN_ONLY)
    assert [code(each) for each in answers] == ["not_allowed"] * len(ADMIN_ONLY)
    assert all(f"uid {ALICE}" in each["error"]["message"] for each in answers)
    assert house.engine.lanes["main"].health.standing(house.clock.wall()).value == "paused"


EVERYTHING: list[Json] = [*ADMIN_ONLY, {**SEND, "tenant": "shop"}, {"op": "list", "tenant": "shop"}, {"op": "list"}]


@pytest.mark.parametrize(
    ("group", "extra"),
    [(STAFF, ()), (OTHERS, (STAFF,)), (OTHERS, (*range(43_000, 43_200), STAFF))],
    ids=["primary", "supplementary", "one of many"],
)
async def test_the_admin_group_may_do_everything(house: House, group: int, extra: tuple[int, ...]) -> None:
    (theirs,) = await ask(house, BOB, SEND)
    answers = await ask(house, ALICE, *EVERYTHING, {"op": "get", "id": theirs["id"]}, group=group, extra=extra)
    assert [code(each) for each in answers] == ["not_found", *[""] * len(EVERYTHING)]
    assert {each["tenant"] for each in answers[len(EVERYTHING) - 1]["items"]} == {f"local:{BOB}", "shop"}


async def test_groups_beyond_what_can_be_read_give_nothing(house: House) -> None:
    """Less than it should be, never more; and no client ends the daemon."""
    (answer,) = await ask(house, ALICE, {"op": "metrics"}, extra=(*range(43_000, 43_300), STAFF))
    assert code(answer) == "not_allowed"
    (answer,) = await ask(house, ALICE, {"op": "metrics"}, group=STAFF, extra=tuple(range(43_000, 43_300)))
    assert code(answer) == ""


async def test_root_may_do_everything(house: House) -> None:
    client = await house.client()
    await client.say(*EVERYTHING)
    answers = await client.answers(len(EVERYTHING))
    assert [code(each) for each in answers] == ["not_found", *[""] * (len(EVERYTHING) - 1)]


async def test_the_daemons_own_user_may_do_everything(tmp_path: Path) -> None:
    caller = Peers(own_uid=ALICE, admin_gid=None).caller(ALICE, [OTHERS])
    assert (caller.everyone, caller.scopes) == (True, frozenset(Scope))
    assert not Peers(own_uid=ALICE, admin_gid=None).caller(BOB, [OTHERS]).everyone


async def test_what_a_bound_takes_from_one_user_it_takes_from_no_other(house: House) -> None:
    for _ in range(house.door.limits.connections + 10):
        await house.client()
    (answer,) = await ask(house, ALICE, SEND)
    assert answer["ok"] is True


# -- a walk over all operations ---------------------------------------------------------------------------------------

SCOPES = [
    frozenset({Scope.SEND}),
    frozenset({Scope.READ}),
    frozenset({Scope.SEND, Scope.READ}),
    frozenset(Scope),
]


def request_for(name: str, id: str) -> Json:
    """A request of this name about this message."""
    fields: Json = {"op": name}
    if name == "send":
        return {**fields, **SEND}
    if name in {"pause", "resume", "register"}:
        return {**fields, "provider": "main"}
    if name == "user":
        return {**fields, "user": "the user"}
    if name in {"recipient", "suppress", "unsuppress"}:
        return {**fields, "number": NUMBER}
    if name == "campaign_create":
        return {**fields, "id": "mine"}
    if name.startswith("campaign") and name != "campaigns":
        return {**fields, "id": "spring"}
    if name == "reschedule":
        return {**fields, "id": id, "send_at": "2030-01-02T03:04:05Z"}
    return {**fields, "id": id} if name in {"get", "attempts", "cancel", "retry"} else fields


class Everyman(Peers):
    """Takes everybody for one caller, whom the test chooses."""

    chosen: Caller

    def caller(self, uid: int, groups: object) -> Caller:
        return type(self).chosen


async def test_no_operation_shows_or_changes_what_is_anothers(tmp_path: Path) -> None:
    """Every operation, with every set of scopes, by a caller who is not everyone: nothing of another tenant's."""
    async with running(tmp_path) as house:
        root = await house.client()
        ids = [
            (await root.send("the other's text", tenant="other", user="other's user", campaign="spring"))["id"],
            (await root.ask(to="+15005550001", text="the other's text", tenant="other"))["id"],
        ]
        await house.engine.service.resume("main")
        await until(lambda: house.engine.tally.backlog == 0)
        await house.engine.service.pause("main", "for the test")
        before = [(await root.ask(op="get", id=id))["message"] for id in ids]
        assert [each["state"] for each in before] == [State.SENT.label, State.FAILED.label]
        for scopes in SCOPES:
            caller = Caller("someone", "mine", scopes)
            house.door.peers = Everyman(0, None)
            Everyman.chosen = caller
            client = await house.client()
            for name, operation in OPERATIONS.items():
                for id in ids:
                    answer = await client.ask(**request_for(name, id))
                    assert "other" not in json.dumps(answer), (name, scopes)
                    allowed = operation.scope in scopes and operation.reach is Reach.OWN
                    assert (code(answer) == "not_allowed") is not allowed, (name, scopes)
        assert [(await root.ask(op="get", id=id))["message"] for id in ids] == before


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
@pytest.mark.parametrize("scopes", SCOPES, ids=lambda scopes: "+".join(sorted(scopes)))
@pytest.mark.parametrize("everyone", [False, True])
def test_scope_and_reach_are_both_needed(operation: Operation, scopes: frozenset[Scope], everyone: bool) -> None:
    caller = Caller("someone", "mine", scopes, everyone)
    if operation.scope in scopes and (everyone or operation.reach is Reach.OWN):
        operation.admit(caller)
    else:
        with pytest.raises(ProblemError) as refused:
            operation.admit(caller)
        assert refused.value.faults[0].code == "not_allowed"
