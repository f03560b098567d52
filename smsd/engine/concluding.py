"""What follows from what asking about an uncertain message brought?

The decision is core.doubt's; here it gets what it needs: the retry rules that count for the message, and what the
operator said of the code that left it in doubt. Who was asked, and how, is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from smsd.clock import Clock
from smsd.core.account import ProviderRules
from smsd.core.codes import CodeRule, rule_for
from smsd.core.doubt import Finding, resolve
from smsd.core.message import Error, Message
from smsd.core.settlement import Settlement
from smsd.core.verdict import Fate, Verdict
from smsd.engine.settler import RetryBook


class Concluding:
    """Makes settlements of findings."""

    def __init__(self, retries: RetryBook, clock: Clock, dice: Callable[[], float]) -> None:
        self._retries = retries
        self._clock = clock
        self._dice = dice

    def settle(
        self,
        message: Message,
        finding: Finding,
        quality: str,
        rules: ProviderRules,
        id: str | None = None,
        detail: str = "",
    ) -> Settlement:
        """`quality`: how well the provider can be asked (its dialect's `lookup`). `id`: the provider's, where it has
        the message; `detail`: why nothing was found out."""
        retry, most = self._retries.rules_for(message, rules), self._retries.most_for(message, rules)
        rule = None if message.error is None else _rule_of(message.error, rules)
        if rule is not None:
            retry = replace(retry, delays_ms=rule.delays_ms or retry.delays_ms)
            most = min((n for n in (most, rule.max_attempts) if n is not None), default=None)
        return resolve(
            message,
            finding,
            quality,
            rules,
            retry,
            self._clock.wall(),
            self._dice(),
            provider_message_id=id,
            detail=detail,
            most=most,
        )


def _rule_of(error: Error, rules: ProviderRules) -> CodeRule | None:
    """The operator's word on what left the message in doubt, as far as it is about the calls that follow."""
    return rule_for(Verdict(Fate.UNKNOWN, error.category, code=error.code), None, rules.codes)
