"""Is `[inbound]` read as it was meant, and is a reply that could not be sent found at once?"""

from __future__ import annotations

from pathlib import Path

import pytest

from smsd import config
from smsd.assembly import plan_of
from smsd.config import Config
from smsd.core.consent import Word
from smsd.core.inbound import REPLIES, InboundRules
from tests.config.files import SANDBOX, faults, load


def loaded(directory: Path, text: str) -> Config:
    return load(directory, f"{SANDBOX}[inbound]\n{text}")


def test_the_section_becomes_the_rules(tmp_path: Path) -> None:
    assert load(tmp_path, SANDBOX).inbound == InboundRules("default", REPLIES)
    found = loaded(tmp_path, 'tenant = "desk"\nstop_reply = ""\nhelp_reply = "Example Co"\n')
    replies = {Word.STOP: "", Word.START: REPLIES[Word.START], Word.HELP: "Example Co"}
    assert found.inbound == InboundRules("desk", replies)
    assert plan_of(found).inbound is found.inbound
    again = config.describe(load(tmp_path, config.describe(found)))
    assert again == config.describe(found)
    assert 'stop_reply = ""\n' in again


@pytest.mark.parametrize(
    ("line", "path", "message"),
    [
        ('tenant = ""', "inbound.tenant", "is not a name"),
        ('tenant = "a b"', "inbound.tenant", "is not a name"),
        ('tenant = "anonymous"', "inbound.tenant", "is kept for callers that are given no tenant; name another"),
        ('tenant = "token:shop"', "inbound.tenant", "is kept for callers that are given no tenant"),
        ('stop_reply = "  "', "inbound.stop_reply", 'is only blanks; write a text, or "" for no reply'),
        ('start_reply = "a\\nb"', "inbound.start_reply", "holds a line break"),
        (f'help_reply = "{"x" * 460}"', "inbound.help_reply", "needs 4 segments; shorten it to at most 3"),
        (f'help_reply = "{"ж" * 202}"', "inbound.help_reply", "needs 4 segments"),
        ("help_reply = 7", "inbound.help_reply", "a text in quotes"),
        ('reply = "x"', "inbound.reply", "unknown"),
    ],
)
def test_each_fault(tmp_path: Path, line: str, path: str, message: str) -> None:
    found = faults(tmp_path, f"{SANDBOX}[inbound]\n{line}\n")
    assert [*found] == [path]
    assert message in found[path]
