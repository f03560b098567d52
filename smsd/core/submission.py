"""What may be asked of smsd, and what is decided about it beforehand?

The values acceptance works with: a Submission as a door hands it over, the rules the operator set, who asks, and the
Faults that are the answer when it cannot be. It refuses to judge: `acceptance` and `bounds` do. They stand here and not
there because both need them, and `acceptance` calls `bounds`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from smsd.core.callback import CallbackRules
from smsd.core.message import Priority
from smsd.core.quiet import QuietBook, QuietHours
from smsd.core.units import DAY


class Submission(Protocol):
    """What a caller may ask for; None: not given. `from_` is `from` on the wire."""

    @property
    def to(self) -> str | None: ...
    @property
    def text(self) -> str | None: ...
    @property
    def template(self) -> str | None: ...
    @property
    def vars(self) -> Mapping[str, object] | None: ...
    @property
    def lang(self) -> str | None: ...
    @property
    def from_(self) -> str | None: ...
    @property
    def priority(self) -> str | None: ...
    @property
    def send_at(self) -> str | None: ...
    @property
    def ttl(self) -> str | None: ...
    @property
    def expires_at(self) -> str | None: ...
    @property
    def idempotency_key(self) -> str | None: ...
    @property
    def campaign(self) -> str | None: ...
    @property
    def user(self) -> str | None: ...
    @property
    def type(self) -> str | None: ...
    @property
    def metadata(self) -> dict[str, str] | None: ...
    @property
    def tenant(self) -> str | None: ...
    @property
    def provider(self) -> str | None: ...
    @property
    def callback_url(self) -> str | None: ...
    @property
    def max_attempts(self) -> int | None: ...
    @property
    def retry(self) -> str | None: ...
    @property
    def overflow(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a submission."""

    field: str
    """The field's name on the wire."""
    code: str
    """One of missing_field, unknown_field, invalid_value, invalid_recipient, invalid_sender, text_too_long, no_route,
    not_allowed, not_available: a closed list, programs compare with it."""
    message: str
    """What is wrong and what to do; begins with the field's name."""
    circumstantial: bool = False
    """It depends on the configuration or on the moment, not on the submission alone: the same submission may have been
    accepted before, so a replay is looked for first."""
    retry_after_s: int | None = None
    """Whole seconds after which the same submission may be accepted; None: nobody knows."""


class Template(Protocol):
    """`[templates.NAME]`: a text with blanks."""

    def render(self, vars: Mapping[str, object], lang: str | None) -> str | tuple[Fault, ...]:
        """The text with its blanks filled in, in the language nearest to `lang` (BCP 47; None: its default); or what is
        wrong with `vars` (strings, numbers, booleans). Never raises, and takes no longer than its values are long."""
        ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """Everything that is wrong with a submission; at least one fault."""

    faults: tuple[Fault, ...]

    @property
    def depends_on_configuration(self) -> bool:
        """Whether no fault lies in the submission itself. Such a refusal is given only if the idempotency key is not
        known: a replay gets its first answer whatever was configured or has expired since."""
        return all(fault.circumstantial for fault in self.faults)


@dataclass(frozen=True, slots=True)
class TenantRules:
    """`[tenants.NAME]`: what the messages of one tenant are bound to."""

    senders: tuple[str, ...] = ()
    """`from`: the only senders it may use, each in its one spelling; empty: any."""
    providers: tuple[str, ...] = ()
    """The only providers that may carry its messages; empty: all."""
    max_priority: Priority = Priority.HIGH
    quiet: QuietHours | Literal[False] | None = None
    """`quiet_hours`: its own; False: none; None: as everybody's."""


@dataclass(frozen=True, slots=True)
class MessageRules:
    """`[messages]`, and what `[retry]` says about the number of calls."""

    default_region: str = ""
    sender: str = ""
    """`from`: the sender when neither the caller nor the provider names one; empty: none."""
    ttl_ms: int = 3 * DAY
    max_chars: int = 0
    """Septets (GSM-7) or UTF-16 units (UCS-2); 0: no limit but max_segments."""
    max_segments: int = 3
    """0: no limit but max_chars."""
    truncate_chars: int = 0
    """Septets or UTF-16 units a truncated text has at most; 0: what fits the two above."""
    overflow: str = "reject"
    """reject | truncate"""
    smart_encoding: bool = False
    max_attempts: int = 5
    templates: Mapping[str, Template] = field(default_factory=dict)
    """`[templates.NAME]`, by name."""
    profiles: Mapping[str, int] = field(default_factory=dict)
    """`[retry.profiles]`: name -> max_attempts."""
    tenants: Mapping[str, TenantRules] = field(default_factory=dict)
    """`[tenants.NAME]`: who is not named may do everything."""
    quiet: QuietBook | None = None
    """Whose messages keep which quiet hours; None: nobody's keep any."""
    callbacks: CallbackRules = field(default_factory=CallbackRules)
    """What `callback_url` must keep to."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who submits."""

    tenant: str
    """In whose name, unless the submission says otherwise."""
    may_set_tenant: bool = False


def one_of(name: str, got: str, allowed: Iterable[str]) -> Fault:
    """The fault of a value outside a closed list; the value is repeated only when it is short."""
    shown = f"; got '{got}'" if len(got) <= 32 and got.isprintable() else ""
    return Fault(name, "invalid_value", f"`{name}` must be one of {', '.join(allowed)}{shown}")
