"""What can be asked for over HTTP, in words for programs?

An OpenAPI 3.1 document, made once from the table of routes, the operations and the types of the wire, so that it cannot
differ from what is answered. Bounds are stated where the code enforces them and a schema can say them. What a schema
cannot say (which numbers exist, that two times fit together, which providers there are) is a 422 that names the field.
It knows no values and no caller: the document is the same for everybody.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from http import HTTPStatus
from typing import Final

import msgspec

from smsd import __version__, wire
from smsd.core import acceptance as rules
from smsd.listeners.http import campaigns, performing, retrying
from smsd.listeners.http.problems import JSON, NDJSON, PROBLEM_JSON, ProblemView
from smsd.listeners.http.routes import ALWAYS, OPEN_ROUTES, ROUTES, OpenRoute, Route
from smsd.listeners.http.wording import FIELDS, FIELDS_OF, PARAMETERS, PARAMETERS_OF, STATUSES, Json
from smsd.listeners.operations import Reach, Scope

REF: Final = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{([a-z_]+)\}")

ABOUT: Final = (
    "An outbox for text messages. Accepted means: validated and on disk. Every error is a problem document (RFC 9457) "
    "with a code of a closed list; unknown fields and parameters are errors."
)


@cache
def document() -> bytes:
    """The document as JSON."""
    return msgspec.json.encode(describe())


def describe() -> Json:
    """The document as plain values."""
    paths: dict[str, Json] = {}
    routes: tuple[Route | OpenRoute, ...] = (*ROUTES, *OPEN_ROUTES)
    for route in routes:
        row = _open(route) if isinstance(route, OpenRoute) else _operation(route)
        paths.setdefault(route.path, {})[route.method.lower()] = row
    return {
        "openapi": "3.1.0",
        "info": {"title": "smsd", "version": __version__, "description": ABOUT},
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "responses": {_name(status): _problem(status) for status in STATUSES},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


# -- operations -------------------------------------------------------------------------------------------------------


def _operation(route: Route) -> Json:
    operation = route.operation
    batch = route.perform is performing.submit_batch
    needs = f"Needs the scope `{operation.scope}`" + (" and all tenants." if operation.reach is Reach.ALL else ".")
    found: Json = {
        "operationId": "batch" if batch else route.known_as or operation.name,
        "summary": (operation.handler.__doc__ or "").strip() if not batch else "Accept very many messages.",
        "description": needs,
        "tags": [_tag(route)],
        "responses": {str(status): _answer(route, status) for status in route.statuses} | _problems(route),
    }
    found |= {"parameters": parameters} if (parameters := _parameters(route)) else {}
    return found | ({"requestBody": _body(route)} if route.method in {"POST", "PUT"} else {})


def _tag(route: Route) -> str:
    return "operation" if route.operation.scope is Scope.ADMIN or route.path == "/metrics" else route.path.split("/")[2]


def _parameters(route: Route) -> list[Json]:
    in_path = _PARAMETER.findall(route.path)
    found = [_parameter("path", name, {"type": "string", "minLength": 1}) for name in in_path]
    if route.method in {"GET", "DELETE"}:
        kind = route.operation.request
        schemas, about = _properties(kind), {**PARAMETERS, **PARAMETERS_OF.get(kind, {})}
        names = [name for name in schemas if name not in in_path]
        found += [_parameter("query", name, _not_null(schemas[name]), _required(kind), about) for name in names]
    if route.perform is performing.submit:
        found.append(_parameter("query", "wait", {"type": "string"}))
        found.append(_parameter("header", "Idempotency-Key", {"type": "string"}))
    if route.perform is campaigns.create:
        found.append(_parameter("query", "dry_run", {"type": "boolean"}))
    if route.perform is performing.events:
        found.append(_parameter("header", "Last-Event-ID", {"type": "string"}))
    return found


def _parameter(
    place: str, name: str, schema: Json, required: Collection[str] = (), known: Mapping[str, Json] = PARAMETERS
) -> Json:
    about = dict(known.get(name, {}))
    found: Json = {"name": name, "in": place, "required": place == "path" or name in required}
    if "description" in about:
        found["description"] = about.pop("description")
    return found | {"schema": schema | about}


def _body(route: Route) -> Json:
    """A body that holds nothing is still asked for: `{}`, with its content type."""
    if route.perform is performing.submit:
        example = {"to": "+14155550123", "text": "Your table is ready.", "ttl": "2h"}
        return {"required": True, "content": {JSON: {"schema": _ref("Submission"), "example": example}}}
    if route.perform is performing.submit_batch:
        lines = {"type": "string", "description": "A submission a line, at most 64 KiB each."}
        array = {"type": "array", "items": _ref("Submission")}
        return {"required": True, "content": {NDJSON: {"schema": lines}, JSON: {"schema": array}}}
    in_path = _PARAMETER.findall(route.path)
    properties = {
        name: _bounded(name, schema, FIELDS_OF.get(route.operation.request, {}))
        for name, schema in _properties(route.operation.request).items()
        if name not in in_path
    }
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if route.perform is campaigns.create:
        return _campaign(schema)
    required = [name for name in _required(route.operation.request) if name not in in_path]
    if required:
        return {"required": True, "content": {JSON: {"schema": schema | {"required": required}}}}
    return {"required": True, "content": {JSON: {"schema": schema, "example": {}}}}


def _campaign(schema: Json) -> Json:
    """Of a campaign: one object, or that and a recipient a line."""
    schema["properties"]["id"] |= {"description": "Absent: one is chosen.", "maxLength": rules.MAX_CAMPAIGN}
    lines = "The object without `recipients` on the first line; then a recipient a line, at most 64 KiB each."
    example = {"id": "spring", "text": "Open again from Monday.", "recipients": ["+14155550123"], "rate": "1000/hour"}
    content = {JSON: {"schema": schema, "example": example}}
    return {"required": True, "content": content | {NDJSON: {"schema": {"type": "string", "description": lines}}}}


def _answer(route: Route, status: int) -> Json:
    schema = _ref(route.operation.answer.__name__)
    if route.perform is performing.submit_batch:
        lines = "A result a line, in order: `{index, ok, id, state, ...}` or `{index, ok, error}`."
        return {"description": lines, "content": {NDJSON: {"schema": {"type": "string"}}}}
    if route.perform is performing.figures:
        return {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    if route.perform is performing.report:
        rows = {"schema": {"type": "string"}}
        return {"description": "JSON, or CSV.", "content": {JSON: {"schema": schema}, performing.CSV: rows}}
    if route.perform is performing.events:
        stream = {"schema": {"type": "string"}}
        about = "A stream of server-sent events; for `Accept: application/json` what there is."
        return {"description": about, "content": {JSON: {"schema": schema}, performing.EVENT_STREAM: stream}}
    if route.perform is performing.submit:
        view = {"oneOf": [schema, _ref("MessageView")]}
        done = "Replayed; with `wait`: it has left the queue, as the view says."
        later = "Accepted; with `wait`: still in the queue, as the view says."
        return {"description": done if status == 200 else later, "content": {JSON: {"schema": view}}}
    if route.perform is campaigns.create and status == 200:
        either = {"oneOf": [schema, _ref("PlanView")]}
        return {"description": "Nothing new; or, with `dry_run`, what would be.", "content": {JSON: {"schema": either}}}
    said = "It is new." if status == 201 else "It was there already." if 201 in route.statuses else "Done."
    return {"description": said, "content": {JSON: {"schema": schema}}}


def _problems(route: Route) -> Json:
    statuses = sorted({*ALWAYS, *route.problems})
    if route.path == retrying.PATH:
        refused = {JSON: {"schema": _ref("RecordRefused")}}
        return {str(status): {"description": STATUSES[status], "content": refused} for status in statuses}
    return {str(status): {"$ref": f"#/components/responses/{_name(status)}"} for status in statuses}


def _open(route: OpenRoute) -> Json:
    kinds = {performing.health: "Health", performing.readiness: "Readiness"}
    schema = _ref(kinds[route.perform]) if route.perform in kinds else {"type": "object"}
    name = route.path.strip("/").replace(".json", "")
    found = {str(status): {"description": HTTPStatus(status).phrase, "content": {JSON: {"schema": schema}}}
             for status in route.statuses}  # fmt: skip
    refused = {str(status): {"$ref": f"#/components/responses/{_name(status)}"} for status in (400, 431, 500)}
    about = (route.perform.__doc__ or "").strip()
    return {"operationId": name, "summary": about, "tags": ["health"], "security": [], "responses": found | refused}


# -- components -------------------------------------------------------------------------------------------------------


def _name(status: int) -> str:
    return "".join(word.capitalize() for word in re.split(r"\W+", HTTPStatus(status).phrase))


def _problem(status: int) -> Json:
    content = {PROBLEM_JSON: {"schema": _ref("ProblemView")}}
    found: Json = {"description": STATUSES[status], "content": content}
    name = {401: "WWW-Authenticate", 429: "Retry-After"}.get(status)
    return found | ({"headers": {name: {"schema": {"type": "string"}, "required": True}}} if name else {})


def _schemas() -> Json:
    kinds: list[type[msgspec.Struct]] = [wire.Submission, ProblemView, performing.Health, performing.Readiness]
    kinds.append(wire.RecordRefused)
    kinds += [route.operation.answer for route in ROUTES if route.path != "/metrics"]
    found = _components([*kinds, wire.MessageView, wire.PlanView])
    submission = found["Submission"]
    submission["properties"] = {name: _bounded(name, each) for name, each in submission["properties"].items()}
    submission["required"] = ["to"]
    submission["oneOf"] = [{"required": ["text"]}, {"required": ["template"]}]
    submission["dependentRequired"] = {"vars": ["template"], "lang": ["template"]}
    for name in ("to", "text", "template", "vars", "lang"):
        submission["properties"][name] = _not_null(submission["properties"][name])
    return {name: _tidied(schema) for name, schema in found.items()}


def _tidied(schema: Json) -> Json:
    """Without titles, which only repeat the name."""
    return {name: value for name, value in schema.items() if name != "title"}


def _ref(name: str) -> Json:
    return {"$ref": REF.format(name=name)}


@cache
def _properties(kind: type[msgspec.Struct]) -> Json:
    """The schemas of a request's fields by their names on the wire."""
    return dict(_components([kind])[kind.__name__].get("properties", {}))


