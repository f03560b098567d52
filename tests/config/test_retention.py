"""What do the rules of the retention know of the providers?"""

from __future__ import annotations

from pathlib import Path

from smsd.assembly import retention_of
from smsd.core.units import DAY
from tests.config.files import load

PROVIDERS = """
[providers.main]
type = "sandbox"
rate = ["10/s", "1000/7d"]
price = { "+1" = 0.01, "+1415" = 0.02, default = 0.05 }

[providers.spare]
type = "sandbox"
rate = "1/s"
price = { "+44" = 0.03 }
"""


def test_what_prices_and_long_windows_need_is_kept(tmp_path: Path) -> None:
    rules = retention_of(load(tmp_path, PROVIDERS))
    assert rules.heads == {"+1", "+1415", "+44"}
    assert rules.calls_ms == 8 * DAY
