"""Does the OpenAPI document say what the door does? schemathesis asks the door."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from smsd.core.acceptance import MAX_KEY
from smsd.engine.service import Reloaded
from smsd.engine.snapshots import Snapshots
from smsd.listeners.http import openapi
from smsd.listeners.http.access import Access
from smsd.listeners.http.routes import OPEN_ROUTES, ROUTES
from tests.listeners.house import House
from tests.listeners.http_rig import ANYBODY, serving, token

DOCUMENT = openapi.describe()

SETTINGS = """
headers = {{ Accept = "application/json" }}  # without it /v1/events is a stream that never ends
request-timeout = 20
hooks = "{hooks}"

[auth.openapi.token]
bearer = "ops"

[checks]
# 422 says what no schema can: that a number does not exist, that two times do not fit, that no such provider is there.
# 413 is the same of sizes.
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "413", "422", "429"]

[[operations]]
# The answer begins before the body is read, and a bad line fails alone: there it is told what is wrong with it.
include-path = "/v1/messages/batch"
checks.negative_data_rejection.expected-statuses = ["200", "4xx"]

[[operations]]
# A bad recipient fails alone, and so does a message that is no good without another one.
include-path = "/v1/campaigns"
include-method = "POST"
checks.negative_data_rejection.expected-statuses = ["200", "202", "4xx"]

[[operations]]
# The campaign that was made is not found when another tenant's is asked for.
include-path-regex = "/campaigns/"
checks.ensure_resource_availability.enabled = false

[[operations]]
# 503 is how it says that smsd is not ready.
include-path = "/readyz"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", "503"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "503"]
"""

HOOKS = """
import schemathesis

@schemathesis.hook
def map_query(context, query):
    '''Nobody waits a minute for a test.'''
    if query and isinstance(query.get("wait"), str) and query["wait"][:1].isdigit():
        return {**query, "wait": "5ms"}
    return query
"""


async def explore(directory: Path, url: str, examples: int, seed: int | None) -> tuple[int, str]:
    """schemathesis' exit code and what it says."""
    (directory / "exploring.py").write_text(HOOKS)
    settings = directory / "schemathesis.toml"
    settings.write_text(SETTINGS.format(hooks="exploring"))
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run", url]
    command += ["--checks", "all", "--max-examples", str(examples)]
    command += [] if seed is None else ["--seed", str(seed)]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(directory), "NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode or 0, output.decode()


