"""What does the operator say about a provider's codes?

The dialect's tables say what each code means; `[retry.codes.TYPE]` may say otherwise, for one code, a category or a
class of answers. `rule_for` finds the line that counts for an answer and `overrule` puts its word in place of the
table's. Attempts and waits that a line names are `policy`'s matter. It refuses to know what a code means: that is the
dialect's.

What a line may do is bounded by how much it knows. Who names a code knows that code, and may even say that an answer
which proves nothing (a 500) was a refusal. Who names a class of answers does not: whether such a message was taken
stays uncertain, or it would be sent twice. And `default` is the word on errors nobody thought of. It never turns "too
fast" or a refusal of our own account into an error of the message, or one bad hour would fail a backlog.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from smsd.core.verdict import Category, Fate, Scope, Verdict


@dataclass(frozen=True, slots=True)
class CodeRule:
    """One line of `[retry.codes.TYPE]`."""

    fate: str = ""
    """retry | fail | throttle | halt | suppress; empty: as the dialect's table says."""
    scope: Scope | None = None
    """None: as the table says."""
    max_attempts: int | None = None
    """Calls that count, at most; it can only lower what the message may cost."""
    delays_ms: tuple[int, ...] = ()
    """Waits before the next calls, the last repeats; empty: as the retry rules say."""


@dataclass(frozen=True, slots=True)
class CodeBook:
    """`[retry.codes.TYPE]`: of the lines that match, the most specific counts: a code, then a category, then the HTTP
    class, then `default`."""

    codes: Mapping[str, CodeRule] = field(default_factory=dict)
    """By the provider's own code, as text."""
    categories: Mapping[Category, CodeRule] = field(default_factory=dict)
    http_4xx: CodeRule | None = None
    http_5xx: CodeRule | None = None
    default: CodeRule | None = None


_SILENT: Final = CodeRule()
"""A line that says nothing."""

_LATER: Final = frozenset({Category.NETWORK, Category.PROVIDER_ERROR})
"""What a message is tried again for; the others that defer (a throttle, a refusal of us) are about the provider."""

_OURS: Final = frozenset({Category.AUTH_FAILED, Category.CONFIG_ERROR})


def rule_for(verdict: Verdict, http_status: int | None, book: CodeBook) -> CodeRule | None:
    """The line that counts for this answer; None: there is none, or it was accepted.

    `http_status`: None when no answer came. A line for a class of answers comes without its fate where the outcome is
    unknown.
    """
    if verdict.fate is Fate.ACCEPTED:
        return None
    if verdict.code is not None and (named := book.codes.get(verdict.code)) is not None:
        return named
    rule = _of_class(verdict, http_status, book)
    if rule is None or verdict.fate is not Fate.UNKNOWN:
        return rule
    rule = replace(rule, fate="")
    return None if rule == _SILENT else rule


def overrule(verdict: Verdict, rule: CodeRule) -> Verdict:
    """The verdict as the operator wants it read, by the rule that `rule_for` found; the one given is left as it is.

    Raises ValueError for a fate that is none of CodeRule's.
    """
    scope = rule.scope
    match rule.fate:
        case "":
            return verdict if scope is None else replace(verdict, scope=scope)
        case "retry":
            kept = verdict.category in _LATER
            category = verdict.category if kept else Category.PROVIDER_ERROR
            return _read(verdict, Fate.DEFER, category, scope or (verdict.scope if kept else Scope.MESSAGE))
        case "fail":
            return _failed(verdict, scope)
        case "throttle":
            return _read(verdict, Fate.DEFER, Category.RATE_LIMITED, scope or Scope.PROVIDER)
        case "halt":
            category = verdict.category if verdict.category in _OURS else Category.AUTH_FAILED
            return _read(verdict, Fate.DEFER, category, Scope.PROVIDER)
        case "suppress":
            return _read(verdict, Fate.REFUSE, Category.OPTED_OUT, Scope.RECIPIENT)
        case other:
            raise ValueError(f"a code's fate is retry, fail, throttle, halt or suppress, not {other!r}")


def _of_class(verdict: Verdict, http_status: int | None, book: CodeBook) -> CodeRule | None:
    """The line for its category, else for the class of its status, else `default` where that may count."""
    by_category = None if verdict.category is None else book.categories.get(verdict.category)
    if by_category is not None:
        return by_category
    by_status = {4: book.http_4xx, 5: book.http_5xx}.get((http_status or 0) // 100)
    if by_status is not None:
        return by_status
    return None if _is_about_us(verdict) else book.default


def _is_about_us(verdict: Verdict) -> bool:
    """Whether it is a throttle, or a refusal of our account or set-up.

    A sender that is refused may be one that the configuration chose, so that one counts as well.
    """
    if verdict.category is Category.CONFIG_ERROR:
        return verdict.scope is Scope.PROVIDER or verdict.scope is Scope.SENDER
    return verdict.category is Category.RATE_LIMITED or verdict.category is Category.AUTH_FAILED or verdict.suspect


def _failed(verdict: Verdict, scope: Scope | None) -> Verdict:
    """The message never will be taken. What only deferred it has no category to fail by, so it is REJECTED; what is
    wrong with our set-up is this message's fault now, so that it does not halt the provider."""
    category = verdict.category
    if verdict.fate is not Fate.REFUSE or category is Category.AUTH_FAILED:
        category = Category.REJECTED
    kept = category is verdict.category and category is not Category.CONFIG_ERROR
    return _read(verdict, Fate.REFUSE, category, scope or (verdict.scope if kept else Scope.MESSAGE))


def _read(verdict: Verdict, fate: Fate, category: Category | None, scope: Scope) -> Verdict:
    """It means this now; nothing is left to be suspected, for the operator has decided."""
    return replace(verdict, fate=fate, category=category, scope=scope, suspect=False)
