"""Does the campaign of an import stay, also if none of its rows is taken?

A new one does not: nobody would ever end it, and its rate and hours would bind the next run. It is on trial (see `smsd
help campaigns`): a run says a word of its own when it asks for the campaign and when it leaves without a message, and
the daemon takes the campaign away when the last of such runs leaves. It keeps one that has a message all the same. The
daemon takes a run for gone that says nothing for long, because it may have been killed, and forgets all of them when it
is restarted; so a run says its word again, before it hands rows over, as long as none of them is taken. A campaign
stays, which is told, while a run that was killed is taken for one that goes on; and it stays when that was the last, or
when rows may still come. How rows are handed over is not known here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from smsd.cli.frame import complain, printable
from smsd.cli.terms import AS_IT_STANDS, named, terms_of
from smsd.client import Client, Document, SmsdError

RENEW_S: Final = 60.0
"""Between two times that a word is said: a fifth of what the daemon lets it last."""

UNWANTED: Final = AS_IT_STANDS + ". If it has no message and nobody wants it: smsd campaign delete {id}"
MAYBE: Final = frozenset({"outcome_unknown", "unreachable"})
"""Nobody knows whether it was done, perhaps by an earlier try of the same."""
OTHER_TERMS: Final = (
    "Give --rate, --between and --name as they were the first time, or make another: --campaign NEW. "
    "If it has no message: smsd campaign delete {id}"
)


class Trying:
    """One run's part in its campaign."""

    def __init__(self, client: Client, campaign: str, options: Mapping[str, Any]) -> None:
        self._client = client
        self._campaign = campaign
        self._options = options
        self._tenant = options["tenant"]
        """Whose it is."""
        self._is_on = False
        self._is_asked = False
        """Whether it was asked for, and no answer came yet."""
        self._word = os.urandom(8).hex()
        self._said_s = 0.0
        """When the word was said, in seconds since the machine started."""
        self._absences = 0

    def begin(self, ask: Callable[..., Document]) -> None:
        """Have the campaign made if it is not there. `ask`: as Client.call. Raises SmsdError, click.UsageError."""
        self._said_s = _now_s()
        fields = terms_of(self._options)
        self._is_asked = True
        try:
            made = ask("campaign_create", id=self._campaign, trial=self._word, **fields)
        except SmsdError as error:
            self._is_asked = error.code in MAYBE
            raise self.with_remedy(error) from None
        self._is_asked = False
        self._tenant = made["tenant"]
        self._is_on = self._is_on or bool(made.get("on_trial"))

    def renew(self, absences: int) -> None:
        """Rows are about to be handed over, and none was taken yet. A campaign that was taken away meanwhile is made
        again. `absences`: how often the daemon was away until now. Raises SmsdError."""
        if self._is_on and (absences != self._absences or _now_s() - self._said_s > RENEW_S):
            self.begin(self._client.call)
            self._absences = absences

    def leave(self) -> None:
        """No row was taken, and none of them comes later."""
        if not (self._is_on or self._is_asked):
            return
        try:
            self._client.campaign_delete(self._campaign, tenant=self._tenant, trial=self._word)
        except SmsdError as error:
            if error.code == "not_found" or (error.code == "wrong_state" and not self._is_on):
                return
            stays = "may be there still" if error.code in MAYBE else "stays"
            stands = UNWANTED.format(id=named(self._campaign, self._tenant))
            remedy = stands if error.code in {"wrong_state", *MAYBE} else ""
            complain([f"campaign {printable(self._campaign)} {stays}: {error.message}"], remedy)

    def with_remedy(self, error: SmsdError) -> SmsdError:
        """What is wrong with the campaign is mended otherwise than what is wrong with a message."""
        remedies = {"wrong_state": AS_IT_STANDS, "key_conflict": OTHER_TERMS}
        if error.code in remedies:
            error.remedy = remedies[error.code].format(id=named(self._campaign, self._tenant))
        return error


def _now_s() -> float:
    """Since the machine started, the time it was suspended included where the system (Linux) can tell."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
