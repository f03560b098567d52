"""Which path leads where?"""

from __future__ import annotations

import pytest

from smsd import wire
from smsd.listeners.callers import ProblemError
from smsd.listeners.http.routes import ROUTES, Map, Route, WrongMethodError
from smsd.listeners.operations import OPERATIONS

MAP = Map()


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_is_found_with_its_parameters(route: Route) -> None:
    path = route.path
    for name in ("id", "user", "number", "provider"):
        path = path.replace(f"{{{name}}}", f"%2B{name}%2Fa")
    found, parameters = MAP.find(route.method, path)
    assert found is route
    assert parameters == {name: f"+{name}/a" for name in parameters}
    assert parameters.keys() <= wire.fields_of(route.operation.request).keys()
    assert len(parameters) == route.path.count("{")


def test_every_operation_has_a_route() -> None:
    assert {route.operation.name for route in ROUTES} == OPERATIONS.keys()


@pytest.mark.parametrize(
    "path",
    ["", "/", "/v1", "/v1/", "/v1/messages/", "/V1/messages", "/v1/messages/x/", "/v1/messages/x/y", "//v1/messages",
     "/v1/messages//attempts", "/v1/messages/x/attempts/y", "/v1/users", "/healthz/", "/v1/messages%2Fbatch"],
)  # fmt: skip
def test_what_leads_nowhere(path: str) -> None:
    with pytest.raises(ProblemError) as caught:
        MAP.find("GET", path)
    assert caught.value.faults[0].code == "unknown_op"


def test_a_literal_part_goes_before_a_parameter() -> None:
    assert MAP.find("POST", "/v1/messages/batch")[0] is not MAP.find("GET", "/v1/messages/batches")[0]
    with pytest.raises(WrongMethodError) as caught:
        MAP.find("GET", "/v1/messages/batch")
    assert caught.value.allow == "POST"


def test_parts_are_decoded_before_they_are_compared() -> None:
    assert MAP.find("GET", "/v1/%73tats")[0] is MAP.find("GET", "/v1/stats")[0]
    assert MAP.find("GET", "/v1/users/%25")[1] == {"user": "%"}


@pytest.mark.parametrize("path", ["/v1/users/%FF", "/v1/users/%ED%A0%80", "/v1/users/\udcff", "/%FF"])
def test_a_path_that_is_no_text(path: str) -> None:
    with pytest.raises(ProblemError) as caught:
        MAP.find("GET", path)
    assert caught.value.faults[0].code == "malformed"


def test_head_goes_where_get_goes() -> None:
    assert MAP.find("HEAD", "/v1/stats") == MAP.find("GET", "/v1/stats")
