"""Which calls of one provider are under way?

From the moment at which a call is charged until it is settled. Asked by whoever may not mistake one for another (a
look-up that sees an id which an answer may bind yet) and by whoever counts starts that are not in the outbox yet (a
ceiling that is made anew). How many may begin is not known here.
"""

from __future__ import annotations

from collections import Counter

from smsd.core.message import Message

Begun = tuple[int, int]
"""Boot time (us) at which a call was charged, and its segments."""


class Calls:
    """Of one provider. True: there are some."""

    def __init__(self) -> None:
        self.to: Counter[tuple[str, str]] = Counter()
        """(recipient, text), with how many of them."""
        self.noted: list[Begun] | None = None
        """While set: every call that begins is noted here, as in under_way()."""
        self._open: dict[int, Begun] = {}
        """By the message's seq."""

    def __bool__(self) -> bool:
        return bool(self._open)

    def begin(self, message: Message, started: int) -> None:
        """A call begins; it was charged at `started` (boot time, us)."""
        self.to[message.recipient, message.text] += 1
        self._open[message.seq] = (started, message.segments)
        if self.noted is not None:
            self.noted.append((started, message.segments))

    def end(self, message: Message) -> None:
        """It is settled."""
        self._open.pop(message.seq, None)
        key = (message.recipient, message.text)
        self.to[key] -= 1
        if not self.to[key]:
            del self.to[key]

    def note(self) -> list[Begun]:
        """From now on every call that begins is noted in this list, until `noted` is unset."""
        if self.noted is None:
            self.noted = []
        return self.noted

    def under_way(self) -> list[Begun]:
        """Those that have begun and are not settled."""
        return [*self._open.values()]

    def alike(self, message: Message) -> bool:
        """Whether one with this text to this number is among them."""
        return (message.recipient, message.text) in self.to
