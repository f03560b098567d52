"""Which tenants and campaigns are held up by a limit, and who is told when one has no room?

The outbox judges limits (`store`), in the transaction of the acceptance or the claim. Here is what the rest of the
daemon learns from its answers: whose flows wait and until when, which is kept in memory only, because the next claim
finds it out again; and what is worth telling, each key of a rule at most once a minute, however often it is met.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from smsd.clock import Clock
from smsd.core.events import Kind, about, of_failure
from smsd.core.limits import Per, Rule, groups_of
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
"""Groups remembered as held up; beyond them the one that opens first is forgotten, and its messages wait as queued."""

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
        self._rules: dict[str, Rule] = {}

    def rule(self, rules: Sequence[Rule]) -> None:
        """Other rules count from now on. Whoever is held up is asked again."""
        self._rules = {rule.words: rule for rule in rules}
        self._held.clear()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Those that count."""
        return tuple(self._rules.values())

    def forget(self) -> None:
        """Times have changed: what is held up is found out anew."""
        self._held.clear()

    # -- what the outbox answers -------------------------------------------------------------------------------------

    def blocked(self, found: Blocked, tenant: str) -> None:
        """A claim found no room for its tenant or campaign: none of the group is claimed before there is."""
        now = self._clock.wall()
        if len(self._held) >= GROUPS_HELD and found.group not in self._held:
            self._held = {group: each for group, each in self._held.items() if each.until > now}
            while len(self._held) >= GROUPS_HELD:
                del self._held[min(self._held, key=lambda group: self._held[group].until)]
        self._held[found.group] = found
        self._block(found.group, found.until)
        self._tell(found.rule, found.group, tenant, None, found.until)

    def refused(self, message: Message) -> None:
        """A claim was refused, and the outbox has written down what follows for the message."""
        now = self._clock.wall()
        error = message.error
        if message.state is State.FAILED:
            self._bus.publish(Kind.MESSAGE_FAILED, now, **of_failure(message))
        elif message.held is not None:
            self._bus.publish(
                Kind.MESSAGE_DEFERRED,
                now,
                **about(message),
                priority=message.priority.label,
                reason=message.held,
                delay_ms=max(0, message.due - now),
            )
        elif error is not None and error.category is Category.LIMIT_EXCEEDED and error.at == now:
            self._bus.publish(
                Kind.MESSAGE_RETRY_SCHEDULED,
                now,
                **of_failure(message) | {"delay_ms": max(0, message.due - now), "max_attempts": message.max_attempts},
            )
        rule = self._rule_of(message)
        if rule is not None:
            key = f"{message.tenant}\n{message.user}" if rule.per is Per.USER else message.recipient
            self._tell(rule, key, message.tenant, message.recipient, message.due)

    def rejected(self, draft: Draft, found: Limited) -> None:
        """A submission was refused for want of room."""
        self._tell(found.rule, f"{draft.tenant}\n{draft.recipient}", draft.tenant, draft.recipient, found.until)

    def _rule_of(self, message: Message) -> Rule | None:
        """The rule that refused it; None: it was no limit, or it is configured no more."""
        if message.held_by is not None:
            return self._rules.get(message.held_by)
        if message.error is None or message.error.category is not Category.LIMIT_EXCEEDED:
            return None
        _, _, words = message.error.message.partition("(")
        return self._rules.get(words.removesuffix(")"))

    def _tell(self, rule: Rule, key: str, tenant: str, recipient: str | None, until: Instant) -> None:
        boot = self._clock.boot()
        name = (rule.words, key)
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
        return tuple(Block(REASONS[each.rule.per], each.until, each.rule.words) for each in found if each.until > now)
