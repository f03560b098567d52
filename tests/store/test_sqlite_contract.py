"""Does the SQLite outbox mean what the contract says? On a thread as in the daemon, and inside the loop as in
simulations."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

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
    async def bench(self, opening: Opening, path: Path) -> Bench:
        async def kill(box: Box) -> None:
            """What is on the disk at this moment is all that a start will find."""
            files = [path, path.with_name(path.name + "-wal")]
            seen = [(file, file.read_bytes()) for file in files]
            await box.close()
            shutil.rmtree(path.parent)
            path.parent.mkdir(mode=0o700)
            for file, content in seen:
                file.write_bytes(content)

        async def reopen(now: int, same_boot: bool, by_segments: Collection[str]) -> tuple[Box, Recovery]:
            token = "boot" if same_boot else "next"
            opened = await opening(now, by_segments, connect=self.factory(), boot_token=token)
            return opened.box, opened.recovery

        first = await opening(connect=self.factory())
        return Bench(first.box, first.recovery, reopen, kill)


class TestOnAThread(OnSqlite):
    """As the daemon runs it."""

    def factory(self) -> ConnectionFactory:
        return connect


class TestInsideTheLoop(OnSqlite):
    """As simulations run it."""

    def factory(self) -> ConnectionFactory:
        return inline()
