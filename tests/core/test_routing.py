"""Who may carry a message, who gets it now, and as whom it goes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.health import Standing
from smsd.core.pool import pick
from smsd.core.routing import (
    FAILOVER_AFTER_MS,
    Candidate,
    Routes,
    RoutingRules,
    choose,
    eligible,
    next_route,
    ordered,
    sender_for,
)

US, GB, CH = "+14155550123", "+447700900123", "+41790000000"
NOW = 1_790_000_000_000

MAIN = Candidate("main", ("+15005550006", "ACME"))
SPARE = Candidate("spare", ("+15005550007",))
SANDBOX = Candidate("sandbox")
MUTE = Candidate("mute", needs_sender=True)
ALL = (MAIN, SPARE, SANDBOX)

OPEN, COOLING, HALTED, PAUSED = Standing.OPEN, Standing.COOLING, Standing.HALTED, Standing.PAUSED
BROKEN, HALF_OPEN = Standing.BROKEN, Standing.HALF_OPEN

WEIGHTED, CHEAPEST = RoutingRules("weighted"), RoutingRules("cheapest")
PLAIN = RoutingRules()


# -- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "pin", "names"),
    [
        (None, None, ["main", "spare", "sandbox"]),
        ("ACME", None, ["main", "sandbox"]),
        ("+15005550007", None, ["spare", "sandbox"]),
        (None, "spare", ["spare"]),
        ("ACME", "spare", []),
        ("ACME", "main", ["main"]),
        (None, "gone", []),
    ],
)
def test_eligible(sender: str | None, pin: str | None, names: list[str]) -> None:
    assert [each.name for each in eligible(ALL, sender, pin)] == names


@pytest.mark.parametrize(
    ("prefixes", "reached"),
    [((), [US, GB, CH]), (("+1",), [US]), (("+1415", "+44"), [US, GB]), (("+1416",), []), (("+4",), [GB, CH])],
)
def test_prefixes(prefixes: tuple[str, ...], reached: list[str]) -> None:
    candidate = Candidate("some", prefixes=prefixes)
    assert [number for number in (US, GB, CH) if candidate.reaches(number)] == reached
    assert candidate.reaches("")
    assert [number for number in (US, GB, CH) if eligible([candidate], None, None, number)] == reached


@pytest.mark.parametrize(
    ("prices", "paid"),
    [
        ({}, [None, None, None]),
        ({"": 9.0}, [9.0, 9.0, 9.0]),
        ({"+1": 1.0, "+1415": 2.0, "+14155550124": 3.0}, [2.0, None, None]),
        ({"+44": 0.0, "": 1.0}, [1.0, 0.0, 1.0]),
        ({US: 5.0, "+1": 1.0}, [5.0, None, None]),
    ],
)
def test_the_longest_beginning_names_the_price(prices: Mapping[str, float], paid: list[float | None]) -> None:
    assert [Candidate("some", prices=prices).price(number) for number in (US, GB, CH)] == paid


# -- as whom ----------------------------------------------------------------------------------------------------------


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
    assert sender_for(candidate, asked, default, US) == sender


def test_a_pool_is_shared_out_and_a_new_sender_takes_only_its_share() -> None:
    numbers = tuple(f"+1500555000{n}" for n in range(5))
    recipients = [f"+1415{n:07}" for n in range(3_000)]

    def met(*senders: str) -> list[str]:
        return [sender_for(Candidate("some", senders), None, "Other", each) for each in recipients]

    before, after = met(*numbers[:4], "ACME"), met(*numbers, "ACME")
    assert all(650 < count < 850 for count in Counter(before).values())
    assert set(before) == set(numbers[:4])
    assert {new for old, new in zip(before, after, strict=True) if old != new} == {numbers[4]}
    assert before[:50] == [pick(each, numbers[:4], (1, 1, 1, 1), b"sender") for each in recipients[:50]]
    assert sender_for(Candidate("some", numbers), None, "", "") == numbers[0]


# -- the route --------------------------------------------------------------------------------------------------------


def test_routes_leave_out_who_has_no_voice() -> None:
    routes = Routes((MUTE, MAIN), "")
    assert routes.usual == "main"
    assert routes.find("ACME", None) == "mute,main"
    assert routes.find(None, "mute") == ""
    assert routes.reaches("mute", US)
    assert not routes.reaches("gone", US)
    assert routes.knows("mute")
    assert not routes.knows("gone")
    assert Routes((MUTE, MAIN), "ACME").usual == "mute,main"
    assert Routes((), "ACME").usual == ""
    assert routes
    assert not Routes((), "ACME")


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


def test_prefixes_narrow_the_route_and_the_sender() -> None:
    world = Candidate("world", ("World",))
    swiss = Candidate("swiss", ("Swiss",), prefixes=("+41",))
    routes = Routes((swiss, world), "")
    assert routes.usual == ""
    assert [routes.find(None, None, each) for each in (CH, US)] == ["swiss,world", "world"]
    assert [routes.find(None, "swiss", each) for each in (CH, US)] == ["swiss", ""]
    assert [routes.find("Swiss", None, each) for each in (CH, US)] == ["swiss", ""]
    bounded = routes.within((), ("Swiss", "World"))
    assert [bounded.own_sender(None, each) for each in (CH, US)] == ["Swiss", "World"]
    assert routes.within(("world",), ()).usual == "world"


def test_a_usual_route_is_one_for_every_recipient() -> None:
    assert Routes(ALL, "", rules=PLAIN).usual == "main,spare,sandbox"
    assert Routes(ALL, "", rules=WEIGHTED).usual == ""
    assert Routes(ALL, "", rules=CHEAPEST).usual == ""
    assert Routes((MAIN, MUTE), "", rules=WEIGHTED).usual == "main"
    assert Routes(ALL, "", rules=WEIGHTED).within(("spare",), ()).usual == "spare"


def test_weighted_routes_are_few_stable_and_shared_by_weight() -> None:
    candidates = [Candidate("a"), Candidate("b", weight=2), Candidate("c", weight=7)]
    routes = Routes(candidates, "", rules=WEIGHTED)
    recipients = [f"+1415{n:07}" for n in range(4_000)]
    found = [routes.find(None, None, each) for each in recipients]
    assert found == [Routes(candidates, "", rules=WEIGHTED).find(None, None, each) for each in recipients]
    shares = Counter(found)
    assert set(shares) == {"a,b,c", "b,a,c", "c,a,b"}
    assert 320 < shares["a,b,c"] < 480
    assert 700 < shares["b,a,c"] < 900
    assert {routes.find(None, "b", each) for each in recipients[:50]} == {"b"}


def test_cheapest_first_the_unknown_last_and_equals_in_the_order_of_the_file() -> None:
    candidates = [
        Candidate("silent"),
        Candidate("dear", prices={"": 3.0, "+41": 1.0}),
        Candidate("fair", prices={"+1": 2.0, "+41": 1.0}),
        Candidate("free", prices={"+44": 0.0}),
    ]
    routes = Routes(candidates, "", rules=CHEAPEST)
    assert routes.find(None, None, US) == "fair,dear,silent,free"
    assert routes.find(None, None, CH) == "dear,fair,silent,free"
    assert routes.find(None, None, GB) == "free,dear,silent,fair"
    assert routes.find(None, None, "+81312345678") == "dear,silent,fair,free"
    numbers = [f"+{n}4155550123" for n in range(1, 99)]
    assert len({routes.find(None, None, each) for each in numbers}) <= 4


def test_an_unknown_strategy_is_an_error() -> None:
    with pytest.raises(ValueError, match="strategy is priority, weighted or cheapest, not 'random'"):
        Routes((MAIN,), "", rules=RoutingRules("random"))


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.sampled_from("abcde"),
        st.lists(st.sampled_from(["+15005550006", "+15005550007", "ACME", "40404"]), unique=True).map(tuple),
        st.booleans(),
        st.lists(st.sampled_from(["+1", "+1415", "+4", "+41"]), unique=True).map(tuple),
        st.integers(1, 1_000),
        st.dictionaries(st.sampled_from(["", "+1", "+14", "+41"]), st.floats(0, 9)),
    ),
    unique_by=lambda candidate: candidate.name,
    max_size=5,
)
STRATEGIES = st.sampled_from(["priority", "weighted", "cheapest"])
RECIPIENTS = st.sampled_from([US, GB, CH, "+14165550100"])


@settings(max_examples=80, deadline=None)
@given(
    CANDIDATES, STRATEGIES, RECIPIENTS, st.none() | st.sampled_from(["ACME", "Nobody"]), st.sampled_from(["", "Any"])
)
def test_a_route_is_an_order_of_those_that_may_and_its_sender_is_always_owned(
    candidates: list[Candidate], strategy: str, recipient: str, sender: str | None, default: str
) -> None:
    able = [each.name for each in eligible(candidates, sender, None, recipient)]
    assert sorted(ordered([c for c in candidates if c.name in able], strategy, recipient)) == sorted(able)
    routes = Routes(candidates, default, rules=RoutingRules(strategy))
    route = routes.find(sender, None, recipient)
    names = route.split(",") if route else []
    known = {each.name: each for each in candidates}
    mute = [] if sender or default else [each.name for each in candidates if each.needs_sender and not each.senders]
    assert set(names) == set(able) - set(mute)
    for name in names:
        met = sender_for(known[name], sender, default, recipient)
        assert met
        assert known[name].carries(met)
        assert known[name].reaches(recipient)
    if routes.usual and sender is None:
        assert route == routes.usual


# -- who gets it now --------------------------------------------------------------------------------------------------


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
        ({"a": BROKEN, "b": OPEN}, {"a": 1_000}, "b"),
        ({"a": HALF_OPEN, "b": OPEN}, {"a": 0}, "b"),
        ({"a": HALF_OPEN, "b": COOLING}, {"b": FAILOVER_AFTER_MS}, "b"),
        ({"a": COOLING, "b": HALF_OPEN}, {"a": 300_000}, "b"),
        ({"a": BROKEN, "b": COOLING}, {"a": 20_000, "b": 300_000}, "b"),
        ({"a": HALTED, "b": PAUSED, "c": BROKEN, "d": HALF_OPEN}, {"c": 20_000}, "d"),
        ({"a": PAUSED, "b": BROKEN, "c": BROKEN}, {"b": 20_000, "c": 10_000}, "c"),
        ({"a": HALTED, "b": BROKEN}, {"b": -5}, "b"),
        ({"a": HALF_OPEN, "b": BROKEN}, {"b": -5}, "a"),
        ({"a": HALTED, "b": BROKEN}, {}, "a"),
        ({"a": COOLING, "b": COOLING}, {}, "a"),
    ],
)
def test_choose(standings: dict[str, Standing], until: dict[str, int | None], chosen: str | None) -> None:
    ends = {name: None if until.get(name) is None else NOW + (until[name] or 0) for name in standings}
    assert choose(standings, ends, NOW, FAILOVER_AFTER_MS) == chosen
    assert choose(standings, ends, NOW, None) == next(iter(standings), None)


def test_choose_waits_as_long_as_it_is_told() -> None:
    standings, ends = {"a": COOLING, "b": OPEN}, {"a": NOW + 600_000}
    assert [choose(standings, ends, NOW, wait) for wait in (0, 599_999, 600_000, None)] == ["b", "b", "a", "a"]


# -- who is next ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "standings", "route"),
    [
        ("a", {"a": OPEN, "b": OPEN, "c": OPEN}, "b,c,a"),
        ("b", {"a": OPEN, "b": OPEN, "c": OPEN}, "a,c,b"),
        ("c", {"a": OPEN, "b": HALTED, "c": OPEN}, "a,b,c"),
        ("a", {"a": OPEN, "b": BROKEN, "c": OPEN}, "b,c,a"),
        ("a", {"a": OPEN, "b": BROKEN, "c": HALF_OPEN}, None),
        ("a", {"a": OPEN, "b": COOLING, "c": PAUSED}, None),
        ("a", {"a": OPEN}, None),
        ("gone", {"a": OPEN, "b": OPEN, "c": OPEN}, None),
    ],
)
def test_next_route(provider: str, standings: dict[str, Standing], route: str | None) -> None:
    assert next_route("a,b,c", provider, standings, False, PLAIN) == route
    assert next_route("a,b,c", provider, standings, True, PLAIN) is None
    assert next_route("a,b,c", provider, standings, False, RoutingRules(failover_after_ms=None)) is None


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from("abcde"), unique=True, min_size=1),
    st.sampled_from("abcde"),
    st.dictionaries(st.sampled_from("abcde"), st.sampled_from(Standing)),
)
def test_the_next_route_is_the_same_providers_with_another_one_first(
    names: list[str], provider: str, standings: dict[str, Standing]
) -> None:
    found = next_route(",".join(names), provider, standings, False, PLAIN)
    others = [name for name in names if name != provider]
    if found is None:
        assert provider not in names or not any(standings.get(name) is OPEN for name in others)
    else:
        assert found.split(",") == [*others, provider]
        assert found.split(",")[0] != provider
