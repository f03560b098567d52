"""Which tenants and campaigns are held up, and who is told when a limit has no room?

The outbox judges limits, and whether a campaign may go (`store`), in the transaction of the acceptance or the claim.
Here is what the rest of the daemon learns from its answers: whose flows wait and until when, which is kept in memory
only, because the next claim finds it out again; and what is worth telling, each key of a rule at most once a minute,
however often it is met.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from smsd.clock import Clock
from smsd.core.events import Kind, about, of_failure
from smsd.core.limits import Action, Per, Rule, Subject, groups_of, key_of
from smsd.core.message import Draft, Instant, Message, State
from smsd.core.verdict import Category
from smsd.core.waiting import Block, Reason
from smsd.engine.bus import Bus
from smsd.store import Blocked, Limited

TELL_AGAIN_US = 60_000_000
"""Between two tellings of one rule and key."""

KEYS_TOLD = 10_000
"""Rules and keys remembered as told; the one met longest ago is forgotten, and told again when it is met."""

GROUPS_HELD = 10_000
"""Groups remembered as held up; beyond them the one met longest ago is forgotten, and its messages wait as queued."""

REASONS = {Per.TENANT: Reason.TENANT_LIMIT, Per.CAMPAIGN: Reason.CAMPAIGN_LIMIT}


class Limits:
    """Hears of every message that met a limit."""

    def __init__(self, bus: Bus, clock: Clock, block: Callable[[str, Instant], None]) -> None:
        self._bus = bus
        self._clock = clock
        self._block = block
        self._held: dict[str, Blocked] = {}
        self._told: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()
        """(rule, key) -> when it was told (boot time, us), and how often it was met since."""
        self.rules: tuple[Rule, ...] = ()
        """Those that count."""
        self.edition = 0
        """Raised when what was asked before means nothing any more: other rules, or a stepped clock."""

    def rule(self, rules: Sequence[Rule]) -> None:
        """Other rules count from now on. Whoever is held up is asked again."""
        self.rules = tuple(rules)
        self.forget()

    def forget(self) -> None:
        """What is held up, and until when, is found out anew."""
        self.edition += 1
        self._held.clear()

    # -- what the outbox answers -------------------------------------------------------------------------------------

    def blocked(self, found: Blocked, tenant: str, edition: int) -> None:
        """A claim found no room for its tenant or campaign, or the campaign held up: none of the group is claimed
        before that ends. Unless the claim was made in an earlier `edition`: then the next one asks again."""
        self._clock.wall()  # whoever asks learns that the clock was stepped
        if edition != self.edition:
            return
        self._held.pop(found.group, None)
        while len(self._held) >= GROUPS_HELD:
            del self._held[next(iter(self._held))]
        self._held[found.group] = found
        self._block(found.group, found.until)
        if found.rule is not None:
            self._tell(found.rule, found.group, tenant, None, found.until)

    def refused(self, message: Message, asked_at: Instant) -> None:
        """A claim made at `asked_at` was refused, and the outbox has written down what follows for the message."""
        now = self._clock.wall()
        delay_ms = max(0, message.due - asked_at)
        if message.state is State.FAILED:
            self._bus.publish(Kind.MESSAGE_FAILED, now, **of_failure(message))
        elif message.state is State.CANCELLED:
            self._bus.publish(Kind.MESSAGE_CANCELLED, now, **about(message))
        elif message.held is not None and delay_ms:
            self._bus.publish(
                Kind.MESSAGE_DEFERRED,
                now,
                **about(message),
                priority=message.priority.label,
                reason=message.held,
                delay_ms=delay_ms,
            )
        elif _exceeds(message) and message.error is not None and message.error.at == asked_at:
            fields = of_failure(message) | {"delay_ms": delay_ms, "max_attempts": message.max_attempts}
            self._bus.publish(Kind.MESSAGE_RETRY_SCHEDULED, now, **fields)
        rule = self._rule_of(message)
        if rule is not None:
            # Only one that waits for its turn is told when there is room: that is when it is due.
            until = message.due if message.held is not None else None
            self._tell(rule, _key(rule, message), message.tenant, message.recipient, until)

    def rejected(self, draft: Draft, found: Limited) -> None:
        """A submission was refused for want of room."""
        self._tell(found.rule, _key(found.rule, draft), draft.tenant, draft.recipient, found.until)

    def _rule_of(self, message: Message) -> Rule | None:
        """The rule that refused it; None: it was no limit, or it is configured no more."""
        if message.held_by is not None:
            words = message.held_by
            actions: tuple[Action, ...] = (Action.DEFER,)
        elif message.error is not None and _exceeds(message):
            words = message.error.message.partition("(")[2].removesuffix(")")
            actions = (Action.RETRY,) if message.state is State.PENDING else (Action.FAIL, Action.RETRY, Action.DEFER)
        else:
            return None
        found = [rule for action in actions for rule in self.rules if (rule.words, rule.action) == (words, action)]
        return found[0] if found else None

    def _tell(self, rule: Rule, key: str, tenant: str, recipient: str | None, until: Instant | None) -> None:
        boot = self._clock.boot()
        name = (f"{rule.action} {rule.words}", key)
        told, met = self._told.pop(name, (None, 0))
        if told is not None and boot - told < TELL_AGAIN_US:
            self._told[name] = (told, met + 1)
            return
        self._told[name] = (boot, 0)
        while len(self._told) > KEYS_TOLD:
            self._told.popitem(last=False)
        fields: dict[str, object] = {"per": rule.per.value, "rule": rule.words, "action": rule.action.value}
        fields |= {"tenant": tenant, "until": until, "hits": met + 1}
        if recipient is not None:
            fields["to"] = recipient
        self._bus.publish(Kind.LIMIT_HIT, self._clock.wall(), **fields)

    # -- why does it wait --------------------------------------------------------------------------------------------

    def blocks_of(self, tenant: str, campaign: str | None) -> tuple[Block, ...]:
        """What holds the messages of this tenant and campaign up now."""
        now = self._clock.wall()
        found = [self._held[group] for group in groups_of(tenant, campaign) if group in self._held]
        return tuple(_block(each) for each in found if each.until > now)


def _block(found: Blocked) -> Block:
    if found.gate is not None:
        return Block(found.gate.reason, found.gate.until, found.gate.words)
    assert found.rule is not None
    return Block(REASONS[found.rule.per], found.until, found.rule.words)


def _exceeds(message: Message) -> bool:
    return message.error is not None and message.error.category is Category.LIMIT_EXCEEDED


def _key(rule: Rule, of: Message | Draft) -> str:
    """Under what the rule counts it, as far as it is known here: a sender is chosen for each claim."""
    sender = of.asked_sender if isinstance(of, Message) else of.sender
    return key_of(rule.per, Subject(of.recipient, of.tenant, of.user, of.campaign, sender, of.text)) or ""
