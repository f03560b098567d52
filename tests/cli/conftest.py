"""Fake daemons, and commands run against them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from smsd.cli import feeding
from smsd.cli.main import main
from tests.cli.carrying import Carrying
from tests.cli.fake import Fake
from tests.cli.helpers import Done, Run


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    monkeypatch.setenv("SMSD_SOCKET", str(tmp_path / "s"))
    with Fake(tmp_path / "s") as daemon:
        yield daemon


@pytest.fixture
def carrying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Carrying]:
    monkeypatch.setenv("SMSD_SOCKET", str(tmp_path / "s"))
    monkeypatch.setattr(feeding, "FIRST_PAUSE_S", 0.001)
    with Carrying(tmp_path / "s") as daemon:
        yield daemon


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Ten rows."""
    path = tmp_path / "spring.csv"
    path.write_text("phone,name\n" + "".join(f"+1555010{n:04d},Ann {n}\n" for n in range(10)))
    return path


@pytest.fixture
def smsd(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process."""

    def run(*args: str) -> Done:
        with pytest.raises(SystemExit) as ended:
            main(args)
        told = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, told.out, told.err)

    return run
