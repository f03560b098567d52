"""Is this provider fit to be called, and who said otherwise?

A sick provider is one fact, stored once: a cooldown (the provider says "too fast"), a halt (it refuses us), an open
breaker (it does not answer) or a pause (an operator's word) rests all its messages in place and costs them no attempt.
Of those in force the gravest is shown. A broken provider is half open when its next probe is due: one call may try it.
Beside that stands what was learnt of it and must outlive a restart: the rate that it really takes, and how often in a
row it refused without a reason. Values only: every change returns a new Health, and the shell makes it durable.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from smsd.core.message import Instant


class Standing(StrEnum):
    """The provider's state as every view shows it."""

    OPEN = "open"
    HALF_OPEN = "half_open"
    """Broken, or halted with `halt_probe`, and due to be tried by one call."""
    BROKEN = "broken"
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
    broken_since: Instant | None = None
    """Since when its breaker is open; None: it is closed."""
    broken_reason: str = ""
    probe_at: Instant | None = None
    """When it is next tried by one call, while it is broken (or halted with `halt_probe`)."""
    strikes: int = 0
    """Suspect refusals in a row, each after the rest that the one before had brought (see core.suspicion)."""
    rate: float | None = None
    """Units a minute at which it is called now; None: as configured (see core.adaptive)."""
    learnt: float | None = None
    """Units a minute that it was found to take; None: nothing was learnt."""
    learnt_at: Instant | None = None
    """When that was last learnt or put to the test."""
    halted_since: Instant | None = None
    paused_since: Instant | None = None
    trusted_since: Instant | None = None
    """When an operator last resumed it, or its credentials were last changed: what was called before says nothing of
    how it is since. None: neither has happened."""

    def standing(self, now: Instant, probe_due: bool | None = None) -> Standing:
        """The gravest fact in force: a pause (it is meant), a halt, a cooldown, an open breaker.

        `probe_due`: whether the time of the next probe has come; None: by `now`.
        """
        if self.paused is not None:
            return Standing.PAUSED
        if probe_due is None:
            probe_due = self.probe_at is not None and now >= self.probe_at
        cooling = self.cooling_until is not None and now < self.cooling_until
        if self.halted is not None:
            tried = probe_due and self.probe_at is not None and not cooling
            return Standing.HALF_OPEN if tried else Standing.HALTED
        if cooling:
            return Standing.COOLING
        if self.broken_since is not None:
            return Standing.HALF_OPEN if probe_due else Standing.BROKEN
        return Standing.OPEN

    def until(self, now: Instant) -> Instant | None:
        """When the standing ends by itself, as far as anybody knows: a cooldown's end, a broken one's next probe.
        None: it is open, or nobody knows."""
        match self.standing(now):
            case Standing.COOLING:
                return self.cooling_until
            case Standing.BROKEN:
                return self.probe_at
            case _:
                return None

    def reason(self, now: Instant) -> str:
        """One sentence on the standing; empty when open."""
        match self.standing(now):
            case Standing.PAUSED:
                return self.paused or ""
            case Standing.HALTED:
                return self.halted or ""
            case Standing.COOLING:
                return self.cooling_reason
            case Standing.BROKEN | Standing.HALF_OPEN:
                return self.halted or self.broken_reason
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

    def halt(self, reason: str, probe_at: Instant | None = None, since: Instant | None = None) -> Health:
        """The provider refuses us. `probe_at`: when it is tried again by itself; None: never."""
        halted = replace(self, halted=reason, halted_since=since, probe_at=probe_at)
        return replace(halted, broken_since=None, broken_reason="")

    def pause(self, reason: str, since: Instant | None = None) -> Health:
        """An operator wants no calls."""
        return replace(self, paused=reason, paused_since=since)

    def since(self, now: Instant) -> Instant | None:
        """When the standing began; None: it is open, or nobody knows."""
        match self.standing(now):
            case Standing.PAUSED:
                return self.paused_since
            case Standing.COOLING:
                return self.cooling_since
            case Standing.HALTED | Standing.BROKEN | Standing.HALF_OPEN:
                return self.broken_since if self.halted is None else self.halted_since
            case Standing.OPEN:
                return None

    def broken(self, now: Instant, probe_at: Instant, reason: str) -> Health:
        """Its breaker opens."""
        return replace(self, broken_since=now, probe_at=probe_at, broken_reason=reason)

    def probed(self, probe_at: Instant) -> Health:
        """A probe failed; the next one is due then."""
        return replace(self, probe_at=probe_at)

    def mended(self) -> Health:
        """A probe succeeded: breaker and halt end."""
        return replace(
            self, halted=None, halted_since=None, broken_since=None, broken_reason="", probe_at=None, strikes=0
        )

    def resume(self, now: Instant) -> Health:
        """An operator wants calls again, as configured: whatever stood in the way is lifted, the learnt rate too."""
        return Health(self.name, self.fingerprint, trusted_since=now)

    def unlearnt(self) -> Health:
        """It is called at the configured rate again."""
        return replace(self, rate=None, learnt=None, learnt_at=None)

    def with_credentials(self, fingerprint: str, now: Instant) -> Health:
        """The credentials that are configured now; a halt ends when they changed."""
        if fingerprint == self.fingerprint:
            return self
        return replace(self, fingerprint=fingerprint, trusted_since=now).unhalted()

    def is_told_by(self, called_at: Instant) -> bool:
        """Whether the end of a call that was claimed then says how it is now."""
        return self.trusted_since is None or called_at >= self.trusted_since

    def trusted_by(self, now: Instant) -> Health:
        """Trusted since no later than now. A wall clock that was ahead set a time that has yet to come, and until then
        no call would tell anything."""
        if self.trusted_since is None or self.trusted_since <= now:
            return self
        return replace(self, trusted_since=now)

    def unhalted(self) -> Health:
        """The cause of a halt is mended; everything else stays."""
        if self.halted is None:
            return self
        return replace(self, halted=None, halted_since=None, probe_at=None, strikes=0)
