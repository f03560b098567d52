"""The fake daemon with what only the command line's tests need: waiting, counts of a person, events, reload, backup."""

from __future__ import annotations

import base64
import time
from typing import Any

from tests.doubles.fake_daemon import PROVIDER as PLAIN
from tests.doubles.fake_daemon import STATS as PLAIN_STATS
from tests.doubles.fake_daemon import Document, FakeDaemon, RefusedError

PROVIDER: Document = {**PLAIN, "since": None, "rate": 100.0, "rate_now": 100.0}
STATS: Document = {**PLAIN_STATS, "providers": {"main": PROVIDER}}

COUNTS: Document = {
    "sent_today": 4,
    "sent_last_hour": 2,
    "failed_today": 1,
    "pending": 3,
    "rate_limit_remaining": None,
}

COPY = bytes(range(256)) * 1_024
"""What a backup of this daemon is."""

CHUNK = 128 * 1_024


class Fake(FakeDaemon):
    """Speaks the operations of an operator too. `happened`: its events; `providing`: its providers;
    `opted_out`: where any number did; `counts`: of anybody."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.happened: list[Document] = []
        self.providing: list[Document] = [PROVIDER]
        self.disabled: list[str] = []
        self.opted_out: list[Document] = []
        self.counts = COUNTS
        self.reports: dict[str, Document] = {}
        """What each kind of report says."""
        self.reloaded: Document = {"changed": [], "restart": [], "warnings": []}
        self.stats: Document = STATS
        self.lose_events = False

    def _get(self, request: Document) -> Document:
        message = self._found(request)
        if self.settle_as is not None and "wait" in request:
            message.update(state=self.settle_as, waiting=None, sent_at="2026-01-02T03:04:06.000Z", provider="main")
        return {"message": message}

    def _stats(self, request: Document) -> Document:
        return self.stats

    def _providers(self, request: Document) -> Document:
        return {"providers": self.providing, "disabled": self.disabled}

    def _provider(self, request: Document) -> Document:
        super()._provider(request)
        return PROVIDER

    def _carry_out(self, request: Document) -> Document:
        kind = request["op"].removeprefix("report_")
        return self.reports[kind] if kind != request["op"] else super()._carry_out(request)

    def _user(self, request: Document) -> Document:
        return {"user_id": request["user"], **self.counts}

    def _recipient(self, request: Document) -> Document:
        return {"recipient": request["number"], **self.counts, "suppression": self.opted_out}

    def _reload(self, request: Document) -> Document:
        return self.reloaded

    def happen(self, event: str, **data: Any) -> None:
        """Something happens."""
        n = len(self.happened) + 1
        document = {"id": f"0badcafe-{n}", "event": event, "at": f"2026-01-02T03:04:{n:02d}.500Z", "data": data}
        self.happened.append(document)

    def _events(self, request: Document) -> Document:
        after = int(str(request.get("after") or "0badcafe-0").rpartition("-")[2])
        found = self.happened[after:]  # looked at once: what happens meanwhile is for the next answer
        if not found:
            time.sleep(0.02)
        lost, self.lose_events = self.lose_events, False
        last = found[-1]["id"] if found else f"0badcafe-{after}"
        return {"events": found, "last": last, "lost": lost}

    def _backup(self, request: Document) -> Document:
        offset = int(request.get("offset") or 0)
        if request.get("snapshot") not in {None, "snap"}:
            raise RefusedError("not_found", "There is no such snapshot.", "snapshot")
        data = COPY[offset : offset + CHUNK]
        done = offset + len(data) >= len(COPY)
        return {
            **{"snapshot": "snap", "size": len(COPY), "offset": offset},
            **{"data": base64.b64encode(data).decode(), "done": done},
        }
