"""Is exactly that done which was named or found, and only after somebody meant it?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from smsd.cli import acting
from tests.cli.fake import Fake
from tests.cli.helpers import TO, UNKNOWN, Run, on_terminal, process


class TestNamed:
    def test_each_message_is_told(self, smsd: Run, fake: Fake) -> None:
        one, two, three = (fake.add(state=state)["id"] for state in ("pending", "sent", "pending"))
        done = smsd("cancel", one, two, UNKNOWN, three)
        assert done.out.splitlines() == [f"{one}  cancelled", f"{three}  cancelled"]
        assert done.code == 65
        assert f"smsd: {two}: The message is sent." in done.err
        assert f"smsd: {UNKNOWN}: There is no message" in done.err
        documents = smsd("cancel", one, "--json").documents
        assert documents[0]["id"] == one
        assert documents[0]["error"]["code"] == "wrong_state"

    def test_retry(self, smsd: Run, fake: Fake) -> None:
        id = fake.add(state="failed", waiting=None)["id"]
        assert smsd("retry", id, "--ttl", "2h", "--force") == (0, f"{id}  pending\n", "")
        assert fake.requests[0].items() >= {"op": "retry", "ttl": "2h", "force": True}.items()
        assert smsd("retry", id, "--json").documents[0]["error"]["code"] == "wrong_state"

    def test_reschedule(self, smsd: Run, fake: Fake) -> None:
        id, at = fake.add()["id"], "2026-01-02T08:00:00+01:00"
        assert smsd("reschedule", id, at, "--ttl", "2h") == (0, f"{id}  pending  It is to be sent at {at}.\n", "")
        assert fake.requests[0].items() >= {"op": "reschedule", "id": id, "send_at": at, "ttl": "2h"}.items()
        assert smsd("reschedule", id, at, "--json").documents[0]["send_at"] == at
        sent = fake.add(state="sent")["id"]
        done = smsd("reschedule", sent, at)
        assert (done.code, done.out) == (65, "")
        assert "The message is sent." in done.err

    def test_reschedule_by_a_span_or_now(self, smsd: Run, fake: Fake) -> None:
        id, before = fake.add()["id"], datetime.now(UTC)
        assert [smsd("reschedule", id, time).code for time in ("now", "1h30m", "soon", "90")] == [0, 0, 0, 0]
        now, later, *others = (request["send_at"] for request in fake.requests)
        assert datetime.fromisoformat(now) < before, "past by any clock"
        assert timedelta(0) <= datetime.fromisoformat(later) - before - timedelta(hours=1.5) < timedelta(minutes=1)
        assert others == ["soon", "90"], "what it may be, and what it lacks, the daemon says"
        assert smsd("reschedule", id, "999999999d").code == 64

    def test_a_daemon_that_is_gone_is_told_once(self, smsd: Run, tmp_path: Path) -> None:
        done = smsd("retry", "a", "b", "c", "--socket", str(tmp_path / "none"))
        assert (done.code, done.err.count("does not run here")) == (69, 1)

    @pytest.mark.parametrize("command", ["cancel", "retry"])
    def test_names_or_filters(self, smsd: Run, fake: Fake, command: str) -> None:
        neither, both = smsd(command), smsd(command, UNKNOWN, "--user", "alice")
        assert (neither.code, both.code, fake.requests) == (64, 64, [])
        assert "--user" in neither.err
        assert smsd(command, "--state", "sent").code == 64, "nothing of that state can be done so"


class TestFound:
    def test_all_of_them_over_several_pages(self, smsd: Run, fake: Fake) -> None:
        failed = {fake.add(state="failed", waiting=None)["id"] for _ in range(450)}
        other = fake.add(state="failed", waiting=None, to="+15550100999")["id"]
        words = f"retry --state failed --category UNCERTAIN --to {TO} --since 2026-01-01T00:00:00Z --force --yes"
        done = smsd(*words.split())
        assert (done.code, done.err) == (0, "")
        assert {line.split()[0] for line in done.out.splitlines()} == failed
        assert fake.messages[other]["state"] == "failed"
        asked = {"state": "failed", "category": "UNCERTAIN", "to": TO, "since": "2026-01-01T00:00:00Z"}
        lists = [request for request in fake.requests if request["op"] == "list"]
        assert len(lists) == 3
        assert all(request.items() >= asked.items() for request in lists)
        assert all(request["force"] for request in fake.requests if request["op"] == "retry")

    @pytest.mark.parametrize(("command", "states"), [("cancel", "pending"), ("retry", "failed,undelivered,expired")])
    def test_the_states_that_make_sense_unless_said(self, smsd: Run, fake: Fake, command: str, states: str) -> None:
        fake.add(state=states.partition(",")[0])
        fake.add(state="sent", waiting=None)
        done = smsd(command, "--user", "alice", "--yes", "--json")
        assert len(done.documents) == 1
        assert fake.requests[0].items() >= {"op": "list", "state": states, "user": "alice"}.items()

    def test_nothing_found(self, smsd: Run, fake: Fake) -> None:
        assert smsd("cancel", "--user", "alice") == (0, "", "No such messages.\n")

    def test_a_person_is_asked_with_the_count(self, fake: Fake) -> None:
        ids = [fake.add()["id"] for _ in range(3)]
        on_terminal("cancel", "--user", "alice", typed="n", code=130)
        assert {message["state"] for message in fake.messages.values()} == {"pending"}
        seen = on_terminal("cancel", "--user", "alice", typed="y")
        assert all(f"{id}  cancelled" in seen for id in ids)

    def test_nobody_to_ask(self, fake: Fake) -> None:
        for _ in range(2):
            fake.add(state="failed", waiting=None)
        done = process("retry", "--state", "failed", "--force")
        assert (done.returncode, done.stdout) == (64, b"")
        assert b"2 messages are to be sent again. One that was sent already arrives twice." in done.stderr
        assert b"--yes" in done.stderr
        assert {request["op"] for request in fake.requests} == {"list"}

    def test_more_than_one_command_does(self, smsd: Run, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(acting, "MOST", 2)
        ids = [fake.add()["id"] for _ in range(3)]
        done = smsd("cancel", "--state", "pending", "--yes")
        assert [line.split()[0] for line in done.out.splitlines()] == [ids[2], ids[1]]
        assert "There are more than 2" in done.err
        assert smsd("cancel", "--state", "pending", "--yes") == (0, f"{ids[0]}  cancelled\n", "")