def _required(kind: type[msgspec.Struct]) -> list[str]:
    """The fields that a request cannot be without."""
    return list(_components([kind])[kind.__name__].get("required", []))


def _components(kinds: Iterable[type[msgspec.Struct]]) -> dict[str, Json]:
    _, found = msgspec.json.schema_components(dict.fromkeys(kinds), ref_template=REF, schema_hook=_any_value)
    return found


def _any_value(kind: type) -> Json:
    """`object` stands for any JSON value."""
    return {"description": "Any JSON value."}


def _bounded(name: str, schema: Json, own: Mapping[str, Json] | None = None) -> Json:
    """With what is enforced beyond the type; the bounds go beside the type they are about."""
    about = dict({**FIELDS, **(own or {})}.get(name, {}))
    description = {"description": about.pop("description")} if "description" in about else {}
    if "anyOf" not in schema:
        return schema | description | about
    options: Iterable[Json] = schema["anyOf"]
    return schema | description | {"anyOf": [each | ({} if each == {"type": "null"} else about) for each in options]}


def _not_null(schema: Json) -> Json:
    """The schema of a value that is given: a text cannot be null, an absent parameter is just absent."""
    options = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    about = {"description": schema["description"]} if "description" in schema else {}
    return {name: value for name, value in options[0].items() if name != "default"} | about
