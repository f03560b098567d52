"""Does `smsd campaign` say what the daemon says, and do no more than it was told to?"""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.fake import Fake
from tests.cli.helpers import Run
from tests.doubles.fake_daemon import Document, RefusedError


def campaign(id: str, status: str = "sending", **fields: Any) -> Document:
    return {
        **{"id": id, "tenant": "shop", "name": "Spring sale", "status": status},
        **{"total": 1_000, "queued": 4, "sent": 990, "failed": 6, "processed": 996},
        "states": {"pending": 3, "processing": 1, "sent": 900, "delivered": 90, "undelivered": 0, "failed": 6},
        "rate": "1000/hour",
        "send_between": {"from": "09:00", "to": "18:00", "zone": "Europe/Berlin"},
        **{"created_at": "2026-01-02T03:04:05.000Z", "changed_at": "2026-01-02T04:04:05.000Z"},
        **{"paused_at": None, "cancelled_at": None, "progress": 0.996, "eta": "2026-01-02T05:04:05.000Z"},
        **fields,
    }


class Campaigns:
    """What the daemon has of them."""

    def __init__(self, fake: Fake) -> None:
        self.all: dict[str, Document] = {}
        self._fake = fake

    def page(self, request: Document) -> Document:
        found = [*self.all.values()]
        start = int(request.get("cursor", 0))
        end = start + request.get("limit", 50)
        return {"items": found[start:end], "next_cursor": str(end) if end < len(found) else None}

    def one(self, request: Document) -> Document:
        if request["id"] not in self.all:
            raise RefusedError("not_found", f"There is no campaign {request['id']}.", "id")
        return {"campaign": self.all[request["id"]]}

    def move(self, request: Document) -> Document:
        status = {"pause": "paused", "resume": "sending", "cancel": "cancelled"}[request["op"].partition("_")[2]]
        found: Document = self.one(request)["campaign"]
        found["status"] = status
        return {"campaign": found}

    def delete(self, request: Document) -> Document:
        self.one(request)
        del self.all[request["id"]]
        return {"id": request["id"], "tenant": "shop", "deleted": True}


@pytest.fixture
def kept(fake: Fake) -> Campaigns:
    """Two of them."""
    found = Campaigns(fake)
    found.all = {"spring": campaign("spring"), "autumn": campaign("autumn", "completed", progress=1.0, queued=0)}
    fake.__dict__.update(_campaign_delete=found.delete)
    for op in ("campaign_pause", "campaign_resume", "campaign_cancel"):
        setattr(fake, f"_{op}", found.move)
    fake.__dict__.update(_campaign=found.one, _campaigns=found.page)
    return found


def test_list(smsd: Run, fake: Fake, kept: Campaigns) -> None:
    head, *rows = smsd("campaign").out.splitlines()
    assert head.split()[:4] == ["CAMPAIGN", "STATUS", "DONE", "TOTAL"]
    assert [row.split()[:5] for row in rows] == [
        ["spring", "sending", "99", "%", "1000"],
        ["autumn", "completed", "100", "%", "1000"],
    ]
    assert smsd("campaign", "list", "--json").documents == [*kept.all.values()]
    cut = smsd("campaign", "list", "--limit", "1", "--tenant", "shop")
    assert (len(cut.out.splitlines()), "there are more" in cut.err) == (2, True)
    assert fake.requests[-1].items() >= {"tenant": "shop", "limit": 2}.items()
    kept.all.clear()
    assert smsd("campaign") == (0, "", "There is no campaign.\n")


def test_show(smsd: Run, kept: Campaigns) -> None:
    said = smsd("campaign", "show", "spring").out
    assert said.startswith("spring  sending\n")
    for words in ("Spring sale", "1000, 99 % done", "3 pending, 1 processing, 900 sent, 90 delivered, 6 failed"):
        assert words in said
    assert "1000/hour" in said
    assert "09:00 and 18:00 (Europe/Berlin)" in said
    assert "Last one goes" in said
    assert "Paused" not in said
    assert smsd("campaign", "show", "spring", "--json").documents == [kept.all["spring"]]
    none = smsd("campaign", "show", "winter")
    assert (none.code, "There is no campaign winter." in none.err) == (65, True)


