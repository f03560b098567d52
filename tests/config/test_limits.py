"""Does `[[limits]]` become the rules it says, and is what could never mean anything refused with a remedy?"""

from __future__ import annotations

from pathlib import Path

import pytest

from smsd import config
from smsd.config import Changes
from smsd.core.limits import Action, Per, Rule
from tests.config.files import SANDBOX, faults, load

HOUR = 3_600_000

FULL = """
[[limits]]
per = "recipient"
rate = ["5/hour", "20/7d"]
max_wait = "2h"
tenant = "local:1000"
[[limits]]
per = "recipient"
rate = "5/hour"
action = "fail"
[[limits]]
per = "recipient"
rate = "50/hour"
action = "reject"
[[limits]]
per = "campaign"
rate = "0.5/s"
action = "retry"
"""


def test_each_rate_becomes_a_rule(tmp_path: Path) -> None:
    loaded = load(tmp_path, FULL + SANDBOX)
    assert loaded.limits == (
        Rule(Per.RECIPIENT, 5, HOUR, Action.DEFER, 2 * HOUR, "local:1000"),
        Rule(Per.RECIPIENT, 20, 7 * 24 * HOUR, Action.DEFER, 2 * HOUR, "local:1000"),
        Rule(Per.RECIPIENT, 5, HOUR, Action.FAIL),
        Rule(Per.RECIPIENT, 50, HOUR, Action.REJECT),
        Rule(Per.CAMPAIGN, 1, 2_000, Action.RETRY),
    )
    assert load(tmp_path, SANDBOX).limits == ()


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ('"5/hour", ', '"6/hour", ', ('limits.recipient."local:1000".1h.rate',)),
        ('max_wait = "2h"\n', "", tuple(f'limits.recipient."local:1000".{span}.max_wait' for span in ("1h", "7d"))),
        ('"fail"', '"defer"', ("limits.recipient.1h.action",)),
        ('rate = "5/hour"\naction', 'rate = "5/2h"\naction', ("limits.recipient.2h", "limits.recipient.1h")),
        ('"50/hour"', '"51/hour"', ("limits.recipient.1h.reject.rate",)),
    ],
)
def test_a_change_is_told_by_what_the_rule_counts(
    before: str, after: str, changed: tuple[str, ...], tmp_path: Path
) -> None:
    old = load(tmp_path, FULL + SANDBOX)
    new = load(tmp_path, FULL.replace(before, after, 1) + SANDBOX)
    assert config.compare(old, new) == Changes(changed, ())


def test_what_is_shown_can_be_loaded(tmp_path: Path) -> None:
    loaded = load(tmp_path, FULL + SANDBOX)
    assert load(tmp_path, config.describe(loaded)).limits == loaded.limits


USER = 'per = "user"\nrate = "5/hour"\n'

CASES: list[tuple[str, str, str]] = [
    ('rate = "5/hour"', "per", "missing; write what is counted, one of recipient, user, tenant, campaign, sender"),
    ('per = "number"\nrate = "5/hour"', "per", "must be one of recipient, user"),
    ('per = "text"\nrate = "5/hour"', "per", "must be one of recipient, user"),
    ('per = "user"', "rate", 'missing; write how many and in which time, such as "5/hour"'),
    ('per = "user"\nrate = []', "rate", "missing"),
    ('per = "user"\nrate = 5', "rate", "must be a text or a list of texts"),
    ('per = "user"\nrate = "5"', "rate", "'5': not a rate"),
    ('per = "user"\nrate = "100001/day"', "rate", "counts 100000 at most; write fewer"),
    ('per = "user"\nrate = "5/33d"', "rate", "remembered for 32d; write a window no longer"),
    ('per = "user"\nrate = ["5/hour", "6/60m"]', "rate", "states two limits for 1h"),
    (f'{USER}action = "wait"', "action", "must be one of defer, retry, fail, reject; got 'wait'"),
    (f'{USER}action = "replay"', "action", "must be one of defer, retry, fail, reject"),
    ('per = "sender"\nrate = "5/hour"\naction = "reject"', "action", "when it is sent; write defer, retry or fail"),
    (f'{USER}action = "fail"\nmax_wait = "1h"', "max_wait", 'only for action = "defer"'),
    (f'{USER}max_wait = "31d"', "max_wait", "must be between 1s and 30d"),
    (f'{USER}tenant = ""', "tenant", "is not a name"),
    (f'{USER}window = "1h"', "window", "unknown key"),
]


@pytest.mark.parametrize(("text", "key", "message"), CASES)
def test_each_fault_names_key_and_remedy(text: str, key: str, message: str, tmp_path: Path) -> None:
    found = faults(tmp_path, f"[[limits]]\n{text}\n{SANDBOX}")
    assert list(found) == [f"limits[1].{key}"]
    assert message in found[f"limits[1].{key}"]


def test_a_window_has_one_rule_for_what_it_counts(tmp_path: Path) -> None:
    other = '[[limits]]\nper = "user"\nrate = ["6/60m", "9/day"]\n'
    found = faults(tmp_path, f"[[limits]]\n{USER}{other}{SANDBOX}")
    assert found == {"limits[2].rate": "there is a rule for this window already (5/hour per user); keep one of them"}
    for apart in ('tenant = "shop"\n', 'action = "reject"\n'):
        assert len(load(tmp_path, f"[[limits]]\n{USER}{other}{apart}{SANDBOX}").limits) == 3


def test_limits_are_sections(tmp_path: Path) -> None:
    assert faults(tmp_path, f"limits = 3\n{SANDBOX}") == {"limits": "must be sections headed [[limits]]; got a number"}


def test_the_longest_and_the_largest(tmp_path: Path) -> None:
    text = '[[limits]]\nper = "sender"\nrate = ["100000/32d", "1/100ms"]\n'
    assert [(rule.count, rule.span_ms) for rule in load(tmp_path, text + SANDBOX).limits] == [
        (100_000, 32 * 24 * HOUR),
        (1, 100),
    ]
