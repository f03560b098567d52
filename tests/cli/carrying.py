"""The fake daemon with what an import needs of it."""

from __future__ import annotations

from typing import Any

from tests.cli.fake import Fake
from tests.doubles.fake_daemon import Document, RefusedError

HI = ("--text", "Hi")


def sends(fake: Carrying) -> list[Document]:
    return [request for request in fake.requests if request["op"] == "send"]


class Carrying(Fake):
    """Makes campaigns; `refusing`: by recipient, what is said to its next submissions."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.refusing: dict[str, list[RefusedError]] = {}
        self.campaigns: set[str] = set()
        self.tried = False
        """Those that are there are on trial."""

    def _campaign_create(self, request: Document) -> Document:
        is_new = request["id"] not in self.campaigns
        self.campaigns.add(request["id"])
        answer = {"id": request["id"], "tenant": request.get("tenant", "local:0"), "created": is_new, "accepted": 0}
        return {**answer, "on_trial": (is_new or self.tried) and bool(request["trial"])}

    def _campaign_delete(self, request: Document) -> Document:
        if request["id"] not in self.campaigns:
            raise RefusedError("not_found", "There is no such campaign.", "id")
        self.campaigns.remove(request["id"])
        return {"id": request["id"], "tenant": request.get("tenant", "default"), "deleted": True}

    def _send(self, request: Document) -> Document:
        waiting = self.refusing.get(request["to"]) or self.refusing.get("*")
        if waiting:
            raise waiting.pop(0)
        return super()._send(request)
