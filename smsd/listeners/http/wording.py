"""What is said of each field, parameter and status, beyond what its type says?

The words and bounds of the OpenAPI document, by the names on the wire. A bound stands here only where the code enforces
it, and is taken from where it is enforced. Which operation has which fields is known by the types of the wire; how the
document is put together by `openapi`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from smsd import wire
from smsd.core import acceptance as rules
from smsd.core.content import MAX_LANG, MAX_VARS
from smsd.core.message import Priority
from smsd.core.report import Group
from smsd.engine.failed import OFFSET_MOST
from smsd.listeners import calling_back, campaign_terms, failing, reporting, showing

Json = dict[str, Any]

_SPAN = r"^([0-9]+(\.[0-9]+)?(d|h|ms|m|s))+$"

FIELDS: Final[Mapping[str, Json]] = {
    "to": {"description": "The number, as E.164; spaces and `-.()` are ignored.", "minLength": 1},
    "text": {"description": "What is sent. Of control characters only LF and CR.", "minLength": 1},
    "template": {"description": "Instead of `text`: a template of the configuration, by its name.", "minLength": 1},
    "vars": {
        "description": f"For the template: single values, at most {MAX_VARS} bytes of JSON.",
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    },
    "lang": {"description": 'For the template: the nearest to this language tag, such as "de".', "maxLength": MAX_LANG},
    "priority": {"enum": [priority.label for priority in Priority]},
    "overflow": {"enum": ["reject", "truncate"]},
    "idempotency_key": {"minLength": 1, "maxLength": rules.MAX_KEY},
    "user": {"description": "Opaque.", "minLength": 1, "maxLength": rules.MAX_USER},
    "type": {"description": "A label for reports.", "minLength": 1, "maxLength": rules.MAX_TYPE},
    "campaign": {"description": "Opaque.", "minLength": 1, "maxLength": rules.MAX_CAMPAIGN},
    "tenant": {"description": "Only for callers that see all.", "minLength": 1, "maxLength": rules.MAX_TENANT},
    "max_attempts": {"minimum": 1, "maximum": rules.MAX_ATTEMPTS},
    "send_at": {"description": "RFC 3339 with an offset; at most a year ahead."},
    "expires_at": {"description": "RFC 3339 with an offset. Not beside `ttl`."},
    "ttl": {"description": 'A span such as "2h", from 1s to 30d. Not beside `expires_at`.', "pattern": _SPAN},
    "offset": {"minimum": 0},
    "ids": {"description": "Those with these ids.", "minItems": 1, "maxItems": calling_back.MOST_IDS},
    "limit": {"description": "How many are dealt with in this call.", "minimum": 1, "maximum": failing.MOST},
    "scope": {"description": 'A provider\'s name, or "*": every one.', "minLength": 1},
    "name": {"description": "What people call it.", "maxLength": campaign_terms.MAX_NAME},
    "recipients": {
        "description": "Numbers, or objects with any fields of a message, which go before what holds for all.",
        "items": {"type": ["string", "object"]},
        "minItems": 1,
    },
    "metadata": {"description": f"Strings; at most {rules.MAX_METADATA} bytes of JSON."},
}
"""Of what is said in a body: what is enforced beyond the type."""

PARAMETERS: Final[Mapping[str, Json]] = {
    "id": {"description": "The message's id.", "examples": ["01a2049a-0000-7000-8000-000000000001"]},
    "user": {"description": "The user, percent-encoded."},
    "number": {"description": "The number as E.164.", "examples": ["+14155550123"]},
    "provider": {"description": "The provider's name."},
    "scope": {"description": 'A provider\'s name, or "*": every one.', "minLength": 1},
    "state": {"description": "States joined by commas; `queued` stands for those that are not final."},
    "to": {"description": "A number as E.164; its `+` need not be percent-encoded."},
    "tenant": {"description": "Only one's own, except for callers that see all."},
    "since": {"description": "RFC 3339 with an offset: accepted then or later. Of a report also a date."},
    "until": {"description": "RFC 3339 with an offset: accepted before; or a date: to its end."},
    "by": {"enum": [*Group]},
    "sla": {"description": "A delivery rate in percent.", "exclusiveMinimum": 0, "maximum": 100},
    "format": {"enum": [*reporting.FORMATS]},
    "limit": {"minimum": 1, "maximum": showing.LIST_LIMIT},
    "category": {"enum": [*showing.CATEGORIES]},
    "cursor": {"description": "`next_cursor` of the page before."},
    "wait": {"description": "How long to wait, at most 60s.", "pattern": _SPAN},
    "after": {"description": "The id of the last event seen."},
    "Idempotency-Key": {
        "description": "Instead of the field `idempotency_key`; may be a quoted string.",
        "minLength": 1,
        "maxLength": rules.MAX_KEY,
    },
    "Last-Event-ID": {"description": "Of a stream that is taken up again: the id of the last event seen, as `after`."},
    "failed": {"description": "Those that were given up, instead of those that wait."},
    "kinds": {"description": "Events joined by commas; `message.*` stands for all that begin so."},
}

PARAMETERS_OF: Final[Mapping[type[msgspec.Struct], Mapping[str, Json]]] = {
    wire.Records: {
        "limit": {"minimum": 1, "maximum": failing.RECORDS_MOST},
        "offset": {"description": "How many of the newest are left out.", "minimum": 0, "maximum": OFFSET_MOST},
    },
}
"""Where a request has other bounds."""

_FILTERS: Final = {name: PARAMETERS.get(name, {}) for name in failing.FILTERS}

FIELDS_OF: Final[Mapping[type[msgspec.Struct], Mapping[str, Json]]] = {
    wire.FailedRetry: _FILTERS,
    wire.FailedDelete: _FILTERS,
}
"""The same in a body: a filter finds nothing where a submission would be refused."""

STATUSES: Final[Mapping[int, str]] = {
    400: "It is no request that can be read.",
    401: "There is no token, or one that is not known.",
    403: "The caller may not do this, or nobody may from there.",
    404: "There is no such thing, or it is not the caller's.",
    409: "The key was used for other content, or the state does not allow it.",
    413: "The body is larger than `[http] max_body`.",
    415: "The body is not JSON (for a batch: NDJSON or JSON), or does not say so.",
    422: "A field or parameter is unknown, missing or wrong; all of them are named.",
    429: "A limit is reached.",
    431: "The head of the request is too large.",
    500: "A fault of smsd; its story is in the log.",
    502: "The message was tried again and failed.",
    503: "Not now: the backlog is full, smsd is shutting down, or the outcome of a commit is not known.",
    507: "The disk is full.",
}
