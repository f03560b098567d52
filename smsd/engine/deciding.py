"""Which limit decides when a plan ends, and in which words is it told?

The same look ahead is taken with one thing left out at a time; what brings the end forward most decides. Without any
rate nearly everything would go at once, so a rate would hide what keeps the rows from going at all (hours, others'
messages, a later time): of these the one decides without which the plan would take less than 60 % of its time. Where
leaving out one thing alone brings nothing, because two are equally slow, each is looked at alone, and the slower
decides.

Where the end is not known the thing decides that never opens by itself. It refuses to know how a look is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from smsd.core.campaign import Hours
from smsd.core.health import Standing
from smsd.core.limits import Per, Rule
from smsd.core.message import Instant
from smsd.core.pacing import Window
from smsd.core.units import rate_text, rfc3339
from smsd.engine.foretelling import Foreseen, Foretelling
from smsd.engine.lane import Lane
from smsd.engine.terrain import NOWHERE, Surveyor

LEAST: Final = 0.01
"""Who brings the end forward by less than this part of the time does not decide."""

MOST: Final = 0.4
"""One of WAITS decides where the plan would take so much less without it."""

WAITS: Final = ("backlog", "send_between", "quiet_hours", "send_at", "provider_cooldown")
"""Times in which nothing of the plan goes, however fast it might."""

NAMES: Final[Mapping[Per, str]] = {
    Per.RECIPIENT: "recipient_limit",
    Per.USER: "user_limit",
    Per.SENDER: "sender_limit",
    Per.TEXT: "recipient_limit",
    Per.REPEAT: "recipient_limit",
    Per.TENANT: "tenant_limit",
    Per.CAMPAIGN: "campaign_limit",
}
"""What limits on single rows are called."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What decides, by a name of a closed list, and one sentence with its numbers."""

    limit: str
    words: str