async def test_schemathesis_finds_no_difference(house: House, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    async def reload() -> Reloaded:
        return Reloaded(("providers.main.rate",), (), ())

    long = request.config.getoption("--long")
    service = house.engine.service
    service.snapshots = Snapshots(house.outbox, tmp_path)
    service.reloader = reload
    await service.resume("main")
    async with serving(house, Access((token("ops"),))) as rig:
        host, port = rig.door.addresses[0]
        url = f"http://{host}:{port}/openapi.json"
        code, said = await explore(tmp_path, url, 200 if long else 4, None if long else 7)
    service.snapshots.close()
    assert code == 0, said[-8_000:]
    generated = re.search(r"(\d+) generated, (\d+) passed", said)
    assert generated is not None, said[-2_000:]
    assert int(generated[1]) == int(generated[2]) > 500


def test_every_route_is_described_and_nothing_else() -> None:
    described = {(method.upper(), path) for path, row in DOCUMENT["paths"].items() for method in row}
    served = {(route.method, route.path) for route in ROUTES} | {(route.method, route.path) for route in OPEN_ROUTES}
    assert described == served


def rows() -> list[Any]:
    return [
        pytest.param(path, method, row, id=f"{method} {path}")
        for path, found in DOCUMENT["paths"].items()
        for method, row in found.items()
    ]


@pytest.mark.parametrize(("path", "method", "row"), rows())
def test_every_operation_says_what_it_takes_and_answers(path: str, method: str, row: dict[str, Any]) -> None:
    assert row["summary"].endswith((".", "?"))
    assert len({each["operationId"] for _, _, each in (param.values for param in rows())}) == len(rows())
    named = {each["name"] for each in row.get("parameters", []) if each["in"] == "path"}
    assert named == set(re.findall(r"\{(.+?)\}", path))
    assert ("requestBody" in row) is (method in {"post", "put"})
    assert {"500", "400"} <= row["responses"].keys()
    assert ("401" in row["responses"]) is ("security" not in row)


BODIES = {"backup": {"snapshot": "gone"}, "reschedule": {"send_at": "2030-01-01T00:00:00Z"}}
"""Of operations that say something is missing before they look."""


async def test_what_is_not_there_is_told_as_described(house: House, tmp_path: Path) -> None:
    """404 where it stands in the document, and nowhere else."""
    house.engine.service.snapshots = Snapshots(house.outbox, tmp_path)
    async with serving(house, ANYBODY) as rig:
        for route in sorted(ROUTES, key=lambda route: route.method != "DELETE"):  # before there is what it deletes
            row = DOCUMENT["paths"][route.path][route.method.lower()]
            if route.path.startswith("/api/"):
                continue  # its refusals have a shape of their own: test_failed
            if "{" not in route.path and route.path != "/v1/backup":
                assert "404" not in row["responses"]
                continue
            path = re.sub(r"\{.+?\}", "+14155550199", route.path)
            body = BODIES.get(route.operation.name, {})
            client = await rig.client()
            answer = await client.ask(route.method, path, None if route.method in {"GET", "DELETE"} else body)
            assert (answer.status == 404) is ("404" in row["responses"]), (path, answer.status)
            assert answer.status in {200, 201, 404}
        refused = await rig.ask("POST", "/v1/backup", {"offset": 1})
        assert (refused.status, refused.codes) == (422, [("offset", "invalid_value")])
    house.engine.service.snapshots.close()


def described(status: int) -> set[str]:
    return {
        f"{method} {path}" for path, method, row in (each.values for each in rows()) if str(status) in row["responses"]
    }


def test_statuses_stand_only_where_they_can_happen() -> None:
    one = "/v1/messages/{id}"
    records = "/api/admin/retry-failed-sms"
    campaigns = "/v1/campaigns"
    assert described(409) == {
        *(f"post {campaigns}", f"post {campaigns}/{{id}}/pause", f"post {campaigns}/{{id}}/resume"),
        *(f"post {campaigns}/{{id}}/cancel", f"delete {campaigns}/{{id}}"),
        *("post /v1/messages", f"post {one}/cancel", f"post {one}/reschedule", f"post {one}/retry"),
        *(f"post {records}", f"delete {records}", "post /v1/plans"),
    }
    assert described(413) == {each for each in described(415) if each != "post /v1/messages/batch"}
    assert described(415) == {
        f"{method} {path}" for path, method, _ in (each.values for each in rows()) if method in {"post", "put"}
    }
    assert described(429) == {
        *("get /v1/messages", "post /v1/messages", f"get {one}", "get /v1/events", "get /v1/inbound", "get /v1/audit"),
        *("get /v1/failed", f"get {campaigns}", f"post {campaigns}", "post /v1/plans"),
        *(f"get /v1/reports/{kind}" for kind in ("daily", "errors", "retries", "rate", "cost")),
    }
    providers = {"post /v1/providers/{provider}/pause", "post /v1/providers/{provider}/resume"}
    lists = {"put /v1/suppressions/{number}", "delete /v1/suppressions/{number}"}
    queues = {"post /v1/backup", "post /v1/callbacks/replay"}
    recorded = {
        *("get /v1/suppressions", "get /v1/suppressions/{number}", "get /v1/audit", "post /v1/reload"),
        "post /v1/providers/{provider}/register",
        *("post /v1/failed/retry", "post /v1/failed/delete"),
    }
    assert described(507) == {*described(409), *providers, *lists, *queues, *recorded} - {"post /v1/plans"}
    assert {"get /v1/ping", "get /v1/providers", "get /v1/events"}.isdisjoint(described(503))


def test_headers_that_count_are_described() -> None:
    headers = {
        (path, each["name"])
        for path, _, row in (each.values for each in rows())
        for each in row.get("parameters", [])
        if each["in"] == "header"
    }
    assert headers == {("/v1/messages", "Idempotency-Key"), ("/v1/events", "Last-Event-ID")}


def test_every_reference_leads_somewhere() -> None:
    found = re.findall(r'"\$ref":"#/components/([a-z]+)/(\w+)"', openapi.document().decode())
    assert found
    for kind, name in found:
        assert name in DOCUMENT["components"][kind]


def test_bounds_are_those_of_the_code() -> None:
    submission = DOCUMENT["components"]["schemas"]["Submission"]
    key = submission["properties"]["idempotency_key"]["anyOf"][0]
    assert key == {"type": "string", "minLength": 1, "maxLength": MAX_KEY}
    assert submission["additionalProperties"] is False
    assert submission["required"] == ["to"]
    assert submission["oneOf"] == [{"required": ["text"]}, {"required": ["template"]}]
    assert submission["properties"]["vars"]["type"] == "object", "absent, never null: that would need a template too"
    assert "op" not in submission["properties"]
