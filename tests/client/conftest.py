"""Both clients over a real socket: what holds for one is asked of the other by the same test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smsd.client import (
    AsyncClient,
    Client,
)
from tests.doubles.fake_daemon import FakeDaemon

TO = "+15550100123"


class Blocking:
    """An AsyncClient driven from outside its loop, so that one test serves both clients."""

    def __init__(self, path: Path, *, timeout: float = 5.0) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(path, timeout=timeout)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            return self._runner.run(self._all(result) if hasattr(result, "__aiter__") else result)

        return call

    async def _all(self, items: Any) -> list[Any]:
        return [item async for item in items]

    def shut(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "s") as daemon:
        yield daemon


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Makes clients of the socket `s` (or of another path) and closes them at the end."""
    closing: list[Any] = []

    def client(path: Path | None = None, timeout: float = 5.0) -> Any:
        where = path or tmp_path / "s"
        if request.param == "async":
            blocking = Blocking(where, timeout=timeout)
            closing.append(blocking.shut)
            return blocking
        plain = Client(where, timeout=timeout)
        closing.append(plain.close)
        return plain

    yield client
    for close in closing:
        close()