class Deciding:
    """About one plan."""

    def __init__(
        self, telling: Foretelling, lanes: Mapping[str, Lane], surveyor: Surveyor, told_all: bool = True
    ) -> None:
        """`told_all`: whether it may be said how many messages of others wait."""
        self._told_all = told_all
        self._telling = telling
        self._lanes = lanes
        self._surveyor = surveyor
        self._names = {rule: NAMES[rule.per] for rule in telling.counted}

    async def look(self) -> Foreseen:
        """As things are."""
        return await self._telling.look()

    async def decide(self, seen: Foreseen) -> Decided | None:
        """What decides about what was seen; None: nothing holds any row up."""
        if seen.end is None:
            return self._never(seen)
        now = self._telling.terrain.now
        whole = seen.end - now
        if whole <= 0:
            return None
        gains: dict[str, int] = {}
        names = self._applicable()
        for name in names:
            found = await self._telling.look(frozenset({name}), self._names)
            gains[name] = 0 if found.end is None else seen.end - found.end
        best = max(gains, key=lambda name: gains[name], default="")
        waits = [name for name in WAITS if gains.get(name, 0) > MOST * whole]
        if waits:
            best = max(waits, key=lambda name: gains[name])
        if best and gains[best] >= LEAST * whole:
            return self._named(best, seen)
        alone = await self._alone(names)
        return self._named(alone, seen) if alone else None

    async def _alone(self, names: Sequence[str]) -> str:
        """What takes longest when all else is left out; empty: nothing takes any time."""
        longest, slowest = self._telling.terrain.now, ""
        for name in names:
            found = await self._telling.look(frozenset(names) - {name}, self._names)
            if found.end is not None and found.end > longest:
                longest, slowest = found.end, name
        return slowest

    # -- what could ---------------------------------------------------------------------------------------------------

    @property
    def _roads(self) -> list[str]:
        names = dict.fromkeys(name for line in self._telling.lines for name in line.route.split(","))
        return [name for name in names if name in self._telling.terrain.ways]

    def _applicable(self) -> list[str]:
        terrain = self._telling.terrain
        ways = [terrain.ways[name] for name in self._roads]
        groups = {group for line in self._telling.lines for group in line.groups}
        bound = {group.partition(":")[0] for group in groups if group in terrain.rules}
        found = {
            "provider_cooldown": any(each.standing is Standing.COOLING for each in ways),
            "send_at": any(line.dues[-1] > terrain.now for line in self._telling.lines),
            "send_between": bool(groups & terrain.hours.keys()),
            "quiet_hours": self._telling.keeps_quiet,
            "campaign_limit": "campaign" in bound,
            "tenant_limit": "tenant" in bound,
            **dict.fromkeys(self._names.values(), True),
            "account_rate": any(each.shared for each in ways),
            "provider_rate": any(pacer.rate_per_minute() is not None for each in ways for pacer in each.own),
            "latency": any(each.speed for each in ways),
            "backlog": bool(terrain.lines),
        }
        return [name for name, applies in found.items() if applies]

    def _never(self, seen: Foreseen) -> Decided:
        """Why nobody knows the end."""
        shut = self._telling.terrain.shut
        for line in seen.stuck:
            if line.route == NOWHERE and shut.intersection(line.groups):
                words = f"campaign {line.campaign} is paused (resume it) or cancelled (for good)"
                return Decided("campaign_paused", words)
        names = [name for line in seen.stuck for name in line.route.split(",") if name in self._lanes]
        for name in names:
            standing = self._lanes[name].standing()
            if standing in STOPPED:
                limit, words = STOPPED[standing]
                return Decided(limit, f"{name} {words}")
        for name in names:
            if self._surveyor.call_s(self._lanes[name]) is None:
                return Decided(
                    "latency", f"{name} has no rate and was not called yet: how long calls take is not known"
                )
        return Decided(
            "no_route" if not names else "backlog", "the end is not seen from here: too much waits before it"
        )

    # -- words --------------------------------------------------------------------------------------------------------

    def _named(self, limit: str, seen: Foreseen) -> Decided:
        return Decided(limit, self._words(limit, seen))

    def _words(self, limit: str, seen: Foreseen) -> str:
        words: dict[str, Callable[[], Iterable[str]]] = {
            "provider_rate": lambda: map(self._rate_of, self._roads),
            "account_rate": self._accounts,
            "latency": lambda: (self._speed_of(name) for name in self._roads),
            "provider_cooldown": self._resting,
            "backlog": self._backlog,
            "send_at": lambda: [f"the last rows are for {rfc3339(max(line.dues[-1] for line in self._telling.lines))}"],
            "send_between": lambda: (f"the campaign is sent {each.words}" for each in self._hours()),
            "quiet_hours": lambda: (f"quiet hours {each} of the recipients' day" for each in self._telling.quiet_words),
        }
        if limit in words:
            return "; ".join(words[limit]())
        bars = [rule.words for rule in self._bars(limit.removesuffix("_limit"))]
        if bars:
            return "; ".join(bars)
        rules = "; ".join(rule.words for rule, name in self._names.items() if name == limit)
        return f"{seen.waiting:,} rows wait for their turn by {rules}"

    def _accounts(self) -> Iterator[str]:
        shared = {name: way.shared[0] for name in self._roads if (way := self._telling.terrain.ways[name]).shared}
        for name, pacer in shared.items():
            yield f"{name} shares {_rates(pacer.pace.windows)} of its account"

    def _resting(self) -> Iterator[str]:
        for name in self._roads:
            way = self._telling.terrain.ways[name]
            if way.standing is Standing.COOLING:
                yield f"{name} rests until {_time(way.until)}"

    def _backlog(self) -> Iterator[str]:
        count = sum(line.pending for line in self._telling.terrain.lines)
        yield f"{count:,} messages wait already" if self._told_all else "messages wait already"

    def _hours(self) -> list[Hours]:
        groups = {group for line in self._telling.lines for group in line.groups}
        return [hours for group, hours in self._telling.terrain.hours.items() if group in groups]

    def _bars(self, per: str) -> list[Rule]:
        groups = {group for line in self._telling.lines for group in line.groups if group.startswith(f"{per}:")}
        found = [rule for group in groups for rule in self._telling.terrain.rules.get(group, ())]
        return [*dict.fromkeys(found)]

    def _rate_of(self, name: str) -> str:
        lane = self._lanes[name]
        now, configured = lane.experience.rate, lane.pacer.rate_per_minute()
        if now is not None and configured is not None and now < configured:
            return f"{name} is called at {now:g} a minute at most, as its throttles taught"
        pace = lane.rules.pace
        gap = f"one call every {pace.min_gap_us / 1e3:g} ms" if pace.min_gap_us else ""
        told = ", ".join(part for part in (_rates(pace.windows), gap) if part)
        unit = " segments" if pace.unit == "segments" else ""
        return f"{name} takes {told or 'any number of'}{unit}"

    def _speed_of(self, name: str) -> str:
        lane = self._lanes[name]
        took_s = self._surveyor.call_s(lane) or 0.0
        return f"a call to {name} takes {took_s * 1e3:.0f} ms, and {lane.rules.max_in_flight} run at once at most"


STOPPED: Final[Mapping[Standing, tuple[str, str]]] = {
    Standing.HALTED: ("provider_halted", "is halted: mend it, then resume it"),
    Standing.PAUSED: ("provider_paused", "is paused: resume it"),
    Standing.BROKEN: ("breaker_open", "fails too often: its circuit breaker is open until a call goes well"),
    Standing.HALF_OPEN: ("breaker_open", "failed too often: its circuit breaker is open until a call goes well"),
}
"""Standings that end by themselves at no known time."""


def _rates(windows: Sequence[Window]) -> str:
    return " and ".join(rate_text(window.limit, window.span_us // 1_000) for window in windows)


def _time(at: Instant | None) -> str:
    return "later" if at is None else rfc3339(at)
