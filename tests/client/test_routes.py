"""Does the client's table of routes say what the daemon's does, and does every value find its way into a URL?"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest

from smsd.client import SubmissionInvalid
from smsd.client.batches import BATCH
from smsd.client.routes import ROUTES, SEND_NOW, Route, target
from smsd.listeners.http import routes as daemon
from smsd.listeners.operations import OPERATIONS
from tests.client.conftest import TO
from tests.client.http_daemon import HttpFront
from tests.doubles.fake_daemon import FakeDaemon


def theirs() -> dict[tuple[str, str], str]:
    """Without the second route to an operation, which its first one can say as well."""
    return {(route.method, route.path): route.operation.name for route in daemon.ROUTES if not route.known_as}


def test_each_operation_has_the_daemons_route() -> None:
    ours = {(route.method, route.path): name for name, route in ROUTES.items()}
    assert ours | {(BATCH.method, BATCH.path): "send"} == theirs()
    assert ROUTES.keys() == OPERATIONS.keys()


@pytest.mark.parametrize("name", ROUTES)
def test_answers_are_recognised_and_wrapped_as_on_the_socket(name: str) -> None:
    operation = OPERATIONS[name]
    answers = {field.encode_name for field in msgspec.structs.fields(operation.answer)}
    route = ROUTES[name]
    if name == "metrics":
        assert (route.proof, route.envelope, answers) == ("", "text", {"text"})
    else:
        assert route.proof in answers
        assert route.envelope == operation.envelope
    for field in re.findall(r"{(\w+)}", route.path):
        assert field in {each.encode_name for each in msgspec.structs.fields(operation.request)}


def test_a_send_that_waits_is_a_send() -> None:
    assert Route("POST", "/v1/messages", "id", query=frozenset({"wait"})) == SEND_NOW
    found = target({"op": "send_now", "to": TO, "text": "Hello", "wait": "5s"})
    assert (found.path, found.body) == ("/v1/messages?wait=5s", {"to": TO, "text": "Hello"})


@pytest.mark.parametrize("user", ["alice", "a/b", "a b", "Zoë Ünïcode 💬", "50%", "a?b#c", "a+b", "..x", "&=;", "%2F"])
def test_a_user_may_be_called_anything(make_http: Any, fake: FakeDaemon, user: str) -> None:
    assert make_http().user_stats(user, tenant="x&y+z")["user_id"] == user
    assert fake.requests[-1] == {"op": "user", "user": user, "tenant": "x&y+z"}


def test_numbers_keep_their_plus(make_http: Any, fake: FakeDaemon, front: HttpFront) -> None:
    client = make_http()
    assert client.recipient_stats(TO)["recipient"] == TO
    assert [*client.list(to=TO, since="2026-01-02T03:04:05+01:00")] == []
    assert fake.requests[-1].items() >= {"to": TO, "since": "2026-01-02T03:04:05+01:00"}.items()
    assert "+" not in urlsplit(front.heads[-1][1]).query, "a plus in a query is a blank"
    assert dict(parse_qsl(urlsplit(front.heads[-1][1]).query))["limit"] == "200"


@pytest.mark.parametrize("id", ["", ".", "..", "\udcff"])
def test_what_has_no_place_in_a_url_is_not_sent(make_http: Any, front: HttpFront, id: str) -> None:
    with pytest.raises(SubmissionInvalid) as caught:
        make_http().get(id)
    assert (caught.value.code, caught.value.field) == ("invalid_value", "id")
    assert front.heads == []


def test_absent_fields_are_not_said_and_truth_is_spelt_as_json_does() -> None:
    assert target({"op": "get", "id": "x", "wait": None}).path == "/v1/messages/x"
    assert target({"op": "list", "force": True}).path == "/v1/messages?force=true"
    lifting = target({"op": "unsuppress", "number": TO, "scope": "*"})
    assert (lifting.path, lifting.body) == ("/v1/suppressions/%2B15550100123?scope=%2A", None)
    assert target({"op": "suppress", "number": TO, "scope": "main"}).body == {"scope": "main"}
    assert json.dumps(target({"op": "retry", "id": "x", "force": True}).body) == '{"force": true}'
