"""Which providers may carry a message, which of them gets it now, and as whom is it sent?

A route is the enabled providers that may carry a message, in the order in which they are preferred; it is made at
acceptance, of the provider's senders, the numbers it reaches and the operator's strategy. Which of them takes it is
chosen when it is due, from what is known of their health then. It refuses to know what a provider is beyond its name,
what it carries, its price and its standing.

A route is also the name of a queue (a flow), so there must not be many: a strategy moves one provider to the front or
orders by a few prices, it never shuffles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from smsd.core.health import Standing
from smsd.core.message import Instant
from smsd.core.pool import pick, pool

FAILOVER_AFTER_MS: Final = 30_000
"""A cooldown that ends sooner than this is waited for; a longer one sends messages to the next provider."""

ANONYMOUS: Final = "smsd"
"""The sender of a message nobody named one for, at a provider that needs none of its own (sandbox, console)."""

ANYWHERE: Final = ""
"""A recipient that is not known, which every provider is taken to reach."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An enabled provider, as routing knows it."""

    name: str
    senders: tuple[str, ...] = ()
    """The senders it owns, the first being its default. None: it carries any."""
    needs_sender: bool = False
    """It owns no sender and cannot do without one: what neither caller nor configuration names, it cannot carry."""
    prefixes: tuple[str, ...] = ()
    """Beginnings (E.164, with +) of the numbers it may carry; empty: all."""
    weight: int = 1
    """Its share of the recipients, compared with the others'; at least 1."""
    prices: Mapping[str, float] = field(default_factory=dict)
    """Beginning of the number (the empty string: any other) -> price of a segment; all providers in one currency."""

    def carries(self, sender: str) -> bool:
        """Whether a message may go out by this provider as `sender`."""
        return not self.senders or sender in self.senders

    def reaches(self, recipient: str) -> bool:
        """Whether it may carry messages to this number (E.164, or ANYWHERE)."""
        return not self.prefixes or not recipient or recipient.startswith(self.prefixes)

    def price(self, recipient: str) -> float | None:
        """What a segment to this number costs, by the longest beginning that fits; None: nobody said."""
        for end in range(len(recipient), -1, -1):
            found = self.prices.get(recipient[:end])
            if found is not None:
                return found
        return None


@dataclass(frozen=True, slots=True)
class RoutingRules:
    """`[routing]`"""

    strategy: str = "priority"
    """priority (the order of the file) | weighted (shares of the recipients) | cheapest (by price)"""
    failover_after_ms: int | None = FAILOVER_AFTER_MS
    """A rest longer than this sends messages to the next provider; None: none does."""


USUAL: Final = RoutingRules()


def eligible(
    candidates: Sequence[Candidate], sender: str | None, pin: str | None, recipient: str = ANYWHERE
) -> list[Candidate]:
    """Those that may carry it, in the order of the file: all that reach the recipient and carry the sender asked for
    (None: no wish), or the one that is pinned, if it does."""
    return [
        candidate
        for candidate in candidates
        if (pin is None or candidate.name == pin)
        and (sender is None or candidate.carries(sender))
        and candidate.reaches(recipient)
    ]


def sender_for(candidate: Candidate, asked: str | None, default: str, recipient: str = ANYWHERE) -> str:
    """As whom the provider sends: what the caller asked for, else one of the provider's own, else `default`
    (`[messages] from`), else ANONYMOUS. The empty string: there is none and the provider cannot do without.

    Of several own ones the recipient always meets the same: one of those of the first one's kind, all with an equal
    share of the recipients. A recipient ANYWHERE: the first.
    """
    if asked:
        return asked
    if candidate.senders:
        mates = pool(candidate.senders) if recipient else ()
        return pick(recipient, mates, (1,) * len(mates), b"sender") if len(mates) > 1 else candidate.senders[0]
    return default or ("" if candidate.needs_sender else ANONYMOUS)


def ordered(able: Sequence[Candidate], strategy: str, recipient: str) -> list[str]:
    """The names in the order in which they are preferred for this recipient; `able` is in the order of the file.

    priority: that order. weighted: the one the recipient belongs to comes first, the rest keep that order. cheapest: by
    price, what has none last, equals in that order. Raises ValueError for another strategy.
    """
    names = [candidate.name for candidate in able]
    match strategy:
        case "priority":
            return names
        case "weighted":
            if not names:
                return names
            first = pick(recipient, names, [candidate.weight for candidate in able], b"provider")
            return [first, *(name for name in names if name != first)]
        case "cheapest":
            prices = [candidate.price(recipient) for candidate in able]
            places = sorted(range(len(names)), key=lambda place: (prices[place] is None, prices[place] or 0.0))
            return [names[place] for place in places]
        case _:
            raise ValueError(f"strategy is priority, weighted or cheapest, not {strategy!r}")


