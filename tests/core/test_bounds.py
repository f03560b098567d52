"""Does a tenant's section bind every message of that tenant, and nobody else's?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.acceptance import MessageRules, Origin, TenantRules, accept
from smsd.core.message import Draft, Priority
from smsd.core.routing import Candidate, Routes
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


@settings(max_examples=200, deadline=None)
@given(
    SUBMISSIONS,
    st.dictionaries(st.sampled_from(["shop", "other", "local:0"]), BOUNDS),
    CANDIDATES,
    st.sampled_from(["", "ACME"]),
    st.builds(Origin, st.sampled_from(["shop", "local:0"]), st.booleans()),
)
def test_no_accepted_message_breaks_its_tenants_bounds(
    submission: Sub, tenants: dict[str, TenantRules], candidates: list[Candidate], default: str, origin: Origin
) -> None:
    bounds, routes = MessageRules(sender=default, tenants=tenants), Routes(candidates, default)
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
    assert found.priority >= kept.max_priority
    assert not found.pinned or found.route == submission.provider
    # Within its bounds it is what it would be without them, had it asked for all of it.
    asked = replace(submission, from_=found.sender, priority=found.priority.label)
    free = Routes([each for each in candidates if each.name in route], default)
    assert accept(asked, MessageRules(), free, origin, NOW, ID) == found
