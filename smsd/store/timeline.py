"""When was something charged, on a line of time that no step of the wall clock bends?

Within one boot the boot clock decides, whatever becomes of the wall clock. What was charged in another boot is put on
the line by its wall time, and where the two clocks stood when the outbox was first opened in this boot; so a later step
moves nothing. From the future of that moment, it counts as made then.

Its wall time is told in two ways: as the clock showed it then, and by its boot time and where the two clocks stood when
they were last seen in that boot. They differ when the clock was stepped in between, and which of them is right cannot
be known: a clock is set right, or wrong. The later one counts, for it leaves the window fuller: a text too late is less
harm than one too many. The clocks are seen at each start, each beat and each step that due times followed. Nothing is
known of a step shortly before the machine went down, nor of boots before the last BOOTS_KEPT: there the wall time alone
counts.

What is charged, and under what, is not known here (`charges`), nor what due times do when the clock is stepped
(`steps`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from smsd.core.admission import At
from smsd.core.message import Instant
from smsd.core.windows import Moment
from smsd.store import steps
from smsd.store.connection import Handle
from smsd.store.statements.meta import GET_META, SET_META

ANCHOR = "boot_anchor"
"""The name in `meta` of "BOOT WALL US": the two clocks when the outbox was first opened in this boot."""

CLOCKS = "boot_clocks"
"""The name in `meta` of {BOOT: MS}: by how much the wall clock was ahead of boot time when both were last seen in that
boot."""

BOOTS_KEPT = 32
"""Boots in CLOCKS: a machine that starts over and over must not forget the boot in which it sent."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """How times of charges become moments: of this boot its boot time, of others by the anchor."""

    boot: int
    """The number of this boot."""
    wall: Instant
    us: Moment | None
    """Boot time at `wall`. None: there is no boot clock, and moments are the wall clock's."""
    clocks: Mapping[int, int] = field(default_factory=dict)
    """By number of an earlier boot: by how much (ms) the wall clock was ahead of boot time, as last seen in it."""

    def at(self, wall: Instant, boot_us: int | None) -> At:
        """This instant."""
        return At(wall, wall * 1_000 if boot_us is None or self.us is None else boot_us)

    def moment(self, at: Instant, boot: int, boot_us: int | None, now: Moment) -> Moment:
        """Of a charge; never later than `now`."""
        if self.us is None:
            return min(at * 1_000, now)
        if boot_us is not None:
            if boot == self.boot:
                return min(boot_us, now)
            ahead = self.clocks.get(boot)
            if ahead is not None:
                at = max(at, ahead - -boot_us // 1_000)
        return min(self.us - max(0, self.wall - at) * 1_000, now)


def timeline(db: Handle, boot: int, now: Instant, boot_us: int | None) -> Timeline:
    """The line of time of boot number `boot`. The first call in a boot writes its anchor down."""
    if boot_us is None:
        return Timeline(boot, now, None)
    earlier = {of: ahead for of, ahead in clocks(db).items() if of != boot}
    see_clocks(db, boot, now, boot_us)
    row = db.execute(GET_META, (ANCHOR,)).fetchone()
    if row is not None:
        of, wall, us = (int(each) for each in row[0].split())
        if of == boot:
            return Timeline(boot, wall, us, earlier)
    db.execute(SET_META, (ANCHOR, f"{boot} {now} {boot_us}"))
    return Timeline(boot, now, boot_us, earlier)


def see_clocks(db: Handle, boot: int, now: Instant, boot_us: int | None) -> None:
    """Write down where the two clocks stand. They must be read at the same instant, or boot time first: a window would
    be emptier by what lies between."""
    if boot_us is not None:
        keep_clocks(db, clocks(db) | {boot: now - boot_us // 1_000})


def clocks(db: Handle) -> dict[int, int]:
    """See CLOCKS. What due times have followed was seen too; of both the greater, it leaves windows fuller."""
    row = db.execute(GET_META, (CLOCKS,)).fetchone()
    known = {} if row is None else {int(boot): ahead for boot, ahead in json.loads(row[0]).items()}
    followed = steps.offset(db)
    if followed is not None:
        boot, ahead = followed
        known[boot] = max(ahead, known.get(boot, ahead))
    return known


def keep_clocks(db: Handle, known: Mapping[int, int]) -> None:
    """See CLOCKS. Only those of the newest boots are kept."""
    kept = sorted(known.items())[-BOOTS_KEPT:]
    db.execute(SET_META, (CLOCKS, json.dumps({str(boot): ahead for boot, ahead in kept})))
