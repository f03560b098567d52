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
from smsd.listeners.http import performing
from smsd.listeners.http.performing import OpenPerformer, Performer, plain
from smsd.listeners.operations import OPERATIONS, Operation


@dataclass(frozen=True, slots=True)
class Route:
    """One row. `{field}` in the path is a parameter."""

    method: str
    path: str
    operation: Operation
    perform: Performer = plain
    statuses: tuple[int, ...] = (200,)
    """Of answers that are no problem."""


@dataclass(frozen=True, slots=True)
class OpenRoute:
    """One row that needs no caller; only read."""

    path: str
    perform: OpenPerformer
    statuses: tuple[int, ...] = (200,)
    method: str = "GET"


def _route(method: str, path: str, name: str, perform: Performer = plain, statuses: tuple[int, ...] = (200,)) -> Route:
    return Route(method, path, OPERATIONS[name], perform, statuses)


ROUTES: tuple[Route, ...] = (
    _route("POST", "/v1/messages", "send", performing.submit, (202, 200)),
    _route("GET", "/v1/messages", "list"),
    _route("POST", "/v1/messages/batch", "send", performing.submit_batch),
    _route("GET", "/v1/messages/{id}", "get"),
    _route("GET", "/v1/messages/{id}/attempts", "attempts"),
    _route("POST", "/v1/messages/{id}/cancel", "cancel"),
    _route("POST", "/v1/messages/{id}/retry", "retry"),
    _route("GET", "/v1/users/{user}", "user"),
    _route("GET", "/v1/recipients/{number}", "recipient"),
    _route("GET", "/v1/stats", "stats"),
    _route("GET", "/v1/providers", "providers"),
    _route("POST", "/v1/providers/{provider}/pause", "pause"),
    _route("POST", "/v1/providers/{provider}/resume", "resume"),
    _route("GET", "/v1/events", "events", performing.events),
    _route("POST", "/v1/reload", "reload"),
    _route("POST", "/v1/backup", "backup"),
    _route("GET", "/v1/ping", "ping"),
    _route("GET", "/metrics", "metrics", performing.figures),
)

OPEN_ROUTES: tuple[OpenRoute, ...] = (
    OpenRoute("/healthz", performing.health),
    OpenRoute("/readyz", performing.readiness, (200, 503)),
    OpenRoute("/openapi.json", performing.description),
)


@dataclass(slots=True)
class _Node:
    """A part of a path."""

    literal: dict[str, _Node] = field(default_factory=dict)
    parameter: tuple[str, _Node] | None = None
    methods: dict[str, Route | OpenRoute] = field(default_factory=dict)


class WrongMethodError(Exception):
    """The path is one of ours, the method is not one of its. `allow`: those that are, as in the header."""

    def __init__(self, allow: str) -> None:
        super().__init__(allow)
        self.allow = allow
        self.fault = Fault("", "unknown_op", f"This path takes {allow}.")


class Map:
    """The table, ready to be looked up."""

    def __init__(self, routes: tuple[Route | OpenRoute, ...] = (*ROUTES, *OPEN_ROUTES)) -> None:
        self._root = _Node()
        self._fixed: dict[str, _Node] = {}
        """Paths without parameters, which need no walk."""
        for route in routes:
            node = self._place(route.path)
            node.methods[route.method] = route
            if route.method == "GET":
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

    def find(self, method: str, path: str) -> tuple[Route | OpenRoute, Mapping[str, str]]:
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
