"""The engine in virtual time."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from smsd.engine import office
from smsd.engine.alerts import Alerts
from tests.engine.rig import Rig
from tests.engine.watched import Place


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    """Where alerts are told, in the webhook's place."""
    found = Place()
    monkeypatch.setattr(office, "Alerts", partial(Alerts, make=found.made))
    return found
