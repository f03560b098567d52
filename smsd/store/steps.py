"""What does a step of the wall clock do to the times that were counted by it?

Due times lie in the outbox as wall time. Those that a caller or quiet hours named stay: they mean what a clock on the
wall shows. Those that smsd counted itself (due at acceptance, after a retry, in a limit's turn, for the next look-up)
mean so much time from now; when the clock is set back by an hour they would come an hour late, and when it is set ahead
retries and look-ups would come at once. So they move with the clock. Ends of life stay by the wall clock, whichever way
they were asked for: a step makes a life shorter or longer by as much.

A million rows may have to move, so it is done in pieces, each a short transaction of its own that claims can come
between. How far it has come is written down with each piece: a process that dies half-way goes on where it stood. The
difference between wall and boot time is written down too, so a step made while smsd was down is found at its start; in
another boot there is only the latest time written down, which the clock may be behind.

Callbacks that wait move too, and with them the time from which their life is counted: an hour of trying is an hour.
They are walked by their numbers, up to the highest when the walk began: a life must not move twice, nor one that the
new clock began.

Back, messages are walked in rising order of their due times, ahead in falling order: a row that moved is never met
again. What is written by the new clock meanwhile moves back with the rest if it lies ahead of the walk: it comes early,
which harms nobody. Ahead, only rows move whose error or doubt shows that the old clock wrote them.
"""

from __future__ import annotations

import json
from typing import Any

from smsd.core.message import Instant
from smsd.core.waiting import Reason
from smsd.store.connection import Handle
from smsd.store.deltas import Deltas
from smsd.store.opening import Step
from smsd.store.places import keep_first_due
from smsd.store.statements import arrays, change, expect, grouped, listed
from smsd.store.statements.meta import DROP_META, GET_META, SET_META

PIECE = 2_000
"""Rows looked at in one transaction at most: some ten milliseconds."""

FLOWS_AT_ONCE = 500

CALLBACKS_AT_ONCE = 500
"""Of callbacks, which are moved row by row with all that they carry."""

JUST_NOW_MS = 10_000
"""A callback that seems to have been made so long after a step back was made between the step and the walk. If not, its
life is too long, by the step."""

CALLBACKS = 2
"""The part that is walked first. The others were there before it."""

NOTICED_MS = 500
"""Less than this is no step: two clocks are not read at the same instant."""

OFFSET = "clock_offset"
"""The name in `meta` of "BOOT MS": the number of a boot, and by how much the wall clock was ahead of boot time in it,
as far as the due times have followed."""

UNFINISHED = "clock_step"
"""The name in `meta` of the step that is being followed: [by_ms, now, part, flow, due, seq]."""

BEHIND = "clock_behind"
"""The name in `meta` of the latest time that a start in a new boot was behind."""

END = 2**62

Place = tuple[int, int, int, int]
"""Part (2: callbacks, then 0: uncertain, then 1: pending), flow, due, seq: everything before it in the walk is done. Of
callbacks: part, highest number, 0, number."""

UNCERTAIN_BACK = grouped(
    "seq, due, uncertain_since",
    "(SELECT seq, due, uncertain_since FROM messages WHERE state = 1 AND uncertain = 1 AND (due, seq) > (?, ?) "
    "ORDER BY due, seq LIMIT ?)",
)

UNCERTAIN_AHEAD = grouped(
    "seq, due, uncertain_since",
    "(SELECT seq, due, uncertain_since FROM messages WHERE state = 1 AND uncertain = 1 AND (due, seq) < (?, ?) "
    "ORDER BY due DESC, seq DESC LIMIT ?)",
)

PENDING_BACK = grouped(
    "seq, due, send_at, held, held_since, error_at",
    "(SELECT * FROM messages WHERE state = 0 AND flow = ? AND (due, seq) > (?, ?) ORDER BY due, seq LIMIT ?)",
)

PENDING_AHEAD = grouped(
    "seq, due, send_at, held, held_since, error_at",
    "(SELECT * FROM messages WHERE state = 0 AND flow = ? AND (due, seq) < (?, ?) AND due > ? "
    "ORDER BY due DESC, seq DESC LIMIT ?)",
)

HIGHEST_CALLBACK = "SELECT coalesce(max(nr), 0) FROM callbacks"

CALLBACKS_FROM = grouped(
    "nr, place, created_at, due, tried_at",
    "(SELECT nr, place, created_at, due, tried_at FROM callbacks WHERE nr > ? AND nr <= ? ORDER BY nr LIMIT ?)",
)

