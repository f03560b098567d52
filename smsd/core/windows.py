"""How many were counted in the last hour, and when is there room again?

A Window is what was charged lately under one key, as moments on one line of time: microseconds of a clock that never
steps. It is asked with a count and a span, so several rules (5 an hour, 20 a day) read the same charges, and a changed
rate finds its history. A span is half open: what was charged exactly one span ago is out of it.

Beside the charges it keeps promises: the turns given to messages that wait for room. Who holds none queues behind all
of them, so the n-th that waits is told when its own turn can come, not when the first one's is. Who holds one is
measured against charges only, because its place is paid for. A promise is a hint of when to ask again and never a
right: it lives in memory, and one that is lost or not used costs only that somebody is asked once more. Where too many
wait to keep a promise for each, only the last turn that was told is kept, and who comes after it is told one behind it.

Which rules there are, under which keys a message is counted and what becomes of one without room is not known here
(`limits`, `admission`), nor where charges are kept (`smsd.store.charges`).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable

Moment = int
"""Microseconds on a line of time that never steps and is the same for all charges of a window."""

BREAK_US = 5_000_000
"""Who finds no room again within so much after there should have been some has been held up all the while."""

_SEQ_BYTES = array("q").itemsize


class Window:
    """The charges under one key, in order of their moments, and the promises made to those that wait."""

    __slots__ = (
        "_held_since", "_held_until", "_last_turn", "_moments", "_promises", "_queued", "_seqs", "_start", "_turns",
    )  # fmt: skip

    def __init__(self, charges: Iterable[tuple[Moment, int]] = ()) -> None:
        """`charges`: moment and number of the message, in any order."""
        ordered = sorted(charges)
        self._moments = array("q", (moment for moment, _ in ordered))
        self._seqs = array("q", (seq for _, seq in ordered))
        self._start = 0
        """Charges before it are forgotten; they are cut off when they are the greater part."""
        self._promises: dict[int, Moment] = {}
        self._turns: list[Moment] = []
        """The values of `_promises`, in order."""
        self._last_turn: Moment | None = None
        """Of those that queue without a promise; None: nobody does."""
        self._queued = 0
        """How many were told such a turn."""
        self._held_since: Moment | None = None
        self._held_until: Moment = 0

    @property
    def size(self) -> int:
        """Charges remembered."""
        return len(self._moments) - self._start

    @property
    def promises(self) -> int:
        """Promises outstanding."""
        return len(self._promises)

    @property
    def last_turn(self) -> Moment | None:
        """The last turn that was told where a promise for each would be too much; None: each holds one."""
        return self._last_turn

    # -- asking ------------------------------------------------------------------------------------------------------

    def charged(self, span: int, now: Moment) -> int:
        """How many charges lie in the last `span` microseconds."""
        return len(self._moments) - self._first(span, now)

    def turn(self, count: int, span: int, now: Moment, *, behind: bool = False) -> Moment:
        """The first moment from `now` on at which one more leaves at most `count` in every `span` microseconds.

        `behind`: it queues behind the promises, and they count as charges.
        """
        if behind and self._last_turn is not None and self._last_turn > now:
            return self._behind_the_last(self._last_turn, count, span, now)
        if not behind or not self._turns:
            last = self._moments[-count] if count <= self.size else None
            return now if last is None else max(now, last + span)
        last = self._last_of_both(count)
        return max(now, self._turns[-1], now if last is None else last + span)

    def _behind_the_last(self, last_turn: Moment, count: int, span: int, now: Moment) -> Moment:
        """Evenly spaced, so that no span holds more than `count` of them, nor of them and of what is known."""
        step = -(-span // count)
        outstanding = min(self._queued, -(-(last_turn - now) // step))
        known = self._last_of_both(max(1, count - outstanding))
        return max(last_turn + step, last_turn if known is None else known + span)

    def promised(self, seq: int) -> Moment | None:
        """The turn that message `seq` was promised."""
        return self._promises.get(seq)

    def holds(self, seq: int, span: int, now: Moment) -> bool:
        """Whether a charge of this message lies in the last `span` microseconds. Looks at all of them."""
        one, charges = array("q", [seq]).tobytes(), self._seqs[self._first(span, now) :].tobytes()
        place = charges.find(one)  # five times as fast as among numbers
        while place % _SEQ_BYTES and place >= 0:
            place = charges.find(one, place + 1)
        return place >= 0

    def oldest(self, span: int, now: Moment) -> int | None:
        """The message whose charge is the oldest in the last `span` microseconds."""
        first = self._first(span, now)
        return self._seqs[first] if first < len(self._seqs) else None

    def _first(self, span: int, now: Moment) -> int:
        return bisect_right(self._moments, now - span, self._start)

    def _last_of_both(self, count: int) -> Moment | None:
        """The `count`-th last of charges and promises together; None: there are not so many."""
        charges, turns = self._moments, self._turns
        if self.size + len(turns) < count:
            return None
        low, high = max(0, count - self.size), min(count, len(turns))
        while low < high:  # how many of the last `count` are promises: the fewest of which none should be one more
            some = (low + high) // 2
            if turns[len(turns) - 1 - some] > charges[len(charges) - count + some]:
                low = some + 1
            else:
                high = some
        last_turn = turns[len(turns) - low] if low else None
        last_charge = charges[len(charges) - count + low] if low < count else None
        return min(each for each in (last_turn, last_charge) if each is not None)

    def held_since(self, now: Moment) -> Moment:
        """Since when what is counted here has found no room, without a break; `now` if it found some lately."""
        return now if self._held_since is None or now > self._held_until + BREAK_US else self._held_since

    # -- changing ----------------------------------------------------------------------------------------------------

    def charge(self, seq: int, moment: Moment) -> None:
        """Message `seq` is counted at `moment`; what was promised to it is kept by that."""
        self.release(seq)
        if moment < self._held_until:  # other rules count now, and there was room
            self._held_since = None
        if not self._moments or moment >= self._moments[-1]:
            self._moments.append(moment)
            self._seqs.append(seq)
            return
        place = bisect_right(self._moments, moment, self._start)
        self._moments.insert(place, moment)
        self._seqs.insert(place, seq)

    def take_back(self, seq: int) -> bool:
        """The newest charge of the message is undone; whether there was one."""
        for place in range(len(self._seqs) - 1, self._start - 1, -1):
            if self._seqs[place] == seq:
                del self._moments[place], self._seqs[place]
                return True
        return False

    def promise(self, seq: int, turn: Moment) -> None:
        """Message `seq` is told to come at `turn`, instead of what it was told before."""
        self.release(seq)
        self._promises[seq] = turn
        insort(self._turns, turn)
        if self._last_turn is not None:
            self._last_turn = max(turn, self._last_turn)

    def release(self, seq: int) -> None:
        """Message `seq` needs no turn any more."""
        turn = self._promises.pop(seq, None)
        if turn is not None:
            del self._turns[bisect_left(self._turns, turn)]

    def queue(self, turn: Moment) -> None:
        """Somebody is told to come at `turn`, and it is not kept who. From then on all queue behind it."""
        self._queued += 1
        self._last_turn = turn if self._last_turn is None else max(turn, self._last_turn)

    def leave(self, step: int) -> None:
        """One of those that queue without a promise waits no more: who comes next is told a turn `step` earlier."""
        self._queued -= 1
        if self._last_turn is not None:
            self._last_turn = self._last_turn - step if self._queued > 0 else None

    def come_to(self, now: Moment) -> None:
        """Those whose turns have come queue no more."""
        if self._last_turn is not None and self._last_turn <= now:
            self._last_turn, self._queued = None, 0

    def hold_up(self, now: Moment, until: Moment) -> None:
        """There is no room until then for what is counted here."""
        self._held_since = self.held_since(now)
        self._held_until = until

    def waiting(self) -> tuple[int, ...]:
        """The messages that hold promises."""
        return tuple(self._promises)

    def forget(self, before: Moment, most: int) -> tuple[int, ...]:
        """Charges and promises up to `before` are of no use any more, nor more charges than the newest `most`. The
        messages whose promises are forgotten."""
        end = len(self._moments)
        self._start = max(bisect_right(self._moments, before, self._start), end - most, self._start)
        if self._start > 32 and self._start * 2 > end:
            del self._moments[: self._start], self._seqs[: self._start]
            self._start = 0
        if not self._turns or self._turns[0] > before:
            return ()
        lapsed = tuple(seq for seq, turn in self._promises.items() if turn <= before)
        for seq in lapsed:
            del self._promises[seq]
        del self._turns[: len(lapsed)]
        return lapsed
