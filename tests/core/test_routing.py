"""Who may carry a message, who gets it now, and as whom it goes out."""

from __future__ import annotations

import pytest

from smsd.core.health import Standing
from smsd.core.routing import FAILOVER_AFTER_MS, Candidate, Routes, choose, eligible, sender_for

MAIN = Candidate("main", ("+15005550006", "ACME"))
SPARE = Candidate("spare", ("+15005550007",))
SANDBOX = Candidate("sandbox")
MUTE = Candidate("mute", needs_sender=True)
ALL = (MAIN, SPARE, SANDBOX)

OPEN, COOLING, HALTED, PAUSED = Standing.OPEN, Standing.COOLING, Standing.HALTED, Standing.PAUSED


@pytest.mark.parametrize(
    ("sender", "pin", "names"),
    [
        (None, None, ("main", "spare", "sandbox")),
        ("ACME", None, ("main", "sandbox")),
        ("+15005550007", None, ("spare", "sandbox")),
        (None, "spare", ("spare",)),
        ("ACME", "spare", ()),
        ("ACME", "main", ("main",)),
        (None, "gone", ()),
    ],
)
def test_eligible(sender: str | None, pin: str | None, names: tuple[str, ...]) -> None:
    assert eligible(ALL, sender, pin) == names


@pytest.mark.parametrize(
    ("candidate", "asked", "default", "sender"),
    [
        (MAIN, "ACME", "Other", "ACME"),
        (MAIN, None, "Other", "+15005550006"),
        (SANDBOX, None, "Other", "Other"),
        (SANDBOX, None, "", "smsd"),
        (MUTE, None, "Other", "Other"),
        (MUTE, None, "", ""),
        (MUTE, "ACME", "", "ACME"),
    ],
)
def test_sender_for(candidate: Candidate, asked: str | None, default: str, sender: str) -> None:
    assert sender_for(candidate, asked, default) == sender


def test_routes_leave_out_who_has_no_voice() -> None:
    routes = Routes((MUTE, MAIN), "")
    assert routes.usual == "main"
    assert routes.find("ACME", None) == "mute,main"
    assert routes.find(None, "mute") == ""
    assert routes.lacks_sender("mute")
    assert not routes.lacks_sender("gone")
    assert routes.knows("mute")
    assert not routes.knows("gone")
    assert Routes((MUTE, MAIN), "ACME").usual == "mute,main"
    assert Routes((), "ACME").usual == ""


def test_routes_within_bounds() -> None:
    routes = Routes(ALL, "")
    assert routes.sender is None
    bounded = routes.within(("spare", "sandbox"), ("ACME", "+15005550007"))
    assert (bounded.sender, bounded.usual) == ("ACME", "sandbox")
    assert bounded.own_sender("spare") == "+15005550007"
    assert bounded.own_sender("main") is None
    assert bounded.find("+15005550007", None) == "spare,sandbox"
    assert bounded.find("+15005550006", None) == ""
    assert bounded.find(None, None) == ""
    assert not bounded.knows("main")
    assert routes.within((), ()).usual == routes.usual
    assert routes.within(("spare",), ()).usual == "spare"
    assert routes.within((), ("Nobody",)).usual == "sandbox"
    assert Routes((MAIN,), "").within((), ("Nobody",)).usual == ""


def test_routes_within_the_same_bounds_are_found_once() -> None:
    routes = Routes(ALL, "")
    assert routes.within(("spare",), ("ACME",)) is routes.within(("spare",), ("ACME",))
    assert routes.within(("spare",), ()) is not routes.within((), ("spare",))


@pytest.mark.parametrize(
    ("standings", "until", "chosen"),
    [
        ({}, {}, None),
        ({"a": OPEN, "b": OPEN}, {}, "a"),
        ({"a": HALTED, "b": OPEN}, {}, "b"),
        ({"a": COOLING, "b": OPEN}, {"a": FAILOVER_AFTER_MS}, "a"),
        ({"a": COOLING, "b": OPEN}, {"a": FAILOVER_AFTER_MS + 1}, "b"),
        ({"a": COOLING, "b": COOLING}, {"a": 600_000, "b": 300_000}, "b"),
        ({"a": COOLING, "b": COOLING}, {"a": 300_000, "b": 300_000}, "a"),
        ({"a": HALTED, "b": COOLING}, {"b": 300_000}, "b"),
        ({"a": HALTED, "b": PAUSED}, {}, "a"),
    ],
)
def test_choose(standings: dict[str, Standing], until: dict[str, int | None], chosen: str | None) -> None:
    at = 1_790_000_000_000
    ends = {name: None if until.get(name) is None else at + (until[name] or 0) for name in standings}
    assert choose(standings, ends, at) == chosen
