"""A running house for every test, on the loop the daemon runs on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.listeners.house import Client, House, running


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """uvloop, as in the daemon."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """The usual one."""
    async with running(tmp_path) as found:
        yield found


@pytest.fixture
async def client(house: House) -> Client:
    """One client of it."""
    return await house.client()
