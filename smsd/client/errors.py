"""Which exceptions does a caller meet, and which of the daemon's error codes becomes which?

Every exception is an SmsdError; its kinds are what a program does about it: mend the request, come again later, ask
somebody. A code the daemon may learn tomorrow raises SmsdError itself. How a request got lost on its way is not known
here: see loss.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

_REMEDIES: Final[Mapping[str, str]] = {
    "backlog_full": "Try again later, with the same idempotency key; `smsd queue` shows what waits and why.",
    "disk_full": "Free space where the outbox lies, then try again.",
    "shutting_down": "Try again in a moment; the daemon is being stopped or restarted.",
    "outcome_unknown": "Repeat it with the same idempotency key; without one look first: smsd list --to NUMBER.",
    "recipient_suppressed": "Send it no more; where and since when it opted out: smsd recipient NUMBER.",
    "limit_exceeded": "Try again when the limit's window has passed.",
    "unauthenticated": "Give the token of [[http.tokens]]: SMSD_TOKEN, or `token` in a program.",
    "not_allowed": "Ask as root, as the daemon's user, or as a member of its admin group.",
    "not_found": "Check the id or the name; you see only what is yours.",
    "key_conflict": "Use a key of its own for each message.",
    "wrong_state": "Its state says what can still be done: smsd show ID.",
    "no_route": "See `smsd providers`; leave out the sender or provider asked for, or configure one that carries it.",
    "not_available": "Leave it out; this daemon, as it is set up, cannot do it.",
    "unknown_op": "Daemon and client differ in version: restart the daemon after an upgrade.",
    "internal": "The daemon's log says what happened.",
}

_REMEDIES_OF_PROVIDER: Final[Mapping[str, str]] = {
    "outcome_unknown": "Repeat it: what is done already stays. Whether the provider can be reached: smsd providers",
    "not_available": "Mend what it says in [providers.NAME] or at the provider, `smsd reload`, then repeat it.",
}
"""With the field `provider`: one that would not let itself be told where to call back."""

_REMEDIES_OF_CAMPAIGN: Final[Mapping[str, str]] = {
    "backlog_full": "Try again later, with the same `id`; `smsd queue` shows what waits and why.",
    "outcome_unknown": "Repeat it with the same `id`, which doubles nothing; without one look first: smsd campaign.",
    "key_conflict": "Its name, rate and hours: smsd campaign show ID.",
    "wrong_state": "Its state says what can still be done: smsd campaign show ID.",
}
"""Of operations on a campaign, and of a message that names one (its field `campaign`)."""

CAMPAIGN: Final = "campaign"
"""How the operations on campaigns begin, and the field of a message that names one."""

_REMEDIES_OVER_HTTP: Final[Mapping[str, str]] = {
    "not_allowed": "Use a token with the scope it needs, or one without a tenant.",
}
"""There nobody asks as a user of the machine."""


class SmsdError(Exception):
    """The daemon refused a request, or could not be asked.

    `code` is one of the daemon's error codes, or `unreachable`. `errors` lists every fault as `{field, code, message}`.
    `remedy` says what to do, and may be empty when the message does. `retry_after`: seconds after which it is worth
    trying again (LimitExceeded where the daemon knows it, QueueUnavailable over HTTP), else None.
    """

    def __init__(
        self,
        code: str,
        message: str,
        field: str | None = None,
        errors: Iterable[dict[str, Any]] = (),
        remedy: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.code = code
        self.message = message
        self.field = field
        self.errors = [*errors]
        self.remedy = _REMEDIES.get(code, "") if remedy is None else remedy
        self.retry_after = retry_after
        super().__init__(code, message, field, self.errors, self.remedy, retry_after)

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip() if self.remedy else self.message

    def document(self) -> dict[str, Any]:
        """As the daemon writes an error: `{code, message, field, errors}`, and `retry_after_s` where it is known."""
        known = {} if self.retry_after is None else {"retry_after_s": self.retry_after}
        return {"code": self.code, "message": self.message, "field": self.field, **known, "errors": self.errors}


class SubmissionInvalid(SmsdError):  # noqa: N818 - the name is part of the contract
    """The request is wrong, or this daemon as it is set up cannot do it; repeating it unchanged will not help."""


class QueueUnavailable(SmsdError):  # noqa: N818 - the name is part of the contract
    """The daemon cannot be reached or cannot take it now; later it may."""

    @property
    def maybe_taken(self) -> bool:
        """Whether the daemon may have taken the request all the same. Then repeat it only with the same key."""
        return self.code == "outcome_unknown"


class LimitExceeded(SmsdError):  # noqa: N818 - the name is part of the contract
    """A limit of smsd's own refuses this message now. `retry_after`: seconds until it has room again."""


class NotAllowed(SmsdError):  # noqa: N818 - the name is part of the contract
    """The caller may not do this."""


class NotFound(SmsdError):  # noqa: N818 - named like its neighbours
    """No such message or provider, or not the caller's."""


class WrongState(SmsdError):  # noqa: N818 - named like its neighbours
    """The message's state does not allow it."""


class KeyConflict(SmsdError):  # noqa: N818 - named like its neighbours
    """The idempotency key was used for another content."""


KINDS: Final[Mapping[str, type[SmsdError]]] = {
    **dict.fromkeys(
        (
            *("malformed", "too_long", "unknown_field", "missing_field", "invalid_value", "invalid_recipient"),
            *("invalid_sender", "text_too_long", "recipient_suppressed", "unsupported_media_type", "no_route"),
            "not_available",
        ),
        SubmissionInvalid,
    ),
    **dict.fromkeys(("unreachable", "outcome_unknown", "backlog_full", "disk_full", "shutting_down"), QueueUnavailable),
    "limit_exceeded": LimitExceeded,
    "not_allowed": NotAllowed,
    "unauthenticated": NotAllowed,
    "not_found": NotFound,
    "wrong_state": WrongState,
    "key_conflict": KeyConflict,
}
"""Codes that are not here (`internal`, `unknown_op`, those of a later daemon) raise SmsdError itself: there is nothing
that a program could do about them."""


def remedy_of(code: str, op: str) -> str | None:
    """What to do about `code` where the operation `op` has a remedy of its own for it."""
    return _REMEDIES_OF_CAMPAIGN.get(code) if op.startswith(CAMPAIGN) else None


def refusal(error: Mapping[str, Any], op: str = "") -> SmsdError:
    """What to raise for `error`, the object of that name in the daemon's answer to the operation `op`.

    One that came over HTTP has `retry_after` beside (answers.py), if only as None; on the socket, and in a batch, it is
    `retry_after_s`.
    """
    code = str(error.get("code", "internal"))
    message = str(error.get("message") or "The daemon gave no reason.")
    kind, retry_after = KINDS.get(code, SmsdError), error.get("retry_after", error.get("retry_after_s"))
    remedy = _REMEDIES_OVER_HTTP.get(code) if "retry_after" in error else None
    remedy = remedy_of(code, CAMPAIGN if error.get("field") == CAMPAIGN else op) or remedy
    if error.get("field") == "provider":
        remedy = _REMEDIES_OF_PROVIDER.get(code, remedy)
    return kind(code, message, error.get("field"), error.get("errors") or (), remedy, retry_after)


def misuse(field: str, message: str) -> SubmissionInvalid:
    """What to raise for an argument of the client itself."""
    return SubmissionInvalid("invalid_value", message, field, remedy="")
