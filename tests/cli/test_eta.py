"""When will it go, as a person is told?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.cli.fake import STATS, Fake
from tests.cli.helpers import Run, on_terminal

FAR = "2999-01-02T03:04:05.000Z"


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def test_show_says_when_it_will_go(smsd: Run, fake: Fake) -> None:
    id = fake.add(eta=FAR)["id"]
    (told,) = (row for row in smsd("show", id).out.splitlines() if "Will go" in row)
    assert datetime.fromisoformat(told.split("Will go")[1].strip()) == datetime.fromisoformat(FAR)
    assert "about 2999-01-02 03:04, in 3" in on_terminal("show", id, TZ="UTC")
    near = fake.add(eta=soon(95))["id"]
    assert ", in 1 min" in on_terminal("show", near)
    assert "Will go" not in smsd("show", fake.add(eta=None)["id"]).out


def test_stats_and_queue_say_when_all_is_sent(smsd: Run, fake: Fake) -> None:
    fake.stats = {**STATS, "eta": FAR}
    assert "All sent" in smsd("stats").out
    assert "about 2999-01-02 03:04, in " in on_terminal("stats", TZ="UTC")
    assert "1 pending, 0 processing. The last goes about 2999-01-02 03:04, in " in on_terminal("queue", TZ="UTC")
    assert "The last goes 2999-01-0" in smsd("queue").out
    fake.stats = STATS
    assert "All sent" not in smsd("stats").out
    assert smsd("queue").out == "1 pending, 0 processing.\n"
