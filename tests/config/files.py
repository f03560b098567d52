"""How does a test write a configuration and read it?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from smsd import config
from smsd.config import Config, ConfigError

EXAMPLE = Path(__file__).parents[2] / "config.toml.example"
ENVIRON = {
    "TWILIO_ACCOUNT_SID": "AC0123456789abcdef",
    "TWILIO_AUTH_TOKEN": "s3cret-of-the-account",
    "TWILIO_WEBHOOK_AUTH_TOKEN": "s3cret-of-the-callbacks",
    "DIALPAD_API_KEY": "s3cret-of-the-company",
    "MESSAGEBIRD_ACCESS_KEY": "s3cret-of-the-workspace",
    "SMS_API_TOKEN": "s3cret-of-the-api",
    "SMS_SIGNING_KEY": "s3cret-of-the-signatures",
    "SMSD_WEBHOOK_SECRET": "s3cret-of-the-webhooks",
    "SMSD_WEBHOOK_SECRET_BEFORE": "the-secret-of-a-path-before",
    "DIALPAD_WEBHOOK_SECRET": "s3cret-of-the-subscription",
    "MESSAGEBIRD_SIGNING_KEY": "s3cret-of-the-reports",
    "INFOBIP_AUTHORIZATION": "App s3cret-of-infobip",
    "VONAGE_API_SECRET": "s3cret-of-vonage",
    "VONAGE_SIGNATURE_SECRET": "s3cret-of-vonages-signatures",
    "PLIVO_AUTH_TOKEN": "s3cret-of-plivo",
    "SMSD_CALLBACK_SECRET": "whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
    "SMSD_CALLBACK_SECRET_BEFORE": "whsec_AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
    "SHOP_CALLBACK_SECRET": "whsec_AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=",
}
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


def without_comment(text: str, *headers: str) -> str:
    """The text with these commented-out sections in force, each up to its blank line."""
    for header in headers:
        text = with_section(text, text.splitlines().index(f"#[{header}]"))
    return text


def with_section(text: str, number: int) -> str:
    """The text with the commented-out section in force whose header stands in this line."""
    lines = text.splitlines()
    while number < len(lines) and lines[number].startswith("#"):
        lines[number] = lines[number].removeprefix("#")
        number += 1
    return "\n".join(lines)


def with_limits(text: str, *actions: str) -> str:
    """The text with those of its commented-out [[limits]] in force that have one of these actions, in their order."""
    for action in actions:
        lines = text.splitlines()
        at = lines.index(f'#action = "{action}"')
        text = with_section(text, max(n for n in range(at) if lines[n] == "#[[limits]]"))
    return text


def with_alternative(text: str, number: int) -> str:
    """The text with the commented-out key of one line in force, in place of the section's other lines of that key."""
    lines = text.splitlines()
    start = next(n for n in range(number, -1, -1) if lines[n].startswith("["))
    end = next((n for n in range(start + 1, len(lines)) if re.match(r"#?\[", lines[n])), len(lines))
    key = lines[number].removeprefix("#").split(" = ")[0]
    lines = [
        "" if start < n < end and n != number and line.startswith(f"{key} = ") else line for n, line in enumerate(lines)
    ]
    lines[number] = lines[number].removeprefix("#")
    return "\n".join(lines)
