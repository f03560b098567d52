"""Which operation does each path stand for?

One table: requests are answered from it, and the OpenAPI document is made from it. A path's parameters are named after
the fields of the operation's request. Paths are compared as they were sent, part by part, each percent-decoded: a user
may have a slash in his name (`%2F`), and a slash at the end is another path. How a row is performed is the affair of
`performing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from smsd.core.acceptance import Fault
from smsd.listeners.callers import ProblemError
from smsd.listeners.http import campaigns, performing, retrying
from smsd.listeners.http.performing import OpenPerformer, Performer, plain
from smsd.listeners.operations import OPERATIONS, Operation

ALWAYS = (400, 401, 403, 422, 431, 500)
"""Statuses of problems that every route for callers has."""

_BODY = (413, 415, 503)
"""Of those that read a body: its size, its type, too many arriving. 503 is also what a fault of the outbox can be."""


@dataclass(frozen=True, slots=True)
class Route:
    """One row. `{field}` in the path is a parameter."""

    method: str
    path: str
    operation: Operation
    perform: Performer = plain
    statuses: tuple[int, ...] = (200,)
    """Of answers that are no problem."""
    problems: tuple[int, ...] = ()
    """Of those that are, beside ALWAYS."""
    known_as: str = ""
    """Its name among the routes where the operation's is another's."""


@dataclass(frozen=True, slots=True)
class OpenRoute:
    """One row that needs no caller; only read."""

    path: str
    perform: OpenPerformer
    statuses: tuple[int, ...] = (200,)
    method: str = "GET"


@dataclass(frozen=True, slots=True)
class HookRoute:
    """One row for providers that call back (`webhooks`). Not in the OpenAPI document: what is sent there is said in
    their manuals, and the path may hold a secret."""

    method: str
    path: str


Row = Route | OpenRoute | HookRoute


def _route(
    method: str,
    path: str,
    name: str,
    perform: Performer = plain,
    statuses: tuple[int, ...] = (200,),
    *,
    problems: tuple[int, ...] = (),
    known_as: str = "",
) -> Route:
    return Route(method, path, OPERATIONS[name], perform, statuses, problems, known_as)


ROUTES: tuple[Route, ...] = (
    _route("POST", "/v1/messages", "send", performing.submit, (202, 200), problems=(*_BODY, 409, 429, 507)),
    _route("GET", "/v1/messages", "list", performing.listing, problems=(429, 503)),
    _route("POST", "/v1/messages/batch", "send", performing.submit_batch, problems=(415, 503)),
    _route("GET", "/v1/messages/{id}", "get", problems=(404, 429, 503)),
    _route("GET", "/v1/messages/{id}/attempts", "attempts", problems=(404, 503)),
    _route("POST", "/v1/messages/{id}/cancel", "cancel", problems=(*_BODY, 404, 409, 507)),
    _route("POST", "/v1/messages/{id}/reschedule", "reschedule", problems=(*_BODY, 404, 409, 507)),
    _route("POST", "/v1/messages/{id}/retry", "retry", problems=(*_BODY, 404, 409, 507)),
    _route("POST", "/v1/campaigns", "campaign_create", campaigns.create, (202, 200), problems=(*_BODY, 409, 429, 507)),
    _route("GET", "/v1/campaigns", "campaigns", performing.listing, problems=(429, 503)),
    _route("GET", "/v1/campaigns/{id}", "campaign", problems=(404, 503)),
    _route("POST", "/v1/campaigns/{id}/pause", "campaign_pause", problems=(*_BODY, 404, 409, 507)),
    _route("POST", "/v1/campaigns/{id}/resume", "campaign_resume", problems=(*_BODY, 404, 409, 507)),
    _route("POST", "/v1/campaigns/{id}/cancel", "campaign_cancel", problems=(*_BODY, 404, 409, 507)),
    _route("DELETE", "/v1/campaigns/{id}", "campaign_delete", performing.delete, problems=(404, 409, 503, 507)),
    _route("GET", "/api/campaigns/{id}/status", "campaign_status", problems=(404, 503)),
    _route("GET", "/v1/users/{user}", "user", problems=(503,)),
    _route("GET", "/v1/recipients/{number}", "recipient", problems=(503,)),
    _route("GET", "/v1/suppressions", "suppressions", problems=(503, 507)),
    _route("GET", "/v1/suppressions/{number}", "suppressions", problems=(503, 507), known_as="suppressions_of"),
    _route("PUT", "/v1/suppressions/{number}", "suppress", performing.put, (200, 201), problems=(*_BODY, 507)),
    _route("DELETE", "/v1/suppressions/{number}", "unsuppress", performing.delete, problems=(404, 503, 507)),
    _route("GET", "/v1/inbound", "inbound", performing.listing, problems=(429, 503)),
    _route("GET", "/v1/stats", "stats", problems=(503,)),
    _route("GET", "/v1/alerts", "alerts"),
    *(
        _route("GET", f"/v1/reports/{kind}", f"report_{kind}", performing.report, problems=(429, 503))
        for kind in ("daily", "errors", "retries", "rate", "cost")
    ),
    _route("GET", "/v1/providers", "providers"),
    _route("POST", "/v1/providers/{provider}/pause", "pause", problems=(*_BODY, 404, 507)),
    _route("POST", "/v1/providers/{provider}/resume", "resume", problems=(*_BODY, 404, 507)),
    _route("POST", "/v1/providers/{provider}/register", "register", problems=(*_BODY, 404, 507)),
    _route("GET", "/v1/callbacks", "callbacks", problems=(503,)),
    _route("POST", "/v1/callbacks/replay", "replay", problems=(*_BODY, 507)),
    _route("GET", "/v1/failed", "failed", performing.listing, problems=(429, 503)),
    _route("POST", "/v1/failed/retry", "failed_retry", problems=(*_BODY, 507)),
    _route("POST", "/v1/failed/delete", "failed_delete", problems=(*_BODY, 507)),
    _route("POST", "/v1/plans", "plan", problems=(*_BODY, 409, 429)),
    _route("GET", "/v1/audit", "audit", performing.listing, problems=(429, 503, 507)),
    _route("GET", "/v1/events", "events", performing.events, problems=(429,)),
    _route("POST", "/v1/reload", "reload", problems=(*_BODY, 507)),
    _route("POST", "/v1/backup", "backup", problems=(*_BODY, 404, 507)),
    _route("GET", "/v1/ping", "ping"),
    _route("GET", "/metrics", "metrics", performing.figures, problems=(503,)),
    Route("GET", retrying.PATH, retrying.RECORDS, retrying.page, problems=(503,), known_as="failed_records"),
    Route(
        "POST", retrying.PATH, retrying.RETRY, retrying.retry, (200, 202), (*_BODY, 404, 409, 502, 507), "retry_record"
    ),
    Route("DELETE", retrying.PATH, retrying.DELETE, performing.delete, (200,), (404, 409, 503, 507), "delete_record"),
)

OPEN_ROUTES: tuple[OpenRoute, ...] = (
    OpenRoute("/healthz", performing.health),
    OpenRoute("/readyz", performing.readiness, (200, 503)),
    OpenRoute("/openapi.json", performing.description),
)

HOOK_ROUTES: tuple[HookRoute, ...] = tuple(
    HookRoute(method, f"/webhooks/{{provider}}/{{kind}}{secret}")
    for method in ("GET", "POST")
    for secret in ("", "/{secret}")
)


@dataclass(slots=True)
class _Node:
    """A part of a path."""

    literal: dict[str, _Node] = field(default_factory=dict)
    parameter: tuple[str, _Node] | None = None
    methods: dict[str, Row] = field(default_factory=dict)


class WrongMethodError(Exception):
    """The path is one of ours, the method is not one of its. `allow`: those that are, as in the header."""

    def __init__(self, allow: str) -> None:
        super().__init__(allow)
        self.allow = allow
        self.fault = Fault("", "unknown_op", f"This path takes {allow}.")


class Map:
    """The table, ready to be looked up."""

    def __init__(self, routes: tuple[Row, ...] = (*ROUTES, *OPEN_ROUTES, *HOOK_ROUTES)) -> None:
        self._root = _Node()
        self._fixed: dict[str, _Node] = {}
        """Paths without parameters, which need no walk."""
        for route in routes:
            node = self._place(route.path)
            node.methods[route.method] = route
            if route.method == "GET" and not isinstance(route, HookRoute):  # HEAD must change nothing
                node.methods["HEAD"] = route
            if "{" not in route.path:
                self._fixed[route.path] = node

    def _place(self, path: str) -> _Node:
        node = self._root
        for part in path.split("/")[1:]:
            if not part.startswith("{"):
                node = node.literal.setdefault(part, _Node())
            elif node.parameter is None:
                node.parameter = (part[1:-1], _Node())
                node = node.parameter[1]
            else:
                node = node.parameter[1]
        return node

    def find(self, method: str, path: str) -> tuple[Row, Mapping[str, str]]:
        """The route for a path as it was sent, and its parameters by name. Raises ProblemError unknown_op (404) or
        malformed, WrongMethodError."""
        node, found = self._fixed.get(path), dict[str, str]()
        if node is None:
            node, found = self._walk(path)
        if node is None or not node.methods:
            raise ProblemError.of("unknown_op", "There is nothing at this path; /openapi.json lists what there is.")
        route = node.methods.get(method)
        if route is None:
            raise WrongMethodError(", ".join(sorted(node.methods)))
        return route, found

    def _walk(self, path: str) -> tuple[_Node | None, dict[str, str]]:
        node: _Node = self._root
        found: dict[str, str] = {}
        for raw in path.split("/")[1:]:
            part = _decoded(raw)
            following = node.literal.get(part)
            if following is None:
                if node.parameter is None or not part:
                    return None, {}
                name, following = node.parameter
                found[name] = part
            node = following
        return node, found


def _decoded(part: str) -> str:
    try:
        text = unquote(part, errors="strict")
        text.encode()  # bytes above 127 that were not percent-encoded are lone surrogates here
    except UnicodeError:
        raise ProblemError.of("malformed", "The path is not UTF-8: percent-encode it as UTF-8.") from None
    return text
