"""May this message be claimed, or accepted, now, and if not, what becomes of it?

Quiet hours are asked first, then all limits that bind the message; only then is anything charged, so that one rule
without room costs the others nothing. Of several without room the hardest decides: it fails, else it is refused and
tried again at the cost of an attempt, else its whole flow waits, else it alone does, until its own turn.

A message is asked about limits once in each round; only about those of the sender, each time it is claimed, because
another provider may send it as somebody else. One that an operator reopened is not held to the rules on its recipient,
user and text: the operator has decided. It is charged again, though, where its first charge has run out.

What was charged, and what was promised, is told (`windows`); it is not known here where that lies, nor who writes down
what is decided. A window that is not told could not be read: its rule is left out, because a message that goes without
need is less harm than one that waits for ever. That holds for these limits, never for a provider's rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from smsd.core.limits import AT_ACCEPTANCE, OF_FLOWS, Action, Per, Rule, Subject, group_of, key_of
from smsd.core.message import Error, Instant, Message, State
from smsd.core.quiet import QuietBook, start
from smsd.core.retry import RetryRules, backoff
from smsd.core.verdict import Category
from smsd.core.waiting import Reason
from smsd.core.windows import Moment, Window

PERS = (Per.RECIPIENT, Per.USER, Per.TENANT, Per.CAMPAIGN, Per.SENDER, Per.TEXT, Per.REPEAT)
"""In the order of their numbers. They are stored (Key.kind); none ever changes its place."""

NOT_WHEN_REOPENED = frozenset({Per.RECIPIENT, Per.USER, Per.TEXT})
"""What an operator's retry is not held to."""

_ONE_TENANTS = frozenset({Per.USER, Per.TENANT, Per.CAMPAIGN, Per.REPEAT})
"""Whose keys name the tenant."""

_REASONS: Mapping[Per, Reason] = {
    Per.RECIPIENT: Reason.RECIPIENT_LIMIT,
    Per.USER: Reason.USER_LIMIT,
    Per.TENANT: Reason.TENANT_LIMIT,
    Per.CAMPAIGN: Reason.CAMPAIGN_LIMIT,
    Per.SENDER: Reason.SENDER_LIMIT,
    Per.TEXT: Reason.RECIPIENT_LIMIT,
    Per.REPEAT: Reason.RECIPIENT_LIMIT,
}


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """`[[limits]]`, the guards and quiet hours, and by which rules a refused message is tried again."""

    limits: tuple[Rule, ...] = ()
    quiet: QuietBook | None = None
    retries: Mapping[str, RetryRules] = field(default_factory=dict)
    """By profile."""
    default_retry: RetryRules = field(default_factory=RetryRules)

    def retry_of(self, profile: str | None) -> RetryRules:
        """By which rules a message of this profile is tried again."""
        return self.retries.get(profile or "", self.default_retry)


class Key(NamedTuple):
    """Under what a charge lies in the ledger."""

    kind: int
    """2 * the number of what is counted (PERS), plus 1 if acceptances are."""
    key: str


class Bound(NamedTuple):
    """A rule that binds a message, and where it looks."""

    rule: Rule
    key: Key


class At(NamedTuple):
    """One instant, by the wall clock and on the line of time of the windows."""

    wall: Instant
    moment: Moment

    def wall_of(self, moment: Moment) -> Instant:
        """What the wall clock shows at a moment to come: never before it."""
        return self.wall - (self.moment - moment) // 1_000


@dataclass(frozen=True, slots=True)
class Go:
    """It is claimed, and charged under these keys."""

    keys: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """It is due later. `promises`: what it was promised in each window without room."""

    due: Instant
    held: str
    """A waiting.Reason."""
    held_by: str
    since: Instant | None = None
    """Since when a rule holds it up; None: no rule does."""
    promises: tuple[tuple[Key, Moment], ...] = ()


@dataclass(frozen=True, slots=True)
class Refuse:
    """It is refused: pending until its next attempt at `due`, or failed."""

    state: State
    due: Instant
    charged: int
    error: Error
    full: tuple[tuple[Key, Moment], ...] = ()
    """The windows whose flows are held up, and until when: remembered, so that what waits in them too long is known."""


@dataclass(frozen=True, slots=True)
class HoldUp:
    """Its flow waits, and nothing is written of the message."""

    rule: Rule
    group: str
    until: Instant
    full: tuple[tuple[Key, Moment], ...] = ()
    """See Refuse.full."""


Decision = Go | Wait | Refuse | HoldUp

GO = Go()


class _Short(NamedTuple):
    """A rule without room, the message's turn under it, and since when its window has been without."""

    rule: Rule
    key: Key
    turn: Moment
    since: Moment


def kind_of(rule: Rule) -> int:
    """Key.kind of what a rule counts."""
    return 2 * PERS.index(rule.per) + (rule.action in AT_ACCEPTANCE)


def bound(rules: Iterable[Rule], subject: Subject) -> tuple[Bound, ...]:
    """Those of the rules that bind the subject."""
    found = []
    for rule in rules:
        if rule.tenant is not None and rule.tenant != subject.tenant:
            continue
        key = key_of(rule.per, subject)
        if key is not None:
            found.append(Bound(rule, ledger_key(rule, key)))
    return tuple(found)


def ledger_key(rule: Rule, key: str) -> Key:
    """Where a rule looks for what is counted under limits.key_of(). A rule of one tenant counts only its messages."""
    if rule.tenant is not None and rule.per not in _ONE_TENANTS:
        key = f"{rule.tenant}\n{key}"
    return Key(kind_of(rule), key)


