"""Which limits, guards and quiet hours has the world of a seed, and what do they mean?

Drawn from dice of their own, so that a world without them is the same as ever. What quiet hours are is worked out here
a second time, as far as this world needs: all its numbers lie in one zone, and no run meets a change of its clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from random import Random

from smsd.core.limits import Action, Per, Rule
from smsd.core.quiet import QuietBook, QuietHours

MINUTE_MS = 60_000
DAY_MIN = 24 * 60
ZONE_MIN = -4 * 60
"""Where +1 202 555 01xx is: New York, in the summer time of 2026 (until November 1st)."""

TENANTS = ("shop", "bank")
CAMPAIGNS = ("spring", "autumn")
USERS = ("ann", "bob", "cid")

SPANS_MS = (5_000, 60_000, 600_000, 3_600_000)


@dataclass(frozen=True, slots=True)
class Governed:
    """All that holds messages back beside their providers."""

    limits: tuple[Rule, ...] = ()
    guards: tuple[Rule, ...] = ()
    quiet: QuietBook | None = None
    active: bool = False
    """Whether messages have users and campaigns, and are rescheduled, deleted, and the clock is stepped more often."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Limits and guards."""
        return (*self.limits, *self.guards)

    def quiet_at(self, tenant: str, wall: int) -> bool:
        """Whether the hours of this tenant are quiet where everybody lives."""
        if self.quiet is None:
            return False
        hours = self.quiet.tenants.get(tenant, self.quiet.usual)
        if hours is None:
            return False
        minute = (wall // MINUTE_MS + ZONE_MIN) % DAY_MIN
        length = (hours.end_min - hours.start_min) % DAY_MIN
        return (minute - hours.start_min) % DAY_MIN < length


UNGOVERNED = Governed()


def draw(random: Random) -> Governed:
    """In every other world there is something."""
    if random.random() < 0.5:
        return UNGOVERNED
    limits = tuple(_rule(random) for _ in range(random.choice([0, 1, 1, 2, 3])))
    guards = tuple(each for each in (_loop_guard(random), _duplicate_window(random)) if each is not None)
    return Governed(limits, guards, _quiet(random), active=True)


def _rule(random: Random) -> Rule:
    per = random.choice([Per.RECIPIENT, Per.RECIPIENT, Per.USER, Per.TENANT, Per.CAMPAIGN, Per.SENDER])
    actions = [Action.DEFER, Action.DEFER, Action.DEFER, Action.RETRY, Action.FAIL]
    action = random.choice(actions if per is Per.SENDER else [*actions, Action.REJECT])
    span_ms = random.choice(SPANS_MS)
    return Rule(
        per,
        random.choice([1, 2, 3, 5, 20]),
        span_ms,
        action,
        random.choice([None, None, span_ms // 2, 3 * span_ms]) if action is Action.DEFER else None,
        random.choice([None, None, *TENANTS]),
    )


def _loop_guard(random: Random) -> Rule | None:
    if random.random() < 0.7:
        return None
    action = random.choice([Action.REJECT, Action.DEFER])
    return Rule(Per.TEXT, random.choice([1, 3]), random.choice(SPANS_MS), action)


def _duplicate_window(random: Random) -> Rule | None:
    return None if random.random() < 0.7 else Rule(Per.REPEAT, 1, random.choice(SPANS_MS), Action.REPLAY)


def _quiet(random: Random) -> QuietBook | None:
    """The runs begin at 11:33 where everybody lives."""
    if random.random() < 0.6:
        return None
    begin = random.choice([600, 690, 700, 720])
    hours = QuietHours(begin, (begin + random.choice([60, 100, 600, 1_200])) % DAY_MIN)
    return QuietBook(hours, random.choice([{}, {}, {"bank": None}, {"bank": QuietHours(695, 705)}]), UTC)
