"""What does a run of smsd learn of the runs before it?

What the outbox found when it was opened (Recovery), the calls that count in the pacing windows (Start), and the step of
the wall clock that due times have not followed yet (Step). How it is found is known in `recovery`, `reading`, `steps`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from smsd.core.health import Health
from smsd.core.message import Instant, Message, Priority, State
from smsd.store.pending import FlowRow


@dataclass(frozen=True, slots=True)
class Start:
    """A call that was started, for the pacing windows. `boot`: CLOCK_BOOTTIME microseconds; None when it was made in
    another boot."""

    wall: Instant
    boot: int | None
    cost: int
    """What it took out of the rate, in the unit of that time."""
    segments: int
    """Of its message: what it would have taken had the rate counted segments."""


@dataclass(frozen=True, slots=True)
class Step:
    """The wall clock was stepped, and what is due is to follow it."""

    by_ms: int
    """So far it was set back; less than 0: so far ahead."""
    now: Instant
    """What it showed when that was noticed."""
    after: tuple[int, int, int, int] | None = None
    """Where following it goes on; None: at the beginning. The outbox's own."""

    @property
    def before(self) -> Instant:
        """What it would have shown then without the step."""
        return self.now + self.by_ms


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was found at opening."""

    flows: tuple[FlowRow, ...]
    """Those with pending messages."""
    providers: tuple[Health, ...]
    reopened: int
    """Open attempts found and marked uncertain (without the parked ones)."""
    next_uncertain: Instant | None
    next_expiry: Instant | None
    latest: Instant | None
    """The latest wall time found written down; a clock that is behind it has been stepped back."""
    counts: dict[tuple[State, Priority], int]
    unknown_before: Instant | None = None
    """Not all calls before this wall time are known (a backup was restored then, and what was called since it was made
    is lost): a window that reaches back beyond it is full."""
    cursor_key: bytes = field(default=b"", compare=False, repr=False)
    """16 bytes drawn by lot when the outbox was made: cursors of listings are hidden by it."""
    steps: tuple[Step, ...] = ()
    """Steps of the wall clock that the due times have not followed yet, in order."""
    parked: tuple[Message, ...] = ()
    """Messages found in a call for the third time (`core.crashes`), as they are now: failed, UNCERTAIN."""
