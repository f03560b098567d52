"""Is this provider fit to be called, and who said otherwise?

A sick provider is one fact, stored once: a cooldown (the provider says "too fast"), a halt (it refuses us) or a pause
(an operator's word) rests all its messages in place and costs them no attempt. The three are independent; of those in
force the gravest is shown. Values only: every change returns a new Health, and the shell makes it durable.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from smsd.core.message import Instant


class Standing(StrEnum):
    """The provider's state as every view shows it."""

    OPEN = "open"
    COOLING = "cooling"
    HALTED = "halted"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of one provider, and survives a restart."""

    name: str
    fingerprint: str = ""
    """Of the credentials and URL in force when it was last written (see providers.base.Provider.fingerprint)."""
    cooling_since: Instant | None = None
    cooling_until: Instant | None = None
    cooling_reason: str = ""
    halted: str | None = None
    """Why it is halted; None: it is not."""
    paused: str | None = None
    """Who paused it, or why; None: it is not."""

    def standing(self, now: Instant) -> Standing:
        """The gravest fact in force: a pause (it is meant), then a halt, then a cooldown."""
        if self.paused is not None:
            return Standing.PAUSED
        if self.halted is not None:
            return Standing.HALTED
        if self.cooling_until is not None and now < self.cooling_until:
            return Standing.COOLING
        return Standing.OPEN

    def until(self, now: Instant) -> Instant | None:
        """When the standing ends by itself; None: it is open, or nobody knows."""
        return self.cooling_until if self.standing(now) is Standing.COOLING else None

    def reason(self, now: Instant) -> str:
        """One sentence on the standing; empty when open."""
        match self.standing(now):
            case Standing.PAUSED:
                return self.paused or ""
            case Standing.HALTED:
                return self.halted or ""
            case Standing.COOLING:
                return self.cooling_reason
            case Standing.OPEN:
                return ""

    def cool(self, now: Instant, until: Instant, reason: str, started_at: Instant) -> Health:
        """A throttle arrived for a call begun at `started_at`.

        One begun before the cooldown in force changes nothing; a later one may lengthen it, never shorten it. Both also
        hold behind a halt or a pause.
        """
        cooling_until = self.cooling_until
        if cooling_until is not None and now < cooling_until:
            if started_at <= (self.cooling_since or now):
                return self
            until = max(until, cooling_until)
        return replace(self, cooling_since=now, cooling_until=until, cooling_reason=reason)

    def warm(self) -> Health:
        """The cooldown is over."""
        return replace(self, cooling_since=None, cooling_until=None, cooling_reason="")

    def halt(self, reason: str) -> Health:
        """The provider refuses us."""
        return replace(self, halted=reason)

    def pause(self, reason: str) -> Health:
        """An operator wants no calls."""
        return replace(self, paused=reason)

    def resume(self) -> Health:
        """An operator wants calls again: whatever stood in the way is lifted."""
        return Health(self.name, self.fingerprint)

    def with_credentials(self, fingerprint: str) -> Health:
        """The credentials that are configured now; a halt ends when they changed."""
        if fingerprint == self.fingerprint:
            return self
        return replace(self, fingerprint=fingerprint, halted=None)
