"""Which providers may carry a message, which of them gets it now, and as whom is it sent?

A route is the enabled providers that may carry a message, in the order in which they are preferred; it is fixed at
acceptance. Which of them takes it is chosen when it is due, from what is known of their health then. It refuses to know
what a provider is beyond its name, the senders it owns and its standing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smsd.core.health import Standing
from smsd.core.message import Instant

FAILOVER_AFTER_MS = 30_000
"""A cooldown that ends sooner than this is waited for; a longer one sends messages to the next provider."""

ANONYMOUS = "smsd"
"""The sender of a message nobody named one for, at a provider that needs none of its own (sandbox, console)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An enabled provider, as routing knows it."""

    name: str
    senders: tuple[str, ...] = ()
    """The senders it owns, the first being its default. None: it carries any."""
    needs_sender: bool = False
    """It owns no sender and cannot do without one: what neither caller nor configuration names, it cannot carry."""

    def carries(self, sender: str) -> bool:
        """Whether a message may go out by this provider as `sender`."""
        return not self.senders or sender in self.senders


def eligible(candidates: Sequence[Candidate], sender: str | None, pin: str | None) -> tuple[str, ...]:
    """The names of those that may carry it, in routing order: all that carry the sender asked for (None: no wish),
    or the one that is pinned, if it does."""
    return tuple(
        candidate.name
        for candidate in candidates
        if (pin is None or candidate.name == pin) and (sender is None or candidate.carries(sender))
    )


def sender_for(candidate: Candidate, asked: str | None, default: str) -> str:
    """As whom the provider sends: what the caller asked for, else the provider's own default, else `default`
    (`[messages] from`), else ANONYMOUS. The empty string: there is none and the provider cannot do without."""
    if asked:
        return asked
    if candidate.senders:
        return candidate.senders[0]
    return default or ("" if candidate.needs_sender else ANONYMOUS)


class Routes:
    """The enabled providers, in routing order, and the route of what asks for nothing special, found once.

    Made anew whenever the providers or the tenants' bounds change: what it keeps for tenants (`within`) is never
    forgotten, and is bounded by the tenants that are configured.
    """

    __slots__ = ("_candidates", "_default", "_senders", "_within", "sender", "usual")

    def __init__(self, candidates: Sequence[Candidate], default: str, senders: tuple[str, ...] = ()) -> None:
        """`default` is `[messages] from`; empty: there is none. `senders`: the only ones there are; none: any."""
        self._candidates = tuple(candidates)
        self._default = default
        self._senders = senders
        self._within: dict[tuple[tuple[str, ...], tuple[str, ...]], Routes] = {}
        self.sender = self.own_sender(None)
        """As whom it is asked to be sent when the caller names no sender. None: the provider takes its default."""
        self.usual = self.find(self.sender, None)
        """The route when neither sender nor provider is asked for."""

    def within(self, providers: tuple[str, ...], senders: tuple[str, ...]) -> Routes:
        """The routes over these providers only, as these senders only; none: all, any."""
        bounded = self._within.get((providers, senders))
        if bounded is None:
            able = [c for c in self._candidates if not providers or c.name in providers]
            bounded = self._within[providers, senders] = Routes(able, self._default, senders)
        return bounded

    def own_sender(self, pin: str | None) -> str | None:
        """The first of the only senders there are that a provider (the pinned one) carries; None: any, or none is."""
        return next((sender for sender in self._senders if eligible(self._candidates, sender, pin)), None)

    def find(self, sender: str | None, pin: str | None) -> str:
        """The eligible providers' names joined by commas; empty: there is none."""
        if self._senders and sender not in self._senders:
            return ""
        able = [c for c in self._candidates if sender_for(c, sender, self._default)]
        return ",".join(eligible(able, sender, pin))

    def knows(self, name: str) -> bool:
        """Whether a provider of that name is enabled."""
        return any(candidate.name == name for candidate in self._candidates)

    def lacks_sender(self, pin: str | None) -> bool:
        """Whether all that stands between a message without a sender and a route is a sender."""
        return bool(eligible(self._candidates, None, pin))


def choose(standings: Mapping[str, Standing], until: Mapping[str, Instant | None], now: Instant) -> str | None:
    """Which provider of a route takes its messages now; None only for an empty route.

    `standings` in routing order; `until[name]` is when a cooldown ends, None where nobody knows. The first that is
    open, or will be within FAILOVER_AFTER_MS. If all rest: the one whose rest ends first; if no end is known: the
    first.
    """

    def wait(name: str) -> int | None:
        if standings[name] is Standing.OPEN:
            return 0
        end = until[name]
        return None if end is None else max(0, end - now)

    waits = {name: wait(name) for name in standings}
    for name, ms in waits.items():
        if ms is not None and ms <= FAILOVER_AFTER_MS:
            return name
    known = [(ms, place, name) for place, (name, ms) in enumerate(waits.items()) if ms is not None]
    return min(known)[2] if known else next(iter(standings), None)