MOVE_CALLBACKS = (
    f"UPDATE callbacks SET created_at = v.created, due = v.due FROM {listed('nr, created, due')} "
    "WHERE callbacks.nr = v.nr AND +callbacks.due IS NOT NULL"
)

FLOWS_FROM = grouped("id", "(SELECT id FROM flows WHERE pending > 0 AND id >= ? ORDER BY id LIMIT ?)")

MOVE_UNCERTAIN = (
    f"UPDATE messages SET due = v.due, uncertain_since = v.since FROM {listed('seq, due, since')} "
    "WHERE messages.seq = v.seq AND +messages.state = 1"
)

MOVE_PENDING = (
    f"UPDATE messages SET due = v.due, held_since = v.since FROM {listed('seq, due, since')} "
    "WHERE messages.seq = v.seq AND +messages.state = 0"
)


def follow(db: Handle, deltas: Deltas, step: Step) -> Step | None:
    """Move the next piece of what the step concerns. The rest; None: it is done, and the written offset follows."""
    rest = _next_piece(db, deltas, step)
    if rest is None:
        db.execute(DROP_META, (UNFINISHED,)).fetchall()
        _shift_offset(db, step.by_ms)
        return None
    db.execute(SET_META, (UNFINISHED, json.dumps([step.by_ms, step.now, *rest])))
    return Step(step.by_ms, step.now, rest)


def first_place(step: Step) -> Place:
    """Where the walk of the messages begins: back, with what is later than now."""
    return (0, 0, step.now, END) if step.by_ms > 0 else (0, 0, END, END)


def _next_piece(db: Handle, deltas: Deltas, step: Step) -> Place | None:
    place = step.after
    if place is None or place[0] == CALLBACKS:
        rest = _callbacks(db, step, place)
        if rest is not None:
            return rest
        place = first_place(step)
    return _uncertain(db, step, place) if place[0] == 0 else _pending(db, deltas, step, place)


def _callbacks(db: Handle, step: Step, place: Place | None) -> Place | None:
    highest, after = (db.execute(HIGHEST_CALLBACK).fetchone()[0], 0) if place is None else (place[1], place[3])
    found = arrays(db, CALLBACKS_FROM, (after, highest, CALLBACKS_AT_ONCE))
    moves = [(each[0], each[1], _told_later(step, *each[2:])) for each in found]
    moved = [(nr, place, *move) for nr, place, move in moves if move is not None]
    expect(change(db, MOVE_CALLBACKS, [(nr, created_at, due) for nr, _, created_at, due in moved]), len(moved))
    keep_first_due(db, (place for _, place, *_ in moved))
    return (CALLBACKS, highest, 0, found[-1][0]) if len(found) == CALLBACKS_AT_ONCE else None


def _told_later(
    step: Step, created_at: Instant, due: Instant | None, tried_at: Instant | None
) -> tuple[Instant, Instant] | None:
    """When a callback counts as made, and when it is due; None: it stays."""
    if due is None:
        return None
    if step.by_ms > 0:
        new = step.now <= created_at < step.now + JUST_NOW_MS
        return created_at if new else created_at - step.by_ms, min(due, max(due - step.by_ms, step.now))
    if created_at > step.before:
        return None
    # What was due already is due still; what the new clock put off is due by it.
    stays = due <= step.before or (tried_at is not None and tried_at >= step.now)
    return created_at - step.by_ms, due if stays else due - step.by_ms


def _uncertain(db: Handle, step: Step, place: Place) -> Place | None:
    statement = UNCERTAIN_BACK if step.by_ms > 0 else UNCERTAIN_AHEAD
    found = arrays(db, statement, (*place[2:], PIECE))
    moves = [row for row in (_doubted(step, *each) for each in found) if row is not None]
    expect(change(db, MOVE_UNCERTAIN, moves), len(moves))
    if len(found) == PIECE:
        return (0, 0, found[-1][1], found[-1][0])
    return (1, *first_place(step)[1:])


def _doubted(step: Step, seq: int, due: Instant, since: Instant | None) -> tuple[object, ...] | None:
    if step.by_ms > 0:
        return seq, max(due - step.by_ms, step.now), None if since is None else since - step.by_ms
    if since is None or since > step.before:
        return None
    # What the new clock wrote is due after it; what was due already is due still.
    late = due if due <= step.before or due >= step.now else due - step.by_ms
    return seq, late, since - step.by_ms


