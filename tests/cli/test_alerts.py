"""Does a person learn with one command what is wrong, since when, and what to do?"""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.fake import Fake
from tests.cli.helpers import Run
from tests.doubles.fake_daemon import RefusedError

HALT: dict[str, Any] = {
    **{"name": "auth_halt:main", "state": "raised", "category": "AUTH_FAILED"},
    **{"raised_at": "2026-01-02T03:04:05.000Z", "cleared_at": None},
    **{"text": "Provider main is halted: 401 \x1b[2J.", "remedy": "Mend the account; then `smsd resume main`."},
    **{"value": 1.0, "bound": 1.0},
}
OVER = {**HALT, "name": "backlog", "state": "cleared", "cleared_at": "2026-01-02T03:14:05.000Z", "remedy": None}
TOLD = """\
ALERT auth_halt:main, since 2026-01-02 03:04:05+00:00
  Provider main is halted: 401 \\x1b[2J.
  -> Mend the account; then `smsd resume main`.
"""


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_what_is_wrong_and_what_was(smsd: Run, fake: Fake) -> None:
    fake.alerts = [HALT, OVER]
    done = smsd("alerts")
    assert done.code == 0
    assert done.out.startswith(TOLD)
    head, row = done.out.removeprefix(TOLD).splitlines()
    assert head.split() == ["OVER", "RAISED", "CLEARED", "WHAT"]
    assert row.split()[:5] == ["backlog", "2026-01-02", "03:04:05+00:00", "2026-01-02", "03:14:05+00:00"]
    assert smsd("alerts", "--json").documents == [HALT, OVER]


def test_nothing_is_wrong(smsd: Run, fake: Fake) -> None:
    assert smsd("alerts") == (0, "No alert is raised.\n", "")


def test_stats_show_them_first_and_do_without(smsd: Run, fake: Fake) -> None:
    plain = smsd("stats").out
    fake.stats = {**fake.stats, "alerts": [HALT]}
    first, rest = smsd("stats").out.split("\n", 1)
    assert rest.startswith(TOLD)
    assert f"{first}\n{rest.removeprefix(TOLD)}" == plain
    fake.stats = {**fake.stats, "alerts": None}  # who sees only its own messages
    assert smsd("stats").out == plain


def findings(smsd: Run) -> list[dict[str, Any]]:
    found = smsd("doctor", "--json").documents[0]["findings"]
    return [each for each in found if each["check"].startswith("alert")]


def test_the_doctor_warns_of_each(smsd: Run, fake: Fake) -> None:
    assert [(each["level"], each["text"]) for each in findings(smsd)] == [("ok", "none is raised")]
    fake.alerts = [HALT, {**HALT, "name": "disk"}, OVER]
    halt, disk = findings(smsd)
    assert (halt["level"], halt["check"], disk["check"]) == ("warn", "alert auth_halt:main", "alert disk")
    assert halt["text"] == f"since 2026-01-02 03:04:05+00:00: {HALT['text']}"
    assert halt["remedy"] == HALT["remedy"]


def test_the_doctor_passes_over_what_it_may_not_see(smsd: Run, fake: Fake) -> None:
    fake.refuse["alerts"] = RefusedError("not_allowed", "No.")
    assert [(each["level"], each["remedy"]) for each in findings(smsd)] == [("skip", None)]