class Routes:
    """The enabled providers, in the order of the file, and the route of what asks for nothing special, found once.

    Made anew whenever the providers or the tenants' bounds change: what it keeps for tenants (`within`) is never
    forgotten, and is bounded by the tenants that are configured.
    """

    __slots__ = ("_candidates", "_default", "_rules", "_senders", "_within", "sender", "usual")

    def __init__(
        self, candidates: Sequence[Candidate], default: str, senders: tuple[str, ...] = (), rules: RoutingRules = USUAL
    ) -> None:
        """`default` is `[messages] from`; empty: there is none. `senders`: the only ones there are; none: any."""
        self._candidates = tuple(candidates)
        self._default = default
        self._senders = senders
        self._rules = rules
        self._within: dict[tuple[tuple[str, ...], tuple[str, ...]], Routes] = {}
        self.sender = self.own_sender(None)
        """As whom it is asked to be sent when the caller names no sender. None: the provider takes its default.
        Counts where `usual` does."""
        route = self.find(self.sender, None)
        fixed = "," not in route or rules.strategy == "priority"
        self.usual = route if fixed and not any(each.prefixes for each in self._candidates) else ""
        """The route when neither sender nor provider is asked for. Empty: there is none, or it depends on the
        recipient (`own_sender`, `find`)."""

    def within(self, providers: tuple[str, ...], senders: tuple[str, ...]) -> Routes:
        """The routes over these providers only, as these senders only; none: all, any."""
        bounded = self._within.get((providers, senders))
        if bounded is None:
            able = [c for c in self._candidates if not providers or c.name in providers]
            bounded = self._within[providers, senders] = Routes(able, self._default, senders, self._rules)
        return bounded

    def own_sender(self, pin: str | None, recipient: str = ANYWHERE) -> str | None:
        """The first of the only senders there are as which a provider (the pinned one) reaches the recipient. None:
        any may be used, or none can."""
        able = eligible(self._candidates, None, pin, recipient)
        return next((sender for sender in self._senders if any(each.carries(sender) for each in able)), None)

    def find(self, sender: str | None, pin: str | None, recipient: str = ANYWHERE) -> str:
        """The eligible providers' names in the order of preference, joined by commas; empty: there is none."""
        if self._senders and sender not in self._senders:
            return ""
        able = eligible(self._candidates, sender, pin, recipient)
        voiced = [each for each in able if sender_for(each, sender, self._default)]
        return ",".join(ordered(voiced, self._rules.strategy, recipient))

    def knows(self, name: str) -> bool:
        """Whether a provider of that name is enabled."""
        return any(candidate.name == name for candidate in self._candidates)

    def reaches(self, pin: str | None, recipient: str) -> bool:
        """Whether a provider (the pinned one) carries messages to that number at all, whoever sends them."""
        return bool(eligible(self._candidates, None, pin, recipient))

    def __bool__(self) -> bool:
        """Whether any provider is enabled."""
        return bool(self._candidates)


def choose(
    standings: Mapping[str, Standing],
    until: Mapping[str, Instant | None],
    now: Instant,
    failover_after_ms: int | None = FAILOVER_AFTER_MS,
) -> str | None:
    """Which provider of a route takes its messages now; None only for an empty route.

    `standings` in the order of the route; `until[name]` is when a cooldown ends or a broken one is next tried, None
    where nobody knows. The first that is open, or will be within `failover_after_ms`. If all rest: one that may be
    tried now; then the one whose cooldown ends first; then the broken one that is tried first; then the first. Without
    failover (`failover_after_ms` None) it is the first, whatever its state.
    """
    if failover_after_ms is None:
        return next(iter(standings), None)
    ranks: list[tuple[int, int, int, str]] = []
    for place, (name, standing) in enumerate(standings.items()):
        rank, wait = _rank(standing, until.get(name), now)
        if rank == _COMES_BACK and wait <= failover_after_ms:
            return name
        ranks.append((rank, wait, place, name))
    return min(ranks)[3] if ranks else None


_TRY_NOW, _COMES_BACK, _TRY_LATER, _STOPPED = range(4)
"""Best first. One to be tried comes before a long rest: if no message waited for it, none would try it."""


def _rank(standing: Standing, end: Instant | None, now: Instant) -> tuple[int, int]:
    """How a provider comes back, and in how many ms; what is stopped comes back by a person's hand only."""
    wait = 0 if end is None else max(0, end - now)
    match standing:
        case Standing.OPEN:
            return _COMES_BACK, 0
        case Standing.COOLING if end is not None:
            return _COMES_BACK, wait
        case Standing.HALF_OPEN:
            return _TRY_NOW, 0
        case Standing.BROKEN if end is not None:
            return _TRY_LATER if wait else _TRY_NOW, wait
        case _:
            return _STOPPED, 0


def next_route(
    route: str, provider: str, standings: Mapping[str, Standing], pinned: bool, rules: RoutingRules
) -> str | None:
    """The route with `provider`, which surely did not take the message, moved to its end; None: it stays, because it is
    pinned, failover is off, `provider` is not of the route, or no other one of it is open.

    `route`: names joined by commas; what has no standing is not enabled any more.
    """
    names = route.split(",")
    if pinned or rules.failover_after_ms is None or provider not in names:
        return None
    others = [name for name in names if name != provider]
    if all(standings.get(name) is not Standing.OPEN for name in others):
        return None
    return ",".join([*others, provider])