def _pending(db: Handle, deltas: Deltas, step: Step, place: Place) -> Place | None:
    _, flow, due, seq = place
    room = PIECE
    flows = [id for (id,) in arrays(db, FLOWS_FROM, (flow, FLOWS_AT_ONCE))]
    for each in flows:
        if each != flow:
            due, seq = first_place(step)[2:]
        found = _of_flow(db, step, each, due, seq, room)
        moves = [row for row in (_waiting(step, *one) for one in found) if row is not None]
        if moves:
            expect(change(db, MOVE_PENDING, moves), len(moves))
            deltas.changed_flow(each, each)  # its next due time is another
        room -= len(found)
        if room <= 0:
            return (1, each, found[-1][1], found[-1][0])
    return (1, flows[-1] + 1, *first_place(step)[2:]) if len(flows) == FLOWS_AT_ONCE else None


def _of_flow(db: Handle, step: Step, flow: int, due: Instant, seq: int, most: int) -> list[Any]:
    if step.by_ms > 0:
        return arrays(db, PENDING_BACK, (flow, due, seq, most))
    return arrays(db, PENDING_AHEAD, (flow, due, seq, step.before, most))


def _waiting(
    step: Step,
    seq: int,
    due: Instant,
    send_at: Instant | None,
    held: str | None,
    held_since: Instant | None,
    error_at: Instant | None,
) -> tuple[object, ...] | None:
    if due == send_at or held == Reason.QUIET_HOURS:
        return None
    if step.by_ms > 0:
        # Not before now: among those that were due already, that would turn their order round.
        return seq, max(due - step.by_ms, step.now), None if held_since is None else held_since - step.by_ms
    # A limit's turn may come early: the ledger of charges is asked again, by boot time.
    by_old_clock = error_at is not None and error_at <= step.before and held is None
    return (seq, due - step.by_ms, held_since) if by_old_clock else None


# -- at a start -------------------------------------------------------------------------------------------------------


def at_start(db: Handle, boot: int, boot_us: int | None, now: Instant, latest: Instant | None) -> tuple[Step, ...]:
    """What is to be followed: the step that was under way, and what happened to the clock since.

    `boot` is the number of this boot, `boot_us` its time; None: not known. `latest`: the latest wall time written down.
    """
    unfinished = _unfinished(db)
    under_way = sum(step.by_ms for step in unfinished)
    ahead_ms = None if boot_us is None else now - boot_us // 1_000
    known = offset(db)
    if known is not None and known[0] == boot and ahead_ms is not None:
        by_ms = known[1] - ahead_ms - under_way
    else:
        by_ms = max(0, _behind(db, now, latest) - under_way)
        if ahead_ms is not None:
            _keep_offset(db, boot, ahead_ms + under_way + by_ms)
    return unfinished if abs(by_ms) <= NOTICED_MS else (*unfinished, Step(by_ms, now))


def _behind(db: Handle, now: Instant, latest: Instant | None) -> int:
    """By how much the clock is behind the latest time written down, unless an earlier start has seen to that."""
    if latest is None or latest <= now:
        return 0
    seen = db.execute(GET_META, (BEHIND,)).fetchone()
    if seen is not None and seen[0] >= latest:
        return 0
    db.execute(SET_META, (BEHIND, latest))
    return latest - now


def _unfinished(db: Handle) -> tuple[Step, ...]:
    row = db.execute(GET_META, (UNFINISHED,)).fetchone()
    if row is None:
        return ()
    by_ms, now, part, flow, due, seq = json.loads(row[0])
    return (Step(by_ms, now, (part, flow, due, seq)),)


def offset(db: Handle) -> tuple[int, int] | None:
    """The boot in which the outbox was last opened, and by how much (ms) the wall clock was ahead of boot time in it as
    far as due times have followed; None: never, or it had no boot clock."""
    row = db.execute(GET_META, (OFFSET,)).fetchone()
    if row is None:
        return None
    boot, ahead_ms = str(row[0]).split()
    return int(boot), int(ahead_ms)


def _keep_offset(db: Handle, boot: int, ahead_ms: int) -> None:
    db.execute(SET_META, (OFFSET, f"{boot} {ahead_ms}"))


def _shift_offset(db: Handle, by_ms: int) -> None:
    known = offset(db)
    if known is not None:
        _keep_offset(db, known[0], known[1] - by_ms)
