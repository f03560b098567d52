"""How does a test write a configuration and read it?"""

from __future__ import annotations

from pathlib import Path

import pytest

from smsd import config
from smsd.config import Config, ConfigError

EXAMPLE = Path(__file__).parents[2] / "config.toml.example"
ENVIRON = {"TWILIO_ACCOUNT_SID": "AC0123456789abcdef", "TWILIO_AUTH_TOKEN": "s3cret-of-the-account"}
SANDBOX = '[providers.try]\ntype = "sandbox"\nrate = "10/s"\n'
TWILIO = '[providers.main]\ntype = "twilio"\nrate = "1/s"\nfrom = "Shop"\naccount_sid = "AC1"\nauth_token = {}\n'


def load(directory: Path, text: str, environ: dict[str, str] | None = None) -> Config:
    path = directory / "config.toml"
    path.write_text(text)
    path.chmod(0o600)
    return config.load(path, ENVIRON if environ is None else environ)


def faults(directory: Path, text: str, environ: dict[str, str] | None = None) -> dict[str, str]:
    """Path -> message of every fault; a path must not have two."""
    with pytest.raises(ConfigError) as caught:
        load(directory, text, environ)
    found = {fault.path: fault.message for fault in caught.value.faults}
    assert len(found) == len(caught.value.faults), str(caught.value)
    return found
