"""Does `smsd failed` do what it was told to what was meant, and no more?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from smsd.cli.failing import IDS_AT_ONCE
from smsd.cli.filters import CATEGORIES
from smsd.core.verdict import Category
from tests.cli.fake import Fake
from tests.cli.helpers import UNKNOWN, Run, on_terminal
from tests.doubles.fake_daemon import RefusedError

ERROR = {"category": "NETWORK", "code": None, "message": "refused", "provider": "main", "at": None, "cause": None}
DOUBT = {**ERROR, "category": "UNCERTAIN", "message": "nobody knows"}


@pytest.fixture
def ids(fake: Fake) -> list[str]:
    """Three that failed, the last of them perhaps not; one that waits."""
    found = [fake.add(state="failed", waiting=None, error=error)["id"] for error in (ERROR, ERROR, DOUBT)]
    fake.add()
    return found


def asked(fake: Fake, op: str) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in request.items() if k not in {"op", "ref"}} for request in fake.requests if request["op"] == op
    ]


def test_it_is_listed_without_a_word(smsd: Run, fake: Fake, ids: list[str]) -> None:
    for words in (("failed",), ("failed", "list")):
        done = smsd(*words)
        assert [row.split()[0] for row in done.out.splitlines()[1:]] == ids[::-1]
        assert "UNCERTAIN: nobody knows" in done.out
    assert [each["id"] for each in smsd("failed", "--json").documents] == ids[::-1]
    cut = smsd("failed", "--limit", "1", "--campaign", "spring", "--provider", "main")
    assert (len(cut.out.splitlines()), "there are more" in cut.err) == (2, True)
    assert asked(fake, "failed")[-1] == {"limit": 2, "campaign": "spring", "provider": "main"}
    fake.messages.clear()
    assert smsd("failed").err == "Nothing failed.\n"
    assert smsd("failed", "--user", "ann").err == "Nothing failed that the filters find.\n"
    assert "Commands:" in smsd("failed", "--help").out


def test_those_named_are_retried(smsd: Run, fake: Fake, ids: list[str]) -> None:
    assert smsd("failed", "retry", ids[0], "--ttl", "2h") == (0, "1 to be sent again.\n", "")
    assert asked(fake, "failed_retry") == [{"ids": ids[:1], "ttl": "2h"}]
    done = smsd("failed", "retry", *ids[1:], UNKNOWN)
    assert (done.code, done.out) == (65, "1 to be sent again.\n")
    assert done.err.splitlines() == [f"smsd: {ids[2]}: It is wrong_state.", f"smsd: {UNKNOWN}: It is not_found."]
    forced = smsd("failed", "retry", ids[2], "--force", "--json")
    assert forced.documents[0].items() >= {"retried": 1, "skipped": [], "skipped_total": 0}.items()


def test_a_sweep_takes_as_many_requests_as_it_needs(smsd: Run, fake: Fake) -> None:
    for _ in range(5):
        fake.add(state="failed", error=ERROR)
    fake.add(state="failed", error=DOUBT)
    fake.sweep_most = 2
    done = smsd("failed", "retry", "--category", "NETWORK", "--rate", "100/min", "--yes")
    assert (done.code, done.out[:19]) == (0, "5 to be sent again,")
    assert done.err.endswith("It is wrong_state.\n")
    requests = asked(fake, "failed_retry")
    assert [request.get("cursor") for request in requests] == [None, "2", "4"]
    assert all(r.items() >= {"category": "NETWORK", "rate": "100/min", "limit": 1_000}.items() for r in requests)


def test_very_many_are_named_in_several_requests(smsd: Run, fake: Fake) -> None:
    many = [fake.add(state="failed", error=ERROR)["id"] for _ in range(IDS_AT_ONCE + 3)]
    assert smsd("failed", "delete", *many, many[0]).out == f"{len(many)} deleted.\n"
    assert [len(request["ids"]) for request in asked(fake, "failed_delete")] == [IDS_AT_ONCE, 3]
    assert smsd("failed", "retry", *many, "--rate", "1/s").code == 64


def test_somebody_says_yes_first(smsd: Run, fake: Fake, ids: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    done = smsd("failed", "delete", "--all")
    assert done.code == 64
    assert done.err.startswith("smsd: 3 messages are to be deleted for good. Nobody can be asked")
    assert asked(fake, "failed_delete") == []
    on_terminal("failed", "delete", "--all", typed="n", code=130, SMSD_SOCKET=str(fake.path))
    assert asked(fake, "failed_delete") == []
    assert "3 deleted." in on_terminal("failed", "delete", "--all", typed="y", SMSD_SOCKET=str(fake.path))
    assert asked(fake, "failed_delete") == [{"all": True, "limit": 1_000}]
    nothing = smsd("failed", "delete", "--user", "ann")
    assert (nothing.code, nothing.err) == (0, "No such messages.\n")
    none = {"deleted": 0, "skipped": [], "skipped_total": 0}
    assert smsd("failed", "delete", "--user", "ann", "--json") == (0, f"{json.dumps(none)}\n", "")
    none = {"retried": 0, "skipped": [], "skipped_total": 0, "last_at": None}
    assert smsd("failed", "retry", "--user", "ann", "--json") == (0, f"{json.dumps(none)}\n", "")
    assert smsd("failed", "delete", "--all", "--yes").code == 0
    assert smsd("failed", "retry", "--all", "--json") == (0, f"{json.dumps(none)}\n", "")
    assert smsd("failed", "retry", "--all", "--json", "--yes") == (0, f"{json.dumps(none)}\n", "")
    assert asked(fake, "failed_delete") == [{"all": True, "limit": 1_000}] * 2


def test_an_unknown_category_is_a_wrong_command_line(smsd: Run, fake: Fake, ids: list[str]) -> None:
    assert set(CATEGORIES) == {each.value for each in Category}
    commands = ("failed", "failed retry --yes", "failed delete --yes", "list", "retry --yes", "cancel --yes")
    for command in commands:
        done = smsd(*command.split(), "--category", "NETWROK")
        assert done.code == 64
        assert "Did you mean NETWORK? It is one of RATE_LIMITED," in " ".join(done.err.split())
    assert fake.requests == []
    assert len(smsd("failed", "--category", "network").out.splitlines()) == 4
    assert asked(fake, "failed")[-1]["category"] == "NETWORK"


@pytest.mark.parametrize("words", [(), ("x", "--all"), ("x", "--user", "ann"), ("--all", "--user", "ann")])
def test_it_must_be_said_which(smsd: Run, fake: Fake, words: tuple[str, ...]) -> None:
    for command in ("retry", "delete"):
        assert smsd("failed", command, *words, "--yes").code == 64
    assert fake.requests == []


def test_all_of_a_tenant(smsd: Run, fake: Fake, ids: list[str]) -> None:
    assert smsd("failed", "delete", "--all", "--tenant", "shop", "--yes").code == 0
    assert asked(fake, "failed_delete") == [{"all": True, "tenant": "shop", "limit": 1_000}]


def test_a_refusal_and_a_fault_have_exit_codes(
    smsd: Run, fake: Fake, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {"id": ids[0], "code": "disk_full", "message": "The outbox has no room."}
    answer = {"retried": 2, "skipped": [broken], "skipped_total": 1, "more": False, "next_cursor": None}
    with monkeypatch.context() as patch:
        patch.setattr(fake, "_failed_retry", lambda request: {**answer, "last_at": None}, raising=True)
        assert smsd("failed", "retry", "--all", "--yes").code == 75
    fake.refuse["failed_retry"] = RefusedError("not_allowed", "You may not.")
    assert smsd("failed", "retry", "--all", "--yes").code == 77
