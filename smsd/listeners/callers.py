"""Who asks, what may they do, and how are they told no?

A Caller is made by a door (from a peer's uid, or from a token) and judged by the operations table. Nothing here knows
how a caller proved who it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from smsd import wire
from smsd.core.acceptance import Fault, Origin
from smsd.engine.intake import Intake
from smsd.store import DiskFullError, OutcomeUnknownError, StoreBrokenError, StoreError


class Scope(StrEnum):
    """What a caller may do."""

    SEND = "send"
    READ = "read"
    ADMIN = "admin"


class Reach(StrEnum):
    """Whose messages an operation is about."""

    OWN = "own"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `tenant` is whose messages it submits; `everyone`: it sees and touches all tenants' messages."""

    name: str
    tenant: str
    scopes: frozenset[Scope]
    everyone: bool = False

    @property
    def origin(self) -> Origin:
        """The caller as intake sees it."""
        return Origin(self.tenant, may_set_tenant=self.everyone)

    @property
    def sees(self) -> str | None:
        """The tenant its reads are bound to; None: all."""
        return None if self.everyone else self.tenant

    def bound(self, asked: str | None) -> str | None:
        """The tenant that a read which asks for `asked` is bound to; None: all. Raises ProblemError."""
        if self.everyone:
            return asked
        if asked not in {None, self.tenant}:
            raise ProblemError.of("not_allowed", f"{self.name} sees only its own messages.", "tenant")
        return self.tenant


class ProblemError(Exception):
    """The operation cannot be done; the door says so. `faults` has at least one."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(faults[0].message)
        self.faults = faults

    @classmethod
    def of(cls, code: str, message: str, field: str = "") -> ProblemError:
        """One fault."""
        return cls(Fault(field, code, message))


INTERNAL = Fault("", "internal", "smsd met a fault of its own; it is in the log. The request may be repeated.")


def all_faults(error: wire.WireError, intake: Intake, origin: Origin) -> tuple[Fault, ...]:
    """Those of what was sent, and those of what could be read of a submission."""
    if not isinstance(error.partial, wire.Submission):
        return error.faults
    return error.joined(intake.examine(error.partial, origin))


def store_fault(error: StoreError) -> Fault:
    """What a fault of the outbox means to who asked for an operation (what it means to a submission, intake says)."""
    match error:
        case DiskFullError():
            return Fault("", "disk_full", "The outbox has no room; nothing was changed. Free disk space and repeat.")
        case OutcomeUnknownError():
            text = "The commit failed: whether it was done is not known. Look again after the restart of smsd."
            return Fault("", "outcome_unknown", text)
        case StoreBrokenError():
            return Fault("", "shutting_down", "The outbox stopped; nothing was changed. Repeat after the restart.")
        case _:
            return Fault("", "internal", f"The outbox could not do it: {error}. Nothing was changed; repeat it.")
