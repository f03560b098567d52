"""Where does each operation live over HTTP?

A table of the client's own, because the client is for other programs and takes on none of the daemon's modules; a test
compares it with the daemon's. It knows paths and places of fields, and no connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from smsd.client.errors import SmsdError, SubmissionInvalid, misuse
from smsd.client.words import Document


class Route(NamedTuple):
    """One row. `{field}` in the path is a field of the request; the others go into the query, or into the body of POST
    and PUT."""

    method: str
    path: str
    proof: str
    """A field that every such answer of smsd has; without it something else answered. Empty: the answer is a text."""
    envelope: str = ""
    """The name under which the socket's answer carries what is the whole answer here."""
    query: frozenset[str] = frozenset()
    """Fields that go into the query although it is a POST."""


ROUTES: Final[Mapping[str, Route]] = {
    "send": Route("POST", "/v1/messages", "id"),
    "get": Route("GET", "/v1/messages/{id}", "state", "message"),
    "list": Route("GET", "/v1/messages", "items"),
    "attempts": Route("GET", "/v1/messages/{id}/attempts", "attempts"),
    "cancel": Route("POST", "/v1/messages/{id}/cancel", "state", "message"),
    "reschedule": Route("POST", "/v1/messages/{id}/reschedule", "state", "message"),
    "retry": Route("POST", "/v1/messages/{id}/retry", "state", "message"),
    "user": Route("GET", "/v1/users/{user}", "user_id"),
    "recipient": Route("GET", "/v1/recipients/{number}", "recipient"),
    "suppressions": Route("GET", "/v1/suppressions", "items"),
    "suppress": Route("PUT", "/v1/suppressions/{number}", "added"),
    "unsuppress": Route("DELETE", "/v1/suppressions/{number}", "scope"),
    "inbound": Route("GET", "/v1/inbound", "items"),
    "campaign": Route("GET", "/v1/campaigns/{id}", "progress", "campaign"),
    "campaigns": Route("GET", "/v1/campaigns", "items"),
    "campaign_create": Route("POST", "/v1/campaigns", "id"),
    "campaign_pause": Route("POST", "/v1/campaigns/{id}/pause", "progress", "campaign"),
    "campaign_resume": Route("POST", "/v1/campaigns/{id}/resume", "progress", "campaign"),
    "campaign_cancel": Route("POST", "/v1/campaigns/{id}/cancel", "progress", "campaign"),
    "campaign_delete": Route("DELETE", "/v1/campaigns/{id}", "deleted"),
    "campaign_status": Route("GET", "/api/campaigns/{id}/status", "metrics"),
    "stats": Route("GET", "/v1/stats", "states"),
    "alerts": Route("GET", "/v1/alerts", "items"),
    "report_daily": Route("GET", "/v1/reports/daily", "items"),
    "report_errors": Route("GET", "/v1/reports/errors", "items"),
    "report_retries": Route("GET", "/v1/reports/retries", "items"),
    "report_rate": Route("GET", "/v1/reports/rate", "items"),
    "report_cost": Route("GET", "/v1/reports/cost", "items"),
    "providers": Route("GET", "/v1/providers", "providers"),
    "pause": Route("POST", "/v1/providers/{provider}/pause", "name", "provider"),
    "resume": Route("POST", "/v1/providers/{provider}/resume", "name", "provider"),
    "register": Route("POST", "/v1/providers/{provider}/register", "webhooks"),
    "callbacks": Route("GET", "/v1/callbacks", "items"),
    "replay": Route("POST", "/v1/callbacks/replay", "replayed"),
    "failed": Route("GET", "/v1/failed", "items"),
    "failed_retry": Route("POST", "/v1/failed/retry", "retried"),
    "failed_delete": Route("POST", "/v1/failed/delete", "deleted"),
    "plan": Route("POST", "/v1/plans", "plan"),
    "audit": Route("GET", "/v1/audit", "items"),
    "events": Route("GET", "/v1/events", "events"),
    "reload": Route("POST", "/v1/reload", "changed"),
    "backup": Route("POST", "/v1/backup", "snapshot"),
    "metrics": Route("GET", "/metrics", "", "text"),
    "ping": Route("GET", "/v1/ping", "pong"),
}

SEND_NOW: Final = ROUTES["send"]._replace(query=frozenset({"wait"}))
"""Submit and wait in one request, which only HTTP has."""


class Target(NamedTuple):
    """A request, ready for HTTP. `body`: what goes into it, for POST and PUT."""

    route: Route
    path: str
    body: Document | None


def target(request: Document) -> Target:
    """Where `request` goes. Raises SubmissionInvalid for a field that cannot be part of a URL, SmsdError unknown_op."""
    fields = {name: value for name, value in request.items() if name != "op" and value is not None}
    route = SEND_NOW if request["op"] == "send_now" else ROUTES.get(request["op"])
    if route is None:
        raise SmsdError("unknown_op", f"There is no operation {request['op']!r} over HTTP.", "op")
    if fields.get("format") == "csv":
        route = route._replace(proof="", envelope="csv")  # the answer is the table itself
    path = "/".join(_part(part, fields) for part in route.path.split("/"))
    bodiless = route.method in {"GET", "DELETE"}
    queried = fields.keys() if bodiless else fields.keys() & route.query
    query = "&".join(f"{_quoted(name, name)}={_quoted(name, fields[name])}" for name in sorted(queried))
    body = None if bodiless else {name: fields[name] for name in fields if name not in route.query}
    return Target(route, f"{path}?{query}" if query else path, body)


def _part(part: str, fields: dict[str, Any]) -> str:
    if not part.startswith("{"):
        return part
    name = part[1:-1]
    text = _quoted(name, fields.pop(name, ""))
    if text in {"", ".", ".."}:
        # RFC 3986, 5.2.4: whoever passes the request on may remove dots from the path, and with them the part before.
        raise misuse(name, f"`{name}` is empty or only dots, which has no place in a URL; ask over the socket.")
    return text


def _quoted(name: str, value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        text = f"`{name}` holds characters that are not Unicode text; send UTF-8."
        raise SubmissionInvalid("invalid_value", text, name) from None
