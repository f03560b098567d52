"""What is answered on the socket to a request that is no submission, or none at all?

One line, whatever happens: what the operation gives, why it cannot be done, or that the daemon met a fault, whose story
is in the log. When it is asked and where the line goes is the affair of `connection`.
"""

from __future__ import annotations

import msgspec
import structlog

from smsd import wire
from smsd.engine.service import Service
from smsd.listeners.callers import INTERNAL, Caller, ProblemError, all_faults, store_fault
from smsd.listeners.campaign_terms import first_faults_of
from smsd.listeners.operations import Operation
from smsd.store import StoreError

log = structlog.get_logger("smsd.socket")


class Slot:
    """One request's place in the order of answers. It waits for its turn while `operation` is set."""

    __slots__ = ("answer", "operation", "ref", "request", "size")

    request: msgspec.Struct
    size: int

    def __init__(self, answer: bytes | None = None) -> None:
        self.answer = answer
        self.operation: Operation | None = None
        self.ref: wire.Ref = None


def unreadable(service: Service, caller: Caller, error: wire.WireError) -> bytes:
    """All that is wrong with a line, also with what could be read of it, with its newline."""
    if isinstance(error.partial, wire.CampaignCreate):
        unread = {fault.field for fault in error.faults}
        faults = error.joined(first_faults_of(service, caller, error.partial, unread))
    else:
        faults = all_faults(error, service.intake, caller.origin)
    return wire.encode_error(error.ref, faults)


async def answered(service: Service, caller: Caller, operation: Operation, slot: Slot) -> bytes:
    """Perform the operation; its answer with its newline. Raises nothing but CancelledError."""
    try:
        result = await operation.handler(service, caller, slot.request)
        return wire.encode_ok(slot.ref, result, operation.envelope)
    except ProblemError as problem:
        return wire.encode_error(slot.ref, problem.faults)
    except StoreError as error:
        log.error("an operation met a fault of the outbox", op=operation.name, error=str(error))
        return wire.encode_error(slot.ref, (store_fault(error),))
    except Exception:
        log.exception("an operation met a fault of the daemon", op=operation.name)
        return wire.encode_error(slot.ref, (INTERNAL,))
