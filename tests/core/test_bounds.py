"""Does a tenant's section bind every message of that tenant, and nobody else's?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.acceptance import MessageRules, Origin, TenantRules, accept
from smsd.core.message import Draft, Priority
from smsd.core.routing import Candidate, Routes, RoutingRules
from tests.core.test_acceptance import ADMIN, ID, ME, NOW, Sub, refused, taken

FIRST, SECOND, THIRD = "+15005550006", "ACME", "+15005550007"
ROUTES = Routes(
    (Candidate("main", (FIRST, SECOND)), Candidate("spare", (THIRD,)), Candidate("any"), Candidate("mute", (), True)),
    "",
)
SHOP = Origin("shop")
NOT_ALLOWED = "not_allowed"


def rules(*senders: str, providers: tuple[str, ...] = (), highest: Priority = Priority.HIGH) -> MessageRules:
    return MessageRules(tenants={"shop": TenantRules(senders, providers, highest)})


def sent(bounds: MessageRules, origin: Origin = SHOP, /, **fields: Any) -> tuple[str | None, str]:
    """As whom, and by whom."""
    found = taken(bounds, ROUTES, origin, **fields)
    return found.sender, found.route


def faults(bounds: MessageRules, origin: Origin = SHOP, /, **fields: Any) -> list[tuple[str, str]]:
    found = refused(bounds, ROUTES, origin, **fields)
    assert found.depends_on_configuration
    return [(fault.field, fault.code) for fault in found.faults]


def test_without_a_section_nothing_is_bound() -> None:
    bounds = rules(SECOND, providers=("main",), highest=Priority.BULK)
    assert sent(bounds, ME) == (None, "main,spare,any")
    assert sent(bounds, ME, from_=THIRD, provider="spare", priority="high") == (THIRD, "spare")
    assert taken(bounds, ROUTES, ME).priority is Priority.NORMAL


def test_senders() -> None:
    assert sent(rules(SECOND, THIRD)) == (SECOND, "main,any,mute")
    assert sent(rules(SECOND, THIRD), from_=" ACME ") == (SECOND, "main,any,mute")
    assert sent(rules(THIRD, SECOND), from_="+1 500 555 0007") == (THIRD, "spare,any,mute")
    assert faults(rules(SECOND), from_=FIRST) == [("from", NOT_ALLOWED)]
    assert faults(rules(SECOND), from_="Nobody") == [("from", NOT_ALLOWED)]


def test_the_first_sender_that_a_permitted_provider_owns() -> None:
    assert sent(rules(SECOND, THIRD, providers=("spare",))) == (THIRD, "spare")
    assert sent(rules(SECOND, THIRD), provider="spare") == (THIRD, "spare")
    assert sent(rules(SECOND, THIRD), provider="mute") == (SECOND, "mute")
    assert faults(rules(SECOND), provider="spare") == [("provider", "no_route")]
    assert faults(rules(SECOND, providers=("spare",))) == [("provider", "no_route")]


def test_an_own_sender_that_no_permitted_provider_owns() -> None:
    assert faults(rules(SECOND, THIRD, providers=("spare",)), from_=SECOND) == [("from", "no_route")]


def test_providers() -> None:
    assert sent(rules(providers=("any", "spare"))) == (None, "spare,any")
    assert sent(rules(providers=("any", "spare")), from_=FIRST) == (FIRST, "any")
    assert sent(rules(providers=("any", "spare")), provider="any") == (None, "any")
    assert faults(rules(providers=("any",)), provider="main") == [("provider", NOT_ALLOWED)]
    assert faults(rules(providers=("gone",))) == [("provider", "no_route")]
    assert faults(rules(providers=("gone",)), provider="gone") == [("provider", "no_route")]
    assert faults(rules(providers=("mute",))) == [("from", "missing_field")]


def test_a_provider_that_may_not_be_used_and_one_that_is_not_there_look_alike() -> None:
    known, unknown = (
        refused(rules(providers=("any",)), ROUTES, SHOP, provider=name).faults for name in ("main", "nobody")
    )
    assert known == unknown


@pytest.mark.parametrize("highest", list(Priority))
@pytest.mark.parametrize("asked", [None, *Priority])
def test_priority(highest: Priority, asked: Priority | None) -> None:
    bounds = rules(highest=highest)
    if asked is not None and asked < highest:
        assert faults(bounds, priority=asked.label) == [("priority", NOT_ALLOWED)]
        assert f"at most {highest.label}" in refused(bounds, ROUTES, SHOP, priority=asked.label).faults[0].message
        return
    found = taken(bounds, ROUTES, SHOP, priority=None if asked is None else asked.label)
    assert found.priority is (asked if asked is not None else max(Priority.NORMAL, highest))


def test_the_bounds_are_those_of_the_tenant_it_will_be_of() -> None:
    bounds = rules(SECOND)
    assert sent(bounds, ADMIN, tenant="shop") == (SECOND, "main,any,mute")
    assert faults(bounds, ADMIN, tenant="shop", from_=FIRST) == [("from", NOT_ALLOWED)]
    assert faults(bounds, ME, tenant="shop", from_=THIRD) == [("tenant", NOT_ALLOWED)]
    assert faults(bounds, SHOP, tenant="other", from_=THIRD) == [("from", NOT_ALLOWED), ("tenant", NOT_ALLOWED)]


def test_all_faults_are_reported_together() -> None:
    bounds = rules(SECOND, providers=("main",), highest=Priority.BULK)
    assert faults(bounds, from_=THIRD, provider="spare", priority="high", retry="gone") == [
        ("provider", NOT_ALLOWED), ("from", NOT_ALLOWED), ("priority", NOT_ALLOWED), ("retry", "invalid_value"),
    ]  # fmt: skip
    found = refused(bounds, ROUTES, SHOP, from_="A-B", provider="spare", to=None)
    assert [fault.code for fault in found.faults] == ["missing_field", NOT_ALLOWED, "invalid_sender"]
    assert not found.depends_on_configuration


def test_every_fault_begins_with_its_field_or_says_whom_to_ask() -> None:
    bounds = rules(SECOND, providers=("main",), highest=Priority.BULK)
    for fault in refused(bounds, ROUTES, SHOP, from_=THIRD, provider="spare", priority="high").faults:
        assert fault.message.startswith(f"`{fault.field}` ")
        assert ":" in fault.message


SENDERS = [FIRST, SECOND, THIRD, "Nobody"]
NAMES = ["main", "spare", "any", "mute", "gone"]
BOUNDS = st.builds(
    TenantRules,
    st.lists(st.sampled_from(SENDERS), unique=True).map(tuple),
    st.lists(st.sampled_from(NAMES), unique=True).map(tuple),
    st.sampled_from(Priority),
)
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.sampled_from(NAMES[:4]),
        st.lists(st.sampled_from(SENDERS), unique=True).map(tuple),
        st.booleans(),
        st.sampled_from([(), (), ("+1",), ("+41",), ("+41", "+1415")]),
        st.integers(1, 9),
        st.dictionaries(st.sampled_from(["", "+1", "+41"]), st.integers(0, 9), max_size=2),
    ),
    unique_by=lambda candidate: candidate.name,
)
SUBMISSIONS = st.builds(
    Sub,
    from_=st.none() | st.sampled_from([*SENDERS, " ACME ", "+1 (500) 555-0006", "A-B"]),
    provider=st.none() | st.sampled_from([*NAMES, ""]),
    priority=st.none() | st.sampled_from([*(each.label for each in Priority), "urgent"]),
    tenant=st.none() | st.sampled_from(["shop", "other", ""]),
)


@settings(max_examples=100, deadline=None)
@given(
    SUBMISSIONS,
    st.dictionaries(st.sampled_from(["shop", "other", "local:0"]), BOUNDS),
    CANDIDATES,
    st.sampled_from(["", "ACME"]),
    st.builds(Origin, st.sampled_from(["shop", "local:0"]), st.booleans()),
    st.builds(RoutingRules, st.sampled_from(["priority", "weighted", "cheapest"])),
)
def test_no_accepted_message_breaks_its_tenants_bounds(
    submission: Sub,
    tenants: dict[str, TenantRules],
    candidates: list[Candidate],
    default: str,
    origin: Origin,
    routing: RoutingRules,
) -> None:
    bounds, routes = MessageRules(sender=default, tenants=tenants), Routes(candidates, default, rules=routing)
    found = accept(submission, bounds, routes, origin, NOW, ID)
    assert accept(submission, bounds, routes, origin, NOW, ID) == found, "what is kept of the first changed the second"
    if not isinstance(found, Draft):
        return
    kept = tenants.get(found.tenant, TenantRules())
    carriers = {each.name: each for each in candidates}
    route = found.route.split(",")
    assert not kept.senders or found.sender in kept.senders
    assert not kept.providers or set(route) <= set(kept.providers)
    assert all(found.sender is None or carriers[name].carries(found.sender) for name in route)
    assert all(carriers[name].reaches(found.recipient) for name in route)
    assert found.priority >= kept.max_priority
    assert not found.pinned or found.route == submission.provider
    # Within its bounds it is what it would be without them, had it asked for all of it.
    asked = replace(submission, from_=found.sender, priority=found.priority.label)
    free = Routes([each for each in candidates if each.name in route], default, rules=routing)
    assert accept(asked, MessageRules(), free, origin, NOW, ID) == found


# -- by recipient -----------------------------------------------------------------------------------------------------

US, GB, CH = "+14155550123", "+447700900123", "+41791234567"
HOME = (
    Candidate("swiss", ("Swiss",), prefixes=("+41",)),
    Candidate("isles", ("Isles", SECOND), prefixes=("+44",)),
    Candidate("mute", (), True, prefixes=("+41",)),
)
HOME_ROUTES = Routes(HOME, "")
ANYONE = MessageRules()
NO_ROUTE, NO_FROM = ("to", "no_route"), ("from", "missing_field")


def home(to: str, bounds: MessageRules = ANYONE, routes: Routes = HOME_ROUTES, **fields: Any) -> list[str]:
    """The messages of the faults of what cannot go to that number."""
    return [fault.message for fault in refused(bounds, routes, SHOP, to=to, **fields).faults]


def home_faults(to: str, bounds: MessageRules = ANYONE, **fields: Any) -> list[tuple[str, str]]:
    found = refused(bounds, HOME_ROUTES, SHOP, to=to, **fields)
    assert found.depends_on_configuration
    return [(fault.field, fault.code) for fault in found.faults]


def test_the_number_decides_by_whom_and_as_whom() -> None:
    assert taken(ANYONE, HOME_ROUTES, SHOP, to=CH).route == "swiss"
    bound = rules("Swiss", SECOND)
    assert [taken(bound, HOME_ROUTES, SHOP, to=to).sender for to in (CH, GB)] == ["Swiss", SECOND]
    assert [taken(bound, HOME_ROUTES, SHOP, to=to).route for to in (CH, GB)] == ["swiss,mute", "isles"]
    pinned = taken(bound, HOME_ROUTES, SHOP, to=CH, provider="mute")
    assert (pinned.sender, pinned.route, pinned.pinned) == ("Swiss", "mute", True)


def test_a_number_that_no_provider_carries() -> None:
    assert home_faults(US) == [NO_ROUTE]
    assert home(US) == [
        "`to` has no route: no enabled provider carries numbers that begin like this; "
        "ask the operator of smsd for `prefixes`"
    ]
    assert home_faults(US, rules("Swiss")) == [NO_ROUTE]
    (message,) = home(GB, rules(providers=("swiss",)))
    assert "no provider that this tenant may use carries numbers that begin like this" in message
    assert home_faults(GB, rules(providers=("swiss",))) == [NO_ROUTE]


def test_a_number_and_a_sender_that_cannot_be_are_told_together() -> None:
    (number, sender) = home(US, routes=Routes(HOME[:2], ""), from_="Nobody")
    assert number.startswith("`to` has no route")
    assert sender.startswith("`from` belongs to no enabled provider:")
    assert home_faults(US, rules("Isles", providers=("swiss",))) == [NO_ROUTE, ("provider", "no_route")]
    assert home_faults(US, rules(providers=("mute",))) == [NO_ROUTE, NO_FROM]


def test_a_pinned_provider_that_does_not_carry_the_number() -> None:
    assert home_faults(US, provider="swiss") == [("provider", "no_route")]
    assert home(US, provider="swiss") == ["`provider` carries no numbers that begin like `to`: name another, or none"]
    assert home_faults(CH, provider="swiss", from_=SECOND) == [("from", "no_route")]
    assert home_faults(CH, provider="mute") == [NO_FROM]


def test_a_sender_whose_provider_does_not_carry_the_number() -> None:
    owned = Routes(HOME[:2], "")
    (message,) = home(CH, routes=owned, from_="Isles")
    whose = "no enabled provider that carries numbers that begin like `to`"
    assert message == f"`from` belongs to {whose}: name a sender it owns, or none"
    assert home(CH, routes=owned, from_="Nobody") == [
        "`from` belongs to no enabled provider: name a sender it owns, or none"
    ]


def test_a_faulty_number_is_no_reason_to_miss_a_route() -> None:
    assert [fault.code for fault in refused(ANYONE, HOME_ROUTES, SHOP, to="+1").faults] == ["invalid_recipient"]
    assert [fault.code for fault in refused(ANYONE, HOME_ROUTES, SHOP, to=None).faults] == ["missing_field"]


def test_no_provider_at_all() -> None:
    none, gone = Routes((), ""), rules(providers=("gone",))
    assert home(CH, routes=none) == ["no provider is enabled: ask the operator of smsd"]
    assert home(CH, routes=none, from_="ACME") == ["no provider is enabled: ask the operator of smsd"]
    assert home(CH, gone) == ["no provider that this tenant may use is enabled: ask the operator of smsd"]
    assert home(CH, routes=none, provider="swiss") == ["`provider` must name an enabled provider"]


@pytest.mark.parametrize("strategy", ["weighted", "cheapest"])
def test_bounds_hold_under_every_strategy(strategy: str) -> None:
    candidates = [Candidate(name, weight=place, prices={"": 9 - place}) for place, name in enumerate("abcd", 1)]
    routes = Routes(candidates, "", rules=RoutingRules(strategy))
    numbers = [f"+1415555{n:04}" for n in range(120, 170)]
    free = {taken(ANYONE, routes, SHOP, to=to).route for to in numbers}
    bound = {taken(rules("ACME", providers=("c", "a")), routes, SHOP, to=to).route for to in numbers}
    assert all(sorted(route.split(",")) == ["a", "b", "c", "d"] for route in free)
    assert free == ({"d,c,b,a"} if strategy == "cheapest" else {"a,b,c,d", "b,a,c,d", "c,a,b,d", "d,a,b,c"})
    assert bound == ({"c,a"} if strategy == "cheapest" else {"a,c", "c,a"})
    assert taken(ANYONE, routes, SHOP, to=US, provider="b").route == "b"
