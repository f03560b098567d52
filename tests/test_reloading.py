"""Does a reload say rightly why messages wait for nobody?"""

from __future__ import annotations

from pathlib import Path

from smsd.reloading import stranded_text
from tests.config.files import SANDBOX, load


def test_a_disabled_provider_is_not_one_that_is_gone(tmp_path: Path) -> None:
    providers = load(tmp_path, f'{SANDBOX}[providers.off]\ntype = "sandbox"\nrate = "1/s"\nenabled = false\n').providers
    assert stranded_text("gone,older", providers) == (
        "messages wait for a provider that is not configured any more: gone or older; they expire unless it comes back"
    )
    for route in ("off", "gone,off"):
        assert stranded_text(route, providers) == (
            "messages wait for a disabled provider: off; they expire unless it is enabled"
        )
