"""How do callbacks, and the places where providers call back, look to a caller?

The answers about what applications are told and what tells us. A callback's payload is not shown, and of its URL
everything but the query, for secrets travel there.
"""

from __future__ import annotations

import msgspec

from smsd.core.callback import Callback
from smsd.core.units import rfc3339
from smsd.wire.views import time_text


class CallbackView(msgspec.Struct):
    """Something an application was not told yet. `id`: the event's, as the receiver sees it; `subject`: the id of the
    message, or of the text received; `url`: without its query; a null `next_try_at`: it was given up."""

    id: str
    event: str
    subject: str
    tenant: str
    url: str
    created_at: str
    next_try_at: str | None
    tries: int
    error: str | None
    http_status: int | None
    tried_at: str | None


class CallbackList(msgspec.Struct):
    """A page of them, in order of their ids; the end is a null cursor."""

    items: list[CallbackView]
    next_cursor: str | None


class ReplayView(msgspec.Struct):
    """`replayed`: callbacks that are due anew, those that were due already not counted unless they were named; `left`:
    those still given up, of which for one tenant at most 1,000 are counted."""

    replayed: int
    left: int


class HookCallsView(msgspec.Struct):
    """Requests to a provider's webhooks since the daemon's start: those `taken`, those `refused` because they did not
    prove where they come from, those `unreadable` though they did. `wrong`: what was wrong with the last of these."""

    taken: int
    refused: int
    unreadable: int
    taken_at: str | None
    wrong_at: str | None
    wrong: str | None


class RegisterView(msgspec.Struct):
    """Where a provider calls back: `webhooks` by kind (`<webhook_secret>` stands for the secret); `needs`: keys of the
    configuration to be set first. `done`: it was told by its API; `text`: how that ended, or what is left to do.
    `calls`: what came by them."""

    provider: str
    webhooks: dict[str, str]
    needs: list[str]
    done: bool
    text: str
    calls: HookCallsView


def callback_view(callback: Callback) -> CallbackView:
    """The view of a callback. The query of its URL is left out, for secrets travel there."""
    place, query, _ = callback.url.partition("?")
    return CallbackView(
        id=callback.id,
        event=callback.event.value,
        subject=callback.subject,
        tenant=callback.tenant,
        url=f"{place}?..." if query else place,
        created_at=rfc3339(callback.created_at),
        next_try_at=time_text(callback.due),
        tries=callback.tries,
        error=callback.error,
        http_status=callback.http_status,
        tried_at=time_text(callback.tried_at),
    )
