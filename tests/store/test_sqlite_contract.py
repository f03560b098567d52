"""Does the SQLite outbox mean what the contract says? On a thread as in the daemon, and inside the loop as in
simulations."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from smsd.store import Recovery
from smsd.store.connection import ConnectionFactory, connect
from tests.doubles.inline_connection import inline
from tests.store.conftest import Opening
from tests.store.contract import Bench, Box, OutboxContract


class OnSqlite(OutboxContract):
    """What both bindings share."""

    def factory(self) -> ConnectionFactory:
        raise NotImplementedError

    @pytest.fixture
    async def bench(self, opening: Opening) -> Bench:
        async def reopen(now: int, same_boot: bool, by_segments: Collection[str]) -> tuple[Box, Recovery]:
            token = "boot" if same_boot else "next"
            opened = await opening(now, by_segments, connect=self.factory(), boot_token=token)
            return opened.box, opened.recovery

        first = await opening(connect=self.factory())
        return Bench(first.box, first.recovery, reopen)


class TestOnAThread(OnSqlite):
    """As the daemon runs it."""

    def factory(self) -> ConnectionFactory:
        return connect


class TestInsideTheLoop(OnSqlite):
    """As simulations run it."""

    def factory(self) -> ConnectionFactory:
        return inline()
