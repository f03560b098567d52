"""Does `smsd audit` show the daemon's lines, and say `unknown` where nobody knows?"""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.fake import Fake
from tests.cli.helpers import Run


def line(n: int, outcome: str | None = "done") -> dict[str, Any]:
    return {
        **{"at": f"2026-01-02T03:04:{n:02d}.000Z", "who": "uid 0", "tenant": "", "operation": "retry"},
        **{"subject": f"message-{n}", "detail": "force", "outcome": outcome},
    }


class Audited(Fake):
    """Has lines; pages may be empty and not be the last, as with filters that find little."""

    lines: list[dict[str, Any]]

    def _audit(self, request: dict[str, Any]) -> dict[str, Any]:
        start, limit = int(request.get("cursor", 0)), request["limit"]
        if start == 0 and request.get("operation") == "rare":
            return {"items": [], "next_cursor": "1"}
        found = self.lines[start : start + limit]
        end = start + len(found)
        return {"items": found, "next_cursor": str(end) if end < len(self.lines) else None}


@pytest.fixture
def fake(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SMSD_SOCKET", str(tmp_path / "s"))
    with Audited(tmp_path / "s") as daemon:
        daemon.lines = [line(3, None), line(2, "not_found"), line(1)]
        yield daemon


def test_lines(smsd: Run, fake: Audited) -> None:
    head, *rows = smsd("audit").out.splitlines()
    assert head.split() == ["AT", "WHO", "TENANT", "OPERATION", "SUBJECT", "DETAIL", "OUTCOME"]
    assert [row.split()[-1] for row in rows] == ["unknown", "not_found", "done"]
    assert smsd("audit", "--json").documents == fake.lines


def test_filters(smsd: Run, fake: Audited) -> None:
    done = smsd("audit", "--operation", "rare", "--who", "uid 0", "--since", "2026-01-02T03:04:05Z", "--tenant", "shop")
    assert len(done.out.splitlines()) == 3
    asked = {"op": "audit", "operation": "rare", "who": "uid 0", "since": "2026-01-02T03:04:05Z", "tenant": "shop"}
    assert fake.requests[0].items() >= {**asked, "limit": 51}.items()
    cut = smsd("audit", "--limit", "2")
    assert (len(cut.out.splitlines()), "there are more" in cut.err) == (3, True)


def test_nothing_was_done(smsd: Run, fake: Audited) -> None:
    fake.lines = []
    assert smsd("audit") == (0, "", "Nothing of the kind was done.\n")
