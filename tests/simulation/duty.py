"""What must the engine know about a provider?

Worked out here a second time, from the answers and by true time, so that an engine that forgets is found out: pauses,
halts, cooldowns, open breakers and when one that is out of order may be tried. Two things are the engine's to judge and
are believed: when so many failures open the breaker, and what a refusal without a reason means.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from smsd.core.account import ProviderRules
from smsd.core.health import Health
from smsd.core.policy import MAX_WAIT_MS, MIN_WAIT_MS
from smsd.core.verdict import Category, Fate, Verdict

if TYPE_CHECKING:
    from tests.simulation.history import Call

HOUR_MS = 3_600_000

HALT_PROBE_MS = 600_000
"""Between two calls that try a halted provider."""

FAILURES = frozenset({Category.NETWORK, Category.PROVIDER_ERROR, Category.TIMEOUT})
"""What says that a provider does not work."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is written down of a provider's standing; times by the wall clock."""

    paused: bool = False
    halted: bool = False
    cooling: tuple[int, int] | None = None
    """(since, until)"""
    broken: bool = False
    probe_at: int | None = None
    """When one that is broken, or halted, is next tried."""


class Duty:
    """What the engine must know of one provider. `kept`: what survives a crash."""

    def __init__(self, rules: ProviderRules) -> None:
        self.rules = rules
        self.paces = [(-1, rules.pace)]
        """The ceilings in force, each with the true time from which on (us)."""
        self.mended_at = 0
        """How many calls there had been when an operator last resumed it, or a reload brought other credentials. Not
        when that was: a call may begin in the same instant, before it or after."""
        self.disabled = False
        """A reload has taken it out of service."""
        self.paused = False
        self.halted = False
        self.cooling: tuple[int, int] | None = None
        """(since, until) by the wall clock, as it is written down."""
        self.cool_until_us = 0
        """The cooldown's end by true time: within one life nobody's steps of the wall clock change it."""
        self.broken = False
        self.out_us = -1
        """Since when it is broken or halted, by true time."""
        self.probe_from_us: int | None = None
        """When it may next be tried, while it is broken, or halted with `halt_probe`."""
        self.trying: set[int] = set()
        """Calls under way that try it."""
        self.kept = Kept()
        self.unsure = False
        """The database failed when the daemon told of a change: what is kept is what the file says."""
        self._learnt_us = -1
        """True time of the last answer that taught something: at that very instant the engine may not know yet."""

    def forbids(self, now_us: int) -> str:
        """Why no call may begin now; empty: it may."""
        if now_us == self._learnt_us:
            return ""
        if self.disabled:
            return "disabled"
        if self.paused:
            return "paused"
        if self.halted and not self.is_due(now_us):
            return "halted"
        if not self.halted and self.is_cooling(now_us):
            return "cooling"
        if self.broken and not self.is_due(now_us):
            return "broken"
        return "being tried" if (self.halted or self.broken) and self.trying else ""

    def is_due(self, now_us: int) -> bool:
        """Whether one that is out of order may be tried by a call."""
        return self.probe_from_us is not None and now_us >= self.probe_from_us - 1_000

    def is_cooling(self, now_us: int) -> bool:
        """Whether it rests; its end is a whole millisecond of either clock."""
        return self.cooling is not None and now_us < self.cool_until_us - 1_000

    def began(self, call: Call) -> None:
        """A call begins."""
        call.forbidden = self.forbids(call.start_us)
        if self.halted or self.broken:
            call.probe = True
            self.trying.add(call.n)

    def throttled(self, began: int, now: int, now_us: int, wait: int) -> None:
        """A throttle of the whole provider was answered at `now` to a call begun at `began` (wall clock)."""
        self._learnt_us = now_us
        until, until_us = now + wait, now_us + wait * 1_000
        if self.cooling is not None and now_us < self.cool_until_us:
            if began <= self.cooling[0]:
                return
            until, until_us = max(until, self.cooling[1]), max(until_us, self.cool_until_us)
        self.cooling, self.cool_until_us = (now, until), until_us

    def rest_ms(self, asked_ms: int | None) -> int:
        """How long it rests after a throttle that asks for so long."""
        rules = self.rules
        if asked_ms is None or rules.retry_after == "ignore":
            return rules.cooldown_ms
        believed = min(max(asked_ms, MIN_WAIT_MS), MAX_WAIT_MS)
        return believed if rules.retry_after == "honour" else max(believed, rules.cooldown_ms)

    def is_told_by(self, call: Call) -> bool:
        """Whether a refusal of the call says how it is now."""
        return call.n >= self.mended_at

    def refused(self, call: Call, now_us: int, *, halt: bool) -> None:
        """Credentials or set-up were refused to the call. `halt`: whatever `on_auth_failure` says."""
        self._learnt_us = now_us
        if (self.rules.on_auth_failure == "halt" or halt) and self.is_told_by(call) and not self.halted:
            self._halt(now_us)

    def reported(self, now_us: int) -> None:
        """A receipt said that every message would end so."""
        self._learnt_us = now_us
        if not self.halted:
            self._halt(now_us)

    def _halt(self, now_us: int) -> None:
        self.halted, self.broken, self.out_us = True, False, now_us
        self.probe_from_us = now_us + HALT_PROBE_MS * 1_000 if self.rules.halt_probe else None

    def answered(self, call: Call, verdict: Verdict, now_us: int) -> None:
        """A call ended: if it tried the provider, what does that say?"""
        self.trying.discard(call.n)
        if self.probe_from_us is None or call.start_us <= self.out_us:
            return
        self._learnt_us = now_us
        refused = self.halted and verdict.fate is not Fate.ACCEPTED
        if refused or verdict.category in FAILURES:
            breaker = self.rules.breaker
            pause_ms = HALT_PROBE_MS if refused or breaker is None else breaker.probe_every_ms
            self.probe_from_us = now_us + pause_ms * 1_000
            return
        self.halted, self.broken, self.probe_from_us = False, False, None

    def believe(self, health: Health, now: int, now_us: int, *, suspect: bool) -> None:
        """What the engine made of an answer just now, where that is its to judge: whether so many failures open the
        breaker, and whether a refusal without a reason (`suspect`) is a throttle or about us."""
        if health.broken_since is not None and not self.broken and self.rules.breaker is not None:
            self.broken, self.out_us, self._learnt_us = True, now_us, now_us
            self.probe_from_us = now_us + self.rules.breaker.probe_every_ms * 1_000
        if not suspect:
            return
        if health.halted is not None and not self.halted:
            self._halt(now_us)
        if health.cooling_until is not None and health.cooling_since == now:
            self.cooling = (now, health.cooling_until)
            self.cool_until_us = now_us + (health.cooling_until - now) * 1_000

    def resumed(self, calls: int) -> None:
        """An operator lifted everything, after so many calls of all providers."""
        self.mended_at = calls
        self.paused, self.halted, self.cooling, self.broken, self.probe_from_us = False, False, None, False, None
        self.kept = Kept()

    def mended(self, calls: int) -> None:
        """The credentials were changed, after so many calls of all providers: a halt ends."""
        self.mended_at = calls
        if self.halted:
            self.halted, self.probe_from_us = False, None
        if self.kept.halted:
            self.kept = replace(self.kept, halted=False, probe_at=None)

    def keep(self, what: str, now: int, now_us: int) -> None:
        """The daemon has written this down."""
        probe_at = None if self.probe_from_us is None else now + (self.probe_from_us - now_us) // 1_000
        match what:
            case "provider.paused":
                self.kept = replace(self.kept, paused=self.paused)
            case "provider.halted":
                self.kept = replace(self.kept, halted=self.halted, broken=False, probe_at=probe_at)
            case "provider.cooldown":
                self.kept = replace(self.kept, cooling=self.cooling)
            case "provider.recovered":
                self.kept = replace(self.kept, cooling=None)
                if not self.is_cooling(now_us):
                    self.cooling = None
            case "provider.breaker_opened":
                self.kept = replace(self.kept, broken=self.broken, probe_at=probe_at)
            case "provider.breaker_closed" | "provider.resumed":
                self.kept = replace(self.kept, halted=self.halted, broken=self.broken, probe_at=probe_at)
            case _:
                pass

    def take_stock(self, written: Kept) -> None:
        """A life ends, and this is what the file says. It alone knows when the next probe is due: probes that failed
        are not told."""
        if self.unsure:
            self.kept, self.unsure = written, False
        elif self.kept.broken or self.kept.halted:
            self.kept = replace(self.kept, probe_at=written.probe_at)

    def restarted(self, now: int, now_us: int) -> None:
        """A daemon starts and knows what was kept; what a wrong clock wrote is cut short."""
        self.trying.clear()
        self.paused, self.halted, self.cooling, self.broken = (
            self.kept.paused,
            self.kept.halted,
            self.kept.cooling,
            self.kept.broken,
        )
        furthest = now + max(HOUR_MS, self.rules.cooldown_ms)
        if self.cooling is not None:
            since, until = self.cooling
            if until > furthest:
                until = now + self.rules.cooldown_ms
            self.cooling, self.cool_until_us = (since, until), now_us + (until - now) * 1_000
        self.out_us, self.probe_from_us = now_us, None
        if self.broken or (self.halted and self.rules.halt_probe):
            probe_at = self.kept.probe_at
            if probe_at is None or probe_at > furthest:
                probe_at = now
            self.probe_from_us = now_us + (probe_at - now) * 1_000
        self.kept = replace(self.kept, cooling=self.cooling)