def test_held_up(smsd: Run, fake: Fake, kept: Campaigns) -> None:
    assert smsd("campaign", "pause", "spring") == (0, "spring  paused, 4 queued\n", "")
    assert smsd("campaign", "resume", "spring", "--json", "--tenant", "shop").documents[0]["status"] == "sending"
    assert fake.requests[-1]["tenant"] == "shop"
    some = smsd("campaign", "pause", "winter", "autumn")
    assert (some.code, some.out) == (65, "autumn  paused, 0 queued\n")
    assert "winter" in some.err


def test_cancelled_only_if_it_is_meant(smsd: Run, fake: Fake, kept: Campaigns) -> None:
    asked = smsd("campaign", "cancel", "spring")
    assert asked.code == 64
    assert "4 waiting messages to be cancelled for good." in asked.err
    assert "--yes" in asked.err
    assert kept.all["spring"]["status"] == "sending"
    assert smsd("campaign", "cancel", "spring", "--yes").out == "spring  cancelled, 4 queued\n"
    assert kept.all["spring"]["status"] == "cancelled"
    fake.refuse["campaign_resume"] = RefusedError("wrong_state", "Campaign spring is cancelled.", "id")
    assert smsd("campaign", "resume", "spring").code == 65
    assert smsd("campaign", "cancel").code == 64


def test_deleted(smsd: Run, fake: Fake, kept: Campaigns) -> None:
    assert smsd("campaign", "delete", "spring", "--tenant", "shop") == (0, "spring  deleted\n", "")
    assert fake.requests[-1].items() >= {"op": "campaign_delete", "id": "spring", "tenant": "shop"}.items()
    assert [*kept.all] == ["autumn"]
    assert smsd("campaign", "delete", "autumn", "--json").documents[0]["deleted"] is True
    assert smsd("campaign", "delete", "autumn").code == 65
    fake.refuse["campaign_delete"] = RefusedError("wrong_state", "Campaign autumn has messages: cancel it.", "id")
    stays = smsd("campaign", "delete", "autumn")
    assert (stays.code, "smsd campaign show autumn" in stays.err) == (65, True)


@pytest.mark.parametrize("act", ["pause", "resume", "cancel"])
def test_what_cannot_be_done_names_the_command_that_shows_a_campaign(
    smsd: Run, fake: Fake, kept: Campaigns, act: str
) -> None:
    fake.refuse[f"campaign_{act}"] = RefusedError("wrong_state", "Campaign autumn is completed.", "id")
    done = smsd("campaign", act, "autumn", *(("--yes",) if act == "cancel" else ()))
    assert (done.code, "smsd campaign show autumn" in done.err, "smsd show" in done.err) == (65, True, False)


def test_made_before_its_messages(smsd: Run, fake: Fake) -> None:
    answer = {"id": "spring", "tenant": "shop", "created": True, "status": "sending", "total": 0}
    fake.__dict__["_campaign_create"] = lambda request: answer
    terms = ("--name", "Spring sale", "--rate", "1000/hour", "--tenant", "shop")
    for option in ("--between", "--send-between"):
        done = smsd("campaign", "create", "spring", *terms, option, "09:00-18:00 Europe/Berlin")
        assert done == (0, "spring  made\n", "")
        assert fake.requests[-1] == {
            **{"op": "campaign_create", "ref": fake.requests[-1]["ref"], "id": "spring", "tenant": "shop"},
            **{"name": "Spring sale", "rate": "1000/hour"},
            "send_between": {"from": "09:00", "to": "18:00", "zone": "Europe/Berlin"},
        }
    answer.update(created=False, total=7)
    assert smsd("campaign", "create", "spring") == (0, "spring  was there already, sending, 7 messages\n", "")
    assert smsd("campaign", "create", "spring", "--json").documents == [answer]
    answer.update(total=1)
    assert smsd("campaign", "create", "spring").out.endswith(" 1 message\n")


def test_one_that_cannot_be_made_as_asked(smsd: Run, fake: Fake) -> None:
    for code in ("key_conflict", "wrong_state"):
        fake.refuse["campaign_create"] = RefusedError(code, "Campaign spring is there with another rate.", "id")
        done = smsd("campaign", "create", "spring", "--rate", "5/min")
        assert (done.code, done.out) == (65, "")
        assert "another rate" in done.err
        assert done.err.endswith("smsd campaign show spring\n")
        whose = smsd("campaign", "create", "spring", "--tenant", "a b")
        assert whose.err.endswith("smsd campaign show spring --tenant 'a b'\n")
    assert smsd("campaign", "create", "spring", "--between", "nine to five").code == 64
    assert smsd("campaign", "create").code == 64