def admit(
    message: Message,
    bounds: Sequence[Bound],
    windows: Mapping[Key, Window],
    rules: AdmissionRules,
    at: At,
    spread: float = 0.0,
) -> Decision:
    """What becomes of a pending message that is to be claimed at `at`.

    `bounds`: the rules that count claims and bind it; of one that was admitted in this round before, those of its
    sender. `spread`: a draw from [0, 1), for the wait of one that is refused.
    """
    quiet = start(rules.quiet, message.tenant, message.recipient, message.priority, at.wall)
    if quiet.held is not None:
        return Wait(quiet.due, quiet.held, quiet.held_by or "")
    if not bounds:
        return GO
    keys = _to_charge(message, bounds, windows, at)
    short = [each for each in (_short(one, message, windows, at) for one in bounds if one.key in keys) if each]
    return _consequence(message, short, rules, at, spread) if short else Go(keys)


def _to_charge(message: Message, bounds: Sequence[Bound], windows: Mapping[Key, Window], at: At) -> tuple[Key, ...]:
    """Under which keys it is to be charged: all that can be read, but once it was claimed or reopened only where a
    rule's window holds no charge of it."""
    first = message.round == 0 and message.attempt == 0
    wanted = [
        key
        for rule, key in bounds
        if key in windows and (first or not windows[key].holds(message.seq, rule.span_ms * 1_000, at.moment))
    ]
    return tuple(dict.fromkeys(wanted))


def _short(one: Bound, message: Message, windows: Mapping[Key, Window], at: At) -> _Short | None:
    """None: it has room, or is not held to the rule."""
    rule, key = one
    if message.round > 0 and rule.per in NOT_WHEN_REOPENED:
        return None
    window, span = windows[key], rule.span_ms * 1_000
    alone = rule.action is Action.DEFER and rule.per not in OF_FLOWS
    promised = window.promised(message.seq) if alone else None
    # Its promise may be lost, by a restart; that it waits for a turn is written down.
    behind = alone and promised is None and message.held != _REASONS[rule.per]
    turn = max(window.turn(rule.count, span, at.moment, behind=behind), promised or 0)
    return _Short(rule, key, turn, window.held_since(at.moment)) if turn > at.moment else None


def _consequence(message: Message, short: Sequence[_Short], rules: AdmissionRules, at: At, spread: float) -> Decision:
    by_action: dict[Action, list[_Short]] = {}
    for each in short:
        by_action.setdefault(each.rule.action, []).append(each)
    if Action.FAIL in by_action:
        return _fail(message, by_action[Action.FAIL][0].rule, at)
    if Action.RETRY in by_action:
        return _retry(message, by_action[Action.RETRY][0].rule, rules, at, spread)
    waits = sorted(by_action[Action.DEFER], key=lambda each: each.turn, reverse=True)
    turns: dict[Key, Moment] = {}
    for each in reversed(waits):
        turns[each.key] = each.turn  # the last of several rules on one key
    full = tuple((each.key, turns[each.key]) for each in waits if each.rule.per in OF_FLOWS)
    for each in waits:
        if _too_long(message, each, at):
            return replace(_fail(message, each.rule, at), full=full)
    for each in waits:
        if each.rule.per in OF_FLOWS:
            return HoldUp(each.rule, group_of(each.rule.per, each.key.key), at.wall_of(each.turn), full)
    last = waits[0]
    since = at.wall if message.held_since is None else message.held_since
    return Wait(at.wall_of(last.turn), _REASONS[last.rule.per].value, last.rule.words, since, tuple(turns.items()))


def _too_long(message: Message, short: _Short, at: At) -> bool:
    """Whether its turn comes later than the rule lets it wait. What holds up a flow is not written on its messages:
    they have been waiting for it since the flow is held up or they were due. An outage is no wait for a limit."""
    if short.rule.max_wait_ms is None:
        return False
    since = at.wall if message.held_since is None else message.held_since
    if short.rule.per in OF_FLOWS:
        since = max(message.due, at.wall_of(short.since))
    return at.wall_of(short.turn) - since > short.rule.max_wait_ms


def _error(rule: Rule, at: At) -> Error:
    return Error(Category.LIMIT_EXCEEDED, f"Rate limit exceeded ({rule.words})", at.wall)


def _fail(message: Message, rule: Rule, at: At) -> Refuse:
    return Refuse(State.FAILED, message.due, message.charged, _error(rule, at))


def _retry(message: Message, rule: Rule, rules: AdmissionRules, at: At, spread: float) -> Refuse:
    charged = message.charged + 1
    if charged >= message.max_attempts:
        return Refuse(State.FAILED, message.due, charged, _error(rule, at))
    due = at.wall + backoff(rules.retry_of(message.profile), charged, spread)
    return Refuse(State.PENDING, due, charged, _error(rule, at))


# -- at acceptance ----------------------------------------------------------------------------------------------------


def repeated(bounds: Iterable[Bound], windows: Mapping[Key, Window], at: At) -> int | None:
    """The message that a submission repeats; None: it repeats none. `bounds`: the rules that count acceptances."""
    for rule, key in bounds:
        if rule.action is Action.REPLAY and key in windows:
            window, span = windows[key], rule.span_ms * 1_000
            if window.turn(rule.count, span, at.moment) > at.moment:
                return window.oldest(span, at.moment)
    return None


def rejected(bounds: Iterable[Bound], windows: Mapping[Key, Window], at: At) -> tuple[Rule, Instant] | None:
    """The rule that has no room for a submission longest, and when it has; None: all have."""
    worst: _Short | None = None
    for rule, key in bounds:
        if rule.action is Action.REJECT and key in windows:
            turn = windows[key].turn(rule.count, rule.span_ms * 1_000, at.moment)
            if turn > at.moment and (worst is None or turn > worst.turn):
                worst = _Short(rule, key, turn, at.moment)
    return None if worst is None else (worst.rule, at.wall_of(worst.turn))
