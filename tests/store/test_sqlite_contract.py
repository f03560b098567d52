"""Does the SQLite outbox mean what the contract says? On a thread as in the daemon, and inside the loop as in
simulations."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

import pytest

from smsd.store import Recovery
from smsd.store.connection import ConnectionFactory, connect
from tests.doubles.clock import ManualClock
from tests.doubles.inline_connection import inline
from tests.store.conftest import Opening
from tests.store.contract import Bench, Box, OutboxContract
from tests.store.contract_admission import AdmissionContract
from tests.store.contract_callbacks import CallbacksContract
from tests.store.contract_campaigns import CampaignsContract
from tests.store.contract_inbound import InboundContract
from tests.store.contract_limits import Hall, LimitsContract
from tests.store.contract_receipts import ReceiptsContract
from tests.store.contract_trials import TrialsContract


async def end_in_a_crash(box: Box, path: Path) -> None:
    """What is on the disk at this moment is all that a start will find."""
    files = [path, path.with_name(path.name + "-wal")]
    seen = [(file, file.read_bytes()) for file in files]
    await box.close()
    shutil.rmtree(path.parent)
    path.parent.mkdir(mode=0o700)
    for file, content in seen:
        file.write_bytes(content)


class OnSqlite(
    OutboxContract,
    LimitsContract,
    AdmissionContract,
    CampaignsContract,
    TrialsContract,
    CallbacksContract,
    InboundContract,
    ReceiptsContract,
):
    """What both bindings share."""

    def factory(self) -> ConnectionFactory:
        raise NotImplementedError

    @pytest.fixture
    async def bench(self, opening: Opening, path: Path) -> Bench:
        async def kill(box: Box) -> None:
            await end_in_a_crash(box, path)

        async def reopen(now: int, same_boot: bool, by_segments: Collection[str]) -> tuple[Box, Recovery]:
            token = "boot" if same_boot else "next"
            opened = await opening(now, by_segments, connect=self.factory(), boot_token=token)
            return opened.box, opened.recovery

        first = await opening(connect=self.factory())
        return Bench(first.box, first.recovery, reopen, kill)

    @pytest.fixture
    async def hall(self, opening: Opening, path: Path) -> Hall:
        async def start(clock: ManualClock, boot: int) -> Box:
            settings = {"connect": self.factory(), "boot_token": f"boot {boot}", "boot_us": clock.boot}
            return (await opening(clock.wall(), **settings)).box

        async def restart(clock: ManualClock, boot: int, crash: bool) -> Box:
            await (end_in_a_crash(hall.box, path) if crash else hall.box.close())
            return await start(clock, boot)

        clock = ManualClock()
        hall = Hall(await start(clock, 0), clock, restart)
        return hall


class TestOnAThread(OnSqlite):
    """As the daemon runs it."""

    def factory(self) -> ConnectionFactory:
        return connect


class TestInsideTheLoop(OnSqlite):
    """As simulations run it."""

    def factory(self) -> ConnectionFactory:
        return inline()
