"""Both clients, over the socket and over HTTP: what holds for one is asked of the others by the same test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smsd.client import (
    AsyncClient,
    Client,
)
from tests.client.http_daemon import HttpFront
from tests.doubles.fake_daemon import FakeDaemon

TO = "+15550100123"

Make = Callable[..., Any]


class Blocking:
    """An AsyncClient driven from outside its loop, so that one test serves both clients."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            return self._runner.run(self._all(result) if hasattr(result, "__aiter__") else result)

        return call

    async def _all(self, items: Any) -> list[Any]:
        return [item async for item in items]

    @property
    def path(self) -> str:
        return self._client.path

    def shut(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


@pytest.fixture(autouse=True)
def _no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SMSD_URL", "SMSD_TOKEN", "SMSD_SOCKET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "s") as daemon:
        yield daemon


@pytest.fixture
def front(fake: FakeDaemon) -> Iterator[HttpFront]:
    with HttpFront(fake) as listening:
        yield listening
        fake.ended.set()  # whoever stalls lets go, so that its connection is closed


def _makes(kind: str, *where: Any, **named: Any) -> Iterator[Make]:
    closing: list[Any] = []

    def client(path: Path | None = None, timeout: float = 5.0) -> Any:
        place, more = ((path,), {}) if path is not None else (where, named)
        if kind == "async":
            blocking = Blocking(*place, timeout=timeout, **more)
            closing.append(blocking.shut)
            return blocking
        plain = Client(*place, timeout=timeout, **more)
        closing.append(plain.close)
        return plain

    yield client
    for close in closing:
        close()


@pytest.fixture(params=["sync", "async"])
def make_socket(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes clients of the socket `s` (or of another path) and closes them at the end."""
    yield from _makes(request.param, tmp_path / "s")


@pytest.fixture(params=["sync", "async"])
def make_http(request: pytest.FixtureRequest, front: HttpFront) -> Iterator[Make]:
    """Makes clients of the HTTP front and closes them at the end."""
    yield from _makes(request.param, url=front.url)


@pytest.fixture(params=["sync", "async", "sync-http", "async-http"])
def make(request: pytest.FixtureRequest, fake: FakeDaemon) -> Iterator[Make]:
    """Makes clients of the fake daemon by either door."""
    kind, _, http = request.param.partition("-")
    if http:
        yield from _makes(kind, url=request.getfixturevalue("front").url)
    else:
        yield from _makes(kind, fake.path)
